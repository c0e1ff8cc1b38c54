/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the kernel side of the requests probe tells of a slow HTTP/1 request, and where the time of all served ones went:
 * a vector of reasons that sums to the duration.
 */
#ifndef LEADLINE_SLOW_REQUESTS_WIRE_H
#define LEADLINE_SLOW_REQUESTS_WIRE_H

#ifndef __bpf__
#include <linux/types.h>
#endif
#include "lib/protocol_numbers.h"
#include "lib/task.h"
#include "lib/wait.h"
#include "streams.h"

/* Reasons beside those a thread waits for, enum wait_reason, which come first. */
enum request_reason {
	REQUEST_SOCKET_QUEUE = WAIT_REASON_COUNT, /* arrived, not yet read */
	REQUEST_RUN_QUEUE,
	REQUEST_OUTBOUND, /* asked another server and waited for it: a part of network and poll that is told apart */
	REQUEST_ON_CPU,
	REQUEST_UNATTRIBUTED, /* handed to another thread, or the thread served others meanwhile */
	REQUEST_REASONS,
};

/* By entity and lane: where the time of the requests went that it served. */
struct request_waits {
	/* outbound: for those that have no row of their own */
	__u64 reasons_ns[REQUEST_REASONS];
};

/* Whom requests of an entity waited for. IPv4 addresses mapped into IPv6. */
struct downstream_key {
	__u32 entity;
	__u16 port;
	__u16 pad;
	__u8 address[16];
};

/* What it speaks: enum prefix_protocol, or this. */
#define DOWNSTREAM_HTTP	     PREFIX_PROTOCOLS
#define DOWNSTREAM_PROTOCOLS (PREFIX_PROTOCOLS + 1)

/* By row; port 0: free. Row 0 is never used. */
struct downstream_name {
	struct downstream_key key;
	__u32 protocol;
	__u32 pad;
};
_Static_assert(sizeof(struct downstream_name) == 32, "no padding");

#define SLOW_REQUEST_LINE 96 /* it is cut there */

/* The connection of a request. IPv4 addresses mapped into IPv6. */
struct request_path {
	__u8 local_address[16], peer_address[16];
	__u16 local_port, peer_port; /* 0: none */
	__u32 retransmits; /* so far */
	__u32 rtt_us; /* smoothed; 0: unknown */
	__u32 is_unix; /* no addresses, then */
	__u64 connect_ns; /* that it took this end to connect, of the first request; 0: not known, or none of that */
};
_Static_assert(sizeof(struct request_path) == 56, "no padding");

/* Where the time of a request went, as the kernel side keeps it. */
struct request_account {
	__u64 reasons_ns[REQUEST_REASONS];
	struct task_downstream
		downstreams[TASK_DOWNSTREAMS]; /* sum: reasons_ns[REQUEST_OUTBOUND] */
};

/* Where a request's time went, and over which connection it came. */
struct request_detail {
	struct request_path path;
	__u64 reasons_ns
		[REQUEST_REASONS]; /* sum: how long it took; a client's: all of it outbound */
	/* Whom the outbound part was for, as far as these tell; port 0: no more. */
	struct slow_downstream {
		__u64 ns;
		struct downstream_name name;
	} downstreams[TASK_DOWNSTREAMS - 1];
};

/* Follows a struct stream_event of kind STREAM_SLOW_REQUEST, whose ns is the end; its size is 0. */
struct slow_request {
	struct request_detail detail;
	__u64 duration_ns;
	__u64 first_byte_ns; /* of the response, since the start; 0: none came */
	__u64 request_bytes; /* heads included */
	__u64 response_bytes;
	__u16 status; /* 0: no response */
	__u8 method; /* enum http1_method */
	__u8 outcome; /* enum requests_outcome */
	__u32 line_size; /* 0: not known */
	__u8 line[SLOW_REQUEST_LINE]; /* of the request, from its method on, and what follows it */
};
_Static_assert(sizeof(struct slow_request) % 8 == 0, "no padding at the end");

/*
 * Follows a struct stream_event of kind STREAM_UPGRADED, whose size is 0: the HTTP/1 request that upgraded the connection, as far as it
 * has gone.
 */
struct upgraded_request {
	__u64 start_ns;
	__u64 request_bytes; /* heads included */
	__u64 response_bytes; /* of the response that upgrades */
	__u32 answer_left; /* bytes of that one which the server's next call begins with */
	__u8 method; /* enum http1_method */
	__u8 pad;
	__u16 line_size; /* 0: not known */
	__u8 line[SLOW_REQUEST_LINE]; /* as above */
};
_Static_assert(sizeof(struct upgraded_request) == 32 + SLOW_REQUEST_LINE, "no padding");

/*
 * Follows the bytes of a struct stream_event with the flag STREAM_HAS_ACCOUNT: an answer of a server whose thread knows
 * where the time of the exchange went, up to the event's ns.
 */
struct stream_account {
	__u64 began_ns; /* the exchange */
	struct request_account account;
};
_Static_assert(sizeof(struct stream_account) % 8 == 0, "no padding at the end");

#endif
