// SPDX-License-Identifier: Apache-2.0
/* Events of the kernel side whose bytes come in pieces: to the decoder one by one, and what is refused. */
#include "tests/harness/harness.h"
#include <errno.h>
#include "probes/requests_streams.h"

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

/* An event under construction. */
struct built {
	struct stream_event event;
	uint8_t bytes[512];
};

static struct built built_start(uint32_t sequence, uint8_t flags)
{
	return (struct built){
		.event = {
			.connection = 7,
			.ns = 1000 * (sequence + 1),
			.entity = 3,
			.sequence = sequence,
			.kind = STREAM_DATA,
			.protocol = PREFIX_HTTP2,
			.role = REQUESTS_SERVER,
			.flags = flags,
		},
	};
}

static void built_piece(struct built *built, uint32_t size, const void *bytes, uint32_t copied)
{
	const struct stream_piece piece = { size, copied };
	uint8_t *at = built->bytes + built->event.head_size;

	memcpy(at, &piece, sizeof(piece));
	memcpy(at + sizeof(piece), bytes, copied);
	built->event.head_size += sizeof(piece) + copied;
	built->event.size += size;
}

static int take(struct streams *streams, const struct built *built)
{
	size_t size = sizeof(built->event) + built->event.head_size + built->event.tail_size;
	struct stream_event *exact = malloc(size);
	int err;

	assert_non_null(exact);
	memcpy(exact, built, size);
	err = streams_take_event(streams, exact, size);
	free(exact);
	return err;
}

static void a_call_in_pieces(void **state)
{
	struct call_table *calls = call_table_new(100);
	struct streams *streams = streams_new(10, 10, calls);
	struct built built = built_start(0, STREAM_FROM_CLIENT | STREAM_BEGINS | STREAM_IN_PIECES);

	assert_non_null(streams);
	built_piece(&built, 24, PREFACE, 24);
	built_piece(&built, 12, "\0\0\3\1\5\0\0\0\1\x82\x84\x86", 12);
	assert_int_equal(take(streams, &built), 0);
	/* two frames of data that were not copied, and the end behind them */
	built = built_start(0, STREAM_IN_PIECES);
	built_piece(&built, 10 + 9 + 5000, "\0\0\1\1\4\0\0\0\1\x88\0\x13\x88\0\0\0\0\0\1", 19);
	built_piece(&built, 9 + 7000, "\0\x1b\x58\0\0\0\0\0\1", 9);
	assert_int_equal(take(streams, &built), 0);
	assert_int_equal(call_table_counts(calls)->recorded, 0);
	built = built_start(1, STREAM_IN_PIECES);
	built_piece(&built, 9, "\0\0\0\0\1\0\0\0\1", 9);
	assert_int_equal(take(streams, &built), 0);
	assert_int_equal(call_table_counts(calls)->recorded, 1);
	assert_int_equal(streams_counts(streams)->events, 3);
	assert_int_equal(streams_counts(streams)->gaps, 0);
	streams_free(streams);
	call_table_free(calls);
}

static void pieces_that_are_none(void **state)
{
	struct call_table *calls = call_table_new(100);
	struct streams *streams = streams_new(10, 10, calls);
	struct built built;

	assert_non_null(streams);
	/* not all of the call, and more than that */
	for (int off = -1; off < 2; off += 2) {
		built = built_start(0, STREAM_FROM_CLIENT | STREAM_IN_PIECES);
		built_piece(&built, 24, PREFACE, 24);
		built.event.size += (uint64_t)off;
		assert_int_equal(take(streams, &built), -EBADMSG);
	}
	/* a piece with more copied than there is of it, or than there is in the event */
	built = built_start(0, STREAM_FROM_CLIENT | STREAM_IN_PIECES);
	built_piece(&built, 23, PREFACE, 24);
	assert_int_equal(take(streams, &built), -EBADMSG);
	built = built_start(0, STREAM_FROM_CLIENT | STREAM_IN_PIECES);
	built_piece(&built, 24, PREFACE, 24);
	built.event.head_size--;
	assert_int_equal(take(streams, &built), -EBADMSG);
	/* a part of a piece's size */
	built = built_start(0, STREAM_FROM_CLIENT | STREAM_IN_PIECES);
	built_piece(&built, 24, PREFACE, 24);
	built.event.head_size += 7;
	assert_int_equal(take(streams, &built), -EBADMSG);
	assert_int_equal(streams_counts(streams)->events, 0);
	streams_free(streams);
	call_table_free(calls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_call_in_pieces),
		cmocka_unit_test(pieces_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
