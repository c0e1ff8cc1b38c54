/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Wire structures between bpf/network.bpf.c and probes/network*.c. */
#ifndef LEADLINE_NETWORK_WIRE_H
#define LEADLINE_NETWORK_WIRE_H

#ifndef __bpf__
#include <linux/types.h>
#endif

/* ---- packet drops ---- */

/*
 * A row of counters per reason: the core's by their numbers, then this many for each subsystem that has
 * reasons of its own (upper half of the number, from 1 on), at last one for all that is beyond.
 */
#define DROP_SUBSYSTEM_REASONS 64

struct network_settings {
	__u32 core_reasons;
	__u32 subsystems; /* the core included: at least 1 */
	__u32 drops_name_socket; /* kfree_skb tells which socket dropped the packet */
	__u32 pad;
};

static inline __u32 drop_rows(__u32 core_reasons, __u32 subsystems)
{
	return core_reasons + (subsystems - 1) * DROP_SUBSYSTEM_REASONS + 1;
}

static inline __u32 drop_row(__u32 core_reasons, __u32 subsystems, __u32 reason)
{
	__u32 subsystem = reason >> 16, number = reason & 0xffff;

	if (subsystem == 0 && number < core_reasons)
		return number;
	if (subsystem > 0 && subsystem < subsystems && number < DROP_SUBSYSTEM_REASONS)
		return core_reasons + (subsystem - 1) * DROP_SUBSYSTEM_REASONS + number;
	return drop_rows(core_reasons, subsystems) - 1;
}

/* ---- UDP drops ---- */

enum udp_drop_reason {
	UDP_DROP_RECEIVE_BUFFER, /* the socket's is full */
	UDP_DROP_MEMORY, /* all UDP sockets together have used up theirs */
	UDP_DROP_REASONS,
};

/* All drops there were; rows hold what of them belongs to whom. */
struct udp_totals {
	__u64 drops[UDP_DROP_REASONS];
	__u64 pending
		[UDP_DROP_REASONS]; /* after a pass: of sockets whose owner is yet to be found */
	__u64 ownerless; /* goes up when there is one more such socket */
	__u64 search; /* number of the last search for owners, from 1 on */
};

/* The row's number is the entity's id; row 0 is not counted in: what is left over belongs there. */
struct udp_row {
	__u64 drops[UDP_DROP_REASONS];
	__u64 generation; /* goes up when the id is given to another entity */
};
_Static_assert(sizeof(struct udp_row) == 3 * 8, "no padding");

/* ---- listening sockets ---- */

/* Several sockets may share a port: SO_REUSEPORT, or one per address. */
struct listen_key {
	__u32 network; /* inode number of the network namespace; 0: no such row */
	__u32 port;
};

/* How full a queue is: connections waiting in the lower half, room for so many in the upper; 0: not known. */
#define LISTEN_LEVEL(waiting, room) ((__u64)(room) << 32 | (__u32)(waiting))
#define LISTEN_WAITING(level)	    ((__u32)(level))
#define LISTEN_ROOM(level)	    ((__u32)((level) >> 32))

static inline int listen_level_is_above(__u64 level, __u64 other)
{
	if (LISTEN_ROOM(other) == 0)
		return LISTEN_ROOM(level) != 0;
	return (__u64)LISTEN_WAITING(level) * LISTEN_ROOM(other) >
	       (__u64)LISTEN_WAITING(other) * LISTEN_ROOM(level);
}

/* Row 0 is for sockets that found no other row free. */
struct listen_row {
	struct listen_key key;
	__u32 entity;
	__u32 sockets; /* seen by the last pass */
	__u64 overflows;
	__u64 level; /* of the fullest socket at the last pass */
	__u64 highest; /* since the user side last looked */
};
_Static_assert(sizeof(struct listen_row) == 5 * 8, "no padding");

#endif
