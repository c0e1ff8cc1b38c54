/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Stream sockets of the unix family: a connection is looked at like one of TCP. Two things they do not tell: how much went through
 * them, hence those that are older than we are must be marked; and that this end closes. The other end notices that, and speaks
 * for both.
 */
#ifndef LEADLINE_REQUESTS_UNIX_BPF_H
#define LEADLINE_REQUESTS_UNIX_BPF_H

#include "requests_connection.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} older_unix SEC(".maps");

#define TCP_ESTABLISHED 1 /* of connected unix sockets, too */

/* Run once at the start. */
SEC("iter/unix")
int requests_older_unix(struct bpf_iter__unix *ctx)
{
	struct unix_sock *unix_sk = ctx->unix_sk;
	struct sock *sk = (struct sock *)unix_sk;

	if (!sk || sk->sk_type != SOCK_STREAM || sk->__sk_common.skc_state != TCP_ESTABLISHED)
		return 0;
	if (!bpf_sk_storage_get(&older_unix, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE))
		count_loss(LOSS_NO_SOCKET_STATE);
	return 0;
}

static __always_inline bool is_older_unix(struct sock *sk)
{
	return bpf_sk_storage_get(&older_unix, sk, NULL, 0);
}

/* The other end; stays in memory as long as this one. NULL: none, or not to be had, as before 5.16 (9eeb3aa33ae0). */
static __always_inline struct sock *unix_peer(struct sock *sk)
{
	struct unix_sock *unix_sk;

	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_skc_to_unix_sock))
		return NULL;
	unix_sk = bpf_skc_to_unix_sock(sk);
	return unix_sk ? unix_sk->peer : NULL;
}

#endif
