// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Where packets and connections are refused for want of room: packets dropped, by the kernel's reason;
 * datagrams that found a UDP socket's receive buffer full; accept queues of listening TCP sockets.
 *
 * Drops happen in interrupts, so whoever runs then has nothing to do with them: a UDP socket belongs to
 * the process that holds it open, found by a pass once the socket has dropped something, a listening one
 * to who called listen(2). Only such sockets get storage. All of this is rare: shared rows, atomics.
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
#include "network.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* include/net/tcp_states.h */
enum {
	TCP_SYN_RECV = 3,
	TCP_LISTEN = 10,
};

/* uapi/linux/in.h */
enum {
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	IPPROTO_UDPLITE = 136,
};

/* uapi/linux/tcp.h: the byte of struct tcphdr with the flags, and one of them */
#define TCP_FLAGS_OFFSET 13
#define TCP_FLAG_ACK	 0x10

/* asm-generic/errno-base.h */
enum {
	ENOMEM = 12,
};

const volatile struct network_settings settings;

/* Per CPU: a flood of drops is the one thing here that is not rare. */
DEFINE_ROWS(network_drops, __u64);

DEFINE_ROWS(udp_totals, struct udp_totals);
DEFINE_ROWS(udp_rows, struct udp_row);

struct udp_state {
	__u32 entity;
	__u8 has_owner;
	__u8 met; /* lib/file_sockets.bpf.h */
	__u64 generation; /* of the entity's row when the socket was given to it */
	__u64 search; /* number of the last search for owners before it needed one */
	__u64 pending[UDP_DROP_REASONS]; /* from before the owner was found */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct udp_state);
} udp_sockets SEC(".maps");

DEFINE_ROWS(listen_rows, struct listen_row);
DEFINE_FREE_ROWS(listen_free);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct listen_key);
	__type(value, __u32);
} listen_index SEC(".maps");

/* Both count modulo 2^32, as the socket does. */
struct listener_state {
	__u32 row;
	__u32 packets; /* counted in sk_drops besides attempts to connect */
	__u32 counted; /* overflows as far as they are added to the row */
	__u8 met; /* lib/file_sockets.bpf.h */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct listener_state);
} listeners SEC(".maps");

static __always_inline __u32 entity_of_task(struct task_struct *task)
{
	struct task_state *state = task_state_of(task);

	if (state)
		return state->entity;
	count_loss(LOSS_NO_TASK_STATE);
	return ENTITY_OTHER;
}

/* ---- UDP drops ---- */

static __always_inline struct udp_totals *totals_of_udp(void)
{
	return bpf_map_lookup_elem(&udp_totals, &(__u32){ 0 });
}

/*
 * NULL as long as nobody is known to own it. The key is a copy, here and below: what an iterator hands out is no key on
 * older kernels (up to 6.1).
 */
static __always_inline struct udp_row *row_of_udp(struct udp_state *state)
{
	__u32 entity = state->entity;
	struct udp_row *row;

	if (!state->has_owner)
		return NULL;
	row = bpf_map_lookup_elem(&udp_rows, &entity);
	return row && row->generation == state->generation ? row : NULL;
}

static __always_inline void own_udp(struct udp_state *state, __u32 entity)
{
	struct udp_row *row;

	if (entity == ENTITY_EXCLUDED)
		entity = ENTITY_OTHER;
	state->entity = entity;
	row = bpf_map_lookup_elem(&udp_rows, &entity);
	state->generation = row ? row->generation : 0;
	state->has_owner = 1;
}

static __always_inline void await_owner(struct udp_state *state, struct udp_totals *totals)
{
	state->search = totals->search;
	state->has_owner = 0;
	__sync_fetch_and_add(&totals->ownerless, 1);
}

static __always_inline void count_udp_drop(struct sock *sk, enum udp_drop_reason reason)
{
	struct udp_totals *totals = totals_of_udp();
	struct udp_state *state;
	struct udp_row *row;

	if (!totals)
		return;
	ROW_ADD_ATOMIC(totals->drops[reason], 1);
	state = bpf_sk_storage_get(&udp_sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state) {
		count_loss(LOSS_NO_SOCKET_STATE);
		return;
	}
	row = row_of_udp(state);
	if (row) {
		ROW_ADD_ATOMIC(row->drops[reason], 1);
		return;
	}
	if (state->has_owner || !state->search) /* its entity is gone, or it is new */
		await_owner(state, totals);
	ROW_ADD_ATOMIC(state->pending[reason], 1);
}

