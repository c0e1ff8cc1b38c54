// SPDX-License-Identifier: Apache-2.0
/* The requests probe without a kernel: tables of known content in, series out. No root. */
#include <bpf/libbpf.h>
#include <math.h>
#include "agent/registry.h"
#include "bpf/lib/http1_method.h"
#include "bpf/lib/task.h"
#include "probes/probe.h"
#include "probes/requests_tables.h"
#include "probes/requests_protocols.h"
#include "requests.skel.h"
#include "tests/harness/collected.h"
#include "tests/harness/harness.h"

#define LANES	 2
#define ROWS	 16
#define ENTITIES 8

#define SERVER	   "http_server_request_duration_seconds"
#define CLIENT	   "http_client_request_duration_seconds"
#define MESSAGES   "leadline_http_server_message_bytes_total"
#define FIRST_BYTE "leadline_http_server_time_to_first_byte_seconds"
#define IN_FLIGHT  "leadline_requests_in_flight"
#define OLDEST	   "leadline_request_oldest_seconds"
#define BYTES	   "leadline_socket_bytes_total"

static struct requests_settings settings;

static struct requests_tables *make_tables(void **state)
{
	struct requests_tables *tables = calloc(1, sizeof(*tables));

	tables->lanes = LANES;
	tables->rows = ROWS;
	tables->entities = ENTITIES;
	tables->row = calloc(LANES * ROWS, sizeof(*tables->row));
	tables->key = calloc(ROWS, sizeof(*tables->key));
	tables->bytes = calloc(LANES * ENTITIES, sizeof(*tables->bytes));
	tables->in_flight = calloc(ENTITIES, sizeof(*tables->in_flight));
	requests_set_bounds(&settings);
	*state = tables;
	return tables;
}

static int free_tables(void **state)
{
	struct requests_tables *tables = *state;

	free(tables->row);
	free(tables->key);
	free(tables->bytes);
	free(tables->in_flight);
	free(tables);
	return cleanup_teardown(state);
}

/* One request as the kernel side records it. */
static void complete(struct requests_tables *tables, unsigned lane, unsigned number, uint64_t ns,
		     uint64_t first_byte_ns)
{
	struct requests_row *row = &tables->row[lane * ROWS + number];
	uint32_t slot = hist3_slot(ns), bucket = settings.bounds_below[slot];

	row->slots[slot]++;
	row->classic[bucket + (ns > settings.bounds_ns[bucket])]++;
	row->sum_ns += ns;
	row->request_bytes += 100;
	row->response_bytes += ns / 1000;
	if (ns > row->max_ns)
		row->max_ns = ns;
	if (first_byte_ns)
		hist_record(&row->first_byte, first_byte_ns);
}

static struct snapshot *collect(struct requests_tables *tables, uint64_t now_ns, uint64_t *total)
{
	struct registry *registry = registry_by_number();
	struct snapshot *snapshot;

	*total = requests_tables_write(tables, registry_begin(registry), now_ns);
	snapshot = registry_finish(registry);
	assert_non_null(snapshot);
	registry_free(registry);
	return snapshot;
}

static const struct series *series(const struct snapshot *snapshot, const char *metric,
				   const char *comm, const char *first, const char *second,
				   const char *third)
{
	const struct family *family = snapshot_family(snapshot, metric);

	for (size_t i = 0; family && i < family->n_series; i++) {
		const char *const *labels = family->series[i].labels;

		if (!strcmp(family->series[i].entity[4], comm) && !strcmp(labels[0], first) &&
		    (!second || !strcmp(labels[1], second)) &&
		    (!third || !strcmp(labels[2], third)))
			return &family->series[i];
	}
	test_fail("no %s of %s %s %s %s", metric, comm, first, second ? second : "",
		  third ? third : "");
}

