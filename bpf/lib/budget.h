/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the budget (agent/budget.h) and the hot hooks tell each other, in a map named `budget_lanes` with one
 * element per CPU, a cache line each, in memory that the agent maps. A probe whose hooks may become hot has one.
 */
#ifndef LEADLINE_BUDGET_WIRE_H
#define LEADLINE_BUDGET_WIRE_H

#ifndef __bpf__
#include <linux/types.h>
#endif

struct budget_lane {
	/* written by the hooks of this CPU */
	__u64 events; /* seen, recorded or not */
	__u64 first_ns; /* first and last event recorded since the agent cleared first_ns; not kept by every probe */
	__u64 last_ns;
	__u32 skip; /* so many more are let pass */
	/* written by the agent */
	__u32 spread; /* `skip` is drawn evenly from 0 to this: one in 1 + spread / 2 is recorded */
	__u64 window_began_ns; /* what began earlier may have been missed in part */
	__u32 weight; /* a recorded event stands for so many; 1 when none is missed */
	__u32 pad[5];
};
_Static_assert(sizeof(struct budget_lane) == 64, "a cache line");

#endif
