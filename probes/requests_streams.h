/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections whose calls the kernel side copies (bpf/streams.h): events in, pieces to the decoder of each connection, its
 * ended calls into a table. Bounded: when there are too many, the one that was silent longest makes room; should it
 * speak again, it is joined midway. Loop thread only.
 */
#ifndef LEADLINE_REQUESTS_STREAMS_H
#define LEADLINE_REQUESTS_STREAMS_H

#include <stdint.h>
#include "bpf/lib/protocol_numbers.h"
#include "bpf/streams.h"
#include "probes/requests_calls.h"

struct streams;

/* NULL: no memory. The table outlives the streams. */
struct streams *streams_new(unsigned max_connections, unsigned max_entities,
			    struct call_table *calls);
/* Where slow calls go, too; outlives the streams. */
struct slow_requests;
void streams_tell_slow(struct streams *streams, struct slow_requests *slow);
/* Who is waited for; outlives the streams. */
struct request_wait_tables;
void streams_tell_downstreams(struct streams *streams, const struct request_wait_tables *waits);
/* Each event from now on stands for so many, where the kernel side sees a part of the time; at first, for itself. */
void streams_weigh(struct streams *streams, unsigned weight);
/* Told of connections whose calls need not be copied any more, and when one of these is gone. */
struct stream_stopper {
	void (*stop)(void *context, uint64_t connection, enum stream_stop why);
	void (*gone)(void *context, uint64_t connection);
	void *context;
};
void streams_tell_stops(struct streams *streams, const struct stream_stopper *stopper);
void streams_free(struct streams *streams); /* NULL is fine */

/* Bit per enum prefix_protocol: there is a decoder. */
uint32_t streams_decodable(void);

/* An event of the ring. 0, or -EBADMSG when it is none. */
int streams_take_event(struct streams *streams, const void *data, size_t size);

/*
 * Closes connections without an end of their own, those over UDP, that were silent for long. now_ns: CLOCK_MONOTONIC. A call without response is told
 * as such.
 */
void streams_expire(struct streams *streams, uint64_t now_ns);

/* Calls in flight now, of one connection that has some. */
void streams_each_in_flight(struct streams *streams,
			    void (*callback)(void *context, uint32_t entity,
					     enum requests_role role, unsigned n,
					     uint64_t oldest_ns),
			    void *context);

/* Bytes of an entity in one protocol, as the decoders have seen them. */
struct stream_bytes {
	uint32_t entity;
	unsigned protocol; /* enum prefix_protocol */
	uint64_t parsed;
	uint64_t unparsed[PROTOCOL_UNPARSED_REASONS];
};
void streams_each_bytes(struct streams *streams,
			void (*callback)(void *context, const struct stream_bytes *bytes),
			void *context);

/* Clears what is kept under an entity but its live connections, which say themselves whose they are. */
void streams_forget_entity(struct streams *streams, uint32_t entity);

struct stream_counts {
	uint64_t events;
	uint64_t gaps; /* places where events are missing */
	uint64_t evicted; /* connections that made room for others */
	uint64_t abandoned; /* calls given up after a gap */
	uint64_t dropped; /* calls not begun: too many in flight on a connection, … */
	uint64_t refused; /* … or on all of them: as many as there may be connections */
	uint64_t stopped; /* connections that need not be copied any more */
	uint64_t no_memory; /* events that were let pass */
	unsigned connections;
};
const struct stream_counts *streams_counts(struct streams *streams);
/* The most that the connections of now and their calls in flight take. */
uint64_t streams_bound(const struct streams *streams);

#endif
