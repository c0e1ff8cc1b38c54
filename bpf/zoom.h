/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Wire structures between bpf/zoom.bpf.c and agent/zoom.c. All hash keys are without padding. */
#ifndef LEADLINE_ZOOM_WIRE_H
#define LEADLINE_ZOOM_WIRE_H

#ifndef __bpf__
#include <linux/types.h>
#endif
#include "lib/hist.h"
#include "lib/wait.h"

/*
 * What a system call does with its file descriptors: the arguments, counted from 1, that name the one read from and the
 * one written to; whether its result is a number of bytes.
 */
#define ZOOM_READS(argument)  (argument)
#define ZOOM_WRITES(argument) ((argument) << 3)
#define ZOOM_BYTES	      (1 << 6)
#define ZOOM_USES	      (1 << 7) /* neither: fsync, accept … of argument 1 */

#define ZOOM_PATH_LEVELS 24 /* how deep a control group may lie */

/* Who is looked at, and how. Exactly one of tgid and cgroup_id is set. */
struct zoom_settings {
	__u64 cgroup_id; /* with all below it */
	__u32 tgid;
	__u32 cgroup_level; /* components of its path */
	__u32 v1_controller; /* enum entity_v1_controller: its hierarchy; V1_NONE: the unified one */
	__u8 reason_of_syscall[WAIT_SYSCALLS]; /* enum wait_reason */
	__u8 use_of_files[WAIT_SYSCALLS]; /* ZOOM_*, by the number of the system call */
	__u32 pad;
};

enum zoom_phase {
	ZOOM_STARTING, /* zoom_pass notes where every thread stands */
	ZOOM_RUNNING, /* zoom_pass counts who is left */
	ZOOM_STOPPED, /* hooks do nothing; zoom_pass brings every thread up to date */
};

/* In a map named zoom_globals, with one element. */
struct zoom_globals {
	__u32 phase; /* enum zoom_phase; written by the user side, as is … */
	__u32 threads_seen; /* by the last zoom_pass */
	__u64 began_ns; /* … when it came to be ZOOM_RUNNING */
};

struct zoom_thread_key {
	__u32 tgid, tid;
	__u64 start_ns; /* CLOCK_MONOTONIC; numbers are used again */
};

/* Touched by the thread itself only, and by zoom_pass before and after. Times in ns. */
struct zoom_thread {
	/* the kernel's totals when it last left the CPU, or was first seen */
	__u64 left_cpu_ns, exec_runtime_ns, run_delay_ns, queue_throttled_ns, migrations;
	__u64 syscall_entered_ns; /* 0: not in one that is timed */
	__u64 seen_ns; /* since when it is accounted for */
	__u64 ended_ns; /* 0: it lives */
	__u64 on_cpu_ns, queued_ns, queued_max_ns;
	__u64 wait_ns[WAIT_REASON_COUNT];
	__u64 voluntary_switches, involuntary_switches;
	__u32 wait_reason; /* enum wait_reason */
	__u32 slept_in_queue; /* task_sleeps_in_queue() */
	char comm[16], leader_comm[16];
};

struct zoom_call_key {
	__u32 tgid, tid;
	__u32 slot; /* syscalls.h */
	__u32 pad;
};

/* One system call of one thread. */
struct zoom_call {
	struct hist duration;
	__u64 errors;
	__u32 last_error; /* positive */
	__u32 pad;
};

struct zoom_file_key {
	__u32 tgid, fd;
};

enum zoom_direction { ZOOM_READ, ZOOM_WRITE, ZOOM_DIRECTIONS };

/* One file descriptor of one process: all that went by this number, described as it was when last seen to change. */
struct zoom_file {
	struct {
		struct hist duration; /* of all calls */
		__u64 bytes, errors;
	} direction[ZOOM_DIRECTIONS];
	__u64 other_calls;
	__u64 inode;
	__u32 files; /* that were behind it one after the other */
	__u16 mode; /* of the inode */
	__u16 family; /* sockets: AF_*, and for IP the rest */
	__u16 protocol, local_port, remote_port; /* ports in host order; remote 0: not connected */
	__u16 pad;
	__u8 local[16], remote[16];
	char name[64]; /* the last component of its path */
};

#endif
