// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * TCP by connection, not by packet: a socket is looked at when its state changes, when it is reset, and
 * once per pass over the live ones. What it has sent, received and sent again the kernel counts anyway;
 * here only differences to the last look are added to the row of the entity.
 *
 * A socket belongs to whoever connects or listens. That is kept in socket storage, which the kernel
 * copies from a listener to the connections it accepts, and which dies with the socket.
 *
 * Changes of one socket are serialized by its lock, the pass over the live ones is not: what both touch
 * (the totals) moves by compare-and-swap and forward only. Rows are shared by all CPUs and contexts,
 * hence atomics; a few per connection do not matter.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "lib/budget.bpf.h"
#include "lib/compat.bpf.h"
#include "lib/emit.bpf.h"
#include "lib/rows.bpf.h"
#include "lib/task.bpf.h"
#include "lib/file_sockets.bpf.h"
#include "tcp.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* include/net/tcp_states.h: what `ss` shows */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_CLOSE = 7,
	TCP_LISTEN = 10,
};

/* asm-generic/errno.h; the architectures here agree */
enum {
	ENETDOWN = 100,
	ENETUNREACH = 101,
	ECONNABORTED = 103,
	ECONNRESET = 104,
	ETIMEDOUT = 110,
	ECONNREFUSED = 111,
	EHOSTDOWN = 112,
	EHOSTUNREACH = 113,
};

enum socket_phase {
	PHASE_CLOSED,
	PHASE_LISTENING,
	PHASE_CONNECTING, /* client, not established */
	PHASE_ACCEPTING, /* server, not established */
	PHASE_OPEN,
};

struct socket_state {
	__u32 entity;
	__u32 phase;
	__u64 generation; /* of the entity's row when the socket was given to it */
	__u64 connect_ns; /* when the SYN was sent; 0: not known */
	__u64 rtt_ns; /* when the RTT of the live connection was last sampled */
	/* the kernel's totals as far as they are added to the row */
	__u64 sent;
	__u64 received;
	__u64 retransmitted;
	__u64 delivered; /* at the last sample of the RTT */
	__u8 met; /* lib/file_sockets.bpf.h */
};

const volatile struct tcp_settings settings;

DEFINE_ROWS(tcp_rows, struct tcp_row);
/* Sockets with a state, as tcp_live counts them; cleared before it runs. */
DEFINE_ROWS(tcp_states, __u64);

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct socket_state);
} tcp_sockets SEC(".maps");

/* ---- rows ---- */

/* NULL for the agent's own sockets. */
static __always_inline struct tcp_row *row_of(const struct socket_state *state)
{
	__u32 id = state ? state->entity : ENTITY_OTHER;
	struct tcp_row *row;

	if (id == ENTITY_EXCLUDED)
		return NULL;
	row = bpf_map_lookup_elem(&tcp_rows, &id);
	if (!state || !row || row->generation == state->generation)
		return row;
	row = bpf_map_lookup_elem(&tcp_rows, &(__u32){ ENTITY_OTHER });
	if (row)
		ROW_ADD_ATOMIC(row->orphaned, 1);
	return row;
}

static __always_inline void record(struct hist *hist, __u64 ns)
{
	__u32 slot = hist_slot(ns);

	/* Keeps clang from proving away the check that the verifier needs. */
	asm volatile("" : "+r"(slot));
	if (slot >= HIST_SLOTS)
		slot = HIST_SLOTS - 1;
	ROW_ADD_ATOMIC(hist->slots[slot], 1);
	ROW_ADD_ATOMIC(hist->sum_ns, ns);
	if (ns > hist->max_ns) /* two CPUs may race: then the smaller of two large ones stays */
		hist->max_ns = ns;
}

/* ---- totals of a socket ---- */

/* Moves `seen` forward to `now`; returns by how much. Two contexts may do so at once, one of them wins. */
static __always_inline __u64 advance(__u64 *seen, __u64 now)
{
	for (int i = 0; i < 4; i++) {
		__u64 before = *(volatile __u64 *)seen;

		if (now <= before)
			return 0;
		if (__sync_val_compare_and_swap(seen, before, now) == before)
			return now - before;
	}
	return 0;
}

/* bytes_retrans goes up before bytes_sent does: read after it, the difference is never too large. */
static __always_inline __u64 payload_sent(struct tcp_sock *tcp)
{
	__u64 sent = *(volatile __u64 *)&tcp->bytes_sent;

	return sent - *(volatile __u64 *)&tcp->bytes_retrans;
}

