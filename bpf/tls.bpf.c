// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The plain text of connections within TLS, from the calls by which programs hand it to their library and take it from there. At
 * the entry of such a call the thread notes what it is about; what the hooks on sockets see meanwhile tells which
 * socket it is for; and when it returns, so many bytes are taken as if they had gone over that socket just as they are. They go the way of all
 * others then: requests_http1.bpf.h, requests_streams.bpf.h. This object lives on the maps of requests.bpf.c, and is there only where
 * a process has such a library.
 *
 * Time is that of the socket, when it last moved a segment for this call, or for the one before if the library had the
 * bytes already.
 *
 * A hook in user space can be preempted, others cannot: see take_call().
 */
#define HOOKS_ARE_PREEMPTIBLE true
#define CALLS_ARE_PLAIN	      true
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "lib/budget.bpf.h"
#include "lib/compat.bpf.h"
#include "lib/emit.bpf.h"
#include "lib/task.bpf.h"
#include "requests_connection.bpf.h"
#include "requests_http1.bpf.h"
#include "requests_streams.bpf.h"
#include "requests_tls.bpf.h"
#include "tls.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* ---- maps ---- */

/* What a process calls a session by. */
struct tls_session {
	__u64 address;
	__u64 pid;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, TLS_SOCKETS_MAX);
	__type(key, struct tls_session);
	__type(value, __u64); /* key of tls_sockets */
} tls_sessions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tls_counts);
} tls_counts SEC(".maps");

/* Calls of each entity: whose hooks cost most. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set by the user side: max_entities */
	__type(key, __u32);
	__type(value, __u64);
} tls_callers SEC(".maps");

/* Whether this CPU's scratch is in use. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} tls_alone SEC(".maps");

const __u8 tls_nothing[sizeof(
	struct tls_connection)] = {}; /* bytes, since the user side does not know its members */

static __always_inline void count_lost_call(enum tls_lost reason, __u32 size)
{
	struct tls_counts *counts = bpf_map_lookup_elem(&tls_counts, &(__u32){ 0 });

	if (!counts)
		return;
	__sync_fetch_and_add(&counts->lost[reason], 1);
	__sync_fetch_and_add(&counts->lost_bytes[reason], size);
}

static __always_inline void count_told(__u32 size)
{
	struct tls_counts *counts = bpf_map_lookup_elem(&tls_counts, &(__u32){ 0 });

	if (!counts)
		return;
	__sync_fetch_and_add(&counts->calls, 1);
	__sync_fetch_and_add(&counts->bytes, size);
}

static __always_inline void count_caller(__u32 entity)
{
	__u64 *calls = bpf_map_lookup_elem(&tls_callers, &entity);

	if (calls)
		__sync_fetch_and_add(calls, 1);
}

/* ---- sessions and sockets ---- */

static __always_inline struct tls_connection *connection_new(__u64 socket, __u64 session,
							     const struct task_state *task)
{
	struct tls_connection *tls;
	struct connection *connection;

	bpf_map_update_elem(&tls_sockets, &socket, tls_nothing, BPF_NOEXIST);
	tls = bpf_map_lookup_elem(&tls_sockets, &socket);
	if (!tls)
		return NULL;
	connection = &tls->connection;
	connection->midway = task->tls_midway;
	connection->attempts_left = task->tls_midway ? ATTEMPTS_MIDWAY : ATTEMPTS_NEW;
	connection->response.is_response = 1;
	connection->encrypted = 1;
	connection->tentative_role = ROLE_SERVER;
	connection->weight = 1;
	connection->role = find_entity(connection) ? ROLE_UNDECIDED : ROLE_IGNORED;
	return tls;
}

/* The socket of the session of this call. What it was of another one, should the library use the same place again, is over. */
static __always_inline struct tls_connection *find_connection(const struct task_state *task,
							      __u64 *ret_socket)
{
	const struct tls_session session = { task->tls_session, bpf_get_current_pid_tgid() >> 32 };
	__u64 *known = bpf_map_lookup_elem(&tls_sessions, &session);
	__u64 socket = task->tls_socket;
	struct tls_connection *tls;

	if (!socket) {
		if (!known)
			return NULL;
		socket = *known;
		*ret_socket = socket;
		tls = bpf_map_lookup_elem(&tls_sockets, &socket);
		return tls && tls->session == session.address ? tls : NULL;
	}
	*ret_socket = socket;
	if (!known || *known != socket)
		bpf_map_update_elem(&tls_sessions, &session, &socket, BPF_ANY);
	tls = bpf_map_lookup_elem(&tls_sockets, &socket);
	if (!tls)
		tls = connection_new(socket, session.address, task);
	if (tls)
		tls->session = session.address;
	return tls;
}

/* ---- plain text ---- */

