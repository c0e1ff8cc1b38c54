/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks in user space. Loop thread only. */
#ifndef LEADLINE_UPROBES_H
#define LEADLINE_UPROBES_H

#include <stdint.h>
#include "probes/probe.h"

struct bpf_program;

/* Whether one link can hook many places of a file in all of a process's threads; tried out, once. */
bool uprobes_multi_works(void);
/* Before a program is loaded: it is to be hooked that way, else each place is by a link of its own. */
void uprobes_prepare_multi(struct bpf_program *program);
/* See probe_attach_uprobes(), probe_detach_uprobes(). 0 or -errno. */
int uprobes_attach(const struct bpf_program *program, const struct uprobe_target *target,
		   struct uprobes **ret_uprobes);

/* A function of this program itself, to try them out, that nothing else calls, and where it is in /proc/self/exe; 0: not found. */
int uprobes_trapped(int n);
uint64_t uprobes_trapped_offset(void);

#endif
