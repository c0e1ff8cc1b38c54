// SPDX-License-Identifier: Apache-2.0
/*
 * How often connections are used again, on the running kernel: of so many connections with so many requests each. Root.
 */
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

static void ask(int s)
{
	for (int i = 0; i < EACH; i++) {
		MUST(send(s, language->request, strlen(language->request), 0));
		receive_bytes(s, strlen(language->response));
	}
	close(s);
}

static void serve(int s)
{
	for (int i = 0; i < EACH; i++) {
		receive_bytes(s, strlen(language->request));
		MUST(send(s, language->response, strlen(language->response), 0));
	}
	receive_rest(s);
	close(s);
}

static double per_connection(struct leadline *leadline, const char *comm, const char *side)
{
	const json_t *services, *service;
	char path[64];
	size_t i;

	snprintf(path, sizeof(path), "/requests?slow=false&service=%s", comm);
	services = json_object_get(requests_page_of(leadline, path), "services");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(connections_are_counted_once),
		HARNESS_TEST(connections_without_requests),
	};

	return cmocka_run_group_tests_name("request_connections", tests, NULL, NULL);
}
