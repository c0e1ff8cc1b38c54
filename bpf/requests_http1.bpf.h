/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * HTTP/1.x on a connection: what its framing says of requests and responses, and what is recorded of them. Where the bytes come from is
 * the hooks' business: from a socket call (requests.bpf.c), or from one of a TLS library (tls.bpf.c).
 */
#ifndef LEADLINE_REQUESTS_HTTP1_BPF_H
#define LEADLINE_REQUESTS_HTTP1_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "lib/http1_call.bpf.h"
#include "requests_connection.bpf.h"
#include "requests_connects.bpf.h"
#include "requests_rows.bpf.h"
#include "requests_sample.bpf.h"
#include "requests_stream.bpf.h"
#include "requests_waits.bpf.h"

/* ---- what is recorded ---- */

/* The row of a key, remembered for the next request: they mostly repeat. */
static __always_inline __u32 row_of(struct connection *connection, const struct requests_key *key)
{
	const union requests_key_word wanted = { .key = *key };

	if (connection->key.word != wanted.word ||
	    connection->row_generation != (__u32)shared.row_generation) {
		connection->row_generation = shared.row_generation;
		connection->key.word = wanted.word;
		connection->row = find_row(&wanted);
	}
	return connection->row;
}

/* Takes the oldest pending request of a socket off and records it. */
__noinline int requests_finish(struct connection *connection, __u64 sk, __u64 end_ns,
			       enum requests_outcome outcome)
{
	struct requests_key key = {};
	struct requests_row *row;
	struct ending ending;
	__u64 start_ns, first_byte_ns;
	__u32 index, slot;

	if (!connection)
		return 0;
	/* Of several requests in flight, the first to end has the bytes of those that came meanwhile. */
	ending.request_bytes = http1_take_bytes(&connection->request);
	ending.response_bytes = http1_take_bytes(&connection->response);
	ending.outcome = outcome;
	if (connection->head == connection->tail) {
		if (connection->untracked)
			connection->untracked--;
		connection->response_started = 0;
		return 0;
	}
	ending.pending = connection->pending[connection->head & (PENDING_MAX - 1)];
	connection->head++;
	start_ns = ending.pending >> 4;

	key.entity = connection->entity;
	key.role = connection->role;
	key.method = ending.pending & 15;
	key.outcome = outcome;
	key.is_encrypted = connection->encrypted;
	if (outcome != REQUESTS_NO_RESPONSE)
		key.status = connection->response.status;
	index = row_of(connection, &key);
	if (index >= settings.rows)
		return 0;
	index += lane_of_this_cpu() * settings.rows;
	row = bpf_map_lookup_elem(&rows, &index);
	if (!row)
		return 0;
	ending.duration_ns = end_ns > start_ns ? end_ns - start_ns : 0;
	slot = hist3_slot(ending.duration_ns);
	ending.weight = recorded_weight(connection, ending.duration_ns);
	record_duration(row, ending.duration_ns, slot, ending.weight);
	record_bytes(row, ending.request_bytes, ending.response_bytes, ending.weight);
	if (connection->response_started) {
		first_byte_ns = connection->first_byte_ns > start_ns
					? connection->first_byte_ns - start_ns
					: 0;
		/* One call for all of it, as often. */
		if (first_byte_ns == ending.duration_ns && slot)
			slot = requests_coarse_slot(slot);
		else
			slot = hist_slot(first_byte_ns);
		record_first_byte(row, first_byte_ns, slot, ending.weight);
	}
	if (has_ledger(connection->role) || is_slow(connection, ending.duration_ns))
		requests_explain(connection, sk, &ending);
	connection->response_started = 0;
	return 0;
}

/* ---- what the framing says ---- */

/*
 * Framing was lost in the midst of a response, now something says that it is over: it ended with the last
 * bytes seen.
 */
static __always_inline void finish_lost_response(struct connection *connection, __u64 sk)
{
	connection->response_lost = 0;
	/* Joined midway: what could not be framed was the end of a response to a request not seen. */
	if (connection->attempts_left > ATTEMPTS_NEW)
		return;
	if (connection->head != connection->tail && connection->response_started) {
		requests_finish(connection, sk, connection->last_ns, REQUESTS_COMPLETE);
		return;
	}
	count_lost(REQUESTS_LOST_RESPONSE);
	if (connection->head != connection->tail)
		connection->head++;
	else if (connection->untracked)
		connection->untracked--;
	connection->response_started = 0;
}