static void rows_become_series(void **state)
{
	struct requests_tables *tables = make_tables(state);
	const struct histogram_view *view;
	struct snapshot *snapshot;
	uint64_t total;

	tables->key[1].key =
		(struct requests_key){ 3, 200, HTTP1_GET, REQUESTS_SERVER, REQUESTS_COMPLETE };
	tables->key[2].key =
		(struct requests_key){ 3, 404, HTTP1_GET, REQUESTS_SERVER, REQUESTS_COMPLETE };
	tables->key[3].key =
		(struct requests_key){ 3, 503, HTTP1_POST, REQUESTS_SERVER, REQUESTS_COMPLETE };
	tables->key[4].key = (struct requests_key){ 5, 404, HTTP1_METHOD_OTHER, REQUESTS_CLIENT,
						    REQUESTS_COMPLETE };
	tables->key[5].key =
		(struct requests_key){ 5, 0, HTTP1_GET, REQUESTS_CLIENT, REQUESTS_NO_RESPONSE };
	tables->key[6].key =
		(struct requests_key){ 5, 200, HTTP1_GET, REQUESTS_CLIENT, REQUESTS_CUT_SHORT };
	tables->key[7].key =
		(struct requests_key){ 5, 200, 250, REQUESTS_CLIENT, REQUESTS_COMPLETE };
	complete(tables, 0, 1, 5000000, 1000000);
	complete(tables, 1, 1, 5000001, 2000000);
	for (unsigned number = 2; number < 8; number++)
		complete(tables, number % LANES, number, 1000, 0);
	snapshot = collect(tables, 0, &total);

	assert_int_equal(total, 8);
	view = &series(snapshot, SERVER, "3", "GET", "200", "")->histogram;
	assert_int_equal(histogram_count(view), 2);
	assert_true(fabs(view->sum - 0.010000001) < 1e-12);
	assert_true(fabs(view->max - 0.005000001) < 1e-12);
	assert_int_equal(view->classic[8], 1); /* le="0.005" */
	assert_int_equal(view->classic[9], 1);
	view = &series(snapshot, FIRST_BYTE, "3", "GET", "200", NULL)->histogram;
	assert_int_equal(histogram_count(view), 2);
	assert_true(fabs(view->sum - 0.003) < 1e-12);
	assert_true(series(snapshot, MESSAGES, "3", "request", "GET", "200")->value == 200);
	assert_true(series(snapshot, MESSAGES, "3", "response", "GET", "200")->value == 10000);
	assert_true(series(snapshot, MESSAGES, "3", "response", "POST", "503")->value == 1);
	series(snapshot, SERVER, "3", "GET", "404", "");
	series(snapshot, SERVER, "3", "POST", "503", "503");
	series(snapshot, CLIENT, "5", "_OTHER", "404", "404");
	series(snapshot, CLIENT, "5", "GET", "", "no_response");
	series(snapshot, CLIENT, "5", "GET", "200", "response_cut_short");
	series(snapshot, CLIENT, "5", "_OTHER", "200", "");
	assert_int_equal(snapshot_family(snapshot, CLIENT)->n_series, 4);
	assert_int_equal(snapshot_family(snapshot, FIRST_BYTE)->n_series, 1);
	snapshot_put(snapshot);

	snapshot = collect(tables, 0, &total);
	assert_true(series(snapshot, SERVER, "3", "GET", "200", "")->histogram.max ==
		    0); /* began anew */
	snapshot_put(snapshot);
}

static void what_found_no_row_is_other(void **state)
{
	struct requests_tables *tables = make_tables(state);
	struct snapshot *snapshot;
	uint64_t total;

	complete(tables, 0, 0, 1000, 0);
	complete(tables, 1, ROWS - 1, 1000, 0);
	complete(tables, 1, ROWS - 1, 1000, 0);
	snapshot = collect(tables, 0, &total);
	assert_int_equal(total, 3);
	assert_int_equal(
		histogram_count(&series(snapshot, SERVER, "0", "_OTHER", "", "")->histogram), 1);
	assert_int_equal(
		histogram_count(&series(snapshot, CLIENT, "0", "_OTHER", "", "")->histogram), 2);
	snapshot_put(snapshot);
}

