// SPDX-License-Identifier: Apache-2.0
/* The kernel side's rows of requests into series, see requests_tables.h. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "probes/requests_metrics.h"
#include "probes/requests_tables.h"
#include "bpf/lib/http1_method.h"
#include "bpf/lib/task.h"

#define DEFAULT_ROWS 512
#define MIN_ROWS     16
#define MAX_LANES    8 /* power of two */

static const char *const role_names[REQUESTS_ROLES] = {
	[REQUESTS_SERVER] = "server",
	[REQUESTS_CLIENT] = "client",
};

static const char *const method_names[HTTP1_METHODS] = {
	[HTTP1_METHOD_OTHER] = "_OTHER", [HTTP1_GET] = "GET",	      [HTTP1_HEAD] = "HEAD",
	[HTTP1_POST] = "POST",		 [HTTP1_PUT] = "PUT",	      [HTTP1_DELETE] = "DELETE",
	[HTTP1_CONNECT] = "CONNECT",	 [HTTP1_OPTIONS] = "OPTIONS", [HTTP1_TRACE] = "TRACE",
	[HTTP1_PATCH] = "PATCH",
};

unsigned requests_rows_for(unsigned wanted)
{
	if (!wanted)
		return DEFAULT_ROWS;
	return wanted > MIN_ROWS ? wanted : MIN_ROWS;
}

unsigned requests_lanes_for(unsigned cpus)
{
	return cpus <= MAX_LANES ? cpus : MAX_LANES;
}

void requests_set_bounds(struct requests_settings *settings)
{
	static const uint64_t bounds_ns[] = REQUESTS_BOUNDS_NS;
	unsigned bound = 0;

	for (unsigned slot = 0; slot < HIST3_SLOTS; slot++) {
		while (bound < REQUESTS_BOUNDS && hist3_slot(bounds_ns[bound]) < slot)
			bound++;
		settings->bounds_below[slot] = (uint8_t)bound;
	}
	for (unsigned i = 0; i < REQUESTS_BOUNDS; i++)
		settings->bounds_ns[i] = bounds_ns[i];
	settings->bounds_ns[REQUESTS_BOUNDS] = UINT64_MAX;
}

/* A row of all lanes together. */
struct row_sum {
	uint64_t requests, sum_ns, max_ns;
	uint64_t request_bytes, response_bytes;
	uint64_t slots[HIST3_SLOTS], classic[REQUESTS_BOUNDS + 1];
	uint64_t first_bytes, first_byte_sum_ns, first_byte_max_ns;
	uint64_t first_byte_slots[HIST_SLOTS];
};

static uint64_t load(const __u64 *value)
{
	return __atomic_load_n(value, __ATOMIC_RELAXED);
}

/* A maximum starts anew: one recorded between the reading and the clearing is missed, its request is not. */
static void take_max(__u64 *value, uint64_t *max)
{
	uint64_t taken = load(value);

	__atomic_store_n(value, 0, __ATOMIC_RELAXED);
	if (taken > *max)
		*max = taken;
}

static void sum_row(const struct requests_tables *tables, unsigned number, struct row_sum *sum)
{
	memset(sum, 0, sizeof(*sum));
	for (unsigned lane = 0; lane < tables->lanes; lane++) {
		struct requests_row *row = &tables->row[(size_t)lane * tables->rows + number];

		for (size_t i = 0; i <= REQUESTS_BOUNDS; i++) {
			uint64_t n = load(&row->classic[i]);

			sum->classic[i] += n;
			sum->requests += n;
		}
		for (size_t i = 0; i < HIST3_SLOTS; i++)
			sum->slots[i] += load(&row->slots[i]);
		sum->sum_ns += load(&row->sum_ns);
		take_max(&row->max_ns, &sum->max_ns);
		sum->request_bytes += load(&row->request_bytes);
		sum->response_bytes += load(&row->response_bytes);
		for (size_t i = 0; i < HIST_SLOTS; i++) {
			uint64_t n = load(&row->first_byte.slots[i]);

			sum->first_byte_slots[i] += n;
			sum->first_bytes += n;
		}
		sum->first_byte_sum_ns += load(&row->first_byte.sum_ns);
		take_max(&row->first_byte.max_ns, &sum->first_byte_max_ns);
	}
}

