// SPDX-License-Identifier: Apache-2.0
/* Slow requests without a kernel: events and calls in, records in a snapshot out, within all bounds. No root. */
#include <errno.h>
#include "agent/registry.h"
#include "bpf/lib/http1_method.h"
#include "bpf/lib/protocol_numbers.h"
#include "probes/requests_metrics.h"
#include "probes/slow_gate.h"
#include "probes/request_waits.h"
#include "probes/slow_requests.h"
#include "tests/harness/collected.h"
#include "tests/harness/harness.h"

#define ENTITIES 16
#define KEPT	 3
#define MS	 1000000ULL
#define SECOND	 1000000000ULL
#define MINUTE	 (60 * SECOND)
#define NOW	 (100 * MINUTE + 7 * SECOND)

static struct slow_requests *make_store(unsigned kept)
{
	struct slow_requests *slow = slow_requests_new(kept, ENTITIES);

	assert_non_null(slow);
	cleanup_push((void (*)(void *))slow_requests_free, slow);
	return slow;
}

struct event {
	struct stream_event head;
	struct slow_request request;
};

static const struct request_path path = {
	.local_address = { [10] = 0xff, 0xff, 127, 0, 0, 1 },
	.peer_address = { [10] = 0xff, 0xff, 10, 1, 2, 3 },
	.local_port = 8080,
	.peer_port = 50000,
	.retransmits = 5,
	.rtt_us = 250,
	.connect_ns = 3 * MS,
};

/* As the kernel side has it: what follows the line, too, as far as there is room. */
static void set_target(struct slow_request *request, const char *target)
{
	char line[2 * SLOW_REQUEST_LINE] = "";

	snprintf(line, sizeof(line), "GET %s HTTP/1.1\r\nHost: a b\r\n", target);
	memcpy(request->line, line, sizeof(request->line));
	request->line_size = sizeof(request->line);
}

/* On that path, all of it unattributed. */
static struct event make_event(const char *target, uint64_t duration_ns, uint64_t end_ns)
{
	struct event event = {
		.head = { .ns = end_ns,
			  .entity = 3,
			  .pid = 71,
			  .tid = 73,
			  .kind = STREAM_SLOW_REQUEST,
			  .role = REQUESTS_SERVER },
		.request = { .duration_ns = duration_ns,
			     .first_byte_ns = duration_ns / 2,
			     .request_bytes = 77,
			     .response_bytes = 1234,
			     .detail.path = path,
			     .status = 200,
			     .method = HTTP1_GET },
	};

	set_target(&event.request, target);
	event.request.detail.reasons_ns[REQUEST_UNATTRIBUTED] = duration_ns;
	return event;
}

static int take(struct slow_requests *slow, const struct event *event)
{
	return slow_requests_take_event(slow, event, sizeof(*event), NOW + 20 * MINUTE);
}

static void take_path(struct slow_requests *slow, const char *target, uint64_t duration_ns,
		      uint64_t end_ns)
{
	struct event event = make_event(target, duration_ns, end_ns);

	assert_int_equal(take(slow, &event), 0);
}

static struct snapshot *collect(struct slow_requests *slow, uint64_t now_ns)
{
	struct registry *registry = registry_by_number();

	slow_requests_write(slow, registry_begin(registry), now_ns);
	return collected(registry);
}

/* ---- what is told ---- */

