// SPDX-License-Identifier: Apache-2.0
/* The syscalls probe without a kernel: tables of known content in, series out. No root. */
#include <bpf/libbpf.h>
#include <errno.h>
#include <math.h>
#include <sys/syscall.h>
#include "agent/registry.h"
#include "bpf/lib/task.h"
#include "probes/probe.h"
#include "probes/syscall_names.h"
#include "probes/syscalls.h"
#include "syscalls.skel.h"
#include "tests/harness/harness.h"

#define CPUS	 2
#define ROWS	 64
#define ENTITIES 8

static struct syscall_tables *make_tables(void **state)
{
	struct syscall_tables *tables = calloc(1, sizeof(*tables));

	tables->cpus = CPUS;
	tables->rows = ROWS;
	tables->entities = ENTITIES;
	tables->row = calloc(CPUS * ROWS, sizeof(*tables->row));
	tables->key = calloc(ROWS, sizeof(*tables->key));
	tables->index = calloc(ENTITIES, sizeof(*tables->index));
	tables->key[0] = SYSCALL_ROWS_OPEN;
	*state = tables;
	return tables;
}

static int free_tables(void **state)
{
	struct syscall_tables *tables = *state;

	free(tables->row);
	free(tables->key);
	free(tables->index);
	free(tables);
	return cleanup_teardown(state);
}

/* Row `number` now stands for the pair; as the kernel side does it. */
static void assign(struct syscall_tables *tables, unsigned number, uint32_t entity, uint32_t slot)
{
	tables->key[number] = SYSCALL_KEY(entity, slot);
	tables->index[entity].row[slot] = (uint16_t)number;
}

static struct syscall_row *row_of_cpu(struct syscall_tables *tables, unsigned cpu, unsigned number)
{
	return &tables->row[cpu * ROWS + number];
}

static void record(struct syscall_tables *tables, unsigned cpu, unsigned number, uint64_t ns)
{
	hist_record(&row_of_cpu(tables, cpu, number)->duration, ns);
}

static void fail_with(struct syscall_tables *tables, unsigned cpu, unsigned number, int slot,
		      uint16_t error, uint64_t n)
{
	row_of_cpu(tables, cpu, number)->error_number[slot] = error;
	row_of_cpu(tables, cpu, number)->error_count[slot] = n;
}

/* The entity's number as its comm, so that a series tells whose it is. */
static const char *const *labels_of(void *context, uint32_t entity)
{
	static const char *const names[] = { "0", "1", "2", "3", "4", "5", "6", "7" };
	static const char *labels[ENTITY_LABELS] = { "", "", "", "", "" };

	labels[ENTITY_LABELS - 1] = entity < 8 ? names[entity] : "?";
	(void)context;
	return labels;
}

static struct snapshot *collect(struct syscall_tables *tables, struct syscall_totals *totals)
{
	struct registry *registry = registry_new(labels_of, NULL);
	struct snapshot *snapshot;

	*totals = syscall_tables_write(tables, registry_begin(registry));
	snapshot = registry_finish(registry);
	assert_non_null(snapshot);
	registry_free(registry);
	return snapshot;
}

/* The series of that entity with these own labels (second may be NULL); fails when there is none. */
static const struct series *series(const struct snapshot *snapshot, const char *metric,
				   const char *comm, const char *first, const char *second)
{
	const struct family *family = snapshot_family(snapshot, metric);

	for (size_t i = 0; family && i < family->n_series; i++) {
		const struct series *one = &family->series[i];

		if (!strcmp(one->entity[ENTITY_LABELS - 1], comm) &&
		    !strcmp(one->labels[0], first) && (!second || !strcmp(one->labels[1], second)))
			return one;
	}
	test_fail("no %s of %s with %s %s", metric, comm, first, second ? second : "");
}

#define DURATION "leadline_syscall_duration_seconds"
#define ERRORS	 "leadline_syscall_errors_total"
#define FSYNC	 "leadline_fsync_duration_seconds"

