// SPDX-License-Identifier: Apache-2.0
/*
 * A position in a stream of pieces with holes. Bytes are handed out where they lie; only those that
 * begin in one piece, or in its head, and end in another are copied, into `held`. A stream that waits for no rest of
 * anything owns no memory. Loop thread only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "probes/protocols/stream.h"

#define FIRST_HELD 64

/* ---- the piece ---- */

static uint64_t tail_begin(const struct protocol_piece *piece)
{
	return piece->size - piece->tail_size;
}

/* Copied bytes at the position, in one place. */
static size_t segment(const struct protocol_stream *stream, const uint8_t **ret_bytes)
{
	const struct protocol_piece *piece = stream->piece;

	if (stream->at < piece->head_size) {
		*ret_bytes = piece->head + stream->at;
		return piece->head_size - stream->at;
	}
	if (stream->at >= tail_begin(piece) && stream->at < piece->size) {
		*ret_bytes = piece->tail + (stream->at - tail_begin(piece));
		return piece->size - stream->at;
	}
	return 0;
}

/* What follows the segment at the position: its direct continuation, nothing yet, or a hole. */
static int after_segment(const struct protocol_stream *stream, size_t size)
{
	const struct protocol_piece *piece = stream->piece;

	if (stream->at + size == piece->size)
		return -EAGAIN;
	return stream->at + size == tail_begin(piece) ? 0 : -ENODATA;
}

/* ---- what is held ---- */

static size_t held(const struct protocol_stream *stream)
{
	return stream->held_size - stream->held_at;
}

static void held_drop(struct protocol_stream *stream, size_t size)
{
	stream->held_at += size;
	if (stream->held_at < stream->held_size)
		return;
	stream->held_at = 0;
	stream->held_size = 0;
	stream->held_before = 0;
}

/* What is held comes to the beginning. */
static void held_compact(struct protocol_stream *stream)
{
	if (!stream->held_at)
		return;
	memmove(stream->held, stream->held + stream->held_at, held(stream));
	stream->held_size -= stream->held_at;
	stream->held_before -=
		stream->held_at < stream->held_before ? stream->held_at : stream->held_before;
	stream->held_at = 0;
}

static int held_reserve(struct protocol_stream *stream, size_t size)
{
	size_t capacity = stream->held_capacity ? stream->held_capacity : FIRST_HELD;
	uint8_t *bytes;

	held_compact(stream);
	while (capacity < size)
		capacity *= 2;
	if (capacity == stream->held_capacity)
		return 0;
	bytes = realloc(stream->held, capacity);
	if (!bytes)
		return -ENOMEM;
	stream->held = bytes;
	stream->held_capacity = capacity;
	return 0;
}

static void held_free(struct protocol_stream *stream)
{
	if (!stream->held)
		return;
	free(stream->held);
	stream->held = NULL;
	stream->held_capacity = 0;
	stream->held_size = 0;
	stream->held_at = 0;
	stream->held_before = 0;
}

/* The position stays, and so many bytes from it on are in one place. */
static int held_extend(struct protocol_stream *stream, size_t size)
{
	const uint8_t *bytes;
	size_t n;
	int err = held_reserve(stream, size);

	if (err)
		return err;
	while (held(stream) < size) {
		n = segment(stream, &bytes);
		if (!n)
			return after_segment(stream, 0);
		if (n > size - held(stream))
			n = size - held(stream);
		memcpy(stream->held + stream->held_size, bytes, n);
		stream->held_size += n;
		stream->at += n;
	}
	return 0;
}

/* ---- reading ---- */

/* 0: `size` bytes in one place. -EAGAIN, -ENODATA: fewer, and this is why. -ENOMEM: none. */
static int gather(struct protocol_stream *stream, size_t size, const uint8_t **ret_bytes,
		  size_t *ret_size)
{
	const uint8_t *bytes = NULL;
	size_t n;
	int err;

	if (!held(stream)) {
		n = segment(stream, &bytes);
		err = n < size ? after_segment(stream, n) : 0;
		if (err || n >= size) {
			*ret_bytes = bytes;
			*ret_size = n < size ? n : size;
			return err;
		}
	}
	err = held(stream) < size ? held_extend(stream, size) : 0;
	if (err == -ENOMEM)
		return err;
	*ret_bytes = stream->held + stream->held_at;
	*ret_size = held(stream) < size ? held(stream) : size;
	return err;
}

int protocol_stream_peek(struct protocol_stream *stream, size_t size, const uint8_t **ret_bytes)
{
	const uint8_t *bytes;
	size_t n;
	int err;

	if (size > PROTOCOL_STREAM_MAX)
		return -EMSGSIZE;
	if (!held(stream) && stream->at + size <= stream->piece->head_size) { /* mostly */
		*ret_bytes = stream->piece->head + stream->at;
		return 0;
	}
	err = gather(stream, size, &bytes, &n);
	if (err)
		return err == -ENOMEM ? -ENODATA : err;
	*ret_bytes = bytes;
	return 0;
}

