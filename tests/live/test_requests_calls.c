// SPDX-License-Identifier: Apache-2.0
/*
 * The requests probe and the rarer ways to move bytes through a socket, in conversations of the test's own: many messages in
 * one call, bytes that are discarded, bytes that never come to the program's memory.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "tests/harness/dialogue.h"
#include "tests/harness/harness.h"
#include "tests/harness/requests.h"

#define SERVER "http_server_request_duration_seconds"
#define CLIENT "http_client_request_duration_seconds"

/* ---- names, several in one call ---- */

#define QUESTIONS 8 /* at most, in one call */
#define MESSAGE	  64

static const struct {
	char type;
	const char *name;
} types[] = { { 1, "A" }, { 28, "AAAA" }, { 15, "MX" }, { 16, "TXT" }, { 33, "SRV" } };

#define N_TYPES (sizeof(types) / sizeof(types[0]))

/* How many are asked in each round, and how many messages the calls have room for. */
static const struct round {
	int questions, room;
} rounds[] = { { 7, 8 }, { 3, 8 }, { 8, 8 }, { 1, 8 }, { 5, 5 }, { 2, 8 }, { 4, 8 } };

#define N_ROUNDS      (sizeof(rounds) / sizeof(rounds[0]))
#define ALL_QUESTIONS 30

static void enter_network_of_its_own(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int s;

	MUST(unshare(CLONE_NEWNET));
	s = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
	MUST(ioctl(s, SIOCSIFFLAGS, &lo));
	close(s);
}

/* Messages whose bytes are in two pieces, as the header may be on its own. */
struct messages {
	char bytes[QUESTIONS][MESSAGE];
	struct iovec pieces[QUESTIONS][2];
	struct sockaddr_in6 peers[QUESTIONS]; /* or of IPv4 */
	struct mmsghdr headers[QUESTIONS];
};

static void lay_out(struct messages *messages, size_t size)
{
	for (int i = 0; i < QUESTIONS; i++) {
		messages->pieces[i][0] = (struct iovec){ messages->bytes[i], 12 };
		messages->pieces[i][1] = (struct iovec){ messages->bytes[i] + 12, size - 12 };
		messages->headers[i].msg_hdr = (struct msghdr){
			.msg_name = &messages->peers[i],
			.msg_namelen = sizeof(messages->peers[i]),
			.msg_iov = messages->pieces[i],
			.msg_iovlen = 2,
		};
	}
}

static size_t write_question(char bytes[MESSAGE], int number)
{
	static const char head[] = "\0\0\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1";

	memcpy(bytes, head, sizeof(head) - 1);
	bytes[0] = (char)(number >> 8);
	bytes[1] = (char)number;
	bytes[26] = types[(size_t)number % N_TYPES].type;
	return sizeof(head) - 1;
}

static void ask_and_answer(int client, int server, struct messages *messages, struct round round,
			   int first)
{
	size_t size = 0;

	for (int i = 0; i < round.questions; i++)
		size = write_question(messages->bytes[i], first + i);
	lay_out(messages, size);
	for (int i = 0; i < round.questions; i++)
		messages->headers[i].msg_hdr.msg_namelen = 0; /* it is connected */
	if (MUST(sendmmsg(client, messages->headers, (unsigned)round.questions, 0)) !=
	    round.questions)
		_exit(105);

	lay_out(messages, MESSAGE);
	if (MUST(recvmmsg(server, messages->headers, (unsigned)round.room, MSG_DONTWAIT, NULL)) !=
	    round.questions)
		_exit(106);
	for (int i = 0; i < round.questions; i++)
		messages->bytes[i][2] |= (char)0x80; /* an answer without any */
	lay_out(messages, size);
	MUST(sendmmsg(server, messages->headers, (unsigned)round.questions, 0));

	memset(messages->bytes, 0, sizeof(messages->bytes));
	lay_out(messages, MESSAGE);
	if (MUST(recvmmsg(client, messages->headers, (unsigned)round.room, MSG_WAITFORONE, NULL)) !=
	    round.questions)
		_exit(107);
}

/* Of each family, and over IPv4 by sockets of IPv6. */
static const struct place {
	int family;
	const char *address;
} places[] = { { AF_INET, "127.0.0.1" }, { AF_INET6, "::1" }, { AF_INET6, "::ffff:127.0.0.1" } };

