// SPDX-License-Identifier: Apache-2.0
/*
 * The requests probe on the running kernel: a real server (nginx) with real clients, and conversations of the
 * test's own whose every byte and pause is known. Each request must be counted once per side.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "tests/harness/dialogue.h"
#include "tests/harness/harness.h"
#include "tests/harness/requests.h"

#define SERVER "http_server_request_duration_seconds"
#define CLIENT "http_client_request_duration_seconds"

/* ---- what a page says ---- */

static double requests_of(const struct page *page, const char *metric, const char *comm,
			  const char *method, const char *status)
{
	return metric_histogram(page, metric, "comm", comm, "http_request_method", method,
				"http_response_status_code", status, NULL)
		.count;
}

/* An nginx of another test may run: this one's is known by its control group. */
static const char *nginx_unit;

static double nginx_requests_seen(const struct page *page, const char *method, const char *status)
{
	return metric_histogram(page, SERVER, "unit", nginx_unit, "comm", "nginx",
				"http_request_method", method, "http_response_status_code", status,
				NULL)
		.count;
}

static double all_requests_of(const struct page *page, const char *metric, const char *comm)
{
	return metric_histogram(page, metric, "comm", comm, NULL).count;
}

static void expect_requests(const struct page *page, const char *metric, const char *comm,
			    const char *method, const char *status, double expected)
{
	double seen = requests_of(page, metric, comm, method, status);

	if (seen != expected)
		test_fail("%s of %s, %s %s: %.0f, not %.0f", metric, comm, method, status, seen,
			  expected);
}

/* ---- nginx ---- */

static struct nginx *start_nginx(const char *listen, const char *server)
{
	struct nginx *nginx = nginx_start(listen, server);
	static int n_started;
	const char *directory;
	char name[32];

	snprintf(name, sizeof(name), "requests-nginx%d", ++n_started);
	directory = cgroup_create(name);
	cgroup_enter(directory, nginx->pid);
	nginx_unit = strrchr(directory, '/');
	return nginx;
}

static void expect_nginx(const struct page *page, const char *method, const char *status,
			 double expected)
{
	double seen = nginx_requests_seen(page, method, status);

	if (seen != expected)
		test_fail("nginx, %s %s: %.0f, not %.0f", method, status, seen, expected);
}

#define KEPT_ALIVE 997
#define BIG_BODY   20000003