/* The kernel counts a received FIN as a byte. */
static __always_inline __u64 payload_received(struct sock *sk, struct tcp_sock *tcp)
{
	__u64 received = *(volatile __u64 *)&tcp->bytes_received;

	return received && fin_received(sk) ? received - 1 : received;
}

/*
 * The same, without the socket's lock: of a FIN being processed right now the byte is counted, but the
 * flag not set yet. So while a segment came in within this tick, the last byte is left to the next look.
 */
static __always_inline __u64 payload_received_unlocked(struct sock *sk, struct tcp_sock *tcp)
{
	__u64 received = payload_received(sk, tcp);

	if (received && !fin_received(sk) && tcp->rcv_tstamp == (__u32)bpf_jiffies64())
		received--;
	return received;
}

static __always_inline void sample_rtt(struct socket_state *state, struct tcp_sock *tcp,
				       struct tcp_row *row)
{
	__u64 delivered = tcp->delivered;
	__u32 srtt_us = tcp->srtt_us;

	if (!srtt_us || __sync_lock_test_and_set(&state->delivered, delivered) == delivered)
		return; /* nothing was acknowledged since: the estimate is the old one */
	record(&row->rtt, srtt_us * 125ULL); /* from eighths of a microsecond */
}

static __always_inline void add_totals(struct socket_state *state, struct tcp_row *row, __u64 sent,
				       __u64 received, __u64 retransmitted)
{
	sent = advance(&state->sent, sent);
	received = advance(&state->received, received);
	retransmitted = advance(&state->retransmitted, retransmitted);
	if (sent)
		ROW_ADD_ATOMIC(row->bytes[TCP_SENT], sent);
	if (received)
		ROW_ADD_ATOMIC(row->bytes[TCP_RECEIVED], received);
	if (retransmitted)
		ROW_ADD_ATOMIC(row->retransmitted, retransmitted);
}

/* From here on the socket's totals count. */
static __always_inline void set_baseline(struct socket_state *state, struct sock *sk,
					 struct tcp_sock *tcp)
{
	state->sent = payload_sent(tcp);
	state->received = payload_received(sk, tcp);
	state->retransmitted = tcp->total_retrans;
	state->delivered = tcp->delivered;
	state->rtt_ns = 0;
	state->connect_ns = 0;
}

/* ---- the life of a socket ---- */

static __always_inline void give_to(struct socket_state *state, struct task_struct *task)
{
	struct task_state *owner = task_state_of(task);
	struct tcp_row *row;

	state->entity = owner ? owner->entity : ENTITY_OTHER;
	if (!owner)
		count_loss(LOSS_NO_TASK_STATE);
	row = bpf_map_lookup_elem(&tcp_rows, &state->entity);
	state->generation = row ? row->generation : 0;
}

static __always_inline struct socket_state *find_state(struct sock *sk)
{
	return bpf_sk_storage_get(&tcp_sockets, sk, NULL, 0);
}