/* What may be told of the request later. Of several at once, the first. */
static __always_inline void keep_line(struct connection *connection, const struct http1_view *view)
{
	__u64 *line = (__u64 *)connection->line;

	connection->has_line = view->has_line && (shared.slow_ns[0] || shared.slow_ns[1]);
	if (!connection->has_line)
		return;
	connection->line_of = connection->tail;
	for (__u32 i = 0; i < CONNECTION_LINE / 8; i++)
		line[i] = http1_word(view, view->line_at + 8 * i);
}

/*
 * With its first request; those that are older than the agent do not come in turns. What began while hooks were away is counted with those
 * that begin in a window.
 */
static __always_inline void count_once(struct connection *connection, const struct work *work,
				       __u64 start_ns)
{
	bool is_client = connection->role == ROLE_CLIENT;

	if (connection->is_counted)
		return;
	connection->is_counted = 1;
	if (!work->weight || (connection->midway && in_window(budget_lane())))
		return;
	count_connections(connection->entity, is_client, connection->midway ? 1 : work->weight,
			  is_client ? take_connect(work->sk, start_ns) : 0);
}

static __always_inline int request_started(struct connection *connection, struct work *work)
{
	__u64 start_ns = connection->request.began_ns ?: work->now_ns;
	__u16 epoch = work->now_ns >> ENTITY_EPOCH_SHIFT;
	__u8 n = connection->tail - connection->head;

	connection->request.began_ns = 0;
	connection->request_lost = 0;
	if (connection->role == ROLE_UNDECIDED)
		connection->role = connection->tentative_role;
	if (connection->entity_epoch != epoch) {
		connection->entity_epoch = epoch;
		if (!find_entity(connection)) {
			ignore(connection);
			return 1;
		}
	}
	if (connection->response_lost && n == 1 && !connection->untracked) {
		finish_lost_response(connection, work->sk);
		connection->response.phase = HTTP1_START;
		n = 0;
	}
	connection->turn = TURN_NOW;
	count_once(connection, work, start_ns);
	if (!n) {
		connection->weight = at_most(work->weight, 0xffff);
		if (!work->weight) {
			connection->turn = TURN_OVER;
			return 1;
		}
	}
	/* Once one is not tracked, none is until all are answered: their order is all that pairs them. */
	if (n == PENDING_MAX || connection->untracked) {
		if (connection->untracked < 0xffff)
			connection->untracked++;
		count_lost(REQUESTS_LOST_PIPELINE);
		return 0;
	}
	if (connection->role == ROLE_SERVER)
		note_reading(work->sk, start_ns, !n);
	if (!n)
		keep_line(connection, &work->view);
	connection->pending[connection->tail & (PENDING_MAX - 1)] =
		start_ns << 4 | (connection->request.method & 15);
	barrier(); /* the entry before its number */
	connection->tail++;
	if (connection->early) {
		connection->early = 0;
		connection->response_started = 1;
		requests_finish(connection, work->sk, connection->last_ns, REQUESTS_COMPLETE);
	}
	return 0;
}

/* The method of the oldest request without response says whether its response has a body. */
static __always_inline void expect_response(struct connection *connection)
{
	__u8 method = HTTP1_METHOD_OTHER;

	if (connection->head != connection->tail)
		method = connection->pending[connection->head & (PENDING_MAX - 1)] & 15;
	connection->response.method = method;
}

static __always_inline void response_started(struct connection *connection, struct work *work)
{
	if (connection->response_lost)
		finish_lost_response(connection, work->sk);
	connection->first_byte_ns = connection->response.began_ns ?: work->now_ns;
	connection->response.began_ns = 0;
	connection->response_started = 1;
	connection->attempts_left = 0;
}

static __always_inline void response_ended(struct connection *connection, struct work *work)
{
	if (connection->head != connection->tail || connection->untracked) {
		requests_finish(connection, work->sk, work->now_ns, REQUESTS_COMPLETE);
		return;
	}
	connection->response_started = 0;
	if (connection->role == ROLE_CLIENT && !connection->early) {
		connection->early = 1;
		connection->last_ns = work->now_ns;
	} else {
		connection->response.bytes = 0;
		count_lost(REQUESTS_LOST_UNMATCHED);
	}
}

