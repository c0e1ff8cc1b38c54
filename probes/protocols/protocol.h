/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a wire protocol is: a const descriptor, one file each. The kernel copies the beginning and the end of what a socket call
 * moves (bpf/streams.h); a decoder makes calls of it: requests with their operation, status and time. Decoders are
 * pure: bytes in, calls out; no clock, no log, no global. Loop thread only.
 *
 * A decoder never guesses. What it joined midway, or cannot follow after a gap, it leaves out until it meets something that can only be the
 * beginning of a message, and says so (protocol_unparsed()). Every length it reads is hostile. Memory per connection is
 * bounded by PROTOCOL_MAX_STATE.
 *
 * Adding a protocol: probes/protocols/NAME.c, on stream.h if it is one; tests/unit/test_protocol_NAME.c; tests/fuzz/fuzz_NAME.c
 * with conversations that tests/fuzz/record.py has recorded; a line in protocols.def; and its first bytes in
 * bpf/lib/protocol_prefix.h.
 */
#ifndef LEADLINE_PROTOCOL_H
#define LEADLINE_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROTOCOL_MAX_STATE (64 * 1024) /* bytes a decoder may allocate for one connection */
/* in flight on one connection; those beyond are counted, not timed */
#define PROTOCOL_MAX_CALLS 1024
#define PROTOCOL_NAME_SIZE 32
#define PROTOCOL_TEXT_SIZE 128

/* What one socket call moved in one direction. */
struct protocol_piece {
	uint64_t ns; /* CLOCK_MONOTONIC */
	uint64_t size; /* bytes moved */
	const uint8_t *head; /* the first of them … */
	size_t head_size; /* … so many; == size: all of them */
	const uint8_t *tail; /* the last of them, where head does not reach */
	size_t tail_size; /* head_size + tail_size <= size */
	bool from_client;
};

/*
 * The calls of a connection (calls.c), in the order they began. A decoder names one by a key of its choice: a stream id, a
 * counter. A call that was not begun is ignored by all but protocol_begin().
 */
struct protocol_calls;

/* The first byte of a call. Nothing happens when one of this key is in flight. */
void protocol_begin(struct protocol_calls *calls, uint64_t key, uint64_t ns);
/*
 * operation: of a bounded set ("SELECT", "GET", "HGETALL", "A"), upper case where the protocol does not care; "" unknown.
 * target: a summary without literals ("SELECT orders", "/users/{id}", "shop.Cart/Add"); at most PROTOCOL_TEXT_SIZE - 1
 * bytes are kept, cut at a character; what is not printable becomes '?'. NULL leaves either as it is.
 */
void protocol_name(struct protocol_calls *calls, uint64_t key, const char *operation,
		   const char *target);
/*
 * This call is one of another protocol that is carried inside: gRPC in HTTP/2. It counts under that one's name and
 * family. The other one's line in protocols.def may have the same functions.
 */
struct protocol;
void protocol_become(struct protocol_calls *calls, uint64_t key, const struct protocol *inner);
/* So many more bytes of either direction were its own, for decoders that know. */
void protocol_count(struct protocol_calls *calls, uint64_t key, uint64_t request_bytes,
		    uint64_t response_bytes);
/* The first byte of its response. Later ones are ignored. */
void protocol_respond(struct protocol_calls *calls, uint64_t key, uint64_t ns);
/*
 * Its last byte. status: "" fine, without or unknown; else a bounded code ("42P01", "ERR", "5", "NXDOMAIN", "503"). is_error:
 * as its client sees it. HTTP has a code for what went well, too, and a word when there was none ("cancelled", "refused",
 * "reset"); whether a code is an error for the server, too, is for the reader of the calls to say.
 */
void protocol_end(struct protocol_calls *calls, uint64_t key, uint64_t ns, const char *status,
		  bool is_error);
/* It has no response, by the protocol's rules (one-way): it is as if it had never begun. */
void protocol_forget(struct protocol_calls *calls, uint64_t key);
bool protocol_is_in_flight(const struct protocol_calls *calls, uint64_t key);
/* The oldest call that has not ended: 0 with *ret_key and, unless NULL, *ret_start_ns; or -ENOENT. */
int protocol_oldest(const struct protocol_calls *calls, uint64_t *ret_key, uint64_t *ret_start_ns);
/* Calls in flight are given up: a gap makes it unknowable which response is whose. */
void protocol_abandon(struct protocol_calls *calls);

/* Statements that came before, on this connection or another; made when first asked for. NULL: there is none. */
struct sql_memo;
struct sql_memo *protocol_sql_memo(struct protocol_calls *calls);

/* So many bytes of this direction could not be told apart, for one of these reasons. */
enum protocol_unparsed {
	PROTOCOL_TRUNCATED, /* beyond what the kernel copied */
	PROTOCOL_MIDWAY, /* joined after the beginning, or after a gap */
	PROTOCOL_MALFORMED, /* not this protocol, or beyond our limits */
	PROTOCOL_ENCRYPTED, /* from here on */
	PROTOCOL_UNPARSED_REASONS,
};
void protocol_unparsed(struct protocol_calls *calls, enum protocol_unparsed reason, uint64_t bytes);
/* Nothing more can come of this connection, for that reason: its pieces need not be copied any more. */
void protocol_stop(struct protocol_calls *calls, enum protocol_unparsed reason);

/*
 * Which OpenTelemetry histogram its calls go to, and under which labels: see probes/requests_calls.c.
 */
enum protocol_family {
	PROTOCOL_DATABASE, /* db_client_operation_duration_seconds, and the server's */
	PROTOCOL_HTTP, /* operation: method; target: route; status: code */
	PROTOCOL_RPC, /* target: "package.Service/Method"; status: gRPC code */
	PROTOCOL_NAMES, /* dns_lookup_duration_seconds; operation: type asked for; status: response code */
};

/* With what a connection begins that was upgraded from another protocol: a call there, which is to be answered in this one. */
struct protocol_upgrade {
	uint64_t start_ns;
	uint64_t request_bytes, response_bytes; /* that it had there */
	uint32_t answer_left; /* bytes of the other protocol which the server's pieces begin with */
	const char *operation, *target; /* as of protocol_name() */
};

struct protocol {
	/* label value: "postgresql", as OpenTelemetry's db.system.name where there is one */
	const char *name;
	enum protocol_family family;
	/*
	 * A connection, seen from its first byte or not (midway). NULL: no memory. Exactly one decoder looks at a
	 * connection: the kernel has classified it.
	 */
	void *(*open)(bool midway);
	void (*close)(void *connection); /* NULL is fine */
	/*
	 * Pieces come in order within a direction, and nearly so between the two: where one thread writes and another
	 * reads, a response may come before its request. A decoder makes no more of it than of a gap.
	 */
	void (*feed)(void *connection, const struct protocol_piece *piece,
		     struct protocol_calls *calls);
	/* Pieces of this direction were lost, it is not known how many. */
	void (*gap)(void *connection, bool from_client, struct protocol_calls *calls);
	/* Before all pieces of a connection that is seen from its first byte. NULL: no connection is upgraded to this protocol. */
	void (*upgraded)(void *connection, const struct protocol_upgrade *upgrade,
			 struct protocol_calls *calls);
};

/* All protocols, from protocols.def. */
#define PROTOCOL(name) extern const struct protocol protocol_##name;
#include "probes/protocols/protocols.def"
#undef PROTOCOL

#endif