static void rows_become_series(void **state)
{
	struct syscall_tables *tables = make_tables(state);
	struct syscall_totals totals;
	struct snapshot *snapshot;
	const struct series *read_series;

	assign(tables, 1, 3, SYS_read);
	assign(tables, 63, 3, SYSCALL_SLOT_COMPAT);
	assign(tables, 5, 4, SYSCALL_SLOT_SIGRETURN);
	assign(tables, 6, 4, SYS_write); /* handed out, nothing recorded yet */
	record(tables, 0, 1, 1000);
	record(tables, 1, 1, 3000);
	record(tables, 1, 1, 3000);
	record(tables, 1, 63, 500);
	record(tables, 0, 5, 500);
	snapshot = collect(tables, &totals);

	assert_int_equal(totals.calls, 5);
	assert_int_equal(totals.unattributed, 0);
	assert_int_equal(snapshot_family(snapshot, DURATION)->n_series, 3);
	read_series = series(snapshot, DURATION, "3", "read", NULL);
	assert_int_equal(histogram_count(&read_series->histogram), 3);
	assert_true(fabs(read_series->histogram.sum - 7e-6) < 1e-15);
	assert_true(fabs(read_series->histogram.max - 3e-6) < 1e-15);
	assert_int_equal(read_series->histogram.schema, 2);
	assert_true(histogram_quantile(&read_series->histogram, 0.9) > 2.7e-6);
	assert_true(histogram_quantile(&read_series->histogram, 0.9) < 3.4e-6);
	series(snapshot, DURATION, "3", "compat", NULL);
	series(snapshot, DURATION, "4", "rt_sigreturn", NULL);
	snapshot_put(snapshot);

	/* counts stay, the maximum begins anew */
	snapshot = collect(tables, &totals);
	read_series = series(snapshot, DURATION, "3", "read", NULL);
	assert_int_equal(histogram_count(&read_series->histogram), 3);
	assert_true(read_series->histogram.max == 0);
	snapshot_put(snapshot);
}

static void waits_for_the_disk_have_a_name_of_their_own(void **state)
{
	struct syscall_tables *tables = make_tables(state);
	struct syscall_totals totals;
	struct snapshot *snapshot;

	assign(tables, 1, 3, SYS_fsync);
	assign(tables, 2, 3, SYS_sync_file_range);
	assign(tables, 3, 4, SYS_read);
	record(tables, 0, 1, 5000000);
	record(tables, 1, 1, 7000000);
	record(tables, 1, 2, 1000);
	record(tables, 1, 3, 1000);
	snapshot = collect(tables, &totals);
	assert_int_equal(totals.calls, 4); /* each counted once */
	assert_int_equal(snapshot_family(snapshot, FSYNC)->n_series, 2);
	assert_int_equal(histogram_count(&series(snapshot, FSYNC, "3", "fsync", NULL)->histogram),
			 2);
	assert_true(fabs(series(snapshot, FSYNC, "3", "fsync", NULL)->histogram.sum - 12e-3) <
		    1e-12);
	series(snapshot, FSYNC, "3", "sync_file_range", NULL);
	series(snapshot, DURATION, "3", "fsync", NULL);
	snapshot_put(snapshot);
}

static void errors_add_up_over_cpus(void **state)
{
	struct syscall_tables *tables = make_tables(state);
	struct syscall_totals totals;
	struct snapshot *snapshot;

	assign(tables, 2, 1, SYS_read);
	record(tables, 0, 2, 10);
	record(tables, 1, 2, 10);
	fail_with(tables, 0, 2, 0, EAGAIN, 7);
	fail_with(tables, 0, 2, 1, 512, 2);
	fail_with(tables, 1, 2, 0, EINTR, 1);
	fail_with(tables, 1, 2, 1, EAGAIN, 100);
	for (uint16_t i = 2; i < SYSCALL_ERRORS - 1; i++)
		fail_with(tables, 1, 2, i, (uint16_t)(i + 10), 1);
	fail_with(tables, 1, 2, SYSCALL_ERRORS - 1, SYSCALL_ERROR_OTHER, 9);
	snapshot = collect(tables, &totals);

	assert_true(series(snapshot, ERRORS, "1", "read", "EAGAIN")->value == 107);
	assert_true(series(snapshot, ERRORS, "1", "read", "EINTR")->value == 1);
	assert_true(series(snapshot, ERRORS, "1", "read", "ERESTARTSYS")->value == 2);
	assert_true(series(snapshot, ERRORS, "1", "read", "other")->value == 9);
	assert_int_equal(snapshot_family(snapshot, ERRORS)->n_series, 4 + SYSCALL_ERRORS - 3);
	snapshot_put(snapshot);
}

