/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the kernel side of the requests probe says of connections that speak something else than HTTP/1: rows with what can
 * be told without decoding, and events with copies for the decoders of probes/protocols.
 */
#ifndef LEADLINE_STREAMS_WIRE_H
#define LEADLINE_STREAMS_WIRE_H

#ifndef __bpf__
#include <linux/types.h>
#endif
#include "lib/hist.h"
#include "lib/stream_piece.h"

/* A series; protocol: enum prefix_protocol, role: enum requests_role. */
struct exchange_key {
	__u32 entity;
	__u16 protocol;
	__u16 role;
};
_Static_assert(sizeof(struct exchange_key) == 8, "hash key without padding, compared as one word");

/* Why a connection is not copied any more. */
enum stream_stop {
	STREAM_STOP_MALFORMED, /* not this protocol, or beyond our limits */
	STREAM_STOP_ENCRYPTED,
	STREAM_STOP_REASONS,
};
#define STREAM_MAX_STOPS 1024 /* not met by the kernel side yet: of connections that are silent */

/*
 * An exchange is what one side says until it is answered, and the answer: several pipelined requests are one. Needs no
 * copy, hence is right even where events were lost.
 */
struct exchange_row {
	struct hist duration;
	__u64 connections; /* that had one */
	__u64 connect_ns; /* that these took to connect, of a client */
	__u64 bytes; /* in both directions */
	__u64 lost_bytes; /* of these, in calls that found no room in the ring */
	/* … and in calls that were not copied, as the decoder had said that it can make nothing of them, by why */
	__u64 stopped_bytes[STREAM_STOP_REASONS];
};
_Static_assert(sizeof(struct exchange_row) == 1072, "rows without padding");

#define STREAM_CAPTURE_MAX 4096 /* power of two: most bytes copied from the beginning of a call */
#define STREAM_TAIL	   64 /* and from its end */

enum stream_event_kind {
	STREAM_DATA,
	STREAM_CLOSED, /* no more of this connection */
	STREAM_SLOW_REQUEST, /* of HTTP/1: see slow_requests.h */
	/* A struct request_path follows: before a connection's first data, for its addresses, and before data that ends a slow exchange. */
	STREAM_PATH,
	/* A struct upgraded_request follows: before all other data, the client's first event. */
	STREAM_UPGRADED,
	STREAM_EVENT_KINDS,
};

enum stream_event_flag {
	STREAM_FROM_CLIENT = 1, /* else from the server */
	STREAM_MIDWAY = 2, /* the connection's beginning was not seen */
	STREAM_BEGINS = 4, /* the first event of its connection */
	STREAM_IN_PIECES = 8, /* head_size bytes follow, and are pieces: lib/stream_piece.h */
	STREAM_ENCRYPTED = 16, /* this is the plain text of a connection within TLS */
	STREAM_HAS_LEDGER = 32, /* of a server: sched is there to say where time goes … */
	STREAM_HAS_ACCOUNT =
		64, /* … and does of this exchange: struct stream_account of slow_requests.h */
};

/* One call; head_size and tail_size bytes follow, then what the flags say. */
struct stream_event {
	__u64 connection; /* a number no other connection has */
	__u64 ns; /* CLOCK_MONOTONIC */
	__u64 size; /* bytes the call moved */
	__u32 entity;
	__u32 pid;
	__u32 tid;
	__u32 sequence; /* counts this direction's events, lost ones included */
	__u16 head_size;
	__u16 tail_size;
	__u8 kind; /* enum stream_event_kind */
	__u8 protocol; /* enum prefix_protocol */
	__u8 role; /* enum requests_role, of the end this is seen from */
	__u8 flags; /* enum stream_event_flag */
};
_Static_assert(sizeof(struct stream_event) == 48, "header without padding");

#endif
