/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One direction of a connection as a decoder reads it: a position in a stream of bytes that comes in pieces, of which
 * the middle may be missing. A header may lie across pieces; what is of no interest and of known length is skipped,
 * copied or not. Once the position is in a hole, the decoder is told so; it never gets bytes that are
 * not where they seem to be. Part of a decoder's connection; loop thread only.
 *
 *	protocol_stream_open(stream, piece);
 *	while (protocol_stream_peek(stream, HEADER_SIZE, &header) == 0)
 *		protocol_stream_skip(stream, HEADER_SIZE + length_in(header));
 *	protocol_stream_close(stream);
 */
#ifndef LEADLINE_PROTOCOL_STREAM_H
#define LEADLINE_PROTOCOL_STREAM_H

#include "probes/protocols/protocol.h"

/* The most that can be asked for at once, hence the most that is kept of a piece for the next. */
#define PROTOCOL_STREAM_MAX 4096

struct protocol_stream { /* all zero: at the beginning of a stream */
	const struct protocol_piece *piece; /* the one at hand, NULL between pieces */
	uint64_t at; /* position in it, after what is held */
	uint64_t skip; /* bytes of later pieces to leave out */
	uint8_t *held; /* copied, as they are not in one place otherwise: from … */
	uint32_t held_at, held_size; /* … to … */
	uint32_t held_capacity;
	uint32_t held_before; /* held_at may be below: that byte came with an earlier piece … */
	uint64_t held_ns; /* … at this time */
};

/* The position goes on into this piece, which must stay until it is closed. */
void protocol_stream_open(struct protocol_stream *stream, const struct protocol_piece *piece);
/*
 * Keeps the rest of the piece for the next one: at most PROTOCOL_STREAM_MAX bytes, as the decoder has read as
 * far as it can. -ENODATA: the rest is longer or has a hole, or there is no memory; the position is lost as by
 * protocol_stream_give_up().
 */
int protocol_stream_close(struct protocol_stream *stream);
/* Forgets the position and frees what is held: at the end of the connection, and where pieces were lost. */
void protocol_stream_reset(struct protocol_stream *stream);

/*
 * The next `size` bytes, in one place until any other function here is called. -EAGAIN: they come with later pieces.
 * -ENODATA: there is a hole in them (or no memory). -EMSGSIZE: more than PROTOCOL_STREAM_MAX.
 */
int protocol_stream_peek(struct protocol_stream *stream, size_t size, const uint8_t **ret_bytes);
/* The same, but 0 with fewer bytes where a hole follows; there may be none. */
int protocol_stream_peek_some(struct protocol_stream *stream, size_t size,
			      const uint8_t **ret_bytes, size_t *ret_size);
/*
 * The next line with its '\n', of at most `size` bytes. -EAGAIN and -ENODATA as above; -EMSGSIZE: there is no end of a
 * line in `size` bytes.
 */
int protocol_stream_peek_line(struct protocol_stream *stream, size_t size, const uint8_t **ret_line,
			      size_t *ret_size);
/* As many bytes as there are in one place, for what is looked at byte by byte; 0 at the end and in a hole. */
size_t protocol_stream_ready(const struct protocol_stream *stream, const uint8_t **ret_bytes);

/* Goes on by so many bytes. True: the last of them has come. */
bool protocol_stream_skip(struct protocol_stream *stream, uint64_t size);
/* Whether all that was skipped has come. */
static inline bool protocol_stream_has_skipped(const struct protocol_stream *stream)
{
	return !stream->skip;
}

/* When the byte at the position came, or will have come at the earliest. */
uint64_t protocol_stream_ns(const struct protocol_stream *stream);
/* Bytes that have come from the position on. */
uint64_t protocol_stream_left(const struct protocol_stream *stream);

/* Goes to the end of the piece and forgets what was to be skipped. Returns the bytes given up. */
uint64_t protocol_stream_give_up(struct protocol_stream *stream);
/* Goes to the first copied byte after the hole, or to the end. Returns the bytes given up; 0: there is no hole. */
uint64_t protocol_stream_pass_hole(struct protocol_stream *stream);
/* The last `size` bytes of a piece; NULL: not all of them were copied to one place. */
const uint8_t *protocol_piece_last(const struct protocol_piece *piece, size_t size);

#endif
