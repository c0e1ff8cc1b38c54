// SPDX-License-Identifier: Apache-2.0
/* GET /requests from snapshots, and its text as `leadline requests` prints it. No root. */
#include <jansson.h>
#include <math.h>
#include "agent/cli/requests.h"
#include "agent/registry.h"
#include "agent/requests_page.h"
#include "bpf/lib/hist.h"
#include "probes/requests_metrics.h"
#include "tests/harness/harness.h"

#define MS     1000000ULL
#define SECOND 1000000000ULL

/* ---- snapshots ---- */

static const char *const *entity_names(void *context, uint32_t entity)
{
	static const char *const names[][ENTITY_LABELS] = {
		{ "", "", "", "/web/shop.service", "nginx" },
		{ "default", "cart-0", "cart", "", "java" },
	};

	(void)context;
	return names[entity];
}

static struct registry *make_registry(void)
{
	struct registry *registry = registry_new(entity_names, NULL);

	assert_non_null(registry);
	cleanup_push((void (*)(void *))registry_free, registry);
	return registry;
}

/* n requests of this duration in all. */
static void write_route(struct metric_writer *writer, const struct metric_desc *desc,
			uint32_t entity, const char *const labels[], uint64_t n, uint64_t ns)
{
	uint64_t slots[HIST3_SLOTS] = { 0 };

	slots[hist3_slot(ns)] = n;
	metric_write_histogram(writer, desc, entity, labels,
			       &(struct histogram_view){ .schema = HIST3_SCHEMA,
							 .min_index = HIST3_MIN_INDEX,
							 .n_slots = HIST3_SLOTS,
							 .slots = slots,
							 .sum = (double)(n * ns) / 1e9 });
}

static const char *const http_fine[] = { "GET", "200", "", "http", "", "" };
static const char *const http_error[] = { "GET", "500", "500", "http", "", "" };
static const char *const select_orders[] = { "postgresql", "SELECT", "SELECT orders", "", "" };
static const char *const tls[] = { "server", "tls" }, *const redis[] = { "server", "redis" };
static const char *const http_server[] = { "server", "http" };
static const char *const dns_server[] = { "server", "dns" };
static const char *const server_role[] = { "server" }, *const client_role[] = { "client" };

static void write_all(struct metric_writer *writer, unsigned times)
{
	const struct metric_desc *database =
		requests_call_metric(PROTOCOL_DATABASE, REQUESTS_CLIENT);

	write_route(writer, &requests_duration_metrics[REQUESTS_SERVER], 0, http_fine, 30 * times,
		    4 * MS);
	write_route(writer, &requests_duration_metrics[REQUESTS_SERVER], 0, http_error, 10 * times,
		    40 * MS);
	write_route(writer, database, 0, select_orders, 7, 2 * MS);
	write_route(writer, &requests_exchange_metric, 0, tls, 3 * times, MS);
	write_route(writer, &requests_exchange_metric, 0, redis, 3 * times, MS);
	metric_write(writer, &requests_connections_metric, 0, http_server, 10);
	metric_write(writer, &requests_connections_metric, 0, tls, 5);
	metric_write(writer, &requests_connections_metric, 0, dns_server, 3);
	metric_write(writer, &requests_in_flight_metric, 0, server_role, 2);
	metric_write(writer, &requests_oldest_metric, 0, server_role, 1.5);
	metric_write(writer, &requests_in_flight_metric, 1, client_role, 1);
	metric_write(writer, &requests_oldest_metric, 1, client_role, 8);
}

static struct snapshot *finish(struct registry *registry, uint64_t monotonic_ns)
{
	struct snapshot *snapshot = registry_finish(registry);

	assert_non_null(snapshot);
	snapshot->monotonic_ns = monotonic_ns;
	snapshot->realtime_ns = 1714564800 * SECOND + monotonic_ns;
	cleanup_push((void (*)(void *))snapshot_put, snapshot);
	return snapshot;
}

static struct snapshot *make_snapshot(struct registry *registry, unsigned times,
				      uint64_t monotonic_ns)
{
	write_all(registry_begin(registry), times);
	return finish(registry, monotonic_ns);
}

/* ---- pages ---- */

static struct requests_page *make_page(void)
{
	struct requests_page *page = requests_page_new();

	assert_non_null(page);
	cleanup_push((void (*)(void *))requests_page_free, page);
	return page;
}

static void drop_json(void *json)
{
	json_decref(json);
}

