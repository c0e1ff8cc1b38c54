/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Events with copies of what calls moved, for the decoders of the user side. */
#ifndef LEADLINE_REQUESTS_COPIES_BPF_H
#define LEADLINE_REQUESTS_COPIES_BPF_H

#include "lib/emit.bpf.h"
#include "requests_ledger.bpf.h"
#include "requests_stream.bpf.h"

DEFINE_EVENT_RINGS();

/* Into that ring, or the last. Returns false with the loss counted. */
static __always_inline bool output(__u32 ring, void *event, __u64 size)
{
	return event_output(&event_rings, &event_ring_states, ring, event, size, false) ||
	       event_output_last(&event_rings, &event_ring_states, ring, settings.rings, event,
				 size);
}

/* An event under construction. Bytes: room for any offset and size that the verifier thinks of. */
struct stream_scratch {
	struct stream_event event;
	union {
		__u8 bytes[2 * STREAM_CAPTURE_MAX];
		struct http2_pieces pieces;
	};
	struct stream_account account;
};
_Static_assert(HTTP2_PIECES_MAX <= STREAM_CAPTURE_MAX, "pieces have room in an event");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stream_scratch);
} stream_scratches SEC(".maps");

#define PIECES_MAX                                                                                 \
	64 /* of a call, as far as they are copied: gRPC sends each field of a head on its own */

/* Copies on, within one piece of the call; head_size counts. Returns whether that was all. */
static __always_inline int copy_piece(struct http1_view *view, struct stream_scratch *scratch)
{
	__u64 want, copied, size;

	want = view->total < settings.capture_bytes ? view->total : settings.capture_bytes;
	copied = at_most(scratch->event.head_size, STREAM_CAPTURE_MAX);
	if (copied >= want)
		return 1;
	if (copied >= view->piece_end) {
		if (http1_next_piece(view))
			return 1;
		if (copied >= view->piece_end)
			return 0; /* an empty one */
	}
	size = view->piece_end - copied;
	if (size > want - copied)
		size = want - copied;
	size = at_most(size, STREAM_CAPTURE_MAX);
	if (HTTP1_COPY(view, scratch->bytes + copied, size,
		       view->base + copied - view->piece_start))
		return 1;
	scratch->event.head_size = copied + size;
	return copied + size == want;
}

/* The same of a piece after the first. */
__noinline int streams_copy_piece(struct http1_view *view, struct stream_scratch *scratch)
{
	return view && scratch ? copy_piece(view, scratch) : 1;
}

#define TAIL_PIECES 16 /* that are gone over in search of the last one */

/* The end of the call, as far as it is in its last piece. */
__noinline int streams_copy_tail(struct http1_view *view, struct stream_scratch *scratch)
{
	__u64 copied, from, size;

	if (!view || !scratch)
		return 0;
	copied = at_most(scratch->event.head_size, STREAM_CAPTURE_MAX);
	for (int i = 0; i < TAIL_PIECES && view->piece_end < view->total; i++)
		if (http1_next_piece(view))
			return 0;
	if (view->piece_end < view->total || view->total <= copied)
		return 0;
	from = copied;
	if (view->total > copied + STREAM_TAIL)
		from = view->total - STREAM_TAIL;
	if (from < view->piece_start)
		from = view->piece_start;
	size = at_most(view->total - from, STREAM_TAIL);
	if (!HTTP1_COPY(view, scratch->bytes + copied, size, view->base + from - view->piece_start))
		scratch->event.tail_size = size;
	return 0;
}

/*
 * Copies the beginning of a call, up to settings.capture_bytes, and its end. What cannot be read is left out: the event says
 * then that it was there.
 */
