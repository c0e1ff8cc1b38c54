// SPDX-License-Identifier: Apache-2.0
/*
 * The checks of the host's resources, from the host probe's figures, and all options of health. The
 * defaults are those people know from other monitors. Functions of a view; loop thread.
 */
#include <stdio.h>
#include <string.h>
#include "agent/health_internal.h"

#define PERCENT(key_, degraded_, unhealthy_, what_)                                                \
	{ .key = "health." key_ ".degraded",                                                       \
	  .type = OPTION_NUMBER,                                                                   \
	  .fallback = degraded_,                                                                   \
	  .min = 0,                                                                                \
	  .max = 101,                                                                              \
	  .help = "percent of " what_ " from which on it is degraded; 101 for never" },            \
	{                                                                                          \
		.key = "health." key_ ".unhealthy", .type = OPTION_NUMBER, .fallback = unhealthy_, \
		.min = 0, .max = 101,                                                              \
		.help = "percent of " what_ " from which on it is unhealthy; 101 for never"        \
	}

#define SECONDS(key_, degraded_, unhealthy_, what_)                                                \
	{ .key = "health." key_ ".degraded",                                                       \
	  .type = OPTION_DURATION,                                                                 \
	  .fallback = degraded_,                                                                   \
	  .min = 1e-6,                                                                             \
	  .max = 3600,                                                                             \
	  .help = what_ " from which on it is degraded" },                                         \
	{                                                                                          \
		.key = "health." key_ ".unhealthy", .type = OPTION_DURATION,                       \
		.fallback = unhealthy_, .min = 1e-6, .max = 3600,                                  \
		.help = what_ " from which on it is unhealthy"                                     \
	}

const struct option_desc health_options[] = {
	{ .key = "health.window",
	  .type = OPTION_DURATION,
	  .fallback = "60s",
	  .min = 1,
	  .max = 3600,
	  .help = "time that rates and percentiles are judged over; may be up to half as long again" },
	{ .key = "health.degraded_is_503",
	  .type = OPTION_BOOL,
	  .fallback = "false",
	  .help = "whether /health answers 503 for degraded, too, not only for unhealthy" },
	{ .key = "health.stale_after",
	  .type = OPTION_DURATION,
	  .fallback = "60s",
	  .min = 1,
	  .max = 3600,
	  .help = "age from which on the last verdict counts as unhealthy, three intervals at least" },
	{ .key = "health.live_limit",
	  .type = OPTION_DURATION,
	  .fallback = HEALTH_LIVE_LIMIT_DEFAULT,
	  .min = 1,
	  .max = 3600,
	  .help = "time the agent's loop may stand still before /health/live answers 503" },

	{ .key = "health.timeout",
	  .type = OPTION_DURATION,
	  .fallback = "3s",
	  .min = 0.01,
	  .max = 60,
	  .help = "time `leadline health` waits for the agent's answer" },

	PERCENT("cpu", "70", "90", "CPU time in use"),
	PERCENT("memory", "80", "90", "memory in use"),
	PERCENT("disk_space", "80", "90", "a filesystem's space or inodes in use"),
	{ .key = "health.load.degraded",
	  .type = OPTION_NUMBER,
	  .fallback = "2",
	  .min = 0,
	  .max = 1e6,
	  .help = "five-minute load per CPU from which on it is degraded" },
	{ .key = "health.load.unhealthy",
	  .type = OPTION_NUMBER,
	  .fallback = "4",
	  .min = 0,
	  .max = 1e6,
	  .help = "five-minute load per CPU from which on it is unhealthy" },
	PERCENT("open_files", "80", "90", "the host's open files in use"),
	PERCENT("pressure.cpu", "50", "90", "the time in which some work waited for a CPU"),
	PERCENT("pressure.memory", "10", "40", "the time in which all work waited for memory"),
	PERCENT("pressure.io", "30", "80", "the time in which all work waited for I/O"),
	SECONDS("run_queue", "20ms", "100ms", "99th percentile of the wait for a CPU"),
	SECONDS("disk_latency", "50ms", "500ms",
		"99th percentile of a device's time for a request"),
	PERCENT("losses", "1", "101", "a probe's events lost or not attributed"),
	{ .key = NULL },
};

static void say_absent(struct health_finding *finding, const char *what)
{
	health_say(finding, HEALTH_UNKNOWN,
		   "%s not available: the host probe does not run or cannot read it", what);
}

/* "23.1 GiB" */
static const char *show_bytes(double bytes, char out[32])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	size_t unit = 0;

	while (bytes >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		bytes /= 1024;
		unit++;
	}
	snprintf(out, 32, unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
	return out;
}

/* ---- CPU ---- */

