/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What event_rings.bpf.c and test_event_rings.c say to each other. */
#ifndef LEADLINE_EVENT_RINGS_TEST_H
#define LEADLINE_EVENT_RINGS_TEST_H

#ifndef __bpf__
#include <linux/types.h>
#endif

struct test_event {
	__u64 writer;
	__u64 number; /* of its events */
};

/* To be written, and into which ring: always the same one of a writer. */
struct write_event {
	struct test_event event;
	__u64 ring;
};

#endif
