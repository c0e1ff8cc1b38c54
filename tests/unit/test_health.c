// SPDX-License-Identifier: Apache-2.0
/*
 * Health: snapshots in, verdicts, pages and series out. Snapshots are made by the registry, so that they
 * are cut and sorted as in life; time is set by hand.
 */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>
#include "agent/health.h"
#include "agent/health_internal.h"
#include "agent/registry.h"
#include "bpf/lib/hist.h"

#define SECOND 1000000000ULL

/* ---- metrics as the probes declare them ---- */

#define GAUGE(variable, name_, ...)                                                                \
	static const struct metric_desc variable = {                                               \
		.name = name_, .help = "test", .kind = METRIC_GAUGE, .labels = { __VA_ARGS__ }     \
	}
#define COUNTER(variable, name_, ...)                                                              \
	static const struct metric_desc variable = {                                               \
		.name = name_, .help = "test", .kind = METRIC_COUNTER, .labels = { __VA_ARGS__ }   \
	}

COUNTER(cpu_seconds, "leadline_host_cpu_seconds_total", "mode");
GAUGE(cpu_ratio, "leadline_host_cpu_utilization_ratio");
GAUGE(memory_ratio, "leadline_host_memory_utilization_ratio");
GAUGE(memory_available, "leadline_host_memory_available_bytes");
GAUGE(memory_total, "leadline_host_memory_total_bytes");
GAUGE(load1, "leadline_host_load1");
GAUGE(load5, "leadline_host_load5");
GAUGE(load15, "leadline_host_load15");
GAUGE(cpus, "leadline_host_cpus");
GAUGE(open_files, "leadline_host_open_files");
GAUGE(open_files_limit, "leadline_host_open_files_limit");
GAUGE(fs_ratio, "leadline_host_filesystem_utilization_ratio", "device", "mountpoint", "fstype");
GAUGE(fs_available, "leadline_host_filesystem_available_bytes", "device", "mountpoint", "fstype");
GAUGE(fs_inodes, "leadline_host_filesystem_inodes", "device", "mountpoint", "fstype");
GAUGE(fs_inodes_free, "leadline_host_filesystem_inodes_free", "device", "mountpoint", "fstype");
GAUGE(fs_readonly, "leadline_host_filesystem_readonly", "device", "mountpoint", "fstype");
COUNTER(pressure, "leadline_host_pressure_seconds_total", "resource", "kind");
GAUGE(probe_up, "leadline_probe_up", "probe");
GAUGE(probe_degraded, "leadline_probe_degraded", "probe");
COUNTER(probe_events_total, "leadline_probe_events_total", "probe");
COUNTER(probe_lost_total, "leadline_probe_lost_total", "probe", "reason");
static const struct metric_desc run_queue = {
	.name = "leadline_cpu_runqueue_latency_seconds",
	.help = "test",
	.unit = "seconds",
	.kind = METRIC_HISTOGRAM,
	.per_entity = true,
};
static const struct metric_desc block_io = {
	.name = "leadline_block_io_duration_seconds",
	.help = "test",
	.unit = "seconds",
	.kind = METRIC_HISTOGRAM,
	.labels = { "device", "operation", "stage" },
};

/* ---- a world to collect from ---- */

static const char *const entities[][ENTITY_LABELS] = {
	{ "", "", "", "nginx.service", "nginx" },
	{ "shop", "cart-7", "c0ffee", "", "java" },
	{ "", "", "", "", "bash" },
};

static const char *const *labels_of(void *context, uint32_t entity)
{
	return entities[entity];
}

struct world {
	struct registry *registry;
	struct config *config;
	struct health *health;
	struct metric_writer *writer; /* between world_begin() and world_judge() */
	struct snapshot *snapshots[32]; /* kept until the end: health must not need more */
	size_t n_snapshots;
	struct health_report *report; /* of the last judgement */
	unsigned changes;
	char last_change[600];
};

static void remember_change(void *context, const struct health_change *change)
{
	struct world *world = context;

	world->changes++;
	snprintf(world->last_change, sizeof(world->last_change), "%s: %s -> %s: %s", change->name,
		 health_status_name(change->before), health_status_name(change->now),
		 change->message);
}

static const struct option_table tables[] = { OPTION_TABLE("", health_options),
					      { .prefix = NULL } };

