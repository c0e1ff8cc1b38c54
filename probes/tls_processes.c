// SPDX-License-Identifier: Apache-2.0
/* Hooks on single processes; see tls_processes.h. */
#include <errno.h>
#include <string.h>
#include "probes/tls_processes.h"

#define SWEPT_AT_ONCE 4 /* some 0.1 s */

void tls_process_hook(struct tls_processes *processes, struct probe *probe,
		      struct tls_libraries *libraries, struct tls_process *process)
{
	struct tls_hooks *hooks = NULL;

	if (process->data || processes->n == TLS_PROCESSES_MAX)
		return;
	for (size_t i = 0; i < process->n_files; i++) {
		const struct tls_library *library =
			tls_libraries_find(libraries, &process->files[i]);
		int err = library ? tls_hooks_attach(probe, library, process->pid, &hooks) : 0;

		if (err && err != -ESRCH) /* it has ended */
			probe_log(probe, PROBE_WARNING,
				  "%s of process %d, %s, cannot be hooked: %s", library->name,
				  (int)process->pid, process->name, strerror(-err));
	}
	process->data = hooks;
	processes->n += hooks != NULL;
}

static struct tls_hooks *take_hooks(struct tls_processes *processes, struct tls_process *process)
{
	struct tls_hooks *hooks = process->data;

	processes->n -= hooks != NULL;
	process->data = NULL;
	return hooks;
}

void tls_process_unhook(struct tls_processes *processes, struct tls_process *process)
{
	tls_hooks_detach(take_hooks(processes, process));
}

void tls_process_gone(struct tls_processes *processes, struct tls_process *process)
{
	struct tls_hooks *hooks = take_hooks(processes, process);

	if (hooks)
		tls_hooks_move(&processes->ended, hooks);
}

void tls_processes_sweep(struct tls_processes *processes, bool all)
{
	tls_hooks_detach(tls_hooks_take(&processes->ended, all ? SIZE_MAX : SWEPT_AT_ONCE));
}
