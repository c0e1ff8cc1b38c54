// SPDX-License-Identifier: Apache-2.0
/*
 * The host's own figures: CPU time, memory, filesystems, load, pressure, interfaces, open files. No kernel
 * side: files under /proc, kept open and read anew at each collection, and statfs(2). Loop thread.
 *
 * Nothing here waits for a disk or a server: filesystems served by others are left out unless asked for.
 * What the kernel does not offer is said once by probe_degrade(), and its metrics are absent.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>
#include "probes/host_cpu.h"
#include "probes/host_file.h"
#include "probes/host_metrics.h"
#include "probes/host_mounts.h"
#include "probes/host_parse.h"
#include "probes/probe.h"

/* A file below the procfs option. */
enum source_id {
	SOURCE_STAT,
	SOURCE_MEMINFO,
	SOURCE_NET,
	SOURCE_FILE_NR,
	SOURCE_PRESSURE_CPU,
	SOURCE_PRESSURE_MEMORY,
	SOURCE_PRESSURE_IO,
	SOURCE_PRESSURE_IRQ,
	SOURCE_MOUNTS,
	SOURCES,
};

struct host {
	char *rootfs; /* without slash at the end, "" for / */
	char *exclude_interfaces, *exclude_types, *exclude_mountpoints;
	struct host_file files[SOURCES];
	bool complained[SOURCES];
	struct host_text text; /* what was read last */
	struct host_cpu cpu;
	struct host_mount *mounts;
	size_t n_mounts;
	size_t n_visible; /* the first of them; the rest cannot be seen from here */
	bool check_readonly; /* one could not be written to from here: the table has to say why */
	bool complained_mounts;
};

