// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP/2 (RFC 9113), and gRPC in it. Each direction is a sequence of frames, of which the header blocks are inflated and all else is
 * skipped by its length, copied or not. A call is a stream a client opened: from its header block to what ends the
 * server's side. Streams a server pushes are no calls, as nobody waits for them.
 *
 * After bytes are lost, and when joined midway, a direction waits for a piece of which the frames follow each other up to its
 * end, or for the end of one. What header blocks refer to is unknown then (http2_hpack.h), ends of streams are not.
 *
 * The request with which a connection was upgraded from HTTP/1 (RFC 7540, 3.2) is stream 1.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "probes/protocols/http2_connection.h"

/* For both inflaters: what streams in flight, two rests of pieces and this connection leave of the bound. */
#define MAX_HPACK_MEMORY (40 * 1024)

_Static_assert(sizeof(struct http2_connection) + MAX_HPACK_MEMORY + 2 * PROTOCOL_STREAM_MAX +
			       8 * PROTOCOL_MAX_CALLS <=
		       PROTOCOL_MAX_STATE,
	       "a connection keeps within its bound");

static void *http2_open(bool midway)
{
	struct http2_connection *connection = calloc(1, sizeof(*connection));

	if (!connection)
		return NULL;
	connection->memory.limit = MAX_HPACK_MEMORY;
	connection->client.from_client = true;
	connection->client.was_lost = connection->server.was_lost = midway;
	connection->client.phase = connection->server.phase =
		midway ? HTTP2_SEARCHING : HTTP2_STARTING;
	return connection;
}

static void http2_close(void *context)
{
	struct http2_connection *connection = context;

	if (!connection)
		return;
	protocol_stream_reset(&connection->client.stream);
	protocol_stream_reset(&connection->server.stream);
	http2_inflater_free(connection->client.inflater);
	http2_inflater_free(connection->server.inflater);
	http2_streams_free(&connection->streams);
	free(connection);
}

/* ---- header blocks ---- */

static void block_lose(struct http2_direction *direction)
{
	if (direction->inflater)
		http2_inflater_lose(direction->inflater);
	direction->block.has_unknown = true;
}

static void block_start(struct http2_connection *connection, struct http2_direction *direction,
			uint64_t ns)
{
	const struct http2_frame *frame = &direction->frame;

	direction->is_partial = frame->type == HTTP2_CONTINUATION;
	direction->is_promise = frame->type == HTTP2_PUSH_PROMISE;
	direction->ends_stream = frame->type == HTTP2_HEADERS && (frame->flags & HTTP2_END_STREAM);
	direction->start_ns = ns;
	direction->block_bytes = 0;
	http2_block_start(&direction->block);
	if (!direction->inflater)
		direction->inflater = http2_inflater_new(&connection->memory, direction->was_lost);
	/* without memory for it, it will not know this block */
	direction->was_lost |= !direction->inflater;
	if (direction->is_partial)
		block_lose(direction);
}

static void block_end(struct http2_connection *connection, struct http2_direction *direction)
{
	struct http2_streams *streams = &connection->streams;
	struct http2_block *block = &direction->block;
	uint32_t id = direction->frame.stream;

	if (direction->inflater)
		http2_inflater_end(direction->inflater, block);
	else
		block->has_unknown = true;
	if (direction->is_promise || direction->is_partial)
		return;
	if (direction->from_client) {
		http2_streams_request(streams, id, block, direction->start_ns,
				      direction->block_bytes);
		return;
	}
	http2_streams_response(streams, id, block, direction->start_ns, direction->block_bytes);
	if (direction->ends_stream)
		http2_streams_end(streams, id, direction->stream.piece->ns);
}

/* ---- frames ---- */

