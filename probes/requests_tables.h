/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables that bpf/requests.bpf.c fills, apart from the probe around them, so that tests can make
 * their own. Loop thread only.
 */
#ifndef LEADLINE_PROBE_REQUESTS_TABLES_H
#define LEADLINE_PROBE_REQUESTS_TABLES_H

#include <stdint.h>
#include "agent/metric.h"
#include "bpf/requests.h"

struct requests_tables { /* memory shared with the kernel side */
	unsigned lanes, rows, entities;
	struct requests_row *row; /* row r of lane l at l * rows + r */
	union {
		struct requests_key key;
		uint64_t word;
	} * key; /* by row */
	struct requests_bytes *bytes; /* entity e of lane l at l * entities + e */
	struct requests_in_flight *in_flight; /* by entity */
};

#define REQUESTS_LABELS 6 /* of the histograms of HTTP */

/* enum http1_method, as a label. */
const char *requests_method(unsigned method);

/* The labels of a key in requests_duration_metrics; the status is written to the place given. */
void requests_labels(const struct requests_key *key, char status[8], const char *labels[]);

/* Rows per lane: `wanted`, or the default when that is 0. */
unsigned requests_rows_for(unsigned wanted);
/* Lanes for so many CPUs: one each, or on larger machines some shared by several. */
unsigned requests_lanes_for(unsigned cpus);
/* The part of the settings that the kernel side cannot compute: which classic bucket a duration belongs to. */
void requests_set_bounds(struct requests_settings *settings);

/*
 * Writes all as series and starts the maxima anew. now_ns: CLOCK_MONOTONIC, when in_flight was filled; 0
 * when it was not. Returns the number of requests.
 */
uint64_t requests_tables_write(const struct requests_tables *tables, struct metric_writer *writer,
			       uint64_t now_ns);

/*
 * Clears all that is kept under an entity and calls back for each of its rows, to forget its key and give it
 * back. Returns the number of requests that were recorded in them.
 */
uint64_t requests_tables_forget(const struct requests_tables *tables, uint32_t entity,
				void (*give_back)(void *context, uint32_t row,
						  const struct requests_key *key),
				void *context);

#endif
