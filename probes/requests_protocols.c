// SPDX-License-Identifier: Apache-2.0
/* Other protocols than HTTP/1 in the requests probe; see requests_protocols.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "probes/probe.h"
#include "probes/request_waits.h"
#include "probes/requests_exchanges.h"
#include "probes/requests_metrics.h"
#include "probes/requests_protocols.h"
#include "probes/requests_streams.h"
#include "probes/slow_requests.h"

#define DEFAULT_ROWS   256
#define MIN_RING_BYTES (8U << 10) /* has room for the largest event */
#define HOT_RING_BYTES (128U << 10) /* stays in a CPU's cache beside what programs have there */
#define MIN_ROWS       (EXCHANGE_FIRST_ROW + 16)

struct requests_protocols {
	struct probe *probe;
	struct exchange_tables tables;
	struct call_table *calls;
	struct streams *streams;
	struct slow_requests *slow; /* NULL: none are kept */
	struct requests_shared *shared;
	uint32_t copied; /* bit per enum prefix_protocol */
};

/* ---- the option ---- */

static bool next_word(const char **text, const char **ret_word, size_t *ret_length)
{
	*ret_word = *text + strspn(*text, " ");
	*ret_length = strcspn(*ret_word, " ");
	*text = *ret_word + *ret_length;
	return *ret_length > 0;
}

/* Those of the kernel side's classes that have this name; 0: none. */
static uint32_t protocols_named(const char *word, size_t length)
{
	uint32_t mask = 0;

	for (unsigned number = 0; number < PREFIX_PROTOCOLS; number++) {
		const char *name = stream_protocol_name(number);

		if (*name && strlen(name) == length && !strncmp(name, word, length))
			mask |= 1U << number;
	}
	return mask;
}

int requests_check_protocols(const char *text, char *error, size_t error_size)
{
	char name[32], quoted[OPTION_QUOTE_SIZE];
	const char *word;
	size_t length;

	while (next_word(&text, &word, &length)) {
		if (protocols_named(word, length))
			continue;
		snprintf(name, sizeof(name), "%.*s", (int)length, word);
		snprintf(error, error_size, "%s is no protocol that is told apart; these are: %s",
			 option_quote(name, quoted), REQUESTS_ALL_PROTOCOLS);
		return -EINVAL;
	}
	return 0;
}

static uint32_t protocols_wanted(const char *text)
{
	uint32_t mask = 0;
	const char *word;
	size_t length;

	while (next_word(&text, &word, &length))
		mask |= protocols_named(word, length);
	return mask;
}

/* ---- the rings ---- */

struct ring_layout requests_rings_for(unsigned bytes, unsigned cpus, unsigned lanes)
{
	struct ring_layout rings = { .n = 1, .last_bytes = 1 };

	while (rings.last_bytes < bytes)
		rings.last_bytes *= 2;
	while (2 * rings.n <= cpus && 2 * rings.n <= lanes &&
	       rings.last_bytes / rings.n >= 2 * MIN_RING_BYTES)
		rings.n *= 2;
	rings.bytes = rings.last_bytes / rings.n;
	if (rings.bytes > HOT_RING_BYTES)
		rings.bytes = HOT_RING_BYTES;
	return rings;
}

/* Unused, the smallest there is. CPUs that are not there would only take room from the others. */
static struct ring_layout rings_of(const struct requests_protocols *protocols)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (!protocols->copied && !protocols->slow)
		return (struct ring_layout){ 1, 4096, 4096 };
	return requests_rings_for((unsigned)probe_option_int(protocols->probe, "ring_bytes"),
				  cpus > 0 ? (unsigned)cpus : 1, protocols->tables.lanes - 1);
}

/* ---- its life ---- */

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

struct requests_protocols *requests_protocols_new(struct probe *probe,
						  const struct request_wait_tables *waits,
						  struct slow_requests *slow)
{
	struct requests_protocols *protocols = calloc(1, sizeof(*protocols));
	unsigned rows = (unsigned)probe_option_int(probe, "exchange_rows");

	if (!protocols)
		return NULL;
	protocols->probe = probe;
	protocols->slow = slow;
	protocols->tables.lanes =
		waits->lanes + 1; /* the last: of the pass over live connections */
	protocols->tables.rows = !rows ? DEFAULT_ROWS : rows > MIN_ROWS ? rows : MIN_ROWS;
	protocols->calls = call_table_new((unsigned)probe_option_int(probe, "series"));
	if (protocols->calls)
		protocols->streams = streams_new((unsigned)probe_option_int(probe, "connections"),
						 probe_max_entities(probe), protocols->calls);
	if (protocols->streams) {
		streams_tell_slow(protocols->streams, slow);
		streams_tell_downstreams(protocols->streams, waits);
		return protocols;
	}
	requests_protocols_free(protocols);
	return NULL;
}

