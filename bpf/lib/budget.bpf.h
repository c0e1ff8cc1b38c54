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
	return true;
}

#endif
