/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the budget (agent/budget.h) and the hot hooks tell each other, in a map named `budget_lanes` with one
 * element per CPU, in memory that the agent maps. A probe whose hooks may become hot has one. An event that is let pass touches
 * the first cache line only.
 */
#ifndef LEADLINE_BUDGET_WIRE_H
#define LEADLINE_BUDGET_WIRE_H

#ifndef __bpf__
#include <linux/types.h>
#endif

struct budget_lane {
	/* written by the hooks of this CPU */
	__u64 events; /* seen, recorded or not */
	__u64 last_ns; /* the last one recorded; not kept by every probe */
	__u32 skip; /* so many more are let pass */
	/* written by the agent */
	__u32 spread; /* `skip` is drawn evenly from 0 to this: one in 1 + spread / 2 is recorded */
	__u64 window_began_ns; /* what began earlier may have been missed in part */
	/*
	 * What begins later is not recorded: a window ends when it was meant to, even if the agent, having to wait for a CPU, takes the
	 * hooks away later. 0: no window; BUDGET_NO_WINDOW while hooks go and come, one after the other. Not heeded by every probe.
	 */
	__u64 window_ends_ns;
	__u32 weight; /* a recorded event stands for so many; 1 when none is missed */
	__u32 hooks_16; /* what hooks take from who makes an event, in 16ths of ns; 0 when they slow down nothing */
	/*
	 * Where events are system calls: the agent makes some now to see what hooks add to them. They go the way of others' calls, but stand
	 * for none.
	 */
	__u32 takes_own;
	__u32 turn; /* where connections are sampled: whose turn it is */
	/* written by the hooks, where they keep pace */
	__u32 drawn, run; /* events from the last one recorded to the next; the same, one earlier */
	__u32 last_pid, last_switches; /* of the thread of the last one recorded; 0: of nobody's */
	/* events in a row, and how long they took: since the agent cleared them */
	__u64 paced_events, paced_ns;
	/* Where events are system calls, in 16ths of ns: what hooks take from threads that task_is_marked_by_rcu() more than from others. */
	__u32 marked_16; /* written by the agent */
	__u32 own_is_marked; /* this thread of the agent is; written by the hooks */
	__u32 absences; /* times that hooks went away or came back, so far; written by the agent */
	__u32 pad[7];
};
_Static_assert(sizeof(struct budget_lane) == 128, "two cache lines");

#define BUDGET_NO_WINDOW 1 /* it has ended before it began */

/* Events in a row count as made without a pause when a thread does not leave the CPU meanwhile, or when they take less than this. */
#define BUDGET_PAUSE_NS	    200000
#define BUDGET_PACE_LONGEST (1U << 27) /* ns; 16ths of it fit into 32 bits */
#define BUDGET_PACE_STEP    5 /* it is learnt in steps of 1/2^5 */

#endif
