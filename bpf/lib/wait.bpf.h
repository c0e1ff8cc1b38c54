/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What a thread waits for, told from its state and the system call it is in. A page fault outside one is told by
 * the state alone.
 */
#ifndef LEADLINE_WAIT_BPF_H
#define LEADLINE_WAIT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "lib/compat.bpf.h"
#include "lib/wait.h"

/* include/linux/sched.h */
#define TASK_RUNNING	     0x0000
#define TASK_UNINTERRUPTIBLE 0x0002
#define TASK_STOPPED_TRACED  0x000c
#define TASK_DEAD	     0x0080

/* include/uapi/linux/stat.h */
#define S_IFMT	 0170000
#define S_IFSOCK 0140000
#define S_IFREG	 0100000
#define S_IFBLK	 0060000
#define S_IFDIR	 0040000
#define S_IFIFO	 0010000

/* The open file under a descriptor, NULL when there is none. */
static __always_inline struct file *file_of(struct task_struct *task, unsigned long fd)
{
	struct files_struct *files = READ_ONLY(task_struct, task)->files;
	struct fdtable *table;
	struct file *file = NULL;
	struct file **slots;

	if (!files)
		return NULL;
	table = files->fdt;
	if (fd >= table->max_fds)
		return NULL;
	slots = table->fd;
	if (bpf_probe_read_kernel(&file, sizeof(file), &slots[fd]))
		return NULL;
	return file;
}

/* A read or write waits for the other side of what it reads or writes. */
static __always_inline enum wait_reason reason_of_file(struct task_struct *task, unsigned long fd)
{
	struct file *file = file_of(task, fd);

	if (!file)
		return WAIT_OTHER;
	switch (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) {
	case S_IFSOCK:
		return WAIT_NETWORK;
	case S_IFIFO:
		return WAIT_PIPE;
	case S_IFREG:
	case S_IFBLK:
	case S_IFDIR:
		return WAIT_DISK;
	default:
		return WAIT_OTHER;
	}
}

/* A bitfield's place in its word depends on the kernel, too. */
static __always_inline bool is_in_iowait(struct task_struct *task)
{
	return BPF_CORE_READ_BITFIELD(task, in_iowait);
}

/* Why a thread that leaves the CPU in this state does so; `table`: enum wait_reason by system call. */
static __always_inline enum wait_reason wait_reason_of(struct task_struct *task, unsigned int state,
						       const volatile __u8 table[WAIT_SYSCALLS])
{
	struct pt_regs *regs;
	unsigned long number;
	__u8 reason;

	if (state & TASK_STOPPED_TRACED)
		return WAIT_STOPPED;
	if (task->flags & PF_KTHREAD)
		return is_in_iowait(task) ? WAIT_DISK : WAIT_OTHER;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	number = syscall_number(regs);
	if ((long)number < 0) /* an exception or an interrupt brought it into the kernel */
		return state & TASK_UNINTERRUPTIBLE ? WAIT_FAULT : WAIT_OTHER;
	if (is_in_iowait(task))
		return WAIT_DISK;
	if (number >= WAIT_SYSCALLS || task_is_compat(task))
		return WAIT_OTHER;
	reason = table[number];
	if (reason == WAIT_BY_FILE)
		return reason_of_file(task, syscall_argument(regs, 0));
	return reason;
}

#endif