static __always_inline void plain_moved(struct tls_connection *tls, struct work *work, __u64 socket,
					const struct task_state *task, __u32 size, bool is_send)
{
	struct connection *connection = &tls->connection;
	__u32 how = is_send ? CALL_SENDS : 0;

	if (task->tls_socket)
		work->now_ns = task->tls_moved_ns;
	else
		work->now_ns = is_send || !tls->read_ns ? bpf_ktime_get_ns() : tls->read_ns;
	work->sk = socket;
	work->plain = task->tls_buffer;
	work->weight = 1;
	if (connection->role != ROLE_STREAM)
		connection_take_call(connection, work, size, how);
	if (connection->role == ROLE_STREAM)
		streams_take_call(&connection->stream, connection, work, size, how);
}

/*
 * The scratch is this CPU's, as for all hooks. Where the kernel preempts itself, another thread's call may find it in use: that one
 * gives up. (To forbid that, bpf_preempt_disable(), is not for programs with functions of their own.)
 */
static __always_inline void take_call(struct tls_connection *tls, __u64 socket,
				      const struct task_state *task, __u32 size, bool is_send)
{
	struct work *work = bpf_map_lookup_elem(&works, &(__u32){ 0 });
	__u32 *alone = bpf_map_lookup_elem(&tls_alone, &(__u32){ 0 });

	if (!work || !alone)
		return;
	if (__sync_val_compare_and_swap(alone, 0, 1)) {
		count_lost_call(TLS_LOST_PREEMPTED, size);
		return;
	}
	plain_moved(tls, work, socket, task, size, is_send);
	count_told(size);
	__sync_lock_test_and_set(alone, 0);
}

static __always_inline void call_returned(struct task_state *task, __s32 size)
{
	__u64 socket = 0;
	struct tls_connection *tls = find_connection(task, &socket);

	/* A handshake may have read more than its own. */
	if (tls && task->tls_socket && task->tls_does != TLS_WRITES)
		tls->read_ns = task->tls_moved_ns;
	if (size <= 0)
		return;
	if (!tls)
		count_lost_call(task->tls_socket ? TLS_LOST_SOCKETS_FULL : TLS_LOST_UNBOUND, size);
	else if (tls->connection.role != ROLE_IGNORED)
		take_call(tls, socket, task, size, task->tls_does == TLS_WRITES);
}

/* ---- the hooks; those called _each are for kernels that cannot hook many places at once ---- */

/*
 * A call within a call, as of TLS within TLS, is not looked at: what the outer one is given is the plain text. One that never
 * returned, as its thread has jumped out of it, has no frame below it any more.
 */
static __always_inline int enter(struct pt_regs *regs, enum tls_call does, bool is_counted)
{
	struct task_state *task = task_state_of(bpf_get_current_task_btf());
	__u64 frame = function_frame(regs, false);

	budget_count();
	if (!task) {
		count_loss(LOSS_NO_TASK_STATE);
		return 0;
	}
	if (task->entity == ENTITY_EXCLUDED || (task->tls_session && frame < task->tls_stack))
		return 0;
	count_caller(task->entity);
	task->tls_session = function_argument(regs, 0);
	task->tls_buffer = function_argument(regs, 1);
	task->tls_count = is_counted ? function_argument(regs, 3) : 0;
	task->tls_stack = frame;
	task->tls_does = does;
	task->tls_socket = 0;
	return 0;
}

static __always_inline int call(struct pt_regs *regs)
{
	__u64 cookie = bpf_get_attach_cookie(regs);

	return enter(regs, cookie & ~(__u64)TLS_COUNTED, cookie & TLS_COUNTED);
}

SEC("uprobe")
int tls_called(struct pt_regs *regs)
{
	return call(regs);
}

SEC("uprobe")
int tls_called_each(struct pt_regs *regs)
{
	return call(regs);
}

static __always_inline int leave(struct pt_regs *regs)
{
	struct task_state *task = task_state_of(bpf_get_current_task_btf());
	__s32 size = function_result(regs);
	__u64 count = 0;

	budget_count();
	if (!task || !task->tls_session || task->tls_stack != function_frame(regs, true))
		return 0;
	if (task->tls_does == TLS_SHAKES_HANDS) {
		size = 0;
	} else if (task->tls_count) {
		if (size == 1 &&
		    bpf_probe_read_user(&count, sizeof(count), (void *)task->tls_count))
			count_loss(LOSS_UNREADABLE);
		size = count < 1U << 30 ? count : 0;
	}
	call_returned(task, size);
	task->tls_session = 0;
	return 0;
}

SEC("uprobe")
int tls_returned(struct pt_regs *regs)
{
	return leave(regs);
}

SEC("uprobe")
int tls_returned_each(struct pt_regs *regs)
{
	return leave(regs);
}
