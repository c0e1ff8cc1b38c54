// SPDX-License-Identifier: Apache-2.0
/*
 * System calls: how long each takes and how it fails, by entity. The kernel side aggregates into rows, one
 * for each pair of entity and system call; this side turns rows into series at a collection and gives the
 * rows of dead entities back. Loop thread only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include "probes/probe.h"
#include "probes/syscall_names.h"
#include "probes/syscalls.h"
#include "bpf/lib/task.h"
#include "syscalls.skel.h"

PROBE_SKELETON(syscalls)

#define DEFAULT_ROWS 1024
#define DEFAULT_BYTES                                                                              \
	(16U << 20) /* all CPUs together, when the option rows does not say otherwise */
#define MIN_ROWS 64

static const struct hook hooks[] = {
	{
		.name = "enter",
		.required = true,
		.provides = "system call durations",
		.alternatives = {
			{ "syscalls_enter", HOOK_TP_BTF, "sys_enter", .min_args = 2 },
			{ "syscalls_enter_classic", HOOK_TRACEPOINT, "raw_syscalls/sys_enter", 0 },
		},
		.hot = true,
	},
	{
		.name = "exit",
		.required = true,
		.provides = "system call durations and errors",
		.alternatives = {
			{ "syscalls_exit", HOOK_TP_BTF, "sys_exit", .min_args = 2 },
			{ "syscalls_exit_classic", HOOK_TRACEPOINT, "raw_syscalls/sys_exit", 0 },
		},
		.hot = true,
	},
	{ 0 },
};

const struct metric_desc syscall_duration_metric = {
	.name = "leadline_syscall_duration_seconds",
	.help = "Time from entering a system call to leaving it, the time it slept included",
	.unit = "seconds",
	.kind = METRIC_HISTOGRAM,
	.per_entity = true,
	.labels = { "syscall" },
};

const struct metric_desc syscall_errors_metric = {
	.name = "leadline_syscall_errors_total",
	.help = "System calls that returned an error, by its name; those beginning with ERESTART were interrupted by a signal",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "syscall", "errno" },
};

/*
 * The calls by which programs wait for their data to be on the disk, from the same rows under a name of their own. Any
 * other source costs a hook more and knows less: the tracepoints of the filesystems are of some filesystems only, those
 * of single system calls make every system call slower.
 */
static const struct metric_desc fsync_max_metric = {
	.name = "leadline_fsync_duration_max_seconds",
	.help = "The longest wait in fsync, fdatasync or sync_file_range in this minute and the one before",
	.unit = "seconds",
	.kind = METRIC_GAUGE,
	.per_entity = true,
	.labels = { "operation" },
	.merges_by_max = true,
};

const struct metric_desc syscall_fsync_metric = {
	.name = "leadline_fsync_duration_seconds",
	.help = "Time a program waited in fsync, fdatasync or sync_file_range",
	.unit = "seconds",
	.kind = METRIC_HISTOGRAM,
	.per_entity = true,
	.labels = { "operation" },
	.worst = &fsync_max_metric,
};

static const struct metric_desc *const metrics[] = {
	&syscall_duration_metric,
	&syscall_fsync_metric,
	&fsync_max_metric,
	&syscall_errors_metric,
	NULL,
};

static const struct option_desc options[] = {
	{
		.key = "rows",
		.type = OPTION_INT,
		.fallback = "0",
		.min = 0,
		.max = 65535,
		.help = "Pairs of entity and system call kept apart; those beyond are counted as \"other\". Memory: rows * CPUs * 1104 bytes. "
			"0 is 1024, or as many as fit into 16 MiB on machines with many CPUs, at least 64",
	},
	{ 0 },
};

/* ---- tables ---- */

unsigned syscall_rows_for(unsigned cpus, unsigned wanted)
{
	size_t rows = DEFAULT_BYTES / (sizeof(struct syscall_row) * (cpus ? cpus : 1));

	if (wanted)
		return wanted > MIN_ROWS ? wanted : MIN_ROWS;
	if (rows > DEFAULT_ROWS)
		return DEFAULT_ROWS;
	return rows > MIN_ROWS ? (unsigned)rows : MIN_ROWS;
}

