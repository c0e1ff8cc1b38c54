// SPDX-License-Identifier: Apache-2.0
/* A connection for the tests of decoders. One thread. */
#include "tests/harness/harness.h"
#include "tests/harness/protocol_run.h"

static void note(void *context, const struct protocol_call *call)
{
	struct protocol_run *run = context;
	size_t size = strlen(run->log);

	assert_true(call->start_ns <= call->end_ns);
	assert_true(!call->first_byte_ns ||
		    (call->first_byte_ns >= call->start_ns && call->first_byte_ns <= call->end_ns));
	run->last = *call;
	snprintf(run->log + size, sizeof(run->log) - size, "%s%s%s%s%s%s%s", size ? "; " : "",
		 *call->operation ? call->operation : "?", *call->target ? " " : "", call->target,
		 *call->status ? " =" : "", call->status, call->is_error ? " !" : "");
}

void protocol_run_begin(struct protocol_run *run, const struct protocol *protocol, bool midway)
{
	memset(run, 0, sizeof(*run));
	run->protocol = protocol;
	run->ns = 1000;
	run->connection = protocol->open(midway);
	run->calls = protocol_calls_new(note, run, NULL);
	assert_non_null(run->connection);
	assert_non_null(run->calls);
}

void protocol_run_feed_part(struct protocol_run *run, bool from_client, const void *bytes,
			    size_t size, size_t head_size, size_t tail_size)
{
	/* in memory of their own, so that the sanitizer sees a read beyond */
	uint8_t *head = malloc(head_size), *tail = malloc(tail_size);
	struct protocol_piece piece = {
		.ns = run->ns += 10,
		.size = size,
		.head = head,
		.head_size = head_size,
		.tail = tail,
		.tail_size = tail_size,
		.from_client = from_client,
	};

	assert_true(head_size + tail_size <= size);
	memcpy(head, bytes, head_size);
	memcpy(tail, (const uint8_t *)bytes + size - tail_size, tail_size);
	run->protocol->feed(run->connection, &piece, run->calls);
	free(head);
	free(tail);
}

void protocol_run_feed(struct protocol_run *run, bool from_client, const void *bytes, size_t size)
{
	protocol_run_feed_part(run, from_client, bytes, size, size, 0);
}

void protocol_run_expect(struct protocol_run *run, const char *expected)
{
	assert_string_equal(run->log, expected);
	*run->log = '\0';
}

void protocol_run_close(struct protocol_run *run)
{
	protocol_calls_close(run->calls, run->ns += 10);
}

void protocol_run_end(struct protocol_run *run)
{
	const struct protocol_counts *counts = protocol_calls_counts(run->calls);

	assert_int_equal(counts->begun, counts->ended + counts->abandoned + counts->forgotten +
						protocol_calls_in_flight(run->calls, NULL));
	run->protocol->close(run->connection);
	protocol_calls_free(run->calls);
}

/* ---- steps, cut in every way ---- */

static void feed_step(struct protocol_run *run, const struct protocol_step *step, size_t most)
{
	for (size_t at = 0; at < step->size; at += most)
		protocol_run_feed(run, step->from_client, step->bytes + at,
				  step->size - at < most ? step->size - at : most);
}

static void expect_all(struct protocol_run *run, const char *expected)
{
	const struct protocol_counts *counts = protocol_calls_counts(run->calls);

	protocol_run_expect(run, expected);
	for (unsigned i = 0; i < PROTOCOL_UNPARSED_REASONS; i++)
		assert_int_equal(counts->unparsed_bytes[i], 0);
	assert_int_equal(counts->abandoned, 0);
	protocol_run_end(run);
}

void protocol_run_steps(const struct protocol *protocol, const struct protocol_step *steps,
			size_t n_steps, const char *expected)
{
	struct protocol_run run;

	for (size_t most = 1000000; most; most = most > 16 ? 16 : most - 1) {
		protocol_run_begin(&run, protocol, false);
		for (size_t i = 0; i < n_steps; i++)
			feed_step(&run, &steps[i], most);
		expect_all(&run, expected);
	}
	for (size_t cut = 0; cut < n_steps; cut++)
		for (size_t at = 0; at < 2 * steps[cut].size; at++) {
			size_t first = at / 2;

			protocol_run_begin(&run, protocol, false);
			for (size_t i = 0; i < n_steps; i++) {
				const struct protocol_step *step = &steps[i];

				if (i != cut) {
					feed_step(&run, step, step->size + 1);
				} else if (at & 1) {
					protocol_run_feed_part(&run, step->from_client, step->bytes,
							       step->size, first,
							       step->size - first);
				} else {
					protocol_run_feed(&run, step->from_client, step->bytes,
							  first);
					protocol_run_feed(&run, step->from_client,
							  step->bytes + first, step->size - first);
				}
			}
			expect_all(&run, expected);
		}
}

/* ---- captures ---- */

#define CAPTURE_HEADER	 5
#define CAPTURE_MAX_SIZE 65536

static size_t capture_read(const char *path, uint8_t *data)
{
	char full[256];
	FILE *file;
	size_t size;

	snprintf(full, sizeof(full), "tests/fuzz/%s", path);
	file = fopen(full, "r");
	if (!file)
		fail_msg("no %s", full);
	size = fread(data, 1, CAPTURE_MAX_SIZE, file);
	fclose(file);
	assert_in_range(size, CAPTURE_HEADER + 1, CAPTURE_MAX_SIZE - 1);
	return size;
}

void protocol_run_capture(struct protocol_run *run, const char *path, size_t most)
{
	static uint8_t data[CAPTURE_MAX_SIZE];
	size_t size = capture_read(path, data), at = CAPTURE_HEADER;

	while (at + 2 <= size) {
		bool from_client = data[at + 1] & 0x80;
		size_t end = at + 2 + (data[at] | (data[at + 1] & 0x7f) << 8);

		assert_true(end <= size);
		for (at += 2; at < end;) {
			size_t n = end - at < most ? end - at : most;

			protocol_run_feed(run, from_client, data + at, n);
			at += n;
		}
	}
}
