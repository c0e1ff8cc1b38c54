// SPDX-License-Identifier: Apache-2.0
/*
 * Durations of what real servers are made to take their time for: those of the server's or the client's own log, on each side. Of HTTP/1
 * see test_web_servers.c, within TLS test_tls.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/harness/harness.h"
#include "tests/harness/requests.h"
#include "tests/harness/servers.h"

#define DB_CLIENT  "db_client_operation_duration_seconds"
#define DB_SERVER  "leadline_db_server_operation_duration_seconds"
#define RPC_CLIENT "rpc_client_call_duration_seconds"
#define RPC_SERVER "rpc_server_call_duration_seconds"
#define WEB_CLIENT "http_client_request_duration_seconds"
#define WEB_SERVER "http_server_request_duration_seconds"
#define DNS_CLIENT "dns_lookup_duration_seconds"
#define DNS_SERVER "leadline_dns_server_lookup_duration_seconds"

/* Numbers that follow `before`, summed; there must be n, each times `unit` in seconds. */
static double logged(const char *text, const char *before, double unit, int n)
{
	const char *at = text;
	double sum = 0;
	int found = 0;

	for (; (at = strstr(at, before)); found++) {
		at += strlen(before);
		sum += strtod(at, NULL) * unit;
	}
	if (found != n)
		test_fail("%d times \"%s\", not %d: %s", found, before, n, text);
	return sum;
}

static double logged_in(const char *file, const char *before, double unit, int n)
{
	char *text = read_file(file);

	cleanup_push(free, text);
	return logged(text, before, unit, n);
}

static void drop_output(void *output)
{
	output_free(output);
}

/* What a client says, which must end well; lives until cleanup. */
static const char *said(struct output *output)
{
	cleanup_push(drop_output, output);
	if (output->status)
		test_fail("%s", output->text);
	return output->text;
}

static void expect(const struct page *page, const char *family, const char *label,
		   const char *value, const char *operation_label, const char *operation, int n,
		   double seconds)
{
	struct page_histogram seen =
		metric_histogram(page, family, label, value, operation_label, operation, NULL);

	requests_expect_durations(family, &seen, n, seconds);
}

