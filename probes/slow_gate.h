/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How slow a request must be to be told of, so that at any rate of requests only some hundred a second are: the slowest of late. Follows what it
 * lets pass; while there is little, that is everything. Pure: times are given. Loop thread only.
 */
#ifndef LEADLINE_SLOW_GATE_H
#define LEADLINE_SLOW_GATE_H

#include <stdbool.h>
#include <stdint.h>
#include "bpf/lib/hist.h"

#define SLOW_GATE_WANTED 100 /* a second */
#define SLOW_GATE_MOST	 400 /* in less than a second, then it is raised at once */
#define SLOW_GATE_OPEN	 1 /* threshold in ns that everything passes */

struct slow_gate {
	uint64_t threshold_ns; /* 0: not begun */
	uint64_t began_ns; /* the second at hand */
	unsigned passed; /* in it */
	uint16_t slots[HIST3_SLOTS]; /* their durations */
};

/*
 * Whether a request of this duration is slow enough at that time (CLOCK_MONOTONIC, which need not be in order); counts it
 * where it is.
 */
bool slow_gate_passes(struct slow_gate *gate, uint64_t duration_ns, uint64_t now_ns);
/* Lets time pass without a request. Returns the threshold in force. */
uint64_t slow_gate_turn(struct slow_gate *gate, uint64_t now_ns);

#endif