/* NULL: the defaults. */
static struct world *world_new(const char *yaml)
{
	const char *text = yaml ? yaml : "# all defaults\n";
	struct world *world = calloc(1, sizeof(*world));
	struct buffer errors = { 0 };

	assert_non_null(world);
	if (config_parse(tables, "test.yaml", text, strlen(text), &world->config, &errors))
		fail_msg("%.*s", (int)errors.size, errors.data);
	buffer_free(&errors);
	world->registry = registry_new(labels_of, NULL);
	world->health = health_new(world->config);
	assert_non_null(world->health);
	health_on_change(world->health, remember_change, world);
	return world;
}

static void world_free(struct world *world)
{
	health_report_put(world->report);
	health_free(world->health);
	for (size_t i = 0; i < world->n_snapshots; i++)
		snapshot_put(world->snapshots[i]);
	registry_free(world->registry);
	config_free(world->config);
	free(world);
}

static void world_begin(struct world *world)
{
	world->writer = registry_begin(world->registry);
}

/* Ends the collection as of `second` and judges it. */
static void world_judge(struct world *world, double second)
{
	static const struct health_probe probes[] = { { "host", "up", "" },
						      { "block", "failed", "no\xff hook" } };
	struct snapshot *snapshot = registry_finish(world->registry);

	assert_non_null(snapshot);
	snapshot->monotonic_ns = (uint64_t)(second * (double)SECOND);
	snapshot->realtime_ns = 1700000000 * SECOND + snapshot->monotonic_ns;
	assert_true(world->n_snapshots < sizeof(world->snapshots) / sizeof(world->snapshots[0]));
	world->snapshots[world->n_snapshots++] = snapshot;
	assert_int_equal(health_observe(world->health, snapshot, probes, 2, true), 0);
	health_report_put(world->report);
	world->report = health_report_get(world->health);
	assert_non_null(world->report);
}

static const struct health_result *result_of(const struct world *world, const char *check)
{
	for (size_t i = 0; i < world->report->n_results; i++) {
		if (strcmp(world->report->results[i].check->name, check) == 0)
			return &world->report->results[i];
	}
	fail_msg("no check %s", check);
	return NULL;
}

static void expect(const struct world *world, const char *check, enum health_status status)
{
	const struct health_result *result = result_of(world, check);

	if (result->finding.status != status)
		fail_msg("%s is %s: %s", check, health_status_name(result->finding.status),
			 result->finding.message);
}

static double detail(const struct world *world, const char *check, const char *key)
{
	json_t *value = json_object_get(result_of(world, check)->finding.details, key);

	return value ? json_number_value(value) : NAN;
}

static void put(struct world *world, const struct metric_desc *desc, double value)
{
	metric_write(world->writer, desc, ENTITY_NONE, NULL, value);
}

/* ---- system checks ---- */

static void put_cpu(struct world *world, double user, double idle, double iowait)
{
	metric_write(world->writer, &cpu_seconds, ENTITY_NONE, (const char *[]){ "user" }, user);
	metric_write(world->writer, &cpu_seconds, ENTITY_NONE, (const char *[]){ "idle" }, idle);
	metric_write(world->writer, &cpu_seconds, ENTITY_NONE, (const char *[]){ "iowait" },
		     iowait);
}

static void cpu_follows_the_window(void **state)
{
	struct world *world = world_new(NULL);

	world_begin(world);
	put_cpu(world, 1000, 1000, 0);
	world_judge(world, 10);
	expect(world, "cpu", HEALTH_UNKNOWN); /* since when? */
	world_begin(world);
	put_cpu(world, 1006.9, 1003.1, 0);
	world_judge(world, 20);
	expect(world, "cpu", HEALTH_HEALTHY); /* 69 % */
	assert_float_equal(detail(world, "cpu", "utilization_percent"), 69, 1e-9);
	assert_float_equal(detail(world, "cpu", "window_seconds"), 10, 1e-9);
	world_begin(world);
	put_cpu(world, 1007, 1003, 0);
	world_judge(world, 20);
	expect(world, "cpu", HEALTH_DEGRADED); /* 70 % */
	world_begin(world);
	put_cpu(world, 1090, 1010, 0);
	world_judge(world, 30);
	expect(world, "cpu", HEALTH_UNHEALTHY); /* 90 % */
	world_begin(world);
	put_cpu(world, 1090, 1010, 5000);
	world_judge(world, 40);
	expect(world, "cpu", HEALTH_HEALTHY); /* waiting is not working */
	world_free(world);
}