static void everything_is_told(void **state)
{
	struct slow_requests *slow = make_store(KEPT);
	struct event event = make_event("/users/4711?key=1 HTTP/1.1\r\n", 20 * MS, NOW);
	const struct request_record *record;
	struct snapshot *snapshot;

	event.request.detail.reasons_ns[WAIT_SLEEP] = 15 * MS;
	event.request.detail.reasons_ns[REQUEST_ON_CPU] = 2 * MS;
	event.request.detail.reasons_ns[REQUEST_UNATTRIBUTED] =
		1 * MS; /* 2 ms are not said to be anything */
	event.request.status = 503;
	assert_int_equal(take(slow, &event), 0);
	snapshot = collect(slow, NOW);
	/* what was collected outlives the store's own */
	slow_requests_forget(slow, 3);

	assert_int_equal(snapshot->n_slow, 1);
	assert_string_equal(snapshot->slow[0].entity[4], "3");
	record = snapshot->slow[0].record;
	assert_string_equal(record->protocol, "http");
	assert_string_equal(record->side, "server");
	assert_string_equal(record->operation, "GET");
	assert_string_equal(record->route, "/users/{id}");
	assert_string_equal(record->target, "/users/4711?key=1");
	assert_string_equal(record->status, "503");
	assert_string_equal(record->error, "503");
	assert_string_equal(record->local, "127.0.0.1:8080");
	assert_string_equal(record->peer, "10.1.2.3:50000");
	assert_int_equal(record->end_ns, NOW);
	assert_int_equal(record->duration_ns, 20 * MS);
	assert_int_equal(record->first_byte_ns, 10 * MS);
	assert_int_equal(record->connect_ns, 3 * MS);
	assert_int_equal(record->request_bytes, 77);
	assert_int_equal(record->response_bytes, 1234);
	assert_int_equal(record->pid, 71);
	assert_int_equal(record->tid, 73);
	assert_int_equal(record->retransmits, 5);
	assert_int_equal(record->rtt_us, 250);
	assert_int_equal(record->n_waits, 3);
	assert_string_equal(record->waits[0].reason, "sleep");
	assert_int_equal(record->waits[0].ns, 15 * MS);
	assert_string_equal(record->waits[1].reason, "on_cpu");
	assert_string_equal(record->waits[2].reason, "unattributed");
	assert_int_equal(record->waits[2].ns, 3 * MS);
	assert_ptr_equal(record->histogram, &requests_duration_metrics[REQUESTS_SERVER]);
	assert_int_equal(snapshot->n_examples, 1);
	assert_ptr_equal(snapshot->examples[0].record, record);
}

static struct slow_downstream make_downstream(uint8_t last, unsigned port, unsigned protocol,
					      uint64_t ns)
{
	return (struct slow_downstream){
		.ns = ns,
		.name = { .key = { .entity = 3,
				   .port = (uint16_t)port,
				   .address = { [10] = 0xff, 0xff, 10, 0, 0, last } },
			  .protocol = protocol },
	};
}

static void whom_it_waited_for(void **state)
{
	struct slow_requests *slow = make_store(KEPT);
	struct event event = make_event("/", 20 * MS, NOW);
	const struct request_record *record;
	struct snapshot *snapshot;

	event.request.detail.reasons_ns[REQUEST_UNATTRIBUTED] = 0;
	event.request.detail.reasons_ns[REQUEST_OUTBOUND] = 20 * MS;
	event.request.detail.downstreams[0] = make_downstream(1, 80, DOWNSTREAM_HTTP, 2 * MS);
	event.request.detail.downstreams[1] = make_downstream(2, 5432, PREFIX_POSTGRESQL, 17 * MS);
	event.request.detail.downstreams[2] = make_downstream(3, 4711, PREFIX_UNKNOWN, 1 * MS);
	assert_int_equal(take(slow, &event), 0);
	event = make_event("/", 10 * MS, NOW);
	assert_int_equal(take(slow, &event), 0);
	snapshot = collect(slow, NOW);
	slow_requests_forget(slow, 3);

	record = snapshot->slow[0].record;
	assert_int_equal(record->n_downstreams, 3);
	assert_string_equal(record->downstreams[0].peer, "10.0.0.2:5432");
	assert_string_equal(record->downstreams[0].protocol, "postgresql");
	assert_int_equal(record->downstreams[0].ns, 17 * MS);
	assert_string_equal(record->downstreams[1].peer, "10.0.0.1:80");
	assert_string_equal(record->downstreams[1].protocol, "http");
	assert_string_equal(record->downstreams[2].peer, "10.0.0.3:4711");
	assert_string_equal(record->downstreams[2].protocol, "");
	assert_int_equal(snapshot->slow[1].record->n_downstreams, 0);
}

