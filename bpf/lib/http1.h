/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Framing of HTTP/1.x (RFC 9112): where messages start and end in one direction of a connection, and
 * as little more as that takes: method, status, Content-Length, Transfer-Encoding. Bodies are skipped
 * by their length without being read.
 *
 * Pure C without loops over the whole input: http1_step() does a bounded piece of work and says what
 * happened, so the kernel's verifier, the unit tests and a fuzzer all take the same code. What is cut
 * by the end of a call is carried over (http1_view.h): results do not depend on where data was cut.
 */
#ifndef LEADLINE_HTTP1_H
#define LEADLINE_HTTP1_H

#include "http1_method.h"
#include "http1_view.h"

enum http1_phase {
	HTTP1_START, /* before a start line */
	HTTP1_REQUEST_LINE, /* method known, looking for its end */
	HTTP1_LINE, /* within a line that does not matter */
	HTTP1_LINE_START,
	HTTP1_BODY, /* `left` bytes to go */
	HTTP1_CHUNK_SIZE,
	HTTP1_CHUNK_EXTENSION, /* after the size, up to the line's end */
	HTTP1_CHUNK, /* `left` bytes to go, line end included */
	HTTP1_UNTIL_CLOSE,
	HTTP1_LOST, /* no telling where the next message starts */
};

enum http1_flag {
	HTTP1_HAS_LENGTH = 1,
	HTTP1_CHUNKED = 2,
	HTTP1_OTHER_CODING = 4, /* a transfer coding that does not end in chunked */
	HTTP1_TRAILER = 8, /* the lines after the last chunk */
};

/* What one step met, several at once: in this order in the data. */
enum http1_event {
	HTTP1_STARTED = 1, /* a start line is complete: method or status is set */
	HTTP1_INTERIM = 2, /* the end of a 1xx response: another one follows */
	HTTP1_ENDED = 4, /* the last byte of a message */
	HTTP1_TUNNEL = 8, /* what follows is no longer HTTP */
	HTTP1_BROKEN = 16, /* not HTTP, or beyond the limits here: phase is HTTP1_LOST */
	HTTP1_UNREADABLE = 32, /* likewise, as the memory could not be read */
	HTTP1_CALL_OVER = 64, /* all data of this call is used up */
	HTTP1_WANTS_MORE = 128, /* internal: not all of a unit is in the window */
};

/* One direction of a connection. All zeroes: a request is about to start. */
struct http1_stream {
	__u64 left;
	/*
	 * Bytes of messages, heads and framing of bodies included, until the caller takes them: with those of the body under way
	 * that are `left`. Several messages may have met here.
	 */
	__u64 bytes;
	__u64 began_ns; /* the caller's: when the first byte of a start line came that is not complete yet */
	__u8 phase;
	__u8 flags;
	__u8 is_response;
	__u8 method; /* of the request; of a response, which the caller sets: what it answers */
	__u16 status; /* of the last response started */
	__u8 n_carried;
	__u8 pad;
	__u8 carried[HTTP1_CARRY];
};

/* Takes the bytes that messages had so far. */
http1_inline __u64 http1_take_bytes(struct http1_stream *stream)
{
	__u64 left = stream->phase == HTTP1_BODY || stream->phase == HTTP1_CHUNK ? stream->left : 0,
	      bytes = stream->bytes;

	stream->bytes = left;
	return bytes > left ? bytes - left
			    : 0; /* the other CPU may just have changed one of them */
}

/* All ones when two bytes are equal, else 0; without a branch. */
http1_inline __u64 http1_equal(__u64 a, __u64 b)
{
	return (__u64)(((long long)((a ^ b) - 1)) >> 63);
}

/* All ones when a bit is set, else 0; the same. */
http1_inline __u64 http1_any(__u64 word)
{
	return (__u64)((long long)(word | -word) >> 63);
}

