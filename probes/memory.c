// SPDX-License-Identifier: Apache-2.0
/*
 * What memory costs programs: page faults, stalls for free pages, pauses for dirty ones; and what they read and write
 * on disks, counted by the same pass. The kernel side is bpf/memory.bpf.c; this file turns its rows into series.
 * Loop thread only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "probes/memory.h"
#include "probes/probe.h"
#include "memory.skel.h"

PROBE_SKELETON(memory)

static const struct hook hooks[] = {
	{ "threads",
	  true,
	  "page faults and I/O of running programs",
	  { { "memory_pass", HOOK_ITER, "task", 0 } } },
	{ "exit",
	  true,
	  "page faults and I/O of programs that ended",
	  { { "memory_exit", HOOK_TP_BTF, "sched_process_exit", 1 } } },
	{ "direct reclaim begin",
	  false,
	  "stalls in direct reclaim",
	  { { "memory_direct_begin", HOOK_TP_BTF, "mm_vmscan_direct_reclaim_begin", 0 } } },
	{ "direct reclaim end",
	  false,
	  "stalls in direct reclaim",
	  { { "memory_direct_end", HOOK_TP_BTF, "mm_vmscan_direct_reclaim_end", 0 } } },
	{ "memcg reclaim begin",
	  false,
	  "stalls in reclaim of control groups",
	  { { "memory_memcg_begin", HOOK_TP_BTF, "mm_vmscan_memcg_reclaim_begin", 0 } } },
	{ "memcg reclaim end",
	  false,
	  "stalls in reclaim of control groups",
	  { { "memory_memcg_end", HOOK_TP_BTF, "mm_vmscan_memcg_reclaim_end", 0 } } },
	{ "compaction begin",
	  false,
	  "stalls in compaction",
	  { { "memory_compaction_begin", HOOK_TP_BTF, "mm_compaction_begin", 0 } } },
	{ "compaction end",
	  false,
	  "stalls in compaction",
	  { { "memory_compaction_end", HOOK_TP_BTF, "mm_compaction_end", 0 } } },
	{ "dirty pages",
	  false,
	  "pauses of writers",
	  { { "memory_dirty_pause_12", HOOK_TP_BTF, "balance_dirty_pages", 12 },
	    { "memory_dirty_pause", HOOK_TP_BTF, "balance_dirty_pages", 8, 8 } } },
	{ .name = NULL },
};

const struct metric_desc memory_faults_metric = {
	.name = "leadline_page_faults_total",
	.help = "Page faults: major ones had to read from a disk, minor ones had not",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "kind" },
};

const struct metric_desc memory_io_metric = {
	.name = "leadline_process_io_bytes_total",
	.help = "Bytes read from disks, and bytes put into pages that are to be written to them",
	.unit = "bytes",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "direction" },
};

const struct metric_desc memory_throttle_metric = {
	.name = "leadline_dirty_throttle_seconds_total",
	.help = "Time that writers were made to pause since too many pages waited to be written back",
	.unit = "seconds",
	.kind = METRIC_COUNTER,
	.per_entity = true,
};

static const struct metric_desc stall_max_metric = {
	.name = "leadline_reclaim_stall_max_seconds",
	.help = "The longest time that one reclaim or compaction held up a thread in this minute and the one before",
	.unit = "seconds",
	.kind = METRIC_GAUGE,
	.per_entity = true,
	.labels = { "kind" },
	.merges_by_max = true,
};

const struct metric_desc memory_stall_metric = {
	.name = "leadline_reclaim_stall_seconds",
	.help = "Time that threads in need of memory had to find some: by reclaim since the host had none left (direct) or "
		"their control group was at its limit (memcg), or by compaction, each zone counted",
	.unit = "seconds",
	.kind = METRIC_HISTOGRAM,
	.per_entity = true,
	.labels = { "kind" },
	.worst = &stall_max_metric,
};

static const struct metric_desc *const metrics[] = {
	&memory_faults_metric, &memory_io_metric, &memory_throttle_metric,
	&memory_stall_metric,  &stall_max_metric, NULL,
};

static const struct option_desc options[] = {
	{ "stall_rows", OPTION_INT, "128", 16, 65536,
	  "pairs of program and kind of stall told apart; those beyond are counted as \"other\". Memory: 1040 bytes each" },
	{ .key = NULL },
};

static const char *const stall_names[MEMORY_STALLS] = {
	[MEMORY_STALL_DIRECT] = "direct",
	[MEMORY_STALL_MEMCG] = "memcg",
	[MEMORY_STALL_COMPACTION] = "compaction",
};

/* ---- tables ---- */

