/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A small window that moves over the data of one call (one write, one read), wherever in user memory
 * its pieces lie. A unit of the protocol that the end of a piece or of the call cuts is carried over
 * to what follows, so those who read the window need not know where the data was cut.
 *
 * HTTP1_COPY(view, destination, size, address) must be defined before this file is included: copies from
 * where the view says that the data is, and returns 0, or something else when that cannot be read.
 */
#ifndef LEADLINE_HTTP1_VIEW_H
#define LEADLINE_HTTP1_VIEW_H

#ifndef __bpf__
#include <linux/types.h>
#include <string.h>
#endif

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the word-wise search below reads words in little-endian order"
#endif

#define http1_inline static inline __attribute__((always_inline))
#ifdef __bpf__
#define http1_outline __attribute__((noinline))
#else
#define http1_outline static inline
#endif

/*
 * Loops leave what they found in memory and forget it: each number of rounds that a register holds the
 * verifier would follow on to the end of the program.
 */
#define http1_forget() asm volatile("" ::: "memory")

#define HTTP1_CARRY  40 /* longest unit carried over */
#define HTTP1_WINDOW 1024 /* power of two */
#define HTTP1_PAD    64 /* so that words can be read across the end of the data */
#define HTTP1_FILL                                                                                 \
	(HTTP1_WINDOW - 64) /* most bytes copied at once; the carried ones go before them */

struct http1_view {
	__u64 base; /* address of the current piece */
	__u64 piece_start; /* its extent in the data of the call */
	__u64 piece_end;
	__u64 iovec; /* address of the iovec that follows it */
	__u64 total; /* bytes of the call */
	__u64 filled; /* bytes of it that the window has gone over */
	__u32 n_iovec; /* how many follow; 0 and no piece: the data is a length only */
	__u32 in_kernel; /* its one piece is a copy of the kernel's, not the program's memory */
	__u32 at, end; /* unread bytes of the window */
	__u32 wants_more; /* the unread bytes are only a part of what is needed */
	__u32 met; /* events of the step under way */
	__u32 line_at; /* where in the window the start line begins that was met last … */
	__u32 has_line; /* … which is all there */
	__u32 cursor; /* within the unit that is being read */
	__u64 value; /* of a number in it … */
	__u64 excess; /* … and bits beyond its limit */
	__u8 window[HTTP1_WINDOW + HTTP1_PAD];
};

struct http1_iovec {
	__u64 base;
	__u64 length;
};

#define HTTP1_ONES  0x0101010101010101ULL
#define HTTP1_HIGHS 0x8080808080808080ULL
#define HTTP1_WORD(a, b, c, d, e, f, g, h)                                                         \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 |   \
	 (__u64)(f) << 40 | (__u64)(g) << 48 | (__u64)(h) << 56)

/* Any position is safe to read; what lies behind the window's end reads as something inside it. */
http1_inline __u64 http1_word(const struct http1_view *view, __u64 at)
{
#ifdef __bpf__
	asm volatile("%0 &= %1" : "+r"(at) : "i"(HTTP1_WINDOW - 1));
	return *(const __u64 *)(view->window + at);
#else
	__u64 word;

	memcpy(&word, view->window + (at & (HTTP1_WINDOW - 1)), sizeof(word));
	return word;
#endif
}

http1_inline __u8 http1_byte(const struct http1_view *view, __u64 at)
{
#ifdef __bpf__
	asm volatile("%0 &= %1" : "+r"(at) : "i"(HTTP1_WINDOW - 1));
	return view->window[at];
#else
	return view->window[at & (HTTP1_WINDOW - 1)];
#endif
}

/* What is read across the end of the data must not look like data. */
http1_inline void http1_zero_after(struct http1_view *view, __u32 end)
{
#ifdef __bpf__
	__u64 *after = (__u64 *)(view->window + end);

	after[0] = after[1] = after[2] = 0;
#else
	memset(view->window + end, 0, 3 * sizeof(__u64));
#endif
}

/* The high bit of each byte that is a newline; bytes after the first one may be marked wrongly. */
http1_inline __u64 http1_newlines(__u64 word)
{
	word ^= HTTP1_ONES * '\n';
	return (word - HTTP1_ONES) & ~word & HTTP1_HIGHS;
}

/* Index of the lowest marked byte. */
http1_inline __u32 http1_first(__u64 marks)
{
	return (((((marks & -marks) >> 7) - 1) & HTTP1_ONES) * HTTP1_ONES) >> 56;
}

