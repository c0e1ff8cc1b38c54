/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What of an HTTP/2 connection is copied (RFC 9113, 4): the headers of all frames, wherever in a call they are, and what header blocks
 * and ends of streams are in; not the data between them. One call moves frames of many streams, so its beginning and end
 * alone would not show which of them have ended.
 *
 * The call is told as pieces, one after the other: bytes of which the first were copied, and the rest were not. Pure C,
 * compiled by the kernel side and the unit tests; HTTP1_COPY as for http1_view.h.
 */
#ifndef LEADLINE_HTTP2_FRAMES_H
#define LEADLINE_HTTP2_FRAMES_H

#include "http1_view.h"
#include "stream_piece.h"

#define HTTP2_FRAME_HEADER   9
#define HTTP2_PREFACE_LENGTH 24
/* A frame needs up to three steps, each piece of memory one more. */
#define HTTP2_STEPS_A_CALL 256

/* One direction of a connection; all zeroes at its start. */
struct http2_frames {
	__u32 left; /* bytes of the frame under way */
	__u8 n_header; /* bytes of a header that are there */
	__u8 is_copied; /* the frame under way is */
	__u8 is_lost; /* not framed any more, until a call begins with what looks like a frame */
	__u8 has_begun; /* the preface, or what is in its place, is over */
	__u8 header[32]; /* room for any offset and size that the verifier thinks of */
};

#define HTTP2_PIECES_MAX 4096 /* power of two: bytes of pieces of one call */

struct http2_pieces {
	__u8 bytes[2 *
		   HTTP2_PIECES_MAX]; /* room for any offset and size that the verifier thinks of */
	__u32 used;
	__u32 last; /* where the last piece begins; it is not there yet when used is 0 */
	struct stream_piece piece; /* the last one, until the next begins */
};

http1_inline __u32 http2_big32(const __u8 *bytes)
{
	return (__u32)bytes[0] << 24 | (__u32)bytes[1] << 16 | (__u32)bytes[2] << 8 | bytes[3];
}

/* False: no peer sends this. */
http1_inline int http2_is_frame(const __u8 header[HTTP2_FRAME_HEADER])
{
	__u32 length = http2_big32(header) >> 8, stream = http2_big32(header + 5) & 0x7fffffff;
	__u8 type = header[3];

	if ((type == 6 && length != 8) || ((type == 3 || type == 8) && length != 4))
		return 0;
	/* SETTINGS, PING and GOAWAY are about the connection, WINDOW_UPDATE and what nobody knows about either */
	return type == 8 || type > 9 || (type == 4 || type == 6 || type == 7) == !stream;
}

/* HEADERS, RST_STREAM, PUSH_PROMISE, GOAWAY, CONTINUATION */
#define HTTP2_COPIED_TYPES (1 << 1 | 1 << 3 | 1 << 5 | 1 << 7 | 1 << 9)

http1_inline void http2_put_piece(struct http2_pieces *pieces)
{
	__u32 at = pieces->last;

	if (!pieces->used)
		return;
#ifdef __bpf__
	asm volatile("%0 &= %1" : "+r"(at) : "i"(HTTP2_PIECES_MAX - 1));
#endif
	__builtin_memcpy(pieces->bytes + at, &pieces->piece, sizeof(pieces->piece));
}

/* n more bytes of the call, copied from here, or, with no address, not copied. */
http1_inline void http2_take(const struct http1_view *view, struct http2_pieces *pieces,
			     __u64 address, __u32 n)
{
	__u32 used = pieces->used;
	int is_new = !used || pieces->piece.size != pieces->piece.copied;

	/* a whole piece and what it needs to begin must have room */
	if (address && n && used + n + 2 * sizeof(pieces->piece) <= HTTP2_PIECES_MAX) {
		if (is_new) {
			http2_put_piece(pieces);
			pieces->last = used;
			pieces->piece.size = pieces->piece.copied = 0;
			used += sizeof(pieces->piece);
		}
#ifdef __bpf__
		asm volatile("%0 &= %2\n%1 &= %2"
			     : "+r"(used), "+r"(n)
			     : "i"(HTTP2_PIECES_MAX - 1));
#endif
		if (!HTTP1_COPY(view, pieces->bytes + used, n, address)) {
			pieces->piece.copied += n;
			pieces->used = used + n;
		} else if (is_new) {
			pieces->used = used;
		}
	} else if (!used) {
		pieces->last = 0;
		pieces->piece.size = pieces->piece.copied = 0;
		pieces->used = sizeof(pieces->piece);
	}
	pieces->piece.size += n;
}