static uint64_t load(const __u64 *value)
{
	return __atomic_load_n(value, __ATOMIC_RELAXED);
}

static void write_pair(struct metric_writer *writer, const struct metric_desc *desc,
		       uint32_t entity, const char *const labels[2], uint64_t first,
		       uint64_t second)
{
	if (!first && !second)
		return;
	metric_write(writer, desc, entity, &labels[0], (double)first);
	metric_write(writer, desc, entity, &labels[1], (double)second);
}

static void write_entity(const struct memory_tables *tables, uint32_t entity,
			 struct metric_writer *writer)
{
	static const char *const fault_kinds[] = { "minor", "major" }, *const directions[] = {
		"read", "write"
	};
	const struct memory_row *row = &tables->row[entity];
	uint64_t throttled_ns = load(&row->throttled_ns);

	write_pair(writer, &memory_faults_metric, entity, fault_kinds, load(&row->minor_faults),
		   load(&row->major_faults));
	write_pair(writer, &memory_io_metric, entity, directions, load(&row->read_bytes),
		   load(&row->write_bytes));
	if (throttled_ns)
		metric_write(writer, &memory_throttle_metric, entity, NULL,
			     (double)throttled_ns * 1e-9);
}

static uint64_t count_stalls(const struct memory_stall_row *row)
{
	uint64_t count = 0;

	for (int i = 0; i < HIST_SLOTS; i++)
		count += load(&row->duration.slots[i]);
	return count;
}

static uint64_t write_stall(struct memory_stall_row *row, const char *kind,
			    struct metric_writer *writer)
{
	uint64_t slots[HIST_SLOTS], count = 0;
	/* one that comes between is missed as a maximum, not in the histogram */
	uint64_t max_ns = __atomic_exchange_n(&row->duration.max_ns, 0, __ATOMIC_RELAXED);

	for (int i = 0; i < HIST_SLOTS; i++) {
		slots[i] = load(&row->duration.slots[i]);
		count += slots[i];
	}
	if (count)
		metric_write_histogram(writer, &memory_stall_metric, row->key.entity,
				       (const char *[]){ kind },
				       &(struct histogram_view){
					       .schema = HIST_SCHEMA,
					       .min_index = HIST_MIN_INDEX,
					       .n_slots = HIST_SLOTS,
					       .slots = slots,
					       .sum = (double)load(&row->duration.sum_ns) * 1e-9,
					       .max = (double)max_ns * 1e-9,
				       });
	return count;
}

struct memory_totals memory_tables_write(const struct memory_tables *tables,
					 struct metric_writer *writer)
{
	struct memory_totals totals = {};

	for (uint32_t entity = 0; entity < tables->entities; entity++)
		write_entity(tables, entity, writer);
	totals.unattributed = totals.stalls = write_stall(&tables->stall[0], "other", writer);
	for (unsigned number = 1; number < tables->stall_rows; number++) {
		struct memory_stall_row *row = &tables->stall[number];

		if (__atomic_load_n(&row->in_use, __ATOMIC_ACQUIRE) &&
		    row->key.stall < MEMORY_STALLS)
			totals.stalls += write_stall(row, stall_names[row->key.stall], writer);
	}
	return totals;
}

