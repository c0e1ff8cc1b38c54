/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The shared maps. Task storage is looked up only: elements are created by bpf/entity.bpf.c outside the
 * scheduler, since creating one allocates.
 */
#ifndef LEADLINE_TASK_BPF_H
#define LEADLINE_TASK_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "lib/task.h"

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_state);
} task_states SEC(".maps");

/* By CPU; the agent sets their number. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cpu_turn);
} cpu_turns SEC(".maps");

static __always_inline struct cpu_turn *cpu_turn(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&cpu_turns, &cpu);
}

static __always_inline struct task_state *task_state_of(struct task_struct *task)
{
	return bpf_task_storage_get(&task_states, task, NULL, 0);
}

/* Its process has other threads. */
static __always_inline bool task_has_others(const struct task_struct *task)
{
	return BPF_CORE_READ(task, signal, live.counter) > 1;
}

/* How often the thread has left the CPU since sched saw it leave, modulo 2^32. */
static __always_inline __u32 task_unseen_switches(const struct task_struct *task,
						  const struct task_state *state)
{
	return (__u32)task->nvcsw - state->voluntary_switches + (__u32)task->nivcsw -
	       state->involuntary_switches;
}

#endif