/* As above; made when there is none, and then owned by no one known. NULL: no memory, counted. */
static __always_inline struct socket_state *find_or_make_state(struct sock *sk)
{
	struct socket_state *state =
		bpf_sk_storage_get(&tcp_sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (!state)
		count_loss(LOSS_NO_SOCKET_STATE);
	return state;
}

/* Process context: connect(2) or listen(2), or a kernel thread's like of it. */
static __always_inline void begin(struct sock *sk, struct tcp_sock *tcp, enum socket_phase phase)
{
	struct socket_state *state = find_or_make_state(sk);

	if (!state)
		return;
	give_to(state, bpf_get_current_task_btf());
	set_baseline(state, sk, tcp);
	state->phase = phase;
	if (phase == PHASE_CONNECTING)
		state->connect_ns = bpf_ktime_get_ns();
}

/* The copy of a listener, its storage included, is about to become a connection. */
static __always_inline void begin_accepted(struct sock *sk, struct tcp_sock *tcp)
{
	struct socket_state *state = find_state(sk);

	if (!state) {
		count_loss(LOSS_NO_SOCKET_STATE);
		state = find_or_make_state(sk);
		if (!state)
			return;
	}
	set_baseline(state, sk, tcp);
	state->phase = PHASE_ACCEPTING;
}

static __always_inline void opened(struct socket_state *state, struct tcp_row *row)
{
	__s64 took;

	if (state->phase != PHASE_CONNECTING) {
		ROW_ADD_ATOMIC(row->opened[TCP_SERVER], 1);
	} else {
		ROW_ADD_ATOMIC(row->opened[TCP_CLIENT], 1);
		if (state->connect_ns) {
			took = bpf_ktime_get_ns() - state->connect_ns;
			record(&row->connect, took > 0 ? took : 0);
		}
	}
}

static __always_inline enum tcp_failure failure_of(struct sock *sk)
{
	switch (sk->sk_err) {
	case 0:
		/* The socket layer notes the attempt only once TCP has begun it. */
		return READ_ONLY(sock, sk)->sk_socket->state == SS_UNCONNECTED ? TCP_FAILED_LOCAL
									       : TCP_FAILED_ABORTED;
	case ECONNABORTED:
		return TCP_FAILED_ABORTED;
	case ECONNREFUSED:
		return TCP_FAILED_REFUSED;
	case ECONNRESET:
		return TCP_FAILED_RESET;
	case ETIMEDOUT:
		return TCP_FAILED_TIMEOUT;
	case ENETDOWN:
	case ENETUNREACH:
	case EHOSTDOWN:
	case EHOSTUNREACH:
		return TCP_FAILED_UNREACHABLE;
	default:
		return TCP_FAILED_OTHER;
	}
}

static __always_inline void closed(struct socket_state *state, struct sock *sk,
				   struct tcp_sock *tcp, struct tcp_row *row)
{
	if (row && state->phase == PHASE_CONNECTING)
		ROW_ADD_ATOMIC(row->failures[failure_of(sk)], 1);
	if (row && (state->phase == PHASE_CONNECTING || state->phase == PHASE_OPEN)) {
		add_totals(state, row, payload_sent(tcp), payload_received(sk, tcp),
			   tcp->total_retrans);
		sample_rtt(state, tcp, row);
	}
	state->phase = PHASE_CLOSED;
}

/*
 * A change between other states than the first and the last tells nothing but that the connection was
 * established; that is counted then, should the change to ESTABLISHED have been missed.
 */
static __always_inline void proceed(struct sock *sk, struct tcp_sock *tcp, int from, int to)
{
	struct socket_state *state = find_state(sk);
	struct tcp_row *row;

	if (!state) {
		if (to == TCP_CLOSE && from != TCP_LISTEN && from != TCP_CLOSE)
			count_loss(LOSS_NO_SOCKET_STATE);
		return;
	}
	if (state->phase == PHASE_CLOSED)
		return;
	row = row_of(state);
	/*
	 * An accepted socket starts with the SYN-ACKs sent again for it in its total; they are
	 * counted when that happens (tcp_retransmit_synack), accepted or not.
	 */
	if (from == TCP_SYN_RECV && state->phase != PHASE_CONNECTING)
		state->retransmitted = tcp->total_retrans;
	if (state->phase != PHASE_OPEN &&
	    (to == TCP_ESTABLISHED || (from != TCP_SYN_SENT && from != TCP_SYN_RECV &&
				       from != TCP_LISTEN && from != TCP_CLOSE))) {
		if (row)
			opened(state, row);
		state->phase = PHASE_OPEN;
	}
	if (to == TCP_CLOSE)
		closed(state, sk, tcp, row);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_state_changed, const struct sock *const_sk, const int from, const int to)
{
	struct sock *sk = (struct sock *)const_sk;
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);

	budget_count();
	if (!tcp) /* DCCP, SCTP, or the upper half of an MPTCP connection */
		return 0;
	if (to == TCP_SYN_SENT)
		begin(sk, tcp, PHASE_CONNECTING);
	else if (to == TCP_LISTEN)
		begin(sk, tcp, PHASE_LISTENING);
	else if (to == TCP_SYN_RECV && from == TCP_LISTEN)
		begin_accepted(sk, tcp);
	else
		proceed(sk, tcp, from, to);
	return 0;
}

/* The kernel skips a program that interrupts itself, so a last change may be missed: nothing is lost then. */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(tcp_socket_destroyed, struct sock *sk)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	struct socket_state *state = tcp ? find_state(sk) : NULL;

	budget_count();
	if (state && (state->phase == PHASE_CONNECTING || state->phase == PHASE_OPEN))
		closed(state, sk, tcp, row_of(state));
	return 0;
}

/* ---- resets and retransmitted SYN-ACKs ---- */

