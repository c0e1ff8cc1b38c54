// SPDX-License-Identifier: Apache-2.0
/*
 * Web servers in Python and for Node, alone and behind nginx, and curl: each request is counted once per side, with its method and status;
 * bytes are those the server counts itself, durations those that both sides measure. And connections that become WebSocket's.
 */
#include <stdio.h>
#include <stdlib.h>
#include "tests/harness/harness.h"
#include "tests/harness/requests.h"
#include "tests/harness/servers.h"

#define CLIENT	     "http_client_request_duration_seconds"
#define SERVER	     "http_server_request_duration_seconds"
#define CLIENT_BYTES "leadline_http_client_message_bytes_total"
#define SERVER_BYTES "leadline_http_server_message_bytes_total"

/*
 * Both answer GET after a while, PUT with much in chunks, and take what is POSTed; and both write a log when a connection has ended: requests
 * so far, bytes read and written, and seconds that the GETs took.
 */
#define LOG "took"

static const char python_server[] =
	"import http.server, os, sys, time\n"
	"told = {'requests': 0, 'read': 0, 'written': 0, 'seconds': 0}\n"
	"class Counted:\n"
	"    def __init__(self, file):\n"
	"        self.file = file\n"
	"    def __getattr__(self, name):\n"
	"        return getattr(self.file, name)\n"
	"    def readline(self, *size):\n"
	"        line = self.file.readline(*size)\n"
	"        told['read'] += len(line)\n"
	"        return line\n"
	"    def read(self, size):\n"
	"        data = self.file.read(size)\n"
	"        told['read'] += len(data)\n"
	"        return data\n"
	"    def write(self, data):\n"
	"        told['written'] += len(data)\n"
	"        return self.file.write(data)\n"
	"class Handler(http.server.BaseHTTPRequestHandler):\n"
	"    protocol_version = 'HTTP/1.1'\n"
	"    def setup(self):\n"
	"        super().setup()\n"
	"        self.rfile, self.wfile = Counted(self.rfile), Counted(self.wfile)\n"
	"    def answer(self, status, name='Content-Length', value='0'):\n"
	"        told['requests'] += 1\n"
	"        self.send_response(status)\n"
	"        if status != 204:\n"
	"            self.send_header(name, value)\n"
	"        self.end_headers()\n"
	"    def do_GET(self):\n"
	"        began = time.monotonic()\n"
	"        time.sleep(.05)\n"
	"        self.answer(200, value='1000')\n"
	"        self.wfile.write(b'x' * 1000)\n"
	"        told['seconds'] += time.monotonic() - began\n"
	"    def do_HEAD(self):\n"
	"        self.answer(200, value='1000')\n"
	"    def do_PUT(self):\n"
	"        self.answer(200, 'Transfer-Encoding', 'chunked')\n"
	"        for i in range(17):\n"
	"            self.wfile.write(b'10001\\r\\n' + b'x' * 0x10001 + b'\\r\\n')\n"
	"        self.wfile.write(b'0\\r\\n\\r\\n')\n"
	"    def do_POST(self):\n"
	"        self.rfile.read(int(self.headers['Content-Length']))\n"
	"        self.answer(201)\n"
	"    def do_DELETE(self):\n"
	"        self.answer(204)\n"
	"    def do_PATCH(self):\n"
	"        self.answer(404)\n"
	"    def log_message(self, *arguments):\n"
	"        pass\n"
	"    def finish(self):\n"
	"        super().finish()\n"
	"        with open(sys.path[0] + '/new', 'w') as log:\n"
	"            print(*told.values(), file=log)\n"
	"        os.rename(sys.path[0] + '/new', sys.path[0] + '/" LOG "')\n"
	"http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()\n";

static const char node_server[] =
	"const fs = require('fs'), http = require('http');\n"
	"let requests = 0, read = 0, written = 0, seconds = 0;\n"
	"const answers = {\n"
	"  GET(response) {\n"
	"    const began = performance.now();\n"
	"    response.on('finish', () => seconds += (performance.now() - began) / 1000);\n"
	"    setTimeout(() => response.writeHead(200, { 'Content-Length': 1000 }).end('x'.repeat(1000)), 50);\n"
	"  },\n"
	"  HEAD(response) { response.writeHead(200, { 'Content-Length': 1000 }).end(); },\n"
	"  PUT(response) {\n"
	"    for (let i = 0; i < 17; i++)\n"
	"      response.write('x'.repeat(0x10001));\n"
	"    response.end();\n"
	"  },\n"
	"  POST(response) { response.writeHead(201).end(); },\n"
	"  DELETE(response) { response.writeHead(204).end(); },\n"
	"  PATCH(response) { response.writeHead(404).end(); },\n"
	"};\n"
	"const server = http.createServer((request, response) => {\n"
	"  requests++;\n"
	"  request.resume().on('end', () => answers[request.method](response));\n"
	"});\n"
	"server.on('connection', (socket) => socket.on('close', () => {\n"
	"  read += socket.bytesRead;\n"
	"  written += socket.bytesWritten;\n"
	"  fs.writeFileSync(__dirname + '/new', [requests, read, written, seconds].join(' '));\n"
	"  fs.renameSync(__dirname + '/new', __dirname + '/" LOG "');\n"
	"}));\n"
	"server.listen(+process.argv[2], '127.0.0.1');\n";

