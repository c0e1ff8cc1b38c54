// SPDX-License-Identifier: Apache-2.0
/*
 * The host probe: bytes of /proc in, series out. The parsers get every prefix of their input in memory of
 * exactly that size, so that the sanitizers see a read beyond it. The probe runs on a directory of
 * fixtures, then on the real /proc, with this file in the core's place.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "agent/registry.h"
#include "probes/host_cpu.h"
#include "probes/host_mounts.h"
#include "probes/host_parse.h"
#include "probes/probe.h"

static const char stat_text[] = "cpu  100 20 300 4000 50 6 7 8 9 1\n"
				"cpu0 50 10 150 2000 25 3 4 4 5 1\n"
				"cpu1 50 10 150 2000 25 3 3 4 4 0\n"
				"intr 424242 1 2 3\n"
				"ctxt 999\n"
				"btime 1700000000\n"
				"processes 4711\n"
				"procs_running 3\n"
				"procs_blocked 2\n"
				"softirq 1 2 3\n";

static const char meminfo_text[] =
	"MemTotal:       1000 kB\nMemFree:         200 kB\nMemAvailable:    600 kB\n"
	"Buffers:          50 kB\nCached:          300 kB\nSwapCached:        0 kB\n"
	"SwapTotal:       500 kB\nSwapFree:        400 kB\nDirty:             7 kB\n"
	"Writeback:         1 kB\nShmem:            11 kB\nSReclaimable:     40 kB\n";

static const char net_text[] =
	"Inter-|   Receive                                                |  Transmit\n"
	" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls "
	"carrier compressed\n"
	"    lo: 3267 29 0 0 0 0 0 0 3267 29 0 0 0 0 0 0\n"
	"  eth0:18446744073709551615 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"
	"veth12: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n";

static const char pressure_text[] = "some avg10=1.97 avg60=1.60 avg300=0.44 total=6989353\n"
				    "full avg10=0.00 avg60=0.00 avg300=0.00 total=21\n";

/* A copy without anything behind it. */
static char *exact(const char *text, size_t size)
{
	char *copy = malloc(size ? size : 1);

	assert_non_null(copy);
	memcpy(copy, text, size);
	return copy;
}

static void parses_stat(void **state)
{
	struct host_stat stat;

	assert_int_equal(host_parse_stat(stat_text, strlen(stat_text), &stat), 0);
	assert_int_equal(stat.ticks[HOST_CPU_USER], 100);
	assert_int_equal(stat.ticks[HOST_CPU_IOWAIT], 50);
	assert_int_equal(stat.ticks[HOST_CPU_STEAL], 8);
	assert_int_equal(stat.cpus, 2);
	assert_int_equal(stat.interrupts, 424242);
	assert_int_equal(stat.forks, 4711);
	assert_int_equal(stat.running, 3);
	assert_int_equal(stat.blocked, 2);
	assert_int_equal(stat.boot_time, 1700000000);
}

static void refuses_other_stat(void **state)
{
	static const char *const others[] = {
		"",
		"\n\n",
		"cpu 1 2 3\ncpu0 1 2 3\n", /* too few */
		"cpu  1 2 3 4 5 6 7 8\n", /* no CPU */
		"cpu0 1 2 3 4 5 6 7 8\n", /* no sum */
		"cpu  1 2 3 4 5 6 7 99999999999999999999\ncpu0\n", /* beyond 64 bits */
		"cpu  1 2 -3 4 5 6 7 8\ncpu0\n",
		"cpu  1 2 3 4 5 6 7 8\ncpu0\nbtime x\n",
	};
	struct host_stat stat = { .cpus = 77 };

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_int_equal(host_parse_stat(others[i], strlen(others[i]), &stat), -EBADMSG);
	assert_int_equal(stat.cpus, 77); /* untouched */
}