void requests_protocols_free(struct requests_protocols *protocols)
{
	if (!protocols)
		return;
	streams_free(protocols->streams);
	call_table_free(protocols->calls);
	free(protocols);
}

int requests_protocols_configure(struct requests_protocols *protocols,
				 struct requests_settings *settings)
{
	struct probe *probe = protocols->probe;
	const struct exchange_tables *tables = &protocols->tables;
	struct ring_layout rings;
	int err;

	settings->exchange_rows = tables->rows;
	settings->capture_bytes = (uint32_t)probe_option_int(probe, "capture_bytes");
	settings->protocols = protocols_wanted(probe_option_string(probe, "protocols"));
	if (settings->capture_bytes)
		settings->copied_protocols = settings->protocols & streams_decodable();
	protocols->copied = settings->copied_protocols;
	rings = rings_of(protocols);
	settings->rings = rings.n;
	err = probe_map_size(probe, "exchange_rows", tables->lanes * tables->rows);
	if (!err)
		err = probe_map_size(probe, "exchange_keys", tables->rows);
	if (!err)
		err = probe_map_size(probe, "row_of_exchange", tables->rows);
	if (!err)
		err = probe_map_size(probe, "free_exchange_rows", tables->rows);
	if (!err)
		err = probe_event_rings(probe, rings.n, rings.bytes, rings.last_bytes);
	return err;
}

/* From what duration on the kernel side tells of an exchange in detail. */
static void set_thresholds(const struct requests_protocols *protocols, uint64_t now_ns)
{
	for (unsigned number = 0; protocols->slow && number < PREFIX_PROTOCOLS; number++)
		for (int role = 0; role < REQUESTS_ROLES; role++)
			__atomic_store_n(
				&protocols->shared->slow_stream_ns[number][role],
				slow_requests_call_threshold(protocols->slow, number, role, now_ns),
				__ATOMIC_RELAXED);
}

/* Where there is no room, it is copied on. */
static void stop_copies(void *context, uint64_t connection, enum stream_stop why)
{
	const struct requests_protocols *protocols = context;
	const uint32_t reason = why;

	if (!probe_map_update(protocols->probe, "stopped_streams", &connection, &reason))
		__atomic_fetch_add(&protocols->shared->stops, 1, __ATOMIC_RELEASE);
}

static void forget_stop(void *context, uint64_t connection)
{
	const struct requests_protocols *protocols = context;

	probe_map_delete(protocols->probe, "stopped_streams", &connection);
}

int requests_protocols_prepare(struct requests_protocols *protocols, struct requests_shared *shared)
{
	struct exchange_tables *tables = &protocols->tables;
	int err = 0;

	protocols->shared = shared;
	streams_tell_stops(protocols->streams,
			   &(struct stream_stopper){ stop_copies, forget_stop, protocols });
	set_thresholds(protocols, clock_ns());
	tables->row = probe_rows(protocols->probe, "exchange_rows");
	tables->key = probe_rows(protocols->probe, "exchange_keys");
	if (!tables->row || !tables->key)
		return -errno;
	for (uint32_t row = EXCHANGE_FIRST_ROW; row < tables->rows && !err; row++)
		err = probe_free_row(protocols->probe, "free_exchange_rows", row);
	return err;
}

void requests_protocols_weigh(struct requests_protocols *protocols, unsigned weight)
{
	streams_weigh(protocols->streams, weight);
}

int requests_protocols_take_event(struct requests_protocols *protocols, const void *data,
				  size_t size)
{
	const struct stream_event *event = data;
	int err = streams_take_event(protocols->streams, data, size);

	if (!err && event->kind == STREAM_PATH)
		set_thresholds(protocols, clock_ns());
	return err;
}

static void add_in_flight(void *context, uint32_t entity, enum requests_role role, unsigned n,
			  uint64_t oldest_ns)
{
	struct requests_in_flight *row = (struct requests_in_flight *)context + entity;

	row->seen |= 1U << role;
	row->count[role] += n;
	if (!row->oldest_ns[role] || oldest_ns < row->oldest_ns[role])
		row->oldest_ns[role] = oldest_ns;
}