static void frame_end(struct http2_connection *connection, struct http2_direction *direction)
{
	const struct http2_frame *frame = &direction->frame;

	direction->phase = HTTP2_AT_FRAME;
	switch (frame->type) {
	case HTTP2_HEADERS:
	case HTTP2_PUSH_PROMISE:
	case HTTP2_CONTINUATION:
		direction->is_in_block = !(frame->flags & HTTP2_END_HEADERS);
		if (!direction->is_in_block)
			block_end(connection, direction);
		break;
	case HTTP2_DATA:
		if (!direction->from_client && (frame->flags & HTTP2_END_STREAM))
			http2_streams_end(&connection->streams, frame->stream,
					  direction->stream.piece->ns);
		break;
	default:
		break;
	}
}

static bool skip_rest(struct http2_connection *connection, struct http2_direction *direction,
		      uint32_t size)
{
	direction->phase = HTTP2_IN_REST;
	if (!protocol_stream_skip(&direction->stream, size))
		return false;
	frame_end(connection, direction);
	return true;
}

static bool step_frame(struct http2_connection *connection, struct http2_direction *direction)
{
	struct http2_frame *frame = &direction->frame;
	uint32_t block_stream = frame->stream;
	const uint8_t *header;
	uint64_t ns;
	int err = protocol_stream_peek(&direction->stream, HTTP2_HEADER_SIZE, &header);

	if (err == -EAGAIN)
		return false;
	if (err)
		return http2_lose_in_hole(connection, direction);
	ns = protocol_stream_ns(&direction->stream);
	*frame = http2_frame_read(header);
	if (!http2_frame_is_valid(frame, direction->from_client) ||
	    (direction->is_in_block &&
	     (frame->type != HTTP2_CONTINUATION || frame->stream != block_stream)))
		return http2_give_up(connection, direction);
	protocol_stream_skip(&direction->stream, HTTP2_HEADER_SIZE);
	switch (frame->type) {
	case HTTP2_HEADERS:
	case HTTP2_PUSH_PROMISE:
	case HTTP2_CONTINUATION:
		if (!direction->is_in_block)
			block_start(connection, direction, ns);
		direction->block_bytes += HTTP2_HEADER_SIZE + frame->length;
		direction->phase = HTTP2_AT_PREFIX;
		return true;
	case HTTP2_RST_STREAM:
	case HTTP2_GOAWAY:
		direction->phase = HTTP2_AT_PREFIX;
		return true;
	case HTTP2_DATA:
		http2_streams_data(&connection->streams, frame->stream, direction->from_client,
				   HTTP2_HEADER_SIZE + frame->length);
		return skip_rest(connection, direction, frame->length);
	default:
		return skip_rest(connection, direction, frame->length);
	}
}

static bool step_prefix(struct http2_connection *connection, struct http2_direction *direction)
{
	const struct http2_frame *frame = &direction->frame;
	uint32_t size = http2_frame_prefix_size(frame), padding = 0;
	const uint8_t *prefix;
	int err = protocol_stream_peek(&direction->stream, size, &prefix);

	if (err == -EAGAIN)
		return false;
	if (frame->type == HTTP2_RST_STREAM)
		http2_streams_reset(&connection->streams, frame->stream,
				    err ? HTTP2_ERROR_INTERNAL : http2_number(prefix),
				    direction->stream.piece->ns);
	else if (frame->type == HTTP2_GOAWAY && !err && !direction->from_client)
		http2_streams_refuse(&connection->streams, http2_number(prefix) & 0x7fffffff,
				     direction->stream.piece->ns);
	else if (err)
		block_lose(direction);
	if (err || frame->type == HTTP2_RST_STREAM || frame->type == HTTP2_GOAWAY)
		return skip_rest(connection, direction, frame->length);
	if (frame->type != HTTP2_CONTINUATION && (frame->flags & HTTP2_PADDED))
		padding = prefix[0];
	if (padding > frame->length - size)
		return http2_give_up(connection, direction);
	protocol_stream_skip(&direction->stream, size);
	direction->block_left = frame->length - size - padding;
	direction->padding = padding;
	direction->phase = HTTP2_IN_BLOCK;
	return true;
}