static __always_inline void copy_call(struct http1_view *view, struct stream_scratch *scratch)
{
	scratch->event.head_size = 0;
	scratch->event.tail_size = 0;
	if (!copy_piece(view, scratch))
		for (int i = 1; i < PIECES_MAX; i++)
			if (streams_copy_piece(view, scratch))
				break;
	if (scratch->event.head_size == settings.capture_bytes &&
	    view->total > settings.capture_bytes)
		streams_copy_tail(view, scratch);
}

/* Of HTTP/2, frames are copied. Returns whether they were: else the call is to be copied like any other. */
__noinline int streams_copy_frames(struct stream *stream, struct work *work,
				   struct stream_scratch *scratch)
{
	struct http2_frames *frames;

	if (!stream || !work || !scratch)
		return 0;
	frames = &stream->frames[work->from_client & 1];
	if (!http2_frames_begin(frames, &work->view, &scratch->pieces, work->from_client,
				stream->midway, work->n_before))
		return 0;
	for (int i = 0; i < HTTP2_STEPS_A_CALL; i++)
		if (http2_frames_step(frames, &work->view, &scratch->pieces))
			break;
	scratch->event.head_size = http2_frames_end(frames, &work->view, &scratch->pieces);
	scratch->event.tail_size = 0;
	return 1;
}

static __always_inline __u8 stream_flags(const struct stream *stream)
{
	return (stream->midway ? STREAM_MIDWAY : 0) | (stream->encrypted ? STREAM_ENCRYPTED : 0) |
	       (stream->sequence[0] | stream->sequence[1] ? 0 : STREAM_BEGINS) |
	       (has_ledger(stream->role) ? STREAM_HAS_LEDGER : 0);
}

static __always_inline void fill_event(struct stream_event *event, struct stream *stream,
				       __u32 entity, __u64 now_ns, bool from_client)
{
	__u64 id = bpf_get_current_pid_tgid();

	event->connection = stream->id;
	event->ns = now_ns;
	event->entity = entity;
	event->pid = id >> 32;
	event->tid = id;
	event->flags = stream_flags(stream) | (from_client ? STREAM_FROM_CLIENT : 0);
	event->sequence = stream->sequence[from_client & 1]++;
	event->kind = STREAM_DATA;
	event->protocol = stream->protocol;
	event->role = stream->role;
}

/* The size of one that is finished, with what follows its bytes put behind them. */
static __always_inline __u64 finish_event(struct stream_scratch *scratch)
{
	__u64 size = (__u64)scratch->event.head_size + scratch->event.tail_size;

	size = at_most(size, STREAM_CAPTURE_MAX + STREAM_TAIL);
	if (scratch->event.flags & STREAM_HAS_ACCOUNT) {
		__builtin_memcpy(scratch->bytes + size, &scratch->account,
				 sizeof(scratch->account));
		size += sizeof(scratch->account);
	}
	return sizeof(struct stream_event) + size;
}

/* Where there may be no room. Returns whether there was. */
__noinline int streams_send_event(const struct stream *stream, struct stream_scratch *scratch)
{
	return stream && scratch && output(stream->ring, scratch, finish_event(scratch));
}

static __always_inline bool send_event(const struct stream *stream, struct stream_scratch *scratch)
{
	return event_output(&event_rings, &event_ring_states, stream->ring, scratch,
			    finish_event(scratch), !(scratch->event.sequence & 7)) ||
	       streams_send_event(stream, scratch);
}

/* What calls before this one brought of a connection that is a stream from now on. */
__noinline int streams_send_before(struct stream *stream, struct work *work,
				   struct connection *connection)
{
	struct stream_scratch *scratch;
	__u32 n;

	if (!stream || !work || !connection)
		return 0;
	scratch = bpf_map_lookup_elem(&stream_scratches, &(__u32){ 0 });
	n = work->n_before;
	if (!scratch || n > HTTP1_CARRY)
		return 0;
	__builtin_memcpy(scratch->bytes, connection->request.carried, HTTP1_CARRY);
	fill_event(&scratch->event, stream, work->entity, work->now_ns, work->from_client);
	scratch->event.size = n;
	scratch->event.head_size = n;
	scratch->event.tail_size = 0;
	streams_send_event(stream, scratch);
	return 0;
}