static void postgresql(void **state)
{
	enum { N = 31 };
	struct leadline *leadline = requests_agent_start();
	struct server *server = postgresql_start();
	const char *text, *psql = program_renamed(postgresql_program("psql"), "psql-timing");
	struct page *page;

	text = said(run_shell(
		"{ printf '\\\\timing on\\n'; for i in $(seq %d); do echo 'select pg_sleep(0.02);'; done; } | "
		"PGSSLMODE=disable PGOPTIONS='-c log_min_duration_statement=10' %s -h 127.0.0.1 -U postgres -p %d -q",
		N, psql, server->port));
	page = leadline_scrape(leadline);
	expect(page, DB_CLIENT, "comm", "psql-timing", "db_operation_name", "SELECT", N,
	       logged(text, "Time: ", 1e-3, N));
	expect(page, DB_SERVER, "unit", server->unit, "db_operation_name", "SELECT", N,
	       logged_in(server->log, "duration: ", 1e-3, N));
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

static void mariadb(void **state)
{
	enum { N = 11 };
	struct leadline *leadline = requests_agent_start();
	struct server *server = mariadb_start();
	const char *text, *client = program_renamed("mariadb", "mariadb-timing");
	struct page *page;
	char connect[64], log[512];

	snprintf(connect, sizeof(connect), "-h 127.0.0.1 -u root -P %d", server->port);
	snprintf(log, sizeof(log), "%s/data/slow", server->directory);
	shell("mariadb %s -e \"set global slow_query_log_file = '%s', global long_query_time = 0, global slow_query_log = 1\"",
	      connect, log);
	/* it tells thousandths of a second */
	text = said(run_shell(
		"for i in $(seq %d); do echo 'do sleep(0.1);'; done | %s %s -vvv --skip-ssl", N,
		client, connect));
	page = leadline_scrape(leadline);
	expect(page, DB_CLIENT, "comm", "mariadb-timing", "db_operation_name", "DO", N,
	       logged(text, "affected (", 1, N));
	shell("grep -A 3 Query_time %s | grep -B 3 'do sleep' >%s.wanted", log, log);
	strcat(log, ".wanted");
	expect(page, DB_SERVER, "unit", server->unit, "db_operation_name", "DO", N,
	       logged_in(log, "Query_time: ", 1, N));
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

static void redis(void **state)
{
	enum { N = 17 };
	struct leadline *leadline = requests_agent_start();
	struct server *server = redis_start();
	const char *text, *bench = program_renamed("redis-benchmark", "bench-timing");
	struct page *page;
	double mean_ms;

	/* a line of it: "name","calls a second","mean in ms",… */
	text = said(run_shell(
		"%s -p %d -n %d -c 1 --csv eval 'local x = 0 for i = 1, 1000000 do x = x + i end return x' 0",
		bench, server->port, N));
	text = strstr(text, "return x 0\",");
	if (!text || sscanf(text, "return x 0\",\"%*f\",\"%lf\"", &mean_ms) != 1)
		test_fail("redis-benchmark has told no latency");
	page = leadline_scrape(leadline);
	expect(page, DB_CLIENT, "comm", "bench-timing", "db_operation_name", "EVAL", N,
	       N * mean_ms / 1000);
	expect(page, DB_SERVER, "unit", server->unit, "db_operation_name", "EVAL", N,
	       logged(said(run_shell("redis-cli -p %d info commandstats | grep cmdstat_eval:",
				     server->port)),
		      "usec=", 1e-6, 1));
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

static const char rpc_server[] =
	"import grpc, sys, time\n"
	"from concurrent import futures\n"
	"def slow(request, context):\n"
	"    began = time.monotonic()\n"
	"    time.sleep(0.2)\n"
	"    print('took', time.monotonic() - began, flush=True)\n"
	"    return request\n"
	"handlers = { 'Slow': grpc.unary_unary_rpc_method_handler(slow) }\n"
	"server = grpc.server(futures.ThreadPoolExecutor(2))\n"
	"server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler('shop.Cart', handlers),))\n"
	"server.add_insecure_port('127.0.0.1:' + sys.argv[1])\n"
	"server.start()\n"
	"server.wait_for_termination()\n";

static const char rpc_client[] =
	"import grpc, sys, time\n"
	"with grpc.insecure_channel('127.0.0.1:' + sys.argv[1]) as channel:\n"
	"    grpc.channel_ready_future(channel).result()\n"
	"    slow = channel.unary_unary('/shop.Cart/Slow')\n"
	"    for i in range(11):\n"
	"        began = time.monotonic()\n"
	"        slow(b'a')\n"
	"        print('took', time.monotonic() - began)\n";

static void grpc(void **state)
{
	enum { N = 11 };
	struct leadline *leadline = requests_agent_start();
	const char *text, *python = program_renamed("/usr/bin/python3", "grpc-timing");
	struct server *server;
	struct page *page;

	require_python("grpc");
	server = python_server_start(rpc_server);
	text = said(run_shell("%s %s %d", python,
			      write_file(server->directory, "client.py", rpc_client),
			      server->port));
	page = leadline_scrape(leadline);
	expect(page, RPC_CLIENT, "comm", "grpc-timing", "rpc_method", "shop.Cart/Slow", N,
	       logged(text, "took ", 1, N));
	expect(page, RPC_SERVER, "unit", server->unit, "rpc_method", "shop.Cart/Slow", N,
	       logged_in(server->log, "took ", 1, N));
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

static const char sleeping_server[] =
	"import http.server, sys, time\n"
	"class Handler(http.server.BaseHTTPRequestHandler):\n"
	"    protocol_version = 'HTTP/1.1'\n"
	"    def do_GET(self):\n"
	"        time.sleep(.1)\n"
	"        self.send_response(200)\n"
	"        self.send_header('Content-Length', '0')\n"
	"        self.end_headers()\n"
	"    def log_message(self, *arguments):\n"
	"        pass\n"
	"http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()\n";

/* nginx tells thousandths of a second, of what it has another server do. */
static void http2(void **state)
{
	enum { N = 23 };
	struct leadline *leadline = requests_agent_start();
	struct server *server = python_server_start(sleeping_server);
	const char *text, *unit, *h2load = program_renamed("h2load", "h2load-timing");
	struct nginx *nginx;
	struct page *page;
	double mean;
	char behind[128];

	snprintf(behind, sizeof(behind), "location /behind { proxy_pass http://127.0.0.1:%d; }",
		 server->port);
	nginx = nginx_start_with(NULL, "http2", behind);
	unit = server_enclose(nginx->pid, "nginx-timing");
	text = said(run_shell("%s -n %d -c 1 -m 1 %s", h2load, N, nginx_url(nginx, "/behind")));
	mean = requests_mean_by_h2load(text);
	if (!(mean > 0))
		test_fail("h2load: %s", text);
	nginx_expect_requests(nginx, N);
	page = leadline_scrape(leadline);
	expect(page, WEB_CLIENT, "comm", "h2load-timing", "network_protocol_version", "2", N,
	       N * mean);
	expect(page, WEB_SERVER, "unit", unit, "network_protocol_version", "2", N,
	       logged_in(nginx->access_log, "GET /behind ", 1, N));
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

/* Answers that there is nothing. */
static const char name_server[] =
	"import socket, time\n"
	"s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
	"s.bind(('127.0.0.1', 53))\n"
	"while True:\n"
	"    query, client = s.recvfrom(4096)\n"
	"    began = time.monotonic()\n"
	"    time.sleep(.02)\n"
	"    end = query.index(b'\\0', 12) + 5\n"
	"    s.sendto(query[:2] + b'\\x81\\x80\\0\\1\\0\\0\\0\\0\\0\\0' + query[12:end], client)\n"
	"    print('took', time.monotonic() - began, flush=True)\n";

static void dns(void **state)
{
	enum { N = 19 };
	struct leadline *leadline = requests_agent_start();
	struct network *network = network_create();
	const char *directory = temporary_directory(), *text, *unit, *log,
		   *dig = program_renamed("dig", "dig-timing");
	struct page *page;

	require_program("/usr/bin/python3");
	shell("ip -n %s link set lo up", network->name);
	log = write_file(directory, "log", "");
	unit = server_enclose(
		program_start(log,
			      (const char *const[]){
				      "ip", "netns", "exec", network->name, "/usr/bin/python3",
				      write_file(directory, "server.py", name_server), NULL }),
		"names-timing");
	name_server_wait(network);
	text = said(run_shell(
		"for i in $(seq %d); do ip netns exec %s %s -u @127.0.0.1 example.test A; done", N,
		network->name, dig));
	page = leadline_scrape(leadline);
	expect(page, DNS_CLIENT, "comm", "dig-timing", "dns_question_type", "A", N,
	       logged(text, "Query time: ", 1e-6, N));
	expect(page, DNS_SERVER, "unit", unit, "dns_question_type", "A", N,
	       logged_in(log, "took ", 1, N));
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(postgresql), HARNESS_TEST(mariadb), HARNESS_TEST(redis),
		HARNESS_TEST(grpc),	  HARNESS_TEST(http2),	 HARNESS_TEST(dns),
	};

	return cmocka_run_group_tests_name("durations", tests, NULL, NULL);
}
