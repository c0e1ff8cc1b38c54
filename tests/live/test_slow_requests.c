// SPDX-License-Identifier: Apache-2.0
/*
 * Slow requests on the running kernel: a server that sleeps for a known time on known paths is told of with that time, and real
 * Redis commands that wait, over HTTP and by `leadline requests`.
 */
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include "tests/harness/harness.h"
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

/* ---- the page ---- */

static void drop_json(void *json)
{
	json_decref(json);
}

static const json_t *page_of(struct leadline *leadline, const char *path)
{
	struct answer *answer = leadline_fetch(leadline, "GET", path, NULL, NULL);
	json_t *json = json_loads(answer->body ? answer->body : "", 0, NULL);

	if (answer->status != 200 || !json)
		test_fail("%s: %ld %s", path, answer->status, answer->body);
	answer_free(answer);
	cleanup_push(drop_json, json);
	return json;
}

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : "";
}

static double number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return json_is_number(value) ? json_number_value(value) : NAN;
}

/* Those of a side and a route; the slowest, or NULL. */
static const json_t *slowest_of(const json_t *page, const char *side, const char *operation,
				const char *route, size_t *ret_n)
{
	const json_t *one, *slowest = NULL;
	size_t i;

	*ret_n = 0;
	json_array_foreach(json_object_get(page, "slow"), i, one)
	{
		if (strcmp(text(one, "side"), side) || strcmp(text(one, "operation"), operation) ||
		    strcmp(text(one, "route"), route))
			continue;
		if (!(*ret_n)++)
			slowest = one;
	}
	return slowest;
}

static void expect_waits(const json_t *request, const char *main_reason, double expected)
{
	json_t *waits = json_object_get(request, "waits"), *value;
	double sum = 0, duration = number(request, "duration_seconds");
	const char *reason;

	json_object_foreach(waits, reason, value) sum += json_number_value(value);
	if (!(fabs(sum - duration) <= duration * 0.01))
		test_fail("reasons sum to %g, not %g", sum, duration);
	if (!(number(waits, main_reason) >= expected * 0.95))
		test_fail("%s: %g, not %g", main_reason, number(waits, main_reason), expected);
}

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
	page = page_of(leadline, path);

	one = slowest_of(page, "server", "GET", "/slow/{id}", &n);
	assert_int_equal(n, 1);
	assert_string_equal(text(one, "target"), "/slow/4711?private=1");
	assert_string_equal(text(one, "status"), "200");
	assert_string_equal(text(one, "protocol"), "http");
	assert_string_equal(text(one, "local"), local);
	assert_non_null(strstr(text(one, "peer"), "127.0.0.1:"));
	assert_true(number(one, "pid") == server->pid);
	assert_true(number(one, "tid") == server->pid);
	assert_true(number(one, "duration_seconds") >= SLEEP);
	assert_true(number(one, "first_byte_seconds") >= SLEEP);
	assert_true(number(one, "first_byte_seconds") <= number(one, "duration_seconds"));
	assert_true(number(one, "retransmits") == 0);
	assert_true(number(one, "rtt_seconds") > 0);
	expect_waits(one, "sleep", SLEEP);

	one = slowest_of(page, "server", "GET", "/slow/broken", &n);
	assert_int_equal(n, 1);
	assert_string_equal(text(one, "status"), "503");
	assert_string_equal(text(one, "error"), "503");

	/* of many as many as are kept */
	slowest_of(page, "server", "GET", "/users/{id}", &n);
	assert_in_range(n, 10, 20);

	/* the other end, which is another program */
	one = slowest_of(page_of(leadline, "/requests?slow=true&service=curl&limit=1000"), "client",
			 "GET", "/slow/{id}", &n);
	assert_int_equal(n, 1);
	assert_true(number(one, "duration_seconds") >= SLEEP);
}

static void as_many_as_are_wanted(void **state)
{
	struct leadline *leadline = start_agent("--probes.requests.slow=0");
	struct server *server = python_server_start(sleeper);

	shell("curl -s -o /dev/null 'http://127.0.0.1:%d/slow/[1-3]'", server->port);
	assert_int_equal(
		json_array_size(json_object_get(page_of(leadline, "/requests?slow=true"), "slow")),
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
	page = page_of(leadline, path);
	one = slowest_of(page, "server", "BLPOP", "", &n);
	assert_in_range(n, 3, 6); /* a minute may have ended between them */
	assert_string_equal(text(one, "protocol"), "redis");
	assert_true(number(one, "duration_seconds") >= 0.08);
	assert_true(number(one, "pid") == server->pid);
	slowest_of(page, "server", "SET", "", &n);
	assert_int_equal(n, 1);

	snprintf(flags, sizeof(flags), "--slow --service=%s", server->unit + 1);
	expect_printed(leadline, flags, (const char *const[]){ "server redis", "BLPOP", NULL });
	snprintf(flags, sizeof(flags), "--slow --json --service=%s", server->unit + 1);
	expect_printed(leadline, flags, (const char *const[]){ "\"operation\":\"BLPOP\"", NULL });
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
		HARNESS_TEST(a_server_that_sleeps),
		HARNESS_TEST(as_many_as_are_wanted),
		HARNESS_TEST(redis_commands_that_wait),
		HARNESS_TEST(the_table),
	};

	return cmocka_run_group_tests_name("slow_requests", tests, NULL, NULL);
}
