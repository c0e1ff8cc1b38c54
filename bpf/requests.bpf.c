// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * HTTP/1.x requests, server and client side, without a hook on system calls: two tracepoints inside the
 * socket calls say how many bytes went through, the registers the task entered the kernel with say
 * where they are. Only message heads and chunk sizes are ever read (lib/http1.h); bodies are lengths.
 * Everything is aggregated here, no event leaves.
 *
 * A connection's state is in socket storage and dies with the socket. Its two directions may move on two CPUs
 * at once: each has its own stream; `pending` is filled by the request's and emptied by the response's.
 *
 * The time is the TCP stack's own, taken when it last sent or received a segment: a request starts when
 * its first bytes arrive (at a server: not when it gets round to reading them) or leave. What one large blocking write
 * of a client waits for its window does not show.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "lib/budget.bpf.h"
#include "lib/compat.bpf.h"
#include "lib/emit.bpf.h"
#include "lib/task.bpf.h"
#include "lib/http1_call.bpf.h"
#include "requests_rows.bpf.h"
#include "requests_connection.bpf.h"
#include "requests_names.bpf.h"
#include "requests_sample.bpf.h"
#include "requests_streams.bpf.h"
#include "requests_waits.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

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

/*
 * The same number, but to the verifier any number: it follows each of the many paths to a slot, and would
 * follow each on to the end of the program.
 */
static __always_inline __u32 forget_path(struct connection *connection, __u32 slot)
{
	volatile __u32 *memory = &connection->slot;

	*memory = slot;
	return *memory;
}

static __always_inline bool is_slow(const struct connection *connection, __u64 duration_ns)
{
	__u64 slow_ns = shared.slow_ns[connection->role == REQUESTS_CLIENT];

	return slow_ns && duration_ns >= slow_ns;
}

/* Where its time went, of the request that `pending` told of, the oldest. */
static __always_inline void explain(const struct connection *connection, __u64 pending,
				    __u64 duration_ns, enum requests_outcome outcome)
{
	struct work *work = bpf_map_lookup_elem(&works, &(__u32){ 0 });
	struct ending ending = {
		.start_ns = pending >> 4,
		.end_ns = (pending >> 4) + duration_ns,
		.outcome = outcome,
		.method = pending & 15,
		.is_slow = is_slow(connection, duration_ns),
		.has_ledger = has_ledger(connection->role),
		.has_target =
			connection->has_line && connection->line_of == (__u8)(connection->head - 1),
	};

	if (!work || (!ending.is_slow && !ending.has_ledger))
		return;
	if (connection->response_started && connection->first_byte_ns > ending.start_ns)
		ending.first_byte_ns = connection->first_byte_ns - ending.start_ns;
	requests_explain(connection, &ending, work->sk);
}

/* Takes the oldest pending request off and records it. */
static __always_inline void finish(struct connection *connection, __u64 end_ns,
				   enum requests_outcome outcome)
{
	struct requests_key key = {};
	struct requests_row *row;
	__u64 pending, start_ns, duration_ns, first_byte_ns;
	__u32 index, slot;

	if (connection->head == connection->tail) {
		if (connection->untracked)
			connection->untracked--;
		connection->response_started = 0;
		return;
	}
	pending = connection->pending[connection->head & (PENDING_MAX - 1)];
	connection->head++;
	start_ns = pending >> 4;

	key.entity = connection->entity;
	key.role = connection->role;
	key.method = pending & 15;
	key.outcome = outcome;
	if (outcome != REQUESTS_NO_RESPONSE)
		key.status = connection->response.status;
	index = row_of(connection, &key);
	if (index >= settings.rows)
		return;
	index += lane_of_this_cpu() * settings.rows;
	row = bpf_map_lookup_elem(&rows, &index);
	if (!row)
		return;
	duration_ns = end_ns > start_ns ? end_ns - start_ns : 0;
	slot = forget_path(connection, hist3_slot(duration_ns));
	record_duration(row, duration_ns, slot, connection->weight);
	if (connection->response_started) {
		first_byte_ns = connection->first_byte_ns > start_ns
					? connection->first_byte_ns - start_ns
					: 0;
		if (first_byte_ns == duration_ns && slot) /* one call for all of it, as often */
			slot = requests_coarse_slot(slot);
		else
			slot = forget_path(connection, hist_slot(first_byte_ns));
		record_first_byte(row, first_byte_ns, slot, connection->weight);
	}
	explain(connection, pending, duration_ns, outcome);
	connection->response_started = 0;
}

