/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Events to the user side, and the count of those that did not get there. One ring per probe object,
 * named `events`; its size is the probe option ring_bytes. No wakeup per event: the agent drains every
 * few milliseconds, and is woken early once the ring is half full.
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
 * Copies an event of any size into the ring; 0, or less than that with the loss counted. looks: whether the ring is half full
 * by now is looked at, too, which need not be for each.
 */
static __always_inline long event_output(void *ring, void *event, __u64 size, bool looks)
{
	__u64 flags = BPF_RB_NO_WAKEUP;
	long err;

	if (looks && bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) * 2 >
			     bpf_ringbuf_query(ring, BPF_RB_RING_SIZE))
		flags = BPF_RB_FORCE_WAKEUP;
	err = bpf_ringbuf_output(ring, event, size, flags);
	if (err)
		count_loss(LOSS_RING_FULL);
	return err;
}

#endif
