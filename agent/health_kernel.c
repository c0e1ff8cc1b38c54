// SPDX-License-Identifier: Apache-2.0
/*
 * The checks that rest on what the kernel side measures, and those of the agent itself. Functions of a
 * view; loop thread. Their options are in health_checks.c with all others.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "agent/health_internal.h"

/* Fewer values than this say nothing about their slowest hundredth. */
#define MIN_VALUES 100

/* "12.3 ms" */
static const char *show_seconds(double seconds, char out[32])
{
	if (seconds >= 1)
		snprintf(out, 32, "%.2f s", seconds);
	else if (seconds >= 1e-3)
		snprintf(out, 32, "%.1f ms", seconds * 1e3);
	else
		snprintf(out, 32, "%.0f us", seconds * 1e6);
	return out;
}

/* The most telling name of an entity: a pod, a unit or a container, with the program. */
static void name_entity(const char *const *entity, char *out, size_t size)
{
	enum { NAMESPACE, POD, CONTAINER, UNIT, COMM };
	const char *comm = entity[COMM][0] ? entity[COMM] : "?";

	if (entity[POD][0])
		snprintf(out, size, "%s in pod %s/%s", comm, entity[NAMESPACE], entity[POD]);
	else if (entity[UNIT][0])
		snprintf(out, size, "%s in %s", comm, entity[UNIT]);
	else if (entity[CONTAINER][0])
		snprintf(out, size, "%s in container %.12s", comm, entity[CONTAINER]);
	else
		snprintf(out, size, "%s", comm);
}

/* Whether there is something to judge a family by; says why not. */
static bool can_judge(const struct health_view *view, const struct family *family,
		      const char *probe, struct health_finding *finding)
{
	if (!family)
		health_say(finding, HEALTH_UNKNOWN,
			   "not available: the %s probe does not run, or has seen nothing", probe);
	else if (!view->base)
		health_say(finding, HEALTH_UNKNOWN, "no interval to judge yet");
	return family && view->base;
}

/* ---- run queue ---- */

static void check_run_queue(const struct health_view *view, struct health_finding *finding)
{
	const struct family *family =
		snapshot_whole_family(view->now, "leadline_cpu_runqueue_latency_seconds");
	struct health_delta all = { 0 };
	const struct series *worst = NULL;
	double p99, worst_p99 = 0;
	char shown[32], who[160];
	int err = 0;

	if (!can_judge(view, family, "sched", finding))
		return;
	for (size_t i = 0; i < family->n_series && !err; i++) {
		struct health_delta one = { 0 };

		err = health_delta_add(&all, view, family, &family->series[i]);
		if (!err)
			err = health_delta_add(&one, view, family, &family->series[i]);
		p99 = !err && one.count >= MIN_VALUES ? histogram_quantile(&one.histogram, 0.99)
						      : 0;
		if (p99 > worst_p99) {
			worst_p99 = p99;
			worst = &family->series[i];
		}
		health_delta_free(&one);
	}
	health_add_number(finding, "waits", (double)all.count);
	health_add_number(finding, "window_seconds", view->window);
	if (err) {
		health_say(finding, HEALTH_UNHEALTHY, "cannot be judged: out of memory");
	} else if (all.count < MIN_VALUES) {
		health_say(finding, HEALTH_HEALTHY, "only %llu waits for a CPU in %.0f s",
			   (unsigned long long)all.count, view->window);
	} else {
		p99 = histogram_quantile(&all.histogram, 0.99);
		health_add_number(finding, "p99_seconds", p99);
		health_say(finding, health_judge_seconds(view, "run_queue", p99),
			   "99 of 100 waits for a CPU are below %s", show_seconds(p99, shown));
	}
	if (!err && worst && worst->entity) {
		size_t length = strlen(finding->message);

		name_entity(worst->entity, who, sizeof(who));
		health_add_text(finding, "worst", who);
		health_add_number(finding, "worst_p99_seconds", worst_p99);
		snprintf(finding->message + length, sizeof(finding->message) - length,
			 "; worst: %s, %s", who, show_seconds(worst_p99, shown));
	}
	health_delta_free(&all);
}

/* ---- disks ---- */

#define MAX_DEVICES 64 /* judged; what a host has more is in the metrics */

struct device {
	const char *name;
	struct health_delta delta;
};

/* Adds a series to its device's histogram: operations and programs of a device are judged together. */
static int add_to_device(struct device *devices, size_t *n, const struct health_view *view,
			 const struct family *family, const struct series *series)
{
	const char *name = health_label(family, series, "device");
	size_t i = 0;

	while (i < *n && strcmp(devices[i].name, name) != 0)
		i++;
	if (i == MAX_DEVICES)
		return 0;
	if (i == *n)
		devices[(*n)++].name = name;
	return health_delta_add(&devices[i].delta, view, family, series);
}

