// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP/1 framing as the kernel side does it, from byte arrays: wherever the bytes are cut into calls and pieces the
 * result must be the same, and equal to what http-parser says of the same bytes.
 */
#include <http_parser.h>
#define HTTP1_COPY(view, destination, size, address)                                               \
	copy_from(destination, size, (const void *)(uintptr_t)(address))
#include <stdint.h>
#include <string.h>

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

#include "bpf/lib/http1.h"
#include "tests/harness/harness.h"

static const char *const methods[] = {
	[HTTP1_METHOD_OTHER] = "_OTHER", [HTTP1_GET] = "GET",	      [HTTP1_HEAD] = "HEAD",
	[HTTP1_POST] = "POST",		 [HTTP1_PUT] = "PUT",	      [HTTP1_DELETE] = "DELETE",
	[HTTP1_CONNECT] = "CONNECT",	 [HTTP1_OPTIONS] = "OPTIONS", [HTTP1_TRACE] = "TRACE",
	[HTTP1_PATCH] = "PATCH",
};

struct sample {
	const char *name;
	bool is_response;
	/* Methods the responses answer, one letter each: G(et) H(ead) C(onnect); then G for ever. */
	const char *answers;
	const char *bytes;
	/* Start lines; "." ends a message, "~" an interim response, ">" starts a tunnel, "!" breaks. */
	const char *expected;
	enum http1_phase phase; /* after the last byte */
	bool not_for_oracle; /* http-parser is known to see it otherwise */
};

#define LONG_VALUE                                                                                 \
	"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567"
#define LONGER_VALUE LONG_VALUE LONG_VALUE LONG_VALUE LONG_VALUE LONG_VALUE LONG_VALUE LONG_VALUE

#define REQUEST(name_, bytes_, expected_, ...)                                                     \
	{                                                                                          \
		.name = name_, .answers = "", .bytes = bytes_, .expected = expected_, __VA_ARGS__  \
	}
#define RESPONSE(name_, answers_, bytes_, expected_, ...)                                          \
	{                                                                                          \
		.name = name_, .is_response = true, .answers = answers_, .bytes = bytes_,          \
		.expected = expected_, __VA_ARGS__                                                 \
	}

