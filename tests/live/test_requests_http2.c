// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP/2 on the running kernel, in conversations of the test's own: many streams end in one call of more bytes than are ever
 * copied, read in calls that begin and end anywhere; and each request is counted once per side, with its status.
 */
#include <netinet/in.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "tests/harness/dialogue.h"
#include "tests/harness/harness.h"

#define ROUNDS	    53
#define STREAMS	    7 /* in a round, each with another status */
#define CONNECTIONS 3
#define BODY	    8192
#define HEADER	    9

#define HELLO	      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
#define SETTINGS      "\0\0\0\4\0\0\0\0\0"
#define HELLO_SIZE    (sizeof(HELLO) - 1)
#define SETTINGS_SIZE (sizeof(SETTINGS) - 1)

/* Of the static table: RFC 7541, appendix A. */
static const char *const statuses[STREAMS] = { "200", "204", "206", "304", "400", "404", "500" };
#define FIRST_STATUS 0x88

static void frame(uint8_t header[HEADER], uint32_t length, uint8_t type, uint8_t flags,
		  uint32_t stream)
{
	const uint8_t bytes[HEADER] = { length >> 16, length >> 8,  length,	 type,	flags,
					stream >> 24, stream >> 16, stream >> 8, stream };

	memcpy(header, bytes, HEADER);
}

static uint32_t stream_of(unsigned round, unsigned i)
{
	return 2 * (round * STREAMS + i) + 1;
}

static void send_all(int s, const void *bytes, size_t size)
{
	for (const char *at = bytes; size;) {
		size_t n = (size_t)MUST(send(s, at, size, 0));

		at += n;
		size -= n;
	}
}

/* GET / of all streams of the round. */
static void ask_round(int s, unsigned round)
{
	uint8_t request[STREAMS][HEADER + 3];

	for (unsigned i = 0; i < STREAMS; i++) {
		frame(request[i], 3, 1, 5, stream_of(round, i));
		memcpy(request[i] + HEADER, "\x82\x84\x86", 3);
	}
	send_all(s, request, sizeof(request));
}

#define ANSWER_SIZE (HEADER + 1 + HEADER + BODY + HEADER)

/* All responses of the round in one call, in memory of many pieces. */
static void answer_at_once(int s, unsigned round)
{
	static uint8_t headers[STREAMS][HEADER + 1 + HEADER], ends[STREAMS][HEADER], body[BODY];
	struct iovec pieces[3 * STREAMS];

	for (unsigned i = 0; i < STREAMS; i++) {
		uint32_t stream = stream_of(round, i);

		frame(headers[i], 1, 1, 4, stream);
		headers[i][HEADER] = (uint8_t)(FIRST_STATUS + i);
		frame(headers[i] + HEADER + 1, BODY, 0, 0, stream);
		frame(ends[i], 0, 0, 1, stream);
		pieces[3 * i] = (struct iovec){ headers[i], sizeof(headers[i]) };
		pieces[3 * i + 1] = (struct iovec){ body, sizeof(body) };
		pieces[3 * i + 2] = (struct iovec){ ends[i], sizeof(ends[i]) };
	}
	if (MUST(writev(s, pieces, 3 * STREAMS)) != (long)STREAMS * ANSWER_SIZE)
		_exit(101);
}

/* The same, with each body from a file. */
static void answer_from_file(int s, unsigned round)
{
	static int file = -1;
	uint8_t head[HEADER + 1 + HEADER], end[HEADER];

	if (file < 0) {
		file = (int)MUST(memfd_create("body", 0));
		MUST(ftruncate(file, BODY));
	}
	for (unsigned i = 0; i < STREAMS; i++) {
		uint32_t stream = stream_of(round, i);
		off_t at = 0;

		frame(head, 1, 1, 4, stream);
		head[HEADER] = (uint8_t)(FIRST_STATUS + i);
		frame(head + HEADER + 1, BODY, 0, 0, stream);
		frame(end, 0, 0, 1, stream);
		send_all(s, head, sizeof(head));
		while (at < BODY)
			MUST(sendfile(s, file, &at, (size_t)(BODY - at)));
		send_all(s, end, sizeof(end));
	}
}