static void cpu_has_a_first_guess(void **state)
{
	struct world *world = world_new(NULL);

	world_begin(world);
	put(world, &cpu_ratio, 0.95);
	world_judge(world, 10);
	expect(world, "cpu", HEALTH_UNHEALTHY);
	assert_float_equal(detail(world, "cpu", "utilization_percent"), 95, 1e-9);
	world_free(world);
}

/* Base snapshots: a window's worth, bounded in number. */
static void window_slides(void **state)
{
	struct world *world = world_new("health: { window: 60s }");

	for (int i = 0; i < 30; i++) {
		double window;

		world_begin(world);
		/* busy for the first 100 s, then idle */
		put_cpu(world, i < 10 ? i * 10 : 100, i < 10 ? 0 : (i - 10) * 10, 0);
		world_judge(world, 10 + i * 10);
		if (i == 0)
			continue;
		window = detail(world, "cpu", "window_seconds");
		assert_true(window <= 90);
		assert_true(i < 6 || window >= 60);
		if (i < 10)
			expect(world, "cpu", HEALTH_UNHEALTHY);
		if (i > 20)
			expect(world, "cpu", HEALTH_HEALTHY);
	}
	world_free(world);
}

/* A reload may ask for another window than the snapshots at hand were kept for. */
static void window_changes(void **state)
{
	struct world *world = world_new("health: { window: 6s }"),
		     *longer = world_new("health: { window: 1h }");

	for (int i = 0; i < 20; i++) {
		world_begin(world);
		put_cpu(world, i, i, 0);
		world_judge(world, (i < 10 ? 10 : 2000) + i * 3);
		/* Nobody else keeps them: a base that health lets go too early is then gone. */
		snapshot_put(world->snapshots[--world->n_snapshots]);
		if (i == 9)
			health_configure(world->health, longer->config);
	}
	expect(world, "cpu", HEALTH_HEALTHY);
	world_free(world);
	world_free(longer);
}

static void memory_load_and_files(void **state)
{
	struct world *world = world_new("health:\n  memory:\n    degraded: 50\n");

	world_begin(world);
	put(world, &memory_ratio, 0.5);
	put(world, &memory_available, 2147483648.);
	put(world, &memory_total, 4294967296.);
	put(world, &load1, 9);
	put(world, &load5, 3.9);
	put(world, &load15, 9);
	put(world, &cpus, 2);
	put(world, &open_files, 800);
	put(world, &open_files_limit, 1000);
	world_judge(world, 10);
	expect(world, "memory", HEALTH_DEGRADED);
	assert_string_equal(result_of(world, "memory")->finding.message,
			    "memory 50 % in use, 2.0 GiB of 4.0 GiB available");
	expect(world, "load", HEALTH_HEALTHY); /* 1.95 each */
	expect(world, "open_files", HEALTH_DEGRADED);
	assert_int_equal(health_report_overall(world->report), HEALTH_DEGRADED);
	world_free(world);
}

static void put_filesystem(struct world *world, const char *mountpoint, double ratio,
			   double inodes_free, bool readonly)
{
	const char *const labels[] = { "/dev/sda1", mountpoint, "ext4" };

	metric_write(world->writer, &fs_ratio, ENTITY_NONE, labels, ratio);
	metric_write(world->writer, &fs_available, ENTITY_NONE, labels, 1024);
	metric_write(world->writer, &fs_inodes, ENTITY_NONE, labels, 1000);
	metric_write(world->writer, &fs_inodes_free, ENTITY_NONE, labels, inodes_free);
	metric_write(world->writer, &fs_readonly, ENTITY_NONE, labels, readonly);
}

static void worst_filesystem_is_named(void **state)
{
	struct world *world = world_new(NULL);

	world_begin(world);
	put_filesystem(world, "/", 0.5, 900, false);
	put_filesystem(world, "/da\xffta", 0.85, 900, false);
	put_filesystem(world, "/image", 1, 0, true);
	world_judge(world, 10);
	expect(world, "disk_space", HEALTH_DEGRADED);
	assert_string_equal(result_of(world, "disk_space")->finding.message,
			    "/da\xffta has 85 % in use, 1.0 KiB available");
	assert_int_equal(json_array_size(json_object_get(
				 result_of(world, "disk_space")->finding.details, "filesystems")),
			 3);
	world_begin(world);
	put_filesystem(world, "/", 0.5, 50, false);
	world_judge(world, 20);
	expect(world, "disk_space", HEALTH_UNHEALTHY); /* 95 % of the inodes */
	assert_non_null(strstr(result_of(world, "disk_space")->finding.message, "inodes"));
	world_free(world);
}

