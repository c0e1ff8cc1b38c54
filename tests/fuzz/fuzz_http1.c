// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes as one direction of an HTTP/1 connection, in one call and then cut into calls and pieces: what is met, in
 * what order, and where it ends must be the same. The first byte says whether these are responses, the next four how to
 * cut, the fifth what the responses answer.
 */
#define HTTP1_COPY(view, destination, size, address)                                               \
	copy_from(destination, size, (const void *)(uintptr_t)(address))
#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static int copy_from(void *destination, size_t size, const void *address)
{
	if (!size)
		return 0;
	if (!address)
		return -1;
	memcpy(destination, address, size);
	return 0;
}

#include "bpf/lib/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEADER	   6
#define MAX_EVENTS 4096

struct run {
	struct http1_stream stream;
	uint8_t answers;
	bool stopped;
	size_t n;
	struct {
		uint32_t event, what;
	} events[MAX_EVENTS];
};

static void note(struct run *run, uint32_t event, uint32_t what)
{
	if (run->n == MAX_EVENTS)
		return;
	run->events[run->n].event = event;
	run->events[run->n++].what = what;
}

static void expect_answer(struct run *run)
{
	static const uint8_t methods[] = { HTTP1_GET, HTTP1_HEAD, HTTP1_CONNECT, HTTP1_POST };

	if (!run->stream.is_response)
		return;
	run->stream.method = methods[run->answers & 3];
	run->answers = (uint8_t)(run->answers >> 2 | run->answers << 6);
}

static void note_events(struct run *run, uint32_t events)
{
	if (events & HTTP1_STARTED)
		note(run, HTTP1_STARTED,
		     run->stream.is_response ? run->stream.status : run->stream.method);
	if (events & HTTP1_INTERIM)
		note(run, HTTP1_INTERIM, 0);
	if (events & (HTTP1_ENDED | HTTP1_TUNNEL)) {
		note(run, events & (HTTP1_ENDED | HTTP1_TUNNEL),
		     (uint32_t)http1_take_bytes(&run->stream));
		expect_answer(run);
	}
	if (events & (HTTP1_BROKEN | HTTP1_UNREADABLE))
		note(run, events & (HTTP1_BROKEN | HTTP1_UNREADABLE), 0);
	if (events & (HTTP1_TUNNEL | HTTP1_BROKEN | HTTP1_UNREADABLE))
		run->stopped = true;
}

/* What a head that ends in a tunnel is said to upgrade to, a field in it says. */
static void check_upgrade(struct http1_view *view)
{
	static const char *const words[] = {
		[HTTP1_UPGRADE_HTTP2] = "h2c",
		[HTTP1_UPGRADE_WEBSOCKET] = "websocket",
	};
	char head[HTTP1_WINDOW];
	int upgrade = http1_upgrade(view);
	const char *field;

	if (upgrade == HTTP1_UPGRADE_OTHER)
		return;
	for (uint32_t i = 0; i < view->at; i++)
		head[i] = (char)tolower(view->window[i]);
	field = memmem(head, view->at, "\nupgrade:", 9);
	if (!field || !memmem(field, view->at - (size_t)(field - head), words[upgrade],
			      strlen(words[upgrade])))
		abort();
}

static void call(struct run *run, struct http1_iovec *pieces, unsigned n_pieces)
{
	static struct http1_view view;
	uint64_t total = 0, steps = 0;
	uint32_t events = 0;

	for (unsigned i = 0; i < n_pieces; i++)
		total += pieces[i].length;
	if (run->stopped || !total)
		return;
	http1_open(&view, total, 0, 0, (uintptr_t)pieces, n_pieces);
	if (run->stream.n_carried) {
		http1_bring(&view, run->stream.carried, run->stream.n_carried);
		run->stream.n_carried = 0;
	}
	while (!run->stopped && !(events & HTTP1_CALL_OVER)) {
		events = http1_step(&run->stream, &view);
		note_events(run, events);
		if (events & HTTP1_TUNNEL)
			check_upgrade(&view);
		if (++steps > 4 * total + 4 * n_pieces + 8 || view.at > view.end ||
		    view.end > HTTP1_WINDOW || view.filled > total ||
		    run->stream.n_carried > HTTP1_CARRY)
			abort();
	}
}

static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/* In memory of their own, so that a read across the end is seen. */
static struct http1_iovec copy_piece(const uint8_t *data, size_t size)
{
	void *copy = size ? malloc(size) : NULL;

	if (size && !copy)
		abort();
	if (size)
		memcpy(copy, data, size);
	return (struct http1_iovec){ (uintptr_t)copy, size };
}

static void call_pieces(struct run *run, const uint8_t *data, const size_t *sizes, unsigned n)
{
	struct http1_iovec pieces[4];

	for (unsigned i = 0; i < n; data += sizes[i++])
		pieces[i] = copy_piece(data, sizes[i]);
	call(run, pieces, n);
	for (unsigned i = 0; i < n; i++)
		free((void *)(uintptr_t)pieces[i].base);
}

static void call_cut(struct run *run, const uint8_t *data, size_t size, uint32_t random)
{
	size_t at = 0;

	if (!random)
		random = 1;
	while (at < size) {
		size_t sizes[4], begin = at;
		unsigned n = 1 + next_random(&random) % 4;

		for (unsigned i = 0; i < n; i++) {
			/* short ones mostly; some empty, some long */
			uint32_t longest = next_random(&random) % 8 ? 12 : 1500;

			sizes[i] = next_random(&random) % longest;
			if (sizes[i] > size - at)
				sizes[i] = size - at;
			at += sizes[i];
		}
		call_pieces(run, data + begin, sizes, n);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct run whole, cut;
	uint32_t random;

	if (size <= HEADER)
		return 0;
	memcpy(&random, data + 1, sizeof(random));
	whole = (struct run){ .stream.is_response = data[0] & 1, .answers = data[5] };
	expect_answer(&whole);
	cut = whole;
	size -= HEADER;
	call_pieces(&whole, data + HEADER, &size, 1);
	call_cut(&cut, data + HEADER, size, random);
	if (whole.n != cut.n ||
	    memcmp(whole.events, cut.events, whole.n * sizeof(whole.events[0])) ||
	    whole.stream.phase != cut.stream.phase || whole.stream.left != cut.stream.left ||
	    whole.stream.flags != cut.stream.flags)
		abort();
	return 0;
}
