/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Connections that speak something else than HTTP/1, as their first bytes tell (lib/protocol_prefix.h). Two things come of
 * each of their calls: what the turns of request and answer tell, in rows that no full ring can touch; and an event with
 * a copy of its beginning and end, for the decoders of the user side. Of TLS there is only the former.
 *
 * The state is in a socket storage of its own, so that connections that speak HTTP/1 do not grow. As there, the two directions
 * may move on two CPUs at once.
 */
#ifndef LEADLINE_REQUESTS_STREAMS_BPF_H
#define LEADLINE_REQUESTS_STREAMS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "lib/budget.bpf.h"
#include "lib/emit.bpf.h"
#include "lib/http1_call.bpf.h"
#include "lib/http2_frames.h"
#include "lib/protocol_prefix.h"
#include "lib/tls_records.h"
#include "requests_connection.bpf.h"
#include "requests_rows.bpf.h"
#include "streams.h"

enum stream_phase {
	STREAM_IDLE, /* before a request */
	STREAM_ASKED, /* a request is there, or a part of it */
	STREAM_ANSWERED, /* and at least a part of its answer */
};

struct stream {
	__u64 id;
	__u64 began_ns; /* of the exchange under way: its first byte … */
	__u64 last_ns; /* … and the last one of the answer, so far */
	struct exchange_key key; /* of the last exchange recorded … */
	__u32 row; /* … and its row */
	__u32 row_generation;
	__u32 sequence[2]; /* of events: from the server, from the client */
	__u32 phase; /* enum stream_phase */
	__u8 role; /* enum requests_role */
	__u8 protocol; /* enum prefix_protocol */
	__u8 midway;
	__u8 calls; /* so far, up to STARTTLS_CALLS */
	struct tls_records tls;
	struct http2_frames frames[2]; /* from the server, from the client */
	__u32 vector_at; /* the message last sent … */
	__u64 vector; /* … of an array of these: see open_vector() */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct stream);
} streams SEC(".maps");

DEFINE_EVENT_RING();

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct exchange_key);
	__type(value, __u32);
} row_of_exchange SEC(".maps");

DEFINE_FREE_ROWS(free_exchange_rows);
/* One lane more than there are elsewhere: that of stream_pass(), which hooks on its CPU may interrupt. */
DEFINE_ROWS(exchange_rows, struct exchange_row);
DEFINE_ROWS(exchange_keys, struct exchange_key); /* by row, no lanes; all zero: free */

/* An event under construction. Bytes: room for any offset and size that the verifier thinks of. */
struct stream_scratch {
	struct stream_event event;
	union {
		__u8 bytes[2 * STREAM_CAPTURE_MAX];
		struct http2_pieces pieces;
	};
};
_Static_assert(HTTP2_PIECES_MAX <= STREAM_CAPTURE_MAX, "pieces have room in an event");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stream_scratch);
} stream_scratches SEC(".maps");

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
	work->found = found;
	work->n_before = n_before;
	if (n_before)
		__builtin_memcpy(connection->request.carried, work->view.window, HTTP1_CARRY);
	connection->request.n_carried = 0;
	ignore(connection);
	connection->role = ROLE_STREAM;
	return true;
}

