// SPDX-License-Identifier: Apache-2.0
/*
 * How large requests and responses are, on the running kernel: the sums over a real nginx are those of its access log, to the byte,
 * however the bytes move. Root.
 */
#include <math.h>
#include "tests/harness/harness.h"
#include "tests/harness/requests.h"

#define SERVER "leadline_http_server_message_bytes_total"
#define CLIENT "leadline_http_client_message_bytes_total"

static const char *unit;

static struct nginx *start_nginx(const char *options)
{
	static const char server[] =
		"sendfile on;\n"
		"    location /written/ { alias files/; sendfile off; output_buffers 2 4k; }\n"
		"    location /chunked/ { alias files/; ssi on; ssi_types text/plain; }\n"
		"    location /upload/ { proxy_http_version 1.1; proxy_request_buffering off;\n"
		"      proxy_set_header Connection \"\";\n"
		"      rewrite ^/upload(/.*) /stored$1 break;\n"
		"      proxy_pass http://$server_addr:$server_port; }\n"
		"    location /stored/ { dav_methods PUT; create_full_put_path on; }\n";
	struct nginx *nginx = nginx_start_with(NULL, options, server);
	const char *directory = cgroup_create("sizes");

	cgroup_enter(directory, nginx->pid);
	unit = strrchr(directory, '/');
	shell("head -c 3000017 /dev/zero > %s/files/large; head -c 47 /dev/zero > %s/files/small",
	      nginx->directory, nginx->directory);
	return nginx;
}

static void expect_bytes(const struct page *page, const char *metric, const char *direction,
			 double expected)
{
	double seen = metric_sum(page, metric, "unit", unit, "comm", "nginx", "direction",
				 direction, NULL);

	if (seen != expected)
		test_fail("%s of %s: %.0f bytes, not %.0f", metric, direction, seen, expected);
}

static void expect_those_of_the_log(struct leadline *leadline, const struct nginx *nginx)
{
	struct page *page = leadline_scrape(leadline);
	double received, sent;

	nginx_bytes(nginx, "/", &received, &sent);
	assert_true(received > 0 && sent > 0);
	expect_bytes(page, SERVER, "request", received);
	expect_bytes(page, SERVER, "response", sent);
	page_free(page);
}

static void over_one_connection(void **state)
{
	struct leadline *leadline = leadline_start_only("requests", (const char *const[]){ NULL });
	struct nginx *nginx = start_nginx("");

	shell("curl -sS -o /dev/null '%s?[1-31]'", nginx_url(nginx, "/files/small"));
	shell("curl -sS -o /dev/null '%s?[1-7]'", nginx_url(nginx, "/files/large"));
	shell("curl -sS -o /dev/null '%s?[1-5]'", nginx_url(nginx, "/written/large"));
	shell("curl -sS -o /dev/null '%s?[1-3]'", nginx_url(nginx, "/chunked/large"));
	shell("curl -sS -I -o /dev/null '%s?[1-3]'", nginx_url(nginx, "/files/large"));
	shell("curl -sS -o /dev/null -r 1000-1999 '%s?[1-3]'", nginx_url(nginx, "/files/large"));
	shell("curl -sS -o /dev/null '%s[2-4]'", nginx_url(nginx, "/status/20"));
	/* until the connection ends: no length, no chunks */
	shell("curl -sS -0 -o /dev/null %s", nginx_url(nginx, "/chunked/large"));
	expect_those_of_the_log(leadline, nginx);
	leadline_stop(leadline);
	(void)state;
}

/* The first response to end has the bytes of the requests that came meanwhile: in the sum none is missing. */
static void several_at_once(void **state)
{
	struct leadline *leadline;
	struct nginx *nginx;

	require_program("python3");
	leadline = leadline_start_only("requests", (const char *const[]){ NULL });
	nginx = start_nginx("");
	shell("python3 -c \"import socket; s = socket.create_connection(('%s', %d)); "
	      "s.sendall(b'GET /files/small HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n' * 12 + "
	      "b'GET /files/none HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n')\n"
	      "while s.recv(65536): pass\"",
	      nginx->host, nginx->port);
	assert_int_equal(nginx_requests(nginx), 13);
	expect_those_of_the_log(leadline, nginx);
	leadline_stop(leadline);
	(void)state;
}

/* It is a server to curl and to itself, and a client of itself. */
static void sent_by_clients(void **state)
{
	struct leadline *leadline = leadline_start_only("requests", (const char *const[]){ NULL });
	struct nginx *nginx = start_nginx("");
	double received, sent;
	struct page *page;

	shell("cd %s/files && for i in 1 2 3; do curl -sS -o /dev/null -T large %s; done",
	      nginx->directory, nginx_url(nginx, "/upload/"));
	shell("cd %s/files && for i in 1 2 3; do curl -sS -o /dev/null -T large "
	      "-H 'Transfer-Encoding: chunked' %s; done",
	      nginx->directory, nginx_url(nginx, "/upload/"));
	shell("cd %s/files && curl -sS -o /dev/null -H Expect: -T small %s", nginx->directory,
	      nginx_url(nginx, "/upload/"));
	expect_those_of_the_log(leadline, nginx);
	nginx_bytes(nginx, "/stored/", &received, &sent);
	assert_true(received > 6 * 3000017);
	page = leadline_scrape(leadline);
	expect_bytes(page, CLIENT, "request", received);
	expect_bytes(page, CLIENT, "response", sent);
	page_free(page);
	leadline_stop(leadline);
	(void)state;
}

#define STREAMS 101
#define FRAME_HEADER                                                                               \
	9 /* bytes, which its log leaves out of requests, and theirs is one of fields only */

static void over_http2(void **state)
{
	struct leadline *leadline = leadline_start_only("requests", (const char *const[]){ NULL });
	struct nginx *nginx;
	struct page *page;
	double received, sent;

	require_program("h2load");
	nginx = start_nginx("http2");
	shell("h2load -n %d -c 3 -m 5 %s >/dev/null", STREAMS, nginx_url(nginx, "/files/large"));
	page = leadline_scrape(leadline);
	requests_expect_nothing_lost(page);
	nginx_bytes(nginx, "/", &received, &sent);
	assert_true(sent > STREAMS * 3000017.);
	expect_bytes(page, SERVER, "request", received + STREAMS * FRAME_HEADER);
	expect_bytes(page, SERVER, "response", sent);
	page_free(page);
	leadline_stop(leadline);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(over_one_connection),
		HARNESS_TEST(several_at_once),
		HARNESS_TEST(sent_by_clients),
		HARNESS_TEST(over_http2),
	};

	return cmocka_run_group_tests_name("request_sizes", tests, NULL, NULL);
}