static __always_inline void count_reset(struct sock *sk, enum tcp_direction direction)
{
	struct tcp_row *row = row_of(sk ? find_state(sk) : NULL);

	if (row)
		ROW_ADD_ATOMIC(row->resets[direction], 1);
}

/* The socket is NULL when nothing listens; until 6.10 the kernel did not report those. */
SEC("tp_btf/tcp_send_reset")
int BPF_PROG(tcp_reset_sent, const struct sock *sk)
{
	budget_count();
	count_reset((struct sock *)sk, TCP_SENT);
	return 0;
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(tcp_reset_received, struct sock *sk)
{
	budget_count();
	count_reset(sk, TCP_RECEIVED);
	return 0;
}

SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(tcp_synack_retransmitted, const struct sock *const_sk)
{
	struct sock *sk = (struct sock *)const_sk;
	struct socket_state *state = find_state(sk);
	struct tcp_row *row = row_of(state);

	budget_count();
	if (row)
		ROW_ADD_ATOMIC(row->retransmitted, 1);
	/* Of a fast open, the kernel has added it to the connection's own total as well. */
	if (state && sk->__sk_common.skc_state == TCP_SYN_RECV)
		__sync_fetch_and_add(&state->retransmitted, 1);
	return 0;
}

/* ---- passes ---- */

static __always_inline void visit(struct sock *sk, struct socket_state *state)
{
	struct tcp_sock *tcp;
	struct tcp_row *row;
	__u64 now, *states = bpf_map_lookup_elem(&tcp_states, &(__u32){ 0 });

	if (states)
		++*states;
	if (state->phase == PHASE_CLOSED)
		return;
	row = row_of(state); /* also notes a listener whose entity is gone */
	if (!row || state->phase != PHASE_OPEN)
		return;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return;
	add_totals(state, row, payload_sent(tcp), payload_received_unlocked(sk, tcp),
		   tcp->total_retrans);
	if (tcp->delivered == state->delivered)
		return;
	now = bpf_ktime_get_ns();
	if (now - state->rtt_ns >= settings.rtt_interval_ns) {
		state->rtt_ns = now;
		sample_rtt(state, tcp, row);
	}
}

SEC("iter/bpf_sk_storage_map")
int tcp_live(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct socket_state *state = ctx->value;
	struct sock *sk = ctx->sk;

	if (sk && state)
		visit(sk, state);
	return 0;
}

SEC("iter/task_file")
int tcp_live_by_file(struct bpf_iter__task_file *ctx)
{
	struct sock *sk = sock_of_file(ctx->file);
	struct socket_state *state;

	if (!ctx->task)
		end_file_pass();
	if (!sk)
		return 0;
	state = find_state(sk);
	if (state && is_first_met(&state->met))
		visit(sk, state);
	return 0;
}

/* Gives a socket its state if it is older than the agent, and a new owner if its entity is gone. */
static __always_inline void adopt(struct sock *sk, struct tcp_sock *tcp, struct task_struct *task)
{
	struct socket_state *state = find_state(sk), fresh = {};
	struct tcp_row *row;

	if (state) {
		if (state->entity == ENTITY_EXCLUDED)
			return;
		row = bpf_map_lookup_elem(&tcp_rows, &state->entity);
		if (row && row->generation != state->generation)
			give_to(state, task);
		return;
	}
	switch (sk->__sk_common.skc_state) {
	case TCP_CLOSE:
		return;
	case TCP_LISTEN:
		fresh.phase = PHASE_LISTENING;
		break;
	case TCP_SYN_SENT:
		fresh.phase = PHASE_CONNECTING;
		break;
	default:
		fresh.phase = PHASE_OPEN;
	}
	give_to(&fresh, task);
	set_baseline(&fresh, sk, tcp);
	/* Complete from the first moment on: the socket may close on another CPU. */
	if (!bpf_sk_storage_get(&tcp_sockets, sk, &fresh, BPF_SK_STORAGE_GET_F_CREATE))
		count_loss(LOSS_NO_SOCKET_STATE);
}

/* All sockets that a process holds, in every network namespace. */
SEC("iter/task_file")
int tcp_adopt(struct bpf_iter__task_file *ctx)
{
	struct file *file = ctx->file;
	struct task_struct *task = ctx->task;
	struct socket *socket;
	struct tcp_sock *tcp;

	if (!file || !task)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket || !socket->sk)
		return 0;
	tcp = bpf_skc_to_tcp_sock(socket->sk);
	if (tcp)
		adopt(socket->sk, tcp, task);
	return 0;
}
