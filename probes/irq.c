// SPDX-License-Identifier: Apache-2.0
/*
 * Interrupts: the time that hard ones take by line and soft ones by vector, and whom they take it from. The kernel
 * side (bpf/irq.bpf.c) accounts; this file sums its rows over the CPUs. Loop thread only.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "probes/irq.h"
#include "probes/probe.h"
#include "irq.skel.h"

PROBE_SKELETON(irq)

static const struct hook hooks[] = {
	{
		.name = "hard entry",
		.required = true,
		.provides = "hard interrupts",
		.alternatives = {
			{ "irq_hard_entry", HOOK_TP_BTF, "irq_handler_entry" },
		},
		.hot = true,
	},
	{
		.name = "hard exit",
		.required = true,
		.provides = "hard interrupts",
		.alternatives = {
			{ "irq_hard_exit", HOOK_TP_BTF, "irq_handler_exit", .min_args = 2 },
		},
		.hot = true,
	},
	{
		.name = "soft entry",
		.required = true,
		.provides = "soft interrupts",
		.alternatives = {
			{ "irq_soft_entry", HOOK_TP_BTF, "softirq_entry" },
		},
		.hot = true,
	},
	{
		.name = "soft exit",
		.required = true,
		.provides = "soft interrupts",
		.alternatives = {
			{ "irq_soft_exit", HOOK_TP_BTF, "softirq_exit", .min_args = 1 },
		},
		.hot = true,
	},
#ifdef __x86_64__ /* elsewhere the timer is a line like others */
	{
		.name = "timer entry",
		.provides = "the local timer's interrupts",
		.alternatives = {
			{ "irq_timer_entry", HOOK_TP_BTF, "local_timer_entry" },
		},
		.hot = true,
	},
	{
		.name = "timer exit",
		.provides = "the local timer's interrupts",
		.alternatives = {
			{ "irq_timer_exit", HOOK_TP_BTF, "local_timer_exit" },
		},
		.hot = true,
	},
#endif
	{ .name = NULL },
};

const struct metric_desc irq_seconds_metric = {
	.name = "leadline_irq_seconds_total",
	.help = "Time in hard interrupt handlers (vector is number:name, LOC the CPU's own timer) and in soft interrupts, "
		"hard ones in their midst taken off",
	.unit = "seconds",
	.kind = METRIC_COUNTER,
	.labels = { "kind", "vector" },
};

const struct metric_desc irq_count_metric = {
	.name = "leadline_irqs_total",
	.help = "Calls of hard interrupt handlers; soft ones are the count of leadline_softirq_duration_seconds",
	.kind = METRIC_COUNTER,
	.labels = { "vector" },
};

static const struct metric_desc soft_duration_max_metric = {
	.name = "leadline_softirq_duration_max_seconds",
	.help = "The longest soft interrupt in this minute and the one before, of those that were timed",
	.unit = "seconds",
	.kind = METRIC_GAUGE,
	.labels = { "vector" },
	.merges_by_max = true,
};

const struct metric_desc irq_soft_duration_metric = {
	.name = "leadline_softirq_duration_seconds",
	.help = "Length of soft interrupts, hard ones in their midst taken off; while a CPU has more than 20000 a second of "
		"a vector, one in eight is timed and stands for all",
	.unit = "seconds",
	.kind = METRIC_HISTOGRAM,
	.labels = { "vector" },
	.worst = &soft_duration_max_metric,
};

const struct metric_desc irq_stolen_metric = {
	.name = "leadline_irq_stolen_seconds_total",
	.help = "Time interrupts took while threads of this program had the CPU, soft ones their own calls set off included",
	.unit = "seconds",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "kind" },
};

static const struct metric_desc *const metrics[] = {
	&irq_seconds_metric,	   &irq_count_metric,  &irq_soft_duration_metric,
	&soft_duration_max_metric, &irq_stolen_metric, NULL,
};

static const struct option_desc options[] = {
	{ "handlers", OPTION_INT, "512", 16, 65536,
	  "hard interrupt handlers told apart; those beyond are counted as \"other\". Memory: 16 bytes a CPU for each" },
	{ .key = NULL },
};