struct told { /* by the server */
	double requests, read, written, seconds;
};

static struct told told_by(const struct server *server)
{
	struct told told = { 0 };
	char path[512], *text;

	snprintf(path, sizeof(path), "%s/" LOG, server->directory);
	text = read_file(path);
	if (sscanf(text, "%lf %lf %lf %lf", &told.requests, &told.read, &told.written,
		   &told.seconds) != 4)
		told = (struct told){ 0 };
	free(text);
	return told;
}

/* What is asked for, so often. */
static const struct asked {
	const char *method, *status, *options;
	int times;
} asked[] = {
	{ "GET", "200", "", 31 },
	{ "HEAD", "200", "-I", 5 },
	{ "PUT", "200", "-X PUT", 7 },
	{ "POST", "201", "--data-binary @body", 11 },
	{ "DELETE", "204", "-X DELETE", 3 },
	{ "PATCH", "404", "-X PATCH", 13 },
};

#define KINDS (sizeof(asked) / sizeof(asked[0]))
#define ALL   (31 + 5 + 7 + 11 + 3 + 13)

/* Each kind over a connection of its own; returns the seconds that the GETs took by curl's account. */
static double ask(const struct server *server, const char *curl, const char *url)
{
	double seconds = 0;

	shell("head -c 300007 /dev/zero >%s/body", server->directory);
	for (size_t i = 0; i < KINDS; i++) {
		struct output *output = run_shell(
			"cd %s && %s -sS -o /dev/null -w '%%{stderr}%%{time_total} %%{time_pretransfer}\n' %s '%s?[1-%d]'",
			server->directory, curl, asked[i].options, url, asked[i].times);
		const char *line = output->text;
		double total, before;
		int n = 0, size;

		for (; sscanf(line, "%lf %lf%n", &total, &before, &size) == 2; line += size, n++)
			seconds += i == 0 ? total - before : 0;
		if (output->status || n != asked[i].times)
			test_fail("%s: %s", asked[i].method, output->text);
		output_free(output);
	}
	return seconds;
}

static bool has_told_all(const struct server *server)
{
	return told_by(server).requests == ALL;
}

static void expect_each_once(const struct page *page, const char *family, const char *label,
			     const char *value)
{
	for (size_t i = 0; i < KINDS; i++)
		requests_expect(asked[i].method,
				metric_histogram(page, family, label, value, "http_request_method",
						 asked[i].method, "http_response_status_code",
						 asked[i].status, NULL)
					.count,
				asked[i].times);
	requests_expect("all", metric_histogram(page, family, label, value, NULL).count, ALL);
}

static void expect_bytes(const struct page *page, const char *family, const char *label,
			 const char *value, const struct told *told)
{
	requests_expect("bytes of requests",
			metric_sum(page, family, label, value, "direction", "request", NULL),
			told->read);
	requests_expect("bytes of responses",
			metric_sum(page, family, label, value, "direction", "response", NULL),
			told->written);
}

static void expect_duration(const struct page *page, const char *family, const char *label,
			    const char *value, double seconds)
{
	struct page_histogram gets =
		metric_histogram(page, family, label, value, "http_request_method", "GET", NULL);

	requests_expect_durations(family, &gets, asked[0].times, seconds);
}

static void expect_curl_and(struct server *server, const char *curl)
{
	struct leadline *leadline = requests_agent_start();
	const char *path = program_renamed("curl", curl);
	struct page *page;
	struct told told;
	double seconds;
	char url[64];

	snprintf(url, sizeof(url), "http://127.0.0.1:%d/", server->port);
	seconds = ask(server, path, url);
	assert_true(WAIT_UNTIL(has_told_all(server), 10));
	told = told_by(server);
	page = leadline_scrape(leadline);
	expect_each_once(page, SERVER, "unit", server->unit);
	expect_each_once(page, CLIENT, "comm", curl);
	expect_bytes(page, SERVER_BYTES, "unit", server->unit, &told);
	expect_bytes(page, CLIENT_BYTES, "comm", curl, &told);
	expect_duration(page, SERVER, "unit", server->unit, told.seconds);
	expect_duration(page, CLIENT, "comm", curl, seconds);
	requests_expect_nothing_lost(page);
	page_free(page);
}

static void python_and_curl(void **state)
{
	expect_curl_and(python_server_start(python_server), "curl-python");
	(void)state;
}

static void node_and_curl(void **state)
{
	expect_curl_and(node_server_start(node_server), "curl-node");
	(void)state;
}

