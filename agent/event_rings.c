// SPDX-License-Identifier: Apache-2.0
/* Rings of events; see event_rings.h. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>
#include "agent/event_rings.h"

struct event_ring {
	struct event_rings *rings;
	struct ring_buffer *buffer;
	int fd;
	bool is_made;
	size_t bytes;
	uint64_t at_most,
		drained; /* bytes in this turn, with what the kernel puts before each event and behind it */
	/* How far it is read and written, in bytes since it was made; the first of a page each. */
	const uint64_t *read_to, *written_to;
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

/* What precedes the data in a mapped ring: kernel/bpf/ringbuf.c, ringbuf_map_mmap_kern(). */
static int map_positions(struct event_ring *ring)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *pages = mmap(NULL, 2 * page, PROT_READ, MAP_SHARED, ring->fd, 0);

	if (pages == MAP_FAILED)
		return -errno;
	ring->read_to = pages;
	ring->written_to = (const uint64_t *)((const char *)pages + page);
	return 0;
}

static void unmap_positions(struct event_ring *ring)
{
	if (ring->read_to)
		munmap((void *)ring->read_to, 2 * (size_t)sysconf(_SC_PAGESIZE));
}

void event_rings_free(struct event_rings *rings)
{
	if (!rings)
		return;
	for (size_t i = 0; i < rings->n; i++) {
		unmap_positions(&rings->ring[i]);
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
	ring->drained += (size + BPF_RINGBUF_HDR_SZ + 7) / 8 * 8;
	return ring->drained < ring->at_most ? 0 : -EAGAIN;
}

int event_rings_add(struct event_rings *rings, int fd, size_t bytes)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	struct event_ring *ring = &rings->ring[rings->n];
	int err;

	if (rings->n == EVENT_RINGS_MAX)
		return -E2BIG;
	*ring = (struct event_ring){ .rings = rings, .fd = fd, .bytes = bytes };
	ring->buffer = ring_buffer__new(fd, take, ring, NULL);
	if (!ring->buffer)
		return -errno;
	err = map_positions(ring);
	if (!err && epoll_ctl(rings->epoll_fd, EPOLL_CTL_ADD, fd, &event))
		err = -errno;
	if (err) {
		unmap_positions(ring);
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

static uint64_t written(const struct event_ring *ring)
{
	return __atomic_load_n(ring->written_to, __ATOMIC_SEQ_CST);
}

static bool is_empty(const struct event_ring *ring)
{
	return __atomic_load_n(ring->read_to, __ATOMIC_ACQUIRE) == written(ring);
}

/* What was written up to there. Returns false when a hook is still at one of these events, which holds up those behind it. */
static bool drain_to(struct event_ring *ring, uint64_t end)
{
	uint64_t read_to = __atomic_load_n(ring->read_to, __ATOMIC_ACQUIRE);

	ring->at_most = end > read_to ? end - read_to : 0;
	ring->drained = 0;
	if (ring->at_most)
		ring_buffer__consume(ring->buffer);
	return ring->drained >= ring->at_most;
}

static bool drain_all(struct event_ring *ring)
{
	return drain_to(ring, written(ring));
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

/* 0, or 1 + from where on the last ring holds what comes after what is in this one. */
static uint64_t full_since(const struct event_rings *rings, size_t i)
{
	return __atomic_load_n(&rings->states[i].full_since, __ATOMIC_SEQ_CST);
}

/* Of those that are full, the one that was first of all after `since`; the number of rings: there is none. */
static size_t next_full(const struct event_rings *rings, const uint64_t *full, uint64_t since)
{
	size_t next = rings->n;

	for (size_t i = 0; i + 1 < rings->n; i++)
		if (full[i] > since && (next == rings->n || full[i] < full[next]))
			next = i;
	return next;
}

/* All that were full from the same place on, once the last ring is read so far. */
static bool drain_full(struct event_rings *rings, const uint64_t *full, uint64_t since)
{
	for (size_t i = 0; i + 1 < rings->n; i++)
		if (full[i] == since && !drain_all(&rings->ring[i]))
			return false;
	return true;
}

/*
 * Events of a ring that is full are in the last one, from where that was when it became so, behind what is in itself. What is before
 * that place, and what is there of a ring that is not full, is from a hook that found it full just before it no longer was: it comes before what is
 * in itself. So it holds for each connection, whose events are written one after the other, if first it is seen how far each ring is
 * written, then the last one, and then which are full. What is held up leaves what comes after it for the next time. Returns false
 * where a ring became full meanwhile, for which it has not been seen how far the last one is to be read.
 */
static bool drain_with_last(struct event_rings *rings)
{
	struct event_ring *last = &rings->ring[rings->n - 1];
	uint64_t end[EVENT_RINGS_MAX], full[EVENT_RINGS_MAX], last_end, since = 0;
	bool is_all;
	size_t next;

	for (size_t i = 0; i + 1 < rings->n; i++)
		end[i] = written(&rings->ring[i]);
	last_end = written(last);
	for (size_t i = 0; i + 1 < rings->n; i++)
		full[i] = full_since(rings, i);
	while ((next = next_full(rings, full, since)) < rings->n && full[next] - 1 <= last_end) {
		since = full[next];
		if (!drain_to(last, since - 1) || !drain_full(rings, full, since))
			return true;
	}
	is_all = next == rings->n;
	if (!drain_to(last, last_end))
		return true;
	for (size_t i = 0; i + 1 < rings->n; i++)
		if (!full[i])
			drain_to(&rings->ring[i], end[i]);
	for (size_t i = 0; i + 1 < rings->n && is_empty(last); i++)
		if (full[i] && full[i] <= since && is_empty(&rings->ring[i]))
			__atomic_store_n(&rings->states[i].full_since, 0, __ATOMIC_SEQ_CST);
	return is_all;
}

void event_rings_drain(struct event_rings *rings)
{
	if (!rings)
		return;
	take_wakes(rings);
	if (!rings->states)
		for (size_t i = 0; i < rings->n; i++)
			drain_all(&rings->ring[i]);
	else if (!drain_with_last(rings))
		drain_with_last(rings);
}

int event_rings_fd(const struct event_rings *rings)
{
	return rings ? rings->epoll_fd : -1;
}
