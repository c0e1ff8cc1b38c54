// SPDX-License-Identifier: Apache-2.0
/*
 * A stream read across its pieces: cut at every point, with every part of a piece copied or not. The bytes handed out are
 * those of the stream at that position, a message is met if and only if its header was copied, and what is known of length is skipped
 * unseen.
 */
#include "tests/harness/harness.h"
#include <errno.h>
#include "probes/protocols/stream.h"

#define HEADER	4 /* 'M', number, length of the body in two bytes */
#define MAX_LOG 64

/* Messages with bodies of 0, 1, 2, 3, 5 and 7 bytes that look like headers. */
static uint8_t bytes[64];
static size_t n_bytes;

static void build(void)
{
	static const uint8_t bodies[] = { 3, 0, 7, 1, 5, 2 };

	n_bytes = 0;
	for (uint8_t i = 0; i < sizeof(bodies); i++) {
		memcpy(bytes + n_bytes, (const uint8_t[]){ 'M', i, 0, bodies[i] }, HEADER);
		memset(bytes + n_bytes + HEADER, 'M', bodies[i]);
		n_bytes += HEADER + bodies[i];
	}
}

struct reader {
	struct protocol_stream stream;
	bool in_body, lost;
	uint8_t number;
	unsigned n;
	struct {
		uint8_t number;
		uint64_t begin_ns, end_ns;
	} log[MAX_LOG];
	uint64_t given_up;
};

static void read_messages(struct reader *reader)
{
	struct protocol_stream *stream = &reader->stream;
	const uint8_t *header;
	int err;

	for (;;) {
		if (reader->in_body) {
			if (!protocol_stream_has_skipped(stream))
				return;
			reader->in_body = false;
			reader->log[reader->n++].end_ns = stream->piece->ns;
		}
		err = protocol_stream_peek(stream, HEADER, &header);
		if (err) {
			if (err == -ENODATA) {
				reader->lost = true;
				reader->given_up += protocol_stream_give_up(stream);
			}
			return;
		}
		assert_int_equal(header[0], 'M');
		assert_true(reader->n < MAX_LOG);
		reader->log[reader->n].number = header[1];
		reader->log[reader->n].begin_ns = protocol_stream_ns(stream);
		reader->in_body = true;
		protocol_stream_skip(stream, HEADER + (header[2] << 8 | header[3]));
	}
}

/*
 * Bytes begin..end in one piece, with so many copied at both ends, in memory of their own so that the sanitizer
 * sees a read beyond.
 */
static void feed(struct reader *reader, size_t begin, size_t end, size_t head_size,
		 size_t tail_size, uint64_t ns)
{
	struct protocol_piece piece = {
		.ns = ns,
		.size = end - begin,
		.head_size = head_size,
		.tail_size = tail_size,
	};
	uint8_t *head = malloc(head_size), *tail = malloc(tail_size);

	assert_true(head_size + tail_size <= end - begin);
	memcpy(head, bytes + begin, head_size);
	memcpy(tail, bytes + end - tail_size, tail_size);
	piece.head = head;
	piece.tail = tail;
	protocol_stream_open(&reader->stream, &piece);
	if (!reader->lost)
		read_messages(reader);
	protocol_stream_close(&reader->stream);
	free(head);
	free(tail);
}

static void assert_all(struct reader *reader)
{
	assert_false(reader->lost);
	assert_int_equal(reader->n, 6);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(reader->log[i].number, i);
	assert_null(reader->stream.held);
}

static void cut_anywhere_it_is_the_same(void **state)
{
	build();
	for (size_t i = 0; i <= n_bytes; i++)
		for (size_t j = i; j <= n_bytes; j++)
			for (size_t split = 0; split <= j - i; split++) {
				struct reader reader = {};

				/* the middle one in head and tail, nothing between */
				feed(&reader, 0, i, i, 0, 1);
				feed(&reader, i, j, split, j - i - split, 2);
				feed(&reader, j, n_bytes, 0, n_bytes - j, 3);
				assert_all(&reader);
			}
}

static void byte_by_byte_it_is_the_same(void **state)
{
	struct reader reader = {};
	size_t begin = 0;

	build();
	for (size_t i = 0; i < n_bytes; i++)
		feed(&reader, i, i + 1, i & 1, !(i & 1), i);
	assert_all(&reader);
	/* and times are those of the first and the last byte */
	for (unsigned i = 0; i < 6; i++) {
		size_t end = begin + HEADER + bytes[begin + 3];

		assert_int_equal(reader.log[i].begin_ns, begin);
		assert_int_equal(reader.log[i].end_ns, end - 1);
		begin = end;
	}
}

