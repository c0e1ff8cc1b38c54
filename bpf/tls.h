/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What bpf/tls.bpf.c and probes/tls.c share. */
#ifndef LEADLINE_TLS_WIRE_H
#define LEADLINE_TLS_WIRE_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#include "lib/task.h"

/* What the hook on a call is told by its cookie: enum tls_call, and whether … */
#define TLS_COUNTED                                                                                \
	16 /* … it returns whether it could, and writes the length to where its fourth argument points */

/* What a call's plain text was not told for. */
enum tls_lost {
	TLS_LOST_UNBOUND, /* no socket was seen to be its session's: the library hands records to its program */
	TLS_LOST_SOCKETS_FULL, /* more sockets than there is room for */
	TLS_LOST_PREEMPTED, /* the thread had to leave this CPU's scratch to another's call */
	TLS_LOST_REASONS,
};

struct tls_counts {
	__u64 calls; /* that moved plain text of a connection … */
	__u64 bytes; /* … and how much */
	__u64 lost[TLS_LOST_REASONS]; /* calls */
	__u64 lost_bytes[TLS_LOST_REASONS];
};

#endif