static bool step_block(struct http2_connection *connection, struct http2_direction *direction)
{
	uint64_t left = protocol_stream_left(&direction->stream);
	const uint8_t *bytes;
	size_t size;

	if (!direction->block_left)
		return skip_rest(connection, direction, direction->padding);
	if (left > direction->block_left)
		left = direction->block_left;
	if (left > PROTOCOL_STREAM_MAX)
		left = PROTOCOL_STREAM_MAX;
	if (!left)
		return false;
	if (protocol_stream_peek_some(&direction->stream, left, &bytes, &size) || !size) {
		block_lose(direction);
		return skip_rest(connection, direction, direction->block_left + direction->padding);
	}
	if (direction->inflater)
		http2_inflater_feed(direction->inflater, bytes, size, &direction->block);
	protocol_stream_skip(&direction->stream, size);
	direction->block_left -= size;
	return true;
}

static bool step_rest(struct http2_connection *connection, struct http2_direction *direction)
{
	if (!protocol_stream_has_skipped(&direction->stream))
		return false;
	frame_end(connection, direction);
	return true;
}

static bool step(struct http2_connection *connection, struct http2_direction *direction)
{
	switch (direction->phase) {
	case HTTP2_STARTING:
		return http2_step_start(connection, direction);
	case HTTP2_SEARCHING:
		return http2_step_search(connection, direction);
	case HTTP2_AT_FRAME:
		return step_frame(connection, direction);
	case HTTP2_AT_PREFIX:
		return step_prefix(connection, direction);
	case HTTP2_IN_BLOCK:
		return step_block(connection, direction);
	case HTTP2_IN_REST:
		return step_rest(connection, direction);
	case HTTP2_STOPPED:
		break;
	}
	protocol_unparsed(connection->streams.calls, PROTOCOL_MALFORMED,
			  protocol_stream_give_up(&direction->stream));
	return false;
}

static void http2_feed(void *context, const struct protocol_piece *piece,
		       struct protocol_calls *calls)
{
	struct http2_connection *connection = context;
	struct http2_direction *direction =
		piece->from_client ? &connection->client : &connection->server;

	connection->streams.calls = calls;
	connection->streams.sees_requests = connection->client.phase != HTTP2_SEARCHING;
	protocol_stream_open(&direction->stream, piece);
	while (step(connection, direction))
		;
	if (protocol_stream_close(&direction->stream))
		http2_lose(connection, direction);
}

static void http2_gap(void *context, bool from_client, struct protocol_calls *calls)
{
	struct http2_connection *connection = context;
	struct http2_direction *direction = from_client ? &connection->client : &connection->server;

	if (direction->phase == HTTP2_STOPPED)
		return;
	connection->streams.calls = calls;
	protocol_stream_reset(&direction->stream);
	http2_lose(connection, direction);
}

static void http2_upgraded(void *context, const struct protocol_upgrade *upgrade,
			   struct protocol_calls *calls)
{
	struct http2_connection *connection = context;

	connection->streams.calls = calls;
	http2_streams_upgraded(&connection->streams, upgrade);
	connection->server.phase = HTTP2_IN_REST;
	connection->server.frame.type = HTTP2_TYPES;
	connection->server.stream.skip = upgrade->answer_left;
}

const struct protocol protocol_http2 = {
	.name = "http2",
	.family = PROTOCOL_HTTP,
	.open = http2_open,
	.close = http2_close,
	.feed = http2_feed,
	.gap = http2_gap,
	.upgraded = http2_upgraded,
};

/* What calls of the above become. */
const struct protocol protocol_grpc = {
	.name = "grpc",
	.family = PROTOCOL_RPC,
	.open = http2_open,
	.close = http2_close,
	.feed = http2_feed,
	.gap = http2_gap,
	.upgraded = http2_upgraded,
};
