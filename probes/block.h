/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables that bpf/block.bpf.c fills, apart from the probe around them, so that tests can make their own.
 * Loop thread only.
 */
#ifndef LEADLINE_PROBE_BLOCK_H
#define LEADLINE_PROBE_BLOCK_H

#include <stdint.h>
#include "agent/metric.h"
#include "bpf/block.h"

struct block_tables { /* memory shared with the kernel side */
	unsigned cpus, rows;
	struct block_row *row; /* row r of CPU c at c * rows + r */
	struct block_record *record; /* by row */
};

struct block_totals {
	uint64_t requests;
	uint64_t unattributed; /* of them, those that found no row */
	uint64_t untimed; /* of them, those without a time in the device */
};

/* Called for each device with reads or writes whose time in the queue the kernel does not note. */
typedef void (*block_untimed_fn)(void *context, const char *device);

/* Rows per CPU: `wanted`, or when that is 0 as many as fit the default size (see the option rows). */
unsigned block_rows_for(unsigned cpus, unsigned wanted);

/* Writes all rows as series and starts the maxima anew. Returns how much there was. */
struct block_totals block_tables_write(const struct block_tables *tables,
				       struct metric_writer *writer, block_untimed_fn untimed,
				       void *context);

const char *block_operation_name(uint32_t operation); /* "other" for one it does not know */
const char *
block_status_name(uint32_t status); /* as the kernel's BLK_STS_*, without the prefix; or "other" */

#endif
