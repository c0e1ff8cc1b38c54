// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP/2 and gRPC: conversations made of frames, with header blocks deflated by nghttp2, seen whole, cut anywhere,
 * from the midst, with gaps and with most bytes not copied.
 */
#include "tests/harness/harness.h"
#include <nghttp2/nghttp2.h>
#include "probes/protocols/http2_frame.h"
#include "tests/harness/talk.h"

#define CLIENT true
#define SERVER false

/* A conversation that is being made. */
struct maker {
	struct talk talk;
	nghttp2_hd_deflater *deflaters[2]; /* by from_client */
};

static void maker_start(struct maker *maker)
{
	*maker = (struct maker){ 0 };
	assert_int_equal(nghttp2_hd_deflate_new(&maker->deflaters[0], 65536), 0);
	assert_int_equal(nghttp2_hd_deflate_new(&maker->deflaters[1], 65536), 0);
}

static void maker_stop(struct maker *maker)
{
	talk_clear(&maker->talk);
	nghttp2_hd_deflate_del(maker->deflaters[0]);
	nghttp2_hd_deflate_del(maker->deflaters[1]);
}

static void frame_header(uint8_t header[9], uint32_t length, uint8_t type, uint8_t flags,
			 uint32_t stream)
{
	const uint8_t bytes[] = { length >> 16, length >> 8,  length,	   type,  flags,
				  stream >> 24, stream >> 16, stream >> 8, stream };

	memcpy(header, bytes, sizeof(bytes));
}

/* A frame in a socket call of its own. */
static void frame(struct maker *maker, bool from_client, uint8_t type, uint8_t flags,
		  uint32_t stream, const void *payload, uint32_t length)
{
	uint8_t header[9];

	frame_header(header, length, type, flags, stream);
	talk_say(&maker->talk, from_client, header, sizeof(header));
	if (length)
		talk_add(&maker->talk, payload, length);
}

static void data(struct maker *maker, bool from_client, uint8_t flags, uint32_t stream, uint32_t n)
{
	uint8_t *payload = malloc(n + 1);

	assert_non_null(payload);
	memset(payload, 'x', n);
	frame(maker, from_client, HTTP2_DATA, flags, stream, payload, n);
	free(payload);
}

static void number_frame(struct maker *maker, bool from_client, uint8_t type, uint32_t stream,
			 uint32_t first, uint32_t second)
{
	uint8_t payload[8] = { first >> 24,  first >> 16,  first >> 8,	first,
			       second >> 24, second >> 16, second >> 8, second };

	frame(maker, from_client, type, 0, stream, payload, type == HTTP2_GOAWAY ? 8 : 4);
}

/* Lines "name value"; returns the size. */
static size_t deflate(struct maker *maker, bool from_client, const char *lines, uint8_t *block,
		      size_t size)
{
	nghttp2_nv fields[64];
	char *copy = strdup(lines), *at = copy, *line;
	size_t n = 0;
	ssize_t used;

	assert_non_null(copy);
	while ((line = strsep(&at, "\n"))) {
		char *value = strchr(line, ' ');

		if (!value)
			continue;
		assert_true(n < 64);
		*value++ = '\0';
		fields[n++] = (nghttp2_nv){ (uint8_t *)line, (uint8_t *)value, strlen(line),
					    strlen(value), NGHTTP2_NV_FLAG_NONE };
	}
	used = nghttp2_hd_deflate_hd(maker->deflaters[from_client], block, size, fields, n);
	assert_true(used > 0);
	free(copy);
	return (size_t)used;
}

static void headers(struct maker *maker, bool from_client, uint8_t flags, uint32_t stream,
		    const char *lines)
{
	uint8_t block[16384];
	size_t size = deflate(maker, from_client, lines, block, sizeof(block));

	frame(maker, from_client, HTTP2_HEADERS, flags | HTTP2_END_HEADERS, stream, block,
	      (uint32_t)size);
}

static void preface(struct maker *maker)
{
	uint8_t settings[9 + 6] = { 0, 0, 6, HTTP2_SETTINGS, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100 };
	uint8_t window[9 + 4] = { 0, 0, 4, HTTP2_WINDOW_UPDATE, 0, 0, 0, 0, 0, 0, 1, 0, 0 };

	talk_say(&maker->talk, CLIENT, HTTP2_PREFACE, HTTP2_PREFACE_SIZE);
	talk_add(&maker->talk, settings, sizeof(settings));
	talk_add(&maker->talk, window, sizeof(window));
	talk_say(&maker->talk, SERVER, settings, sizeof(settings));
	frame(maker, CLIENT, HTTP2_SETTINGS, HTTP2_ACK, 0, NULL, 0);
	frame(maker, SERVER, HTTP2_SETTINGS, HTTP2_ACK, 0, NULL, 0);
}

#define GET(path)                                                                                  \
	":method GET\n:scheme http\n:authority shop\n:path " path "\nuser-agent test/1.0\n"
#define POST(path)                                                                                 \
	":method POST\n:scheme http\n:authority shop\n:path " path "\nx-token 0123456789\n"
