// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The least that a hook must do which tells requests from what sockets move: find what is kept of the socket, and copy the beginning
 * of what was moved. Nothing is made of it. What remains to be explained of the agent's cost is above this.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "lib/http1_call.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct socket_state {
	__u64 calls;
	__u8 pad[432]; /* as much as the agent keeps */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct socket_state);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct http1_view);
} views SEC(".maps");

static __u64 regs_on_stack;
static struct kernel_copies copies;

static __always_inline void moved(struct sock *sk, int ret, __u32 how)
{
	struct http1_view *view = bpf_map_lookup_elem(&views, &(__u32){ 0 });
	struct socket_state *state;

	if (ret <= 0 || !view)
		return;
	state = bpf_sk_storage_get(&sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state)
		return;
	state->calls++;
	if (!copies.is_looked_for) {
		kernel_copies_find(&copies);
		copies.base = copies.candidate;
	}
	if (!http1_open_usual_call(view, (__u64)sk, ret, how, &regs_on_stack, &copies) ||
	    (!view->piece_end && http1_next_piece(view)))
		return;
	http1_refill(view);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(reading_send, struct sock *sk, int ret)
{
	moved(sk, ret, CALL_READABLE | CALL_SENDS);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(reading_recv, struct sock *sk, int ret, int flags)
{
	moved(sk, ret, CALL_READABLE);
	return 0;
}
