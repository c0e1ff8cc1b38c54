// SPDX-License-Identifier: Apache-2.0
/* What the agent answers: formats, compression, one rendering for many, health codes, reload. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>
#include <zlib.h>
#include "agent/config.h"
#include "agent/gzip.h"
#include "agent/page_cache.h"
#include "agent/routes.h"
#include "exporters/negotiate.h"
#include "tests/harness/fetch.h"
#include "tests/harness/sample_snapshot.h"

#define OPENMETRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define PROMETHEUS_TYPE	 "text/plain; version=0.0.4; charset=utf-8"

/* The core, as the routes see it. */
static struct fake {
	struct snapshot *snapshot; /* NULL: none yet */
	uint64_t loop_age_ns;
	int reload_result;
	atomic_uint reloads;
} fake;

static struct snapshot *fake_snapshot(void *context)
{
	return fake.snapshot ? snapshot_get(fake.snapshot) : NULL;
}

static struct health_report *fake_health(void *context)
{
	return NULL;
}

static uint64_t fake_uptime(void *context)
{
	return 5000000000ULL;
}

static uint64_t fake_loop_age(void *context)
{
	return fake.loop_age_ns;
}

static int fake_reload(void *context, char *error, size_t error_size)
{
	assert_ptr_equal(context, &fake);
	atomic_fetch_add(&fake.reloads, 1);
	if (fake.reload_result)
		snprintf(error, error_size, "leadline.yaml:3: unknown key \"listen\"");
	return fake.reload_result;
}

struct fixture {
	struct routes *routes;
	struct http_server *server;
};

static int setup(void **state)
{
	static const struct agent_services services = {
		.context = &fake,
		.fresh_snapshot = fake_snapshot,
		.health = fake_health,
		.uptime_ns = fake_uptime,
		.loop_age_ns = fake_loop_age,
		.reload = fake_reload,
	};
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	char error[256];

	assert_non_null(fixture);
	memset(&fake, 0, sizeof(fake));
	fake.snapshot = sample_snapshot(1);
	fixture->routes = routes_new(&services);
	assert_non_null(fixture->routes);
	if (http_server_start(&(struct http_server_options){ .listen = "127.0.0.1:0",
							     .routes = agent_routes,
							     .context = fixture->routes,
							     .quiet = routes_quiet },
			      &fixture->server, error, sizeof(error)))
		fail_msg("%s", error);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	http_server_stop(fixture->server);
	routes_free(fixture->routes);
	snapshot_put(fake.snapshot);
	free(fixture);
	return 0;
}

static struct answer *ask(void **state, const char *method, const char *path, const char *header)
{
	const struct fixture *fixture = *state;
	const char *const headers[] = { header, NULL };
	char url[256];

	snprintf(url, sizeof(url), "http://%s%s", http_server_address(fixture->server), path);
	return fetch(method, url, headers, strcmp(method, "GET") ? "" : NULL);
}

static void assert_page(const struct answer *answer, const struct encoder *encoder)
{
	struct buffer page = { 0 };

	assert_int_equal(answer->status, 200);
	assert_string_equal(answer_header(answer, "Content-Type"), encoder->content_type);
	assert_string_equal(answer_header(answer, "Vary"), "Accept, Accept-Encoding");
	assert_int_equal(encoder->encode(fake.snapshot, &page), 0);
	assert_int_equal(answer->size, page.size);
	assert_memory_equal(answer->body, page.data, page.size);
	buffer_free(&page);
}

static void negotiates_formats(void **state)
{
	struct answer *answer = ask(state, "GET", "/metrics", NULL);

	assert_page(answer, &encoder_prometheus_text);
	assert_string_equal(answer_header(answer, "Content-Type"), PROMETHEUS_TYPE);
	answer_free(answer);

	answer = ask(
		state, "GET", "/metrics",
		"Accept: application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;"
		"q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1");
	assert_page(answer, &encoder_openmetrics);
	assert_string_equal(answer_header(answer, "Content-Type"), OPENMETRICS_TYPE);
	answer_free(answer);

	answer = ask(state, "GET", "/metrics", "Accept: application/json");
	assert_page(answer, &encoder_json);
	answer_free(answer);

	answer = ask(state, "GET", "/metrics?format=json", "Accept: text/plain");
	assert_page(answer, &encoder_json);
	answer_free(answer);

	answer = ask(state, "GET", "/metrics?format=xml", NULL);
	assert_int_equal(answer->status, 400);
	assert_non_null(strstr(answer->body, "prometheus, openmetrics, json"));
	answer_free(answer);
}

