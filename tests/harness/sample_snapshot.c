// SPDX-License-Identifier: Apache-2.0
/* The encoders' sample; see sample_snapshot.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "agent/snapshot_internal.h"
#include "tests/harness/sample_snapshot.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct metric_desc build_info = {
	.name = "leadline_build_info",
	.help = "A constant 1, labelled with the version (\\ and \"quotes\",\nand a second line)",
	.kind = METRIC_GAUGE,
	.labels = { "version" },
};
static const struct metric_desc cpu_seconds = {
	.name = "leadline_cpu_seconds_total",
	.help = "CPU time",
	.unit = "seconds",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "mode" },
};
static const double latency_bounds[] = { 1e-05, 0.001, 0.25, 1, 16 };
static const struct metric_desc latency = {
	.name = "leadline_cpu_runqueue_latency_seconds",
	.help = "Time runnable threads waited for a CPU",
	.unit = "seconds",
	.kind = METRIC_HISTOGRAM,
	.per_entity = true,
	.bounds = latency_bounds,
	.n_bounds = COUNT(latency_bounds),
};
static const struct metric_desc switches = {
	.name = "leadline_context_switches_total",
	.help = "Context switches",
	.kind = METRIC_COUNTER,
	.labels = { "kind" },
};
static const struct metric_desc default_latency = {
	.name = "leadline_syscall_duration_seconds",
	.help = "Time in system calls",
	.unit = "seconds",
	.kind = METRIC_HISTOGRAM,
	.labels = { "syscall" },
};
static const struct metric_desc load = {
	.name = "leadline_host_load1",
	.help = "Load average",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc ratio = {
	.name = "leadline_overhead_ratio",
	.help = "Own CPU",
	.unit = "ratio",
	.kind = METRIC_GAUGE,
	.labels = { "case" },
};
static const struct metric_desc empty = {
	.name = "leadline_oom_kills_total",
	.help = "Never happened",
	.kind = METRIC_COUNTER,
};
static const struct metric_desc large = {
	.name = "leadline_zzz_duration_seconds",
	.help = "Many",
	.unit = "seconds",
	.kind = METRIC_HISTOGRAM,
	.per_entity = true,
	.labels = { "operation" },
};

static const char *const host_entity[ENTITY_LABELS] = { "", "", "", "nginx.service", "nginx" };
static const char *const pod_entity[ENTITY_LABELS] = {
	"default",
	"web-0",
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
	"",
	"a\"b\\c\nd\xff\xc3\xa9",
};
static const char *const unknown_entity[ENTITY_LABELS] = { "", "", "", "", "" };

#define LABEL(value) ((const char *const[]){ value })

/* Schema 2, upper bounds 2^(-68/4), 2^(-67/4) … and above: slots for 2^-17 s up to 2 s. */
#define SLOTS	  74
#define MIN_INDEX (-68)
static const uint64_t slots_busy[SLOTS] = { [0] = 3, [20] = 5, [60] = 7, [SLOTS - 1] = 2 };
static const uint64_t slots_none[SLOTS] = { 0 };
static const uint64_t classic[] = { 1, 0, 4, 0, 0, 2 };
static const uint64_t slots_classic[SLOTS] = { [5] = 7 };

#define HISTOGRAM(values, total, largest)                                                          \
	{                                                                                          \
		.schema = 2, .min_index = MIN_INDEX, .open_index = MIN_INDEX, .n_slots = SLOTS,    \
		.slots = (values), .sum = (total), .max = (largest),                               \
		.max_ns = 1714564799123456789ULL                                                   \
	}

