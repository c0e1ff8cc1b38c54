// SPDX-License-Identifier: Apache-2.0
/*
 * A proxy that splices answers of a decoded protocol from one connection to the other, so that they never come to its memory: those who
 * talk through it are told as ever, it itself as far as its bytes can be seen, and never wrong.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include "tests/harness/dialogue.h"
#include "tests/harness/harness.h"
#include "tests/harness/requests.h"

#define EXCHANGE "leadline_exchange_duration_seconds"
#define CLIENT	 "db_client_operation_duration_seconds"
#define SERVER	 "leadline_db_server_operation_duration_seconds"

#define CONNECTIONS 3
#define VALUE	    5003

/* What is said, in this order. */
static const struct phase {
	const char *operation, *command;
	int rounds;
	size_t answer_size;
	bool is_spliced;
} phases[] = {
	{ "PING", "*1\r\n$4\r\nPING\r\n", 11, sizeof("+PONG\r\n") - 1, false },
	{ "GET", "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", 3, sizeof("$5003\r\n\r\n") - 1 + VALUE, true },
	{ "ECHO", "*2\r\n$4\r\nECHO\r\n$1\r\na\r\n", 31, sizeof("$1\r\na\r\n") - 1, false },
};
#define N_PHASES (sizeof(phases) / sizeof(phases[0]))
#define EACH_ROUND(phase)                                                                          \
	for (const struct phase *phase = phases; phase < phases + N_PHASES; phase++)               \
		for (int round = 0; round < phase->rounds; round++)

static void send_all(int s, const char *bytes, size_t size)
{
	if (MUST(send(s, bytes, size, 0)) != (long)size)
		_exit(110);
}

/* ---- who talks ---- */

static void answer(int s, const struct phase *phase)
{
	static char text[VALUE + 32];

	memset(text, 'x', sizeof(text));
	if (phase->answer_size < 16)
		memcpy(text, phase == phases ? "+PONG\r\n" : "$1\r\na\r\n", phase->answer_size);
	else {
		memcpy(text, "$5003\r\n", 7);
		memcpy(text + phase->answer_size - 2, "\r\n", 2);
	}
	send_all(s, text, phase->answer_size);
}

static int be_server(void *argument, void *shared)
{
	int port, listener = listen_on_loopback(AF_INET, &port);

	__atomic_store_n((int *)shared, port, __ATOMIC_RELEASE);
	for (int i = 0; i < CONNECTIONS; i++) {
		int s = (int)MUST(accept(listener, NULL, NULL));

		EACH_ROUND (phase) {
			receive_bytes(s, strlen(phase->command));
			answer(s, phase);
		}
		receive_rest(s);
		close(s);
	}
	(void)argument;
	return 0;
}

static int be_client(void *argument, void *shared)
{
	for (int i = 0; i < CONNECTIONS; i++) {
		int s = connect_to_loopback(AF_INET, *(int *)argument);

		EACH_ROUND (phase) {
			send_all(s, phase->command, strlen(phase->command));
			receive_bytes(s, phase->answer_size);
		}
		close(s);
	}
	(void)shared;
	return 0;
}

/* ---- the proxy ---- */

static void splice_on(int from, int to, size_t size)
{
	int ends[2];

	MUST(pipe(ends));
	while (size) {
		size_t n = (size_t)MUST(splice(from, NULL, ends[1], NULL, size, SPLICE_F_MOVE));

		if (!n)
			_exit(111);
		for (size_t left = n; left;)
			left -= (size_t)MUST(splice(ends[0], NULL, to, NULL, left, SPLICE_F_MOVE));
		size -= n;
	}
	close(ends[0]);
	close(ends[1]);
}

static void hand_on(int from, int to, size_t size)
{
	char bytes[256];

	if (size > sizeof(bytes) || MUST(recv(from, bytes, size, MSG_WAITALL)) != (long)size)
		_exit(112);
	send_all(to, bytes, size);
}

