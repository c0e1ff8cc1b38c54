// SPDX-License-Identifier: Apache-2.0
/*
 * Connections that speak something else than HTTP/1, on the running kernel, in conversations of the test's own whose
 * every byte and turn is known: exchanges are counted by their turns, once per side.
 */
#include <netinet/in.h>
#include <sys/socket.h>
#include "tests/harness/dialogue.h"
#include "tests/harness/harness.h"
#include "tests/harness/requests.h"

#define EXCHANGE "leadline_exchange_duration_seconds"

static double exchanges(const struct page *page, const char *comm, const char *role,
			const char *protocol)
{
	return metric_histogram(page, EXCHANGE, "comm", comm, "role", role, "protocol", protocol,
				NULL)
		.count;
}

static void expect_exchanges(const struct page *page, struct parties parties, const char *protocol,
			     double expected)
{
	double served = exchanges(page, parties.server, "server", protocol);
	double asked = exchanges(page, parties.client, "client", protocol);

	if (served != expected || asked != expected)
		test_fail("%s: %.0f exchanges served, %.0f asked, not %.0f", protocol, served,
			  asked, expected);
	/* none in another role, or of another protocol */
	assert_true(metric_histogram(page, EXCHANGE, "comm", parties.server, NULL).count ==
		    expected);
	assert_true(metric_histogram(page, EXCHANGE, "comm", parties.client, NULL).count ==
		    expected);
}

/* ---- what is said ---- */

struct line {
	const char *request, *answer;
	size_t request_size, answer_size;
};
#define LINE(request_, answer_)                                                                    \
	{                                                                                          \
		request_, answer_, sizeof(request_) - 1, sizeof(answer_) - 1                       \
	}

struct talk {
	const char *protocol;
	const char *greeting; /* of the server */
	size_t greeting_size;
	struct line first; /* said once */
	struct line line; /* said TURNS times */
};

#define TURNS	    101
#define CONNECTIONS 3

#define DNS_QUESTION "\7example\3com\0\0\1\0\1"

static const struct talk talks[] = {
	{ "redis", NULL, 0, LINE("*1\r\n$4\r\nPING\r\n", "+PONG\r\n"),
	  LINE("*1\r\n$4\r\nPING\r\n", "+PONG\r\n") },
	{ "postgresql", NULL, 0,
	  LINE("\0\0\0\x12\0\3\0\0user\0joe\0\0", "R\0\0\0\x08\0\0\0\0Z\0\0\0\5I"),
	  LINE("Q\0\0\0\x0dselect 1\0", "C\0\0\0\x0dSELECT 1\0Z\0\0\0\5I") },
	{ "mysql",
	  "\x18\0\0\0\x0a"
	  "5.5.5-10.11.6\0\1\0\0\0salt\0",
	  28, LINE("\4\0\0\1abcd", "\7\0\0\2\0\0\0\2\0\0\0"),
	  LINE("\x09\0\0\0\3SELECT 1", "\7\0\0\1\0\0\0\2\0\0\0") },
	{ "http2", NULL, 0,
	  LINE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", "\0\0\0\4\0\0\0\0\0"),
	  LINE("\0\0\3\1\5\0\0\0\1\x82\x84\x86", "\0\0\1\1\5\0\0\0\1\x88") },
	{ "dns", NULL, 0,
	  LINE("\0\x1d\x12\x34\1\0\0\1\0\0\0\0\0\0" DNS_QUESTION,
	       "\0\x1d\x12\x34\x81\x80\0\1\0\0\0\0\0\0" DNS_QUESTION),
	  LINE("\0\x1d\x12\x35\1\0\0\1\0\0\0\0\0\0" DNS_QUESTION,
	       "\0\x1d\x12\x35\x81\x83\0\1\0\0\0\0\0\0" DNS_QUESTION) },
	{ "tls", NULL, 0, LINE("\x16\3\1\0\4\1\0\0\0", "\x16\3\3\0\4\2\0\0\0"),
	  LINE("\x17\3\3\0\5abcde", "\x17\3\3\0\5abcde") },
};

/* A handshake is no exchange of TLS's. */
static double exchanges_of(const struct talk *talk)
{
	return CONNECTIONS * (TURNS + (strcmp(talk->protocol, "tls") ? 1 : -1));
}

static const struct talk *talk;

static void send_all(int s, const char *bytes, size_t size)
{
	while (size) {
		size_t n = (size_t)MUST(send(s, bytes, size, 0));

		bytes += n;
		size -= n;
	}
}

static void listen_and_answer(int s, const struct line *line)
{
	receive_bytes(s, line->request_size);
	send_all(s, line->answer, line->answer_size);
}

static void serve(int s)
{
	send_all(s, talk->greeting, talk->greeting_size);
	listen_and_answer(s, &talk->first);
	for (int i = 0; i < TURNS; i++)
		listen_and_answer(s, &talk->line);
	receive_rest(s);
	close(s);
}

static void say(int s, const struct line *line)
{
	send_all(s, line->request, line->request_size);
	receive_bytes(s, line->answer_size);
}

static void ask(int s)
{
	receive_bytes(s, talk->greeting_size);
	say(s, &talk->first);
	for (int i = 0; i < TURNS; i++)
		say(s, &talk->line);
	close(s);
}

static void every_turn_is_an_exchange(void **state)
{
	struct leadline *leadline = requests_agent_start();

	for (size_t i = 0; i < sizeof(talks) / sizeof(talks[0]); i++) {
		struct dialogue dialogue = { .family = i % 2 ? AF_INET6 : AF_INET,
					     .connections = CONNECTIONS,
					     .server = serve,
					     .client = ask };
		struct parties parties;
		struct page *page;

		talk = &talks[i];
		parties = dialogue_hold(&dialogue, 20);
		page = leadline_scrape(leadline);
		expect_exchanges(page, parties, talk->protocol, exchanges_of(talk));
		assert_true(metric_sum(page, "leadline_socket_bytes_total", "comm", parties.server,
				       NULL) ==
			    CONNECTIONS * (double)(talk->greeting_size + talk->first.request_size +
						   talk->first.answer_size +
						   TURNS * (talk->line.request_size +
							    talk->line.answer_size)));
		requests_expect_nothing_lost(page);
		page_free(page);
	}
	(void)state;
}

static void what_is_not_wanted_is_unknown(void **state)
{
	struct leadline *leadline = leadline_start_only(
		"requests", (const char *const[]){ "--probes.requests.protocols=dns tls", NULL });
	struct dialogue dialogue = {
		.family = AF_INET, .connections = CONNECTIONS, .server = serve, .client = ask
	};
	struct parties parties;
	struct page *page;

	talk = &talks[0];
	parties = dialogue_hold(&dialogue, 20);
	page = leadline_scrape(leadline);
	assert_true(metric_count(page, EXCHANGE "_count", "comm", parties.server, NULL) == 0);
	assert_true(metric_sum(page, "leadline_socket_bytes_total", "comm", parties.server,
			       "protocol", "unknown", "reason", "unknown",
			       NULL) == CONNECTIONS * (TURNS + 1) * 21.0);
	page_free(page);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(every_turn_is_an_exchange),
		HARNESS_TEST(what_is_not_wanted_is_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