static const char *const soft_names[IRQ_SOFT_COUNT] = {
#define X(name) [IRQ_SOFT_##name] = #name,
	IRQ_SOFT_VECTORS(X)
#undef X
		[IRQ_SOFT_OTHER] = "other",
};

/* ---- tables ---- */

static uint64_t load(const __u64 *value)
{
	return __atomic_load_n(value, __ATOMIC_RELAXED);
}

static void name_handler(const struct irq_handler_record *record, char *text, size_t size)
{
	/* cut by the kernel side, but not by whom else may write here */
	int length = (int)strnlen(record->name, sizeof(record->name));

	if (record->irq == IRQ_LOCAL_TIMER)
		snprintf(text, size, "LOC");
	else
		snprintf(text, size, "%u:%.*s", record->irq, length, record->name);
}

static uint64_t write_handler(const struct irq_tables *tables, unsigned handler, const char *vector,
			      struct metric_writer *writer)
{
	uint64_t ns = 0, count = 0;

	for (unsigned cpu = 0; cpu < tables->cpus; cpu++) {
		const struct irq_hard_row *row =
			&tables->hard[(size_t)cpu * tables->handlers + handler];

		ns += load(&row->ns);
		count += load(&row->count);
	}
	if (!count)
		return 0;
	metric_write(writer, &irq_seconds_metric, ENTITY_NONE, (const char *[]){ "hard", vector },
		     (double)ns / 1e9);
	metric_write(writer, &irq_count_metric, ENTITY_NONE, (const char *[]){ vector },
		     (double)count);
	return count;
}

static uint64_t write_soft(const struct irq_tables *tables, int vector,
			   struct metric_writer *writer)
{
	const char *const name = soft_names[vector];
	uint64_t sum_ns = 0, max_ns = 0, count = 0, slots[HIST_SLOTS] = {};

	for (unsigned cpu = 0; cpu < tables->cpus; cpu++) {
		struct hist *hist = &tables->soft[(size_t)cpu * IRQ_SOFT_COUNT + vector];
		uint64_t cpu_max_ns = load(&hist->max_ns);

		/* one recorded between the reading and the clearing is missed as a maximum, not in the histogram */
		__atomic_store_n(&hist->max_ns, 0, __ATOMIC_RELAXED);
		if (cpu_max_ns > max_ns)
			max_ns = cpu_max_ns;
		sum_ns += load(&hist->sum_ns);
		for (int i = 0; i < HIST_SLOTS; i++) {
			uint64_t n = load(&hist->slots[i]);

			slots[i] += n;
			count += n;
		}
	}
	if (!count)
		return 0;
	metric_write(writer, &irq_seconds_metric, ENTITY_NONE, (const char *[]){ "soft", name },
		     (double)sum_ns / 1e9);
	metric_write_histogram(writer, &irq_soft_duration_metric, ENTITY_NONE,
			       (const char *[]){ name },
			       &(struct histogram_view){
				       .schema = HIST_SCHEMA,
				       .min_index = HIST_MIN_INDEX,
				       .n_slots = HIST_SLOTS,
				       .slots = slots,
				       .sum = (double)sum_ns / 1e9,
				       .max = (double)max_ns / 1e9,
			       });
	return count;
}

static void write_stolen(const struct irq_tables *tables, uint32_t entity,
			 struct metric_writer *writer)
{
	uint64_t hard_ns = 0, soft_ns = 0;

	for (unsigned cpu = 0; cpu < tables->cpus; cpu++) {
		const struct irq_stolen_row *row =
			&tables->stolen[(size_t)cpu * tables->entities + entity];

		hard_ns += load(&row->hard_ns);
		soft_ns += load(&row->soft_ns);
	}
	if (hard_ns)
		metric_write(writer, &irq_stolen_metric, entity, (const char *[]){ "hard" },
			     (double)hard_ns / 1e9);
	if (soft_ns)
		metric_write(writer, &irq_stolen_metric, entity, (const char *[]){ "soft" },
			     (double)soft_ns / 1e9);
}

