/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The shared task-storage map, looked up only: elements are created by bpf/entity.bpf.c outside the
 * scheduler, since creating one allocates.
 */
#ifndef LEADLINE_TASK_BPF_H
#define LEADLINE_TASK_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "lib/task.h"

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_state);
} task_states SEC(".maps");

static __always_inline struct task_state *task_state_of(struct task_struct *task)
{
	return bpf_task_storage_get(&task_states, task, NULL, 0);
}

#endif
