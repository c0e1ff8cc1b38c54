// SPDX-License-Identifier: Apache-2.0
/* The kernel side's histogram slots against exact boundaries computed in extended precision. */
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "bpf/lib/hist.h"

/* Upper bound of a bucket, in seconds: 2^(index / 2^schema). */
static long double upper_seconds(int index, int schema)
{
	return exp2l((long double)index / (1 << schema));
}

/*
 * The slot a duration belongs to, by definition. Boundaries fall between whole nanoseconds, and are cut to units of
 * 2^-30 s by the code under test: a duration that close to a boundary may go either way.
 */
static void assert_slot(uint64_t ns, uint32_t slot, int schema, int min_index, uint32_t slots)
{
	long double seconds = (long double)ns * 1e-9L;
	/* a unit, 2^8 times as long above 68 s, and the rounding of the factor between the two */
	long double unit = (ns > 1ULL << 36 ? 0x1p-22L : 0x1p-30L) + seconds * 2e-10L;

	assert_true(slot < slots);
	if (slot < slots - 1)
		assert_true(seconds <= upper_seconds(min_index + (int)slot, schema) + unit);
	if (slot > 0)
		assert_true(seconds > upper_seconds(min_index + (int)slot - 1, schema) - unit);
}

static void test_every_boundary_of_schema_2(void **state)
{
	for (int slot = 0; slot < HIST_SLOTS; slot++) {
		uint64_t edge_ns =
			(uint64_t)(upper_seconds(HIST_MIN_INDEX + slot, HIST_SCHEMA) * 1e9L);

		for (uint64_t ns = edge_ns > 3 ? edge_ns - 3 : 0; ns <= edge_ns + 3; ns++)
			assert_slot(ns, hist_slot(ns), HIST_SCHEMA, HIST_MIN_INDEX, HIST_SLOTS);
	}
}

static void test_every_boundary_of_schema_3(void **state)
{
	for (int slot = 0; slot < HIST3_SLOTS; slot++) {
		uint64_t edge_ns =
			(uint64_t)(upper_seconds(HIST3_MIN_INDEX + slot, HIST3_SCHEMA) * 1e9L);

		for (uint64_t ns = edge_ns > 3 ? edge_ns - 3 : 0; ns <= edge_ns + 3; ns++)
			assert_slot(ns, hist3_slot(ns), HIST3_SCHEMA, HIST3_MIN_INDEX, HIST3_SLOTS);
	}
}

/* `le` is inclusive: exactly 2^-10 s is 976,562.5 ns, exactly 2^0 s is a whole number of nanoseconds. */
static void test_a_boundary_belongs_to_the_lower_bucket(void **state)
{
	assert_int_equal(hist_slot(1000000000), 0 - HIST_MIN_INDEX);
	assert_int_equal(hist_slot(1000000002), 1 - HIST_MIN_INDEX);
	assert_int_equal(hist_slot(4000000000), 8 - HIST_MIN_INDEX);
	assert_int_equal(hist3_slot(1000000000), 0 - HIST3_MIN_INDEX);
	assert_int_equal(hist3_slot(1000000002), 1 - HIST3_MIN_INDEX);
	assert_int_equal(hist3_slot(2000000000), 8 - HIST3_MIN_INDEX);
	/* 1/64 s = 15,625,000 ns and 1/512 s = 1,953,125 ns are whole, too */
	assert_int_equal(hist_slot(15625000), -24 - HIST_MIN_INDEX);
	assert_int_equal(hist_slot(15625001), -23 - HIST_MIN_INDEX);
	assert_int_equal(hist_slot(1953125), -36 - HIST_MIN_INDEX);
	assert_int_equal(hist_slot(1953126), -35 - HIST_MIN_INDEX);
}

static void test_ends(void **state)
{
	assert_int_equal(hist_slot(0), 0);
	assert_int_equal(hist_slot(1), 0);
	assert_int_equal(hist_slot(UINT64_MAX), HIST_SLOTS - 1);
	assert_int_equal(hist_slot(64000000000), HIST_SLOTS - 2);
	assert_int_equal(hist_slot(65000000000), HIST_SLOTS - 1);
	assert_int_equal(hist3_slot(0), 0);
	assert_int_equal(hist3_slot(UINT64_MAX), HIST3_SLOTS - 1);
	assert_int_equal(hist3_slot(511000000000), HIST3_SLOTS - 2);
	assert_int_equal(hist3_slot(513000000000), HIST3_SLOTS - 1);
}

static void test_slots_never_fall(void **state)
{
	uint32_t last = 0, last3 = 0;

	for (uint64_t ns = 1; ns < 1ULL << 41; ns += ns / 97 + 1) {
		assert_true(hist_slot(ns) >= last);
		assert_true(hist3_slot(ns) >= last3);
		last = hist_slot(ns);
		last3 = hist3_slot(ns);
	}
}

static void test_record(void **state)
{
	struct hist hist;

	memset(&hist, 0, sizeof(hist));
	hist_record(&hist, 1000000000);
	hist_record(&hist, 1000000000);
	hist_record(&hist, 7);
	assert_int_equal(hist.slots[-HIST_MIN_INDEX], 2);
	assert_int_equal(hist.slots[0], 1);
	assert_int_equal(hist.sum_ns, 2000000007);
	assert_int_equal(hist.max_ns, 1000000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_boundary_of_schema_2),
		cmocka_unit_test(test_every_boundary_of_schema_3),
		cmocka_unit_test(test_a_boundary_belongs_to_the_lower_bucket),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_slots_never_fall),
		cmocka_unit_test(test_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
