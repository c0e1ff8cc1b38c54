// SPDX-License-Identifier: Apache-2.0
/* The memory probe without a kernel: tables of known content in, series out. No root. */
#include <bpf/libbpf.h>
#include <math.h>
#include "agent/registry.h"
#include "probes/memory.h"
#include "probes/probe.h"
#include "memory.skel.h"
#include "tests/harness/harness.h"

#define ENTITIES   4
#define STALL_ROWS 16

static struct memory_tables *make_tables(void **state)
{
	struct memory_tables *tables = calloc(1, sizeof(*tables));

	tables->entities = ENTITIES;
	tables->stall_rows = STALL_ROWS;
	tables->row = calloc(ENTITIES, sizeof(*tables->row));
	tables->stall = calloc(STALL_ROWS, sizeof(*tables->stall));
	tables->stall[0].in_use = 1;
	*state = tables;
	return tables;
}

static int free_tables(void **state)
{
	struct memory_tables *tables = *state;

	free(tables->row);
	free(tables->stall);
	free(tables);
	return cleanup_teardown(state);
}

static struct hist *assign(struct memory_tables *tables, unsigned number, uint32_t entity,
			   uint32_t stall)
{
	tables->stall[number].key = (struct memory_stall_key){ .entity = entity, .stall = stall };
	tables->stall[number].in_use = 1;
	return &tables->stall[number].duration;
}

/* The entity's number as its comm. */
static const char *const *labels_of(void *context, uint32_t entity)
{
	static const char *const names[] = { "0", "1", "2", "3" };
	static const char *labels[ENTITY_LABELS] = { "", "", "", "", "" };

	labels[ENTITY_LABELS - 1] = entity < ENTITIES ? names[entity] : "?";
	(void)context;
	return labels;
}

static struct snapshot *collect(struct memory_tables *tables, struct memory_totals *totals)
{
	struct registry *registry = registry_new(labels_of, NULL);
	struct snapshot *snapshot;

	*totals = memory_tables_write(tables, registry_begin(registry));
	snapshot = registry_finish(registry);
	assert_non_null(snapshot);
	registry_free(registry);
	return snapshot;
}

/* The series of that entity with this own label (NULL: none); or NULL. */
static const struct series *find(const struct snapshot *snapshot, const struct metric_desc *metric,
				 const char *comm, const char *label)
{
	const struct family *family = snapshot_family(snapshot, metric->name);

	for (size_t i = 0; family && i < family->n_series; i++) {
		const struct series *one = &family->series[i];

		if (!strcmp(one->entity[ENTITY_LABELS - 1], comm) &&
		    (!label || !strcmp(one->labels[0], label)))
			return one;
	}
	return NULL;
}

static void assert_value(const struct snapshot *snapshot, const struct metric_desc *metric,
			 const char *comm, const char *label, double expected)
{
	const struct series *one = find(snapshot, metric, comm, label);

	if (!one)
		test_fail("no %s of %s with %s", metric->name, comm, label ? label : "no label");
	if (fabs(one->value - expected) > expected * 1e-12)
		test_fail("%s of %s: %.17g, expected %.17g", metric->name, comm, one->value,
			  expected);
}

static void counts_become_series(void **state)
{
	struct memory_tables *tables = make_tables(state);
	struct memory_totals totals;
	struct snapshot *snapshot;

	tables->row[1] = (struct memory_row){ .minor_faults = 10007,
					      .major_faults = 3,
					      .throttled_ns = 200000000 };
	tables->row[2] =
		(struct memory_row){ .minor_faults = 5, .read_bytes = 4096, .write_bytes = 8192 };
	snapshot = collect(tables, &totals);
	assert_value(snapshot, &memory_faults_metric, "1", "minor", 10007);
	assert_value(snapshot, &memory_faults_metric, "1", "major", 3);
	assert_value(snapshot, &memory_throttle_metric, "1", NULL, 0.2);
	assert_null(find(snapshot, &memory_io_metric, "1", "read"));
	assert_value(snapshot, &memory_faults_metric, "2", "major",
		     0); /* there before its first: rate() sees it */
	assert_value(snapshot, &memory_io_metric, "2", "read", 4096);
	assert_value(snapshot, &memory_io_metric, "2", "write", 8192);
	assert_null(find(snapshot, &memory_throttle_metric, "2", NULL));
	assert_null(find(snapshot, &memory_faults_metric, "3", "minor"));
	assert_int_equal(totals.stalls, 0);
	snapshot_put(snapshot);
}

