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
#include "lib/file_sockets.bpf.h"
#include "lib/task.bpf.h"
#include "requests_connection.bpf.h"
#include "requests_connects.bpf.h"
#include "requests_http1.bpf.h"
#include "requests_names.bpf.h"
#include "requests_sample.bpf.h"
#include "requests_streams.bpf.h"
#include "requests_unix.bpf.h"
#include "requests_unseen.bpf.h"
#include "requests_waits.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

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
	__u32 attempts_midway = ATTEMPTS_MIDWAY;
	struct connection *connection;
	bool is_new;

	if (tcp) {
		is_new = is_first_call(tcp, size, is_send);
	} else {
		is_new = !is_older_unix(sk);
		attempts_midway = ATTEMPTS_MIDWAY_UNIX;
	}
	connection = bpf_sk_storage_get(&connections, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!connection) {
		count_loss(LOSS_NO_SOCKET_STATE);
		return NULL;
	}
	if (tcp)
		connection->read_seq = tcp_read_seq(sk) - (is_send ? 0 : size);
	connection->attempts_left = is_new ? ATTEMPTS_NEW : attempts_midway;
	connection->midway = !is_new;
	connection->response.is_response = 1;
	connection->role = ROLE_UNDECIDED;
	connection->tentative_role = is_send ? ROLE_CLIENT : ROLE_SERVER;
	if (!find_entity(connection) || (task->flags & PF_KTHREAD))
		connection->role = ROLE_IGNORED;
	return connection;
}

/* This end asks, as far as is known. */
static __always_inline bool is_asking(const struct connection *connection)
{
	return connection->role == ROLE_CLIENT ||
	       (connection->role > ROLE_CLIENT && connection->tentative_role == ROLE_CLIENT);
}

/*
 * Whether a call may have ended a wait that is not to be taken for one for somebody else: of one that asks, for what it reads, and to
 * be connected; of a server, for what belongs to the request, and to get rid of a part of the response.
 */
static __always_inline bool is_end_of_wait(const struct connection *connection, bool is_send,
					   bool is_new, bool in_body)
{
	if (connection->role == ROLE_SERVER)
		return is_send ? connection->response_started : in_body;
	return is_new || !is_send;
}

/* A thread that serves a request has waited for this connection until now, it may be. */
static __always_inline void waited_for(struct sock *sk, const struct connection *connection)
{
	__u32 protocol = connection->role == ROLE_CLIENT ? DOWNSTREAM_HTTP : PREFIX_UNKNOWN;
	enum waited_for whom = is_asking(connection) ? WAITED_FOR_PEER : WAITED_FOR_CLIENT;

	if (connection->role == ROLE_STREAM) {
		if (connection->stream.role != REQUESTS_CLIENT)
			return;
		protocol = connection->stream.protocol;
		whom = WAITED_FOR_PEER;
	}
	waited(sk, whom, protocol);
}

/*
 * Of a connection that was there before us, that it is TLS is told by a thread that is in a call of a library. Returns whether
 * what this call moves is told as plain text.
 */
__noinline int requests_within_tls(struct connection *connection, struct work *work, __u32 size,
				   __u32 how)
{
	if (!connection || !work)
		return 0;
	if (!connection->encrypted) {
		struct task_state *task = task_state_of(bpf_get_current_task_btf());

		if (!task || !task->tls_session)
			return 0;
		open_call(work, size, how);
		if (!tls_begins_record(work, size))
			return 0;
		ignore(connection);
		connection->encrypted = 1;
	}
	return tls_socket_moved(work, true) != TLS_BY_RECORDS;
}

/* Hooks were away, and it is not known what went over the connection meanwhile. */
static __always_inline void resume(struct connection *connection, __u16 absences)
{
	connection->absences = absences;
	switch (connection->role) {
	case ROLE_SERVER:
	case ROLE_CLIENT:
		sample_joins(connection);
		break;
	case ROLE_UNDECIDED:
		join_midway(connection);
		connection->request.n_carried = 0;
		connection->request.phase = HTTP1_START;
		break;
	case ROLE_STREAM:
		miss_calls(&connection->stream);
		break;
	}
}