#define PATCH(path)                                                                                \
	":method PATCH\n:scheme http\n:authority shop\n:path " path "\nx-token 0123456789\n"
#define ANSWER(status) ":status " status "\nserver test/2.0\nx-served-by a-host\n"
#define GRPC(path)                                                                                 \
	":method POST\n:scheme http\n:path " path                                                  \
	"\n:authority shop\nte trailers\ncontent-type application/grpc+proto\n"
#define GRPC_ANSWER ":status 200\ncontent-type application/grpc\n"

static void check(struct maker *maker, const char *expected)
{
	talk_check(&maker->talk, &protocol_http2, expected);
	maker_stop(maker);
}

static void test_requests(void **state)
{
	struct maker maker;

	maker_start(&maker);
	preface(&maker);
	headers(&maker, CLIENT, HTTP2_END_STREAM, 1, GET("/users/4711?x=1"));
	headers(&maker, SERVER, 0, 1, ANSWER("200"));
	data(&maker, SERVER, 0, 1, 300);
	data(&maker, SERVER, HTTP2_END_STREAM, 1, 17);
	headers(&maker, CLIENT, 0, 3, POST("/orders"));
	data(&maker, CLIENT, HTTP2_END_STREAM, 3, 41);
	headers(&maker, SERVER, HTTP2_END_STREAM, 3, ANSWER("201"));
	headers(&maker, CLIENT, HTTP2_END_STREAM, 5, GET("/missing"));
	headers(&maker, SERVER, 0, 5, ANSWER("404"));
	data(&maker, SERVER, HTTP2_END_STREAM, 5, 0);
	headers(&maker, CLIENT, HTTP2_END_STREAM, 7, ":method BREW\n:path /pot\n:scheme http\n");
	headers(&maker, SERVER, HTTP2_END_STREAM, 7, ANSWER("503"));
	check(&maker, "http2|GET|/users/{id}|200\nhttp2|POST|/orders|201\n"
		      "http2|GET|/missing|404!\nhttp2|_OTHER|/pot|503!\n");
}

static void test_times_and_sizes(void **state)
{
	struct maker maker;
	struct talk_result result;

	maker_start(&maker);
	preface(&maker); /* 0 … 3 */
	headers(&maker, CLIENT, 0, 1, POST("/")); /* 4 */
	data(&maker, CLIENT, HTTP2_END_STREAM, 1, 11);
	headers(&maker, SERVER, 0, 1, ":status 100\n"); /* 6 */
	headers(&maker, SERVER, 0, 1, ANSWER("200")); /* 7 */
	data(&maker, SERVER, 0, 1, 1000);
	data(&maker, SERVER, HTTP2_END_STREAM, 1, 23); /* 9 */
	result = talk_run(&maker.talk, &protocol_http2, &(struct talk_view){ 0 });
	assert_int_equal(result.n, 1);
	assert_int_equal(result.calls[0].start_ns, 5 * TALK_STEP_NS);
	assert_int_equal(result.calls[0].first_byte_ns, 8 * TALK_STEP_NS);
	assert_int_equal(result.calls[0].end_ns, 10 * TALK_STEP_NS);
	/* whole frames */
	assert_int_equal(result.calls[0].request_bytes,
			 maker.talk.parts[4].size + maker.talk.parts[5].size);
	assert_int_equal(result.calls[0].response_bytes,
			 maker.talk.parts[6].size + maker.talk.parts[7].size + 9 + 1000 + 9 + 23);
	talk_result_free(&result);
	maker_stop(&maker);
}

/* Streams in any order, all at once, and the order in which they end is told. */
static void test_many_streams(void **state)
{
	enum { STREAMS = 97 };
	struct maker maker;
	char lines[256];
	char *expected;
	size_t size;
	FILE *file = open_memstream(&expected, &size);

	assert_non_null(file);
	maker_start(&maker);
	preface(&maker);
	for (unsigned i = 0; i < STREAMS; i++) {
		snprintf(lines, sizeof(lines), ":method %s\n:path /%c/item-%u\nx-request-id %u\n",
			 i % 2 ? "GET" : "PUT", 'a' + i % 23, i, i * 7919);
		headers(&maker, CLIENT, HTTP2_END_STREAM, 2 * i + 1, lines);
	}
	for (unsigned i = 0; i < STREAMS; i++) {
		unsigned stream = i * 31 % STREAMS;

		snprintf(lines, sizeof(lines), ":status %u\nx-cost %u\n", 200 + stream % 5, i);
		headers(&maker, SERVER, 0, 2 * stream + 1, lines);
	}
	for (unsigned i = 0; i < STREAMS; i++) {
		unsigned stream = i * 53 % STREAMS;

		data(&maker, SERVER, HTTP2_END_STREAM, 2 * stream + 1, 19);
		fprintf(file, "http2|%s|/%c/item-{id}|%u\n", stream % 2 ? "GET" : "PUT",
			'a' + stream % 23, 200 + stream % 5);
	}
	assert_int_equal(fclose(file), 0);
	check(&maker, expected);
	free(expected);
}

