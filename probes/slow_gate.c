// SPDX-License-Identifier: Apache-2.0
/* Keeps the rate of requests that are told of; see slow_gate.h. */
#include <math.h>
#include <string.h>
#include "probes/slow_gate.h"

#define SECOND_NS 1000000000ULL
/* Slots, eight of which are a half, by which it is lowered in a second that was too quiet, or silent. */
#define STEP	    4
#define SILENT_STEP 8

/* The least duration of a slot. */
static uint64_t slot_begin(unsigned slot)
{
	if (!slot)
		return SLOW_GATE_OPEN;
	return (uint64_t)(exp2((HIST3_MIN_INDEX + (double)slot - 1) / (1 << HIST3_SCHEMA)) * 1e9) +
	       1;
}

static void begin_second(struct slow_gate *gate, uint64_t now_ns)
{
	gate->began_ns = now_ns;
	gate->passed = 0;
	memset(gate->slots, 0, sizeof(gate->slots));
}

/*
 * So that of those counted at most as many had passed as are wanted. Where one slot alone holds more, all of it is left out:
 * which of equals are slow is not to be told, and the next seconds bring it down again.
 */
static void raise_threshold(struct slow_gate *gate)
{
	unsigned slot = HIST3_SLOTS, sum = 0;

	while (slot && sum + gate->slots[slot - 1] <= SLOW_GATE_WANTED)
		sum += gate->slots[--slot];
	if (slot && slot_begin(slot) > gate->threshold_ns)
		gate->threshold_ns = slot_begin(slot);
}

static void lower_threshold(struct slow_gate *gate, uint64_t slots)
{
	unsigned slot = hist3_slot(gate->threshold_ns);

	gate->threshold_ns = slot_begin(slot > slots ? slot - (unsigned)slots : 0);
}

static void end_seconds(struct slow_gate *gate, uint64_t now_ns)
{
	uint64_t seconds = (now_ns - gate->began_ns) / SECOND_NS;

	if (gate->passed > 2 * SLOW_GATE_WANTED)
		raise_threshold(gate);
	else if (gate->passed < SLOW_GATE_WANTED / 2)
		lower_threshold(gate, gate->passed ? STEP : SILENT_STEP);
	if (seconds > 1)
		lower_threshold(gate, (seconds - 1) * SILENT_STEP);
	begin_second(gate, now_ns);
}

uint64_t slow_gate_turn(struct slow_gate *gate, uint64_t now_ns)
{
	if (!gate->threshold_ns) {
		gate->threshold_ns = SLOW_GATE_OPEN;
		begin_second(gate, now_ns);
	}
	if (now_ns >= gate->began_ns + SECOND_NS)
		end_seconds(gate, now_ns);
	return gate->threshold_ns;
}

bool slow_gate_passes(struct slow_gate *gate, uint64_t duration_ns, uint64_t now_ns)
{
	if (duration_ns < slow_gate_turn(gate, now_ns) && gate->threshold_ns > SLOW_GATE_OPEN)
		return false;
	gate->slots[hist3_slot(duration_ns)]++;
	if (++gate->passed >= SLOW_GATE_MOST) {
		raise_threshold(gate);
		begin_second(gate, now_ns);
	}
	return true;
}
