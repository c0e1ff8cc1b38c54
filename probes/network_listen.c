// SPDX-License-Identifier: Apache-2.0
/* The rows of listening ports; see network.h. Loop thread only. */
#include <stdio.h>
#include <string.h>
#include "bpf/lib/task.h"
#include "probes/network.h"

const struct metric_desc listen_queue_metric = {
	.name = "leadline_tcp_listen_queue_ratio",
	.help = "Connections that wait to be accepted, as a share of the accept queue's room; at 1 further ones are refused. "
		"Of several sockets at a port the fullest",
	.unit = "ratio",
	.kind = METRIC_GAUGE,
	.per_entity = true,
	.labels = { "port" },
	.merges_by_max = true,
};

const struct metric_desc listen_queue_max_metric = {
	.name = "leadline_tcp_listen_queue_max_ratio",
	.help = "The fullest that an accept queue was in this minute and the one before, as a share of its room",
	.unit = "ratio",
	.kind = METRIC_GAUGE,
	.per_entity = true,
	.labels = { "port" },
	.merges_by_max = true,
};

const struct metric_desc listen_overflows_metric = {
	.name = "leadline_tcp_listen_overflows_total",
	.help = "Attempts to connect that a listening socket dropped: its queue was full or, seldom, memory was short; as "
		"ListenDrops in /proc/net/netstat counts them",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "port" },
};

void listen_table_clear_levels(struct listen_table *table)
{
	for (unsigned i = 0; i < table->n; i++) {
		table->rows[i].level = 0;
		table->rows[i].sockets = 0;
	}
}

static double ratio_of(uint64_t level)
{
	return LISTEN_ROOM(level) ? (double)LISTEN_WAITING(level) / LISTEN_ROOM(level) : 0;
}

static void raise_level(uint64_t *level, uint64_t now)
{
	if (listen_level_is_above(now, *level))
		*level = now;
}

static double highest_ratio(struct listen_row *row, struct listen_past *past, bool new_window)
{
	uint64_t highest;

	if (new_window) {
		past->highest_before = past->highest;
		past->highest = 0;
	}
	raise_level(&past->highest, __atomic_exchange_n(&row->highest, 0, __ATOMIC_RELAXED));
	raise_level(&past->highest, row->level);
	highest = past->highest;
	raise_level(&highest, past->highest_before);
	return ratio_of(highest);
}

uint64_t listen_table_write(struct listen_table *table, uint64_t now_ns,
			    struct metric_writer *writer)
{
	bool new_window = now_ns - table->window_began_ns >= LISTEN_WINDOW_NS;
	uint64_t overflows = table->retired_overflows;

	if (new_window)
		table->window_began_ns = now_ns;
	for (unsigned i = 0; i < table->n; i++) {
		struct listen_row *row = &table->rows[i];
		char port[16] = "other";
		const char *const labels[] = { port };

		if (i == 0 ? !row->sockets && !row->overflows : !row->key.network)
			continue;
		if (i)
			snprintf(port, sizeof(port), "%u", row->key.port);
		metric_write(writer, &listen_queue_metric, row->entity, labels,
			     ratio_of(row->level));
		if (!table->hides_rushes)
			metric_write(writer, &listen_queue_max_metric, row->entity, labels,
				     highest_ratio(row, &table->pasts[i], new_window));
		if (!table->hides_overflows)
			metric_write(writer, &listen_overflows_metric, row->entity, labels,
				     (double)row->overflows);
		overflows += row->overflows;
	}
	return overflows;
}

/* A socket that still had this row finds another key there, or none, at the next pass, and takes another row. */
static void retire(struct listen_table *table, unsigned i,
		   void (*give_back)(void *context, uint32_t row, const struct listen_key *key),
		   void *context)
{
	struct listen_key key = table->rows[i].key;

	table->retired_overflows += table->rows[i].overflows;
	memset(&table->rows[i], 0, sizeof(table->rows[i]));
	table->pasts[i] = (struct listen_past){ 0 };
	give_back(context, i, &key);
}

void listen_table_expire(struct listen_table *table, uint64_t now_ns,
			 void (*give_back)(void *context, uint32_t row,
					   const struct listen_key *key),
			 void *context)
{
	for (unsigned i = 1; i < table->n; i++) {
		if (!table->rows[i].key.network)
			continue;
		if (table->rows[i].sockets || !table->pasts[i].used_ns)
			table->pasts[i].used_ns = now_ns;
		else if (now_ns - table->pasts[i].used_ns >= LISTEN_LINGER_NS)
			retire(table, i, give_back, context);
	}
}

bool listen_table_forget(struct listen_table *table, uint32_t entity)
{
	bool orphaned = false;

	for (unsigned i = 1; i < table->n; i++) {
		struct listen_row *row = &table->rows[i];

		if (!row->key.network || row->entity != entity)
			continue;
		row->entity = ENTITY_OTHER;
		if (row->sockets)
			orphaned = true;
		else
			table->pasts[i].used_ns =
				1; /* long ago: it expires before it is written again */
	}
	return orphaned;
}
