// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Births and deaths of processes (thread groups), by entity. All of it is counted here; a death by a
 * signal and a victim of the out-of-memory killer are told as events besides, which may be lost
 * without the counts being wrong. Rare events: one row for all CPUs, atomics.
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
#include "process.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define SIGNAL_GROUP_EXIT 0x00000004 /* linux/sched/signal.h */
#define SIGKILL		  9

/* struct task_state::process_marks of the leader */
enum {
	MARK_EXIT_COUNTED = 1 << 0,
	MARK_OOM_COUNTED = 1 << 1,
};

const volatile struct process_settings settings;

DEFINE_ROWS(process_rows, struct process_row);
DEFINE_EVENT_RING();

/* Victims known by number only, and for which entity they were chosen, until they exit. A number that never exits here leaves by age. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} process_victims SEC(".maps");

/* A thread group has one entity; its leader is there as long as any of its threads. */
static __always_inline __u32 entity_of(struct task_struct *task)
{
	struct task_state *state = task_state_of(task->group_leader);

	if (state)
		return state->entity;
	count_loss(LOSS_NO_TASK_STATE);
	return ENTITY_OTHER;
}

static __always_inline struct process_row *row_of(__u32 entity)
{
	return entity == ENTITY_EXCLUDED ? NULL : bpf_map_lookup_elem(&process_rows, &entity);
}

/* True for the first who asks, of a thread group. */
static __always_inline bool mark_group(struct task_struct *task, __u32 mark)
{
	struct task_state *leader = task_state_of(task->group_leader);

	return !leader || !(__sync_fetch_and_or(&leader->process_marks, mark) & mark);
}

static __always_inline void emit(struct task_struct *task, __u32 entity, __u32 kind, __u32 status,
				 struct task_struct *trigger)
{
	struct process_event *event = EVENT_RESERVE(&events, struct process_event);
	struct task_struct *leader = task->group_leader;

	if (!event)
		return;
	event->kind = kind;
	event->entity = entity;
	event->pid = task->pid;
	event->tgid = task->tgid;
	event->signal = status & 0x7f;
	event->dumped_core = status >> 7 & 1;
	event->time_ns = bpf_ktime_get_ns();
	event->start_time_ns = leader->start_time;
	event->cgroup_id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	BPF_CORE_READ_STR_INTO(&event->comm, leader, comm);
	if (trigger) {
		event->trigger_tgid = trigger->tgid;
		BPF_CORE_READ_STR_INTO(&event->trigger_comm, trigger, group_leader, comm);
	}
	event_submit(&events, event);
}

/* `trigger` is NULL when only the entity of who wanted the memory is known. */
static __always_inline void count_oom_kill(struct task_struct *task, __u32 trigger_entity,
					   struct task_struct *trigger)
{
	__u32 entity = entity_of(task);
	struct process_row *row = row_of(entity);

	if (!row || !mark_group(task, MARK_OOM_COUNTED))
		return;
	if (trigger_entity == entity)
		ROW_ADD_ATOMIC(row->oom_kills[PROCESS_TRIGGER_SELF], 1);
	else
		ROW_ADD_ATOMIC(row->oom_kills[PROCESS_TRIGGER_OTHER], 1);
	emit(task, entity, PROCESS_EVENT_OOM, 0, trigger);
}

static __always_inline void count_signal(__u64 counts[PROCESS_SIGNALS], __u32 number)
{
	asm volatile("" : "+r"(number)); /* as in hist_record() */
	if (number >= PROCESS_SIGNALS)
		number = PROCESS_SIGNAL_REALTIME;
	ROW_ADD_ATOMIC(counts[number], 1);
}

/* What wait(2) will tell of the group: see wait_task_zombie(). */
static __always_inline __u32 exit_status(struct task_struct *task)
{
	task = READ_ONLY(task_struct, task);
	if (task->signal->flags & SIGNAL_GROUP_EXIT)
		return task->signal->group_exit_code;
	return task->group_leader->exit_code;
}

static __always_inline void count_exit(struct task_struct *task)
{
	__u32 entity, status, kind;
	struct process_row *row;

	if (task->flags & PF_KTHREAD)
		return;
	entity = entity_of(task);
	row = row_of(entity);
	if (!row)
		return;
	status = exit_status(task);
	kind = status & 0x7f	 ? PROCESS_EXIT_SIGNAL
	       : status & 0xff00 ? PROCESS_EXIT_ERROR
				 : PROCESS_EXIT_SUCCESS;
	ROW_ADD_ATOMIC(row->exits[kind], 1);
	if (kind == PROCESS_EXIT_SIGNAL) {
		count_signal(row->deaths, status & 0x7f);
		emit(task, entity, PROCESS_EVENT_KILLED, status, NULL);
	}
}

static __always_inline void count_awaited_victim(struct task_struct *task)
{
	__u32 pid = task->pid;
	__u64 *found, trigger_entity;

	if (!settings.oom_by_pid)
		return;
	found = bpf_map_lookup_elem(&process_victims, &pid);
	if (!found)
		return;
	trigger_entity = *found;
	if (!bpf_map_delete_elem(&process_victims, &pid))
		count_oom_kill(task, trigger_entity, NULL);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task)
{
	struct process_row *row = row_of(entity_of(task));

	budget_count();
	if (row)
		ROW_ADD_ATOMIC(row->execs, 1);
	return 0;
}

/* From 6.15 on the tracepoint says which thread is the group's last. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task, bool group_dead)
{
	budget_count();
	count_awaited_victim(task);
	if (group_dead)
		count_exit(task);
	return 0;
}

/*
 * Before, the last one has brought the number of live threads to 0. Two that exit at once may both see
 * that: the first to get here is counted.
 */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit_by_live, struct task_struct *task)
{
	budget_count();
	count_awaited_victim(task);
	if (READ_ONLY(task_struct, task)->signal->live.counter == 0 &&
	    mark_group(task, MARK_EXIT_COUNTED))
		count_exit(task);
	return 0;
}

/*
 * Each signal that a thread takes, not those ignored or blocked. What ends a process is turned into SIGKILL for each of
 * its threads before it gets here: such are counted by their own name when the process has ended.
 */
SEC("tp_btf/signal_deliver")
int BPF_PROG(process_signal, int number)
{
	struct process_row *row;

	budget_count();
	if (number == SIGKILL)
		return 0;
	row = row_of(entity_of(bpf_get_current_task_btf()));
	if (row)
		count_signal(row->signals, number);
	return 0;
}

/* A process is chosen once more when another of its threads needs memory to die: counted once. */
SEC("tp_btf/mark_victim")
int BPF_PROG(process_oom, struct task_struct *task)
{
	struct task_struct *current_task = bpf_get_current_task_btf();

	budget_count();
	count_oom_kill(task, entity_of(current_task), current_task);
	return 0;
}

/* Until 6.8 (72ba14deb40a) the victim was a number. */
SEC("tp_btf/mark_victim")
int BPF_PROG(process_oom_by_pid, const int pid)
{
	__u64 trigger_entity = entity_of(bpf_get_current_task_btf());
	__u32 key = pid;

	budget_count();
	bpf_map_update_elem(&process_victims, &key, &trigger_entity, BPF_ANY);
	return 0;
}
