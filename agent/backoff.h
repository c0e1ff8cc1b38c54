/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long to wait before the next attempt: doubling from `first_ns` to at most `longest_ns`, and of that a random
 * part between a half and the whole, so that the agents of a thousand nodes do not return together. Pure.
 */
#ifndef LEADLINE_BACKOFF_H
#define LEADLINE_BACKOFF_H

#include <stdint.h>

/* `failures`: in a row, at least 1. `random`: any 32 bits. */
static inline uint64_t backoff_ns(unsigned failures, uint64_t first_ns, uint64_t longest_ns,
				  uint32_t random)
{
	uint64_t wait_ns = first_ns;

	for (unsigned i = 1; i < failures && wait_ns < longest_ns; i++)
		wait_ns *= 2;
	if (wait_ns > longest_ns)
		wait_ns = longest_ns;
	return wait_ns / 2 + (uint64_t)((double)(wait_ns / 2) * random / UINT32_MAX);
}

#endif
