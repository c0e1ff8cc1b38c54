/* SPDX-License-Identifier: Apache-2.0 */
/* The metrics of the host probe. Only host.c includes this: their descriptors take more room than its code. */
#ifndef LEADLINE_HOST_METRICS_H
#define LEADLINE_HOST_METRICS_H

#include "agent/metric.h"

#define MAX_INTERFACE_SERIES (2 * 128)

static const struct metric_desc cpu_utilization = {
	.name = "leadline_host_cpu_utilization_ratio",
	.help = "Share of CPU time not idle and not waiting for I/O, of all CPUs, over the last second or "
		"since the collection before it",
	.unit = "ratio",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc cpu_seconds = {
	.name = "leadline_host_cpu_seconds_total",
	.help = "CPU time of all CPUs by mode; guest time is in user and nice",
	.unit = "seconds",
	.kind = METRIC_COUNTER,
	.labels = { "mode" },
};
static const struct metric_desc cpus = {
	.name = "leadline_host_cpus",
	.help = "CPUs online",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc interrupts = {
	.name = "leadline_host_interrupts_total",
	.help = "Interrupts served",
	.kind = METRIC_COUNTER,
};
static const struct metric_desc forks = {
	.name = "leadline_host_forks_total",
	.help = "Processes and threads made",
	.kind = METRIC_COUNTER,
};
static const struct metric_desc tasks = {
	.name = "leadline_host_tasks",
	.help = "Threads running or ready to run, and threads blocked by I/O",
	.kind = METRIC_GAUGE,
	.labels = { "state" },
};
static const struct metric_desc boot_time = {
	.name = "leadline_host_boot_time_seconds",
	.help = "When the host was started, as seconds since 1970",
	.unit = "seconds",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc uptime = {
	.name = "leadline_host_uptime_seconds",
	.help = "Time since the host was started, suspend included",
	.unit = "seconds",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc load1 = {
	.name = "leadline_host_load1",
	.help = "Threads running, ready or in uninterruptible sleep, averaged over one minute",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc load5 = {
	.name = "leadline_host_load5",
	.help = "The same over five minutes",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc load15 = {
	.name = "leadline_host_load15",
	.help = "The same over fifteen minutes",
	.kind = METRIC_GAUGE,
};

static const struct metric_desc memory_utilization = {
	.name = "leadline_host_memory_utilization_ratio",
	.help = "Share of memory that could not be given to new programs without swapping",
	.unit = "ratio",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc memory = {
	.name = "leadline_host_memory_bytes",
	.help = "Memory by what it is used for; the states add up to all memory",
	.unit = "bytes",
	.kind = METRIC_GAUGE,
	.labels = { "state" },
};
static const struct metric_desc memory_total = {
	.name = "leadline_host_memory_total_bytes",
	.help = "All memory the kernel manages",
	.unit = "bytes",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc memory_available = {
	.name = "leadline_host_memory_available_bytes",
	.help = "Memory that could be given to new programs without swapping, as the kernel estimates it",
	.unit = "bytes",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc memory_unwritten = {
	.name = "leadline_host_memory_unwritten_bytes",
	.help = "File contents in memory that are not on disk yet: dirty, or being written back",
	.unit = "bytes",
	.kind = METRIC_GAUGE,
	.labels = { "state" },
};
static const struct metric_desc swap = {
	.name = "leadline_host_swap_bytes",
	.help = "Swap space, used and free",
	.unit = "bytes",
	.kind = METRIC_GAUGE,
	.labels = { "state" },
};

#define FILESYSTEM_LABELS "device", "mountpoint", "fstype"

static const struct metric_desc filesystem_utilization = {
	.name = "leadline_host_filesystem_utilization_ratio",
	.help = "Share of the space for unprivileged users that is taken, as df shows it",
	.unit = "ratio",
	.kind = METRIC_GAUGE,
	.labels = { FILESYSTEM_LABELS },
};
static const struct metric_desc filesystem_size = {
	.name = "leadline_host_filesystem_size_bytes",
	.help = "Size of the filesystem",
	.unit = "bytes",
	.kind = METRIC_GAUGE,
	.labels = { FILESYSTEM_LABELS },
};
static const struct metric_desc filesystem_available = {
	.name = "leadline_host_filesystem_available_bytes",
	.help = "Free space for unprivileged users",
	.unit = "bytes",
	.kind = METRIC_GAUGE,
	.labels = { FILESYSTEM_LABELS },
};
static const struct metric_desc filesystem_inodes = {
	.name = "leadline_host_filesystem_inodes",
	.help = "Inodes of the filesystem; absent where they are made as needed",
	.kind = METRIC_GAUGE,
	.labels = { FILESYSTEM_LABELS },
};
static const struct metric_desc filesystem_inodes_free = {
	.name = "leadline_host_filesystem_inodes_free",
	.help = "Free inodes of the filesystem",
	.kind = METRIC_GAUGE,
	.labels = { FILESYSTEM_LABELS },
};
static const struct metric_desc filesystem_readonly = {
	.name = "leadline_host_filesystem_readonly",
	.help = "1 when the filesystem is mounted read-only",
	.kind = METRIC_GAUGE,
	.labels = { FILESYSTEM_LABELS },
};

static const struct metric_desc network_bytes = {
	.name = "leadline_host_network_bytes_total",
	.help = "Bytes that passed the interface",
	.kind = METRIC_COUNTER,
	.unit = "bytes",
	.labels = { "interface", "direction" },
	.max_series = MAX_INTERFACE_SERIES,
};
static const struct metric_desc network_packets = {
	.name = "leadline_host_network_packets_total",
	.help = "Packets that passed the interface",
	.kind = METRIC_COUNTER,
	.labels = { "interface", "direction" },
	.max_series = MAX_INTERFACE_SERIES,
};
static const struct metric_desc network_errors = {
	.name = "leadline_host_network_errors_total",
	.help = "Packets the interface could not receive or send for errors",
	.kind = METRIC_COUNTER,
	.labels = { "interface", "direction" },
	.max_series = MAX_INTERFACE_SERIES,
};
static const struct metric_desc network_drops = {
	.name = "leadline_host_network_drops_total",
	.help = "Packets the interface dropped for lack of room, or of anybody who wants them",
	.kind = METRIC_COUNTER,
	.labels = { "interface", "direction" },
	.max_series = MAX_INTERFACE_SERIES,
};

static const struct metric_desc pressure_seconds = {
	.name = "leadline_host_pressure_seconds_total",
	.help = "Time in which some, or all (full), runnable work waited for the resource",
	.unit = "seconds",
	.kind = METRIC_COUNTER,
	.labels = { "resource", "kind" },
};
static const struct metric_desc open_files = {
	.name = "leadline_host_open_files",
	.help = "Open files of the whole host",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc open_files_limit = {
	.name = "leadline_host_open_files_limit",
	.help = "Open files the kernel allows (fs.file-max)",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc open_files_ratio = {
	.name = "leadline_host_open_files_ratio",
	.help = "Open files as a share of what the kernel allows",
	.unit = "ratio",
	.kind = METRIC_GAUGE,
};

static const struct metric_desc *const host_metrics[] = {
	&cpu_utilization,
	&cpu_seconds,
	&cpus,
	&interrupts,
	&forks,
	&tasks,
	&boot_time,
	&uptime,
	&load1,
	&load5,
	&load15,
	&memory_utilization,
	&memory,
	&memory_total,
	&memory_available,
	&memory_unwritten,
	&swap,
	&filesystem_utilization,
	&filesystem_size,
	&filesystem_available,
	&filesystem_inodes,
	&filesystem_inodes_free,
	&filesystem_readonly,
	&network_bytes,
	&network_packets,
	&network_errors,
	&network_drops,
	&pressure_seconds,
	&open_files,
	&open_files_limit,
	&open_files_ratio,
	NULL,
};

#endif
