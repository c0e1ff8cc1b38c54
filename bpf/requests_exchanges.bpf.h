/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the turns of request and answer tell of a connection, without decoding: rows of exchanges, which no full ring can
 * touch.
 */
#ifndef LEADLINE_REQUESTS_EXCHANGES_BPF_H
#define LEADLINE_REQUESTS_EXCHANGES_BPF_H

#include "requests_connects.bpf.h"
#include "requests_ledger.bpf.h"
#include "requests_sample.bpf.h"
#include "requests_stream.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct exchange_key);
	__type(value, __u32);
} row_of_exchange SEC(".maps");

DEFINE_FREE_ROWS(free_exchange_rows);
/* One lane more than there are elsewhere: that of stream_pass(), which hooks on its CPU may interrupt. */
DEFINE_ROWS(exchange_rows, struct exchange_row);
DEFINE_ROWS(exchange_keys, struct exchange_key); /* by row, no lanes; all zero: free */

static __noinline __u32 find_exchange_row(const struct exchange_key *key)
{
	struct requests_in_flight *entity_row;
	__u32 row, entity = key->entity;
	struct exchange_key *key_of_row;

	row = row_for_key(&row_of_exchange, &free_exchange_rows, key);
	if (!row) {
		count_loss(LOSS_TABLE_FULL);
		return key->protocol * REQUESTS_ROLES + key->role;
	}
	key_of_row = bpf_map_lookup_elem(&exchange_keys, &row);
	if (key_of_row)
		*key_of_row = *key;
	entity_row = bpf_map_lookup_elem(&in_flight, &entity);
	if (entity_row)
		entity_row->seen |= 1 << key->role;
	return row;
}

/* The row of a stream in a lane. */
static __always_inline struct exchange_row *exchange_row_of(struct stream *stream, __u32 entity,
							    __u32 lane)
{
	const struct exchange_key key = { entity, stream->protocol, stream->role };
	__u32 index;

	if (stream->row_generation != (__u32)shared.row_generation + 1 ||
	    stream->key.entity != key.entity || stream->key.protocol != key.protocol) {
		stream->key = key;
		stream->row_generation = (__u32)shared.row_generation + 1; /* never 0 at first */
		stream->row = find_exchange_row(&key);
	}
	if (stream->row >= settings.exchange_rows)
		return NULL;
	index = lane * settings.exchange_rows + stream->row;
	return bpf_map_lookup_elem(&exchange_rows, &index);
}

/* The exchange under way has ended with the last bytes of its answer, unless another CPU was first to say so. */
static __always_inline void end_exchange(struct stream *stream, struct exchange_row *row)
{
	__u64 ns = stream->last_ns > stream->began_ns ? stream->last_ns - stream->began_ns : 0;
	__u64 slot, times;

	if (__sync_val_compare_and_swap(&stream->phase, STREAM_ANSWERED, STREAM_IDLE) !=
	    STREAM_ANSWERED)
		return;
	slot = at_most(hist_slot(ns), HIST_SLOTS - 1);
	times = window_weight();
	add(&row->duration.slots[slot], times);
	add(&row->duration.sum_ns, ns * times);
	raise(&row->duration.max_ns, ns);
}

static __always_inline void count_stream(const struct stream *stream, const struct work *work,
					 struct exchange_row *row)
{
	add(&row->connections, 1);
	if (stream->role == REQUESTS_CLIENT)
		add(&row->connect_ns, take_connect(work->sk, stream->began_ns));
}

static __always_inline void take_turn(struct stream *stream, struct work *work,
				      struct exchange_row *row)
{
	if (!work->from_client) {
		if (stream->phase == STREAM_IDLE)
			return; /* nothing was asked: a greeting, a notice */
		stream->last_ns = work->now_ns;
		stream->phase = STREAM_ANSWERED;
		if (stream->protocol == PREFIX_DNS) /* the whole answer is in one call */
			end_exchange(stream, row);
		return;
	}
	if (stream->protocol == PREFIX_TLS && !tls_take_call(&stream->tls, &work->view))
		return;
	if (stream->phase == STREAM_ANSWERED)
		end_exchange(stream, row);
	if (stream->phase == STREAM_IDLE) {
		stream->began_ns = work->now_ns;
		stream->phase = STREAM_ASKED;
		if (!stream->is_counted && stream->protocol != PREFIX_DNS) /* has connections */
			count_stream(stream, work, row);
		stream->is_counted = 1;
		if (stream->role == REQUESTS_SERVER)
			note_reading(work->sk, work->now_ns, true);
	}
}

#endif
