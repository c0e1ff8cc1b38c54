/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * One accessor for each thing kernels and architectures spell differently. Chosen by the running
 * kernel's BTF, never by version; each cites the change it bridges.
 */
#ifndef LEADLINE_COMPAT_BPF_H
#define LEADLINE_COMPAT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define PF_EXITING   0x00000004
#define PF_IO_WORKER 0x00000010
#define PF_KTHREAD   0x00200000

/* Number of the system call these registers entered; -1 outside one (exception, interrupt). */
static __always_inline long syscall_number(const struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return (long)regs->orig_ax;
#elif defined(__TARGET_ARCH_arm64)
	long number = regs->syscallno;

	/* 32 bits wide there. Were the compiler to know, it would compare 32 bits of it, and a verifier before 6.4 forget. */
	barrier_var(number);
	return number;
#endif
}

/* Argument n (0..5, a constant) of that system call. */
#if defined(__TARGET_ARCH_x86)
#define syscall_argument(regs, n)                                                                  \
	((n) == 0   ? (regs)->di                                                                   \
	 : (n) == 1 ? (regs)->si                                                                   \
	 : (n) == 2 ? (regs)->dx                                                                   \
	 : (n) == 3 ? (regs)->r10                                                                  \
	 : (n) == 4 ? (regs)->r8                                                                   \
		    : (regs)->r9)
#elif defined(__TARGET_ARCH_arm64)
#define syscall_argument(regs, n) ((n) == 0 ? (regs)->orig_x0 : (regs)->regs[n])
#endif

/*
 * The value, or `last` (a constant) when it is above that. In one register: before 6.4 the verifier
 * forgets the bound of a copy that a 32-bit move made.
 */
static __always_inline __u64 at_most(__u64 value, const __u32 last)
{
	asm volatile("if %0 <= %1 goto +1\n"
		     "%0 = %1"
		     : "+r"(value)
		     : "i"(last));
	return value;
}

/*
 * Of registers of a thread in user space, at the entry of a function or right after it has returned: its first four arguments
 * (0..3, a constant), what it returned, and where its frame begins, the same number both times.
 */
#if defined(__TARGET_ARCH_x86)
#define function_argument(regs, n)                                                                 \
	((n) == 0 ? (regs)->di : (n) == 1 ? (regs)->si : (n) == 2 ? (regs)->dx : (regs)->cx)
#define function_result(regs) ((regs)->ax)
#define function_frame(regs, returned)                                                             \
	((regs)->sp - ((returned) ? 8 : 0)) /* the address to return to */
#elif defined(__TARGET_ARCH_arm64)
#define function_argument(regs, n)     ((regs)->regs[n])
#define function_result(regs)	       ((regs)->regs[0])
#define function_frame(regs, returned) ((regs)->sp)
#endif

/* A 32-bit process on a 64-bit kernel numbers its system calls differently. */
static __always_inline bool task_is_compat(struct task_struct *task)
{
#if defined(__TARGET_ARCH_x86)
	return task->thread_info.status & 0x0002; /* TS_COMPAT */
#elif defined(__TARGET_ARCH_arm64)
	return task->thread_info.flags & (1UL << 22); /* TIF_32BIT */
#endif
}

/* kernfs_node::parent became __parent, guarded by RCU, in 6.15 (633488947ef6). */
static __always_inline struct kernfs_node *kernfs_parent(struct kernfs_node *node)
{
	struct kernfs_node___plain_parent *plain = (void *)node;

	if (bpf_core_field_exists(node->__parent))
		return BPF_CORE_READ(node, __parent);
	return BPF_CORE_READ(plain, parent);
}

/*
 * A pointer of another type, to be read only; free of cost. From 6.2 (a35b9af4ec2c).
 */
extern void *bpf_rdonly_cast(const void *object, __u32 type) __ksym __weak;

/*
 * The same pointer, for following pointers in what it points to. For each of these, were it a trusted one, the verifier
 * would look through all types of the kernel for whether to trust the next: a millisecond of the start.
 */
#define READ_ONLY(type, pointer)                                                                   \
	(bpf_rdonly_cast                                                                           \
		 ? (struct type *)bpf_rdonly_cast(pointer, bpf_core_type_id_kernel(struct type))   \
		 : (pointer))

/*
 * The registers with which a task entered the kernel, to be read only. Where on its stack they are is the same for all: *on_stack, 0
 * as long as nobody has asked, saves a call of the kernel each time.
 */
static __always_inline struct pt_regs *task_regs(struct task_struct *task, __u64 *on_stack)
{
	if (!bpf_rdonly_cast)
		return (struct pt_regs *)bpf_task_pt_regs(task);
	/* one pointer less another: of what is no pointer to it, the verifier takes only constants from one (seen on 6.12, not on 6.18) */
	if (!*on_stack)
		*on_stack = (__u64)bpf_task_pt_regs(task) -
			    (__u64)bpf_rdonly_cast(task->stack,
						   bpf_core_type_id_kernel(struct pt_regs));
	return bpf_rdonly_cast((void *)((__u64)task->stack + *on_stack),
			       bpf_core_type_id_kernel(struct pt_regs));
}