static json_t *ask(struct requests_page *page, struct snapshot *snapshot,
		   const struct requests_query *query)
{
	struct buffer out = { 0 };
	json_error_t error;
	json_t *json;

	assert_int_equal(requests_page_write(page, snapshot, query, 100 * SECOND, &out), 0);
	json = json_loadb(out.data, out.size, 0, &error);
	if (!json)
		test_fail("%s: %.*s", error.text, (int)out.size, out.data);
	buffer_free(&out);
	cleanup_push(drop_json, json);
	return json;
}

static const struct requests_query everything = { .has_services = true,
						  .has_slow = true,
						  .limit = 50 };

static double number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_number(value) && !json_is_null(value))
		test_fail("no number: %s", key);
	return json_is_number(value) ? json_number_value(value) : NAN;
}

static const char *text(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_string(value) && !json_is_null(value))
		test_fail("no text: %s", key);
	return json_is_string(value) ? json_string_value(value) : "";
}

/* The service of that program and side; NULL: none. */
static const json_t *service(const json_t *page, const char *comm, const char *side)
{
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(page, "services"), i, one)
	{
		if (!strcmp(text(json_object_get(one, "labels"), "comm"), comm) &&
		    !strcmp(text(one, "side"), side))
			return one;
	}
	return NULL;
}

static const json_t *route(const json_t *service, size_t i)
{
	return json_array_get(json_object_get(service, "routes"), i);
}

static void assert_near(double seen, double expected)
{
	if (!(fabs(seen - expected) <= expected * 0.1))
		test_fail("%g, not about %g", seen, expected);
}

static void rates_are_since_the_last_look(void **state)
{
	struct registry *registry = make_registry();
	struct requests_page *page = make_page();
	struct snapshot *first = make_snapshot(registry, 1, 1000 * SECOND);
	struct snapshot *second = make_snapshot(registry, 3, 1002 * SECOND);
	const json_t *json = ask(page, first, &everything), *nginx;

	/* of the agent's 100 seconds */
	assert_true(number(json, "seconds") == 100);
	assert_true(number(route(service(json, "nginx", "server"), 0), "rate") == 0.4);

	json = ask(page, second, &everything);
	assert_true(number(json, "seconds") == 2);
	assert_int_equal(json_array_size(json_object_get(json, "services")), 3);
	nginx = service(json, "nginx", "server");
	assert_string_equal(text(json_object_get(nginx, "labels"), "unit"), "/web/shop.service");
	assert_true(number(nginx, "in_flight") == 2);
	assert_true(number(nginx, "oldest_seconds") == 1.5);
	/* 40 and 3, three times, on 10 and 5; not Redis, nor what has no connections */
	assert_near(number(nginx, "requests_per_connection"), 129. / 15);
	/* statuses are one route; TLS is not decoded, Redis is counted as calls elsewhere */
	assert_int_equal(json_array_size(json_object_get(nginx, "routes")), 2);
	assert_string_equal(text(route(nginx, 0), "protocol"), "http");
	assert_string_equal(text(route(nginx, 0), "operation"), "GET");
	assert_true(number(route(nginx, 0), "rate") == 40);
	assert_true(number(route(nginx, 0), "error_rate") == 10);
	assert_true(number(route(nginx, 0), "requests") == 120);
	assert_true(number(route(nginx, 0), "errors") == 30);
	assert_near(number(route(nginx, 0), "p50_seconds"), 0.004);
	assert_near(number(route(nginx, 0), "p99_seconds"), 0.04);
	assert_string_equal(text(route(nginx, 1), "protocol"), "tls");
	assert_true(number(route(nginx, 1), "rate") == 3);

	/* nothing new */
	nginx = service(json, "nginx", "client");
	assert_string_equal(text(route(nginx, 0), "route"), "SELECT orders");
	assert_true(number(route(nginx, 0), "rate") == 0);
	assert_true(number(route(nginx, 0), "requests") == 7);
	assert_true(isnan(number(route(nginx, 0), "p50_seconds")));
	assert_true(isnan(number(nginx, "in_flight")));
	assert_true(isnan(number(nginx, "requests_per_connection")));

	/* hangs, and nothing has ended yet */
	assert_true(number(service(json, "java", "client"), "oldest_seconds") == 8);
	assert_int_equal(
		json_array_size(json_object_get(service(json, "java", "client"), "routes")), 0);
}