static void serve(int s)
{
	const int large = 1 << 20;

	/* so that nothing is sent in two calls */
	MUST(setsockopt(s, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large)));
	receive_bytes(s, HELLO_SIZE);
	send_all(s, SETTINGS, SETTINGS_SIZE);
	for (unsigned round = 0; round < ROUNDS; round++) {
		receive_bytes(s, STREAMS * (HEADER + 3));
		if (round % 2)
			answer_from_file(s, round);
		else
			answer_at_once(s, round);
	}
	receive_rest(s);
	close(s);
}

static void ask(int s)
{
	static uint8_t buffer[40000];

	send_all(s, HELLO, HELLO_SIZE);
	receive_bytes(s, SETTINGS_SIZE);
	for (unsigned round = 0; round < ROUNDS; round++) {
		size_t left = STREAMS * (size_t)ANSWER_SIZE;

		ask_round(s, round);
		while (left) {
			size_t most = round % 3 ? sizeof(buffer) : 5003, n;

			n = (size_t)MUST(recv(s, buffer, left < most ? left : most, 0));
			if (!n)
				_exit(102);
			left -= n;
		}
	}
	close(s);
}

static void expect_requests(const struct page *page, const char *metric, const char *comm)
{
	for (unsigned i = 0; i < STREAMS; i++) {
		double count =
			metric_histogram(page, metric, "comm", comm, "http_request_method", "GET",
					 "http_response_status_code", statuses[i], "http_route",
					 "/", "network_protocol_version", "2", NULL)
				.count;

		if (count != ROUNDS * CONNECTIONS)
			test_fail("%s of %s with %s: %.0f", metric, comm, statuses[i], count);
	}
	assert_true(metric_histogram(page, metric, "comm", comm, NULL).count ==
		    ROUNDS * CONNECTIONS * STREAMS);
}

static void every_request_is_counted_once_per_side(void **state)
{
	struct leadline *leadline = leadline_start_only("requests", (const char *const[]){ NULL });
	struct dialogue dialogue = {
		.family = AF_INET, .connections = CONNECTIONS, .server = serve, .client = ask
	};
	struct parties parties = dialogue_hold(&dialogue, 30);
	struct page *page = leadline_scrape(leadline);
	double bytes = CONNECTIONS * (double)(HELLO_SIZE + SETTINGS_SIZE +
					      ROUNDS * STREAMS * (HEADER + 3 + ANSWER_SIZE));

	expect_requests(page, "http_server_request_duration_seconds", parties.server);
	expect_requests(page, "http_client_request_duration_seconds", parties.client);
	/* and nothing was beyond what is copied */
	assert_true(metric_sum(page, "leadline_socket_bytes_total", "comm", parties.server,
			       "protocol", "http2", "parsed", "true", NULL) == bytes);
	assert_true(metric_sum(page, "leadline_socket_bytes_total", "comm", parties.client,
			       "protocol", "http2", "parsed", "true", NULL) == bytes);
	page_free(page);
	(void)state;
}

/* ---- upgraded from HTTP/1 (RFC 7540, 3.2) ---- */

#define UPGRADES                                                                                   \
	7 /* connections, each with one request that upgrades and as many on streams as there are statuses */
#define UPGRADE                                                                                    \
	"GET /users/17 HTTP/1.1\r\nHost: any\r\nConnection: Upgrade, HTTP2-Settings\r\n"           \
	"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
#define SWITCHING "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
/* "418", on stream 1: a status that no other stream has */
#define FIRST_ANSWER                                                                               \
	"\0\0\5\1\5\0\0\0\1\x08\3"                                                                 \
	"418"