static __always_inline struct stream *stream_new(struct sock *sk, __u32 found, bool is_send)
{
	bool by_server = found & PREFIX_FROM_SERVER;
	struct stream *stream = bpf_sk_storage_get(&streams, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (!stream) {
		count_loss(LOSS_NO_SOCKET_STATE);
		return NULL;
	}
	stream->id = __sync_fetch_and_add(&shared.streams, 1) + 1;
	stream->protocol = found;
	stream->role = by_server == is_send ? REQUESTS_SERVER : REQUESTS_CLIENT;
	return stream;
}

/* ---- exchanges ---- */

static __noinline __u32 find_exchange_row(const struct exchange_key *key)
{
	struct requests_in_flight *entity_row;
	__u32 row, entity = key->entity;
	struct exchange_key *key_of_row;

	row = row_for_key(&row_of_exchange, &free_exchange_rows, key);
	if (!row) {
		count_loss(LOSS_TABLE_FULL);
		return key->protocol * REQUESTS_ROLES + key->role;
	}
	key_of_row = bpf_map_lookup_elem(&exchange_keys, &row);
	if (key_of_row)
		*key_of_row = *key;
	entity_row = bpf_map_lookup_elem(&in_flight, &entity);
	if (entity_row)
		entity_row->seen |= 1 << key->role;
	return row;
}

/* The row of a stream in a lane. */
static __always_inline struct exchange_row *exchange_row_of(struct stream *stream, __u32 entity,
							    __u32 lane)
{
	const struct exchange_key key = { entity, stream->protocol, stream->role };
	__u32 index;

	if (stream->row_generation != (__u32)shared.row_generation + 1 ||
	    stream->key.entity != key.entity || stream->key.protocol != key.protocol) {
		stream->key = key;
		stream->row_generation = (__u32)shared.row_generation + 1; /* never 0 at first */
		stream->row = find_exchange_row(&key);
	}
	if (stream->row >= settings.exchange_rows)
		return NULL;
	index = lane * settings.exchange_rows + stream->row;
	return bpf_map_lookup_elem(&exchange_rows, &index);
}

/* The exchange under way has ended with the last bytes of its answer, unless another CPU was first to say so. */
static __always_inline void end_exchange(struct stream *stream, struct exchange_row *row)
{
	__u64 ns = stream->last_ns > stream->began_ns ? stream->last_ns - stream->began_ns : 0;
	__u64 slot;

	if (__sync_val_compare_and_swap(&stream->phase, STREAM_ANSWERED, STREAM_IDLE) !=
	    STREAM_ANSWERED)
		return;
	slot = at_most(hist_slot(ns), HIST_SLOTS - 1);
	add(&row->duration.slots[slot], 1);
	add(&row->duration.sum_ns, ns);
	raise(&row->duration.max_ns, ns);
}

static __always_inline void take_turn(struct stream *stream, struct work *work,
				      struct exchange_row *row)
{
	if (!work->from_client) {
		if (stream->phase == STREAM_IDLE)
			return; /* nothing was asked: a greeting, a notice */
		stream->last_ns = work->now_ns;
		stream->phase = STREAM_ANSWERED;
		if (stream->protocol == PREFIX_DNS) /* the whole answer is in one call */
			end_exchange(stream, row);
		return;
	}
	if (stream->protocol == PREFIX_TLS && !tls_take_call(&stream->tls, &work->view))
		return;
	if (stream->phase == STREAM_ANSWERED)
		end_exchange(stream, row);
	if (stream->phase == STREAM_IDLE) {
		stream->began_ns = work->now_ns;
		stream->phase = STREAM_ASKED;
	}
}

/* ---- copies ---- */

#define PIECES_MAX                                                                                 \
	64 /* of a call, as far as they are copied: gRPC sends each field of a head on its own */

/* Copies on, within one piece of the call; head_size counts. Returns whether that was all. */
__noinline int streams_copy_piece(struct http1_view *view, struct stream_scratch *scratch)
{
	__u64 want, copied, size;

	if (!view || !scratch)
		return 1;
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
	if (HTTP1_COPY(scratch->bytes + copied, size, view->base + copied - view->piece_start))
		return 1;
	scratch->event.head_size = copied + size;
	return 0;
}

/* The end of the call, as far as it is in its last piece. */
__noinline int streams_copy_tail(struct http1_view *view, struct stream_scratch *scratch)
{
	__u64 copied, from, size;

	if (!view || !scratch)
		return 0;
	copied = at_most(scratch->event.head_size, STREAM_CAPTURE_MAX);
	for (int i = 0; i < PIECES_MAX && view->piece_end < view->total; i++)
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
	if (!HTTP1_COPY(scratch->bytes + copied, size, view->base + from - view->piece_start))
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
	for (int i = 0; i < PIECES_MAX; i++)
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

static __always_inline void fill_event(struct stream_event *event, struct stream *stream,
				       __u32 entity, __u64 now_ns, bool from_client)
{
	__u64 id = bpf_get_current_pid_tgid();

	event->connection = stream->id;
	event->ns = now_ns;
	event->entity = entity;
	event->pid = id >> 32;
	event->tid = id;
	event->flags = (from_client ? STREAM_FROM_CLIENT : 0) |
		       (stream->midway ? STREAM_MIDWAY : 0) |
		       (stream->sequence[0] | stream->sequence[1] ? 0 : STREAM_BEGINS);
	event->sequence = stream->sequence[from_client & 1]++;
	event->kind = STREAM_DATA;
	event->protocol = stream->protocol;
	event->role = stream->role;
}

static __always_inline long send_event(struct stream_scratch *scratch)
{
	__u64 size = (__u64)scratch->event.head_size + scratch->event.tail_size;

	size = at_most(size, STREAM_CAPTURE_MAX + STREAM_TAIL);
	return event_output(&events, scratch, sizeof(struct stream_event) + size);
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
	send_event(scratch);
	return 0;
}

/* A client that has asked to go on in TLS begins with its ClientHello; it does so early, or never. */
#define STARTTLS_CALLS 8

static __always_inline bool starts_tls(const struct stream *stream,
				       const struct stream_scratch *scratch)
{
	const __u8 *bytes = scratch->bytes;

	return stream->calls && scratch->event.head_size >= 5 && bytes[0] == TLS_HANDSHAKE &&
	       bytes[1] == 3 && bytes[2] <= 4 && (scratch->event.head_size == 5 || bytes[5] == 1);
}

__noinline int streams_send_copy(struct stream *stream, struct work *work)
{
	struct stream_scratch *scratch;
	bool is_http2, in_pieces;

	if (!stream || !work)
		return 0;
	scratch = bpf_map_lookup_elem(&stream_scratches, &(__u32){ 0 });
	if (!scratch)
		return 0;
	is_http2 = stream->protocol == PREFIX_HTTP2;
	in_pieces = is_http2 && streams_copy_frames(stream, work, scratch);
	if (!in_pieces)
		copy_call(&work->view, scratch);
	fill_event(&scratch->event, stream, work->entity, work->now_ns, work->from_client);
	scratch->event.size = work->view.total;
	if (in_pieces)
		scratch->event.flags |= STREAM_IN_PIECES;
	if (is_http2)
		return send_event(scratch) ? 1 : 0;
	if (stream->calls < STARTTLS_CALLS) {
		if (work->from_client && starts_tls(stream, scratch)) {
			scratch->event.kind = STREAM_CLOSED; /* to its decoder */
			scratch->event.size = 0;
			scratch->event.head_size = scratch->event.tail_size = 0;
			send_event(scratch);
			stream->protocol = PREFIX_TLS;
			stream->phase = STREAM_IDLE;
			return 2;
		}
		stream->calls++;
	}
	return send_event(scratch) ? 1 : 0;
}

/* A call of a stream: its part in an exchange, its bytes, its copy. */
__noinline int streams_take(struct stream *stream, struct work *work)
{
	struct exchange_row *row;
	__u64 size;
	int sent = 0;

	if (!stream || !work)
		return 0;
	size = work->view.total;
	if (settings.copied_protocols >> (stream->protocol & 31) & 1) {
		struct http1_view *view = &work->view;
		const __u64 base = view->base, end = view->piece_end, iovec = view->iovec;
		const __u32 n_iovec = view->n_iovec;

		sent = streams_send_copy(stream, work);
		if (sent == 2) /* TLS from here on: its first record is in this call */
			http1_open(view, size, base, end, iovec, n_iovec);
	}
	row = exchange_row_of(stream, work->entity, lane_of_this_cpu());
	if (!row)
		return 0;
	add(&row->bytes, size);
	if (sent == 1)
		add(&row->lost_bytes, size);
	take_turn(stream, work, row);
	return 0;
}

/* ---- the hooks' part ---- */

/* http1_open_call(), verified only once. */
__noinline int streams_open_call(struct work *work, __u32 total, __u32 readable)
{
	if (work)
		http1_open_call(&work->view, (struct sock *)work->sk, total, readable);
	return 0;
}

static __always_inline void open_call(struct work *work, struct sock *sk, __u32 total,
				      bool readable)
{
	work->sk = (__u64)sk; /* in an argument, an address is no number to the verifier */
	streams_open_call(work, total, readable);
}

static __always_inline void stream_moved(struct sock *sk, struct connection *connection, __u32 size,
					 bool is_send, bool readable)
{
	struct stream *stream = bpf_sk_storage_get(&streams, sk, NULL, 0);
	struct work *work = bpf_map_lookup_elem(&works, &(__u32){ 0 });
	__u32 epoch;
	bool is_new = !stream;

	if (!work)
		return;
	if (is_new) {
		stream = stream_new(sk, work->found, is_send);
		if (!stream) {
			connection->role = ROLE_IGNORED;
			return;
		}
		stream->midway = connection->midway;
	}
	work->now_ns = tcp_clock_ns(sk);
	work->from_client = is_send == (stream->role == REQUESTS_CLIENT);
	epoch = work->now_ns >> ENTITY_EPOCH_SHIFT;
	if (connection->entity_epoch != epoch) {
		connection->entity_epoch = epoch;
		if (!find_entity(connection)) {
			connection->role = ROLE_IGNORED;
			return;
		}
	}
	work->entity = connection->entity;
	if (is_new && work->n_before)
		streams_send_before(stream, work, connection);
	open_call(work, sk, size, readable);
	streams_take(stream, work);
}

/* The connection is gone. May interrupt another hook on this CPU, whose scratch it must not touch. */
static __always_inline void stream_over(struct sock *sk, struct connection *connection)
{
	struct stream *stream = bpf_sk_storage_get(&streams, sk, NULL, 0);
	struct stream_event event = {};
	struct exchange_row *row;

	connection->role = ROLE_IGNORED;
	if (!stream)
		return;
	if (stream->phase == STREAM_ANSWERED) {
		row = exchange_row_of(stream, connection->entity, lane_of_this_cpu());
		if (row)
			end_exchange(stream, row);
	}
	if (!(settings.copied_protocols >> (stream->protocol & 31) & 1))
		return;
	fill_event(&event, stream, connection->entity, bpf_ktime_get_ns(), false);
	event.kind = STREAM_CLOSED;
	event_output(&events, &event, sizeof(event));
}

/* An answer that has paused for so long, in ns, counts as over when it is looked at. */
#define ANSWER_PAUSE_NS 500000000ULL

/* For requests_pass(): what is in flight, and exchanges that nothing else will end soon. */
static __always_inline int stream_pass(struct sock *sk, struct connection *connection)
{
	struct stream *stream = bpf_sk_storage_get(&streams, sk, NULL, 0);
	struct requests_in_flight *in_flight_row;
	struct exchange_row *row;
	__u32 entity = connection->entity;

	if (!stream)
		return 0;
	if (stream->phase == STREAM_ANSWERED &&
	    bpf_ktime_get_ns() - stream->last_ns > ANSWER_PAUSE_NS) {
		const struct exchange_key key = { entity, stream->protocol, stream->role };
		__u32 index = find_exchange_row(&key);

		if (index >= settings.exchange_rows)
			return 0;
		index += settings.lanes * settings.exchange_rows;
		row = bpf_map_lookup_elem(&exchange_rows, &index);
		if (row)
			end_exchange(stream, row);
		return 0;
	}
	if (stream->phase != STREAM_ASKED)
		return 0;
	if (entity >= settings.max_entities)
		entity = ENTITY_OTHER;
	in_flight_row = bpf_map_lookup_elem(&in_flight, &entity);
	if (!in_flight_row)
		return 0;
	if (stream->role == REQUESTS_SERVER)
		note_in_flight(in_flight_row, REQUESTS_SERVER, stream->began_ns, 1);
	else
		note_in_flight(in_flight_row, REQUESTS_CLIENT, stream->began_ns, 1);
	return 0;
}

/* ---- names over UDP ---- */

#define DNS_PORT bpf_htons(53)

/* struct mmsghdr is a message header of 56 bytes, and how many bytes went. */
#define VECTOR_ENTRY 64

static __always_inline struct pt_regs *call_registers(void)
{
	return (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
}

/* Port this call sends to, where the socket itself has no peer; 0: not known. */
static __always_inline __be16 destination_port(void)
{
	struct pt_regs *regs = call_registers();
	struct message_header header = {};
	__be16 port = 0;

	switch (syscall_number(regs)) {
	case NR_sendto:
		header.name = syscall_argument(regs, 4);
		break;
	case NR_sendmsg:
	case NR_sendmmsg: /* of the first message: they go to one server */
		bpf_probe_read_user(&header, sizeof(header),
				    (const void *)syscall_argument(regs, 1));
		break;
	}
	if (header.name) /* sin_port and sin6_port are in the same place */
		bpf_probe_read_user(&port, sizeof(port), (const void *)(header.name + 2));
	return port;
}

/*
 * Which of its messages sendmmsg() has just sent nobody says: they go one after the other, and have the length of what
 * went.
 */
static __always_inline void open_vector(struct stream *stream, struct http1_view *view, __u32 total)
{
	struct pt_regs *regs = call_registers();
	__u64 vector = syscall_argument(regs, 1);
	__u32 n = syscall_argument(regs, 2), at = stream->vector_at + 1;
	struct message_header header;
	struct http1_iovec iovec;

	if (stream->vector != vector || at >= n)
		at = 0;
	stream->vector = vector;
	stream->vector_at = at;
	http1_open(view, total, 0, 0, 0, 0);
	if (bpf_probe_read_user(&header, sizeof(header),
				(const void *)(vector + at * VECTOR_ENTRY)) ||
	    header.n_iovec != 1 ||
	    bpf_probe_read_user(&iovec, sizeof(iovec), (const void *)header.iovec) ||
	    iovec.length != total)
		return;
	http1_open(view, total, iovec.base, total, 0, 0);
}

static __always_inline void datagram_moved(struct sock *sk, __u32 size, bool is_send, bool readable)
{
	__be16 peer = sk->__sk_common.skc_dport;
	bool is_server = sk->__sk_common.skc_num == 53;
	struct task_state *task;
	struct stream *stream;
	struct work *work;

	if (sk->sk_protocol != IPPROTO_UDP || !is_internet(sk) ||
	    !(settings.protocols >> PREFIX_DNS & 1))
		return;
	if (!is_server && peer != DNS_PORT) {
		if (peer || (is_send && destination_port() != DNS_PORT))
			return;
	}
	stream = bpf_sk_storage_get(&streams, sk, NULL, 0);
	if (!stream && !is_server && !is_send)
		return; /* of another service, or asked before we were here */
	task = task_state_of(bpf_get_current_task_btf());
	work = bpf_map_lookup_elem(&works, &(__u32){ 0 });
	if (!work || (task && task->entity == ENTITY_EXCLUDED))
		return;
	budget_count();
	if (!stream) {
		stream = stream_new(
			sk, PREFIX_DNS | (is_server == is_send ? PREFIX_FROM_SERVER : 0), is_send);
		if (!stream)
			return;
	}
	if (!task)
		count_loss(LOSS_NO_TASK_STATE);
	work->now_ns = bpf_ktime_get_ns();
	work->from_client = is_send == (stream->role == REQUESTS_CLIENT);
	work->entity = task ? task->entity : ENTITY_OTHER;
	if (is_send && syscall_number(call_registers()) == NR_sendmmsg)
		open_vector(stream, &work->view, size);
	else
		open_call(work, sk, size, readable);
	streams_take(stream, work);
}

#endif