static void the_window_moves(void **state)
{
	struct registry *registry = make_registry();
	struct requests_page *page = make_page();
	double longest = 0, seconds = 0;

	for (unsigned i = 1; i <= 29; i++) {
		struct snapshot *snapshot = make_snapshot(registry, i, 1000 * SECOND + i * SECOND);
		const json_t *json = ask(page, snapshot, &everything);

		seconds = number(json, "seconds");
		if (i > 1 && seconds > longest)
			longest = seconds;
		if (i > 1)
			assert_true(number(route(service(json, "nginx", "server"), 0), "rate") ==
				    40);
	}
	assert_in_range((uintmax_t)longest, 5, 10);
	assert_in_range((uintmax_t)seconds, 5, 10);
	/* twice at the same time is no time to tell a rate by, but for what is remembered from before */
	ask(page, make_snapshot(registry, 30, 1029 * SECOND), &everything);
	/* nobody looked for long: from the beginning again */
	assert_true(number(ask(page, make_snapshot(registry, 31, 2000 * SECOND), &everything),
			   "seconds") == 100);
	requests_page_expire(page, 2061 * SECOND);
	assert_true(number(ask(page, make_snapshot(registry, 32, 2010 * SECOND), &everything),
			   "seconds") == 100);
}

/* A probe that was started anew counts from zero. */
static void counters_that_begin_anew(void **state)
{
	struct registry *before = make_registry(), *after = make_registry();
	struct requests_page *page = make_page();
	const json_t *json;

	ask(page, make_snapshot(before, 10, 1000 * SECOND), &everything);
	json = ask(page, make_snapshot(after, 1, 1004 * SECOND), &everything);
	assert_true(number(route(service(json, "nginx", "server"), 0), "rate") == 10);
}

