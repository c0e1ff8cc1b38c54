/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks of the tls probe on single processes, in their `data`. Loop thread only. */
#ifndef LEADLINE_TLS_PROCESSES_H
#define LEADLINE_TLS_PROCESSES_H

#include "probes/tls_hooks.h"

#define TLS_PROCESSES_MAX 256 /* hooked at a time */

struct tls_processes {
	size_t n; /* that are hooked */
	struct tls_hooks *ended; /* of processes that are gone */
};

/* On all libraries of the process; what cannot be hooked is logged. No more than there is room for. */
void tls_process_hook(struct tls_processes *processes, struct probe *probe,
		      struct tls_libraries *libraries, struct tls_process *process);
void tls_process_unhook(struct tls_processes *processes, struct tls_process *process);
/* It has ended: nothing runs into its hooks any more, they are taken away little by little … */
void tls_process_gone(struct tls_processes *processes, struct tls_process *process);
/* … by this, some each time; or all of them. */
void tls_processes_sweep(struct tls_processes *processes, bool all);

#endif
