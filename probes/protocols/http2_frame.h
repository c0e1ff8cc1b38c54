/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/2 frames: what RFC 9113, 4 and 6 says of their headers. Pure. */
#ifndef LEADLINE_PROTOCOL_HTTP2_FRAME_H
#define LEADLINE_PROTOCOL_HTTP2_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#define HTTP2_PREFACE	   "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define HTTP2_PREFACE_SIZE 24
#define HTTP2_HEADER_SIZE  9

enum http2_type {
	HTTP2_DATA,
	HTTP2_HEADERS,
	HTTP2_PRIORITY,
	HTTP2_RST_STREAM,
	HTTP2_SETTINGS,
	HTTP2_PUSH_PROMISE,
	HTTP2_PING,
	HTTP2_GOAWAY,
	HTTP2_WINDOW_UPDATE,
	HTTP2_CONTINUATION,
	HTTP2_TYPES,
};

#define HTTP2_END_STREAM  0x01 /* DATA, HEADERS */
#define HTTP2_ACK	  0x01 /* SETTINGS, PING */
#define HTTP2_END_HEADERS 0x04 /* HEADERS, PUSH_PROMISE, CONTINUATION */
#define HTTP2_PADDED	  0x08 /* DATA, HEADERS, PUSH_PROMISE */
#define HTTP2_PRIORITIZED 0x20 /* HEADERS */

#define HTTP2_ERROR_INTERNAL		0x2
#define HTTP2_ERROR_REFUSED_STREAM	0x7
#define HTTP2_ERROR_CANCEL		0x8
#define HTTP2_ERROR_ENHANCE_YOUR_CALM	0xb
#define HTTP2_ERROR_INADEQUATE_SECURITY 0xc

struct http2_frame {
	uint32_t length; /* of what follows the header */
	uint32_t stream;
	uint8_t type, flags;
};

static inline uint32_t http2_number(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
	       bytes[3];
}

static inline struct http2_frame http2_frame_read(const uint8_t header[HTTP2_HEADER_SIZE])
{
	return (struct http2_frame){
		.length = http2_number(header) >> 8,
		.type = header[3],
		.flags = header[4],
		.stream = http2_number(header + 5) & 0x7fffffff,
	};
}

/* Fields before the header block in its frame; those that are read of a frame without one. */
uint32_t http2_frame_prefix_size(const struct http2_frame *frame);
/* False: no peer that keeps to the protocol sends this. */
bool http2_frame_is_valid(const struct http2_frame *frame, bool from_client);
/* True: and bytes that are something else hardly ever look like this. Without knowledge of the connection. */
bool http2_frame_is_certain(const uint8_t header[HTTP2_HEADER_SIZE], bool from_client);

#endif
