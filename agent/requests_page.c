// SPDX-License-Identifier: Apache-2.0
/*
 * The page /requests:
 *
 *   {"timestamp": "2024-05-01T12:00:00.123Z",
 *    "seconds": 5.0,                    rates, errors and percentiles are of so long; the first time, since the agent began
 *    "services": [{"labels": {…}, "side": "server" or "client", "in_flight", "oldest_seconds", "requests_per_connection",
 *                  "routes": [{"protocol", "operation", "route", "rate", "error_rate", "p50_seconds", "p99_seconds",
 *                              "requests", "errors"}]}],
 *    "slow": [{"time", "duration_seconds", "first_byte_seconds", "labels": {…}, "side", "protocol", "operation", "route",
 *              "target", "status", "error", "peer", "local", "pid", "tid", "request_bytes", "response_bytes", "connect_seconds", "retransmits", "rtt_seconds",
 *              "waits": {"outbound": 0.018, …}, "downstreams": [{"peer", "protocol", "seconds"}]}]}
 *
 * Rates are per second; `time` is the end of a request; what is not known is null. In flight are those of the service in all protocols.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include "agent/requests_page.h"

#define SECOND_NS     1000000000ULL
#define WINDOW_NS     (5 * SECOND_NS) /* rates are of so long, up to twice that */
#define SHORTEST_NS   (SECOND_NS / 5) /* that tells a rate */
#define MAX_WINDOW_NS (60 * SECOND_NS)

struct requests_page {
	struct snapshot *older, *newer; /* NULL: none */
};

struct requests_page *requests_page_new(void)
{
	return calloc(1, sizeof(struct requests_page));
}

static void drop_both(struct requests_page *page)
{
	snapshot_put(page->older);
	snapshot_put(page->newer);
	page->older = page->newer = NULL;
}

void requests_page_free(struct requests_page *page)
{
	if (!page)
		return;
	drop_both(page);
	free(page);
}

void requests_page_expire(struct requests_page *page, uint64_t monotonic_ns)
{
	if (page->newer && monotonic_ns > page->newer->monotonic_ns + MAX_WINDOW_NS)
		drop_both(page);
}

/* ---- what to compare with ---- */

static const struct snapshot *find_base(const struct requests_page *page,
					const struct snapshot *now)
{
	const struct snapshot *base = page->older ? page->older : page->newer;

	return base && now->monotonic_ns >= base->monotonic_ns + SHORTEST_NS ? base : NULL;
}

static void remember(struct requests_page *page, struct snapshot *now)
{
	if (page->newer && now->monotonic_ns < page->newer->monotonic_ns + WINDOW_NS)
		return;
	snapshot_put(page->older);
	page->older = page->newer;
	page->newer = snapshot_get(now);
}

/* ---- JSON ---- */

static void put_key(struct buffer *out, const char *key)
{
	if (out->size && out->data[out->size - 1] != '{')
		buffer_char(out, ',');
	buffer_char(out, '"');
	buffer_string(out, key);
	buffer_string(out, "\":");
}

static void put_number(struct buffer *out, const char *key, double value)
{
	put_key(out, key);
	if (isfinite(value))
		buffer_number(out, value);
	else
		buffer_string(out, "null");
}

static void put_seconds(struct buffer *out, const char *key, uint64_t ns)
{
	put_number(out, key, ns ? (double)ns / 1e9 : NAN);
}

static void put_text(struct buffer *out, const char *key, const char *text)
{
	put_key(out, key);
	if (*text)
		buffer_json_string(out, text);
	else
		buffer_string(out, "null");
}

static void put_labels(struct buffer *out, const char *const *entity)
{
	put_key(out, "labels");
	buffer_char(out, '{');
	for (int i = 0; i < ENTITY_LABELS; i++)
		if (*entity[i])
			put_text(out, entity_label_names[i], entity[i]);
	buffer_char(out, '}');
}

static void put_row(struct buffer *out, const struct requests_route *row, double seconds)
{
	buffer_char(out, '{');
	put_text(out, "protocol", row->protocol);
	put_text(out, "operation", row->operation);
	put_text(out, "route", row->route);
	put_number(out, "rate", seconds > 0 ? (double)row->requests / seconds : NAN);
	put_number(out, "error_rate", seconds > 0 ? (double)row->errors / seconds : NAN);
	put_number(out, "p50_seconds", row->p50);
	put_number(out, "p99_seconds", row->p99);
	put_number(out, "requests", (double)row->all_requests);
	put_number(out, "errors", (double)row->all_errors);
	buffer_char(out, '}');
}

