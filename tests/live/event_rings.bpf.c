// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Writes events into rings on demand, as the hooks of a probe do, for test_event_rings.c. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "lib/emit.bpf.h"
#include "event_rings_test.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

DEFINE_EVENT_RINGS();

/* How many rings there are, but for the last. */
__u32 rings;

/* Returns whether the event is in a ring. */
SEC("syscall")
int write_event(struct write_event *write)
{
	struct test_event event = write->event;
	__u32 ring = write->ring;

	return event_output(&event_rings, &event_ring_states, ring, &event, sizeof(event), true) ||
	       event_output_last(&event_rings, &event_ring_states, ring, rings, &event,
				 sizeof(event));
}
