/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What both sides say to each other of rings of events; see emit.bpf.h. */
#ifndef LEADLINE_EVENT_RINGS_WIRE_H
#define LEADLINE_EVENT_RINGS_WIRE_H

#ifndef __bpf__
#include <linux/types.h>
#endif

struct event_ring_state {
	/* 0, or 1 + how far the last ring was written when this one was full: from there on that stands in for it, until the user side has read both */
	__u64 full_since;
	__u32 is_waited_for; /* the user side has been woken, and has not come yet */
	__u32 pad;
};

#endif
