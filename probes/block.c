// SPDX-License-Identifier: Apache-2.0
/*
 * Disk I/O: how long requests wait in the queue and take in the device, how much they move and how they fail,
 * by device and operation. The kernel side aggregates into rows; this side turns them into series. Devices
 * carry the name the kernel gives them, kept with the row, so that one that was unplugged keeps its name.
 * Loop thread only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "probes/block.h"
#include "probes/probe.h"
#include "block.skel.h"

PROBE_SKELETON(block)

#define DEFAULT_ROWS 128
#define DEFAULT_BYTES                                                                              \
	(8U << 20) /* all CPUs together, when the option rows does not say otherwise */
#define MIN_ROWS 16

static const struct hook hooks[] = {
	{
		.name = "complete",
		.required = true,
		.provides = "disk I/O",
		.alternatives = {
			{ "block_complete", HOOK_TP_BTF, "block_rq_complete", .min_args = 3 },
		},
	},
	{
		.name = "issue",
		.provides = "disk I/O times of queues without statistics (writeback throttling off)",
		.alternatives = {
			{ "block_issue", HOOK_TP_BTF, "block_rq_issue", .min_args = 1 },
		},
	},
	{ 0 },
};

static const struct metric_desc duration_max_metric = {
	.name = "leadline_block_io_duration_max_seconds",
	.help = "The longest time a disk request took in the queue or the device in this minute and the one before",
	.unit = "seconds",
	.kind = METRIC_GAUGE,
	.labels = { "device", "operation", "stage" },
	.merges_by_max = true,
};

static const struct metric_desc duration_metric = {
	.name = "leadline_block_io_duration_seconds",
	.help = "Time of disk requests in the queue (from making to issue) and in the device (from issue to completion)",
	.unit = "seconds",
	.kind = METRIC_HISTOGRAM,
	.labels = { "device", "operation", "stage" },
	.worst = &duration_max_metric,
};

static const struct metric_desc bytes_metric = {
	.name = "leadline_block_io_bytes_total",
	.help = "Bytes that disk requests moved or, for discard and write_zeroes, covered",
	.kind = METRIC_COUNTER,
	.labels = { "device", "operation" },
};

static const struct metric_desc errors_metric = {
	.name = "leadline_block_io_errors_total",
	.help = "Disk requests, or parts of them, that failed, by the kernel's block status",
	.kind = METRIC_COUNTER,
	.labels = { "device", "operation", "status" },
};

static const struct metric_desc *const metrics[] = {
	&duration_metric, &duration_max_metric, &bytes_metric, &errors_metric, NULL,
};

static const struct option_desc options[] = {
	{
		.key = "rows",
		.type = OPTION_INT,
		.fallback = "0",
		.min = 0,
		.max = 65536,
		.help = "Pairs of device and operation kept apart; those beyond are counted as \"other\". Memory: rows * CPUs * 2272 bytes. "
			"0 is 128, or as many as fit into 8 MiB on machines with many CPUs, at least 16",
	},
	{ 0 },
};

/* ---- names ---- */

static const char *const operation_names[BLOCK_OPERATIONS] = {
	[BLOCK_READ] = "read",
	[BLOCK_WRITE] = "write",
	[BLOCK_FLUSH] = "flush",
	[BLOCK_DISCARD] = "discard",
	[BLOCK_SECURE_ERASE] = "secure_erase",
	[BLOCK_WRITE_ZEROES] = "write_zeroes",
	[BLOCK_OTHER] = "other",
};

static const char *const stage_names[BLOCK_STAGES] = {
	[BLOCK_QUEUE] = "queue",
	[BLOCK_DEVICE] = "device",
};