/* The stream goes on with the request of work->upgraded. */
__noinline int streams_begin_upgraded(struct stream *stream, struct work *work)
{
	struct stream_scratch *scratch = bpf_map_lookup_elem(&stream_scratches, &(__u32){ 0 });

	if (!stream || !work || !scratch)
		return 0;
	__builtin_memcpy(scratch->bytes, &work->upgraded, sizeof(work->upgraded));
	stream->frames[0].has_begun = 1;
	stream->frames[0].left = work->upgraded.answer_left;
	fill_event(&scratch->event, stream, work->entity, work->now_ns, true);
	scratch->event.kind = STREAM_UPGRADED;
	scratch->event.size = 0;
	scratch->event.head_size = scratch->event.tail_size = 0;
	output(stream->ring, scratch, sizeof(scratch->event) + sizeof(work->upgraded));
	return 0;
}

/* A client that has asked to go on in TLS begins with its ClientHello; it does so early, or never. */
#define STARTTLS_CALLS 8

/* Its decoder may hear of the question, and want no more, before the client has said a word of TLS. */
static __always_inline bool may_start_tls(const struct stream *stream)
{
	return stream->stopped == STREAM_STOP_ENCRYPTED + 1 && stream->calls < STARTTLS_CALLS;
}

static __always_inline bool starts_tls(const struct stream *stream,
				       const struct stream_scratch *scratch)
{
	const __u8 *bytes = scratch->bytes;

	return stream->calls && scratch->event.head_size >= 5 && bytes[0] == TLS_HANDSHAKE &&
	       bytes[1] == 3 && bytes[2] <= 4 && (scratch->event.head_size == 5 || bytes[5] == 1);
}

/* What its decoder is told instead of the first call in TLS; which the stream is of from now on. */
static __always_inline void begin_tls(struct stream *stream, struct stream_event *event)
{
	event->kind = STREAM_CLOSED;
	event->size = 0;
	event->head_size = event->tail_size = 0;
	stream->protocol = PREFIX_TLS;
	stream->phase = STREAM_IDLE;
	stream->began_ns = 0; /* nothing of TLS was asked yet */
}

enum sent {
	SENT, /* or not wanted */
	SENT_LOST, /* there was no room, it is counted */
	SENT_BEFORE_TLS, /* from this call on the stream is TLS */
};

/* Tells its decoder of a call. Returns an enum sent. */
__noinline int streams_send_copy(struct stream *stream, struct work *work)
{
	struct stream_scratch *scratch;
	bool in_pieces, begins_tls = false;

	if (!stream || !work)
		return SENT;
	scratch = bpf_map_lookup_elem(&stream_scratches, &(__u32){ 0 });
	if (!scratch)
		return SENT;
	in_pieces = stream->protocol == PREFIX_HTTP2 && streams_copy_frames(stream, work, scratch);
	if (!in_pieces)
		copy_call(&work->view, scratch);
	fill_event(&scratch->event, stream, work->entity, work->now_ns, work->from_client);
	scratch->event.size = work->view.total;
	if (in_pieces)
		scratch->event.flags |= STREAM_IN_PIECES;
	if (work->has_account)
		scratch->event.flags |= STREAM_HAS_ACCOUNT;
	if (stream->calls < STARTTLS_CALLS && stream->protocol != PREFIX_HTTP2) {
		begins_tls = work->from_client && starts_tls(stream, scratch);
		if (begins_tls)
			begin_tls(stream, &scratch->event);
		else
			stream->calls++;
	}
	if (stream->stopped && !begins_tls)
		return SENT;
	if (!send_event(stream, scratch) && !begins_tls)
		return SENT_LOST;
	return begins_tls ? SENT_BEFORE_TLS : SENT;
}

#endif
