// SPDX-License-Identifier: Apache-2.0
/*
 * Real servers and their real clients, speaking other protocols than HTTP/1 and those of databases: each request counted once per side, as the
 * server's or the client's own statistics say, under the right operation and status.
 */
#include "tests/harness/harness.h"
#include "tests/harness/nginx.h"
#include "tests/harness/requests.h"
#include "tests/harness/servers.h"

#define RPC_CLIENT "rpc_client_call_duration_seconds"
#define RPC_SERVER "rpc_server_call_duration_seconds"
#define WEB_CLIENT "http_client_request_duration_seconds"
#define WEB_SERVER "http_server_request_duration_seconds"
#define EXCHANGE   "leadline_exchange_duration_seconds"

/* ---- names ---- */

#define DNS_CLIENT "dns_lookup_duration_seconds"
#define DNS_SERVER "leadline_dns_server_lookup_duration_seconds"

static void expect_lookups(const struct page *page, const char *unit, const char *type,
			   const char *code, double expected)
{
	requests_expect(type,
			metric_histogram(page, DNS_CLIENT, "comm", "dig-peers", "dns_question_type",
					 type, "dns_response_code", code, NULL)
				.count,
			expected);
	requests_expect(type,
			metric_histogram(page, DNS_SERVER, "unit", unit, "dns_question_type", type,
					 "dns_response_code", code, NULL)
				.count,
			expected);
}