static const char *const status_names[BLOCK_STATUSES] = {
	[BLOCK_STATUS_OK] = "OK",
	[BLOCK_STATUS_NOTSUPP] = "NOTSUPP",
	[BLOCK_STATUS_TIMEOUT] = "TIMEOUT",
	[BLOCK_STATUS_NOSPC] = "NOSPC",
	[BLOCK_STATUS_TRANSPORT] = "TRANSPORT",
	[BLOCK_STATUS_TARGET] = "TARGET",
	[BLOCK_STATUS_RESV_CONFLICT] = "RESV_CONFLICT",
	[BLOCK_STATUS_MEDIUM] = "MEDIUM",
	[BLOCK_STATUS_PROTECTION] = "PROTECTION",
	[BLOCK_STATUS_RESOURCE] = "RESOURCE",
	[BLOCK_STATUS_IOERR] = "IOERR",
	[BLOCK_STATUS_DM_REQUEUE] = "DM_REQUEUE",
	[BLOCK_STATUS_AGAIN] = "AGAIN",
	[BLOCK_STATUS_DEV_RESOURCE] = "DEV_RESOURCE",
	[BLOCK_STATUS_ZONE_OPEN_RESOURCE] = "ZONE_OPEN_RESOURCE",
	[BLOCK_STATUS_ZONE_ACTIVE_RESOURCE] = "ZONE_ACTIVE_RESOURCE",
	[BLOCK_STATUS_OFFLINE] = "OFFLINE",
	[BLOCK_STATUS_DURATION_LIMIT] = "DURATION_LIMIT",
	[BLOCK_STATUS_INVAL] = "INVAL",
	[BLOCK_STATUS_ZONE_RESOURCE] = "ZONE_RESOURCE",
};

const char *block_operation_name(uint32_t operation)
{
	return operation < BLOCK_OPERATIONS ? operation_names[operation] : "other";
}

const char *block_status_name(uint32_t status)
{
	return status < BLOCK_STATUSES && status_names[status] ? status_names[status] : "other";
}

/* ---- tables ---- */

unsigned block_rows_for(unsigned cpus, unsigned wanted)
{
	size_t rows = DEFAULT_BYTES / (sizeof(struct block_row) * (cpus ? cpus : 1));

	if (wanted)
		return wanted > MIN_ROWS ? wanted : MIN_ROWS;
	if (rows > DEFAULT_ROWS)
		return DEFAULT_ROWS;
	return rows > MIN_ROWS ? (unsigned)rows : MIN_ROWS;
}

/* A row of all CPUs together. */
struct stage_sum {
	uint64_t requests, sum_ns, max_ns;
	uint64_t slots[HIST_SLOTS];
};

struct row_sum {
	struct stage_sum stage[BLOCK_STAGES];
	uint64_t bytes, requests, untimed[BLOCK_STAGES], errors[BLOCK_STATUSES];
};

static uint64_t load(const __u64 *value)
{
	return __atomic_load_n(value, __ATOMIC_RELAXED);
}

/* The maximum starts anew: one recorded between the reading and the clearing is missed, its request is not. */
static void add_stage(struct hist *hist, struct stage_sum *sum)
{
	uint64_t max_ns = load(&hist->max_ns);

	__atomic_store_n(&hist->max_ns, 0, __ATOMIC_RELAXED);
	if (max_ns > sum->max_ns)
		sum->max_ns = max_ns;
	sum->sum_ns += load(&hist->sum_ns);
	for (size_t i = 0; i < HIST_SLOTS; i++) {
		uint64_t n = load(&hist->slots[i]);

		sum->slots[i] += n;
		sum->requests += n;
	}
}

static void sum_row(const struct block_tables *tables, unsigned number, struct row_sum *sum)
{
	memset(sum, 0, sizeof(*sum));
	for (unsigned cpu = 0; cpu < tables->cpus; cpu++) {
		struct block_row *row = &tables->row[(size_t)cpu * tables->rows + number];

		for (int stage = 0; stage < BLOCK_STAGES; stage++) {
			add_stage(&row->stage[stage], &sum->stage[stage]);
			sum->untimed[stage] += load(&row->untimed[stage]);
		}
		for (int status = 0; status < BLOCK_STATUSES; status++)
			sum->errors[status] += load(&row->errors[status]);
		sum->bytes += load(&row->bytes);
		sum->requests += load(&row->requests);
	}
}

static void write_row(struct metric_writer *writer, const struct row_sum *row, const char *device,
		      const char *operation)
{
	const char *labels[3] = { device, operation };

	metric_write(writer, &bytes_metric, ENTITY_NONE, labels, (double)row->bytes);
	for (int stage = 0; stage < BLOCK_STAGES; stage++) {
		const struct stage_sum *sum = &row->stage[stage];

		labels[2] = stage_names[stage];
		if (sum->requests)
			metric_write_histogram(writer, &duration_metric, ENTITY_NONE, labels,
					       &(struct histogram_view){
						       .schema = HIST_SCHEMA,
						       .min_index = HIST_MIN_INDEX,
						       .n_slots = HIST_SLOTS,
						       .slots = sum->slots,
						       .sum = (double)sum->sum_ns / 1e9,
						       .max = (double)sum->max_ns / 1e9,
					       });
	}
	for (uint32_t status = 0; status < BLOCK_STATUSES; status++) {
		labels[2] = block_status_name(status);
		if (row->errors[status])
			metric_write(writer, &errors_metric, ENTITY_NONE, labels,
				     (double)row->errors[status]);
	}
}

