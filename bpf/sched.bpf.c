// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Where the time of every thread goes, from one hook: the switch away from it.
 *
 * The kernel itself keeps, per thread, how long it ran (se.sum_exec_runtime) and how long it stood in a run
 * queue (sched_info.run_delay), so neither the wakeup nor the switch to it need be watched: at the switch
 * away, what the two grew by since the last one is this turn's run time and run-queue latency, and the rest of
 * the time between was spent waiting for what it had left the CPU for. The figures are therefore those of
 * /proc/PID/schedstat. sched_info is kept unconditionally since 5.14 (c5895d3f06cb) where the kernel has it.
 *
 * The budget may take the hook away for a while. Nothing is lost of what the kernel sums up: run time, run-queue
 * latency in sum, the numbers of switches. What takes a look at each turn is then an estimate: the histogram counts the turns
 * missed as those seen, and the time off the CPU goes to what the thread was waiting for when it was last seen.
 *
 * A latency is recorded when the turn ends. Threads that neither leave nor get a CPU are brought up to date by
 * sched_pass, run by the agent at each collection.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "lib/budget.bpf.h"
#include "lib/compat.bpf.h"
#include "lib/emit.bpf.h"
#include "lib/rows.bpf.h"
#include "lib/task.bpf.h"
#include "lib/wait.bpf.h"
#include "sched.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile struct sched_settings settings;

DEFINE_ROWS(sched_rows, struct sched_row);

/* Time victims waited, by culprit: {victim, culprit} → row. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct culprit_key);
	__type(value, __u32);
} sched_culprits SEC(".maps");

DEFINE_FREE_ROWS(sched_culprit_free);
DEFINE_ROWS(sched_culprit_ns, __u64);

/* The key of each row, for the user side. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct culprit_key);
} sched_culprit_keys SEC(".maps");

static __always_inline void add_wait(struct sched_row *row, __u32 reason, __s64 waited_ns)
{
	if (waited_ns > 0 && reason < WAIT_REASON_COUNT)
		row->wait_ns[reason] += waited_ns;
}

static __always_inline void add_ticks(struct sched_row *row, struct task_state *seen,
				      struct task_struct *task)
{
	__u64 user = task->utime, system = task->stime;

	row->user_ns += user - seen->user_ns;
	row->system_ns += system - seen->system_ns;
	seen->user_ns = user;
	seen->system_ns = system;
}

/*
 * Notes who leaves this CPU; returns who had it before, hence kept this one waiting. Who ran for a moment only, like
 * most kernel threads, did not: the one before stays on record.
 */
static __always_inline __u32 pass_cpu_on(struct cpu_turn *turn, __u32 leaving, bool ran_long)
{
	__u32 before = turn->last_ran;

	if (ran_long)
		turn->last_ran = leaving;
	return before;
}

static __noinline void blame(__u32 victim, __u32 culprit, __u64 queued_ns)
{
	struct culprit_key key = { .victim = victim, .culprit = culprit };
	__u32 row = row_for_key(&sched_culprits, &sched_culprit_free, &key);
	struct culprit_key *shown = bpf_map_lookup_elem(&sched_culprit_keys, &row);
	__u64 *total = row_of_this_cpu(&sched_culprit_ns, settings.culprit_rows, row);

	if (row && shown)
		*shown = key;
	if (total)
		*total += queued_ns;
}

/*
 * Several turns went by: their latency is known in sum only. The turns wait to be counted like those that will be seen;
 * what waits since an earlier window is counted as their mean is.
 */
static __noinline void queue_unseen(struct sched_row *row, __u32 victim, __u64 queued_ns,
				    __u32 turns)
{
	struct budget_lane *lane = budget_lane();
	__u64 mean_ns = turns ? queued_ns / turns : 0;

	if (!row || !lane)
		return;
	if (row->unseen_since_ns != lane->window_began_ns) {
		if (row->unseen_turns)
			hist_count(&row->run_queue, mean_ns, row->unseen_turns);
		row->unseen_turns = 0;
		row->unseen_since_ns = lane->window_began_ns;
	}
	row->unseen_turns += turns;
	row->run_queue.sum_ns += queued_ns;
	if (mean_ns < CULPRIT_MIN_WAIT_NS)
		row->brief_queued_ns += queued_ns;
	else
		blame(victim, CULPRIT_UNSEEN, queued_ns);
}

/* Those not seen are taken to be like one that is; each of the first in a window stands for some of them. */
static __always_inline void share_unseen(struct sched_row *row, __u64 queued_ns, __u32 weight)
{
	__u64 turns = row->unseen_turns;

	if (weight > 1 && turns > 2 * weight)
		turns = 2 * weight;
	row->unseen_turns -= turns;
	hist_count(&row->run_queue, queued_ns, turns);
}

