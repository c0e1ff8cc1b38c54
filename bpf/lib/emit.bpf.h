/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Events to the user side, and the count of those that did not get there. A probe object has one ring, named `events`, or
 * where many CPUs have much to tell, several, in `event_rings`: what must stay in order goes into one of them. No wakeup per
 * event: the agent drains every few milliseconds, and is woken early once a ring is half full.
 */
#ifndef LEADLINE_EMIT_BPF_H
#define LEADLINE_EMIT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "lib/event_rings.h"
#include "lib/stats.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct probe_stats);
} probe_stats SEC(".maps");

static __always_inline void count_loss(enum loss_reason reason)
{
	struct probe_stats *stats = bpf_map_lookup_elem(&probe_stats, &(__u32){ 0 });

	if (stats && reason < LOSS_REASONS)
		__sync_fetch_and_add(&stats->lost[reason], 1);
}

#define DEFINE_EVENT_RING()                                                                        \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_RINGBUF);                                                \
		__uint(max_entries, 256 * 1024);                                                   \
	} events SEC(".maps")

/* Of which kind `event_rings` are. */
struct event_ring_map {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};

/*
 * Rings that are small, so that what is written next is still in a CPU's cache when their end is reached, and all of it is written
 * again soon: a large one takes the programs' own data out of the caches as it goes round. And one more, the last, which is large: for
 * when the agent does not get to reading in time. It takes the events of a ring from the one on that found no room, until the agent
 * has read them all; `event_ring_states` says of each ring whether that is so. How many, and of what size, is the user side's to say:
 * probe_event_rings() in probes/probe.h.
 */
#define DEFINE_EVENT_RINGS()                                                                       \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);                                          \
		__uint(max_entries, 1);                                                            \
		__type(key, __u32);                                                                \
		__array(values, struct event_ring_map);                                            \
	} event_rings SEC(".maps");                                                                \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(map_flags, BPF_F_MMAPABLE);                                                 \
		__uint(max_entries, 1);                                                            \
		__type(key, __u32);                                                                \
		__type(value, struct event_ring_state);                                            \
	} event_ring_states SEC(".maps")

/* Zeroed room for an event of a fixed size, or NULL with the loss counted. */
static __always_inline void *event_reserve(void *ring, __u32 size)
{
	void *event = bpf_ringbuf_reserve(ring, size, 0);

	if (!event) {
		count_loss(LOSS_RING_FULL);
		return NULL;
	}
	__builtin_memset(event, 0, size);
	return event;
}
/* the size must be known to the compiler */
#define EVENT_RESERVE(ring, type) ((type *)event_reserve(ring, sizeof(type)))

static __always_inline void event_submit(void *ring, void *event)
{
	struct probe_stats *stats = bpf_map_lookup_elem(&probe_stats, &(__u32){ 0 });
	bool half_full = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) * 2 >
			 bpf_ringbuf_query(ring, BPF_RB_RING_SIZE);

	if (stats)
		__sync_fetch_and_add(&stats->events_submitted, 1);
	bpf_ringbuf_submit(event, half_full ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

/*
 * `looks`: whether the ring is half full by now is looked at, too, which need not be for each event. The agent is woken for that once: it
 * takes an interrupt on this CPU, and often one on another.
 */
static __always_inline long event_put(void *ring, struct event_ring_state *state, void *event,
				      __u64 size, bool looks)
{
	__u64 flags = BPF_RB_NO_WAKEUP;
	long err;

	if (!ring)
		return -1;
	if (looks && !state->is_waited_for &&
	    bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) * 2 >
		    bpf_ringbuf_query(ring, BPF_RB_RING_SIZE)) {
		state->is_waited_for = 1;
		flags = BPF_RB_FORCE_WAKEUP;
	}
	err = bpf_ringbuf_output(ring, event, size, flags);
	if (err && flags == BPF_RB_FORCE_WAKEUP)
		state->is_waited_for = 0; /* nobody was woken */
	return err;
}

/*
 * Copies an event of any size into one of the rings, if that is not full. Returns whether it did. rings, states: the maps of
 * DEFINE_EVENT_RINGS().
 */
static __always_inline bool event_output(void *rings, void *states, __u32 index, void *event,
					 __u64 size, bool looks)
{
	struct event_ring_state *state = bpf_map_lookup_elem(states, &index);

	return state && !state->full_since &&
	       !event_put(bpf_map_lookup_elem(rings, &index), state, event, size, looks);
}

/*
 * To be called when that did not: the event, and those that follow, go into the last ring. Returns false with the loss
 * counted.
 */
static __always_inline bool event_output_last(void *rings, void *states, __u32 index, __u32 last,
					      void *event, __u64 size)
{
	struct event_ring_state *state = bpf_map_lookup_elem(states, &index);
	void *ring = bpf_map_lookup_elem(rings, &last);

	if (ring && state && !state->full_since)
		__sync_val_compare_and_swap(&state->full_since, 0,
					    1 + bpf_ringbuf_query(ring, BPF_RB_PROD_POS));
	state = bpf_map_lookup_elem(states, &last);
	if (state && !event_put(ring, state, event, size, true))
		return true;
	count_loss(LOSS_RING_FULL);
	return false;
}

#endif
