// SPDX-License-Identifier: Apache-2.0
/*
 * Real servers and clients that speak over unix sockets: the same counts as over TCP, and the same as their own.
 */
#include <stdlib.h>
#include "tests/harness/harness.h"
#include "tests/harness/nginx.h"
#include "tests/harness/requests.h"
#include "tests/harness/servers.h"

#define DB_CLIENT  "db_client_operation_duration_seconds"
#define DB_SERVER  "leadline_db_server_operation_duration_seconds"
#define WEB_CLIENT "http_client_request_duration_seconds"
#define WEB_SERVER "http_server_request_duration_seconds"

static double operations(const struct page *page, const char *metric, const char *label,
			 const char *value, const char *system, const char *operation)
{
	return metric_histogram(page, metric, label, value, "db_system_name", system,
				"db_operation_name", operation, "error_type", "", NULL)
		.count;
}

static void redis(void **state)
{
	struct leadline *leadline = requests_agent_start();
	struct server *server = redis_start();
	const char *bench = program_renamed("redis-benchmark", "bench-unix");
	struct page *page;

	shell("%s -s %s/socket -q -n 1009 -c 3 -t set >/dev/null", bench, server->directory);
	shell("%s -s %s/socket -q -n 1600 -c 1 -P 16 -t get >/dev/null", bench, server->directory);
	page = leadline_scrape(leadline);
	requests_expect("set, served",
			operations(page, DB_SERVER, "unit", server->unit, "redis", "SET"), 1009);
	requests_expect("set, asked",
			operations(page, DB_CLIENT, "comm", "bench-unix", "redis", "SET"), 1009);
	requests_expect("get, served",
			operations(page, DB_SERVER, "unit", server->unit, "redis", "GET"), 1600);
	requests_expect("get, asked",
			operations(page, DB_CLIENT, "comm", "bench-unix", "redis", "GET"), 1600);
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

static void postgresql(void **state)
{
	struct leadline *leadline = requests_agent_start();
	struct server *server = postgresql_start();
	const char *psql = program_renamed(postgresql_program("psql"), "psql-unix");
	struct page *page;

	for (int i = 0; i < 3; i++)
		shell("for i in $(seq 31); do echo \"select $i;\"; done | %s -q -h %s -p %d -U postgres postgres >/dev/null",
		      psql, server->directory, server->port);
	page = leadline_scrape(leadline);
	requests_expect("served",
			operations(page, DB_SERVER, "unit", server->unit, "postgresql", "SELECT"),
			3 * 31);
	requests_expect("asked",
			operations(page, DB_CLIENT, "comm", "psql-unix", "postgresql", "SELECT"),
			3 * 31);
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

/* What is slow is told of with its peer, which has no address. */
static void expect_no_address(struct leadline *leadline, const char *unit)
{
	const json_t *page, *slowest;
	char path[128];
	size_t n;

	snprintf(path, sizeof(path), "/requests?slow=true&service=%s", unit + 1);
	page = requests_page_of(leadline, path);
	slowest = requests_slowest(page, "server", "GET", "/", &n);
	assert_true(n > 0);
	assert_string_equal(requests_text(slowest, "peer"), "unix");
	assert_string_equal(requests_text(slowest, "local"), "unix");
}

static void nginx_and_curl(void **state)
{
	struct leadline *leadline = requests_agent_start();
	const char *directory = temporary_directory(), *unit;
	const char *curl = program_renamed("curl", "curl-unix");
	char listen[128];
	struct nginx *nginx;
	struct page *page;

	snprintf(listen, sizeof(listen), "listen unix:%s/socket;", directory);
	nginx = nginx_start(NULL, listen);
	unit = server_enclose(nginx->pid, "unix-nginx");
	shell("head -c 3000017 /dev/zero > %s/files/big", nginx->directory);
	shell("%s -s --unix-socket %s/socket -o /dev/null 'http://any/?[1-101]'", curl, directory);
	shell("%s -s --unix-socket %s/socket -o /dev/null 'http://any/files/big?[1-7]'", curl,
	      directory);
	shell("%s -s --unix-socket %s/socket -o /dev/null 'http://any/status/500?[1-11]'", curl,
	      directory);
	page = leadline_scrape(leadline);
	requests_expect_status(page, WEB_SERVER, "unit", unit, "200", 108);
	requests_expect_status(page, WEB_CLIENT, "comm", "curl-unix", "200", 108);
	requests_expect_status(page, WEB_SERVER, "unit", unit, "500", 11);
	requests_expect_status(page, WEB_CLIENT, "comm", "curl-unix", "500", 11);
	nginx_expect_requests(nginx, 119);
	requests_expect_nothing_lost(page);
	page_free(page);
	expect_no_address(leadline, unit);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(redis),
		HARNESS_TEST(postgresql),
		HARNESS_TEST(nginx_and_curl),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
