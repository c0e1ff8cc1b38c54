// SPDX-License-Identifier: Apache-2.0
/*
 * Whom a served request waited for, on the running kernel: a server that asks two others, a slow and a fast one, over HTTP, and Redis;
 * one that gives up on an answer. Root.
 */
#include <math.h>
#include "tests/harness/harness.h"
#include "tests/harness/requests.h"
#include "tests/harness/servers.h"

#define DURATION "http_server_request_duration_seconds"
#define WAITS	 "leadline_request_wait_seconds_total"
#define ASKED	 31
#define SLOW	 0.02
#define FAST	 0.005

/* GET /20 takes 20 ms. */
static const char downstream[] =
	"import http.server, sys, time\n"
	"class Handler(http.server.BaseHTTPRequestHandler):\n"
	"    protocol_version = 'HTTP/1.1'\n"
	"    def do_GET(self):\n"
	"        time.sleep(int(self.path[1:]) / 1000)\n"
	"        self.wfile.write(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok')\n"
	"    def log_message(self, *arguments):\n"
	"        pass\n"
	"http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()\n";

/* Ways to ask others: over a connection that is kept, or a new one each time, waiting in a call or in poll(). */
static const char upstream[] =
	"import http.client, http.server, socket, sys\n"
	"kept = http.client.HTTPConnection('127.0.0.1', %d)\n"
	"silent = socket.create_server(('127.0.0.1', 0))\n"
	"def ask(connection, path):\n"
	"    connection.request('GET', path)\n"
	"    connection.getresponse().read()\n"
	"def both():\n"
	"    ask(kept, '/20')\n"
	"    anew = http.client.HTTPConnection('127.0.0.1', %d, timeout=5)\n"
	"    ask(anew, '/5')\n"
	"    anew.close()\n"
	"def redis():\n"
	"    with socket.create_connection(('127.0.0.1', %d)) as s:\n"
	"        s.sendall(b'*3\\r\\n$5\\r\\nBLPOP\\r\\n$7\\r\\nnothing\\r\\n$4\\r\\n0.05\\r\\n')\n"
	"        s.recv(64)\n"
	"def give_up():\n"
	"    with socket.create_connection(silent.getsockname(), timeout=0.05) as s:\n"
	"        s.sendall(b'anybody?')\n"
	"        try:\n"
	"            s.recv(64)\n"
	"        except TimeoutError:\n"
	"            pass\n"
	"class Handler(http.server.BaseHTTPRequestHandler):\n"
	"    protocol_version = 'HTTP/1.1'\n"
	"    def do_GET(self):\n"
	"        globals()[self.path[1:]]()\n"
	"        body = b'%%d' %% silent.getsockname()[1]\n"
	"        self.wfile.write(b'HTTP/1.1 200 OK\\r\\nContent-Length: %%d\\r\\n\\r\\n%%s' %% (len(body), body))\n"
	"    def log_message(self, *arguments):\n"
	"        pass\n"
	"http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()\n";

struct chain {
	struct leadline *leadline;
	struct server *slow, *fast, *redis, *server;
};

static struct chain start(const char *flag)
{
	struct chain chain = {
		.slow = python_server_start(downstream),
		.fast = python_server_start(downstream),
		.redis = redis_start(),
	};
	char script[sizeof(upstream) + 64];

	snprintf(script, sizeof(script), upstream, chain.slow->port, chain.fast->port,
		 chain.redis->port);
	chain.server = python_server_start(script);
	chain.leadline = leadline_start_only("sched requests", (const char *const[]){ flag, NULL });
	return chain;
}

static const char *address(int port)
{
	char *text = NULL;

	if (asprintf(&text, "127.0.0.1:%d", port) < 0)
		abort();
	cleanup_push(free, text);
	return text;
}

static void ask_both(const struct chain *chain)
{
	for (int i = 0; i < ASKED; i++)
		shell("curl -s -o /dev/null http://127.0.0.1:%d/both", chain->server->port);
}

static double outbound(const struct page *page, const struct chain *chain, const char *who)
{
	return metric_sum(page, WAITS, "unit", chain->server->unit, "reason", "outbound",
			  "downstream", who, NULL);
}

static void expect_told(const char *who, double told, double waited)
{
	if (!(told >= 0.95 * waited))
		test_fail("waited for %s: %.6f s, not %.6f s", who, told, waited);
}

