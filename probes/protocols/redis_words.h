/* SPDX-License-Identifier: Apache-2.0 */
/* The words of Redis that may be labels; for redis.c. Any thread. */
#ifndef LEADLINE_REDIS_WORDS_H
#define LEADLINE_REDIS_WORDS_H

#include <stddef.h>
#include <stdint.h>

#define REDIS_LONGEST_WORD 32 /* that need be looked at */

/* What a command does to the order of replies, or a message says of one that did. */
enum redis_kind {
	REDIS_ORDINARY, /* one reply */
	REDIS_CLIENT, /* REPLY ON, OFF or SKIP */
	REDIS_HELLO, /* chooses the protocol */
	REDIS_RESET,
	REDIS_MONITOR, /* lines follow that answer nothing */
	REDIS_SYNC, /* of a replica: what follows is another protocol */
	REDIS_MESSAGE, /* answers nothing */
	/* Answered by messages of their own name, one for each channel. */
	REDIS_SUBSCRIBE,
	REDIS_PSUBSCRIBE,
	REDIS_SSUBSCRIBE,
	REDIS_UNSUBSCRIBE,
	REDIS_PUNSUBSCRIBE,
	REDIS_SUNSUBSCRIBE,
};

struct redis_command {
	const char *name; /* upper case */
	enum redis_kind kind;
};

/* In either case; never NULL: "_OTHER". */
const struct redis_command *redis_command_find(const uint8_t *word, size_t size);
/* Of the first word of an array that may be a message. */
enum redis_kind redis_message_kind(const uint8_t *word, size_t size);
/* The first word of an error, or "_OTHER". */
const char *redis_error_find(const uint8_t *text, size_t size);

#endif
