// SPDX-License-Identifier: Apache-2.0
/* Decoded calls as series, without a kernel: every family's labels, and bounds that hold. No root. */
#include <math.h>
#include "agent/registry.h"
#include "bpf/lib/task.h"
#include "probes/requests_calls.h"
#include "tests/harness/collected.h"
#include "tests/harness/harness.h"

static const struct protocol database = { .name = "postgresql", .family = PROTOCOL_DATABASE };
static const struct protocol web = { .name = "http2", .family = PROTOCOL_HTTP };
static const struct protocol rpc = { .name = "grpc", .family = PROTOCOL_RPC };
static const struct protocol names = { .name = "dns", .family = PROTOCOL_NAMES };

static struct call_table *make_table(unsigned max_series)
{
	struct call_table *table = call_table_new(max_series);

	assert_non_null(table);
	cleanup_push((void (*)(void *))call_table_free, table);
	return table;
}

static const char *record(struct call_table *table, uint32_t entity, enum requests_role role,
			  const struct protocol *protocol, const char *operation,
			  const char *target, const char *status, bool is_error)
{
	const struct protocol_call call = {
		.operation = operation,
		.target = target,
		.status = status,
		.is_error = is_error,
		.start_ns = 1000000000,
		.end_ns = 1003000000,
		.request_bytes = 40,
		.response_bytes = 2,
	};

	return call_table_record(table, entity, role, protocol, &call, NULL);
}

static struct snapshot *collect(struct call_table *table)
{
	struct registry *registry = registry_by_number();

	call_table_write(table, registry_begin(registry));
	return collected(registry);
}

/* The series of an entity with these labels, joined by '|'; NULL: there is no such series. */
static const struct series *series(const struct snapshot *snapshot, const char *metric,
				   const char *comm, const char *labels)
{
	const struct family *family = snapshot_family(snapshot, metric);

	for (size_t i = 0; family && i < family->n_series; i++) {
		const struct series *series = &family->series[i];
		char joined[512] = "";

		for (size_t l = 0; family->desc->labels[l]; l++) {
			strcat(joined, l ? "|" : "");
			strcat(joined, series->labels[l]);
		}
		if (!strcmp(series->entity[4], comm) && !strcmp(joined, labels))
			return series;
	}
	return NULL;
}

/* Number of calls in it. */
static uint64_t calls(const struct snapshot *snapshot, const char *metric, const char *comm,
		      const char *labels)
{
	const struct series *found = series(snapshot, metric, comm, labels);

	return found ? histogram_count(&found->histogram) : 0;
}

static double counter(const struct snapshot *snapshot, const char *metric, const char *comm,
		      const char *labels)
{
	const struct series *found = series(snapshot, metric, comm, labels);

	return found ? found->value : 0;
}

static size_t n_series(const struct snapshot *snapshot, const char *metric, uint64_t *ret_calls)
{
	const struct family *family = snapshot_family(snapshot, metric);

	*ret_calls = 0;
	for (size_t i = 0; family && i < family->n_series; i++)
		*ret_calls += histogram_count(&family->series[i].histogram);
	return family ? family->n_series : 0;
}