static __always_inline void data_moved(struct sock *sk, __u32 size, __u32 how)
{
	const bool is_send = how & CALL_SENDS;
	struct work *work = bpf_map_lookup_elem(&works, &(__u32){ 0 });
	struct connection *connection;
	struct budget_lane *lane;
	__u32 weight;
	bool is_new = false, in_body = false, tcp = is_tcp(sk);

	if (!work)
		return;
	if (!tcp && !is_unix_stream(sk)) {
		datagram_moved(sk, work, size, how);
		return;
	}
	lane = budget_count();
	if (in_between(lane))
		return;
	connection = bpf_sk_storage_get(&connections, sk, NULL, 0);
	if (!connection) {
		connection = connection_new(sk, size, is_send);
		if (!connection)
			return;
		connection->absences = lane ? lane->absences : 0;
		is_new = true;
	} else if (was_missed(connection, lane)) {
		resume(connection, lane->absences);
		if (tcp)
			connection->read_seq = tcp_read_seq(sk) - (is_send ? 0 : size);
	}
	work->sk = (__u64)sk;
	if (shared.tls && connection->midway && connection->role > ROLE_CLIENT &&
	    connection->role != ROLE_STREAM) {
		work->now_ns = socket_clock_ns(sk);
		if (requests_within_tls(connection, work, size, how))
			return;
	}
	weight = sample_weight(lane, sk);
	if (!weight && sample_leaves(connection)) {
		if (connection->serves_too && !is_send && is_asking(connection))
			waited_for(sk, connection);
		return;
	}
	if (weight && connection->turn == TURN_OVER) {
		sample_joins(connection);
		if (tcp)
			connection->read_seq = tcp_read_seq(sk) - (is_send ? 0 : size);
	}
	work->weight = weight;
	if (tcp && connection->role != ROLE_IGNORED)
		find_unseen(sk, connection, work, is_send ? 0 : size, is_send);
	in_body = !is_send && connection->request.phase == HTTP1_BODY;
	if (connection->role != ROLE_IGNORED)
		work->now_ns = socket_clock_ns(sk);
	if (connection->role != ROLE_STREAM)
		connection_take_call(connection, work, size, how);
	if (connection->role == ROLE_STREAM)
		streams_take_call(&connection->stream, connection, work, size, how);
	if (connection->serves_too && is_end_of_wait(connection, is_send, is_new, in_body))
		waited_for(sk, connection);
}

/* In the context of a process. */
static __always_inline void read_over(struct sock *sk)
{
	struct connection *connection = bpf_sk_storage_get(&connections, sk, NULL, 0);
	struct work *work = bpf_map_lookup_elem(&works, &(__u32){ 0 });

	if (!connection || !work || connection->role == ROLE_IGNORED ||
	    connection->turn == TURN_OVER || was_missed(connection, budget_lane()))
		return;
	work->sk = (__u64)sk;
	work->weight = connection->weight;
	find_unseen(sk, connection, work, 0, false);
}

/* What went over a socket within TLS. */
__noinline int requests_plain_text_over(const __u64 *sk, enum response_end how)
{
	struct tls_connection *tls;
	__u64 key;

	if (!sk)
		return 0;
	key = *sk;
	tls = tls_connection_of(key);
	if (!tls)
		return 0;
	if (tls->connection.role == ROLE_STREAM && how == CLOSED)
		streams_over(&tls->connection.stream, &tls->connection);
	requests_over(&tls->connection, &key, how);
	if (how == CLOSED)
		bpf_map_delete_elem(&tls_sockets, &key);
	return 0;
}

static __always_inline void response_over(struct sock *sk, enum response_end how)
{
	struct connection *connection = bpf_sk_storage_get(&connections, sk, NULL, 0);
	const __u64 address = (__u64)sk;

	if (!connection)
		return;
	if (was_missed(connection, budget_lane()))
		resume(connection, connection->absences);
	if (connection->role == ROLE_STREAM || connection->encrypted)
		requests_plain_text_over(&address, how);
	if (connection->role == ROLE_STREAM && how == CLOSED)
		streams_over(&connection->stream, connection);
	requests_over(connection, &address, how);
}