static void real_server_and_client(const char *listen)
{
	struct leadline *leadline = leadline_shared("requests");
	struct nginx *nginx = start_nginx(
		listen,
		"location /post { return 201 \"taken\\n\"; } location /file { alias files/; sendfile on; }");
	const char *name = listen ? "curl-requests-6" : "curl-requests",
		   *curl = program_renamed("curl", name), *host = nginx->host;
	int port = nginx->port;
	struct page *page;

	shell("head -c %d /dev/zero > %s/files/big", BIG_BODY, nginx->directory);
	shell("echo small > %s/files/small", nginx->directory);
	shell("%s -s -o /dev/null 'http://%s:%d/?[1-%d]'", curl, host, port, KEPT_ALIVE);
	shell("%s -s -o /dev/null 'http://%s:%d/status/{404,204,500,301,404}'", curl, host, port);
	shell("%s -s -I -o /dev/null 'http://%s:%d/file/{big,small,big}'", curl, host, port);
	shell("%s -s -o /dev/null 'http://%s:%d/file/{big,small,big}'", curl, host, port);
	shell("%s -s -H 'If-None-Match: *' -o /dev/null 'http://%s:%d/file/{small,big,small,small,big}'",
	      curl, host, port);
	/* curl waits for 100 Continue with a body of this size */
	shell("%s -s --data-binary @%s/files/big -o /dev/null 'http://%s:%d/post'", curl,
	      nginx->directory, host, port);
	shell("%s -s -H 'Expect: 100-continue' -d x=1 -o /dev/null 'http://%s:%d/post?[1-7]'", curl,
	      host, port);
	shell("%s -s -H 'Transfer-Encoding: chunked' --data-binary @%s/files/big -o /dev/null 'http://%s:%d/post?[1-3]'",
	      curl, nginx->directory, host, port);
	shell("%s -s -X DELETE -o /dev/null 'http://%s:%d/?[1-11]'", curl, host, port);
	shell("%s -s -X PURGE -o /dev/null 'http://%s:%d/?[1-2]'", curl, host, port);

	page = leadline_scrape(leadline);
	expect_requests(page, CLIENT, name, "GET", "200", KEPT_ALIVE + 3);
	expect_requests(page, CLIENT, name, "GET", "404", 2);
	expect_requests(page, CLIENT, name, "GET", "204", 1);
	expect_requests(page, CLIENT, name, "GET", "500", 1);
	expect_requests(page, CLIENT, name, "GET", "301", 1);
	expect_requests(page, CLIENT, name, "GET", "304", 5);
	expect_requests(page, CLIENT, name, "HEAD", "200", 3);
	expect_requests(page, CLIENT, name, "POST", "201", 11);
	expect_requests(page, CLIENT, name, "DELETE", "200", 11);
	expect_requests(page, CLIENT, name, "_OTHER", "200", 2);
	assert_true(all_requests_of(page, CLIENT, name) == KEPT_ALIVE + 40);
	assert_true(all_requests_of(page, SERVER, name) == 0);
	assert_true((double)nginx_requests(nginx) == KEPT_ALIVE + 40);
	expect_nginx(page, "GET", "200", KEPT_ALIVE + 3);
	expect_nginx(page, "GET", "404", 2);
	expect_nginx(page, "GET", "304", 5);
	expect_nginx(page, "HEAD", "200", 3);
	expect_nginx(page, "POST", "201", 11);
	expect_nginx(page, "DELETE", "200", 11);
	assert_true(metric_histogram(page, SERVER, "unit", nginx_unit, NULL).count ==
		    KEPT_ALIVE + 40);
	assert_true(metric_sum(page, "leadline_socket_bytes_total", "comm", name, "parsed", "false",
			       NULL) == 0);
	assert_true(metric_sum(page, "leadline_socket_bytes_total", "unit", nginx_unit, "parsed",
			       "true", NULL) > 6.0 * BIG_BODY);
	requests_expect_nothing_lost(page);
	page_free(page);
}

static void nginx_and_curl(void **state)
{
	real_server_and_client(NULL);
	(void)state;
}

static void nginx_and_curl_over_ipv6(void **state)
{
	real_server_and_client("[::1]");
	(void)state;
}

/* The server has noticed that its clients are gone: it has logged what it served them, and closed. */
static bool is_deserted(int port)
{
	struct output *output =
		run_shell("ss -tnH 'sport = :%d' | grep -c -E '^(ESTAB|CLOSE-WAIT)'", port);
	bool deserted = !strcmp(output->text, "0\n");

	output_free(output);
	return deserted;
}

