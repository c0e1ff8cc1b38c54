/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* How system calls are told apart. */
#ifndef LEADLINE_SYSCALL_BPF_H
#define LEADLINE_SYSCALL_BPF_H

#include "vmlinux.h"
#include "lib/compat.bpf.h"
#include "syscalls.h"

/* The slot (syscalls.h) of a call at its end. */
static __always_inline __u32 syscall_slot_of(struct task_struct *task, long number)
{
	if (task_is_compat(task))
		return SYSCALL_SLOT_COMPAT;
	if (number >= 0 && number < SYSCALL_SLOT_SIGRETURN)
		return number;
	return number == -1 ? SYSCALL_SLOT_SIGRETURN : SYSCALL_SLOT_OTHER;
}

#endif
