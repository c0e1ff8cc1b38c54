/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsers of the files under /proc the host probe reads. Pure functions over bytes that need no
 * terminating NUL: what a file says is not trusted, a container may show its own over it. Each returns 0,
 * or -EBADMSG and leaves its result untouched. Any thread.
 *
 * libproc2 parses most of these too, but only below "/proc": inside a container the host's figures are
 * under another prefix, it knows neither pressure nor interfaces, and it opens, sorts and derives more
 * than is asked for here.
 */
#ifndef LEADLINE_HOST_PARSE_H
#define LEADLINE_HOST_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Modes of /proc/stat's cpu line in its order. Guest time is contained in user and nice. */
enum host_cpu_mode {
	HOST_CPU_USER,
	HOST_CPU_NICE,
	HOST_CPU_SYSTEM,
	HOST_CPU_IDLE,
	HOST_CPU_IOWAIT,
	HOST_CPU_IRQ,
	HOST_CPU_SOFTIRQ,
	HOST_CPU_STEAL,
	HOST_CPU_MODES,
};

extern const char *const host_cpu_mode_names[HOST_CPU_MODES];

struct host_stat {
	uint64_t ticks[HOST_CPU_MODES]; /* of all CPUs, in USER_HZ */
	unsigned cpus; /* online ones */
	uint64_t interrupts;
	uint64_t forks;
	uint64_t running, blocked; /* tasks */
	uint64_t boot_time; /* seconds since 1970 */
};

int host_parse_stat(const char *text, size_t size, struct host_stat *ret_stat);

/* Bytes; what the file does not name is 0, except that total and available must be there. */
struct host_memory {
	uint64_t total, available;
	uint64_t free, buffers, cached, slab_reclaimable, shared;
	uint64_t swap_total, swap_free;
	uint64_t dirty, writeback;
};

int host_parse_meminfo(const char *text, size_t size, struct host_memory *ret_memory);

/* /proc/sys/fs/file-nr: open file descriptions and how many there may be. */
int host_parse_file_nr(const char *text, size_t size, uint64_t *ret_open, uint64_t *ret_limit);

/*
 * /proc/pressure/RESOURCE: microseconds stalled since boot. `full` is absent for the CPU before 5.13,
 * `some` for irq.
 */
struct host_pressure {
	bool has_some, has_full;
	uint64_t some_us, full_us;
};

int host_parse_pressure(const char *text, size_t size, struct host_pressure *ret_pressure);

enum host_direction { HOST_RECEIVE, HOST_TRANSMIT, HOST_DIRECTIONS };

struct host_interface {
	char name[16]; /* IFNAMSIZ */
	struct {
		uint64_t bytes, packets, errors, drops;
	} counters[HOST_DIRECTIONS];
};

/*
 * /proc/net/dev, one interface a call: takes the line at *cursor (0 at first), moves the cursor behind it
 * and returns 1; 0 at the end. Lines that are not interfaces are skipped.
 */
int host_parse_interface(const char *text, size_t size, size_t *cursor,
			 struct host_interface *ret_interface);

/*
 * Shell patterns as one writes them in an option, "veth*,lxc?": host_patterns_new() turns the list into
 * strings one after the other, ended by an empty one; NULL without memory, freed by the caller.
 */
char *host_patterns_new(const char *list);
bool host_patterns_match(const char *patterns, const char *word);

#endif
