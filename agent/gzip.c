// SPDX-License-Identifier: Apache-2.0
/* Compression of whole pages; see gzip.h. */
#include <errno.h>
#include <limits.h>
#include <zlib.h>
#include "agent/gzip.h"

/*
 * A page of metrics repeats itself so much that the fastest level already makes it 28 times smaller;
 * the default one gains another fifth and takes two and a half times as long.
 */
#define LEVEL	    1
#define MEMORY	    8
#define WINDOW_GZIP (15 + 16) /* the largest window; +16 is zlib's way to ask for a gzip header */
#define STEP	    (32 * 1024)

int gzip_append(struct buffer *out, const void *data, size_t size)
{
	z_stream stream = { 0 };
	const size_t start = out->size;
	size_t left = size;
	int state = Z_OK;
	char *room;

	if (deflateInit2(&stream, LEVEL, Z_DEFLATED, WINDOW_GZIP, MEMORY, Z_DEFAULT_STRATEGY) !=
	    Z_OK)
		return -ENOMEM;
	stream.next_in = (z_const Bytef *)data;
	while (state == Z_OK) {
		room = buffer_reserve(out, STEP);
		if (!room)
			break;
		stream.next_out = (Bytef *)room;
		stream.avail_out = STEP;
		if (!stream.avail_in) {
			stream.avail_in = left < UINT_MAX ? (uInt)left : UINT_MAX;
			left -= stream.avail_in;
		}
		state = deflate(&stream, left ? Z_NO_FLUSH : Z_FINISH);
		out->size += STEP - stream.avail_out;
	}
	deflateEnd(&stream);
	if (state == Z_STREAM_END)
		return 0;
	out->size = start;
	return -ENOMEM;
}
