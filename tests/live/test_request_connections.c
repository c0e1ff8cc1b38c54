// SPDX-License-Identifier: Apache-2.0
/*
 * How often connections are used again, on the running kernel: of so many connections with so many requests each; and how long their
 * first requests waited for them. Root.
 */
#include <math.h>
#include <sys/socket.h>
#include "tests/harness/dialogue.h"
#include "tests/harness/harness.h"
#include "tests/harness/requests.h"

#define CONNECTIONS 13
#define EACH	    31

struct language {
	const char *protocol, *request, *response;
	const char *durations[2]; /* at the server, at the client */
};

static const struct language languages[] = {
	{ "http",
	  "GET / HTTP/1.1\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	  { "http_server_request_duration_seconds", "http_client_request_duration_seconds" } },
	{ "redis",
	  "*1\r\n$4\r\nPING\r\n",
	  "+PONG\r\n",
	  { "leadline_db_server_operation_duration_seconds",
	    "db_client_operation_duration_seconds" } },
};

static const struct language *language;
static int each; /* requests on a connection */

static void ask(int s)
{
	for (int i = 0; i < each; i++) {
		MUST(send(s, language->request, strlen(language->request), 0));
		receive_bytes(s, strlen(language->response));
	}
	close(s);
}

static void serve(int s)
{
	for (int i = 0; i < each; i++) {
		receive_bytes(s, strlen(language->request));
		MUST(send(s, language->response, strlen(language->response), 0));
	}
	receive_rest(s);
	close(s);
}

static const json_t *services_of(struct leadline *leadline, const char *comm)
{
	char path[64];

	snprintf(path, sizeof(path), "/requests?service=%s", comm);
	return requests_page_of(leadline, path);
}

static double per_connection(struct leadline *leadline, const char *comm, const char *side)
{
	const json_t *services = json_object_get(services_of(leadline, comm), "services"), *service;
	size_t i;

	json_array_foreach(services, i, service)
	{
		if (!strcmp(requests_text(service, "side"), side))
			return requests_number(service, "requests_per_connection");
	}
	return 0;
}

static void connections_are_counted_once(void **state)
{
	static const char *const sides[] = { "server", "client" };
	struct leadline *leadline = requests_agent_start();

	for (size_t i = 0; i < sizeof(languages) / sizeof(languages[0]); i++) {
		struct dialogue dialogue = { .family = AF_INET,
					     .connections = CONNECTIONS,
					     .server = serve,
					     .client = ask };
		struct parties parties;
		struct page *page;

		language = &languages[i];
		each = EACH;
		parties = dialogue_hold(&dialogue, 30);
		page = leadline_scrape(leadline);
		for (int side = 0; side < 2; side++) {
			const char *comm = side ? parties.client : parties.server;

			requests_expect(sides[side],
					metric_sum(page, "leadline_request_connections_total",
						   "comm", comm, "role", sides[side], "protocol",
						   language->protocol, NULL),
					CONNECTIONS);
			requests_expect("all of these",
					metric_sum(page, "leadline_request_connections_total",
						   "comm", comm, NULL),
					CONNECTIONS);
			requests_expect("requests",
					metric_histogram(page, language->durations[side], "comm",
							 comm, NULL)
						.count,
					CONNECTIONS * EACH);
			requests_expect("requests per connection",
					per_connection(leadline, comm, sides[side]), EACH);
		}
		page_free(page);
	}
	leadline_stop(leadline);
	(void)state;
}

/* A connection that nothing was asked on has no part in it. */
static void say_nothing(int s)
{
	close(s);
}

static void connections_without_requests(void **state)
{
	struct leadline *leadline = requests_agent_start();
	struct dialogue dialogue = { .family = AF_INET,
				     .connections = CONNECTIONS,
				     .server = say_nothing,
				     .client = say_nothing };
	struct parties parties = dialogue_hold(&dialogue, 30);
	struct page *page = leadline_scrape(leadline);

	requests_expect("connections",
			metric_sum(page, "leadline_request_connections_total", "comm",
				   parties.server, NULL),
			0);
	page_free(page);
	leadline_stop(leadline);
	(void)state;
}

/* ---- connecting ---- */

#define LATE	 3
#define FEW	 5 /* requests: all are told of, see probes/slow_gate.h */
#define SYN_LOST 1.0 /* seconds until the kernel sends it again */

/* Its connections' first SYN gets lost, hence each takes that long to open. */
static const struct network *network_that_loses(void)
{
	const struct network *network = network_create();

	require_program("iptables");
	shell("ip netns exec %s iptables -A INPUT -i lo -p tcp --tcp-flags SYN,ACK SYN "
	      "-m statistic --mode nth --every 2 --packet 0 -j DROP",
	      network->name);
	return network;
}

/* Of the slow requests of a client those that waited for a connection, each for so long. */
static size_t slow_ones_after_connecting(struct leadline *leadline, const char *comm, double least)
{
	const json_t *slow = json_object_get(services_of(leadline, comm), "slow"), *one;
	size_t i, n = 0;

	json_array_foreach(slow, i, one)
	{
		double took = requests_number(one, "connect_seconds");

		if (isnan(took))
			continue;
		assert_string_equal(requests_text(one, "side"), "client");
		assert_true(took >= least && took < least + 0.5);
		n++;
	}
	return n;
}

/* The tcp probe measures the same by itself. */
static void first_requests_wait_for_connections(void **state)
{
	const struct network *network = network_that_loses();
	struct leadline *leadline = leadline_start_only(
		"requests tcp", (const char *const[]){ "--probes.requests.slow=100", NULL });

	for (size_t i = 0; i < sizeof(languages) / sizeof(languages[0]); i++) {
		struct dialogue dialogue = { .family = AF_INET,
					     .connections = LATE,
					     .network = network,
					     .server = serve,
					     .client = ask };
		struct page_histogram connects;
		struct parties parties;
		struct page *page;
		double seconds;

		language = &languages[i];
		each = FEW;
		parties = dialogue_hold(&dialogue, 30);
		page = leadline_scrape(leadline);
		seconds = metric_value(page, "leadline_request_connect_seconds_total", "comm",
				       parties.client, "role", "client", "protocol",
				       language->protocol, NULL);
		connects = metric_histogram(page, "leadline_tcp_connect_duration_seconds", "comm",
					    parties.client, NULL);
		requests_expect("connects", connects.count, LATE);
		if (!(seconds >= LATE * SYN_LOST && fabs(seconds / connects.sum - 1) <= 0.001))
			test_fail("%s: %.6f s to connect, not %.6f s", language->protocol, seconds,
				  connects.sum);
		assert_int_equal(metric_count(page, "leadline_request_connect_seconds_total",
					      "comm", parties.server, NULL),
				 0);
		assert_int_equal(slow_ones_after_connecting(leadline, parties.client, SYN_LOST),
				 LATE);
		page_free(page);
	}
	leadline_stop(leadline);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(connections_are_counted_once),
		HARNESS_TEST(connections_without_requests),
		HARNESS_TEST(first_requests_wait_for_connections),
	};

	return cmocka_run_group_tests_name("request_connections", tests, NULL, NULL);
}