int protocol_stream_peek_some(struct protocol_stream *stream, size_t size,
			      const uint8_t **ret_bytes, size_t *ret_size)
{
	const uint8_t *bytes;
	size_t n;
	int err;

	if (size > PROTOCOL_STREAM_MAX)
		return -EMSGSIZE;
	err = gather(stream, size, &bytes, &n);
	if (err == -EAGAIN)
		return err;
	if (err == -ENOMEM)
		return -ENODATA;
	*ret_bytes = bytes;
	*ret_size = n;
	return 0;
}

int protocol_stream_peek_line(struct protocol_stream *stream, size_t size, const uint8_t **ret_line,
			      size_t *ret_size)
{
	const uint8_t *bytes = NULL, *end;
	size_t n = 0;
	int err = 0;

	if (size > PROTOCOL_STREAM_MAX)
		return -EMSGSIZE;
	/* most often it is all there, and no byte beyond it need be copied */
	if (!held(stream))
		n = segment(stream, &bytes);
	if (n > size)
		n = size;
	end = n ? memchr(bytes, '\n', n) : NULL;
	if (!end) {
		err = gather(stream, size, &bytes, &n);
		if (err == -ENOMEM)
			return -ENODATA;
		end = n ? memchr(bytes, '\n', n) : NULL;
	}
	if (!end)
		return err ? err : -EMSGSIZE;
	*ret_line = bytes;
	*ret_size = end + 1 - bytes;
	return 0;
}

size_t protocol_stream_ready(const struct protocol_stream *stream, const uint8_t **ret_bytes)
{
	if (!held(stream))
		return segment(stream, ret_bytes);
	*ret_bytes = stream->held + stream->held_at;
	return held(stream);
}

/* ---- moving ---- */

void protocol_stream_open(struct protocol_stream *stream, const struct protocol_piece *piece)
{
	stream->piece = piece;
	stream->at = stream->skip < piece->size ? stream->skip : piece->size;
	stream->skip -= stream->at;
	stream->held_before = stream->held_size;
}

int protocol_stream_close(struct protocol_stream *stream)
{
	uint64_t left = protocol_stream_left(stream), ns = protocol_stream_ns(stream);
	int err = 0;

	if (left > PROTOCOL_STREAM_MAX || (left && held_extend(stream, left))) {
		protocol_stream_give_up(stream);
		err = -ENODATA;
	} else if (!left) {
		held_free(stream);
	} else {
		held_compact(stream);
	}
	stream->held_ns = ns;
	stream->piece = NULL;
	return err;
}

void protocol_stream_reset(struct protocol_stream *stream)
{
	held_free(stream);
	memset(stream, 0, sizeof(*stream));
}

bool protocol_stream_skip(struct protocol_stream *stream, uint64_t size)
{
	uint64_t n = held(stream);

	if (n > size)
		n = size;
	held_drop(stream, n);
	size -= n;
	n = stream->piece->size - stream->at;
	if (n > size)
		n = size;
	stream->at += n;
	size -= n;
	stream->skip = size > UINT64_MAX - stream->skip ? UINT64_MAX : stream->skip + size;
	return !stream->skip;
}

uint64_t protocol_stream_ns(const struct protocol_stream *stream)
{
	return stream->held_at < stream->held_before ? stream->held_ns : stream->piece->ns;
}

uint64_t protocol_stream_left(const struct protocol_stream *stream)
{
	return held(stream) + (stream->piece->size - stream->at);
}

uint64_t protocol_stream_give_up(struct protocol_stream *stream)
{
	uint64_t left = protocol_stream_left(stream);

	held_free(stream);
	stream->at = stream->piece->size;
	stream->skip = 0;
	return left;
}

uint64_t protocol_stream_pass_hole(struct protocol_stream *stream)
{
	const struct protocol_piece *piece = stream->piece;
	uint64_t passed;

	if (piece->head_size == tail_begin(piece) || stream->at >= tail_begin(piece))
		return 0;
	passed = held(stream) + (tail_begin(piece) - stream->at);
	held_free(stream);
	stream->at = tail_begin(piece);
	return passed;
}

const uint8_t *protocol_piece_last(const struct protocol_piece *piece, size_t size)
{
	if (piece->tail_size >= size)
		return piece->tail + piece->tail_size - size;
	if (!piece->tail_size && piece->head_size == piece->size && piece->size >= size)
		return piece->head + piece->size - size;
	return NULL;
}
