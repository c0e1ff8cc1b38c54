// SPDX-License-Identifier: Apache-2.0
/* Whether nine bytes are the header of an HTTP/2 frame. */
#include "probes/protocols/http2_frame.h"

#define ANY_LENGTH 0xffffff
/* What a peer may send before it was allowed more, and few allow more. */
#define USUAL_LENGTH 16384

enum stream_rule {
	ON_STREAM,
	ON_CONNECTION,
	ON_EITHER,
};

static const struct type_rule {
	uint32_t min_length, max_length, multiple_of;
	enum stream_rule stream;
	uint8_t flags; /* those that mean something */
} rules[HTTP2_TYPES] = {
	[HTTP2_DATA] = { 0, ANY_LENGTH, 1, ON_STREAM, HTTP2_END_STREAM | HTTP2_PADDED },
	[HTTP2_HEADERS] = { 0, ANY_LENGTH, 1, ON_STREAM,
			    HTTP2_END_STREAM | HTTP2_END_HEADERS | HTTP2_PADDED |
				    HTTP2_PRIORITIZED },
	[HTTP2_PRIORITY] = { 5, 5, 1, ON_STREAM, 0 },
	[HTTP2_RST_STREAM] = { 4, 4, 1, ON_STREAM, 0 },
	[HTTP2_SETTINGS] = { 0, ANY_LENGTH, 6, ON_CONNECTION, HTTP2_ACK },
	[HTTP2_PUSH_PROMISE] = { 4, ANY_LENGTH, 1, ON_STREAM, HTTP2_END_HEADERS | HTTP2_PADDED },
	[HTTP2_PING] = { 8, 8, 1, ON_CONNECTION, HTTP2_ACK },
	[HTTP2_GOAWAY] = { 8, ANY_LENGTH, 1, ON_CONNECTION, 0 },
	[HTTP2_WINDOW_UPDATE] = { 4, 4, 1, ON_EITHER, 0 },
	[HTTP2_CONTINUATION] = { 0, ANY_LENGTH, 1, ON_STREAM, HTTP2_END_HEADERS },
};

uint32_t http2_frame_prefix_size(const struct http2_frame *frame)
{
	switch (frame->type) {
	case HTTP2_HEADERS:
		return (frame->flags & HTTP2_PADDED ? 1 : 0) +
		       (frame->flags & HTTP2_PRIORITIZED ? 5 : 0);
	case HTTP2_PUSH_PROMISE:
		return (frame->flags & HTTP2_PADDED ? 1 : 0) + 4;
	case HTTP2_RST_STREAM:
		return 4;
	case HTTP2_GOAWAY:
		return 8;
	default:
		return 0;
	}
}

bool http2_frame_is_valid(const struct http2_frame *frame, bool from_client)
{
	const struct type_rule *rule;

	if (frame->type >= HTTP2_TYPES)
		return true; /* to be ignored, whatever it is */
	rule = &rules[frame->type];
	if (frame->length < rule->min_length || frame->length > rule->max_length ||
	    frame->length % rule->multiple_of || frame->length < http2_frame_prefix_size(frame))
		return false;
	if (frame->type == HTTP2_SETTINGS && (frame->flags & HTTP2_ACK) && frame->length)
		return false;
	if (frame->type == HTTP2_PUSH_PROMISE && from_client)
		return false;
	return rule->stream == ON_EITHER || (rule->stream == ON_STREAM) == (frame->stream != 0);
}

bool http2_frame_is_certain(const uint8_t header[HTTP2_HEADER_SIZE], bool from_client)
{
	struct http2_frame frame = http2_frame_read(header);

	return frame.type < HTTP2_TYPES && frame.length <= USUAL_LENGTH && !(header[5] & 0x80) &&
	       !(frame.flags & ~rules[frame.type].flags) &&
	       http2_frame_is_valid(&frame, from_client);
}
