/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Connections that speak something else than HTTP/1. Two things come of each of their calls: what the turns of request and
 * answer tell (requests_exchanges.bpf.h), and an event with a copy for the decoders (requests_copies.bpf.h). Of TLS there is
 * only the former.
 */
#ifndef LEADLINE_REQUESTS_STREAMS_BPF_H
#define LEADLINE_REQUESTS_STREAMS_BPF_H

#include "requests_copies.bpf.h"
#include "requests_exchanges.bpf.h"
#include "requests_tls.bpf.h"
#include "requests_waits.bpf.h"

/* Of a call that answers, what its bytes do not tell. */
static __always_inline void tell_answer(const struct stream *stream, struct work *work)
{
	if (is_slow_exchange(stream, work->now_ns))
		streams_tell_path(stream, work);
	if (has_ledger(stream->role))
		streams_tell_account(stream, work);
}

/* A call of a stream: its part in an exchange, its bytes, its copy. */
__noinline int streams_take(struct stream *stream, struct work *work)
{
	struct exchange_row *row;
	__u64 size;
	bool is_copied;
	int sent = 0;

	if (!stream || !work)
		return 0;
	size = work->view.total;
	is_copied = settings.copied_protocols >> (stream->protocol & 31) & 1;
	if (is_copied && !is_stopped(stream)) {
		struct http1_view *view = &work->view;
		const __u64 base = view->base, end = view->piece_end, iovec = view->iovec;
		const __u32 n_iovec = view->n_iovec;

		work->has_account = 0;
		if (!work->from_client && stream->phase != STREAM_IDLE)
			tell_answer(stream, work);
		sent = streams_send_copy(stream, work);
		if (sent == 2) /* TLS from here on: its first record is in this call */
			http1_open(view, size, base, end, iovec, n_iovec);
	}
	row = exchange_row_of(stream, work->entity, lane_of_this_cpu());
	if (!row)
		return 0;
	add(&row->bytes, size);
	if (sent == 1)
		add(&row->lost_bytes, size);
	else if (is_copied && stream->stopped)
		add(&row->stopped_bytes[(stream->stopped - 1) % STREAM_STOP_REASONS], size);
	take_turn(stream, work, row);
	return 0;
}

/* ---- the hooks' part ---- */

/* http1_open_call(), verified only once. */
__noinline int streams_open_call(struct work *work, __u32 total, __u32 how)
{
	if (work)
		http1_open_call(&work->view, (struct sock *)work->sk, total, how);
	return 0;
}

static __always_inline void open_call(struct work *work, struct sock *sk, __u32 total, __u32 how)
{
	work->sk = (__u64)sk; /* in an argument, an address is no number to the verifier */
	streams_open_call(work, total, how);
}

/* What is of a handshake, by the library's own account: records behind it are data. */
__noinline int streams_shake_hands(struct stream *stream, struct connection *connection, __u32 size)
{
	struct exchange_row *row;

	if (!stream || !connection)
		return 0;
	stream->phase = STREAM_IDLE;
	stream->tls = (struct tls_records){ .is_secured = 1 };
	row = exchange_row_of(stream, connection->entity, lane_of_this_cpu());
	if (row)
		add(&row->bytes, size);
	return 0;
}

/* Of which socket it is, work->sk. */
static __always_inline void tell_new(const struct stream *stream, const struct work *work)
{
	if (settings.copied_protocols >> (stream->protocol & 31) & 1)
		streams_tell_path(stream, work);
}

/* A call of a stream, at work->now_ns. */
static __always_inline void stream_call(struct stream *stream, struct connection *connection,
					struct work *work, __u32 size, bool is_send, bool is_new,
					const struct call_data *data)
{
	__u16 epoch = work->now_ns >> ENTITY_EPOCH_SHIFT;

	if (is_new)
		stream->midway = connection->midway;
	stream->encrypted = connection->encrypted;
	work->from_client = is_send == (stream->role == REQUESTS_CLIENT);
	if (connection->entity_epoch != epoch) {
		connection->entity_epoch = epoch;
		if (!find_entity(connection)) {
			connection->role = ROLE_IGNORED;
			return;
		}
	}
	work->entity = connection->entity;
	if (is_new)
		tell_new(stream, work);
	if (!is_new)
		work->n_before = 0;
	else if (work->n_before)
		streams_send_before(stream, work, connection);
	if (data->is_plain)
		open_data(&work->view, size, data);
	else
		open_call(work, data->sk, size, data->how);
	streams_take(stream, work);
}