static void test_grpc(void **state)
{
	struct maker maker;

	maker_start(&maker);
	preface(&maker);
	headers(&maker, CLIENT, 0, 1, GRPC("/shop.v1.Cart/AddItem"));
	data(&maker, CLIENT, HTTP2_END_STREAM, 1, 12);
	headers(&maker, SERVER, 0, 1, GRPC_ANSWER);
	data(&maker, SERVER, 0, 1, 7);
	headers(&maker, SERVER, HTTP2_END_STREAM, 1, "grpc-status 0\n");
	/* a response of nothing but trailers */
	headers(&maker, CLIENT, HTTP2_END_STREAM, 3, GRPC("/shop.v1.Cart/AddItem"));
	headers(&maker, SERVER, HTTP2_END_STREAM, 3,
		GRPC_ANSWER "grpc-status 5\ngrpc-message no\n");
	/* a code nobody knows */
	headers(&maker, CLIENT, HTTP2_END_STREAM, 5, GRPC("/Echo/Say"));
	headers(&maker, SERVER, HTTP2_END_STREAM, 5, GRPC_ANSWER "grpc-status 99\n");
	/* a proxy answers, the server resets, the client cancels, and does so after the answer began */
	headers(&maker, CLIENT, HTTP2_END_STREAM, 7, GRPC("/Echo/Say"));
	headers(&maker, SERVER, HTTP2_END_STREAM, 7, ":status 502\ncontent-type text/html\n");
	headers(&maker, CLIENT, HTTP2_END_STREAM, 9, GRPC("/Echo/Say"));
	number_frame(&maker, SERVER, HTTP2_RST_STREAM, 9, 7, 0);
	headers(&maker, CLIENT, HTTP2_END_STREAM, 11, GRPC("/Echo/Say"));
	number_frame(&maker, CLIENT, HTTP2_RST_STREAM, 11, 8, 0);
	headers(&maker, CLIENT, 0, 13, GRPC("/Echo/Watch"));
	headers(&maker, SERVER, 0, 13, GRPC_ANSWER);
	number_frame(&maker, CLIENT, HTTP2_RST_STREAM, 13, 8, 0);
	/* not gRPC, and not the name of a method */
	headers(&maker, CLIENT, HTTP2_END_STREAM, 15,
		":method POST\n:path /Echo/Say\ncontent-type application/grpc-web\n");
	headers(&maker, SERVER, HTTP2_END_STREAM, 15, ANSWER("200"));
	headers(&maker, CLIENT, HTTP2_END_STREAM, 17, GRPC("/a/b/c?d=e"));
	headers(&maker, SERVER, HTTP2_END_STREAM, 17, GRPC_ANSWER "grpc-status 12\n");
	check(&maker, "grpc||shop.v1.Cart/AddItem|0\ngrpc||shop.v1.Cart/AddItem|5!\n"
		      "grpc||Echo/Say|2!\ngrpc||Echo/Say|14!\ngrpc||Echo/Say|14!\n"
		      "grpc||Echo/Say|1!\ngrpc||Echo/Watch|1!\n"
		      "http2|POST|/Echo/Say|200\ngrpc|||12!\n");
}

/* Padding, priority, blocks over several frames, and pushes: fields that come first there are found later. */
static void test_blocks(void **state)
{
	struct maker maker;
	uint8_t block[4096], payload[4096];
	size_t size;

	maker_start(&maker);
	preface(&maker);
	/* one byte of padding's length, five of priority, the block's first part, padding */
	size = deflate(&maker, CLIENT, GET("/first") "x-long 0123456789abcdef0123456789abcdef\n",
		       block, sizeof(block));
	payload[0] = 5;
	memset(payload + 1, 0x11, 5);
	memcpy(payload + 6, block, 10);
	memset(payload + 16, 0, 5);
	frame(&maker, CLIENT, HTTP2_HEADERS, HTTP2_END_STREAM | HTTP2_PADDED | HTTP2_PRIORITIZED, 1,
	      payload, 21);
	frame(&maker, CLIENT, HTTP2_CONTINUATION, 0, 1, block + 10, 7);
	frame(&maker, CLIENT, HTTP2_CONTINUATION, 0, 1, NULL, 0);
	frame(&maker, CLIENT, HTTP2_CONTINUATION, HTTP2_END_HEADERS, 1, block + 17,
	      (uint32_t)size - 17);
	/* pushed */
	payload[0] = 3;
	memcpy(payload + 1, "\0\0\0\2", 4);
	size = deflate(&maker, SERVER, GET("/style.css") "x-pushed yes\n", payload + 5,
		       sizeof(payload) - 8);
	memset(payload + 5 + size, 0, 3);
	frame(&maker, SERVER, HTTP2_PUSH_PROMISE, HTTP2_END_HEADERS | HTTP2_PADDED, 1, payload,
	      (uint32_t)size + 8);
	headers(&maker, SERVER, 0, 2, ANSWER("200") "x-pushed yes\n");
	headers(&maker, SERVER, 0, 1, ANSWER("203") "x-pushed yes\n");
	data(&maker, SERVER, HTTP2_END_STREAM, 2, 100);
	/* padded data, and trailers */
	payload[0] = 20;
	memset(payload + 1, 0, 50);
	frame(&maker, SERVER, HTTP2_DATA, HTTP2_PADDED, 1, payload, 51);
	headers(&maker, SERVER, HTTP2_END_STREAM, 1, "x-sum 17\n");
	/* trailers of a request, frames of no known type, and of ended streams */
	headers(&maker, CLIENT, 0, 3, POST("/second"));
	frame(&maker, CLIENT, 16, 0xff, 0, "abc", 3);
	headers(&maker, CLIENT, HTTP2_END_STREAM, 3, "x-sum 18\n");
	frame(&maker, SERVER, HTTP2_PING, 0, 0, "12345678", 8);
	headers(&maker, SERVER, HTTP2_END_STREAM, 3, ANSWER("204") "x-sum 17\n");
	number_frame(&maker, SERVER, HTTP2_RST_STREAM, 3, 0, 0);
	number_frame(&maker, CLIENT, HTTP2_WINDOW_UPDATE, 3, 100, 0);
	check(&maker, "http2|GET|/first|203\nhttp2|POST|/second|204\n");
}

