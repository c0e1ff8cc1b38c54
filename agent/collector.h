/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Collections: on the loop thread every probe writes its values, and the snapshot is published; the HTTP thread
 * takes the latest one, or asks for a fresh one and waits, bounded.
 */
#ifndef LEADLINE_COLLECTOR_H
#define LEADLINE_COLLECTOR_H

#include <stdint.h>
#include "agent/registry.h"

struct collector;
struct loop;

/* Writes all values of one collection. */
typedef void (*collector_write_fn)(void *context, struct metric_writer *writer);

int collector_new(struct loop *loop, struct registry *registry, collector_write_fn write,
		  void *context, struct collector **ret_collector);
void collector_free(struct collector *collector); /* no thread may wait any more; NULL is fine */

/* Collects now. The new snapshot, borrowed until the next collection; NULL when memory ran out. Loop thread. */
struct snapshot *collector_collect(struct collector *collector);

/*
 * A snapshot no older than `max_age_ns`: the latest one, or a new one that the loop is asked for. When that takes
 * longer than `patience_ns`, the latest there is, however old. A reference for the caller, or NULL before the first
 * collection. Any thread but the loop's.
 */
struct snapshot *collector_fresh(struct collector *collector, uint64_t max_age_ns,
				 uint64_t patience_ns);
/* The latest one, without waiting. Any thread. */
struct snapshot *collector_latest(struct collector *collector);

/* From here on nobody waits: the agent is going down. */
void collector_shut_down(struct collector *collector);

/* How long the last collection took. Loop thread. */
uint64_t collector_last_duration_ns(const struct collector *collector);

#endif