static const json_t *slow_one(const struct chain *chain, const char *route)
{
	const json_t *one;
	char path[160];
	size_t n;

	snprintf(path, sizeof(path), "/requests?slow=true&service=%s", chain->server->unit + 1);
	one = requests_slowest(requests_page_of(chain->leadline, path), "server", "GET", route, &n);
	assert_non_null(one);
	return one;
}

/* Wherever it stands among them: those waited for longest come first. */
static void expect_downstream(const json_t *request, int port, const char *protocol, double waited)
{
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(request, "downstreams"), i, one)
	{
		if (strcmp(requests_text(one, "peer"), address(port)))
			continue;
		assert_string_equal(requests_text(one, "protocol"), protocol);
		expect_told(protocol, requests_number(one, "seconds"), waited);
		return;
	}
	test_fail("%s is none of those waited for", address(port));
}

static void each_by_its_address(void **state)
{
	struct chain chain = start("--probes.requests.slow=10");
	double slow, fast, all, sum, duration;
	struct page *page;
	const json_t *one;

	ask_both(&chain);
	page = leadline_scrape(chain.leadline);
	slow = outbound(page, &chain, address(chain.slow->port));
	fast = outbound(page, &chain, address(chain.fast->port));
	all = metric_sum(page, WAITS, "unit", chain.server->unit, "reason", "outbound", NULL);
	sum = metric_sum(page, WAITS, "unit", chain.server->unit, NULL);
	duration = metric_histogram(page, DURATION, "unit", chain.server->unit, NULL).sum;
	page_free(page);
	expect_told("the slow one", slow, ASKED * SLOW);
	expect_told("the fast one", fast, ASKED * FAST);
	/* what they took for themselves and on the way is theirs, but nothing that the other one took */
	assert_true(slow <= duration - ASKED * FAST);
	assert_true(fast <= duration - ASKED * SLOW);
	assert_float_equal(slow + fast, all, 1e-9);
	if (fabs(sum / duration - 1) > 0.01)
		test_fail("the reasons sum to %.6f s, the durations to %.6f s", sum, duration);

	one = slow_one(&chain, "/both");
	requests_expect_waits(one, "outbound", SLOW + FAST);
	expect_downstream(one, chain.slow->port, "http", SLOW);
	expect_downstream(one, chain.fast->port, "http", FAST);
}

static void of_another_protocol(void **state)
{
	struct chain chain = start("--probes.requests.slow=10");
	struct output *output;
	const json_t *one;

	shell("curl -s -o /dev/null http://127.0.0.1:%d/redis", chain.server->port);
	one = slow_one(&chain, "/redis");
	requests_expect_waits(one, "outbound", 0.05);
	expect_downstream(one, chain.redis->port, "redis", 0.05);

	output = run_shell("%s requests --listen=127.0.0.1:%d --slow --service=%s",
			   leadline_binary(), chain.leadline->port, chain.server->unit + 1);
	assert_non_null(strstr(output->text, address(chain.redis->port)));
	output_free(output);
}

static void that_does_not_answer(void **state)
{
	struct chain chain = start("--probes.requests.slow=10");
	struct output *output =
		run_shell("curl -s http://127.0.0.1:%d/give_up", chain.server->port);
	const json_t *one = slow_one(&chain, "/give_up");

	requests_expect_waits(one, "outbound", 0.05);
	expect_downstream(one, atoi(output->text), "", 0.05);
	output_free(output);
}

/* More than there are rows for: told, but not by name. */
static void beyond_the_bound(void **state)
{
	struct chain chain = start("--probes.requests.downstreams=1");
	struct page *page;

	ask_both(&chain);
	page = leadline_scrape(chain.leadline);
	expect_told("the first one", outbound(page, &chain, address(chain.slow->port)),
		    ASKED * SLOW);
	assert_float_equal(outbound(page, &chain, address(chain.fast->port)), 0, 0);
	expect_told("others", outbound(page, &chain, "_OTHER"), ASKED * FAST);
	page_free(page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(each_by_its_address),
		HARNESS_TEST(of_another_protocol),
		HARNESS_TEST(that_does_not_answer),
		HARNESS_TEST(beyond_the_bound),
	};

	return cmocka_run_group_tests_name("downstreams", tests, NULL, NULL);
}
