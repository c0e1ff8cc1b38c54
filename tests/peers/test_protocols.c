// SPDX-License-Identifier: Apache-2.0
/*
 * Real servers and their real clients, speaking other protocols than HTTP/1: each request counted once per side, as the
 * server's or the client's own statistics say, under the right operation and status.
 */
#include <math.h>
#include "tests/harness/harness.h"
#include "tests/harness/nginx.h"
#include "tests/harness/servers.h"

#define DB_CLIENT  "db_client_operation_duration_seconds"
#define DB_SERVER  "leadline_db_server_operation_duration_seconds"
#define RPC_CLIENT "rpc_client_call_duration_seconds"
#define RPC_SERVER "rpc_server_call_duration_seconds"
#define WEB_CLIENT "http_client_request_duration_seconds"
#define WEB_SERVER "http_server_request_duration_seconds"
#define EXCHANGE   "leadline_exchange_duration_seconds"

static struct leadline *start_agent(void)
{
	return leadline_start_only("requests", (const char *const[]){ NULL });
}

static void expect_nothing_lost(const struct page *page)
{
	for (size_t i = 0; i < page->n_samples; i++) {
		const struct page_sample *sample = &page->samples[i];

		if (!strcmp(sample->name, "leadline_probe_lost_total") &&
		    !strcmp(sample_label(sample, "probe"), "requests") &&
		    strcmp(sample_label(sample, "reason"), "recursion") && sample->value > 0)
			test_fail("lost %s: %.0f", sample_label(sample, "reason"), sample->value);
	}
}

static void expect(const char *what, double seen, double expected)
{
	if (seen != expected)
		test_fail("%s: %.0f, not %.0f", what, seen, expected);
}

/* ---- Redis ---- */

static double redis_calls(const struct page *page, const char *metric, const char *label,
			  const char *value, const char *operation, const char *status)
{
	return metric_histogram(page, metric, label, value, "db_system_name", "redis",
				"db_operation_name", operation, "db_response_status_code", status,
				NULL)
		.count;
}

/* By the server's own count, of a command without subcommands. */
static double redis_says(const struct server *server, const char *command)
{
	struct output *output = run_shell(
		"redis-cli -p %d info commandstats | tr -d '\\r' | sed -n 's/^cmdstat_%s:calls=\\([0-9]*\\),.*/\\1/p'",
		server->port, command);
	double calls = atof(output->text);

	output_free(output);
	return calls;
}

static void redis(void **state)
{
	struct leadline *leadline = start_agent();
	struct server *server = redis_start();
	const char *cli = program_renamed("redis-cli", "cli-peers");
	const char *bench = program_renamed("redis-benchmark", "bench-peers");
	struct page *page;

	for (int i = 0; i < 7; i++)
		shell("%s -p %d ping >/dev/null", cli, server->port);
	shell("for i in $(seq 97); do echo \"set key$i $i\"; echo \"get key$i\"; done | %s -p %d >/dev/null",
	      cli, server->port);
	shell("printf 'lpush key1 a\\nlpush key2 a\\nlpush key3 a\\nincr key4\\n' | %s -p %d >/dev/null",
	      cli, server->port);
	/* one request at a time, then in pipelines of 16, with small answers and with large ones */
	shell("%s -p %d -q -n 1009 -c 3 -t ping_mbulk,set,get >/dev/null", bench, server->port);
	shell("%s -p %d -q -n 1600 -c 1 -P 16 -t get,incr >/dev/null", bench, server->port);
	shell("%s -p %d -q -n 163 -c 1 -d 100003 -t set,get >/dev/null", bench, server->port);
	page = leadline_scrape(leadline);

	static const struct {
		const char *operation, *command;
		double by_cli, by_bench;
	} counts[] = {
		{ "PING", "ping", 7, 1009 },
		{ "SET", "set", 97, 1009 + 163 },
		{ "GET", "get", 97, 1009 + 1600 + 163 },
		{ "INCR", "incr", 1, 1600 },
	};
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		const char *operation = counts[i].operation;

		expect(operation, redis_calls(page, DB_CLIENT, "comm", "cli-peers", operation, ""),
		       counts[i].by_cli);
		expect(operation,
		       redis_calls(page, DB_CLIENT, "comm", "bench-peers", operation, ""),
		       counts[i].by_bench);
		expect(operation, redis_calls(page, DB_SERVER, "unit", server->unit, operation, ""),
		       counts[i].by_cli + counts[i].by_bench);
		expect(counts[i].command, redis_says(server, counts[i].command),
		       counts[i].by_cli + counts[i].by_bench);
	}
	expect("errors", redis_calls(page, DB_SERVER, "unit", server->unit, "LPUSH", "WRONGTYPE"),
	       3);
	expect("errors", redis_calls(page, DB_CLIENT, "comm", "cli-peers", "LPUSH", "WRONGTYPE"),
	       3);
	expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