/* In a network of their own, where the port that names are asked for on is free. */
static void names(void **state)
{
	struct leadline *leadline = requests_agent_start();
	struct network *network = network_create();
	const char *directory = temporary_directory(), *unit, *dig;
	struct page *page;
	pid_t pid;

	require_program("dnsmasq");
	dig = program_renamed("dig", "dig-peers");
	shell("ip -n %s link set lo up", network->name);
	pid = program_start(
		write_file(directory, "log", ""),
		(const char *const[]){ "ip", "netns", "exec", network->name, "dnsmasq",
				       "--keep-in-foreground", "--no-resolv", "--no-hosts",
				       "--conf-file=", "--address=/example.test/192.0.2.1",
				       "--address=/example.test/2001:db8::1",
				       "--listen-address=127.0.0.1", "--bind-interfaces",
				       "--user=root", "--pid-file=", NULL });
	unit = server_enclose(pid, "dnsmasq");
	name_server_wait(network);
	for (int i = 0; i < 13; i++)
		shell("ip netns exec %s %s @127.0.0.1 example.test A >/dev/null", network->name,
		      dig);
	for (int i = 0; i < 7; i++)
		shell("ip netns exec %s %s @127.0.0.1 example.test AAAA >/dev/null", network->name,
		      dig);
	for (int i = 0; i < 5; i++)
		shell("ip netns exec %s %s +tcp @127.0.0.1 example.test A >/dev/null",
		      network->name, dig);
	/* it knows nobody to ask about it */
	for (int i = 0; i < 3; i++)
		shell("ip netns exec %s %s @127.0.0.1 elsewhere.test MX >/dev/null", network->name,
		      dig);
	page = leadline_scrape(leadline);
	expect_lookups(page, unit, "A", "", 13 + 5);
	expect_lookups(page, unit, "AAAA", "", 7);
	expect_lookups(page, unit, "MX", "REFUSED", 3);
	requests_expect("all of them",
			metric_histogram(page, DNS_CLIENT, "comm", "dig-peers", NULL).count, 28);
	requests_expect("all of them", metric_histogram(page, DNS_SERVER, "unit", unit, NULL).count,
			28);
	requests_expect_nothing_lost(page);
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

static void http2(void **state)
{
	struct leadline *leadline = requests_agent_start();
	const char *unit, *h2load = program_renamed("h2load", "h2load-peers");
	struct nginx *nginx = start_nginx("nginx-http2", "http2", NULL, &unit);
	struct page_histogram seen;
	struct output *output;
	struct page *page;
	double mean;

	output = run_shell("%s -n 1009 -c 3 -m 7 %s", h2load, nginx_url(nginx, "/"));
	mean = requests_mean_by_h2load(output->text);
	if (!(mean > 0))
		test_fail("h2load: %s", output->text);
	output_free(output);
	page = leadline_scrape(leadline);
	seen = metric_histogram(page, WEB_CLIENT, "comm", "h2load-peers", NULL);
	requests_expect("requests", seen.count, 1009);
	/* h2load's has the time in it until it comes to read the response */
	if (page_histogram_mean(&seen) > mean * 1.02 + 100e-6)
		test_fail("mean %.6f s, by h2load %.6f s", page_histogram_mean(&seen), mean);
	page_free(page);

	shell("%s -n 11 -c 1 -m 1 %s >/dev/null", h2load, nginx_url(nginx, "/status/404"));
	shell("%s -n 13 -c 1 -m 13 %s >/dev/null", h2load, nginx_url(nginx, "/status/500"));
	page = leadline_scrape(leadline);
	requests_expect("served",
			metric_histogram(page, WEB_SERVER, "unit", unit,
					 "http_response_status_code", "200", "http_request_method",
					 "GET", "http_route", "/", "network_protocol_version", "2",
					 NULL)
				.count,
			1009);
	requests_expect("not found, server",
			metric_histogram(page, WEB_SERVER, "unit", unit,
					 "http_response_status_code", "404", "error_type", "", NULL)
				.count,
			11);
	requests_expect("not found, client",
			metric_histogram(page, WEB_CLIENT, "comm", "h2load-peers",
					 "http_response_status_code", "404", "error_type", "404",
					 NULL)
				.count,
			11);
	requests_expect("failed",
			metric_histogram(page, WEB_SERVER, "unit", unit,
					 "http_response_status_code", "500", "error_type", "500",
					 NULL)
				.count,
			13);
	nginx_expect_requests(nginx, 1009 + 11 + 13);
	requests_expect("all of them", metric_histogram(page, WEB_SERVER, "unit", unit, NULL).count,
			(double)nginx_requests(nginx));
	requests_expect_nothing_lost(page);
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
	requests_expect(method,
			metric_histogram(page, RPC_SERVER, "unit", unit, "rpc_system_name", "grpc",
					 "rpc_method", method, "rpc_response_status_code", status,
					 "error_type", error, NULL)
				.count,
			expected);
	requests_expect(method,
			metric_histogram(page, RPC_CLIENT, "comm", "python-peers",
					 "rpc_system_name", "grpc", "rpc_method", method,
					 "rpc_response_status_code", status, "error_type", error,
					 NULL)
				.count,
			expected);
}

static void grpc(void **state)
{
	struct leadline *leadline = requests_agent_start();
	struct page_histogram slow;
	struct server *server;
	struct page *page;

	require_python("grpc");
	server = python_server_start(grpc_server);
	shell("%s %s %d", program_renamed("/usr/bin/python3", "python-peers"),
	      write_file(server->directory, "client.py", grpc_client), server->port);
	page = leadline_scrape(leadline);
	expect_rpc(page, server->unit, "shop.Cart/Add", "0", "", 101 + 53);
	expect_rpc(page, server->unit, "shop.Cart/Fail", "5", "5", 13);
	expect_rpc(page, server->unit, "shop.Cart/Slow", "0", "", 7);
	expect_rpc(page, server->unit, "shop.Cart/List", "0", "", 5);
	requests_expect("all of them",
			metric_histogram(page, RPC_SERVER, "unit", server->unit, NULL).count,
			101 + 53 + 13 + 7 + 5);
	slow = metric_histogram(page, RPC_SERVER, "unit", server->unit, "rpc_method",
				"shop.Cart/Slow", NULL);
	assert_true(page_histogram_mean(&slow) >= 0.05);
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

/* ---- upgraded from HTTP/1 ---- */

/* One request a connection, which upgrades it, or the first of several. */
static void upgraded(void **state)
{
	struct leadline *leadline = requests_agent_start();
	struct nginx *nginx = nginx_start(NULL, NULL);
	struct server *nghttpx = nghttpx_start(nginx->port);
	const char *curl = program_renamed("curl", "curl-upgrades");
	const char *nghttp = program_renamed("nghttp", "nghttp-upgrades");
	struct page *page;

	for (int i = 0; i < 7; i++)
		shell("%s -s --http2 -o /dev/null 'http://127.0.0.1:%d/?[1-13]'", curl,
		      nghttpx->port);
	for (int i = 0; i < 5; i++)
		shell("%s -s --http2 -o /dev/null 'http://127.0.0.1:%d/status/500'", curl,
		      nghttpx->port);
	for (int i = 0; i < 3; i++)
		shell("%s -nu 'http://127.0.0.1:%d/status/404'", nghttp, nghttpx->port);
	page = leadline_scrape(leadline);
	requests_expect_status(page, WEB_CLIENT, "comm", "curl-upgrades", "200", 7 * 13);
	requests_expect_status(page, WEB_CLIENT, "comm", "curl-upgrades", "500", 5);
	requests_expect_status(page, WEB_CLIENT, "comm", "nghttp-upgrades", "404", 3);
	requests_expect_status(page, WEB_SERVER, "unit", nghttpx->unit, "200", 7 * 13);
	requests_expect_status(page, WEB_SERVER, "unit", nghttpx->unit, "500", 5);
	requests_expect_status(page, WEB_SERVER, "unit", nghttpx->unit, "404", 3);
	requests_expect("all that was served",
			metric_histogram(page, WEB_SERVER, "unit", nghttpx->unit, NULL).count,
			7 * 13 + 5 + 3);
	requests_expect("and as HTTP/2",
			metric_histogram(page, WEB_SERVER, "unit", nghttpx->unit,
					 "network_protocol_version", "2", NULL)
				.count,
			7 * 13 + 5 + 3);
	requests_expect("all that was asked with curl",
			metric_histogram(page, WEB_CLIENT, "comm", "curl-upgrades", NULL).count,
			7 * 13 + 5);
	nginx_expect_requests(nginx, 7 * 13 + 5 + 3);
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

/* ---- TLS ---- */

static void tls(void **state)
{
	static const char *const versions[] = { "TLSv1.2", "TLSv1.3" };
	struct leadline *leadline = requests_agent_start();
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
		requests_expect("asked",
				metric_histogram(page, EXCHANGE, "comm", name, "role", "client",
						 "protocol", "tls", NULL)
					.count,
				104);
		requests_expect("served",
				metric_histogram(page, EXCHANGE, "unit", unit, "role", "server",
						 "protocol", "tls", NULL)
					.count,
				104);
		nginx_expect_requests(nginx, 104);
		assert_true(metric_sum(page, "leadline_socket_bytes_total", "unit", unit,
				       "protocol", "tls", "parsed", "false", "reason",
				       "tls_unavailable", NULL) > 104 * 100);
		requests_expect_nothing_lost(page);
		page_free(page);
	}
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {

		HARNESS_TEST(names),	HARNESS_TEST(http2), HARNESS_TEST(grpc),
		HARNESS_TEST(upgraded), HARNESS_TEST(tls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
