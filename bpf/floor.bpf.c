// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Two programs that do nothing, at the entry and the exit of every system call: what remains is what reaching a hook
 * costs, whatever it does. Attached for a moment by agent/budget_measure.c, and by the benchmarks.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("raw_tp/sys_enter")
int floor_enter(void *ctx)
{
	return 0;
}

SEC("raw_tp/sys_exit")
int floor_exit(void *ctx)
{
	return 0;
}
