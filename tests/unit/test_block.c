// SPDX-License-Identifier: Apache-2.0
/* The block probe without a kernel: tables of known content in, series out. No root. */
#include <bpf/libbpf.h>
#include <math.h>
#include "agent/registry.h"
#include "probes/block.h"
#include "probes/probe.h"
#include "block.skel.h"
#include "tests/harness/harness.h"

#define CPUS 2
#define ROWS 16

#define DURATION "leadline_block_io_duration_seconds"
#define BYTES	 "leadline_block_io_bytes_total"
#define ERRORS	 "leadline_block_io_errors_total"

static struct block_tables *make_tables(void **state)
{
	struct block_tables *tables = calloc(1, sizeof(*tables));

	tables->cpus = CPUS;
	tables->rows = ROWS;
	tables->row = calloc(CPUS * ROWS, sizeof(*tables->row));
	tables->record = calloc(ROWS, sizeof(*tables->record));
	tables->record[0].in_use = 1;
	*state = tables;
	return tables;
}

static int free_tables(void **state)
{
	struct block_tables *tables = *state;

	free(tables->row);
	free(tables->record);
	free(tables);
	return cleanup_teardown(state);
}

static struct block_row *row_of_cpu(struct block_tables *tables, unsigned cpu, unsigned number)
{
	return &tables->row[cpu * ROWS + number];
}

static void assign(struct block_tables *tables, unsigned number, const char *device,
		   uint32_t operation)
{
	memcpy(tables->record[number].key.device, device, strlen(device));
	tables->record[number].key.operation = operation;
	tables->record[number].in_use = 1;
}

/* One request as the kernel side records it; a negative time is one it does not know. */
static void complete(struct block_row *row, int64_t queue_ns, int64_t device_ns, uint64_t bytes)
{
	row->requests++;
	row->bytes += bytes;
	if (device_ns < 0)
		row->untimed[BLOCK_DEVICE]++;
	else
		hist_record(&row->stage[BLOCK_DEVICE], (uint64_t)device_ns);
	if (queue_ns < 0)
		row->untimed[BLOCK_QUEUE]++;
	else
		hist_record(&row->stage[BLOCK_QUEUE], (uint64_t)queue_ns);
}

static const char *const *no_labels(void *context, uint32_t entity)
{
	static const char *const labels[ENTITY_LABELS] = { "", "", "", "", "" };

	(void)context;
	(void)entity;
	return labels;
}

static void note_device(void *context, const char *device)
{
	strcat(strcat(context, device), " ");
}

/* `untimed` collects the names of devices without queue times. */
static struct snapshot *collect(struct block_tables *tables, struct block_totals *totals,
				char *untimed)
{
	struct registry *registry = registry_new(no_labels, NULL);
	struct snapshot *snapshot;

	untimed[0] = 0;
	*totals = block_tables_write(tables, registry_begin(registry), note_device, untimed);
	snapshot = registry_finish(registry);
	assert_non_null(snapshot);
	registry_free(registry);
	return snapshot;
}

static const struct series *series(const struct snapshot *snapshot, const char *metric,
				   const char *device, const char *operation, const char *third)
{
	const struct family *family = snapshot_family(snapshot, metric);

	for (size_t i = 0; family && i < family->n_series; i++) {
		const char *const *labels = family->series[i].labels;

		if (!strcmp(labels[0], device) && !strcmp(labels[1], operation) &&
		    (!third || !strcmp(labels[2], third)))
			return &family->series[i];
	}
	test_fail("no %s of %s %s %s", metric, device, operation, third ? third : "");
}

