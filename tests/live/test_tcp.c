// SPDX-License-Identifier: Apache-2.0
/* The tcp probe on the running kernel: known numbers of connections, bytes, failures, resets and lost segments. */
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include "tests/harness/dialogue.h"
#include "tests/harness/harness.h"

static struct leadline *start_agent(void)
{
	return leadline_start_only("tcp",
				   (const char *const[]){ "--probes.tcp.live_interval=0s", NULL });
}

/* ---- what a page says of a program ---- */

static double bytes_of(const struct page *page, const char *comm, const char *direction)
{
	return metric_sum(page, "leadline_tcp_bytes_total", "comm", comm, "direction", direction,
			  NULL);
}

static double opened_by(const struct page *page, const char *comm, const char *role)
{
	return metric_sum(page, "leadline_tcp_connections_opened_total", "comm", comm, "role", role,
			  NULL);
}

static double resets_of(const struct page *page, const char *comm, const char *direction)
{
	return metric_sum(page, "leadline_tcp_resets_total", "comm", comm, "direction", direction,
			  NULL);
}

/* Sockets close a moment after the last program has: asks until the value is there. value: a function, which a failure names. */
#define expect_series(leadline, value, comm, label, expected)                                      \
	expect_of(leadline, #value, value, comm, label, expected)

static void expect_of(struct leadline *leadline, const char *name,
		      double (*value)(const struct page *, const char *, const char *),
		      const char *comm, const char *label, double expected)
{
	double seen = -1;

	if (WAIT_UNTIL(({
			       struct page *page = leadline_scrape(leadline);

			       seen = value(page, comm, label);
			       page_free(page);
			       seen == expected;
		       }),
		       5))
		return;
	test_fail("%s %s %s: %.0f, not %.0f", name, comm, label, seen, expected);
}

static double lost(const struct page *page, const char *reason)
{
	return metric_sum(page, "leadline_probe_lost_total", "probe", "tcp", "reason", reason,
			  NULL);
}

/* A hook that interrupts itself is skipped by the kernel; counts are made good at the socket's next change. */
static void expect_nothing_lost_for_good(const struct page *page)
{
	static const char *const reasons[] = { "table_full", "no_task_state", "no_socket_state" };

	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (lost(page, reasons[i]) > 0)
			test_fail("lost %s: %.0f", reasons[i], lost(page, reasons[i]));
}

/* ---- tests ---- */

#define CONNECTIONS 3001

static void wait_for_end(int s)
{
	receive_rest(s);
	close(s);
}

static void hang_up(int s)
{
	close(s);
}

static void connections_are_counted_by_role(void **state)
{
	struct leadline *leadline = start_agent();
	struct dialogue dialogue = {
		.family = AF_INET,
		.connections = CONNECTIONS,
		.server = wait_for_end,
		.client = hang_up,
	};
	struct parties parties = dialogue_hold(&dialogue, 60);
	struct page_histogram connects, rtt;
	struct page *page;

	expect_series(leadline, opened_by, parties.client, "client", CONNECTIONS);
	expect_series(leadline, opened_by, parties.server, "server", CONNECTIONS);
	page = leadline_scrape(leadline);
	assert_true(opened_by(page, parties.client, "server") == 0);
	assert_true(opened_by(page, parties.server, "client") == 0);
	connects = metric_histogram(page, "leadline_tcp_connect_duration_seconds", "comm",
				    parties.client, NULL);
	assert_true(connects.count <= CONNECTIONS &&
		    connects.count >= CONNECTIONS - lost(page, "recursion"));
	assert_true(connects.sum > 0 && connects.sum < 60);
	connects = metric_histogram(page, "leadline_tcp_connect_duration_seconds", "comm",
				    parties.server, NULL);
	assert_true(connects.count == 0);
	/* Each connection acknowledged something, hence is sampled at its end at the latest. */
	rtt = metric_histogram(page, "leadline_tcp_rtt_seconds", "comm", parties.client, NULL);
	assert_true(rtt.count >= CONNECTIONS - lost(page, "recursion"));
	assert_true(metric_sum(page, "leadline_tcp_connect_failures_total", "comm", parties.client,
			       NULL) == 0);
	expect_nothing_lost_for_good(page);
	page_free(page);
	(void)state;
}

static void ask_then_listen(int s)
{
	send_bytes(s, 100003);
	MUST(shutdown(s, SHUT_WR));
	receive_rest(s);
	close(s);
}

static void listen_then_answer(int s)
{
	receive_rest(s);
	send_bytes(s, 1000003);
	close(s);
}

static void tell_and_close(int s)
{
	send_bytes(s, 70001);
	close(s);
}

static void read_some_then_reset(int s)
{
	receive_bytes(s, 4001);
	send_bytes(s, 13);
	receive_bytes(s, 1); /* the 13 have arrived */
	close_with_reset(s);
}

static void be_reset(int s)
{
	send_bytes(s, 4001);
	receive_bytes(s, 13);
	send_bytes(s, 1);
	if (!receive_rest(s))
		_exit(102);
	close(s);
}

/* What has arrived is not read: closing resets the connection. */
static void close_unread(int s)
{
	char buffer[5003];

	MUST(recv(s, buffer, sizeof(buffer), MSG_PEEK | MSG_WAITALL));
	close(s);
}

static void talk_to_a_wall(int s)
{
	send_bytes(s, 5003);
	receive_rest(s);
	close(s);
}

/* A FIN looks like a byte to the kernel's counter, and comes in every order with those of the other side. */
static void bytes_are_exact_however_a_connection_ends(void **state)
{
	static const struct {
		void (*server)(int s);
		void (*client)(int s);
		double from_server, from_client, server_resets, client_resets;
	} cases[] = {
		{ listen_then_answer, ask_then_listen, 1000003, 100003, 0, 0 },
		{ tell_and_close, wait_for_end, 70001, 0, 0, 0 },
		{ wait_for_end, tell_and_close, 0, 70001, 0, 0 },
		{ hang_up, wait_for_end, 0, 0, 0, 0 },
		{ read_some_then_reset, be_reset, 13, 4002, 1, 0 },
		{ talk_to_a_wall, close_unread, 5003, 0, 0, 1 },
	};
	static const int families[] = { AF_INET, AF_INET6 };
	enum { CASES = sizeof(cases) / sizeof(cases[0]), ROUNDS = 17 };
	/* Its own, so that no flood of ended connections takes the room of those here: that makes further resets. */
	const struct network *network = network_create();
	struct leadline *leadline = start_agent();
	struct parties parties[2 * CASES];

	for (int i = 0; i < 2 * CASES; i++) {
		struct dialogue dialogue = { .family = families[i % 2],
					     .connections = ROUNDS,
					     .network = network,
					     .server = cases[i / 2].server,
					     .client = cases[i / 2].client };

		parties[i] = dialogue_hold(&dialogue, 30);
		expect_series(leadline, opened_by, parties[i].server, "server", ROUNDS);
	}
	/* Twice: what is right after the first round must not have grown after the second. */
	for (int i = 0; i < 4 * CASES; i++) {
		const int c = i / 2 % CASES;
		const struct parties *who = &parties[i % (2 * CASES)];
		const double from_server = ROUNDS * cases[c].from_server,
			     from_client = ROUNDS * cases[c].from_client;
		const double server_resets = ROUNDS * cases[c].server_resets;
		const double client_resets = ROUNDS * cases[c].client_resets;

		expect_series(leadline, bytes_of, who->server, "sent", from_server);
		expect_series(leadline, bytes_of, who->server, "received", from_client);
		expect_series(leadline, bytes_of, who->client, "sent", from_client);
		expect_series(leadline, bytes_of, who->client, "received", from_server);
		expect_series(leadline, resets_of, who->server, "sent", server_resets);
		expect_series(leadline, resets_of, who->client, "received", server_resets);
		expect_series(leadline, resets_of, who->client, "sent", client_resets);
		expect_series(leadline, resets_of, who->server, "received", client_resets);
	}
	(void)state;
}

static int talk_to_itself(void *argument, void *shared)
{
	int port, listener = listen_on_loopback(AF_INET, &port);
	int client = connect_to_loopback(AF_INET, port),
	    server = (int)MUST(accept(listener, NULL, NULL));

	(void)argument;
	(void)shared;
	send_bytes(client, 1009);
	receive_bytes(server, 1009);
	await_step();
	send_bytes(server, 20011);
	receive_bytes(client, 20011);
	await_step();
	MUST(shutdown(client, SHUT_WR)); /* the server is given a FIN, and goes on */
	receive_rest(server);
	await_step();
	send_bytes(server, 307);
	receive_bytes(client, 307);
	await_step();
	close(server);
	receive_rest(client);
	close(client);
	await_step();
	client = connect_to_loopback(AF_INET, port);
	server = (int)MUST(accept(listener, NULL, NULL));
	send_bytes(client, 11);
	receive_bytes(server, 11);
	close(client);
	close(server);
	await_step();
	return 0;
}

static void expect_exchanged(struct leadline *leadline, const char *comm, double bytes)
{
	expect_series(leadline, bytes_of, comm, "sent", bytes);
	expect_series(leadline, bytes_of, comm, "received", bytes);
}

static void live_connections_are_counted(void **state)
{
	struct leadline *leadline = start_agent();
	struct workload *workload = steps_start("live", talk_to_itself, NULL);

	expect_exchanged(leadline, workload->comm, 1009);
	steps_next();
	expect_exchanged(leadline, workload->comm, 1009 + 20011);
	steps_next();
	expect_exchanged(leadline, workload->comm, 1009 + 20011);
	steps_next();
	expect_exchanged(leadline, workload->comm, 1009 + 20011 + 307);
	steps_next();
	expect_exchanged(leadline, workload->comm, 1009 + 20011 + 307);
	expect_series(leadline, opened_by, workload->comm, "client", 1);
	steps_next();
	expect_exchanged(leadline, workload->comm, 1009 + 20011 + 307 + 11);
	expect_series(leadline, opened_by, workload->comm, "client", 2);
	expect_series(leadline, opened_by, workload->comm, "server", 2);
	steps_finish(workload);
	(void)state;
}

/* Connections older than the agent count from its start on; an older listener has what it accepts attributed to it. */
static void older_sockets_are_adopted(void **state)
{
	struct workload *workload = steps_start("older", talk_to_itself, NULL);
	struct leadline *leadline = start_agent();
	struct page *page;

	steps_next();
	expect_exchanged(leadline, workload->comm, 20011);
	steps_next();
	steps_next();
	steps_next(); /* the connection is closed, its FINs are not counted */
	expect_exchanged(leadline, workload->comm, 20011 + 307);
	expect_series(leadline, opened_by, workload->comm, "client", 0);
	steps_next();
	expect_exchanged(leadline, workload->comm, 20011 + 307 + 11);
	expect_series(leadline, opened_by, workload->comm, "client", 1);
	expect_series(leadline, opened_by, workload->comm, "server", 1);
	steps_finish(workload);
	page = leadline_scrape(leadline);
	expect_nothing_lost_for_good(page);
	page_free(page);
	(void)state;
}

static void meet_oneself(int listener, int port)
{
	int client = connect_to_loopback(AF_INET, port),
	    server = (int)MUST(accept(listener, NULL, NULL));

	close(client);
	receive_rest(server);
	close(server);
}

/* Listens under one name, goes on under another, as programs do that set their title. */
static int change_names(void *name, void *shared)
{
	int port, listener = listen_on_loopback(AF_INET, &port);

	(void)shared;
	meet_oneself(listener, port);
	await_step();
	prctl(PR_SET_NAME, name);
	for (int i = 0; i < 1000; i++) {
		await_step();
		meet_oneself(listener, port);
	}
	return 0;
}

static bool is_gone(struct leadline *leadline, const char *comm)
{
	struct page *page = leadline_scrape(leadline);
	bool gone = metric_count(page, "leadline_tcp_bytes_total", "comm", comm, NULL) == 0;

	page_free(page);
	return gone;
}

static bool accepts_next(struct leadline *leadline, const char *comm)
{
	struct page *page;
	bool counted;

	steps_next();
	page = leadline_scrape(leadline);
	counted = opened_by(page, comm, "server") > 0;
	page_free(page);
	return counted;
}

/* The listener's entity ends with the name: its id may be another's by now, and the listener is found a new one. */
static void a_listener_goes_to_its_owners_new_name(void **state)
{
	struct leadline *leadline =
		leadline_start_only("tcp", (const char *const[]){ "--probes.tcp.live_interval=0s",
								  "--entity_linger=0s", NULL });
	char name[16];
	struct workload *workload;

	snprintf(name, sizeof(name), "renamed-%d", getpid());
	workload = steps_start("named", change_names, name);
	expect_series(leadline, opened_by, workload->comm, "server", 1);
	steps_next();
	assert_true(WAIT_UNTIL(is_gone(leadline, workload->comm), 20));
	assert_true(WAIT_UNTIL(accepts_next(leadline, name), 20));
	assert_true(is_gone(leadline, workload->comm));
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(connections_are_counted_by_role),
		HARNESS_TEST(bytes_are_exact_however_a_connection_ends),
		HARNESS_TEST(live_connections_are_counted),
		HARNESS_TEST(older_sockets_are_adopted),
		HARNESS_TEST(a_listener_goes_to_its_owners_new_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