/* ---- PostgreSQL ---- */

static double postgresql_calls(const struct page *page, const char *metric, const char *label,
			       const char *value, const char *summary, const char *status)
{
	return metric_histogram(page, metric, label, value, "db_system_name", "postgresql",
				"db_query_summary", summary, "db_response_status_code", status,
				NULL)
		.count;
}

/* "latency average = 0.123 ms" of pgbench, in seconds. */
static double mean_by_pgbench(const char *text)
{
	const char *line = strstr(text, "latency average = ");

	return line ? atof(line + strlen("latency average = ")) / 1000 : NAN;
}

static void postgresql(void **state)
{
	static const char *const modes[] = { "simple", "extended", "prepared" };
	struct leadline *leadline = start_agent();
	struct server *server = postgresql_start();
	const char *psql = program_renamed(postgresql_program("psql"), "psql-peers"),
		   *connect = "-h 127.0.0.1 -U postgres";
	struct page *page;

	shell("%s %s -p %d -i -q -s 1 postgres >/dev/null 2>&1", postgresql_program("pgbench"),
	      connect, server->port);
	for (size_t i = 0; i < 3; i++) {
		char name[32];
		const char *pgbench;
		struct page_histogram seen;
		struct output *output;
		double mean;

		snprintf(name, sizeof(name), "pgb-%s", modes[i]);
		pgbench = program_renamed(postgresql_program("pgbench"), name);
		output = run_shell("%s %s -p %d -n -S -M %s -c 3 -t 101 postgres", pgbench, connect,
				   server->port, modes[i]);
		mean = mean_by_pgbench(output->text);
		if (!(mean > 0))
			test_fail("pgbench: %s", output->text);
		output_free(output);
		page = leadline_scrape(leadline);
		seen = metric_histogram(page, DB_CLIENT, "comm", name, "db_system_name",
					"postgresql", "db_query_summary", "SELECT pgbench_accounts",
					NULL);
		expect(modes[i], seen.count, 3 * 101);
		expect(modes[i],
		       postgresql_calls(page, DB_SERVER, "unit", server->unit,
					"SELECT pgbench_accounts", ""),
		       (double)(i + 1) * 3 * 101);
		/* pgbench's latency has its own time between requests in it */
		if (page_histogram_mean(&seen) > mean * 1.02 + 100e-6 ||
		    page_histogram_mean(&seen) < mean * 0.5 - 100e-6)
			test_fail("%s: mean %.6f s, by pgbench %.6f s", modes[i],
				  page_histogram_mean(&seen), mean);
		page_free(page);
	}
	for (int i = 0; i < 7; i++)
		output_free(run_shell("%s %s -p %d -c 'select * from nowhere' postgres", psql,
				      connect, server->port));
	shell("for i in $(seq 13); do echo \"insert into pgbench_history(tid) values ($i);\"; done | %s %s -p %d -q postgres",
	      psql, connect, server->port);
	page = leadline_scrape(leadline);
	expect("errors",
	       postgresql_calls(page, DB_CLIENT, "comm", "psql-peers", "SELECT nowhere", "42P01"),
	       7);
	expect("errors",
	       postgresql_calls(page, DB_SERVER, "unit", server->unit, "SELECT nowhere", "42P01"),
	       7);
	expect("insert",
	       postgresql_calls(page, DB_CLIENT, "comm", "psql-peers", "INSERT pgbench_history",
				""),
	       13);
	expect("insert",
	       postgresql_calls(page, DB_SERVER, "unit", server->unit, "INSERT pgbench_history",
				""),
	       13);
	expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

/* ---- HTTP/2 ---- */

static struct nginx *start_nginx(const char *name, const char *listen_options, const char *server,
				 const char **ret_unit)
{
	struct nginx *nginx = nginx_start_with(NULL, listen_options, server);

	*ret_unit = server_enclose(nginx->pid, name);
	return nginx;
}

/* "time for request: MIN MAX MEAN SD" of h2load, the mean in seconds. */
static double mean_by_h2load(const char *text)
{
	const char *line = strstr(text, "time for request:");
	double mean = NAN;
	char unit[8] = "";

	if (line && sscanf(line, "time for request: %*s %*s %lf%7s", &mean, unit) == 2)
		mean *= !strcmp(unit, "us") ? 1e-6 : !strcmp(unit, "ms") ? 1e-3 : 1;
	return mean;
}

static void http2(void **state)
{
	struct leadline *leadline = start_agent();
	const char *unit, *h2load = program_renamed("h2load", "h2load-peers");
	struct nginx *nginx = start_nginx("nginx-http2", "http2", NULL, &unit);
	struct page_histogram seen;
	struct output *output;
	struct page *page;
	double mean;

	output = run_shell("%s -n 1009 -c 3 -m 7 %s", h2load, nginx_url(nginx, "/"));
	mean = mean_by_h2load(output->text);
	if (!(mean > 0))
		test_fail("h2load: %s", output->text);
	output_free(output);
	page = leadline_scrape(leadline);
	seen = metric_histogram(page, WEB_CLIENT, "comm", "h2load-peers", NULL);
	expect("requests", seen.count, 1009);
	if (fabs(page_histogram_mean(&seen) - mean) > mean * 0.02 + 100e-6)
		test_fail("mean %.6f s, by h2load %.6f s", page_histogram_mean(&seen), mean);
	page_free(page);

	shell("%s -n 11 -c 1 -m 1 %s >/dev/null", h2load, nginx_url(nginx, "/status/404"));
	shell("%s -n 13 -c 1 -m 13 %s >/dev/null", h2load, nginx_url(nginx, "/status/500"));
	page = leadline_scrape(leadline);
	expect("served",
	       metric_histogram(page, WEB_SERVER, "unit", unit, "http_response_status_code", "200",
				"http_request_method", "GET", "http_route", "/",
				"network_protocol_version", "2", NULL)
		       .count,
	       1009);
	expect("not found, server",
	       metric_histogram(page, WEB_SERVER, "unit", unit, "http_response_status_code", "404",
				"error_type", "", NULL)
		       .count,
	       11);
	expect("not found, client",
	       metric_histogram(page, WEB_CLIENT, "comm", "h2load-peers",
				"http_response_status_code", "404", "error_type", "404", NULL)
		       .count,
	       11);
	expect("failed",
	       metric_histogram(page, WEB_SERVER, "unit", unit, "http_response_status_code", "500",
				"error_type", "500", NULL)
		       .count,
	       13);
	expect("all of them", metric_histogram(page, WEB_SERVER, "unit", unit, NULL).count,
	       (double)nginx_requests(nginx));
	expect("all of them", (double)nginx_requests(nginx), 1009 + 11 + 13);
	expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

/* ---- gRPC ---- */

static const char grpc_server[] =
	"import grpc, sys, time\n"
	"from concurrent import futures\n"
	"def fail(request, context):\n"
	"    context.abort(grpc.StatusCode.NOT_FOUND, 'no such cart')\n"
	"def slow(request, context):\n"
	"    time.sleep(0.05)\n"
	"    return request\n"
	"def items(request, context):\n"
	"    for i in range(5):\n"
	"        yield b'x' * 101\n"
	"handlers = {\n"
	"    'Add': grpc.unary_unary_rpc_method_handler(lambda request, context: request + b'!'),\n"
	"    'Fail': grpc.unary_unary_rpc_method_handler(fail),\n"
	"    'Slow': grpc.unary_unary_rpc_method_handler(slow),\n"
	"    'List': grpc.unary_stream_rpc_method_handler(items),\n"
	"}\n"
	"server = grpc.server(futures.ThreadPoolExecutor(8))\n"
	"server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler('shop.Cart', handlers),))\n"
	"server.add_insecure_port('127.0.0.1:' + sys.argv[1])\n"
	"server.start()\n"
	"server.wait_for_termination()\n";

static const char grpc_client[] =
	"import grpc, sys\n"
	"from concurrent import futures\n"
	"with grpc.insecure_channel('127.0.0.1:' + sys.argv[1]) as channel:\n"
	"    add = channel.unary_unary('/shop.Cart/Add')\n"
	"    fail = channel.unary_unary('/shop.Cart/Fail')\n"
	"    for i in range(101):\n"
	"        add(b'a')\n"
	"    for i in range(13):\n"
	"        try:\n"
	"            fail(b'a')\n"
	"        except grpc.RpcError:\n"
	"            pass\n"
	"    for i in range(7):\n"
	"        channel.unary_unary('/shop.Cart/Slow')(b'a')\n"
	"    for i in range(5):\n"
	"        list(channel.unary_stream('/shop.Cart/List')(b'a'))\n"
	"    with futures.ThreadPoolExecutor(8) as pool:\n"
	"        list(pool.map(lambda i: add(b'x' * 101), range(53)))\n";

static void expect_rpc(const struct page *page, const char *unit, const char *method,
		       const char *status, const char *error, double expected)
{
	expect(method,
	       metric_histogram(page, RPC_SERVER, "unit", unit, "rpc_system_name", "grpc",
				"rpc_method", method, "rpc_response_status_code", status,
				"error_type", error, NULL)
		       .count,
	       expected);
	expect(method,
	       metric_histogram(page, RPC_CLIENT, "comm", "python-peers", "rpc_system_name", "grpc",
				"rpc_method", method, "rpc_response_status_code", status,
				"error_type", error, NULL)
		       .count,
	       expected);
}

static void grpc(void **state)
{
	struct leadline *leadline = start_agent();
	struct output *output = run_shell("/usr/bin/python3 -c 'import grpc'");
	bool is_there = !output->status;
	struct page_histogram slow;
	struct server *server;
	struct page *page;

	output_free(output);
	if (!is_there)
		test_skip("Python has no grpc");
	server = python_server_start(grpc_server);
	shell("%s %s %d", program_renamed("/usr/bin/python3", "python-peers"),
	      write_file(server->directory, "client.py", grpc_client), server->port);
	page = leadline_scrape(leadline);
	expect_rpc(page, server->unit, "shop.Cart/Add", "0", "", 101 + 53);
	expect_rpc(page, server->unit, "shop.Cart/Fail", "5", "5", 13);
	expect_rpc(page, server->unit, "shop.Cart/Slow", "0", "", 7);
	expect_rpc(page, server->unit, "shop.Cart/List", "0", "", 5);
	expect("all of them", metric_histogram(page, RPC_SERVER, "unit", server->unit, NULL).count,
	       101 + 53 + 13 + 7 + 5);
	slow = metric_histogram(page, RPC_SERVER, "unit", server->unit, "rpc_method",
				"shop.Cart/Slow", NULL);
	assert_true(page_histogram_mean(&slow) >= 0.05);
	expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

/* ---- TLS ---- */

static void tls(void **state)
{
	static const char *const versions[] = { "TLSv1.2", "TLSv1.3" };
	struct leadline *leadline = start_agent();
	const char *directory = temporary_directory();

	require_program("openssl");
	shell("openssl req -x509 -newkey rsa:2048 -nodes -keyout %s/key.pem -out %s/cert.pem -days 2 -subj /CN=localhost 2>/dev/null",
	      directory, directory);
	for (size_t i = 0; i < 2; i++) {
		const char *unit, *curl, *name = i ? "curl-tls13" : "curl-tls12";
		struct nginx *nginx;
		char server[512];
		struct page *page;

		curl = program_renamed("curl", name);
		snprintf(
			server, sizeof(server),
			"ssl_protocols %s; ssl_certificate %s/cert.pem; ssl_certificate_key %s/key.pem;",
			versions[i], directory, directory);
		nginx = start_nginx(i ? "nginx-tls13" : "nginx-tls12", "ssl", server, &unit);
		shell("%s -sk -o /dev/null 'https://127.0.0.1:%d/?[1-97]'", curl, nginx->port);
		for (int j = 0; j < 7; j++)
			shell("%s -sk -o /dev/null 'https://127.0.0.1:%d/status/404'", curl,
			      nginx->port);
		page = leadline_scrape(leadline);
		expect("asked",
		       metric_histogram(page, EXCHANGE, "comm", name, "role", "client", "protocol",
					"tls", NULL)
			       .count,
		       104);
		expect("served",
		       metric_histogram(page, EXCHANGE, "unit", unit, "role", "server", "protocol",
					"tls", NULL)
			       .count,
		       104);
		expect("logged", (double)nginx_requests(nginx), 104);
		assert_true(metric_sum(page, "leadline_socket_bytes_total", "unit", unit,
				       "protocol", "tls", "parsed", "false", "reason", "tls",
				       NULL) > 104 * 100);
		expect_nothing_lost(page);
		page_free(page);
	}
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(redis), HARNESS_TEST(postgresql), HARNESS_TEST(http2),
		HARNESS_TEST(grpc),  HARNESS_TEST(tls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
