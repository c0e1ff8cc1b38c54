/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What bpf/requests.bpf.c and probes/requests.c share: the key and the row of a series, byte counts
 * and requests in flight per entity, settings.
 */
#ifndef LEADLINE_REQUESTS_WIRE_H
#define LEADLINE_REQUESTS_WIRE_H

#ifndef __bpf__
#include <linux/types.h>
#endif
#include "lib/hist.h"
#include "lib/kernel_copy.h"
#include "lib/protocol_numbers.h"

enum requests_role {
	REQUESTS_SERVER,
	REQUESTS_CLIENT,
	REQUESTS_ROLES,
};

enum requests_outcome {
	REQUESTS_COMPLETE,
	REQUESTS_NO_RESPONSE, /* the connection went before a final response began; status 0 */
	REQUESTS_CUT_SHORT, /* … before the response was complete */
	REQUESTS_OUTCOMES,
};

/* One series. */
struct requests_key {
	__u32 entity;
	__u16 status;
	__u8 method; /* enum http1_method */
	__u8 role : 2;
	__u8 outcome : 4;
	__u8 is_encrypted : 2;
};
_Static_assert(sizeof(struct requests_key) == 8, "hash key without padding, compared as one word");

/* Upper bounds of the classic buckets: OpenTelemetry's, and a series below a millisecond. In ns. */
#define REQUESTS_BOUNDS_NS                                                                         \
	{                                                                                          \
		10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000,  \
			25000000, 50000000, 75000000, 100000000, 250000000, 500000000, 750000000,  \
			1000000000, 2500000000, 5000000000, 7500000000, 10000000000                \
	}
#define REQUESTS_BOUNDS 22

/* Slot of schema 2 of a duration that is in this slot of schema 3, other than the first one. */
static inline __attribute__((always_inline)) __u32 requests_coarse_slot(__u32 slot)
{
	return (slot + 1 + HIST3_MIN_INDEX - 2 * HIST_MIN_INDEX) >> 1;
}

struct requests_row {
	__u64 sum_ns;
	__u64 max_ns; /* largest since it was last cleared */
	__u64 slots[HIST3_SLOTS]; /* schema 3 */
	__u64 classic[REQUESTS_BOUNDS + 1]; /* the last: above all bounds */
	__u64 request_bytes; /* heads included */
	__u64 response_bytes;
	struct hist first_byte; /* schema 2 */
};
_Static_assert(sizeof(struct requests_row) == 2088 + 1024, "rows without padding");

/* Bytes of an entity's connections, and how many of these spoke HTTP/1. */
struct requests_bytes {
	__u64 http;
	__u64 http_unparsed; /* while it could not be told where messages start and end */
	__u64 http_unread; /* … as bytes before had not been in the program's memory, or not in one call */
	__u64 websocket; /* from the answer on that upgraded to it */
	__u64 unknown; /* other protocols */
	__u64 connections[REQUESTS_ROLES]; /* on which a request began */
	__u64 connect_ns; /* that these took to connect, as a client */
};

/* Requests of an entity without a complete response, as the last iterator pass found them. */
struct requests_in_flight {
	__u64 seen; /* bit per role: it had a request at some time */
	__u64 count[REQUESTS_ROLES];
	__u64 oldest_ns[REQUESTS_ROLES]; /* CLOCK_MONOTONIC, start of the oldest; 0: none */
};

/* What was not counted as a request, or not exactly, and why. */
enum requests_lost {
	REQUESTS_LOST_FRAMING, /* a message that is no HTTP, or beyond the limits: waiting for the next start */
	REQUESTS_LOST_RESPONSE, /* a request whose response could not be told from the bytes around it */
	REQUESTS_LOST_PIPELINE, /* more requests in flight on a connection than are kept: not timed */
	REQUESTS_LOST_UNMATCHED, /* a response without a request, as when joined midway */
	REQUESTS_LOST_REASONS,
};

/* The object's only variable, hence its whole .bss map, which the user side maps. */
struct requests_shared {
	__u64 lost[REQUESTS_LOST_REASONS];
	__u64 row_generation; /* counted up when rows were given back: what connections remember is void then */
	__u64 downstream_generation; /* the same of those in slow_requests.h, which threads remember */
	/* A request that takes so long is told of (slow_requests.h), by role; 0: none is. Set by the user side. */
	__u64 slow_ns[REQUESTS_ROLES];
	/* The same of exchanges in other protocols. */
	__u64 slow_stream_ns[PREFIX_PROTOCOLS][REQUESTS_ROLES];
	__u64 stops; /* connections so far that were put into stopped_streams */
	__u64 unix_sockets; /* with a state here, as the last iterator pass found them */
	__u64 unseen; /* times that bytes had been read unseen, see requests_unseen.bpf.h */
	__u64 tls; /* plain text comes of TLS libraries: bpf/tls.bpf.c is there; set by the user side */
	__u64 streams; /* connections so far that speak something else than HTTP/1: the last one's number */
	/* the kernel side's own */
	__u64 regs_on_stack; /* task_regs() */
	struct kernel_copies copies;
};

struct requests_settings {
	__u32 rows; /* per lane; the first is "other" of servers, the last of clients */
	/*
	 * Lanes are copies of all rows, one per CPU; on machines with many CPUs there are fewer lanes, a
	 * power of two, and additions are atomic.
	 */
	__u32 lanes;
	__u32 shared; /* lanes are shared between CPUs */
	__u32 max_entities;
	__u32 downstreams; /* rows, per lane: whom requests waited for */
	__u32 unix_sockets; /* whether these are looked at */
	/* of streams.h */
	__u32 exchange_rows; /* per lane; of these, the first ones are "other", by protocol and role */
	__u32 capture_bytes; /* copied at most from the beginning of a call */
	__u32 protocols; /* bit per enum prefix_protocol: to be looked at */
	__u32 copied_protocols; /* … and their calls to be copied */
	__u32 rings; /* for events, a power of two; one more for when these are full */
	/* Number of bounds in slots below: a slot holds at most one bound, so one comparison then tells the bucket. */
	__u8 bounds_below[HIST3_SLOTS + 6];
	__u64 bounds_ns[REQUESTS_BOUNDS + 2];
};

#endif