static void test_resets(void **state)
{
	struct maker maker;

	maker_start(&maker);
	preface(&maker);
	for (uint32_t stream = 1; stream < 20; stream += 2)
		headers(&maker, CLIENT, 0, stream, GET("/x"));
	number_frame(&maker, CLIENT, HTTP2_RST_STREAM, 1, 8, 0);
	number_frame(&maker, SERVER, HTTP2_RST_STREAM, 3, 7, 0);
	number_frame(&maker, SERVER, HTTP2_RST_STREAM, 5, 2, 0);
	headers(&maker, SERVER, 0, 7, ANSWER("200"));
	number_frame(&maker, SERVER, HTTP2_RST_STREAM, 7, 2, 0);
	/* the client's says nothing of its own streams */
	number_frame(&maker, CLIENT, HTTP2_GOAWAY, 0, 0, 0);
	number_frame(&maker, SERVER, HTTP2_GOAWAY, 0, 0x7fffffff, 0);
	number_frame(&maker, SERVER, HTTP2_GOAWAY, 0, 15, 0);
	headers(&maker, SERVER, HTTP2_END_STREAM, 9, ANSWER("200"));
	headers(&maker, SERVER, HTTP2_END_STREAM, 11, ANSWER("200"));
	headers(&maker, SERVER, HTTP2_END_STREAM, 13, ANSWER("200"));
	headers(&maker, SERVER, HTTP2_END_STREAM, 15, ANSWER("200"));
	check(&maker, "http2|GET|/x|cancelled!\nhttp2|GET|/x|refused!\nhttp2|GET|/x|reset!\n"
		      "http2|GET|/x|200!\nhttp2|GET|/x|refused!\nhttp2|GET|/x|refused!\n"
		      "http2|GET|/x|200\nhttp2|GET|/x|200\nhttp2|GET|/x|200\nhttp2|GET|/x|200\n");
}

/* RFC 8441: a WebSocket is a call as long as its stream. */
static void test_websocket(void **state)
{
	struct maker maker;

	maker_start(&maker);
	preface(&maker);
	headers(&maker, CLIENT, 0, 1,
		":method CONNECT\n:protocol websocket\n:scheme https\n:path /chat\n:authority shop\n");
	headers(&maker, SERVER, 0, 1, ANSWER("200"));
	data(&maker, CLIENT, 0, 1, 10);
	data(&maker, SERVER, 0, 1, 10);
	data(&maker, SERVER, HTTP2_END_STREAM, 1, 4);
	headers(&maker, CLIENT, 0, 3,
		":method CONNECT\n:protocol websocket\n:scheme https\n:path /chat\n:authority shop\n");
	headers(&maker, SERVER, 0, 3, ANSWER("200"));
	number_frame(&maker, CLIENT, HTTP2_RST_STREAM, 3, 8, 0);
	headers(&maker, CLIENT, 0, 5, ":method CONNECT\n:authority shop:443\n");
	headers(&maker, SERVER, HTTP2_END_STREAM, 5, ANSWER("502"));
	check(&maker, "http2|CONNECT|/chat|200\nhttp2|CONNECT|/chat|200\nhttp2|CONNECT||502!\n");
}

#define SWITCHING "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"

/* As long before the first socket call as these are apart. */
static const struct protocol_upgrade upgrade = {
	.start_ns = TALK_STEP_NS / 2,
	.request_bytes = 180,
	.response_bytes = sizeof(SWITCHING) - 1,
	.answer_left = sizeof(SWITCHING) - 1,
	.operation = "GET",
	.target = "/users/{id}",
};