static void parses_meminfo(void **state)
{
	struct host_memory memory = { .total = 77 };
	static const char huge[] = "MemTotal: 18446744073709551615 kB\nMemAvailable: 1 kB\n";

	assert_int_equal(host_parse_meminfo(meminfo_text, 16, &memory), -EBADMSG);
	assert_int_equal(host_parse_meminfo(huge, strlen(huge), &memory), -EBADMSG);
	assert_int_equal(memory.total, 77);
	assert_int_equal(host_parse_meminfo(meminfo_text, strlen(meminfo_text), &memory), 0);
	assert_int_equal(memory.total, 1000 * 1024);
	assert_int_equal(memory.available, 600 * 1024);
	assert_int_equal(memory.cached, 300 * 1024); /* not SwapCached */
	assert_int_equal(memory.slab_reclaimable, 40 * 1024);
	assert_int_equal(memory.swap_free, 400 * 1024);
	assert_int_equal(memory.dirty, 7 * 1024);
}

static void parses_file_nr(void **state)
{
	uint64_t open = 7, limit = 7;

	assert_int_equal(host_parse_file_nr("557\t0\t0\n", 8, &open, &limit), -EBADMSG);
	assert_int_equal(host_parse_file_nr("557\t0\n", 6, &open, &limit), -EBADMSG);
	assert_int_equal(open, 7);
	assert_int_equal(host_parse_file_nr("557\t7\t9223372036854775807\n", 26, &open, &limit), 0);
	assert_int_equal(open, 550);
	assert_int_equal(limit, INT64_MAX);
}

static void parses_pressure(void **state)
{
	static const char only_full[] = "full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
	static const char no_total[] = "some avg10=0.00\nfull total=\n";
	struct host_pressure pressure;

	assert_int_equal(host_parse_pressure(pressure_text, strlen(pressure_text), &pressure), 0);
	assert_true(pressure.has_some && pressure.has_full);
	assert_int_equal(pressure.some_us, 6989353);
	assert_int_equal(pressure.full_us, 21);
	assert_int_equal(host_parse_pressure(only_full, strlen(only_full), &pressure), 0);
	assert_false(pressure.has_some);
	assert_int_equal(pressure.full_us, 5);
	assert_int_equal(host_parse_pressure(no_total, strlen(no_total), &pressure), -EBADMSG);
	assert_int_equal(host_parse_pressure("", 0, &pressure), -EBADMSG);
}

static void parses_interfaces(void **state)
{
	struct host_interface interface;
	size_t cursor = 0;

	assert_true(host_parse_interface(net_text, strlen(net_text), &cursor, &interface));
	assert_string_equal(interface.name, "lo");
	assert_int_equal(interface.counters[HOST_TRANSMIT].bytes, 3267);
	assert_true(host_parse_interface(net_text, strlen(net_text), &cursor, &interface));
	assert_string_equal(interface.name, "eth0");
	assert_true(interface.counters[HOST_RECEIVE].bytes == UINT64_MAX);
	assert_int_equal(interface.counters[HOST_RECEIVE].packets, 2);
	assert_int_equal(interface.counters[HOST_RECEIVE].errors, 3);
	assert_int_equal(interface.counters[HOST_RECEIVE].drops, 4);
	assert_int_equal(interface.counters[HOST_TRANSMIT].bytes, 9);
	assert_int_equal(interface.counters[HOST_TRANSMIT].drops, 12);
	assert_true(host_parse_interface(net_text, strlen(net_text), &cursor, &interface));
	assert_string_equal(interface.name, "veth12");
	assert_false(host_parse_interface(net_text, strlen(net_text), &cursor, &interface));
	assert_false(host_parse_interface(net_text, strlen(net_text), &cursor, &interface));
}

static void skips_bad_interfaces(void **state)
{
	static const char text[] = ": 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"
				   "a_name_of_sixteen: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"
				   "short: 1 2 3\n"
				   "no colon here\n"
				   "eth0:1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16";
	struct host_interface interface;
	size_t cursor = 0;

	assert_true(host_parse_interface(text, strlen(text), &cursor, &interface));
	assert_string_equal(interface.name, "eth0:1");
	assert_false(host_parse_interface(text, strlen(text), &cursor, &interface));
}