static int be_proxy(void *argument, void *shared)
{
	int port, listener = listen_on_loopback(AF_INET, &port);

	__atomic_store_n((int *)shared, port, __ATOMIC_RELEASE);
	for (int i = 0; i < CONNECTIONS; i++) {
		int asked = (int)MUST(accept(listener, NULL, NULL));
		int behind = connect_to_loopback(AF_INET, *(int *)argument);

		EACH_ROUND (phase) {
			hand_on(asked, behind, strlen(phase->command));
			if (phase->is_spliced)
				splice_on(behind, asked, phase->answer_size);
			else
				hand_on(behind, asked, phase->answer_size);
		}
		receive_rest(asked);
		close(asked);
		close(behind);
	}
	return 0;
}

/* ---- what is told ---- */

static struct workload *start_listening(const char *name, int (*body)(void *argument, void *shared),
					int *port_behind, int *ret_port)
{
	struct workload *workload = workload_start(name, -1, body, port_behind);

	workload_release(workload);
	if (!WAIT_UNTIL(*ret_port = __atomic_load_n((int *)workload->shared, __ATOMIC_ACQUIRE), 10))
		test_fail("%s does not listen", name);
	return workload;
}

/* Of each connection, so many of the rounds of each phase are told. */
static void expect_calls(const struct page *page, const char *metric, const char *role,
			 const char *comm, const int told[N_PHASES])
{
	int rounds = 0, told_in_all = 0;

	for (size_t i = 0; i < N_PHASES; i++) {
		rounds += phases[i].rounds;
		requests_expect(phases[i].operation,
				metric_histogram(page, metric, "comm", comm, "db_system_name",
						 "redis", "db_operation_name", phases[i].operation,
						 "error_type", "", NULL)
					.count,
				CONNECTIONS * told[i]);
		told_in_all += told[i];
	}
	requests_expect(comm, metric_histogram(page, metric, "comm", comm, NULL).count,
			CONNECTIONS * told_in_all);
	/* those need no copies */
	requests_expect("exchanges",
			metric_histogram(page, EXCHANGE, "comm", comm, "protocol", "redis", "role",
					 role, NULL)
				.count,
			CONNECTIONS * rounds);
}

/* Bytes of each party that were told apart, or not. */
static double bytes_of(const struct page *page, const char *comm, const char *parsed)
{
	return metric_sum(page, "leadline_socket_bytes_total", "comm", comm, "protocol", "redis",
			  "parsed", parsed, NULL);
}

static void expect_bytes(const struct page *page, const char *proxy, const char *client)
{
	double all = 0, spliced = 0;

	EACH_ROUND (phase) {
		all += CONNECTIONS * (double)(strlen(phase->command) + phase->answer_size);
		spliced += phase->is_spliced ? CONNECTIONS * (double)phase->answer_size : 0;
	}
	requests_expect("client's bytes", bytes_of(page, client, "true"), all);
	requests_expect("client's other bytes", bytes_of(page, client, "false"), 0);
	/* of both connections */
	requests_expect("proxy's bytes",
			bytes_of(page, proxy, "true") + bytes_of(page, proxy, "false"), 2 * all);
	assert_true(bytes_of(page, proxy, "false") >= 2 * spliced);
	assert_true(bytes_of(page, proxy, "true") > 0);
}

/*
 * What was spliced cannot be told; after it a connection is followed again once three exchanges in a row had as many answers
 * as commands, and those three are not told either.
 */