static void protobuf_by_leave_only(void **state)
{
	static const char accept[] = "Accept: application/vnd.google.protobuf;"
				     "proto=io.prometheus.client.MetricFamily;encoding=delimited,"
				     "text/plain;version=0.0.4;q=0.5";
	static const char yaml[] = "metrics: {native_histograms: true}";
	const struct fixture *fixture = *state;
	struct buffer errors = { 0 };
	struct config *config;
	struct answer *answer = ask(state, "GET", "/metrics", accept);

	assert_page(answer, &encoder_prometheus_text);
	answer_free(answer);
	answer = ask(state, "GET", "/metrics?format=protobuf", NULL);
	assert_int_equal(answer->status, 400);
	assert_non_null(strstr(answer->body, "metrics.native_histograms"));
	answer_free(answer);

	/* as on a reload */
	assert_int_equal(
		config_parse(config_tables(), "test", yaml, sizeof(yaml) - 1, &config, &errors), 0);
	routes_configure(fixture->routes, config);
	config_free(config);
	answer = ask(state, "GET", "/metrics", accept);
	assert_page(answer, &encoder_prometheus_proto);
	answer_free(answer);
	answer = ask(state, "GET", "/metrics?format=protobuf", NULL);
	assert_page(answer, &encoder_prometheus_proto);
	answer_free(answer);
	answer = ask(state, "GET", "/metrics", NULL);
	assert_page(answer, &encoder_prometheus_text);
	answer_free(answer);
}

static void inflate_to(struct buffer *out, const char *data, size_t size)
{
	z_stream stream = { 0 };
	int result;

	assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
	stream.next_in = (z_const Bytef *)data;
	stream.avail_in = (uInt)size;
	do {
		stream.next_out = (Bytef *)buffer_reserve(out, 65536);
		stream.avail_out = 65536;
		result = inflate(&stream, Z_NO_FLUSH);
		out->size += 65536 - stream.avail_out;
	} while (result == Z_OK);
	assert_int_equal(result, Z_STREAM_END);
	assert_int_equal(stream.avail_in, 0);
	inflateEnd(&stream);
}

static void compresses(void **state)
{
	struct answer *answer = ask(state, "GET", "/metrics", "Accept-Encoding: gzip");
	struct buffer plain = { 0 };

	assert_int_equal(answer->status, 200);
	assert_string_equal(answer_header(answer, "Content-Encoding"), "gzip");
	inflate_to(&plain, answer->body, answer->size);
	assert_true(answer->size * 4 < plain.size);
	free(answer->body);
	answer->body = plain.data;
	answer->size = plain.size;
	assert_page(answer, &encoder_prometheus_text);
	answer_free(answer);

	answer = ask(state, "GET", "/metrics", "Accept-Encoding: gzip;q=0");
	assert_null(answer_header(answer, "Content-Encoding"));
	assert_page(answer, &encoder_prometheus_text);
	answer_free(answer);

	answer = ask(state, "HEAD", "/metrics", "Accept-Encoding: gzip");
	assert_int_equal(answer->status, 200);
	assert_int_equal(answer->size, 0);
	answer_free(answer);
}

/* Sizes around the steps of the compressor, incompressible content included. */
static void gzip_round_trip(void **state)
{
	static const size_t sizes[] = { 0, 1, 32767, 32768, 32769, 1000003 };
	uint32_t random = 1;
	size_t i, at;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct buffer data = { 0 }, packed = { 0 }, plain = { 0 };

		for (at = 0; at < sizes[i]; at++) {
			random = random * 1664525 + 1013904223;
			buffer_char(&data, (char)(random >> 24));
		}
		buffer_string(&packed, "before");
		assert_int_equal(gzip_append(&packed, data.data, data.size), 0);
		assert_memory_equal(packed.data, "before\x1f\x8b", 8);
		inflate_to(&plain, packed.data + 6, packed.size - 6);
		assert_int_equal(plain.size, data.size);
		if (data.size)
			assert_memory_equal(plain.data, data.data, data.size);
		buffer_free(&data);
		buffer_free(&packed);
		buffer_free(&plain);
	}
}

