// SPDX-License-Identifier: Apache-2.0
/*
 * What the kernel side copies of HTTP/2, from byte arrays: wherever the bytes are cut into calls and pieces of memory, what was copied is
 * what was there, nothing is missing in between, and a decoder makes the same calls of it as of all bytes.
 */
#include <stdint.h>
#include <string.h>
#define HTTP1_COPY(view, destination, size, address)                                               \
	copy_from(destination, size, (const void *)(uintptr_t)(address))

/* As in the kernel: memory that is not there is an error. */
static int copy_from(void *destination, size_t size, const void *address)
{
	if (!size)
		return 0;
	if (!address)
		return -1;
	memcpy(destination, address, size);
	return 0;
}

#include "bpf/lib/http2_frames.h"
#include "tests/harness/harness.h"
#include "tests/harness/talk.h"

#define CLIENT true
#define SERVER false

static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

struct direction {
	struct http2_frames frames;
	uint64_t said, copied;
	bool is_started;
};

struct run {
	struct talk out; /* what is told: pieces as socket calls, but for what was not copied */
	struct direction directions[2];
	void *connection;
	struct protocol_calls *calls;
	char text[65536];
	size_t n;
};

static void note(void *context, const struct protocol_call *call)
{
	struct run *run = context;

	run->n += (size_t)snprintf(run->text + run->n, sizeof(run->text) - run->n, "%s|%s|%s|%s\n",
				   (call->inner ? call->inner : &protocol_http2)->name,
				   call->operation, call->target, call->status);
	assert_true(run->n < sizeof(run->text));
}

static void run_start(struct run *run)
{
	*run = (struct run){ 0 };
	run->calls = protocol_calls_new(note, run, NULL);
	run->connection = protocol_http2.open(false);
	assert_non_null(run->calls);
	assert_non_null(run->connection);
}

static void run_stop(struct run *run)
{
	protocol_http2.close(run->connection);
	protocol_calls_free(run->calls);
}

/* Pieces are all of the call, and what was copied is what was there. */
static void feed_pieces(struct run *run, bool from_client, const uint8_t *bytes, size_t size,
			const struct http2_pieces *pieces, uint32_t used)
{
	const uint8_t *at = pieces->bytes, *end = at + used;
	struct stream_piece piece;
	uint64_t told = 0;

	assert_true(used <= HTTP2_PIECES_MAX);
	while (at < end) {
		assert_true((size_t)(end - at) >= sizeof(piece));
		memcpy(&piece, at, sizeof(piece));
		at += sizeof(piece);
		assert_true(piece.copied <= piece.size);
		assert_true(piece.copied <= (size_t)(end - at));
		assert_true(piece.size <= size - told);
		assert_memory_equal(at, bytes + told, piece.copied);
		protocol_http2.feed(run->connection,
				    &(struct protocol_piece){
					    .ns = 1,
					    .size = piece.size,
					    .head = at,
					    .head_size = piece.copied,
					    .tail = at,
					    .from_client = from_client,
				    },
				    run->calls);
		at += piece.copied;
		told += piece.size;
		run->directions[from_client].copied += piece.copied;
	}
	assert_int_equal(told, size);
}

/* A socket call of this direction, its bytes in pieces of memory as random has it; none of it can be read without. */
static void call(struct run *run, bool from_client, const uint8_t *bytes, size_t size,
		 uint32_t *random, bool midway)
{
	static struct http2_pieces pieces;
	static struct http1_view view;
	struct direction *direction = &run->directions[from_client];
	struct http1_iovec iovecs[64];
	unsigned n = 0, steps = 0;
	uint32_t used;

	if (random) {
		for (size_t at = 0; at < size; n++) {
			size_t length = next_random(random) % 700;

			if (next_random(random) % 4 == 0)
				length = next_random(random) % 12;
			if (n == 63 || length > size - at)
				length = size - at;
			iovecs[n] = (struct http1_iovec){ (uintptr_t)(bytes + at), length };
			at += length;
		}
		http1_open(&view, size, 0, 0, (uintptr_t)iovecs, n);
	} else {
		http1_open(&view, size, (uintptr_t)bytes, size, 0, 0);
	}
	direction->said += size;
	if (!http2_frames_begin(&direction->frames, &view, &pieces, from_client, midway, 0)) {
		protocol_http2.feed(run->connection,
				    &(struct protocol_piece){ .ns = 1,
							      .size = size,
							      .head = bytes,
							      .tail = bytes,
							      .from_client = from_client },
				    run->calls);
		return;
	}
	while (steps++ < HTTP2_STEPS_A_CALL)
		if (http2_frames_step(&direction->frames, &view, &pieces))
			break;
	used = http2_frames_end(&direction->frames, &view, &pieces);
	feed_pieces(run, from_client, bytes, size, &pieces, used);
}