static int look_up_names(void *argument, void *shared)
{
	const struct place *place = argument;
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} address = { .any = { .sa_family = (sa_family_t)place->family } };
	struct messages *messages = shared;
	int server, client, first = 0;

	address.v4.sin_port = htons(53); /* in the same place for both */
	MUST(inet_pton(place->family, place->address,
		       place->family == AF_INET ? (void *)&address.v4.sin_addr
						: (void *)&address.v6.sin6_addr));
	enter_network_of_its_own();
	server = (int)MUST(socket(place->family, SOCK_DGRAM, 0));
	client = (int)MUST(socket(place->family, SOCK_DGRAM, 0));
	MUST(bind(server, &address.any, sizeof(address)));
	MUST(connect(client, &address.any, sizeof(address)));
	for (size_t i = 0; i < N_ROUNDS; i++) {
		ask_and_answer(client, server, messages, rounds[i], first);
		first += rounds[i].questions;
	}
	return 0;
}

static double lookups(const struct page *page, const char *metric, const char *comm,
		      const char *type)
{
	return metric_histogram(page, metric, "comm", comm, "dns_question_type", type,
				"dns_response_code", "", "error_type", "", NULL)
		.count;
}

/* Each of a call's messages is told by its own bytes, wherever they lie. */
static void several_names_in_a_call(void **state)
{
	struct leadline *leadline = leadline_shared("requests");

	for (size_t k = 0; k < sizeof(places) / sizeof(places[0]); k++) {
		struct workload *workload =
			workload_start("names", -1, look_up_names, (void *)&places[k]);
		struct page *page;

		workload_finish(workload, 20);
		page = leadline_scrape(leadline);
		for (size_t i = 0; i < N_TYPES; i++) {
			requests_expect(places[k].address,
					lookups(page, "dns_lookup_duration_seconds", workload->comm,
						types[i].name),
					ALL_QUESTIONS / (double)N_TYPES);
			requests_expect(places[k].address,
					lookups(page, "leadline_dns_server_lookup_duration_seconds",
						workload->comm, types[i].name),
					ALL_QUESTIONS / (double)N_TYPES);
		}
		requests_expect_nothing_lost(page);
		page_free(page);
	}
	(void)state;
}

/* ---- HTTP ---- */

#define ROUNDS	    11
#define CONNECTIONS 3
#define BODY	    100003

static void send_text(int s, const char *text)
{
	if (MUST(send(s, text, strlen(text), MSG_NOSIGNAL)) != (long)strlen(text))
		_exit(108);
}

/* Reads a head and nothing beyond it: having looked where it ends, which must not count. */
static void receive_head(int s)
{
	char bytes[1024];
	const char *end = NULL;

	while (!end) {
		long n = MUST(recv(s, bytes, sizeof(bytes), MSG_PEEK));

		if (n == 0)
			_exit(102);
		end = memmem(bytes, (size_t)n, "\r\n\r\n", 4);
	}
	receive_bytes(s, (size_t)(end - bytes) + 4);
}

static void send_head(int s, const char *start_line, size_t body)
{
	char head[128];

	snprintf(head, sizeof(head), "%s\r\nContent-Length: %zu\r\n\r\n", start_line, body);
	send_text(s, head);
}

/* What client and server saw of each other: so many requests each, nothing else, nothing lost. */
static void expect_each_once(struct leadline *leadline, struct dialogue *dialogue,
			     const char *method, const char *status, double expected)
{
	struct parties parties = dialogue_hold(dialogue, 20);
	struct page *page = leadline_scrape(leadline);

	requests_expect("served",
			metric_histogram(page, SERVER, "comm", parties.server,
					 "http_request_method", method, "http_response_status_code",
					 status, "error_type", "", NULL)
				.count,
			expected);
	requests_expect("asked",
			metric_histogram(page, CLIENT, "comm", parties.client,
					 "http_request_method", method, "http_response_status_code",
					 status, "error_type", "", NULL)
				.count,
			expected);
	requests_expect("all served",
			metric_histogram(page, SERVER, "comm", parties.server, NULL).count,
			expected);
	requests_expect("all asked",
			metric_histogram(page, CLIENT, "comm", parties.client, NULL).count,
			expected);
	requests_expect("bytes not told apart",
			metric_sum(page, "leadline_socket_bytes_total", "parsed", "false", "comm",
				   parties.server, NULL) +
				metric_sum(page, "leadline_socket_bytes_total", "parsed", "false",
					   "comm", parties.client, NULL),
			0);
	requests_expect(
		"bytes that both saw",
		metric_sum(page, "leadline_socket_bytes_total", "comm", parties.client, NULL),
		metric_sum(page, "leadline_socket_bytes_total", "comm", parties.server, NULL));
	requests_expect_nothing_lost(page);
	page_free(page);
}

