/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Bytes that a program took from a TCP socket without a call that the hooks see: splice() to a pipe, a mapped receive. How far
 * it has read the socket itself says; what is missing there is made up for as a length, before anything else is done to the
 * connection: it goes on within a body, whose length is known, and anywhere else framing is lost, and told to be.
 *
 * That is noticed when the connection is used again, or ends; in a process of several threads, where another one may just be reading,
 * when it is read from again. Of when the bytes went a hook takes note, from the first time on, and then sending will do there, too.
 */
#ifndef LEADLINE_REQUESTS_UNSEEN_BPF_H
#define LEADLINE_REQUESTS_UNSEEN_BPF_H

#include "lib/compat.bpf.h"
#include "lib/task.bpf.h"
#include "requests_connection.bpf.h"
#include "requests_http1.bpf.h"
#include "requests_streams.bpf.h"

/* How many bytes have been read since `read_seq`. The other side's FIN takes a number, too. */
static __always_inline __s32 bytes_unseen(struct sock *sk, const struct connection *connection)
{
	__u32 n = tcp_read_seq(sk) - connection->read_seq;

	if (n && fin_received(sk) && tcp_all_read(sk))
		n--;
	return n;
}

/* Takes account of n bytes that were read so, of a connection that is no stream. */
__noinline int requests_pass_unseen(struct connection *connection, struct work *work, __u32 n)
{
	struct http1_stream *stream;
	__u32 events;

	if (!connection || !work)
		return 0;
	work->is_response = connection->role == ROLE_CLIENT;
	stream = direction_of(connection, work);
	if (connection->role < ROLE_UNDECIDED && !lost_of(connection, work) &&
	    !(work->is_response && connection->turn == TURN_BEGAN)) {
		http1_open(&work->view, n, 0, 0, 0, 0);
		stream->n_carried = 0;
		events = http1_pass(stream, &work->view);
		if (work->is_response && (events & HTTP1_ENDED)) {
			response_ended(connection, work);
			expect_response(connection);
		}
		if (events & HTTP1_UNREADABLE)
			lose(connection, work, LOST_UNREADABLE);
		if (stream->phase >= HTTP1_UNTIL_CLOSE)
			connection->last_ns = work->now_ns;
	}
	count_call(connection, n, work->weight, lost_of(connection, work));
	return 0;
}

/* Whether the response to the only request in flight has been read so, to its end. */
static __always_inline bool is_read_unseen(struct sock *sk, const struct connection *connection,
					   __u8 n_in_flight)
{
	__s32 n = bytes_unseen(sk, connection);

	return n > 0 && n_in_flight == 1 && connection->role == ROLE_CLIENT &&
	       connection->response.phase == HTTP1_BODY && connection->response.left <= (__u64)n;
}

/*
 * What looks so to a thread that sends: another one may have read it by a call that the hook is not told of yet, as that is between the
 * socket and the hook. It then is about to be. Bytes that were unseen in truth are found by the next call that receives, or at the end.
 */
static __always_inline bool may_be_seen_yet(const struct connection *connection)
{
	return !connection->unseen_ns && task_has_others(bpf_get_current_task_btf());
}

/* To be called before a call that has received `size` bytes, or sent some, on work->sk is looked at, and at its end. */
static __always_inline void find_unseen(struct sock *sk, struct connection *connection,
					struct work *work, __u32 size, bool is_send)
{
	__s32 n = bytes_unseen(sk, connection) - size;

	if (n > 0 && is_send && may_be_seen_yet(connection))
		return;
	connection->read_seq = tcp_read_seq(sk);
	if (n <= 0)
		return; /* below: another thread was reading when we looked last */
	shared.unseen++;
	work->now_ns = connection->unseen_ns ?: tcp_clock_ns(sk);
	if (connection->role == ROLE_STREAM)
		stream_unseen(sk, connection, work, n);
	else
		requests_pass_unseen(connection, work, n);
	connection->unseen_ns = 0;
}

#endif