static void addresses_and_odd_targets(void **state)
{
	struct slow_requests *slow = make_store(KEPT);
	struct event event = make_event("/caf\xc3\xa9\x1b[2J", 20 * MS, NOW);
	char longest[SLOW_REQUEST_LINE - sizeof("GET") + 1]; /* as is kept with its method */
	struct snapshot *snapshot;

	memset(event.request.detail.path.local_address, 0, 16);
	event.request.detail.path.local_address[15] = 1;
	event.head.role = REQUESTS_CLIENT;
	event.request.status = 404;
	assert_int_equal(take(slow, &event), 0);
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	memcpy(longest, "/files/", 7);
	take_path(slow, longest, 10 * MS, NOW);
	event = make_event(longest, 9 * MS, NOW);
	event.request.line[SLOW_REQUEST_LINE - 1] = '\r'; /* all of it after all */
	assert_int_equal(take(slow, &event), 0);
	longest[20] = '\0';
	take_path(slow, longest, 8 * MS, NOW);
	take_path(slow, "", 5 * MS, NOW);
	snapshot = collect(slow, NOW);

	assert_int_equal(snapshot->n_slow, 5);
	assert_string_equal(snapshot->slow[0].record->local, "[::1]:8080");
	assert_string_equal(snapshot->slow[0].record->target, "/caf???[2J");
	assert_string_equal(snapshot->slow[0].record->error, "404"); /* a client's error */
	assert_string_equal(snapshot->slow[0].record->route,
			    "/{rest}"); /* not learned from a 404 */
	assert_string_equal(snapshot->slow[1].record->route, "/files/{rest}");
	assert_int_equal(strlen(snapshot->slow[1].record->target), sizeof(longest) - 1);
	assert_int_equal(strlen(snapshot->slow[2].record->target), sizeof(longest) - 2);
	assert_string_equal(snapshot->slow[3].record->route, longest);
	assert_string_equal(snapshot->slow[4].record->route, "");
}

static void refuses(struct slow_requests *slow, const struct event *event, const char *what)
{
	if (take(slow, event) != -EBADMSG)
		test_fail("taken: %s", what);
}

static void hostile_events_are_refused(void **state)
{
	struct slow_requests *slow = make_store(KEPT);
	const struct event good = make_event("/", 20 * MS, NOW);
	struct event event;

	for (size_t size = 0; size <= sizeof(event) + 8; size++) {
		unsigned char *exact = calloc(1, size + 1);

		assert_non_null(exact);
		memcpy(exact, &good, size < sizeof(good) ? size : sizeof(good));
		assert_int_equal(slow_requests_take_event(slow, exact, size, NOW),
				 size == sizeof(good) ? 0 : -EBADMSG);
		free(exact);
	}
#define BAD(what)                                                                                  \
	do {                                                                                       \
		event = good;                                                                      \
		what;                                                                              \
		refuses(slow, &event, #what);                                                      \
	} while (0)
	BAD(event.head.kind = STREAM_DATA);
	BAD(event.head.role = REQUESTS_ROLES);
	BAD(event.head.entity = ENTITIES);
	BAD(event.head.ns = NOW + 21 * MINUTE); /* not yet */
	BAD(event.head.ns = 19 * MS); /* begun before the machine */
	BAD(event.request.duration_ns = UINT64_MAX);
	BAD(event.request.first_byte_ns = 21 * MS);
	BAD(event.request.status = 1000);
	BAD(event.request.method = HTTP1_METHODS);
	BAD(event.request.outcome = REQUESTS_OUTCOMES);
	BAD(event.request.line_size = SLOW_REQUEST_LINE + 1);
	BAD(event.request.detail.reasons_ns[0] = 1); /* more than its duration */
	BAD(event.request.detail.reasons_ns[0] = UINT64_MAX);
	BAD(event.request.detail.downstreams[0] =
		    make_downstream(1, 80, 0, 1)); /* more than outbound */
	BAD(event.request.detail.downstreams[2] = make_downstream(1, 80, 0, UINT64_MAX));
	BAD(event.request.detail.downstreams[1] = make_downstream(1, 80, DOWNSTREAM_PROTOCOLS, 0));
	BAD(event.request.detail.reasons_ns[REQUEST_UNATTRIBUTED] = UINT64_MAX);
	assert_int_equal(collect(slow, NOW)->n_slow, 1);
	assert_int_equal(slow_requests_counts(slow)->events, 1);
}

/* ---- which are kept ---- */

static void the_slowest_of_each_route(void **state)
{
	struct slow_requests *slow = make_store(KEPT);
	static const unsigned order[] = { 5, 1, 7, 3, 2, 6, 4 };
	struct snapshot *snapshot;
	struct event event;

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		char target[32];

		snprintf(target, sizeof(target), "/users/%zu", 100 + i);
		take_path(slow, target, order[i] * MS, NOW);
	}
	take_path(slow, "/orders", MS / 2, NOW); /* another route */
	event = make_event("/users/1", MS / 4, NOW); /* another program */
	event.head.entity = 4;
	assert_int_equal(take(slow, &event), 0);
	event.head.entity = 3;
	event.request.method = HTTP1_POST;
	assert_int_equal(take(slow, &event), 0);
	event.head.role = REQUESTS_CLIENT;
	assert_int_equal(take(slow, &event), 0);
	snapshot = collect(slow, NOW);

	assert_int_equal(snapshot->n_slow, KEPT + 4);
	assert_int_equal(snapshot->slow[0].record->duration_ns, 7 * MS);
	assert_int_equal(snapshot->slow[1].record->duration_ns, 6 * MS);
	assert_int_equal(snapshot->slow[2].record->duration_ns, 5 * MS);
	assert_string_equal(snapshot->slow[3].record->route, "/orders");
	assert_int_equal(slow_requests_counts(slow)->routes, 5);
}