static void times_are_those_of_the_pieces(void **state)
{
	build();
	for (size_t i = 1; i < n_bytes; i++) {
		struct reader reader = {};
		size_t begin = 0;

		feed(&reader, 0, i, i, 0, 100);
		feed(&reader, i, n_bytes, n_bytes - i, 0, 200);
		assert_all(&reader);
		for (unsigned k = 0; k < 6; k++) {
			size_t end = begin + HEADER + bytes[begin + 3];

			assert_int_equal(reader.log[k].begin_ns, begin < i ? 100 : 200);
			assert_int_equal(reader.log[k].end_ns, end <= i ? 100 : 200);
			begin = end;
		}
	}
}

/* Every hole in every second piece: exactly those messages are met that come before the first header with a hole. */
static void a_hole_in_a_header_is_told_and_one_in_a_body_is_not(void **state)
{
	build();
	for (size_t i = 0; i < n_bytes; i++)
		for (size_t hole = i; hole < n_bytes; hole++)
			for (size_t size = 1; size <= n_bytes - hole; size++) {
				struct reader reader = {};
				size_t begin = 0;
				unsigned n = 0;

				feed(&reader, 0, i, i, 0, 1);
				feed(&reader, i, n_bytes, hole - i, n_bytes - hole - size, 2);
				while (begin < n_bytes &&
				       (hole >= begin + HEADER || hole + size <= begin)) {
					begin += HEADER + bytes[begin + 3];
					n++;
				}
				assert_int_equal(reader.n, n);
				assert_int_equal(reader.lost, begin < n_bytes);
				assert_int_equal(reader.given_up, n_bytes - begin);
				protocol_stream_reset(&reader.stream);
			}
}

static void skipping_goes_on_over_any_number_of_pieces(void **state)
{
	struct protocol_stream stream = {};
	struct protocol_piece piece = { .ns = 1, .size = 1000 };
	struct protocol_piece last = {
		.ns = 9, .size = 3, .head = (const uint8_t *)"xyz", .head_size = 3
	};
	const uint8_t *byte;

	protocol_stream_open(&stream, &piece);
	assert_false(protocol_stream_skip(&stream, 5001));
	assert_int_equal(protocol_stream_left(&stream), 0);
	assert_int_equal(protocol_stream_close(&stream), 0);
	for (unsigned i = 0; i < 4; i++) {
		protocol_stream_open(&stream, &piece);
		assert_false(protocol_stream_has_skipped(&stream));
		assert_int_equal(protocol_stream_peek(&stream, 1, &byte), -EAGAIN);
		assert_int_equal(protocol_stream_close(&stream), 0);
	}
	protocol_stream_open(&stream, &last);
	assert_true(protocol_stream_has_skipped(&stream));
	assert_int_equal(protocol_stream_peek(&stream, 1, &byte), 0);
	assert_int_equal(*byte, 'y');
	assert_int_equal(protocol_stream_peek(&stream, 3, &byte), -EAGAIN);
	/* lengths from hostile peers do not run over */
	assert_false(protocol_stream_skip(&stream, UINT64_MAX));
	assert_false(protocol_stream_skip(&stream, UINT64_MAX));
	assert_int_equal(protocol_stream_close(&stream), 0);
	protocol_stream_open(&stream, &last);
	assert_false(protocol_stream_has_skipped(&stream));
	assert_int_equal(protocol_stream_give_up(&stream), 0);
	assert_true(protocol_stream_has_skipped(&stream));
	assert_int_equal(protocol_stream_close(&stream), 0);
	assert_null(stream.held);
}

static void some_bytes_are_as_many_as_there_are_before_a_hole(void **state)
{
	struct protocol_stream stream = {};
	struct protocol_piece first = { .size = 2, .head = (const uint8_t *)"ab", .head_size = 2 };
	struct protocol_piece second = {
		.size = 10,
		.head = (const uint8_t *)"cd",
		.head_size = 2,
		.tail = (const uint8_t *)"uvwxyz",
		.tail_size = 6,
	};
	const uint8_t *some = NULL;
	size_t size = 0;

	protocol_stream_open(&stream, &first);
	assert_int_equal(protocol_stream_peek_some(&stream, 7, &some, &size), -EAGAIN);
	assert_int_equal(protocol_stream_close(&stream), 0);
	protocol_stream_open(&stream, &second);
	assert_int_equal(protocol_stream_peek_some(&stream, 7, &some, &size), 0);
	assert_int_equal(size, 4);
	assert_memory_equal(some, "abcd", 4);
	assert_int_equal(protocol_stream_peek(&stream, 5, &some), -ENODATA);
	assert_int_equal(protocol_stream_peek_some(&stream, 3, &some, &size), 0);
	assert_int_equal(size, 3);
	assert_memory_equal(some, "abc", 3);
	assert_int_equal(protocol_stream_ready(&stream, &some),
			 4); /* those were put in one place */
	assert_memory_equal(some, "abcd", 4);
	assert_true(protocol_stream_skip(&stream, 5)); /* into the hole */
	assert_int_equal(protocol_stream_peek_some(&stream, 3, &some, &size), 0);
	assert_int_equal(size, 0);
	assert_int_equal(protocol_stream_ready(&stream, &some), 0);
	assert_int_equal(protocol_stream_peek(&stream, 1, &some), -ENODATA);
	assert_memory_equal(protocol_piece_last(&second, 6), "uvwxyz", 6);
	assert_null(protocol_piece_last(&second, 7));
	assert_int_equal(protocol_stream_left(&stream), 7);
	assert_int_equal(protocol_stream_pass_hole(&stream), 1);
	assert_int_equal(protocol_stream_pass_hole(&stream), 0);
	assert_int_equal(protocol_stream_peek(&stream, 6, &some), 0);
	assert_memory_equal(some, "uvwxyz", 6);
	assert_true(protocol_stream_skip(&stream, 2));
	assert_int_equal(protocol_stream_ready(&stream, &some), 4);
	assert_memory_equal(some, "wxyz", 4);
	assert_int_equal(protocol_stream_give_up(&stream), 4);
	assert_int_equal(protocol_stream_close(&stream), 0);
	assert_null(stream.held);
}

