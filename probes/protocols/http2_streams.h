/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The streams of an HTTP/2 connection that are calls in flight: what header blocks and ends of streams make of them, and what
 * of a response must be remembered until it ends. Part of a decoder's connection; loop thread only.
 */
#ifndef LEADLINE_PROTOCOL_HTTP2_STREAMS_H
#define LEADLINE_PROTOCOL_HTTP2_STREAMS_H

#include <stdbool.h>
#include <stdint.h>
#include "probes/protocols/http2_hpack.h"
#include "probes/protocols/protocol.h"

struct http2_stream;

/* What is kept of a response until its request is seen. */
#define HTTP2_MAX_EARLY 4
struct http2_early {
	uint32_t id; /* 0: free */
	uint64_t response_ns, end_ns, bytes;
};

struct http2_streams { /* all zero: none */
	struct http2_stream *streams; /* by id */
	unsigned n, room;
	unsigned n_doubtful, ends_since_doubt;
	struct http2_early early[HTTP2_MAX_EARLY];
	bool sees_requests; /* the client's direction is followed */
	uint32_t last_request; /* the highest id a client used so far: they count up */
	struct protocol_calls
		*calls; /* where a call of the same key is in flight for each; set for each piece */
};

bool http2_streams_has(const struct http2_streams *streams, uint32_t id);
/* A frame of its body, of so many bytes. */
void http2_streams_data(struct http2_streams *streams, uint32_t id, bool from_client,
			uint64_t bytes);

/* The request that upgraded the connection: stream 1. */
void http2_streams_upgraded(struct http2_streams *streams, const struct protocol_upgrade *upgrade);
/* Header blocks, with the time of their first byte and their size with frames. */
void http2_streams_request(struct http2_streams *streams, uint32_t id,
			   const struct http2_block *block, uint64_t start_ns, uint64_t bytes);
void http2_streams_response(struct http2_streams *streams, uint32_t id,
			    const struct http2_block *block, uint64_t start_ns, uint64_t bytes);
/* The server sent the last byte. */
void http2_streams_end(struct http2_streams *streams, uint32_t id, uint64_t ns);
/* RST_STREAM of either side, with its error code. */
void http2_streams_reset(struct http2_streams *streams, uint32_t id, uint32_t code, uint64_t ns);
/* GOAWAY: the server will not have looked at streams above this one. */
void http2_streams_refuse(struct http2_streams *streams, uint32_t last, uint64_t ns);

/*
 * Bytes were lost: all that is in flight may have ended. Those of which nothing more is seen are forgotten, once many others
 * have ended or when there is no room for more.
 */
void http2_streams_doubt(struct http2_streams *streams);
void http2_streams_free(struct http2_streams *streams);

#endif
