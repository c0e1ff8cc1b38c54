/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Wire structures between bpf/tcp.bpf.c and probes/tcp.c. */
#ifndef LEADLINE_TCP_WIRE_H
#define LEADLINE_TCP_WIRE_H

#include "lib/hist.h"

enum tcp_direction {
	TCP_SENT,
	TCP_RECEIVED,
	TCP_DIRECTIONS,
};

enum tcp_role {
	TCP_CLIENT, /* connected */
	TCP_SERVER, /* was connected to */
	TCP_ROLES,
};

/* What ended an attempt to connect. */
enum tcp_failure {
	TCP_FAILED_REFUSED, /* answered by a reset */
	TCP_FAILED_TIMEOUT, /* not answered */
	TCP_FAILED_UNREACHABLE, /* no way there, as a router or this host says */
	TCP_FAILED_RESET, /* reset half way */
	TCP_FAILED_ABORTED, /* given up by the program */
	TCP_FAILED_LOCAL, /* not even begun: no free port, no memory */
	TCP_FAILED_OTHER,
	TCP_FAILURES,
};

/* All that is known of an entity; the row's number is its id. */
struct tcp_row {
	struct hist connect;
	struct hist rtt;
	__u64 bytes[TCP_DIRECTIONS];
	__u64 resets[TCP_DIRECTIONS];
	__u64 opened[TCP_ROLES];
	__u64 failures[TCP_FAILURES];
	__u64 retransmitted;
	/* Goes up when the id is given to another entity, so that sockets of the former one are told apart. */
	__u64 generation;
	__u64 orphaned; /* row 0 only: events of sockets whose entity is gone */
};
_Static_assert(sizeof(struct tcp_row) == 2 * sizeof(struct hist) + 16 * 8, "no padding");

struct tcp_settings {
	__u64 rtt_interval_ns; /* between two samples of a live connection */
};

#endif
