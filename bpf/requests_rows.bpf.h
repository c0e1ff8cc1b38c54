/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What bpf/requests.bpf.c aggregates into, apart from the connections that it comes from. */
#ifndef LEADLINE_REQUESTS_ROWS_BPF_H
#define LEADLINE_REQUESTS_ROWS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "lib/compat.bpf.h"
#include "lib/emit.bpf.h"
#include "lib/rows.bpf.h"
#include "requests.h"

const volatile struct requests_settings settings;

struct requests_shared shared;

union requests_key_word {
	struct requests_key key;
	__u64 word;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct requests_key);
	__type(value, __u32);
} row_of_key SEC(".maps");

DEFINE_FREE_ROWS(free_rows);
DEFINE_ROWS(rows, struct requests_row);
DEFINE_ROWS(row_keys, struct requests_key); /* by row, no lanes; all zero: free */
DEFINE_ROWS(bytes, struct requests_bytes);
DEFINE_ROWS(in_flight, struct requests_in_flight); /* by entity, no lanes */

static __always_inline void count_lost(enum requests_lost reason)
{
	__sync_fetch_and_add(&shared.lost[reason], 1);
}

static __always_inline __u32 lane_of_this_cpu(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return settings.shared ? cpu & (settings.lanes - 1) : cpu;
}

/* Of `event_rings`. */
static __always_inline __u32 ring_of_this_cpu(void)
{
	return bpf_get_smp_processor_id() & (settings.rings - 1);
}

/* Hooks that can be preempted by others define it before they include this file. */
#ifndef HOOKS_ARE_PREEMPTIBLE
#define HOOKS_ARE_PREEMPTIBLE false
#endif

/* Alone in its lane a CPU may add plainly; the choice is made when the program is loaded. */
static __always_inline void add(__u64 *counter, __u64 n)
{
	if (HOOKS_ARE_PREEMPTIBLE || settings.shared)
		__sync_fetch_and_add(counter, n);
	else
		*counter += n;
}

static __always_inline void raise(__u64 *max, __u64 value)
{
	if (value > *max)
		*max = value; /* lanes shared: the larger of two at once may lose */
}

/* Of as many as it stands for. slot: hist3_slot(ns), and hist_slot(ns) in the next function. */
static __always_inline void record_duration(struct requests_row *row, __u64 ns, __u64 slot,
					    __u32 times)
{
	__u32 bucket;

	slot = at_most(slot, HIST3_SLOTS - 1);
	add(&row->slots[slot], times);
	bucket = settings.bounds_below[slot];
	if (bucket <= REQUESTS_BOUNDS)
		bucket += ns > settings.bounds_ns[bucket];
	if (bucket <= REQUESTS_BOUNDS)
		add(&row->classic[bucket], times);
	add(&row->sum_ns, ns * times);
	raise(&row->max_ns, ns);
}

static __always_inline void record_bytes(struct requests_row *row, __u64 request, __u64 response,
					 __u32 times)
{
	add(&row->request_bytes, request * times);
	add(&row->response_bytes, response * times);
}

static __always_inline void record_first_byte(struct requests_row *row, __u64 ns, __u64 slot,
					      __u32 times)
{
	slot = at_most(slot, HIST_SLOTS - 1);
	add(&row->first_byte.slots[slot], times);
	add(&row->first_byte.sum_ns, ns * times);
	raise(&row->first_byte.max_ns, ns);
}

/* The row of a key; a new one where it has none, "other" when there are no more. */
static __noinline __u32 find_row(const union requests_key_word *key)
{
	struct requests_in_flight *entity_row;
	__u32 row, entity = key->key.entity;
	__u64 *key_of_row;

	row = row_for_key(&row_of_key, &free_rows, &key->key);
	if (!row) {
		count_loss(LOSS_TABLE_FULL);
		return key->key.role == REQUESTS_CLIENT ? settings.rows - 1 : 0;
	}
	key_of_row = bpf_map_lookup_elem(&row_keys, &row);
	if (key_of_row)
		*key_of_row = key->word;
	entity_row = bpf_map_lookup_elem(&in_flight, &entity);
	if (entity_row)
		entity_row->seen |= 1 << key->key.role;
	return row;
}

/* In the order of struct requests_bytes. */
enum requests_protocol {
	PROTOCOL_HTTP,
	PROTOCOL_HTTP_UNPARSED,
	PROTOCOL_HTTP_UNREAD,
	PROTOCOL_WEBSOCKET,
	PROTOCOL_UNKNOWN,
};
_Static_assert(__builtin_offsetof(struct requests_bytes, unknown) ==
		       PROTOCOL_UNKNOWN * sizeof(__u64),
	       "a counter for each");

static __always_inline struct requests_bytes *bytes_of(__u32 entity)
{
	__u32 index;

	if (entity >= settings.max_entities)
		entity = ENTITY_OTHER;
	index = lane_of_this_cpu() * settings.max_entities + entity;
	return bpf_map_lookup_elem(&bytes, &index);
}

/* connect_ns: that each took. */
static __always_inline void count_connections(__u32 entity, bool is_client, __u64 n,
					      __u64 connect_ns)
{
	struct requests_bytes *row = bytes_of(entity);

	if (!row)
		return;
	add(&row->connections[is_client ? REQUESTS_CLIENT : REQUESTS_SERVER], n);
	if (connect_ns)
		add(&row->connect_ns, connect_ns * n);
}

static __always_inline void count_bytes(__u32 entity, enum requests_protocol protocol, __u64 n)
{
	struct requests_bytes *row = bytes_of(entity);

	if (row)
		add((__u64 *)row + at_most(protocol, PROTOCOL_UNKNOWN), n);
}

static __always_inline void note_in_flight(struct requests_in_flight *row, enum requests_role role,
					   __u64 start_ns, __u32 n)
{
	row->seen |= 1 << role;
	row->count[role] += n;
	if (!row->oldest_ns[role] || start_ns < row->oldest_ns[role])
		row->oldest_ns[role] = start_ns;
}

#endif