/* Of the direction of this call. */
static __always_inline struct http1_stream *direction_of(struct connection *connection,
							 const struct work *work)
{
	return work->is_response ? &connection->response : &connection->request;
}

/* Notes why it is not known any more where in a message the bytes are. */
static __always_inline void lose(struct connection *connection, const struct work *work,
				 enum connection_lost why)
{
	__u8 *is_lost = work->is_response ? &connection->response_lost : &connection->request_lost;

	direction_of(connection, work)->bytes = 0; /* no telling what of it is whose */
	if (*is_lost)
		return;
	*is_lost = why;
	count_lost(REQUESTS_LOST_FRAMING);
	if (why == LOST_UNREADABLE)
		count_loss(LOSS_UNREADABLE);
}

/* The call is no HTTP/1; of a connection of which nothing is known yet, it may tell what it is instead. */
__noinline int requests_framing_lost(struct connection *connection, struct work *work,
				     enum connection_lost why)
{
	if (!connection || !work)
		return 0;
	if (connection->role != ROLE_UNDECIDED) {
		lose(connection, work, why);
		return 0;
	}
	connection->request.phase = HTTP1_START;
	connection->request.bytes = 0;
	if (why == LOST_UNREADABLE)
		join_midway(connection);
	else if (find_protocol(connection, work))
		return 0;
	if (connection->attempts_left && --connection->attempts_left == 0)
		ignore(connection);
	return 0;
}

/* The oldest request without response, which the stream begins with, for what the connection keeps of it makes room for the stream. */
static __always_inline void keep_upgraded(struct connection *connection, struct work *work)
{
	const __u64 pending = connection->pending[connection->head & (PENDING_MAX - 1)];
	struct upgraded_request *request = &work->upgraded;

	request->start_ns = pending >> 4;
	request->method = pending & 15;
	request->pad = 0;
	request->request_bytes = http1_take_bytes(&connection->request);
	request->response_bytes = http1_take_bytes(&connection->response);
	request->answer_left = work->view.filled - (work->view.end - work->view.at);
	request->line_size = 0;
	if (connection->has_line && connection->line_of == connection->head)
		request->line_size = sizeof(request->line);
	__builtin_memcpy(request->line, connection->line, sizeof(request->line));
	work->is_upgraded = true;
}

/*
 * Makes the connection one of HTTP/2. The request that asked for it is stream 1 there (RFC 7540,
 * 3.2), and what that is answered only the decoder can tell: it is not recorded here, but handed over with the stream's first event, and
 * exact as long as no event is lost, like all of HTTP/2. It must weigh what decoded calls do. Returns whether all that is so.
 */
static __always_inline bool become_http2(struct connection *connection, struct work *work)
{
	if (connection->head == connection->tail || connection->request.phase != HTTP1_START ||
	    !(settings.copied_protocols >> PREFIX_HTTP2 & 1) ||
	    connection->weight != window_weight())
		return false;
	keep_upgraded(connection, work);
	work->n_before = 0;
	connection->midway = 0;
	become_stream(connection, PREFIX_HTTP2 | PREFIX_FROM_SERVER,
		      connection->role == ROLE_SERVER);
	return true;
}

/* What the connection becomes by the response that has just ended: an enum http1_upgrade. If that is HTTP/2, it has. */
__noinline int requests_upgrade(struct connection *connection, struct work *work)
{
	int upgrade;

	if (!connection || !work || connection->response.status != 101)
		return HTTP1_UPGRADE_OTHER;
	upgrade = http1_upgrade(&work->view);
	if (upgrade == HTTP1_UPGRADE_HTTP2 && !become_http2(connection, work))
		return HTTP1_UPGRADE_OTHER;
	return upgrade;
}