static struct syscall_row *row_at(const struct syscall_tables *tables, unsigned cpu, unsigned row)
{
	return &tables->row[(size_t)cpu * tables->rows + row];
}

/* A row of all CPUs together. */
struct row_sum {
	uint64_t calls, sum_ns, max_ns;
	uint64_t slots[HIST_SLOTS];
};

/* The maxima start anew: one recorded between the reading and the clearing is missed, its call is not. */
static void sum_row(const struct syscall_tables *tables, unsigned number, struct row_sum *sum)
{
	memset(sum, 0, sizeof(*sum));
	for (unsigned cpu = 0; cpu < tables->cpus; cpu++) {
		struct hist *hist = &row_at(tables, cpu, number)->duration;
		uint64_t max_ns = __atomic_load_n(&hist->max_ns, __ATOMIC_RELAXED);

		if (!max_ns && !hist->sum_ns)
			continue;
		__atomic_store_n(&hist->max_ns, 0, __ATOMIC_RELAXED);
		if (max_ns > sum->max_ns)
			sum->max_ns = max_ns;
		sum->sum_ns += __atomic_load_n(&hist->sum_ns, __ATOMIC_RELAXED);
		for (size_t i = 0; i < HIST_SLOTS; i++) {
			uint64_t n = __atomic_load_n(&hist->slots[i], __ATOMIC_RELAXED);

			sum->slots[i] += n;
			sum->calls += n;
		}
	}
}

static void write_errors(const struct syscall_tables *tables, struct metric_writer *writer,
			 unsigned number, uint32_t entity, const char *syscall)
{
	for (unsigned cpu = 0; cpu < tables->cpus; cpu++) {
		const struct syscall_row *row = row_at(tables, cpu, number);

		for (int i = 0; i < SYSCALL_ERRORS && row->error_number[i]; i++) {
			char text[NUMBER_NAME_SIZE];
			const char *const labels[] = { syscall,
						       error_name(row->error_number[i], text) };

			metric_write(
				writer, &syscall_errors_metric, entity, labels,
				(double)__atomic_load_n(&row->error_count[i], __ATOMIC_RELAXED));
		}
	}
}

static bool is_sync(uint32_t slot)
{
	return slot == SYS_fsync || slot == SYS_fdatasync || slot == SYS_sync_file_range;
}

struct syscall_totals syscall_tables_write(const struct syscall_tables *tables,
					   struct metric_writer *writer)
{
	struct syscall_totals totals = { 0 };

	for (unsigned number = 0; number < tables->rows; number++) {
		uint64_t key = number ? __atomic_load_n(&tables->key[number], __ATOMIC_RELAXED)
				      : SYSCALL_KEY(ENTITY_OTHER, SYSCALL_SLOT_OTHER);
		char text[NUMBER_NAME_SIZE];
		struct histogram_view duration;
		const char *labels[1];
		struct row_sum sum;

		if (!key)
			continue;
		sum_row(tables, number, &sum);
		if (!sum.calls) /* just handed out */
			continue;
		labels[0] = syscall_slot_name(SYSCALL_KEY_SLOT(key), text);
		duration = (struct histogram_view){
			.schema = HIST_SCHEMA,
			.min_index = HIST_MIN_INDEX,
			.n_slots = HIST_SLOTS,
			.slots = sum.slots,
			.sum = (double)sum.sum_ns / 1e9,
			.max = (double)sum.max_ns / 1e9,
		};
		metric_write_histogram(writer, &syscall_duration_metric, SYSCALL_KEY_ENTITY(key),
				       labels, &duration);
		if (is_sync(SYSCALL_KEY_SLOT(key)))
			metric_write_histogram(writer, &syscall_fsync_metric,
					       SYSCALL_KEY_ENTITY(key), labels, &duration);
		write_errors(tables, writer, number, SYSCALL_KEY_ENTITY(key), labels[0]);
		totals.calls += sum.calls;
		if (!number)
			totals.unattributed = sum.calls;
	}
	return totals;
}

