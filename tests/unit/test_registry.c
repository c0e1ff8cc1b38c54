// SPDX-License-Identifier: Apache-2.0
/* What probes write → what a snapshot holds: merging, caps, order. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "agent/registry.h"
#include "agent/worst.h"

static const struct metric_desc counter = { .name = "b_total",
					    .kind = METRIC_COUNTER,
					    .per_entity = true,
					    .labels = { "kind" },
					    .max_series = 3 };
static const struct metric_desc gauge = { .name = "a_ratio", .kind = METRIC_GAUGE };
static const struct metric_desc latency = {
	.name = "c_seconds", .kind = METRIC_HISTOGRAM, .max_series = 2, .labels = { "device" }
};

/* Entities 1 and 2 have the same labels, as a recycled id and its successor may. */
static const char *const *labels_of(void *context, uint32_t entity)
{
	static const char *const same[] = { "", "", "", "a.service", "web" };
	static char comm[16];
	static const char *other[] = { "", "", "", "", comm };

	if (entity == 1 || entity == 2)
		return same;
	snprintf(comm, sizeof(comm), entity ? "p%u" : "other", entity);
	return other;
}

static struct registry *registry;

static int make_registry(void **state)
{
	registry = registry_new(labels_of, NULL);
	return registry ? 0 : -1;
}

static int free_registry(void **state)
{
	registry_free(registry);
	return 0;
}

static void write_count(struct metric_writer *writer, uint32_t entity, const char *kind,
			double value)
{
	metric_write(writer, &counter, entity, (const char *[]){ kind }, value);
}

static double value_of(const struct snapshot *snapshot, const char *comm, const char *kind)
{
	const struct family *family = snapshot_family(snapshot, "b_total");

	for (size_t i = 0; family && i < family->n_series; i++)
		if (!strcmp(family->series[i].entity[4], comm) &&
		    !strcmp(family->series[i].labels[0], kind))
			return family->series[i].value;
	return -1;
}

static void test_families_and_series_are_sorted(void **state)
{
	struct metric_writer *writer = registry_begin(registry);
	struct snapshot *snapshot;

	write_count(writer, 9, "x", 1);
	write_count(writer, 3, "y", 2);
	write_count(writer, 3, "x", 3);
	metric_write(writer, &gauge, ENTITY_NONE, NULL, 0.5);
	snapshot = registry_finish(registry);
	assert_int_equal(snapshot->n_families, 2);
	assert_int_equal(snapshot->n_series, 4);
	assert_string_equal(snapshot->families[0].desc->name, "a_ratio");
	assert_null(snapshot->families[0].series[0].entity);
	assert_true(snapshot->families[1].series[0].value == 3);
	assert_true(snapshot->families[1].series[1].value == 2);
	assert_true(snapshot->families[1].series[2].value == 1);
	assert_null(snapshot_family(snapshot, "b"));
	snapshot_put(snapshot);
}

static void test_equal_labels_add_up(void **state)
{
	struct metric_writer *writer = registry_begin(registry);
	struct snapshot *snapshot;

	write_count(writer, 1, "x", 10);
	write_count(writer, 5, "x", 1);
	write_count(writer, 2, "x", 7);
	snapshot = registry_finish(registry);
	assert_int_equal(snapshot->n_series, 2);
	assert_true(value_of(snapshot, "web", "x") == 17);
	snapshot_put(snapshot);
}

/* In another order the same sum is smaller by its last digit, and so is what one of them then counts for two. */
static void test_a_sum_is_no_smaller_for_its_order(void **state)
{
	static const double written[][3] = { { 0.1, 0.2, 0.3 }, { 0.3, 0.2, 0.1 }, { 0.6, 0, 0 } };
	const double sum = 0.1 + 0.2 + 0.3;

	assert_true(0.3 + 0.2 + 0.1 < sum && 0.6 < sum);
	for (size_t i = 0; i < 3; i++) {
		struct metric_writer *writer = registry_begin(registry);
		struct snapshot *snapshot;

		for (size_t j = 0; j < 3 && written[i][j] > 0; j++)
			write_count(writer, 1, "x", written[i][j]);
		snapshot = registry_finish(registry);
		assert_true(value_of(snapshot, "web", "x") == sum);
		snapshot_put(snapshot);
	}
}

static uint64_t dropped;
static double folded;
static void note_dropped(void *context, const char *metric, uint64_t series, double distinct)
{
	assert_string_equal(metric, context);
	dropped = series;
	folded = distinct;
}

