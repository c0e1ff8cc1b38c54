/* SPDX-License-Identifier: Apache-2.0 */
/* /proc/net/softnet_stat: whether the CPUs keep up with the packets that arrive, in every network namespace. */
#ifndef LEADLINE_SOFTNET_H
#define LEADLINE_SOFTNET_H

#include <stdint.h>

#define SOFTNET_MAX_CPUS 8192

struct softnet_cpu {
	uint32_t dropped, time_squeeze; /* as last read: the kernel counts modulo 2^32 */
};

struct softnet { /* starts as all 0 */
	uint64_t dropped; /* packets that found a CPU's backlog full */
	uint64_t time_squeeze; /* turns that ended with packets left: budget or time was used up */
	unsigned n_cpus;
	struct softnet_cpu *cpus; /* owned */
};

/*
 * Adds what the counters grew by; the first time all they hold. `text` is the whole file, NUL-terminated. 0, -ENOMEM,
 * or -EBADMSG for a line that is not understood: nothing of it and of what follows is counted then.
 */
int softnet_update(struct softnet *softnet, const char *text);
void softnet_free(struct softnet *softnet);

#endif