http1_inline __u8 http1_method(__u64 word)
{
	const __u64 four = 0xffffffffULL, five = 0xffffffffffULL, six = 0xffffffffffffULL,
		    seven = 0xffffffffffffffULL;

	if ((word & four) == HTTP1_WORD('G', 'E', 'T', ' ', 0, 0, 0, 0))
		return HTTP1_GET;
	if ((word & five) == HTTP1_WORD('P', 'O', 'S', 'T', ' ', 0, 0, 0))
		return HTTP1_POST;
	if ((word & five) == HTTP1_WORD('H', 'E', 'A', 'D', ' ', 0, 0, 0))
		return HTTP1_HEAD;
	if ((word & four) == HTTP1_WORD('P', 'U', 'T', ' ', 0, 0, 0, 0))
		return HTTP1_PUT;
	if ((word & seven) == HTTP1_WORD('D', 'E', 'L', 'E', 'T', 'E', ' ', 0))
		return HTTP1_DELETE;
	if (word == HTTP1_WORD('C', 'O', 'N', 'N', 'E', 'C', 'T', ' '))
		return HTTP1_CONNECT;
	if (word == HTTP1_WORD('O', 'P', 'T', 'I', 'O', 'N', 'S', ' '))
		return HTTP1_OPTIONS;
	if ((word & six) == HTTP1_WORD('T', 'R', 'A', 'C', 'E', ' ', 0, 0))
		return HTTP1_TRACE;
	if ((word & six) == HTTP1_WORD('P', 'A', 'T', 'C', 'H', ' ', 0, 0))
		return HTTP1_PATCH;
	return HTTP1_METHOD_OTHER;
}

/* "HTTP/1." and a digit. */
http1_inline int http1_is_version(__u64 word)
{
	__u8 minor = word >> 56;

	return (word & 0xffffffffffffffULL) == HTTP1_WORD('H', 'T', 'T', 'P', '/', '1', '.', 0) &&
	       minor >= '0' && minor <= '9';
}

http1_inline __u32 http1_broken(struct http1_stream *stream)
{
	stream->phase = HTTP1_LOST;
	stream->flags = 0;
	stream->left = 0;
	stream->began_ns = 0;
	return HTTP1_BROKEN;
}

http1_inline __u32 http1_ended(struct http1_stream *stream, __u32 how)
{
	stream->phase = HTTP1_START;
	stream->flags = 0;
	stream->left = 0;
	return how;
}

#ifdef __bpf__
#define HTTP1_GUARD(stream, view)                                                                  \
	if (!(stream) || !(view))                                                                  \
	return HTTP1_BROKEN
#else
#define HTTP1_GUARD(stream, view) ((void)0)
#endif

#define HTTP1_OTHER_METHOD_LONGEST 24

/*
 * Some other method. In the kernel this function is verified, and called, on its own, and so are others below: what they find the
 * verifier does not follow on to the end of the program.
 */
http1_outline __u32 http1_other_method(struct http1_stream *stream, struct http1_view *view)
{
	HTTP1_GUARD(stream, view);
	__u32 at = view->at, i;

	for (i = 0; i <= HTTP1_OTHER_METHOD_LONGEST; i++) {
		__u64 byte = http1_byte(view, at + i);
		__u64 is_letter = ~((byte - 'A') | ('Z' - byte)) >> 63;

		if (!(is_letter | http1_equal(byte, '-') | http1_equal(byte, '_')))
			break;
	}
	view->cursor = at + i;
	http1_forget();
	if (view->cursor - at > HTTP1_OTHER_METHOD_LONGEST)
		return http1_broken(stream);
	if (view->cursor >= view->end)
		return HTTP1_WANTS_MORE;
	if (view->cursor == at || http1_byte(view, view->cursor) != ' ')
		return http1_broken(stream);
	return 0;
}

http1_inline __u32 http1_request_start(struct http1_stream *stream, struct http1_view *view,
				       __u64 word)
{
	__u32 at = view->at, events;

	stream->method = http1_method(word);
	if (stream->method == HTTP1_METHOD_OTHER) {
		events = http1_other_method(stream, view);
		if (events)
			return events;
	}
	view->line_at = at;
	view->has_line = 1;
	stream->phase = HTTP1_REQUEST_LINE;
	return 0;
}

/* "HTTP/1.1 200" and what ends a number. */
http1_inline __u32 http1_response_start(struct http1_stream *stream, struct http1_view *view,
					__u64 word)
{
	__u64 rest = http1_word(view, view->at + 8);
	__u8 hundreds = (rest >> 8) - '0', tens = (rest >> 16) - '0', ones = (rest >> 24) - '0';
	__u8 after = rest >> 32;

	if (view->end - view->at < 13)
		return http1_newlines(word) || http1_newlines(rest) ? http1_broken(stream)
								    : HTTP1_WANTS_MORE;
	if (!http1_is_version(word) || (rest & 0xff) != ' ' || hundreds < 1 || hundreds > 9 ||
	    tens > 9 || ones > 9 || (after != ' ' && after != '\r' && after != '\n'))
		return http1_broken(stream);
	stream->status = hundreds * 100 + tens * 10 + ones;
	stream->phase = HTTP1_LINE;
	view->at += 12;
	view->met = HTTP1_STARTED;
	return 0;
}