/* All of a direction's turn is one call, or calls of random sizes. */
static void converse(struct run *run, const struct talk *talk, uint32_t *random)
{
	run_start(run);
	for (size_t i = 0; i < talk->n; i++) {
		const struct talk_part *part = &talk->parts[i];
		size_t at = 0;

		while (at < part->size) {
			size_t size = part->size - at;

			if (random && next_random(random) % 2)
				size = 1 + next_random(random) % size;
			call(run, part->from_client, part->bytes + at, size, random, false);
			at += size;
		}
	}
}

static void test_recorded(void **state)
{
	static const char *const names[] = { "grpc-python", "h2load-nghttpd" };
	static struct run run;

	for (unsigned i = 0; i < 2; i++) {
		struct talk talk = { 0 };
		struct talk_result whole;
		char path[128];
		uint32_t random = 1;

		snprintf(path, sizeof(path), "tests/fuzz/http2/%s", names[i]);
		talk_load(&talk, path);
		whole = talk_run(&talk, &protocol_http2, &(struct talk_view){ 0 });
		for (unsigned round = 0; round < 499; round++) {
			converse(&run, &talk, round ? &random : NULL);
			/* without what tells errors apart */
			for (char *c = whole.text; (c = strchr(c, '!'));)
				memmove(c, c + 1, strlen(c));
			assert_string_equal(run.text, whole.text);
			for (unsigned direction = 0; direction < 2; direction++)
				assert_false(run.directions[direction].frames.is_lost);
			run_stop(&run);
		}
		/* bodies of 2 kB */
		if (i == 1)
			assert_true(run.directions[SERVER].copied <
				    run.directions[SERVER].said / 4);
		talk_result_free(&whole);
		talk_clear(&talk);
	}
}

static void add_frame(struct talk *talk, uint8_t type, uint8_t flags, uint8_t stream,
		      const void *payload, size_t size)
{
	const uint8_t header[] = { size >> 16, size >> 8, size, type, flags, 0, 0, 0, stream };

	talk_add(talk, header, sizeof(header));
	talk_add(talk, payload, size);
}

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

/* Many streams end in one call of 100 kB, and their frames are in memory of their own. */
static void test_many_in_a_call(void **state)
{
	static uint8_t body[16384];
	enum { STREAMS = 13 };
	static struct run run;
	struct talk talk = { 0 };
	char expected[STREAMS * 32] = "";
	uint32_t random = 7;

	talk_say(&talk, CLIENT, PREFACE, strlen(PREFACE));
	for (uint8_t i = 0; i < STREAMS; i++)
		add_frame(&talk, 1, 5, 2 * i + 1, "\x82\x84\x86", 3); /* GET / http */
	talk_say(&talk, SERVER, "\0\0\0\4\0\0\0\0\0", 9);
	for (uint8_t i = 0; i < STREAMS; i++) {
		add_frame(&talk, 1, 4, 2 * i + 1, "\x88", 1); /* 200 */
		add_frame(&talk, 0, 0, 2 * i + 1, body, 8192);
		add_frame(&talk, 0, 1, 2 * i + 1, body, i);
		strcat(expected, "http2|GET|/|200\n");
	}
	converse(&run, &talk, NULL);
	assert_string_equal(run.text, expected);
	assert_true(run.directions[SERVER].copied < 1000);
	run_stop(&run);
	for (unsigned round = 0; round < 97; round++) {
		converse(&run, &talk, &random);
		assert_string_equal(run.text, expected);
		run_stop(&run);
	}
	talk_clear(&talk);
}

