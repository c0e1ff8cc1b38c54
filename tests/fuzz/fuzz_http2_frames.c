// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes as one direction of an HTTP/2 connection, in calls and pieces of memory of any size: what is told as copied is what
 * was there, and all of each call is told. The first byte is for the direction and whether it was joined midway, the next
 * four say how to cut.
 */
#define HTTP1_COPY(view, destination, size, address)                                               \
	copy_from(destination, size, (const void *)(uintptr_t)(address))
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

#include "bpf/lib/http2_frames.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SETTINGS_SIZE 5
#define MAX_MEMORIES  8

static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static void check_pieces(const struct http2_pieces *pieces, uint32_t used, const uint8_t *data,
			 size_t size)
{
	const uint8_t *at = pieces->bytes, *end = at + used;
	struct stream_piece piece;
	size_t told = 0;

	if (used > HTTP2_PIECES_MAX)
		abort();
	while (at < end) {
		if ((size_t)(end - at) < sizeof(piece))
			abort();
		memcpy(&piece, at, sizeof(piece));
		at += sizeof(piece);
		if (piece.copied > piece.size || piece.copied > (size_t)(end - at) ||
		    piece.size > size - told || memcmp(at, data + told, piece.copied) != 0)
			abort();
		at += piece.copied;
		told += piece.size;
	}
	if (told != size)
		abort();
}

/* A call, in memory of its own, of which some may not be readable. */
static void call(struct http2_frames *frames, const uint8_t *data, size_t size, uint8_t settings,
		 uint32_t *random)
{
	static struct http2_pieces pieces;
	static struct http1_view view;
	struct http1_iovec memories[MAX_MEMORIES];
	unsigned n = 0, steps = 0;
	size_t at = 0;

	while (at < size && n < MAX_MEMORIES) {
		size_t length = 1 + next_random(random) % (next_random(random) % 4 ? 24 : 4096);
		void *memory;

		if (length > size - at)
			length = size - at;
		memory = malloc(length);
		if (!memory)
			abort();
		memcpy(memory, data + at, length);
		memories[n++] = (struct http1_iovec){ (uintptr_t)memory, length };
		at += length;
	}
	http1_open(&view, size, 0, 0, (uintptr_t)memories, n);
	if (http2_frames_begin(frames, &view, &pieces, settings & 1, settings >> 1 & 1,
			       settings >> 2)) {
		while (steps++ < HTTP2_STEPS_A_CALL)
			if (http2_frames_step(frames, &view, &pieces))
				break;
		check_pieces(&pieces, http2_frames_end(frames, &view, &pieces), data, size);
	} else if (!frames->is_lost) {
		abort();
	}
	while (n--)
		free((void *)(uintptr_t)memories[n].base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http2_frames frames = { 0 };
	uint32_t random;
	uint8_t settings;

	if (size < SETTINGS_SIZE)
		return 0;
	settings = data[0];
	memcpy(&random, data + 1, sizeof(random));
	random |= 1;
	data += SETTINGS_SIZE;
	size -= SETTINGS_SIZE;
	while (size) {
		size_t n = 1 + next_random(&random) % (next_random(&random) % 4 ? 64 : 6000);

		if (n > size)
			n = size;
		call(&frames, data, n, settings, &random);
		data += n;
		size -= n;
	}
	return 0;
}