/* OpenTelemetry's error.type: the status where it is an error on this side, else what happened. */
static const char *error_type(const struct requests_key *key, const char *status)
{
	if (key->outcome == REQUESTS_NO_RESPONSE)
		return "no_response";
	if (key->outcome == REQUESTS_CUT_SHORT)
		return "response_cut_short";
	return key->status >= (key->role == REQUESTS_SERVER ? 500 : 400) ? status : "";
}

const char *requests_method(unsigned method)
{
	return method_names[method < HTTP1_METHODS ? method : HTTP1_METHOD_OTHER];
}

void requests_labels(const struct requests_key *key, char status[8], const char *labels[])
{
	status[0] = '\0';
	if (key->status)
		snprintf(status, 8, "%u", key->status);
	labels[0] = requests_method(key->method);
	labels[1] = status;
	labels[2] = error_type(key, status);
	labels[3] = key->is_encrypted ? "https" : "http";
	labels[4] = ""; /* the route is not known … */
	labels[5] = ""; /* … nor whether the version is 1.0 or 1.1 */
}

static void write_row(struct metric_writer *writer, const struct requests_key *key,
		      const struct row_sum *sum)
{
	char status[8];
	const char *labels[REQUESTS_LABELS];
	enum requests_role role = key->role == REQUESTS_CLIENT ? REQUESTS_CLIENT : REQUESTS_SERVER;

	requests_labels(key, status, labels);
	metric_write_histogram(writer, &requests_duration_metrics[role], key->entity, labels,
			       &(struct histogram_view){
				       .schema = HIST3_SCHEMA,
				       .min_index = HIST3_MIN_INDEX,
				       .n_slots = HIST3_SLOTS,
				       .slots = sum->slots,
				       .sum = (double)sum->sum_ns / 1e9,
				       .max = (double)sum->max_ns / 1e9,
				       .classic = sum->classic,
			       });
	requests_write_bytes(writer, requests_call_bytes_metric(PROTOCOL_HTTP, role), key->entity,
			     labels, REQUESTS_LABELS, sum->request_bytes, sum->response_bytes);
	if (sum->first_bytes)
		metric_write_histogram(writer, &requests_first_byte_metrics[role], key->entity,
				       labels,
				       &(struct histogram_view){
					       .schema = HIST_SCHEMA,
					       .min_index = HIST_MIN_INDEX,
					       .n_slots = HIST_SLOTS,
					       .slots = sum->first_byte_slots,
					       .sum = (double)sum->first_byte_sum_ns / 1e9,
					       .max = (double)sum->first_byte_max_ns / 1e9,
				       });
}

static void write_bytes(const struct requests_tables *tables, struct metric_writer *writer,
			uint32_t entity)
{
	static const char *const labels[][3] = {
		{ "http", "true", "" },
		{ "http", "false", "malformed" },
		{ "http", "false", "unreadable" },
		{ "websocket", "false", "not_decoded" },
		{ "unknown", "false", "unknown" },
	};
	enum { N = sizeof(labels) / sizeof(labels[0]) };
	uint64_t sums[N] = { 0 };

	for (unsigned lane = 0; lane < tables->lanes; lane++) {
		const struct requests_bytes *bytes =
			&tables->bytes[(size_t)lane * tables->entities + entity];

		sums[0] += load(&bytes->http);
		sums[1] += load(&bytes->http_unparsed);
		sums[2] += load(&bytes->http_unread);
		sums[3] += load(&bytes->websocket);
		sums[4] += load(&bytes->unknown);
	}
	for (int i = 0; i < N; i++)
		if (sums[i])
			metric_write(writer, &requests_bytes_metric, entity, labels[i],
				     (double)sums[i]);
}

