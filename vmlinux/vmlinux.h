/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The kernel's types, as far as the programs under bpf/ use them.
 *
 * Kept by hand: only the fields in use, every one relocated by libbpf against the running kernel's
 * BTF (CO-RE), so that one object fits every kernel and architecture and this file can be reviewed.
 * A field that a kernel lacks is asked for with bpf_core_field_exists(); a renamed one stands here
 * twice, as a "flavour" (type___suffix), and bpf/lib/compat.bpf.h chooses. Grouped by subsystem.
 */
#ifndef LEADLINE_VMLINUX_H
#define LEADLINE_VMLINUX_H

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __s8 s8;
typedef __u8 u8;
typedef __s16 s16;
typedef __u16 u16;
typedef __s32 s32;
typedef __u32 u32;
typedef __s64 s64;
typedef __u64 u64;
typedef _Bool bool;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef unsigned long size_t;
typedef long ssize_t;
typedef int pid_t;

enum {
	false = 0,
	true = 1,
};

/* uapi/linux/bpf.h: what libbpf's helper prototypes and the maps here name. */
enum bpf_map_type {
	BPF_MAP_TYPE_UNSPEC = 0,
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_QUEUE = 22,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_EXIST = 2,
};

enum {
	BPF_F_NO_PREALLOC = 1,
	BPF_F_CLONE = 512,
	BPF_F_MMAPABLE = 1024,
};

enum {
	BPF_LOCAL_STORAGE_GET_F_CREATE = 1,
	BPF_SK_STORAGE_GET_F_CREATE = 1,
};

enum {
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
};

enum {
	BPF_RB_AVAIL_DATA = 0,
	BPF_RB_RING_SIZE = 1,
	BPF_RB_PROD_POS = 3,
};

enum bpf_func_id {
	BPF_FUNC_get_func_ret = 184, /* to ask whether there is such a helper */
	BPF_FUNC_loop = 181,
	BPF_FUNC_skc_to_unix_sock = 178,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* Registers of the interrupted user context; the accessors are in bpf/lib/compat.bpf.h. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
	unsigned long orig_ax, ip, cs, flags, sp, ss;
};
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
	__u64 sp, pc, pstate;
};
struct pt_regs {
	__u64 regs[31];
	__u64 sp, pc, pstate;
	__u64 orig_x0;
	__s32 syscallno;
};
#else
#error "unsupported architecture: add its pt_regs here and its accessors to bpf/lib/compat.bpf.h"
#endif

/* Tasks and the scheduler. */
struct sched_info {
	unsigned long pcount;
	unsigned long long run_delay;
	unsigned long long last_arrival;
	unsigned long long last_queued;
};

struct cfs_rq {
	int throttle_count;
	u64 throttled_clock_self_time;
};

struct sched_entity {
	u64 exec_start;
	u64 sum_exec_runtime;
	u64 nr_migrations;
	struct cfs_rq *cfs_rq;
	unsigned char sched_delayed; /* from 6.12 */
};

struct thread_info {
	unsigned long flags;
	u32 status;
};

typedef struct {
	int counter;
} atomic_t;

struct signal_struct {
	atomic_t live;
	int group_exit_code;
	unsigned int flags;
};

struct inode;
struct file;
struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};
struct files_struct {
	struct fdtable *fdt;
};

struct task_io_accounting {
	u64 read_bytes;
	u64 write_bytes;
};

struct css_set;
union rcu_special {
	u32 s;
};

struct tracepoint_ext {
	unsigned int faultable : 1;
};

struct page {}; /* only its size is asked for */
struct page_frag {
	struct page *page;
	__u32 offset;
};
struct vm_struct {
	struct page **pages;
	unsigned int nr_pages;
};

struct task_struct {
	union rcu_special trc_reader_special;
	struct thread_info thread_info;
	unsigned int __state;
	void *stack;
	unsigned int flags;
	pid_t pid;
	pid_t tgid;
	int exit_state;
	int exit_code;
	int on_cpu;
	unsigned in_iowait : 1;
	bool throttled; /* from 6.18 */
	char comm[16];
	struct task_struct *group_leader;
	struct task_struct *real_parent;
	struct sched_entity se;
	struct sched_info sched_info;
	struct signal_struct *signal;
	struct files_struct *files;
	struct io_uring_task *io_uring;
	void *worker_private;
	struct css_set *cgroups;
	u64 utime;
	u64 stime;
	unsigned long nvcsw;
	unsigned long nivcsw;
	u64 start_time;
	unsigned long min_flt;
	unsigned long maj_flt;
	struct task_io_accounting ioac;
	struct page_frag task_frag; /* what it has sent last */
	struct vm_struct *stack_vm_area;
};

/* Control groups. */
struct kernfs_node {
	struct kernfs_node *__parent;
	const char *name;
	u64 id;
};

/* until 6.14, see kernfs_parent() in compat.bpf.h */
struct kernfs_node___plain_parent {
	struct kernfs_node *parent;
};

struct cgroup {
	struct kernfs_node *kn;
	int level;
	struct cgroup *ancestors[24]; /* by level, itself included */
};

/* until 6.0, see is_under_cgroup() in zoom.bpf.c */
struct cgroup___ancestor_ids {
	u64 ancestor_ids[24];
};