static void put_pressure(struct world *world, double cpu, double memory, double io)
{
	metric_write(world->writer, &pressure, ENTITY_NONE, (const char *[]){ "cpu", "some" }, cpu);
	metric_write(world->writer, &pressure, ENTITY_NONE, (const char *[]){ "memory", "full" },
		     memory);
	metric_write(world->writer, &pressure, ENTITY_NONE, (const char *[]){ "memory", "some" },
		     memory * 9);
	metric_write(world->writer, &pressure, ENTITY_NONE, (const char *[]){ "io", "full" }, io);
}

static void pressure_is_unknown_or_judged(void **state)
{
	struct world *world = world_new(NULL);

	world_begin(world);
	world_judge(world, 10);
	expect(world, "pressure", HEALTH_UNKNOWN);
	assert_non_null(strstr(result_of(world, "pressure")->finding.message, "psi=1"));
	world_begin(world);
	put_pressure(world, 100, 100, 100);
	world_judge(world, 20);
	world_begin(world);
	put_pressure(world, 104, 101.1, 100);
	world_judge(world, 30);
	expect(world, "pressure",
	       HEALTH_UNHEALTHY); /* series that came within the window count whole */
	world_free(world);

	world = world_new(NULL);
	world_begin(world);
	put_pressure(world, 100, 100, 100);
	world_judge(world, 10);
	world_begin(world);
	put_pressure(world, 104, 101.1, 100);
	world_judge(world, 20);
	expect(world, "pressure", HEALTH_DEGRADED); /* memory 11 % */
	assert_non_null(strstr(result_of(world, "pressure")->finding.message, "memory"));
	assert_float_equal(detail(world, "pressure", "cpu_some_percent"), 40, 1e-6);
	world_free(world);
}

/* ---- kernel checks ---- */

/* A histogram of `n` durations each of two kinds, as the kernel records them. */
static void put_waits(struct world *world, uint32_t entity, uint64_t n_short, uint64_t short_ns,
		      uint64_t n_long, uint64_t long_ns)
{
	uint64_t slots[HIST_SLOTS] = { 0 };
	struct histogram_view view = { .schema = HIST_SCHEMA,
				       .min_index = HIST_MIN_INDEX,
				       .n_slots = HIST_SLOTS,
				       .slots = slots };

	slots[hist_slot(short_ns)] += n_short;
	slots[hist_slot(long_ns)] += n_long;
	metric_write_histogram(world->writer, &run_queue, entity, NULL, &view);
}

static void run_queue_p99_is_of_the_window(void **state)
{
	struct world *world = world_new(NULL);

	world_begin(world);
	put_waits(world, 0, 1000000, 10000, 500000, SECOND); /* bad, but long ago */
	world_judge(world, 10);
	expect(world, "run_queue", HEALTH_UNKNOWN);
	world_begin(world);
	put_waits(world, 0, 1000990, 10000, 500000, SECOND);
	put_waits(world, 1, 90, 10000, 20, 50000000); /* new: 20 of 110 wait 50 ms */
	world_judge(world, 20);
	/* 20 of 1100 are slow: p99 is 50 ms */
	expect(world, "run_queue", HEALTH_DEGRADED);
	assert_float_equal(detail(world, "run_queue", "waits"), 1100, 0);
	assert_float_equal(detail(world, "run_queue", "p99_seconds"), 0.05, 0.006);
	assert_non_null(strstr(result_of(world, "run_queue")->finding.message,
			       "worst: java in pod shop/cart-7"));
	/* Entity 0's counters begin anew, entity 1 is gone, few are slow. */
	world_begin(world);
	put_waits(world, 0, 1000, 10000, 1, SECOND);
	world_judge(world, 30);
	expect(world, "run_queue", HEALTH_HEALTHY);
	assert_float_equal(detail(world, "run_queue", "waits"), 1001, 0);
	assert_non_null(
		strstr(result_of(world, "run_queue")->finding.message, "nginx in nginx.service"));
	world_free(world);
}

