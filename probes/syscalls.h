/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables that bpf/syscalls.bpf.c fills, apart from the probe around them, so that tests can make
 * their own. Loop thread only.
 */
#ifndef LEADLINE_PROBE_SYSCALLS_H
#define LEADLINE_PROBE_SYSCALLS_H

#include <stdint.h>
#include "agent/metric.h"
#include "bpf/syscalls.h"

extern const struct metric_desc syscall_duration_metric, syscall_errors_metric,
	syscall_fsync_metric;

struct syscall_tables { /* memory shared with the kernel side */
	unsigned cpus, rows, entities;
	struct syscall_row *row; /* row r of CPU c at c * rows + r */
	uint64_t *key; /* by row */
	struct syscall_index *index; /* by entity */
};

struct syscall_totals {
	uint64_t calls;
	uint64_t unattributed; /* of them, those that found no row */
};

/* Rows per CPU: `wanted`, or when that is 0 as many as fit the default size (see the option rows). */
unsigned syscall_rows_for(unsigned cpus, unsigned wanted);

/* Writes all rows as series and starts the maxima anew. Returns how much there was. */
struct syscall_totals syscall_tables_write(const struct syscall_tables *tables,
					   struct metric_writer *writer);

/*
 * Clears every row of an entity and calls back for each, to give it back. Returns the number of calls that
 * were recorded in them.
 */
uint64_t syscall_tables_forget(const struct syscall_tables *tables, uint32_t entity,
			       void (*give_back)(void *context, uint32_t row), void *context);

#endif