void requests_protocols_add_in_flight(struct requests_protocols *protocols,
				      struct requests_in_flight *in_flight)
{
	streams_each_in_flight(protocols->streams, add_in_flight, in_flight);
}

/* ---- series ---- */

struct bytes_context {
	const struct requests_protocols *protocols;
	struct metric_writer *writer;
};

static void write_bytes(struct metric_writer *writer, uint32_t entity, unsigned protocol,
			const char *parsed, const char *reason, uint64_t bytes)
{
	const char *const labels[] = { stream_protocol_name(protocol), parsed, reason };

	if (bytes)
		metric_write(writer, &requests_bytes_metric, entity, labels, (double)bytes);
}

static void write_exchange_bytes(void *context, const struct exchange_bytes *bytes)
{
	const struct bytes_context *of = context;

	if (of->protocols->copied >> bytes->protocol & 1) {
		write_bytes(of->writer, bytes->entity, bytes->protocol, "false", "lost",
			    bytes->lost_bytes);
		write_bytes(of->writer, bytes->entity, bytes->protocol, "false", "malformed",
			    bytes->stopped_bytes[STREAM_STOP_MALFORMED]);
		write_bytes(of->writer, bytes->entity, bytes->protocol, "false", "encrypted",
			    bytes->stopped_bytes[STREAM_STOP_ENCRYPTED]);
	} else {
		write_bytes(of->writer, bytes->entity, bytes->protocol, "false",
			    bytes->protocol == PREFIX_TLS ? "tls_unavailable" : "not_decoded",
			    bytes->bytes);
	}
}

static void write_stream_bytes(void *context, const struct stream_bytes *bytes)
{
	static const char *const reasons[PROTOCOL_UNPARSED_REASONS] = {
		[PROTOCOL_TRUNCATED] = "truncated",
		[PROTOCOL_MIDWAY] = "midway",
		[PROTOCOL_MALFORMED] = "malformed",
		[PROTOCOL_ENCRYPTED] = "encrypted",
	};
	const struct bytes_context *of = context;

	write_bytes(of->writer, bytes->entity, bytes->protocol, "true", "", bytes->parsed);
	for (int i = 0; i < PROTOCOL_UNPARSED_REASONS; i++)
		write_bytes(of->writer, bytes->entity, bytes->protocol, "false", reasons[i],
			    bytes->unparsed[i]);
}

static void report_losses(const struct requests_protocols *protocols)
{
	const struct stream_counts *counts = streams_counts(protocols->streams);
	const struct call_counts *calls = call_table_counts(protocols->calls);
	struct probe *probe = protocols->probe;

	probe_report_lost(probe, "gap", counts->gaps);
	probe_report_lost(probe, "connection_evicted", counts->evicted);
	probe_report_lost(probe, "call_abandoned", counts->abandoned);
	probe_report_lost(probe, "calls_full", counts->dropped - counts->refused);
	probe_report_lost(probe, "all_calls_full", counts->refused);
	probe_report_lost(probe, "series_full", calls->folded);
	probe_report_lost(probe, "no_memory", counts->no_memory + calls->lost);
}

uint64_t requests_protocols_collect(struct requests_protocols *protocols,
				    struct metric_writer *writer)
{
	struct bytes_context context = { protocols, writer };
	uint64_t now_ns = clock_ns();

	streams_expire(protocols->streams, now_ns);
	set_thresholds(protocols, now_ns);
	call_table_write(protocols->calls, writer);
	exchange_tables_each_bytes(&protocols->tables, write_exchange_bytes, &context);
	streams_each_bytes(protocols->streams, write_stream_bytes, &context);
	report_losses(protocols);
	probe_report_memory(protocols->probe,
			    streams_bound(protocols->streams) + call_table_bound(protocols->calls) +
				    (protocols->slow ? slow_requests_bound(protocols->slow) : 0));
	return exchange_tables_write(&protocols->tables, writer);
}

static void give_back_row(void *context, uint32_t row, const struct exchange_key *key)
{
	probe_map_delete(context, "row_of_exchange", key);
	probe_free_row(context, "free_exchange_rows", row);
}

uint64_t requests_protocols_forget(struct requests_protocols *protocols, uint32_t entity)
{
	call_table_forget(protocols->calls, entity);
	streams_forget_entity(protocols->streams, entity);
	return exchange_tables_forget(&protocols->tables, entity, give_back_row, protocols->probe);
}
