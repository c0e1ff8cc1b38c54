// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Everything about one process or one control group, for as long as somebody looks: the ledger of each thread, each of
 * its system calls, each file descriptor. Loaded by agent/zoom.c and gone with it.
 *
 * The hooks see all threads of the host; the first thing each does is to compare one or two words and let the
 * others go. What is kept is keyed by thread in hash tables: plain additions, since a thread is on one CPU at a time. File
 * descriptors are shared by the threads of a process, hence added to atomically.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "lib/cgroup.bpf.h"
#include "lib/compat.bpf.h"
#include "lib/emit.bpf.h"
#include "lib/syscall.bpf.h"
#include "lib/wait.bpf.h"
#include "zoom.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define AF_INET	 2
#define AF_INET6 10

const volatile struct zoom_settings settings;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct zoom_globals);
} zoom_globals SEC(".maps");

/* Filled from within the scheduler, hence all there from the beginning. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct zoom_thread_key);
	__type(value, struct zoom_thread);
} zoom_threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct zoom_call_key);
	__type(value, struct zoom_call);
} zoom_calls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct zoom_file_key);
	__type(value, struct zoom_file);
} zoom_files SEC(".maps");

/* New elements; too large for the stack. */
static const struct zoom_call new_call;
static const struct zoom_file new_file;

/* ---- who is looked at ---- */

/* cgroup::ancestors holds pointers since 6.1 (7f203bc89eb6), before it was ancestor_ids. */
static __always_inline bool is_under_cgroup(struct task_struct *task)
{
	int subsystem = v1_subsystem(settings.v1_controller);
	struct css_set *css_set = task->cgroups;
	__u32 level = settings.cgroup_level;
	struct cgroup *cgroup = NULL, *ancestor = NULL;
	__u64 id = 0;

	if (subsystem >= 0) {
		struct cgroup_subsys_state *css = NULL;

		bpf_core_read(&css, sizeof(css), &css_set->subsys[subsystem & 15]);
		if (css)
			cgroup = BPF_CORE_READ(css, cgroup);
	} else {
		cgroup = css_set->dfl_cgrp;
	}
	if (!cgroup || level >= ZOOM_PATH_LEVELS || (__u32)BPF_CORE_READ(cgroup, level) < level)
		return false;
	if (bpf_core_field_exists(cgroup->ancestors)) {
		bpf_core_read(&ancestor, sizeof(ancestor), &cgroup->ancestors[level]);
		id = BPF_CORE_READ(ancestor, kn, id);
	} else {
		struct cgroup___ancestor_ids *old = (void *)cgroup;

		bpf_core_read(&id, sizeof(id), &old->ancestor_ids[level]);
	}
	return id == settings.cgroup_id;
}

static __always_inline bool is_target(struct task_struct *task)
{
	if (settings.tgid)
		return (__u32)task->tgid == settings.tgid;
	return is_under_cgroup(task);
}

static __always_inline struct zoom_globals *globals(void)
{
	return bpf_map_lookup_elem(&zoom_globals, &(__u32){ 0 });
}

static __always_inline bool is_running(void)
{
	struct zoom_globals *global = globals();

	return global && *(volatile __u32 *)&global->phase == ZOOM_RUNNING;
}

/* ---- threads ---- */

static __always_inline void read_names(struct zoom_thread *thread, struct task_struct *task)
{
	BPF_CORE_READ_STR_INTO(&thread->comm, task, comm);
	BPF_CORE_READ_STR_INTO(&thread->leader_comm, task, group_leader, comm);
}

/*
 * Where a thread stands when it is first seen. One that was made meanwhile is accounted for from its birth, one that came
 * into the group from now.
 */
