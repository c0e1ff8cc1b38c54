/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A connection that speaks something else than HTTP/1, as its first bytes tell (lib/protocol_prefix.h). As there, the two directions may
 * move on two CPUs at once.
 */
#ifndef LEADLINE_REQUESTS_STREAM_BPF_H
#define LEADLINE_REQUESTS_STREAM_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "lib/http1_call.bpf.h"
#include "lib/protocol_prefix.h"
#include "requests_connection.bpf.h"
#include "requests_rows.bpf.h"

/* Of sockets for datagrams, which are no connections; of others it is in theirs. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct stream);
} datagram_streams SEC(".maps");

/* Connections that their decoders can make nothing of any more: stream id → enum stream_stop. Filled by the user side. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, STREAM_MAX_STOPS);
	__type(key, __u64);
	__type(value, __u32);
} stopped_streams SEC(".maps");

static __always_inline bool is_stopped(struct stream *stream)
{
	__u32 stops = shared.stops, *reason;
	__u64 id = stream->id; /* 6.1 takes no key from memory that a function was given */

	if (stream->stopped || stream->stops_seen == stops)
		return stream->stopped;
	stream->stops_seen = stops;
	reason = bpf_map_lookup_elem(&stopped_streams, &id);
	if (!reason)
		return false;
	stream->stopped = *reason % STREAM_STOP_REASONS + 1;
	bpf_map_delete_elem(&stopped_streams, &id);
	return true;
}

static __always_inline void stream_begin(struct stream *stream, __u32 found, bool is_send)
{
	bool by_server = found & PREFIX_FROM_SERVER;

	__builtin_memset(stream, 0, sizeof(*stream));
	stream->id = __sync_fetch_and_add(&shared.streams, 1) + 1;
	stream->ring = ring_of_this_cpu();
	stream->protocol = found;
	stream->role = by_server == is_send ? REQUESTS_SERVER : REQUESTS_CLIENT;
}

/* From a call on that tells it, by this end or the other. found: prefix_classify(). */
static __always_inline void become_stream(struct connection *connection, __u32 found, bool is_send)
{
	ignore(connection); /* as HTTP/1 */
	stream_begin(&connection->stream, found, is_send);
	barrier(); /* all of it before its role says so */
	connection->role = ROLE_STREAM;
}

/* ---- what it speaks ---- */

/* As many bytes as any rule looks at, from the pieces of a call that begins with small ones. */
__noinline int streams_fill_window(struct http1_view *view)
{
	if (!view)
		return 0;
	for (int i = 0; i < 3 && view->end < HTTP1_CARRY && view->filled < view->total; i++) {
		view->at = 0;
		if (view->filled >= view->piece_end && http1_next_piece(view))
			return 0;
		if (http1_refill(view))
			return 0;
	}
	return 0;
}

/*
 * What a call that is not HTTP/1 begins with: found, the connection is a stream from this call on. A few bytes may be too
 * few, then they are kept for the next call. Returns false when the call did not tell, nor will.
 */
static __always_inline bool find_protocol(struct connection *connection, struct work *work)
{
	__u32 n, n_before, found;

	/* Only as long as the window has not moved on from the call's first bytes. */
	if (work->view.filled > HTTP1_FILL || work->view.end < work->view.filled)
		return false;
	n_before = work->view.end - work->view.filled;
	streams_fill_window(&work->view);
	n = work->view.end;
	found = prefix_classify(&work->view, n, n_before + work->view.total, connection->midway);
	if (found & PREFIX_WANTS_MORE) {
		if (n > HTTP1_CARRY)
			return false;
		__builtin_memcpy(connection->request.carried, work->view.window, HTTP1_CARRY);
		connection->request.n_carried = n;
		return true;
	}
	if (!(settings.protocols >> (found & 31) & 1))
		return false;
	work->n_before = n_before;
	work->is_upgraded = false;
	if (n_before)
		__builtin_memcpy(connection->request.carried, work->view.window, HTTP1_CARRY);
	connection->request.n_carried = 0;
	become_stream(connection, found, connection->tentative_role == ROLE_CLIENT);
	return true;
}

#endif