/* What the server says in the call that switches, after it, and once the client has said that it has switched, too. */
static const struct upgrade {
	const char *switches, *before, *after;
	size_t switches_size, before_size, after_size;
	bool is_cut; /* the head of the 101: it is all that is told then */
} upgrades[] = {
#define SAID(switches, before, after)                                                              \
	switches, before, after, sizeof(switches) - 1, sizeof(before) - 1, sizeof(after) - 1
	{ SAID(SWITCHING SETTINGS, "", FIRST_ANSWER) },
	{ SAID(SWITCHING, SETTINGS FIRST_ANSWER, "") },
	{ SAID(SWITCHING, SETTINGS, FIRST_ANSWER) },
	{ SAID(SWITCHING SETTINGS FIRST_ANSWER, "", "") },
	{ SAID("HTTP/1.1 103 Early Hints\r\n\r\n" SWITCHING SETTINGS, "", FIRST_ANSWER) },
	{ SAID("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n",
	       "\r\n" SETTINGS, FIRST_ANSWER),
	  .is_cut = true },
#undef SAID
};

static const struct upgrade *upgrade;

/* Meanwhile, on the same CPU, begins another connection, whose first byte does not tell what it is. */
static void begin_another(void)
{
	static const char ping[] = "*1\r\n$4\r\nPING\r\n";
	cpu_set_t first;
	int pair[2];

	CPU_ZERO(&first);
	CPU_SET(0, &first);
	MUST(sched_setaffinity(0, sizeof(first), &first));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	send_all(pair[0], ping, 1);
	receive_bytes(pair[1], 1);
	send_all(pair[0], ping + 1, sizeof(ping) - 2);
	receive_bytes(pair[1], sizeof(ping) - 2);
	close(pair[0]);
	close(pair[1]);
}

#define THINKS_US 20000 /* before it answers what asked for the upgrade, if that comes last */

static void serve_upgraded(int s)
{
	receive_bytes(s, sizeof(UPGRADE) - 1);
	send_all(s, upgrade->switches, upgrade->switches_size);
	send_all(s, upgrade->before, upgrade->before_size);
	begin_another();
	receive_bytes(s, HELLO_SIZE);
	if (upgrade->after_size)
		usleep(THINKS_US);
	send_all(s, upgrade->after, upgrade->after_size);
	receive_bytes(s, STREAMS * (HEADER + 3));
	answer_at_once(s, 1);
	receive_rest(s);
	close(s);
}

static void ask_and_upgrade(int s)
{
	send_all(s, UPGRADE, sizeof(UPGRADE) - 1);
	receive_bytes(s, upgrade->switches_size);
	receive_bytes(s, upgrade->before_size);
	begin_another();
	send_all(s, HELLO, HELLO_SIZE);
	receive_bytes(s, upgrade->after_size);
	ask_round(s, 1);
	receive_bytes(s, STREAMS * (size_t)ANSWER_SIZE);
	close(s);
}

static void expect_upgrades(const struct page *page, const char *metric, const char *comm)
{
	struct page_histogram first =
		metric_histogram(page, metric, "comm", comm, "http_request_method", "GET",
				 "http_response_status_code", upgrade->is_cut ? "101" : "418",
				 "http_route", upgrade->is_cut ? "" : "/users/{id}",
				 "network_protocol_version", upgrade->is_cut ? "" : "2", NULL);
	double all = metric_histogram(page, metric, "comm", comm, NULL).count;

	if (first.count != UPGRADES || all != UPGRADES * (1 + STREAMS))
		test_fail("%s of %s, upgraded in way %zu: %.0f, and %.0f on streams", metric, comm,
			  (size_t)(upgrade - upgrades), first.count, all - first.count);
	if (upgrade->after_size && !upgrade->is_cut)
		assert_true(page_histogram_mean(&first) >= THINKS_US * 1e-6);
	assert_true(metric_sum(page, "leadline_socket_bytes_total", "comm", comm, "protocol",
			       "http2", "parsed", "false", NULL) == 0);
	for (unsigned i = 0; i < STREAMS; i++)
		assert_true(metric_histogram(page, metric, "comm", comm, "http_request_method",
					     "GET", "http_response_status_code", statuses[i],
					     "http_route", "/", "network_protocol_version", "2",
					     NULL)
				    .count == UPGRADES);
}