static void few_waits_judge_nothing(void **state)
{
	struct world *world = world_new(NULL);

	world_begin(world);
	put_waits(world, 0, 1, 10000, 0, 0);
	world_judge(world, 10);
	world_begin(world);
	put_waits(world, 0, 1, 10000, 99, SECOND);
	world_judge(world, 20);
	expect(world, "run_queue", HEALTH_HEALTHY);
	assert_null(strstr(result_of(world, "run_queue")->finding.message, "worst"));
	world_begin(world);
	put_waits(world, 0, 1, 10000, 100, SECOND);
	world_judge(world, 30);
	expect(world, "run_queue", HEALTH_UNHEALTHY);
	world_free(world);
}

static void put_io(struct world *world, const char *device, const char *operation,
		   const char *stage, uint64_t n, uint64_t ns)
{
	uint64_t slots[HIST_SLOTS] = { 0 };
	struct histogram_view view = { .schema = HIST_SCHEMA,
				       .min_index = HIST_MIN_INDEX,
				       .n_slots = HIST_SLOTS,
				       .slots = slots };

	slots[hist_slot(ns)] = n;
	metric_write_histogram(world->writer, &block_io, ENTITY_NONE,
			       (const char *[]){ device, operation, stage }, &view);
}

static void disks_are_judged_by_device_time(void **state)
{
	struct world *world = world_new("health: { disk_latency: { degraded: 100ms } }");

	world_begin(world);
	put_io(world, "sda", "read", "device", 5, 1000);
	world_judge(world, 10);
	world_begin(world);
	put_io(world, "sda", "read", "queue", 5000, 10 * SECOND); /* not the device's time */
	put_io(world, "sda", "read", "device", 505, 1000);
	put_io(world, "sda", "write", "device", 60, 200000000); /* with the reads: more than 1 % */
	put_io(world, "sdb", "read", "device", 50, SECOND); /* too few */
	world_judge(world, 20);
	expect(world, "disk_latency", HEALTH_DEGRADED);
	assert_non_null(strstr(result_of(world, "disk_latency")->finding.message, "sda"));
	assert_int_equal(json_object_size(json_object_get(
				 result_of(world, "disk_latency")->finding.details, "p99_seconds")),
			 1);
	world_free(world);
}