/* Of a connection that moves no bytes: at its end. */
static __always_inline void waited_for_end(struct sock *sk)
{
	struct connection *connection = bpf_sk_storage_get(&connections, sk, NULL, 0);

	if (connection && connection->serves_too && connection->role != ROLE_SERVER)
		waited_for(sk, connection);
}

/* This end of a unix socket has noticed that the other one says no more, or is gone. */
static __always_inline void unix_over(struct sock *sk)
{
	bool is_gone = sk->sk_shutdown == SHUTDOWN_MASK;
	struct sock *peer = unix_peer(sk);

	response_over(sk, is_gone ? CLOSED : RECEIVED_ALL);
	if (peer)
		response_over(peer, is_gone ? CLOSED : SENT_ALL);
}

/* A call that moved nothing: of a stream it may tell its end. */
static __always_inline void nothing_moved(struct sock *sk, int ret)
{
	step_vector(sk, ret);
	if (!(sk->sk_shutdown & RCV_SHUTDOWN))
		return;
	if (is_unix_stream(sk)) {
		if (ret == 0 || ret == -EPIPE || ret == -ECONNRESET)
			unix_over(sk);
	} else if (is_tcp(sk) && ret == 0) {
		waited_for_end(sk);
		read_over(sk);
		response_over(sk, RECEIVED_ALL);
	}
}

/* how: enum call_how, several. */
static __always_inline void moved(struct sock *sk, int ret, __u32 how)
{
	if (how & CALL_LEAVES)
		step_vector(sk, ret);
	else if (ret > 0)
		data_moved(sk, ret, how);
	else
		nothing_moved(sk, ret);
}

#define HOW_SENT (CALL_READABLE | CALL_SENDS)

static __always_inline __u32 how_received(int flags)
{
	if (flags & (MSG_OOB | MSG_PEEK | MSG_ERRQUEUE))
		return CALL_LEAVES;
	return flags & MSG_TRUNC ? 0 : CALL_READABLE;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(requests_send, struct sock *sk, int ret)
{
	moved(sk, ret, HOW_SENT);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(requests_recv, struct sock *sk, int ret, int flags)
{
	moved(sk, ret, how_received(flags));
	return 0;
}

/* Before 6.3 there are no such tracepoints (6e6eda44b939). */
SEC("fexit/tcp_sendmsg")
int BPF_PROG(requests_send_fexit, struct sock *sk, struct msghdr *msg, size_t size, int ret)
{
	moved(sk, ret, HOW_SENT);
	return 0;
}

/*
 * Until 6.5 (dc97391e6610) pages of files go to TCP by a way of their own, past the tracepoint and tcp_sendmsg.
 */
SEC("fexit/tcp_sendpage")
int BPF_PROG(requests_sendpage, struct sock *sk, void *page, int offset, size_t size, int flags,
	     int ret)
{
	moved(sk, ret, HOW_SENT);
	return 0;
}

/*
 * tcp_recvmsg lost an argument in 5.19 (ec095263a965); the helpers that tell came in 5.17 (f92c1e183604). In functions of
 * their own, as the frames of all that the hook calls have 512 bytes together.
 */
static __noinline __u64 recvmsg_flags(__u64 *ctx)
{
	__u64 flags = ctx[4];

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_func_ret))
		bpf_get_func_arg(ctx, bpf_get_func_arg_cnt(ctx) - 2, &flags);
	return flags;
}

static __noinline __u64 recvmsg_result(__u64 *ctx)
{
	__u64 result = 0;

	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_func_ret))
		return ctx[6];
	bpf_get_func_ret(ctx, &result);
	return result;
}

SEC("fexit/tcp_recvmsg")
int requests_recv_fexit(__u64 *ctx)
{
	moved((struct sock *)ctx[0], recvmsg_result(ctx), how_received(recvmsg_flags(ctx)));
	return 0;
}

/* ---- without the tracepoints: sockets of other families than TCP ---- */

