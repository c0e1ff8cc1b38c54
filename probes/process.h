/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the process probe makes of rows and of bytes from its ring, apart from the probe around it, so
 * that tests can make their own.
 */
#ifndef LEADLINE_PROBE_PROCESS_H
#define LEADLINE_PROBE_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "agent/metric.h"
#include "bpf/process.h"

/* What this kernel lets the probe see: the rest has no series, rather than ones that stay at 0. */
struct process_sights {
	bool execs, oom_kills;
};

/* Writes the series of an entity, none for an empty row. Returns the number of kernel events that the row sums up. */
uint64_t process_row_write(const struct process_row *row, uint32_t entity,
			   struct process_sights sights, struct metric_writer *writer);

/*
 * Takes bytes from the ring for an event, whatever they are. 0, or -EBADMSG and an untouched *ret_event
 * when the size or the kind is unknown, or the name is not terminated.
 */
int process_event_parse(const void *data, size_t size, struct process_event *ret_event);

/*
 * A sentence about an event; control characters in the name are shown as '?'. `labels` are those of its
 * entity. Returns its length, cut to size - 1.
 */
size_t process_event_describe(const struct process_event *event, const char *const labels[],
			      char *text, size_t size);

/* Everyday ways to end a program (terminate, hang up …) rather than a fault or a kill. */
bool process_event_is_ordinary(const struct process_event *event);

/* Lines are let through in turns of a fixed length, at most so many in each; the rest is counted. */
#define PROCESS_TURN_NS	   (10 * 1000000000ULL)
#define PROCESS_TURN_LINES 20
struct process_throttle {
	uint64_t turn_began_ns;
	unsigned lines;
	uint64_t held_back; /* in this turn */
};
/* Whether a line may be written now. */
bool process_throttle_allows(struct process_throttle *throttle, uint64_t now_ns);
/* Lines held back in a turn that is over; 0 while it lasts, and when asked again. */
uint64_t process_throttle_report(struct process_throttle *throttle, uint64_t now_ns);

#endif