/* The values depend on the configuration: only ever asked for with bpf_core_enum_value(). */
enum cgroup_subsys_id {
	cpu_cgrp_id = 1,
	memory_cgrp_id = 4,
	pids_cgrp_id = 11,
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

struct css_set {
	struct cgroup_subsys_state *subsys[16];
	struct cgroup *dfl_cgrp;
};

/* Files. */
struct inode {
	unsigned short i_mode;
	unsigned long i_ino;
};
struct qstr {
	const unsigned char *name;
};
struct dentry {
	struct qstr d_name;
};
struct path {
	struct dentry *dentry;
};
struct file {
	struct inode *f_inode;
	struct path f_path;
	void *private_data;
};

/* Sockets and TCP. */
enum sock_flags {
	SOCK_DONE =
		1, /* the other side has sent its FIN; the number is taken from the kernel's BTF */
};

typedef enum {
	SS_UNCONNECTED = 1,
} socket_state;

struct ns_common {
	unsigned int inum;
};
struct net {
	struct ns_common ns;
};
typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	unsigned char bytes[16]; /* of a union called in6_u: never read by this name */
};

struct sock_common {
	unsigned int skc_hash;
	__u16 skc_num; /* local port, in host order */
	__be16 skc_dport;
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	unsigned short skc_family;
	possible_net_t skc_net;
	struct proto *skc_prot;
	volatile unsigned char skc_state;
	unsigned long skc_flags;
};

struct socket;
struct sock {
	struct sock_common __sk_common;
	atomic_t sk_drops;
	int sk_err;
	u16 sk_type;
	u16 sk_protocol;
	u8 sk_shutdown;
	u32 sk_ack_backlog;
	u32 sk_max_ack_backlog;
	struct socket *sk_socket;
	struct proto *sk_prot_creator;
	bool sk_use_task_frag; /* from 6.2 */
};

struct unix_sock {
	struct sock *peer;
};

struct socket {
	socket_state state;
	struct sock *sk;
};

struct tcp_sock {
	u64 tcp_clock_cache; /* CLOCK_MONOTONIC in ns, as of the last segment sent or received */
	u64 bytes_sent; /* payload, retransmissions included */
	u64 bytes_retrans;
	u64 bytes_received; /* in sequence; a FIN counts as a byte */
	u64 bytes_acked; /* by the other side; a SYN counts as a byte */
	u32 write_seq; /* the byte after the last one written */
	u32 snd_una; /* the first one not acknowledged */
	u32 copied_seq; /* the first one not read yet */
	u32 rcv_nxt; /* the first one expected */
	u32 total_retrans;
	u32 delivered; /* segments acknowledged by the other side */
	u32 srtt_us; /* eighths of a microsecond */
	u32 rcv_tstamp; /* jiffies of the last acknowledgment received */
};

struct request_sock;

/* io_uring. */
enum iter_type {
	ITER_UBUF = 0, /* from 6.0 */
};
struct iov_iter {
	u8 iter_type;
	size_t iov_offset;
	void *ubuf;
};
struct msghdr {
	struct iov_iter msg_iter;
};
struct user_msghdr;
struct iovec {
	void *iov_base;
};
struct io_sr_msg {
	struct user_msghdr *umsg;
	void *buf; /* in the same place */
};
struct io_async_msghdr {
	struct iovec fast_iov[1]; /* of more; from 6.10 on not an array */
	struct msghdr msg;
};
struct io_rw {
	u64 addr;
	u32 len;
};
struct io_async_rw {
	struct iov_iter iter;
};
struct io_wq_work {
	unsigned int flags;
};
struct io_kiocb {
	struct file *file;
	u8 opcode;
	void *async_data;
	struct io_wq_work work;
};
struct io_worker {
	struct io_wq_work *cur_work;
};

/* Packets. */
struct sk_buff {
	unsigned short transport_header; /* an offset into head */
	unsigned int end; /* sk_buff_data_t: the same, on 64 bits */
	unsigned char *head;
};

struct skb_shared_info {
	unsigned short gso_segs;
};

/* The numbers differ between kernels: only ever asked for with bpf_core_enum_value(). */
enum skb_drop_reason {
	SKB_DROP_REASON_NOT_SPECIFIED = 2,
	SKB_DROP_REASON_NO_SOCKET = 3,
	SKB_DROP_REASON_TCP_CSUM = 10,
	SKB_DROP_REASON_PROTO_MEM = 20,
	SKB_DROP_REASON_TCP_FLAGS = 30,
	SKB_DROP_REASON_IP_OUTNOROUTES = 54,
	SKB_DROP_REASON_SECURITY_HOOK = 63,
};

/* Block requests. */
struct gendisk {
	char disk_name[32];
};

struct request_queue {
	struct gendisk *disk;
};

struct request {
	struct request_queue *q;
	unsigned int cmd_flags;
	unsigned int rq_flags;
	unsigned int __data_len;
	u64 start_time_ns;
	u64 io_start_time_ns;
};

/* until 5.16, see disk_of() in block.bpf.c */
struct request___rq_disk {
	struct gendisk *rq_disk;
};

enum req_flag_bits {
	__REQ_ATOMIC = 27,
};

/* Interrupts. */
struct irqaction {
	const char *name;
};

/* Iterators. */
struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
	u64 session_id;
	u64 seq_num;
};
struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};
struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	u32 fd;
	struct file *file;
};
struct bpf_iter__unix {
	struct bpf_iter_meta *meta;
	struct unix_sock *unix_sk;
};
struct bpf_map;
struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	void *value;
};
struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	struct sock *sk;
	void *value;
};

/* Contexts of classic tracepoints. */
struct trace_event_raw_sys_exit {
	long id;
	long ret;
};

#pragma clang attribute pop

/* Read by the verifier, not relocated. */
struct bpf_sock;
struct bpf_sock_addr;
struct bpf_map;

#endif
