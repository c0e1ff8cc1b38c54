// SPDX-License-Identifier: Apache-2.0
/* Events of the kernel side to calls, without a kernel: conversations in Redis's protocol, with gaps and lies. No root. */
#include <errno.h>
#include "agent/registry.h"
#include "probes/requests_streams.h"
#include "probes/slow_requests.h"
#include "agent/request_record.h"
#include "agent/snapshot.h"
#include "tests/harness/collected.h"
#include "tests/harness/harness.h"

#define MAX_CONNECTIONS 5
#define MAX_ENTITIES	8

#define PING "*1\r\n$4\r\nPING\r\n"
#define PONG "+PONG\r\n"

static struct call_table *calls;
static struct streams *streams;

static int start(void **state)
{
	(void)state;
	calls = call_table_new(64);
	streams = streams_new(MAX_CONNECTIONS, MAX_ENTITIES, calls);
	return !calls || !streams;
}

static int stop(void **state)
{
	streams_free(streams);
	call_table_free(calls);
	return cleanup_teardown(state);
}

/* An event with its bytes behind it, as it lies in the ring. */
struct example {
	struct stream_event event;
	char bytes[512];
};

static struct example event_of(uint64_t connection, uint32_t sequence, bool from_client,
			       const char *bytes)
{
	struct example example = {
		.event = {
			.connection = connection,
			.ns = 1000 + sequence,
			.size = strlen(bytes),
			.entity = 3,
			.sequence = sequence,
			.head_size = (uint16_t)strlen(bytes),
			.kind = STREAM_DATA,
			.protocol = PREFIX_REDIS,
			.role = REQUESTS_CLIENT,
			.flags = !from_client ? 0
				 : sequence   ? STREAM_FROM_CLIENT
					      : STREAM_FROM_CLIENT | STREAM_BEGINS,
		},
	};

	memcpy(example.bytes, bytes, strlen(bytes));
	return example;
}

/* In memory of exactly that size, so that a sanitizer sees what reads behind it. */
static int take(const struct example *example, size_t size)
{
	void *exact = malloc(size);
	int err;

	if (!exact)
		abort();
	memcpy(exact, example, size);
	err = streams_take_event(streams, exact, size);
	free(exact);
	return err;
}

static void say(uint64_t connection, uint32_t sequence, bool from_client, const char *bytes)
{
	const struct example example = event_of(connection, sequence, from_client, bytes);

	assert_int_equal(take(&example, sizeof(example.event) + strlen(bytes)), 0);
}

static void end(uint64_t connection, uint32_t sequence)
{
	struct example example = event_of(connection, sequence, false, "");

	example.event.kind = STREAM_CLOSED;
	assert_int_equal(take(&example, sizeof(example.event)), 0);
}

/* Calls of an operation that ended with this error type. */
static uint64_t n_calls(const char *operation, const char *error)
{
	struct registry *registry = registry_by_number();
	struct snapshot *snapshot;
	const struct family *family;
	uint64_t n = 0;

	call_table_write(calls, registry_begin(registry));
	snapshot = registry_finish(registry);
	family = snapshot_family(snapshot, "db_client_operation_duration_seconds");
	for (size_t i = 0; family && i < family->n_series; i++)
		if (!strcmp(family->series[i].labels[1], operation) &&
		    !strcmp(family->series[i].labels[4], error))
			n += histogram_count(&family->series[i].histogram);
	snapshot_put(snapshot);
	registry_free(registry);
	return n;
}

static void conversations_become_calls(void **state)
{
	for (uint64_t connection = 1; connection <= 3; connection++)
		for (uint32_t i = 0; i < 7; i++) {
			say(connection, i, true, PING);
			say(connection, i, false, i == 5 ? "-ERR no\r\n" : PONG);
		}
	assert_int_equal(n_calls("PING", ""), 18);
	assert_int_equal(n_calls("PING", "ERR"), 3);
	assert_int_equal(streams_counts(streams)->connections, 3);
	assert_int_equal(streams_counts(streams)->gaps, 0);
	for (uint64_t connection = 1; connection <= 3; connection++)
		end(connection, 7);
	assert_int_equal(streams_counts(streams)->connections, 0);
	(void)state;
}