static const struct series build_info_series[] = { { .labels = LABEL("0.1.0"), .value = 1 } };
static const struct series cpu_series[] = {
	{ .entity = host_entity, .labels = LABEL("system"), .value = 12.000000001 },
	{ .entity = host_entity, .labels = LABEL("user"), .value = 1234567.25 },
	{ .entity = pod_entity, .labels = LABEL("user"), .value = 0.5 },
	{ .entity = pod_entity, .labels = LABEL("idle"), .value = -1 }, /* no counter: left out */
	{ .entity = unknown_entity, .labels = LABEL("user"), .value = 0 },
};
static const struct series latency_series[] = {
	{ .entity = host_entity, .histogram = HISTOGRAM(slots_busy, 9.25, 3.5) },
	{ .entity = pod_entity,
	  .histogram = { .schema = 2,
			 .min_index = MIN_INDEX,
			 .open_index = MIN_INDEX,
			 .n_slots = SLOTS,
			 .slots = slots_classic,
			 .sum = 0.007,
			 .max = 0,
			 .classic = classic } },
};
static const struct series switches_series[] = {
	{ .labels = LABEL("involuntary"), .value = 1e6 },
	{ .labels = LABEL("voluntary"), .value = 9007199254740992.0 },
};
static const struct series syscall_series[] = {
	{ .labels = LABEL("none"), .histogram = HISTOGRAM(slots_none, 0, 0) },
	{ .labels = LABEL("read"), .histogram = HISTOGRAM(slots_busy, 0.1 + 0.2, 0.125) },
};
static const struct series load_series[] = { { .value = 0.42 } };
static const struct series ratio_series[] = {
	{ .labels = LABEL("infinite"), .value = INFINITY },
	{ .labels = LABEL("minus"), .value = -INFINITY },
	{ .labels = LABEL("nan"), .value = NAN },
	{ .labels = LABEL("negative"), .value = -0.001 },
	{ .labels = LABEL("tiny"), .value = 1.5e-9 },
};

static const struct family families[] = {
	{ &build_info, COUNT(build_info_series), build_info_series },
	{ &switches, COUNT(switches_series), switches_series },
	{ &latency, COUNT(latency_series), latency_series },
	{ &cpu_seconds, COUNT(cpu_series), cpu_series },
	{ &load, COUNT(load_series), load_series },
	{ &empty, 0, NULL },
	{ &ratio, COUNT(ratio_series), ratio_series },
	{ &default_latency, COUNT(syscall_series), syscall_series },
};

static void *need(void *memory)
{
	if (!memory)
		abort();
	return memory;
}

struct snapshot *sample_snapshot(uint64_t sequence)
{
	struct snapshot *snapshot = need(snapshot_new());
	size_t i;

	snapshot->realtime_ns = 1714564800123456789ULL;
	snapshot->monotonic_ns = 1000;
	snapshot->sequence = sequence;
	snapshot->families = families;
	snapshot->n_families = COUNT(families);
	for (i = 0; i < COUNT(families); i++)
		snapshot->n_series += families[i].n_series;
	return snapshot;
}

struct snapshot *sample_snapshot_large(size_t n)
{
	struct snapshot *snapshot = sample_snapshot(1);
	struct family *with = need(snapshot_alloc(snapshot, sizeof(*with) * (COUNT(families) + 1)));
	struct series *series = need(snapshot_alloc(snapshot, sizeof(*series) * n));
	char operation[16];
	size_t i;

	for (i = 0; i < n; i++) {
		const char **labels = need(snapshot_alloc(snapshot, sizeof(*labels)));

		snprintf(operation, sizeof(operation), "operation-%05zu", i % 100000);
		labels[0] = need(snapshot_strdup(snapshot, operation));
		series[i] = (struct series){
			.entity = host_entity,
			.labels = labels,
			.histogram = HISTOGRAM(slots_busy, (double)(i * 1000003) / 1e9, 3.5),
		};
	}
	memcpy(with, families, sizeof(families));
	with[COUNT(families)] = (struct family){ &large, n, series };
	snapshot->families = with;
	snapshot->n_families = COUNT(families) + 1;
	snapshot->n_series += n;
	return snapshot;
}
