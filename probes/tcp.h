/* SPDX-License-Identifier: Apache-2.0 */
/* What the tcp probe makes of a row, apart from the probe around it, so that tests can make their own. */
#ifndef LEADLINE_PROBE_TCP_H
#define LEADLINE_PROBE_TCP_H

#include <stdbool.h>
#include <stdint.h>
#include "agent/metric.h"
#include "bpf/tcp.h"

/* What is looked at; of the rest there are no series, rather than zeros. */
struct tcp_sights {
	bool resets[TCP_DIRECTIONS];
};

/*
 * Writes the series of an entity, none for a row in which nothing happened yet, and starts the maxima
 * anew. Returns the number of kernel events that the row sums up.
 */
uint64_t tcp_row_write(struct tcp_row *row, uint32_t entity, struct tcp_sights sights,
		       struct metric_writer *writer);

/*
 * Clears the row for another entity. Sockets of the former one are from now on counted as "other".
 * Returns the number of kernel events that it summed up.
 */
uint64_t tcp_row_forget(struct tcp_row *row);

#endif
