/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Where the time of a served request went. The thread that reads a request notes it in its state (lib/task.h), sched adds up what
 * the thread waits for from then on, and when the same thread sends the last byte of the response, having begun no other request
 * meanwhile, that is where the request's time went; what is left of it the thread was running. Else nobody knows, and nobody guesses.
 *
 * Without sched nothing is noted. While the budget keeps sched away from some switches, the requests that these fall
 * into are unattributed.
 */
#ifndef LEADLINE_REQUESTS_WAITS_BPF_H
#define LEADLINE_REQUESTS_WAITS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "lib/compat.bpf.h"
#include "lib/emit.bpf.h"
#include "lib/task.bpf.h"
#include "requests_connection.bpf.h"
#include "requests_copies.bpf.h"
#include "slow_requests.h"

DEFINE_ROWS(request_waits, struct request_waits);

/* One CPU's, of one hook run. */
struct slow_scratch {
	struct stream_event event;
	struct slow_request slow;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct slow_scratch);
} slow_scratches SEC(".maps");

/* A request that ends. */
struct ending {
	__u64 start_ns;
	__u64 end_ns;
	__u64 first_byte_ns; /* since the start; 0: none */
	__u32 outcome; /* enum requests_outcome */
	__u32 method;
	__u32 has_target; /* it is the one that connection->target is of */
	__u32 is_slow;
	__u32 has_ledger;
	__u32 pad; /* the verifier wants each byte of it written */
};

static __always_inline bool sched_sees_all(const struct task_struct *task,
					   const struct task_state *state)
{
	return (__u32)task->nvcsw == state->voluntary_switches &&
	       (__u32)task->nivcsw == state->involuntary_switches;
}

/* The current thread has read a request of this socket. `is_alone`: none before it is still without response. */
static __always_inline void note_reading(__u64 socket, __u64 start_ns, bool is_alone)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct cpu_turn *turn = cpu_turn();
	struct task_state *state;

	if (!turn || !turn->began_ns)
		return;
	state = task_state_of(task);
	if (!state)
		return;
	state->serves_socket = 0;
	if (!is_alone || !sched_sees_all(task, state))
		return;
	for (int i = 0; i < WAIT_REASON_COUNT; i++)
		state->serves_waited_ns[i] = 0;
	state->serves_queued_ns = 0;
	state->serves_start_ns = start_ns;
	state->serves_since_ns = bpf_ktime_get_ns();
	state->serves_socket = socket;
}

/* What sched adds up only when the thread leaves the CPU: what it did before it got it, if that was after the request was read. */
static __always_inline void add_turn(__u64 reasons_ns[REQUEST_REASONS], struct task_struct *task,
				     const struct task_state *state, const struct cpu_turn *turn)
{
	__s64 off_cpu_ns = turn->began_ns - (state->left_cpu_ns - state->passed_ns);
	__s64 queued_ns = task->sched_info.run_delay - state->run_delay_ns, throttled_ns;
	__u32 reason = state->wait_reason;

	if (state->left_cpu_ns - state->passed_ns < state->serves_since_ns || off_cpu_ns <= 0)
		return;
	if (state->slept_in_queue && task->se.nr_migrations != state->migrations)
		queued_ns = queued_of_sleeper(off_cpu_ns, queued_ns);
	if (reason < WAIT_REASON_COUNT && off_cpu_ns > queued_ns)
		reasons_ns[reason] += off_cpu_ns - queued_ns;
	if (reason == WAIT_THROTTLED) {
		throttled_ns = queue_throttled_ns(task) - state->queue_throttled_ns;
		if (throttled_ns < 0 || throttled_ns > queued_ns)
			throttled_ns = queued_ns;
		reasons_ns[WAIT_THROTTLED] += throttled_ns;
		queued_ns -= throttled_ns;
	}
	reasons_ns[REQUEST_RUN_QUEUE] += queued_ns;
}

/* What the reasons add up to beyond `left_ns`, as clocks differ by some microseconds, is taken off them again. Returns the rest. */
static __always_inline __u64 fit_reasons(__u64 reasons_ns[REQUEST_REASONS], __u64 left_ns)
{
	for (int i = 0; i < REQUEST_REASONS; i++) {
		if (reasons_ns[i] > left_ns)
			reasons_ns[i] = left_ns;
		left_ns -= reasons_ns[i];
	}
	return left_ns;
}

/* Fills reasons_ns, which is zero. False when the current thread cannot tell. */
static __always_inline bool tell_reasons(__u64 reasons_ns[REQUEST_REASONS], __u64 socket,
					 const struct ending *ending)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_state *state = task_state_of(task);
	struct cpu_turn *turn = cpu_turn();
	__u64 queue_ns;

	if (!state || !turn || ending->outcome != REQUESTS_COMPLETE ||
	    state->serves_socket != socket || state->serves_start_ns != ending->start_ns)
		return false;
	state->serves_socket = 0;
	if (!sched_sees_all(task, state) || state->serves_since_ns < ending->start_ns)
		return false;
	queue_ns = state->serves_since_ns - ending->start_ns;
	for (int i = 0; i < WAIT_REASON_COUNT; i++)
		if (state->serves_waited_ns[i] > 0)
			reasons_ns[i] = state->serves_waited_ns[i];
	if (state->serves_queued_ns > 0)
		reasons_ns[REQUEST_RUN_QUEUE] = state->serves_queued_ns;
	add_turn(reasons_ns, task, state, turn);
	reasons_ns[REQUEST_SOCKET_QUEUE] = queue_ns;
	reasons_ns[REQUEST_ON_CPU] = fit_reasons(reasons_ns, ending->end_ns - ending->start_ns);
	return true;
}

