// SPDX-License-Identifier: Apache-2.0
/*
 * Real proxies in front of a real server: what passes through them without coming to their memory is counted all the same, once as
 * served and once as asked for.
 */
#include <signal.h>
#include "tests/harness/harness.h"
#include "tests/harness/nginx.h"
#include "tests/harness/requests.h"
#include "tests/harness/servers.h"

#define CLIENT "http_client_request_duration_seconds"
#define SERVER "http_server_request_duration_seconds"

#define BIG    3000017
#define ROUNDS 23

static void expect(const struct page *page, const char *metric, const char *label,
		   const char *value, const char *method, const char *status, double expected)
{
	requests_expect(value,
			metric_histogram(page, metric, label, value, "http_request_method", method,
					 "http_response_status_code", status, "error_type", "",
					 NULL)
				.count,
			expected);
}

static double bytes_of(const struct page *page, const char *label, const char *value,
		       const char *parsed)
{
	return metric_sum(page, "leadline_socket_bytes_total", label, value, "parsed", parsed,
			  NULL);
}

static void haproxy_that_splices(void **state)
{
	struct leadline *leadline = requests_agent_start();
	struct nginx *nginx = nginx_start(NULL, "location /post { return 201 \"taken\\n\"; }");
	struct server *haproxy = haproxy_start("http", nginx->port);
	const char *curl = program_renamed("curl", "curl-proxies"), *name = "curl-proxies";
	const char *nginx_unit = server_enclose(nginx->pid, "proxied-nginx");
	struct page *page;

	shell("head -c %d /dev/zero > %s/files/big", BIG, nginx->directory);
	shell("%s -s -o /dev/null 'http://127.0.0.1:%d/files/big?[1-%d]'", curl, haproxy->port,
	      ROUNDS);
	shell("%s -s -o /dev/null 'http://127.0.0.1:%d/?[1-%d]'", curl, haproxy->port, ROUNDS);
	shell("%s -s -H Expect: --data-binary @%s/files/big -o /dev/null 'http://127.0.0.1:%d/post?[1-%d]'",
	      curl, nginx->directory, haproxy->port, ROUNDS);
	program_stop(haproxy->pid, SIGTERM, 10); /* its connections end */
	page = leadline_scrape(leadline);
	expect(page, CLIENT, "comm", name, "GET", "200", 2 * ROUNDS);
	expect(page, CLIENT, "comm", name, "POST", "201", ROUNDS);
	expect(page, SERVER, "unit", haproxy->unit, "GET", "200", 2 * ROUNDS);
	expect(page, SERVER, "unit", haproxy->unit, "POST", "201", ROUNDS);
	expect(page, CLIENT, "unit", haproxy->unit, "GET", "200", 2 * ROUNDS);
	expect(page, CLIENT, "unit", haproxy->unit, "POST", "201", ROUNDS);
	expect(page, SERVER, "unit", nginx_unit, "GET", "200", 2 * ROUNDS);
	expect(page, SERVER, "unit", nginx_unit, "POST", "201", ROUNDS);
	nginx_expect_requests(nginx, 3 * ROUNDS);
	requests_expect("not told apart", bytes_of(page, "unit", haproxy->unit, "false"), 0);
	/* the proxy received and sent all of it */
	assert_true(bytes_of(page, "unit", haproxy->unit, "true") > 4.0 * ROUNDS * BIG);
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

/* ---- a decoded protocol ---- */

#define REDIS_CLIENT "db_client_operation_duration_seconds"
#define REDIS_SERVER "leadline_db_server_operation_duration_seconds"

/* Of one connection, in this order: its first bytes are few, hence not spliced. */
static const struct {
	const char *operation, *line; /* for printf */
	int n;
} commands[] = {
	{ "PING", "ping\\n", 11 },
	{ "SET", "set a %0200017d\\n", 5 },
	{ "GET", "get a\\n", 7 },
	{ "ECHO", "echo a\\n", 31 },
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static double operations(const struct page *page, const char *metric, const char *label,
			 const char *value, const char *operation)
{
	return metric_histogram(page, metric, label, value, "db_system_name", "redis",
				"db_operation_name", operation, NULL)
		.count;
}

/* Those who talk through it are told exactly; of itself nothing is told that was not there. */
static void haproxy_that_splices_redis(void **state)
{
	struct leadline *leadline = requests_agent_start();
	struct server *redis = redis_start(), *haproxy = haproxy_start("tcp", redis->port);
	const char *cli = program_renamed("redis-cli", "cli-proxies"), *name = "cli-proxies";
	struct page *page;
	double n;

	for (size_t i = 0; i < N_COMMANDS; i++)
		shell("for i in $(seq %d); do printf '%s' 0; done >>%s/commands", commands[i].n,
		      commands[i].line, redis->directory);
	shell("%s -p %d <%s/commands >/dev/null", cli, haproxy->port, redis->directory);
	program_stop(haproxy->pid, SIGTERM, 10);
	page = leadline_scrape(leadline);
	/* and what the program asks for itself */
	n = metric_histogram(page, REDIS_CLIENT, "comm", name, NULL).count;
	for (size_t i = 0; i < N_COMMANDS; i++) {
		const char *operation = commands[i].operation;

		requests_expect(operation, operations(page, REDIS_CLIENT, "comm", name, operation),
				commands[i].n);
		requests_expect(operation,
				operations(page, REDIS_SERVER, "unit", redis->unit, operation),
				commands[i].n);
		assert_true(operations(page, REDIS_CLIENT, "unit", haproxy->unit, operation) <=
			    commands[i].n);
		assert_true(operations(page, REDIS_SERVER, "unit", haproxy->unit, operation) <=
			    commands[i].n);
	}
	/* if it has not spliced even the first bytes, by which a protocol is known */
	for (int i = 0; i < 2; i++)
		assert_true(metric_histogram(page, "leadline_exchange_duration_seconds", "unit",
					     haproxy->unit, "role", i ? "client" : "server", NULL)
				    .count <= n);
	/* what it splices of a connection that is not known to speak anything is not counted */
	assert_true(bytes_of(page, "unit", haproxy->unit, "true") +
			    bytes_of(page, "unit", haproxy->unit, "false") <=
		    2 * (bytes_of(page, "unit", redis->unit, "true") +
			 bytes_of(page, "unit", redis->unit, "false")));
	page_free(page);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(haproxy_that_splices),
		HARNESS_TEST(haproxy_that_splices_redis),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
