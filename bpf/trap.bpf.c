// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * A program that does nothing, at a function in user space: what remains is the trap by which the kernel gets there. Attached for
 * a moment by agent/budget_measure.c.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("uprobe")
int trap(void *ctx)
{
	return 0;
}
