/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Where the time of a served request went (requests_ledger.bpf.h), in rows by entity and by whom it waited for, and in the events
 * that tell of slow ones.
 */
#ifndef LEADLINE_REQUESTS_WAITS_BPF_H
#define LEADLINE_REQUESTS_WAITS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "lib/emit.bpf.h"
#include "requests_connection.bpf.h"
#include "requests_connects.bpf.h"
#include "requests_copies.bpf.h"
#include "requests_ledger.bpf.h"

DEFINE_ROWS(request_waits, struct request_waits);

/* One CPU's, of one hook run. */
struct slow_scratch {
	struct stream_event event;
	union {
		struct slow_request slow;
		struct request_path path; /* of other protocols */
	};
	struct request_account account;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct slow_scratch);
} slow_scratches SEC(".maps");

/* Of as many requests as this one stands for. */
static __always_inline void add_account(__u32 entity, const struct request_account *account,
					__u32 times)
{
	__u32 lane = lane_of_this_cpu(), index;
	struct request_waits *row;

	if (entity >= settings.max_entities)
		entity = ENTITY_OTHER;
	index = lane * settings.max_entities + entity;
	row = bpf_map_lookup_elem(&request_waits, &index);
	if (!row)
		return;
	for (int i = 0; i < REQUEST_REASONS; i++)
		if (account->reasons_ns[i] && i != REQUEST_OUTBOUND)
			add(&row->reasons_ns[i], account->reasons_ns[i] * times);
	if (!account->reasons_ns[REQUEST_OUTBOUND])
		return;
	for (int i = 0; i < TASK_DOWNSTREAMS; i++) {
		__u64 ns = account->downstreams[i].ns * times, *total;

		if (!ns)
			continue;
		index = lane * settings.downstreams + account->downstreams[i].row;
		total = bpf_map_lookup_elem(&downstream_ns, &index);
		add(account->downstreams[i].row && total ? total
							 : &row->reasons_ns[REQUEST_OUTBOUND],
		    ns);
	}
}

__noinline int requests_describe_path(struct request_path *path, __u64 address)
{
	const struct sock *sk = (const struct sock *)address;
	const struct tcp_sock *tcp = (const struct tcp_sock *)sk;

	if (!path)
		return 0;
	path->is_unix = BPF_CORE_READ(sk, __sk_common.skc_family) == AF_UNIX;
	if (path->is_unix)
		return 0;
	path->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	path->peer_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET6)
		BPF_CORE_READ_INTO(&path->local_address, sk, __sk_common.skc_v6_rcv_saddr);
	else
		map_address(path->local_address, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
	read_peer(path->peer_address, sk);
	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	path->retransmits = BPF_CORE_READ(tcp, total_retrans);
	path->rtt_us = BPF_CORE_READ(tcp, srtt_us) >> 3;
	return 0;
}

static __always_inline void describe_account(struct request_detail *detail,
					     const struct request_account *account)
{
	__builtin_memcpy(detail->reasons_ns, account->reasons_ns, sizeof(detail->reasons_ns));
	for (int i = 1; i < TASK_DOWNSTREAMS; i++) {
		__u32 row = account->downstreams[i].row;
		struct downstream_name *name = bpf_map_lookup_elem(&downstream_names, &row);

		if (!row || !name || !account->downstreams[i].ns)
			continue;
		detail->downstreams[i - 1].ns = account->downstreams[i].ns;
		detail->downstreams[i - 1].name = *name;
	}
}

/* A request that ends: as `pending` told of it, the oldest. */
struct ending {
	__u64 pending;
	__u64 duration_ns;
	__u64 request_bytes, response_bytes; /* heads included */
	__u64 outcome; /* enum requests_outcome; no padding */
	__u64 weight; /* for how many it stands */
};

