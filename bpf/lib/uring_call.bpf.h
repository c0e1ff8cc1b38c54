/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Where the bytes are that io_uring has just moved through a socket, of which no register tells: in the request that did it. Which one
 * that is is known of a worker thread; else it is the one that the thread has submitted last, or, if it had to wait, the one that
 * lies in wait at the socket. It must be one of this socket, in this direction, that holds so many bytes: else nothing is told.
 */
#ifndef LEADLINE_URING_CALL_BPF_H
#define LEADLINE_URING_CALL_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "lib/compat.bpf.h"
#include "lib/task.bpf.h"

/* include/uapi/linux/io_uring.h */
enum uring_opcode {
	URING_READV = 1,
	URING_WRITEV = 2,
	URING_SENDMSG = 9,
	URING_RECVMSG = 10,
	URING_READ = 22,
	URING_WRITE = 23,
	URING_SEND = 26,
	URING_RECV = 27,
	URING_SEND_ZC = 47,
	URING_SENDMSG_ZC = 48,
	URING_OTHER = 0xff,
};

enum uring_direction { URING_RECEIVES, URING_SENDS, URING_DIRECTIONS };

/* A direction, or URING_DIRECTIONS: nothing that moves bytes through a socket. */
static __always_inline __u32 uring_direction(__u8 opcode)
{
	switch (opcode) {
	case URING_READV:
	case URING_RECVMSG:
	case URING_READ:
	case URING_RECV:
		return URING_RECEIVES;
	case URING_WRITEV:
	case URING_SENDMSG:
	case URING_WRITE:
	case URING_SEND:
	case URING_SEND_ZC:
	case URING_SENDMSG_ZC:
		return URING_SENDS;
	}
	return URING_DIRECTIONS;
}

struct uring_place {
	__u64 socket; /* address, never followed */
	__u64 direction;
};

/* Addresses of requests that wait for their socket; what is stale is told by looking at it. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct uring_place);
	__type(value, __u64);
} uring_waiting SEC(".maps");

static __always_inline const struct sock *uring_socket(const struct io_kiocb *request)
{
	const struct socket *socket = BPF_CORE_READ(request, file, private_data);

	return BPF_CORE_READ(socket, sk);
}

/* How much an iterator holds that is one piece of user memory, and where that is; false: it is something else. */
static __always_inline bool read_iterator(const struct iov_iter *iterator, __u64 *ret_base,
					  __u64 *ret_moved)
{
	__u8 type = BPF_CORE_READ(iterator, iter_type);

	if (!bpf_core_enum_value_exists(enum iter_type, ITER_UBUF) ||
	    type != bpf_core_enum_value(enum iter_type, ITER_UBUF))
		return false;
	*ret_base = (__u64)BPF_CORE_READ(iterator, ubuf);
	*ret_moved = BPF_CORE_READ(iterator, iov_offset);
	return true;
}

/* What a request has moved. */
struct uring_buffer {
	__u64 socket; /* whose: its address, which in an argument is no number to the verifier */
	__u64 base; /* of one piece; 0: */
	__u64 iovec, n_iovec;
};

/*
 * Of sockets' own operations: the iterator has gone on. Before 6.10 it is on the stack, unless the request had to wait; the
 * request has what it was made of. Of a message into a buffer that the kernel chose, the program's header tells nothing.
 */
static __always_inline bool uring_message(const struct io_kiocb *request, void *state, __u8 opcode,
					  __u32 total, struct uring_buffer *ret)
{
	const struct io_async_msghdr *message = state;
	const struct io_sr_msg *operation = (const struct io_sr_msg *)request;
	const struct user_msghdr *header;
	__u64 base, moved;

	if (state && read_iterator(&message->msg.msg_iter, &base, &moved)) {
		if (moved < total)
			return false;
		ret->base = base + moved - total;
		return true;
	}
	if (opcode != URING_SENDMSG && opcode != URING_RECVMSG) {
		if (!state)
			ret->base = (__u64)BPF_CORE_READ(operation, buf);
		return !state;
	}
	header = BPF_CORE_READ(operation, umsg);
	if (bpf_probe_read_user(&ret->iovec, sizeof(ret->iovec), (const void *)header + 16) ||
	    bpf_probe_read_user(&ret->n_iovec, sizeof(ret->n_iovec), (const void *)header + 24))
		return false;
	if (!ret->n_iovec && state && bpf_core_field_exists(message->fast_iov))
		ret->base = (__u64)BPF_CORE_READ(message, fast_iov[0].iov_base);
	return true;
}

