// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The storage of threads, and of CPUs, that all other objects share, by itself: without programs it is made at once, so that the
 * others need not wait for one another to load.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "lib/task.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
