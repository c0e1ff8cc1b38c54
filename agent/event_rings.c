// SPDX-License-Identifier: Apache-2.0
/* Rings of events; see event_rings.h. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "agent/event_rings.h"

struct event_ring {
	struct event_rings *rings;
	struct ring_buffer *buffer;
	int fd;
	bool is_made;
	size_t bytes, drained; /* the latter: in this turn */
};

struct event_rings {
	event_callback *callback;
	void *context;
	int epoll_fd;
	size_t n;
	struct event_ring_state *states; /* of each; NULL: none, nor is there a last ring */
	struct event_ring ring[EVENT_RINGS_MAX];
};

struct event_rings *event_rings_new(event_callback *callback, void *context)
{
	struct event_rings *rings = calloc(1, sizeof(*rings));

	if (!rings)
		return NULL;
	rings->callback = callback;
	rings->context = context;
	rings->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (rings->epoll_fd < 0) {
		free(rings);
		return NULL;
	}
	return rings;
}

void event_rings_free(struct event_rings *rings)
{
	if (!rings)
		return;
	for (size_t i = 0; i < rings->n; i++) {
		ring_buffer__free(rings->ring[i].buffer);
		if (rings->ring[i].is_made)
			close(rings->ring[i].fd);
	}
	close(rings->epoll_fd);
	free(rings);
}

/* libbpf would read on as long as there is more; anything negative ends that, with this event taken. */
static int take(void *context, void *data, size_t size)
{
	struct event_ring *ring = context;

	ring->rings->callback(ring->rings->context, data, size);
	ring->drained += size;
	return ring->drained < ring->bytes ? 0 : -EAGAIN;
}

int event_rings_add(struct event_rings *rings, int fd, size_t bytes)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	struct event_ring *ring = &rings->ring[rings->n];

	if (rings->n == EVENT_RINGS_MAX)
		return -E2BIG;
	*ring = (struct event_ring){ .rings = rings, .fd = fd, .bytes = bytes };
	ring->buffer = ring_buffer__new(fd, take, ring, NULL);
	if (!ring->buffer)
		return -errno;
	if (epoll_ctl(rings->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
		int err = -errno;

		ring_buffer__free(ring->buffer);
		return err;
	}
	rings->n++;
	return 0;
}

static int make(struct event_rings *rings, size_t bytes)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "event_ring", 0, 0, (__u32)bytes, NULL), err;

	if (fd < 0)
		return fd;
	err = event_rings_add(rings, fd, bytes);
	if (err)
		close(fd);
	else
		rings->ring[rings->n - 1].is_made = true;
	return err ? err : fd;
}

int event_rings_make(struct event_rings *rings, int map_fd, unsigned n, size_t bytes,
		     size_t last_bytes, struct event_ring_state *states)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint32_t at[EVENT_RINGS_MAX], count = 0;
	int fds[EVENT_RINGS_MAX], err;

	if (rings->n + n >= EVENT_RINGS_MAX)
		return -E2BIG;
	for (; count <= n; count++) {
		size_t size = count < n ? bytes : last_bytes;
		int fd = make(rings, size > page ? size : page);

		if (fd < 0)
			return fd;
		at[count] = count;
		fds[count] = fd;
	}
	/* all at once: after each change of a map of maps the kernel waits for programs that run, some 15 ms */
	err = bpf_map_update_batch(map_fd, at, fds, &count, NULL);
	rings->states = err ? NULL : states;
	return err;
}

int event_rings_made(const struct event_rings *rings, size_t i, size_t *ret_bytes)
{
	for (size_t at = 0; rings && at < rings->n; at++) {
		if (!rings->ring[at].is_made || i--)
			continue;
		*ret_bytes = rings->ring[at].bytes;
		return rings->ring[at].fd;
	}
	return -1;
}

/* Returns whether that was all of it. */
static bool drain(struct event_ring *ring)
{
	ring->drained = 0;
	ring_buffer__consume(ring->buffer);
	return ring->drained < ring->bytes;
}

/*
 * Of a ring that was full, what is in the last ring comes after what is in itself, so that is read first. Once both are empty its events go
 * into it again; what was on its way into the last ring meanwhile is read before those.
 */
static void drain_last(struct event_rings *rings, const bool was_full[])
{
	struct event_ring *last = &rings->ring[rings->n - 1];

	if (!drain(last))
		return;
	for (size_t i = 0; i + 1 < rings->n; i++)
		if (was_full[i])
			__atomic_store_n(&rings->states[i].is_full, 0, __ATOMIC_SEQ_CST);
	drain(last);
}

/*
 * The kernel side may ask to be read again from now on. Who waits for the descriptor is told of a ring that asks for it, not of one that
 * has something in it.
 */
static void take_wakes(struct event_rings *rings)
{
	struct epoll_event events[EVENT_RINGS_MAX];

	epoll_wait(rings->epoll_fd, events, EVENT_RINGS_MAX, 0);
	for (size_t i = 0; rings->states && i < rings->n; i++)
		__atomic_store_n(&rings->states[i].is_waited_for, 0, __ATOMIC_SEQ_CST);
}

void event_rings_drain(struct event_rings *rings)
{
	bool was_full[EVENT_RINGS_MAX] = { false };
	size_t n;

	if (!rings)
		return;
	take_wakes(rings);
	n = rings->states ? rings->n - 1 : rings->n;
	for (size_t i = 0; i < n; i++) {
		bool is_full = rings->states &&
			       __atomic_load_n(&rings->states[i].is_full, __ATOMIC_ACQUIRE);

		was_full[i] = drain(&rings->ring[i]) && is_full;
	}
	if (rings->states)
		drain_last(rings, was_full);
}

int event_rings_fd(const struct event_rings *rings)
{
	return rings ? rings->epoll_fd : -1;
}