/* Of those on any file: the iterator goes on later. */
static __always_inline bool uring_file(const struct io_kiocb *request, void *state, __u8 opcode,
				       struct uring_buffer *ret)
{
	const struct io_rw *operation = (const struct io_rw *)request;
	const struct io_async_rw *file = state;
	__u64 base, moved;

	/* before 6.2 it is elsewhere, often on the stack */
	if (state && bpf_core_field_exists(file->iter) &&
	    read_iterator(&file->iter, &base, &moved)) {
		ret->base = base + moved;
		return true;
	}
	if (opcode == URING_READV || opcode == URING_WRITEV) {
		ret->iovec = BPF_CORE_READ(operation, addr);
		ret->n_iovec = BPF_CORE_READ(operation, len);
		return true;
	}
	if (bpf_core_field_exists(file->iter))
		return false;
	ret->base = BPF_CORE_READ(operation, addr);
	return true;
}

static __always_inline bool uring_take(const struct io_kiocb *request, __u64 socket,
				       __u32 direction, __u32 total, struct uring_buffer *ret)
{
	__u8 opcode = BPF_CORE_READ(request, opcode);
	void *state;

	if (!request || uring_direction(opcode) != direction ||
	    (__u64)uring_socket(request) != socket)
		return false;
	state = BPF_CORE_READ(request, async_data);
	if (opcode == URING_READ || opcode == URING_WRITE || opcode == URING_READV ||
	    opcode == URING_WRITEV)
		return uring_file(request, state, opcode, ret);
	return uring_message(request, state, opcode, total, ret);
}

static __always_inline const struct io_kiocb *uring_of_worker(struct task_struct *task)
{
	struct io_worker *worker = BPF_CORE_READ(task, worker_private);
	void *work = BPF_CORE_READ(worker, cur_work);

	return work ? work - bpf_core_field_offset(struct io_kiocb, work) : NULL;
}

/* Of ret->socket. Returns 1 and where they are, or 0. */
__noinline int uring_find(struct uring_buffer *ret, __u32 direction, __u32 total)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct uring_place place = { .direction = direction };
	struct task_state *state;
	__u64 *waiting, socket;

	if (!ret || direction >= URING_DIRECTIONS)
		return 0;
	place.socket = socket = ret->socket;
	if (task->flags & PF_IO_WORKER) {
		const struct io_kiocb *request = uring_of_worker(task);

		if (request) /* else it is the thread that polls for submissions, and does them */
			return uring_take(request, socket, direction, total, ret);
	}
	state = task_state_of(task);
	if (state && uring_take((const void *)state->uring_requests[at_most(direction, 1)], socket,
				direction, total, ret))
		return 1;
	waiting = bpf_map_lookup_elem(&uring_waiting, &place);
	return waiting && uring_take((const void *)*waiting, socket, direction, total, ret);
}

/* ---- the hooks' part ---- */

static __always_inline void uring_submitted(struct io_kiocb *request)
{
	__u32 direction = uring_direction(BPF_CORE_READ(request, opcode));
	struct task_state *state;

	if (direction >= URING_DIRECTIONS)
		return;
	state = task_state_of(bpf_get_current_task_btf());
	if (state)
		state->uring_requests[at_most(direction, 1)] = (__u64)request;
}

static __always_inline void uring_waits(struct io_kiocb *request)
{
	struct uring_place place = { .direction = uring_direction(BPF_CORE_READ(request, opcode)) };
	__u64 address = (__u64)request;

	if (place.direction >= URING_DIRECTIONS)
		return;
	place.socket = (__u64)uring_socket(request);
	bpf_map_update_elem(&uring_waiting, &place, &address, BPF_ANY);
}

#endif
