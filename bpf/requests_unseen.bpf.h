/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Bytes that a program took from a TCP socket without a call that the hooks see: splice() to a pipe, a mapped receive. How far
 * it has read the socket itself says; what is missing there is made up for as a length, before anything else is done to the
 * connection: it goes on within a body, whose length is known, and anywhere else framing is lost, and told to be.
 *
 * That is noticed when the connection is used again, or ends. Of when the bytes went a hook takes note, from the first time on.
 */
#ifndef LEADLINE_REQUESTS_UNSEEN_BPF_H
#define LEADLINE_REQUESTS_UNSEEN_BPF_H

#include "lib/compat.bpf.h"
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

/* A length may be the rest of a body, and whatever follows: the start of a message, which is not known then. */
#define UNSEEN_STEPS 3

static __always_inline void http1_unseen(struct connection *connection, struct work *work, __u32 n)
{
	struct http1_stream *stream =
		work->is_response ? &connection->response : &connection->request;
	__u8 *is_lost = work->is_response ? &connection->response_lost : &connection->request_lost;
	struct walk walk = { .connection = connection, .stream = stream, .work = work };

	if (*is_lost || (work->is_response && connection->turn == TURN_BEGAN))
		return;
	http1_open(&work->view, n, 0, 0, 0, 0);
	stream->n_carried = 0;
	if (work->is_response)
		expect_response(connection);
	for (int i = 0; i < UNSEEN_STEPS && !walk.is_over; i++)
		walk_step(&walk);
	if (*is_lost)
		stream->phase = HTTP1_LOST;
	if (*is_lost || stream->phase == HTTP1_UNTIL_CLOSE)
		connection->last_ns = work->now_ns;
}

/* Takes account of n bytes that were read so. */
static __noinline int take_unseen(struct sock *sk, struct connection *connection, __u32 n,
				  __u32 weight)
{
	const struct call_data data = { .sk = sk };
	struct work *work = bpf_map_lookup_elem(&works, &(__u32){ 0 });
	__u8 is_lost;

	if (!work)
		return 0;
	if (connection->role == ROLE_STREAM) {
		stream_moved(connection, n, false, &data);
		return 0;
	}
	work->now_ns = connection->unseen_ns ?: tcp_clock_ns(sk);
	work->sk = (__u64)sk;
	work->weight = weight;
	work->is_response = connection->role == ROLE_CLIENT;
	if (connection->role < ROLE_UNDECIDED)
		http1_unseen(connection, work, n);
	is_lost = work->is_response ? connection->response_lost : connection->request_lost;
	count_call(connection, n, weight, is_lost);
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

/* To be called before a call that has moved `size` bytes is looked at. */
static __always_inline void find_unseen(struct sock *sk, struct connection *connection, __u32 size,
					bool is_send, __u32 weight)
{
	__s32 n = bytes_unseen(sk, connection);

	if (!is_send)
		n -= size;
	connection->read_seq = tcp_read_seq(sk);
	if (n <= 0)
		return; /* below: another thread was reading when we looked last */
	shared.unseen++;
	take_unseen(sk, connection, n, weight);
	connection->unseen_ns = 0;
}

#endif