static void rows_become_series(void **state)
{
	struct block_tables *tables = make_tables(state);
	struct block_totals totals;
	char untimed[256];
	struct snapshot *snapshot;
	const struct histogram_view *view;

	assign(tables, 1, "sda", BLOCK_READ);
	assign(tables, 2, "nvme0n1", BLOCK_WRITE);
	assign(tables, 3, "nvme0n1", BLOCK_FLUSH);
	complete(row_of_cpu(tables, 0, 1), 1000, 100000, 4096);
	complete(row_of_cpu(tables, 1, 1), 3000, 300000, 8192);
	complete(row_of_cpu(tables, 1, 2), 0, 50000, 512);
	complete(row_of_cpu(tables, 1, 3), -1, 70000,
		 0); /* the kernel times no queue for a flush */
	snapshot = collect(tables, &totals, untimed);

	assert_int_equal(totals.requests, 4);
	assert_int_equal(totals.unattributed, 0);
	assert_int_equal(totals.untimed, 0);
	assert_string_equal(untimed, "");
	view = &series(snapshot, DURATION, "sda", "read", "device")->histogram;
	assert_int_equal(histogram_count(view), 2);
	assert_true(fabs(view->sum - 400e-6) < 1e-12);
	assert_true(fabs(view->max - 300e-6) < 1e-12);
	view = &series(snapshot, DURATION, "sda", "read", "queue")->histogram;
	assert_int_equal(histogram_count(view), 2);
	assert_true(fabs(view->sum - 4e-6) < 1e-12);
	assert_true(series(snapshot, BYTES, "sda", "read", NULL)->value == 12288);
	assert_true(series(snapshot, BYTES, "nvme0n1", "write", NULL)->value == 512);
	series(snapshot, DURATION, "nvme0n1", "flush", "device");
	assert_int_equal(snapshot_family(snapshot, DURATION)->n_series, 5);
	snapshot_put(snapshot);

	snapshot = collect(tables, &totals, untimed);
	view = &series(snapshot, DURATION, "sda", "read", "device")->histogram;
	assert_int_equal(histogram_count(view), 2);
	assert_true(view->max == 0); /* began anew */
	snapshot_put(snapshot);
}

static void errors_carry_the_status(void **state)
{
	struct block_tables *tables = make_tables(state);
	struct block_totals totals;
	char untimed[256];
	struct snapshot *snapshot;

	assign(tables, 4, "sdb", BLOCK_WRITE);
	row_of_cpu(tables, 0, 4)->errors[BLOCK_STATUS_IOERR] = 3;
	row_of_cpu(tables, 1, 4)->errors[BLOCK_STATUS_IOERR] = 4;
	row_of_cpu(tables, 1, 4)->errors[BLOCK_STATUS_NOSPC] = 1;
	row_of_cpu(tables, 0, 4)->errors[18] = 1; /* of a later kernel */
	row_of_cpu(tables, 0, 4)->errors[BLOCK_STATUS_OTHER] = 1;
	snapshot = collect(tables, &totals, untimed);
	assert_true(series(snapshot, ERRORS, "sdb", "write", "IOERR")->value == 7);
	assert_true(series(snapshot, ERRORS, "sdb", "write", "NOSPC")->value == 1);
	assert_true(series(snapshot, ERRORS, "sdb", "write", "other")->value == 2);
	assert_int_equal(snapshot_family(snapshot, ERRORS)->n_series, 3);
	snapshot_put(snapshot);
}

static void requests_without_times_are_told(void **state)
{
	struct block_tables *tables = make_tables(state);
	struct block_totals totals;
	char untimed[256];

	assign(tables, 1, "sda", BLOCK_READ); /* iostats=0 */
	complete(row_of_cpu(tables, 0, 1), -1, 1000, 512);
	assign(tables, 2, "sdb",
	       BLOCK_READ); /* the first one, before block_issue began to keep times */
	complete(row_of_cpu(tables, 0, 2), -1, -1, 512);
	complete(row_of_cpu(tables, 0, 2), 100, 1000, 512);
	assign(tables, 3, "sdc", BLOCK_OTHER); /* a command of SG_IO is not timed */
	complete(row_of_cpu(tables, 0, 3), -1, 100, 512);
	snapshot_put(collect(tables, &totals, untimed));
	assert_int_equal(totals.requests, 4);
	assert_int_equal(totals.untimed, 1);
	assert_string_equal(untimed, "sda ");
}

