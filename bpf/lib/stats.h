/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What every probe counts about itself, in a map named `probe_stats` with one element. The core
 * exports it as leadline_probe_lost_total{probe,reason}. Shared with the user side.
 */
#ifndef LEADLINE_STATS_H
#define LEADLINE_STATS_H

#ifndef __bpf__
#include <linux/types.h>
#endif

enum loss_reason {
	LOSS_RING_FULL, /* an event found no room in the ring */
	LOSS_TABLE_FULL, /* a key found no free row and was added to "other" */
	LOSS_NO_TASK_STATE, /* a thread without task storage was seen: not attributed, not timed */
	LOSS_NO_SOCKET_STATE, /* a socket without storage */
	LOSS_UNREADABLE, /* user memory could not be read (paged out, or a foreign layout) */
	LOSS_REASONS,
};

struct probe_stats {
	__u64 events_submitted;
	__u64 lost[LOSS_REASONS];
};

#endif