static void only_what_is_asked_for(void **state)
{
	struct registry *registry = make_registry();
	struct requests_page *page = make_page();
	struct snapshot *snapshot = make_snapshot(registry, 1, 1000 * SECOND);
	static const struct {
		const char *service, *protocol;
		size_t services;
	} cases[] = {
		{ "nginx", NULL, 2 },	  { "shop.service", NULL, 2 }, { "shop", NULL, 2 },
		{ "/web/shop", NULL, 2 }, { "web", NULL, 0 },	       { "/", NULL, 0 },
		{ "cart", NULL, 1 },	  { "cart-0", NULL, 1 },       { "java", NULL, 1 },
		{ "default", NULL, 0 },	  { "sho", NULL, 0 },	       { "", NULL, 3 },
		{ "nginx", "tls", 1 },	  { NULL, "postgresql", 1 },   { NULL, "http", 2 },
		{ "java", "tls", 0 },	  { NULL, "gopher", 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct requests_query query = {
			.filter = { cases[i].service, cases[i].protocol },
			.has_services = true,
		};
		const json_t *json = ask(page, snapshot, &query);
		size_t n = json_array_size(json_object_get(json, "services"));

		if (n != cases[i].services)
			test_fail("%s, %s: %zu", cases[i].service ? cases[i].service : "any",
				  cases[i].protocol ? cases[i].protocol : "any", n);
		assert_null(json_object_get(json, "slow"));
	}
}

/* ---- slow ones ---- */

static const struct request_wait waits[] = { { "disk", 18 * MS },
					     { "run_queue", 400000 },
					     { "on_cpu", 1200000 },
					     { "socket_queue", 400 },
					     { "outbound", 800000 } };

static const struct request_record *make_record(uint64_t duration_ns, bool is_call)
{
	struct request_record facts = {
		.protocol = "http",
		.side = "server",
		.operation = "GET",
		.route = "/users/{id}",
		.target = "/users/4711?a=\"b\"",
		.status = "200",
		.error = "",
		.local = "127.0.0.1:80",
		.peer = "[::1]:50000",
		.end_ns = 999 * SECOND,
		.duration_ns = duration_ns,
		.first_byte_ns = duration_ns / 2,
		.connect_ns = 3 * MS,
		.request_bytes = 77,
		.response_bytes = 56789,
		.pid = 71,
		.tid = 73,
		.retransmits = 2,
		.rtt_us = 250,
		.waits = waits,
		.n_waits = sizeof(waits) / sizeof(waits[0]),
		.downstreams = { { "10.0.0.2:5432", "postgresql", 700000 },
				 { "[::1]:4711", "", 100000 } },
		.n_downstreams = 2,
	};
	const struct request_record *record;

	if (is_call)
		facts = (struct request_record){ .protocol = "postgresql",
						 .side = "client",
						 .operation = "SELECT",
						 .route = "SELECT orders",
						 .target = "",
						 .status = "",
						 .error = "",
						 .local = "",
						 .peer = "",
						 .end_ns = 998 * SECOND,
						 .duration_ns = duration_ns };
	record = request_record_new(&facts);
	assert_non_null(record);
	cleanup_push((void (*)(void *))request_record_put, (void *)record);
	return record;
}

static struct snapshot *make_slow_snapshot(struct registry *registry)
{
	struct metric_writer *writer = registry_begin(registry);

	metric_write_request(writer, 1, REQUEST_SLOW, make_record(3 * MS, true));
	metric_write_request(writer, 0, REQUEST_SLOW, make_record(20 * MS, false));
	return finish(registry, 1000 * SECOND);
}

static void slow_ones_in_detail(void **state)
{
	struct requests_page *page = make_page();
	struct snapshot *snapshot = make_slow_snapshot(make_registry());
	struct requests_query query = { .has_slow = true, .limit = 50 };
	const json_t *json = ask(page, snapshot, &query), *slow = json_object_get(json, "slow");
	const json_t *one = json_array_get(slow, 0), *downstream;

	assert_null(json_object_get(json, "services"));
	assert_int_equal(json_array_size(slow), 2);
	assert_string_equal(text(one, "time"), "2024-05-01T12:16:39.000Z");
	assert_true(number(one, "duration_seconds") == 0.02);
	assert_true(number(one, "first_byte_seconds") == 0.01);
	assert_string_equal(text(json_object_get(one, "labels"), "comm"), "nginx");
	assert_string_equal(text(one, "side"), "server");
	assert_string_equal(text(one, "protocol"), "http");
	assert_string_equal(text(one, "operation"), "GET");
	assert_string_equal(text(one, "route"), "/users/{id}");
	assert_string_equal(text(one, "target"), "/users/4711?a=\"b\"");
	assert_string_equal(text(one, "status"), "200");
	assert_string_equal(text(one, "error"), "");
	assert_string_equal(text(one, "peer"), "[::1]:50000");
	assert_string_equal(text(one, "local"), "127.0.0.1:80");
	assert_true(number(one, "pid") == 71);
	assert_true(number(one, "tid") == 73);
	assert_true(number(one, "connect_seconds") == 0.003);
	assert_true(number(one, "request_bytes") == 77);
	assert_true(number(one, "response_bytes") == 56789);
	assert_true(number(one, "retransmits") == 2);
	assert_true(number(one, "rtt_seconds") == 0.00025);
	assert_int_equal(json_object_size(json_object_get(one, "waits")), 5);
	assert_true(number(json_object_get(one, "waits"), "disk") == 0.018);

	assert_int_equal(json_array_size(json_object_get(one, "downstreams")), 2);
	downstream = json_array_get(json_object_get(one, "downstreams"), 0);
	assert_string_equal(text(downstream, "peer"), "10.0.0.2:5432");
	assert_string_equal(text(downstream, "protocol"), "postgresql");
	assert_true(number(downstream, "seconds") == 0.0007);

	one = json_array_get(slow, 1);
	assert_int_equal(json_array_size(json_object_get(one, "downstreams")), 0);
	assert_string_equal(text(one, "route"), "SELECT orders");
	assert_true(json_is_null(json_object_get(one, "waits")));
	assert_true(isnan(number(one, "retransmits")));
	assert_true(isnan(number(one, "pid")));

	query.limit = 1;
	assert_int_equal(json_array_size(json_object_get(ask(page, snapshot, &query), "slow")), 1);
	query.limit = 50;
	query.filter.protocol = "postgresql";
	assert_int_equal(json_array_size(json_object_get(ask(page, snapshot, &query), "slow")), 1);
	query.filter.protocol = NULL;
	query.filter.service = "shop";
	assert_int_equal(json_array_size(json_object_get(ask(page, snapshot, &query), "slow")), 1);
}

/* ---- as text ---- */

typedef void print_fn(const json_t *page, const struct requests_screen *screen);

static char *print(print_fn *print_page, const json_t *json, size_t rows, size_t columns)
{
	struct requests_screen screen = { .rows = rows, .columns = columns };
	char *printed = NULL;
	size_t size;

	screen.out = open_memstream(&printed, &size);
	assert_non_null(screen.out);
	print_page(json, &screen);
	fclose(screen.out);
	cleanup_push(free, printed);
	return printed;
}

static void the_table(void **state)
{
	struct registry *registry = make_registry();
	struct requests_page *page = make_page();
	const json_t *json;

	ask(page, make_snapshot(registry, 1, 1000 * SECOND), &everything);
	json = ask(page, make_snapshot(registry, 3, 1002 * SECOND), &everything);
	assert_string_equal(
		print(requests_print_routes, json, 0, 0),
		"REQUESTS/s  ERRORS/s      P50      P99 INFLIGHT   OLDEST  PER CONN  SIDE   PROTOCOL   SERVICE  ROUTE\n"
		"      40.0      10.0   4.14ms   40.4ms        2    1.50s       8.6  server http       shop.service/nginx  GET\n"
		"       3.0         0   1.02ms   1.06ms        2    1.50s       8.6  server tls        shop.service/nginx  \n"
		"         0         0        -        -        1    8.00s         -  client            cart-0/java  \n");
	assert_string_equal(print(requests_print_routes, json, 2, 20), "REQUESTS/s  ERRORS/…\n"
								       "      40.0      10.…\n"
								       "… and 2 more\n");
	registry_begin(registry);
	json = ask(page, finish(registry, 1003 * SECOND), &everything);
	assert_non_null(
		strstr(print(requests_print_routes, json, 0, 0), "No requests in the last 3 s.\n"));
}

static void the_slow_list(void **state)
{
	struct requests_page *page = make_page();
	const struct requests_query query = { .has_slow = true, .limit = 50 };
	const json_t *json = ask(page, make_slow_snapshot(make_registry()), &query);

	assert_string_equal(
		print(requests_print_slow, json, 0, 0),
		"    20.0ms  12:16:39.000 200 server http shop.service/nginx[73]  GET /users/4711?a=\"b\"\n"
		"            disk 18.0ms · on_cpu 1.20ms · outbound 800us (10.0.0.2:5432 postgresql 700us · [::1]:4711 100us) · run_queue 400us; connect 3.00ms before; first byte 10.0ms; request 77 B; response 56.8 kB; peer [::1]:50000, rtt 250us, 2 retransmits\n"
		"    3.00ms  12:16:38.000 ok client postgresql cart-0/java  SELECT SELECT orders\n");
	assert_int_equal(strlen(print(requests_print_slow, json, 1, 0)), 0);
	json = json_loads("{\"slow\": []}", 0, NULL);
	cleanup_push(drop_json, (void *)json);
	assert_non_null(strstr(print(requests_print_slow, json, 0, 0), "No requests in"));
}

/* What an agent, or whoever is in its place, sends. */
static void hostile_answers(void **state)
{
	static const char *const answers[] = {
		"{}",
		"{\"services\": 1, \"slow\": \"x\"}",
		"{\"services\": [1, {\"routes\": [{\"rate\": 1}]}, {\"routes\": {\"a\": 1}}], \"slow\": [1, {\"waits\": []}]}",
		"{\"services\": [{\"side\": \"\\u001b[2J\", \"labels\": {\"comm\": \"\\u001b]0;x\\u0007\"}, \"routes\": "
		"[{\"rate\": 1e300, \"error_rate\": -1, \"p50_seconds\": 1e300, \"operation\": \"\\r\\n\\u007f\"}]}]}",
		"{\"slow\": [{\"duration_seconds\": 1, \"time\": \"\\u001b\", \"target\": \"\\u001b[31m\", \"status\": \"\\t\", "
		"\"side\": \"\\u001b\", \"protocol\": \"\\u0007\", \"peer\": \"\\u001b\", \"waits\": {\"\\u001b\": 1, \"a\": \"b\"}}]}",
	};

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		json_t *json = json_loads(answers[i], 0, NULL);

		assert_non_null(json);
		cleanup_push(drop_json, json);
		for (size_t columns = 0; columns < 100; columns += 33) {
			const char *printed[] = {
				print(requests_print_routes, json, 10, columns),
				print(requests_print_slow, json, 10, columns),
			};

			for (size_t k = 0; k < 2; k++)
				for (const char *c = printed[k]; *c; c++)
					if ((unsigned char)*c < ' ' && *c != '\n')
						test_fail("answer %zu steers the terminal", i);
		}
	}
}

static void durations_in_short(void **state)
{
	static const struct {
		double seconds;
		const char *shown;
	} cases[] = {
		{ 0, "0.00ns" },       { 4e-8, "40.0ns" },
		{ 999.4e-9, "999ns" }, { 999.6e-9, "1.00us" },
		{ 0.0012, "1.20ms" },  { 0.0999, "99.9ms" },
		{ 0.9999, "1.00s" },   { 100, "100s" },
		{ NAN, "-" },	       { -1, "-" },
		{ INFINITY, "-" },
	};
	char shown[16];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(requests_show_seconds(cases[i].seconds, shown), cases[i].shown);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(rates_are_since_the_last_look),
		HARNESS_TEST(the_window_moves),
		HARNESS_TEST(counters_that_begin_anew),
		HARNESS_TEST(only_what_is_asked_for),
		HARNESS_TEST(slow_ones_in_detail),
		HARNESS_TEST(the_table),
		HARNESS_TEST(the_slow_list),
		HARNESS_TEST(hostile_answers),
		HARNESS_TEST(durations_in_short),
	};

	return cmocka_run_group_tests_name("requests_page", tests, NULL, NULL);
}
