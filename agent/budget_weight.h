/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For how many an event stands that was recorded while the hooks were there for part of the time only. Pure; one per CPU.
 *
 * Time is cut into slots of equal length, each with one window at a random place in it that stands for the whole slot: its
 * events weigh the slot's length over its own. And the hooks themselves slow down what they count: when a share h of a
 * CPU goes into them and the CPU is busy otherwise, only 1 - h of the window went into the work, of which without hooks
 * there would be as much as the CPU is busy, b. Hence the further factor b / (1 - h), but never below 1, as an idle CPU just
 * idles less. Neither that nor the length of a window is known before it is over: what it was given too much or too little is
 * settled with the next.
 */
#ifndef LEADLINE_BUDGET_WEIGHT_H
#define LEADLINE_BUDGET_WEIGHT_H

#include <stdint.h>

struct budget_weight {
	double slowdown; /* 1 or more */
	double owed_ns; /* time that windows have to stand for and did not */
	double given; /* weight of the window that is open, per event that happened */
};

void budget_weight_start(struct budget_weight *weight);
/*
 * A window opens, to last about `length_ns`, for slots of `slot_ns` in sum; one event in 2^shift is recorded. Returns what each
 * weighs, at least 1.
 */
uint32_t budget_weight_open(struct budget_weight *weight, double slot_ns, double length_ns,
			    unsigned shift);
/*
 * It is closed after having lasted `length_ns` in truth, with a share `hooks` of this CPU's time spent in hooks. `busy`: share
 * of the time that the CPU is not idle without them.
 */
void budget_weight_close(struct budget_weight *weight, double length_ns, double hooks, double busy);

#endif
