// SPDX-License-Identifier: Apache-2.0
/*
 * CPU scheduling per entity: time on the CPU, run-queue latency, waits by reason, switches, migrations.
 * The kernel side (bpf/sched.bpf.c) accounts; this file sums its rows over the CPUs. Loop thread only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "bpf/sched.h"
#include "probes/probe.h"
#include "probes/wait_reasons.h"
#include "sched.skel.h"

PROBE_SKELETON(sched)

/* ---- hooks and metrics ---- */

static const struct hook hooks[] = {
	{ "switches",
	  true,
	  "CPU scheduling times",
	  { { "sched_switch_state", HOOK_TP_BTF, "sched_switch", 4 },
	    { "sched_switch_plain", HOOK_TP_BTF, "sched_switch", 3, 3 } },
	  .hot = true },
	{ "ends",
	  false,
	  "the last moments of threads, while the budget has the other hook away",
	  { { "sched_free", HOOK_TP_BTF, "sched_process_free", 1 } } },
	{ "threads at rest",
	  true,
	  "time of threads that do not switch",
	  { { "sched_pass", HOOK_ITER, "task", 0 } } },
	{ .name = NULL },
};

static const struct metric_desc cpu_seconds = {
	.name = "leadline_cpu_seconds_total",
	.help = "CPU time used, exact in sum; split into user and system as the timer tick sampled them",
	.unit = "seconds",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "mode" },
};

static const struct metric_desc run_queue_latency_max = {
	.name = "leadline_cpu_runqueue_latency_max_seconds",
	.help = "The longest time from being runnable to running in this minute and the one before",
	.unit = "seconds",
	.kind = METRIC_GAUGE,
	.per_entity = true,
	.merges_by_max = true,
};

static const struct metric_desc run_queue_latency = {
	.name = "leadline_cpu_runqueue_latency_seconds",
	.help = "Time from being runnable to running, once for each turn on a CPU",
	.unit = "seconds",
	.kind = METRIC_HISTOGRAM,
	.per_entity = true,
	.worst = &run_queue_latency_max,
};

static const struct metric_desc wait_seconds = {
	.name = "leadline_cpu_wait_seconds_total",
	.help = "Time off the CPU, by what the threads waited for; run_queue is the sum of the run-queue latency",
	.unit = "seconds",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "reason" },
	.max_series = 4000,
};

static const struct metric_desc context_switches = {
	.name = "leadline_context_switches_total",
	.help = "Times a thread left the CPU, of its own accord (voluntary) or preempted (involuntary)",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "kind" },
};

static const struct metric_desc migrations = {
	.name = "leadline_cpu_migrations_total",
	.help = "Times a thread was moved to another CPU",
	.kind = METRIC_COUNTER,
	.per_entity = true,
};

static const struct metric_desc preempted_seconds = {
	.name = "leadline_cpu_preempted_seconds_total",
	.help = "Time in the run queue, by who had the CPU: container, unit or program, self, kernel, idle (nobody: "
		"the CPU had to wake up), brief (waits under 10 us, not told apart), unsampled (to stay within the budget), other",
	.unit = "seconds",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "by" },
};

static const struct metric_desc *const metrics[] = {
	&cpu_seconds,
	&run_queue_latency,
	&run_queue_latency_max,
	&wait_seconds,
	&preempted_seconds,
	&context_switches,
	&migrations,
	NULL,
};

static const struct option_desc options[] = {
	{ "culprit_rows", OPTION_INT, "1024", 16, 65536,
	  "pairs of programs for which it is told who had the CPU while the other waited; the rest is by=\"other\"" },
	{ .key = NULL },
};

/* ---- running ---- */

struct sched_data {
	struct sched_row *rows; /* (CPUs + 1) × entities, mapped; the last block is sched_pass's */
	unsigned blocks, entities;
	struct user_share { /* splits CPU time so that neither part ever shrinks */
		uint64_t on_cpu_ns, user_ticks_ns, system_ticks_ns; /* at the last collection */
		uint64_t user_ns;
	} * shares; /* by entity */
	struct culprits {
		uint64_t *ns; /* CPUs × rows, mapped */
		struct culprit_key *keys; /* by row, mapped */
		unsigned rows;
		uint64_t *
			gone_ns; /* by victim: what culprits did to it that are gone, and not among those */
		struct gone_culprit {
			uint32_t victim;
			uint64_t ns;
			char *name; /* NULL: a free place */
		} * gone; /* `rows` places: what those did that are gone, by name */
	} culprits;
};

