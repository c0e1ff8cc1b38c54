/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Events to the user side, and the count of those that did not get there. A probe object has one ring, named `events`, or
 * where many CPUs have much to tell, several, in `event_rings`: what must stay in order goes into one of them. The probe option
 * ring_bytes is their size, all together. No wakeup per event: the agent drains every few milliseconds, and is woken early once a
 * ring is half full.
 */
#ifndef LEADLINE_EMIT_BPF_H
#define LEADLINE_EMIT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
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

/* How many, and of what size, is the user side's to say: probe_event_rings() in probes/probe.h. */
#define DEFINE_EVENT_RINGS()                                                                       \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);                                          \
		__uint(max_entries, 1);                                                            \
		__type(key, __u32);                                                                \
		__array(values, struct event_ring_map);                                            \
	} event_rings SEC(".maps")

/* One of `event_rings`; NULL: there are not so many. */
static __always_inline void *event_ring(void *rings, __u32 index)
{
	return bpf_map_lookup_elem(rings, &index);
}

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
 * Copies an event of any size into the ring; 0, or less than that with the loss counted. NULL is a ring without room. looks:
 * whether the ring is half full by now is looked at, too, which need not be for each.
 */
static __always_inline long event_output(void *ring, void *event, __u64 size, bool looks)
{
	__u64 flags = BPF_RB_NO_WAKEUP;
	long err = -1;

	if (ring && looks &&
	    bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) * 2 >
		    bpf_ringbuf_query(ring, BPF_RB_RING_SIZE))
		flags = BPF_RB_FORCE_WAKEUP;
	if (ring)
		err = bpf_ringbuf_output(ring, event, size, flags);
	if (err)
		count_loss(LOSS_RING_FULL);
	return err;
}

#endif