static __always_inline void tell_slow(struct slow_scratch *scratch,
				      const struct connection *connection, __u64 sk,
				      const struct ending *ending)
{
	__u64 ids = bpf_get_current_pid_tgid(), start_ns = ending->pending >> 4;
	struct slow_request *slow = &scratch->slow;

	scratch->event = (struct stream_event){
		.ns = start_ns + ending->duration_ns,
		.entity = connection->entity,
		.pid = ids >> 32,
		.tid = ids,
		.kind = STREAM_SLOW_REQUEST,
		.role = connection->role,
	};
	__builtin_memset(slow, 0, sizeof(*slow));
	requests_describe_path(&slow->detail.path, sk);
	if (connection->role == ROLE_CLIENT)
		slow->detail.path.connect_ns = connect_before(sk, start_ns);
	describe_account(&slow->detail, &scratch->account);
	slow->duration_ns = ending->duration_ns;
	if (connection->response_started && connection->first_byte_ns > start_ns)
		slow->first_byte_ns = connection->first_byte_ns - start_ns;
	slow->request_bytes = ending->request_bytes;
	slow->response_bytes = ending->response_bytes;
	slow->method = ending->pending & 15;
	slow->outcome = ending->outcome;
	if (ending->outcome != REQUESTS_NO_RESPONSE)
		slow->status = connection->response.status;
	if (connection->has_line && connection->line_of == (__u8)(connection->head - 1)) {
		slow->line_size = sizeof(slow->line);
		__builtin_memcpy(slow->line, connection->line, sizeof(slow->line));
	}
	output(ring_of_this_cpu(), scratch, sizeof(scratch->event) + sizeof(*slow));
}

static __always_inline bool is_slow(const struct connection *connection, __u64 duration_ns)
{
	__u64 slow_ns = shared.slow_ns[connection->role == REQUESTS_CLIENT];

	return slow_ns && duration_ns >= slow_ns;
}

/* Says of a request of a socket where its time went, and that it was slow. */
__noinline int requests_explain(const struct connection *connection, __u64 sk,
				const struct ending *ending)
{
	struct slow_scratch *scratch = bpf_map_lookup_elem(&slow_scratches, &(__u32){ 0 });
	struct request_account *account;
	__u64 start_ns;
	bool has_waits;

	if (!connection || !ending || !scratch)
		return 0;
	start_ns = ending->pending >> 4;
	has_waits = has_ledger(connection->role);
	account = &scratch->account;
	__builtin_memset(account, 0, sizeof(*account));
	if (connection->role == ROLE_CLIENT)
		account->reasons_ns[REQUEST_OUTBOUND] =
			ending->duration_ns; /* what a client calls so */
	else if (!has_waits || ending->outcome != REQUESTS_COMPLETE ||
		 !requests_tell_account(account, sk, start_ns, start_ns + ending->duration_ns,
					true))
		account->reasons_ns[REQUEST_UNATTRIBUTED] = ending->duration_ns;
	if (has_waits)
		add_account(connection->entity, account, ending->weight);
	if (is_slow(connection, ending->duration_ns))
		tell_slow(scratch, connection, sk, ending);
	return 0;
}

/* ---- of other protocols ---- */

/* From what duration on an exchange is told of in detail; 0: none is. */
static __always_inline __u64 slow_stream_ns(const struct stream *stream)
{
	return shared.slow_stream_ns[stream->protocol % PREFIX_PROTOCOLS][stream->role & 1];
}

/* Whether the one under way, as far as it has gone, is slow. */
static __always_inline bool is_slow_exchange(const struct stream *stream, __u64 now_ns)
{
	__u64 slow_ns = slow_stream_ns(stream);

	return slow_ns && now_ns >= stream->began_ns + slow_ns;
}

__noinline int streams_tell_path(const struct stream *stream, const struct work *work)
{
	struct slow_scratch *scratch = bpf_map_lookup_elem(&slow_scratches, &(__u32){ 0 });
	__u64 ids = bpf_get_current_pid_tgid();

	if (!stream || !work || !scratch || !slow_stream_ns(stream))
		return 0;
	scratch->event = (struct stream_event){
		.connection = stream->id,
		.ns = work->now_ns,
		.entity = work->entity,
		.pid = ids >> 32,
		.tid = ids,
		.kind = STREAM_PATH,
		.protocol = stream->protocol,
		.role = stream->role,
		.flags = stream_flags(stream),
	};
	__builtin_memset(&scratch->path, 0, sizeof(scratch->path));
	requests_describe_path(&scratch->path, work->sk);
	if (stream->role == REQUESTS_CLIENT)
		scratch->path.connect_ns = connect_before(work->sk, stream->began_ns);
	output(stream->ring, scratch, sizeof(scratch->event) + sizeof(scratch->path));
	return 0;
}

/* Puts the account of the exchange under way, which this call answers, into the event that will tell of the call. */
__noinline int streams_tell_account(const struct stream *stream, struct work *work)
{
	struct stream_scratch *scratch = bpf_map_lookup_elem(&stream_scratches, &(__u32){ 0 });

	if (!stream || !work || !scratch)
		return 0;
	__builtin_memset(&scratch->account, 0, sizeof(scratch->account));
	scratch->account.began_ns = stream->began_ns;
	work->has_account = requests_tell_account(&scratch->account.account, work->sk,
						  stream->began_ns, work->now_ns, false);
	return 0;
}

#endif