/* Two CPUs met a new pair at the same moment: two rows, one series. */
static void rows_of_one_key_merge(void **state)
{
	struct syscall_tables *tables = make_tables(state);
	struct syscall_totals totals;
	struct snapshot *snapshot;

	assign(tables, 7, 2, SYS_write);
	assign(tables, 8, 2, SYS_write);
	record(tables, 0, 7, 100);
	record(tables, 1, 8, 100);
	snapshot = collect(tables, &totals);
	assert_int_equal(snapshot_family(snapshot, DURATION)->n_series, 1);
	assert_int_equal(
		histogram_count(&series(snapshot, DURATION, "2", "write", NULL)->histogram), 2);
	snapshot_put(snapshot);
}

static void calls_without_a_row_are_counted(void **state)
{
	struct syscall_tables *tables = make_tables(state);
	struct syscall_totals totals;
	struct snapshot *snapshot;

	tables->key[0] = SYSCALL_ROWS_EXHAUSTED;
	record(tables, 0, 0, 100);
	record(tables, 1, 0, 100);
	snapshot = collect(tables, &totals);
	assert_int_equal(totals.unattributed, 2);
	assert_int_equal(
		histogram_count(&series(snapshot, DURATION, "0", "other", NULL)->histogram), 2);
	snapshot_put(snapshot);
}

static void take_back(void *context, uint32_t row)
{
	*(uint64_t *)context |= 1ULL << row;
}

static void a_forgotten_entity_leaves_nothing(void **state)
{
	struct syscall_tables *tables = make_tables(state);
	struct syscall_row empty = { 0 };
	struct syscall_totals totals;
	uint64_t returned = 0;

	assign(tables, 3, 5, 0);
	assign(tables, 4, 5, 1);
	assign(tables, 9, 5, 1); /* the row that lost a race */
	assign(tables, 10, 6, 0);
	for (unsigned number = 3; number < 11; number++)
		record(tables, number % CPUS, number, 100);
	fail_with(tables, 1, 3, 0, EAGAIN, 7);

	assert_int_equal(syscall_tables_forget(tables, 5, take_back, &returned), 3);
	assert_true(returned == (1ULL << 3 | 1ULL << 4 | 1ULL << 9));
	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		assert_memory_equal(row_of_cpu(tables, cpu, 3), &empty, sizeof(empty));
	assert_int_equal(tables->index[5].row[0], 0);
	assert_int_equal(tables->index[5].row[1], 0);
	assert_int_equal(tables->index[6].row[0], 10);
	snapshot_put(collect(tables, &totals));
	assert_int_equal(totals.calls, 1);

	assert_int_equal(syscall_tables_forget(tables, ENTITIES, take_back, &returned), 0);
	assert_int_equal(syscall_tables_forget(tables, ENTITY_EXCLUDED, take_back, &returned), 0);
}

static void keys_hold_what_was_put_in(void **state)
{
	static const uint32_t entities[] = { 0, 1, 4095, 0xfffffffe };
	static const uint32_t slots[] = { 0, 1, 335, SYSCALL_SLOT_OTHER };

	for (int i = 0; i < 4; i++)
		for (int j = 0; j < 4; j++) {
			uint64_t key = SYSCALL_KEY(entities[i], slots[j]);

			assert_true(key != 0);
			assert_true(SYSCALL_KEY_ENTITY(key) == entities[i]);
			assert_true(SYSCALL_KEY_SLOT(key) == slots[j]);
		}
	(void)state;
}