uint64_t memory_tables_forget(const struct memory_tables *tables, uint32_t entity,
			      void (*give_back)(void *context, const struct memory_stall_key *key,
						uint32_t row),
			      void *context)
{
	uint64_t stalls = 0;

	if (entity >= tables->entities)
		return 0;
	memset(&tables->row[entity], 0, sizeof(tables->row[entity]));
	for (unsigned number = 1; number < tables->stall_rows; number++) {
		struct memory_stall_row *row = &tables->stall[number];
		struct memory_stall_key key = row->key;

		if (!row->in_use || key.entity != entity)
			continue;
		stalls += count_stalls(row);
		memset(row, 0, sizeof(*row));
		give_back(context, &key, number);
	}
	return stalls;
}

/* ---- the probe ---- */

struct memory_data {
	struct memory_tables tables;
	uint64_t forgotten_stalls; /* of entities that are gone */
};

/* The coarse clocks advance by one jiffy at a time. */
static uint64_t tick_ns(void)
{
	struct timespec resolution;

	if (clock_getres(CLOCK_MONOTONIC_COARSE, &resolution))
		return 4000000;
	return (uint64_t)resolution.tv_sec * 1000000000 + (uint64_t)resolution.tv_nsec;
}

static int configure(struct probe *probe)
{
	struct memory_data *data = calloc(1, sizeof(*data));
	struct memory_tables *tables;

	if (!data)
		return -ENOMEM;
	probe_set_data(probe, data);
	tables = &data->tables;
	tables->entities = probe_max_entities(probe);
	tables->stall_rows = (unsigned)probe_option_int(probe, "stall_rows");
	memory_skeleton(probe)->rodata->settings.tick_ns = tick_ns();
	if (probe_map_size(probe, "memory_rows", tables->entities) ||
	    probe_map_size(probe, "memory_stall_rows", tables->stall_rows) ||
	    probe_map_size(probe, "memory_stall_free", tables->stall_rows) ||
	    probe_map_size(probe, "memory_stalls", tables->stall_rows))
		return -EINVAL;
	return 0;
}

static int start(struct probe *probe)
{
	struct memory_tables *tables = &((struct memory_data *)probe_data(probe))->tables;
	int err;

	if (access("/proc/self/io", F_OK))
		probe_degrade(
			probe,
			"no I/O of programs: the kernel was built without CONFIG_TASK_IO_ACCOUNTING");
	tables->row = probe_rows(probe, "memory_rows");
	tables->stall = probe_rows(probe, "memory_stall_rows");
	if (!tables->row || !tables->stall)
		return -errno;
	err = probe_fill_free_rows(probe, "memory_stall_free", tables->stall_rows);
	if (err)
		return err;
	__atomic_store_n(&tables->stall[0].in_use, 1, __ATOMIC_RELEASE);
	return 0;
}

static int collect(struct probe *probe, struct metric_writer *writer)
{
	struct memory_data *data = probe_data(probe);
	int err = probe_run_iterator(probe, "memory_pass");
	struct memory_totals totals = memory_tables_write(&data->tables, writer);

	probe_report_events(probe, totals.stalls + data->forgotten_stalls);
	probe_report_lost(probe, "table_full", totals.unattributed);
	return err;
}

static void give_back_row(void *context, const struct memory_stall_key *key, uint32_t row)
{
	if (!probe_map_delete(context, "memory_stalls", key))
		probe_free_row(context, "memory_stall_free", row);
}

static void forget_entity(struct probe *probe, uint32_t entity)
{
	struct memory_data *data = probe_data(probe);

	data->forgotten_stalls += memory_tables_forget(&data->tables, entity, give_back_row, probe);
}

static void destroy(struct probe *probe)
{
	free(probe_data(probe));
}

const struct probe_desc probe_memory = {
	.name = "memory",
	.help = "Page faults, stalls of threads in need of memory, pauses of writers, bytes read and written",
	.open = memory_open,
	.close = memory_close,
	.hooks = hooks,
	.metrics = metrics,
	.options = options,
	.configure = configure,
	.start = start,
	.collect = collect,
	.forget_entity = forget_entity,
	.destroy = destroy,
	.economy = { .typical_ns = 250 },
};