static int configure(struct probe *probe)
{
	struct sched_settings *settings = &sched_skeleton(probe)->rodata->settings;
	unsigned entities = probe_max_entities(probe);

	settings->max_entities = entities;
	settings->cpus = probe_cpus(probe);
	settings->culprit_rows = (uint32_t)probe_option_int(probe, "culprit_rows");
	wait_reasons_fill(settings->reason_of_syscall);
	if (probe_map_size(probe, "sched_rows", (probe_cpus(probe) + 1) * entities) ||
	    probe_rows_size(probe, "sched_culprit_ns", settings->culprit_rows) ||
	    probe_map_size(probe, "sched_culprit_keys", settings->culprit_rows) ||
	    probe_map_size(probe, "sched_culprits", settings->culprit_rows) ||
	    probe_map_size(probe, "sched_culprit_free", settings->culprit_rows))
		return -EINVAL;
	return 0;
}

static int start(struct probe *probe)
{
	struct sched_data *data = calloc(1, sizeof(*data));
	int err;

	if (!data)
		return -ENOMEM;
	probe_set_data(probe, data);
	data->entities = probe_max_entities(probe);
	data->blocks = probe_cpus(probe) + 1;
	data->shares = calloc(data->entities, sizeof(*data->shares));
	data->rows = probe_rows(probe, "sched_rows");
	data->culprits.rows = (unsigned)probe_option_int(probe, "culprit_rows");
	data->culprits.gone_ns = calloc(data->entities, sizeof(*data->culprits.gone_ns));
	data->culprits.gone = calloc(data->culprits.rows, sizeof(*data->culprits.gone));
	if (!data->shares || !data->culprits.gone_ns || !data->culprits.gone)
		return -ENOMEM;
	data->culprits.ns = probe_rows(probe, "sched_culprit_ns");
	data->culprits.keys = probe_rows(probe, "sched_culprit_keys");
	if (!data->rows || !data->culprits.ns || !data->culprits.keys)
		return -errno;
	err = probe_fill_free_rows(probe, "sched_culprit_free", data->culprits.rows);
	if (err)
		return err;
	/* who went to sleep between the first look at all threads and the hooks is seen from here on; that it fails, collect() tells */
	probe_run_iterator(probe, "sched_pass");
	return 0;
}

static void destroy(struct probe *probe)
{
	struct sched_data *data = probe_data(probe);

	if (!data)
		return;
	for (unsigned i = 0; data->culprits.gone && i < data->culprits.rows; i++)
		free(data->culprits.gone[i].name);
	free(data->culprits.gone);
	free(data->culprits.gone_ns);
	free(data->shares);
	free(data);
}

static void add_row(struct sched_row *sum, const struct sched_row *row)
{
	const uint64_t *from = (const uint64_t *)row;
	uint64_t *to = (uint64_t *)sum, max_ns = sum->run_queue.max_ns;

	for (size_t i = 0; i < sizeof(*row) / sizeof(*from); i++)
		to[i] += from[i];
	sum->run_queue.max_ns = row->run_queue.max_ns > max_ns ? row->run_queue.max_ns : max_ns;
}

/* Most CPUs never see most entities; what is counted at all shows in one of these. */
static bool is_untouched(const struct sched_row *row)
{
	uint64_t any = row->on_cpu_ns | row->voluntary_switches | row->involuntary_switches;

	for (int reason = 0; reason < WAIT_REASON_COUNT; reason++)
		any |= row->wait_ns[reason];
	return any == 0;
}

/* User time so far, in ns: each growth of the exact CPU time is split as the ticks of the same period. */
static uint64_t split_user_ns(struct user_share *share, const struct sched_row *sum)
{
	uint64_t grown_ns = sum->on_cpu_ns - share->on_cpu_ns;
	uint64_t user = sum->user_ns - share->user_ticks_ns,
		 system = sum->system_ns - share->system_ticks_ns;

	if (user + system ==
	    0) { /* too short for a tick: by all ticks so far, user when there are none */
		user = sum->user_ns;
		system = sum->system_ns;
	}
	share->user_ns +=
		user + system > 0
			? (uint64_t)((double)grown_ns * (double)user / (double)(user + system))
			: grown_ns;
	share->on_cpu_ns = sum->on_cpu_ns;
	share->user_ticks_ns = sum->user_ns;
	share->system_ticks_ns = sum->system_ns;
	return share->user_ns;
}