/* nginx is a server and a client. */
static void node_behind_nginx(void **state)
{
	struct server *server = node_server_start(node_server);
	const char *curl = program_renamed("curl", "curl-proxied"), *unit;
	struct leadline *leadline = requests_agent_start();
	struct told told, asked_of_nginx = { 0 };
	struct nginx *nginx;
	struct page *page;
	char behind[256];

	snprintf(
		behind, sizeof(behind),
		"location /behind { proxy_pass http://127.0.0.1:%d; proxy_http_version 1.1; proxy_set_header Connection \"\"; }",
		server->port);
	nginx = nginx_start(NULL, behind);
	unit = server_enclose(nginx->pid, "proxy");
	ask(server, curl, nginx_url(nginx, "/behind"));
	assert_true(WAIT_UNTIL(has_told_all(server), 10));
	told = told_by(server);
	nginx_expect_requests(nginx, ALL);
	nginx_bytes(nginx, "/", &asked_of_nginx.read, &asked_of_nginx.written);
	page = leadline_scrape(leadline);
	expect_each_once(page, CLIENT, "comm", "curl-proxied");
	expect_each_once(page, SERVER, "unit", unit);
	expect_each_once(page, CLIENT, "unit", unit);
	expect_each_once(page, SERVER, "unit", server->unit);
	expect_bytes(page, CLIENT_BYTES, "comm", "curl-proxied", &asked_of_nginx);
	expect_bytes(page, SERVER_BYTES, "unit", unit, &asked_of_nginx);
	expect_bytes(page, CLIENT_BYTES, "unit", unit, &told);
	expect_bytes(page, SERVER_BYTES, "unit", server->unit, &told);
	expect_duration(page, SERVER, "unit", server->unit, told.seconds);
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

/* ---- WebSocket (RFC 6455) ---- */

#define SOCKETS	 7
#define MESSAGES 11
#define MESSAGE	 100
/* What one side says: frames of a message each, and one that closes, with a status. What a client says is masked by 4 bytes. */
#define FRAMES(masked) (MESSAGES * (2 + (masked) + MESSAGE) + 2 + (masked) + 2)

static const char echo_server[] =
	"import asyncio, sys, websockets\n"
	"async def echo(socket):\n"
	"    async for message in socket:\n"
	"        await socket.send(message)\n"
	"async def serve():\n"
	"    async with websockets.serve(echo, '127.0.0.1', int(sys.argv[1]), compression=None):\n"
	"        await asyncio.Future()\n"
	"asyncio.run(serve())\n";

static const char echo_client[] =
	"import asyncio, sys, websockets\n"
	"port, sockets, messages, size = map(int, sys.argv[1:])\n"
	"async def talk():\n"
	"    async with websockets.connect(f'ws://127.0.0.1:{port}/chat', compression=None) as socket:\n"
	"        for i in range(messages):\n"
	"            await socket.send(b'x' * size)\n"
	"            assert len(await socket.recv()) == size\n"
	"async def talk_all():\n"
	"    await asyncio.gather(*(talk() for i in range(sockets)))\n"
	"asyncio.run(talk_all())\n";

/* The bytes on connections from their 101 on, which is among them; that is the answer to all the requests there were. */
static void expect_websockets(const struct page *page, const char *requests, const char *bytes,
			      const char *label, const char *value)
{
	requests_expect(requests,
			metric_histogram(page, requests, label, value, "http_request_method", "GET",
					 "http_response_status_code", "101", NULL)
				.count,
			SOCKETS);
	requests_expect("all", metric_histogram(page, requests, label, value, NULL).count, SOCKETS);
	requests_expect("bytes of WebSocket",
			metric_sum(page, "leadline_socket_bytes_total", label, value, "protocol",
				   "websocket", "parsed", "false", "reason", "not_decoded", NULL),
			SOCKETS * (FRAMES(4) + FRAMES(0)) + metric_sum(page, bytes, label, value,
								       "direction", "response",
								       NULL));
	requests_expect("bytes of HTTP",
			metric_sum(page, "leadline_socket_bytes_total", label, value, "protocol",
				   "http", NULL),
			metric_sum(page, bytes, label, value, "direction", "request", NULL));
	requests_expect("bytes of what is not known",
			metric_sum(page, "leadline_socket_bytes_total", label, value, "protocol",
				   "unknown", NULL),
			0);
}

static void websockets_in_python(void **state)
{
	struct leadline *leadline;
	struct server *server;
	struct page *page;
	const char *python;

	require_python("websockets");
	server = python_server_start(echo_server);
	python = program_renamed("/usr/bin/python3", "python-chats");
	leadline = requests_agent_start();
	write_file(server->directory, "client", echo_client);
	shell("%s %s/client %d %d %d %d", python, server->directory, server->port, SOCKETS,
	      MESSAGES, MESSAGE);
	page = leadline_scrape(leadline);
	expect_websockets(page, SERVER, SERVER_BYTES, "unit", server->unit);
	expect_websockets(page, CLIENT, CLIENT_BYTES, "comm", "python-chats");
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(python_and_curl),
		HARNESS_TEST(node_and_curl),
		HARNESS_TEST(node_behind_nginx),
		HARNESS_TEST(websockets_in_python),
	};

	return cmocka_run_group_tests_name("web_servers", tests, NULL, NULL);
}
