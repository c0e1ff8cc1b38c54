// SPDX-License-Identifier: Apache-2.0
/* The agent's metrics about itself; see self.h. */
#include <bpf/libbpf.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include "agent/http.h"
#include "agent/log.h"
#include "agent/memory_bound.h"
#include "agent/self.h"
#include "agent/version.h"

static const struct metric_desc build_info = {
	.name = "leadline_build_info",
	.help = "Always 1; the labels say what is running",
	.kind = METRIC_GAUGE,
	.labels = { "version", "revision", "libbpf" },
};
static const struct metric_desc cpu_seconds = {
	.name = "process_cpu_seconds_total",
	.help = "CPU time of the agent itself, user and system",
	.unit = "seconds",
	.kind = METRIC_COUNTER,
};
static const struct metric_desc resident_bytes = {
	.name = "process_resident_memory_bytes",
	.help = "Resident memory of the agent; that of its kernel maps is leadline_bpf_map_bytes",
	.unit = "bytes",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc virtual_bytes = {
	.name = "process_virtual_memory_bytes",
	.help = "Virtual memory of the agent",
	.unit = "bytes",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc start_time = {
	.name = "process_start_time_seconds",
	.help = "When the agent was started, in seconds since 1970",
	.unit = "seconds",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc open_fds = {
	.name = "process_open_fds",
	.help = "Open file descriptors of the agent",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc max_fds = {
	.name = "process_max_fds",
	.help = "Most file descriptors the agent may open",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc probe_up = {
	.name = "leadline_probe_up",
	.help = "1 while the probe runs, fully or degraded; 0 when it has failed. Disabled probes are not listed",
	.kind = METRIC_GAUGE,
	.labels = { "probe" },
};
static const struct metric_desc probe_degraded = {
	.name = "leadline_probe_degraded",
	.help = "1 while the probe runs but misses something; leadline doctor says what and why",
	.kind = METRIC_GAUGE,
	.labels = { "probe" },
};
static const struct metric_desc probe_events_total = {
	.name = "leadline_probe_events_total",
	.help = "Kernel events the probe has accounted",
	.kind = METRIC_COUNTER,
	.labels = { "probe" },
};
static const struct metric_desc probe_lost_total = {
	.name = "leadline_probe_lost_total",
	.help = "What the probe could not account or attribute, by reason",
	.kind = METRIC_COUNTER,
	.labels = { "probe", "reason" },
};
static const struct metric_desc map_bytes = {
	.name = "leadline_bpf_map_bytes",
	.help = "Kernel memory of a BPF map, as the kernel accounts it",
	.unit = "bytes",
	.kind = METRIC_GAUGE,
	.labels = { "probe", "map" },
};
static const struct metric_desc collection_seconds = {
	.name = "leadline_scrape_duration_seconds",
	.help = "How long the agent took to collect all values, last time",
	.unit = "seconds",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc series = {
	.name = "leadline_series",
	.help = "Series in the last collection",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc series_dropped_total = {
	.name = "leadline_series_dropped_total",
	.help = "Most series at one time that exceeded the metric's cap and were added up as \"other\"",
	.kind = METRIC_COUNTER,
	.labels = { "metric" },
};
static const struct metric_desc series_folded_estimate = {
	.name = "leadline_series_folded_estimate",
	.help = "Different series that were added up as \"other\" so far since the metric was at its cap, estimated; the standard error is 1.6 percent",
	.kind = METRIC_GAUGE,
	.labels = { "metric" },
};
static const struct metric_desc series_filtered = {
	.name = "leadline_series_filtered",
	.help = "Values left out of the last collection by that setting: metrics.disable, metrics.deny or metrics.allow",
	.kind = METRIC_GAUGE,
	.labels = { "setting" },
};
static const struct metric_desc entities = {
	.name = "leadline_entities",
	.help = "Programs told apart now, those that ended lately included",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc entities_limit = {
	.name = "leadline_entities_limit",
	.help = "Programs that can be told apart at a time (option max_entities)",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc entities_recycled_total = {
	.name = "leadline_entities_recycled_total",
	.help = "Entity ids taken back from programs that have ended",
	.kind = METRIC_COUNTER,
};
static const struct metric_desc log_dropped_total = {
	.name = "leadline_log_lines_dropped_total",
	.help = "Log lines that could not be written",
	.kind = METRIC_COUNTER,
};

static const struct metric_desc http_requests_total = {
	.name = "leadline_http_requests_total",
	.help = "Requests the agent has answered, by route and class of status",
	.kind = METRIC_COUNTER,
	.labels = { "route", "status" },
};
static const struct metric_desc http_timeouts_total = {
	.name = "leadline_http_timeouts_total",
	.help = "Connections the agent has cut since the peer was too slow",
	.kind = METRIC_COUNTER,
};

const struct metric_desc *const self_metrics[] = {
	&build_info,
	&cpu_seconds,
	&resident_bytes,
	&virtual_bytes,
	&start_time,
	&open_fds,
	&max_fds,
	&probe_up,
	&probe_degraded,
	&probe_events_total,
	&probe_lost_total,
	&map_bytes,
	&memory_bound_metric,
	&collection_seconds,
	&series,
	&series_dropped_total,
	&series_folded_estimate,
	&series_filtered,
	&entities,
	&entities_limit,
	&entities_recycled_total,
	&log_dropped_total,
	&http_requests_total,
	&http_timeouts_total,
	NULL,
};

static void write_plain(struct metric_writer *writer, const struct metric_desc *desc, double value)
{
	metric_write(writer, desc, ENTITY_NONE, NULL, value);
}

static double to_seconds(struct timeval time)
{
	return (double)time.tv_sec + (double)time.tv_usec * 1e-6;
}

/* Field 22 of /proc/self/stat: ticks after boot. */
static double find_start_time(void)
{
	unsigned long long ticks = 0;
	struct timespec since_boot, now;
	char stat[1024];
	const char *end;
	FILE *file = fopen("/proc/self/stat", "re");
	size_t n;

	if (!file)
		return 0;
	n = fread(stat, 1, sizeof(stat) - 1, file);
	fclose(file);
	stat[n] = '\0';
	end = strrchr(stat, ')'); /* the name in parentheses may hold anything */
	if (!end ||
	    sscanf(end + 1,
		   " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
		   &ticks) != 1)
		return 0;
	clock_gettime(CLOCK_BOOTTIME, &since_boot);
	clock_gettime(CLOCK_REALTIME, &now);
	return (double)(now.tv_sec - since_boot.tv_sec) +
	       (double)(now.tv_nsec - since_boot.tv_nsec) / 1e9 +
	       (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

static unsigned count_open_fds(void)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned n = 0;

	if (!directory)
		return 0;
	for (struct dirent *entry; (entry = readdir(directory));)
		n += entry->d_name[0] != '.';
	closedir(directory);
	return n - 1; /* the directory's own */
}

static void write_process(struct metric_writer *writer)
{
	static double started; /* the same all along: a constant, found once */
	unsigned long pages_virtual = 0, pages_resident = 0;
	double page = (double)sysconf(_SC_PAGESIZE);
	struct rlimit limit;
	struct rusage usage;
	FILE *file = fopen("/proc/self/statm", "re");

	if (file) {
		if (fscanf(file, "%lu %lu", &pages_virtual, &pages_resident) == 2) {
			write_plain(writer, &virtual_bytes, (double)pages_virtual * page);
			write_plain(writer, &resident_bytes, (double)pages_resident * page);
		}
		fclose(file);
	}
	if (started == 0)
		started = find_start_time();
	getrusage(RUSAGE_SELF, &usage);
	write_plain(writer, &cpu_seconds, to_seconds(usage.ru_utime) + to_seconds(usage.ru_stime));
	write_plain(writer, &start_time, started);
	write_plain(writer, &open_fds, count_open_fds());
	if (!getrlimit(RLIMIT_NOFILE, &limit))
		write_plain(writer, &max_fds, (double)limit.rlim_cur);
}

struct probe_writer {
	struct metric_writer *writer;
	const char *probe;
};

static void write_loss(void *context, const char *reason, uint64_t total)
{
	const struct probe_writer *to = context;

	metric_write(to->writer, &probe_lost_total, ENTITY_NONE,
		     (const char *[]){ to->probe, reason }, (double)total);
}

static void write_map(void *context, const char *map, const struct map_shape *shape, uint64_t bytes)
{
	const struct probe_writer *to = context;

	metric_write(to->writer, &map_bytes, ENTITY_NONE, (const char *[]){ to->probe, map },
		     (double)bytes);
}

static void write_dropped(void *context, const char *metric, uint64_t n, double distinct)
{
	const char *const labels[] = { metric };

	metric_write(context, &series_dropped_total, ENTITY_NONE, labels, (double)n);
	metric_write(context, &series_folded_estimate, ENTITY_NONE, labels, round(distinct));
}

static void write_probe(struct metric_writer *writer, struct probe *probe)
{
	struct probe_writer to = { writer, probe_description(probe)->name };
	const char *const labels[] = { to.probe };
	enum probe_state state = probe_current_state(probe);

	if (state == PROBE_DISABLED)
		return;
	metric_write(writer, &probe_up, ENTITY_NONE, labels, state != PROBE_FAILED);
	metric_write(writer, &probe_degraded, ENTITY_NONE, labels, state == PROBE_DEGRADED);
	if (state == PROBE_FAILED)
		return;
	if (probe_description(probe)->open) {
		metric_write(writer, &probe_events_total, ENTITY_NONE, labels,
			     (double)probe_events(probe));
		probe_each_loss(probe, write_loss, &to);
		probe_each_map(probe, write_map, &to);
	}
}

void self_write_metrics(const struct self_sources *sources, struct metric_writer *writer)
{
	metric_write(writer, &build_info, ENTITY_NONE,
		     (const char *[]){ leadline_version, leadline_commit, libbpf_version_string() },
		     1);
	write_process(writer);
	for (size_t i = 0; i < sources->n_probes; i++)
		write_probe(writer, sources->probes[i]);
	if (sources->entities) {
		struct entity_counts counts = entity_table_counts(sources->entities);

		write_plain(writer, &entities, counts.in_use);
		write_plain(writer, &entities_limit, counts.capacity);
		write_plain(writer, &entities_recycled_total, (double)counts.recycled);
	}
	memory_bound_write(sources, writer);
	write_plain(writer, &collection_seconds, (double)sources->collection_ns / 1e9);
	write_plain(writer, &series, (double)sources->n_series);
	write_plain(writer, &log_dropped_total, (double)log_dropped());
	registry_each_dropped(sources->registry, write_dropped, writer);
	for (enum series_verdict why = SERIES_PASSES + 1; why < SERIES_VERDICTS; why++)
		metric_write(writer, &series_filtered, ENTITY_NONE, &series_verdict_names[why],
			     (double)registry_filtered(sources->registry, why));
}

static void write_http_count(void *context, const char *route, const char *status, uint64_t count)
{
	metric_write(context, &http_requests_total, ENTITY_NONE, (const char *[]){ route, status },
		     (double)count);
}

void self_write_http_metrics(const struct http_server *server, struct metric_writer *writer)
{
	http_server_each_count(server, write_http_count, writer);
	write_plain(writer, &http_timeouts_total, (double)http_server_timeouts(server));
}