/* No prefix of a file may be read beyond its end, whatever the answer. */
static void survives_truncation(void **state)
{
	static const struct {
		const char *text;
		size_t size;
	} texts[] = {
		{ stat_text, sizeof(stat_text) }, { meminfo_text, sizeof(meminfo_text) },
		{ net_text, sizeof(net_text) },	  { pressure_text, sizeof(pressure_text) },
		{ "\0\0\0\0 \xff\xff:\n", 10 },
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		for (size_t size = 0; size <= texts[i].size; size++) {
			char *text = exact(texts[i].text, size);
			struct host_interface interface;
			struct host_pressure pressure;
			struct host_memory memory;
			struct host_stat stat;
			uint64_t a, b;
			size_t cursor = 0;

			host_parse_stat(text, size, &stat);
			host_parse_meminfo(text, size, &memory);
			host_parse_file_nr(text, size, &a, &b);
			host_parse_pressure(text, size, &pressure);
			while (host_parse_interface(text, size, &cursor, &interface))
				;
			assert_int_equal(cursor, size);
			free(text);
		}
	}
}

static void matches_patterns(void **state)
{
	char *patterns = host_patterns_new("veth*, lxc?,,eth0");
	char *none = host_patterns_new(" ,, ");

	assert_true(host_patterns_match(patterns, "veth12"));
	assert_true(host_patterns_match(patterns, "lxc1"));
	assert_true(host_patterns_match(patterns, "eth0"));
	assert_false(host_patterns_match(patterns, "lxc12"));
	assert_false(host_patterns_match(patterns, ""));
	assert_false(host_patterns_match(none, "eth0"));
	free(patterns);
	free(none);
}

/* ---- CPU ---- */

static bool utilization_at(struct host_cpu *cpu, double seconds, uint64_t busy, uint64_t idle,
			   double *ratio)
{
	struct host_stat stat = { .cpus = 2,
				  .ticks = { [HOST_CPU_USER] = busy, [HOST_CPU_IDLE] = idle } };

	return host_cpu_utilization(cpu, &stat, (uint64_t)(seconds * 1e9), ratio);
}

static void utilization_is_well_defined(void **state)
{
	struct host_cpu cpu = { .ticks_per_second = 100 };
	double ratio = -1;

	assert_false(utilization_at(&cpu, 10, 1000, 1000, &ratio)); /* nothing to compare with */
	assert_false(utilization_at(&cpu, 10.001, 1000, 1000, &ratio)); /* too soon */
	assert_true(utilization_at(&cpu, 10.5, 1025, 1075, &ratio));
	assert_float_equal(ratio, 0.25, 1e-9);
	assert_true(utilization_at(&cpu, 20, 2000, 2000, &ratio));
	assert_float_equal(ratio, 0.5, 1e-9); /* since 10 */
	/* Another scrape right after: still since 10, not the 0/0 or 1/1 of a tick. */
	assert_true(utilization_at(&cpu, 20.005, 2001, 2000, &ratio));
	assert_float_equal(ratio, 1001. / 2001, 1e-9);
	assert_true(utilization_at(&cpu, 30, 2000, 4000, &ratio));
	assert_float_equal(ratio, 0, 1e-9); /* since 20 */
	/* Counters that went back, as after a restore from a checkpoint: nothing to say, no nonsense. */
	assert_false(utilization_at(&cpu, 40, 10, 10, &ratio));
	/* idle alone went back: not above 1. */
	assert_false(utilization_at(&cpu, 50, 10, 10, &ratio));
	assert_true(utilization_at(&cpu, 60, 200, 5, &ratio));
	assert_float_equal(ratio, 1, 1e-9);
}