/* Busy percent within the window; false without a window. */
static bool cpu_in_window(const struct health_view *view, struct health_finding *finding,
			  double *ret_percent)
{
	const struct family *family =
		snapshot_whole_family(view->now, "leadline_host_cpu_seconds_total");
	double total = 0, idle = 0;

	if (!family || !view->base)
		return false;
	for (size_t i = 0; i < family->n_series; i++)
		total += health_increase(view, family, &family->series[i]);
	if (total <= 0)
		return false;
	for (size_t i = 0; i < family->n_series; i++) {
		const char *mode = health_label(family, &family->series[i], "mode");
		double seconds = health_increase(view, family, &family->series[i]);
		char key[32];

		if (strcmp(mode, "idle") == 0 || strcmp(mode, "iowait") == 0)
			idle += seconds;
		snprintf(key, sizeof(key), "%s_percent", mode);
		health_add_number(finding, key, 100 * seconds / total);
	}
	*ret_percent = 100 * (total - idle) / total;
	return true;
}

static void check_cpu(const struct health_view *view, struct health_finding *finding)
{
	double percent, window = view->window;

	if (!cpu_in_window(view, finding, &percent)) {
		/* The first collection: since a moment ago is better than nothing. */
		if (!health_value(view, "leadline_host_cpu_utilization_ratio", &percent)) {
			if (snapshot_whole_family(view->now, "leadline_host_cpu_seconds_total"))
				health_say(finding, HEALTH_UNKNOWN, "no interval to judge yet");
			else
				say_absent(finding, "CPU time");
			return;
		}
		percent *= 100;
		window = 0;
	}
	health_add_number(finding, "utilization_percent", percent);
	if (window > 0) {
		health_add_number(finding, "window_seconds", window);
		health_say(finding, health_judge(view, "cpu", percent),
			   "CPU %.0f %% in use over %.0f s", percent, window);
	} else {
		health_say(finding, health_judge(view, "cpu", percent), "CPU %.0f %% in use",
			   percent);
	}
}

static void check_load(const struct health_view *view, struct health_finding *finding)
{
	double load1, load5, load15, cpus;

	if (!health_value(view, "leadline_host_load1", &load1) ||
	    !health_value(view, "leadline_host_load5", &load5) ||
	    !health_value(view, "leadline_host_load15", &load15) ||
	    !health_value(view, "leadline_host_cpus", &cpus) || cpus < 1) {
		say_absent(finding, "load");
		return;
	}
	health_add_number(finding, "load1", load1);
	health_add_number(finding, "load5", load5);
	health_add_number(finding, "load15", load15);
	health_add_number(finding, "cpus", cpus);
	health_say(finding, health_judge(view, "load", load5 / cpus),
		   "load %.2f on %.0f CPUs, %.2f each", load5, cpus, load5 / cpus);
}

/* ---- memory, files ---- */

static void check_memory(const struct health_view *view, struct health_finding *finding)
{
	double ratio, available, total;
	char room[32], all[32];

	if (!health_value(view, "leadline_host_memory_utilization_ratio", &ratio) ||
	    !health_value(view, "leadline_host_memory_available_bytes", &available) ||
	    !health_value(view, "leadline_host_memory_total_bytes", &total)) {
		say_absent(finding, "memory");
		return;
	}
	health_add_number(finding, "utilization_percent", 100 * ratio);
	health_add_number(finding, "available_bytes", available);
	health_add_number(finding, "total_bytes", total);
	health_say(finding, health_judge(view, "memory", 100 * ratio),
		   "memory %.0f %% in use, %s of %s available", 100 * ratio,
		   show_bytes(available, room), show_bytes(total, all));
}

static void check_open_files(const struct health_view *view, struct health_finding *finding)
{
	double open, limit;

	if (!health_value(view, "leadline_host_open_files", &open) ||
	    !health_value(view, "leadline_host_open_files_limit", &limit) || limit <= 0) {
		say_absent(finding, "open files");
		return;
	}
	health_add_number(finding, "utilization_percent", 100 * open / limit);
	health_add_number(finding, "open", open);
	health_add_number(finding, "limit", limit);
	health_say(finding, health_judge(view, "open_files", 100 * open / limit),
		   "%.0f files open of %.0f, %.1f %%", open, limit, 100 * open / limit);
}

/* ---- filesystems ---- */

/* A filesystem's value of another metric: filesystem metrics have the same labels. `absent` without one. */
static double filesystem_value(const struct health_view *view, const char *metric,
			       const struct series *like, double absent)
{
	const struct series *series = family_find(snapshot_whole_family(view->now, metric), like);

	return series ? series->value : absent;
}