/* The request that upgrades by what stream 1 is answered, and not by the 101, in whatever calls that comes. */
static void a_request_that_upgrades_is_counted_once_per_side(void **state)
{
	struct leadline *leadline = leadline_start_only("requests", (const char *const[]){ NULL });

	for (size_t i = 0; i < sizeof(upgrades) / sizeof(upgrades[0]); i++) {
		struct dialogue dialogue = { .family = AF_INET,
					     .connections = UPGRADES,
					     .server = serve_upgraded,
					     .client = ask_and_upgrade };
		struct parties parties;
		struct page *page;

		upgrade = &upgrades[i];
		parties = dialogue_hold(&dialogue, 30);
		page = leadline_scrape(leadline);
		expect_upgrades(page, "http_server_request_duration_seconds", parties.server);
		expect_upgrades(page, "http_client_request_duration_seconds", parties.client);
		page_free(page);
	}
	(void)state;
}

static void switch_and_leave(int s)
{
	receive_bytes(s, sizeof(UPGRADE) - 1);
	send_all(s, SWITCHING SETTINGS, sizeof(SWITCHING SETTINGS) - 1);
	receive_bytes(s, HELLO_SIZE);
	close(s);
}

static void upgrade_in_vain(int s)
{
	send_all(s, UPGRADE, sizeof(UPGRADE) - 1);
	receive_bytes(s, sizeof(SWITCHING SETTINGS) - 1);
	send_all(s, HELLO, HELLO_SIZE);
	receive_rest(s);
	close(s);
}

static void expect_all(const struct page *page, const char *metric, const char *comm,
		       const char *status, const char *error)
{
	assert_true(metric_histogram(page, metric, "comm", comm, NULL).count == UPGRADES);
	assert_true(metric_histogram(page, metric, "comm", comm, "http_response_status_code",
				     status, "error_type", error, NULL)
			    .count == UPGRADES);
}

/* So end the upgrades of connections that both sides use so, at both of them. */
static void expect_upgrades_end(void (*server)(int), void (*client)(int), const char *status,
				const char *error)
{
	struct leadline *leadline = leadline_start_only("requests", (const char *const[]){ NULL });
	struct dialogue dialogue = {
		.family = AF_INET, .connections = UPGRADES, .server = server, .client = client
	};
	struct parties parties = dialogue_hold(&dialogue, 30);
	struct page *page = leadline_scrape(leadline);

	expect_all(page, "http_server_request_duration_seconds", parties.server, status, error);
	expect_all(page, "http_client_request_duration_seconds", parties.client, status, error);
	page_free(page);
}

static void a_101_is_no_answer_where_none_follows(void **state)
{
	expect_upgrades_end(switch_and_leave, upgrade_in_vain, "", "no_response");
	(void)state;
}

#define WEBSOCKET                                                                                  \
	"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"

static void switch_to_websocket(int s)
{
	receive_bytes(s, sizeof(UPGRADE) - 1);
	send_all(s, WEBSOCKET "\x81\5hello", sizeof(WEBSOCKET "\x81\5hello") - 1);
	usleep(THINKS_US);
	send_all(s, "\x81\3bye", 5);
	receive_rest(s);
	close(s);
}

static void ask_for_websocket(int s)
{
	send_all(s, UPGRADE, sizeof(UPGRADE) - 1);
	receive_bytes(s, sizeof(WEBSOCKET "\x81\5hello") - 1);
	receive_bytes(s, 5);
	close(s);
}

static void any_other_upgrade_ends_with_its_101(void **state)
{
	expect_upgrades_end(switch_to_websocket, ask_for_websocket, "101", "");
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(every_request_is_counted_once_per_side),
		HARNESS_TEST(a_request_that_upgrades_is_counted_once_per_side),
		HARNESS_TEST(a_101_is_no_answer_where_none_follows),
		HARNESS_TEST(any_other_upgrade_ends_with_its_101),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
