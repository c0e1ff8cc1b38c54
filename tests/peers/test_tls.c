// SPDX-License-Identifier: Apache-2.0
/*
 * Real servers and clients that speak TLS: with the plain text of their libraries each request is counted once per side, as HTTP, and
 * nothing of its connection as an exchange of records.
 */
#include <string.h>
#include <unistd.h>
#include "tests/harness/harness.h"
#include "tests/harness/nginx.h"
#include "tests/harness/requests.h"
#include "tests/harness/servers.h"

#define CLIENT	 "http_client_request_duration_seconds"
#define SERVER	 "http_server_request_duration_seconds"
#define EXCHANGE "leadline_exchange_duration_seconds"

static struct leadline *agent_start(void)
{
	/* room for whatever else runs here */
	return leadline_start_only("requests tls",
				   (const char *const[]){ "--max_entities=4096", NULL });
}

static void make_certificate(const char *directory)
{
	require_program("openssl");
	shell("openssl req -x509 -newkey rsa:2048 -nodes -keyout %s/key.pem -out %s/cert.pem -days 2 -subj /CN=localhost 2>/dev/null",
	      directory, directory);
}

static struct nginx *nginx_with_tls(const char *version, const char *name, const char **ret_unit)
{
	const char *directory = temporary_directory();
	struct nginx *nginx;
	char server[512];

	make_certificate(directory);
	snprintf(server, sizeof(server),
		 "ssl_protocols %s; ssl_certificate %s/cert.pem; ssl_certificate_key %s/key.pem;",
		 version, directory, directory);
	nginx = nginx_start_with(NULL, "ssl http2", server);
	*ret_unit = server_enclose(nginx->pid, name);
	return nginx;
}

struct hooked {
	struct leadline *leadline;
	const char *library;
	double files;
};

static bool are_hooked(const struct hooked *wanted)
{
	struct page *page = leadline_scrape(wanted->leadline);
	double n = 0;

	for (size_t i = 0; i < page->n_samples; i++) {
		const struct page_sample *sample = &page->samples[i];

		if (!strcmp(sample->name, "leadline_tls_libraries") &&
		    !strcmp(sample_label(sample, "state"), "hooked") &&
		    !strncmp(sample_label(sample, "library"), wanted->library,
			     strlen(wanted->library)))
			n += sample->value;
	}
	page_free(page);
	return n >= wanted->files;
}

/* Until so many files of that library are hooked, which some process must use. */
static void wait_hooked(struct leadline *leadline, const char *library, double files)
{
	const struct hooked wanted = { leadline, library, files };

	if (WAIT_UNTIL(are_hooked(&wanted), 30))
		return;
	leadline_show_log(leadline);
	test_fail("%s is not hooked", library);
}

static double asked(const struct page *page, const char *comm, const char *status)
{
	return metric_histogram(page, CLIENT, "comm", comm, "http_response_status_code", status,
				"url_scheme", "https", NULL)
		.count;
}

static double served(const struct page *page, const char *unit, const char *status)
{
	return metric_histogram(page, SERVER, "unit", unit, "http_response_status_code", status,
				"url_scheme", "https", NULL)
		.count;
}

static void expect_no_exchanges(const struct page *page, const char *label, const char *value)
{
	requests_expect(
		"exchanges of records",
		metric_histogram(page, EXCHANGE, label, value, "protocol", "tls", NULL).count, 0);
}

static void nginx_and_curl(void **state)
{
	static const char *const versions[] = { "TLSv1.2", "TLSv1.3" };
	struct leadline *leadline = agent_start();

	for (size_t i = 0; i < 2; i++) {
		const char *unit, *name = i ? "curl-tls13" : "curl-tls12";
		const char *curl = program_renamed("curl", name);
		struct nginx *nginx =
			nginx_with_tls(versions[i], i ? "nginx-tls13" : "nginx-tls12", &unit);
		struct page *page;

		wait_hooked(leadline, "libssl.so", 1);
		shell("%s -sk --http1.1 -o /dev/null 'https://127.0.0.1:%d/?[1-97]'", curl,
		      nginx->port);
		for (int j = 0; j < 7; j++)
			shell("%s -sk --http1.1 -o /dev/null 'https://127.0.0.1:%d/status/404'",
			      curl, nginx->port);
		page = leadline_scrape(leadline);
		requests_expect("asked", asked(page, name, "200"), 97);
		requests_expect("asked in vain", asked(page, name, "404"), 7);
		requests_expect("served", served(page, unit, "200"), 97);
		requests_expect("served in vain", served(page, unit, "404"), 7);
		nginx_expect_requests(nginx, 104);
		expect_no_exchanges(page, "comm", name);
		expect_no_exchanges(page, "unit", unit);
		requests_expect_nothing_lost(page);
		page_free(page);
	}
	(void)state;
}