static void what_is_never_answered_ends_with_its_connection(void **state)
{
	say(1, 0, true, PING);
	say(1, 0, false, PONG);
	say(1, 1, true, PING PING);
	end(1, 1);
	assert_int_equal(n_calls("PING", ""), 1);
	assert_int_equal(n_calls("PING", "no_response"), 2);
	(void)state;
}

/* What is missing may have been an answer: none is given to the wrong question. */
static void gaps_are_counted_not_guessed(void **state)
{
	say(1, 0, true, PING);
	say(1, 0, false, PONG);
	say(1, 1, true, PING);
	say(1, 2, false, PONG); /* 1 is missing */
	assert_int_equal(streams_counts(streams)->gaps, 1);
	assert_int_equal(streams_counts(streams)->abandoned, 1);
	say(1, 2, true, PING);
	say(1, 3, false, PONG);
	say(1, 3, true, PING);
	end(1, 5); /* 4 is missing: it may have been the answer */
	assert_int_equal(n_calls("PING", "no_response"), 0);
	assert_true(n_calls("PING", "") >= 1 && n_calls("PING", "") <= 3);
	(void)state;
}

static void the_silent_make_room(void **state)
{
	for (uint64_t connection = 1; connection <= MAX_CONNECTIONS + 2; connection++)
		say(connection, 0, true, PING);
	assert_int_equal(streams_counts(streams)->connections, MAX_CONNECTIONS);
	assert_int_equal(streams_counts(streams)->evicted, 2);
	assert_int_equal(streams_counts(streams)->abandoned, 2);
	/* of one that was heard of lately, nothing is lost */
	say(MAX_CONNECTIONS + 2, 0, false, PONG);
	assert_int_equal(n_calls("PING", ""), 1);
	/* one that was not is joined midway: there is an answer first, to what is not known */
	say(1, 0, false, PONG);
	say(1, 1, true, PING);
	say(1, 1, false, PONG);
	assert_int_equal(streams_counts(streams)->gaps, 0);
	assert_true(n_calls("PING", "") <= 2);
	assert_true(streams_bound(streams) >= MAX_CONNECTIONS * PROTOCOL_MAX_STATE);
	(void)state;
}

static void all_bytes_are_accounted_for(void *context, const struct stream_bytes *bytes)
{
	uint64_t *sum = context;

	assert_int_equal(bytes->entity, 3);
	assert_int_equal(bytes->protocol, PREFIX_REDIS);
	*sum += bytes->parsed;
	for (int i = 0; i < PROTOCOL_UNPARSED_REASONS; i++)
		*sum += bytes->unparsed[i];
}

static void bytes_are_parsed_or_not(void **state)
{
	uint64_t sum = 0;

	say(1, 0, true, PING);
	say(1, 0, false, PONG);
	say(1, 1, true, "GET / HTTP/1.1\r\n\r\n");
	streams_each_bytes(streams, all_bytes_are_accounted_for, &sum);
	assert_true(sum >= strlen(PING PONG)); /* the rest may be held as yet */
	assert_true(sum <= strlen(PING PONG "GET / HTTP/1.1\r\n\r\n"));
	streams_forget_entity(streams, 3);
	sum = 0;
	streams_each_bytes(streams, all_bytes_are_accounted_for, &sum);
	assert_int_equal(sum, 0);
	(void)state;
}

/* ---- what is in flight ---- */

struct in_flight {
	unsigned connections, calls;
	uint64_t oldest_ns;
};

static void add_in_flight(void *context, uint32_t entity, enum requests_role role, unsigned n,
			  uint64_t oldest_ns)
{
	struct in_flight *sum = context;

	assert_int_equal(entity, 3);
	assert_int_equal(role, REQUESTS_CLIENT);
	sum->connections++;
	sum->calls += n;
	if (!sum->oldest_ns || oldest_ns < sum->oldest_ns)
		sum->oldest_ns = oldest_ns;
}