static void check_disk_space(const struct health_view *view, struct health_finding *finding)
{
	const struct family *family =
		snapshot_whole_family(view->now, "leadline_host_filesystem_utilization_ratio");
	const char *worst_mountpoint = NULL, *worst_what = "";
	json_t *list = json_array();
	double worst = -1, worst_room = 0;
	char room[32];

	json_object_set_new(finding->details, "filesystems", list);
	for (size_t i = 0; family && i < family->n_series; i++) {
		const struct series *series = &family->series[i];
		const char *mountpoint = health_label(family, series, "mountpoint");
		double percent = 100 * series->value, inodes_percent, inodes;
		double available = filesystem_value(
			view, "leadline_host_filesystem_available_bytes", series, 0);
		struct health_finding each = { .details = json_object() };

		inodes = filesystem_value(view, "leadline_host_filesystem_inodes", series, 0);
		inodes_percent =
			filesystem_value(view, "leadline_host_filesystem_inodes_free", series, 0);
		inodes_percent = inodes > 0 ? 100 * (inodes - inodes_percent) / inodes : 0;
		health_add_text(&each, "mountpoint", mountpoint);
		health_add_text(&each, "device", health_label(family, series, "device"));
		health_add_number(&each, "utilization_percent", percent);
		health_add_number(&each, "inodes_percent", inodes_percent);
		health_add_number(&each, "available_bytes", available);
		json_array_append_new(list, each.details);
		/* What is mounted read-only cannot get full; images always are. */
		if (filesystem_value(view, "leadline_host_filesystem_readonly", series, 0) > 0)
			continue;
		if (percent > worst || inodes_percent > worst) {
			worst = inodes_percent > percent ? inodes_percent : percent;
			worst_what = inodes_percent > percent ? " of its inodes" : "";
			worst_mountpoint = mountpoint;
			worst_room = available;
		}
	}
	if (!worst_mountpoint) {
		health_say(finding, HEALTH_UNKNOWN,
			   "no filesystem to judge: none is reported by the host probe");
		return;
	}
	health_add_text(finding, "worst", worst_mountpoint);
	health_add_number(finding, "utilization_percent", worst);
	health_say(finding, health_judge(view, "disk_space", worst),
		   "%s has %.0f %%%s in use, %s available", worst_mountpoint, worst, worst_what,
		   show_bytes(worst_room, room));
}

/* ---- pressure ---- */

/*
 * Some work waiting for a CPU is a busy machine; all work waiting for memory or I/O is a stuck one. Hence
 * which line of the kernel's counts, and how much of it is too much.
 */
static const struct {
	const char *resource, *kind;
	const char *option;
} pressures[] = {
	{ "cpu", "some", "pressure.cpu" },
	{ "memory", "full", "pressure.memory" },
	{ "io", "full", "pressure.io" },
};

static const struct series *find_pressure(const struct family *family, const char *resource,
					  const char *kind)
{
	const char *const labels[] = { resource, kind };
	const struct series like = { .labels = labels };

	return family_find(family, &like);
}

static void check_pressure(const struct health_view *view, struct health_finding *finding)
{
	const struct family *family =
		snapshot_whole_family(view->now, "leadline_host_pressure_seconds_total");
	enum health_status status = HEALTH_UNKNOWN;
	double worst = -1;
	const char *worst_resource = "";

	if (!family) {
		health_say(finding, HEALTH_UNKNOWN,
			   "not available: the kernel keeps no pressure stall information "
			   "(psi=1 at boot turns it on)");
		return;
	}
	if (!view->base) {
		health_say(finding, HEALTH_UNKNOWN, "no interval to judge yet");
		return;
	}
	for (size_t i = 0; i < sizeof(pressures) / sizeof(pressures[0]); i++) {
		const struct series *series =
			find_pressure(family, pressures[i].resource, pressures[i].kind);
		enum health_status here;
		double percent;
		char key[32];

		if (!series)
			continue;
		percent = 100 * health_increase(view, family, series) / view->window;
		here = health_judge(view, pressures[i].option, percent);
		snprintf(key, sizeof(key), "%s_%s_percent", pressures[i].resource,
			 pressures[i].kind);
		health_add_number(finding, key, percent);
		if (here > status || (here == status && percent > worst)) {
			worst = percent;
			worst_resource = pressures[i].resource;
		}
		status = health_worse(status, here);
	}
	health_add_number(finding, "window_seconds", view->window);
	health_say(finding, status, "work waited for %s %.1f %% of the last %.0f s", worst_resource,
		   worst, view->window);
}

const struct health_check health_system_checks[] = {
	{
		.name = "cpu",
		.help = "share of CPU time in use over the window",
		.tags = { "system", "cpu" },
		.evaluate = check_cpu,
	},
	{
		.name = "memory",
		.help = "share of memory that cannot be given to new programs",
		.tags = { "system", "memory" },
		.evaluate = check_memory,
	},
	{
		.name = "disk_space",
		.help = "space and inodes of the fullest filesystem",
		.tags = { "system", "disk" },
		.evaluate = check_disk_space,
	},
	{
		.name = "load",
		.help = "five-minute load per CPU",
		.tags = { "system", "cpu" },
		.evaluate = check_load,
	},
	{
		.name = "open_files",
		.help = "open files of the host against the kernel's limit",
		.tags = { "system", "files" },
		.evaluate = check_open_files,
	},
	{
		.name = "pressure",
		.help = "time in which work waited for CPU, memory or I/O",
		.tags = { "system", "pressure" },
		.evaluate = check_pressure,
	},
	{ .name = NULL },
};