static void answer_with_a_body(int s)
{
	for (int i = 0; i < ROUNDS; i++) {
		receive_head(s);
		send_head(s, "HTTP/1.1 200 OK", BODY);
		send_bytes(s, BODY);
	}
	receive_rest(s);
	close(s);
}

/* Without a copy to the program. */
static void discard_bytes(int s, size_t size)
{
	while (size) {
		size_t n = (size_t)MUST(recv(s, NULL, size, MSG_TRUNC));

		if (!n)
			_exit(109);
		size -= n;
	}
}

static void ask_and_discard(int s)
{
	for (int i = 0; i < ROUNDS; i++) {
		send_text(s, "GET / HTTP/1.1\r\n\r\n");
		receive_head(s);
		discard_bytes(s, BODY);
	}
	close(s);
}

static void discarded_bodies(void **state)
{
	struct leadline *leadline = leadline_shared("requests");
	struct dialogue dialogue = { .family = AF_INET,
				     .connections = CONNECTIONS,
				     .server = answer_with_a_body,
				     .client = ask_and_discard };

	expect_each_once(leadline, &dialogue, "GET", "200", CONNECTIONS * ROUNDS);
	(void)state;
}

/* ---- splice() ---- */

static void splice_all(int from, int to, size_t size)
{
	while (size) {
		size_t n = (size_t)MUST(splice(from, NULL, to, NULL, size, SPLICE_F_MOVE));

		if (!n)
			_exit(110);
		size -= n;
	}
}

/* From the socket to a pipe and on to nowhere; or the other way, from zeroes. */
static void splice_bytes(int from, int to, size_t size)
{
	int ends[2];

	MUST(pipe(ends));
	while (size) {
		size_t part = size < 32768 ? size : 32768;

		splice_all(from, ends[1], part);
		splice_all(ends[0], to, part);
		size -= part;
	}
	close(ends[0]);
	close(ends[1]);
}

static void splice_away(int s, size_t size)
{
	int nowhere = (int)MUST(open("/dev/null", O_WRONLY));

	splice_bytes(s, nowhere, size);
	close(nowhere);
}

static void ask_and_splice_away(int s)
{
	for (int i = 0; i < ROUNDS; i++) {
		send_text(s, "GET / HTTP/1.1\r\n\r\n");
		receive_head(s);
		splice_away(s, BODY);
	}
	close(s);
}

/* The last response is told by the end of the connection alone. */
static void spliced_bodies_of_responses(void **state)
{
	struct leadline *leadline = leadline_shared("requests");
	struct dialogue dialogue = { .family = AF_INET,
				     .connections = CONNECTIONS,
				     .server = answer_with_a_body,
				     .client = ask_and_splice_away };

	expect_each_once(leadline, &dialogue, "GET", "200", CONNECTIONS * ROUNDS);
	(void)state;
}

/* ---- and its times ---- */

#define PAUSE 0.05

static void ask_and_dawdle(int s)
{
	for (int i = 0; i < ROUNDS; i++) {
		send_text(s, "GET / HTTP/1.1\r\n\r\n");
		receive_head(s);
		splice_away(s, BODY);
		pause_seconds(PAUSE);
	}
	close(s);
}

static double asked_seconds(struct leadline *leadline)
{
	struct dialogue dialogue = { .family = AF_INET,
				     .connections = 1,
				     .server = answer_with_a_body,
				     .client = ask_and_dawdle };
	struct parties parties = dialogue_hold(&dialogue, 20);
	struct page *page = leadline_scrape(leadline);
	struct page_histogram asked = metric_histogram(page, CLIENT, "comm", parties.client, NULL);

	requests_expect("asked", asked.count, ROUNDS);
	requests_expect_nothing_lost(page);
	page_free(page);
	return page_histogram_mean(&asked);
}

/* That a response has ended is noticed late at first, and in time once it was found that some are spliced away. */
static void when_spliced_responses_end(void **state)
{
	struct leadline *leadline;
	double seconds;

	require_real_time();
	leadline = requests_agent_start();
	asked_seconds(leadline);
	seconds = asked_seconds(leadline);
	if (seconds >= PAUSE / 2)
		test_fail("requests took %.4f s", seconds);
	(void)state;
}

/* ---- and what is in flight ---- */

static int idle_after_a_spliced_response(void *argument, void *shared)
{
	int port, listener = listen_on_loopback(AF_INET, &port);
	int client = connect_to_loopback(AF_INET, port);
	int server = (int)MUST(accept(listener, NULL, NULL));

	send_text(client, "GET / HTTP/1.1\r\n\r\n");
	receive_head(server);
	send_head(server, "HTTP/1.1 200 OK", 1009);
	send_bytes(server, 1009);
	receive_head(client);
	await_step();
	splice_away(client, 1009);
	await_step();
	(void)argument;
	(void)shared;
	return 0;
}