static void lines_are_found_across_pieces(void **state)
{
	static const char text[] = "+OK\r\n\n:12\r\n0123456789";
	static const char *const lines[] = { "+OK\r\n", "\n", ":12\r\n" };
	const uint8_t *line;
	size_t size;

	for (size_t i = 0; i < sizeof(text); i++) {
		struct protocol_piece pieces[] = {
			{ .size = i, .tail = (const uint8_t *)text, .tail_size = i },
			{ .size = sizeof(text) - 1 - i,
			  .head = (const uint8_t *)text + i,
			  .head_size = sizeof(text) - 1 - i },
		};
		struct protocol_stream stream = {};
		unsigned n = 0;
		int err = 0;

		for (unsigned k = 0; k < 2; k++) {
			protocol_stream_open(&stream, &pieces[k]);
			while (!(err = protocol_stream_peek_line(&stream, 8, &line, &size))) {
				assert_true(n < 3);
				assert_int_equal(size, strlen(lines[n]));
				assert_memory_equal(line, lines[n], size);
				protocol_stream_skip(&stream, size);
				n++;
			}
			if (k)
				break;
			assert_int_equal(err, i < 11 + 8 ? -EAGAIN : -EMSGSIZE);
			assert_int_equal(protocol_stream_close(&stream), 0);
		}
		assert_int_equal(n, 3);
		assert_int_equal(err, -EMSGSIZE);
		protocol_stream_reset(&stream);
		assert_null(stream.held);
	}
}

static void too_much_is_not_kept(void **state)
{
	static uint8_t zero[PROTOCOL_STREAM_MAX + 1];
	struct protocol_piece most = { .size = PROTOCOL_STREAM_MAX,
				       .head = zero,
				       .head_size = PROTOCOL_STREAM_MAX };
	struct protocol_piece one = { .size = 1, .head = zero, .head_size = 1 };
	struct protocol_piece with_hole = { .size = 2, .tail = zero, .tail_size = 1 };
	struct protocol_stream stream = {};
	const uint8_t *byte;

	protocol_stream_open(&stream, &most);
	assert_int_equal(protocol_stream_peek(&stream, PROTOCOL_STREAM_MAX + 1, &byte), -EMSGSIZE);
	assert_int_equal(protocol_stream_close(&stream), 0);
	assert_int_equal(stream.held_capacity, PROTOCOL_STREAM_MAX);
	protocol_stream_open(&stream, &one);
	assert_int_equal(protocol_stream_left(&stream), PROTOCOL_STREAM_MAX + 1);
	assert_int_equal(protocol_stream_close(&stream), -ENODATA);
	assert_null(stream.held);
	protocol_stream_open(&stream, &with_hole);
	assert_int_equal(protocol_stream_close(&stream), -ENODATA);
	protocol_stream_open(&stream, &one);
	assert_int_equal(protocol_stream_peek(&stream, 1, &byte), 0);
	assert_int_equal(protocol_stream_close(&stream), 0);
	protocol_stream_reset(&stream);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cut_anywhere_it_is_the_same),
		cmocka_unit_test(byte_by_byte_it_is_the_same),
		cmocka_unit_test(times_are_those_of_the_pieces),
		cmocka_unit_test(a_hole_in_a_header_is_told_and_one_in_a_body_is_not),
		cmocka_unit_test(skipping_goes_on_over_any_number_of_pieces),
		cmocka_unit_test(some_bytes_are_as_many_as_there_are_before_a_hole),
		cmocka_unit_test(lines_are_found_across_pieces),
		cmocka_unit_test(too_much_is_not_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