static const struct sample samples[] = {
	REQUEST("get", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET ."),
	REQUEST("bare newlines", "GET / HTTP/1.0\nHost: a\n\n", "GET ."),
	REQUEST("no fields", "OPTIONS * HTTP/1.1\r\n\r\n", "OPTIONS ."),
	REQUEST("all methods",
		"GET / HTTP/1.1\r\n\r\nHEAD / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 0\r\n\r\nPUT / HTTP/1.1\r\n\r\n"
		"DELETE / HTTP/1.1\r\n\r\nOPTIONS / HTTP/1.1\r\n\r\nTRACE / HTTP/1.1\r\n\r\nPATCH / HTTP/1.1\r\n\r\n"
		"PROPFIND / HTTP/1.1\r\n\r\nM-SEARCH * HTTP/1.1\r\n\r\nGETX / HTTP/1.1\r\n\r\n",
		"GET .HEAD .POST .PUT .DELETE .OPTIONS .TRACE .PATCH ._OTHER ._OTHER ._OTHER .",
		.not_for_oracle = true),
	REQUEST("body", "POST /x HTTP/1.1\r\ncontent-length:5\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n",
		"POST .GET ."),
	REQUEST("body like a head",
		"PUT /x HTTP/1.1\r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
		"PUT .GET ."),
	REQUEST("length with spaces", "PUT /x HTTP/1.1\r\nCONTENT-LENGTH: \t 3 \t\r\n\r\nabc",
		"PUT .", .not_for_oracle = true),
	REQUEST("two equal lengths",
		"PUT /x HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "PUT .",
		.not_for_oracle = true),
	REQUEST("two unequal lengths",
		"PUT /x HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "PUT !",
		.phase = HTTP1_LOST),
	REQUEST("negative length", "PUT /x HTTP/1.1\r\nContent-Length: -3\r\n\r\nabc", "PUT !",
		.phase = HTTP1_LOST),
	REQUEST("empty length", "PUT /x HTTP/1.1\r\nContent-Length: \r\n\r\nabc", "PUT !",
		.phase = HTTP1_LOST),
	REQUEST("length in two parts", "PUT /x HTTP/1.1\r\nContent-Length: 3 3\r\n\r\nabc", "PUT !",
		.phase = HTTP1_LOST),
	REQUEST("length beyond 64 bits",
		"PUT /x HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\nabc", "PUT !",
		.phase = HTTP1_LOST),
	REQUEST("longest length",
		"PUT /x HTTP/1.1\r\nContent-Length: 999999999999999999\r\n\r\nabc", "PUT ",
		.phase = HTTP1_BODY),
	REQUEST("like a length",
		"PUT /x HTTP/1.1\r\nContent-Lengthy: 3\r\nContent-Type: 9\r\nX: Content-Length: 4\r\nContent\r\nTransfer\r\n"
		"T\r\nC\r\nTransfer-Encodings: chunked\r\n\r\n",
		"PUT .", .not_for_oracle = true),
	REQUEST("chunked",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n"
		"GET / HTTP/1.1\r\n\r\n",
		"POST .GET ."),
	REQUEST("chunked with trailer",
		"POST / HTTP/1.1\r\ntransfer-encoding:chunked\r\n\r\n001\r\nx\r\n00\r\nContent-Length: 7\r\nSum: 1\r\n\r\n"
		"GET / HTTP/1.1\r\n\r\n",
		"POST .GET .", .not_for_oracle = true),
	REQUEST("chunked after gzip",
		"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, Chunked\r\n\r\nf\r\n012345678901234\r\n0\r\n\r\n",
		"POST ."),
	REQUEST("chunked beats length",
		"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST .", .not_for_oracle = true),
	REQUEST("request with another coding",
		"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nx", "POST !",
		.phase = HTTP1_LOST),
	REQUEST("not quite chunked",
		"POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "POST !",
		.phase = HTTP1_LOST, .not_for_oracle = true),
	REQUEST("longest line that names a coding",
		"POST / HTTP/1.1\r\nTransfer-Encoding:             chunked\r\n\r\n0\r\n\r\n",
		"POST ."),
	REQUEST("line that names a coding, too long",
		"POST / HTTP/1.1\r\nTransfer-Encoding:              chunked\r\n\r\n0\r\n\r\n",
		"POST !", .phase = HTTP1_LOST, .not_for_oracle = true),
	REQUEST("chunk size that is none",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n", "POST !",
		.phase = HTTP1_LOST),
	REQUEST("chunk size beyond 64 bits",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\n",
		"POST !", .phase = HTTP1_LOST),
	REQUEST("empty lines between", "\r\n\r\nGET / HTTP/1.1\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n",
		"GET .GET ."),
	REQUEST("long target", "GET /" LONGER_VALUE LONGER_VALUE " HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET ."),
	REQUEST("long fields",
		"POST / HTTP/1.1\r\nCookie: " LONGER_VALUE "\r\nContent-Type: " LONGER_VALUE
		"\r\nContent-Length: 2\r\nCookie: " LONGER_VALUE LONGER_VALUE
		"\r\n\r\nokGET / HTTP/1.1\r\n\r\n",
		"POST .GET ."),
	REQUEST("folded field",
		"GET / HTTP/1.1\r\nX: a\r\n Content-Length: 5\r\n\r\nGET / HTTP/1.1\r\n\r\n",
		"GET .GET ."),
	REQUEST("carriage return in a field", "GET / HTTP/1.1\r\n\rX: a\r\n\r\n", "GET .",
		.not_for_oracle = true),
	REQUEST("no version", "GET /\r\nHost: a\r\n\r\n", "!", .phase = HTTP1_LOST,
		.not_for_oracle = true),
	REQUEST("version 2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "!", .phase = HTTP1_LOST,
		.not_for_oracle = true),
	REQUEST("SIP", "OPTIONS sip:x SIP/2.0\r\n\r\n", "!", .phase = HTTP1_LOST),
	REQUEST("TLS", "\x16\x03\x01\x02", "!", .phase = HTTP1_LOST),
	REQUEST("redis", "*1\r\n$4\r\nPING\r\n", "!", .phase = HTTP1_LOST),
	REQUEST("word without end", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "!", .phase = HTTP1_LOST),
	REQUEST("part of a head", "GET / HTTP/1.1\r\nHo", "GET ", .phase = HTTP1_LINE),

	RESPONSE(
		"response", "",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n",
		"200 .404 ."),
	RESPONSE("no reason", "", "HTTP/1.0 500\r\nContent-Length: 1\r\n\r\nx", "500 ."),
	RESPONSE(
		"204, 304", "",
		"HTTP/1.1 204 A\r\n\r\nHTTP/1.1 304 B\r\nContent-Length: 9\r\n\r\nHTTP/1.1 204 C\r\n\r\n",
		"204 .304 .204 ."),
	RESPONSE(
		"head", "HG",
		"HTTP/1.1 200 A\r\nContent-Length: 9\r\n\r\nHTTP/1.1 200 A\r\nContent-Length: 1\r\n\r\nx",
		"200 .200 ."),
	RESPONSE(
		"head of chunked", "HG",
		"HTTP/1.1 200 A\r\nTransfer-Encoding: chunked\r\n\r\nHTTP/1.1 200 A\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
		"200 .200 ."),
	RESPONSE(
		"interim", "",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: a\r\n\r\nHTTP/1.1 201 B\r\nContent-Length: 0\r\n\r\n",
		"100 ~103 ~201 .", .not_for_oracle = true),
	RESPONSE("until close", "",
		 "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "200 ",
		 .phase = HTTP1_UNTIL_CLOSE),
	RESPONSE("other coding until close", "",
		 "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 1\r\n\r\nHTTP",
		 "200 ", .phase = HTTP1_UNTIL_CLOSE, .not_for_oracle = true),
	RESPONSE("upgrade", "", "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n\x81\x05hello",
		 "101 >", .phase = HTTP1_START, .not_for_oracle = true),
	RESPONSE("connect", "C", "HTTP/1.1 200 Established\r\n\r\n\x16\x03", "200 >",
		 .phase = HTTP1_START, .not_for_oracle = true),
	RESPONSE("connect refused", "C",
		 "HTTP/1.1 403 No\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 204 A\r\n\r\n",
		 "403 .204 .", .not_for_oracle = true),
	RESPONSE("no status", "", "HTTP/1.1 OK\r\n\r\n", "!", .phase = HTTP1_LOST),
	RESPONSE("status of four digits", "", "HTTP/1.1 2000 OK\r\n\r\n", "!", .phase = HTTP1_LOST),
	RESPONSE("status below 100", "", "HTTP/1.1 099 OK\r\n\r\n", "!", .phase = HTTP1_LOST,
		 .not_for_oracle = true),
	RESPONSE("icecast", "", "ICY 200 OK\r\n\r\n", "!", .phase = HTTP1_LOST,
		 .not_for_oracle = true),
};

/* ---- our side ---- */

struct run {
	struct http1_stream stream;
	const char *answers;
	char log[256];
	unsigned ended; /* messages */
	uint64_t given, taken; /* bytes: to read, and of messages that ended */
	unsigned ended_in_first_call, calls;
	bool stopped;
};

static void note(struct run *run, const char *text)
{
	if (strlen(run->log) + strlen(text) < sizeof(run->log))
		strcat(run->log, text);
}

static void expect_answer(struct run *run)
{
	char answered = *run->answers;

	run->stream.method = answered == 'H'   ? HTTP1_HEAD
			     : answered == 'C' ? HTTP1_CONNECT
					       : HTTP1_GET;
}

static void begin(struct run *run, bool is_response, const char *answers)
{
	*run = (struct run){ .stream.is_response = is_response, .answers = answers };
	if (is_response)
		expect_answer(run);
}

static void note_events(struct run *run, uint32_t events)
{
	char text[16];

	if (events & HTTP1_STARTED) {
		snprintf(text, sizeof(text), "%u ", run->stream.status);
		note(run, run->stream.is_response ? text : methods[run->stream.method]);
		if (!run->stream.is_response)
			note(run, " ");
	}
	if (events & HTTP1_INTERIM)
		note(run, "~");
	if (events & (HTTP1_ENDED | HTTP1_TUNNEL)) {
		note(run, events & HTTP1_ENDED ? "." : ">");
		run->ended++;
		run->taken += http1_take_bytes(&run->stream);
		if (*run->answers)
			run->answers++;
		if (run->stream.is_response)
			expect_answer(run);
	}
	if (events & (HTTP1_BROKEN | HTTP1_UNREADABLE))
		note(run, events & HTTP1_BROKEN ? "!" : "?");
	if (events & (HTTP1_TUNNEL | HTTP1_BROKEN | HTTP1_UNREADABLE))
		run->stopped = true;
}

/* One call whose data lies in these pieces. */
static void call(struct run *run, struct http1_iovec *pieces, unsigned n_pieces)
{
	static struct http1_view view; /* what an earlier run left in the window must not matter */
	uint64_t total = 0, steps = 0;
	uint32_t events = 0;

	for (unsigned i = 0; i < n_pieces; i++)
		total += pieces[i].length;
	if (run->stopped || !total)
		return;
	if (n_pieces == 1)
		http1_open(&view, total, pieces[0].base, total, 0, 0);
	else
		http1_open(&view, total, 0, 0, (uintptr_t)pieces, n_pieces);
	if (run->stream.n_carried) {
		http1_bring(&view, run->stream.carried, run->stream.n_carried);
		run->stream.n_carried = 0;
	}
	while (!run->stopped && !(events & HTTP1_CALL_OVER)) {
		events = http1_step(&run->stream, &view);
		note_events(run, events);
		assert_in_range(++steps, 0, 4 * total + 8);
		assert_in_range(view.at, 0, view.end);
		assert_in_range(view.end, 0, HTTP1_WINDOW);
		assert_in_range(view.filled, 0, total);
	}
	run->given += total;
	if (run->calls++ == 0)
		run->ended_in_first_call = run->ended;
}

static void call_bytes(struct run *run, const char *bytes, size_t size)
{
	/* A copy of its own, so that a sanitizer sees reads across its end. */
	char *copy = malloc(size ? size : 1);
	struct http1_iovec piece = { (uintptr_t)copy, size };

	memcpy(copy, bytes, size);
	call(run, &piece, 1);
	free(copy);
}

static void check(const struct sample *sample, const struct run *run, const char *how, size_t at)
{
	struct http1_stream rest = run->stream;
	uint64_t bytes = run->taken + http1_take_bytes(&rest) + rest.n_carried;

	if (!run->stopped && bytes != run->given)
		fail_msg("%s, %s %zu: %lu bytes of messages, not %lu", sample->name, how, at, bytes,
			 run->given);
	if (strcmp(run->log, sample->expected))
		fail_msg("%s, %s %zu: \"%s\" instead of \"%s\"", sample->name, how, at, run->log,
			 sample->expected);
	if (run->stream.phase != sample->phase)
		fail_msg("%s, %s %zu: phase %u instead of %u", sample->name, how, at,
			 run->stream.phase, sample->phase);
}

#define FOR_EACH_SAMPLE(sample)                                                                    \
	for (const struct sample *sample = samples;                                                \
	     sample < samples + sizeof(samples) / sizeof(samples[0]); sample++)

static size_t sample_size(const struct sample *sample)
{
	return strlen(sample->bytes);
}

/* What a response that ends in a tunnel says that it is from there on: an enum http1_upgrade. */
static int upgrade(const char *response, size_t in_first_piece)
{
	struct http1_stream stream = { .is_response = 1 };
	static struct http1_view view;
	size_t size = strlen(response);
	struct http1_iovec pieces[] = { { (uintptr_t)response, in_first_piece },
					{ (uintptr_t)response + in_first_piece,
					  size - in_first_piece } };
	uint32_t events = 0;

	http1_open(&view, size, 0, 0, (uintptr_t)pieces, 2);
	while (!(events & HTTP1_TUNNEL)) {
		assert_false(events & HTTP1_CALL_OVER);
		events = http1_step(&stream, &view);
	}
	return http1_upgrade(&view);
}

#define INTERIM "HTTP/1.1 103 Hints\r\nUpgrade: h2c\r\n\r\n"

static void upgrades_are_told(void **state)
{
	static const struct {
		const char *response;
		enum http1_upgrade upgrade;
	} heads[] = {
		{ "Upgrade: h2c\r\n\r\n", HTTP1_UPGRADE_HTTP2 },
		{ "Upgrade: h2c\n\n", HTTP1_UPGRADE_HTTP2 },
		{ "uPGRADE:\tH2C, x\r\nConnection: Upgrade\r\n\r\nUpgrade: websocket",
		  HTTP1_UPGRADE_HTTP2 },
		{ "Connection: Upgrade\r\nUpgrade:h2c\r\n\r\n\r\nUpgrade: websocket\r\n",
		  HTTP1_UPGRADE_HTTP2 },
		{ "Upgrade: websocket\r\n\r\n", HTTP1_UPGRADE_WEBSOCKET },
		{ "Upgrade: websocket\r\n\r\n\r\nUpgrade: h2c\r\n", HTTP1_UPGRADE_WEBSOCKET },
		{ "Server: x\r\nupgrade:WebSocket\nConnection: Upgrade\n\n",
		  HTTP1_UPGRADE_WEBSOCKET },
		{ "Upgrade: websocket \r\n\r\n", HTTP1_UPGRADE_WEBSOCKET },
		{ "Upgrade: websockets\r\n\r\n", HTTP1_UPGRADE_OTHER },
		{ "Upgrade: websocke\r\n\r\n", HTTP1_UPGRADE_OTHER },
		{ "Upgrade: h2c-14\r\n\r\n", HTTP1_UPGRADE_OTHER },
		{ "Upgrade: h2\r\n\r\n", HTTP1_UPGRADE_OTHER },
		{ "Upgrade: \r\n\r\n", HTTP1_UPGRADE_OTHER },
		{ "Upgraded: h2c\r\nX-Upgrade: h2c\r\n\r\n", HTTP1_UPGRADE_OTHER },
		{ "\r\n", HTTP1_UPGRADE_OTHER },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		char response[512];

		snprintf(response, sizeof(response), "HTTP/1.1 101 Switching\r\n%s",
			 heads[i].response);
		assert_int_equal(upgrade(response, strlen(response)), heads[i].upgrade);
	}
	/* nor does it matter what a head before says */
	assert_int_equal(upgrade(INTERIM "HTTP/1.1 101 A\r\nUpgrade: websocket\r\n\r\n", 9),
			 HTTP1_UPGRADE_WEBSOCKET);
	assert_int_equal(upgrade(INTERIM "HTTP/1.1 101 A\r\nUpgrade: h2c\r\n\r\n", strlen(INTERIM)),
			 HTTP1_UPGRADE_HTTP2);
	/* what an earlier piece said is not known any more */
	assert_int_equal(upgrade("HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nServer: x\r\n\r\n",
				 strlen("HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n")),
			 HTTP1_UPGRADE_OTHER);
}

static void in_one_call(void **state)
{
	(void)state;
	FOR_EACH_SAMPLE(sample)
	{
		struct run run;

		begin(&run, sample->is_response, sample->answers);
		call_bytes(&run, sample->bytes, sample_size(sample));
		check(sample, &run, "whole", 0);
	}
}

static void cut_anywhere_into_two_calls(void **state)
{
	(void)state;
	FOR_EACH_SAMPLE(sample)
	{
		for (size_t cut = 1; cut < sample_size(sample); cut++) {
			struct run run;

			begin(&run, sample->is_response, sample->answers);
			call_bytes(&run, sample->bytes, cut);
			call_bytes(&run, sample->bytes + cut, sample_size(sample) - cut);
			check(sample, &run, "cut at", cut);
		}
	}
}

static void in_calls_of_equal_size(void **state)
{
	(void)state;
	FOR_EACH_SAMPLE(sample)
	{
		for (size_t size = 1; size < 50; size++) {
			struct run run;

			begin(&run, sample->is_response, sample->answers);
			for (size_t at = 0; at < sample_size(sample); at += size)
				call_bytes(&run, sample->bytes + at,
					   sample_size(sample) - at < size
						   ? sample_size(sample) - at
						   : size);
			check(sample, &run, "in calls of", size);
		}
	}
}

static void in_one_call_of_many_pieces(void **state)
{
	static struct http1_iovec pieces[8192];

	(void)state;
	FOR_EACH_SAMPLE(sample)
	{
		for (size_t size = 1; size < 50; size++) {
			unsigned n = 0;
			struct run run;

			for (size_t at = 0; at < sample_size(sample); at += size) {
				size_t left = sample_size(sample) - at;

				pieces[n++] = (struct http1_iovec){ (uintptr_t)(sample->bytes + at),
								    left < size ? left : size };
				if (n % 3 == 0) /* empty ones are legal */
					pieces[n++] = (struct http1_iovec){ 0, 0 };
			}
			begin(&run, sample->is_response, sample->answers);
			call(&run, pieces, n);
			check(sample, &run, "in pieces of", size);
		}
	}
}

/* ---- beyond what a sample shows ---- */

static void skips_bodies_without_reading(void **state)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 3000000000\r\n\r\n";
	struct http1_iovec pieces[] = { { (uintptr_t)head, sizeof(head) - 1 }, { 0, 1000000000 } };
	struct http1_iovec rest = { 0, 1000000000 };
	struct run run;

	(void)state;
	begin(&run, true, "");
	call(&run, pieces, 2);
	assert_string_equal(run.log, "200 ");
	call(&run, &rest, 1);
	assert_int_equal(run.ended, 0);
	call(&run, &rest, 1);
	assert_string_equal(run.log, "200 .");
	assert_int_equal(run.taken, sizeof(head) - 1 + 3000000000);
}

