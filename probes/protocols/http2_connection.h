/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP/2 connection as its decoder sees it: http2.c reads frames, http2_sync.c finds where they begin. Loop thread only.
 */
#ifndef LEADLINE_PROTOCOL_HTTP2_CONNECTION_H
#define LEADLINE_PROTOCOL_HTTP2_CONNECTION_H

#include "probes/protocols/http2_frame.h"
#include "probes/protocols/http2_hpack.h"
#include "probes/protocols/http2_streams.h"
#include "probes/protocols/stream.h"

enum http2_phase {
	HTTP2_STARTING, /* the client with the preface */
	HTTP2_SEARCHING, /* for a frame */
	HTTP2_AT_FRAME,
	HTTP2_AT_PREFIX, /* fields before a header block; those of frames that are read */
	HTTP2_IN_BLOCK,
	HTTP2_IN_REST, /* skipped */
	HTTP2_STOPPED,
};

struct http2_direction {
	bool from_client;
	enum http2_phase phase;
	struct protocol_stream stream;
	struct http2_frame frame; /* the one at hand */
	uint32_t block_left, padding; /* bytes of the block in this frame, and after it */
	/* The header block that goes on over frames. */
	bool is_in_block;
	bool is_promise;
	bool ends_stream;
	bool is_partial; /* its beginning was lost */
	uint64_t start_ns, block_bytes;
	struct http2_block block;
	bool was_lost; /* the inflater does not know what came before */
	struct http2_inflater *inflater;
};

struct http2_connection {
	struct http2_direction client, server;
	struct http2_streams streams;
	struct http2_memory memory;
};

/*
 * Steps, as long as they return true; false: with the next piece, or not at all. They read on at the position and choose the phase.
 */
bool http2_step_start(struct http2_connection *connection, struct http2_direction *direction);
bool http2_step_search(struct http2_connection *connection, struct http2_direction *direction);
/* A frame's header lies where nothing was copied. */
bool http2_lose_in_hole(struct http2_connection *connection, struct http2_direction *direction);
/* This is no frame. */
bool http2_give_up(struct http2_connection *connection, struct http2_direction *direction);
/* The position in this direction is lost, and what header blocks refer to. */
void http2_lose(struct http2_connection *connection, struct http2_direction *direction);

#endif