static void cpu_counters_do_not_go_back(void **state)
{
	struct host_cpu cpu = { .ticks_per_second = 100 };
	struct host_stat stat = { .cpus = 2, .ticks = { [HOST_CPU_IDLE] = 5000 } };

	assert_float_equal(host_cpu_seconds(&cpu, &stat, HOST_CPU_IDLE), 50, 1e-9);
	stat.ticks[HOST_CPU_IDLE] = 4990;
	assert_float_equal(host_cpu_seconds(&cpu, &stat, HOST_CPU_IDLE), 50, 1e-9);
	stat.ticks[HOST_CPU_IDLE] = 5001;
	assert_float_equal(host_cpu_seconds(&cpu, &stat, HOST_CPU_IDLE), 50.01, 1e-9);
	stat.ticks[HOST_CPU_IDLE] = 3; /* began anew */
	assert_float_equal(host_cpu_seconds(&cpu, &stat, HOST_CPU_IDLE), 0.03, 1e-9);
}

/* ---- mounts ---- */

static const char mounts_text[] =
	"22 27 0:21 / /proc rw,relatime - proc proc rw\n"
	"25 24 0:23 / /dev/shm rw,relatime - tmpfs tmpfs rw\n"
	"40 27 8:1 /var/lib/x /etc/hosts rw - ext4 /dev/sda1 rw\n" /* a bind mount, before its whole */
	"27 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
	"28 27 8:1 / /mnt/again rw,relatime - ext4 /dev/sda1 rw\n"
	"this is no mount\n"
	"29 27 8:2 / /with\\040space rw master:3 - xfs /dev/sda2 rw\n"
	"30 27 0:50 / /nfs rw - nfs4 server:/export rw\n"
	"31 30 8:3 / /nfs/local rw - ext4 /dev/sda3 rw\n" /* behind a server */
	"32 27 0:51 / /sshfs rw - fuse.sshfs me@there: rw\n"
	"33 27 7:1 / /snap/core/1 ro - squashfs /dev/loop1 ro\n"
	"34 27 0:52 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw\n"
	"35 27 8:4 / /data rw - ext4 /dev/sda4 rw\n";

static size_t parse_mounts(const char *text, struct host_mount_rules rules,
			   struct host_mount **mounts)
{
	size_t n, dropped;

	if (!rules.rootfs)
		rules.rootfs = "";
	if (!rules.exclude_types)
		rules.exclude_types = "squashfs\0";
	if (!rules.exclude_mountpoints)
		rules.exclude_mountpoints = "";
	assert_int_equal(host_mounts_parse(text, strlen(text), &rules, mounts, &n, &dropped), 0);
	assert_int_equal(dropped, 0);
	return n;
}

static void chooses_filesystems(void **state)
{
	struct host_mount *mounts;
	size_t n = parse_mounts(mounts_text, (struct host_mount_rules){ 0 }, &mounts);

	assert_int_equal(n, 3);
	assert_string_equal(mounts[0].mountpoint, "/");
	assert_string_equal(mounts[0].device, "/dev/sda1");
	assert_string_equal(mounts[0].type, "ext4");
	assert_string_equal(mounts[1].mountpoint, "/with space");
	assert_string_equal(mounts[2].mountpoint, "/data");
	host_mounts_free(mounts, n);
}

/* A service or container sees the tree mounted read-only; what counts is the filesystem itself. */
static void tells_a_readonly_filesystem_from_a_readonly_mount(void **state)
{
	struct host_mount *mounts;
	size_t n = parse_mounts("1 0 8:1 / / ro,relatime - ext4 /dev/sda1 rw,discard\n"
				"2 1 8:2 / /broken rw - ext4 /dev/sda2 ro,errors=remount-ro\n",
				(struct host_mount_rules){ 0 }, &mounts);

	assert_int_equal(n, 2);
	assert_false(mounts[0].readonly);
	assert_true(mounts[1].readonly);
	host_mounts_free(mounts, n);
}

