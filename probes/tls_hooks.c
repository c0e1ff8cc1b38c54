// SPDX-License-Identifier: Apache-2.0
/* Hooks on the calls of a file; see tls_hooks.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "probes/tls_hooks.h"

struct tls_hooks {
	struct uprobes *calls, *returns;
	struct tls_hooks *next;
};

void tls_hooks_detach(struct tls_hooks *hooks)
{
	while (hooks) {
		struct tls_hooks *next = hooks->next;

		probe_detach_uprobes(hooks->calls);
		probe_detach_uprobes(hooks->returns);
		free(hooks);
		hooks = next;
	}
}

void tls_hooks_move(struct tls_hooks **hooks, struct tls_hooks *moved)
{
	struct tls_hooks **end = &moved;

	while (*end)
		end = &(*end)->next;
	*end = *hooks;
	*hooks = moved;
}

struct tls_hooks *tls_hooks_take(struct tls_hooks **hooks, size_t n)
{
	struct tls_hooks *taken = *hooks, **end = &taken;

	for (size_t i = 0; *end && i < n; i++)
		end = &(*end)->next;
	*hooks = *end;
	*end = NULL;
	return taken;
}

static size_t places_of(const struct tls_library *library,
			struct uprobe_place places[TLS_FUNCTIONS])
{
	size_t n = 0;

	for (int i = 0; i < TLS_FUNCTIONS; i++)
		if (library->offsets[i])
			places[n++] = (struct uprobe_place){ library->offsets[i],
							     tls_functions[i].cookie };
	return n;
}

/* The returns first: a call that is seen to begin is seen to end. */
int tls_hooks_attach(struct probe *probe, const struct tls_library *library, pid_t pid,
		     struct tls_hooks **hooks)
{
	struct tls_hooks *added = calloc(1, sizeof(*added));
	struct uprobe_place places[TLS_FUNCTIONS];
	char path[32];
	struct uprobe_target target = {
		.path = path,
		.places = places,
		.n = places_of(library, places),
		.at_return = true,
		.pid = pid,
	};
	int err;

	if (!added)
		return -ENOMEM;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", library->fd);
	err = probe_attach_uprobes(probe, TLS_HOOK_RETURN, &target, &added->returns);
	target.at_return = false;
	if (!err)
		err = probe_attach_uprobes(probe, TLS_HOOK_CALL, &target, &added->calls);
	if (err) {
		tls_hooks_detach(added);
		return err;
	}
	added->next = *hooks;
	*hooks = added;
	return 0;
}