/* Of as many requests as this one stands for. */
static __always_inline void add_reasons(__u32 entity, const __u64 reasons_ns[REQUEST_REASONS],
					__u32 times)
{
	struct request_waits *row;
	__u32 index;

	if (entity >= settings.max_entities)
		entity = ENTITY_OTHER;
	index = lane_of_this_cpu() * settings.max_entities + entity;
	row = bpf_map_lookup_elem(&request_waits, &index);
	if (!row)
		return;
	for (int i = 0; i < REQUEST_REASONS; i++)
		if (reasons_ns[i])
			add(&row->reasons_ns[i], reasons_ns[i] * times);
}

/* ::ffff:a.b.c.d */
static __always_inline void map_address(__u8 mapped[16], __be32 address)
{
	mapped[10] = mapped[11] = 0xff;
	__builtin_memcpy(mapped + 12, &address, sizeof(address));
}

static __always_inline void describe_socket(struct slow_request *slow, const struct sock *sk)
{
	const struct tcp_sock *tcp = (const struct tcp_sock *)sk;

	slow->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	slow->peer_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET6) {
		BPF_CORE_READ_INTO(&slow->local_address, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&slow->peer_address, sk, __sk_common.skc_v6_daddr);
	} else {
		map_address(slow->local_address, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
		map_address(slow->peer_address, BPF_CORE_READ(sk, __sk_common.skc_daddr));
	}
	slow->retransmits = BPF_CORE_READ(tcp, total_retrans);
	slow->rtt_us = BPF_CORE_READ(tcp, srtt_us) >> 3;
}

/* From the line's beginning on, which is a method: the path follows its blank. */
static __always_inline void describe_target(struct slow_request *slow,
					    const struct connection *connection)
{
	volatile __u32 *memory = &slow->target_size;
	__u32 from = 0, to;

	while (from < CONNECTION_LINE && connection->line[from] != ' ')
		from++;
	/* From memory it is any number to the verifier, which would follow each of them to the end of the program. */
	*memory = from + 1;
	from = *memory;
	for (to = 0; to < SLOW_REQUEST_TARGET; to++) {
		__u64 at = at_most(from + to, CONNECTION_LINE);
		__u8 byte = at < CONNECTION_LINE ? connection->line[at] : 0;

		if (byte == ' ' || byte == '\r' || byte == '\n' || !byte)
			break;
		slow->target[to] = byte;
	}
	slow->target_size = to;
}

static __always_inline void tell_slow(struct slow_scratch *scratch,
				      const struct connection *connection, __u64 socket,
				      const struct ending *ending)
{
	__u64 ids = bpf_get_current_pid_tgid();

	scratch->event = (struct stream_event){
		.ns = ending->end_ns,
		.entity = connection->entity,
		.pid = ids >> 32,
		.tid = ids,
		.kind = STREAM_SLOW_REQUEST,
		.role = connection->role,
	};
	scratch->slow.duration_ns = ending->end_ns - ending->start_ns;
	scratch->slow.first_byte_ns = ending->first_byte_ns;
	scratch->slow.method = ending->method;
	scratch->slow.outcome = ending->outcome;
	if (ending->outcome != REQUESTS_NO_RESPONSE)
		scratch->slow.status = connection->response.status;
	describe_socket(&scratch->slow, (const struct sock *)socket);
	if (ending->has_target)
		describe_target(&scratch->slow, connection);
	event_output(&events, scratch, sizeof(*scratch), true);
}

/* Whether sched is there to say where the time of a request of this side goes. */
static __always_inline bool has_ledger(enum requests_role role)
{
	struct cpu_turn *turn = cpu_turn();

	return role == REQUESTS_SERVER && turn && turn->began_ns;
}

/* Says of a request where its time went, and that it was slow. */
__noinline int requests_explain(const struct connection *connection, const struct ending *ending,
				__u64 socket)
{
	struct slow_scratch *scratch = bpf_map_lookup_elem(&slow_scratches, &(__u32){ 0 });

	if (!connection || !ending || !scratch)
		return 0;
	__builtin_memset(&scratch->slow, 0, sizeof(scratch->slow));
	if (!ending->has_ledger || !tell_reasons(scratch->slow.reasons_ns, socket, ending))
		scratch->slow.reasons_ns[REQUEST_UNATTRIBUTED] = ending->end_ns - ending->start_ns;
	if (ending->has_ledger)
		add_reasons(connection->entity, scratch->slow.reasons_ns, connection->weight);
	if (ending->is_slow)
		tell_slow(scratch, connection, socket, ending);
	return 0;
}

#endif