/* A turn on the CPU ends: what came before it is now known. Returns which part of it the thread was throttled for. */
static __always_inline __u64 account_queue(struct sched_row *row, struct task_struct *task,
					   struct task_state *seen, __u64 queued_ns, __u32 culprit,
					   __u32 weight)
{
	__u64 throttled_ns = 0;

	if (seen->wait_reason == WAIT_THROTTLED) {
		throttled_ns = queue_throttled_ns(task) - seen->queue_throttled_ns;

		/* on another CPU's queue now, or a kernel that does not tell: all of it */
		if (throttled_ns > queued_ns)
			throttled_ns = queued_ns;
		add_wait(row, WAIT_THROTTLED, throttled_ns);
		queued_ns -= throttled_ns;
	}
	if (row->unseen_turns)
		share_unseen(row, queued_ns, weight);
	hist_record(&row->run_queue, queued_ns);
	if (queued_ns < CULPRIT_MIN_WAIT_NS)
		row->brief_queued_ns += queued_ns;
	else
		blame(seen->entity, culprit, queued_ns);
	return throttled_ns;
}

/*
 * The same for the request the thread serves (bpf/requests_waits.bpf.h): what it did before it got the CPU the last time is the
 * request's if that was under way then.
 */
static __always_inline void account_request(struct task_state *seen, __u32 reason, __s64 waited_ns,
					    __s64 queued_ns, __u64 throttled_ns)
{
	if (seen->left_cpu_ns - seen->passed_ns < seen->serves_since_ns)
		return;
	if (reason < WAIT_REASON_COUNT)
		seen->serves_waited_ns[reason] += waited_ns;
	seen->serves_waited_ns[WAIT_THROTTLED] += throttled_ns;
	seen->serves_queued_ns += queued_ns - (__s64)throttled_ns;
}

/* Adds the switches since the thread was last seen; returns how many. */
static __always_inline __u32 count_switches(struct sched_row *row, struct task_state *seen,
					    struct task_struct *task)
{
	__u32 voluntary = (__u32)task->nvcsw - seen->voluntary_switches;
	__u32 involuntary = (__u32)task->nivcsw - seen->involuntary_switches;

	seen->voluntary_switches += voluntary;
	seen->involuntary_switches += involuntary;
	row->voluntary_switches += voluntary;
	row->involuntary_switches += involuntary;
	return voluntary + involuntary;
}

/* What it slept through unseen is charged to what it was found waiting for, unless that was no wait. */
static __always_inline __u32 unseen_reason(__u32 before, __u32 now)
{
	return before != WAIT_STOLEN && before != WAIT_THROTTLED ? before
	       : now != WAIT_STOLEN && now != WAIT_THROTTLED	 ? now
								 : WAIT_OTHER;
}

static __always_inline int leave_cpu(bool preempted, struct task_struct *task, unsigned int state)
{
	struct task_state *seen;
	struct sched_row *row;
	__u64 now, ran, queued, waited, exec_runtime, run_delay, throttled = 0;
	__u32 culprit, turns, reason, migrations;
	struct budget_lane *lane = budget_count();
	struct cpu_turn *turn = cpu_turn();

	if (!lane || !turn)
		return 0;
	now = bpf_ktime_get_ns();
	turn->began_ns = now; /* the next one's */
	if (task->pid == 0) {
		pass_cpu_on(turn, CULPRIT_IDLE, true);
		return 0;
	}
	seen = task_state_of(task);
	if (!seen) {
		count_loss(LOSS_NO_TASK_STATE);
		return 0;
	}
	row = row_of_this_cpu(&sched_rows, settings.max_entities, seen->entity);
	if (!row) /* excluded */
		return 0;

	exec_runtime = task->se.sum_exec_runtime;
	run_delay = task->sched_info.run_delay;
	migrations = task->se.nr_migrations;
	ran = exec_runtime - seen->exec_runtime_ns;
	queued = run_delay - seen->run_delay_ns;
	culprit = pass_cpu_on(turn, task->flags & PF_KTHREAD ? CULPRIT_KERNEL : seen->entity,
			      ran >= CULPRIT_MIN_RUN_NS);

	row->on_cpu_ns += ran;
	turns = count_switches(row, seen, task);
	if (turns == 1 && seen->slept_in_queue && migrations != seen->migrations)
		queued = queued_of_sleeper(now - seen->left_cpu_ns - ran, queued);
	if (turns > 1)
		queue_unseen(row, seen->entity, queued, turns);
	else
		throttled = account_queue(row, task, seen, queued, culprit, lane->weight);
	waited = now - seen->left_cpu_ns - ran - queued;
	row->migrations += migrations - seen->migrations;
	reason = seen->wait_reason;
	seen->slept_in_queue = false;
	if (preempted || state == TASK_RUNNING) {
		seen->wait_reason = WAIT_STOLEN;
		if (task_is_throttled(task)) {
			seen->wait_reason = WAIT_THROTTLED;
			seen->queue_throttled_ns = queue_throttled_ns(task);
		}
	} else if (state & TASK_DEAD) {
		add_ticks(row, seen, task);
	} else {
		seen->wait_reason = wait_reason_of(task, state, settings.reason_of_syscall);
		seen->slept_in_queue = task_sleeps_in_queue(task);
	}
	add_wait(row, turns > 1 ? unseen_reason(reason, seen->wait_reason) : reason, waited);
	if (turns > 1 && turns != seen->unseen_switches + 1)
		seen->serves_socket = 0;
	else if (seen->serves_socket)
		account_request(seen, reason, waited, queued, throttled);
	if (turns > 1)
		seen->unseen_switches = 0;
	seen->left_cpu_ns = now;
	seen->passed_ns = 0;
	seen->exec_runtime_ns = exec_runtime;
	seen->run_delay_ns = run_delay;
	seen->migrations = migrations;
	return 0;
}