static void pipelined_by_wrk(void **state)
{
	struct leadline *leadline;
	struct nginx *nginx;
	const char *wrk, *script;
	double served, unserved, answered, logged;
	struct page *page;

	require_real_time(); /* thousands of requests within its second */
	leadline = leadline_shared("requests");
	nginx = start_nginx(NULL, NULL);
	wrk = program_renamed("wrk", "wrk-requests");
	script = write_file(nginx->directory, "pipeline.lua",
			    "init = function(args)\n"
			    "  local r = {}\n"
			    "  for i = 1, 16 do r[i] = wrk.format(nil, '/?' .. i) end\n"
			    "  req = table.concat(r)\n"
			    "end\n"
			    "request = function() return req end\n");
	shell("%s -t1 -c4 -d1s -s %s %s", wrk, script, nginx_url(nginx, "/"));
	assert_true(WAIT_UNTIL(is_deserted(nginx->port), 20));
	page = leadline_scrape(leadline);
	served = nginx_requests_seen(page, "GET", "200");
	unserved = metric_histogram(page, SERVER, "unit", nginx_unit, "error_type", "no_response",
				    NULL)
			   .count;
	answered = requests_of(page, CLIENT, "wrk-requests", "GET", "200");
	assert_true(served > 1000);
	/* Of the requests under way when wrk's time was up, nginx logs those it had begun to answer. */
	logged = (double)nginx_requests(nginx);
	if (logged < served || logged > served + unserved)
		test_fail("nginx logged %.0f requests; seen: %.0f, and %.0f without response",
			  logged, served, unserved);
	assert_true(answered > 1000 && answered <= served);
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

/* ---- conversations of our own ---- */

static void send_text(int s, const char *text)
{
	size_t size = strlen(text);

	while (size) {
		size_t n = (size_t)MUST(send(s, text, size, 0));

		text += n;
		size -= n;
	}
}

/* Reads up to the end of a head, then so many bytes. */
static void receive_message(int s, size_t body)
{
	char head[4096];
	size_t n = 0;

	do {
		if (n == sizeof(head) || MUST(recv(s, head + n, 1, 0)) != 1)
			_exit(102);
		n++;
	} while (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4));
	receive_bytes(s, body);
}

/* How a text is handed to the kernel. */
enum manner { WHOLE, BY_BYTE, IN_THREE_PIECES, AS_MESSAGE, AS_MESSAGES, WITHOUT_COPY, MANNERS };
static enum manner manner;

/* All pieces in one call, each a message of its own; sent like that they are none on a stream. */
static size_t move_messages(int s, struct iovec pieces[3], bool is_send)
{
	struct mmsghdr messages[3] = {};
	size_t moved = 0;
	int n;

	for (int i = 0; i < 3; i++)
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &pieces[i], .msg_iovlen = 1 };
	n = (int)(is_send ? MUST(sendmmsg(s, messages, 3, 0))
			  : MUST(recvmmsg(s, messages, 3, MSG_WAITFORONE, NULL)));
	for (int i = 0; i < n; i++)
		moved += messages[i].msg_len;
	return moved;
}

static void send_in_manner(int s, const char *text)
{
	size_t size = strlen(text), third = size / 3;
	struct iovec pieces[] = {
		{ (void *)(uintptr_t)text, third },
		{ (void *)(uintptr_t)(text + third), third },
		{ (void *)(uintptr_t)(text + 2 * third), size - 2 * third },
	};
	struct msghdr message = { .msg_iov = pieces, .msg_iovlen = 3 };

	switch (manner) {
	case WHOLE:
		send_text(s, text);
		break;
	case BY_BYTE:
		for (size_t i = 0; i < size; i++)
			MUST(write(s, text + i, 1));
		break;
	case IN_THREE_PIECES:
		MUST(writev(s, pieces, 3));
		break;
	case AS_MESSAGES:
		MUST(move_messages(s, pieces, true));
		break;
	case WITHOUT_COPY:
		/* unix sockets know no such thing */
		if (setsockopt(s, SOL_SOCKET, SO_ZEROCOPY, &(int){ 1 }, sizeof(int)))
			MUST(send(s, text, size, 0));
		else
			MUST(send(s, text, size, MSG_ZEROCOPY));
		break;
	default:
		MUST(sendmsg(s, &message, 0));
		break;
	}
}

