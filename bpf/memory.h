/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Wire structures between bpf/memory.bpf.c and probes/memory.c. */
#ifndef LEADLINE_MEMORY_WIRE_H
#define LEADLINE_MEMORY_WIRE_H

#include "lib/hist.h"

/* A thread that asked for memory is made to find some itself. */
enum memory_stall {
	MEMORY_STALL_DIRECT, /* the host has none left: reclaim in the thread that asked */
	MEMORY_STALL_MEMCG, /* its control group is at the limit: reclaim in there */
	MEMORY_STALL_COMPACTION, /* none in one piece: pages are moved together, zone by zone */
	MEMORY_STALLS,
};

/* The row's number is the entity's id. All CPUs share it: additions are atomic. */
struct memory_row {
	__u64 minor_faults;
	__u64 major_faults;
	__u64 read_bytes;
	__u64 write_bytes;
	__u64 throttled_ns; /* paused for having too many pages to be written back */
};
_Static_assert(sizeof(struct memory_row) == 5 * 8, "no padding");

/* Few programs ever stall: rows for the pairs that do. */
struct memory_stall_key {
	__u32 entity;
	__u32 stall; /* enum memory_stall */
};

/* Row 0 takes the pairs that found no free row; it is in use once the user side has filled the queue of free rows. */
struct memory_stall_row {
	struct memory_stall_key key;
	__u64 in_use; /* set last */
	struct hist duration; /* shared by all CPUs, too */
};
_Static_assert(sizeof(struct memory_stall_row) == 16 + 1024, "no padding");

struct memory_settings {
	__u64 tick_ns; /* length of the kernel's jiffy */
};

#endif