static void test_a_cap_folds_the_newcomers_and_never_goes_back(void **state)
{
	struct metric_writer *writer = registry_begin(registry);
	struct snapshot *snapshot;

	write_count(writer, 7, "x", 1);
	write_count(writer, 8, "x", 2);
	snapshot_put(registry_finish(registry));

	/* two are known; of the three new ones the first by name gets the free place */
	writer = registry_begin(registry);
	for (uint32_t entity = 4; entity <= 8; entity++)
		write_count(writer, entity, "x", 100 + entity);
	snapshot = registry_finish(registry);
	assert_true(value_of(snapshot, "p7", "x") == 107);
	assert_true(value_of(snapshot, "p8", "x") == 108);
	assert_true(value_of(snapshot, "p4", "x") == 104);
	assert_true(value_of(snapshot, "p5", "x") == -1);
	assert_true(value_of(snapshot, "other", "other") == 105 + 106);
	snapshot_put(snapshot);
	registry_each_dropped(registry, note_dropped, (void *)"b_total");
	assert_int_equal(dropped, 2);
	assert_true(folded > 1.9 && folded < 2.1);

	/* one of the folded ends: "other" stands still */
	writer = registry_begin(registry);
	write_count(writer, 4, "x", 104);
	write_count(writer, 6, "x", 106);
	write_count(writer, 7, "x", 107);
	write_count(writer, 8, "x", 108);
	snapshot = registry_finish(registry);
	assert_true(value_of(snapshot, "other", "other") == 211);
	snapshot_put(snapshot);
}

/* Ever others come and go: of those beyond the cap no more than the number is kept. */
static void test_what_was_folded_is_estimated(void **state)
{
	const double true_number = 97 * 31;

	for (uint32_t round = 0; round < 97; round++) {
		struct metric_writer *writer = registry_begin(registry);

		for (uint32_t entity = 0; entity < 3; entity++)
			write_count(writer, 100 + entity, "x", round);
		for (uint32_t entity = 0; entity < 31; entity++)
			write_count(writer, 1000 + 31 * round + entity, "x", 1);
		snapshot_put(registry_finish(registry));
	}
	registry_each_dropped(registry, note_dropped, (void *)"b_total");
	assert_int_equal(dropped, 31);
	assert_true(folded > 0.93 * true_number && folded < 1.07 * true_number);
}

static void write_latency(struct metric_writer *writer, const char *device, int min_index,
			  const uint64_t *slots, size_t n)
{
	const struct histogram_view view = { .schema = 2,
					     .min_index = min_index,
					     .n_slots = n,
					     .slots = slots,
					     .sum = 1.5,
					     .max = (double)n };

	metric_write_histogram(writer, &latency, ENTITY_NONE, (const char *[]){ device }, &view);
}

/* What a probe knows under "other" has the labels of what a cap folds: the two are one series, and neither counts twice. */
static void test_what_is_other_already_does_not_grow(void **state)
{
	static const struct metric_desc plain = {
		.name = "b_total", .kind = METRIC_COUNTER, .per_entity = true, .max_series = 4
	};
	static const double expected[] = { 5, 5, 5, 5 + 7 + 7, 5 + 7 + 7, 5 + 7 + 7 };

	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		struct metric_writer *writer = registry_begin(registry);
		struct snapshot *snapshot;
		const struct family *family;

		metric_write(writer, &plain, 0, NULL, 5);
		for (uint32_t entity = 3; entity < (i == 3 ? 9 : 6); entity++)
			metric_write(writer, &plain, entity, NULL, 7);
		snapshot = registry_finish(registry);
		family = snapshot_family(snapshot, "b_total");
		assert_string_equal(family->series[0].entity[4], "other");
		assert_true(family->series[0].value == expected[i]);
		assert_int_equal(family->n_series, i == 3 ? 5 : 4);
		snapshot_put(snapshot);
	}
}

static void test_histograms_lose_their_empty_ends_and_merge(void **state)
{
	const uint64_t one[] = { 0, 0, 3, 0, 4, 0, 0, 0 }, two[] = { 1, 0, 0, 0, 0, 0, 0, 9 };
	struct metric_writer *writer = registry_begin(registry);
	const struct histogram_view *view;
	struct snapshot *snapshot;

	write_latency(writer, "sda", -10, one, 8);
	snapshot = registry_finish(registry);
	view = &snapshot_family(snapshot, "c_seconds")->series[0].histogram;
	assert_int_equal(view->min_index, -8);
	assert_int_equal(view->open_index, -10);
	assert_int_equal(view->n_slots,
			 4); /* one empty slot stays, since the last is open upwards */
	assert_int_equal(view->slots[0], 3);
	assert_int_equal(view->slots[2], 4);
	snapshot_put(snapshot);

	writer = registry_begin(registry);
	write_latency(writer, "sda", -10, one, 8);
	write_latency(writer, "sda", -10, two, 8);
	snapshot = registry_finish(registry);
	view = &snapshot_family(snapshot, "c_seconds")->series[0].histogram;
	assert_int_equal(histogram_count(view), 17);
	assert_int_equal(view->min_index, -10);
	assert_int_equal(view->slots[0], 1);
	assert_int_equal(view->slots[2], 3);
	assert_int_equal(view->slots[7], 9);
	assert_true(view->sum == 3.0);
	assert_true(view->max == 8.0);
	snapshot_put(snapshot);
}