/* Its request began before, its answer is on stream 1, be that with the 101 or long after. */
static void test_upgrade(void **state)
{
	static const char *const statuses[] = { "200", "500" };

	for (size_t i = 0; i < 4; i++) {
		bool is_at_once = i & 1;
		const char *status = statuses[i >> 1];
		char answer[64], expected[96];
		struct talk_result result;
		struct maker maker;

		maker_start(&maker);
		maker.talk.upgrade = &upgrade;
		snprintf(answer, sizeof(answer), ":status %s\n", status);
		snprintf(expected, sizeof(expected),
			 "http2|GET|/users/{id}|%s%s\nhttp2|GET|/x|200\n", status,
			 *status == '5' ? "!" : "");
		talk_say(&maker.talk, SERVER, SWITCHING, strlen(SWITCHING));
		if (is_at_once) {
			frame(&maker, SERVER, HTTP2_SETTINGS, 0, 0, NULL, 0);
			headers(&maker, SERVER, HTTP2_END_STREAM, 1, answer);
		}
		preface(&maker);
		if (!is_at_once) {
			headers(&maker, SERVER, 0, 1, answer);
			data(&maker, SERVER, HTTP2_END_STREAM, 1, 17);
		}
		headers(&maker, CLIENT, HTTP2_END_STREAM, 3, GET("/x"));
		headers(&maker, SERVER, HTTP2_END_STREAM, 3, ANSWER("200"));
		result = talk_run(&maker.talk, &protocol_http2, &(struct talk_view){ 0 });
		assert_int_equal(result.calls[0].start_ns, upgrade.start_ns);
		assert_int_equal(result.calls[0].end_ns, (is_at_once ? 3 : 7) * TALK_STEP_NS);
		assert_int_equal(result.calls[0].request_bytes, upgrade.request_bytes);
		assert_true(result.calls[0].response_bytes > upgrade.response_bytes + 9);
		assert_int_equal(result.counts.unparsed_bytes[PROTOCOL_MALFORMED], 0);
		talk_result_free(&result);
		check(&maker, expected);
	}
}

