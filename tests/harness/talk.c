// SPDX-License-Identifier: Apache-2.0
/* Conversations for decoders: see talk.h. */
#include "tests/harness/harness.h"
#include "tests/harness/talk.h"

/* ---- what is said ---- */

static void *copy_bytes(const void *bytes, size_t size)
{
	void *copy = malloc(size ? size : 1);

	assert_non_null(copy);
	if (size)
		memcpy(copy, bytes, size);
	return copy;
}

void talk_say(struct talk *talk, bool from_client, const void *bytes, size_t size)
{
	talk->parts = reallocarray(talk->parts, talk->n + 1, sizeof(*talk->parts));
	assert_non_null(talk->parts);
	talk->parts[talk->n++] = (struct talk_part){ from_client, copy_bytes(bytes, size), size };
}

void talk_add(struct talk *talk, const void *bytes, size_t size)
{
	struct talk_part *part = &talk->parts[talk->n - 1];

	part->bytes = realloc(part->bytes, part->size + size + 1);
	assert_non_null(part->bytes);
	memcpy(part->bytes + part->size, bytes, size);
	part->size += size;
}

void talk_clear(struct talk *talk)
{
	for (size_t i = 0; i < talk->n; i++)
		free(talk->parts[i].bytes);
	free(talk->parts);
	*talk = (struct talk){ 0 };
}

void talk_load(struct talk *talk, const char *path)
{
	FILE *file = fopen(path, "re");
	uint8_t bytes[0x7fff], header[5];

	assert_non_null(file);
	assert_int_equal(fread(header, sizeof(header), 1, file), 1);
	while (fread(header, 2, 1, file) == 1) {
		size_t size = header[0] | (size_t)(header[1] & 0x7f) << 8;

		assert_int_equal(fread(bytes, 1, size, file), size);
		talk_say(talk, header[1] & 0x80, bytes, size);
	}
	assert_true(feof(file));
	assert_true(talk->n > 0);
	fclose(file);
}

/* ---- what is seen ---- */

struct run {
	struct talk_result result;
	const struct protocol *protocol;
	const struct talk_view *view;
	void *connection;
	struct protocol_calls *calls;
	size_t said; /* bytes of all parts so far */
};

static void note(void *context, const struct protocol_call *call)
{
	struct talk_result *result = &((struct run *)context)->result;
	const struct protocol *protocol =
		call->inner ? call->inner : ((struct run *)context)->protocol;
	struct talk_call *noted;

	result->calls = reallocarray(result->calls, result->n + 1, sizeof(*result->calls));
	assert_non_null(result->calls);
	noted = &result->calls[result->n++];
	*noted = (struct talk_call){
		.is_error = call->is_error,
		.start_ns = call->start_ns,
		.first_byte_ns = call->first_byte_ns,
		.end_ns = call->end_ns,
		.request_bytes = call->request_bytes,
		.response_bytes = call->response_bytes,
	};
	snprintf(noted->protocol, sizeof(noted->protocol), "%s", protocol->name);
	snprintf(noted->operation, sizeof(noted->operation), "%s", call->operation);
	snprintf(noted->target, sizeof(noted->target), "%s", call->target);
	snprintf(noted->status, sizeof(noted->status), "%s", call->status);
}

static void feed(struct run *run, const struct talk_part *part, size_t begin, size_t end,
		 uint64_t ns)
{
	size_t head_size = end - begin, tail_size = 0;
	struct protocol_piece piece = {
		.ns = ns,
		.size = end - begin,
		.from_client = part->from_client,
	};
	uint8_t *head, *tail;

	if (run->view->head || run->view->tail) {
		if (head_size > run->view->head)
			head_size = run->view->head;
		tail_size = end - begin - head_size;
		if (tail_size > run->view->tail)
			tail_size = run->view->tail;
	}
	head = copy_bytes(part->bytes + begin, head_size);
	tail = copy_bytes(part->bytes + end - tail_size, tail_size);
	piece.head = head;
	piece.head_size = head_size;
	piece.tail = tail;
	piece.tail_size = tail_size;
	run->protocol->feed(run->connection, &piece, run->calls);
	free(head);
	free(tail);
}

static void feed_part(struct run *run, const struct talk_part *part, size_t number)
{
	size_t split = run->view->split, begin = 0;
	uint64_t ns = (number + 1) * TALK_STEP_NS;

	while (begin < part->size) {
		size_t end = part->size;

		if (run->view->cut && end - begin > run->view->cut)
			end = begin + run->view->cut;
		if (split > run->said + begin && split < run->said + end)
			end = split - run->said;
		feed(run, part, begin, end, ns);
		begin = end;
	}
	run->said += part->size;
}

static void describe(struct talk_result *result)
{
	size_t size;
	FILE *file = open_memstream(&result->text, &size);

	assert_non_null(file);
	for (size_t i = 0; i < result->n; i++)
		fprintf(file, "%s|%s|%s|%s%s\n", result->calls[i].protocol,
			result->calls[i].operation, result->calls[i].target,
			result->calls[i].status, result->calls[i].is_error ? "!" : "");
	assert_int_equal(fclose(file), 0);
}