static void a_minute_and_the_one_before(void **state)
{
	struct slow_requests *slow = make_store(KEPT);
	struct snapshot *snapshot;

	take_path(slow, "/", 30 * MS, NOW);
	take_path(slow, "/", 20 * MS, NOW + MINUTE);
	take_path(slow, "/", 10 * MS, NOW); /* told late */
	snapshot = collect(slow, NOW + MINUTE);
	assert_int_equal(snapshot->n_slow, 3);
	take_path(slow, "/", 5 * MS, NOW + 2 * MINUTE);
	take_path(slow, "/", 40 * MS, NOW); /* too late */
	snapshot = collect(slow, NOW + 2 * MINUTE);
	assert_int_equal(snapshot->n_slow, 2);
	assert_int_equal(snapshot->slow[0].record->duration_ns, 20 * MS);
	assert_int_equal(snapshot->slow[1].record->duration_ns, 5 * MS);
	assert_int_equal(collect(slow, NOW + 3 * MINUTE)->n_slow, 1);
	snapshot = collect(slow, NOW + 4 * MINUTE);
	assert_int_equal(snapshot->n_slow, 0);
	assert_true(snapshot->n_examples > 0);
	snapshot = collect(slow, NOW + 13 * MINUTE); /* even the examples are too old */
	assert_int_equal(snapshot->n_examples, 0);
	assert_int_equal(slow_requests_counts(slow)->routes, 0);
}

static void an_example_for_each_bucket(void **state)
{
	struct slow_requests *slow = make_store(KEPT);
	const struct request_entry *of;
	const struct series other = { .entity = (const char *const[]){ "", "", "", "", "3" },
				      .labels = (const char *const[]){ "GET", "500", "500", "http",
								       "", "" } };
	const struct series series = { .entity = (const char *const[]){ "", "", "", "", "3" },
				       .labels = (const char *const[]){ "GET", "200", "", "http",
									"", "" } };
	struct snapshot *snapshot;
	size_t n;

	take_path(slow, "/", 6 * MS, NOW);
	take_path(slow, "/", 9 * MS, NOW);
	take_path(slow, "/", 8 * MS, NOW); /* 0.005 to 0.01: the slowest stays */
	take_path(slow, "/", 700 * MS, NOW);
	for (int i = 0; i < 10; i++)
		take_path(slow, "/", 3 * SECOND, NOW);
	snapshot = collect(slow, NOW);
	assert_int_equal(snapshot->n_examples, 3);
	of = request_entries_of(snapshot->examples, snapshot->n_examples,
				&requests_duration_metrics[REQUESTS_SERVER], &series, &n);
	assert_int_equal(n, 3);
	assert_int_equal(of[0].record->duration_ns, 9 * MS);
	assert_int_equal(of[1].record->duration_ns, 700 * MS);
	assert_int_equal(of[2].record->duration_ns, 3 * SECOND);
	assert_null(request_entries_of(snapshot->examples, snapshot->n_examples,
				       &requests_duration_metrics[REQUESTS_SERVER], &other, &n));
	assert_null(request_entries_of(snapshot->examples, snapshot->n_examples,
				       &requests_duration_metrics[REQUESTS_CLIENT], &series, &n));
	take_path(slow, "/", 7 * MS, NOW + MINUTE); /* of a later minute: replaces it */
	snapshot = collect(slow, NOW + MINUTE);
	assert_int_equal(snapshot->examples[0].record->duration_ns, 7 * MS);
}

