// SPDX-License-Identifier: Apache-2.0
/*
 * Connections that speak something else than HTTP/1, on the running kernel, in conversations of the test's own whose
 * every byte and turn is known: exchanges are counted by their turns, once per side.
 */
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
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

static void every_turn(const int families[2])
{
	struct leadline *leadline = leadline_shared("requests");

	for (size_t i = 0; i < sizeof(talks) / sizeof(talks[0]); i++) {
		struct dialogue dialogue = { .family = families[i % 2],
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
}

static void every_turn_is_an_exchange(void **state)
{
	every_turn((const int[]){ AF_INET, AF_INET6 });
	(void)state;
}

static void every_turn_over_unix_sockets(void **state)
{
	every_turn((const int[]){ AF_UNIX, AF_UNIX });
	(void)state;
}

/* ---- several rings ---- */

#define CALLS	    307
#define MAX_TALKERS 9

/* The next CPU of those given, in turn. */
static void move_on(const cpu_set_t *cpus, int turn)
{
	int left = turn % CPU_COUNT(cpus), cpu = 0;
	cpu_set_t one;

	while (!CPU_ISSET(cpu, cpus) || left--)
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	MUST(sched_setaffinity(0, sizeof(one), &one));
}

/* Both ends, with each turn on another CPU of those that it may run on. */
static int talk_on_all_cpus(void *argument, void *shared)
{
	const struct line *ping = &talks[0].line;
	int port, listener = listen_on_loopback(AF_INET, &port);
	int client = connect_to_loopback(AF_INET, port);
	int server = (int)MUST(accept(listener, NULL, NULL));
	cpu_set_t cpus;

	MUST(sched_getaffinity(0, sizeof(cpus), &cpus));
	for (int i = 0; i < CALLS; i++) {
		move_on(&cpus, i);
		send_all(client, ping->request, ping->request_size);
		receive_bytes(server, ping->request_size);
		move_on(&cpus, i / 2);
		send_all(server, ping->answer, ping->answer_size);
		receive_bytes(client, ping->answer_size);
	}
	close(client);
	close(server);
	return 0;
}

static void expect_calls(const struct page *page, const char *metric, const char *comm)
{
	requests_expect(metric,
			metric_histogram(page, metric, "comm", comm, "db_operation_name", "PING",
					 "error_type", "", NULL)
				.count,
			CALLS);
}

/* Those on each CPU, and of a connection that is on all: nothing of them is lost, or comes before what went before. */
static void calls_on_all_cpus_are_told(void **state)
{
	struct leadline *leadline = leadline_shared("requests");
	struct workload *talkers[MAX_TALKERS];
	cpu_set_t cpus;
	struct page *page;
	int n = 0;

	MUST(sched_getaffinity(0, sizeof(cpus), &cpus));
	talkers[n++] = workload_start("mover", -1, talk_on_all_cpus, NULL);
	for (int cpu = 0; cpu < CPU_SETSIZE && n < MAX_TALKERS; cpu++)
		if (CPU_ISSET(cpu, &cpus))
			talkers[n++] = workload_start("stayer", cpu, talk_on_all_cpus, NULL);
	for (int i = 0; i < n; i++)
		workload_release(talkers[i]);
	for (int i = 0; i < n; i++)
		workload_finish(talkers[i], 60);
	page = leadline_scrape(leadline);
	for (int i = 0; i < n; i++) {
		expect_calls(page, "leadline_db_server_operation_duration_seconds",
			     talkers[i]->comm);
		expect_calls(page, "db_client_operation_duration_seconds", talkers[i]->comm);
	}
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

static double bound_of_maps(struct leadline *leadline)
{
	struct page *page = leadline_scrape(leadline);
	double bytes = metric_value(page, "leadline_memory_bound_bytes", "part", "maps", NULL);

	page_free(page);
	return bytes;
}

/* However many there are, they have as much as is asked for, and the agent knows. */
static void rings_count_as_memory(void **state)
{
	struct leadline *leadline = leadline_start_only(
		"requests", (const char *const[]){ "--probes.requests.ring_bytes=6MiB", NULL });
	double more = bound_of_maps(leadline) - bound_of_maps(leadline_shared("requests"));
	const double expected = (8 - 1) << 20;

	if (!(more >= expected && more < 1.02 * expected))
		test_fail("rings of 8 MiB count as %.0f bytes more than of 1 MiB", more);
	(void)state;
}

/* ---- a ring that overflows ---- */

#define FLOOD_TURNS 5003
#define FLOOD_SIZE  3001

static void serve_flood(int s)
{
	static char answer[FLOOD_SIZE];

	snprintf(answer, sizeof(answer), "$%d\r\n", FLOOD_SIZE - 9);
	memset(answer + 7, 'x', FLOOD_SIZE - 9);
	memcpy(answer + FLOOD_SIZE - 2, "\r\n", 2);
	for (int i = 0; i < FLOOD_TURNS; i++) {
		receive_bytes(s, 20);
		send_all(s, answer, FLOOD_SIZE);
	}
	receive_rest(s);
	close(s);
}

static void ask_flood(int s)
{
	for (int i = 0; i < FLOOD_TURNS; i++) {
		send_all(s, "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", 20);
		receive_bytes(s, FLOOD_SIZE);
	}
	close(s);
}

/* Loses detail, never counts: exchanges and bytes are exact, and of calls none is told twice or made up. */
static void a_full_ring_loses_only_detail(void **state)
{
	const double bytes = FLOOD_TURNS * (20.0 + FLOOD_SIZE);
	struct leadline *leadline = leadline_start_only(
		"requests", (const char *const[]){ "--probes.requests.ring_bytes=16KiB", NULL });
	struct dialogue dialogue = {
		.family = AF_INET, .connections = 1, .server = serve_flood, .client = ask_flood
	};
	struct parties parties = dialogue_hold(&dialogue, 60);
	struct page *page = leadline_scrape(leadline);
	double served, told, gaps, lost;

	expect_exchanges(page, parties, "redis", FLOOD_TURNS);
	served = metric_histogram(page, "leadline_db_server_operation_duration_seconds", "comm",
				  parties.server, "db_operation_name", "GET", NULL)
			 .count;
	told = served + metric_histogram(page, "db_client_operation_duration_seconds", "comm",
					 parties.client, "db_operation_name", "GET", NULL)
				.count;
	gaps = metric_sum(page, "leadline_probe_lost_total", "probe", "requests", "reason", "gap",
			  NULL);
	lost = metric_sum(page, "leadline_probe_lost_total", "probe", "requests", "reason",
			  "ring_full", NULL);
	if (!(gaps > 0 && lost >= gaps))
		test_fail("%.0f events lost, %.0f gaps", lost, gaps);
	if (!(served > 0 && told < 2 * FLOOD_TURNS))
		test_fail("%.0f calls told of 2 * %d, with %.0f gaps", told, FLOOD_TURNS, gaps);
	requests_expect("bytes",
			metric_sum(page, "leadline_socket_bytes_total", "comm", parties.server,
				   "protocol", "redis", NULL),
			bytes);
	assert_true(metric_sum(page, "leadline_socket_bytes_total", "protocol", "redis", "reason",
			       "lost", NULL) > 0);
	page_free(page);
	(void)state;
}

/* ---- what is not copied any more ---- */

#define REPLICA "*1\r\n$4\r\nSYNC\r\n"
#define ACCEPTS "+FULLRESYNC 0 0\r\n"

/* A replica asks for everything, and gets it: more than the ring holds a hundred times. */
static int replicate(void *argument, void *shared)
{
	int port, listener = listen_on_loopback(AF_INET, &port);
	int client = connect_to_loopback(AF_INET, port);
	int server = (int)MUST(accept(listener, NULL, NULL));

	send_all(client, REPLICA, strlen(REPLICA));
	receive_bytes(server, strlen(REPLICA));
	send_all(server, ACCEPTS "REDIS0009", strlen(ACCEPTS "REDIS0009"));
	receive_bytes(client, strlen(ACCEPTS "REDIS0009"));
	await_step();
	for (int i = 0; i < FLOOD_TURNS; i++) {
		send_bytes(server, FLOOD_SIZE);
		receive_bytes(client, FLOOD_SIZE);
	}
	await_step();
	close(client);
	close(server);
	return 0;
}

static void what_cannot_be_told_apart_is_not_copied(void **state)
{
	const double flood = 2.0 * FLOOD_TURNS * FLOOD_SIZE; /* both ends */
	/* nothing but copies goes through the ring, whatever others ask */
	struct leadline *leadline = leadline_start_only(
		"requests", (const char *const[]){ "--probes.requests.ring_bytes=16KiB",
						   "--probes.requests.slow=0", NULL });
	struct workload *workload = steps_start("replica", replicate, NULL);
	double malformed, before;
	struct page *page = leadline_scrape(leadline);

	before = metric_sum(page, "leadline_socket_bytes_total", "comm", workload->comm, "reason",
			    "malformed", NULL);
	page_free(page);
	MUST(kill(leadline->pid, SIGSTOP)); /* what is copied now is lost */
	steps_next();
	MUST(kill(leadline->pid, SIGCONT));
	page = leadline_scrape(leadline);
	requests_expect("lost",
			metric_sum(page, "leadline_probe_lost_total", "probe", "requests", "reason",
				   "ring_full", NULL),
			0);
	malformed = metric_sum(page, "leadline_socket_bytes_total", "comm", workload->comm,
			       "reason", "malformed", NULL);
	requests_expect("bytes not told apart", malformed - before, flood);
	page_free(page);
	steps_finish(workload);
	(void)state;
}

/* ---- in flight ---- */

#define PING "*1\r\n$4\r\nPING\r\n"

/* Three commands in one piece; the first is answered, then the others. */
static int hold_commands(void *argument, void *shared)
{
	int port, listener = listen_on_loopback(AF_INET, &port);
	int client = connect_to_loopback(AF_INET, port);
	int server = (int)MUST(accept(listener, NULL, NULL));

	send_all(client, PING PING PING, 3 * 14);
	receive_bytes(server, 3 * 14);
	await_step();
	send_all(server, "+PONG\r\n", 7);
	receive_bytes(client, 7);
	await_step();
	send_all(server, "+PONG\r\n+PONG\r\n", 2 * 7);
	receive_bytes(client, 2 * 7);
	await_step();
	close(client);
	close(server);
	return 0;
}

static double in_flight(const struct page *page, const char *comm, const char *role)
{
	return metric_value(page, "leadline_requests_in_flight", "comm", comm, "role", role, NULL);
}

static void what_waits_for_an_answer_is_in_flight(void **state)
{
	static const double expected[] = { 3, 2, 0 };
	struct leadline *leadline = leadline_shared("requests");
	struct workload *workload = steps_start("holder", hold_commands, NULL);

	pause_seconds(0.1);
	for (int i = 0; i < 3; i++) {
		struct page *page = leadline_scrape(leadline);
		double oldest = metric_value(page, "leadline_request_oldest_seconds", "comm",
					     workload->comm, "role", "server", NULL);

		requests_expect("in flight", in_flight(page, workload->comm, "client"),
				expected[i]);
		requests_expect("in flight", in_flight(page, workload->comm, "server"),
				expected[i]);
		assert_true(expected[i] > 0 ? oldest >= 0.1 : oldest == 0);
		page_free(page);
		if (i < 2)
			steps_next();
	}
	steps_finish(workload);
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
		HARNESS_TEST(every_turn_over_unix_sockets),
		HARNESS_TEST(calls_on_all_cpus_are_told),
		HARNESS_TEST(rings_count_as_memory),
		HARNESS_TEST(a_full_ring_loses_only_detail),
		HARNESS_TEST(what_cannot_be_told_apart_is_not_copied),
		HARNESS_TEST(what_waits_for_an_answer_is_in_flight),
		HARNESS_TEST(what_is_not_wanted_is_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