static void histograms_of_any_range_add_up(void **state)
{
	struct world *world = world_new(NULL);
	struct health_delta delta = { 0 };
	const struct family *family;
	struct health_view view;

	world_begin(world);
	put_waits(world, 0, 10, 1000, 0, 0);
	put_waits(world, 1, 3, SECOND, 0, 0);
	world_judge(world, 10);
	world_begin(world);
	put_waits(world, 0, 11, 1000, 5, 100 * SECOND); /* now up to the open end */
	put_waits(world, 1, 2, SECOND, 0, 0); /* began anew */
	put_waits(world, 2, 7, 1, 0, 0); /* below the lowest boundary */
	world_judge(world, 20);
	view = (struct health_view){ world->config, world->snapshots[1], world->snapshots[0], 10 };
	family = snapshot_family(view.now, run_queue.name);
	assert_int_equal(family->n_series, 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(health_delta_add(&delta, &view, family, &family->series[i]), 0);
	assert_int_equal(delta.count, 1 + 5 + 2 + 7);
	assert_int_equal(histogram_count(&delta.histogram), 15);
	assert_int_equal(delta.histogram.min_index, HIST_MIN_INDEX);
	assert_int_equal(delta.histogram.n_slots, HIST_SLOTS);
	assert_int_equal(delta.slots[hist_slot(1)], 7);
	assert_int_equal(delta.slots[hist_slot(1000)], 1);
	assert_int_equal(delta.slots[hist_slot(SECOND)], 2);
	assert_int_equal(delta.slots[HIST_SLOTS - 1], 5);
	health_delta_free(&delta);
	world_free(world);
}

static void put_probe(struct world *world, const char *name, bool up, bool degraded, double events,
		      double lost)
{
	metric_write(world->writer, &probe_up, ENTITY_NONE, &name, up);
	metric_write(world->writer, &probe_degraded, ENTITY_NONE, &name, degraded);
	metric_write(world->writer, &probe_events_total, ENTITY_NONE, &name, events);
	metric_write(world->writer, &probe_lost_total, ENTITY_NONE,
		     (const char *[]){ name, "ring full" }, lost);
}

static void probes_and_losses(void **state)
{
	struct world *world = world_new(NULL);

	world_begin(world);
	put_probe(world, "sched", true, false, 1000, 500);
	put_probe(world, "block", true, true, 0, 0);
	world_judge(world, 10);
	expect(world, "probes", HEALTH_HEALTHY);
	expect(world, "agent", HEALTH_HEALTHY); /* what was lost before is past */
	world_begin(world);
	put_probe(world, "sched", true, false, 1990, 510);
	put_probe(world, "block", false, false, 0, 0);
	world_judge(world, 20);
	expect(world, "probes", HEALTH_DEGRADED);
	assert_non_null(
		strstr(result_of(world, "probes")->finding.message, "1 of 2 probes failed: block"));
	expect(world, "agent", HEALTH_DEGRADED); /* 10 of 1000 */
	assert_float_equal(detail(world, "agent", "lost_percent"), 1, 1e-9);
	world_free(world);
}

/* ---- the whole ---- */

static void changes_are_told_once(void **state)
{
	struct world *world = world_new(NULL);

	world_begin(world);
	put(world, &cpu_ratio, 0.1);
	world_judge(world, 10);
	assert_int_equal(world->changes, 0);
	world_begin(world);
	put(world, &cpu_ratio, 0.8);
	world_judge(world, 20);
	assert_int_equal(world->changes, 2); /* cpu, overall */
	assert_string_equal(world->last_change,
			    "overall: healthy -> degraded: cpu: CPU 80 % in use");
	world_begin(world);
	put(world, &cpu_ratio, 0.81);
	world_judge(world, 30);
	assert_int_equal(world->changes, 2);
	world_begin(world);
	put(world, &cpu_ratio, 0.2);
	world_judge(world, 40);
	assert_int_equal(world->changes, 4);
	assert_string_equal(world->last_change,
			    "overall: degraded -> healthy: every check is fine");
	world_free(world);
}

static void metrics_are_one_hot(void **state)
{
	struct world *world = world_new(NULL);
	struct registry *registry = registry_new(labels_of, NULL);
	struct snapshot *snapshot;
	const struct family *family;
	double sum = 0;

	health_report_write_metrics(NULL, registry_begin(registry));
	world_begin(world);
	put(world, &cpu_ratio, 0.95);
	world_judge(world, 10);
	health_report_write_metrics(world->report, registry_begin(registry));
	snapshot = registry_finish(registry);
	family = snapshot_family(snapshot, "leadline_health_status");
	assert_non_null(family);
	assert_ptr_equal(family->desc, health_metrics[0]);
	assert_int_equal(family->n_series, (world->report->n_results + 1) * HEALTH_STATUSES);
	for (size_t i = 0; i < family->n_series; i++) {
		const struct series *series = &family->series[i];
		bool bad = strcmp(series->labels[1], "unhealthy") == 0;

		sum += series->value;
		if (bad && (strcmp(series->labels[0], "cpu") == 0 ||
			    strcmp(series->labels[0], "overall") == 0))
			assert_float_equal(series->value, 1, 0);
	}
	assert_float_equal(sum, (double)world->report->n_results + 1, 0);
	snapshot_put(snapshot);
	registry_free(registry);
	world_free(world);
}

/* ---- pages ---- */

typedef unsigned (*page_fn)(const struct health_report *, const struct health_moment *,
			    struct buffer *);

static json_t *page(page_fn make, const struct health_report *report, double second,
		    unsigned expected)
{
	struct health_moment moment = { .realtime_ns = 1700000000 * SECOND + 123456789,
					.monotonic_ns = (uint64_t)(second * (double)SECOND),
					.uptime_ns = 5 * SECOND };
	struct buffer out = { 0 };
	json_error_t error;
	json_t *json;

	assert_int_equal(make(report, &moment, &out), expected);
	assert_int_equal(buffer_error(&out), 0);
	assert_true(out.size > 0 && out.data[out.size - 1] == '\n');
	json = json_loadb(out.data, out.size, 0, &error);
	assert_non_null(json);
	buffer_free(&out);
	return json;
}

static const char *text_at(json_t *json, const char *key)
{
	const char *text = json_string_value(json_object_get(json, key));

	return text ? text : "";
}

static void pages_before_anything(void **state)
{
	static const page_fn pages[] = { health_page, health_page_detailed, health_page_system,
					 health_page_ready };

	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		json_t *json = page(pages[i], NULL, 1, 503);

		assert_string_equal(text_at(json, "status"), "unknown");
		json_decref(json);
	}
}