http1_inline __u32 http1_start(struct http1_stream *stream, struct http1_view *view)
{
	__u64 word = http1_word(view, view->at);
	__u8 first = word;

	if (view->at >= view->end)
		return HTTP1_WANTS_MORE;
	/* Empty lines before a start line are to be ignored (RFC 9112, 2.2). */
	if (first == '\r' || first == '\n') {
		view->at++;
		return 0;
	}
	return stream->is_response ? http1_response_start(stream, view, word)
				   : http1_request_start(stream, view, word);
}

#define HTTP1_WORDS_A_STEP 12

/*
 * Moves view->cursor to the next newline, with view->value then true; or over so many words without one, perhaps
 * beyond the end.
 */
http1_inline void http1_find_newline(struct http1_view *view)
{
	__u32 at = view->cursor, end = view->end;
	__u64 marks = 0;

	for (__u32 i = 0; i < HTTP1_WORDS_A_STEP && at < end; i++) {
		marks = http1_newlines(http1_word(view, at));
		if (marks)
			break;
		at += 8;
	}
	view->value = marks != 0;
	view->cursor = at + (marks ? http1_first(marks) : 0);
	http1_forget();
}

/* Counts as a request only once its line ends in a version: many protocols start with a word. */
http1_inline __u32 http1_request_line(struct http1_stream *stream, struct http1_view *view)
{
	const __u32 tail = 10; /* " HTTP/1.1\r" */
	__u32 at = view->at, end = view->end, stop;

	view->cursor = at;
	http1_find_newline(view);
	stop = view->cursor;
	if (!view->value) {
		if (stop < end) {
			view->at = stop - tail; /* at least 86 bytes on */
			return 0;
		}
		if (end - at > tail)
			view->at = end - tail;
		return HTTP1_WANTS_MORE;
	}
	if (http1_byte(view, stop - 1) == '\r')
		stop--;
	if (stop < at + 9 || http1_byte(view, stop - 9) != ' ' ||
	    !http1_is_version(http1_word(view, stop - 8)))
		return http1_broken(stream);
	view->at = view->cursor + 1;
	stream->phase = HTTP1_LINE_START;
	view->met = HTTP1_STARTED;
	return 0;
}

/* The empty line: what follows is decided here (RFC 9112, 6.3). */
http1_inline __u32 http1_head_ended(struct http1_stream *stream)
{
	__u16 status = stream->status;
	__u8 flags = stream->flags;

	if (flags & HTTP1_TRAILER)
		return http1_ended(stream, HTTP1_ENDED);
	if (stream->is_response) {
		if (status == 101 || (status / 100 == 2 && stream->method == HTTP1_CONNECT))
			return http1_ended(stream, HTTP1_TUNNEL);
		if (status < 200)
			return http1_ended(stream, HTTP1_INTERIM);
		if (status == 204 || status == 304 || stream->method == HTTP1_HEAD)
			return http1_ended(stream, HTTP1_ENDED);
	}
	if (flags & HTTP1_CHUNKED) {
		stream->phase = HTTP1_CHUNK_SIZE;
		return 0;
	}
	if (flags & HTTP1_OTHER_CODING) {
		if (!stream->is_response)
			return http1_broken(stream);
		stream->phase = HTTP1_UNTIL_CLOSE;
		return 0;
	}
	if (stream->left) {
		stream->bytes += stream->left;
		stream->phase = HTTP1_BODY;
		return 0;
	}
	if (stream->is_response && !(flags & HTTP1_HAS_LENGTH)) {
		stream->phase = HTTP1_UNTIL_CLOSE;
		return 0;
	}
	return http1_ended(stream, HTTP1_ENDED);
}