static void each_call_is_in_flight_until_its_end(void **state)
{
	struct in_flight sum = { 0 };

	say(1, 0, true, PING);
	say(1, 0, false, PONG);
	say(1, 1, true, PING PING);
	say(2, 0, true, PING);
	say(2, 0, false, PONG);
	say(2, 1, true, PING PING PING);
	say(2, 1, false, PONG);
	say(3, 0, true, PING);
	say(3, 0, false, PONG);
	streams_each_in_flight(streams, add_in_flight, &sum);
	assert_int_equal(sum.connections, 2);
	assert_int_equal(sum.calls, 2 + 2);
	assert_int_equal(sum.oldest_ns, 1001);
	assert_true(streams_bound(streams) > 0);
	(void)state;
}

/* As many calls on all connections as there may be connections. */
static void all_connections_share_a_bound(void **state)
{
	struct in_flight sum = { 0 };

	for (uint64_t connection = 1; connection <= 3; connection++) {
		say(connection, 0, true, PING);
		say(connection, 0, false, PONG);
		say(connection, 1, true, PING PING PING);
	}
	streams_each_in_flight(streams, add_in_flight, &sum);
	assert_int_equal(sum.calls, MAX_CONNECTIONS);
	/* of the last connection the first one, too */
	assert_int_equal(streams_counts(streams)->refused, 3 * 3 - MAX_CONNECTIONS + 1);
	(void)state;
}

/* ---- where the time went ---- */

static void tell_path(uint64_t ns)
{
	struct {
		struct stream_event event;
		struct request_path path;
	} told = {
		.event = event_of(1, 0, false, "").event,
		.path = { .peer_address = { [10] = 0xff, 0xff, 10, 0, 0, 1 }, .peer_port = 6379 },
	};

	told.event.ns = ns;
	told.event.kind = STREAM_PATH;
	told.event.flags = STREAM_BEGINS;
	told.event.role = REQUESTS_SERVER;
	assert_int_equal(streams_take_event(streams, &told, sizeof(told)), 0);
}

static void serve(uint32_t sequence, bool from_client, const char *bytes, uint64_t ns)
{
	struct example example = event_of(1, sequence, from_client, bytes);

	example.event.ns = ns;
	example.event.role = REQUESTS_SERVER;
	example.event.flags |= STREAM_HAS_LEDGER;
	assert_int_equal(take(&example, sizeof(example.event) + strlen(bytes)), 0);
}

/* An answer to an exchange all of whose time is known; returns its size. */
static size_t accounted(struct example *example, uint32_t sequence, const char *bytes,
			uint64_t began_ns, uint64_t ns)
{
	struct stream_account account = { .began_ns = began_ns };

	account.account.reasons_ns[WAIT_DISK] = ns - began_ns;
	*example = event_of(1, sequence, false, bytes);
	example->event.ns = ns;
	example->event.role = REQUESTS_SERVER;
	example->event.flags |= STREAM_HAS_LEDGER | STREAM_HAS_ACCOUNT;
	memcpy(example->bytes + strlen(bytes), &account, sizeof(account));
	return sizeof(example->event) + strlen(bytes) + sizeof(account);
}

static void serve_accounted(uint32_t sequence, const char *bytes, uint64_t began_ns, uint64_t ns)
{
	struct example example;
	size_t size = accounted(&example, sequence, bytes, began_ns, ns);

	assert_int_equal(take(&example, size), 0);
}

static void expect_slow(struct slow_requests *slow, const char *operation, const char *reason)
{
	struct registry *registry = registry_by_number();
	struct snapshot *snapshot;
	size_t n = 0;

	slow_requests_write(slow, registry_begin(registry), 2000);
	snapshot = registry_finish(registry);
	for (size_t i = 0; i < snapshot->n_slow; i++) {
		const struct request_record *record = snapshot->slow[i].record;

		if (strcmp(record->operation, operation))
			continue;
		n++;
		assert_string_equal(record->peer, "10.0.0.1:6379");
		assert_int_equal(record->n_waits, 1);
		assert_string_equal(record->waits[0].reason, reason);
		assert_int_equal(record->waits[0].ns, record->duration_ns);
	}
	if (!n)
		test_fail("no %s", operation);
	snapshot_put(snapshot);
	registry_free(registry);
}