SEC("fexit/unix_stream_sendmsg")
int BPF_PROG(requests_send_unix, struct socket *socket, struct msghdr *msg, size_t size, int ret)
{
	moved(socket->sk, ret, HOW_SENT);
	return 0;
}

SEC("fexit/unix_stream_sendpage")
int BPF_PROG(requests_sendpage_unix, struct socket *socket, void *page, int offset, size_t size,
	     int flags, int ret)
{
	moved(socket->sk, ret, HOW_SENT);
	return 0;
}

SEC("fexit/unix_stream_recvmsg")
int BPF_PROG(requests_recv_unix, struct socket *socket, struct msghdr *msg, size_t size, int flags,
	     int ret)
{
	moved(socket->sk, ret, how_received(flags));
	return 0;
}

static __always_inline void datagram_passed(struct sock *sk, int ret, __u32 how)
{
	struct work *work = bpf_map_lookup_elem(&works, &(__u32){ 0 });

	if (how & CALL_LEAVES)
		step_vector(sk, ret);
	else if (ret <= 0)
		nothing_moved(sk, ret);
	else if (work)
		datagram_moved(sk, work, ret, how);
}

SEC("fexit/udp_sendmsg")
int BPF_PROG(requests_send_udp, struct sock *sk, struct msghdr *msg, size_t size, int ret)
{
	/* of the other family comes by udpv6_sendmsg what is meant for an address of this one */
	if (sk->__sk_common.skc_family == AF_INET)
		datagram_passed(sk, ret, HOW_SENT);
	return 0;
}

SEC("fexit/udpv6_sendmsg")
int BPF_PROG(requests_send_udp6, struct sock *sk, struct msghdr *msg, size_t size, int ret)
{
	datagram_passed(sk, ret, HOW_SENT);
	return 0;
}

SEC("fexit/udp_recvmsg")
int requests_recv_udp(__u64 *ctx)
{
	datagram_passed((struct sock *)ctx[0], recvmsg_result(ctx),
			how_received(recvmsg_flags(ctx)));
	return 0;
}

SEC("fexit/udpv6_recvmsg")
int requests_recv_udp6(__u64 *ctx)
{
	datagram_passed((struct sock *)ctx[0], recvmsg_result(ctx),
			how_received(recvmsg_flags(ctx)));
	return 0;
}

#if defined(__TARGET_ARCH_x86)
enum { NR_sendfile = 40, NR_splice = 275 };
#elif defined(__TARGET_ARCH_arm64)
enum { NR_sendfile = 71, NR_splice = 76 };
#endif

/*
 * Notes when bytes were taken unseen, no more: the next hook does the rest. Runs within the calls that read, too, hence is attached
 * only once bytes were found to have been read so. From 4.16 (6163849d289b).
 */
SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(requests_splice, struct sock *sk)
{
	struct task_struct *task = bpf_get_current_task_btf();
	long number = syscall_number((struct pt_regs *)bpf_task_pt_regs(task));
	struct connection *connection;

	if (number != NR_splice && number != NR_sendfile && !(task->flags & PF_IO_WORKER))
		return 0;
	connection = bpf_sk_storage_get(&connections, sk, NULL, 0);
	if (connection)
		connection->unseen_ns = tcp_clock_ns(sk);
	return 0;
}

/* Which request of io_uring moves bytes: see lib/uring_call.bpf.h. */
SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(requests_uring_submit, struct io_kiocb *request)
{
	uring_submitted(request);
	return 0;
}

/* Until 6.4, and of so many arguments from 6.0 on. */
SEC("tp_btf/io_uring_submit_sqe")
int BPF_PROG(requests_uring_submit_sqe, struct io_kiocb *request)
{
	uring_submitted(request);
	return 0;
}

SEC("tp_btf/io_uring_poll_arm")
int BPF_PROG(requests_uring_wait, struct io_kiocb *request)
{
	uring_waits(request);
	return 0;
}

#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT	2
#define TCP_FIN_WAIT1	4
#define TCP_CLOSE	7
#define TCP_LAST_ACK	9

