// SPDX-License-Identifier: Apache-2.0
/* Series that several entities share do not fall when one of them is forgotten, and end when all have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "agent/registry.h"

static const struct metric_desc counter = {
	.name = "a_total", .kind = METRIC_COUNTER, .per_entity = true, .labels = { "kind" }
};
static const struct metric_desc gauge = { .name = "b_ratio",
					  .kind = METRIC_GAUGE,
					  .per_entity = true };
static const struct metric_desc latency = { .name = "c_seconds",
					    .kind = METRIC_HISTOGRAM,
					    .per_entity = true };

#define MAX_ENTITIES 16

static char comms[MAX_ENTITIES][16]; /* what each is called by now */
static bool leaves[MAX_ENTITIES];
static struct registry *registry;
static struct metric_writer *writer;

static const char *const *labels_of(void *context, uint32_t entity)
{
	static const char *labels[] = { "", "", "", "", "" };

	labels[4] = comms[entity];
	return labels;
}

static bool is_leaving(void *context, uint32_t entity)
{
	return leaves[entity];
}

static int make_registry(void **state)
{
	registry = registry_new(labels_of, NULL);
	registry_on_leaving(registry, is_leaving);
	memset(leaves, 0, sizeof(leaves));
	for (int i = 0; i < MAX_ENTITIES; i++)
		strcpy(comms[i], "web");
	return registry ? 0 : -1;
}

static int free_registry(void **state)
{
	registry_free(registry);
	return 0;
}

static void begin(void)
{
	writer = registry_begin(registry);
}

/* A count, a level and so many durations between 1 and 2 s. */
static void write_entity(uint32_t entity, double count)
{
	uint64_t slots[4] = { 0, (uint64_t)count, 0, 0 };
	struct histogram_view view = { .schema = 0,
				       .min_index = 0,
				       .n_slots = 4,
				       .slots = slots,
				       .sum = count * 1.5,
				       .max = 1.5 };

	metric_write(writer, &counter, entity, (const char *[]){ "x" }, count);
	metric_write(writer, &gauge, entity, NULL, count);
	metric_write_histogram(writer, &latency, entity, NULL, &view);
}

static const struct series *find(const struct snapshot *snapshot, const char *family,
				 const char *comm)
{
	const struct family *found = snapshot_family(snapshot, family);

	for (size_t i = 0; found && i < found->n_series; i++)
		if (!strcmp(found->series[i].entity[4], comm))
			return &found->series[i];
	return NULL;
}

static void finish_and_expect(const char *comm, double count, double level)
{
	struct snapshot *snapshot = registry_finish(registry);
	const struct series *series = find(snapshot, "a_total", comm);

	if (count < 0) {
		assert_null(series);
		assert_null(find(snapshot, "c_seconds", comm));
	} else {
		assert_non_null(series);
		assert_true(series->value == count);
		assert_true(find(snapshot, "b_ratio", comm)->value == level);
		series = find(snapshot, "c_seconds", comm);
		assert_int_equal(histogram_count(&series->histogram), count);
		assert_true(series->histogram.sum == count * 1.5);
	}
	snapshot_put(snapshot);
}

static void forget(uint32_t entity)
{
	assert_int_equal(registry_forget_entity(registry, entity), 0);
	leaves[entity] = false;
}

static void test_a_shared_series_goes_on(void **state)
{
	begin();
	write_entity(1, 1000);
	write_entity(2, 5);
	finish_and_expect("web", 1005, 1005);

	/* the one that leaves counts once in its last collection, and once after it */
	leaves[1] = true;
	begin();
	write_entity(1, 1000);
	write_entity(2, 6);
	finish_and_expect("web", 1006, 1006);
	forget(1);
	for (int i = 0; i < 3; i++) {
		begin();
		write_entity(2, 7 + i);
		finish_and_expect("web", 1007 + i, 7 + i);
	}

	/* the next one, under an id that was given again; then both are kept */
	leaves[2] = true;
	begin();
	write_entity(2, 10);
	write_entity(1, 1);
	finish_and_expect("web", 1011, 11);
	forget(2);
	begin();
	write_entity(1, 2);
	finish_and_expect("web", 1012, 2);

	/* nobody is called so any more: it ends, and begins anew */
	strcpy(comms[3], "other");
	begin();
	write_entity(3, 1);
	finish_and_expect("web", -1, 0);
	begin();
	write_entity(4, 3);
	finish_and_expect("web", 3, 3);
}