#define TIME "*1\r\n$4\r\nTIME\r\n"
#define ROLE "*1\r\n$4\r\nROLE\r\n"

static double waited(const char *operation, const char *reason)
{
	struct registry *registry = registry_by_number();
	const struct family *family;
	struct snapshot *snapshot;
	double seconds = 0;

	call_table_write(calls, registry_begin(registry));
	snapshot = registry_finish(registry);
	family = snapshot_family(snapshot, "leadline_request_wait_seconds_total");
	for (size_t i = 0; family && i < family->n_series; i++)
		if (!strcmp(family->series[i].labels[3], operation) &&
		    !strcmp(family->series[i].labels[0], reason))
			seconds += family->series[i].value;
	snapshot_put(snapshot);
	registry_free(registry);
	return seconds;
}

static void accounts_are_of_the_call_they_come_with(void **state)
{
	struct slow_requests *slow = slow_requests_new(10, MAX_ENTITIES);

	streams_tell_slow(streams, slow);
	tell_path(1000);
	serve(0, true, PING, 1000);
	serve_accounted(0, PONG, 1000, 1007);
	serve(1, true, TIME, 1010);
	serve_accounted(1, "+O", 1010, 1015); /* that was not its end */
	serve(2, false, "K\r\n", 1019);
	serve(2, true, ROLE ROLE, 1020);
	serve_accounted(3, PONG PONG, 1020, 1029); /* of both, hence of none */
	expect_slow(slow, "PING", "disk");
	expect_slow(slow, "TIME", "unattributed");
	expect_slow(slow, "ROLE", "unattributed");
	assert_float_equal(waited("PING", "disk"), 7e-9, 1e-15);
	assert_float_equal(waited("TIME", "unattributed"), 9e-9, 1e-15);
	assert_float_equal(waited("ROLE", "unattributed"), 18e-9, 1e-15);
	assert_float_equal(waited("PING", "unattributed"), 0, 0);
	assert_float_equal(waited("TIME", "disk") + waited("ROLE", "disk"), 0, 0);
	streams_free(streams);
	slow_requests_free(slow);
	streams = NULL;
	(void)state;
}

static void what_is_never_answered_is_unattributed(void **state)
{
	struct example closed = event_of(1, 0, false, "");

	closed.event.kind = STREAM_CLOSED;
	closed.event.role = REQUESTS_SERVER;
	closed.event.ns = 1042;
	serve(0, true, PING, 1000);
	assert_int_equal(take(&closed, sizeof(closed.event)), 0);
	assert_float_equal(waited("PING", "unattributed"), 42e-9, 1e-15);
	(void)state;
}

static void without_a_ledger_nothing_is_said(void **state)
{
	struct example example = event_of(1, 0, true, PING);

	example.event.role = REQUESTS_SERVER;
	assert_int_equal(take(&example, sizeof(example.event) + strlen(PING)), 0);
	example = event_of(1, 0, false, PONG);
	example.event.role = REQUESTS_SERVER;
	example.event.ns = 2000;
	assert_int_equal(take(&example, sizeof(example.event) + strlen(PONG)), 0);
	assert_int_equal(call_table_counts(calls)->recorded, 1);
	assert_float_equal(waited("PING", "unattributed"), 0, 0);
	(void)state;
}

static void false_accounts_are_refused(void **state)
{
	struct example good, bad;
	size_t size = accounted(&good, 0, PONG, 1000, 1007);

	for (size_t wrong = sizeof(good.event); wrong < size + 8; wrong++)
		if (wrong != size)
			assert_int_equal(take(&good, wrong), -EBADMSG);
	bad = good;
	bad.event.role = REQUESTS_CLIENT;
	assert_int_equal(take(&bad, size), -EBADMSG);
	bad = good;
	bad.event.kind = STREAM_CLOSED;
	assert_int_equal(take(&bad, size), -EBADMSG);
	bad = good;
	bad.event.head_size++;
	assert_int_equal(take(&bad, size), -EBADMSG);
	assert_int_equal(take(&good, size), 0);
	(void)state;
}

