// SPDX-License-Identifier: Apache-2.0
/* Rows of exchanges as the kernel side fills them: tables of known content in, series out. No root. */
#include <math.h>
#include "agent/registry.h"
#include "bpf/lib/task.h"
#include "probes/requests_exchanges.h"
#include "tests/harness/collected.h"
#include "tests/harness/harness.h"

#define LANES 3 /* that of the pass over live connections included */
#define ROWS  (EXCHANGE_FIRST_ROW + 4)
#define FIRST EXCHANGE_FIRST_ROW

static struct exchange_tables tables;

static int start(void **state)
{
	(void)state;
	tables.lanes = LANES;
	tables.rows = ROWS;
	tables.row = calloc((size_t)LANES * ROWS, sizeof(*tables.row));
	tables.key = calloc(ROWS, sizeof(*tables.key));
	return !tables.row || !tables.key;
}

static int stop(void **state)
{
	free(tables.row);
	free(tables.key);
	return cleanup_teardown(state);
}

static void exchange(unsigned lane, unsigned number, uint64_t ns, uint64_t bytes)
{
	struct exchange_row *row = &tables.row[lane * ROWS + number];

	hist_record(&row->duration, ns);
	row->bytes += bytes;
}

/* Exchanges and the sum of their seconds in a series; there must be one, unless the total shall be 0. */
static uint64_t written(const char *comm, const char *role, const char *protocol, double *ret_sum,
			uint64_t *ret_total)
{
	struct registry *registry = registry_by_number();
	struct snapshot *snapshot;
	const struct family *family;
	uint64_t n = 0;

	*ret_sum = 0;
	*ret_total = exchange_tables_write(&tables, registry_begin(registry));
	snapshot = registry_finish(registry);
	assert_non_null(snapshot);
	family = snapshot_family(snapshot, "leadline_exchange_duration_seconds");
	for (size_t i = 0; family && i < family->n_series; i++) {
		const struct series *series = &family->series[i];

		if (strcmp(series->entity[4], comm) || strcmp(series->labels[0], role) ||
		    strcmp(series->labels[1], protocol))
			continue;
		n += histogram_count(&series->histogram);
		*ret_sum += series->histogram.sum;
	}
	snapshot_put(snapshot);
	registry_free(registry);
	return n;
}

static void lanes_are_added_up(void **state)
{
	uint64_t total;
	double sum;

	tables.key[FIRST].key = (struct exchange_key){ 3, PREFIX_REDIS, REQUESTS_SERVER };
	tables.key[FIRST + 1].key = (struct exchange_key){ 3, PREFIX_REDIS, REQUESTS_CLIENT };
	tables.key[FIRST + 2].key = (struct exchange_key){ 3, PREFIX_TLS, REQUESTS_SERVER };
	exchange(0, FIRST, 1000000, 10);
	exchange(1, FIRST, 2000000, 20);
	exchange(2, FIRST, 4000000, 0); /* what the pass found to be over */
	exchange(0, FIRST + 1, 5000000, 30);
	exchange(1, FIRST + 2, 6000000, 40);
	exchange(1, FIRST + 3, 7000000, 50); /* nobody's */
	assert_int_equal(written("3", "server", "redis", &sum, &total), 3);
	assert_true(fabs(sum - 0.007) < 1e-12);
	assert_int_equal(total, 5);
	assert_int_equal(written("3", "client", "redis", &sum, &total), 1);
	assert_int_equal(written("3", "server", "tls", &sum, &total), 1);
	(void)state;
}

/* Over UDP and over TCP it is one protocol to people. */
static void names_are_one_protocol(void **state)
{
	uint64_t total;
	double sum;

	tables.key[FIRST].key = (struct exchange_key){ 3, PREFIX_DNS, REQUESTS_CLIENT };
	tables.key[FIRST + 1].key = (struct exchange_key){ 3, PREFIX_DNS_TCP, REQUESTS_CLIENT };
	exchange(0, FIRST, 1000000, 10);
	exchange(0, FIRST + 1, 1000000, 10);
	assert_int_equal(written("3", "client", "dns", &sum, &total), 2);
	(void)state;
}

static void what_found_no_row_is_other(void **state)
{
	uint64_t total;
	double sum;

	exchange(0, PREFIX_MYSQL * REQUESTS_ROLES + REQUESTS_CLIENT, 1000000, 10);
	assert_int_equal(written("0", "client", "mysql", &sum, &total), 1);
	assert_int_equal(total, 1);
	(void)state;
}

static void hostile_keys_are_left_out(void **state)
{
	uint64_t total;
	double sum;

	tables.key[FIRST].key = (struct exchange_key){ 3, PREFIX_PROTOCOLS, REQUESTS_SERVER };
	tables.key[FIRST + 1].key = (struct exchange_key){ 3, PREFIX_REDIS, REQUESTS_ROLES };
	exchange(0, FIRST, 1000000, 10);
	exchange(0, FIRST + 1, 1000000, 10);
	assert_int_equal(written("3", "server", "redis", &sum, &total), 0);
	assert_int_equal(total, 0);
	assert_string_equal(stream_protocol_name(PREFIX_PROTOCOLS), "");
	(void)state;
}

static void add_bytes(void *context, const struct exchange_bytes *bytes)
{
	uint64_t *sums = context;

	assert_int_equal(bytes->entity, 3);
	assert_int_equal(bytes->protocol, PREFIX_REDIS);
	sums[0] += bytes->bytes;
	sums[1] += bytes->lost_bytes;
}

static void give_back(void *context, uint32_t row, const struct exchange_key *key)
{
	unsigned *n = context;

	assert_int_equal(row, FIRST + (*n)++);
	assert_int_equal(key->entity, 3);
}

static void forgetting_clears_an_entity(void **state)
{
	uint64_t sums[2] = { 0 }, total;
	unsigned n = 0;
	double sum;

	tables.key[FIRST].key = (struct exchange_key){ 3, PREFIX_REDIS, REQUESTS_SERVER };
	tables.key[FIRST + 1].key = (struct exchange_key){ 3, PREFIX_REDIS, REQUESTS_CLIENT };
	exchange(0, FIRST, 1000000, 10);
	exchange(1, FIRST, 1000000, 20);
	exchange(0, FIRST + 1, 1000000, 40);
	tables.row[FIRST].lost_bytes = 7;
	exchange_tables_each_bytes(&tables, add_bytes, sums);
	assert_int_equal(sums[0], 70);
	assert_int_equal(sums[1], 7);

	tables.key[FIRST + 2].key = (struct exchange_key){ 5, PREFIX_REDIS, REQUESTS_CLIENT };
	exchange(0, FIRST + 2, 1000000, 80);
	assert_int_equal(exchange_tables_forget(&tables, 3, give_back, &n), 3);
	assert_int_equal(n, 2);
	assert_int_equal(written("5", "client", "redis", &sum, &total), 1);
	assert_int_equal(total, 1);
	for (unsigned lane = 0; lane < LANES; lane++)
		assert_int_equal(tables.row[lane * ROWS + FIRST].bytes, 0);
	(void)state;
}

int main(void)
{
#define EXCHANGE_TEST(function) cmocka_unit_test_setup_teardown(function, start, stop)
	const struct CMUnitTest tests[] = {
		EXCHANGE_TEST(lanes_are_added_up),
		EXCHANGE_TEST(names_are_one_protocol),
		EXCHANGE_TEST(what_found_no_row_is_other),
		EXCHANGE_TEST(hostile_keys_are_left_out),
		EXCHANGE_TEST(forgetting_clears_an_entity),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
