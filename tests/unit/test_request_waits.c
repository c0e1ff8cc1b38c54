// SPDX-License-Identifier: Apache-2.0
/* Where requests waited, without a kernel: rows of known content in, series out. No root. */
#include "agent/registry.h"
#include "probes/request_waits.h"
#include "tests/harness/collected.h"
#include "tests/harness/harness.h"

#define LANES	    2
#define ENTITIES    4
#define DOWNSTREAMS 3
#define WAITS	    "leadline_request_wait_seconds_total"

static struct request_waits waits[LANES * ENTITIES];
static struct downstream_name names[DOWNSTREAMS];
static __u64 downstream_ns[LANES * DOWNSTREAMS];

static struct request_wait_tables make_tables(void)
{
	memset(waits, 0, sizeof(waits));
	memset(names, 0, sizeof(names));
	memset(downstream_ns, 0, sizeof(downstream_ns));
	return (struct request_wait_tables){
		.lanes = LANES,
		.entities = ENTITIES,
		.downstreams = DOWNSTREAMS,
		.waits = waits,
		.names = names,
		.downstream_ns = downstream_ns,
	};
}

static void name_row(uint32_t row, uint32_t entity, uint16_t port)
{
	names[row] = (struct downstream_name){
		.key = { .entity = entity,
			 .port = port,
			 .address = { [10] = 0xff, 0xff, 10, 0, 0, 7 } },
	};
}

static struct snapshot *collect(const struct request_wait_tables *tables)
{
	struct registry *registry = registry_by_number();

	request_waits_write(tables, registry_begin(registry));
	return collected(registry);
}

static double waited(const struct snapshot *snapshot, const char *comm, const char *reason,
		     const char *downstream)
{
	const struct family *family = snapshot_family(snapshot, WAITS);

	for (size_t i = 0; family && i < family->n_series; i++) {
		const struct series *series = &family->series[i];

		if (!strcmp(series->entity[4], comm) && !strcmp(series->labels[0], reason) &&
		    !strcmp(series->labels[1], downstream))
			return series->value;
	}
	return 0;
}

static size_t n_series(const struct snapshot *snapshot)
{
	const struct family *family = snapshot_family(snapshot, WAITS);

	return family ? family->n_series : 0;
}

static void rows_become_series(void **state)
{
	struct request_wait_tables tables = make_tables();
	struct snapshot *snapshot;

	waits[2].reasons_ns[WAIT_DISK] = 1000000000;
	waits[ENTITIES + 2].reasons_ns[WAIT_DISK] = 500000000;
	waits[2].reasons_ns[REQUEST_OUTBOUND] = 250000000;
	name_row(1, 2, 80);
	downstream_ns[1] = 2000000000;
	downstream_ns[DOWNSTREAMS + 1] = 1000000000;
	name_row(2, 3, 5432); /* waited for by a request that is not over */
	snapshot = collect(&tables);

	assert_int_equal(n_series(snapshot), 3);
	assert_float_equal(waited(snapshot, "2", "disk", ""), 1.5, 0);
	assert_float_equal(waited(snapshot, "2", "outbound", "10.0.0.7:80"), 3, 0);
	assert_float_equal(waited(snapshot, "2", "outbound", "_OTHER"), 0.25, 0);
}

static uint32_t given_back[DOWNSTREAMS];
static size_t n_given_back;

static void give_back(void *context, uint32_t row, const struct downstream_key *key)
{
	assert_ptr_equal(context, given_back);
	assert_int_equal(key->port, 5432);
	given_back[n_given_back++] = row;
}

static void what_is_forgotten_is_gone(void **state)
{
	struct request_wait_tables tables = make_tables();
	struct snapshot *snapshot;

	n_given_back = 0;
	waits[2].reasons_ns[WAIT_DISK] = waits[ENTITIES + 3].reasons_ns[WAIT_DISK] = 1000000000;
	name_row(1, 2, 80);
	name_row(2, 3, 5432);
	for (int i = 0; i < LANES * DOWNSTREAMS; i++)
		downstream_ns[i] = 1000000000;
	assert_false(request_waits_forget(&tables, 1, give_back, given_back));
	assert_true(request_waits_forget(&tables, 3, give_back, given_back));
	assert_int_equal(n_given_back, 1);
	assert_int_equal(given_back[0], 2);
	assert_int_equal(downstream_ns[2] + downstream_ns[DOWNSTREAMS + 2], 0);
	snapshot = collect(&tables);
	assert_int_equal(n_series(snapshot), 2);
	assert_float_equal(waited(snapshot, "2", "outbound", "10.0.0.7:80"), 2, 0);
	assert_false(request_waits_forget(&tables, ENTITIES, give_back, given_back));
}