static void false_paths_are_refused(void **state)
{
	struct example good = event_of(1, 0, false, ""), bad;
	const size_t path = sizeof(struct request_path);

	good.event.kind = STREAM_PATH;
	for (size_t size = 0; size < path + 8; size++)
		assert_int_equal(take(&good, sizeof(good.event) + size),
				 size == path ? 0 : -EBADMSG);
	bad = good;
	bad.event.head_size = 1;
	assert_int_equal(take(&bad, sizeof(bad.event) + path), -EBADMSG);
	bad = good;
	bad.event.flags = STREAM_IN_PIECES;
	assert_int_equal(take(&bad, sizeof(bad.event) + path), -EBADMSG);
	bad = good;
	bad.event.kind = STREAM_SLOW_REQUEST;
	assert_int_equal(take(&bad, sizeof(bad.event) + path), -EBADMSG);
	(void)state;
}

/* ---- upgraded ---- */

struct upgraded {
	struct stream_event event;
	struct upgraded_request request;
};

#define SWITCHING "HTTP/1.1 101 \r\n\r\n"

static struct upgraded upgraded_by(const char *line)
{
	struct upgraded upgraded = {
		.event = event_of(1, 0, true, "").event,
		.request = { .start_ns = 700,
			     .request_bytes = 100,
			     .response_bytes = strlen(SWITCHING),
			     .answer_left = strlen(SWITCHING),
			     .method = 1, /* GET */
			     .line_size = (uint16_t)strnlen(line, SLOW_REQUEST_LINE) },
	};

	memcpy(upgraded.request.line, line, upgraded.request.line_size);
	upgraded.event.kind = STREAM_UPGRADED;
	upgraded.event.protocol = PREFIX_HTTP2;
	return upgraded;
}

static void say_http2(uint32_t sequence, bool from_client, const char *bytes, size_t size)
{
	struct example example = event_of(1, sequence, from_client, "");

	example.event.protocol = PREFIX_HTTP2;
	example.event.flags &= (uint8_t)~STREAM_BEGINS;
	example.event.size = example.event.head_size = (uint16_t)size;
	memcpy(example.bytes, bytes, size);
	assert_int_equal(take(&example, sizeof(example.event) + size), 0);
}
#define SAY_HTTP2(sequence, from_client, bytes)                                                    \
	say_http2(sequence, from_client, bytes, sizeof(bytes) - 1)

/* Requests of a route, or of none, that were answered with 500; and no others. */
static void expect_500(const char *route)
{
	struct registry *registry = registry_by_number();
	const struct family *family;
	struct snapshot *snapshot;

	call_table_write(calls, registry_begin(registry));
	snapshot = registry_finish(registry);
	family = snapshot_family(snapshot, "http_client_request_duration_seconds");
	assert_non_null(family);
	assert_int_equal(family->n_series, 1);
	assert_string_equal(family->series[0].labels[0], "GET");
	assert_string_equal(family->series[0].labels[1], "500");
	assert_string_equal(family->series[0].labels[4], route);
	assert_int_equal(histogram_count(&family->series[0].histogram), 1);
	snapshot_put(snapshot);
	registry_free(registry);
}

