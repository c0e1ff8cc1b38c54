/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The body of a fuzz target for a decoder of probes/protocols: define PROTOCOL_UNDER_TEST and include this. The input is a
 * conversation: a byte of flags, four that seed the ways it is cut, and records of two bytes (little endian: size, and
 * in the highest bit whether the client says it) and so many bytes; tests/fuzz/record.py makes such files of real ones.
 *
 * It is fed record by record, then cut anywhere, then with holes, and what a decoder promises is checked: calls are consistent,
 * memory is bounded; and if all of it was parsed in whole records, the same calls come when it is cut, unless
 * PROTOCOL_DATAGRAMS says that records cannot be.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sanitizer/allocator_interface.h>
#include "probes/protocols/calls.h"

#ifdef PROTOCOL_DATAGRAMS
#define CAN_BE_CUT false
#else
#define CAN_BE_CUT true
#endif

#define HEADER	    5
#define MAX_LOG	    65536
#define OTHERS	    16384 /* what threads of libFuzzer may allocate meanwhile */
#define CALL_MEMORY 512 /* that one in flight may take, its part of the table included */

enum { FLAG_MIDWAY = 1, FLAG_GAPS = 2, FLAG_UPGRADED = 4 };
#define UPGRADE_ANSWER 71 /* bytes of what the server says first */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct conversation {
	const uint8_t *data;
	size_t size;
	uint8_t flags;
	uint32_t random;
};

struct run {
	void *connection;
	struct protocol_calls *calls;
	uint64_t ns, n_ended, n_errors;
	uint64_t memory; /* before it was opened */
	size_t log_size;
	char log[MAX_LOG];
};

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "not true: %s\n", #condition);                             \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static void note(void *context, const struct protocol_call *call)
{
	struct run *run = context;

	CHECK(call->start_ns && call->start_ns <= call->end_ns && call->end_ns <= run->ns);
	CHECK(!call->first_byte_ns || call->first_byte_ns >= call->start_ns);
	CHECK(call->first_byte_ns <= call->end_ns);
	CHECK(strlen(call->operation) < PROTOCOL_NAME_SIZE);
	CHECK(strlen(call->status) < PROTOCOL_NAME_SIZE);
	CHECK(strlen(call->target) < PROTOCOL_TEXT_SIZE);
	run->n_ended++;
	if (run->log_size < MAX_LOG)
		run->log_size += snprintf(run->log + run->log_size, MAX_LOG - run->log_size,
					  "%s|%s|%s|%d|%d|%llu|%llu\n", call->operation,
					  call->target, call->status, call->is_error, !!call->inner,
					  (unsigned long long)call->request_bytes,
					  (unsigned long long)call->response_bytes);
}

static void run_begin(struct run *run, uint8_t flags)
{
	static const struct protocol_upgrade upgrade = {
		.start_ns = 1,
		.request_bytes = 180,
		.response_bytes = UPGRADE_ANSWER,
		.answer_left = UPGRADE_ANSWER,
		.operation = "GET",
		.target = "/users/{id}",
	};
	bool midway = flags & FLAG_MIDWAY;

	run->memory = __sanitizer_get_current_allocated_bytes();
	run->ns = 1;
	run->n_ended = 0;
	run->log_size = 0;
	run->log[0] = '\0';
	run->calls = protocol_calls_new(note, run, NULL);
	run->connection = PROTOCOL_UNDER_TEST.open(midway);
	CHECK(run->calls && run->connection);
	if (flags & FLAG_UPGRADED && !midway && PROTOCOL_UNDER_TEST.upgraded)
		PROTOCOL_UNDER_TEST.upgraded(run->connection, &upgrade, run->calls);
}

static void run_check(const struct run *run)
{
	const struct protocol_counts *counts = protocol_calls_counts(run->calls);
	uint64_t in_flight = protocol_calls_in_flight(run->calls, NULL);

	CHECK(counts->ended == run->n_ended);
	CHECK(counts->begun == counts->ended + counts->abandoned + counts->forgotten + in_flight);
	CHECK(in_flight <= PROTOCOL_MAX_CALLS);
	CHECK(__sanitizer_get_current_allocated_bytes() - run->memory <=
	      PROTOCOL_MAX_STATE + OTHERS + in_flight * CALL_MEMORY);
}