/* As the caller does when a response comes before the request is all there. */
static void bytes_are_taken_midway(void **state)
{
	static const char head[] = "PUT / HTTP/1.1\r\nContent-Length: 7\r\n\r\n";
	static const char chunked[] =
		"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nabc";
	struct run run;

	(void)state;
	begin(&run, false, "");
	call_bytes(&run, head, strlen(head));
	assert_int_equal(http1_take_bytes(&run.stream), strlen(head));
	assert_int_equal(http1_take_bytes(&run.stream), 0);
	call_bytes(&run, "abc", 3);
	assert_int_equal(http1_take_bytes(&run.stream), 3);
	call_bytes(&run, "defg", 4);
	assert_int_equal(run.taken, 4);

	begin(&run, false, "");
	call_bytes(&run, chunked, strlen(chunked));
	assert_int_equal(http1_take_bytes(&run.stream), strlen(chunked));
	call_bytes(&run, "defg\r\n0\r\n\r\n", 11);
	assert_int_equal(run.taken, 11);
}

static void unreadable_memory(void **state)
{
	struct http1_iovec nowhere = { 0, 100 };
	struct run run;

	(void)state;
	begin(&run, false, "");
	call(&run, &nowhere, 1);
	assert_string_equal(run.log, "?");
	assert_int_equal(run.stream.phase, HTTP1_LOST);
}