/* A scanner that makes up paths is answered with 404 and gets no routes; one that is answered fills a service's names, no more. */
static void many_routes_are_bounded(void **state)
{
	struct slow_requests *slow = make_store(KEPT);
	const unsigned wanted = 2 * SLOW_MAX_ROUTES + 1;
	struct snapshot *snapshot;
	uint64_t bound;

	for (unsigned i = 0; i < wanted; i++) {
		struct event event = make_event("/", (wanted - i) * MS, NOW);
		char target[] = "/word?";

		/* ten methods, 16 programs, 2 sides, and paths */
		event.head.entity = i % ENTITIES;
		event.head.role = i / ENTITIES % 2;
		event.request.method = (uint8_t)(i / ENTITIES / 2 % HTTP1_METHODS);
		target[5] = (char)('a' + i / ENTITIES / 2 / HTTP1_METHODS);
		set_target(&event.request, target);
		/* late enough for the gate to have opened again */
		event.head.ns = NOW;
		assert_int_equal(
			slow_requests_take_event(slow, &event, sizeof(event), NOW + i * SECOND), 0);
	}
	assert_int_equal(slow_requests_counts(slow)->routes, SLOW_MAX_ROUTES);
	assert_int_equal(slow_requests_counts(slow)->evicted, wanted - SLOW_MAX_ROUTES);
	snapshot = collect(slow, NOW);
	assert_int_equal(snapshot->n_slow, SLOW_MAX_ROUTES);
	/* those that came later are quicker, and made no room */
	assert_int_equal(snapshot->slow[0].record->duration_ns, wanted * MS);
	assert_int_equal(snapshot->slow[SLOW_MAX_ROUTES - 1].record->duration_ns,
			 (wanted - SLOW_MAX_ROUTES + 1) * MS);
	take_path(slow, "/slower/than/any", SECOND, NOW);
	snapshot = collect(slow, NOW);
	assert_int_equal(snapshot->n_slow, SLOW_MAX_ROUTES);
	assert_string_equal(snapshot->slow[0].record->route, "/slower/than/any");

	bound = slow_requests_bound(slow);
	assert_true(bound > 0 && bound < 4 << 20);
	for (uint32_t entity = 0; entity < ENTITIES; entity++)
		slow_requests_forget(slow, entity);
	assert_int_equal(slow_requests_counts(slow)->routes, 0);
	assert_int_equal(slow_requests_bound(slow), 0);
}

/* ---- calls ---- */

static const struct protocol database = { .name = "postgresql", .family = PROTOCOL_DATABASE };
static const struct protocol web = { .name = "http2", .family = PROTOCOL_HTTP };
static const struct protocol rpc = { .name = "grpc", .family = PROTOCOL_RPC };

static void calls_of_decoders(void **state)
{
	struct slow_requests *slow = make_store(KEPT);
	const struct slow_call_place place = { .entity = 5,
					       .pid = 81,
					       .tid = 83,
					       .number = PREFIX_POSTGRESQL,
					       .role = REQUESTS_CLIENT,
					       .path = &path };
	struct protocol_call call = {
		.operation = "SELECT",
		.target = "SELECT orders",
		.status = "42P01",
		.is_error = true,
		.start_ns = NOW - 20 * MS,
		.first_byte_ns = NOW - 15 * MS,
		.end_ns = NOW,
		.response_bytes = 77,
	};
	const struct request_record *record;
	struct snapshot *snapshot;

	slow_requests_take_call(slow, &place, &database, &call);
	call.inner = &rpc;
	call.target = "shop.Cart/Add";
	call.status = "";
	call.is_error = false;
	call.first_byte_ns = 0;
	call.start_ns += MS;
	slow_requests_take_call(slow, &place, &web, &call);
	snapshot = collect(slow, NOW);

	assert_int_equal(snapshot->n_slow, 2);
	record = snapshot->slow[0].record;
	assert_string_equal(snapshot->slow[0].entity[4], "5");
	assert_string_equal(record->protocol, "postgresql");
	assert_string_equal(record->side, "client");
	assert_string_equal(record->operation, "SELECT");
	assert_string_equal(record->route, "SELECT orders");
	assert_string_equal(record->status, "42P01");
	assert_string_equal(record->error, "42P01");
	assert_string_equal(record->target, "");
	assert_string_equal(record->local, "127.0.0.1:8080");
	assert_string_equal(record->peer, "10.1.2.3:50000");
	assert_int_equal(record->rtt_us, 250);
	assert_int_equal(record->duration_ns, 20 * MS);
	assert_int_equal(record->first_byte_ns, 5 * MS);
	assert_int_equal(record->response_bytes, 77);
	assert_int_equal(record->connect_ns, 0); /* not the first on its connection */
	assert_int_equal(record->tid, 83);
	assert_int_equal(record->n_waits, 1);
	assert_string_equal(record->waits[0].reason, "outbound");
	assert_int_equal(record->waits[0].ns, 20 * MS);
	assert_string_equal(record->histogram->name, "db_client_operation_duration_seconds");
	assert_string_equal(record->labels[0], "postgresql");
	record = snapshot->slow[1].record;
	assert_string_equal(record->protocol, "grpc");
	assert_string_equal(record->error, "");
	assert_int_equal(record->first_byte_ns, 0);
	assert_string_equal(record->histogram->name, "rpc_client_call_duration_seconds");
}