static void test_histograms_fold_too(void **state)
{
	const uint64_t slots[] = { 1, 2, 0 };
	struct metric_writer *writer;
	struct snapshot *snapshot;
	const struct family *family;

	for (int round = 0; round < 3; round++) {
		writer = registry_begin(registry);
		for (char device = 'a'; device <= (round == 2 ? 'b' : 'e'); device++)
			write_latency(writer, (char[]){ device, '\0' }, 0, slots, 3);
		snapshot = registry_finish(registry);
		family = snapshot_family(snapshot, "c_seconds");
		assert_int_equal(family->n_series, 3);
		assert_string_equal(family->series[2].labels[0], "other");
		assert_int_equal(histogram_count(&family->series[2].histogram), 9);
		snapshot_put(snapshot);
	}
}

static void test_an_empty_histogram_is_kept(void **state)
{
	const uint64_t slots[] = { 0, 0 };
	struct metric_writer *writer = registry_begin(registry);
	struct snapshot *snapshot;

	write_latency(writer, "sda", 0, slots, 2);
	snapshot = registry_finish(registry);
	assert_int_equal(histogram_count(&snapshot->families[0].series[0].histogram), 0);
	snapshot_put(snapshot);
}

static void test_a_snapshot_outlives_the_registry(void **state)
{
	struct registry *short_lived = registry_new(labels_of, NULL);
	struct metric_writer *writer = registry_begin(short_lived);
	struct snapshot *snapshot;

	write_count(writer, 3, "x", 3);
	snapshot = registry_finish(short_lived);
	registry_free(short_lived);
	assert_true(value_of(snapshot, "p3", "x") == 3);
	snapshot_put(snapshot);
}

/* ---- the worst of late ---- */

static const struct metric_desc worst = { .name = "d_max_seconds",
					  .unit = "seconds",
					  .kind = METRIC_GAUGE,
					  .labels = { "device" },
					  .merges_by_max = true };
static const struct metric_desc judged = { .name = "d_seconds",
					   .unit = "seconds",
					   .kind = METRIC_HISTOGRAM,
					   .labels = { "device" },
					   .worst = &worst };

static void write_judged(struct metric_writer *writer, const char *device, double max)
{
	static const uint64_t slots[] = { 1, 2 };

	metric_write_histogram(
		writer, &judged, ENTITY_NONE, (const char *[]){ device },
		&(struct histogram_view){
			.schema = 2, .n_slots = 2, .slots = slots, .sum = 3, .max = max });
}

static void assert_worst(const struct snapshot *snapshot, double first, double second)
{
	const struct family *family = snapshot_family(snapshot, "d_max_seconds");

	assert_non_null(family);
	assert_ptr_equal(family->desc, &worst);
	assert_int_equal(family->n_series, 2);
	assert_string_equal(family->series[0].labels[0], "sda");
	assert_true(family->series[0].value == first);
	assert_true(family->series[1].value == second);
}

/* Probes tell the largest since the last collection; a page in between must not take it from the next one. */
static void test_the_worst_stays_for_all_who_ask(void **state)
{
	const double told[][2] = { { 0.5, 0.001 }, { 0.25, 0 }, { 0.75, 0.002 }, { 0, 0 } };
	const double shown[][2] = {
		{ 0.5, 0.001 }, { 0.5, 0.001 }, { 0.75, 0.002 }, { 0.75, 0.002 }
	};
	struct snapshot *snapshot;

	for (int i = 0; i < 4; i++) {
		struct metric_writer *writer = registry_begin(registry);

		write_judged(writer, "sdb", told[i][1]);
		write_judged(writer, "sda", told[i][0]);
		snapshot = registry_finish(registry);
		assert_non_null(snapshot);
		assert_int_equal(snapshot->n_series, 4);
		assert_worst(snapshot, shown[i][0], shown[i][1]);
		snapshot_put(snapshot);
	}
}

#define NOW 200

