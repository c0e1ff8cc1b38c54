/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Wire structures between bpf/sched.bpf.c and probes/sched.c. */
#ifndef LEADLINE_SCHED_H
#define LEADLINE_SCHED_H

#include "lib/hist.h"
#include "lib/wait.h"

struct sched_settings {
	__u32 max_entities;
	__u32 cpus; /* possible ones; the block of rows after theirs belongs to sched_pass */
	__u32 culprit_rows; /* of sched_culprit_ns, per CPU */
	__u8 reason_of_syscall[WAIT_SYSCALLS]; /* enum wait_reason */
};

/*
 * Who had the CPU while a runnable thread waited for it: the one that ran just before it on that CPU. Entities by
 * their id, and these.
 */
#define CULPRIT_IDLE   0xfffffff0U /* nobody: the CPU had to wake up */
#define CULPRIT_KERNEL 0xfffffff1U /* a kernel thread */
#define CULPRIT_BRIEF  0xfffffff2U /* not asked: the wait was shorter than CULPRIT_MIN_NS */
#define CULPRIT_UNSEEN 0xfffffff3U /* the hooks were away, to stay within the budget */

/* Shorter waits are not charged to a culprit: there are many, and they add up to little. */
#define CULPRIT_MIN_WAIT_NS 10000
/* Who had the CPU for less is not the culprit: the one before is. */
#define CULPRIT_MIN_RUN_NS 50000

struct culprit_key {
	__u32 victim;
	__u32 culprit;
};

/* What one CPU saw of one entity. Times in ns. */
struct sched_row {
	struct hist run_queue;
	__u64 on_cpu_ns;
	__u64 wait_ns[WAIT_REASON_COUNT];
	__u64 voluntary_switches;
	__u64 involuntary_switches;
	__u64 migrations;
	/* Turns not seen one by one, not in run_queue.slots yet, and the window in which that was found. */
	__u64 unseen_turns;
	__u64 unseen_since_ns;
	__u64 brief_queued_ns; /* the waits in the run queue that were charged to no culprit */
	/* As the timer tick sampled them; good for the ratio of the two only. */
	__u64 user_ns;
	__u64 system_ns;
};
_Static_assert(sizeof(struct sched_row) % 8 == 0, "rows are laid out without gaps");

#endif