static void follows_mount_options(void **state)
{
	struct host_mount *mounts;
	size_t n;

	n = parse_mounts(mounts_text,
			 (struct host_mount_rules){ .rootfs = "/host",
						    .remote = true,
						    .exclude_mountpoints = "/data\0/with*\0" },
			 &mounts);
	assert_int_equal(n, 4); /* /, /nfs, /nfs/local, /sshfs */
	assert_string_equal(mounts[1].mountpoint, "/nfs");
	assert_string_equal(mounts[1].path, "/host/nfs");
	assert_string_equal(mounts[3].mountpoint, "/sshfs");
	host_mounts_free(mounts, n);

	/* An overlay is a container's root; its volumes come from the host's disks. */
	n = parse_mounts(
		"1 0 0:60 / / rw - overlay overlay rw\n2 1 8:1 /v /data rw - ext4 /dev/sda1 rw\n",
		(struct host_mount_rules){ 0 }, &mounts);
	assert_int_equal(n, 2);
	host_mounts_free(mounts, n);

	/* The container's own table, with the host's root below /host. */
	n = parse_mounts(
		"1 0 0:60 / / rw - overlay overlay rw\n2 1 8:1 / /host rw - ext4 /dev/sda1 rw\n"
		"3 2 8:2 / /host/data rw - ext4 /dev/sda2 rw\n4 1 8:3 / /hostile rw - ext4 /dev/sda3 rw\n",
		(struct host_mount_rules){ .rootfs = "/host", .below_rootfs = true }, &mounts);
	assert_int_equal(n, 2);
	assert_string_equal(mounts[0].mountpoint, "/");
	assert_string_equal(mounts[1].mountpoint, "/data");
	assert_string_equal(mounts[1].path, "/host/data");
	host_mounts_free(mounts, n);
}

static void bounds_filesystems(void **state)
{
	const struct host_mount_rules rules = { "", false, false, "", "" };
	struct host_mount *mounts;
	size_t n, dropped, size = 0;
	char *text = malloc(300 * 64);

	for (int i = 0; i < 300; i++)
		size += (size_t)sprintf(text + size, "%d 1 8:%d / /m%d rw - ext4 /dev/sd%d rw\n",
					i + 2, i, i, i);
	assert_int_equal(host_mounts_parse(text, size, &rules, &mounts, &n, &dropped), 0);
	assert_int_equal(n, HOST_MAX_MOUNTS);
	assert_int_equal(dropped, 300 - HOST_MAX_MOUNTS);
	host_mounts_free(mounts, n);
	free(text);

	assert_int_equal(host_mounts_parse("", 0, &rules, &mounts, &n, &dropped), 0);
	assert_int_equal(n, 0);
	host_mounts_free(mounts, n);
	for (size_t i = 0; i < sizeof(mounts_text); i++) {
		text = exact(mounts_text, i);
		assert_int_equal(host_mounts_parse(text, i, &rules, &mounts, &n, &dropped), 0);
		host_mounts_free(mounts, n);
		free(text);
	}
}

/* ---- the probe, on fixtures ---- */

struct probe {
	void *data;
	const char *procfs;
	const char *rootfs;
	unsigned degraded;
	char reason[256];
};

void probe_set_data(struct probe *probe, void *data)
{
	probe->data = data;
}

void *probe_data(struct probe *probe)
{
	return probe->data;
}

static const struct option_desc *find_option(const char *key)
{
	const struct option_desc *option = probe_host.options;

	while (option->key && strcmp(option->key, key) != 0)
		option++;
	assert_non_null(option->key);
	return option;
}

const char *probe_option_string(struct probe *probe, const char *key)
{
	const struct option_desc *option = find_option(key);

	if (strcmp(key, "procfs") == 0 && probe->procfs)
		return probe->procfs;
	if (strcmp(key, "rootfs") == 0 && probe->rootfs)
		return probe->rootfs;
	return option->fallback;
}