static double in_flight(struct leadline *leadline, const struct workload *workload)
{
	struct page *page = leadline_scrape(leadline);
	double n = metric_value(page, "leadline_requests_in_flight", "comm", workload->comm, "role",
				"client", NULL);

	page_free(page);
	return n;
}

static void spliced_responses_are_not_in_flight(void **state)
{
	struct leadline *leadline = leadline_shared("requests");
	struct workload *workload = steps_start("idler", idle_after_a_spliced_response, NULL);

	requests_expect("in flight", in_flight(leadline, workload), 1);
	steps_next();
	requests_expect("in flight", in_flight(leadline, workload), 0);
	steps_finish(workload);
	(void)state;
}

/* Of a file: before 6.5 nothing can be spliced out of /dev/zero. */
static void splice_from_zeroes(int s, size_t size)
{
	int zeroes = (int)MUST(memfd_create("zeroes", MFD_CLOEXEC));

	MUST(ftruncate(zeroes, (off_t)size));
	splice_bytes(zeroes, s, size);
	close(zeroes);
}

static void take_spliced(int s)
{
	for (int i = 0; i < ROUNDS; i++) {
		receive_head(s);
		splice_away(s, BODY);
		send_head(s, "HTTP/1.1 201 Created", BODY);
		splice_from_zeroes(s, BODY);
	}
	receive_rest(s);
	close(s);
}

static void give_spliced(int s)
{
	for (int i = 0; i < ROUNDS; i++) {
		send_head(s, "POST / HTTP/1.1", BODY);
		splice_from_zeroes(s, BODY);
		receive_head(s);
		splice_away(s, BODY);
	}
	close(s);
}

static void spliced_bodies_in_both_directions(void **state)
{
	struct leadline *leadline = leadline_shared("requests");
	struct dialogue dialogue = { .family = AF_INET6,
				     .connections = CONNECTIONS,
				     .server = take_spliced,
				     .client = give_spliced };

	expect_each_once(leadline, &dialogue, "POST", "201", CONNECTIONS * ROUNDS);
	(void)state;
}

#define RESPONSE "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static void answer_shortly(int s)
{
	for (int i = 0; i < ROUNDS; i++) {
		receive_head(s);
		send_text(s, RESPONSE);
	}
	receive_rest(s);
	close(s);
}

/* Of every other response the head, too, is taken unseen. */
static void ask_and_splice_heads_away(int s)
{
	for (int i = 0; i < ROUNDS; i++) {
		send_text(s, "GET / HTTP/1.1\r\n\r\n");
		if (i % 2)
			splice_away(s, sizeof(RESPONSE) - 1);
		else
			receive_bytes(s, sizeof(RESPONSE) - 1);
	}
	close(s);
}

/* What is not known is told as such, and what comes next is right again. */
static void spliced_heads(void **state)
{
	struct leadline *leadline = leadline_shared("requests");
	struct dialogue dialogue = { .family = AF_INET,
				     .connections = CONNECTIONS,
				     .server = answer_shortly,
				     .client = ask_and_splice_heads_away };
	struct parties parties = dialogue_hold(&dialogue, 20);
	struct page *page = leadline_scrape(leadline);

	requests_expect("served",
			metric_histogram(page, SERVER, "comm", parties.server,
					 "http_response_status_code", "200", "error_type", "", NULL)
				.count,
			CONNECTIONS * ROUNDS);
	requests_expect("asked",
			metric_histogram(page, CLIENT, "comm", parties.client,
					 "http_response_status_code", "200", "error_type", "", NULL)
				.count,
			CONNECTIONS * (ROUNDS / 2 + 1));
	requests_expect("all asked",
			metric_histogram(page, CLIENT, "comm", parties.client, NULL).count,
			CONNECTIONS * (ROUNDS / 2 + 1));
	requests_expect("bytes not read",
			metric_sum(page, "leadline_socket_bytes_total", "comm", parties.client,
				   "protocol", "http", "reason", "unreadable", NULL),
			CONNECTIONS * (ROUNDS / 2) * (sizeof(RESPONSE) - 1.0));
	page_free(page);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(several_names_in_a_call),
		HARNESS_TEST(discarded_bodies),
		HARNESS_TEST(spliced_bodies_of_responses),
		HARNESS_TEST(spliced_bodies_in_both_directions),
		HARNESS_TEST(when_spliced_responses_end),
		HARNESS_TEST(spliced_heads),
		HARNESS_TEST(spliced_responses_are_not_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