static void every_family_has_its_labels(void **state)
{
	struct call_table *table = make_table(100);
	struct snapshot *snapshot;

	record(table, 3, REQUESTS_CLIENT, &database, "SELECT", "SELECT orders", "", false);
	record(table, 3, REQUESTS_CLIENT, &database, "SELECT", "SELECT orders", "", false);
	record(table, 3, REQUESTS_CLIENT, &database, "SELECT", "SELECT nowhere", "42P01", true);
	record(table, 3, REQUESTS_SERVER, &database, "", "", PROTOCOL_NO_RESPONSE, true);
	record(table, 3, REQUESTS_SERVER, &web, "GET", "/users/{id}", "410", true);
	record(table, 3, REQUESTS_CLIENT, &web, "GET", "/users/{id}", "410", true);
	record(table, 3, REQUESTS_SERVER, &web, "POST", "", "503", false);
	record(table, 3, REQUESTS_SERVER, &web, "GET", "/", "cancelled", true);
	record(table, 3, REQUESTS_SERVER, &web, "GET", "/", "200", false);
	record(table, 3, REQUESTS_SERVER, &rpc, "", "shop.Cart/Add", "0", false);
	record(table, 3, REQUESTS_CLIENT, &rpc, "", "shop.Cart/Add", "14", true);
	record(table, 3, REQUESTS_CLIENT, &names, "AAAA", "", "NXDOMAIN", true);
	record(table, 3, REQUESTS_SERVER, &names, "A", "", "NOERROR", false);
	snapshot = collect(table);

#define EXPECT(metric, labels, n) assert_int_equal(calls(snapshot, metric, "3", labels), n)
	EXPECT("db_client_operation_duration_seconds", "postgresql|SELECT|SELECT orders||", 2);
	EXPECT("db_client_operation_duration_seconds",
	       "postgresql|SELECT|SELECT nowhere|42P01|42P01", 1);
	EXPECT("leadline_db_server_operation_duration_seconds", "postgresql||||no_response", 1);
	EXPECT("http_server_request_duration_seconds", "GET|410||http|/users/{id}|2", 1);
	EXPECT("http_client_request_duration_seconds", "GET|410|410|http|/users/{id}|2", 1);
	EXPECT("http_server_request_duration_seconds", "POST|503|503|http||2", 1);
	EXPECT("http_server_request_duration_seconds", "GET||cancelled|http|/|2", 1);
	EXPECT("http_server_request_duration_seconds", "GET|200||http|/|2", 1);
	EXPECT("rpc_server_call_duration_seconds", "grpc|shop.Cart/Add|0|", 1);
	EXPECT("rpc_client_call_duration_seconds", "grpc|shop.Cart/Add|14|14", 1);
	EXPECT("dns_lookup_duration_seconds", "AAAA|NXDOMAIN|NXDOMAIN", 1);
	EXPECT("leadline_dns_server_lookup_duration_seconds", "A|NOERROR|", 1);
#define EXPECT_BYTES(metric, labels, n)                                                            \
	assert_true(counter(snapshot, metric, "3", "request|" labels) == 40 * (n));                \
	assert_true(counter(snapshot, metric, "3", "response|" labels) == 2 * (n))
	EXPECT_BYTES("leadline_db_client_operation_bytes_total",
		     "postgresql|SELECT|SELECT orders||", 2);
	EXPECT_BYTES("leadline_db_server_operation_bytes_total", "postgresql||||no_response", 1);
	EXPECT_BYTES("leadline_http_server_message_bytes_total", "GET|410||http|/users/{id}|2", 1);
	EXPECT_BYTES("leadline_http_client_message_bytes_total", "GET|410|410|http|/users/{id}|2",
		     1);
	EXPECT_BYTES("leadline_rpc_server_call_bytes_total", "grpc|shop.Cart/Add|0|", 1);
	EXPECT_BYTES("leadline_rpc_client_call_bytes_total", "grpc|shop.Cart/Add|14|14", 1);
	EXPECT_BYTES("leadline_dns_lookup_bytes_total", "AAAA|NXDOMAIN|NXDOMAIN", 1);
	EXPECT_BYTES("leadline_dns_server_lookup_bytes_total", "A|NOERROR|", 1);
	(void)state;
}

static void what_a_call_has_become_counts(void **state)
{
	struct call_table *table = make_table(100);
	const struct protocol_call call = {
		.operation = "POST", .target = "a.B/C", .status = "0", .inner = &rpc, .end_ns = 1
	};

	call_table_record(table, 1, REQUESTS_CLIENT, &web, &call, NULL);
	assert_int_equal(
		calls(collect(table), "rpc_client_call_duration_seconds", "1", "grpc|a.B/C|0|"), 1);
	(void)state;
}

static void durations_are_kept_exactly(void **state)
{
	struct call_table *table = make_table(100);
	const struct histogram_view *view;
	struct snapshot *snapshot;
	struct protocol_call call = { .operation = "GET", .target = "", .status = "" };

	for (uint64_t us = 1; us <= 1000; us++) {
		call.start_ns = 5;
		call.end_ns = 5 + us * 1000;
		call_table_record(table, 1, REQUESTS_CLIENT, &database, &call, NULL);
	}
	snapshot = collect(table);
	view = &snapshot_family(snapshot, "db_client_operation_duration_seconds")
			->series[0]
			.histogram;
	assert_int_equal(histogram_count(view), 1000);
	assert_true(fabs(view->sum - 0.5005) < 1e-12);
	assert_true(fabs(view->max - 0.001) < 1e-12);
	assert_int_equal(view->classic[0], 10); /* le="1e-05" */
	assert_int_equal(view->classic[4], 150); /* above 100 us, up to 250 us */
	assert_int_equal(view->classic[6], 500);
	assert_int_equal(view->classic[7], 0);
	(void)state;
}

#define MAX_SERIES 64

static void many_targets_are_folded(void **state)
{
	struct call_table *table = make_table(MAX_SERIES);
	const char *metric = "db_client_operation_duration_seconds";
	struct snapshot *snapshot;
	uint64_t n;

	for (int i = 0; i < 10007; i++) {
		char target[32];

		snprintf(target, sizeof(target), "SELECT t%d", i);
		record(table, 1, REQUESTS_CLIENT, &database, "SELECT", target, "", false);
	}
	record(table, 2, REQUESTS_CLIENT, &database, "SELECT", "SELECT orders", "", false);
	record(table, 1, REQUESTS_CLIENT, &database, "UPDATE", "UPDATE t0", "", false);
	snapshot = collect(table);
	assert_int_equal(n_series(snapshot, metric, &n), MAX_SERIES / 4 + 3);
	assert_int_equal(n, 10009);
	assert_int_equal(calls(snapshot, metric, "1", "postgresql|SELECT|_OTHER||"),
			 10007 - MAX_SERIES / 4);
	assert_int_equal(calls(snapshot, metric, "1", "postgresql|UPDATE|_OTHER||"), 1);
	assert_int_equal(calls(snapshot, metric, "2", "postgresql|SELECT|SELECT orders||"), 1);
	assert_int_equal(call_table_counts(table)->recorded, 10009);
	assert_int_equal(call_table_counts(table)->folded, 10007 - MAX_SERIES / 4 + 1);
	(void)state;
}

