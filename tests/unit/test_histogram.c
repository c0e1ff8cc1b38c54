// SPDX-License-Identifier: Apache-2.0
/* Quantiles and classic buckets of histograms whose answers are known. */
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "agent/metric.h"

static const struct metric_desc plain = { .name = "x_seconds", .kind = METRIC_HISTOGRAM };

static void assert_near(double value, double expected)
{
	assert_true(fabs(value - expected) <= fabs(expected) * 1e-9);
}

/* Schema 0: slots up to 1, 2, 4, 8, then open. */
static const uint64_t counts[] = { 1, 0, 4, 5, 0 };
static const struct histogram_view doublings = {
	.schema = 0, .min_index = 0, .n_slots = 5, .slots = counts, .sum = 40, .max = 7.5
};

static void test_count(void **state)
{
	assert_int_equal(histogram_count(&doublings), 10);
}

static void test_quantiles_interpolate_exponentially(void **state)
{
	assert_near(histogram_quantile(&doublings, 0.5), 4); /* the end of the third slot */
	assert_near(histogram_quantile(&doublings, 1), 8);
	assert_near(histogram_quantile(&doublings, 0.3), 2 * sqrt(2)); /* half of (2, 4] */
	assert_near(histogram_quantile(&doublings, 0.05),
		    0.5); /* the lowest slot reaches to zero: linear */
}

static void test_quantile_of_nothing_is_not_a_number(void **state)
{
	const uint64_t zeroes[3] = { 0 };
	const struct histogram_view empty = { .n_slots = 3, .slots = zeroes };
	const struct histogram_view none = { .n_slots = 0 };

	assert_true(isnan(histogram_quantile(&empty, 0.5)));
	assert_true(isnan(histogram_quantile(&none, 0.5)));
	assert_true(isnan(histogram_quantile(&doublings, NAN)));
}

static void test_quantile_in_the_open_slot_is_the_maximum(void **state)
{
	const uint64_t high[] = { 0, 1, 9 };
	struct histogram_view open = { .n_slots = 3, .slots = high, .max = 100 };

	assert_near(histogram_quantile(&open, 0.99), 100);
	open.max = 0; /* not known: the highest boundary */
	assert_near(histogram_quantile(&open, 0.99), 2);
}

static void test_classic_buckets_on_boundaries_are_exact(void **state)
{
	const double bounds[] = { 0.5, 1, 4, 8, 16 };
	const struct metric_desc desc = {
		.name = "x", .kind = METRIC_HISTOGRAM, .bounds = bounds, .n_bounds = 5
	};
	uint64_t out[5];

	assert_int_equal(histogram_cumulative(&desc, &doublings, out), 5);
	assert_int_equal(out[0], 0);
	assert_int_equal(out[1], 1);
	assert_int_equal(out[2], 5);
	assert_int_equal(out[3], 10);
	assert_int_equal(out[4], 10);
}

static void test_the_open_slot_is_within_no_bound(void **state)
{
	const uint64_t high[] = { 0, 1, 9 };
	const struct histogram_view open = { .n_slots = 3, .slots = high };
	const double bounds[] = { 2, 1e9 };
	const struct metric_desc desc = {
		.name = "x", .kind = METRIC_HISTOGRAM, .bounds = bounds, .n_bounds = 2
	};
	uint64_t out[2];

	histogram_cumulative(&desc, &open, out);
	assert_int_equal(out[0], 1);
	assert_int_equal(out[1], 1);
}

/* Every default bound must be found as the boundary it is, in both schemas in use. */
static void test_default_bounds_are_boundaries(void **state)
{
	size_t n;
	const double *bounds = metric_bounds(&plain, &n);

	for (int schema = 2; schema <= 3; schema++)
		for (size_t i = 0; i < n; i++) {
			uint64_t slots[300] = { 0 }, out[32];
			int index = (int)lround(log2(bounds[i])) * (1 << schema);
			const struct histogram_view view = {
				.schema = schema, .min_index = -160, .n_slots = 300, .slots = slots
			};

			slots[index + 160] = 3; /* ends at the bound */
			slots[index + 161] = 5; /* begins there */
			histogram_cumulative(&plain, &view, out);
			assert_int_equal(out[i], 3);
			if (i)
				assert_int_equal(out[i - 1], 0);
		}
}

static void test_counted_classic_buckets_win(void **state)
{
	const double bounds[] = { 1, 2 };
	const uint64_t classic[] = { 2, 3, 4 };
	const struct metric_desc desc = {
		.name = "x", .kind = METRIC_HISTOGRAM, .bounds = bounds, .n_bounds = 2
	};
	struct histogram_view view = doublings;
	uint64_t out[2];

	view.classic = classic;
	histogram_cumulative(&desc, &view, out);
	assert_int_equal(out[0], 2);
	assert_int_equal(out[1], 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_count),
		cmocka_unit_test(test_quantiles_interpolate_exponentially),
		cmocka_unit_test(test_quantile_of_nothing_is_not_a_number),
		cmocka_unit_test(test_quantile_in_the_open_slot_is_the_maximum),
		cmocka_unit_test(test_classic_buckets_on_boundaries_are_exact),
		cmocka_unit_test(test_the_open_slot_is_within_no_bound),
		cmocka_unit_test(test_default_bounds_are_boundaries),
		cmocka_unit_test(test_counted_classic_buckets_win),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
