/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What client and server said on one connection, socket call by socket call, to be fed to a protocol's decoder: whole, cut
 * anywhere, with the middle of calls not copied, joined midway, with calls lost. The n-th socket call
 * is at (n + 1) * TALK_STEP_NS.
 */
#ifndef LEADLINE_TESTS_TALK_H
#define LEADLINE_TESTS_TALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "probes/protocols/calls.h"

#define TALK_STEP_NS 1000

struct talk_part {
	bool from_client;
	uint8_t *bytes;
	size_t size;
};

struct talk {
	struct talk_part *parts;
	size_t n;
	const struct protocol_upgrade *upgrade; /* NULL: it begins in this protocol */
};

/* A socket call. */
void talk_say(struct talk *talk, bool from_client, const void *bytes, size_t size);
/* More of the last one. */
void talk_add(struct talk *talk, const void *bytes, size_t size);
void talk_clear(struct talk *talk);
/*
 * Reads a recording, as tests/fuzz/record.py makes them: five bytes, and records of two (little endian: size, and in the
 * highest bit whether the client says it) and so many bytes. Fails the test when there is none.
 */
void talk_load(struct talk *talk, const char *path);

/* How it is seen. All zero: as it was said. */
struct talk_view {
	bool midway;
	size_t first; /* socket calls before this one are not seen */
	size_t gap, gap_size; /* so many socket calls from this one on are lost, which is told */
	size_t cut; /* every socket call comes as pieces of at most so many bytes */
	size_t split; /* the connection's bytes are split after so many, counted over both directions */
	size_t head, tail; /* bytes copied of a piece, when not both 0 */
	bool server_first; /* of two socket calls side by side, the server's comes first */
};

struct talk_call {
	char protocol[PROTOCOL_NAME_SIZE], operation[PROTOCOL_NAME_SIZE];
	char target[PROTOCOL_TEXT_SIZE], status[PROTOCOL_NAME_SIZE];
	bool is_error;
	uint64_t start_ns, first_byte_ns, end_ns, request_bytes, response_bytes;
};

struct talk_result {
	struct talk_call *calls; /* in the order they ended */
	size_t n;
	unsigned in_flight; /* at the end */
	bool was_stopped;
	enum protocol_unparsed why_stopped; /* if it was */
	struct protocol_counts counts;
	char *text; /* "protocol|operation|target|status" with "!" after errors, a line a call */
};

/* Pieces are in memory of their own size. The result is to be freed. */
struct talk_result talk_run(const struct talk *talk, const struct protocol *protocol,
			    const struct talk_view *view);
void talk_result_free(struct talk_result *result);

/*
 * What must hold however it is seen: the same calls at the same times for every split and every way of cutting; and joined
 * midway or with a gap anywhere no call that was not there, none twice, and none with another name or status: each
 * is as it was, or unknown (""), or has the beginning of its target.
 */
void talk_check(const struct talk *talk, const struct protocol *protocol, const char *expected);

#endif