static void write_entity(struct metric_writer *writer, uint32_t entity, const struct sched_row *sum,
			 struct user_share *share)
{
	uint64_t user_ns = split_user_ns(share, sum);
	const struct histogram_view latency = {
		.schema = HIST_SCHEMA,
		.min_index = HIST_MIN_INDEX,
		.n_slots = HIST_SLOTS,
		.slots = (const uint64_t *)sum->run_queue.slots,
		.sum = (double)sum->run_queue.sum_ns / 1e9,
		.max = (double)sum->run_queue.max_ns / 1e9,
	};

	metric_write(writer, &cpu_seconds, entity, (const char *[]){ "user" },
		     (double)user_ns / 1e9);
	metric_write(writer, &cpu_seconds, entity, (const char *[]){ "system" },
		     (double)(sum->on_cpu_ns - user_ns) / 1e9);
	if (sum->voluntary_switches +
	    sum->involuntary_switches) /* a kernel thread may never have run */
		metric_write_histogram(writer, &run_queue_latency, entity, NULL, &latency);
	for (int reason = 0; reason < WAIT_REASON_COUNT; reason++)
		if (sum->wait_ns[reason])
			metric_write(writer, &wait_seconds, entity,
				     (const char *[]){ wait_reason_name(reason) },
				     (double)sum->wait_ns[reason] / 1e9);
	metric_write(writer, &wait_seconds, entity, (const char *[]){ "run_queue" },
		     (double)sum->run_queue.sum_ns / 1e9);
	metric_write(writer, &preempted_seconds, entity, (const char *[]){ "brief" },
		     (double)sum->brief_queued_ns / 1e9);
	metric_write(writer, &context_switches, entity, (const char *[]){ "voluntary" },
		     (double)sum->voluntary_switches);
	metric_write(writer, &context_switches, entity, (const char *[]){ "involuntary" },
		     (double)sum->involuntary_switches);
	metric_write(writer, &migrations, entity, NULL, (double)sum->migrations);
}

/* ---- who had the CPU ---- */

/* As people call it: the container, else the unit, else the program. */
static const char *culprit_name(struct probe *probe, const struct culprit_key *key)
{
	const char *const *labels;

	if (key->culprit == key->victim)
		return "self";
	if (key->culprit == CULPRIT_IDLE)
		return "idle";
	if (key->culprit == CULPRIT_KERNEL)
		return "kernel";
	if (key->culprit == CULPRIT_UNSEEN)
		return "unsampled";
	labels = probe_entity_labels(probe, key->culprit);
	for (int i = 2; i < 4; i++)
		if (labels[i][0])
			return labels[i];
	return labels[4];
}

static uint64_t culprit_ns(struct probe *probe, uint32_t row)
{
	const struct culprits *culprits = &((struct sched_data *)probe_data(probe))->culprits;
	uint64_t sum = 0;

	for (unsigned cpu = 0; cpu < probe_cpus(probe) && row < culprits->rows; cpu++)
		sum += culprits->ns[(size_t)cpu * culprits->rows + row];
	return sum;
}

static void write_culprits(struct probe *probe, struct metric_writer *writer)
{
	struct sched_data *data = probe_data(probe);
	const struct culprits *culprits = &data->culprits;

	for (uint32_t row = 1; row < culprits->rows; row++) {
		uint64_t ns = culprit_ns(probe, row);

		if (ns)
			metric_write(writer, &preempted_seconds, culprits->keys[row].victim,
				     (const char *[]){ culprit_name(probe, &culprits->keys[row]) },
				     (double)ns / 1e9);
	}
	for (unsigned i = 0; i < culprits->rows; i++)
		if (culprits->gone[i].name)
			metric_write(writer, &preempted_seconds, culprits->gone[i].victim,
				     (const char *[]){ culprits->gone[i].name },
				     (double)culprits->gone[i].ns / 1e9);
	for (uint32_t victim = 0; victim < data->entities; victim++)
		if (culprits->gone_ns[victim])
			metric_write(writer, &preempted_seconds, victim,
				     (const char *[]){ "other" },
				     (double)culprits->gone_ns[victim] / 1e9);
	if (culprit_ns(probe, 0)) /* pairs that found no row: nobody knows whose */
		metric_write(writer, &preempted_seconds, 0, (const char *[]){ "other" },
			     (double)culprit_ns(probe, 0) / 1e9);
}

