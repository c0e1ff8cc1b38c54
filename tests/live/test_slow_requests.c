// SPDX-License-Identifier: Apache-2.0
/*
 * Slow requests on the running kernel: a server that sleeps for a known time on known paths is told of with that time, and real
 * Redis commands that wait, over HTTP and by `leadline requests`.
 */
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <sys/socket.h>
#include "tests/harness/dialogue.h"
#include "tests/harness/harness.h"
#include "tests/harness/requests.h"
#include "tests/harness/servers.h"

#define SLEEP 0.05

static const char sleeper[] =
	"import http.server, sys, time\n"
	"class Handler(http.server.BaseHTTPRequestHandler):\n"
	"    protocol_version = 'HTTP/1.1'\n"
	"    def do_GET(self):\n"
	"        if self.path.startswith('/slow/'):\n"
	"            time.sleep(0.05)\n"
	"        status = 503 if 'broken' in self.path else 200\n"
	"        self.send_response(status)\n"
	"        self.send_header('Content-Length', '2')\n"
	"        self.end_headers()\n"
	"        self.wfile.write(b'ok')\n"
	"    def log_message(self, *arguments):\n"
	"        pass\n"
	"http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()\n";

/* ---- HTTP ---- */

static struct leadline *start_agent(const char *kept)
{
	return leadline_start_only("requests sched", (const char *const[]){ kept, NULL });
}

#define FAST 101

static void a_server_that_sleeps(void **state)
{
	struct leadline *leadline = start_agent("--probes.requests.slow=10");
	struct server *server = python_server_start(sleeper);
	const json_t *page, *one;
	char path[128], local[32];
	size_t n;

	shell("curl -s -o /dev/null 'http://127.0.0.1:%d/users/[1-%d]'", server->port, FAST);
	shell("curl -s -o /dev/null 'http://127.0.0.1:%d/slow/4711?private=1'", server->port);
	shell("curl -s -o /dev/null 'http://127.0.0.1:%d/slow/broken'", server->port);
	snprintf(path, sizeof(path), "/requests?slow=true&service=%s", server->unit + 1);
	snprintf(local, sizeof(local), "127.0.0.1:%d", server->port);
	page = requests_page_of(leadline, path);

	one = requests_slowest(page, "server", "GET", "/slow/{id}", &n);
	assert_int_equal(n, 1);
	assert_string_equal(requests_text(one, "target"), "/slow/4711?private=1");
	assert_string_equal(requests_text(one, "status"), "200");
	assert_string_equal(requests_text(one, "protocol"), "http");
	assert_string_equal(requests_text(one, "local"), local);
	assert_non_null(strstr(requests_text(one, "peer"), "127.0.0.1:"));
	assert_true(requests_number(one, "pid") == server->pid);
	assert_true(requests_number(one, "tid") == server->pid);
	assert_true(requests_number(one, "duration_seconds") >= SLEEP);
	assert_true(requests_number(one, "first_byte_seconds") >= SLEEP);
	assert_true(requests_number(one, "first_byte_seconds") <=
		    requests_number(one, "duration_seconds"));
	assert_true(requests_number(one, "retransmits") == 0);
	assert_true(requests_number(one, "rtt_seconds") > 0);
	requests_expect_waits(one, "sleep", SLEEP);

	one = requests_slowest(page, "server", "GET", "/slow/broken", &n);
	assert_int_equal(n, 1);
	assert_string_equal(requests_text(one, "status"), "503");
	assert_string_equal(requests_text(one, "error"), "503");

	/* of many as many as are kept */
	requests_slowest(page, "server", "GET", "/users/{id}", &n);
	assert_in_range(n, 10, 20);

	/* the other end, which is another program */
	one = requests_slowest(
		requests_page_of(leadline, "/requests?slow=true&service=curl&limit=1000"), "client",
		"GET", "/slow/{id}", &n);
	assert_int_equal(n, 1);
	assert_true(requests_number(one, "duration_seconds") >= SLEEP);
}