static void take_served(struct slow_requests *slow, const char *target,
			const struct request_account *account)
{
	static struct downstream_name names[2];
	static const struct request_wait_tables waits = { .downstreams = 2, .names = names };
	static const struct request_path nowhere;
	const struct slow_call_place place = { .entity = 5,
					       .number = PREFIX_POSTGRESQL,
					       .role = REQUESTS_SERVER,
					       .path = &nowhere,
					       .account = account,
					       .waits = &waits };
	const struct protocol_call call = { .operation = "SELECT",
					    .target = target,
					    .status = "",
					    .start_ns = NOW - 20 * MS,
					    .end_ns = NOW };

	names[1] = make_downstream(1, 80, DOWNSTREAM_HTTP, 0).name;
	names[1].key.entity = place.entity;
	slow_requests_take_call(slow, &place, &database, &call);
}

static const struct request_record *record_of(const struct snapshot *snapshot, const char *route)
{
	for (size_t i = 0; i < snapshot->n_slow; i++)
		if (!strcmp(snapshot->slow[i].record->route, route))
			return snapshot->slow[i].record;
	test_fail("no %s", route);
}

static void calls_that_a_server_waited_in(void **state)
{
	struct slow_requests *slow = make_store(KEPT);
	struct request_account account = { .reasons_ns[WAIT_DISK] = 15 * MS,
					   .reasons_ns[REQUEST_OUTBOUND] = 3 * MS,
					   .downstreams[1] = { .row = 1, .ns = 3 * MS } };
	const struct request_record *record;
	struct snapshot *snapshot;

	take_served(slow, "known", &account);
	take_served(slow, "unknown", NULL);
	account.reasons_ns[WAIT_DISK] = 18 * MS; /* more than it took */
	take_served(slow, "false", &account);
	snapshot = collect(slow, NOW);

	record = record_of(snapshot, "known");
	assert_int_equal(record->n_waits, 3);
	assert_string_equal(record->waits[0].reason, "disk");
	assert_string_equal(record->waits[1].reason, "outbound");
	assert_int_equal(record->waits[2].ns, 2 * MS); /* unattributed */
	assert_int_equal(record->n_downstreams, 1);
	assert_string_equal(record->peer, "");
	for (int i = 0; i < 2; i++) {
		record = record_of(snapshot, i ? "false" : "unknown");
		assert_int_equal(record->n_waits, 1);
		assert_string_equal(record->waits[0].reason, "unattributed");
		assert_int_equal(record->waits[0].ns, 20 * MS);
	}
}

/* ---- the gate ---- */

/* Runs so many requests a second for so many seconds; returns how many of the last second passed, with their least duration. */
static unsigned run(struct slow_gate *gate, uint64_t *now_ns, unsigned seconds, unsigned rate,
		    uint64_t (*duration)(unsigned i), uint64_t *ret_least)
{
	unsigned passed = 0;

	for (unsigned second = 0; second < seconds; second++) {
		passed = 0;
		*ret_least = UINT64_MAX;
		for (unsigned i = 0; i < rate; i++) {
			*now_ns += SECOND / rate;
			if (!slow_gate_passes(gate, duration(i), *now_ns))
				continue;
			passed++;
			if (duration(i) < *ret_least)
				*ret_least = duration(i);
		}
	}
	return passed;
}