static void check_upgrade(const char *line, const char *route)
{
	const struct upgraded upgraded = upgraded_by(line);

	assert_int_equal(streams_take_event(streams, &upgraded, sizeof(upgraded)), 0);
	SAY_HTTP2(0, false, SWITCHING "\0\0\0\4\0\0\0\0\0");
	SAY_HTTP2(1, true, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0");
	SAY_HTTP2(1, false, "\0\0\1\1\5\0\0\0\1\x8e");
	expect_500(route);
	assert_int_equal(streams_counts(streams)->gaps, 0);
}

static void a_request_that_upgrades_is_answered_on_stream_1(void **state)
{
	check_upgrade("GET /users/17?full HTTP/1.1\r\nHost: shop\r\n", "/users/{id}");
	(void)state;
}

static void its_line_may_be_cut_or_unknown(void **state)
{
	char line[SLOW_REQUEST_LINE + 1];

	snprintf(line, sizeof(line), "GET /users/%085d", 0);
	check_upgrade(line, "/users/{rest}");
	(void)stop(NULL);
	(void)start(NULL);
	check_upgrade("", "");
	(void)state;
}

static void it_has_no_response_when_the_connection_ends(void **state)
{
	const struct upgraded upgraded = upgraded_by("GET / HTTP/1.1\r\n");
	struct example closed = event_of(1, 1, false, "");

	assert_int_equal(streams_take_event(streams, &upgraded, sizeof(upgraded)), 0);
	SAY_HTTP2(0, false, SWITCHING);
	closed.event.kind = STREAM_CLOSED;
	closed.event.protocol = PREFIX_HTTP2;
	assert_int_equal(take(&closed, sizeof(closed.event)), 0);
	assert_int_equal(call_table_counts(calls)->recorded, 1);
	(void)state;
}

static void false_upgrades_are_refused(void **state)
{
	const struct upgraded good = upgraded_by("GET / HTTP/1.1\r\n");
	struct upgraded bad;

	for (size_t size = sizeof(good.event); size < sizeof(good); size++)
		assert_int_equal(streams_take_event(streams, &good, size), -EBADMSG);
#define UPGRADE_LIE(member, value)                                                                 \
	bad = good;                                                                                \
	bad.member = value;                                                                        \
	assert_int_equal(streams_take_event(streams, &bad, sizeof(bad)), -EBADMSG)
	UPGRADE_LIE(event.protocol, PREFIX_REDIS);
	UPGRADE_LIE(event.size, 1);
	UPGRADE_LIE(event.head_size, 1);
	UPGRADE_LIE(event.sequence, 1);
	UPGRADE_LIE(event.flags, STREAM_BEGINS);
	UPGRADE_LIE(event.flags, STREAM_FROM_CLIENT);
	UPGRADE_LIE(event.flags, STREAM_FROM_CLIENT | STREAM_BEGINS | STREAM_MIDWAY);
	UPGRADE_LIE(request.line_size, SLOW_REQUEST_LINE + 1);
#undef UPGRADE_LIE
	assert_int_equal(streams_counts(streams)->connections, 0);
	/* once only, and before all else */
	assert_int_equal(streams_take_event(streams, &good, sizeof(good)), 0);
	assert_int_equal(streams_take_event(streams, &good, sizeof(good)), -EBADMSG);
	(void)state;
}

/* ---- decoders that have had enough ---- */

static struct {
	uint64_t stopped, gone;
	enum stream_stop why;
} stops;

static void note_stop(void *context, uint64_t connection, enum stream_stop why)
{
	assert_ptr_equal(context, &stops);
	assert_int_equal(stops.stopped, 0);
	stops.stopped = connection;
	stops.why = why;
}

static void note_gone(void *context, uint64_t connection)
{
	stops.gone = connection;
}

static void what_nothing_can_come_of_is_not_copied_on(void **state)
{
	memset(&stops, 0, sizeof(stops));
	streams_tell_stops(streams, &(struct stream_stopper){ note_stop, note_gone, &stops });
	say(7, 0, true, PING);
	say(7, 0, false, PONG);
	assert_int_equal(stops.stopped, 0);
	say(7, 1, true, "*1\r\n$4\r\nSYNC\r\n"); /* a copy of everything follows, without an end */
	assert_int_equal(stops.stopped, 0);
	say(7, 1, false, "+FULLRESYNC 0 0\r\n");
	say(7, 2, false, "REDIS0009");
	assert_int_equal(stops.stopped, 7);
	assert_int_equal(stops.why, STREAM_STOP_MALFORMED);
	assert_int_equal(stops.gone, 0);
	assert_int_equal(streams_counts(streams)->stopped, 1);
	end(7, 3);
	assert_int_equal(stops.gone, 7);
	(void)state;
}

static void refused(struct example example, size_t size)
{
	assert_int_equal(take(&example, size), -EBADMSG);
}

static void lies_are_refused(void **state)
{
	const struct example good = event_of(1, 0, true, PING);
	const size_t size = sizeof(good.event) + strlen(PING);
	struct example bad;

#define LIE(field, value) (bad = good, bad.event.field = (value), refused(bad, size))
	for (size_t short_by = 1; short_by <= size; short_by++)
		refused(good, size - short_by);
	refused(good, size + 1);
	LIE(head_size, (uint16_t)(strlen(PING) + 1));
	LIE(head_size, 0xffff);
	LIE(tail_size, 1);
	LIE(size, strlen(PING) - 1);
	LIE(kind, STREAM_EVENT_KINDS);
	LIE(role, REQUESTS_ROLES);
	LIE(protocol, PREFIX_PROTOCOLS);
	LIE(protocol, PREFIX_UNKNOWN);
	LIE(protocol, PREFIX_TLS);
	LIE(entity, MAX_ENTITIES);
	LIE(entity, 0xffffffff);
	assert_int_equal(streams_counts(streams)->connections, 0);
	assert_int_equal(take(&good, size), 0);
	LIE(role, REQUESTS_SERVER);
	LIE(protocol, PREFIX_HTTP2);
	assert_int_equal(streams_counts(streams)->connections, 1);
	(void)state;
}

/* Events that are sound in form and senseless in content. */
static void nonsense_is_survived(void **state)
{
	static const uint8_t numbers[] = { PREFIX_REDIS, PREFIX_HTTP2 };
	uint64_t random = 88172645463325252;

	for (int round = 0; round < 100003; round++) {
		struct example example = event_of(1, 0, true, "");
		uint8_t *at = (uint8_t *)example.bytes;
		size_t n;

		for (size_t i = 0; i < sizeof(example.bytes); i += 8) {
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			memcpy(at + i, &random, 8);
		}
		n = random >> 8 & 63;
		example.event.connection = random & 15;
		example.event.sequence = (uint32_t)(random >> 20 & 3);
		example.event.head_size = (uint16_t)n;
		example.event.tail_size = (uint16_t)(random >> 24 & 31);
		example.event.size =
			n + example.event.tail_size + (random >> 32 & 1 ? 0 : random >> 33);
		example.event.ns = random;
		example.event.kind = random >> 40 & 31 ? STREAM_DATA : STREAM_CLOSED;
		example.event.protocol = numbers[random & 1];
		example.event.role = random >> 1 & 1;
		example.event.flags = (uint8_t)(random >> 50 & 7);
		take(&example, sizeof(example.event) + n + example.event.tail_size);
		streams_expire(streams, random);
	}
	assert_true(streams_counts(streams)->events > 10000);
	assert_true(streams_counts(streams)->connections <= MAX_CONNECTIONS);
	(void)state;
}

int main(void)
{
#define STREAM_TEST(function) cmocka_unit_test_setup_teardown(function, start, stop)
	const struct CMUnitTest tests[] = {
		STREAM_TEST(conversations_become_calls),
		STREAM_TEST(what_is_never_answered_ends_with_its_connection),
		STREAM_TEST(gaps_are_counted_not_guessed),
		STREAM_TEST(the_silent_make_room),
		STREAM_TEST(bytes_are_parsed_or_not),
		STREAM_TEST(each_call_is_in_flight_until_its_end),
		STREAM_TEST(all_connections_share_a_bound),
		STREAM_TEST(accounts_are_of_the_call_they_come_with),
		STREAM_TEST(what_is_never_answered_is_unattributed),
		STREAM_TEST(without_a_ledger_nothing_is_said),
		STREAM_TEST(false_accounts_are_refused),
		STREAM_TEST(false_paths_are_refused),
		STREAM_TEST(a_request_that_upgrades_is_answered_on_stream_1),
		STREAM_TEST(its_line_may_be_cut_or_unknown),
		STREAM_TEST(it_has_no_response_when_the_connection_ends),
		STREAM_TEST(false_upgrades_are_refused),
		STREAM_TEST(what_nothing_can_come_of_is_not_copied_on),
		STREAM_TEST(lies_are_refused),
		STREAM_TEST(nonsense_is_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