/* Letters to lower case where the mask has 0x20; other bytes must match as they are. */
#define HTTP1_CONTENT_MASK  0x0020202020202020ULL
#define HTTP1_CONTENT	    HTTP1_WORD('c', 'o', 'n', 't', 'e', 'n', 't', '-')
#define HTTP1_TRANSFER_MASK 0x2020202020202020ULL
#define HTTP1_TRANSFER	    HTTP1_WORD('t', 'r', 'a', 'n', 's', 'f', 'e', 'r')
#define HTTP1_LENGTH_MASK   0x0000202020202020ULL
#define HTTP1_LENGTH	    HTTP1_WORD('l', 'e', 'n', 'g', 't', 'h', ':', 0)
#define HTTP1_ENCODING_MASK 0x2020202020202000ULL
#define HTTP1_ENCODING	    HTTP1_WORD('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n')
#define HTTP1_LENGTH_NAME   15 /* "content-length:" */
#define HTTP1_CODING_NAME   18 /* "transfer-encoding:" */

/* `word` is the start of a line: might that be one of the two fields? Only n bytes are there. */
http1_inline int http1_may_be_field(const struct http1_view *view, __u32 at, __u64 word, __u32 n)
{
	__u64 there = n >= 8 ? ~0ULL : (1ULL << (n * 8)) - 1;

	if (!(((word | HTTP1_CONTENT_MASK) ^ HTTP1_CONTENT) & there))
		return n <= 8 || (http1_byte(view, at + 8) | 0x20) == 'l'; /* not Content-Type */
	return !(((word | HTTP1_TRANSFER_MASK) ^ HTTP1_TRANSFER) & there);
}

http1_inline int http1_is_length(__u64 word, __u64 rest)
{
	return (word | HTTP1_CONTENT_MASK) == HTTP1_CONTENT &&
	       ((rest | HTTP1_LENGTH_MASK) & 0xffffffffffffffULL) == HTTP1_LENGTH;
}

http1_inline int http1_is_coding(const struct http1_view *view, __u64 word, __u64 rest)
{
	return (word | HTTP1_TRANSFER_MASK) == HTTP1_TRANSFER &&
	       (rest | HTTP1_ENCODING_MASK) == HTTP1_ENCODING &&
	       (http1_byte(view, view->at + 16) | 0x20) == 'g' &&
	       http1_byte(view, view->at + 17) == ':';
}

/* Moves view->cursor over blanks, as many as a unit may have. */
http1_inline void http1_skip_blanks(struct http1_view *view)
{
	__u32 cursor = view->cursor, i;

	for (i = 0; i < HTTP1_CARRY; i++) {
		__u8 byte = http1_byte(view, cursor + i);

		if (byte != ' ' && byte != '\t' && byte != '\r')
			break;
	}
	view->cursor = cursor + i;
	http1_forget();
}

/* The same over digits, with view->value the number they make; view->excess is not 0 when that is far too large. */
http1_inline void http1_digits(struct http1_view *view)
{
	__u32 cursor = view->cursor, i;
	__u64 value = 0, excess = 0;

	for (i = 0; i < HTTP1_CARRY; i++) {
		__u8 digit = http1_byte(view, cursor + i) - '0';

		if (digit > 9)
			break;
		excess |= value >> 59;
		value = value * 10 + digit;
	}
	view->value = value;
	view->cursor = cursor + i;
	view->excess = excess;
	http1_forget();
}

/* Digits up to the line's end; the line is at most HTTP1_CARRY bytes long. */
http1_inline __u32 http1_content_length(struct http1_stream *stream, struct http1_view *view)
{
	__u32 start;

	view->cursor = view->at + HTTP1_LENGTH_NAME;
	http1_skip_blanks(view);
	start = view->cursor;
	http1_digits(view);
	if (view->cursor != start)
		http1_skip_blanks(view);
	if (view->excess || view->cursor - view->at >= HTTP1_CARRY)
		return http1_broken(stream);
	if (view->cursor >= view->end)
		return HTTP1_WANTS_MORE;
	if (view->cursor == start || http1_byte(view, view->cursor) != '\n' ||
	    ((stream->flags & HTTP1_HAS_LENGTH) && stream->left != view->value))
		return http1_broken(stream);
	stream->left = view->value;
	stream->flags |= HTTP1_HAS_LENGTH;
	stream->phase = HTTP1_LINE_START;
	view->at = view->cursor + 1;
	return 0;
}