/* The same for the rarer places. */
__noinline int requests_finish(struct connection *connection, __u64 end_ns,
			       enum requests_outcome outcome)
{
	if (connection)
		finish(connection, end_ns, outcome);
	return 0;
}

/* ---- what the framing says ---- */

/*
 * Framing was lost in the midst of a response, now something says that it is over: it ended with the last
 * bytes seen.
 */
static __always_inline void finish_lost_response(struct connection *connection)
{
	connection->response_lost = 0;
	/* Joined midway: what could not be framed was the end of a response to a request not seen. */
	if (connection->attempts_left > ATTEMPTS_NEW)
		return;
	if (connection->head != connection->tail && connection->response_started) {
		requests_finish(connection, connection->last_ns, REQUESTS_COMPLETE);
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
		finish_lost_response(connection);
		connection->response.phase = HTTP1_START;
		n = 0;
	}
	connection->turn = TURN_NOW;
	if (!n) {
		connection->weight = work->weight;
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
		requests_finish(connection, connection->last_ns, REQUESTS_COMPLETE);
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
		finish_lost_response(connection);
	connection->first_byte_ns = connection->response.began_ns ?: work->now_ns;
	connection->response.began_ns = 0;
	connection->response_started = 1;
	connection->attempts_left = 0;
}

static __always_inline void response_ended(struct connection *connection, struct work *work)
{
	if (connection->head != connection->tail || connection->untracked) {
		finish(connection, work->now_ns, REQUESTS_COMPLETE);
		return;
	}
	connection->response_started = 0;
	if (connection->role == ROLE_CLIENT && !connection->early) {
		connection->early = 1;
		connection->last_ns = work->now_ns;
	} else {
		count_lost(REQUESTS_LOST_UNMATCHED);
	}
}

static __always_inline int framing_lost(struct connection *connection, struct work *work,
					bool unreadable)
{
	__u8 *is_lost = work->is_response ? &connection->response_lost : &connection->request_lost;

	if (connection->role == ROLE_UNDECIDED) {
		connection->request.phase = HTTP1_START;
		if (!unreadable && find_protocol(connection, work))
			return 1;
		if (connection->attempts_left && --connection->attempts_left == 0)
			ignore(connection);
		return 1;
	}
	if (!*is_lost) {
		*is_lost = 1;
		count_lost(REQUESTS_LOST_FRAMING);
		if (unreadable)
			count_loss(LOSS_UNREADABLE);
	}
	return 1;
}

/* Returns 1 when the rest of the call's data is not to be looked at. */
__noinline int requests_met(struct connection *connection, struct work *work, __u32 events)
{
	if (!connection || !work)
		return 1;
	if (events & HTTP1_STARTED) {
		if (work->is_response)
			response_started(connection, work);
		else if (request_started(connection, work))
			return 1;
	}
	if (events & (HTTP1_BROKEN | HTTP1_UNREADABLE))
		return framing_lost(connection, work, events & HTTP1_UNREADABLE);
	if (!work->is_response)
		return 0;
	if (events & HTTP1_INTERIM)
		connection->response_started = 0;
	if (events & (HTTP1_ENDED | HTTP1_TUNNEL)) {
		response_ended(connection, work);
		if (events & HTTP1_TUNNEL) {
			ignore(connection);
			connection->role = ROLE_UNDECIDED; /* as if new: it may be HTTP/2 now */
			connection->attempts_left = ATTEMPTS_NEW;
			return 1;
		}
		expect_response(connection);
	}
	return 0;
}

__noinline int requests_step(struct http1_stream *stream, struct http1_view *view)
{
	if (!stream || !view)
		return HTTP1_CALL_OVER;
	return http1_step(stream, view);
}

/* ---- the hooks ---- */

/*
 * Whether the call that has just moved `size` bytes was the first one on its connection. That something has arrived says
 * nothing: with some protocols both sides begin.
 */
static __always_inline bool is_first_call(struct tcp_sock *tcp, __u32 size, bool is_send)
{
	__u64 sent = tcp->bytes_acked + (__u32)(tcp->write_seq - tcp->snd_una);
	__u64 read = tcp->bytes_received - (__u32)(tcp->rcv_nxt - tcp->copied_seq);

	return is_send ? sent <= (__u64)size + 1 && read <= 1
		       : read <= (__u64)size + 1 && sent <= 1;
}

static __always_inline struct connection *connection_new(struct sock *sk, __u32 size, bool is_send)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	struct task_struct *task = bpf_get_current_task_btf();
	struct connection *connection;
	bool is_new;

	if (!tcp)
		return NULL;
	is_new = is_first_call(tcp, size, is_send);
	connection = bpf_sk_storage_get(&connections, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!connection) {
		count_loss(LOSS_NO_SOCKET_STATE);
		return NULL;
	}
	connection->attempts_left = is_new ? ATTEMPTS_NEW : ATTEMPTS_MIDWAY;
	connection->midway = !is_new;
	connection->response.is_response = 1;
	connection->role = ROLE_UNDECIDED;
	connection->tentative_role = is_send ? ROLE_CLIENT : ROLE_SERVER;
	if (!find_entity(connection) || (task->flags & PF_KTHREAD))
		connection->role = ROLE_IGNORED;
	return connection;
}

