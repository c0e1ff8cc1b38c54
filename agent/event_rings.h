/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rings that events of a probe come through (bpf/lib/emit.bpf.h). Each is drained in its turn, of no more than it holds, so that
 * one that fills as fast as it is read keeps the agent neither from the others nor from anything else. Loop thread only.
 */
#ifndef LEADLINE_EVENT_RINGS_H
#define LEADLINE_EVENT_RINGS_H

#include <stddef.h>
#include "bpf/lib/event_rings.h"

#define EVENT_RINGS_MAX 33

struct event_rings;
typedef void event_callback(void *context, const void *data, size_t size);

/* NULL with errno on failure. */
struct event_rings *event_rings_new(event_callback *callback, void *context);
void event_rings_free(struct event_rings *rings); /* NULL is fine */

/* A ring of so many bytes that is there already; fd stays the caller's and open. 0 or -errno. */
int event_rings_add(struct event_rings *rings, int fd, size_t bytes);
/*
 * Makes n rings of so many bytes each, and a last one of last_bytes for when one of them is full; puts them into the map of
 * maps. Sizes are powers of two; each ring has a page at least. states: of all of them, outlive it. 0, or -errno with some made.
 */
int event_rings_make(struct event_rings *rings, int map_fd, unsigned n, size_t bytes,
		     size_t last_bytes, struct event_ring_state *states);
/* The descriptor of the i-th that was made, and its size; -1: there are not so many. NULL has none. */
int event_rings_made(const struct event_rings *rings, size_t i, size_t *ret_bytes);

/* Calls back with all that is in them by now. NULL is fine. */
void event_rings_drain(struct event_rings *rings);
/* To wait until the kernel side wants one drained; -1 of NULL. */
int event_rings_fd(const struct event_rings *rings);

#endif