/* Only the last coding matters: chunked or not. */
http1_inline __u32 http1_transfer_encoding(struct http1_stream *stream, struct http1_view *view)
{
	const __u64 chunked = HTTP1_WORD('d', 'e', 'k', 'n', 'u', 'h', 'c', 0); /* as shifted in */
	__u32 start = view->at + HTTP1_CODING_NAME - 1, i;
	__u64 last = 0;
	__u8 before;

	for (i = 0; i < HTTP1_CARRY - HTTP1_CODING_NAME + 1; i++) {
		__u64 byte = http1_byte(view, start + i), keep;

		if (byte == '\n')
			break;
		/* blanks do not count; all others in lower case, no matter for the rest */
		keep = ~http1_equal(byte, ' ') & ~http1_equal(byte, '\t') &
		       ~http1_equal(byte, '\r');
		last = last << (keep & 8) | (keep & (byte | 0x20));
	}
	view->cursor = start + i;
	view->value = last;
	http1_forget();
	if (view->cursor >= view->end)
		return view->end - view->at < HTTP1_CARRY ? HTTP1_WANTS_MORE : http1_broken(stream);
	if (view->cursor - view->at >= HTTP1_CARRY)
		return http1_broken(stream);
	before = view->value >> 56;
	stream->flags &= ~(HTTP1_CHUNKED | HTTP1_OTHER_CODING);
	if ((view->value & 0xffffffffffffffULL) == chunked && (before == ':' || before == ','))
		stream->flags |= HTTP1_CHUNKED;
	else
		stream->flags |= HTTP1_OTHER_CODING;
	stream->phase = HTTP1_LINE_START;
	view->at = view->cursor + 1;
	return 0;
}

/* A line that may be one of the two fields: if it is, it is taken; else it is a line that does not matter. */
http1_outline __u32 http1_field(struct http1_stream *stream, struct http1_view *view)
{
	HTTP1_GUARD(stream, view);
	__u64 word = http1_word(view, view->at), rest = http1_word(view, view->at + 8);

	if (view->end - view->at < HTTP1_CODING_NAME) {
		__u64 last = http1_word(view, view->at + 16) & 0xffff;

		/* the shortest whole line of the two has the length of the longer name */
		if (!http1_newlines(word) && !http1_newlines(rest) && !http1_newlines(last))
			return HTTP1_WANTS_MORE;
	}
	if (!(stream->flags & HTTP1_TRAILER)) {
		if (http1_is_length(word, rest))
			return http1_content_length(stream, view);
		if (http1_is_coding(view, word, rest))
			return http1_transfer_encoding(stream, view);
	}
	stream->phase = HTTP1_LINE;
	return 0;
}

#define HTTP1_HEAD_WORDS_A_STEP 48

/*
 * Goes through header lines, as far as one step goes, word by word. Of most lines no more is looked at than how they begin and
 * where they end.
 */
http1_inline __u32 http1_lines(struct http1_stream *stream, struct http1_view *view)
{
	__u32 at = view->at, end = view->end, events;
	__u8 is_start = stream->phase == HTTP1_LINE_START;

	for (__u32 i = 0; i < HTTP1_HEAD_WORDS_A_STEP && at < end; i++) {
		__u64 word = http1_word(view, at), marks;
		__u8 first = word;

		if (is_start) {
			if (first == '\r' || first == '\n') {
				view->at = at;
				stream->phase = HTTP1_LINE_START;
				if (first == '\r' && at + 1 >= end)
					return HTTP1_WANTS_MORE;
				if (first == '\n' || (word & 0xffff) == ('\n' << 8 | '\r')) {
					view->at = at + (first == '\n' ? 1 : 2);
					return http1_head_ended(stream);
				}
			} else if (((first | 0x20) == 'c' || (first | 0x20) == 't') &&
				   http1_may_be_field(view, at, word, end - at)) {
				view->at = at;
				stream->phase = HTTP1_LINE_START;
				events = http1_field(stream, view);
				if (events)
					return events;
				at = view->at;
				is_start = stream->phase == HTTP1_LINE_START;
				if (is_start)
					continue;
			}
		}
		marks = http1_newlines(word);
		is_start = marks != 0;
		at += is_start ? http1_first(marks) + 1 : 8;
	}
	stream->phase = is_start ? HTTP1_LINE_START : HTTP1_LINE;
	view->at = at < end ? at : end;
	return at < end ? 0 : HTTP1_WANTS_MORE;
}

