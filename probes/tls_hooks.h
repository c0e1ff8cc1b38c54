/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks of the tls probe on the calls of a file, in all processes or in one. Loop thread only. */
#ifndef LEADLINE_TLS_HOOKS_H
#define LEADLINE_TLS_HOOKS_H

#include "probes/probe.h"
#include "probes/tls_libraries.h"

#define TLS_HOOK_CALL	"call"
#define TLS_HOOK_RETURN "return"

struct tls_hooks;

/* In the process of this number; 0: in all. Adds them in front of *hooks. 0 or -errno. */
int tls_hooks_attach(struct probe *probe, const struct tls_library *library, pid_t pid,
		     struct tls_hooks **hooks);
/* Puts a list in front of another. */
void tls_hooks_move(struct tls_hooks **hooks, struct tls_hooks *moved);
/* So many of a list, at most, which are then a list of their own. */
struct tls_hooks *tls_hooks_take(struct tls_hooks **hooks, size_t n);
/* All of a list; takes the kernel some 20 ms each. NULL is fine. */
void tls_hooks_detach(struct tls_hooks *hooks);

#endif