static void run_end(struct run *run)
{
	run_check(run);
	protocol_calls_close(run->calls, ++run->ns);
	run_check(run);
	CHECK(!protocol_calls_in_flight(run->calls, NULL));
	PROTOCOL_UNDER_TEST.close(run->connection);
	protocol_calls_free(run->calls);
}

static bool is_all_parsed(const struct run *run)
{
	const struct protocol_counts *counts = protocol_calls_counts(run->calls);

	for (unsigned i = 0; i < PROTOCOL_UNPARSED_REASONS; i++)
		if (counts->unparsed_bytes[i])
			return false;
	return !counts->abandoned && !counts->dropped;
}

/* In memory of their own, so that a read across an end is seen. */
static void feed(struct run *run, bool from_client, const uint8_t *data, size_t size,
		 size_t head_size, size_t tail_size)
{
	uint8_t *head = malloc(head_size), *tail = malloc(tail_size);
	struct protocol_piece piece = {
		.ns = ++run->ns,
		.size = size,
		.head = head,
		.head_size = head_size,
		.tail = tail,
		.tail_size = tail_size,
		.from_client = from_client,
	};

	run->memory += head_size + tail_size;
	memcpy(head, data, head_size);
	memcpy(tail, data + size - tail_size, tail_size);
	PROTOCOL_UNDER_TEST.feed(run->connection, &piece, run->calls);
	run_check(run);
	free(head);
	free(tail);
	run->memory -= head_size + tail_size;
}

static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/* Short ones mostly. */
static size_t random_size(uint32_t *random, size_t most)
{
	size_t size = 1 + next_random(random) % (next_random(random) % 8 ? 16 : 4096);

	return size < most ? size : most;
}

enum how { WHOLE, CUT, WITH_HOLES };

static void feed_record(struct run *run, bool from_client, const uint8_t *data, size_t size,
			enum how how, uint32_t *random, bool gaps)
{
	if (how == WHOLE) {
		feed(run, from_client, data, size, size, 0);
		return;
	}
	while (size) {
		size_t n = random_size(random, size), head = next_random(random) % (n + 1);
		size_t tail = n - head;

		if (how == WITH_HOLES) {
			n = next_random(random) % 2 ? size : n;
			head = next_random(random) % 4 ? n : next_random(random) % (n + 1);
			tail = next_random(random) % (n - head + 1);
			if (gaps && next_random(random) % 16 == 0)
				PROTOCOL_UNDER_TEST.gap(run->connection, next_random(random) & 1,
							run->calls);
		}
		feed(run, from_client, data, n, head, tail);
		data += n;
		size -= n;
	}
}

static void converse(struct run *run, const struct conversation *conversation, enum how how)
{
	const uint8_t *at = conversation->data, *end = at + conversation->size;
	uint32_t random = conversation->random | 1;

	run_begin(run, conversation->flags);
	while (end - at >= 2) {
		bool from_client = at[1] & 0x80;
		size_t size = at[0] | (at[1] & 0x7f) << 8;

		at += 2;
		if (size > (size_t)(end - at))
			size = end - at;
		feed_record(run, from_client, at, size, how, &random,
			    conversation->flags & FLAG_GAPS);
		at += size;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct run whole, cut;
	struct conversation conversation;

	if (size < HEADER)
		return 0;
	conversation.flags = data[0];
	memcpy(&conversation.random, data + 1, sizeof(conversation.random));
	conversation.data = data + HEADER;
	conversation.size = size - HEADER;

	converse(&whole, &conversation, WHOLE);
	if (CAN_BE_CUT && !(conversation.flags & FLAG_MIDWAY) && is_all_parsed(&whole)) {
		converse(&cut, &conversation, CUT);
		if (strcmp(whole.log, cut.log)) {
			fprintf(stderr, "--- whole\n%s--- cut\n%s", whole.log, cut.log);
			abort();
		}
		CHECK(is_all_parsed(&cut));
		CHECK(protocol_calls_in_flight(whole.calls, NULL) ==
		      protocol_calls_in_flight(cut.calls, NULL));
		run_end(&cut);
	}
	run_end(&whole);
	converse(&cut, &conversation, WITH_HOLES);
	run_end(&cut);
	return 0;
}