/* A call's share of time: some 100 chunks or pipelined requests; and the verifier's patience, where it walks each. */
#define STEPS_MAX	 512
#define STEPS_MAX_WALKED 64

struct walk {
	struct connection *connection;
	struct http1_stream *stream;
	struct work *work;
	bool is_over; /* the rest of the call's data is not to be looked at */
};

static __always_inline void walk_step(struct walk *walk)
{
	__u32 events = requests_step(walk->stream, &walk->work->view);

	walk->is_over = events & HTTP1_CALL_OVER;
	if (events & ~HTTP1_CALL_OVER)
		walk->is_over |= requests_met(walk->connection, walk->work, events);
}

static long walk_on(__u32 i, void *context)
{
	struct walk *walk = context;

	walk_step(walk);
	return walk->is_over;
}

/* Through the data of the call; one step is the usual. Returns false when so many steps did not do. */
static __always_inline bool walk_through(struct walk *walk)
{
	walk_step(walk);
	if (walk->is_over)
		return true;
	/* Before 5.17 there is no such helper (e6f2dd0f8067). */
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_loop)) {
		bpf_loop(STEPS_MAX, walk_on, walk, 0);
		return walk->is_over;
	}
	for (int i = 0; i < STEPS_MAX_WALKED && !walk->is_over; i++)
		walk_step(walk);
	return walk->is_over;
}

