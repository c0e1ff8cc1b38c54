// SPDX-License-Identifier: Apache-2.0
/*
 * Where HTTP/2 frames begin: after the preface at the beginning of a connection, and where bytes look like nothing else
 * when it was joined midway or bytes were lost. Loop thread only.
 */
#include <errno.h>
#include <string.h>
#include "probes/protocols/http2_connection.h"

/* Frames that are followed to tell whether bytes are frames. */
#define MAX_CHAIN 16

/* ---- when bytes are lost ---- */

void http2_lose(struct http2_connection *connection, struct http2_direction *direction)
{
	struct http2_block ignored;

	direction->phase = HTTP2_SEARCHING;
	direction->is_in_block = false;
	direction->was_lost = true;
	if (direction->inflater) {
		http2_block_start(&ignored);
		http2_inflater_lose(direction->inflater);
		http2_inflater_end(direction->inflater, &ignored);
	}
	http2_streams_doubt(&connection->streams);
}

bool http2_give_up(struct http2_connection *connection, struct http2_direction *direction)
{
	protocol_unparsed(connection->streams.calls, PROTOCOL_MALFORMED,
			  protocol_stream_give_up(&direction->stream));
	http2_lose(connection, direction);
	return false;
}

static bool stop(struct http2_connection *connection)
{
	struct protocol_calls *calls = connection->streams.calls;

	protocol_abandon(calls);
	http2_streams_free(&connection->streams);
	connection->streams.calls = calls;
	connection->client.phase = connection->server.phase = HTTP2_STOPPED;
	protocol_stop(calls, PROTOCOL_MALFORMED);
	return true;
}

/*
 * Are these bytes frames, the first of them at `bytes`, and do they end where the piece does, `total` bytes on? If not exact,
 * two frames that follow each other are enough, or one on a stream in flight.
 */
static bool is_chain(const struct http2_connection *connection, bool from_client,
		     const uint8_t *bytes, size_t size, uint64_t total, bool exact)
{
	bool is_known = false;
	uint64_t at = 0;
	unsigned n = 0;

	while (n < MAX_CHAIN && at < total && at + HTTP2_HEADER_SIZE <= size) {
		struct http2_frame frame = http2_frame_read(bytes + at);

		if (!http2_frame_is_certain(bytes + at, from_client))
			return false;
		is_known = http2_streams_has(&connection->streams, frame.stream);
		/* in the midst of a piece, only of streams that there are */
		if (exact && frame.stream && !is_known)
			return false;
		at += HTTP2_HEADER_SIZE + frame.length;
		n++;
	}
	if (at == total)
		return n > 0;
	return !exact && (n > 1 || (n == 1 && is_known && at > size));
}

/* Goes to the first frame of those that make the end of the piece; false: there is none to be seen. */
static bool search_tail(struct http2_connection *connection, struct http2_direction *direction)
{
	const struct protocol_piece *piece = direction->stream.piece;

	for (size_t at = 0; at + HTTP2_HEADER_SIZE <= piece->tail_size; at++) {
		if (!is_chain(connection, direction->from_client, piece->tail + at,
			      piece->tail_size - at, piece->tail_size - at, true))
			continue;
		protocol_unparsed(connection->streams.calls, PROTOCOL_TRUNCATED,
				  protocol_stream_pass_hole(&direction->stream) + at);
		protocol_stream_skip(&direction->stream, at);
		direction->phase = HTTP2_AT_FRAME;
		return true;
	}
	return false;
}

bool http2_lose_in_hole(struct http2_connection *connection, struct http2_direction *direction)
{
	http2_lose(connection, direction);
	if (search_tail(connection, direction))
		return true;
	protocol_unparsed(connection->streams.calls, PROTOCOL_TRUNCATED,
			  protocol_stream_give_up(&direction->stream));
	return false;
}

bool http2_step_search(struct http2_connection *connection, struct http2_direction *direction)
{
	const struct protocol_piece *piece = direction->stream.piece;

	if (direction->stream.at || !piece->size)
		return false;
	if (direction->from_client && piece->head_size >= HTTP2_PREFACE_SIZE &&
	    !memcmp(piece->head, HTTP2_PREFACE, HTTP2_PREFACE_SIZE)) {
		direction->phase = HTTP2_STARTING;
		return true;
	}
	if (is_chain(connection, direction->from_client, piece->head, piece->head_size, piece->size,
		     false)) {
		direction->phase = HTTP2_AT_FRAME;
		return true;
	}
	if (search_tail(connection, direction))
		return true;
	protocol_unparsed(connection->streams.calls, PROTOCOL_MIDWAY,
			  protocol_stream_give_up(&direction->stream));
	return false;
}

/* ---- the beginning ---- */

bool http2_step_start(struct http2_connection *connection, struct http2_direction *direction)
{
	size_t wanted = direction->from_client ? HTTP2_PREFACE_SIZE : HTTP2_HEADER_SIZE;
	const uint8_t *bytes;
	int err = protocol_stream_peek(&direction->stream, wanted, &bytes);

	if (err == -EAGAIN)
		return false;
	if (err)
		return http2_lose_in_hole(connection, direction);
	if (direction->from_client ? memcmp(bytes, HTTP2_PREFACE, HTTP2_PREFACE_SIZE) != 0
				   : !memcmp(bytes, "HTTP/", 5))
		return stop(connection); /* the server may know HTTP/1 only */
	if (direction->from_client)
		protocol_stream_skip(&direction->stream, HTTP2_PREFACE_SIZE);
	direction->phase = HTTP2_AT_FRAME;
	return true;
}
