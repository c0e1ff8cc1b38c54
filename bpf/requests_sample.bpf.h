/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which connections are looked at while the budget asks for less: a part of them, each in its turn, for as long as the agent says
 * (struct budget_lane, `turn`). A request is recorded when it starts in a turn of its connection, and then stands for as
 * many as there are turns: however long it takes, as its end is waited for. Other calls of a connection cost
 * two look-ups.
 *
 * What is new to us is always looked at, until it is known what it speaks; and so is all that is not HTTP/1: its decoders cannot
 * do with a part. What is sent again by two directions at once is as in requests.bpf.c.
 *
 * Where that is too much still, the hooks are there for a part of the time only, in windows, and then look at all connections. What was
 * known of one when they went is void when they are back. Recorded is what begins and ends in one window.
 */
#ifndef LEADLINE_REQUESTS_SAMPLE_BPF_H
#define LEADLINE_REQUESTS_SAMPLE_BPF_H

#include "vmlinux.h"
#include "lib/budget.bpf.h"
#include "requests_connection.bpf.h"

/* Of a window: what of it a request must leave, at least, to stand for more the longer it took. */
#define WINDOW_PART_LEAST 8

/* For how many connections this one stands now: 1 when all are looked at, 0 when it is not its turn. */
static __always_inline __u32 sample_weight(const struct budget_lane *lane, const struct sock *sk)
{
	if (!lane)
		return 1;
	/*
	 * The kernel's hash of both addresses, salted, stays as long as the connection does. Of `spread` / 2 + 1 turns, a power of two, one
	 * is its.
	 */
	return (sk->__sk_common.skc_hash + lane->turn) & lane->spread >> 1 ? 0 : lane->weight;
}

static __always_inline bool in_window(const struct budget_lane *lane)
{
	return lane && lane->window_ends_ns;
}

/* For how many calls one stands that is not of HTTP/1. */
static __always_inline __u32 window_weight(void)
{
	const struct budget_lane *lane = budget_lane();

	return lane && !lane->spread ? lane->weight : 1;
}

/*
 * For how many a request stands that was recorded in a window, for having begun and ended there: the longer it took, the fewer of
 * its kind did.
 */
static __always_inline __u64 recorded_weight(const struct connection *connection, __u64 duration_ns)
{
	const struct budget_lane *lane;
	__u64 window_ns, left_ns;

	if (connection->weight <= 1)
		return connection->weight;
	lane = budget_lane();
	if (!in_window(lane) || lane->window_ends_ns <= lane->window_began_ns)
		return connection->weight;
	window_ns = lane->window_ends_ns - lane->window_began_ns;
	left_ns = duration_ns < window_ns ? window_ns - duration_ns : 0;
	if (left_ns < window_ns / WINDOW_PART_LEAST)
		left_ns = window_ns / WINDOW_PART_LEAST;
	return left_ns ? connection->weight * window_ns / left_ns : connection->weight;
}

/*
 * It is not its turn: is there nothing to be waited for? Requests that overlap are not waited for: on such a connection there would
 * always be one.
 */
static __always_inline bool sample_leaves(struct connection *connection)
{
	__u8 n = connection->tail - connection->head;

	if (connection->role == ROLE_IGNORED)
		return true;
	if (connection->role > ROLE_CLIENT || (n == 1 && !connection->response_lost))
		return false;
	connection->turn = TURN_OVER;
	return true;
}

/* Some hooks are there and others are not: what these see is a part of nothing. */
static __always_inline bool in_between(const struct budget_lane *lane)
{
	return lane && lane->window_ends_ns == BUDGET_NO_WINDOW;
}

/* Hooks were away since it was looked at last, or are going away. */
static __always_inline bool was_missed(const struct connection *connection,
				       const struct budget_lane *lane)
{
	return in_between(lane) || (lane && connection->absences != (__u16)lane->absences);
}

/* It is its turn again. What is under way began unseen: the start of the next request is looked for. */
static __always_inline void sample_joins(struct connection *connection)
{
	connection->turn = TURN_BEGAN;
	connection->request_lost = LOST_MALFORMED;
	connection->response_lost = 0;
	connection->response_started = 0;
	connection->early = 0;
	connection->head = connection->tail;
	connection->untracked = 0;
	connection->request.n_carried = connection->response.n_carried = 0;
	connection->request.began_ns = connection->response.began_ns = 0;
	connection->request.bytes = connection->response.bytes = 0;
	connection->request.phase = connection->response.phase = HTTP1_START;
}

#endif