/* The same for receiving; peeking first must not count twice. */
static void receive_in_manner(int s, const char *text)
{
	size_t size = strlen(text);
	char buffer[4096];
	struct iovec pieces[] = { { buffer, 7 }, { buffer + 7, 11 }, { buffer + 18, 0 } };
	struct msghdr message = { .msg_iov = pieces, .msg_iovlen = 3 };

	MUST(recv(s, buffer, 1, MSG_PEEK));
	while (size) {
		size_t n = 0;

		pieces[2].iov_len = size > 18 ? size - 18 : 0;
		if (manner == WHOLE)
			n = (size_t)MUST(recv(s, buffer, size, 0));
		else if (manner == BY_BYTE || size < 18)
			n = (size_t)MUST(read(s, buffer, 1));
		else if (manner == IN_THREE_PIECES)
			n = (size_t)MUST(readv(s, pieces, 3));
		else if (manner == AS_MESSAGES)
			n = move_messages(s, pieces, false);
		else if (manner == WITHOUT_COPY)
			n = (size_t)MUST(recv(s, buffer, size, MSG_WAITALL));
		else
			n = (size_t)MUST(recvmsg(s, &message, 0));
		if (!n)
			_exit(102);
		size -= n;
	}
}

static const struct exchange {
	const char *request, *response;
} exchanges[] = {
	{ "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" },
	{ "HEAD /2 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" },
	{ "POST /3 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n",
	  "HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n1;x\r\nx\r\n0\r\nTrailer: 1\r\n\r\n" },
	{ "PUT /4 HTTP/1.1\r\nContent-Length: 26\r\n\r\nGET /no HTTP/1.1\r\nHost: a\r\n",
	  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n" },
	{ "PATCH /5 HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
	  "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n" },
	{ "DELETE /6 HTTP/1.1\r\n\r\n",
	  "HTTP/1.1 503 Sorry\r\nContent-Length: 40\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nxx" },
	{ "GET /7 HTTP/1.1\r\n\r\nTRACE /8 HTTP/1.1\r\n\r\nOPTIONS * HTTP/1.1\r\n\r\n",
	  "HTTP/1.1 404 A\r\nContent-Length: 0\r\n\r\nHTTP/1.1 405 B\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 204 C\r\n\r\n" },
};

#define N_EXCHANGES (sizeof(exchanges) / sizeof(exchanges[0]))

static void answer_exchanges(int s)
{
	for (size_t i = 0; i < N_EXCHANGES; i++) {
		receive_in_manner(s, exchanges[i].request);
		send_in_manner(s, exchanges[i].response);
	}
	receive_rest(s);
	close(s);
}

static void ask_exchanges(int s)
{
	for (size_t i = 0; i < N_EXCHANGES; i++) {
		send_in_manner(s, exchanges[i].request);
		receive_in_manner(s, exchanges[i].response);
	}
	close(s);
}

static void every_way_to_send_and_receive(int family)
{
	static const struct {
		const char *method, *status, *server_error, *client_error;
	} expected[] = {
		{ "GET", "200", "", "" },     { "HEAD", "200", "", "" },
		{ "POST", "201", "", "" },    { "PUT", "204", "", "" },
		{ "PATCH", "304", "", "" },   { "DELETE", "503", "503", "503" },
		{ "GET", "404", "", "404" },  { "TRACE", "405", "", "405" },
		{ "OPTIONS", "204", "", "" },
	};
	const size_t n = sizeof(expected) / sizeof(expected[0]);
	struct leadline *leadline = leadline_shared("requests");

	for (manner = WHOLE; manner < MANNERS; manner++) {
		struct dialogue dialogue = { .family = family,
					     .connections = 7,
					     .server = answer_exchanges,
					     .client = ask_exchanges };
		struct parties parties = dialogue_hold(&dialogue, 20);
		struct page *page = leadline_scrape(leadline);

		for (size_t i = 0; i < n; i++) {
			struct page_histogram server = metric_histogram(
				page, SERVER, "comm", parties.server, "http_request_method",
				expected[i].method, "http_response_status_code", expected[i].status,
				"error_type", expected[i].server_error, NULL);
			struct page_histogram client = metric_histogram(
				page, CLIENT, "comm", parties.client, "http_request_method",
				expected[i].method, "http_response_status_code", expected[i].status,
				"error_type", expected[i].client_error, NULL);

			if (server.count != 7 || client.count != 7)
				test_fail(
					"manner %d, %s %s: %.0f at the server, %.0f at the client, not 7",
					manner, expected[i].method, expected[i].status,
					server.count, client.count);
		}
		assert_true(all_requests_of(page, SERVER, parties.server) == 7.0 * (double)n);
		assert_true(all_requests_of(page, CLIENT, parties.client) == 7.0 * (double)n);
		assert_true(all_requests_of(page, CLIENT, parties.server) == 0);
		requests_expect_nothing_lost(page);
		page_free(page);
	}
}

static void every_way_over_tcp(void **state)
{
	every_way_to_send_and_receive(AF_INET);
	every_way_to_send_and_receive(AF_INET6);
	(void)state;
}

static void every_way_over_unix_sockets(void **state)
{
	every_way_to_send_and_receive(AF_UNIX);
	(void)state;
}

/* ---- times ---- */

#define ROUNDS 5

/* Status and time of the pause before the first byte, and between it and the last. */
static const struct pause {
	const char *status;
	double before, between;
} pauses[] = { { "201", .020, 0 }, { "202", .050, .020 }, { "203", .101, .050 } };

#define N_PAUSES (sizeof(pauses) / sizeof(pauses[0]))

/* What the server measured itself; a machine under load sleeps longer than asked for. */
struct measured {
	double first_byte[N_PAUSES], last_byte[N_PAUSES];
};
static struct measured *measured;

static void answer_late(int s)
{
	/* Else the last byte waits in the server for the client's delayed acknowledgment. */
	MUST(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)));
	for (int round = 0; round < ROUNDS; round++) {
		for (size_t i = 0; i < N_PAUSES; i++) {
			char head[128];
			double start;

			receive_message(s, 0);
			start = clock_seconds();
			pause_seconds(pauses[i].before);
			snprintf(head, sizeof(head), "HTTP/1.1 %s OK\r\nContent-Length: 2\r\n\r\no",
				 pauses[i].status);
			send_text(s, head);
			measured->first_byte[i] += clock_seconds() - start;
			pause_seconds(pauses[i].between);
			send_text(s, "k");
			measured->last_byte[i] += clock_seconds() - start;
		}
	}
	receive_rest(s);
	close(s);
}

