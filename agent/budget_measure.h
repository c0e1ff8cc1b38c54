/* SPDX-License-Identifier: Apache-2.0 */
/* Measuring what hooks cost on this machine. Loop thread, or a command of its own. */
#ifndef LEADLINE_BUDGET_MEASURE_H
#define LEADLINE_BUDGET_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The lower middle one of n > 0 values, which it sorts. */
double budget_median(double values[], size_t n);

/*
 * ns of the cheapest system call there is, as made by this thread now: the median of some batches. Makes so many of
 * them, about 0.3 ms.
 */
#define BUDGET_MEASURE_CALLS 1500
double budget_measure_call(void);

struct budget_floor {
	double dispatch_ns; /* reaching a tracepoint with an empty program, half of what two add to a system call */
	double call_ns; /* the cheapest system call, without hooks; 0: not measured */
	double clock_ns; /* what the kernel's statistics show for an empty program: their own clock */
	bool measured; /* dispatch_ns; else typical */
};
/*
 * Attaches empty programs for a moment, some milliseconds. Nothing else of ours may be at the entry of system calls. When it is
 * not to, as without a budget nobody asks, typical values.
 */
struct budget_floor budget_measure_floor(bool is_needed);

/*
 * ns of what a program that is run for a call in user space, or for its return, adds to that: a trap each. Attaches an empty one to a function
 * of this program for a moment; a typical value where that fails.
 */
double budget_measure_trap(void);

/* The kernel counts runs and time of every program while this descriptor is open. Needs CAP_SYS_ADMIN. -errno. */
int budget_statistics_on(void);

/*
 * Share of the time that each CPU was not idle since the last call with the same `memory`, of 2 * cpus numbers that begin as zero.
 * What is not known is 1.
 */
void budget_measure_busy(unsigned cpus, uint64_t memory[], double ret_busy[]);

#endif
