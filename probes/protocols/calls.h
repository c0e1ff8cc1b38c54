/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls of one connection, for whoever feeds its decoder: told of each call as it ends, and able to ask what is in
 * flight and what was left out. Decoders see protocol.h only. Loop thread only.
 */
#ifndef LEADLINE_PROTOCOL_CALLS_H
#define LEADLINE_PROTOCOL_CALLS_H

#include "probes/protocols/protocol.h"

#define PROTOCOL_NO_RESPONSE "no_response" /* status of a call whose connection ended first */

/* A call that has ended. Valid during the callback. */
struct protocol_call {
	const char *operation, *target, *status; /* "" where unknown; printable UTF-8 */
	bool is_error;
	bool is_encrypted; /* of a connection within TLS; for whoever feeds the decoder to say */
	bool was_alone; /* on its connection, from its beginning to its end */
	const struct protocol *inner; /* what it has become, or NULL: the connection's */
	uint64_t start_ns; /* its first byte */
	uint64_t first_byte_ns; /* of the response; 0: none was seen */
	uint64_t end_ns; /* never before start_ns, nor before first_byte_ns */
	uint64_t request_bytes, response_bytes; /* as far as the decoder counts them, else 0 */
};

typedef void (*protocol_ended)(void *context, const struct protocol_call *call);

/* Since protocol_calls_new(): begun == ended + abandoned + forgotten + in flight. */
struct protocol_counts {
	uint64_t begun;
	uint64_t ended; /* told to the callback */
	uint64_t abandoned; /* after a gap it is unknown which response was theirs */
	uint64_t forgotten; /* by the protocol's rules without response */
	uint64_t
		dropped; /* not begun: PROTOCOL_MAX_CALLS were in flight, or all there may be, or no memory */
	uint64_t unparsed_bytes[PROTOCOL_UNPARSED_REASONS];
};

/*
 * What all connections share: how many calls may be in flight on them, the memory of some that have ended, for those to
 * come, and the summaries of statements. All zero but for max: it owns nothing yet.
 */
struct protocol_pool {
	unsigned max, n;
	uint64_t refused; /* of those dropped, for this reason */
	struct call *spare;
	unsigned n_spare;
	struct sql_memo *memo; /* NULL: none was asked for yet */
};
/* Bytes that what it owns and its calls of now take at most. */
uint64_t protocol_pool_bound(const struct protocol_pool *pool);
/* Frees what it owns. No connection that shares it has calls any more. */
void protocol_pool_clear(struct protocol_pool *pool);

/* NULL: no memory. pool: outlives it; NULL: none. A connection without calls in flight keeps little more than its counts. */
struct protocol_calls *protocol_calls_new(protocol_ended ended, void *context,
					  struct protocol_pool *pool);
/* The connection has ended: each call in flight ends now as an error of status PROTOCOL_NO_RESPONSE. */
void protocol_calls_close(struct protocol_calls *calls, uint64_t ns);
/* Without a word about calls in flight. NULL is fine. */
void protocol_calls_free(struct protocol_calls *calls);

const struct protocol_counts *protocol_calls_counts(const struct protocol_calls *calls);
/* How many; with any, the start of the oldest in *ret_oldest_ns, which is untouched otherwise and may be NULL. */
unsigned protocol_calls_in_flight(const struct protocol_calls *calls, uint64_t *ret_oldest_ns);

/* Whether the decoder wants no more pieces, and in *ret_reason why; it may be fed nevertheless. */
bool protocol_calls_stopped(const struct protocol_calls *calls, enum protocol_unparsed *ret_reason);

#endif
