/* SPDX-License-Identifier: Apache-2.0 */
/* What the network probe makes of the kernel side's memory, apart from the probe around it, so that tests can make their own. */
#ifndef LEADLINE_PROBE_NETWORK_H
#define LEADLINE_PROBE_NETWORK_H

#include <stdbool.h>
#include <stdint.h>
#include "agent/metric.h"
#include "bpf/network.h"
#include "probes/drop_reasons.h"

extern const struct metric_desc packet_drops_metric, udp_drops_metric;
extern const struct metric_desc listen_queue_metric, listen_queue_max_metric,
	listen_overflows_metric;

/* Writes the drops per reason. `rows`: of all CPUs, one after the other. Returns how many there were. */
uint64_t packet_drops_write(const struct drop_reasons *reasons, const uint64_t *rows, unsigned cpus,
			    struct metric_writer *writer);

/* ---- UDP ---- */

struct udp_table {
	struct udp_totals *totals;
	struct udp_row *rows; /* by entity */
	unsigned entities;
	uint64_t forgotten[UDP_DROP_REASONS]; /* of entities that are gone */
	uint64_t other[UDP_DROP_REASONS]; /* as last written */
};

/*
 * `totals`: the drops as they were before the last pass over the sockets. What belongs to no entity is written as "other":
 * all of it but what still waits for an owner. Returns the number of drops.
 */
uint64_t udp_table_write(struct udp_table *table, const uint64_t totals[UDP_DROP_REASONS],
			 struct metric_writer *writer);
void udp_table_forget(struct udp_table *table, uint32_t entity);

/* ---- listening sockets ---- */

/* A port at which nothing listens any more stays on the page for so long. */
#define LISTEN_LINGER_NS (300ULL * 1000000000)

/* The highest level is that of this window and the one before, so that nobody who scrapes once in a window misses it. */
#define LISTEN_WINDOW_NS (60ULL * 1000000000)

/* What is kept of a row on this side. */
struct listen_past {
	uint64_t used_ns; /* when something was last seen to listen there; 0: not known */
	uint64_t highest, highest_before; /* levels in this window and in the one before */
};

struct listen_table {
	struct listen_row *rows;
	struct listen_past *pasts;
	bool hides_rushes; /* since only what waits at a collection is seen */
	bool hides_overflows; /* since packets of other kinds are among them */
	unsigned n; /* of both */
	uint64_t window_began_ns;
	uint64_t retired_overflows; /* of rows that were given back */
};

/* Before a pass over the sockets: clears what it sets. */
void listen_table_clear_levels(struct listen_table *table);
/* After it. Returns the number of overflows. */
uint64_t listen_table_write(struct listen_table *table, uint64_t now_ns,
			    struct metric_writer *writer);
/* Clears rows that were not used for long and hands them to give_back(). */
void listen_table_expire(struct listen_table *table, uint64_t now_ns,
			 void (*give_back)(void *context, uint32_t row,
					   const struct listen_key *key),
			 void *context);
/* True when sockets listen that now belong to nobody. */
bool listen_table_forget(struct listen_table *table, uint32_t entity);

#endif