static void pages_show_the_report(void **state)
{
	struct world *world = world_new(NULL);
	json_t *json, *check, *probes;

	world_begin(world);
	put(world, &cpu_ratio, 0.75);
	put_filesystem(world, "/da\xffta", 0.5, 900, false);
	world_judge(world, 10);

	json = page(health_page, world->report, 11, 200);
	assert_string_equal(text_at(json, "status"), "degraded");
	assert_string_equal(text_at(json, "timestamp"), "2023-11-14T22:13:20.123Z");
	assert_string_equal(text_at(json_object_get(json, "checks"), "cpu"), "degraded");
	assert_float_equal(json_number_value(json_object_get(json, "uptime_seconds")), 5, 0);
	assert_int_equal(json_array_size(json_object_get(json, "problems")), 1);
	json_decref(json);

	json = page(health_page_detailed, world->report, 11, 200);
	assert_int_equal(json_array_size(json_object_get(json, "checks")),
			 world->report->n_results);
	check = json_array_get(json_object_get(json, "checks"), 0);
	assert_string_equal(text_at(check, "name"), "cpu");
	assert_string_equal(text_at(check, "message"), "CPU 75 % in use");
	assert_string_equal(text_at(check, "timestamp"), "2023-11-14T22:13:30.000Z");
	assert_true(json_is_real(json_object_get(check, "response_time")));
	assert_true(json_is_object(json_object_get(check, "details")));
	assert_string_equal(json_string_value(json_array_get(json_object_get(check, "tags"), 0)),
			    "system");
	probes = json_object_get(json, "probes");
	assert_int_equal(json_array_size(probes), 2);
	assert_string_equal(text_at(json_array_get(probes, 1), "reason"), "no\xef\xbf\xbd hook");
	json_decref(json);

	json = page(health_page_system, world->report, 11, 200);
	assert_int_equal(json_array_size(json_object_get(json, "checks")), 6);
	json_decref(json);

	json = page(health_page_ready, world->report, 11, 200);
	assert_true(json_is_true(json_object_get(json, "ready")));
	json_decref(json);
	world_free(world);
}

static void answers_503(void **state)
{
	struct world *world = world_new("health: { degraded_is_503: true, stale_after: 20s }");
	json_t *json;

	world_begin(world);
	put(world, &cpu_ratio, 0.75);
	world_judge(world, 10);
	json_decref(page(health_page, world->report, 11, 503));
	world_begin(world);
	put(world, &cpu_ratio, 0.95);
	world_judge(world, 11);
	json_decref(page(health_page, world->report, 12, 503));
	json_decref(page(health_page_system, world->report, 12, 503));
	json_decref(page(health_page_ready, world->report, 12,
			 200)); /* ready to be asked, whatever the host */
	world_begin(world);
	put(world, &cpu_ratio, 0.05);
	world_judge(world, 12);
	json_decref(page(health_page, world->report, 32, 200));
	/* The loop stands still. */
	json_decref(page(health_page_detailed, world->report, 33, 503));
	json = page(health_page, world->report, 33, 503);
	assert_string_equal(text_at(json, "status"), "unhealthy");
	assert_string_equal(text_at(json_object_get(json, "checks"), "agent"), "unhealthy");
	assert_string_equal(
		text_at(json_array_get(json_object_get(json, "problems"), 0), "message"),
		"no collection for 21 s: the agent's loop stands still");
	json_decref(json);
	json_decref(page(health_page_system, world->report, 33, 503));
	world_free(world);
}

static void not_ready_until_settled(void **state)
{
	struct world *world = world_new(NULL);
	json_t *json;

	world_begin(world);
	world_judge(world, 10);
	assert_int_equal(health_observe(world->health, world->snapshots[0], NULL, 0, false), 0);
	health_report_put(world->report);
	world->report = health_report_get(world->health);
	json = page(health_page_ready, world->report, 10, 503);
	assert_true(json_is_false(json_object_get(json, "ready")));
	json_decref(json);
	world_free(world);
}

