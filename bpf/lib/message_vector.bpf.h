/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * sendmmsg() and recvmmsg() move several messages, and for each of them the hooks run; which one it is nobody says. They go one
 * after the other, so it is counted, in the thread's state, until the call ends: with the last message, with one
 * that fails, with one of which only a part goes.
 */
#ifndef LEADLINE_MESSAGE_VECTOR_BPF_H
#define LEADLINE_MESSAGE_VECTOR_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "lib/compat.bpf.h"
#include "lib/task.bpf.h"

#if defined(__TARGET_ARCH_x86)
enum { NR_sendmmsg = 307, NR_recvmmsg = 299 };
#elif defined(__TARGET_ARCH_arm64)
enum { NR_sendmmsg = 269, NR_recvmmsg = 243 };
#endif

struct message_header {
	__u64 name;
	__u64 name_length;
	__u64 iovec;
	__u64 n_iovec;
};

/* struct mmsghdr is a message header of 56 bytes, and how many bytes went. */
#define VECTOR_ENTRY	  64
#define VECTOR_MAX	  1024 /* messages that one call moves, at most */
#define VECTOR_INDEX_MASK 0x7ffU
#define VECTOR_PIECES	  16 /* of a message, that are added up */

static __always_inline bool is_vector_call(const struct pt_regs *regs)
{
	long number = syscall_number(regs);

	return number == NR_sendmmsg || number == NR_recvmmsg;
}

/* Tells calls apart: the bits above those of the index. */
static __always_inline __u32 vector_mark(const struct pt_regs *regs)
{
	__u32 n = syscall_argument(regs, 2), is_send = syscall_number(regs) == NR_sendmmsg;

	return ((__u32)(syscall_argument(regs, 1) >> 3) * 31 + n * 2 + is_send)
	       << (32 - __builtin_clz(VECTOR_INDEX_MASK));
}

static __always_inline __u32 vector_messages(const struct pt_regs *regs)
{
	__u32 n = syscall_argument(regs, 2);

	return n < VECTOR_MAX ? n : VECTOR_MAX;
}

/*
 * io_uring moves data of one socket while the registers still tell of a call on another file: a task that
 * uses it must be in a call on this very socket, whose address it is.
 */
__noinline int call_is_on(__u64 sk, __u32 fd)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file **fds = BPF_CORE_READ(task, files, fdt, fd);
	struct file *file = NULL;
	struct socket *socket;

	bpf_probe_read_kernel(&file, sizeof(file), fds + fd);
	socket = BPF_CORE_READ(file, private_data);
	return (__u64)BPF_CORE_READ(socket, sk) == sk;
}

/*
 * Such a call on this socket has moved one message, of `ret` bytes, or not; others are let be. Of each message the call must be
 * opened (http1_call.bpf.h), or else this be told.
 */
__noinline int vector_step(const __u64 *sk, int ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	struct task_state *state;
	__u32 mark, at = 0;

	if (!sk || !is_vector_call(regs) ||
	    (task_uses_io_uring(task) && !call_is_on(*sk, syscall_argument(regs, 0))))
		return 0;
	state = task_state_of(task);
	if (!state)
		return 0;
	mark = vector_mark(regs);
	if ((state->vector & ~VECTOR_INDEX_MASK) == mark)
		at = state->vector & VECTOR_INDEX_MASK;
	if (at >= vector_messages(regs))
		at = 0;
	state->vector = ret < 0 ? 0 : mark | (at + 1);
	return 0;
}

/* The same, where that is rarely such a call. */
static __always_inline void step_vector(const struct sock *sk, int ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const __u64 address = (__u64)sk; /* in an argument, it is no number to the verifier */

	if (is_vector_call((struct pt_regs *)bpf_task_pt_regs(task)))
		vector_step(&address, ret);
}

/* Whether fewer than the bytes of a sent message are `size`; then the call is over. */
static __always_inline bool is_cut(const struct message_header *header, __u32 size)
{
	__u64 piece[2], total = 0;

	for (__u32 i = 0; i < VECTOR_PIECES && i < header->n_iovec; i++) {
		if (bpf_probe_read_user(piece, sizeof(piece),
					(const void *)(header->iovec + i * sizeof(piece))))
			break;
		total += piece[1];
	}
	return size < total;
}

/*
 * The message that has just been moved, of `size` bytes. Returns 0, or -1 where it is not known: a call that may end for its
 * time being up does not tell.
 */
__noinline int vector_message(struct message_header *header, __u32 size)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	bool is_send = syscall_number(regs) == NR_sendmmsg;
	struct task_state *state = task_state_of(task);
	__u64 at;

	if (!state || !header || (!is_send && syscall_argument(regs, 4)))
		return -1;
	at = (state->vector & VECTOR_INDEX_MASK) - 1;
	if (at >= VECTOR_MAX ||
	    bpf_probe_read_user(header, sizeof(*header),
				(const void *)(syscall_argument(regs, 1) + at * VECTOR_ENTRY)))
		return -1;
	if (is_send && is_cut(header, size))
		state->vector = 0;
	return 0;
}

#endif