static void as_many_as_are_wanted(void **state)
{
	struct leadline *leadline = start_agent("--probes.requests.slow=0");
	struct server *server = python_server_start(sleeper);

	shell("curl -s -o /dev/null 'http://127.0.0.1:%d/slow/[1-3]'", server->port);
	assert_int_equal(json_array_size(json_object_get(
				 requests_page_of(leadline, "/requests?slow=true"), "slow")),
			 0);
}

/* ---- decoded calls, and what people see ---- */

static struct output *requests_command(struct leadline *leadline, const char *flags)
{
	return run_shell("%s requests --listen=127.0.0.1:%d %s", leadline_binary(), leadline->port,
			 flags);
}

static void expect_printed(struct leadline *leadline, const char *flags, const char *const wanted[])
{
	struct output *output = requests_command(leadline, flags);

	if (output->status)
		test_fail("%s: %d %s", flags, output->status, output->text);
	for (; *wanted; wanted++)
		if (!strstr(output->text, *wanted))
			test_fail("%s: no %s in:\n%s", flags, *wanted, output->text);
	output_free(output);
}

/* The series, too, have their times, and for the most part this reason. */
static void expect_waits_of_all(struct leadline *leadline, const struct server *server,
				const char *protocol, const char *operation, const char *reason,
				double expected)
{
	struct page *page = leadline_scrape(leadline);
	double waited =
		metric_sum(page, "leadline_request_wait_seconds_total", "unit", server->unit,
			   "protocol", protocol, "operation", operation, "reason", reason, NULL);

	requests_expect_all_waits(page, server->unit, protocol);
	if (!(waited >= 0.95 * expected))
		test_fail("%s %s: %.6f s %s, not %.6f s", protocol, operation, waited, reason,
			  expected);
	page_free(page);
}

static void redis_commands_that_wait(void **state)
{
	struct leadline *leadline = start_agent("--probes.requests.slow=3");
	struct server *server = redis_start();
	const json_t *page, *one;
	char path[128], flags[128];
	size_t n;

	for (int i = 0; i < 7; i++)
		shell("redis-cli -p %d BLPOP nothing 0.0%d >/dev/null", server->port, 2 + i);
	shell("redis-cli -p %d SET key value >/dev/null", server->port);
	snprintf(path, sizeof(path), "/requests?slow=true&service=%s", server->unit + 1);
	page = requests_page_of(leadline, path);
	one = requests_slowest(page, "server", "BLPOP", "", &n);
	assert_in_range(n, 3, 6); /* a minute may have ended between them */
	assert_string_equal(requests_text(one, "protocol"), "redis");
	assert_true(requests_number(one, "duration_seconds") >= 0.08);
	assert_true(requests_number(one, "pid") == server->pid);
	assert_non_null(strstr(requests_text(one, "peer"), "127.0.0.1:"));
	assert_true(requests_number(one, "rtt_seconds") > 0);
	requests_expect_waits(one, "poll", 0.08);
	requests_slowest(page, "server", "SET", "", &n);
	assert_int_equal(n, 1);
	expect_waits_of_all(leadline, server, "redis", "BLPOP", "poll", 7 * 0.05);

	snprintf(flags, sizeof(flags), "--slow --service=%s", server->unit + 1);
	expect_printed(leadline, flags, (const char *const[]){ "server redis", "BLPOP", NULL });
	snprintf(flags, sizeof(flags), "--slow --json --service=%s", server->unit + 1);
	expect_printed(leadline, flags, (const char *const[]){ "\"operation\":\"BLPOP\"", NULL });
}

