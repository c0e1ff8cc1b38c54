/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Where the bytes are that a socket call has just moved: told by the registers with which the task entered
 * the kernel, so that no system call needs a hook of its own. For hooks inside the call, once it has
 * returned from the protocol.
 */
#ifndef LEADLINE_HTTP1_CALL_BPF_H
#define LEADLINE_HTTP1_CALL_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "lib/compat.bpf.h"
#include "lib/kernel_copy.bpf.h"
#include "lib/message_vector.bpf.h"
#include "lib/uring_call.bpf.h"
#define HTTP1_COPY(view, destination, size, address)                                               \
	((view)->in_kernel                                                                         \
		 ? bpf_probe_read_kernel(destination, size,                                        \
					 (const void *)(unsigned long)(address))                   \
		 : bpf_probe_read_user(destination, size, (const void *)(unsigned long)(address)))
#include "lib/http1_view.h"

#if defined(__TARGET_ARCH_x86)
enum {
	NR_read = 0,
	NR_write = 1,
	NR_close = 3,
	NR_readv = 19,
	NR_writev = 20,
	NR_sendto = 44,
	NR_recvfrom = 45,
	NR_sendmsg = 46,
	NR_recvmsg = 47,
	NR_preadv2 = 327,
	NR_pwritev2 = 328
};
#elif defined(__TARGET_ARCH_arm64)
enum {
	NR_close = 57,
	NR_read = 63,
	NR_write = 64,
	NR_readv = 65,
	NR_writev = 66,
	NR_sendto = 206,
	NR_recvfrom = 207,
	NR_sendmsg = 211,
	NR_recvmsg = 212,
	NR_preadv2 = 286,
	NR_pwritev2 = 287
};
#endif

/* What is known of a call. */
enum call_how {
	CALL_READABLE = 1, /* what it moved is in the program's memory */
	CALL_SENDS = 2, /* else it receives */
	CALL_LEAVES = 4, /* what it received stays, or is beside the stream */
};

/* The same of what io_uring moved. */
static __always_inline void open_uring(struct http1_view *view, __u64 sk, __u32 total, __u32 how)
{
	struct uring_buffer buffer = { .socket = sk };

	uring_find(&buffer, how & CALL_SENDS ? URING_SENDS : URING_RECEIVES, total);
	http1_open(view, total, buffer.base, buffer.base ? total : 0, buffer.iovec, buffer.n_iovec);
}

/* By system calls that say at once where the bytes are. Returns whether this is one. */
static __always_inline bool open_plain(struct http1_view *view, struct pt_regs *regs, __u32 total)
{
	__u64 buffer = syscall_argument(regs, 1);

	switch (syscall_number(regs)) {
	case NR_read:
	case NR_write:
	case NR_sendto:
	case NR_recvfrom:
		http1_open(view, total, buffer, total, 0, 0);
		return true;
	case NR_readv:
	case NR_writev:
	case NR_preadv2:
	case NR_pwritev2:
		http1_open(view, total, 0, 0, buffer, syscall_argument(regs, 2));
		return true;
	}
	return false;
}

/* Whether what the call has sent was copied as usual. */
static __always_inline bool is_copied_call(const struct pt_regs *regs)
{
	switch (syscall_number(regs)) {
	case NR_write:
	case NR_writev:
		return true;
	case NR_sendto:
		return !(syscall_argument(regs, 3) & ~MSG_COPIED);
	case NR_sendmsg:
		return !(syscall_argument(regs, 2) & ~MSG_COPIED);
	}
	return false;
}

/* By the kernel's copy of what a call has sent; returns whether there is one. */
static __always_inline bool open_kernel_copy(struct http1_view *view, __u64 sk,
					     struct task_struct *task, const struct pt_regs *regs,
					     __u32 total, __u64 base)
{
	__u64 copy = kernel_copy_of(base, sk, task, total);

	if (!copy || !is_copied_call(regs))
		return false;
	http1_open(view, total, copy, total, 0, 0);
	view->in_kernel = 1;
	return true;
}

/*
 * Opens the view of what a call on a socket, of which only the address is needed, moved if it is one of the usual ones: takes neither
 * stack nor a call of a function. Returns whether it is; of others see http1_open_call(). regs_on_stack: see task_regs().
 */
static __always_inline bool http1_open_usual_call(struct http1_view *view, __u64 sk, __u32 total,
						  __u32 how, __u64 *regs_on_stack,
						  const struct kernel_copies *copies)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs;

	if (!(how & CALL_READABLE) || task_is_compat(task) ||
	    (task->flags & (PF_KTHREAD | PF_IO_WORKER)) || task_uses_io_uring(task))
		return false;
	regs = task_regs(task, regs_on_stack);
	if ((how & CALL_SENDS) && open_kernel_copy(view, sk, task, regs, total, copies->base))
		return true;
	return open_plain(view, regs, total);
}

/*
 * Opens the view of what this call on a socket moved, of which only the address is needed; without a readable buffer it is a
 * length only. how: enum call_how, several.
 */
static __always_inline void http1_open_call(struct http1_view *view, __u64 sk, __u32 total,
					    __u32 how)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	struct message_header header = {};
	__u64 buffer = syscall_argument(regs, 1);

	if (!(how & CALL_READABLE) || task_is_compat(task) || (task->flags & PF_KTHREAD))
		goto length_only;
	if ((task->flags & PF_IO_WORKER) ||
	    (task_uses_io_uring(task) && !call_is_on(sk, syscall_argument(regs, 0)))) {
		open_uring(view, sk, total, how);
		return;
	}
	if (open_plain(view, regs, total))
		return;
	switch (syscall_number(regs)) {
	case NR_sendmsg:
	case NR_recvmsg:
		if (bpf_probe_read_user(&header, sizeof(header), (const void *)buffer))
			break;
		http1_open(view, total, 0, 0, header.iovec, header.n_iovec);
		return;
	case NR_sendmmsg:
	case NR_recvmmsg:
		vector_step(&sk, total);
		if (vector_message(&header, total))
			break;
		http1_open(view, total, 0, 0, header.iovec, header.n_iovec);
		return;
	}
length_only:
	if (!(how & CALL_READABLE))
		vector_step(&sk, total);
	http1_open(view, total, 0, 0, 0, 0);
}

#endif
