/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A connection, as bpf/requests.bpf.c sees HTTP/1 on it; what else it may speak is in requests_streams.bpf.h. Its state is in
 * socket storage and dies with the socket.
 */
#ifndef LEADLINE_REQUESTS_CONNECTION_BPF_H
#define LEADLINE_REQUESTS_CONNECTION_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "lib/emit.bpf.h"
#include "lib/http1_call.bpf.h"
#include "lib/http1.h"
#include "lib/http2_frames.h"
#include "lib/task.bpf.h"
#include "lib/tls_records.h"
#include "requests_rows.bpf.h"
#include "slow_requests.h"
#include "streams.h"

#define PENDING_MAX	16 /* power of two; 8 bits count them */
#define CONNECTION_LINE SLOW_REQUEST_LINE /* bytes kept of a request line; a multiple of 8 */

/* How often to look for the start of a request before taking a connection for something else. */
#define ATTEMPTS_NEW	     2
#define ATTEMPTS_UNREAD	     16 /* its beginning could not be read */
#define ATTEMPTS_MIDWAY_UNIX 16 /* most of these speak something else */
#define ATTEMPTS_MIDWAY	     1000 /* it may be in the middle of a long body */

enum connection_role {
	ROLE_SERVER = REQUESTS_SERVER,
	ROLE_CLIENT = REQUESTS_CLIENT,
	ROLE_UNDECIDED,
	ROLE_IGNORED,
	ROLE_STREAM, /* speaks something else: see requests_streams.bpf.h */
};

/* Why it is not known where in a message the bytes are. */
enum connection_lost {
	LOST_NOT,
	LOST_MALFORMED, /* or beyond the limits here */
	LOST_UNREADABLE,
};

enum connection_turn {
	TURN_NOW,
	TURN_OVER, /* it has not been looked at since */
	TURN_BEGAN, /* and no request has since */
};

enum stream_phase {
	STREAM_IDLE, /* before a request */
	STREAM_ASKED, /* a request is there, or a part of it */
	STREAM_ANSWERED, /* and at least a part of its answer */
};

/* What something else than HTTP/1 is spoken on: requests_stream.bpf.h. */
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
	__u8 midway : 1;
	__u8 encrypted : 1; /* it is within TLS */
	__u8 is_begun : 1; /* it has been told of */
	__u8 calls; /* so far, up to STARTTLS_CALLS */
	__u8 stopped; /* enum stream_stop + 1: its decoder wants no more */
	__u8 is_counted; /* something was asked on it */
	__u16 absences; /* as of a connection; of datagrams only */
	__u32 stops_seen; /* shared.stops, when that was looked for */
	__u32 ring; /* that all its events go into, in their order */
	struct tls_records tls;
	struct http2_frames frames[2]; /* from the server, from the client */
};

struct connection {
	struct http1_stream request;
	struct http1_stream response;
	union {
		struct { /* of HTTP/1 */
			/* requests without response: start in ns << 4 | method */
			__u64 pending[PENDING_MAX];
			/* of the request that `tail` was line_of at; what follows it, too */
			__u8 line[CONNECTION_LINE];
		};
		struct stream stream; /* of ROLE_STREAM */
	};
	__u64 first_byte_ns; /* of the response under way */
	__u64 unseen_ns; /* when bytes after `read_seq` were read; 0: not known */
	__u64 last_ns; /* of response data, while only what follows tells its end */
	union requests_key_word key; /* of the last request recorded … */
	__u32 row; /* … and its row */
	__u32 row_generation;
	__u32 entity;
	__u32 read_seq; /* number of the first byte that was not read when we looked last */
	__u16 entity_epoch; /* when that was found */
	/* Calls yet to look at before the connection is ignored; 0 once a response started. */
	__u16 attempts_left;
	__u16 untracked; /* requests beyond PENDING_MAX */
	__u8 role; /* enum connection_role */
	__u8 head, tail; /* of `pending`; count on without end */
	__u8 line_of;
	__u8 has_line;
	__u8 tentative_role; /* while undecided: of the bytes carried in `request` */
	__u8 response_started; /* status is that of the oldest pending request */
	__u8 request_lost; /* enum connection_lost */
	__u8 response_lost;
	/*
	 * A client's other thread has read the whole response before the one that sent the request got to say so.
	 */
	__u8 early : 1;
	__u8 midway : 1; /* its beginning was not seen */
	__u8 serves_too : 1; /* the thread that the entity is of has served requests */
	__u8 is_websocket : 1; /* since it was upgraded; ignored */
	__u8 encrypted : 1; /* it is within TLS, or is TLS and joined midway: see requests_tls.bpf.h */
	__u8 met; /* lib/file_sockets.bpf.h */
	/* While connections are sampled, see requests_sample.bpf.h: */
	__u8 turn; /* enum connection_turn */
	__u8 is_counted; /* a request has begun on it */
	__u16 weight; /* for how many its pending requests stand */
	__u16 absences; /* of the hooks, when it was looked at last: since then, nothing was missed */
};
/* With the kernel's 72 bytes, an allocation of 512. */
_Static_assert(sizeof(struct connection) <= 440, "connections would take 1 KiB each");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct connection);
} connections SEC(".maps");

