/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Names looked up over UDP: sockets on port 53, or that send to it. A stream like those over TCP, of one message a call.
 */
#ifndef LEADLINE_REQUESTS_NAMES_BPF_H
#define LEADLINE_REQUESTS_NAMES_BPF_H

#include <bpf/bpf_endian.h>
#include "lib/budget.bpf.h"
#include "requests_ledger.bpf.h"
#include "requests_streams.bpf.h"

#define DNS_PORT bpf_htons(53)

/* Port this call sends to, where the socket itself has no peer; 0: not known. */
static __always_inline __be16 destination_port(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
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

static __always_inline void datagram_moved(struct sock *sk, struct work *work, __u32 size,
					   __u32 how)
{
	const bool is_send = how & CALL_SENDS;
	__be16 peer = sk->__sk_common.skc_dport;
	bool is_server = sk->__sk_common.skc_num == 53;
	struct budget_lane *lane;
	struct task_state *task;
	struct stream *stream;
	bool is_new;

	if (sk->sk_protocol != IPPROTO_UDP || !is_internet(sk) ||
	    !(settings.protocols >> PREFIX_DNS & 1))
		return;
	if (!is_server && peer != DNS_PORT) {
		if (peer || (is_send && destination_port() != DNS_PORT))
			return;
	}
	stream = bpf_sk_storage_get(&datagram_streams, sk, NULL, 0);
	if (!stream && !is_server && !is_send)
		return; /* of another service, or asked before we were here */
	task = task_state_of(bpf_get_current_task_btf());
	if (task && task->entity == ENTITY_EXCLUDED)
		return;
	lane = budget_count();
	if (in_between(lane))
		return;
	is_new = !stream;
	if (is_new) {
		stream = bpf_sk_storage_get(&datagram_streams, sk, NULL,
					    BPF_SK_STORAGE_GET_F_CREATE);
		if (!stream) {
			count_loss(LOSS_NO_SOCKET_STATE);
			return;
		}
		stream_begin(stream, PREFIX_DNS | (is_server == is_send ? PREFIX_FROM_SERVER : 0),
			     is_send);
	}
	if (lane && stream->absences != (__u16)lane->absences) {
		stream->absences = lane->absences;
		if (!is_new)
			miss_calls(stream);
	}
	if (!task)
		count_loss(LOSS_NO_TASK_STATE);
	work->now_ns = bpf_ktime_get_ns();
	work->from_client = is_send == (stream->role == REQUESTS_CLIENT);
	work->entity = task ? task->entity : ENTITY_OTHER;
	work->sk = (__u64)sk;
	if (is_new)
		tell_new(stream, work);
	open_call(work, size, how);
	streams_take(stream, work);
	if (!is_send && stream->role == REQUESTS_CLIENT && task && task->serves_socket)
		waited(sk, WAITED_FOR_PEER, PREFIX_DNS);
}

#endif