static void bytes_and_requests_in_flight(void **state)
{
	struct requests_tables *tables = make_tables(state);
	struct snapshot *snapshot;
	uint64_t total;

	tables->bytes[0 * ENTITIES + 2].http = 1000;
	tables->bytes[1 * ENTITIES + 2].http = 1;
	tables->bytes[1 * ENTITIES + 2].http_unparsed = 7;
	tables->bytes[1 * ENTITIES + 4].unknown = 9;
	tables->bytes[1 * ENTITIES + 5].websocket = 11;
	tables->in_flight[2] = (struct requests_in_flight){ .seen = 3,
							    .count = { 0, 5 },
							    .oldest_ns = { 0, 1000000000 } };
	snapshot = collect(tables, 3500000000, &total);
	assert_int_equal(total, 0);
	assert_true(series(snapshot, BYTES, "2", "http", "true", NULL)->value == 1001);
	assert_true(series(snapshot, BYTES, "2", "http", "false", NULL)->value == 7);
	assert_true(series(snapshot, BYTES, "4", "unknown", "false", NULL)->value == 9);
	assert_true(series(snapshot, BYTES, "5", "websocket", "false", NULL)->value == 11);
	assert_int_equal(snapshot_family(snapshot, BYTES)->n_series, 4);
	assert_true(series(snapshot, IN_FLIGHT, "2", "server", NULL, NULL)->value == 0);
	assert_true(series(snapshot, IN_FLIGHT, "2", "client", NULL, NULL)->value == 5);
	assert_true(series(snapshot, OLDEST, "2", "server", NULL, NULL)->value == 0);
	assert_true(series(snapshot, OLDEST, "2", "client", NULL, NULL)->value == 2.5);
	snapshot_put(snapshot);

	snapshot = collect(tables, 0, &total); /* the pass failed: unknown, not 0 */
	assert_null(snapshot_family(snapshot, IN_FLIGHT));
	snapshot_put(snapshot);
}

static void note_row(void *context, uint32_t row, const struct requests_key *key)
{
	char *given_back = context, text[32];

	snprintf(text, sizeof(text), "%u:%u ", row, key->status);
	strcat(given_back, text);
}

static void forgetting_clears_an_entity(void **state)
{
	struct requests_tables *tables = make_tables(state);
	char given_back[64] = "";
	struct snapshot *snapshot;
	uint64_t total;

	tables->key[1].key =
		(struct requests_key){ 3, 200, HTTP1_GET, REQUESTS_SERVER, REQUESTS_COMPLETE };
	tables->key[2].key =
		(struct requests_key){ 4, 201, HTTP1_GET, REQUESTS_SERVER, REQUESTS_COMPLETE };
	tables->key[9].key =
		(struct requests_key){ 3, 202, HTTP1_GET, REQUESTS_CLIENT, REQUESTS_COMPLETE };
	complete(tables, 0, 1, 1000, 10);
	complete(tables, 1, 1, 1000, 10);
	complete(tables, 1, 2, 1000, 10);
	complete(tables, 1, 9, 1000, 10);
	tables->bytes[3].http = tables->bytes[ENTITIES + 3].unknown = 5;
	tables->in_flight[3].seen = 1;
	assert_int_equal(requests_tables_forget(tables, 3, note_row, given_back), 3);
	assert_string_equal(given_back, "1:200 9:202 ");
	assert_int_equal(requests_tables_forget(tables, 3, note_row, given_back), 0);
	assert_int_equal(requests_tables_forget(tables, ENTITIES, note_row, given_back), 0);
	assert_int_equal(requests_tables_forget(tables, ENTITY_EXCLUDED, note_row, given_back), 0);
	snapshot = collect(tables, 1, &total);
	assert_int_equal(total, 1);
	assert_int_equal(snapshot_family(snapshot, SERVER)->n_series, 1);
	assert_null(snapshot_family(snapshot, BYTES));
	assert_null(snapshot_family(snapshot, IN_FLIGHT));
	snapshot_put(snapshot);
}

/* The kernel side finds the classic bucket by one look into a table and one comparison. */
static void every_bound_is_exact(void **state)
{
	static const uint64_t bounds[] = REQUESTS_BOUNDS_NS;

	requests_set_bounds(&settings);
	for (uint64_t ns = 0; ns < 40000000000; ns += ns / 1000 + 1) {
		uint32_t bucket = settings.bounds_below[hist3_slot(ns)], expected = 0;

		bucket += ns > settings.bounds_ns[bucket];
		while (expected < REQUESTS_BOUNDS && ns > bounds[expected])
			expected++;
		if (bucket != expected)
			test_fail("%llu ns: bucket %u, not %u", (unsigned long long)ns, bucket,
				  expected);
	}
	for (uint32_t i = 0; i < REQUESTS_BOUNDS; i++) {
		for (int offset = -1; offset <= 1; offset++) {
			uint64_t ns = bounds[i] + (uint64_t)offset;
			uint32_t bucket = settings.bounds_below[hist3_slot(ns)];

			assert_int_equal(bucket + (ns > settings.bounds_ns[bucket]),
					 i + (offset > 0));
		}
		if (i)
			assert_int_not_equal(hist3_slot(bounds[i]), hist3_slot(bounds[i - 1]));
	}
	(void)state;
}