/* What follows the response that has just ended is no longer HTTP/1. */
static __always_inline void tunnel_begins(struct connection *connection, struct work *work)
{
	int upgrade = requests_upgrade(connection, work);

	if (upgrade == HTTP1_UPGRADE_HTTP2)
		return;
	response_ended(connection, work);
	ignore(connection);
	connection->is_websocket = upgrade == HTTP1_UPGRADE_WEBSOCKET;
	if (connection->is_websocket)
		return;
	connection->role = ROLE_UNDECIDED; /* as if new: it may be HTTP/2 now */
	connection->attempts_left = ATTEMPTS_NEW;
}

/* Returns 1 when the rest of the call's data is not to be looked at. */
static __always_inline int met(struct connection *connection, struct work *work, __u32 events)
{
	if (events & HTTP1_STARTED) {
		if (work->is_response)
			response_started(connection, work);
		else if (request_started(connection, work))
			return 1;
	}
	if (events & (HTTP1_BROKEN | HTTP1_UNREADABLE)) {
		requests_framing_lost(connection, work,
				      events & HTTP1_UNREADABLE ? LOST_UNREADABLE : LOST_MALFORMED);
		return 1;
	}
	if (!work->is_response)
		return 0;
	if (events & HTTP1_INTERIM)
		connection->response_started = 0;
	if (events & (HTTP1_ENDED | HTTP1_TUNNEL)) {
		if (events & HTTP1_TUNNEL) {
			tunnel_begins(connection, work);
			return 1;
		}
		response_ended(connection, work);
		expect_response(connection);
	}
	return 0;
}

/* The same after the first step of a call. A call of a function costs some 10 ns where the CPU guards returns: usual calls make few. */
__noinline int requests_met(struct connection *connection, struct work *work, __u32 events)
{
	if (!connection || !work)
		return 1;
	return met(connection, work, events);
}

__noinline int requests_step(struct http1_stream *stream, struct http1_view *view)
{
	if (!stream || !view)
		return HTTP1_CALL_OVER;
	return http1_step(stream, view);
}
/* A call's share of time: some 100 chunks or pipelined requests; and the verifier's patience, where it walks each. */
#define STEPS_MAX	 512
#define STEPS_MAX_WALKED 64

/* On the stack, where there is little room: no more than the loop needs. */
struct walk {
	struct connection *connection;
	struct work *work;
};

/* Whether the rest of the call's data is not to be looked at. is_first, a constant: the one step that most calls take. */
static __always_inline bool walk_step(struct connection *connection, struct work *work,
				      bool is_first)
{
	__u32 events = requests_step(direction_of(connection, work), &work->view);

	work->is_over = events & HTTP1_CALL_OVER;
	if (events & ~HTTP1_CALL_OVER)
		work->is_over |= is_first ? met(connection, work, events)
					  : requests_met(connection, work, events);
	return work->is_over;
}

static long walk_on(__u32 i, void *context)
{
	struct walk *walk = context;

	return walk_step(walk->connection, walk->work, false);
}

/* Through the data of the call; one step is the usual. Returns false when so many steps did not do. */
static __always_inline bool walk_through(struct connection *connection, struct work *work)
{
	if (walk_step(connection, work, true))
		return true;
	/* Before 5.17 there is no such helper (e6f2dd0f8067). */
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_loop)) {
		struct walk walk = { connection, work };

		bpf_loop(STEPS_MAX, walk_on, &walk, 0);
		return work->is_over;
	}
	for (int i = 0; i < STEPS_MAX_WALKED && !work->is_over; i++)
		walk_step(connection, work, false);
	return work->is_over;
}

/* The bytes of a call on a connection that is no stream. is_lost: an enum connection_lost. */
static __always_inline void count_call(const struct connection *connection, __u32 size,
				       __u32 weight, __u8 is_lost)
{
	enum requests_protocol protocol = PROTOCOL_UNKNOWN;
	__u32 times = weight;

	if (connection->role > ROLE_CLIENT) {
		if (CALLS_ARE_PLAIN)
			return; /* the records around it are counted */
		if (connection->is_websocket)
			protocol = PROTOCOL_WEBSOCKET;
		times = weight ?: 1;
	} else if (!is_lost || connection->turn == TURN_BEGAN) {
		protocol = PROTOCOL_HTTP;
	} else if (is_lost == LOST_UNREADABLE) {
		protocol = PROTOCOL_HTTP_UNREAD;
	} else {
		protocol = PROTOCOL_HTTP_UNPARSED;
	}
	count_bytes(connection->entity, protocol, (__u64)size * times);
}