/* What was moved unseen is a length: a body goes on by it, and anything else is lost. */
static void a_length_is_passed_over(void **state)
{
	static const struct {
		enum http1_phase phase;
		uint64_t left, size;
		uint32_t events;
		enum http1_phase phase_after;
		uint64_t left_after;
	} lengths[] = {
		{ HTTP1_BODY, 10, 7, 0, HTTP1_BODY, 3 },
		{ HTTP1_BODY, 10, 10, HTTP1_ENDED, HTTP1_START, 0 },
		{ HTTP1_BODY, 10, 11, HTTP1_ENDED | HTTP1_UNREADABLE, HTTP1_LOST, 0 },
		{ HTTP1_CHUNK, 10, 7, 0, HTTP1_CHUNK, 3 },
		{ HTTP1_CHUNK, 10, 10, 0, HTTP1_CHUNK_SIZE, 0 },
		{ HTTP1_CHUNK, 10, 11, HTTP1_UNREADABLE, HTTP1_LOST, 0 },
		{ HTTP1_START, 0, 1, HTTP1_UNREADABLE, HTTP1_LOST, 0 },
		{ HTTP1_UNTIL_CLOSE, 0, 1, 0, HTTP1_UNTIL_CLOSE, 0 },
		{ HTTP1_LOST, 0, 1, 0, HTTP1_LOST, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct http1_stream stream = { .phase = (uint8_t)lengths[i].phase,
					       .left = lengths[i].left };
		struct http1_view view;

		http1_open(&view, lengths[i].size, 0, 0, 0, 0);
		assert_int_equal(http1_pass(&stream, &view), lengths[i].events);
		assert_int_equal(stream.phase, lengths[i].phase_after);
		assert_int_equal(stream.left, lengths[i].left_after);
	}
}

static void many_messages_in_one_call(void **state)
{
	static char bytes[100 * 64];
	size_t size = 0;
	struct run run;

	(void)state;
	for (int i = 0; i < 97; i++)
		size += (size_t)sprintf(bytes + size, "GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n",
					i);
	begin(&run, false, "");
	call_bytes(&run, bytes, size);
	assert_int_equal(run.ended, 97);
}

/* A usual message takes one step: that is what the kernel side's cost rests on. */
static void usual_messages_take_one_step(void **state)
{
	static const char request[] =
		"GET /index.html HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/7.88.1\r\n"
		"Accept: */*\r\nConnection: keep-alive\r\nCookie: a=b\r\n\r\n";
	static const char response[] =
		"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 22 Nov 2026 15:33:21 GMT\r\n"
		"Content-Type: application/octet-stream\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok";
	static struct http1_view view;
	struct http1_stream stream = { 0 };

	(void)state;
	http1_open(&view, sizeof(request) - 1, (uintptr_t)request, sizeof(request) - 1, 0, 0);
	assert_int_equal(http1_step(&stream, &view), HTTP1_STARTED | HTTP1_ENDED | HTTP1_CALL_OVER);
	stream = (struct http1_stream){ .is_response = 1 };
	http1_open(&view, sizeof(response) - 1, (uintptr_t)response, sizeof(response) - 1, 0, 0);
	assert_int_equal(http1_step(&stream, &view), HTTP1_STARTED | HTTP1_ENDED | HTTP1_CALL_OVER);
}

/* ---- the oracle ---- */

struct oracle {
	http_parser parser;
	const char *answers;
	size_t at; /* byte being fed, counted from 1 */
	unsigned ended;
	size_t ends[64];
};

static int oracle_headers(http_parser *parser)
{
	struct oracle *oracle = parser->data;
	char answered = *oracle->answers;

	/* It leaves to its user what has no body for other reasons than its own head. */
	return parser->type == HTTP_RESPONSE && (answered == 'H' || parser->status_code == 304);
}

static int oracle_end(http_parser *parser)
{
	struct oracle *oracle = parser->data;

	if (oracle->ended < 64)
		oracle->ends[oracle->ended++] = oracle->at;
	if (*oracle->answers)
		oracle->answers++;
	return 0;
}

/* Feeds byte by byte, to learn at which one each message ends. */
static bool consult(struct oracle *oracle, const struct sample *sample)
{
	static const http_parser_settings settings = { .on_headers_complete = oracle_headers,
						       .on_message_complete = oracle_end };

	*oracle = (struct oracle){ .answers = sample->answers };
	http_parser_init(&oracle->parser, sample->is_response ? HTTP_RESPONSE : HTTP_REQUEST);
	oracle->parser.data = oracle;
	for (size_t i = 0; i < sample_size(sample); i++) {
		oracle->at = i + 1;
		if (http_parser_execute(&oracle->parser, &settings, sample->bytes + i, 1) != 1)
			return false;
	}
	return true;
}

static void ends_where_http_parser_says(void **state)
{
	unsigned compared = 0;

	(void)state;
	FOR_EACH_SAMPLE(sample)
	{
		bool is_broken = strchr(sample->expected, '!');
		struct oracle oracle;

		if (sample->not_for_oracle)
			continue;
		if (consult(&oracle, sample) == is_broken)
			fail_msg("%s: http-parser %s", sample->name,
				 is_broken ? "accepts it"
					   : http_errno_description(oracle.parser.http_errno));
		if (is_broken)
			continue;
		compared++;
		for (size_t cut = 1; cut < sample_size(sample); cut++) {
			unsigned ended = 0;
			struct run run;

			while (ended < oracle.ended && oracle.ends[ended] <= cut)
				ended++;
			begin(&run, sample->is_response, sample->answers);
			call_bytes(&run, sample->bytes, cut);
			if (run.ended != ended)
				fail_msg("%s, first %zu bytes: %u messages instead of %u",
					 sample->name, cut, run.ended, ended);
			assert_int_equal(run.taken, ended ? oracle.ends[ended - 1] : 0);
		}
	}
	assert_in_range(compared, 15, 1000);
}

/* ---- rubbish ---- */

static uint32_t random_state = 2463534242;

static uint32_t random_below(uint32_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state % n;
}

static void mutated_samples_do_not_depend_on_cuts(void **state)
{
	static const char spice[] = "\r\n :;,0123456789aAcCtTxX\t\0\xff";
	char bytes[4096];

	(void)state;
	for (int round = 0; round < 20000; round++) {
		const struct sample *sample =
			&samples[random_below(sizeof(samples) / sizeof(samples[0]))];
		size_t size = sample_size(sample);
		struct run whole, cut;

		assert_in_range(size, 0, sizeof(bytes));
		memcpy(bytes, sample->bytes, size);
		for (uint32_t i = random_below(4) + 1; i; i--)
			bytes[random_below((uint32_t)size)] = spice[random_below(sizeof(spice))];
		begin(&whole, sample->is_response, sample->answers);
		call_bytes(&whole, bytes, size);
		begin(&cut, sample->is_response, sample->answers);
		for (size_t at = 0, n; at < size; at += n) {
			n = 1 + random_below(round % 2 ? 8 : 200);
			if (n > size - at)
				n = size - at;
			call_bytes(&cut, bytes + at, n);
		}
		if (strcmp(whole.log, cut.log) || whole.stream.phase != cut.stream.phase ||
		    whole.taken != cut.taken)
			fail_msg("round %d, mutated %s: \"%s\" whole, \"%s\" cut", round,
				 sample->name, whole.log, cut.log);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(upgrades_are_told),
		cmocka_unit_test(in_one_call),
		cmocka_unit_test(cut_anywhere_into_two_calls),
		cmocka_unit_test(in_calls_of_equal_size),
		cmocka_unit_test(in_one_call_of_many_pieces),
		cmocka_unit_test(skips_bodies_without_reading),
		cmocka_unit_test(bytes_are_taken_midway),
		cmocka_unit_test(unreadable_memory),
		cmocka_unit_test(a_length_is_passed_over),
		cmocka_unit_test(many_messages_in_one_call),
		cmocka_unit_test(usual_messages_take_one_step),
		cmocka_unit_test(ends_where_http_parser_says),
		cmocka_unit_test(mutated_samples_do_not_depend_on_cuts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