static void slots_have_names(void **state)
{
	char text[NUMBER_NAME_SIZE];

#if defined(__x86_64__)
	assert_string_equal(syscall_slot_name(0, text), "read");
	assert_string_equal(syscall_slot_name(110, text), "getppid");
	assert_string_equal(syscall_slot_name(262, text), "newfstatat");
#elif defined(__aarch64__)
	assert_string_equal(syscall_slot_name(63, text), "read");
	assert_string_equal(syscall_slot_name(25, text), "fcntl");
	assert_string_equal(syscall_slot_name(79, text), "newfstatat");
#endif
	assert_string_equal(syscall_slot_name(425, text), "io_uring_setup");
	assert_string_equal(syscall_slot_name(451, text), "cachestat");
	assert_string_equal(syscall_slot_name(469, text), "file_setattr");
	assert_string_equal(syscall_slot_name(508, text), "syscall_508");
	assert_string_equal(syscall_slot_name(SYSCALL_SLOT_SIGRETURN, text), "rt_sigreturn");
	assert_string_equal(syscall_slot_name(SYSCALL_SLOT_COMPAT, text), "compat");
	assert_string_equal(syscall_slot_name(SYSCALL_SLOT_OTHER, text), "other");
	assert_string_equal(syscall_slot_name(0xffffffff, text), "other");
	(void)state;
}

static void errors_have_names(void **state)
{
	char text[NUMBER_NAME_SIZE];

	assert_string_equal(error_name(ENOENT, text), "ENOENT");
	assert_string_equal(error_name(EAGAIN, text), "EAGAIN");
	assert_string_equal(error_name(512, text), "ERESTARTSYS");
	assert_string_equal(error_name(516, text), "ERESTART_RESTARTBLOCK");
	assert_string_equal(error_name(531, text), "ENOGRACE");
	assert_string_equal(error_name(520, text), "errno_520");
	assert_string_equal(error_name(4095, text), "errno_4095");
	assert_string_equal(error_name(0, text), "errno_0");
	assert_string_equal(error_name(0xfffffffe, text), "errno_4294967294");
	assert_string_equal(error_name(SYSCALL_ERROR_OTHER, text), "other");
	(void)state;
}

static void default_memory_is_bounded(void **state)
{
	assert_int_equal(syscall_rows_for(1, 0), 1024);
	assert_int_equal(syscall_rows_for(14, 0), 1024);
	assert_true(syscall_rows_for(64, 0) * 64 * sizeof(struct syscall_row) <= 16 << 20);
	assert_int_equal(syscall_rows_for(4096, 0), 64);
	assert_int_equal(syscall_rows_for(64, 4000), 4000);
	assert_int_equal(syscall_rows_for(64, 1), 64);
	(void)state;
}

/* What the descriptor names, the object has; what the wire header says, the maps are. */
static void descriptor_and_object_agree(void **state)
{
	struct syscalls_bpf *skeleton = syscalls_bpf__open();

	assert_non_null(skeleton);
	for (const struct hook *hook = probe_syscalls.hooks; hook->name; hook++)
		for (const struct hook_alternative *one = hook->alternatives; one->program; one++)
			assert_non_null(
				bpf_object__find_program_by_name(skeleton->obj, one->program));
	assert_int_equal(bpf_map__value_size(skeleton->maps.syscall_rows),
			 sizeof(struct syscall_row));
	assert_int_equal(bpf_map__value_size(skeleton->maps.syscall_index), 1024);
	assert_int_equal(bpf_map__value_size(skeleton->maps.syscall_keys), 8);
	assert_int_equal(bpf_map__value_size(skeleton->maps.task_states),
			 sizeof(struct task_state));
	assert_int_equal(sizeof(struct syscalls_settings), sizeof(skeleton->rodata->settings));
	syscalls_bpf__destroy(skeleton);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(rows_become_series, free_tables),
		cmocka_unit_test_teardown(waits_for_the_disk_have_a_name_of_their_own, free_tables),
		cmocka_unit_test_teardown(errors_add_up_over_cpus, free_tables),
		cmocka_unit_test_teardown(rows_of_one_key_merge, free_tables),
		cmocka_unit_test_teardown(calls_without_a_row_are_counted, free_tables),
		cmocka_unit_test_teardown(a_forgotten_entity_leaves_nothing, free_tables),
		cmocka_unit_test(keys_hold_what_was_put_in),
		cmocka_unit_test(slots_have_names),
		cmocka_unit_test(errors_have_names),
		cmocka_unit_test(default_memory_is_bounded),
		cmocka_unit_test(descriptor_and_object_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