/*
 * Sets up the view for the next call's data of `total` bytes, which lies at `base` as far as `first_piece` bytes
 * go, then in n_iovec pieces described at `iovec`.
 */
http1_inline void http1_open(struct http1_view *view, __u64 total, __u64 base, __u64 first_piece,
			     __u64 iovec, __u32 n_iovec)
{
	view->base = base;
	view->piece_start = 0;
	view->piece_end = first_piece;
	view->iovec = iovec;
	view->n_iovec = n_iovec;
	view->in_kernel = 0;
	view->total = total;
	view->filled = 0;
	view->at = 0;
	view->end = 0;
	view->wants_more = 0;
	view->has_line = 0;
}

/* Puts bytes of the last call in front. */
http1_inline void http1_bring(struct http1_view *view, const __u8 carried[HTTP1_CARRY], __u32 n)
{
	if (n > HTTP1_CARRY)
		n = HTTP1_CARRY;
	__builtin_memcpy(view->window, carried, HTTP1_CARRY);
	http1_zero_after(view, n);
	view->end = n;
	view->wants_more = 1;
}

/* Takes the unread bytes out at the end of a call; returns their number. */
http1_inline __u32 http1_take(struct http1_view *view, __u8 carried[HTTP1_CARRY])
{
	__u32 at = view->at & (HTTP1_WINDOW - 1), unread = view->end - view->at;

	if (unread) {
#ifdef __bpf__
		asm volatile("%0 &= %1" : "+r"(at) : "i"(HTTP1_WINDOW - 1));
#endif
		__builtin_memcpy(carried, view->window + at, HTTP1_CARRY);
	}
	view->at = view->end = 0;
	return unread;
}

/* Goes over n bytes of the call's data without copying them; returns how many bytes were still missing. */
http1_inline __u64 http1_skip(struct http1_view *view, __u64 n)
{
	__u64 unread = view->end - view->at, beyond = view->total - view->filled;

	if (n <= unread) {
		view->at += n;
		return 0;
	}
	n -= unread;
	view->at = view->end = 0;
	if (n <= beyond) {
		view->filled += n;
		return 0;
	}
	view->filled = view->total;
	return n - beyond;
}

/* Goes over the rest of the call's data; returns how much that was. */
http1_inline __u64 http1_skip_all(struct http1_view *view)
{
	__u64 n = (view->end - view->at) + (view->total - view->filled);

	view->at = view->end = 0;
	view->filled = view->total;
	return n;
}

http1_inline int http1_is_used_up(const struct http1_view *view)
{
	return view->at == view->end && view->filled == view->total;
}

/* Goes on to the next piece. Returns 0, or -1 when that is not known. */
http1_inline int http1_next_piece(struct http1_view *view)
{
	struct http1_iovec iovec;

	if (!view->n_iovec || HTTP1_COPY(view, &iovec, sizeof(iovec), view->iovec))
		return -1;
	view->n_iovec--;
	view->iovec += sizeof(iovec);
	view->base = iovec.base;
	view->piece_start = view->piece_end;
	view->piece_end += iovec.length & 0xffffffffULL; /* a call moves less than 2 GiB */
	return 0;
}

/*
 * Moves the window on: unread bytes, at most HTTP1_CARRY, to its front, more of the piece's data behind them.
 * Returns 0, or -1 when the memory cannot be read.
 */
http1_inline int http1_refill(struct http1_view *view)
{
	__u32 at = view->at, unread = view->end - at;
	__u64 size = view->piece_end - view->filled;

	for (__u32 i = 0; i < HTTP1_CARRY && i < unread; i += 8) {
		__u64 word = http1_word(view, at + i);

		__builtin_memcpy(view->window + i, &word, sizeof(word));
	}
	if (size > view->total - view->filled)
		size = view->total - view->filled;
#ifdef __bpf__
	unread &= 63; /* no more than HTTP1_CARRY anyway */
	asm volatile("" : "+r"(unread), "+r"(size));
#endif
	if (size > HTTP1_FILL)
		size = HTTP1_FILL;
	if (HTTP1_COPY(view, view->window + unread, size,
		       view->base + (view->filled - view->piece_start)))
		return -1;
	http1_zero_after(view, unread + size);
	view->at = 0;
	view->has_line = 0;
	view->end = unread + size;
	view->filled += size;
	view->wants_more = 0;
	return 0;
}

#endif