/* 10 us to about 1 ms, and one in a thousand from 10 to 20 ms. */
static uint64_t realistic(unsigned i)
{
	uint64_t spread = (i * 2654435761U) >> 12 & 0xfffff;

	return i % 1000 == 7 ? 10 * MS + spread * 10 : 10000 + spread;
}

static uint64_t constant(unsigned i)
{
	return 5 * MS;
}

static void little_passes_freely(void **state)
{
	struct slow_gate gate = { 0 };
	uint64_t now_ns = NOW, least;

	assert_int_equal(run(&gate, &now_ns, 10, SLOW_GATE_WANTED, realistic, &least),
			 SLOW_GATE_WANTED);
	assert_int_equal(slow_gate_turn(&gate, now_ns), SLOW_GATE_OPEN);
}

static void of_much_the_slowest_pass(void **state)
{
	struct slow_gate gate = { 0 };
	uint64_t now_ns = NOW, least;
	unsigned passed = run(&gate, &now_ns, 30, 100000, realistic, &least);

	assert_in_range(passed, SLOW_GATE_WANTED / 4, SLOW_GATE_MOST);
	assert_true(least > MS / 2);
	/* quiet again: within half a minute everything passes */
	run(&gate, &now_ns, 30, 7, realistic, &least);
	assert_int_equal(slow_gate_turn(&gate, now_ns), SLOW_GATE_OPEN);
}

static void of_equals_few_pass(void **state)
{
	struct slow_gate gate = { 0 };
	uint64_t now_ns = NOW, least;
	unsigned passed = 0;

	for (int second = 0; second < 60; second++)
		passed += run(&gate, &now_ns, 1, 50021, constant, &least);
	assert_in_range(passed, SLOW_GATE_MOST, 60 * 2 * SLOW_GATE_MOST);
	assert_true(slow_gate_passes(&gate, SECOND, now_ns)); /* what is slower does */
}

static void an_hour_of_silence_opens_it(void **state)
{
	struct slow_gate gate = { 0 };
	uint64_t now_ns = NOW, least;

	run(&gate, &now_ns, 1, 50021, constant, &least);
	assert_true(slow_gate_turn(&gate, now_ns) > 5 * MS);
	assert_int_equal(slow_gate_turn(&gate, now_ns + 3600 * SECOND), SLOW_GATE_OPEN);
	/* a clock that seems to go back does no harm */
	assert_true(slow_gate_passes(&gate, 1, NOW));
}

static void the_kernel_is_told(void **state)
{
	struct slow_requests *slow = make_store(KEPT);

	assert_int_equal(slow_requests_threshold(slow, REQUESTS_SERVER, NOW), SLOW_GATE_OPEN);
	for (unsigned i = 0; i < SLOW_GATE_MOST; i++) {
		struct event event = make_event("/", (i + 1) * MS, NOW);

		assert_int_equal(slow_requests_take_event(slow, &event, sizeof(event), NOW), 0);
	}
	/* at most so many of these would have come */
	assert_in_range(slow_requests_threshold(slow, REQUESTS_SERVER, NOW),
			(SLOW_GATE_MOST - SLOW_GATE_WANTED) * MS, SLOW_GATE_MOST * MS);
	assert_int_equal(slow_requests_threshold(slow, REQUESTS_CLIENT, NOW), SLOW_GATE_OPEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(everything_is_told),
		HARNESS_TEST(whom_it_waited_for),
		HARNESS_TEST(addresses_and_odd_targets),
		HARNESS_TEST(hostile_events_are_refused),
		HARNESS_TEST(the_slowest_of_each_route),
		HARNESS_TEST(a_minute_and_the_one_before),
		HARNESS_TEST(an_example_for_each_bucket),
		HARNESS_TEST(many_routes_are_bounded),
		HARNESS_TEST(calls_of_decoders),
		HARNESS_TEST(calls_that_a_server_waited_in),
		HARNESS_TEST(little_passes_freely),
		HARNESS_TEST(of_much_the_slowest_pass),
		HARNESS_TEST(of_equals_few_pass),
		HARNESS_TEST(an_hour_of_silence_opens_it),
		HARNESS_TEST(the_kernel_is_told),
	};

	return cmocka_run_group_tests_name("slow_requests", tests, NULL, NULL);
}