/* Several programs may be of one name, and those that live on have more to add: so it stays under the name, if there is room. */
static void remember_culprit(struct culprits *culprits, uint32_t victim, const char *name,
			     uint64_t ns)
{
	struct gone_culprit *room = NULL;

	for (unsigned i = 0; i < culprits->rows; i++) {
		struct gone_culprit *gone = &culprits->gone[i];

		if (!gone->name) {
			room = room ? room : gone;
		} else if (gone->victim == victim && !strcmp(gone->name, name)) {
			gone->ns += ns;
			return;
		}
	}
	if (room)
		room->name = strdup(name);
	if (!room || !room->name) {
		culprits->gone_ns[victim] += ns;
		return;
	}
	room->victim = victim;
	room->ns = ns;
}

/* What was done to one that is gone itself. */
static void forget_victim(struct culprits *culprits, uint32_t victim)
{
	culprits->gone_ns[victim] = 0;
	for (unsigned i = 0; i < culprits->rows; i++) {
		if (!culprits->gone[i].name || culprits->gone[i].victim != victim)
			continue;
		free(culprits->gone[i].name);
		culprits->gone[i] = (struct gone_culprit){};
	}
}

/* Drops the pairs an entity is part of. What it did to others stays. */
static void forget_culprits(struct probe *probe, uint32_t entity)
{
	struct culprits *culprits = &((struct sched_data *)probe_data(probe))->culprits;

	for (uint32_t row = 1; row < culprits->rows; row++) {
		struct culprit_key key = culprits->keys[row];

		if ((key.victim != entity && key.culprit != entity) ||
		    probe_map_delete(probe, "sched_culprits", &key)) /* a free row */
			continue;
		if (key.victim != entity && culprit_ns(probe, row))
			remember_culprit(culprits, key.victim, culprit_name(probe, &key),
					 culprit_ns(probe, row));
		for (unsigned cpu = 0; cpu < probe_cpus(probe); cpu++)
			culprits->ns[(size_t)cpu * culprits->rows + row] = 0;
		memset(&culprits->keys[row], 0, sizeof(key));
		probe_free_row(probe, "sched_culprit_free", row);
	}
	forget_victim(culprits, entity);
}

/* ---- collecting ---- */

static int collect(struct probe *probe, struct metric_writer *writer)
{
	struct sched_data *data = probe_data(probe);
	uint64_t switches = 0;
	int err = probe_run_iterator(probe, "sched_pass");

	for (uint32_t entity = 0; entity < data->entities; entity++) {
		struct sched_row sum = {};

		for (unsigned block = 0; block < data->blocks; block++) {
			struct sched_row *row =
				&data->rows[(size_t)block * data->entities + entity];

			if (is_untouched(row))
				continue;
			add_row(&sum, row);
			row->run_queue.max_ns = 0;
		}
		if (is_untouched(&sum))
			continue;
		switches += sum.voluntary_switches + sum.involuntary_switches;
		write_entity(writer, entity, &sum, &data->shares[entity]);
	}
	write_culprits(probe, writer);
	probe_report_events(probe, switches);
	return err;
}

static void forget_entity(struct probe *probe, uint32_t entity)
{
	struct sched_data *data = probe_data(probe);

	for (unsigned block = 0; block < data->blocks; block++)
		memset(&data->rows[(size_t)block * data->entities + entity], 0,
		       sizeof(*data->rows));
	memset(&data->shares[entity], 0, sizeof(data->shares[entity]));
	forget_culprits(probe, entity);
}

const struct probe_desc probe_sched = {
	.name = "sched",
	.help = "CPU time, run-queue latency, and what threads wait for",
	.open = sched_open,
	.close = sched_close,
	.hooks = hooks,
	.metrics = metrics,
	.options = options,
	.configure = configure,
	.start = start,
	.collect = collect,
	.forget_entity = forget_entity,
	.destroy = destroy,
	.economy = { .value = 3, .typical_ns = 150 },
};