/* A million paths of words, with and without a part that is known; and what is not found takes no room. */
static void any_number_of_paths_makes_few_routes(void **state)
{
	enum { PATHS = 1000003 };
	struct call_table *table = make_table(4096);
	const char *metric = "http_server_request_duration_seconds";
	struct snapshot *snapshot;
	uint64_t n;

	record(table, 1, REQUESTS_SERVER, &web, "GET", "/scanned/first", "404", true);
	for (unsigned i = 0; i < PATHS; i++) {
		static const char *const before[] = { "/articles/", "/" };
		char target[64], word[8] = "";

		for (unsigned letter = 0, left = i; letter < 5; letter++, left /= 26)
			word[letter] = (char)('a' + left % 26);
		snprintf(target, sizeof(target), "%s%s", before[i % 2], word);
		record(table, 1, REQUESTS_SERVER, &web, "GET", target, "200", false);
	}
	assert_string_equal(
		record(table, 1, REQUESTS_SERVER, &web, "GET", "/articles/baaaa", "404", true),
		"/articles/{other}");
	record(table, 2, REQUESTS_SERVER, &web, "GET", "/articles/of-another", "200", false);
	snapshot = collect(table);
	/* 49 words and "articles" with 50, {other} at either place; two that were not found; another service */
	assert_int_equal(n_series(snapshot, metric, &n), 49 + 50 + 2 + 2 + 1);
	assert_int_equal(n, PATHS + 3);
	assert_int_equal(calls(snapshot, metric, "1", "GET|200||http|/articles/aaaaa|2"), 1);
	assert_int_equal(calls(snapshot, metric, "1", "GET|404||http|/articles/{other}|2"), 1);
	assert_int_equal(calls(snapshot, metric, "1", "GET|404||http|/{rest}|2"), 1);
	assert_int_equal(calls(snapshot, metric, "2", "GET|200||http|/articles/of-another|2"), 1);
	assert_int_equal(call_table_counts(table)->folded, 0);
	assert_true(call_table_bound(table) < 1 << 20);
	call_table_forget(table, 1);
	assert_true(call_table_bound(table) < 16 << 10);
	(void)state;
}

static void when_all_is_full_other_takes_the_rest(void **state)
{
	struct call_table *table = make_table(MAX_SERIES);
	const char *metric = "db_client_operation_duration_seconds";
	struct snapshot *snapshot;
	uint64_t n;

	for (uint32_t entity = 1; entity <= 101; entity++)
		record(table, entity, REQUESTS_CLIENT, &database, "SELECT", "SELECT t", "", false);
	snapshot = collect(table);
	assert_int_equal(n_series(snapshot, metric, &n), MAX_SERIES + 1);
	assert_int_equal(n, 101);
	assert_int_equal(calls(snapshot, metric, "0", "postgresql|_OTHER|||"), 101 - MAX_SERIES);
	(void)state;
}

static void forgetting_an_entity_makes_room(void **state)
{
	struct call_table *table = make_table(MAX_SERIES);
	const char *metric = "db_client_operation_duration_seconds";
	struct snapshot *snapshot;
	uint64_t n;

	for (int round = 0; round < 7; round++) {
		for (int i = 0; i < MAX_SERIES; i++) {
			char target[32];

			snprintf(target, sizeof(target), "t%d", i);
			record(table, 1, REQUESTS_CLIENT, &database, "SELECT", target, "", false);
		}
		call_table_forget(table, 1);
	}
	record(table, 1, REQUESTS_CLIENT, &database, "SELECT", "t99", "", false);
	record(table, 2, REQUESTS_CLIENT, &database, "SELECT", "t99", "", false);
	call_table_forget(table, 2);
	snapshot = collect(table);
	assert_int_equal(n_series(snapshot, metric, &n), 1);
	assert_int_equal(n, 1);
	assert_int_equal(calls(snapshot, metric, "1", "postgresql|SELECT|t99||"), 1);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(every_family_has_its_labels),
		HARNESS_TEST(what_a_call_has_become_counts),
		HARNESS_TEST(durations_are_kept_exactly),
		HARNESS_TEST(many_targets_are_folded),
		HARNESS_TEST(any_number_of_paths_makes_few_routes),
		HARNESS_TEST(when_all_is_full_other_takes_the_rest),
		HARNESS_TEST(forgetting_an_entity_makes_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