struct irq_totals irq_tables_write(const struct irq_tables *tables, struct metric_writer *writer)
{
	struct irq_totals totals = {};

	totals.unattributed = totals.interrupts = write_handler(tables, 0, "other", writer);
	for (unsigned handler = 1; handler < tables->handlers; handler++) {
		char vector[IRQ_NAME_SIZE + 16];

		if (!__atomic_load_n(&tables->record[handler].in_use, __ATOMIC_ACQUIRE))
			continue;
		name_handler(&tables->record[handler], vector, sizeof(vector));
		totals.interrupts += write_handler(tables, handler, vector, writer);
	}
	for (int vector = 0; vector < IRQ_SOFT_COUNT; vector++)
		totals.interrupts += write_soft(tables, vector, writer);
	for (uint32_t entity = 0; entity < tables->entities; entity++)
		write_stolen(tables, entity, writer);
	return totals;
}

void irq_tables_forget(const struct irq_tables *tables, uint32_t entity)
{
	for (unsigned cpu = 0; cpu < tables->cpus && entity < tables->entities; cpu++)
		memset(&tables->stolen[(size_t)cpu * tables->entities + entity], 0,
		       sizeof(*tables->stolen));
}

/* ---- the probe ---- */

static int configure(struct probe *probe)
{
	struct irq_tables *tables = calloc(1, sizeof(*tables));
	struct irq_settings *settings = &irq_skeleton(probe)->rodata->settings;

	if (!tables)
		return -ENOMEM;
	probe_set_data(probe, tables);
	tables->cpus = probe_cpus(probe);
	tables->entities = settings->max_entities = probe_max_entities(probe);
	tables->handlers = settings->handlers = (unsigned)probe_option_int(probe, "handlers");
	if (probe_map_size(probe, "irq_handlers", tables->handlers) ||
	    probe_map_size(probe, "irq_free", tables->handlers) ||
	    probe_map_size(probe, "irq_records", tables->handlers) ||
	    probe_rows_size(probe, "irq_hard_rows", tables->handlers) ||
	    probe_rows_size(probe, "irq_soft_rows", IRQ_SOFT_COUNT) ||
	    probe_rows_size(probe, "irq_stolen_rows", tables->entities) ||
	    probe_rows_size(probe, "irq_cpus", 1))
		return -EINVAL;
	return 0;
}

static int start(struct probe *probe)
{
	struct irq_tables *tables = probe_data(probe);
	int err;

	tables->record = probe_rows(probe, "irq_records");
	tables->hard = probe_rows(probe, "irq_hard_rows");
	tables->soft = probe_rows(probe, "irq_soft_rows");
	tables->stolen = probe_rows(probe, "irq_stolen_rows");
	if (!tables->record || !tables->hard || !tables->soft || !tables->stolen)
		return -errno;
	err = probe_fill_free_rows(probe, "irq_free", tables->handlers);
	if (err)
		return err;
	__atomic_store_n(&tables->record[0].in_use, 1, __ATOMIC_RELEASE);
	return 0;
}

static int collect(struct probe *probe, struct metric_writer *writer)
{
	struct irq_totals totals = irq_tables_write(probe_data(probe), writer);

	probe_report_events(probe, totals.interrupts);
	probe_report_lost(probe, "table_full", totals.unattributed);
	return 0;
}

static void forget_entity(struct probe *probe, uint32_t entity)
{
	irq_tables_forget(probe_data(probe), entity);
}

static void destroy(struct probe *probe)
{
	free(probe_data(probe));
}

const struct probe_desc probe_irq = {
	.name = "irq",
	.help = "Time in hard and soft interrupts, and the programs it was taken from",
	.open = irq_open,
	.close = irq_close,
	.hooks = hooks,
	.metrics = metrics,
	.options = options,
	.configure = configure,
	.start = start,
	.collect = collect,
	.forget_entity = forget_entity,
	.destroy = destroy,
	.economy = { .value = 2, .hooks_per_event = 2, .typical_ns = 120 },
};