uint64_t syscall_tables_forget(const struct syscall_tables *tables, uint32_t entity,
			       void (*give_back)(void *context, uint32_t row), void *context)
{
	uint64_t calls = 0;

	if (entity >= tables->entities)
		return 0;
	memset(&tables->index[entity], 0, sizeof(tables->index[entity]));
	for (unsigned number = 1; number < tables->rows; number++) {
		struct row_sum sum;

		if (!tables->key[number] || SYSCALL_KEY_ENTITY(tables->key[number]) != entity)
			continue;
		sum_row(tables, number, &sum);
		calls += sum.calls;
		for (unsigned cpu = 0; cpu < tables->cpus; cpu++)
			memset(row_at(tables, cpu, number), 0, sizeof(struct syscall_row));
		tables->key[number] = 0;
		give_back(context, number);
	}
	return calls;
}

/* ---- the probe ---- */

struct syscalls_state {
	struct syscall_tables tables;
	uint64_t forgotten_calls; /* of entities that are gone */
};

static int syscalls_configure(struct probe *probe)
{
	struct syscalls_state *state = calloc(1, sizeof(*state));
	unsigned rows =
		syscall_rows_for(probe_cpus(probe), (unsigned)probe_option_int(probe, "rows"));
	int err;

	if (!state)
		return -ENOMEM;
	probe_set_data(probe, state);
	state->tables.cpus = probe_cpus(probe);
	state->tables.rows = rows;
	state->tables.entities = probe_max_entities(probe);
	syscalls_skeleton(probe)->rodata->settings.rows = rows;
	err = probe_rows_size(probe, "syscall_rows", rows);
	if (!err)
		err = probe_map_size(probe, "syscall_free", rows);
	if (!err)
		err = probe_map_size(probe, "syscall_keys", rows);
	if (!err)
		err = probe_map_size(probe, "syscall_index", state->tables.entities);
	return err;
}

static int syscalls_start(struct probe *probe)
{
	struct syscalls_state *state = probe_data(probe);
	struct syscall_tables *tables = &state->tables;
	int err;

	tables->row = probe_rows(probe, "syscall_rows");
	tables->key = probe_rows(probe, "syscall_keys");
	tables->index = probe_rows(probe, "syscall_index");
	if (!tables->row || !tables->key || !tables->index)
		return -errno;
	err = probe_fill_free_rows(probe, "syscall_free", tables->rows);
	if (err)
		return err;
	__atomic_store_n(&tables->key[0], SYSCALL_ROWS_OPEN, __ATOMIC_RELEASE);
	return 0;
}

static int syscalls_collect(struct probe *probe, struct metric_writer *writer)
{
	struct syscalls_state *state = probe_data(probe);
	struct syscall_totals totals = syscall_tables_write(&state->tables, writer);

	probe_report_events(probe, totals.calls + state->forgotten_calls);
	probe_report_lost(probe, "table_full", totals.unattributed);
	return 0;
}

static void give_back_row(void *context, uint32_t row)
{
	probe_free_row(context, "syscall_free", row);
}

static void syscalls_forget_entity(struct probe *probe, uint32_t entity)
{
	struct syscalls_state *state = probe_data(probe);

	state->forgotten_calls +=
		syscall_tables_forget(&state->tables, entity, give_back_row, probe);
	__atomic_store_n(&state->tables.key[0], SYSCALL_ROWS_OPEN, __ATOMIC_RELEASE);
}

static void syscalls_destroy(struct probe *probe)
{
	free(probe_data(probe));
}

const struct probe_desc probe_syscalls = {
	.name = "syscalls",
	.help = "How long every system call takes and how it fails",
	.open = syscalls_open,
	.close = syscalls_close,
	.hooks = hooks,
	.metrics = metrics,
	.options = options,
	.configure = syscalls_configure,
	.start = syscalls_start,
	.collect = syscalls_collect,
	.forget_entity = syscalls_forget_entity,
	.destroy = syscalls_destroy,
	.economy = {
		.value = 1,
		.max_shift = 5,
		.hooks_per_event = 2,
		.is_call = true,
		.typical_ns = 100,
	},
};