static void ask_and_wait(int s)
{
	for (size_t i = 0; i < ROUNDS * N_PAUSES; i++) {
		send_text(s, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
		receive_message(s, 2);
	}
	close(s);
}

static void expect_mean(const struct page *page, const char *metric, const char *comm,
			const char *status, double expected)
{
	struct page_histogram seen = metric_histogram(page, metric, "comm", comm,
						      "http_response_status_code", status, NULL);

	if (seen.count != ROUNDS || page_histogram_mean(&seen) < expected - 0.002 ||
	    page_histogram_mean(&seen) > expected + 0.002)
		test_fail("%s of %s, %s: %.0f times %.1f ms, not %d times %.1f ms", metric, comm,
			  status, seen.count, 1e3 * page_histogram_mean(&seen), ROUNDS,
			  1e3 * expected);
}

static void durations_of_a_server_that_sleeps(void **state)
{
	struct leadline *leadline;
	struct dialogue dialogue = {
		.family = AF_INET, .connections = 1, .server = answer_late, .client = ask_and_wait
	};
	struct parties parties;
	struct page *page;

	require_real_time();
	leadline = leadline_shared("requests");
	measured = mmap(NULL, sizeof(*measured), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	assert_true(measured != MAP_FAILED);
	parties = dialogue_hold(&dialogue, 20);
	page = leadline_scrape(leadline);
	for (size_t i = 0; i < N_PAUSES; i++) {
		double first = measured->first_byte[i] / ROUNDS,
		       last = measured->last_byte[i] / ROUNDS;

		expect_mean(page, SERVER, parties.server, pauses[i].status, last);
		expect_mean(page, CLIENT, parties.client, pauses[i].status, last);
		expect_mean(page, "leadline_http_server_time_to_first_byte_seconds", parties.server,
			    pauses[i].status, first);
		expect_mean(page, "leadline_http_client_time_to_first_byte_seconds", parties.client,
			    pauses[i].status, first);
	}
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

/* ---- ends of connections ---- */

static void answer_until_close(int s)
{
	receive_message(s, 0);
	send_text(s, "HTTP/1.0 200 OK\r\n\r\nsome");
	pause_seconds(0.01);
	send_text(s, " and the rest");
	close(s);
}

static void ask_until_close(int s)
{
	send_text(s, "GET / HTTP/1.0\r\n\r\n");
	receive_rest(s);
	close(s);
}

static void hang_up_without_answer(int s)
{
	receive_message(s, 0);
	close(s);
}

static void reset_amid_answer(int s)
{
	receive_message(s, 0);
	send_text(s, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nnot all of it");
	pause_seconds(0.02);
	close_with_reset(s);
}

static double with_error(const struct page *page, const char *metric, const char *comm,
			 const char *error)
{
	return metric_histogram(page, metric, "comm", comm, "error_type", error, NULL).count;
}

static void how_they_end(int family)
{
	static const struct {
		void (*server)(int s);
		const char *error, *status;
	} endings[] = {
		{ answer_until_close, "", "200" },
		{ hang_up_without_answer, "no_response", "" },
		{ reset_amid_answer, "response_cut_short", "200" },
	};
	struct leadline *leadline = leadline_shared("requests");

	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		struct dialogue dialogue = { .family = family,
					     .connections = 13,
					     .server = endings[i].server,
					     .client = ask_until_close };
		struct parties parties = dialogue_hold(&dialogue, 20);
		struct page *page = leadline_scrape(leadline);

		expect_requests(page, SERVER, parties.server, "GET", endings[i].status, 13);
		expect_requests(page, CLIENT, parties.client, "GET", endings[i].status, 13);
		assert_true(with_error(page, SERVER, parties.server, endings[i].error) == 13);
		assert_true(with_error(page, CLIENT, parties.client, endings[i].error) == 13);
		requests_expect_nothing_lost(page);
		page_free(page);
	}
}

static void how_connections_end(void **state)
{
	how_they_end(AF_INET);
	(void)state;
}

static void how_unix_connections_end(void **state)
{
	how_they_end(AF_UNIX);
	(void)state;
}

/* ---- what is not HTTP ---- */

static void answer_pings(int s)
{
	for (int i = 0; i < 101; i++) {
		receive_bytes(s, 14);
		send_text(s, "+PONG\r\n");
	}
	receive_rest(s);
	close(s);
}

static void ask_pings(int s)
{
	for (int i = 0; i < 101; i++) {
		send_text(s, "NICK someone\r\n");
		receive_bytes(s, 7);
	}
	close(s);
}

static void other_protocols_are_bytes(void **state)
{
	struct leadline *leadline = leadline_shared("requests");
	struct dialogue dialogue = {
		.family = AF_INET, .connections = 3, .server = answer_pings, .client = ask_pings
	};
	struct parties parties = dialogue_hold(&dialogue, 20);
	struct page *page = leadline_scrape(leadline);

	assert_true(all_requests_of(page, SERVER, parties.server) == 0);
	assert_true(metric_value(page, "leadline_socket_bytes_total", "comm", parties.server,
				 "protocol", "unknown", "parsed", "false", NULL) == 3 * 101 * 21);
	assert_true(metric_sum(page, "leadline_socket_bytes_total", "comm", parties.client,
			       "protocol", "http", NULL) == 0);
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

/* ---- beyond the limits ---- */

/* Answers from a file: the kernel side sees a length only. */
static void send_from_file(int s, const char *text)
{
	FILE *file = tmpfile();
	off_t offset = 0;

	if (!file || fputs(text, file) < 0 || fflush(file))
		_exit(104);
	MUST(sendfile(s, fileno(file), &offset, strlen(text)));
	fclose(file);
}

static void answer_the_second_from_a_file(int s)
{
	for (int i = 0; i < 3; i++) {
		receive_message(s, 0);
		(i == 1 ? send_from_file
			: send_text)(s, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	}
	receive_rest(s);
	close(s);
}

static void ask_three_times(int s)
{
	for (int i = 0; i < 3; i++) {
		send_text(s, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
		receive_message(s, 2);
	}
	close(s);
}

static double lost(const struct page *page, const char *reason)
{
	return metric_sum(page, "leadline_probe_lost_total", "probe", "requests", "reason", reason,
			  NULL);
}

/* At least: these are of the whole host. */
static void expect_lost(const struct page *page, const char *reason, double expected)
{
	if (lost(page, reason) < expected)
		test_fail("lost %s: %.0f, not %.0f", reason, lost(page, reason), expected);
}

static void unreadable_response(void **state)
{
	struct leadline *leadline = leadline_shared("requests");
	struct dialogue dialogue = { .family = AF_INET,
				     .connections = 1,
				     .server = answer_the_second_from_a_file,
				     .client = ask_three_times };
	struct parties parties = dialogue_hold(&dialogue, 20);
	struct page *page = leadline_scrape(leadline);

	expect_requests(page, CLIENT, parties.client, "GET", "200", 3);
	expect_requests(page, SERVER, parties.server, "GET", "200", 2);
	expect_lost(page, "unreadable", 1);
	expect_lost(page, "framing", 1);
	expect_lost(page, "response_unknown", 1);
	assert_true(metric_sum(page, "leadline_socket_bytes_total", "comm", parties.server,
			       "parsed", "false", NULL) > 0);
	page_free(page);
	(void)state;
}

#define MANY_CHUNKS 1009

static void answer_in_many_chunks(int s)
{
	static char response[64 + MANY_CHUNKS * 6];
	char *at = response;

	at = stpcpy(at, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < MANY_CHUNKS; i++)
		at = stpcpy(at, "1\r\nx\r\n");
	stpcpy(at, "0\r\n\r\n");
	receive_message(s, 0);
	send_text(s, response);
	receive_message(s, 0);
	send_text(s, "HTTP/1.1 204 A\r\n\r\n");
	receive_rest(s);
	close(s);
}

static void ask_for_many_chunks(int s)
{
	send_text(s, "GET / HTTP/1.1\r\n\r\n");
	receive_message(s, MANY_CHUNKS * 6 + 5);
	send_text(s, "GET / HTTP/1.1\r\n\r\n");
	receive_message(s, 0);
	close(s);
}

/* More than one call's share of time allows: the server's response then ends where the next thing begins. */
static void too_many_chunks_in_one_call(void **state)
{
	struct leadline *leadline = leadline_shared("requests");
	struct dialogue dialogue = { .family = AF_INET,
				     .connections = 3,
				     .server = answer_in_many_chunks,
				     .client = ask_for_many_chunks };
	struct parties parties = dialogue_hold(&dialogue, 20);
	struct page *page = leadline_scrape(leadline);

	expect_requests(page, SERVER, parties.server, "GET", "200", 3);
	expect_requests(page, SERVER, parties.server, "GET", "204", 3);
	expect_requests(page, CLIENT, parties.client, "GET", "200", 3);
	expect_requests(page, CLIENT, parties.client, "GET", "204", 3);
	expect_lost(page, "framing", 3);
	page_free(page);
	(void)state;
}

/* ---- in flight ---- */

static int hold_a_request(void *argument, void *shared)
{
	int port, listener = listen_on_loopback(AF_INET, &port),
		  client = connect_to_loopback(AF_INET, port);
	int server = (int)MUST(accept(listener, NULL, NULL));

	MUST(dup(server)); /* open twice, in flight once */
	send_text(client, "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n");
	receive_message(server, 0);
	receive_message(server, 0);
	await_step();
	send_text(server, "HTTP/1.1 204 A\r\n\r\n");
	receive_message(client, 0);
	await_step();
	(void)argument;
	(void)shared;
	return 0;
}

static double in_flight(const struct page *page, const char *comm, const char *role)
{
	return metric_value(page, "leadline_requests_in_flight", "comm", comm, "role", role, NULL);
}

static void requests_in_flight_and_their_age(void **state)
{
	struct leadline *leadline = leadline_shared("requests");
	struct workload *workload = steps_start("holder", hold_a_request, NULL);
	double started = clock_seconds(), age;
	struct page *page;

	pause_seconds(0.1);
	page = leadline_scrape(leadline);
	assert_true(in_flight(page, workload->comm, "client") == 2);
	assert_true(in_flight(page, workload->comm, "server") == 2);
	age = metric_value(page, "leadline_request_oldest_seconds", "comm", workload->comm, "role",
			   "server", NULL);
	assert_true(age >= 0.1 && age < clock_seconds() - started + 1);
	page_free(page);
	steps_next();
	page = leadline_scrape(leadline);
	assert_true(in_flight(page, workload->comm, "client") == 1);
	assert_true(in_flight(page, workload->comm, "server") == 1);
	expect_requests(page, SERVER, workload->comm, "GET", "204", 1);
	page_free(page);
	steps_finish(workload);
	(void)state;
}

/* ---- older than the agent ---- */

#define LATER 7

static int talk_before_and_after(void *argument, void *shared)
{
	int family = *(const int *)argument, port, listener = listen_on_loopback(family, &port);
	int client = connect_to_loopback(family, port);
	int server = (int)MUST(accept(listener, NULL, NULL));

	for (int i = 0; i <= LATER; i++) {
		send_text(client, "GET / HTTP/1.1\r\n\r\n");
		receive_message(server, 0);
		send_text(server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
		receive_message(client, 2);
		if (i == 0)
			await_step();
	}
	(void)shared;
	return 0;
}

static void older_connections_are_followed(int family)
{
	struct workload *workload =
		steps_start("older", talk_before_and_after, (void *)(uintptr_t)&family);
	struct leadline *leadline = requests_agent_start();
	struct page *page;

	steps_finish(workload);
	page = leadline_scrape(leadline);
	expect_requests(page, SERVER, workload->comm, "GET", "200", LATER);
	expect_requests(page, CLIENT, workload->comm, "GET", "200", LATER);
	requests_expect_nothing_lost(page);
	page_free(page);
}

static void connections_older_than_the_agent(void **state)
{
	older_connections_are_followed(AF_INET);
	(void)state;
}

static void unix_connections_older_than_the_agent(void **state)
{
	older_connections_are_followed(AF_UNIX);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(nginx_and_curl),
		HARNESS_TEST(nginx_and_curl_over_ipv6),
		HARNESS_TEST(pipelined_by_wrk),
		HARNESS_TEST(every_way_over_tcp),
		HARNESS_TEST(every_way_over_unix_sockets),
		HARNESS_TEST(durations_of_a_server_that_sleeps),
		HARNESS_TEST(how_connections_end),
		HARNESS_TEST(how_unix_connections_end),
		HARNESS_TEST(other_protocols_are_bytes),
		HARNESS_TEST(unreadable_response),
		HARNESS_TEST(too_many_chunks_in_one_call),
		HARNESS_TEST(requests_in_flight_and_their_age),
		HARNESS_TEST(connections_older_than_the_agent),
		HARNESS_TEST(unix_connections_older_than_the_agent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
