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

static __always_inline bool is_copied(const struct stream *stream)
{
	return settings.copied_protocols >> (stream->protocol & 31) & 1;
}

/* A call of a stream, that has been sent or was lost: its bytes, and its part in an exchange. */
static __always_inline void count_part(struct stream *stream, struct work *work, __u64 size,
				       bool is_event_lost)
{
	struct exchange_row *row = exchange_row_of(stream, work->entity, lane_of_this_cpu());

	if (!row)
		return;
	size *= window_weight();
	add(&row->bytes, size);
	if (is_event_lost)
		add(&row->lost_bytes, size);
	else if (is_copied(stream) && stream->stopped)
		add(&row->stopped_bytes[(stream->stopped - 1) % STREAM_STOP_REASONS], size);
	take_turn(stream, work, row);
}

/* Before the event of a call: if that answers, what its bytes do not tell. */
static __always_inline void tell_answer(const struct stream *stream, struct work *work)
{
	work->has_account = 0;
	if (work->from_client || stream->phase == STREAM_IDLE)
		return;
	if (is_slow_exchange(stream, work->now_ns))
		streams_tell_path(stream, work);
	if (has_ledger(stream->role))
		streams_tell_account(stream, work);
}

/* A call of a stream: its copy, its bytes, its part in an exchange. */
static __always_inline void take(struct stream *stream, struct work *work)
{
	const __u64 size = work->view.total;
	enum sent sent = SENT;

	if (is_copied(stream) && (!is_stopped(stream) || may_start_tls(stream))) {
		struct http1_view *view = &work->view;
		const __u64 base = view->base, end = view->piece_end, iovec = view->iovec;
		const __u32 n_iovec = view->n_iovec, in_kernel = view->in_kernel;

		tell_answer(stream, work);
		sent = streams_send_copy(stream, work);
		if (sent == SENT_BEFORE_TLS) { /* its first record is in this call */
			http1_open(view, size, base, end, iovec, n_iovec);
			view->in_kernel = in_kernel;
		}
	}
	count_part(stream, work, size, sent == SENT_LOST);
}

/* The same where it is rare. */
__noinline int streams_take(struct stream *stream, struct work *work)
{
	if (stream && work)
		take(stream, work);
	return 0;
}

/* The same of one that the program took unseen: a length only. */
__noinline int streams_take_unseen(struct stream *stream, struct work *work,
				   struct connection *connection, __u32 size)
{
	struct stream_scratch *scratch = bpf_map_lookup_elem(&stream_scratches, &(__u32){ 0 });
	bool is_lost = false;

	if (!stream || !work || !connection || !scratch)
		return 0;
	work->entity = connection->entity;
	work->from_client = stream->role != REQUESTS_CLIENT;
	http1_open(&work->view, size, 0, 0, 0, 0);
	if (is_copied(stream) && !is_stopped(stream)) {
		tell_answer(stream, work);
		fill_event(&scratch->event, stream, work->entity, work->now_ns, work->from_client);
		if (work->has_account)
			scratch->event.flags |= STREAM_HAS_ACCOUNT;
		scratch->event.size = size;
		scratch->event.head_size = scratch->event.tail_size = 0;
		is_lost = !streams_send_event(stream, scratch);
	}
	count_part(stream, work, size, is_lost);
	return 0;
}

/* ---- the hooks' part ---- */

/* What is of a handshake, by the library's own account: records behind it are data. */
static __always_inline void shake_hands(struct stream *stream, const struct connection *connection,
					__u32 size)
{
	struct exchange_row *row;

	stream->phase = STREAM_IDLE;
	stream->tls = (struct tls_records){ .is_secured = 1 };
	row = exchange_row_of(stream, connection->entity, lane_of_this_cpu());
	if (row)
		add(&row->bytes, size);
}

/*
 * What went by while the hooks were away is not known, nor how much. What is under way is given up, and the decoder told of a gap in
 * both directions.
 */
static __always_inline void miss_calls(struct stream *stream)
{
	stream->phase = STREAM_IDLE;
	stream->tls = (struct tls_records){ .is_secured = 1 };
	for (int i = 0; i < 2; i++) {
		stream->sequence[i]++;
		stream->frames[i] = (struct http2_frames){ .has_begun = 1, .is_lost = 1 };
	}
}

/* Of which socket it is, work->sk. */
static __always_inline void tell_new(const struct stream *stream, const struct work *work)
{
	if (is_copied(stream))
		streams_tell_path(stream, work);
}

/* A call of a stream on work->sk, at work->now_ns. */
__noinline int streams_take_call(struct stream *stream, struct connection *connection,
				 struct work *work, __u32 size, __u32 how)
{
	bool is_new, is_send = how & CALL_SENDS;
	__u16 epoch;

	if (!stream || !connection || !work)
		return 0;
	if (!CALLS_ARE_PLAIN && shared.tls && stream->protocol == PREFIX_TLS) {
		switch (tls_socket_moved(work, connection->midway || stream->began_ns)) {
		case TLS_PLAIN_TEXT:
			stream->phase = STREAM_IDLE;
			return 0;
		case TLS_NOTHING:
			shake_hands(stream, connection, size);
			return 0;
		case TLS_BY_RECORDS:
			break;
		}
	}
	is_new = !stream->is_begun;
	if (is_new) {
		stream->is_begun = 1;
		stream->midway = connection->midway;
	}
	stream->encrypted = connection->encrypted;
	work->from_client = is_send == (stream->role == REQUESTS_CLIENT);
	epoch = work->now_ns >> ENTITY_EPOCH_SHIFT;
	if (connection->entity_epoch != epoch) {
		connection->entity_epoch = epoch;
		if (!find_entity(connection)) {
			connection->role = ROLE_IGNORED;
			return 0;
		}
	}
	work->entity = connection->entity;
	if (is_new) {
		tell_new(stream, work);
		if (work->n_before)
			streams_send_before(stream, work, connection);
		if (work->is_upgraded)
			streams_begin_upgraded(stream, work);
	} else {
		work->n_before = 0; /* of another connection */
	}
	open_call(work, size, how);
	take(stream, work);
	return 0;
}

/* n bytes were taken from it by calls that no hook sees. Of TLS whose plain text is told they are nothing to tell of. */
static __always_inline void stream_unseen(struct sock *sk, struct connection *connection,
					  struct work *work, __u32 n)
{
	struct stream *stream = &connection->stream;

	if (!(stream->protocol == PREFIX_TLS && tls_is_told((__u64)sk)))
		streams_take_unseen(stream, work, connection, n);
}

/* The connection is gone. May interrupt another hook on this CPU, whose scratch it must not touch. */
__noinline int streams_over(struct stream *stream, struct connection *connection)
{
	struct stream_event event = {};
	struct exchange_row *row;

	if (!connection)
		return 0;
	connection->role = ROLE_IGNORED;
	if (!stream)
		return 0;
	if (stream->phase == STREAM_ANSWERED) {
		row = exchange_row_of(stream, connection->entity, lane_of_this_cpu());
		if (row)
			end_exchange(stream, row);
	}
	if (!is_copied(stream))
		return 0;
	fill_event(&event, stream, connection->entity, bpf_ktime_get_ns(), false);
	event.kind = STREAM_CLOSED;
	output(stream->ring, &event, sizeof(event));
	return 0;
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
	if (stream->phase != STREAM_ASKED || (!stream->stopped && is_copied(stream)))
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