/*
 * From 6.18 on not all drops for want of memory come by here. They all are packets dropped, too, and counted as such
 * where the kernel names the socket.
 */
SEC("tp_btf/udp_fail_queue_rcv_skb")
int BPF_PROG(udp_dropped, int error, struct sock *sk)
{
	budget_count();
	if (error == -ENOMEM)
		count_udp_drop(sk, UDP_DROP_RECEIVE_BUFFER);
	else if (!settings.drops_name_socket)
		count_udp_drop(sk, UDP_DROP_MEMORY);
	return 0;
}

/* Moves what waited for an owner, once there is one; gives up those for whom a whole search found none. */
static __always_inline void settle(struct udp_state *state)
{
	struct udp_totals *totals = totals_of_udp();
	struct udp_row *row;

	if (!totals)
		return;
	if (!state->has_owner && state->search != totals->search)
		own_udp(state, ENTITY_OTHER);
	row = row_of_udp(state);
	for (int i = 0; i < UDP_DROP_REASONS; i++) {
		if (row)
			ROW_ADD_ATOMIC(row->drops[i],
				       __sync_lock_test_and_set(&state->pending[i], 0));
		else
			ROW_ADD_ATOMIC(totals->pending[i], state->pending[i]);
	}
}

SEC("iter/bpf_sk_storage_map")
int udp_settle(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct udp_state *state = ctx->value;

	if (state)
		settle(state);
	return 0;
}

SEC("iter/task_file")
int udp_settle_by_file(struct bpf_iter__task_file *ctx)
{
	struct sock *sk = sock_of_file(ctx->file);
	struct udp_state *state;

	if (!ctx->task)
		end_file_pass();
	if (!sk)
		return 0;
	state = bpf_sk_storage_get(&udp_sockets, sk, NULL, 0);
	if (state && is_first_met(&state->met))
		settle(state);
	return 0;
}

/* ---- listening sockets ---- */

static __always_inline struct listen_key key_of(struct sock *sk)
{
	return (struct listen_key){
		.network = READ_ONLY(sock, sk)->__sk_common.skc_net.net->ns.inum,
		.port = sk->__sk_common.skc_num,
	};
}

/*
 * Process context. The row the socket has, or another one if that was given away meanwhile, or if there was none
 * free before.
 */
static __always_inline struct listen_row *row_of_listener(struct sock *sk,
							  struct listener_state *state)
{
	__u32 index = state->row;
	struct listen_row *row = bpf_map_lookup_elem(&listen_rows, &index);
	struct listen_key key = key_of(sk);

	if (row && index && row->key.network == key.network && row->key.port == key.port)
		return row;
	index = row_for_key(&listen_index, &listen_free, &key);
	state->row = index;
	row = bpf_map_lookup_elem(&listen_rows, &index);
	if (row && index)
		row->key = key;
	return row;
}

static __always_inline void raise_level(__u64 *level, __u32 waiting, __u32 room)
{
	__u64 now = LISTEN_LEVEL(waiting, room);

	if (listen_level_is_above(now, *level)) /* of two at once, one may be missed */
		*level = now;
}

/* A queue takes one connection more than listen(2) asked for. */
static __always_inline __u32 room_of(struct sock *sk)
{
	return sk->sk_max_ack_backlog + 1;
}

/*
 * sk_drops goes up with each attempt to connect that finds no room, or no memory, and with packets that the socket
 * drops, the last one of such an attempt among them. packet_dropped_by() counts the packets, just after sk_drops
 * went up: read in between, one attempt too many may be counted, and the next is then not.
 */
static __always_inline void count_overflows(struct sock *sk, struct listener_state *state,
					    struct listen_row *row)
{
	__u32 now = (__u32)sk->sk_drops.counter - *(volatile __u32 *)&state->packets;

	for (int i = 0; i < 4; i++) { /* a pass and the end of the socket may come together */
		__u32 before = *(volatile __u32 *)&state->counted;

		if ((__s32)(now - before) <= 0)
			return;
		if (__sync_val_compare_and_swap(&state->counted, before, now) != before)
			continue;
		ROW_ADD_ATOMIC(row->overflows, now - before);
		return;
	}
}

