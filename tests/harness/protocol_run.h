/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection for the tests of decoders: what either side says goes in, calls come out as text, a word or more each:
 * "GET", "SELECT SELECT orders", "SET =OOM !" for an error. One thread.
 */
#ifndef LEADLINE_TESTS_PROTOCOL_RUN_H
#define LEADLINE_TESTS_PROTOCOL_RUN_H

#include "probes/protocols/calls.h"

struct protocol_run {
	const struct protocol *protocol;
	void *connection;
	struct protocol_calls *calls;
	uint64_t ns; /* of the last piece; each comes 10 ns after the one before */
	char log[16384]; /* calls that have ended, separated by "; " */
	struct protocol_call last; /* its times and sizes; the texts are gone */
};

void protocol_run_begin(struct protocol_run *run, const struct protocol *protocol, bool midway);
/* All of it copied. */
void protocol_run_feed(struct protocol_run *run, bool from_client, const void *bytes, size_t size);
/* Only so many bytes copied from either end. */
void protocol_run_feed_part(struct protocol_run *run, bool from_client, const void *bytes,
			    size_t size, size_t head_size, size_t tail_size);
/* The calls since the last time, or the beginning. Fails the test unless they are as expected. */
void protocol_run_expect(struct protocol_run *run, const char *expected);
/* What is in flight ends with the connection. */
void protocol_run_close(struct protocol_run *run);
void protocol_run_end(struct protocol_run *run);

/* Texts without their NUL. */
#define CLIENT(run, text) protocol_run_feed(run, true, text, sizeof(text) - 1)
#define SERVER(run, text) protocol_run_feed(run, false, text, sizeof(text) - 1)

struct protocol_step {
	bool from_client;
	const char *bytes;
	size_t size;
};
#define CLIENT_STEP(text)                                                                          \
	{                                                                                          \
		true, text, sizeof(text) - 1                                                       \
	}
#define SERVER_STEP(text)                                                                          \
	{                                                                                          \
		false, text, sizeof(text) - 1                                                      \
	}

/*
 * These steps give these calls, and leave nothing unparsed, in one piece each, in pieces of every small size, cut in
 * two at every byte, and copied as head and tail that meet at every byte.
 */
void protocol_run_steps(const struct protocol *protocol, const struct protocol_step *steps,
			size_t n_steps, const char *expected);

/* What a file of tests/fuzz has recorded (see record.py), a record a piece, or in pieces of at most so many bytes. */
void protocol_run_capture(struct protocol_run *run, const char *path, size_t most);

#endif