/* Lost by a call that cannot be read; found again by one that begins with a frame, and not by others. */
static void test_lost(void **state)
{
	static struct run run;
	struct http1_view view;
	struct http2_pieces pieces;
	struct http2_frames *frames = &run.directions[SERVER].frames;
	static const uint8_t headers[] = "\0\0\1\1\4\0\0\0\1\x88";
	static const uint8_t data[] = "\0\0\4\0\0\0\0\0\1abcd";

	run_start(&run);
	call(&run, SERVER, (const uint8_t *)"\0\0\0\4\0\0\0\0\0", 9, NULL, false);
	/* as sendfile(): a length only */
	http1_open(&view, 20, 0, 0, 0, 0);
	assert_true(http2_frames_begin(frames, &view, &pieces, SERVER, false, 0));
	for (unsigned steps = 0; steps < 9 && !http2_frames_step(frames, &view, &pieces);)
		steps++;
	assert_int_equal(http2_frames_end(frames, &view, &pieces), sizeof(struct stream_piece));
	assert_int_equal(pieces.piece.size, 20);
	assert_int_equal(pieces.piece.copied, 0);
	assert_true(frames->is_lost);
	/* no frame: DATA on no stream, text, too little */
	call(&run, SERVER, (const uint8_t *)"\0\0\4\0\0\0\0\0\0abcd", 13, NULL, false);
	call(&run, SERVER, (const uint8_t *)"anything else", 13, NULL, false);
	call(&run, SERVER, headers, 5, NULL, false);
	assert_true(frames->is_lost);
	call(&run, SERVER, headers, 10, NULL, false);
	assert_false(frames->is_lost);
	call(&run, SERVER, data, 13, NULL, false);
	assert_false(frames->is_lost);
	assert_int_equal(frames->left, 0);
	run_stop(&run);
}

/* Data whose length is known need not be readable, whoever sends it. */
static void test_sendfile(void **state)
{
	static struct run run;
	struct http1_view view;
	struct http2_pieces pieces;
	struct http2_frames *frames = &run.directions[SERVER].frames;

	run_start(&run);
	call(&run, SERVER, (const uint8_t *)"\0\0\0\4\0\0\0\0\0\0\x20\0\0\0\0\0\0\1", 18, NULL,
	     false);
	http1_open(&view, 8192, 0, 0, 0, 0);
	assert_true(http2_frames_begin(frames, &view, &pieces, SERVER, false, 0));
	while (!http2_frames_step(frames, &view, &pieces))
		;
	http2_frames_end(frames, &view, &pieces);
	assert_int_equal(pieces.piece.size, 8192);
	assert_false(frames->is_lost);
	call(&run, SERVER, (const uint8_t *)"\0\0\0\0\1\0\0\0\1", 9, NULL, false);
	assert_false(frames->is_lost);
	run_stop(&run);
}

/* What has no room is not copied, but told; nothing is lost by it. */
static void test_room(void **state)
{
	static struct run run;
	static uint8_t block[3000];
	struct talk talk = { 0 };
	uint32_t random = 3;

	memset(block, 0x82, sizeof(block));
	talk_say(&talk, SERVER, "\0\0\0\4\0\0\0\0\0", 9);
	for (unsigned i = 0; i < 5; i++)
		add_frame(&talk, 1, 4, 1, block, sizeof(block));
	for (unsigned i = 0; i < 25; i++)
		add_frame(&talk, 0, 0, 1, block, 100);
	for (unsigned round = 0; round < 97; round++) {
		converse(&run, &talk, round ? &random : NULL);
		assert_false(run.directions[SERVER].frames.is_lost);
		run_stop(&run);
	}
	talk_clear(&talk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recorded), cmocka_unit_test(test_many_in_a_call),
		cmocka_unit_test(test_lost),	 cmocka_unit_test(test_sendfile),
		cmocka_unit_test(test_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