static void answers_that_are_spliced(void **state)
{
	static const int all[N_PHASES] = { 11, 3, 31 }, seen[N_PHASES] = { 11, 0, 31 - 3 };
	static int server_port, proxy_port;
	struct leadline *leadline = requests_agent_start();
	struct workload *server = start_listening("server", be_server, NULL, &server_port);
	struct workload *proxy = start_listening("proxy", be_proxy, &server_port, &proxy_port);
	struct workload *client = workload_start("client", -1, be_client, &proxy_port);
	struct page *page;

	workload_finish(client, 30);
	workload_finish(proxy, 30);
	workload_finish(server, 30);
	page = leadline_scrape(leadline);
	expect_calls(page, CLIENT, "client", client->comm, all);
	expect_calls(page, SERVER, "server", server->comm, all);
	expect_calls(page, SERVER, "server", proxy->comm, seen);
	expect_calls(page, CLIENT, "client", proxy->comm, seen);
	expect_bytes(page, proxy->comm, client->comm);
	/* the call that a spliced answer was for */
	requests_expect("given up",
			metric_sum(page, "leadline_probe_lost_total", "probe", "requests", NULL),
			2 * CONNECTIONS);
	page_free(page);
	(void)state;
}

/* ---- the beginning ---- */

#define PREFACE	  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define SETTINGS  "\0\0\0\4\0\0\0\0\0"
#define REQUESTS  17
#define WEB	  "http_server_request_duration_seconds"
#define WEB_ASKED "http_client_request_duration_seconds"

/* GET / of a client, 200 of a server (RFC 7541, appendix A), and the end of the stream. */
static size_t make_headers(char *bytes, bool from_client, int i)
{
	const char get[] = { 0,		 0,	     3,		1, 5, 0, 0, 0, (char)(2 * i + 1),
			     (char)0x82, (char)0x84, (char)0x86 };
	const char ok[] = { 0, 0, 1, 1, 5, 0, 0, 0, (char)(2 * i + 1), (char)0x88 };

	memcpy(bytes, from_client ? get : ok, from_client ? sizeof(get) : sizeof(ok));
	return from_client ? sizeof(get) : sizeof(ok);
}

static void serve_http2(int s)
{
	char headers[32];

	receive_bytes(s, sizeof(PREFACE) - 1);
	receive_bytes(s, sizeof(SETTINGS) - 1);
	send_all(s, SETTINGS, sizeof(SETTINGS) - 1);
	for (int i = 0; i < REQUESTS; i++) {
		receive_bytes(s, make_headers(headers, true, i));
		send_all(s, headers, make_headers(headers, false, i));
	}
	receive_rest(s);
	close(s);
}

static void splice_the_beginning_and_ask(int s)
{
	char headers[32];
	int ends[2];

	MUST(pipe(ends));
	MUST(write(ends[1], PREFACE, sizeof(PREFACE) - 1));
	if (MUST(splice(ends[0], NULL, s, NULL, sizeof(PREFACE) - 1, 0)) != sizeof(PREFACE) - 1)
		_exit(113);
	close(ends[0]);
	close(ends[1]);
	send_all(s, SETTINGS, sizeof(SETTINGS) - 1);
	receive_bytes(s, sizeof(SETTINGS) - 1);
	for (int i = 0; i < REQUESTS; i++) {
		send_all(s, headers, make_headers(headers, true, i));
		receive_bytes(s, make_headers(headers, false, i));
	}
	close(s);
}

/* Both sides may say SETTINGS: where the beginning could not be read, they do not tell who serves. */
static void a_beginning_that_is_spliced(void **state)
{
	struct leadline *leadline = requests_agent_start();
	struct dialogue dialogue = { .family = AF_INET,
				     .connections = CONNECTIONS,
				     .server = serve_http2,
				     .client = splice_the_beginning_and_ask };
	struct parties parties = dialogue_hold(&dialogue, 30);
	struct page *page = leadline_scrape(leadline);

	requests_expect("served", metric_histogram(page, WEB, "comm", parties.server, NULL).count,
			CONNECTIONS * REQUESTS);
	requests_expect("asked",
			metric_histogram(page, WEB_ASKED, "comm", parties.client, NULL).count,
			CONNECTIONS * REQUESTS);
	requests_expect(
		"exchanges of it as a server",
		metric_histogram(page, EXCHANGE, "comm", parties.client, "role", "server", NULL)
			.count,
		0);
	page_free(page);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(answers_that_are_spliced),
		HARNESS_TEST(a_beginning_that_is_spliced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