bool probe_option_bool(struct probe *probe, const char *key)
{
	return strcmp(find_option(key)->fallback, "true") == 0;
}

void probe_degrade(struct probe *probe, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(probe->reason, sizeof(probe->reason), format, arguments);
	va_end(arguments);
	probe->degraded++;
}

void probe_log(struct probe *probe, enum probe_log_level level, const char *format, ...)
{
}

static const char *const *no_entity(void *context, uint32_t entity)
{
	return NULL; /* never asked: no metric here is per entity */
}

static struct snapshot *collect(struct registry *registry, struct probe *probe)
{
	struct metric_writer *writer = registry_begin(registry);
	struct snapshot *snapshot;

	assert_int_equal(probe_host.collect(probe, writer), 0);
	snapshot = registry_finish(registry);
	assert_non_null(snapshot);
	return snapshot;
}

/* The value of a series by its labels ("a,b"); NaN when it is absent. */
static double value_of(const struct snapshot *snapshot, const char *name, const char *labels)
{
	const struct family *family = snapshot_family(snapshot, name);

	for (size_t i = 0; family && i < family->n_series; i++) {
		char joined[256] = "";

		for (size_t j = 0; family->desc->labels[j]; j++)
			snprintf(joined + strlen(joined), sizeof(joined) - strlen(joined), "%s%s",
				 j ? "," : "", family->series[i].labels[j]);
		if (strcmp(joined, labels) == 0)
			return family->series[i].value;
	}
	return NAN;
}

static void write_fixture(const char *directory, const char *name, const char *text)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(path, 0755);
		*slash = '/';
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void remove_fixtures(const char *directory)
{
	char command[300];

	snprintf(command, sizeof(command), "rm -r '%s'", directory);
	assert_int_equal(system(command), 0);
}

static void collects_fixtures(void **state)
{
	char directory[] = "/tmp/leadline-host-XXXXXX";
	struct probe probe = { .procfs = directory };
	struct registry *registry = registry_new(no_entity, NULL);
	double ticks = (double)sysconf(_SC_CLK_TCK);
	struct snapshot *snapshot;

	assert_non_null(mkdtemp(directory));
	write_fixture(directory, "stat", stat_text);
	write_fixture(directory, "meminfo", meminfo_text);
	write_fixture(directory, "sys/fs/file-nr", "250\t0\t1000\n");
	write_fixture(directory, "net/dev", net_text);
	write_fixture(directory, "self/mountinfo", "1 0 0:21 / /proc rw - proc proc rw\n");
	assert_int_equal(probe_host.configure(&probe), 0);
	assert_int_equal(probe_host.start(&probe), 0);
	snapshot = collect(registry, &probe);

	/* No pressure files here: said once for all of them, and no zeroes. */
	assert_int_equal(probe.degraded, 1);
	assert_non_null(strstr(probe.reason, "psi=1"));
	assert_null(snapshot_family(snapshot, "leadline_host_pressure_seconds_total"));
	/* The first reading was moments ago: no utilization yet. */
	assert_null(snapshot_family(snapshot, "leadline_host_cpu_utilization_ratio"));

	assert_float_equal(value_of(snapshot, "leadline_host_cpu_seconds_total", "system"),
			   300 / ticks, 1e-9);
	assert_float_equal(value_of(snapshot, "leadline_host_cpus", ""), 2, 0);
	assert_float_equal(value_of(snapshot, "leadline_host_memory_utilization_ratio", ""), 0.4,
			   1e-9);
	assert_float_equal(value_of(snapshot, "leadline_host_memory_bytes", "used"), 410 * 1024, 0);
	assert_float_equal(value_of(snapshot, "leadline_host_swap_bytes", "used"), 100 * 1024, 0);
	assert_float_equal(value_of(snapshot, "leadline_host_open_files_ratio", ""), 0.25, 1e-9);
	assert_float_equal(value_of(snapshot, "leadline_host_network_bytes_total", "lo,receive"),
			   3267, 0);
	assert_float_equal(value_of(snapshot, "leadline_host_network_drops_total", "eth0,transmit"),
			   12, 0);
	assert_true(
		isnan(value_of(snapshot, "leadline_host_network_bytes_total", "veth12,receive")));
	assert_float_equal(value_of(snapshot, "leadline_host_boot_time_seconds", ""), 1700000000,
			   0);
	assert_null(snapshot_family(snapshot, "leadline_host_filesystem_size_bytes"));
	snapshot_put(snapshot);

	/* A file that turns bad loses its own metrics only; one that comes back is read again. */
	write_fixture(directory, "meminfo", "MemTotal: x\n");
	write_fixture(directory, "pressure/io", pressure_text);
	snapshot = collect(registry, &probe);
	assert_int_equal(probe.degraded, 2);
	assert_null(snapshot_family(snapshot, "leadline_host_memory_bytes"));
	assert_float_equal(value_of(snapshot, "leadline_host_pressure_seconds_total", "io,some"),
			   6.989353, 1e-9);
	assert_float_equal(value_of(snapshot, "leadline_host_pressure_seconds_total", "io,full"),
			   21e-6, 1e-12);
	snapshot_put(snapshot);

	probe_host.destroy(&probe);
	registry_free(registry);
	remove_fixtures(directory);
}