static void stalls_become_histograms(void **state)
{
	struct memory_tables *tables = make_tables(state);
	struct hist *direct = assign(tables, 1, 2, MEMORY_STALL_DIRECT),
		    *memcg = assign(tables, 9, 2, MEMORY_STALL_MEMCG);
	struct memory_totals totals;
	struct snapshot *snapshot;
	const struct series *one;

	assign(tables, 3, 3, MEMORY_STALL_COMPACTION); /* nothing recorded yet */
	assign(tables, 4, 3, MEMORY_STALLS); /* no such kind */
	hist_record(direct, 1000000);
	hist_record(memcg, 50000);
	hist_record(memcg, 70000);
	snapshot = collect(tables, &totals);
	assert_int_equal(totals.stalls, 3);
	assert_int_equal(totals.unattributed, 0);
	one = find(snapshot, &memory_stall_metric, "2", "memcg");
	assert_non_null(one);
	assert_int_equal(histogram_count(&one->histogram), 2);
	assert_true(fabs(one->histogram.sum - 120e-6) < 1e-15);
	assert_true(fabs(one->histogram.max - 70e-6) < 1e-15);
	assert_non_null(find(snapshot, &memory_stall_metric, "2", "direct"));
	assert_null(find(snapshot, &memory_stall_metric, "3", "compaction"));
	snapshot_put(snapshot);

	snapshot =
		collect(tables, &totals); /* the maximum is of the time since the last collection */
	one = find(snapshot, &memory_stall_metric, "2", "memcg");
	assert_int_equal(histogram_count(&one->histogram), 2);
	assert_true(one->histogram.max == 0);
	snapshot_put(snapshot);
}

static void stalls_without_a_row_are_other(void **state)
{
	struct memory_tables *tables = make_tables(state);
	struct memory_totals totals;
	struct snapshot *snapshot;

	hist_record(&tables->stall[0].duration, 1000);
	snapshot = collect(tables, &totals);
	assert_int_equal(totals.unattributed, 1);
	assert_non_null(find(snapshot, &memory_stall_metric, "0", "other"));
	snapshot_put(snapshot);
}

struct returned {
	unsigned n;
	uint32_t rows[STALL_ROWS];
	struct memory_stall_key keys[STALL_ROWS];
};

static void note_return(void *context, const struct memory_stall_key *key, uint32_t row)
{
	struct returned *returned = context;

	returned->keys[returned->n] = *key;
	returned->rows[returned->n++] = row;
}

static void the_forgotten_give_their_rows_back(void **state)
{
	struct memory_tables *tables = make_tables(state);
	struct memory_totals totals;
	struct returned returned = {};
	struct snapshot *snapshot;

	tables->row[2].minor_faults = 7;
	hist_record(assign(tables, 1, 2, MEMORY_STALL_DIRECT), 1000);
	hist_record(assign(tables, 2, 3, MEMORY_STALL_DIRECT), 1000);
	hist_record(assign(tables, 5, 2, MEMORY_STALL_MEMCG), 1000);
	hist_record(&tables->stall[5].duration, 2000);
	assert_int_equal(memory_tables_forget(tables, 2, note_return, &returned), 3);
	assert_int_equal(returned.n, 2);
	assert_int_equal(returned.rows[0], 1);
	assert_int_equal(returned.rows[1], 5);
	assert_int_equal(returned.keys[1].entity, 2);
	assert_int_equal(returned.keys[1].stall, MEMORY_STALL_MEMCG);
	assert_int_equal(memory_tables_forget(tables, ENTITIES, note_return, &returned), 0);

	snapshot = collect(tables, &totals);
	assert_null(find(snapshot, &memory_faults_metric, "2", "minor"));
	assert_null(find(snapshot, &memory_stall_metric, "2", "direct"));
	assert_non_null(find(snapshot, &memory_stall_metric, "3", "direct"));
	snapshot_put(snapshot);
}

static void the_object_has_what_the_hooks_name(void **state)
{
	struct memory_bpf *skeleton = memory_bpf__open();

	assert_non_null(skeleton);
	for (const struct hook *hook = probe_memory.hooks; hook->name; hook++)
		for (int i = 0; i < HOOK_MAX_ALTERNATIVES && hook->alternatives[i].program; i++)
			assert_non_null(bpf_object__find_program_by_name(
				skeleton->obj, hook->alternatives[i].program));
	assert_int_equal(bpf_map__value_size(skeleton->maps.memory_rows),
			 sizeof(struct memory_row));
	assert_int_equal(bpf_map__value_size(skeleton->maps.memory_stall_rows),
			 sizeof(struct memory_stall_row));
	memory_bpf__destroy(skeleton);
	(void)state;
}

#define TABLE_TEST(function) cmocka_unit_test_teardown(function, free_tables)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TABLE_TEST(counts_become_series),
		TABLE_TEST(stalls_become_histograms),
		TABLE_TEST(stalls_without_a_row_are_other),
		TABLE_TEST(the_forgotten_give_their_rows_back),
		cmocka_unit_test(the_object_has_what_the_hooks_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