/* One rendering a snapshot and form; a new snapshot, new pages; old ones live until they are sent. */
static void renders_once(void **state)
{
	struct snapshot *first = sample_snapshot(7), *second = sample_snapshot(8);
	struct page_cache *cache = page_cache_new();
	struct http_body *a, *b, *zipped, *other;

	assert_non_null(cache);
	a = page_cache_get(cache, first, &encoder_prometheus_text, false);
	b = page_cache_get(cache, first, &encoder_prometheus_text, false);
	assert_ptr_equal(a, b);
	zipped = page_cache_get(cache, first, &encoder_prometheus_text, true);
	assert_ptr_not_equal(a, zipped);
	assert_true(zipped->buffer.size < a->buffer.size);
	other = page_cache_get(cache, first, &encoder_openmetrics, false);
	assert_ptr_not_equal(a, other);
	http_body_put(b);

	b = page_cache_get(cache, second, &encoder_prometheus_text, false);
	assert_ptr_not_equal(a, b);
	assert_int_equal(a->references, 1); /* ours only */
	assert_int_equal(a->buffer.size, b->buffer.size);
	http_body_put(a);
	page_cache_drop(cache);
	assert_int_equal(b->references, 1);
	http_body_put(b);
	http_body_put(zipped);
	http_body_put(other);
	page_cache_free(cache);
	page_cache_free(NULL);
	snapshot_put(first);
	snapshot_put(second);
}

static void nothing_collected_yet(void **state)
{
	struct answer *answer;

	snapshot_put(fake.snapshot);
	fake.snapshot = NULL;
	answer = ask(state, "GET", "/metrics", NULL);
	assert_int_equal(answer->status, 503);
	assert_string_equal(answer_header(answer, "Retry-After"), "1");
	answer_free(answer);
}

/* The parts of the page, for a client on this host only. */
static void requests_page(void **state)
{
	static const struct {
		const char *path;
		long status;
		bool services, slow;
	} cases[] = {
		{ "/requests", 200, true, true },
		{ "/requests?slow=true&limit=1000&service=nginx&protocol=http", 200, false, true },
		{ "/requests?slow=false&limit=0", 200, true, false },
		{ "/requests?slow=1", 400, false, false },
		{ "/requests?limit=1001", 400, false, false },
		{ "/requests?limit=-1", 400, false, false },
		{ "/requests?limit=", 400, false, false },
		{ "/requests?limit=99999999999999999999", 400, false, false },
	};
	struct answer *answer;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *json;

		answer = ask(state, "GET", cases[i].path, NULL);
		if (answer->status != cases[i].status)
			fail_msg("%s: %ld", cases[i].path, answer->status);
		assert_string_equal(answer_header(answer, "Content-Type"), "application/json");
		json = json_loads(answer->body, 0, NULL);
		assert_int_equal(json_is_array(json_object_get(json, "services")),
				 cases[i].services);
		assert_int_equal(json_is_array(json_object_get(json, "slow")), cases[i].slow);
		json_decref(json);
		answer_free(answer);
	}
	answer = ask(state, "GET", "/requests", "X-Forwarded-For: 10.0.0.1");
	assert_int_equal(answer->status, 403);
	answer_free(answer);
	snapshot_put(fake.snapshot);
	fake.snapshot = NULL;
	answer = ask(state, "GET", "/requests", NULL);
	assert_int_equal(answer->status, 503);
	answer_free(answer);
}

/* Before the first verdict all is unknown, hence 503; but a loop that turns is alive. */
static void health_codes(void **state)
{
	static const struct {
		const char *path;
		long status;
	} cases[] = {
		{ "/health", 503 },	  { "/health/detailed", 503 }, { "/health/system", 503 },
		{ "/health/ready", 503 }, { "/health/startup", 503 },  { "/-/ready", 503 },
		{ "/health/live", 200 },  { "/-/healthy", 200 },
	};
	struct answer *answer;
	json_t *json;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		answer = ask(state, "GET", cases[i].path, NULL);
		if (answer->status != cases[i].status)
			fail_msg("%s: %ld", cases[i].path, answer->status);
		if (cases[i].path[1] == 'h') {
			json = json_loadb(answer->body, answer->size, 0, NULL);
			assert_non_null(json);
			json_decref(json);
		}
		answer_free(answer);
	}
	fake.loop_age_ns = 3600 * 1000000000ULL;
	answer = ask(state, "GET", "/-/healthy", NULL);
	assert_int_equal(answer->status, 503);
	assert_string_equal(answer->body, "leadline's loop stands still.\n");
	answer_free(answer);
}