static void test_who_does_not_go_after_all_counts_once(void **state)
{
	leaves[1] = true;
	begin();
	write_entity(1, 10);
	write_entity(2, 1);
	finish_and_expect("web", 11, 11);
	leaves[1] = false; /* a new thread has come */
	begin();
	write_entity(1, 12);
	write_entity(2, 1);
	finish_and_expect("web", 13, 13);
	/* it had not been put aside this time */
	forget(1);
	begin();
	write_entity(2, 1);
	finish_and_expect("web", 1, 1);
}

static void test_labels_are_those_of_the_last_collection(void **state)
{
	leaves[1] = true;
	strcpy(comms[1], "db");
	strcpy(comms[3], "db");
	begin();
	write_entity(1, 10);
	write_entity(2, 1);
	write_entity(3, 100);
	finish_and_expect("db", 110, 110);
	forget(1);
	begin();
	write_entity(2, 1);
	write_entity(3, 101);
	finish_and_expect("db", 111, 101);
	begin();
	write_entity(2, 2);
	write_entity(3, 102);
	finish_and_expect("web", 2, 2);
}

/* Ids born and gone in turn under two names, at random; no series may fall, and the sums are exact. */
static void test_churn(void **state)
{
	double values[MAX_ENTITIES] = { 0 }, gone[2] = { 0, 0 }, before[2] = { 0, 0 };
	bool lives[MAX_ENTITIES] = { false, true, true };

	srand(41);
	strcpy(comms[1], "n1");
	strcpy(comms[2], "n0");
	for (int round = 0; round < 5000; round++) {
		double expected[2] = { gone[0], gone[1] };
		struct snapshot *snapshot;

		begin();
		for (int i = 1; i < MAX_ENTITIES; i++) {
			if (!lives[i] && rand() % 4 == 0) {
				lives[i] = true;
				values[i] = 0;
				sprintf(comms[i], "n%d", i & 1);
			}
			if (lives[i]) {
				values[i] += leaves[i] ? 0 : rand() % 7;
				/* ids 1 and 2 stay, so that neither series ever ends */
				leaves[i] = i > 2 && (leaves[i] || rand() % 8 == 0);
				write_entity((uint32_t)i, values[i]);
				expected[i & 1] += values[i];
			}
		}
		snapshot = registry_finish(registry);
		for (int n = 0; n < 2; n++) {
			char name[16];
			double value;

			sprintf(name, "n%d", n);
			value = find(snapshot, "a_total", name)->value;
			assert_true(value == expected[n]);
			assert_true(value >= before[n]);
			assert_int_equal(
				histogram_count(&find(snapshot, "c_seconds", name)->histogram),
				value);
			before[n] = value;
		}
		snapshot_put(snapshot);
		for (int i = 3; i < MAX_ENTITIES; i++)
			if (lives[i] && leaves[i] && rand() % 2) {
				gone[i & 1] += values[i];
				lives[i] = false;
				forget((uint32_t)i);
			}
	}
}

/* 0.1 + 0.2 + 0.3 is more or less than 0.3 + 0.2 + 0.1, by the last digit. */
static void test_sums_do_not_fall_by_rounding(void **state)
{
	double before = 0;

	for (int round = 0; round < 1000; round++) {
		struct snapshot *snapshot;
		double value;

		begin();
		leaves[1] = true;
		metric_write(writer, &counter, 1, (const char *[]){ "x" }, round * 0.1 + 0.7);
		metric_write(writer, &counter, 2, (const char *[]){ "x" }, 0.3);
		metric_write(writer, &counter, 3, (const char *[]){ "x" }, 1.1);
		snapshot = registry_finish(registry);
		value = find(snapshot, "a_total", "web")->value;
		assert_true(value >= before);
		before = value;
		snapshot_put(snapshot);
		forget(1);
		begin();
		metric_write(writer, &counter, 2, (const char *[]){ "x" }, 0.3);
		metric_write(writer, &counter, 3, (const char *[]){ "x" }, 1.1);
		snapshot = registry_finish(registry);
		value = find(snapshot, "a_total", "web")->value;
		assert_true(value >= before);
		before = value;
		snapshot_put(snapshot);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_registry, free_registry)
	const struct CMUnitTest tests[] = {
		TEST(test_a_shared_series_goes_on),
		TEST(test_who_does_not_go_after_all_counts_once),
		TEST(test_labels_are_those_of_the_last_collection),
		TEST(test_sums_do_not_fall_by_rounding),
		TEST(test_churn),
	};

	return cmocka_run_group_tests_name("remains", tests, NULL, NULL);
}