/* prev_state came as an argument in 5.18 (fa2c3254d7cf), as prev->__state may already be that of a wakeup. */
SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch_state, bool preempted, struct task_struct *prev, struct task_struct *next,
	     unsigned int prev_state)
{
	return leave_cpu(preempted, prev, prev_state);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch_plain, bool preempted, struct task_struct *prev)
{
	return leave_cpu(preempted, prev, prev->__state);
}

/* A thread's last words, should its last switches have gone unseen. Some time after its end, hence no time is charged. */
SEC("tp_btf/sched_process_free")
int BPF_PROG(sched_free, struct task_struct *task)
{
	struct task_state *seen = task_state_of(task);
	struct sched_row *row;
	__u64 queued;
	__u32 turns;

	if (!seen)
		return 0;
	row = row_of_this_cpu(&sched_rows, settings.max_entities, seen->entity);
	if (!row)
		return 0;
	turns = count_switches(row, seen, task);
	if (!turns)
		return 0;
	queued = task->sched_info.run_delay - seen->run_delay_ns;
	seen->run_delay_ns += queued;
	queue_unseen(row, seen->entity, queued, turns);
	row->on_cpu_ns += task->se.sum_exec_runtime - seen->exec_runtime_ns;
	seen->exec_runtime_ns = task->se.sum_exec_runtime;
	row->migrations += (__u32)task->se.nr_migrations - seen->migrations;
	seen->migrations = task->se.nr_migrations;
	add_ticks(row, seen, task);
	return 0;
}

/*
 * Brings every thread up to date that has not left a CPU for a while: adds the run time of those running and
 * the wait so far of those sleeping. Writes rows of its own, since preemption is on here. A thread that leaves
 * its CPU in the very moment (some ten ns) its state is read here is charged twice for its time since the
 * last switch; hot hooks pay nothing to exclude that.
 */
SEC("iter/task")
int sched_pass(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct task_state *seen;
	struct sched_row *row;
	__u64 exec_runtime, ran, now;
	__u32 index;

	if (!task || task->exit_state)
		return 0;
	seen = task_state_of(task);
	if (!seen || seen->entity >= settings.max_entities)
		return 0;
	index = settings.cpus * settings.max_entities + seen->entity;
	row = bpf_map_lookup_elem(&sched_rows, &index);
	if (!row)
		return 0;

	add_ticks(row, seen, task);
	if (!task->on_cpu && task->__state != TASK_RUNNING)
		seen->unseen_switches = task_unseen_switches(task, seen);
	exec_runtime = task->se.sum_exec_runtime;
	ran = exec_runtime - seen->exec_runtime_ns;
	if (ran) {
		row->on_cpu_ns += ran;
		seen->exec_runtime_ns = exec_runtime;
		seen->left_cpu_ns += ran; /* so that this time is not taken for a wait */
		seen->passed_ns += ran;
	} else if (task->__state != TASK_RUNNING &&
		   seen->run_delay_ns == task->sched_info.run_delay) {
		now = bpf_ktime_get_ns();
		if (seen->wait_reason ==
		    WAIT_OTHER) /* it may have gone to sleep before the agent came */
			seen->wait_reason =
				wait_reason_of(task, task->__state, settings.reason_of_syscall);
		add_wait(row, seen->wait_reason, now - seen->left_cpu_ns);
		if (seen->serves_socket)
			account_request(seen, seen->wait_reason, now - seen->left_cpu_ns, 0, 0);
		seen->left_cpu_ns = now;
		seen->passed_ns = 0;
	}
	return 0;
}