static __always_inline void begin_listening(struct sock *sk, struct task_struct *task)
{
	__u32 entity = entity_of_task(task);
	struct listener_state *state;
	struct listen_row *row;

	if (entity == ENTITY_EXCLUDED)
		return;
	state = bpf_sk_storage_get(&listeners, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state) {
		count_loss(LOSS_NO_SOCKET_STATE);
		return;
	}
	state->packets = 0;
	state->counted = sk->sk_drops.counter;
	row = row_of_listener(sk, state);
	if (!state->row)
		count_loss(LOSS_TABLE_FULL);
	else if (row)
		row->entity = entity;
}

/* The socket may have lost its port already, but its row is not given away while it listens. */
static __always_inline void end_listening(struct sock *sk)
{
	struct listener_state *state = bpf_sk_storage_get(&listeners, sk, NULL, 0);
	struct listen_row *row = state ? bpf_map_lookup_elem(&listen_rows, &state->row) : NULL;

	if (row)
		count_overflows(sk, state, row);
}

/*
 * A connection is about to be queued. Its socket is a copy of the listening one, made just now, which shows how
 * many were waiting then.
 */
static __always_inline void note_arrival(struct sock *connection)
{
	struct listen_key key = key_of(connection);
	__u32 *number = bpf_map_lookup_elem(&listen_index, &key);
	struct listen_row *row = number ? bpf_map_lookup_elem(&listen_rows, number) : NULL;

	if (row)
		raise_level(&row->highest, connection->sk_ack_backlog + 1, room_of(connection));
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(listen_state_changed, const struct sock *const_sk, const int from, const int to)
{
	struct sock *sk = (struct sock *)const_sk;

	budget_count();
	if ((from != TCP_LISTEN && to != TCP_LISTEN) || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (to == TCP_LISTEN)
		begin_listening(sk, bpf_get_current_task_btf());
	else if (to == TCP_SYN_RECV)
		note_arrival(sk);
	else
		end_listening(sk);
	return 0;
}

static __always_inline void visit_listener(struct sock *sk, struct listener_state *state)
{
	struct listen_row *row;

	if (sk->__sk_common.skc_state != TCP_LISTEN)
		return;
	row = row_of_listener(sk, state);
	if (!row)
		return;
	count_overflows(sk, state, row);
	raise_level(&row->level, sk->sk_ack_backlog, room_of(sk));
	ROW_ADD_ATOMIC(row->sockets, 1);
}

SEC("iter/bpf_sk_storage_map")
int listen_visit(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct listener_state *state = ctx->value;
	struct sock *sk = ctx->sk;

	if (sk && state)
		visit_listener(sk, state);
	return 0;
}

SEC("iter/task_file")
int listen_visit_by_file(struct bpf_iter__task_file *ctx)
{
	struct sock *sk = sock_of_file(ctx->file);
	struct listener_state *state;

	if (!ctx->task)
		end_file_pass();
	if (!sk)
		return 0;
	state = bpf_sk_storage_get(&listeners, sk, NULL, 0);
	if (state && is_first_met(&state->met))
		visit_listener(sk, state);
	return 0;
}

/* ---- packet drops ---- */

static __always_inline void count_drop(__u32 reason)
{
	__u32 row = drop_row(settings.core_reasons, settings.subsystems, reason);
	__u64 *drops = row_of_this_cpu(&network_drops,
				       drop_rows(settings.core_reasons, settings.subsystems), row);

	if (drops)
		ROW_ADD_ATOMIC(*drops, 1);
}

/* In segments, as sk_drops counts. */
static __always_inline __u32 segments_of(struct sk_buff *skb)
{
	struct skb_shared_info *info = (void *)(skb->head + skb->end);
	__u16 segments = BPF_CORE_READ(info, gso_segs);

	return segments > 1 ? segments : 1;
}

#define IS_REASON(reason, name)                                                                    \
	(bpf_core_enum_value_exists(enum skb_drop_reason, name) &&                                 \
	 (reason) == bpf_core_enum_value(enum skb_drop_reason, name))

static __always_inline bool has_ack(struct sk_buff *skb)
{
	__u8 flags = 0;

	bpf_probe_read_kernel(&flags, sizeof(flags),
			      skb->head + skb->transport_header + TCP_FLAGS_OFFSET);
	return flags & TCP_FLAG_ACK;
}

/*
 * Whether the kernel counted this packet in sk_drops of the listening socket as well: tcp_v4_rcv() and
 * tcp_rcv_state_process() do when they drop one. tcp_v4_do_rcv() and cookie_v4_check() do not, with these reasons.
 * They always give one; tcp_v4_rcv() gives none for a SYN that came again, nor, before 6.15 (a11a791ca81e), for the end
 * of a handshake that found no room.
 */
static __always_inline bool is_in_sk_drops(struct sk_buff *skb, __u32 reason)
{
	if (IS_REASON(reason, SKB_DROP_REASON_TCP_FLAGS))
		return !has_ack(skb);
	return !IS_REASON(reason, SKB_DROP_REASON_NO_SOCKET) &&
	       !IS_REASON(reason, SKB_DROP_REASON_TCP_CSUM) &&
	       !IS_REASON(reason, SKB_DROP_REASON_IP_OUTNOROUTES) &&
	       !IS_REASON(reason, SKB_DROP_REASON_SECURITY_HOOK);
}

/* The socket may be a mere request of one, or be gone already: of such, storage is never found. */
static __always_inline void note_dropper(struct sock *sk, struct sk_buff *skb, __u32 reason)
{
	struct listener_state *listener;

	if (sk->__sk_common.skc_state == TCP_LISTEN) {
		listener = bpf_sk_storage_get(&listeners, sk, NULL, 0);
		if (listener && is_in_sk_drops(skb, reason))
			__sync_fetch_and_add(&listener->packets, segments_of(skb));
	} else if (IS_REASON(reason, SKB_DROP_REASON_PROTO_MEM) &&
		   (sk->sk_protocol == IPPROTO_UDP || sk->sk_protocol == IPPROTO_UDPLITE)) {
		count_udp_drop(sk, UDP_DROP_MEMORY);
	}
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(packet_dropped_by, struct sk_buff *skb, void *location, __u32 reason, struct sock *sk)
{
	budget_count();
	count_drop(reason);
	if (sk)
		note_dropper(sk, skb, reason);
	return 0;
}

/* Until 6.10 (c53795d48ee8) the socket was not told. */
SEC("tp_btf/kfree_skb")
int BPF_PROG(packet_dropped, struct sk_buff *skb, void *location, __u32 reason)
{
	budget_count();
	count_drop(reason);
	return 0;
}

/* Nor, until 5.16 (c504e5c2f964), the reason. */
SEC("tp_btf/kfree_skb")
int BPF_PROG(packet_dropped_unexplained, struct sk_buff *skb, void *location)
{
	budget_count();
	count_drop(0);
	return 0;
}

/* ---- sockets of processes ---- */

static __always_inline void adopt_listener(struct sock *sk, struct task_struct *task)
{
	struct listener_state *state = bpf_sk_storage_get(&listeners, sk, NULL, 0);
	struct listen_row *row;
	__u32 entity;

	if (!state) {
		begin_listening(sk, task);
		return;
	}
	row = bpf_map_lookup_elem(&listen_rows, &state->row);
	if (!row || !state->row || row->entity != ENTITY_OTHER)
		return;
	entity = entity_of_task(task); /* who listened is gone */
	if (entity != ENTITY_EXCLUDED)
		row->entity = entity;
}

/* Finds who holds sockets: listening ones that are older than the agent, and UDP ones that dropped something. */
SEC("iter/task_file")
int network_adopt(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct sock *sk = sock_of_file(ctx->file);
	struct udp_state *state;

	if (!sk || !task)
		return 0;
	if (sk->sk_protocol == IPPROTO_TCP && sk->__sk_common.skc_state == TCP_LISTEN) {
		adopt_listener(sk, task);
	} else if (sk->sk_protocol == IPPROTO_UDP || sk->sk_protocol == IPPROTO_UDPLITE) {
		state = bpf_sk_storage_get(&udp_sockets, sk, NULL, 0);
		if (state && !state->has_owner)
			own_udp(state, entity_of_task(task));
	}
	return 0;
}