/* ---- of decoded calls ---- */

#define MS 1000000ULL

static void calls_become_series(void **state)
{
	struct request_wait_tables tables = make_tables();
	struct request_account sum = { 0 }, one = { 0 };
	struct registry *registry = registry_by_number();
	const struct request_waits_of calls = { 2, "redis", "GET", "", &sum };
	struct snapshot *snapshot;
	double total = 0;

	name_row(1, 2, 80);
	name_row(2, 3, 81); /* of another service: so there is none of this name here */
	one.reasons_ns[WAIT_DISK] = 3 * MS;
	one.reasons_ns[REQUEST_OUTBOUND] = 11 * MS;
	one.downstreams[0].ns = 1 * MS;
	one.downstreams[1] = (struct task_downstream){ .row = 1, .ns = 7 * MS };
	one.downstreams[2] = (struct task_downstream){ .row = 2, .ns = 2 * MS };
	one.downstreams[3] = (struct task_downstream){ .row = DOWNSTREAMS, .ns = 1 * MS };
	request_waits_add(&sum, &one, 17 * MS, 1);
	one.downstreams[1].ns = 5 * MS; /* so 2 of the 11 are for nobody known */
	request_waits_add(&sum, &one, 13 * MS, 1); /* more than there is */
	request_waits_write_calls(&tables, registry_begin(registry), &calls);
	snapshot = collected(registry);

	assert_float_equal(waited(snapshot, "2", "disk", ""), .006, 1e-9);
	assert_float_equal(waited(snapshot, "2", "outbound", "10.0.0.7:80"), .012, 1e-9);
	assert_float_equal(waited(snapshot, "2", "outbound", "_OTHER"), .009, 1e-9);
	assert_float_equal(waited(snapshot, "2", "unattributed", ""), .003, 1e-9);
	for (size_t i = 0; i < n_series(snapshot); i++) {
		const struct series *series = &snapshot_family(snapshot, WAITS)->series[i];

		total += series->value;
		assert_string_equal(series->labels[2], "redis");
		assert_string_equal(series->labels[3], "GET");
	}
	assert_float_equal(total, .030, 1e-9);
}

/* More of them than are kept apart are one; those known stay. */
static void downstreams_of_calls_are_bounded(void **state)
{
	struct request_account sum = { 0 };

	for (uint32_t row = 1; row <= 5; row++) {
		struct request_account one = { 0 };

		one.reasons_ns[REQUEST_OUTBOUND] = MS;
		one.downstreams[1] = (struct task_downstream){ .row = row, .ns = (__s64)MS };
		request_waits_add(&sum, &one, MS, 1);
		request_waits_add(&sum, &one, MS, 1);
	}
	assert_int_equal(sum.downstreams[0].ns, 4 * MS);
	assert_int_equal(sum.downstreams[0].row, 0);
	for (int i = 1; i < TASK_DOWNSTREAMS; i++)
		assert_int_equal(sum.downstreams[i].ns, 2 * MS);
	assert_int_equal(sum.reasons_ns[REQUEST_OUTBOUND], 10 * MS);
}

static void everything_has_a_name(void **state)
{
	char text[REQUEST_ADDRESS_SIZE];
	__u8 longest[16];

	for (unsigned reason = 0; reason < REQUEST_REASONS; reason++) {
		assert_non_null(request_reason_name(reason));
		assert_true(*request_reason_name(reason));
	}
	assert_null(request_reason_name(REQUEST_REASONS));
	assert_string_equal(request_downstream_protocol(DOWNSTREAM_HTTP), "http");
	assert_string_equal(request_downstream_protocol(PREFIX_REDIS), "redis");
	assert_string_equal(request_downstream_protocol(PREFIX_UNKNOWN), "");
	assert_string_equal(request_downstream_protocol(DOWNSTREAM_PROTOCOLS), "");
	memset(longest, 0xdd, sizeof(longest));
	request_address(text, longest, 65535);
	assert_string_equal(text, "[dddd:dddd:dddd:dddd:dddd:dddd:dddd:dddd]:65535");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(rows_become_series),    HARNESS_TEST(what_is_forgotten_is_gone),
		HARNESS_TEST(calls_become_series),   HARNESS_TEST(downstreams_of_calls_are_bounded),
		HARNESS_TEST(everything_has_a_name),
	};

	return cmocka_run_group_tests_name("request_waits", tests, NULL, NULL);
}