static __always_inline void data_moved(struct sock *sk, __u32 size, bool is_send, bool readable)
{
	struct connection *connection;
	struct http1_stream *stream;
	struct work *work;
	struct budget_lane *lane;
	struct walk walk;
	__u32 weight;
	bool is_lost = false;

	if (!is_tcp(sk)) {
		datagram_moved(sk, size, is_send, readable);
		return;
	}
	lane = budget_count();
	connection = bpf_sk_storage_get(&connections, sk, NULL, 0);
	if (!connection) {
		connection = connection_new(sk, size, is_send);
		if (!connection)
			return;
	}
	weight = sample_weight(lane, sk);
	if (!weight && sample_leaves(connection))
		return;
	if (weight && connection->turn == TURN_OVER)
		sample_joins(connection);
	if (connection->role >= ROLE_IGNORED)
		goto count;
	work = bpf_map_lookup_elem(&works, &(__u32){ 0 });
	if (!work)
		return;
	work->now_ns = tcp_clock_ns(sk);
	work->sk = (__u64)sk;
	work->weight = weight;
	if (connection->role == ROLE_UNDECIDED) {
		__u8 role = is_send ? ROLE_CLIENT : ROLE_SERVER;

		if (connection->request.n_carried && connection->tentative_role != role)
			goto count;
		connection->tentative_role = role;
		work->is_response = 0;
	} else {
		work->is_response = is_send == (connection->role == ROLE_SERVER);
	}
	if (work->is_response) {
		if (connection->turn == TURN_BEGAN)
			goto count; /* to a request that was not seen */
		stream = &connection->response;
		is_lost = connection->response_lost;
	} else {
		stream = &connection->request;
		is_lost = connection->request_lost;
	}
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
		goto count;
	}
	http1_open_call(&work->view, sk, size, readable);
	if (stream->n_carried) {
		http1_bring(&work->view, stream->carried, stream->n_carried);
		stream->n_carried = 0;
	}
	if (work->is_response)
		expect_response(connection);
	walk = (struct walk){ .connection = connection, .stream = stream, .work = work };
	if (!walk_through(&walk))
		framing_lost(connection, work, false);

	if (work->is_response) {
		is_lost = connection->response_lost;
		if (is_lost || stream->phase == HTTP1_UNTIL_CLOSE)
			connection->last_ns = work->now_ns;
	} else {
		is_lost = connection->request_lost;
	}
	if (is_lost)
		stream->phase = HTTP1_LOST;
	else if (!stream->began_ns && (stream->phase == HTTP1_REQUEST_LINE ||
				       (stream->phase == HTTP1_START && stream->n_carried)))
		stream->began_ns = work->now_ns;
count:
	if (connection->role <= ROLE_CLIENT)
		count_bytes(connection->entity,
			    is_lost && connection->turn != TURN_BEGAN ? PROTOCOL_HTTP_UNPARSED
								      : PROTOCOL_HTTP,
			    (__u64)size * weight);
	else if (connection->role == ROLE_STREAM)
		stream_moved(sk, connection, size, is_send, readable);
	else
		count_bytes(connection->entity, PROTOCOL_UNKNOWN, (__u64)size * (weight ?: 1));
}

enum response_end {
	RECEIVED_ALL,
	SENT_ALL,
	CLOSED,
};

/* No more response bytes will come: to a client that received all, from a server that sent all. */
static __always_inline void response_over(struct sock *sk, enum response_end how)
{
	struct connection *connection = bpf_sk_storage_get(&connections, sk, NULL, 0);
	struct work *work;
	__u64 now_ns;

	if (!connection)
		return;
	if (connection->role == ROLE_STREAM && how == CLOSED)
		stream_over(sk, connection);
	if (connection->role > ROLE_CLIENT || connection->head == connection->tail)
		return;
	if (connection->role == ROLE_SERVER ? how == RECEIVED_ALL : how == SENT_ALL)
		return;
	work = bpf_map_lookup_elem(&works, &(__u32){ 0 });
	if (!work)
		return;
	work->sk = (__u64)sk;
	now_ns = bpf_ktime_get_ns();
	if (connection->response_started) {
		if (connection->response.phase == HTTP1_UNTIL_CLOSE || connection->response_lost)
			requests_finish(connection, connection->last_ns, REQUESTS_COMPLETE);
		else
			requests_finish(connection, now_ns, REQUESTS_CUT_SHORT);
	}
	for (int i = 0; i < PENDING_MAX; i++) {
		if (connection->head == connection->tail)
			break;
		requests_finish(connection, now_ns, REQUESTS_NO_RESPONSE);
	}
	ignore(connection);
}

static __always_inline void sent(struct sock *sk, int ret)
{
	if (ret > 0)
		data_moved(sk, ret, true, true);
}