http1_outline __u32 http1_chunk_size(struct http1_stream *stream, struct http1_view *view)
{
	HTTP1_GUARD(stream, view);
	__u32 at = view->at;
	__u64 size = 0;

	for (__u32 i = 0; i <= 16; i++) {
		__u8 byte = http1_byte(view, at + i), lower = byte | 0x20;

		if (at + i >= view->end)
			return HTTP1_WANTS_MORE;
		if (byte >= '0' && byte <= '9') {
			size = size << 4 | (byte - '0');
		} else if (lower >= 'a' && lower <= 'f') {
			size = size << 4 | (lower - 'a' + 10);
		} else if (i > 0 && i < 16 &&
			   (byte == '\r' || byte == '\n' || byte == ';' || byte == ' ' ||
			    byte == '\t')) {
			stream->left = size;
			stream->phase = HTTP1_CHUNK_EXTENSION;
			view->at = at + i;
			return 0;
		} else {
			break;
		}
	}
	return http1_broken(stream);
}

http1_outline __u32 http1_chunk_extension(struct http1_stream *stream, struct http1_view *view)
{
	HTTP1_GUARD(stream, view);
	__u32 at = view->at, end = view->end;

	for (__u32 i = 0; i < 4 && at < end; i++) {
		__u64 marks = http1_newlines(http1_word(view, at));

		if (marks) {
			view->at = at + http1_first(marks) + 1;
			if (stream->left) {
				stream->left += 2; /* the line end after the data */
				stream->bytes += stream->left;
				stream->phase = HTTP1_CHUNK;
			} else {
				stream->flags |= HTTP1_TRAILER;
				stream->phase = HTTP1_LINE_START;
			}
			return 0;
		}
		at += 8;
	}
	view->at = at < end ? at : end;
	return at < end ? 0 : HTTP1_WANTS_MORE;
}

http1_inline __u32 http1_body(struct http1_stream *stream, struct http1_view *view)
{
	stream->left = http1_skip(view, stream->left);
	if (stream->left)
		return HTTP1_CALL_OVER;
	if (stream->phase == HTTP1_BODY)
		return http1_ended(stream, HTTP1_ENDED);
	stream->phase = HTTP1_CHUNK_SIZE;
	return 0;
}

/*
 * Goes over a call whose data is a length only: nothing of it can be read. It may go on with a body, and end one; anything
 * else is lost. Returns events like http1_step(), of the whole call.
 */
http1_inline __u32 http1_pass(struct http1_stream *stream, struct http1_view *view)
{
	__u32 events = 0;

	if (stream->phase == HTTP1_UNTIL_CLOSE)
		stream->bytes += http1_skip_all(view);
	if (stream->phase >= HTTP1_UNTIL_CLOSE)
		return 0;
	if (stream->phase == HTTP1_BODY || stream->phase == HTTP1_CHUNK)
		events = http1_body(stream, view) & HTTP1_ENDED;
	if (http1_is_used_up(view))
		return events;
	http1_broken(stream);
	return events | HTTP1_UNREADABLE;
}

/* A start line and the header lines after it, as far as one step goes. */
http1_inline __u32 http1_head(struct http1_stream *stream, struct http1_view *view)
{
	__u32 events;

	if (stream->phase == HTTP1_START) {
		events = http1_start(stream, view);
		if (events || stream->phase == HTTP1_START)
			return events;
	}
	if (stream->phase == HTTP1_REQUEST_LINE) {
		events = http1_request_line(stream, view);
		if (events || stream->phase == HTTP1_REQUEST_LINE)
			return events;
	}
	return http1_lines(stream, view);
}

/* Reads on, as the stream is not in a body. */
http1_inline __u32 http1_read(struct http1_stream *stream, struct http1_view *view)
{
	__u32 events, at;

	if (view->wants_more || view->at == view->end) {
		if (view->filled == view->total) {
			stream->n_carried = http1_take(view, stream->carried);
			return HTTP1_CALL_OVER;
		}
		if ((view->filled >= view->piece_end && http1_next_piece(view)) ||
		    (view->filled < view->piece_end && http1_refill(view))) {
			http1_broken(stream);
			return HTTP1_UNREADABLE;
		}
		if (view->at == view->end)
			return 0; /* a piece that is empty, or was skipped over */
	}
	at = view->at;
	if (stream->phase < HTTP1_BODY)
		events = http1_head(stream, view);
	else if (stream->phase == HTTP1_CHUNK_SIZE)
		events = http1_chunk_size(stream, view);
	else
		events = http1_chunk_extension(stream, view);
	stream->bytes += view->at - at;
	if (events & HTTP1_WANTS_MORE)
		view->wants_more = 1;
	return events;
}