/* Given up: a connection refused, or unreachable, ends in an interrupt, and who waited for it is not known. */
static __always_inline void connecting_over(struct sock *sk)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const struct pt_regs *regs = (const struct pt_regs *)bpf_task_pt_regs(task);

	if (is_tcp(sk) && syscall_number(regs) == NR_close)
		waited(sk, WAITED_FOR_PEER, PREFIX_UNKNOWN);
}

/*
 * This end connects, or has. It closes, in the context of its process; a client that merely ends its sending still waits for the
 * response.
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(requests_state, struct sock *sk, int old_state, int new_state)
{
	if (old_state == TCP_SYN_SENT && new_state == TCP_CLOSE)
		connecting_over(sk);
	if (new_state == TCP_SYN_SENT && is_tcp(sk))
		connect_began(sk);
	if (old_state == TCP_SYN_SENT && new_state == TCP_ESTABLISHED && is_tcp(sk))
		connect_done(sk);
	if (new_state != TCP_FIN_WAIT1 && new_state != TCP_LAST_ACK)
		return 0;
	if (!is_tcp(sk))
		return 0;
	waited_for_end(sk);
	read_over(sk);
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

/* sk: NULL for what goes on within TLS. */
static __always_inline void note_connection(struct sock *sk, struct connection *connection)
{
	struct requests_in_flight *row;
	__u32 entity = connection->entity;
	__u64 start_ns;
	__u32 times;
	__u8 n = connection->tail - connection->head;

	if (connection->role > ROLE_CLIENT || !n || n > PENDING_MAX ||
	    (sk && is_tcp(sk) && is_read_unseen(sk, connection, n)))
		return;
	if (entity >= settings.max_entities)
		entity = ENTITY_OTHER;
	row = bpf_map_lookup_elem(&in_flight, &entity);
	if (!row)
		return;
	start_ns = connection->pending[connection->head & (PENDING_MAX - 1)] >> 4;
	times = (n + connection->untracked) * connection->weight;
	if (connection->role == ROLE_SERVER)
		note_in_flight(row, REQUESTS_SERVER, start_ns, times);
	else
		note_in_flight(row, REQUESTS_CLIENT, start_ns, times);
}

/* ---- what is in flight: the rows of `in_flight` were cleared before ---- */

static __always_inline void visit(struct sock *sk, struct connection *connection)
{
	shared.unix_sockets += sk->__sk_common.skc_family == AF_UNIX;
	if (was_missed(connection, budget_lane()))
		return;
	if (connection->role != ROLE_STREAM)
		note_connection(sk, connection);
	else if (connection->stream.protocol != PREFIX_TLS || !tls_is_told((__u64)sk))
		stream_pass(&connection->stream, connection);
}

static long visit_within_tls(struct bpf_map *map, const __u64 *address, struct tls_connection *tls,
			     void *context)
{
	if (tls->connection.role == ROLE_STREAM)
		stream_pass(&tls->connection.stream, &tls->connection);
	else
		note_connection(NULL, &tls->connection);
	return 0;
}

/* All sockets have been visited. In the agent's own time. */
static __always_inline void end_pass(void)
{
	if (shared.tls)
		bpf_for_each_map_elem(&tls_sockets, visit_within_tls, NULL, 0);
	kernel_copies_find(&shared.copies);
}

SEC("iter/bpf_sk_storage_map")
int requests_pass(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock *sk = ctx->sk;
	struct connection *connection;

	if (!sk) {
		end_pass();
		return 0;
	}
	/* ctx->value is the same, but may only be read at constant offsets */
	connection = bpf_sk_storage_get(&connections, sk, NULL, 0);
	if (connection)
		visit(sk, connection);
	return 0;
}

SEC("iter/task_file")
int requests_pass_by_file(struct bpf_iter__task_file *ctx)
{
	struct sock *sk = sock_of_file(ctx->file);
	struct connection *connection;

	if (!ctx->task) {
		end_file_pass();
		end_pass();
		return 0;
	}
	if (!sk)
		return 0;
	connection = bpf_sk_storage_get(&connections, sk, NULL, 0);
	if (connection && is_first_met(&connection->met))
		visit(sk, connection);
	return 0;
}
