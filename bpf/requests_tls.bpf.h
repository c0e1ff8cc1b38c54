/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Connections within TLS: what is kept of their plain text, which tls.bpf.c takes from the libraries' calls, and how the hooks on
 * sockets help it. These alone can tell which socket is a session's: the one that moves bytes while a thread is in a call of
 * that session. And once there is plain text that can be told, they count nothing of the socket's records.
 *
 * The state is in a hash by the socket's address, since hooks in user space have no way to a socket's storage; the hook that sees
 * the socket go takes it out.
 */
#ifndef LEADLINE_REQUESTS_TLS_BPF_H
#define LEADLINE_REQUESTS_TLS_BPF_H

#include "lib/task.bpf.h"
#include "requests_connection.bpf.h"
#include "requests_stream.bpf.h"

#define TLS_SOCKETS_MAX 16384

struct tls_connection {
	struct connection connection; /* as of a socket, but of the plain text */
	__u64 session; /* what the library calls it by */
	__u64 read_ns; /* when what was last read from the socket had arrived */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TLS_SOCKETS_MAX);
	__type(key, __u64); /* address of the socket, never followed */
	__type(value, struct tls_connection);
} tls_sockets SEC(".maps");

static __always_inline struct tls_connection *tls_connection_of(__u64 sk)
{
	return bpf_map_lookup_elem(&tls_sockets, &sk);
}

/* Whether its plain text is told: then its records are not. */
static __always_inline bool tls_is_told(__u64 sk)
{
	const struct tls_connection *tls = tls_connection_of(sk);

	return tls && (tls->connection.role <= ROLE_CLIENT || tls->connection.role == ROLE_STREAM);
}

enum tls_telling {
	TLS_BY_RECORDS, /* there is nothing else that tells of it */
	TLS_NOTHING, /* these bytes are of a handshake */
	TLS_PLAIN_TEXT,
};

/*
 * work->sk, a socket that speaks TLS, has moved bytes: if its thread is in a call of a library, it is that session's. `midway`: what it
 * moved before may have been plain text already.
 */
static __always_inline enum tls_telling tls_socket_moved(const struct work *work, bool midway)
{
	struct task_state *task = task_state_of(bpf_get_current_task_btf());

	if (task && task->tls_session) {
		if (!task->tls_socket)
			task->tls_midway = midway;
		task->tls_socket = work->sk;
		task->tls_moved_ns = work->now_ns;
		if (task->tls_does == TLS_SHAKES_HANDS)
			return TLS_NOTHING;
	}
	return tls_is_told(work->sk) ? TLS_PLAIN_TEXT : TLS_BY_RECORDS;
}

/* What begins with a record's header: its type, and version 3.x. */
static __always_inline bool tls_begins_record(struct work *work, __u32 size)
{
	struct http1_view *view = &work->view;
	__u8 header[4] = {};

	if (size < TLS_HEADER || (!view->piece_end && http1_next_piece(view)) ||
	    view->piece_end < 3 || HTTP1_COPY(view, header, 3, view->base))
		return false;
	return header[0] >= TLS_CHANGE_CIPHER_SPEC && header[0] <= TLS_HEARTBEAT &&
	       header[1] == 3 && header[2] <= 4;
}

#endif