static void check_disk_latency(const struct health_view *view, struct health_finding *finding)
{
	const struct family *family =
		snapshot_whole_family(view->now, "leadline_block_io_duration_seconds");
	struct device devices[MAX_DEVICES] = { 0 };
	const char *worst = NULL;
	json_t *list = json_object();
	double worst_p99 = -1;
	size_t n = 0;
	char shown[32];
	int err = 0;

	json_object_set_new(finding->details, "p99_seconds", list);
	if (!can_judge(view, family, "block", finding))
		return;
	for (size_t i = 0; i < family->n_series && !err; i++) {
		if (strcmp(health_label(family, &family->series[i], "stage"), "device") == 0)
			err = add_to_device(devices, &n, view, family, &family->series[i]);
	}
	for (size_t i = 0; i < n; i++) {
		double p99;

		if (devices[i].delta.count >= MIN_VALUES) {
			p99 = histogram_quantile(&devices[i].delta.histogram, 0.99);
			json_object_set_new(list, devices[i].name, json_real(p99));
			if (p99 > worst_p99) {
				worst_p99 = p99;
				worst = devices[i].name;
			}
		}
		health_delta_free(&devices[i].delta);
	}
	health_add_number(finding, "window_seconds", view->window);
	if (err) {
		health_say(finding, HEALTH_UNHEALTHY, "cannot be judged: out of memory");
	} else if (!worst) {
		health_say(finding, HEALTH_HEALTHY,
			   "fewer than %d requests to any device in %.0f s", MIN_VALUES,
			   view->window);
	} else {
		health_add_text(finding, "worst", worst);
		health_say(finding, health_judge_seconds(view, "disk_latency", worst_p99),
			   "99 of 100 requests to %s take less than %s", worst,
			   show_seconds(worst_p99, shown));
	}
}

/* ---- the agent ---- */

static void check_probes(const struct health_view *view, struct health_finding *finding)
{
	const struct family *up = snapshot_whole_family(view->now, "leadline_probe_up");
	const struct family *degraded = snapshot_whole_family(view->now, "leadline_probe_degraded");
	unsigned n = 0, n_degraded = 0, n_failed = 0;
	char failed[160] = "";

	for (size_t i = 0; up && i < up->n_series; i++) {
		const struct series *series = &up->series[i], *less = family_find(degraded, series);
		const char *name = health_label(up, series, "probe");
		size_t length = strlen(failed);

		n++;
		if (series->value > 0) {
			n_degraded += less && less->value > 0;
			health_add_text(finding, name, less && less->value > 0 ? "degraded" : "up");
			continue;
		}
		snprintf(failed + length, sizeof(failed) - length, "%s%s", n_failed ? ", " : "",
			 name);
		n_failed++;
		health_add_text(finding, name, "failed");
	}
	if (n_failed)
		health_say(finding, HEALTH_DEGRADED,
			   "%u of %u probes failed: %s; `leadline doctor` says why", n_failed, n,
			   failed);
	else if (!n)
		health_say(finding, HEALTH_UNKNOWN, "no probe is in use");
	else if (n_degraded)
		health_say(finding, HEALTH_HEALTHY, "all %u probes run, %u of them not fully", n,
			   n_degraded);
	else
		health_say(finding, HEALTH_HEALTHY, "all %u probes run", n);
}

/* Events a probe has accounted for within the window, by the metric that says so. */
static double probe_events(const struct health_view *view, const char *probe)
{
	const struct family *family =
		snapshot_whole_family(view->now, "leadline_probe_events_total");
	const char *const labels[] = { probe };
	const struct series like = { .labels = labels };
	const struct series *series = family_find(family, &like);

	return series ? health_increase(view, family, series) : 0;
}

/* That this runs shows that collections are made; whether they still are is judged when a page is asked for. */
static void check_agent(const struct health_view *view, struct health_finding *finding)
{
	const struct family *lost = snapshot_whole_family(view->now, "leadline_probe_lost_total");
	const char *worst_probe = NULL, *worst_reason = "";
	double worst = 0, seconds;

	if (health_value(view, "leadline_scrape_duration_seconds", &seconds))
		health_add_number(finding, "collection_seconds", seconds);
	for (size_t i = 0; lost && view->base && i < lost->n_series; i++) {
		const struct series *series = &lost->series[i];
		const char *probe = health_label(lost, series, "probe");
		double n = health_increase(view, lost, series), percent;

		if (n <= 0)
			continue;
		percent = 100 * n / (n + probe_events(view, probe));
		if (percent > worst) {
			worst = percent;
			worst_probe = probe;
			worst_reason = health_label(lost, series, "reason");
		}
	}
	health_add_number(finding, "lost_percent", worst);
	if (!worst_probe) {
		health_say(finding, HEALTH_HEALTHY, "collecting, nothing lost");
		return;
	}
	health_add_text(finding, "worst_probe", worst_probe);
	health_say(finding, health_judge(view, "losses", worst),
		   "the %s probe could not account for %.2f %% of its events (%s)", worst_probe,
		   worst, worst_reason);
}

const struct health_check health_kernel_checks[] = {
	{
		.name = "run_queue",
		.help = "99th percentile of waits for a CPU",
		.tags = { "kernel", "cpu" },
		.evaluate = check_run_queue,
	},
	{
		.name = "disk_latency",
		.help = "99th percentile of the slowest device",
		.tags = { "kernel", "disk" },
		.evaluate = check_disk_latency,
	},
	{
		.name = "probes",
		.help = "whether all probes run",
		.tags = { "agent" },
		.evaluate = check_probes,
	},
	{
		.name = "agent",
		.help = "whether collections are fresh and complete",
		.tags = { "agent" },
		.evaluate = check_agent,
		.judges_age = true,
	},
	{ .name = NULL },
};