/* Where the next byte of the call is, or 0 with *n, how many lie there. */
http1_inline __u64 http2_here(const struct http1_view *view, __u64 *ret_n)
{
	__u64 end = view->piece_end < view->total ? view->piece_end : view->total;

	*ret_n = end - view->filled;
	return view->base + (view->filled - view->piece_start);
}

/*
 * Goes on to the end of the frame under way, or takes the header of the next one; or as far as memory is in one place. Returns
 * whether the call is over. In the kernel this function is verified, and called, on its own.
 */
http1_outline int http2_frames_step(struct http2_frames *frames, struct http1_view *view,
				    struct http2_pieces *pieces)
{
	__u64 address, there;
	__u32 n, have;

#ifdef __bpf__
	if (!frames || !view || !pieces)
		return 1;
#endif
	if (view->filled >= view->total)
		return 1;
	there = view->total - view->filled;
	if (frames->left && (!frames->is_copied || frames->is_lost)) {
		n = frames->left < there ? frames->left : (__u32)there;
		http2_take(view, pieces, 0, n);
		frames->left -= n;
		view->filled += n;
		return 0;
	}
	if (view->filled >= view->piece_end) {
		if (!http1_next_piece(view))
			return 0;
		goto lost;
	}
	address = http2_here(view, &there);
	if (frames->left) {
		n = frames->left < there ? frames->left : (__u32)there;
		http2_take(view, pieces, address, n);
		frames->left -= n;
		view->filled += n;
		return 0;
	}
	have = frames->n_header & 15;
	n = have < HTTP2_FRAME_HEADER ? HTTP2_FRAME_HEADER - have : 0;
	if (n > there)
		n = there;
#ifdef __bpf__
	asm volatile("%0 &= 15\n%1 &= 15" : "+r"(have), "+r"(n));
#endif
	if (HTTP1_COPY(view, frames->header + have, n, address))
		goto lost;
	http2_take(view, pieces, address, n);
	view->filled += n;
	frames->n_header = have + n;
	if (frames->n_header < HTTP2_FRAME_HEADER)
		return 0;
	frames->n_header = 0;
	if (!http2_is_frame(frames->header))
		goto lost;
	frames->left = http2_big32(frames->header) >> 8;
	frames->is_copied = HTTP2_COPIED_TYPES >> (frames->header[3] & 15) & 1;
	return 0;

lost:
	/* the rest of the call is one piece with nothing copied */
	frames->is_lost = 1;
	frames->n_header = 0;
	frames->left = view->total - view->filled;
	return 0;
}

/* May a call begin with this? Of types that nobody knows, too much would. */
http1_inline int http2_finds_frame(const struct http1_view *view)
{
	__u8 header[16];

	return view->total >= HTTP2_FRAME_HEADER && view->piece_end >= HTTP2_FRAME_HEADER &&
	       !HTTP1_COPY(view, header, HTTP2_FRAME_HEADER, view->base) &&
	       http2_is_frame(header) && header[3] <= 9 && header[5] < 0x80 &&
	       http2_big32(header) >> 8 <= 16384;
}

/*
 * Begins with a call for which the view was opened. False: it is not framed, and to be copied some other way. n_before: bytes
 * of the connection that came before it, which is known to begin with them when it was not joined midway.
 */
http1_inline int http2_frames_begin(struct http2_frames *frames, struct http1_view *view,
				    struct http2_pieces *pieces, int from_client, int midway,
				    __u32 n_before)
{
	pieces->used = 0;
	pieces->last = 0;
	if (!view->piece_end && view->n_iovec)
		http1_next_piece(view);
	if (!frames->has_begun) {
		frames->has_begun = 1;
		frames->is_lost = midway;
		if (!midway && from_client && n_before < HTTP2_PREFACE_LENGTH) {
			frames->left = HTTP2_PREFACE_LENGTH - n_before;
			frames->is_copied = 1;
		}
	}
	if (!frames->is_lost)
		return 1;
	if (!http2_finds_frame(view))
		return 0;
	frames->is_lost = 0;
	frames->left = 0;
	frames->n_header = 0;
	return 1;
}

/* The last piece is complete. Returns the bytes that pieces take. */
http1_inline __u32 http2_frames_end(struct http2_frames *frames, struct http1_view *view,
				    struct http2_pieces *pieces)
{
	/* steps did not suffice */
	if (view->filled < view->total) {
		http2_take(view, pieces, 0, view->total - view->filled);
		view->filled = view->total;
		frames->is_lost = 1;
		frames->left = 0;
		frames->n_header = 0;
	}
	http2_put_piece(pieces);
	return pieces->used;
}

#endif
