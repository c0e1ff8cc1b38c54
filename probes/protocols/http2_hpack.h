/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Header blocks of one direction of an HTTP/2 connection, inflated by nghttp2, and what is looked for in them. What the
 * dynamic table held before the connection was joined, or before a gap, is unknown: a reference to it is an unknown field,
 * never a wrong one. Part of a decoder's connection; loop thread only.
 */
#ifndef LEADLINE_PROTOCOL_HTTP2_HPACK_H
#define LEADLINE_PROTOCOL_HTTP2_HPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "probes/protocols/protocol.h"

#define HTTP2_NO_GRPC_STATUS 0xff

/* Fields of one block. */
struct http2_block {
	bool has_unknown; /* fields that could not be told: what is not here may have been there */
	bool has_method, has_path, has_content_type;
	bool is_grpc; /* by its content type */
	uint8_t grpc_status; /* 0 … 16, or HTTP2_NO_GRPC_STATUS */
	uint16_t status; /* 100 … 599; 0: none */
	char method[16]; /* "_OTHER" when OpenTelemetry does not know it */
	char path[PROTOCOL_TEXT_SIZE]; /* cut, and then of no use as the name of a method */
	bool path_is_cut;
	char route[PROTOCOL_TEXT_SIZE];
};

/* Memory both directions share. */
struct http2_memory {
	size_t used, limit;
};

struct http2_inflater;

/* NULL: no memory. */
struct http2_inflater *http2_inflater_new(struct http2_memory *memory, bool midway);
void http2_inflater_free(struct http2_inflater *inflater); /* NULL is fine */

/* The next bytes of a block, which begins all zero. */
void http2_inflater_feed(struct http2_inflater *inflater, const uint8_t *bytes, size_t size,
			 struct http2_block *block);
/* Bytes of this block, or blocks, are missing here. */
void http2_inflater_lose(struct http2_inflater *inflater);
/* The block is complete. */
void http2_inflater_end(struct http2_inflater *inflater, struct http2_block *block);

void http2_block_start(struct http2_block *block);
/* The method as a label: one of OpenTelemetry's, or "_OTHER". */
const char *http2_method(const void *text, size_t size);

#endif
