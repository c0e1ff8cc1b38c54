/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How long it took this end to connect, for the first request on the connection: in a table by the socket's address, as those who
 * ask, the hooks on TLS libraries and the verifier's own functions among them, have no way to its storage. Nothing is taken out: what is
 * oldest makes room, and the ports tell a socket from one before it in its place.
 */
#ifndef LEADLINE_REQUESTS_CONNECTS_BPF_H
#define LEADLINE_REQUESTS_CONNECTS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define CONNECTS_MAX 4096 /* that have begun and wait for their first request, or its end */

struct connecting {
	__u64 began_ns;
	__u64 took_ns; /* 0: it is not connected yet */
	__u64 first_ns; /* start of its first request; 0: there was none */
	__u16 local_port;
	__be16 peer_port;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CONNECTS_MAX);
	__type(key, __u64); /* address of the socket */
	__type(value, struct connecting);
} connects SEC(".maps");

static __always_inline void connect_began(const struct sock *sk)
{
	const struct connecting connecting = { .began_ns = bpf_ktime_get_ns() };
	__u64 key = (__u64)sk;

	bpf_map_update_elem(&connects, &key, &connecting, BPF_ANY);
}

static __always_inline void connect_done(const struct sock *sk)
{
	__u64 key = (__u64)sk;
	struct connecting *connecting = bpf_map_lookup_elem(&connects, &key);

	if (!connecting)
		return;
	connecting->local_port = sk->__sk_common.skc_num;
	connecting->peer_port = sk->__sk_common.skc_dport;
	connecting->took_ns = bpf_ktime_get_ns() - connecting->began_ns;
}

/* Of a socket by its address. NULL: not known. */
static __always_inline struct connecting *connecting_of(__u64 socket)
{
	const struct sock *sk = (const struct sock *)socket;
	struct connecting *connecting = bpf_map_lookup_elem(&connects, &socket);

	if (!connecting || !connecting->took_ns ||
	    connecting->local_port != BPF_CORE_READ(sk, __sk_common.skc_num) ||
	    connecting->peer_port != BPF_CORE_READ(sk, __sk_common.skc_dport))
		return NULL;
	return connecting;
}

/* The first request on a connection starts: how long it took to connect; 0: not known. */
static __always_inline __u64 take_connect(__u64 socket, __u64 start_ns)
{
	struct connecting *connecting = connecting_of(socket);

	if (!connecting || connecting->first_ns)
		return 0;
	connecting->first_ns = start_ns;
	return connecting->took_ns;
}

/* The same of a request that may be the first. */
static __always_inline __u64 connect_before(__u64 socket, __u64 start_ns)
{
	const struct connecting *connecting = connecting_of(socket);

	if (!connecting || (connecting->first_ns && connecting->first_ns != start_ns))
		return 0;
	return connecting->took_ns;
}

#endif
