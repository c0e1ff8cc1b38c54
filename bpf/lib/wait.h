/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Reasons why threads wait. Shared by the kernel and the user side. */
#ifndef LEADLINE_WAIT_H
#define LEADLINE_WAIT_H

/* Why a thread left the CPU of its own accord: what its time until the next queueing is charged to. */
#define WAIT_REASONS(X)                                                                            \
	X(OTHER, "other") /* anything not below, terminals and kernel threads among it */          \
	X(DISK, "disk") /* block I/O, fsync, reading and writing files */                          \
	X(LOCK, "lock") /* futex */                                                                \
	X(NETWORK, "network") /* in a socket call, or reading and writing one */                   \
	X(POLL, "poll") /* for any of several: poll, select, epoll, io_uring */                    \
	X(SLEEP, "sleep") /* nanosleep, pause, waiting for a signal */                             \
	X(CHILD, "child") /* wait4, waitid */                                                      \
	X(PIPE, "pipe") /* reading and writing a pipe, System V and POSIX queues */                \
	X(FAULT, "fault") /* page fault or reclaim, outside a system call */                       \
	X(STOPPED, "stopped") /* by a signal or a debugger */                                      \
	X(THROTTLED, "throttled") /* its cgroup had used up its CPU quota */                       \
	X(STOLEN, "stolen") /* not a wait: interrupts or the hypervisor, while it was running */

enum wait_reason {
#define X(name, label) WAIT_##name,
	WAIT_REASONS(X)
#undef X
		WAIT_REASON_COUNT,
	WAIT_BY_FILE, /* in the system call table only: look at the kind of the file */
};

/* Size of the table from system call to reason; what a number means depends on the architecture. */
#define WAIT_SYSCALLS 512

#endif