static const struct option_desc host_options[] = {
	{ .key = "procfs",
	  .type = OPTION_STRING,
	  .fallback = "/proc",
	  .help = "where the host's proc filesystem is mounted; /host/proc in a container that has it there" },
	{ .key = "rootfs",
	  .type = OPTION_STRING,
	  .fallback = "/",
	  .help = "where the host's root is mounted, for the size of filesystems; /host in a container" },
	{ .key = "exclude_interfaces",
	  .type = OPTION_STRING,
	  .fallback = "veth*,cali*,lxc*,vnet*,tap*",
	  .help = "interfaces not reported: shell patterns separated by commas" },
	{ .key = "exclude_mountpoints",
	  .type = OPTION_STRING,
	  .fallback = "",
	  .help = "mount points not reported: shell patterns separated by commas" },
	{ .key = "exclude_filesystems",
	  .type = OPTION_STRING,
	  .fallback = "squashfs,erofs,cramfs,romfs,iso9660,udf",
	  .help = "filesystem types not reported (images that are always full): patterns separated by commas" },
	{ .key = "remote_filesystems",
	  .type = OPTION_BOOL,
	  .fallback = "false",
	  .help = "report network and FUSE filesystems too; the agent stands still while their server does not "
		  "answer" },
	{ .key = NULL },
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

/* ---- CPU, load, uptime ---- */

static int publish_stat(struct host *host, struct metric_writer *writer, const char *argument)
{
	struct host_stat stat;
	double ratio;
	int err = host_parse_stat(host->text.data, host->text.size, &stat);

	if (err)
		return err;
	if (host_cpu_utilization(&host->cpu, &stat, clock_ns(CLOCK_MONOTONIC), &ratio))
		metric_write(writer, &cpu_utilization, ENTITY_NONE, NULL, ratio);
	for (int mode = 0; mode < HOST_CPU_MODES; mode++)
		metric_write(writer, &cpu_seconds, ENTITY_NONE, &host_cpu_mode_names[mode],
			     host_cpu_seconds(&host->cpu, &stat, mode));
	metric_write(writer, &cpus, ENTITY_NONE, NULL, stat.cpus);
	metric_write(writer, &interrupts, ENTITY_NONE, NULL, (double)stat.interrupts);
	metric_write(writer, &forks, ENTITY_NONE, NULL, (double)stat.forks);
	metric_write(writer, &tasks, ENTITY_NONE, (const char *[]){ "running" },
		     (double)stat.running);
	metric_write(writer, &tasks, ENTITY_NONE, (const char *[]){ "blocked" },
		     (double)stat.blocked);
	metric_write(writer, &boot_time, ENTITY_NONE, NULL, (double)stat.boot_time);
	return 0;
}

/* Not from files: one system call has the load averages, and they are those of the host in any container. */
static void publish_load(struct metric_writer *writer)
{
	static const struct metric_desc *const loads[] = { &load1, &load5, &load15 };
	struct sysinfo info;
	bool known = sysinfo(&info) == 0;

	for (size_t i = 0; known && i < 3; i++)
		metric_write(writer, loads[i], ENTITY_NONE, NULL,
			     (double)info.loads[i] / (1 << SI_LOAD_SHIFT));
	metric_write(writer, &uptime, ENTITY_NONE, NULL, (double)clock_ns(CLOCK_BOOTTIME) / 1e9);
}

/* ---- memory, files, pressure, interfaces ---- */

/* a - b, 0 at least: figures of one file are not taken at one instant. */
static uint64_t difference(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static void write_memory(struct metric_writer *writer, const struct host_memory *now)
{
	uint64_t reusable = now->buffers + now->cached + now->slab_reclaimable;
	uint64_t available = now->available < now->total ? now->available : now->total;
	const struct {
		const struct metric_desc *desc;
		const char *state;
		uint64_t bytes;
	} values[] = {
		{ &memory, "used", difference(now->total, now->free + reusable) },
		{ &memory, "free", now->free },
		{ &memory, "buffers", now->buffers },
		{ &memory, "cached", now->cached },
		{ &memory, "slab_reclaimable", now->slab_reclaimable },
		{ &memory_total, NULL, now->total },
		{ &memory_available, NULL, available },
		{ &memory_unwritten, "dirty", now->dirty },
		{ &memory_unwritten, "writeback", now->writeback },
		{ &swap, "used", difference(now->swap_total, now->swap_free) },
		{ &swap, "free", now->swap_free },
	};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		metric_write(writer, values[i].desc, ENTITY_NONE,
			     values[i].state ? &values[i].state : NULL, (double)values[i].bytes);
	metric_write(writer, &memory_utilization, ENTITY_NONE, NULL,
		     1 - (double)available / (double)now->total);
}

static int publish_memory(struct host *host, struct metric_writer *writer, const char *argument)
{
	struct host_memory now;
	int err = host_parse_meminfo(host->text.data, host->text.size, &now);

	if (!err)
		write_memory(writer, &now);
	return err;
}

static int publish_files(struct host *host, struct metric_writer *writer, const char *argument)
{
	uint64_t open, limit;
	int err = host_parse_file_nr(host->text.data, host->text.size, &open, &limit);

	if (err)
		return err;
	metric_write(writer, &open_files, ENTITY_NONE, NULL, (double)open);
	metric_write(writer, &open_files_limit, ENTITY_NONE, NULL, (double)limit);
	metric_write(writer, &open_files_ratio, ENTITY_NONE, NULL, (double)open / (double)limit);
	return 0;
}

static int publish_pressure(struct host *host, struct metric_writer *writer, const char *resource)
{
	struct host_pressure now;
	int err = host_parse_pressure(host->text.data, host->text.size, &now);

	if (err)
		return err;
	if (now.has_some)
		metric_write(writer, &pressure_seconds, ENTITY_NONE,
			     (const char *[]){ resource, "some" }, (double)now.some_us / 1e6);
	if (now.has_full)
		metric_write(writer, &pressure_seconds, ENTITY_NONE,
			     (const char *[]){ resource, "full" }, (double)now.full_us / 1e6);
	return 0;
}

static int publish_interfaces(struct host *host, struct metric_writer *writer, const char *argument)
{
	static const char *const directions[] = {
		[HOST_RECEIVE] = "receive", [HOST_TRANSMIT] = "transmit"
	};
	struct host_interface interface;
	size_t cursor = 0;

	while (host_parse_interface(host->text.data, host->text.size, &cursor, &interface)) {
		if (host_patterns_match(host->exclude_interfaces, interface.name))
			continue;
		for (int i = 0; i < HOST_DIRECTIONS; i++) {
			const char *const labels[] = { interface.name, directions[i] };

			metric_write(writer, &network_bytes, ENTITY_NONE, labels,
				     (double)interface.counters[i].bytes);
			metric_write(writer, &network_packets, ENTITY_NONE, labels,
				     (double)interface.counters[i].packets);
			metric_write(writer, &network_errors, ENTITY_NONE, labels,
				     (double)interface.counters[i].errors);
			metric_write(writer, &network_drops, ENTITY_NONE, labels,
				     (double)interface.counters[i].drops);
		}
	}
	return 0;
}

/* ---- the files ---- */

static const char no_pressure[] =
	"pressure: the kernel keeps no pressure stall information (CONFIG_PSI; where it "
	"is off by default, boot with psi=1)";

/*
 * What pid 1 sees is the host's view also from a container that has the host's /proc mounted; a process
 * that may not look there has its own.
 */
/* clang-format off */
static const struct {
	const char *paths[2];
	const char *missing; /* what to say without it; the same text is said once. NULL: nothing */
	int (*publish)(struct host *host, struct metric_writer *writer, const char *argument);
	const char *argument;
	bool many; /* the kernel gives it out in pieces, each a read */
} source_descs[SOURCES] = {
	[SOURCE_STAT] = { { "stat" }, "CPU time cannot be read", publish_stat, NULL, false },
	[SOURCE_MEMINFO] = { { "meminfo" }, "memory cannot be read", publish_memory, NULL, false },
	[SOURCE_NET] = { { "1/net/dev", "net/dev" }, "interfaces cannot be read", publish_interfaces, NULL, true },
	[SOURCE_FILE_NR] = { { "sys/fs/file-nr" }, "open files cannot be read", publish_files, NULL, false },
	[SOURCE_PRESSURE_CPU] = { { "pressure/cpu" }, no_pressure, publish_pressure, "cpu", false },
	[SOURCE_PRESSURE_MEMORY] = { { "pressure/memory" }, no_pressure, publish_pressure, "memory", false },
	[SOURCE_PRESSURE_IO] = { { "pressure/io" }, no_pressure, publish_pressure, "io", false },
	/* Only where interrupt time is accounted for. */
	[SOURCE_PRESSURE_IRQ] = { { "pressure/irq" }, NULL, publish_pressure, "irq", false },
	[SOURCE_MOUNTS] = { { "1/mountinfo", "self/mountinfo" }, "filesystems cannot be read", NULL, NULL, true },
};
/* clang-format on */

static int source_read(struct probe *probe, enum source_id id)
{
	struct host *host = probe_data(probe);

	return host_file_read(&host->files[id], probe_option_string(probe, "procfs"),
			      source_descs[id].paths, source_descs[id].many, &host->text);
}

/* Says once what is missing, however many files it takes. */
static void source_complain(struct probe *probe, enum source_id id, int err)
{
	struct host *host = probe_data(probe);
	const char *missing = source_descs[id].missing;

	for (int other = 0; missing && other < SOURCES; other++) {
		if (source_descs[other].missing == missing && host->complained[other])
			return;
	}
	if (!missing)
		return;
	host->complained[id] = true;
	probe_degrade(probe, "%s: %s/%s: %s", missing, probe_option_string(probe, "procfs"),
		      source_descs[id].paths[0], strerror(-err));
}

/* ---- filesystems ---- */

/* The kernel marks an open mount table when mounts change: the table is read only then. */
static bool mounts_changed(const struct host *host)
{
	struct pollfd table = { .fd = host->files[SOURCE_MOUNTS].fd, .events = POLLPRI };

	return table.fd < 0 || poll(&table, 1, 0) != 0;
}

static bool complain_mounts(struct probe *probe, size_t n, size_t visible, size_t dropped)
{
	if (dropped)
		probe_degrade(probe,
			      "filesystems: %zu beyond the first %d are not reported; set "
			      "exclude_mountpoints",
			      dropped, HOST_MAX_MOUNTS);
	else if (n && !visible)
		probe_degrade(
			probe,
			"filesystems: none of the host's can be seen from here; mount its root into "
			"the container and set rootfs");
	return dropped || (n && !visible);
}

static int refresh_mounts(struct probe *probe)
{
	struct host *host = probe_data(probe);
	struct host_mount_rules rules = {
		.rootfs = host->rootfs,
		.remote = probe_option_bool(probe, "remote_filesystems"),
		.exclude_types = host->exclude_types,
		.exclude_mountpoints = host->exclude_mountpoints,
	};
	struct host_mount *mounts;
	size_t n, dropped, visible = 0;
	int err = source_read(probe, SOURCE_MOUNTS);

	if (err)
		return err;
	rules.below_rootfs = host->files[SOURCE_MOUNTS].fallback;
	err = host_mounts_parse(host->text.data, host->text.size, &rules, &mounts, &n, &dropped);
	if (err)
		return err;
	/* To the front those that can be seen; the others stay behind them, to be freed with the array. */
	for (size_t i = 0; i < n; i++) {
		struct host_mount mount = mounts[i];

		if (!host_mount_visible(&mount)) {
			probe_log(probe, PROBE_DEBUG, "%s on %s is not visible", mount.device,
				  mount.path);
			continue;
		}
		mounts[i] = mounts[visible];
		mounts[visible++] = mount;
	}
	if (!host->complained_mounts)
		host->complained_mounts = complain_mounts(probe, n, visible, dropped);
	host_mounts_free(host->mounts, host->n_mounts);
	host->mounts = mounts;
	host->n_mounts = n;
	host->n_visible = visible;
	return 0;
}

/* Returns whether it cannot be written to from here, be it for the filesystem or for this mount of it. */
static bool publish_filesystem(struct metric_writer *writer, const struct host_mount *mount)
{
	const char *const labels[] = { mount->device, mount->mountpoint, mount->type };
	struct statfs now;
	double block, used, available;

	if (statfs(mount->path, &now) || now.f_blocks == 0)
		return false;
	block = (double)(now.f_frsize ? now.f_frsize : now.f_bsize);
	used = now.f_blocks > now.f_bfree ? (double)(now.f_blocks - now.f_bfree) : 0;
	/* Negative, thus huge, on some filesystems when root has used up its reserve. */
	available = now.f_bavail <= now.f_blocks ? (double)now.f_bavail : 0;
	metric_write(writer, &filesystem_size, ENTITY_NONE, labels, (double)now.f_blocks * block);
	metric_write(writer, &filesystem_available, ENTITY_NONE, labels, available * block);
	metric_write(writer, &filesystem_utilization, ENTITY_NONE, labels,
		     used + available > 0 ? used / (used + available) : 1);
	metric_write(writer, &filesystem_readonly, ENTITY_NONE, labels, mount->readonly);
	if (now.f_files) {
		metric_write(writer, &filesystem_inodes, ENTITY_NONE, labels, (double)now.f_files);
		metric_write(writer, &filesystem_inodes_free, ENTITY_NONE, labels,
			     (double)now.f_ffree);
	}
	return now.f_flags & ST_RDONLY;
}

static int publish_filesystems(struct probe *probe, struct metric_writer *writer)
{
	struct host *host = probe_data(probe);
	int err = 0;

	/* A filesystem that an error has made read-only is no change of mounts. */
	if (mounts_changed(host) || host->check_readonly)
		err = refresh_mounts(probe);
	host->check_readonly = false;
	for (size_t i = 0; i < host->n_visible; i++)
		host->check_readonly |= publish_filesystem(writer, &host->mounts[i]);
	return err;
}

/* ---- the probe ---- */

static int host_collect(struct probe *probe, struct metric_writer *writer)
{
	struct host *host = probe_data(probe);
	int err;

	for (int id = 0; id < SOURCES; id++) {
		if (!source_descs[id].publish)
			continue;
		err = source_read(probe, id);
		if (!err)
			err = source_descs[id].publish(host, writer, source_descs[id].argument);
		if (err)
			source_complain(probe, id, err);
	}
	publish_load(writer);
	err = publish_filesystems(probe, writer);
	if (err)
		source_complain(probe, SOURCE_MOUNTS, err);
	return 0;
}

static int host_configure(struct probe *probe)
{
	struct host *host = calloc(1, sizeof(*host));
	size_t length;

	if (!host)
		return -ENOMEM;
	for (int id = 0; id < SOURCES; id++)
		host->files[id].fd = -1;
	probe_set_data(probe, host);
	host->cpu.ticks_per_second = (uint64_t)sysconf(_SC_CLK_TCK);
	host->rootfs = strdup(probe_option_string(probe, "rootfs"));
	host->exclude_interfaces =
		host_patterns_new(probe_option_string(probe, "exclude_interfaces"));
	host->exclude_types = host_patterns_new(probe_option_string(probe, "exclude_filesystems"));
	host->exclude_mountpoints =
		host_patterns_new(probe_option_string(probe, "exclude_mountpoints"));
	if (!host->rootfs || !host->exclude_interfaces || !host->exclude_types ||
	    !host->exclude_mountpoints)
		return -ENOMEM;
	length = strlen(host->rootfs);
	while (length && host->rootfs[length - 1] == '/')
		host->rootfs[--length] = '\0';
	return 0;
}

/* Without CPU time nothing here is right: that is another directory than a proc filesystem. */
static int host_start(struct probe *probe)
{
	struct host *host = probe_data(probe);
	struct host_stat stat;
	double ratio;
	int err = source_read(probe, SOURCE_STAT);

	if (!err)
		err = host_parse_stat(host->text.data, host->text.size, &stat);
	if (err) {
		probe_log(probe, PROBE_ERROR, "%s/stat: %s; is the option procfs right?",
			  probe_option_string(probe, "procfs"), strerror(-err));
		return err;
	}
	/* The first sample: the first collection can then say something, if it does not follow at once. */
	host_cpu_utilization(&host->cpu, &stat, clock_ns(CLOCK_MONOTONIC), &ratio);
	return 0;
}

static void host_destroy(struct probe *probe)
{
	struct host *host = probe_data(probe);

	if (!host)
		return;
	for (int id = 0; id < SOURCES; id++)
		host_file_close(&host->files[id]);
	host_mounts_free(host->mounts, host->n_mounts);
	free(host->exclude_interfaces);
	free(host->exclude_types);
	free(host->exclude_mountpoints);
	free(host->rootfs);
	host_text_free(&host->text);
	free(host);
	probe_set_data(probe, NULL);
}

const struct probe_desc probe_host = {
	.name = "host",
	.help = "The host's CPU, memory, filesystems, load, pressure, interfaces and open files",
	.metrics = host_metrics,
	.options = host_options,
	.configure = host_configure,
	.start = host_start,
	.collect = host_collect,
	.destroy = host_destroy,
};