/* ---- HTTP/2, decoded by the user side ---- */

static void http2(void **state)
{
	struct leadline *leadline = agent_start();
	const char *unit, *curl = program_renamed("curl", "curl-tls-h2");
	struct nginx *nginx = nginx_with_tls("TLSv1.3", "nginx-tls-h2", &unit);
	struct page *page;

	shell("curl --version | grep -qw HTTP2");
	wait_hooked(leadline, "libssl.so", 1);
	shell("%s -sk --http2 -o /dev/null 'https://127.0.0.1:%d/?[1-31]'", curl, nginx->port);
	page = leadline_scrape(leadline);
	requests_expect("asked", asked(page, "curl-tls-h2", "200"), 31);
	requests_expect("served", served(page, unit, "200"), 31);
	requests_expect(
		"of version 2",
		metric_histogram(page, SERVER, "unit", unit, "network_protocol_version", "2", NULL)
			.count,
		31);
	expect_no_exchanges(page, "comm", "curl-tls-h2");
	expect_no_exchanges(page, "unit", unit);
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

/* ---- Python: large bodies, and time ---- */

static const char python_server[] =
	"import http.server, os, ssl, sys, time\n"
	"class Handler(http.server.BaseHTTPRequestHandler):\n"
	"    protocol_version = 'HTTP/1.1'\n"
	"    def answer(self, status, body):\n"
	"        self.send_response(status)\n"
	"        self.send_header('Content-Length', str(len(body)))\n"
	"        self.end_headers()\n"
	"        self.wfile.write(body)\n"
	"    def do_GET(self):\n"
	"        if self.path == '/sleep':\n"
	"            time.sleep(.05)\n"
	"        self.answer(200, b'x' * 300000)\n"
	"    def do_POST(self):\n"
	"        self.rfile.read(int(self.headers['Content-Length']))\n"
	"        self.answer(201, b'')\n"
	"    def log_message(self, *arguments):\n"
	"        pass\n"
	"server = http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler)\n"
	"context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
	"while not os.path.exists(sys.path[0] + '/ready'):\n"
	"    time.sleep(.01)\n"
	"context.load_cert_chain(sys.path[0] + '/cert.pem', sys.path[0] + '/key.pem')\n"
	"server.socket = context.wrap_socket(server.socket, server_side=True)\n"
	"server.serve_forever()\n";

/* Prints the mean time of its requests for /sleep. */
static const char python_client[] =
	"import http.client, ssl, sys, time\n"
	"connection = http.client.HTTPSConnection('127.0.0.1', int(sys.argv[1]), context=ssl._create_unverified_context())\n"
	"connection.connect()\n"
	"def ask(method, path, body=None):\n"
	"    began = time.perf_counter()\n"
	"    connection.request(method, path, body)\n"
	"    connection.getresponse().read()\n"
	"    return time.perf_counter() - began\n"
	"took = [ask('GET', '/sleep') for i in range(11)]\n"
	"for i in range(13):\n"
	"    ask('POST', '/', b'y' * 500000)\n"
	"print(sum(took) / len(took))\n";

/* A client of a Python server, once the library that both have is hooked: what it has said. */
static struct output *python_client_run(struct leadline *leadline, const struct server *server,
					const char *program, const char *script)
{
	make_certificate(server->directory);
	write_file(server->directory, "ready", "");
	server_wait(server);
	wait_hooked(leadline, "libssl.so", 1);
	return run_shell("%s %s %d", program, write_file(server->directory, "client.py", script),
			 server->port);
}

static void python_server_and_client(void **state)
{
	struct leadline *leadline = agent_start();
	struct server *server = python_server_start(python_server);
	const char *client = program_renamed("/usr/bin/python3", "python-tls");
	struct page_histogram slow;
	struct output *output;
	struct page *page;
	double mean, seen;

	output = python_client_run(leadline, server, client, python_client);
	mean = strtod(output->text, NULL);
	if (output->status || !(mean > 0))
		test_fail("the client: %s", output->text);
	output_free(output);
	page = leadline_scrape(leadline);
	requests_expect("asked", asked(page, "python-tls", "200"), 11);
	requests_expect("posted", asked(page, "python-tls", "201"), 13);
	requests_expect("served", served(page, server->unit, "200"), 11);
	requests_expect("taken", served(page, server->unit, "201"), 13);
	slow = metric_histogram(page, CLIENT, "comm", "python-tls", "http_request_method", "GET",
				NULL);
	seen = page_histogram_mean(&slow);
	/* What its library does before it writes, and after it has read, is in its own time only; without it, see below. */
	if (!is_emulated() && (seen > mean || seen < mean * 0.98 - 500e-6))
		test_fail("mean %.6f s, by the client %.6f s", seen, mean);
	slow = metric_histogram(page, SERVER, "unit", server->unit, "http_request_method", "GET",
				NULL);
	if (page_histogram_mean(&slow) < 0.05 || page_histogram_mean(&slow) > mean)
		test_fail("served in %.6f s, asked for %.6f s", page_histogram_mean(&slow), mean);
	expect_no_exchanges(page, "comm", "python-tls");
	expect_no_exchanges(page, "unit", server->unit);
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

/* ---- how long it takes ---- */

/* Both measure by themselves, the server from when it has read a request: of GET, which it sleeps before it answers, and of PUT. */
static const char timing_server[] =
	"import os, socket, ssl, sys, time\n"
	"context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
	"listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
	"while not os.path.exists(sys.path[0] + '/ready'):\n"
	"    time.sleep(.01)\n"
	"context.load_cert_chain(sys.path[0] + '/cert.pem', sys.path[0] + '/key.pem')\n"
	"answer = b'HTTP/1.1 200 OK\\r\\nContent-Length: 1000\\r\\n\\r\\n' + b'x' * 1000\n"
	"while True:\n"
	"    connection = listener.accept()[0]\n"
	"    try:\n"
	"        s = context.wrap_socket(connection, server_side=True)\n"
	"    except OSError:\n"
	"        continue\n" /* looked whether it listens */
	"    took = {b'GET': 0, b'PUT': 0}\n"
	"    while request := s.recv(4096):\n"
	"        began = time.monotonic()\n"
	"        method = request.split()[0]\n"
	"        if method == b'GET':\n"
	"            time.sleep(.02)\n"
	"        s.sendall(answer)\n"
	"        took[method] += time.monotonic() - began\n"
	"    with open(sys.path[0] + '/took.new', 'w') as log:\n"
	"        print(took[b'GET'], took[b'PUT'], file=log)\n"
	"    os.rename(sys.path[0] + '/took.new', sys.path[0] + '/took')\n";

static const char timing_client[] =
	"import socket, ssl, sys, time\n"
	"s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
	"s = ssl._create_unverified_context().wrap_socket(s)\n"
	"def ask(method):\n"
	"    request, n = method + b' / HTTP/1.1\\r\\nContent-Length: 0\\r\\n\\r\\n', 0\n"
	"    began = time.monotonic()\n"
	"    s.sendall(request)\n"
	"    while n < 1041:\n"
	"        n += len(s.recv(4096))\n"
	"    return time.monotonic() - began\n"
	"print(sum(ask(b'GET') for i in range(31)), sum(ask(b'PUT') for i in range(503)))\n";

struct times {
	double get, put; /* seconds, of all */
};

static struct times times_of(const char *text)
{
	struct times times;

	if (sscanf(text, "%lf %lf", &times.get, &times.put) != 2)
		test_fail("no times: %s", text);
	return times;
}

static void expect_time(const struct page *page, const char *metric, const char *label,
			const char *value, const char *method, double n, double logged)
{
	struct page_histogram seen =
		metric_histogram(page, metric, label, value, "http_request_method", method, NULL);

	requests_expect_durations(method, &seen, n, logged);
}

static void durations_are_those_of_both_logs(void **state)
{
	struct leadline *leadline;
	struct server *server;
	const char *client = program_renamed("/usr/bin/python3", "timing-tls");
	struct times asked_in, served_in;
	struct output *output;
	struct page *page;
	char path[300], *text;

	require_real_time();
	leadline = agent_start();
	server = python_server_start(timing_server);
	output = python_client_run(leadline, server, client, timing_client);
	asked_in = times_of(output->text);
	output_free(output);
	snprintf(path, sizeof(path), "%s/took", server->directory);
	if (!WAIT_UNTIL(access(path, R_OK) == 0, 10))
		test_fail("the server has not written its log");
	text = read_file(path);
	served_in = times_of(text);
	free(text);
	page = leadline_scrape(leadline);
	expect_time(page, CLIENT, "comm", "timing-tls", "GET", 31, asked_in.get);
	expect_time(page, CLIENT, "comm", "timing-tls", "PUT", 503, asked_in.put);
	expect_time(page, SERVER, "unit", server->unit, "GET", 31, served_in.get);
	expect_time(page, SERVER, "unit", server->unit, "PUT", 503, served_in.put);
	page_free(page);
	(void)state;
}

/* ---- GnuTLS ---- */

static void gnutls_client(void **state)
{
	struct leadline *leadline = agent_start();
	const char *unit, *wget = program_renamed("wget", "wget-tls");
	struct nginx *nginx = nginx_with_tls("TLSv1.2", "nginx-gnutls", &unit);
	struct page *page;

	shell("ldd \"$(command -v wget)\" | grep -q libgnutls");
	/* It is hooked once some process that uses it is there for long enough. */
	program_start(NULL, (const char *const[]){ wget, "--no-check-certificate", "-q", "-O",
						   "/dev/null", "--tries=1", "https://127.0.0.1:1/",
						   "-T", "60", "http://192.0.2.1/", NULL });
	wait_hooked(leadline, "libssl.so", 1);
	wait_hooked(leadline, "libgnutls.so", 1);
	shell("%s --no-check-certificate -q -O /dev/null $(for i in $(seq 17); do echo https://127.0.0.1:%d/?$i; done)",
	      wget, nginx->port);
	page = leadline_scrape(leadline);
	requests_expect("asked", asked(page, "wget-tls", "200"), 17);
	requests_expect("served", served(page, unit, "200"), 17);
	expect_no_exchanges(page, "comm", "wget-tls");
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

/* ---- PostgreSQL: a connection that begins without TLS ---- */

/* It takes its time between asking for TLS and beginning it. */
static const char late_client[] =
	"import socket, ssl, struct, sys, time\n"
	"s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
	"s.sendall(struct.pack('!II', 8, 80877103))\n"
	"assert s.recv(1) == b'S'\n"
	"time.sleep(.5)\n"
	"s = ssl._create_unverified_context().wrap_socket(s)\n"
	"def say(kind, body):\n"
	"    s.sendall(kind + struct.pack('!I', 4 + len(body)) + body)\n"
	"    answer = b''\n"
	"    while not answer.endswith(b'Z\\0\\0\\0\\5I'):\n"
	"        answer += s.recv(4096)\n"
	"say(b'', struct.pack('!I', 196608) + b'user\\0postgres\\0database\\0postgres\\0\\0')\n"
	"for i in range(7):\n"
	"    say(b'Q', b'select 42\\0')\n";

static void postgresql(void **state)
{
	static const char address[] =
		"host=127.0.0.1 user=postgres dbname=postgres sslmode=require";
	struct leadline *leadline = agent_start();
	const char *psql = program_renamed(postgresql_program("psql"), "psql-tls");
	const char *pgbench = program_renamed(postgresql_program("pgbench"), "pgbench-tls");
	const char *late = program_renamed("/usr/bin/python3", "late-tls");
	struct server *server = postgresql_start();
	struct page *page;

	make_certificate(server->directory);
	shell("chown postgres %s/*.pem && chmod 600 %s/key.pem", server->directory,
	      server->directory);
	server_wait(server);
	shell("%s -q -h 127.0.0.1 -U postgres -p %d -c \"alter system set ssl_cert_file='%s/cert.pem'\" "
	      "-c \"alter system set ssl_key_file='%s/key.pem'\" -c 'alter system set ssl=on' && kill -HUP %d",
	      psql, server->port, server->directory, server->directory, (int)server->pid);
	shell("for i in $(seq 100); do %s '%s port=%d' -c 'show ssl' >/dev/null 2>&1 && exit 0; sleep 0.1; done; exit 1",
	      psql, address, server->port);
	wait_hooked(leadline, "libssl.so", 1);
	shell("echo 'select 42' >%s/script; %s -n -c 3 -t 101 -f %s/script '%s port=%d' >/dev/null 2>&1",
	      server->directory, pgbench, server->directory, address, server->port);
	shell("%s %s %d", late, write_file(server->directory, "client.py", late_client),
	      server->port);
	page = leadline_scrape(leadline);
	requests_expect("asked",
			requests_summarized(page, "db_client_operation_duration_seconds", "comm",
					    "pgbench-tls", "postgresql", "SELECT", ""),
			303);
	requests_expect("served",
			requests_summarized(page, "leadline_db_server_operation_duration_seconds",
					    "unit", server->unit, "postgresql", "SELECT", ""),
			303 + 7);
	requests_expect("asked late",
			requests_summarized(page, "db_client_operation_duration_seconds", "comm",
					    "late-tls", "postgresql", "SELECT", ""),
			7);
	expect_no_exchanges(page, "comm", "pgbench-tls");
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

/* ---- a library that never sees a socket ---- */

static const char node_server[] =
	"const fs = require('fs'), directory = process.argv[2];\n"
	"const files = { key: fs.readFileSync(directory + '/key.pem'), cert: fs.readFileSync(directory + '/cert.pem') };\n"
	"require('https').createServer(files, (request, response) => response.end('ok')).listen(+process.argv[3], '127.0.0.1');\n";

static bool run_quietly(const char *command)
{
	struct output *output = run_shell("%s", command);
	bool is_fine = !output->status;

	output_free(output);
	return is_fine;
}

struct answered {
	struct leadline *leadline;
	const char *unit;
	double exchanges;
};

/* The last one ends with its connection, which the server closes after the client has gone. */
static bool are_answered(const struct answered *wanted)
{
	struct page *page = leadline_scrape(wanted->leadline);
	double n = metric_histogram(page, EXCHANGE, "unit", wanted->unit, "protocol", "tls", NULL)
			   .count;

	page_free(page);
	return n == wanted->exchanges;
}

/* Node hands records to its library and takes them from there: whose they are cannot be told, and is not guessed. */
static void node_is_told_by_its_records(void **state)
{
	struct leadline *leadline = agent_start();
	const char *directory = temporary_directory(), *unit,
		   *curl = program_renamed("curl", "curl-node");
	struct server server = { .port = free_port(), .log = write_file(directory, "log", "") };
	struct page *page;
	char port[8];

	require_program("node");
	make_certificate(directory);
	snprintf(port, sizeof(port), "%d", server.port);
	server.pid = program_start(
		server.log,
		(const char *const[]){ "node", write_file(directory, "server.js", node_server),
				       directory, port, NULL });
	unit = server_enclose(server.pid, "node");
	server_wait(&server);
	/* its own OpenSSL, or Debian's */
	wait_hooked(leadline,
		    run_quietly("ldd \"$(command -v node)\" | grep -q libssl") ? "libssl.so"
									       : "node",
		    1);
	shell("%s -sk -o /dev/null 'https://127.0.0.1:%d/?[1-19]'", curl, server.port);
	page = leadline_scrape(leadline);
	requests_expect("served", served(page, unit, "200"), 0);
	assert_true(WAIT_UNTIL(are_answered(&(struct answered){ leadline, unit, 19 }), 5));
	assert_true(metric_sum(page, "leadline_tls_plain_bytes_total", "told", "false", "reason",
			       "no_socket", NULL) > 19 * 100);
	page_free(page);
	(void)state;
}

/* ---- a library that only its own mount namespace has ---- */

static const char waiting_client[] =
	"import os, ssl, sys, time, urllib.request\n"
	"while not os.path.exists(sys.argv[2]):\n"
	"    time.sleep(.05)\n"
	"for i in range(23):\n"
	"    urllib.request.urlopen(sys.argv[1], context=ssl._create_unverified_context()).read()\n";

static void library_in_a_mount_namespace(void **state)
{
	struct leadline *leadline = agent_start();
	const char *directory = temporary_directory(), *unit;
	const char *python = program_renamed("/usr/bin/python3", "python-inside");
	struct nginx *nginx = nginx_with_tls("TLSv1.3", "nginx-inside", &unit);
	struct page *page;
	char command[1024];
	pid_t client;

	wait_hooked(leadline, "libssl.so", 1);
	snprintf(
		command, sizeof(command),
		"mount -t tmpfs none /mnt && cp $(ldd $(command -v curl) | sed -n 's/.*=> \\(.*lib\\(ssl\\|crypto\\).so[^ ]*\\) .*/\\1/p') /mnt && "
		"LD_LIBRARY_PATH=/mnt exec %s %s https://127.0.0.1:%d/ %s/go",
		python, write_file(directory, "client.py", waiting_client), nginx->port, directory);
	client = program_start(write_file(directory, "log", ""),
			       (const char *const[]){ "unshare", "-m", "sh", "-c", command, NULL });
	wait_hooked(leadline, "libssl.so", 2);
	write_file(directory, "go", "");
	assert_int_equal(program_wait(client, 30), 0);
	page = leadline_scrape(leadline);
	requests_expect("asked", asked(page, "python-inside", "200"), 23);
	requests_expect("served", served(page, unit, "200"), 23);
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(nginx_and_curl),
		HARNESS_TEST(http2),
		HARNESS_TEST(python_server_and_client),
		HARNESS_TEST(durations_are_those_of_both_logs),
		HARNESS_TEST(gnutls_client),
		HARNESS_TEST(postgresql),
		HARNESS_TEST(node_is_told_by_its_records),
		HARNESS_TEST(library_in_a_mount_namespace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