static __always_inline __u8 lost_of(const struct connection *connection, const struct work *work)
{
	return work->is_response ? connection->response_lost : connection->request_lost;
}

/*
 * Takes a call on a connection that speaks HTTP/1, or may. Returns whether it could not be framed: an enum connection_lost.
 */
static __always_inline __u8 frame_call(struct connection *connection, struct work *work, __u32 size,
				       __u32 how)
{
	const bool is_send = how & CALL_SENDS;
	struct http1_stream *stream;
	__u8 is_lost;

	if (connection->role == ROLE_UNDECIDED) {
		__u8 role = is_send ? ROLE_CLIENT : ROLE_SERVER;

		if (connection->request.n_carried && connection->tentative_role != role)
			return LOST_NOT;
		connection->tentative_role = role;
		work->is_response = 0;
	} else {
		work->is_response = is_send == (connection->role == ROLE_SERVER);
	}
	if (work->is_response && connection->turn == TURN_BEGAN)
		return LOST_NOT; /* to a request that was not seen */
	stream = direction_of(connection, work);
	is_lost = lost_of(connection, work);
	/* Where framing was lost, the next message is looked for at the start of each call. */
	if (is_lost) {
		stream->n_carried = 0;
		stream->phase = HTTP1_START;
		if (!work->is_response && connection->head != connection->tail &&
		    !connection->response_started)
			stream->phase = HTTP1_LOST; /* not before the last one is being answered */
	}

	if (stream->phase == HTTP1_BODY && stream->left > size) {
		stream->left -= size;
		if (!CALLS_ARE_PLAIN)
			vector_step(&work->sk, size);
		return is_lost;
	}
	open_call(work, size, how);
	if (stream->n_carried) {
		http1_bring(&work->view, stream->carried, stream->n_carried);
		stream->n_carried = 0;
	}
	if (work->is_response)
		expect_response(connection);
	if (!walk_through(connection, work))
		requests_framing_lost(connection, work, LOST_MALFORMED);

	is_lost = lost_of(connection, work);
	if (work->is_response && (is_lost || stream->phase == HTTP1_UNTIL_CLOSE))
		connection->last_ns = work->now_ns;
	if (is_lost)
		stream->phase = HTTP1_LOST;
	else if (!stream->began_ns && (stream->phase == HTTP1_REQUEST_LINE ||
				       (stream->phase == HTTP1_START && stream->n_carried)))
		stream->began_ns = work->now_ns;
	return is_lost;
}

/* The same, and counts its bytes, unless they are a stream's: that its first call is, this one may tell. */
static __always_inline void connection_take_call(struct connection *connection, struct work *work,
						 __u32 size, __u32 how)
{
	__u8 is_lost = LOST_NOT;

	if (connection->role < ROLE_IGNORED)
		is_lost = frame_call(connection, work, size, how);
	if (connection->role != ROLE_STREAM)
		count_call(connection, size, work->weight, is_lost);
}

/* ---- when the connection ends ---- */

enum response_end {
	RECEIVED_ALL,
	SENT_ALL,
	CLOSED,
};

/* No more response bytes will come: to a client that received all, from a server that sent all. */
__noinline int requests_over(struct connection *connection, const __u64 *sk, enum response_end how)
{
	__u64 now_ns;

	if (!connection || !sk)
		return 0;
	if (connection->role > ROLE_CLIENT || connection->head == connection->tail)
		return 0;
	if (connection->role == ROLE_SERVER ? how == RECEIVED_ALL : how == SENT_ALL)
		return 0;
	now_ns = bpf_ktime_get_ns();
	if (connection->response_started) {
		if (connection->response.phase == HTTP1_UNTIL_CLOSE || connection->response_lost)
			requests_finish(connection, *sk, connection->last_ns, REQUESTS_COMPLETE);
		else
			requests_finish(connection, *sk, now_ns, REQUESTS_CUT_SHORT);
	}
	for (int i = 0; i < PENDING_MAX; i++) {
		if (connection->head == connection->tail)
			break;
		requests_finish(connection, *sk, now_ns, REQUESTS_NO_RESPONSE);
	}
	ignore(connection);
	return 0;
}

#endif