static void requests_without_a_row_are_counted(void **state)
{
	struct block_tables *tables = make_tables(state);
	struct block_totals totals;
	char untimed[256];
	struct snapshot *snapshot;

	complete(row_of_cpu(tables, 1, 0), 10, 1000, 512);
	snapshot = collect(tables, &totals, untimed);
	assert_int_equal(totals.unattributed, 1);
	assert_true(series(snapshot, BYTES, "other", "other", NULL)->value == 512);
	snapshot_put(snapshot);
}

/* DISK_NAME_LEN bytes without an end, and an operation that does not exist. */
static void any_record_is_survived(void **state)
{
	struct block_tables *tables = make_tables(state);
	struct block_totals totals;
	char untimed[256], longest[BLOCK_NAME_SIZE + 1];
	struct snapshot *snapshot;

	memset(longest, 'x', BLOCK_NAME_SIZE);
	longest[BLOCK_NAME_SIZE] = 0;
	assign(tables, 15, longest, 0xffffffff);
	complete(row_of_cpu(tables, 0, 15), 10, 1000, 512);
	snapshot = collect(tables, &totals, untimed);
	assert_true(series(snapshot, BYTES, longest, "other", NULL)->value == 512);
	snapshot_put(snapshot);
}

static void operations_and_statuses_have_names(void **state)
{
	static const char *const statuses[] = {
		"OK",	  "NOTSUPP",	   "TIMEOUT", "NOSPC",	     "TRANSPORT",
		"TARGET", "RESV_CONFLICT", "MEDIUM",  "PROTECTION",  "RESOURCE",
		"IOERR",  "DM_REQUEUE",	   "AGAIN",   "DEV_RESOURCE"
	};

	for (uint32_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		assert_string_equal(block_status_name(i), statuses[i]);
	assert_string_equal(block_status_name(16), "OFFLINE");
	assert_string_equal(block_status_name(18), "other");
	assert_string_equal(block_status_name(BLOCK_STATUS_OTHER), "other");
	assert_string_equal(block_status_name(BLOCK_STATUSES), "other");
	assert_string_equal(block_operation_name(BLOCK_READ), "read");
	assert_string_equal(block_operation_name(BLOCK_WRITE_ZEROES), "write_zeroes");
	assert_string_equal(block_operation_name(BLOCK_OTHER), "other");
	assert_string_equal(block_operation_name(BLOCK_OPERATIONS), "other");
	(void)state;
}

static void default_memory_is_bounded(void **state)
{
	assert_int_equal(block_rows_for(1, 0), 128);
	assert_true(block_rows_for(64, 0) * 64 * sizeof(struct block_row) <= 8 << 20);
	assert_int_equal(block_rows_for(4096, 0), 16);
	assert_int_equal(block_rows_for(64, 1000), 1000);
	assert_int_equal(block_rows_for(64, 1), 16);
	(void)state;
}

static void descriptor_and_object_agree(void **state)
{
	struct block_bpf *skeleton = block_bpf__open();

	assert_non_null(skeleton);
	for (const struct hook *hook = probe_block.hooks; hook->name; hook++)
		for (const struct hook_alternative *one = hook->alternatives; one->program; one++)
			assert_non_null(
				bpf_object__find_program_by_name(skeleton->obj, one->program));
	assert_int_equal(bpf_map__value_size(skeleton->maps.block_rows), sizeof(struct block_row));
	assert_int_equal(bpf_map__value_size(skeleton->maps.block_records), 40);
	assert_int_equal(bpf_map__key_size(skeleton->maps.block_index), 36);
	assert_int_equal(sizeof(struct block_settings), sizeof(skeleton->rodata->settings));
	block_bpf__destroy(skeleton);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(rows_become_series, free_tables),
		cmocka_unit_test_teardown(errors_carry_the_status, free_tables),
		cmocka_unit_test_teardown(requests_without_times_are_told, free_tables),
		cmocka_unit_test_teardown(requests_without_a_row_are_counted, free_tables),
		cmocka_unit_test_teardown(any_record_is_survived, free_tables),
		cmocka_unit_test(operations_and_statuses_have_names),
		cmocka_unit_test(default_memory_is_bounded),
		cmocka_unit_test(descriptor_and_object_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