/* This minute and the one before, by series; newcomers begin with their own. */
static void test_the_worst_is_of_two_minutes(void **state)
{
	static const char *const sda[] = { "sda" }, *const sdb[] = { "sdb" },
				 *const sdc[] = { "sdc" };
	struct series before[2] = { { .labels = sda }, { .labels = sdc } },
		      after[3] = { { .labels = sda }, { .labels = sdb }, { .labels = sdc } };
	const struct family family = { .desc = &judged, .n_series = 2, .series = before };

	before[0].histogram = (struct histogram_view){ .turn_max = 3,
						       .last_turn_max = 5,
						       .max = 5,
						       .turn_max_ns = 103,
						       .last_turn_max_ns = 95 };
	before[1].histogram = (struct histogram_view){ .turn_max = 7,
						       .last_turn_max = 1,
						       .max = 7,
						       .turn_max_ns = 107,
						       .last_turn_max_ns = 91 };
	for (uint64_t turns = 0; turns < 4; turns++) {
		const double expected[] = { turns == 0	 ? 5
					    : turns == 1 ? 3
							 : 2,
					    4, turns < 2 ? 7 : 0 };
		/* when each was collected; 0 when there is none */
		const uint64_t collected[] = { turns == 0   ? 95
					       : turns == 1 ? 103
							    : NOW,
					       NOW, turns < 2 ? 107 : 0 };

		after[0].histogram = (struct histogram_view){ .max = 2 };
		after[1].histogram = (struct histogram_view){ .max = 4 };
		after[2].histogram = (struct histogram_view){ .max = 0 };
		worst_carry(&judged, after, 3, &family, turns, NOW);
		for (int i = 0; i < 3; i++)
			assert_true(after[i].histogram.max == expected[i] &&
				    after[i].histogram.max_ns == collected[i]);
		assert_true(after[0].histogram.turn_max == (turns ? 2 : 3));
	}
	after[0].histogram = (struct histogram_view){ .max = 2 };
	worst_carry(&judged, after, 1, NULL, 0, NOW);
	assert_true(after[0].histogram.max == 2);
}

/* Single requests: the slowest first, under the labels of their program, and none of one that is filtered out. */
static void test_requests_are_told_of(void **state)
{
	static const uint64_t durations[] = { 3, 7, 5 };
	const struct series_filter_settings settings = {
		.disable = "", .drop_labels = "", .deny = "comm=p4", .allow = ""
	};
	const struct request_record *records[3];
	struct metric_writer *writer = registry_begin(registry);
	struct series_filter *filter;
	struct snapshot *snapshot;
	char error[128];

	for (int i = 0; i < 3; i++) {
		const struct request_record facts = { .operation = "GET",
						      .route = "/",
						      .target = "",
						      .status = "",
						      .error = "",
						      .local = "",
						      .peer = "",
						      .duration_ns = durations[i] };

		records[i] = request_record_new(&facts);
		assert_non_null(records[i]);
		metric_write_request(writer, (uint32_t)i + 2, REQUEST_SLOW, records[i]);
	}
	metric_write_request(writer, 3, REQUEST_EXAMPLE, records[1]);
	snapshot = registry_finish(registry);
	assert_non_null(snapshot);
	assert_int_equal(snapshot->n_slow, 3);
	assert_int_equal(snapshot->n_examples, 1);
	assert_ptr_equal(snapshot->slow[0].record, records[1]);
	assert_ptr_equal(snapshot->slow[1].record, records[2]);
	assert_ptr_equal(snapshot->slow[2].record, records[0]);
	assert_string_equal(snapshot->slow[1].entity[4], "p4");
	assert_string_equal(snapshot->slow[2].entity[3], "a.service");

	/* each collection has its own */
	assert_int_equal(series_filter_new(&settings, &filter, error, sizeof(error)), 0);
	registry_set_filter(registry, filter);
	writer = registry_begin(registry);
	for (int i = 0; i < 3; i++) {
		metric_write_request(writer, (uint32_t)i + 2, REQUEST_SLOW, records[i]);
		request_record_put(records[i]);
	}
	assert_string_equal(snapshot->slow[0].record->operation, "GET"); /* of the first still */
	snapshot_put(snapshot);
	snapshot = registry_finish(registry);
	assert_int_equal(snapshot->n_slow, 2);
	assert_int_equal(snapshot->n_examples, 0);
	assert_int_equal(snapshot->slow[0].record->duration_ns, 7);
	assert_int_equal(snapshot->slow[1].record->duration_ns, 3);
	snapshot_put(snapshot);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_registry, free_registry)
	const struct CMUnitTest tests[] = {
		TEST(test_families_and_series_are_sorted),
		TEST(test_equal_labels_add_up),
		TEST(test_a_sum_is_no_smaller_for_its_order),
		TEST(test_a_cap_folds_the_newcomers_and_never_goes_back),
		TEST(test_what_is_other_already_does_not_grow),
		TEST(test_what_was_folded_is_estimated),
		TEST(test_histograms_lose_their_empty_ends_and_merge),
		TEST(test_histograms_fold_too),
		TEST(test_an_empty_histogram_is_kept),
		TEST(test_a_snapshot_outlives_the_registry),
		TEST(test_the_worst_stays_for_all_who_ask),
		TEST(test_the_worst_is_of_two_minutes),
		TEST(test_requests_are_told_of),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