struct talk_result talk_run(const struct talk *talk, const struct protocol *protocol,
			    const struct talk_view *view)
{
	struct run run = { .protocol = protocol, .view = view };

	run.calls = protocol_calls_new(note, &run, NULL);
	assert_non_null(run.calls);
	run.connection = protocol->open(view->midway);
	assert_non_null(run.connection);
	if (talk->upgrade && !view->midway)
		protocol->upgraded(run.connection, talk->upgrade, run.calls);
	for (size_t i = view->first; i < talk->n; i++) {
		size_t number = i;

		if (view->gap_size && i >= view->gap && i < view->gap + view->gap_size) {
			protocol->gap(run.connection, talk->parts[i].from_client, run.calls);
			continue;
		}
		if (view->server_first && talk->parts[i].from_client && i + 1 < talk->n &&
		    !talk->parts[i + 1].from_client)
			number = i + 1;
		else if (view->server_first && !talk->parts[i].from_client && i > 0 &&
			 talk->parts[i - 1].from_client)
			number = i - 1;
		feed_part(&run, &talk->parts[number], number);
	}
	run.result.in_flight = protocol_calls_in_flight(run.calls, NULL);
	run.result.counts = *protocol_calls_counts(run.calls);
	run.result.was_stopped = protocol_calls_stopped(run.calls, &run.result.why_stopped);
	assert_int_equal(run.result.counts.begun,
			 run.result.counts.ended + run.result.counts.abandoned +
				 run.result.counts.forgotten + run.result.in_flight);
	protocol->close(run.connection);
	protocol_calls_free(run.calls);
	describe(&run.result);
	return run.result;
}

void talk_result_free(struct talk_result *result)
{
	free(result->calls);
	free(result->text);
	*result = (struct talk_result){ 0 };
}

/* ---- what must hold ---- */

static void check_equal(const struct talk *talk, const struct protocol *protocol,
			const struct talk_view *view, const struct talk_result *whole)
{
	struct talk_result result = talk_run(talk, protocol, view);

	assert_string_equal(result.text, whole->text);
	assert_int_equal(result.in_flight, whole->in_flight);
	for (size_t i = 0; i < whole->n; i++) {
		assert_int_equal(result.calls[i].start_ns, whole->calls[i].start_ns);
		assert_int_equal(result.calls[i].first_byte_ns, whole->calls[i].first_byte_ns);
		assert_int_equal(result.calls[i].end_ns, whole->calls[i].end_ns);
		assert_int_equal(result.calls[i].request_bytes, whole->calls[i].request_bytes);
		assert_int_equal(result.calls[i].response_bytes, whole->calls[i].response_bytes);
	}
	talk_result_free(&result);
}

static bool is_or_unknown(const char *text, const char *truth)
{
	return !*text || !strcmp(text, truth);
}

/* Of a text that was not copied to its end, less can be said. */
static bool is_beginning(const char *text, const char *truth)
{
	return !strncmp(text, truth, strlen(text));
}

/*
 * One of the true calls that is not yet taken must be this one. That it is of a protocol inside the other may be unknown, too;
 * then it is one of the outer protocol, with what that says.
 */
static bool is_true(const struct talk_call *call, const struct talk_result *whole, bool *taken)
{
	for (size_t i = 0; i < whole->n; i++) {
		const struct talk_call *truth = &whole->calls[i];

		if (taken[i] || call->start_ns != truth->start_ns)
			continue;
		if (!strcmp(call->protocol, truth->protocol) &&
		    (!is_or_unknown(call->operation, truth->operation) ||
		     !is_beginning(call->target, truth->target) ||
		     !is_or_unknown(call->status, truth->status) ||
		     (call->is_error && !truth->is_error)))
			continue;
		taken[i] = true;
		return true;
	}
	return false;
}

static void check_true(const struct talk *talk, const struct protocol *protocol,
		       const struct talk_view *view, const struct talk_result *whole)
{
	struct talk_result result = talk_run(talk, protocol, view);
	bool *taken = calloc(whole->n + 1, sizeof(*taken));

	assert_non_null(taken);
	for (size_t i = 0; i < result.n; i++)
		if (!is_true(&result.calls[i], whole, taken))
			fail_msg(
				"%s|%s|%s|%s of %llu was not said (first %zu, gap %zu + %zu, head %zu, tail %zu)",
				result.calls[i].protocol, result.calls[i].operation,
				result.calls[i].target, result.calls[i].status,
				(unsigned long long)result.calls[i].start_ns, view->first,
				view->gap, view->gap_size, view->head, view->tail);
	free(taken);
	talk_result_free(&result);
}

void talk_check(const struct talk *talk, const struct protocol *protocol, const char *expected)
{
	static const size_t cuts[] = { 1, 2, 3, 7, 9, 24, 100, 1000 };
	static const size_t copied[][2] = {
		{ 16, 0 }, { 64, 0 }, { 64, 32 }, { 200, 64 }, { 9, 9 }
	};
	struct talk_result whole = talk_run(talk, protocol, &(struct talk_view){ 0 });
	size_t said = 0, step;

	if (expected)
		assert_string_equal(whole.text, expected);
	for (size_t i = 0; i < talk->n; i++)
		said += talk->parts[i].size;
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++)
		check_equal(talk, protocol, &(struct talk_view){ .cut = cuts[i] }, &whole);
	/* long ones at some places only */
	step = said > 2000 ? said / 499 : 1;
	for (size_t split = 1; split < said; split += step)
		check_equal(talk, protocol, &(struct talk_view){ .split = split }, &whole);
	step = talk->n > 200 ? talk->n / 97 : 1;
	for (size_t i = 0; i < talk->n; i += step) {
		check_true(talk, protocol, &(struct talk_view){ .midway = true, .first = i },
			   &whole);
		for (size_t n = 1; n < 4; n++)
			check_true(talk, protocol, &(struct talk_view){ .gap = i, .gap_size = n },
				   &whole);
	}
	for (size_t i = 0; i < sizeof(copied) / sizeof(copied[0]); i++) {
		struct talk_view view = { .head = copied[i][0], .tail = copied[i][1] };

		check_true(talk, protocol, &view, &whole);
	}
	talk_result_free(&whole);
}