static __noinline int add_thread(struct task_struct *task, struct zoom_thread_key *key)
{
	struct zoom_globals *global = globals();
	struct zoom_thread thread = {};

	if (!task || !key || !global)
		return 0;
	if (global->phase == ZOOM_RUNNING && key->start_ns >= global->began_ns) {
		thread.seen_ns = thread.left_cpu_ns = key->start_ns;
	} else {
		thread.seen_ns = thread.left_cpu_ns = bpf_ktime_get_ns();
		thread.exec_runtime_ns = BPF_CORE_READ(task, se.sum_exec_runtime);
		thread.run_delay_ns = BPF_CORE_READ(task, sched_info.run_delay);
		thread.migrations = BPF_CORE_READ(task, se.nr_migrations);
	}
	read_names(&thread, task);
	if (bpf_map_update_elem(&zoom_threads, key, &thread, BPF_NOEXIST))
		count_loss(LOSS_TABLE_FULL);
	return 0;
}

static __always_inline struct zoom_thread_key key_of(struct task_struct *task)
{
	return (struct zoom_thread_key){
		.tgid = task->tgid,
		.tid = task->pid,
		.start_ns = task->start_time,
	};
}

static __always_inline struct zoom_thread *thread_of(struct task_struct *task)
{
	struct zoom_thread_key key = key_of(task);
	struct zoom_thread *thread = bpf_map_lookup_elem(&zoom_threads, &key);

	if (thread)
		return thread;
	add_thread(task, &key);
	return bpf_map_lookup_elem(&zoom_threads, &key);
}

static __always_inline void add_wait(struct zoom_thread *thread, __u32 reason, __s64 waited_ns)
{
	if (waited_ns > 0 && reason < WAIT_REASON_COUNT)
		thread->wait_ns[reason] += waited_ns;
}

/* A turn on the CPU ends; returns how long the thread was away before that. */
static __always_inline __s64 end_turn(struct zoom_thread *thread, struct task_struct *task,
				      __u64 now)
{
	__u64 exec_runtime = task->se.sum_exec_runtime, run_delay = task->sched_info.run_delay;
	__u64 ran = exec_runtime - thread->exec_runtime_ns;
	__u64 queued = run_delay - thread->run_delay_ns, migrations = task->se.nr_migrations;
	__s64 off_cpu = now - thread->left_cpu_ns - ran, waited;

	if (thread->slept_in_queue && migrations != thread->migrations)
		queued = queued_of_sleeper(off_cpu, queued);
	waited = off_cpu - queued;
	thread->migrations = migrations;
	thread->slept_in_queue = false;
	thread->on_cpu_ns += ran;
	if (thread->wait_reason == WAIT_THROTTLED) {
		__u64 throttled = queue_throttled_ns(task) - thread->queue_throttled_ns;

		if (throttled > queued)
			throttled = queued;
		add_wait(thread, WAIT_THROTTLED, throttled);
		queued -= throttled;
	}
	thread->queued_ns += queued;
	if (queued > thread->queued_max_ns)
		thread->queued_max_ns = queued;
	thread->exec_runtime_ns = exec_runtime;
	thread->run_delay_ns = run_delay;
	thread->left_cpu_ns = now;
	return waited;
}

static __always_inline int leave_cpu(bool preempted, struct task_struct *task, unsigned int state)
{
	struct zoom_thread *thread;
	__u64 now;

	if (!is_target(task) || !is_running())
		return 0;
	thread = thread_of(task);
	if (!thread)
		return 0;
	now = bpf_ktime_get_ns();
	add_wait(thread, thread->wait_reason, end_turn(thread, task, now));
	if (preempted || state == TASK_RUNNING) {
		thread->involuntary_switches++;
		thread->wait_reason = WAIT_STOLEN;
		if (task_is_throttled(task)) {
			thread->wait_reason = WAIT_THROTTLED;
			thread->queue_throttled_ns = queue_throttled_ns(task);
		}
		return 0;
	}
	thread->voluntary_switches++;
	if (state & TASK_DEAD) {
		thread->ended_ns = now;
		read_names(thread, task);
	} else {
		thread->wait_reason = wait_reason_of(task, state, settings.reason_of_syscall);
		thread->slept_in_queue = task_sleeps_in_queue(task);
	}
	return 0;
}