/* Hooks on calls of TLS libraries define it before they include this file. */
#ifndef CALLS_ARE_PLAIN
#define CALLS_ARE_PLAIN false
#endif

/* Scratch of one hook run. */
struct work {
	struct http1_view view;
	__u64 now_ns;
	__u64 sk; /* address of the socket; not to be followed */
	__u64 plain; /* address of what a TLS library takes or gives, all in one piece */
	__u32 is_response;
	/* of a call that is not HTTP/1's */
	__u32 n_before; /* bytes of the calls before it that belong to it: `carried` of the request */
	__u32 is_upgraded; /* the end of an HTTP/1 response has, which it begins with */
	struct upgraded_request upgraded; /* the request, then */
	__u32 entity;
	__u32 from_client;
	__u32 has_account; /* where the time went that it answers: in the scratch of its event */
	/* of one that is HTTP/1's */
	__u32 is_over; /* the rest of it is not to be looked at */
	__u32 weight; /* for how many a request stands that starts in it; 0: it is not to be looked at */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct work);
} works SEC(".maps");

/* Where the bytes of a call on work->sk are: of a socket call, where its registers say. how: enum call_how. */
__noinline int requests_open_call(struct work *work, __u32 size, __u32 how)
{
	if (work)
		http1_open_call(&work->view, work->sk, size, how);
	return 0;
}

/*
 * Compares what this call has sent, as it is in the program's memory, with what would be the kernel's copy: so many that are the same make
 * one be taken for it, one that is not makes none.
 */
__noinline int requests_compare_copy(struct work *work, __u32 size)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct kernel_copies *copies = &shared.copies;
	__u64 in_program = 0, in_kernel = 0, copy;

	if (!work || size < sizeof(in_program) ||
	    !is_copied_call((const struct pt_regs *)bpf_task_pt_regs(task)))
		return 0;
	copy = kernel_copy_of(copies->candidate, work->sk, task, size);
	if (!copy || (!work->view.piece_end && http1_next_piece(&work->view)) ||
	    work->view.piece_end < sizeof(in_program) ||
	    bpf_probe_read_user(&in_program, sizeof(in_program), (void *)work->view.base) ||
	    bpf_probe_read_kernel(&in_kernel, sizeof(in_kernel), (void *)copy))
		return 0;
	if (in_program != in_kernel)
		copies->candidate = 0;
	else if (++copies->compared >= KERNEL_COPIES_COMPARED)
		copies->base = copies->candidate;
	return 0;
}

static __always_inline void open_call(struct work *work, __u32 size, __u32 how)
{
	if (CALLS_ARE_PLAIN) {
		http1_open(&work->view, size, work->plain, size, 0, 0);
		return;
	}
	if (!http1_open_usual_call(&work->view, work->sk, size, how, &shared.regs_on_stack,
				   &shared.copies))
		requests_open_call(work, size, how);
	if ((how & CALL_SENDS) && !shared.copies.base && shared.copies.candidate)
		requests_compare_copy(work, size);
}

static __always_inline void ignore(struct connection *connection)
{
	connection->role = ROLE_IGNORED;
	connection->head = connection->tail = 0;
	connection->untracked = 0;
}

/* What it began with is not known: it is like one that was there before us. */
static __always_inline void join_midway(struct connection *connection)
{
	if (connection->midway)
		return;
	connection->midway = 1;
	connection->attempts_left = ATTEMPTS_UNREAD;
}

/* How long a connection relies on the entity of its process: 2^27 ns, 0.13 s. */
#define ENTITY_EPOCH_SHIFT 27

/* Returns false when the process is not to be looked at. */
static __always_inline bool find_entity(struct connection *connection)
{
	struct task_state *task = task_state_of(bpf_get_current_task_btf());

	if (!task) {
		count_loss(LOSS_NO_TASK_STATE);
		return true;
	}
	if (task->entity == ENTITY_EXCLUDED)
		return false;
	connection->entity = task->entity;
	connection->serves_too = task->serves_since_ns != 0;
	return true;
}

#define IPPROTO_UDP   17
#define AF_UNIX	      1
#define AF_INET	      2
#define AF_INET6      10
#define RCV_SHUTDOWN  1
#define SHUTDOWN_MASK 3
#define EPIPE	      32
#define ECONNRESET    104
#define MSG_OOB	      0x1
#define MSG_PEEK      0x2
#define MSG_TRUNC     0x20
#define MSG_ERRQUEUE  0x2000

static __always_inline bool is_internet(const struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;

	return family == AF_INET || family == AF_INET6;
}

static __always_inline bool is_tcp(const struct sock *sk)
{
	return is_internet(sk) && sk->sk_protocol == IPPROTO_TCP;
}

static __always_inline bool is_unix_stream(const struct sock *sk)
{
	return sk->__sk_common.skc_family == AF_UNIX && sk->sk_type == SOCK_STREAM &&
	       settings.unix_sockets;
}

/* Of the last segment; where there are none, now. */
static __always_inline __u64 socket_clock_ns(struct sock *sk)
{
	return is_internet(sk) ? tcp_clock_ns(sk) : bpf_ktime_get_ns();
}

#endif
