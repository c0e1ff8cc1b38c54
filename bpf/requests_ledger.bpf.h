/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the current thread's time went to since it read a request. The thread notes the request in its state (lib/task.h), sched adds
 * up what the thread waits for from then on, and when the same thread sends the last byte of the response, having begun no other
 * request meanwhile, that is where the request's time went; what is left of it the thread was running. Else nobody knows, and nobody
 * guesses.
 *
 * A wait that ends with bytes of a connection on which the thread asks, or with that connection's end, was for who is there. It is known
 * when they are read, and looked for only where threads that ask have served before.
 *
 * Without sched nothing is noted. While the budget keeps sched away from some switches, the requests that these fall
 * into are unattributed.
 */
#ifndef LEADLINE_REQUESTS_LEDGER_BPF_H
#define LEADLINE_REQUESTS_LEDGER_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "lib/compat.bpf.h"
#include "lib/task.bpf.h"
#include "requests_connection.bpf.h"
#include "requests_rows.bpf.h"
#include "slow_requests.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct downstream_key);
	__type(value, __u32);
} row_of_downstream SEC(".maps");

DEFINE_FREE_ROWS(free_downstreams);
DEFINE_ROWS(downstream_names, struct downstream_name); /* by row, no lanes */
DEFINE_ROWS(downstream_ns, __u64);

/* Whether sched is there to say where the time of a request of this side goes. */
static __always_inline bool has_ledger(enum requests_role role)
{
	struct cpu_turn *turn = cpu_turn();

	return role == REQUESTS_SERVER && turn && turn->began_ns;
}

/* Since the thread was at rest last, at least. */
static __always_inline bool sched_sees_all(const struct task_struct *task,
					   const struct task_state *state)
{
	return task_unseen_switches(task, state) == state->unseen_switches;
}

/* The current thread has read a request of this socket. `is_alone`: none before it is still without response. */
static __always_inline void note_reading(__u64 socket, __u64 start_ns, bool is_alone)
{
	struct cpu_turn *turn = cpu_turn();
	struct task_struct *task;
	struct task_state *state;

	if (!turn || !turn->began_ns)
		return;
	task = bpf_get_current_task_btf();
	state = task_state_of(task);
	if (!state)
		return;
	state->serves_socket = 0;
	if (!is_alone || !sched_sees_all(task, state))
		return;
	for (int i = 0; i < WAIT_REASON_COUNT; i++)
		state->serves_waited_ns[i] = 0;
	for (int i = 0; i < TASK_DOWNSTREAMS; i++)
		state->serves_downstreams[i].ns = 0;
	state->serves_told_network_ns = state->serves_told_poll_ns = 0;
	state->serves_generation = shared.downstream_generation;
	state->serves_queued_ns = 0;
	state->serves_start_ns = start_ns;
	state->serves_since_ns = bpf_ktime_get_ns();
	state->serves_socket = socket;
}

/* ---- whom it waited for ---- */

/* What the thread did before it got the CPU the last time; sched adds that up only when it leaves it. */
struct last_wait {
	__u32 reason;
	__s64 waited_ns;
	__s64 queued_ns;
};

/* False: that was before the request was read. */
static __always_inline bool find_last_wait(struct last_wait *last, struct task_struct *task,
					   const struct task_state *state,
					   const struct cpu_turn *turn)
{
	__s64 off_cpu_ns = turn->began_ns - (state->left_cpu_ns - state->passed_ns);

	if (state->left_cpu_ns - state->passed_ns < state->serves_since_ns || off_cpu_ns <= 0)
		return false;
	last->reason = state->wait_reason;
	last->queued_ns = task->sched_info.run_delay - state->run_delay_ns;
	if (state->slept_in_queue && task->se.nr_migrations != state->migrations)
		last->queued_ns = queued_of_sleeper(off_cpu_ns, last->queued_ns);
	last->waited_ns = off_cpu_ns > last->queued_ns ? off_cpu_ns - last->queued_ns : 0;
	return true;
}

/* ::ffff:a.b.c.d */
static __always_inline void map_address(__u8 mapped[16], __be32 address)
{
	mapped[10] = mapped[11] = 0xff;
	__builtin_memcpy(mapped + 12, &address, sizeof(address));
}

static __always_inline void read_peer(__u8 address[16], const struct sock *sk)
{
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET6)
		bpf_core_read(address, 16, &sk->__sk_common.skc_v6_daddr);
	else
		map_address(address, BPF_CORE_READ(sk, __sk_common.skc_daddr));
}

/* 0: it has no address, or there are too many. */
static __always_inline __u32 row_of_peer(const struct sock *sk, __u32 protocol, __u32 entity)
{
	struct downstream_key key = { .entity = entity };
	struct downstream_name *name;
	__u32 row;

	key.port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (!key.port)
		return 0;
	read_peer(key.address, sk);
	row = row_for_key(&row_of_downstream, &free_downstreams, &key);
	name = bpf_map_lookup_elem(&downstream_names, &row);
	if (!row || !name)
		return 0;
	if (protocol)
		name->protocol = protocol;
	name->key = key;
	return row;
}

static __always_inline void add_downstream(struct task_state *state, __u32 row, __s64 ns)
{
	int i;

	for (i = TASK_DOWNSTREAMS - 1; i > 0; i--)
		if (row &&
		    (!state->serves_downstreams[i].ns || state->serves_downstreams[i].row == row))
			break;
	state->serves_downstreams[i].row = i ? row : 0;
	state->serves_downstreams[i].ns += ns;
}

