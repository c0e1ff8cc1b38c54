/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows that the kernel side keeps of connections that speak something else than HTTP/1 (bpf/streams.h), apart from the
 * probe around them. Loop thread only.
 */
#ifndef LEADLINE_REQUESTS_EXCHANGES_H
#define LEADLINE_REQUESTS_EXCHANGES_H

#include <stdint.h>
#include "agent/metric.h"
#include "bpf/lib/protocol_numbers.h"
#include "bpf/requests.h"
#include "bpf/streams.h"

struct exchange_tables { /* memory shared with the kernel side */
	unsigned lanes, rows;
	struct exchange_row *row; /* row r of lane l at l * rows + r */
	union {
		struct exchange_key key;
		uint64_t word;
	} * key; /* by row */
};

/* The first rows are "other", by protocol and role; only those behind them are given to keys. */
#define EXCHANGE_FIRST_ROW (PREFIX_PROTOCOLS * REQUESTS_ROLES)

/* Label value; "" for what is none. */
const char *stream_protocol_name(unsigned protocol);

/* Writes all as series and starts the maxima anew. Returns the number of exchanges. */
uint64_t exchange_tables_write(const struct exchange_tables *tables, struct metric_writer *writer);

/* Bytes so far of an entity's calls of one protocol, of those whose copies were lost, and of those not copied any more. */
struct exchange_bytes {
	uint32_t entity;
	unsigned protocol;
	uint64_t bytes, lost_bytes;
	uint64_t stopped_bytes[STREAM_STOP_REASONS];
};
void exchange_tables_each_bytes(const struct exchange_tables *tables,
				void (*callback)(void *context, const struct exchange_bytes *bytes),
				void *context);

/* Clears the rows of an entity and calls back for each, to forget its key and give it back. Returns how many exchanges that were. */
uint64_t exchange_tables_forget(const struct exchange_tables *tables, uint32_t entity,
				void (*give_back)(void *context, uint32_t row,
						  const struct exchange_key *key),
				void *context);

#endif
