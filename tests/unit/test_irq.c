// SPDX-License-Identifier: Apache-2.0
/* The irq probe without a kernel: tables of known content in, series out. No root. */
#include <bpf/libbpf.h>
#include <math.h>
#include "agent/registry.h"
#include "probes/irq.h"
#include "probes/probe.h"
#include "irq.skel.h"
#include "tests/harness/harness.h"

#define CPUS	 2
#define HANDLERS 16
#define ENTITIES 4

static struct irq_tables *make_tables(void **state)
{
	struct irq_tables *tables = calloc(1, sizeof(*tables));

	tables->cpus = CPUS;
	tables->handlers = HANDLERS;
	tables->entities = ENTITIES;
	tables->record = calloc(HANDLERS, sizeof(*tables->record));
	tables->hard = calloc(CPUS * HANDLERS, sizeof(*tables->hard));
	tables->soft = calloc(CPUS * IRQ_SOFT_COUNT, sizeof(*tables->soft));
	tables->stolen = calloc(CPUS * ENTITIES, sizeof(*tables->stolen));
	tables->record[0].in_use = 1;
	*state = tables;
	return tables;
}

static int free_tables(void **state)
{
	struct irq_tables *tables = *state;

	free(tables->record);
	free(tables->hard);
	free(tables->soft);
	free(tables->stolen);
	free(tables);
	return cleanup_teardown(state);
}

static void assign(struct irq_tables *tables, unsigned handler, uint32_t irq, const char *name)
{
	tables->record[handler] = (struct irq_handler_record){ .irq = irq, .in_use = 1 };
	memcpy(tables->record[handler].name, name, strnlen(name, IRQ_NAME_SIZE));
}

