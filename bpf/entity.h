/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Wire structures between bpf/entity.bpf.c and agent/entity.c.
 *
 * An entity is a control group and the program name of a thread-group leader in it. It has a small
 * number, the id, under which every probe aggregates.
 */
#ifndef LEADLINE_ENTITY_WIRE_H
#define LEADLINE_ENTITY_WIRE_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#define ENTITY_COMM_SIZE 16
#define CGROUP_NAMES	 6 /* components kept of a path, from the leaf up */
#define CGROUP_NAME_SIZE 96 /* cri-containerd-<64 hex>.scope needs 86 */

struct entity_key {
	__u64 cgroup_id;
	__u32 hierarchy; /* 0: the unified one, else 1 + subsystem number of the v1 hierarchy */
	__u32 is_kernel_thread;
	char comm[ENTITY_COMM_SIZE];
};
_Static_assert(sizeof(struct entity_key) == 32, "hash key without padding");

struct entity_record {
	struct entity_key key;
	__u32 live_threads;
	__u32 in_use; /* 1 once the rest is filled */
	__u64 last_thread_left_ns; /* CLOCK_MONOTONIC, when live_threads fell to 0 */
	__u64 renames; /* entity_globals::renames when the names were read */
	/* Leaf first; a path of more components lost those nearest the root. */
	char cgroup_names[CGROUP_NAMES][CGROUP_NAME_SIZE];
};
_Static_assert(sizeof(struct entity_record) == 56 + CGROUP_NAMES * CGROUP_NAME_SIZE, "no padding");

/* A hierarchy of cgroup v1 to look at where a thread's unified group is the root. */
enum entity_v1_controller { V1_NONE, V1_MEMORY, V1_PIDS, V1_CPU };

struct entity_settings {
	__u32 v1_controller; /* enum entity_v1_controller */
	__u32 pad;
};

/* Written by the kernel side, in a map named `entity_globals` with one element. */
struct entity_globals {
	__u32 own_tgid; /* of the agent, as the first pid namespace numbers it; learnt in its first pass */
	__u32 pad;
	__u64 renames; /* of control groups; a pass then reads their names again */
	__u64 refresh_requests; /* grows when something moved that the hooks do not see thread by thread */
};

#endif