static __always_inline void stream_moved(struct connection *connection, __u32 size, bool is_send,
					 const struct call_data *data)
{
	struct stream *stream = bpf_sk_storage_get(&streams, data->sk, NULL, 0);
	struct work *work = bpf_map_lookup_elem(&works, &(__u32){ 0 });
	bool is_new = !stream;

	if (!work)
		return;
	if (is_new) {
		stream = stream_new(data->sk, work->found, is_send);
		if (!stream) {
			connection->role = ROLE_IGNORED;
			return;
		}
	}
	work->now_ns = socket_clock_ns(data->sk);
	work->sk = (__u64)data->sk;
	if (shared.tls && stream->protocol == PREFIX_TLS) {
		switch (tls_socket_moved(data->sk, work->now_ns,
					 connection->midway || stream->began_ns)) {
		case TLS_PLAIN_TEXT:
			stream->phase = STREAM_IDLE;
			return;
		case TLS_NOTHING:
			streams_shake_hands(stream, connection, size);
			return;
		case TLS_BY_RECORDS:
			break;
		}
	}
	stream_call(stream, connection, work, size, is_send, is_new, data);
}

/* The connection is gone. May interrupt another hook on this CPU, whose scratch it must not touch. */
static __always_inline void stream_over(struct stream *stream, struct connection *connection)
{
	struct stream_event event = {};
	struct exchange_row *row;

	connection->role = ROLE_IGNORED;
	if (!stream)
		return;
	if (stream->phase == STREAM_ANSWERED) {
		row = exchange_row_of(stream, connection->entity, lane_of_this_cpu());
		if (row)
			end_exchange(stream, row);
	}
	if (!(settings.copied_protocols >> (stream->protocol & 31) & 1))
		return;
	fill_event(&event, stream, connection->entity, bpf_ktime_get_ns(), false);
	event.kind = STREAM_CLOSED;
	event_output(&events, &event, sizeof(event), false);
}

/* An answer that has paused for so long, in ns, counts as over when it is looked at. */
#define ANSWER_PAUSE_NS 500000000ULL

/* For requests_pass(): what is in flight, and exchanges that nothing else will end soon. */
static __always_inline int stream_pass(struct stream *stream, struct connection *connection)
{
	struct requests_in_flight *in_flight_row;
	struct exchange_row *row;
	__u32 entity = connection->entity;

	if (!stream)
		return 0;
	if (stream->phase == STREAM_ANSWERED &&
	    bpf_ktime_get_ns() - stream->last_ns > ANSWER_PAUSE_NS) {
		const struct exchange_key key = { entity, stream->protocol, stream->role };
		__u32 index = find_exchange_row(&key);

		if (index >= settings.exchange_rows)
			return 0;
		index += settings.lanes * settings.exchange_rows;
		row = bpf_map_lookup_elem(&exchange_rows, &index);
		if (row)
			end_exchange(stream, row);
		return 0;
	}
	/* what is decoded is better known there */
	if (stream->phase != STREAM_ASKED ||
	    (!stream->stopped && settings.copied_protocols >> (stream->protocol & 31) & 1))
		return 0;
	if (entity >= settings.max_entities)
		entity = ENTITY_OTHER;
	in_flight_row = bpf_map_lookup_elem(&in_flight, &entity);
	if (!in_flight_row)
		return 0;
	if (stream->role == REQUESTS_SERVER)
		note_in_flight(in_flight_row, REQUESTS_SERVER, stream->began_ns, 1);
	else
		note_in_flight(in_flight_row, REQUESTS_CLIENT, stream->began_ns, 1);
	return 0;
}

#endif
