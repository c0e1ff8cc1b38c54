/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The kernel side of the budget: counts what hot hooks see, and lets pass what is not to be recorded. Costs one
 * array lookup and one cache line of this CPU. For hooks that run with preemption off, in one context.
 */
#ifndef LEADLINE_BUDGET_BPF_H
#define LEADLINE_BUDGET_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "lib/budget.h"
#include "lib/task.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct budget_lane);
} budget_lanes SEC(".maps");

static __always_inline struct budget_lane *budget_lane(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&budget_lanes, &cpu);
}

/* For a hook that records whatever it sees. */
static __always_inline struct budget_lane *budget_count(void)
{
	struct budget_lane *lane = budget_lane();

	if (lane)
		lane->events++;
	return lane;
}

/*
 * For a hook that may record a part: false when this event is let pass. How many are is drawn at random, since calls
 * come in patterns; they are counted when drawn.
 */
static __always_inline bool budget_takes(struct budget_lane *lane)
{
	__u32 skip = lane->skip;

	if (skip) {
		lane->skip = skip - 1;
		return false;
	}
	if (lane->spread) {
		skip = bpf_get_prandom_u32() % (lane->spread + 1);
		lane->skip = skip;
	}
	lane->events += skip + 1;
	lane->run = lane->drawn;
	lane->drawn = skip + 1;
	return true;
}

/*
 * How fast its thread makes events, of which `task` makes one now that is recorded: the time since the last one recorded
 * and how many there were, if the thread did nothing else meanwhile. The median, by steps towards each: interrupts and what
 * a hypervisor takes away are in the mean, and take the same part of the time whether hooks are there or not.
 */
static __always_inline void budget_keep_pace(struct budget_lane *lane, struct task_struct *task,
					     struct task_state *state, __u64 now_ns)
{
	__u32 switches = (__u32)task->nvcsw + (__u32)task->nivcsw;
	__u64 ns = now_ns - lane->last_ns;
	__u32 each_16;

	if (lane->last_pid && lane->run && lane->last_ns >= lane->window_began_ns &&
	    (ns < BUDGET_PAUSE_NS ||
	     (lane->last_pid == (__u32)task->pid && lane->last_switches == switches))) {
		if (ns > BUDGET_PACE_LONGEST)
			ns = BUDGET_PACE_LONGEST;
		lane->paced_ns += ns;
		lane->paced_events += lane->run;
		each_16 = 16 * ns / lane->run;
		if (!state->pace_16)
			state->pace_16 = each_16;
		else if (each_16 > state->pace_16)
			state->pace_16 += (state->pace_16 >> BUDGET_PACE_STEP) + 1;
		else
			state->pace_16 -= state->pace_16 >> BUDGET_PACE_STEP;
	}
	lane->last_pid = task->pid;
	lane->last_switches = switches;
}

/* For how many a recorded event stands: more than its part when hooks keep the thread from making as many as it would. */
static __always_inline __u32 budget_weight(const struct budget_lane *lane,
					   const struct task_state *state, bool is_marked)
{
	__u64 hooks_16 = lane->hooks_16, pace_16 = state->pace_16, left_16;

	if (!hooks_16 || !pace_16)
		return lane->weight;
	if (is_marked)
		hooks_16 += lane->marked_16;
	left_16 = hooks_16 < pace_16 - pace_16 / 20 ? pace_16 - hooks_16 : pace_16 / 20 + 1;
	return (lane->weight * pace_16 + left_16 / 2) / left_16;
}

#endif