/* ---- file descriptors ---- */

static __always_inline void describe_socket(struct zoom_file *entry, struct file *file)
{
	struct socket *socket = BPF_CORE_READ(file, private_data);
	struct sock *sk = BPF_CORE_READ(socket, sk);

	entry->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (entry->family != AF_INET && entry->family != AF_INET6)
		return;
	entry->protocol = BPF_CORE_READ(sk, sk_protocol);
	entry->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	entry->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (entry->family == AF_INET) {
		bpf_core_read(entry->local, 4, &sk->__sk_common.skc_rcv_saddr);
		bpf_core_read(entry->remote, 4, &sk->__sk_common.skc_daddr);
	} else {
		bpf_core_read(entry->local, 16, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_core_read(entry->remote, 16, &sk->__sk_common.skc_v6_daddr);
	}
}

/* Two threads may do this at once for one file: they write the same. */
static __noinline int describe_file(struct zoom_file *entry, struct file *file, __u64 inode)
{
	const unsigned char *name;

	if (!entry || !file)
		return 0;
	entry->mode = BPF_CORE_READ(file, f_inode, i_mode);
	name = BPF_CORE_READ(file, f_path.dentry, d_name.name);
	bpf_probe_read_kernel_str(entry->name, sizeof(entry->name), name);
	entry->family = 0;
	if ((entry->mode & S_IFMT) == S_IFSOCK)
		describe_socket(entry, file);
	entry->inode = inode;
	entry->files++;
	return 0;
}

static __always_inline struct zoom_file *file_entry(struct task_struct *task, __u32 fd)
{
	struct zoom_file_key key = { .tgid = task->tgid, .fd = fd };
	struct zoom_file *entry = bpf_map_lookup_elem(&zoom_files, &key);
	struct file *file = file_of(task, fd);
	__u64 inode;

	if (!file) /* none, or closed meanwhile by another thread */
		return entry;
	if (!entry) {
		if (bpf_map_update_elem(&zoom_files, &key, &new_file, BPF_NOEXIST) ==
		    -7 /* E2BIG */)
			count_loss(LOSS_TABLE_FULL);
		entry = bpf_map_lookup_elem(&zoom_files, &key);
		if (!entry)
			return NULL;
	}
	inode = BPF_CORE_READ(file, f_inode, i_ino);
	if (inode != entry->inode || !entry->files)
		describe_file(entry, file, inode);
	return entry;
}

/* direction: a constant */
static __always_inline void add_transfer(struct zoom_file *entry, enum zoom_direction direction,
					 __u64 duration_ns, long result, bool is_bytes)
{
	if (!entry)
		return;
	hist_record_shared(&entry->direction[direction].duration, duration_ns);
	if (result < 0)
		__sync_fetch_and_add(&entry->direction[direction].errors, 1);
	else if (is_bytes)
		__sync_fetch_and_add(&entry->direction[direction].bytes, result);
}

/* Which argument comes from a table: the compiler must not make an index out of it. */
static __always_inline __u32 argument_of(const struct pt_regs *regs, __u32 n)
{
	if (n == 1)
		return syscall_argument(regs, 0);
	if (n == 2)
		return syscall_argument(regs, 1);
	return syscall_argument(regs, 2);
}

static __always_inline void add_to_files(struct task_struct *task, const struct pt_regs *regs,
					 __u32 slot, __u64 duration_ns, long result)
{
	__u8 use;

	if (slot >= SYSCALL_SLOT_SIGRETURN)
		return;
	use = settings.use_of_files[slot];
	if (use & 7)
		add_transfer(file_entry(task, argument_of(regs, use & 7)), ZOOM_READ, duration_ns,
			     result, use & ZOOM_BYTES);
	if (use >> 3 & 7)
		add_transfer(file_entry(task, argument_of(regs, use >> 3 & 7)), ZOOM_WRITE,
			     duration_ns, result, use & ZOOM_BYTES);
	if (use & ZOOM_USES) {
		struct zoom_file *entry = file_entry(task, argument_of(regs, 1));

		if (entry)
			__sync_fetch_and_add(&entry->other_calls, 1);
	}
}

/* ---- system calls ---- */

static __always_inline struct zoom_call *call_entry(struct task_struct *task, __u32 slot)
{
	struct zoom_call_key key = { .tgid = task->tgid, .tid = task->pid, .slot = slot };
	struct zoom_call *call = bpf_map_lookup_elem(&zoom_calls, &key);

	if (call)
		return call;
	if (bpf_map_update_elem(&zoom_calls, &key, &new_call, BPF_NOEXIST)) {
		count_loss(LOSS_TABLE_FULL);
		return NULL;
	}
	return bpf_map_lookup_elem(&zoom_calls, &key);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(zoom_enter)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct zoom_thread *thread;

	if (!is_target(task) || !is_running())
		return 0;
	thread = thread_of(task);
	if (thread)
		thread->syscall_entered_ns = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(zoom_exit, struct pt_regs *regs, long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct zoom_thread *thread;
	struct zoom_call *call;
	__u64 duration_ns;
	__u32 slot;

	if (!is_target(task) || !is_running())
		return 0;
	thread = thread_of(task);
	/* who was inside when the hooks came, or is the child of a fork, has not entered */
	if (!thread || !thread->syscall_entered_ns)
		return 0;
	duration_ns = bpf_ktime_get_ns() - thread->syscall_entered_ns;
	thread->syscall_entered_ns = 0;
	slot = syscall_slot_of(task, syscall_number(regs));
	call = call_entry(task, slot);
	if (call) {
		hist_record(&call->duration, duration_ns);
		if (result < 0 && result >= -SYSCALL_ERROR_MAX) {
			call->errors++;
			call->last_error = -result;
		}
	}
	add_to_files(task, regs, slot, duration_ns, result);
	return 0;
}

/* prev_state: see sched.bpf.c */
SEC("tp_btf/sched_switch")
int BPF_PROG(zoom_switch_state, bool preempted, struct task_struct *prev, struct task_struct *next,
	     unsigned int prev_state)
{
	return leave_cpu(preempted, prev, prev_state);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(zoom_switch_plain, bool preempted, struct task_struct *prev)
{
	return leave_cpu(preempted, prev, prev->__state);
}

/* ---- all threads, before and after ---- */

/*
 * The end of the account of a thread that may be anywhere. What one in the midst of a turn has not been charged for yet, up to
 * a tick, is told from the wait before that turn only where there was none.
 */
static __always_inline void settle(struct zoom_thread *thread, struct task_struct *task)
{
	__s64 rest = end_turn(thread, task, bpf_ktime_get_ns());

	if (rest <= 0)
		return;
	if (task->__state != TASK_RUNNING || thread->wait_reason != WAIT_STOLEN)
		add_wait(thread, thread->wait_reason, rest);
	else if (task->sched_info.last_queued) /* in the queue, not in run_delay yet */
		thread->queued_ns += rest;
	else
		thread->on_cpu_ns += rest;
}

SEC("iter/task")
int zoom_pass(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct zoom_globals *global = globals();
	struct zoom_thread *thread;

	if (!task || !global)
		return 0;
	if (task->exit_state || !is_target(task))
		return 0;
	global->threads_seen++;
	if (global->phase == ZOOM_RUNNING)
		return 0;
	thread = thread_of(task);
	if (!thread)
		return 0;
	if (global->phase == ZOOM_STARTING) {
		if (task->__state != TASK_RUNNING)
			thread->wait_reason =
				wait_reason_of(task, task->__state, settings.reason_of_syscall);
	} else {
		settle(thread, task);
		read_names(thread, task);
	}
	return 0;
}