static void live_while_the_loop_turns(void **state)
{
	struct health_moment moment = { .realtime_ns = SECOND, .monotonic_ns = SECOND };
	struct world *world = world_new("health: { live_limit: 5s }");
	struct buffer out = { 0 };

	world_begin(world);
	put(world, &cpu_ratio, 0.99); /* a sick host is no reason to restart the agent */
	world_judge(world, 10);
	assert_int_equal(health_page_live(NULL, &moment, 30 * SECOND, &out), 200);
	assert_int_equal(health_page_live(NULL, &moment, 31 * SECOND, &out), 503);
	assert_int_equal(health_page_live(world->report, &moment, 5 * SECOND, &out), 200);
	assert_int_equal(health_page_live(world->report, &moment, 6 * SECOND, &out), 503);
	buffer_free(&out);
	world_free(world);
}

struct reader {
	struct health *health;
	atomic_bool stop;
	atomic_uint pages;
};

static void *read_pages(void *argument)
{
	const struct health_moment moment = { .realtime_ns = SECOND, .monotonic_ns = SECOND };
	struct reader *reader = argument;

	while (!atomic_load(&reader->stop)) {
		struct health_report *report = health_report_get(reader->health);
		struct buffer out = { 0 };

		health_page_detailed(report, &moment, &out);
		health_page(report, &moment, &out);
		reader->pages += buffer_error(&out) == 0;
		buffer_free(&out);
		health_report_put(report);
	}
	return NULL;
}

/* What the thread sanitizer is for: the loop judges while the server reads. */
static void pages_are_read_while_judging(void **state)
{
	struct world *world = world_new(NULL);
	struct reader reader = { .health = world->health };
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, read_pages, &reader), 0);
	for (unsigned i = 0; i < 30; i++) {
		world_begin(world);
		put_cpu(world, i, i, 0);
		put_waits(world, 0, 1000, (uint64_t)i * 1000 + 1, 0, 0);
		world_judge(world, 10 + i);
		while (atomic_load(&reader.pages) < i) /* both have their turns */
			sched_yield();
	}
	atomic_store(&reader.stop, true);
	pthread_join(thread, NULL);
	assert_true(reader.pages > 0);
	world_free(world);
}

static void defaults_are_those_promised(void **state)
{
	struct world *world = world_new(NULL);

	assert_float_equal(config_number(world->config, "health.cpu.degraded"), 70, 0);
	assert_float_equal(config_number(world->config, "health.cpu.unhealthy"), 90, 0);
	assert_float_equal(config_number(world->config, "health.memory.degraded"), 80, 0);
	assert_float_equal(config_number(world->config, "health.memory.unhealthy"), 90, 0);
	assert_float_equal(config_number(world->config, "health.disk_space.degraded"), 80, 0);
	assert_float_equal(config_number(world->config, "health.disk_space.unhealthy"), 90, 0);
	assert_int_equal(config_int(world->config, "health.window"), 60 * SECOND);
	assert_false(config_bool(world->config, "health.degraded_is_503"));
	assert_int_equal(config_int(world->config, "health.live_limit"),
			 HEALTH_LIVE_LIMIT_DEFAULT_NS);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cpu_follows_the_window),
		cmocka_unit_test(cpu_has_a_first_guess),
		cmocka_unit_test(window_slides),
		cmocka_unit_test(window_changes),
		cmocka_unit_test(memory_load_and_files),
		cmocka_unit_test(worst_filesystem_is_named),
		cmocka_unit_test(pressure_is_unknown_or_judged),
		cmocka_unit_test(run_queue_p99_is_of_the_window),
		cmocka_unit_test(few_waits_judge_nothing),
		cmocka_unit_test(disks_are_judged_by_device_time),
		cmocka_unit_test(histograms_of_any_range_add_up),
		cmocka_unit_test(probes_and_losses),
		cmocka_unit_test(changes_are_told_once),
		cmocka_unit_test(metrics_are_one_hot),
		cmocka_unit_test(pages_before_anything),
		cmocka_unit_test(pages_show_the_report),
		cmocka_unit_test(answers_503),
		cmocka_unit_test(not_ready_until_settled),
		cmocka_unit_test(live_while_the_loop_turns),
		cmocka_unit_test(pages_are_read_while_judging),
		cmocka_unit_test(defaults_are_those_promised),
	};

	return cmocka_run_group_tests_name("health", tests, NULL, NULL);
}