static void put_services(struct buffer *out, const struct requests_table *table, double seconds)
{
	put_key(out, "services");
	buffer_char(out, '[');
	for (size_t i = 0; i < table->n_services; i++) {
		const struct requests_service *service = &table->services[i];

		buffer_string(out, i ? ",\n{" : "\n{");
		put_labels(out, service->entity);
		put_text(out, "side", service->side);
		put_number(out, "in_flight", service->in_flight);
		put_number(out, "oldest_seconds", service->oldest);
		put_number(out, "requests_per_connection", service->requests_per_connection);
		put_key(out, "routes");
		buffer_char(out, '[');
		for (size_t row = 0; row < service->n_rows; row++) {
			if (row)
				buffer_char(out, ',');
			put_row(out, &table->rows[service->first_row + row], seconds);
		}
		buffer_string(out, "]}");
	}
	buffer_char(out, ']');
}

static void put_waits(struct buffer *out, const struct request_record *record)
{
	put_key(out, "waits");
	if (!record->n_waits) {
		buffer_string(out, "null");
		return;
	}
	buffer_char(out, '{');
	for (size_t i = 0; i < record->n_waits; i++)
		put_seconds(out, record->waits[i].reason, record->waits[i].ns);
	buffer_char(out, '}');
}

static void put_downstreams(struct buffer *out, const struct request_record *record)
{
	put_key(out, "downstreams");
	buffer_char(out, '[');
	for (size_t i = 0; i < record->n_downstreams; i++) {
		const struct request_downstream *downstream = &record->downstreams[i];

		buffer_string(out, i ? ",{" : "{");
		put_text(out, "peer", downstream->peer);
		put_text(out, "protocol", downstream->protocol);
		put_seconds(out, "seconds", downstream->ns);
		buffer_char(out, '}');
	}
	buffer_char(out, ']');
}

static void put_slow(struct buffer *out, const struct request_entry *entry,
		     const struct snapshot *snapshot)
{
	const struct request_record *record = entry->record;
	bool is_connection_known = *record->peer;

	buffer_char(out, '{');
	put_key(out, "time");
	buffer_timestamp(out, snapshot_realtime(snapshot, record->end_ns));
	put_number(out, "duration_seconds", (double)record->duration_ns / 1e9);
	put_seconds(out, "first_byte_seconds", record->first_byte_ns);
	put_labels(out, entry->entity);
	put_text(out, "side", record->side);
	put_text(out, "protocol", record->protocol);
	put_text(out, "operation", record->operation);
	put_text(out, "route", record->route);
	put_text(out, "target", record->target);
	put_text(out, "status", record->status);
	put_text(out, "error", record->error);
	put_text(out, "peer", record->peer);
	put_text(out, "local", record->local);
	put_number(out, "pid", record->pid ? record->pid : NAN);
	put_number(out, "tid", record->tid ? record->tid : NAN);
	put_number(out, "request_bytes", (double)record->request_bytes);
	put_number(out, "response_bytes", (double)record->response_bytes);
	put_seconds(out, "connect_seconds", record->connect_ns);
	put_number(out, "retransmits", is_connection_known ? record->retransmits : NAN);
	put_number(out, "rtt_seconds", record->rtt_us ? record->rtt_us / 1e6 : NAN);
	put_waits(out, record);
	put_downstreams(out, record);
	buffer_char(out, '}');
}

static void put_slow_ones(struct buffer *out, const struct snapshot *snapshot,
			  const struct requests_query *query)
{
	unsigned n = 0;

	put_key(out, "slow");
	buffer_char(out, '[');
	for (size_t i = 0; i < snapshot->n_slow && n < query->limit; i++) {
		const struct request_entry *entry = &snapshot->slow[i];

		if (!requests_filter_has(&query->filter, entry->entity, entry->record->protocol))
			continue;
		buffer_string(out, n++ ? ",\n" : "\n");
		put_slow(out, entry, snapshot);
	}
	buffer_char(out, ']');
}

int requests_page_write(struct requests_page *page, struct snapshot *snapshot,
			const struct requests_query *query, uint64_t uptime_ns, struct buffer *out)
{
	const struct snapshot *base;
	struct requests_table table;
	double seconds;
	int err = 0;

	requests_page_expire(page, snapshot->monotonic_ns);
	base = find_base(page, snapshot);
	seconds = (double)(base ? snapshot->monotonic_ns - base->monotonic_ns : uptime_ns) / 1e9;
	buffer_char(out, '{');
	put_key(out, "timestamp");
	buffer_timestamp(out, snapshot->realtime_ns);
	put_number(out, "seconds", seconds);
	if (query->has_services) {
		err = requests_table_make(&table, snapshot, base, &query->filter);
		if (!err)
			put_services(out, &table, seconds);
		requests_table_free(&table);
		remember(page, snapshot);
	}
	if (query->has_slow)
		put_slow_ones(out, snapshot, query);
	buffer_string(out, "}\n");
	return err ? err : buffer_error(out);
}