static void reloads(void **state)
{
	struct answer *answer = ask(state, "POST", "/-/reload", NULL);

	assert_int_equal(answer->status, 200);
	answer_free(answer);
	answer = ask(state, "PUT", "/-/reload", NULL);
	assert_int_equal(answer->status, 200);
	answer_free(answer);
	assert_int_equal(atomic_load(&fake.reloads), 2);

	answer = ask(state, "GET", "/-/reload", NULL);
	assert_int_equal(answer->status, 405);
	assert_string_equal(answer_header(answer, "Allow"), "POST, PUT");
	answer_free(answer);
	answer = ask(state, "POST", "/-/reload", "Origin: http://evil.example");
	assert_int_equal(answer->status, 403);
	answer_free(answer);
	assert_int_equal(atomic_load(&fake.reloads), 2);

	fake.reload_result = -22;
	answer = ask(state, "POST", "/-/reload", NULL);
	assert_int_equal(answer->status, 500);
	assert_non_null(strstr(answer->body, "leadline.yaml:3: unknown key \\\"listen\\\""));
	answer_free(answer);
}

/* Every endpoint that has a help phrase is on the page, and its links work. */
static void lists_endpoints(void **state)
{
	struct answer *answer = ask(state, "GET", "/", NULL), *linked;
	const struct http_route *route;
	char link[128];

	assert_int_equal(answer->status, 200);
	assert_string_equal(answer_header(answer, "Content-Type"), "text/html; charset=utf-8");
	assert_null(strstr(answer->body, "<script"));
	assert_null(strstr(answer->body, "style=")); /* the policy sent along forbids it */
	for (route = agent_routes; route->path; route++) {
		if (!route->help)
			continue;
		assert_non_null(strstr(answer->body, route->help));
		assert_null(strpbrk(route->help, "<>&"));
		snprintf(link, sizeof(link), "<a href=\"%s\">", route->path);
		if (!strcmp(route->method, "GET"))
			assert_non_null(strstr(answer->body, link));
	}
	answer_free(answer);
	linked = ask(state, "GET", "/style.css", NULL);
	assert_int_equal(linked->status, 200);
	assert_string_equal(answer_header(linked, "Content-Type"), "text/css; charset=utf-8");
	answer_free(linked);
}

#define PARALLEL 200
static pthread_barrier_t barrier;

static void *scrape(void *state)
{
	struct answer *answer;
	bool good;

	pthread_barrier_wait(&barrier);
	answer = ask(&state, "GET", "/metrics", "Accept-Encoding: gzip");
	good = answer->status == 200 && answer->size > 500;
	answer_free(answer);
	return good ? NULL : state;
}

static void many_scrapes(void **state)
{
	pthread_t threads[PARALLEL];
	int i, failures = 0;
	void *bad;

	pthread_barrier_init(&barrier, NULL, PARALLEL);
	for (i = 0; i < PARALLEL; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, scrape, *state), 0);
	for (i = 0; i < PARALLEL; i++) {
		pthread_join(threads[i], &bad);
		failures += bad != NULL;
	}
	pthread_barrier_destroy(&barrier);
	assert_int_equal(failures, 0);
}

#define ROUTES_TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ROUTES_TEST(negotiates_formats),
		ROUTES_TEST(protobuf_by_leave_only),
		ROUTES_TEST(compresses),
		cmocka_unit_test(gzip_round_trip),
		cmocka_unit_test(renders_once),
		ROUTES_TEST(nothing_collected_yet),
		ROUTES_TEST(requests_page),
		ROUTES_TEST(health_codes),
		ROUTES_TEST(reloads),
		ROUTES_TEST(lists_endpoints),
		ROUTES_TEST(many_scrapes),
	};

	return cmocka_run_group_tests_name("routes", tests, NULL, NULL);
}