static void spend(struct irq_tables *tables, unsigned cpu, unsigned handler, uint64_t count,
		  uint64_t ns)
{
	tables->hard[cpu * HANDLERS + handler] = (struct irq_hard_row){ .ns = ns, .count = count };
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

static struct snapshot *collect(struct irq_tables *tables, struct irq_totals *totals)
{
	struct registry *registry = registry_new(labels_of, NULL);
	struct snapshot *snapshot;

	*totals = irq_tables_write(tables, registry_begin(registry));
	snapshot = registry_finish(registry);
	assert_non_null(snapshot);
	registry_free(registry);
	return snapshot;
}

/* The series with these own labels (second may be NULL), of that entity unless comm is NULL; or NULL. */
static const struct series *find(const struct snapshot *snapshot, const struct metric_desc *metric,
				 const char *comm, const char *first, const char *second)
{
	const struct family *family = snapshot_family(snapshot, metric->name);

	for (size_t i = 0; family && i < family->n_series; i++) {
		const struct series *one = &family->series[i];

		if ((!comm || !strcmp(one->entity[ENTITY_LABELS - 1], comm)) &&
		    !strcmp(one->labels[0], first) && (!second || !strcmp(one->labels[1], second)))
			return one;
	}
	return NULL;
}

static double value_of(const struct snapshot *snapshot, const struct metric_desc *metric,
		       const char *comm, const char *first, const char *second)
{
	const struct series *one = find(snapshot, metric, comm, first, second);

	if (!one)
		test_fail("no %s with %s %s", metric->name, first, second ? second : "");
	return one->value;
}

static void assert_near(double value, double expected)
{
	if (fabs(value - expected) > expected * 1e-12)
		test_fail("%.17g, expected %.17g", value, expected);
}

static void handlers_are_named_by_number_and_name(void **state)
{
	struct irq_tables *tables = make_tables(state);
	struct irq_totals totals;
	struct snapshot *snapshot;

	assign(tables, 1, 36, "virtio1-req.0");
	assign(tables, 2, IRQ_LOCAL_TIMER, "");
	assign(tables, 3, 9, "a-name-that-fills-all-of-its-room-and-more");
	assign(tables, 4, 40, "never-called");
	spend(tables, 0, 1, 3, 7000);
	spend(tables, 1, 1, 2, 5000);
	spend(tables, 1, 2, 250, 1000000);
	spend(tables, 0, 3, 1, 100);
	snapshot = collect(tables, &totals);

	assert_int_equal(totals.interrupts, 256);
	assert_int_equal(totals.unattributed, 0);
	assert_near(value_of(snapshot, &irq_seconds_metric, NULL, "hard", "36:virtio1-req.0"),
		    12e-6);
	assert_near(value_of(snapshot, &irq_count_metric, NULL, "36:virtio1-req.0", NULL), 5);
	assert_near(value_of(snapshot, &irq_seconds_metric, NULL, "hard", "LOC"), 1e-3);
	assert_near(value_of(snapshot, &irq_count_metric, NULL,
			     "9:a-name-that-fills-all-of-its-roo", NULL),
		    1);
	assert_null(find(snapshot, &irq_count_metric, NULL, "40:never-called", NULL));
	snapshot_put(snapshot);
}

/* A driver that comes back gets another irqaction, hence another row: still one series. */
static void rows_of_one_name_are_added_up(void **state)
{
	struct irq_tables *tables = make_tables(state);
	struct irq_totals totals;
	struct snapshot *snapshot;

	assign(tables, 1, 30, "eth0");
	assign(tables, 7, 30, "eth0");
	spend(tables, 0, 1, 3, 3000);
	spend(tables, 0, 7, 4, 4000);
	snapshot = collect(tables, &totals);
	assert_near(value_of(snapshot, &irq_seconds_metric, NULL, "hard", "30:eth0"), 7e-6);
	assert_near(value_of(snapshot, &irq_count_metric, NULL, "30:eth0", NULL), 7);
	snapshot_put(snapshot);
}

static void handlers_without_a_row_are_other(void **state)
{
	struct irq_tables *tables = make_tables(state);
	struct irq_totals totals;
	struct snapshot *snapshot;

	spend(tables, 1, 0, 11, 2000);
	snapshot = collect(tables, &totals);
	assert_int_equal(totals.unattributed, 11);
	assert_near(value_of(snapshot, &irq_count_metric, NULL, "other", NULL), 11);
	snapshot_put(snapshot);
}

static void soft_interrupts_are_histograms(void **state)
{
	struct irq_tables *tables = make_tables(state);
	struct irq_totals totals;
	struct snapshot *snapshot;
	const struct series *duration;

	hist_record(&tables->soft[IRQ_SOFT_NET_RX], 2000);
	hist_record(&tables->soft[IRQ_SOFT_COUNT + IRQ_SOFT_NET_RX], 9000);
	hist_record(&tables->soft[IRQ_SOFT_COUNT + IRQ_SOFT_OTHER], 10);
	snapshot = collect(tables, &totals);

	assert_int_equal(totals.interrupts, 3);
	assert_near(value_of(snapshot, &irq_seconds_metric, NULL, "soft", "NET_RX"), 11e-6);
	duration = find(snapshot, &irq_soft_duration_metric, NULL, "NET_RX", NULL);
	assert_non_null(duration);
	assert_int_equal(histogram_count(&duration->histogram), 2);
	assert_near(duration->histogram.max, 9e-6);
	assert_non_null(find(snapshot, &irq_soft_duration_metric, NULL, "other", NULL));
	assert_null(find(snapshot, &irq_soft_duration_metric, NULL, "HI", NULL));
	snapshot_put(snapshot);

	/* the largest since the last collection */
	hist_record(&tables->soft[IRQ_SOFT_NET_RX], 3000);
	snapshot = collect(tables, &totals);
	duration = find(snapshot, &irq_soft_duration_metric, NULL, "NET_RX", NULL);
	assert_int_equal(histogram_count(&duration->histogram), 3);
	assert_near(duration->histogram.max, 3e-6);
	snapshot_put(snapshot);
}

static void stolen_time_is_of_entities_until_forgotten(void **state)
{
	struct irq_tables *tables = make_tables(state);
	struct irq_totals totals;
	struct snapshot *snapshot;

	tables->stolen[2] = (struct irq_stolen_row){ .hard_ns = 1000, .soft_ns = 500 };
	tables->stolen[ENTITIES + 2] = (struct irq_stolen_row){ .hard_ns = 2000 };
	tables->stolen[ENTITIES + 3] = (struct irq_stolen_row){ .soft_ns = 700 };
	snapshot = collect(tables, &totals);
	assert_near(value_of(snapshot, &irq_stolen_metric, "2", "hard", NULL), 3e-6);
	assert_near(value_of(snapshot, &irq_stolen_metric, "2", "soft", NULL), 5e-7);
	assert_near(value_of(snapshot, &irq_stolen_metric, "3", "soft", NULL), 7e-7);
	assert_null(find(snapshot, &irq_stolen_metric, "3", "hard", NULL));
	snapshot_put(snapshot);

	irq_tables_forget(tables, 2);
	irq_tables_forget(tables, ENTITIES); /* beyond the table: nothing happens */
	snapshot = collect(tables, &totals);
	assert_null(find(snapshot, &irq_stolen_metric, "2", "hard", NULL));
	assert_null(find(snapshot, &irq_stolen_metric, "2", "soft", NULL));
	assert_non_null(find(snapshot, &irq_stolen_metric, "3", "soft", NULL));
	snapshot_put(snapshot);
}

static void the_object_has_what_the_hooks_name(void **state)
{
	struct irq_bpf *skeleton = irq_bpf__open();

	assert_non_null(skeleton);
	for (const struct hook *hook = probe_irq.hooks; hook->name; hook++)
		for (int i = 0; i < HOOK_MAX_ALTERNATIVES && hook->alternatives[i].program; i++)
			assert_non_null(bpf_object__find_program_by_name(
				skeleton->obj, hook->alternatives[i].program));
	assert_int_equal(bpf_map__value_size(skeleton->maps.irq_hard_rows),
			 sizeof(struct irq_hard_row));
	assert_int_equal(bpf_map__value_size(skeleton->maps.irq_soft_rows), sizeof(struct hist));
	assert_int_equal(bpf_map__value_size(skeleton->maps.irq_stolen_rows),
			 sizeof(struct irq_stolen_row));
	assert_int_equal(bpf_map__value_size(skeleton->maps.irq_records),
			 sizeof(struct irq_handler_record));
	irq_bpf__destroy(skeleton);
	(void)state;
}

#define TABLE_TEST(function) cmocka_unit_test_teardown(function, free_tables)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TABLE_TEST(handlers_are_named_by_number_and_name),
		TABLE_TEST(rows_of_one_name_are_added_up),
		TABLE_TEST(handlers_without_a_row_are_other),
		TABLE_TEST(soft_interrupts_are_histograms),
		TABLE_TEST(stolen_time_is_of_entities_until_forgotten),
		cmocka_unit_test(the_object_has_what_the_hooks_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