/* What the connection is given up with is no answer. */
static void test_upgrade_in_vain(void **state)
{
	struct talk talk = { .upgrade = &upgrade };
	struct talk_result result;

	talk_say(&talk, SERVER, SWITCHING, strlen(SWITCHING));
	talk_say(&talk, CLIENT, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n", 30);
	result = talk_run(&talk, &protocol_http2, &(struct talk_view){ 0 });
	assert_int_equal(result.n, 0);
	assert_int_equal(result.counts.begun, 1);
	assert_int_equal(result.counts.abandoned, 1);
	assert_true(result.was_stopped);
	talk_result_free(&result);
	talk_clear(&talk);
}

static void check_stops(const char *request, const char *response)
{
	struct talk talk = { 0 };
	struct talk_result result;

	talk_say(&talk, CLIENT, request, strlen(request));
	talk_say(&talk, SERVER, response, strlen(response));
	talk_say(&talk, CLIENT, request, strlen(request));
	result = talk_run(&talk, &protocol_http2, &(struct talk_view){ 0 });
	assert_int_equal(result.n, 0);
	assert_int_equal(result.in_flight, 0);
	assert_true(result.was_stopped);
	assert_true(result.counts.unparsed_bytes[PROTOCOL_MALFORMED] > 0);
	talk_result_free(&result);
	talk_clear(&talk);
}

static void test_not_http2(void **state)
{
	check_stops(HTTP2_PREFACE, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
	check_stops("GET /a/long/path HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n");
	check_stops("\x16\x03\x01\x02\x00 a client's hello that is long enough",
		    "HTTP/1.1 400 Bad\r\n");
}

/* Its flags promise fields that do not fit: all of it is no frame, though its call ends with it. */
static void test_no_room_for_fields(void **state)
{
	static const uint8_t flags[] = { HTTP2_PADDED, HTTP2_PRIORITIZED,
					 HTTP2_PADDED | HTTP2_PRIORITIZED };

	for (unsigned i = 0; i < sizeof(flags); i++) {
		struct maker maker;
		struct talk_result result;

		maker_start(&maker);
		preface(&maker);
		frame(&maker, CLIENT, HTTP2_HEADERS, flags[i] | HTTP2_END_HEADERS, 1, NULL, 0);
		result = talk_run(&maker.talk, &protocol_http2, &(struct talk_view){ 0 });
		assert_int_equal(result.n, 0);
		assert_int_equal(result.in_flight, 0);
		assert_int_equal(result.counts.unparsed_bytes[PROTOCOL_MALFORMED],
				 HTTP2_HEADER_SIZE);
		talk_result_free(&result);
		maker_stop(&maker);
	}
}

/* Blocks that refer to what came before we did: the counts are right, the names unknown. */
static void test_midway(void **state)
{
	struct maker maker;
	struct talk_result result;

	maker_start(&maker);
	preface(&maker);
	for (uint32_t stream = 1; stream < 8; stream += 2) {
		headers(&maker, CLIENT, HTTP2_END_STREAM, stream, PATCH("/a/word"));
		headers(&maker, SERVER, HTTP2_END_STREAM, stream, ANSWER("418"));
	}
	headers(&maker, CLIENT, HTTP2_END_STREAM, 9, GET("/new"));
	headers(&maker, SERVER, HTTP2_END_STREAM, 9, ANSWER("200"));
	headers(&maker, CLIENT, HTTP2_END_STREAM, 11, GET("/new"));
	headers(&maker, SERVER, HTTP2_END_STREAM, 11, ANSWER("200"));
	result = talk_run(&maker.talk, &protocol_http2,
			  &(struct talk_view){ .midway = true, .first = 6 });
	/* the method and the status are in the dynamic tables; the client repeats its path */
	assert_string_equal(result.text, "http2||/a/word|\nhttp2||/a/word|\nhttp2||/a/word|\n"
					 "http2|GET|/new|200\nhttp2|GET|/new|200\n");
	talk_result_free(&result);
	check(&maker, NULL);
}

/* A gap in what the client says: names are unknown for a while, calls are not lost. */
static void test_gap(void **state)
{
	enum { STREAMS = 13 };
	struct maker maker;
	struct talk_result result;

	maker_start(&maker);
	preface(&maker); /* 0 … 3 */
	for (uint32_t i = 0; i < STREAMS; i++) {
		headers(&maker, CLIENT, HTTP2_END_STREAM, 2 * i + 1, PATCH("/a/word"));
		headers(&maker, SERVER, HTTP2_END_STREAM, 2 * i + 1, ANSWER("418"));
	}
	/* the second request */
	result = talk_run(&maker.talk, &protocol_http2,
			  &(struct talk_view){ .gap = 6, .gap_size = 1 });
	assert_int_equal(result.n, STREAMS - 1);
	assert_int_equal(result.in_flight, 0);
	assert_string_equal(result.calls[0].operation, "PATCH");
	assert_string_equal(result.calls[1].operation, "");
	assert_string_equal(result.calls[STREAMS - 2].status, "418");
	talk_result_free(&result);
	/* the second response: the call may have ended, and would be forgotten in time */
	result = talk_run(&maker.talk, &protocol_http2,
			  &(struct talk_view){ .gap = 7, .gap_size = 1 });
	assert_int_equal(result.n, STREAMS - 1);
	assert_int_equal(result.in_flight, 1);
	assert_string_equal(result.calls[1].status, "");
	assert_string_equal(result.calls[1].operation, "PATCH");
	talk_result_free(&result);
	maker_stop(&maker);
}

/* What may have ended in a gap is forgotten once many others have ended; what shows that it goes on is not. */
static void test_doubt(void **state)
{
	struct maker maker;
	struct talk_result result;

	maker_start(&maker);
	preface(&maker); /* 0 … 3 */
	headers(&maker, CLIENT, 0, 1, POST("/watch")); /* 4 */
	headers(&maker, CLIENT, 0, 3, POST("/gone"));
	headers(&maker, SERVER, 0, 1, ANSWER("200"));
	headers(&maker, SERVER, HTTP2_END_STREAM, 3, ANSWER("200")); /* 7, lost */
	data(&maker, SERVER, 0, 1, 3);
	for (uint32_t i = 2; i < 2 + 127; i++) {
		headers(&maker, CLIENT, HTTP2_END_STREAM, 2 * i + 1, GET("/x"));
		headers(&maker, SERVER, HTTP2_END_STREAM, 2 * i + 1, ANSWER("200"));
	}
	result = talk_run(&maker.talk, &protocol_http2,
			  &(struct talk_view){ .gap = 7, .gap_size = 1 });
	assert_int_equal(result.n, 127);
	assert_int_equal(result.in_flight, 2);
	talk_result_free(&result);
	headers(&maker, CLIENT, HTTP2_END_STREAM, 1001, GET("/x"));
	headers(&maker, SERVER, HTTP2_END_STREAM, 1001, ANSWER("200"));
	data(&maker, SERVER, HTTP2_END_STREAM, 1, 3);
	result = talk_run(&maker.talk, &protocol_http2,
			  &(struct talk_view){ .gap = 7, .gap_size = 1 });
	assert_int_equal(result.n, 129);
	assert_int_equal(result.in_flight, 0);
	assert_int_equal(result.counts.forgotten, 1);
	assert_string_equal(result.calls[128].target, "/watch");
	talk_result_free(&result);
	maker_stop(&maker);
}

/* Most bytes are not copied: bodies are skipped by their length, and the end of a call is found again. */
static void test_holes(void **state)
{
	struct maker maker;
	struct talk_result result;
	uint8_t header[9], body[4096] = { 0 };

	maker_start(&maker);
	preface(&maker);
	headers(&maker, CLIENT, HTTP2_END_STREAM, 1, GET("/large"));
	headers(&maker, SERVER, 0, 1, ANSWER("200"));
	data(&maker, SERVER, 0, 1, 16384);
	data(&maker, SERVER, HTTP2_END_STREAM, 1, 16384);
	/* of three frames in one socket call, only the first and the last are copied */
	headers(&maker, CLIENT, HTTP2_END_STREAM, 3, GET("/larger"));
	headers(&maker, SERVER, 0, 3, ANSWER("200"));
	data(&maker, SERVER, 0, 3, 4096);
	frame_header(header, 4096, HTTP2_DATA, 0, 3);
	talk_add(&maker.talk, header, 9);
	talk_add(&maker.talk, body, 4096);
	frame_header(header, 10, HTTP2_DATA, HTTP2_END_STREAM, 3);
	talk_add(&maker.talk, header, 9);
	talk_add(&maker.talk, body, 10);
	headers(&maker, CLIENT, HTTP2_END_STREAM, 5, GET("/small"));
	headers(&maker, SERVER, HTTP2_END_STREAM, 5, ANSWER("204"));
	result = talk_run(&maker.talk, &protocol_http2,
			  &(struct talk_view){ .head = 200, .tail = 40 });
	/* the server's fields are not known any more; that its answers are complete is */
	assert_string_equal(result.text, "http2|GET|/large|200\nhttp2|GET|/larger|200\n"
					 "http2|GET|/small|204\n");
	assert_int_equal(result.counts.unparsed_bytes[PROTOCOL_TRUNCATED], 9 + 4096);
	talk_result_free(&result);
	maker_stop(&maker);
}

/* The dynamic table grows to what browsers allow, shrinks to nothing and grows again. */
static void test_table_sizes(void **state)
{
	static const size_t sizes[] = { 65536, 0, 100, 4096, 30000 };
	struct maker maker;
	char lines[512], expected[64 * 50] = "";
	uint32_t stream = 1;

	maker_start(&maker);
	preface(&maker);
	for (unsigned i = 0; i < 5; i++) {
		nghttp2_hd_deflate_change_table_size(maker.deflaters[CLIENT], sizes[i]);
		nghttp2_hd_deflate_change_table_size(maker.deflaters[SERVER], sizes[4 - i]);
		for (unsigned round = 0; round < 10; round++, stream += 2) {
			snprintf(lines, sizeof(lines),
				 GET("/some/words") "x-%u %0*u\nx-again %0*u\n", stream, 100,
				 stream, 150, 0);
			headers(&maker, CLIENT, HTTP2_END_STREAM, stream, lines);
			headers(&maker, SERVER, HTTP2_END_STREAM, stream, ANSWER("418"));
			strcat(expected, "http2|GET|/some/words|418!\n");
		}
	}
	check(&maker, expected);
}

/* More than may be in flight are counted; memory stays. */
static void test_limits(void **state)
{
	enum { STREAMS = 1301 };
	struct maker maker;
	struct talk_result result;
	char lines[16384 + 64];

	maker_start(&maker);
	preface(&maker);
	for (uint32_t i = 0; i < STREAMS; i++)
		headers(&maker, CLIENT, HTTP2_END_STREAM, 2 * i + 1, GET("/x"));
	for (uint32_t i = 0; i < STREAMS; i++)
		headers(&maker, SERVER, HTTP2_END_STREAM, 2 * i + 1, ANSWER("200"));
	result = talk_run(&maker.talk, &protocol_http2, &(struct talk_view){ 0 });
	assert_int_equal(result.n, PROTOCOL_MAX_CALLS);
	assert_int_equal(result.counts.dropped, STREAMS - PROTOCOL_MAX_CALLS);
	assert_int_equal(result.in_flight, 0);
	talk_result_free(&result);
	maker_stop(&maker);

	/* a table that would need more memory than there may be: it is as unknown as after a gap */
	maker_start(&maker);
	preface(&maker);
	nghttp2_hd_deflate_change_table_size(maker.deflaters[CLIENT], 65536);
	for (uint32_t i = 0; i < 8; i++) {
		snprintf(lines, sizeof(lines), PATCH("/x") "x-%u %09000u\n", i, 0);
		headers(&maker, CLIENT, HTTP2_END_STREAM, 2 * i + 1, lines);
		headers(&maker, SERVER, HTTP2_END_STREAM, 2 * i + 1, ANSWER("200"));
	}
	result = talk_run(&maker.talk, &protocol_http2, &(struct talk_view){ 0 });
	assert_int_equal(result.n, 8);
	assert_string_equal(result.calls[0].operation, "PATCH");
	assert_string_equal(result.calls[7].operation, "");
	assert_string_equal(result.calls[7].target, "/x");
	assert_string_equal(result.calls[7].status, "200");
	talk_result_free(&result);
	maker_stop(&maker);
}

/* The directions may be told in another order than they were: a response waits for its request, if that is to come. */
static void test_order(void **state)
{
	struct maker maker;
	struct talk_result result;

	maker_start(&maker);
	preface(&maker); /* 0 … 3 */
	for (uint32_t stream = 1; stream < 40; stream += 2) {
		headers(&maker, CLIENT, HTTP2_END_STREAM, stream, GET("/users/4711"));
		headers(&maker, SERVER, HTTP2_END_STREAM, stream, ANSWER("404"));
	}
	headers(&maker, CLIENT, HTTP2_END_STREAM, 41, GRPC("/Echo/Say"));
	headers(&maker, SERVER, 0, 41, GRPC_ANSWER);
	data(&maker, SERVER, 0, 41, 17);
	headers(&maker, SERVER, HTTP2_END_STREAM, 41, "grpc-status 5\n");
	result =
		talk_run(&maker.talk, &protocol_http2, &(struct talk_view){ .server_first = true });
	assert_int_equal(result.n, 21);
	assert_int_equal(result.in_flight, 0);
	for (unsigned i = 0; i < 20; i++) {
		const struct talk_call *call = &result.calls[i];

		assert_string_equal(call->target, "/users/{id}");
		assert_string_equal(call->status, "404");
		/* what they were when seen in order */
		assert_int_equal(call->start_ns, (5 + 2 * i) * TALK_STEP_NS);
		assert_int_equal(call->first_byte_ns, (6 + 2 * i) * TALK_STEP_NS);
		assert_int_equal(call->end_ns, (6 + 2 * i) * TALK_STEP_NS);
		assert_int_equal(call->response_bytes, maker.talk.parts[5 + 2 * i].size);
	}
	assert_string_equal(result.calls[20].status, "5");
	assert_string_equal(result.calls[20].protocol, "grpc");
	talk_result_free(&result);
	/* more than are kept, and one whose request never comes */
	talk_clear(&maker.talk);
	preface(&maker);
	for (uint32_t stream = 101; stream < 101 + 2 * 6; stream += 2)
		headers(&maker, SERVER, HTTP2_END_STREAM, stream, ANSWER("200"));
	for (uint32_t stream = 103; stream < 101 + 2 * 6; stream += 2)
		headers(&maker, CLIENT, HTTP2_END_STREAM, stream, GET("/x"));
	for (uint32_t stream = 201; stream < 201 + 2 * 4; stream += 2)
		headers(&maker, SERVER, HTTP2_END_STREAM, stream, ANSWER("200"));
	for (uint32_t stream = 201; stream < 201 + 2 * 4; stream += 2)
		headers(&maker, CLIENT, HTTP2_END_STREAM, stream, GET("/y"));
	result = talk_run(&maker.talk, &protocol_http2, &(struct talk_view){ 0 });
	assert_int_equal(result.n, 3 + 4);
	assert_int_equal(result.in_flight, 2);
	talk_result_free(&result);
	maker_stop(&maker);
}

/* How many calls of a recording are told with this line. */
static unsigned count(const char *text, const char *line)
{
	unsigned n = 0;

	for (const char *at = text; (at = strstr(at, line)); at += strlen(line))
		n += at == text || at[-1] == '\n';
	return n;
}

/* Recorded between real peers on Debian 12; what was called is known from what made the calls. */
static void test_recorded(void **state)
{
	static const struct {
		const char *talk;
		const struct protocol_upgrade *upgrade;
		unsigned n;
		struct {
			const char *line;
			unsigned n;
		} calls[6];
	} recorded[] = {
		{ "h2load-nghttpd",
		  NULL,
		  17,
		  { { "http2|GET|/index.html|200\n", 6 },
		    { "http2|GET|/users/{id}|200\n", 6 },
		    { "http2|GET|/missing|404!\n", 5 } } },
		{ "upgrade-curl-nghttpx",
		  &upgrade,
		  2,
		  { { "http2|GET|/users/{id}|200\n", 1 }, { "http2|GET|/index.html|200\n", 1 } } },
		{ "grpc-python",
		  NULL,
		  22,
		  { { "grpc||shop.v1.Cart/AddItem|0\n", 18 },
		    { "grpc||shop.v1.Cart/AddItem|5!\n", 1 },
		    { "grpc||shop.v1.Cart/Watch|0\n", 1 },
		    { "grpc||shop.v1.Cart/Nothing|12!\n", 1 },
		    { "grpc||shop.v1.Cart/Slow|4!\n", 1 } } },
	};

	for (size_t i = 0; i < sizeof(recorded) / sizeof(recorded[0]); i++) {
		struct talk talk = { .upgrade = recorded[i].upgrade };
		struct talk_result result;
		char path[128];

		snprintf(path, sizeof(path), "tests/fuzz/http2/%s", recorded[i].talk);
		talk_load(&talk, path);
		result = talk_run(&talk, &protocol_http2, &(struct talk_view){ 0 });
		assert_int_equal(result.n, recorded[i].n);
		assert_int_equal(result.in_flight, 0);
		for (size_t call = 0; call < 6 && recorded[i].calls[call].line; call++)
			assert_int_equal(count(result.text, recorded[i].calls[call].line),
					 recorded[i].calls[call].n);
		talk_result_free(&result);
		talk_check(&talk, &protocol_http2, NULL);
		talk_clear(&talk);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_times_and_sizes),
		cmocka_unit_test(test_many_streams),
		cmocka_unit_test(test_grpc),
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_resets),
		cmocka_unit_test(test_websocket),
		cmocka_unit_test(test_upgrade),
		cmocka_unit_test(test_upgrade_in_vain),
		cmocka_unit_test(test_not_http2),
		cmocka_unit_test(test_no_room_for_fields),
		cmocka_unit_test(test_midway),
		cmocka_unit_test(test_gap),
		cmocka_unit_test(test_doubt),
		cmocka_unit_test(test_holes),
		cmocka_unit_test(test_table_sizes),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_recorded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