static void fails_without_procfs(void **state)
{
	struct probe probe = { .procfs = "/nonexistent" };

	assert_int_equal(probe_host.configure(&probe), 0);
	assert_int_equal(probe_host.start(&probe), -ENOENT);
	probe_host.destroy(&probe);
	assert_null(probe.data);
	probe_host.destroy(&probe);
}

/* The running host, against what libc says about it. */
static void collects_this_host(void **state)
{
	struct probe probe = { 0 };
	struct registry *registry = registry_new(no_entity, NULL);
	struct snapshot *snapshot;
	double value;

	assert_int_equal(probe_host.configure(&probe), 0);
	assert_int_equal(probe_host.start(&probe), 0);
	for (int i = 0; i < 3; i++) {
		snapshot = collect(registry, &probe);
		value = value_of(snapshot, "leadline_host_cpus", "");
		assert_float_equal(value, (double)sysconf(_SC_NPROCESSORS_ONLN), 0);
		value = value_of(snapshot, "leadline_host_memory_total_bytes", "");
		assert_float_equal(
			value, (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE), 0);
		value = value_of(snapshot, "leadline_host_memory_utilization_ratio", "");
		assert_true(value > 0 && value < 1);
		assert_true(value_of(snapshot, "leadline_host_uptime_seconds", "") > 1);
		assert_true(value_of(snapshot, "leadline_host_open_files", "") > 1);
		assert_true(value_of(snapshot, "leadline_host_load1", "") >= 0);
		snapshot_put(snapshot);
	}
	probe_host.destroy(&probe);
	registry_free(registry);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_stat),
		cmocka_unit_test(refuses_other_stat),
		cmocka_unit_test(parses_meminfo),
		cmocka_unit_test(parses_file_nr),
		cmocka_unit_test(parses_pressure),
		cmocka_unit_test(parses_interfaces),
		cmocka_unit_test(skips_bad_interfaces),
		cmocka_unit_test(survives_truncation),
		cmocka_unit_test(matches_patterns),
		cmocka_unit_test(utilization_is_well_defined),
		cmocka_unit_test(cpu_counters_do_not_go_back),
		cmocka_unit_test(chooses_filesystems),
		cmocka_unit_test(tells_a_readonly_filesystem_from_a_readonly_mount),
		cmocka_unit_test(follows_mount_options),
		cmocka_unit_test(bounds_filesystems),
		cmocka_unit_test(collects_fixtures),
		cmocka_unit_test(fails_without_procfs),
		cmocka_unit_test(collects_this_host),
	};

	return cmocka_run_group_tests_name("host", tests, NULL, NULL);
}