static void write_connections(const struct requests_tables *tables, struct metric_writer *writer,
			      uint32_t entity, enum requests_role role)
{
	const char *const labels[] = { role_names[role], "http" };
	uint64_t n = 0, connect_ns = 0;

	for (unsigned lane = 0; lane < tables->lanes; lane++) {
		const struct requests_bytes *bytes =
			&tables->bytes[(size_t)lane * tables->entities + entity];

		n += load(&bytes->connections[role]);
		connect_ns += role == REQUESTS_CLIENT ? load(&bytes->connect_ns) : 0;
	}
	requests_write_connections(writer, entity, labels, n, connect_ns);
}

static void write_in_flight(const struct requests_tables *tables, struct metric_writer *writer,
			    uint32_t entity, enum requests_role role, uint64_t now_ns)
{
	const struct requests_in_flight *in_flight = &tables->in_flight[entity];
	uint64_t oldest_ns = in_flight->oldest_ns[role];
	const char *const labels[] = { role_names[role] };

	metric_write(writer, &requests_in_flight_metric, entity, labels,
		     (double)in_flight->count[role]);
	/* Of the clones of an entity that fell into one series the registry adds up; the age is rarely off then. */
	metric_write(writer, &requests_oldest_metric, entity, labels,
		     oldest_ns && oldest_ns < now_ns ? (double)(now_ns - oldest_ns) / 1e9 : 0);
}

/* Key of a row in use; false for one that is not. */
static bool row_key(const struct requests_tables *tables, unsigned number,
		    struct requests_key *ret_key)
{
	if (number == 0 || number == tables->rows - 1) {
		*ret_key = (struct requests_key){
			.entity = ENTITY_OTHER,
			.role = number ? REQUESTS_CLIENT : REQUESTS_SERVER,
		};
		return true;
	}
	if (!__atomic_load_n(&tables->key[number].word, __ATOMIC_ACQUIRE))
		return false;
	*ret_key = tables->key[number].key;
	return true;
}

uint64_t requests_tables_write(const struct requests_tables *tables, struct metric_writer *writer,
			       uint64_t now_ns)
{
	uint64_t total = 0;

	for (unsigned number = 0; number < tables->rows; number++) {
		struct requests_key key;
		struct row_sum sum;

		if (!row_key(tables, number, &key))
			continue;
		sum_row(tables, number, &sum);
		if (!sum.requests)
			continue;
		write_row(writer, &key, &sum);
		total += sum.requests;
	}
	for (uint32_t entity = 0; entity < tables->entities; entity++) {
		write_bytes(tables, writer, entity);
		for (int role = 0; role < REQUESTS_ROLES; role++)
			write_connections(tables, writer, entity, role);
		for (int role = 0; now_ns && role < REQUESTS_ROLES; role++)
			if (tables->in_flight[entity].seen & (1U << role))
				write_in_flight(tables, writer, entity, role, now_ns);
	}
	return total;
}

uint64_t requests_tables_forget(const struct requests_tables *tables, uint32_t entity,
				void (*give_back)(void *context, uint32_t row,
						  const struct requests_key *key),
				void *context)
{
	uint64_t total = 0;

	if (entity >= tables->entities)
		return 0;
	for (unsigned number = 1; number + 1 < tables->rows; number++) {
		struct requests_key key;
		struct row_sum sum;

		if (!row_key(tables, number, &key) || key.entity != entity)
			continue;
		sum_row(tables, number, &sum);
		total += sum.requests;
		for (unsigned lane = 0; lane < tables->lanes; lane++)
			memset(&tables->row[(size_t)lane * tables->rows + number], 0,
			       sizeof(struct requests_row));
		tables->key[number].word = 0;
		give_back(context, number, &key);
	}
	for (unsigned lane = 0; lane < tables->lanes; lane++)
		memset(&tables->bytes[(size_t)lane * tables->entities + entity], 0,
		       sizeof(struct requests_bytes));
	memset(&tables->in_flight[entity], 0, sizeof(struct requests_in_flight));
	return total;
}
