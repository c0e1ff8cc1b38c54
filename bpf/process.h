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

/* For whom the out-of-memory killer chose a victim. */
enum process_trigger {
	PROCESS_TRIGGER_SELF, /* for the victim's own program */
	PROCESS_TRIGGER_OTHER,
	PROCESS_TRIGGERS,
};

/* Signals by number, 1 to 31; those of real time together as 0. */
#define PROCESS_SIGNALS		32
#define PROCESS_SIGNAL_REALTIME 0

/* The row's number is the entity's id. */
struct process_row {
	__u64 execs;
	__u64 exits[PROCESS_EXIT_KINDS];
	__u64 oom_kills[PROCESS_TRIGGERS];
	__u64 signals[PROCESS_SIGNALS]; /* that a thread took */
	__u64 deaths[PROCESS_SIGNALS]; /* processes ended by it */
};
_Static_assert(sizeof(struct process_row) == (6 + 2 * PROCESS_SIGNALS) * 8, "no padding");

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
	/* Of PROCESS_EVENT_OOM: who wanted the memory. All 0 where the kernel does not tell. */
	char trigger_comm[PROCESS_COMM_SIZE];
	__u32 trigger_tgid;
	__u32 pad;
};
_Static_assert(sizeof(struct process_event) == 88, "no padding");

struct process_settings {
	__u32 oom_by_pid; /* the kernel names the victim by its number only: it is counted when it exits */
	__u32 pad;
};

#endif
