/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Redis connection, between redis.c (which reply answers which command), redis_commands.c (what the client says) and
 * redis_replies.c (what the server says). Loop thread only.
 */
#ifndef LEADLINE_REDIS_INTERNAL_H
#define LEADLINE_REDIS_INTERNAL_H

#include "probes/protocols/redis_words.h"
#include "probes/protocols/stream.h"

#define REDIS_LINE	   32 /* the longest line that is a length or a number */
#define REDIS_TEXT	   128 /* what is looked at of a line of text */
#define REDIS_DEPTH	   32 /* of arrays in arrays */
#define REDIS_SPECIALS	   16 /* in flight */
#define REDIS_MAX_ELEMENTS (UINT64_C(1) << 32) /* of an array; Redis allows half */
#define REDIS_MAX_BYTES                                                                            \
	(UINT64_C(1) << 40) /* of a string; Redis allows 512 MiB unless configured otherwise */

/* A command, as far as it was read. */
struct redis_request {
	uint64_t ns; /* its first byte */
	uint64_t bytes;
	uint64_t arguments; /* that follow, the one being read included */
	uint64_t n; /* that were read, the name included */
	const struct redis_command *command; /* NULL: its name was not read yet */
	uint8_t first[REDIS_LINE],
		second[REDIS_LINE]; /* arguments of those commands that need them, with a NUL */
	bool is_begun;
};

/* A reply or a message, as far as it was read. */
struct redis_reply {
	uint8_t type; /* its first byte; 0: none is being read */
	bool is_error;
	bool is_number; /* text that begins with a digit */
	const char *status;
	enum redis_kind kind; /* what it says if it is a message */
	bool is_first; /* no element of the outermost array has been read */
	bool is_last; /* it says that no subscription is left */
	uint64_t ns, bytes;
	unsigned depth;
	uint32_t attributes; /* a bit a level: that is not the value, which follows */
	uint64_t left[REDIS_DEPTH]; /* elements to come, by level */
};
_Static_assert(REDIS_DEPTH <= 32, "a bit a level");

/* A command in flight after which replies are not one for each command. */
struct redis_special {
	uint64_t key;
	enum redis_kind kind;
	uint64_t messages; /* that answer it */
};

struct redis {
	struct protocol_stream commands, replies;
	bool has_commands, has_replies; /* the positions in these are known */
	bool in_request; /* after its first line */
	bool in_line; /* the rest of a long line is passed over */
	bool in_reply_line;
	bool in_element; /* its last byte was skipped, but need not have come */
	struct redis_request request;
	struct redis_reply reply;

	bool is_following; /* the next reply is that of the call `answered` */
	bool has_hidden; /* commands that were not copied await replies, too */
	uint64_t sent, answered; /* keys of the next command and of the next reply */
	struct redis_special specials[REDIS_SPECIALS];
	unsigned n_specials;

	enum { REDIS_REPLIES, REDIS_NO_REPLIES, REDIS_SKIPS_NEXT } mode; /* CLIENT REPLY */
	bool is_resp3;
	bool may_be_message; /* arrays need to be looked at */
	bool is_monitor;
	bool is_over; /* another protocol */

	/* While not following: commands and replies since the client began to speak, and how often these were as many */
	uint64_t turn_commands, turn_replies;
	unsigned good_turns;
	bool server_spoke;
	uint64_t server_ns; /* when it did last */
};

/* Read on in the piece that is open. 0, or why it is not possible: -EAGAIN, -ENODATA a hole, -EBADMSG not Redis. */
int redis_read_commands(struct redis *redis, struct protocol_calls *calls);
int redis_read_replies(struct redis *redis, struct protocol_calls *calls);

/* What these found. */
void redis_request_named(struct redis *redis, struct protocol_calls *calls);
void redis_request_ended(struct redis *redis, struct protocol_calls *calls);
void redis_reply_ended(struct redis *redis, struct protocol_calls *calls);

/* A number and its "\r\n" after the first byte of a line. False: it is none. */
bool redis_line_number(const uint8_t *line, size_t size, int64_t *ret_number);
/* Passes over the rest of a line whose beginning was read. 0: it has ended. */
int redis_skip_line(struct protocol_stream *stream, uint64_t *bytes);

#endif