/* Both serve each connection by a thread of its own. What their clients wait for is them. */
static void statements_that_wait(void **state)
{
	struct leadline *leadline = start_agent("--probes.requests.slow=3");
	struct server *servers[] = { postgresql_start(), mariadb_start() };
	static const char *const reasons[] = { "poll", "lock" };
	static const char *const protocols[] = { "postgresql", "mysql" };
	const json_t *one;
	char path[128];
	size_t n;

	shell("PGSSLMODE=disable %s -h 127.0.0.1 -U postgres -p %d -qc 'SELECT pg_sleep(0.05)' >/dev/null",
	      postgresql_program("psql"), servers[0]->port);
	shell("mariadb -h 127.0.0.1 -u root -P %d -e 'SELECT SLEEP(0.05)' >/dev/null",
	      servers[1]->port);
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/requests?slow=true&service=%s",
			 servers[i]->unit + 1);
		one = requests_slowest(requests_page_of(leadline, path), "server", "SELECT",
				       "SELECT", &n);
		assert_int_equal(n, 1);
		requests_expect_waits(one, reasons[i], 0.05);
		expect_waits_of_all(leadline, servers[i], protocols[i], "SELECT", reasons[i], 0.05);
		assert_non_null(strstr(requests_text(one, "peer"), "127.0.0.1:"));
		assert_true(requests_number(one, "rtt_seconds") > 0);
		snprintf(path, sizeof(path), "/requests?slow=true&service=%s",
			 i ? "mariadb" : "psql");
		one = requests_slowest(requests_page_of(leadline, path), "client", "SELECT",
				       "SELECT", &n);
		assert_int_equal(n, 1);
		requests_expect_waits(one, "outbound", 0.05);
	}
}

#define BLPOP "*3\r\n$5\r\nBLPOP\r\n$1\r\na\r\n$4\r\n0.05\r\n"

static int ask_for_two(void *port, void *shared)
{
	int s = connect_to_loopback(AF_INET, *(const int *)port);

	MUST(send(s, BLPOP BLPOP, 2 * (sizeof(BLPOP) - 1), MSG_NOSIGNAL));
	receive_bytes(s, 2 * (sizeof("*-1\r\n") - 1));
	close(s);
	(void)shared;
	return 0;
}

/* Two at once: where the time of either went nobody knows. */
static void commands_in_one_piece(void **state)
{
	struct leadline *leadline = start_agent("--probes.requests.slow=3");
	struct server *server = redis_start();
	const json_t *one;
	char path[128];
	size_t n;

	workload_finish(workload_start("client", -1, ask_for_two, &server->port), 20);
	snprintf(path, sizeof(path), "/requests?slow=true&service=%s", server->unit + 1);
	one = requests_slowest(requests_page_of(leadline, path), "server", "BLPOP", "", &n);
	assert_int_equal(n, 2);
	requests_expect_waits(one, "unattributed", requests_number(one, "duration_seconds"));
}

static void the_table(void **state)
{
	struct leadline *leadline = start_agent("--probes.requests.slow=10");
	struct server *server = redis_start();
	struct answer *answer;
	char command[128], flags[128], exemplar[64];
	pid_t load;

	snprintf(command, sizeof(command), "while :; do redis-cli -p %d SET a b; done",
		 server->port);
	load = program_start(NULL, (const char *const[]){ "sh", "-c", command, NULL });
	snprintf(flags, sizeof(flags), "--service=%s", server->unit + 1);
	expect_printed(
		leadline, flags,
		(const char *const[]){ "REQUESTS/s", "server redis", "redis-server  SET", NULL });
	program_stop(load, SIGKILL, 5);

	answer = leadline_fetch(
		leadline, "GET", "/metrics",
		(const char *const[]){ "Accept: application/openmetrics-text;version=1.0.0", NULL },
		NULL);
	snprintf(exemplar, sizeof(exemplar), " # {pid=\"%d\",tid=\"%d\"} ", server->pid,
		 server->pid);
	assert_int_equal(answer->status, 200);
	assert_non_null(strstr(answer->body, exemplar));
	answer_free(answer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(a_server_that_sleeps),	HARNESS_TEST(as_many_as_are_wanted),
		HARNESS_TEST(redis_commands_that_wait), HARNESS_TEST(statements_that_wait),
		HARNESS_TEST(commands_in_one_piece),	HARNESS_TEST(the_table),
	};

	return cmocka_run_group_tests_name("slow_requests", tests, NULL, NULL);
}