/* Takes what is new of a wait off it, or lets it be; returns how much that was. */
static __always_inline __s64 take_wait(__s64 *waited_ns, __s64 *told_ns, __s64 last_ns, bool takes)
{
	__s64 new_ns = *waited_ns + last_ns - *told_ns;

	if (new_ns <= 0)
		return 0;
	if (takes)
		*waited_ns -= new_ns;
	else
		*told_ns += new_ns;
	return new_ns;
}

enum waited_for {
	WAITED_FOR_CLIENT, /* for more of the request, or to send more of the response */
	WAITED_FOR_PEER,
};

__noinline int requests_waited(const __u64 *sk, enum waited_for whom, __u32 protocol)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_state *state = task_state_of(task);
	struct cpu_turn *turn = cpu_turn();
	struct last_wait last = { .reason = WAIT_OTHER };
	bool takes = whom == WAITED_FOR_PEER;
	__u64 socket;
	__s64 ns;

	if (!sk || !state || !turn || !state->serves_socket)
		return 0;
	socket = *sk;
	if (takes && state->serves_socket == socket)
		return 0;
	if (!find_last_wait(&last, task, state, turn))
		last.waited_ns = 0;
	ns = take_wait(&state->serves_waited_ns[WAIT_NETWORK], &state->serves_told_network_ns,
		       last.reason == WAIT_NETWORK ? last.waited_ns : 0, takes);
	ns += take_wait(&state->serves_waited_ns[WAIT_POLL], &state->serves_told_poll_ns,
			last.reason == WAIT_POLL ? last.waited_ns : 0, takes);
	if (takes && ns)
		add_downstream(state,
			       row_of_peer((const struct sock *)socket, protocol, state->entity),
			       ns);
	return 0;
}

/*
 * Something of this socket, its end even, has ended the current thread's wait for it, should it have waited. protocol: what the other
 * side speaks, as struct downstream_name has it.
 */
static __always_inline void waited(struct sock *sk, enum waited_for whom, __u32 protocol)
{
	const __u64 address = (__u64)sk; /* in an argument, it is no number to the verifier */

	requests_waited(&address, whom, protocol);
}

/* ---- the sum ---- */

static __always_inline void add_last_wait(__u64 reasons_ns[REQUEST_REASONS],
					  struct task_struct *task, const struct task_state *state,
					  const struct cpu_turn *turn)
{
	struct last_wait last;
	__s64 throttled_ns;

	if (!find_last_wait(&last, task, state, turn))
		return;
	if (last.reason < WAIT_REASON_COUNT)
		reasons_ns[last.reason] += last.waited_ns;
	if (last.reason == WAIT_THROTTLED) {
		throttled_ns = queue_throttled_ns(task) - state->queue_throttled_ns;
		if (throttled_ns < 0 || throttled_ns > last.queued_ns)
			throttled_ns = last.queued_ns;
		reasons_ns[WAIT_THROTTLED] += throttled_ns;
		last.queued_ns -= throttled_ns;
	}
	reasons_ns[REQUEST_RUN_QUEUE] += last.queued_ns;
}

/* Of `*left_ns`, as clocks differ by some microseconds. */
static __always_inline __u64 fit(__s64 ns, __u64 *left_ns)
{
	__u64 fitting = ns < 0 ? 0 : ns;

	if (fitting > *left_ns)
		fitting = *left_ns;
	*left_ns -= fitting;
	return fitting;
}

static __always_inline void add_downstreams(struct request_account *account,
					    const struct task_state *state)
{
	bool are_rows_valid = state->serves_generation == (__u32)shared.downstream_generation;

	for (int i = 0; i < TASK_DOWNSTREAMS; i++) {
		__s64 ns = state->serves_downstreams[i].ns;

		account->downstreams[i].row = are_rows_valid ? state->serves_downstreams[i].row : 0;
		account->downstreams[i].ns = ns;
		account->reasons_ns[REQUEST_OUTBOUND] += ns;
	}
}

/*
 * Fills an account that is zero, of a request of this socket that is over, or a part of whose response has been sent. False when
 * the current thread cannot tell.
 */
__noinline int requests_tell_account(struct request_account *account, __u64 socket, __u64 start_ns,
				     __u64 end_ns, bool is_over)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_state *state = task_state_of(task);
	struct cpu_turn *turn = cpu_turn();
	__u64 left_ns = end_ns - start_ns, outbound_ns;

	if (!account || !state || !turn || state->serves_socket != socket ||
	    state->serves_start_ns != start_ns)
		return false;
	if (is_over)
		state->serves_socket = 0;
	if (!sched_sees_all(task, state) || state->serves_since_ns < start_ns)
		return false;
	for (int i = 0; i < WAIT_REASON_COUNT; i++)
		account->reasons_ns[i] = state->serves_waited_ns[i];
	account->reasons_ns[REQUEST_RUN_QUEUE] = state->serves_queued_ns;
	account->reasons_ns[REQUEST_SOCKET_QUEUE] = state->serves_since_ns - start_ns;
	add_last_wait(account->reasons_ns, task, state, turn);
	add_downstreams(account, state);
	for (int i = 0; i < REQUEST_REASONS; i++)
		account->reasons_ns[i] = fit(account->reasons_ns[i], &left_ns);
	account->reasons_ns[REQUEST_ON_CPU] = left_ns;
	outbound_ns = account->reasons_ns[REQUEST_OUTBOUND];
	for (int i = TASK_DOWNSTREAMS - 1; i >= 0; i--)
		account->downstreams[i].ns = fit(account->downstreams[i].ns, &outbound_ns);
	return true;
}
#endif
