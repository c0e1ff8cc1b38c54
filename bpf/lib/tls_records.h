/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What a TLS client sends, as far as records tell (RFC 8446, 5.1; RFC 5246, 6.2.1): which calls carry a request, and which only
 * a part of the handshake or an alert, also where their type is encrypted with them. Headers of five bytes are read, nothing else.
 * Pure C, compiled by the kernel side and the unit tests; HTTP1_COPY as for http1_view.h.
 */
#ifndef LEADLINE_TLS_RECORDS_H
#define LEADLINE_TLS_RECORDS_H

#include "http1_view.h"

enum tls_type {
	TLS_CHANGE_CIPHER_SPEC = 20,
	TLS_ALERT = 21,
	TLS_HANDSHAKE = 22,
	TLS_APPLICATION_DATA = 23,
	TLS_HEARTBEAT = 24,
};

#define TLS_HEADER	   5
#define TLS_RECORDS_A_CALL 8
#define TLS_LONGEST	   (16384 + 2048)
/* In version 1.3 every encrypted record says application data; an alert is 2 bytes, its type and a tag of 16. */
#define TLS_ALERT_LENGTH 19
/* A Finished is shorter, a ClientHello longer. */
#define TLS_FINISHED_LONGEST 96

/* The client's direction of a connection; all zeroes at its start. */
struct tls_records {
	__u32 left; /* bytes of the record under way */
	__u8 n_header; /* bytes of a header that are there */
	__u8 last_type;
	__u8 handshakes; /* records of that type so far */
	__u8 is_secured; /* the handshake is over */
	__u8 in_request; /* the record under way is a part of a request */
	__u8 is_lost; /* not framed any more: all counts as request */
	__u8 header[14]; /* room for any offset and size that the verifier thinks of */
};

/* A record begins; returns whether it is a part of a request. */
http1_inline int tls_begin(struct tls_records *tls, __u8 type, __u32 length)
{
	__u8 last_type = tls->last_type;

	if (type == TLS_HANDSHAKE && last_type == TLS_CHANGE_CIPHER_SPEC &&
	    length > TLS_FINISHED_LONGEST)
		return 0; /* the second ClientHello of version 1.3: as if it were the first */
	tls->last_type = type;
	if (type == TLS_HANDSHAKE && tls->handshakes < 2)
		tls->handshakes++;
	if (type != TLS_APPLICATION_DATA)
		return 0;
	if (!tls->is_secured) {
		tls->is_secured = 1;
		/* Version 1.3 encrypts the Finished like data; up to 1.2 it was a record of the handshake. */
		if (last_type == TLS_CHANGE_CIPHER_SPEC || tls->handshakes < 2)
			return 0;
	}
	return length != TLS_ALERT_LENGTH;
}

/*
 * Goes on to the end of the record under way, or takes the header of the next one: view->filled moves on, view->met is set where
 * something is of a request. Returns whether the call is over. In the kernel this function is verified, and called, on its own.
 */
http1_outline int tls_step(struct tls_records *tls, struct http1_view *view)
{
	__u64 there;
	__u32 have, missing, length;

#ifdef __bpf__
	if (!tls || !view)
		return 1;
#endif
	there = view->total - view->filled;
	if (tls->left) {
		view->met |= tls->in_request;
		if (tls->left > there) {
			tls->left -= there;
			return 1;
		}
		view->filled += tls->left;
		tls->left = 0;
		return view->filled == view->total;
	}
	have = tls->n_header & 7;
	missing = have < TLS_HEADER ? TLS_HEADER - have : 0;
	if (missing > there)
		missing = there;
#ifdef __bpf__
	asm volatile("%0 &= 7\n%1 &= 7" : "+r"(have), "+r"(missing));
#endif
	if (view->filled + missing > view->piece_end ||
	    HTTP1_COPY(view, tls->header + have, missing, view->base + view->filled))
		goto lost;
	view->filled += missing;
	tls->n_header = have + missing;
	if (tls->n_header < TLS_HEADER)
		return 1;
	tls->n_header = 0;
	length = (__u32)tls->header[3] << 8 | tls->header[4];
	if (tls->header[0] < TLS_CHANGE_CIPHER_SPEC || tls->header[0] > TLS_HEARTBEAT ||
	    tls->header[1] != 3 || length > TLS_LONGEST)
		goto lost;
	tls->in_request = tls_begin(tls, tls->header[0], length);
	view->met |= tls->in_request;
	tls->left = length;
	return view->filled == view->total;

lost:
	tls->is_lost = 1;
	view->met = 1;
	return 1;
}

/*
 * Goes through the data of a call, for which the view was opened. Returns whether some of it is of a request.
 */
http1_inline int tls_take_call(struct tls_records *tls, struct http1_view *view)
{
	if (tls->is_lost)
		return 1;
	view->met = 0;
	if (!view->piece_end && http1_next_piece(view)) {
		tls->is_lost = 1;
		return 1;
	}
	for (__u32 i = 0; i < 2 * TLS_RECORDS_A_CALL; i++)
		if (tls_step(tls, view))
			return view->met;
	tls->is_lost = 1;
	return 1;
}

#endif