struct block_totals block_tables_write(const struct block_tables *tables,
				       struct metric_writer *writer, block_untimed_fn untimed,
				       void *context)
{
	struct block_totals totals = { 0 };

	for (unsigned number = 0; number < tables->rows; number++) {
		const struct block_record *record = &tables->record[number];
		char device[BLOCK_NAME_SIZE + 1] = "other";
		struct row_sum row;

		if (!__atomic_load_n(&record->in_use, __ATOMIC_ACQUIRE))
			continue;
		sum_row(tables, number, &row);
		totals.requests += row.requests;
		totals.untimed += row.untimed[BLOCK_DEVICE];
		if (!number) {
			totals.unattributed = row.requests;
			if (row.requests)
				write_row(writer, &row, device, "other");
			continue;
		}
		memcpy(device, record->key.device, BLOCK_NAME_SIZE);
		write_row(writer, &row, device, block_operation_name(record->key.operation));
		if (record->key.operation <= BLOCK_WRITE &&
		    row.untimed[BLOCK_QUEUE] > row.untimed[BLOCK_DEVICE])
			untimed(context, device);
	}
	return totals;
}

/* ---- the probe ---- */

/*
 * RQF_IO_STAT became one of an enumeration in 6.11, at first one without a name, which relocation by name
 * cannot find; before, it was a macro.
 */
static void note_io_stat(void *context, const char *name, int64_t value)
{
	if (!strcmp(name, "__RQF_IO_STAT"))
		*(__u32 *)context = 1U << value;
}

static int block_configure(struct probe *probe)
{
	struct block_tables *tables = calloc(1, sizeof(*tables));
	unsigned rows =
		block_rows_for(probe_cpus(probe), (unsigned)probe_option_int(probe, "rows"));
	int err;

	if (!tables)
		return -ENOMEM;
	probe_set_data(probe, tables);
	tables->cpus = probe_cpus(probe);
	tables->rows = rows;
	block_skeleton(probe)->rodata->settings.rows = rows;
	block_skeleton(probe)->rodata->settings.io_stat = 1U << 13;
	probe_kernel_enum(probe, NULL, note_io_stat,
			  &block_skeleton(probe)->rodata->settings.io_stat);
	err = probe_rows_size(probe, "block_rows", rows);
	if (!err)
		err = probe_map_size(probe, "block_free", rows);
	if (!err)
		err = probe_map_size(probe, "block_index", rows);
	if (!err)
		err = probe_map_size(probe, "block_records", rows);
	return err;
}

static int block_start(struct probe *probe)
{
	struct block_tables *tables = probe_data(probe);
	int err;

	tables->row = probe_rows(probe, "block_rows");
	tables->record = probe_rows(probe, "block_records");
	if (!tables->row || !tables->record)
		return -errno;
	err = probe_fill_free_rows(probe, "block_free", tables->rows);
	if (err)
		return err;
	__atomic_store_n(&tables->record[0].in_use, 1, __ATOMIC_RELEASE);
	return 0;
}

static void note_untimed(void *context, const char *device)
{
	probe_degrade(context, "no queue times of %s: echo 1 > /sys/block/%s/queue/iostats", device,
		      device);
}

static int block_collect(struct probe *probe, struct metric_writer *writer)
{
	struct block_totals totals =
		block_tables_write(probe_data(probe), writer, note_untimed, probe);

	probe_report_events(probe, totals.requests);
	probe_report_lost(probe, "table_full", totals.unattributed);
	probe_report_lost(probe, "untimed", totals.untimed);
	return 0;
}

static void block_destroy(struct probe *probe)
{
	free(probe_data(probe));
}

const struct probe_desc probe_block = {
	.name = "block",
	.help = "How long disk requests wait and take, what they move and how they fail; "
		"devices made of others (dm, md, zram) make no requests of their own and show as those below them",
	.open = block_open,
	.close = block_close,
	.hooks = hooks,
	.metrics = metrics,
	.options = options,
	.configure = block_configure,
	.start = block_start,
	.collect = block_collect,
	.destroy = block_destroy,
	.economy = { .typical_ns = 450 },
};