static void coarse_slots_agree(void **state)
{
	for (uint64_t ns = 0; ns < 64000000000; ns += ns / 3000 + 1) {
		uint32_t slot = hist3_slot(ns), coarse = requests_coarse_slot(slot);

		if (slot && (coarse < HIST_SLOTS ? coarse : HIST_SLOTS - 1) != hist_slot(ns))
			test_fail("%llu ns: slot %u, not %u", (unsigned long long)ns, coarse,
				  hist_slot(ns));
	}
	(void)state;
}

static void expect_rings(unsigned bytes, unsigned cpus, unsigned lanes, unsigned n,
			 unsigned bytes_each, unsigned last_bytes)
{
	struct ring_layout rings = requests_rings_for(bytes, cpus, lanes);

	assert_int_equal(rings.n, n);
	assert_int_equal(rings.bytes, bytes_each);
	assert_int_equal(rings.last_bytes, last_bytes);
}

static void rings_share_the_room(void **state)
{
	expect_rings(1 << 20, 1, 1, 1, 128 << 10, 1 << 20);
	expect_rings(1 << 20, 2, 2, 2, 128 << 10, 1 << 20);
	expect_rings(1 << 20, 6, 6, 4, 128 << 10, 1 << 20);
	expect_rings(1 << 20, 64, 8, 8, 128 << 10, 1 << 20);
	expect_rings(1 << 20, 2, 8, 2, 128 << 10, 1 << 20); /* more CPUs may come than are there */
	expect_rings(16 << 10, 64, 8, 2, 8 << 10, 16 << 10);
	expect_rings(17 << 10, 64, 8, 4, 8 << 10, 32 << 10);
	expect_rings(300 << 10, 64, 8, 8, 64 << 10, 512 << 10);
	expect_rings(64 << 20, 1024, 8, 8, 128 << 10, 64 << 20);
	(void)state;
}

static void memory_is_bounded(void **state)
{
	assert_int_equal(requests_rows_for(0), 512);
	assert_int_equal(requests_rows_for(1), 16);
	assert_int_equal(requests_rows_for(1000), 1000);
	assert_int_equal(requests_lanes_for(1), 1);
	assert_int_equal(requests_lanes_for(8), 8);
	assert_int_equal(requests_lanes_for(9), 8);
	assert_int_equal(requests_lanes_for(1024), 8);
	(void)state;
}

static void descriptor_and_object_agree(void **state)
{
	struct requests_bpf *skeleton = requests_bpf__open();

	assert_non_null(skeleton);
	for (const struct hook *hook = probe_requests.hooks; hook->name; hook++)
		for (const struct hook_alternative *one = hook->alternatives; one->program; one++)
			assert_non_null(
				bpf_object__find_program_by_name(skeleton->obj, one->program));
	assert_int_equal(bpf_map__value_size(skeleton->maps.rows), sizeof(struct requests_row));
	assert_int_equal(bpf_map__value_size(skeleton->maps.row_keys), sizeof(struct requests_key));
	assert_int_equal(bpf_map__key_size(skeleton->maps.row_of_key), sizeof(struct requests_key));
	assert_int_equal(bpf_map__value_size(skeleton->maps.bytes), sizeof(struct requests_bytes));
	assert_int_equal(bpf_map__value_size(skeleton->maps.in_flight),
			 sizeof(struct requests_in_flight));
	/* with the kernel's 72 bytes an allocation of 512 */
	assert_in_range(bpf_map__value_size(skeleton->maps.connections), 1, 440);
	assert_int_equal(sizeof(skeleton->rodata->settings), sizeof(struct requests_settings));
	assert_int_equal(bpf_map__value_size(skeleton->maps.bss), sizeof(struct requests_shared));
	requests_bpf__destroy(skeleton);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(rows_become_series, free_tables),
		cmocka_unit_test_teardown(what_found_no_row_is_other, free_tables),
		cmocka_unit_test_teardown(bytes_and_requests_in_flight, free_tables),
		cmocka_unit_test_teardown(forgetting_clears_an_entity, free_tables),
		cmocka_unit_test(every_bound_is_exact),
		cmocka_unit_test(coarse_slots_agree),
		cmocka_unit_test(rings_share_the_room),
		cmocka_unit_test(memory_is_bounded),
		cmocka_unit_test(descriptor_and_object_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