static __always_inline void received(struct sock *sk, int ret, int flags)
{
	if (ret < 0 || (flags & (MSG_OOB | MSG_PEEK | MSG_ERRQUEUE)))
		return;
	if (ret > 0)
		data_moved(sk, ret, false, !(flags & MSG_TRUNC));
	else if (is_tcp(sk) && (sk->sk_shutdown & RCV_SHUTDOWN))
		response_over(sk, RECEIVED_ALL);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(requests_send, struct sock *sk, int ret)
{
	sent(sk, ret);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(requests_recv, struct sock *sk, int ret, int flags)
{
	received(sk, ret, flags);
	return 0;
}

/* Before 6.3 there are no such tracepoints (6e6eda44b939). */
SEC("fexit/tcp_sendmsg")
int BPF_PROG(requests_send_fexit, struct sock *sk, struct msghdr *msg, size_t size, int ret)
{
	sent(sk, ret);
	return 0;
}

/*
 * Until 6.5 (dc97391e6610) pages of files go to TCP by a way of their own, past the tracepoint and tcp_sendmsg.
 */
SEC("fexit/tcp_sendpage")
int BPF_PROG(requests_sendpage, struct sock *sk, void *page, int offset, size_t size, int flags,
	     int ret)
{
	sent(sk, ret);
	return 0;
}

/* tcp_recvmsg lost an argument in 5.19 (ec095263a965); the helpers that tell came in 5.17 (f92c1e183604). */
SEC("fexit/tcp_recvmsg")
int requests_recv_fexit(__u64 *ctx)
{
	__u64 flags = ctx[4], ret;

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_func_ret)) {
		bpf_get_func_arg(ctx, bpf_get_func_arg_cnt(ctx) - 2, &flags);
		bpf_get_func_ret(ctx, &ret);
	} else {
		ret = ctx[6];
	}
	received((struct sock *)ctx[0], ret, flags);
	return 0;
}

#define TCP_FIN_WAIT1 4
#define TCP_LAST_ACK  9
#define SHUTDOWN_MASK 3

/*
 * This end closes, in the context of its process; a client that merely ends its sending still waits for the
 * response.
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(requests_state, struct sock *sk, int old_state, int new_state)
{
	if (new_state != TCP_FIN_WAIT1 && new_state != TCP_LAST_ACK)
		return 0;
	if (is_tcp(sk))
		response_over(sk, sk->sk_shutdown == SHUTDOWN_MASK ? CLOSED : SENT_ALL);
	return 0;
}

/* Closed with a reset, or for the second time. */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(requests_destroy, struct sock *sk)
{
	response_over(sk, CLOSED);
	return 0;
}

/* All connections with requests in flight; the map in_flight was cleared before. */
SEC("iter/bpf_sk_storage_map")
int requests_pass(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock *sk = ctx->sk;
	struct connection *connection;
	struct requests_in_flight *row;
	__u32 entity;
	__u64 start_ns;
	__u32 times;
	__u8 n;

	if (!sk)
		return 0;
	/* ctx->value is the same, but may only be read at constant offsets */
	connection = bpf_sk_storage_get(&connections, sk, NULL, 0);
	if (!connection)
		return 0;
	if (connection->role == ROLE_STREAM)
		return stream_pass(sk, connection);
	if (connection->role > ROLE_CLIENT)
		return 0;
	n = connection->tail - connection->head;
	if (!n || n > PENDING_MAX)
		return 0;
	entity = connection->entity;
	if (entity >= settings.max_entities)
		entity = ENTITY_OTHER;
	row = bpf_map_lookup_elem(&in_flight, &entity);
	if (!row)
		return 0;
	start_ns = connection->pending[connection->head & (PENDING_MAX - 1)] >> 4;
	times = (n + connection->untracked) * connection->weight;
	if (connection->role == ROLE_SERVER)
		note_in_flight(row, REQUESTS_SERVER, start_ns, times);
	else
		note_in_flight(row, REQUESTS_CLIENT, start_ns, times);
	return 0;
}
