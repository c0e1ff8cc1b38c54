/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Wire structures between bpf/process.bpf.c and probes/process.c. */
#ifndef LEADLINE_PROCESS_WIRE_H
#define LEADLINE_PROCESS_WIRE_H

#ifndef __bpf__
#include <linux/types.h>
#endif

enum process_exit_kind {
	PROCESS_EXIT_SUCCESS, /* status 0 */
	PROCESS_EXIT_ERROR, /* any other */
	PROCESS_EXIT_SIGNAL,
	PROCESS_EXIT_KINDS,
};

/* The row's number is the entity's id. */
struct process_row {
	__u64 execs;
	__u64 exits[PROCESS_EXIT_KINDS];
	__u64 oom_kills;
};
_Static_assert(sizeof(struct process_row) == 5 * 8, "no padding");

/* Not 0, so that a zeroed buffer is no event. */
enum process_event_kind {
	PROCESS_EVENT_KILLED = 1, /* a process died by a signal */
	PROCESS_EVENT_OOM, /* the out-of-memory killer chose it */
};

#define PROCESS_COMM_SIZE 16

struct process_event {
	__u32 kind;
	__u32 entity;
	__u32 pid; /* the thread: the last one of the process, or the one chosen */
	__u32 tgid;
	__u32 signal; /* its number; 0 for PROCESS_EVENT_OOM */
	__u32 dumped_core;
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 start_time_ns; /* the same clock: when the process began */
	__u64 cgroup_id; /* in the unified hierarchy */
	char comm[PROCESS_COMM_SIZE]; /* of the thread-group leader */
};
_Static_assert(sizeof(struct process_event) == 64, "no padding");

struct process_settings {
	__u32 oom_by_pid; /* the kernel names the victim by its number only: it is counted when it exits */
	__u32 pad;
};

#endif
