/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For how many an event stands that was recorded while the hooks were there for part of the time only. Pure; one per CPU.
 *
 * Time is cut into slots of equal length, each with one window at a random place in it that stands for the whole slot: its
 * events weigh the slot's length over its own. How long a window is is not known before it is over: what it was given too much or
 * too little is settled with the next.
 */
#ifndef LEADLINE_BUDGET_WEIGHT_H
#define LEADLINE_BUDGET_WEIGHT_H

#include <stdint.h>

struct budget_weight {
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
/* It is closed after having lasted `length_ns` in truth. */
void budget_weight_close(struct budget_weight *weight, double length_ns);

/*
 * Which part of the time that hooks take in a window is taken from the work they count. On a busy CPU it is all of it: a thread that
 * makes an event every i ns in its share of the CPU, c of them the hooks', would make one every i - c without, hence what is
 * counted stands for i / (i - c) as much. A CPU that is busy for a share b of the time without hooks has 1 - b to give first.
 * With S the share of the window in which events were made one after the other, the others had 1 - S, and without
 * hooks those that make events would have had b - (1 - S), hence the factor (1 - (1 - b) / S) i / (i - c), 1 or more; the part returned
 * is the one of c that has the same effect in i / (i - c).
 */
double budget_weight_taken(double hooks_ns, double pace_ns, double share, double busy);

/*
 * How many times as much would have happened in a window without its hooks, which took a share of the CPU's time in it, on a CPU that is
 * busy for a share b of the time without: what was idle is given first.
 */
double budget_weight_slowdown(double hooks_share, double busy);

#endif