/*
 * Whether a task that leaves the CPU runnable does so since its group has used up its quota. From 6.18 tasks are
 * throttled one by one (e1fad12dcb66), before that their whole queue was.
 */
static __always_inline bool task_is_throttled(struct task_struct *task)
{
	if (bpf_core_field_exists(task->throttled))
		return task->throttled;
	if (bpf_core_field_exists(task->se.cfs_rq) &&
	    bpf_core_field_exists(task->se.cfs_rq->throttle_count))
		return READ_ONLY(task_struct, task)->se.cfs_rq->throttle_count > 0;
	return false;
}

/*
 * How long the queue this task is on has been throttled so far, in ns; grows when it is let go. From 6.6
 * (677ea015f231); before, as good as unlimited, so that all of a throttled task's wait counts.
 */
static __always_inline __u64 queue_throttled_ns(struct task_struct *task)
{
	if (bpf_core_field_exists(task->se.cfs_rq->throttled_clock_self_time))
		return READ_ONLY(task_struct, task)->se.cfs_rq->throttled_clock_self_time;
	return bpf_ktime_get_ns();
}

/*
 * Whether hooks at system calls take this thread longer than others. Since tracepoints can be marked as faultable, in 6.13, these hooks run
 * below rcu_read_lock_trace(): a thread that was on a CPU when a grace period of that RCU began, as one is that makes calls without
 * a pause, keeps a mark by which rcu_read_unlock_trace() goes its slow way, with a full barrier.
 */
static __always_inline bool task_is_marked_by_rcu(struct task_struct *task)
{
	return bpf_core_field_exists(((struct tracepoint_ext *)0)->faultable) &&
	       bpf_core_field_exists(task->trc_reader_special) && task->trc_reader_special.s;
}

/*
 * From 6.12 (152e11f6df29) a thread may go to sleep and stay in its run queue for a while. If it is moved to another
 * CPU's meanwhile, the kernel takes its sleep for a wait for the CPU, see sched_info_enqueue(); in /proc/PID/schedstat, too.
 */
static __always_inline bool task_sleeps_in_queue(struct task_struct *task)
{
	return bpf_core_field_exists(task->se.sched_delayed) && task->se.sched_delayed;
}

/*
 * How long such a thread may have been queued of the time it was off the CPU: as the kernel says, unless that is the
 * larger part, which then is taken for the sleep.
 */
static __always_inline __u64 queued_of_sleeper(__s64 off_cpu_ns, __u64 queued_ns)
{
	__s64 rest_ns = off_cpu_ns - (__s64)queued_ns;

	if (rest_ns < 0)
		return 0;
	return queued_ns < (__u64)rest_ns ? queued_ns : (__u64)rest_ns;
}

static __always_inline bool task_uses_io_uring(struct task_struct *task)
{
	return READ_ONLY(task_struct, task)->io_uring;
}

/* When TCP last sent or received a segment on this socket, which must be its; now, where the kernel keeps no note. */
static __always_inline __u64 tcp_clock_ns(struct sock *sk)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;

	if (!bpf_core_field_exists(tcp->tcp_clock_cache))
		return bpf_ktime_get_ns();
	if (bpf_rdonly_cast) {
		tcp = bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct tcp_sock));
	} else {
		tcp = bpf_skc_to_tcp_sock(sk);
		if (!tcp)
			return 0;
	}
	return tcp->tcp_clock_cache;
}

/* The same of what else a TCP socket knows. */
#define READ_TCP(sk, field)                                                                        \
	(bpf_rdonly_cast ? ((struct tcp_sock *)bpf_rdonly_cast(                                    \
				    sk, bpf_core_type_id_kernel(struct tcp_sock)))                 \
				   ->field                                                         \
			 : BPF_CORE_READ((struct tcp_sock *)(sk), field))

/* Number of the first byte that has not been read yet. */
static __always_inline __u32 tcp_read_seq(struct sock *sk)
{
	return READ_TCP(sk, copied_seq);
}

/* The other side has closed its end, as far as we know. */
static __always_inline bool fin_received(struct sock *sk)
{
	return sk->__sk_common.skc_flags >> bpf_core_enum_value(enum sock_flags, SOCK_DONE) & 1;
}

/* Nothing is left to be read of what has come so far. */
static __always_inline bool tcp_all_read(struct sock *sk)
{
	return READ_TCP(sk, copied_seq) == READ_TCP(sk, rcv_nxt);
}

/* Bytes a thread made disks read, and made them write sooner or later; 0 without CONFIG_TASK_IO_ACCOUNTING. */
static __always_inline __u64 task_read_bytes(struct task_struct *task)
{
	return bpf_core_field_exists(task->ioac.read_bytes) ? task->ioac.read_bytes : 0;
}

static __always_inline __u64 task_write_bytes(struct task_struct *task)
{
	return bpf_core_field_exists(task->ioac.write_bytes) ? task->ioac.write_bytes : 0;
}

#endif
