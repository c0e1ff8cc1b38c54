/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables that bpf/memory.bpf.c fills, apart from the probe around them, so that tests can make their own.
 * Loop thread only.
 */
#ifndef LEADLINE_PROBE_MEMORY_H
#define LEADLINE_PROBE_MEMORY_H

#include <stdint.h>
#include "agent/metric.h"
#include "bpf/memory.h"

extern const struct metric_desc memory_faults_metric, memory_io_metric, memory_throttle_metric,
	memory_stall_metric;

struct memory_tables { /* memory shared with the kernel side */
	unsigned entities, stall_rows;
	struct memory_row *row; /* by entity */
	struct memory_stall_row *stall;
};

struct memory_totals {
	uint64_t stalls;
	uint64_t unattributed; /* of them, those of programs that found no row */
};

/* Writes all rows as series and starts the maxima anew. Returns how much there was. */
struct memory_totals memory_tables_write(const struct memory_tables *tables,
					 struct metric_writer *writer);

/*
 * Clears all that is kept under an entity and calls back for each row of a stall, to give it back. Returns the number
 * of stalls that were recorded in them.
 */
uint64_t memory_tables_forget(const struct memory_tables *tables, uint32_t entity,
			      void (*give_back)(void *context, const struct memory_stall_key *key,
						uint32_t row),
			      void *context);

#endif