#define HTTP1_UPGRADE_STEPS 40 /* words and lines of a head: 200 to 250 bytes */

/* What a connection goes on in after a 101. */
enum http1_upgrade {
	HTTP1_UPGRADE_OTHER,
	HTTP1_UPGRADE_HTTP2, /* "Upgrade: h2c" (RFC 7540, 3.2) */
	HTTP1_UPGRADE_WEBSOCKET, /* "Upgrade: websocket" (RFC 6455, 4.2.2) */
};

http1_inline int http1_ends_word(__u8 byte)
{
	return byte == '\r' || byte == '\n' || byte == ' ' || byte == '\t' || byte == ',';
}

/*
 * What the head that has just ended says that the connection goes on in: an enum http1_upgrade. Other, too, where
 * the field was in a call, or a piece of memory, before the last one, or is further back than so many steps go.
 */
http1_outline int http1_upgrade(struct http1_view *view)
{
	const __u64 mask = 0x0020202020202020ULL,
		    name = HTTP1_WORD('u', 'p', 'g', 'r', 'a', 'd', 'e', ':'),
		    h2c = HTTP1_WORD('h', '2', 'c', 0, 0, 0, 0, 0),
		    websocket = HTTP1_WORD('w', 'e', 'b', 's', 'o', 'c', 'k', 'e');
	__u32 at = 0, end, found = 0;
	__u64 value, rest;

#ifdef __bpf__
	if (!view)
		return HTTP1_UPGRADE_OTHER;
#endif
	end = view->at;
	/* the last one: there may be other heads before */
	for (__u32 i = 0; i < HTTP1_UPGRADE_STEPS && at < end; i++) {
		__u64 marks = http1_newlines(http1_word(view, at)), other;
		__u32 step = http1_first(marks) + 1; /* 9 where there is none */

		/* to the next line, or word; without a branch, as the verifier follows each */
		at += step - (step >> 3 & step);
		other = ((http1_word(view, at) | mask) ^ name) | (~http1_any(marks) & 1) |
			((__u64)end - at - 1) >> 63;
		found = (found & (__u32)http1_any(other)) | ((at + 8) & ~(__u32)http1_any(other));
	}
	view->cursor = found;
	http1_forget();
	if (!view->cursor)
		return HTTP1_UPGRADE_OTHER;
	http1_skip_blanks(view);
	value = http1_word(view, view->cursor);
	rest = http1_word(view, view->cursor + 8);
	if (((value | 0x200020) & 0xffffff) == h2c && http1_ends_word(value >> 24))
		return HTTP1_UPGRADE_HTTP2;
	if ((value | 0x2020202020202020ULL) == websocket && ((rest | 0x20) & 0xff) == 't' &&
	    http1_ends_word(rest >> 8))
		return HTTP1_UPGRADE_WEBSOCKET;
	return HTTP1_UPGRADE_OTHER;
}

/*
 * A bounded piece of work, enough for a usual message. Returns a set of events; step on until it has
 * HTTP1_CALL_OVER: the view is used up then.
 */
http1_inline __u32 http1_step(struct http1_stream *stream, struct http1_view *view)
{
	if (stream->phase >= HTTP1_UNTIL_CLOSE) {
		if (stream->phase == HTTP1_UNTIL_CLOSE)
			stream->bytes += http1_skip_all(view);
		return HTTP1_CALL_OVER;
	}
	view->met = 0; /* kept in memory, as the verifier would follow what met it in a register */
	if (stream->phase != HTTP1_BODY && stream->phase != HTTP1_CHUNK)
		view->met |= http1_read(stream, view);
	if (stream->phase == HTTP1_BODY || stream->phase == HTTP1_CHUNK)
		view->met |= http1_body(stream, view);
	if (!(view->met & HTTP1_WANTS_MORE) && http1_is_used_up(view))
		view->met |= HTTP1_CALL_OVER;
	return view->met & ~HTTP1_WANTS_MORE;
}

#endif
