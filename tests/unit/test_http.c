// SPDX-License-Identifier: Apache-2.0
/* The HTTP server over the loopback interface: routes, bodies, hostile peers, many at a time. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "agent/http.h"
#include "tests/harness/fetch.h"

static atomic_uint handled, quieted;
static struct http_body *kept_large, *kept_page;
static const char large_block[] =
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n";
#define LARGE_BLOCKS 65536 /* 4 MiB */
#define PAGE_BLOCKS  2048 /* 128 KiB */

static void handle_hello(void *context, const struct http_request *request,
			 struct http_response *response)
{
	const char *name = http_request_parameter(request, "name");

	atomic_fetch_add(&handled, 1);
	assert_string_equal(context, "context");
	buffer_printf(&response->body, "hello %s", name ? name : "nobody");
	http_response_header(response, "X-Agent",
			     http_request_header(request, "User-Agent") ? "yes" : "no");
}

static void handle_echo(void *context, const struct http_request *request,
			struct http_response *response)
{
	size_t size;
	const void *body = http_request_body(request, &size);

	response->status = 201;
	response->content_type = "application/octet-stream";
	buffer_append(&response->body, body, size);
}

static void handle_local(void *context, const struct http_request *request,
			 struct http_response *response)
{
	if (!http_request_local(request))
		http_response_error(response, 403, "%s", "\"not\" from here");
}

static struct http_body *shared_body(struct http_body **kept, int blocks)
{
	if (!*kept) {
		*kept = http_body_new();
		while (blocks--)
			buffer_string(&(*kept)->buffer, large_block);
	}
	return http_body_get(*kept);
}

static void handle_large(void *context, const struct http_request *request,
			 struct http_response *response)
{
	response->shared = shared_body(&kept_large, LARGE_BLOCKS);
}

static void handle_page(void *context, const struct http_request *request,
			struct http_response *response)
{
	response->shared = shared_body(&kept_page, PAGE_BLOCKS);
}

static void handle_failure(void *context, const struct http_request *request,
			   struct http_response *response)
{
	buffer_string(&response->body, "half a page");
	response->body.error = -ENOMEM;
}

static void handle_quiet(void *context)
{
	http_body_put(kept_large);
	http_body_put(kept_page);
	kept_large = kept_page = NULL;
	atomic_fetch_add(&quieted, 1);
}

static const struct http_route routes[] = {
	{ "GET", "/hello", handle_hello, "says hello" },
	{ "POST", "/echo", handle_echo, "says it again" },
	{ "PUT", "/hello", handle_echo, NULL },
	{ "POST", "/local", handle_local, NULL },
	{ "GET", "/large", handle_large, NULL },
	{ "GET", "/page", handle_page, NULL },
	{ "GET", "/failure", handle_failure, NULL },
	{ 0 },
};

static struct http_server_options options(void)
{
	return (struct http_server_options){
		.listen = "127.0.0.1:0",
		.routes = routes,
		.context = (void *)(uintptr_t) "context",
		.quiet = handle_quiet,
		.max_body = 1000,
	};
}

static struct http_server *start(const struct http_server_options *with)
{
	struct http_server *server = NULL;
	char error[256];

	if (http_server_start(with, &server, error, sizeof(error)))
		fail_msg("%s", error);
	assert_int_not_equal(http_server_port(server), 0);
	return server;
}

static int setup(void **state)
{
	struct http_server_options with = options();

	*state = start(&with);
	return 0;
}

static int teardown(void **state)
{
	http_server_stop(*state);
	return 0;
}

static const char *url(const struct http_server *server, const char *path)
{
	static char text[256];

	snprintf(text, sizeof(text), "http://%s%s", http_server_address(server), path);
	return text;
}

static int connect_to(const struct http_server *server)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons(http_server_port(server)) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* All that comes until the peer closes, or -1 when it has not within the time. */
static ssize_t read_to_end(int fd, char *reply, size_t size, int timeout_ms)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	size_t used = 0;
	ssize_t n;

	for (;;) {
		if (poll(&wait, 1, timeout_ms) != 1)
			return -1;
		n = recv(fd, reply + used, size - 1 - used, 0);
		if (n <= 0)
			break;
		used += (size_t)n;
	}
	reply[used] = '\0';
	return (ssize_t)used;
}

static unsigned occurrences(const char *text, const char *what)
{
	unsigned n = 0;

	for (text = strstr(text, what); text; text = strstr(text + 1, what))
		n++;
	return n;
}

static void answers(void **state)
{
	struct answer *answer = fetch(NULL, url(*state, "/hello?name=w%C3%B6rld"), NULL, NULL);

	assert_int_equal(answer->status, 200);
	assert_string_equal(answer->body, "hello w\xc3\xb6rld");
	assert_string_equal(answer_header(answer, "Content-Type"), "text/plain; charset=utf-8");
	assert_string_equal(answer_header(answer, "X-Content-Type-Options"), "nosniff");
	assert_non_null(
		strstr(answer_header(answer, "Content-Security-Policy"), "default-src 'none'"));
	assert_string_equal(answer_header(answer, "X-Agent"), "no");
	answer_free(answer);

	answer = fetch("HEAD", url(*state, "/hello"), NULL, NULL);
	assert_int_equal(answer->status, 200);
	assert_int_equal(answer->size, 0);
	assert_string_equal(answer_header(answer, "Content-Length"),
			    "12"); /* of the body that GET would send */
	answer_free(answer);
}

static void refuses_unknown(void **state)
{
	struct answer *answer = fetch(NULL, url(*state, "/nowhere"), NULL, NULL);

	assert_int_equal(answer->status, 404);
	assert_string_equal(answer_header(answer, "Content-Type"), "application/json");
	assert_non_null(strstr(answer->body, "{\"error\":\"no such path"));
	answer_free(answer);

	answer = fetch("POST", url(*state, "/hello"), NULL, "x");
	assert_int_equal(answer->status, 405);
	assert_string_equal(answer_header(answer, "Allow"), "GET, HEAD, PUT");
	answer_free(answer);

	answer = fetch("DELETE", url(*state, "/echo"), NULL, NULL);
	assert_int_equal(answer->status, 405);
	assert_string_equal(answer_header(answer, "Allow"), "POST");
	answer_free(answer);

	answer = fetch("BREW", url(*state, "/hello/"), NULL, NULL);
	assert_int_equal(answer->status, 404);
	answer_free(answer);

	answer = fetch(NULL, url(*state, "/failure"), NULL, NULL);
	assert_int_equal(answer->status, 500);
	assert_string_equal(answer->body, "{\"error\":\"out of memory\"}\n");
	answer_free(answer);
}

static void takes_bodies(void **state)
{
	static const char *const chunked[] = { "Transfer-Encoding: chunked", NULL };
	char body[1002];
	struct answer *answer;

	memset(body, 'b', sizeof(body));
	body[1001] = '\0';
	answer = fetch("POST", url(*state, "/echo"), NULL, body + 1);
	assert_int_equal(answer->status, 201);
	assert_int_equal(answer->size, 1000);
	answer_free(answer);
	answer = fetch("POST", url(*state, "/echo"), NULL, body);
	assert_int_equal(answer->status, 413);
	answer_free(answer);
	answer = fetch("POST", url(*state, "/echo"), chunked, body + 1);
	assert_int_equal(answer->status, 201);
	answer_free(answer);
	answer = fetch("POST", url(*state, "/echo"), chunked, body);
	assert_int_equal(answer->status, 413);
	answer_free(answer);
	answer = fetch("PUT", url(*state, "/hello"), NULL, "");
	assert_int_equal(answer->status, 201);
	assert_int_equal(answer->size, 0);
	answer_free(answer);
}

/* Who may change state without a token: this host, not a proxy, not a web page. */
static void knows_local_peers(void **state)
{
	static const struct {
		const char *headers[4];
		long status;
	} cases[] = {
		{ { NULL }, 200 },
		{ { "Host: localhost:9797" }, 200 },
		{ { "Host: 127.8.9.1" }, 200 },
		{ { "Host: [::1]:80" }, 200 },
		{ { "Host: evil.example:9797" }, 403 },
		{ { "Host: 10.0.0.1" }, 403 },
		{ { "Host: localhost.evil.example" }, 403 },
		{ { "Host: 127.0.0.1.evil.example" }, 403 },
		{ { "Host: [::1" }, 403 },
		{ { "X-Forwarded-For: 127.0.0.1" }, 403 },
		{ { "Forwarded: for=10.0.0.1" }, 403 },
		{ { "Via: 1.1 proxy" }, 403 },
		{ { "Host: localhost:9797", "Origin: http://localhost:9797" }, 200 },
		{ { "Host: localhost:9797", "Origin: http://evil.example" }, 403 },
		{ { "Host: localhost:9797", "Origin: null" }, 403 },
	};
	struct answer *answer;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		answer = fetch("POST", url(*state, "/local"), cases[i].headers, "");
		if (answer->status != cases[i].status)
			fail_msg("%s: %ld", cases[i].headers[0], answer->status);
		if (answer->status == 403)
			assert_string_equal(answer->body,
					    "{\"error\":\"\\\"not\\\" from here\"}\n");
		answer_free(answer);
	}
}

static void survives_garbage(void **state)
{
	static const struct {
		const char *request;
		const char *status; /* its beginning; "": any, or closed without a word */
	} cases[] = {
		{ "\x16\x03\x01\x02\x01\x01\x01\x01\xfc\x03\x03", "" }, /* TLS */
		{ "\x16\x03\x01\x02\x01\x01\x01\x01\xfc\x03\x03\r\n\r\n", "" },
		{ "\r\n\r\n\r\n\r\n", "" },
		{ "GET\r\n\r\n", "" },
		{ "GET / HTTP/9.9\r\n\r\n", "" },
		{ "GET /hello HTTP/1.1\r\n\r\n", "400" }, /* no Host */
		{ "GET /hello HTTP/1.0\r\n\r\n", "200" },
		{ "GET /hello%00x HTTP/1.0\r\n\r\n", "" },
		{ "GET /../../etc/passwd HTTP/1.0\r\n\r\n", "404" },
		{ "GET http://other/hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "" },
		{ "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: nonsense\r\n\r\n", "400" },
		{ "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
		  "4" },
		{ "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n", "413" },
		{ "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		  "" },
		{ "GET /hello?%zz=%&&&==&a=%f HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
		  "200" },
	};
	struct http_server_options with = options();
	struct http_server *server;
	char reply[4096];
	size_t i;
	int fd;

	with.receive_timeout_ms = 1000;
	server = start(&with);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fd = connect_to(server);
		assert_true(send(fd, cases[i].request, strlen(cases[i].request), MSG_NOSIGNAL) > 0);
		shutdown(fd, SHUT_WR);
		if (read_to_end(fd, reply, sizeof(reply), 5000) < 0)
			fail_msg("case %zu is left hanging", i);
		if (*cases[i].status &&
		    (strncmp(reply, "HTTP/1.", 7) ||
		     strncmp(reply + 9, cases[i].status, strlen(cases[i].status))))
			fail_msg("case %zu: %.12s", i, reply);
		close(fd);
	}
	http_server_stop(server);
}

static void bounds_heads(void **state)
{
	static char request[100000];
	char reply[4096];
	size_t size =
		(size_t)snprintf(request, sizeof(request), "GET /hello HTTP/1.1\r\nHost: a\r\nX: ");
	int fd = connect_to(*state);

	memset(request + size, 'x', sizeof(request) - size);
	send(fd, request, sizeof(request), MSG_NOSIGNAL);
	if (read_to_end(fd, reply, sizeof(reply), 5000) > 0) /* a reset may overtake the answer */
		assert_memory_equal(reply, "HTTP/1.1 431", 12);
	close(fd);

	memset(request + 5, 'u', sizeof(request) - 5);
	fd = connect_to(*state);
	send(fd, request, sizeof(request), MSG_NOSIGNAL);
	if (read_to_end(fd, reply, sizeof(reply), 5000) > 0)
		assert_memory_equal(reply, "HTTP/1.1 4", 10);
	close(fd);
}

static void pipelined(void **state)
{
	static char request[] =
		"GET /hello?name=1 HTTP/1.1\r\nHost: a\r\n\r\n"
		"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nfirst"
		"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n"
		"GET /hello?name=4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
	char reply[8192], *at = reply;
	int fd = connect_to(*state);

	assert_int_equal(send(fd, request, sizeof(request) - 1, 0), sizeof(request) - 1);
	assert_true(read_to_end(fd, reply, sizeof(reply), 5000) > 0);
	close(fd);
	assert_int_equal(occurrences(reply, "HTTP/1.1 "), 4);
	at = strstr(at, "hello 1");
	assert_non_null(at);
	at = strstr(at, "first");
	assert_non_null(at);
	at = strstr(at, "404");
	assert_non_null(at);
	assert_non_null(strstr(at, "hello 4"));
}

/* One byte at a time, never stopping: the library alone would wait for ever. */
static void cuts_slow_senders(void **state)
{
	struct http_server_options with = options();
	static const char head[] = "GET /hello HTTP/1.1\r\nHost: a\r\nX-Slow: ";
	static const char body[] = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n";
	static const char whole[] = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
	struct http_server *server;
	struct pollfd wait = { .events = POLLIN };
	char reply[4096];
	struct timespec begin, now;
	int i, fds[3];

	with.receive_timeout_ms = 300;
	with.idle_timeout_ms = 300;
	server = start(&with);
	for (i = 0; i < 3; i++)
		fds[i] = connect_to(server);
	send(fds[0], head, sizeof(head) - 1, 0);
	send(fds[1], body, sizeof(body) - 1, 0);
	send(fds[2], whole, sizeof(whole) - 1, 0); /* and then the second request never ends */
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (i = 0; i < 3;) {
		wait.fd = fds[i];
		if (poll(&wait, 1, 20) == 1 && recv(fds[i], reply, sizeof(reply), 0) <= 0) {
			i++;
			continue;
		}
		send(fds[i], "x", 1, MSG_NOSIGNAL);
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - begin.tv_sec > 8)
			fail_msg("connection %d is not cut", i);
	}
	for (i = 0; i < 3; i++)
		close(fds[i]);
	assert_int_equal(http_server_timeouts(server), 3);
	http_server_stop(server);
}

static void cuts_slow_readers(void **state)
{
	struct http_server_options with = options();
	static const char request[] = "GET /large HTTP/1.1\r\nHost: a\r\n\r\n";
	struct http_server *server;
	struct timespec pause = { .tv_nsec = 10000000 };
	int fd, small = 4096, i;

	with.send_timeout_ms = 300;
	server = start(&with);
	fd = connect_to(server);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	send(fd, request, sizeof(request) - 1, 0);
	for (i = 0; i < 800 && !http_server_timeouts(server); i++)
		nanosleep(&pause, NULL);
	assert_int_equal(http_server_timeouts(server), 1);
	close(fd);
	http_server_stop(server);
}

/* A page in flight when the server stops: nothing leaks, nothing hangs. */
static void stops_in_the_middle(void **state)
{
	struct http_server_options with = options();
	static const char request[] = "GET /large HTTP/1.1\r\nHost: a\r\n\r\n";
	struct http_server *server = start(&with);
	int fds[20], i;
	char byte;

	for (i = 0; i < 20; i++) {
		fds[i] = connect_to(server);
		send(fds[i], request, i == 3 ? 10 : sizeof(request) - 1, 0);
	}
	assert_int_equal(recv(fds[0], &byte, 1, 0), 1);
	http_server_stop(server);
	for (i = 0; i < 20; i++)
		close(fds[i]);
	assert_null(kept_large);
}

static void sends_large_bodies(void **state)
{
	struct answer *answer = fetch(NULL, url(*state, "/large"), NULL, NULL);
	size_t i;

	assert_int_equal(answer->size, (size_t)LARGE_BLOCKS * (sizeof(large_block) - 1));
	for (i = 0; i < LARGE_BLOCKS; i++)
		assert_memory_equal(answer->body + i * (sizeof(large_block) - 1), large_block,
				    sizeof(large_block) - 1);
	answer_free(answer);
}

#define PARALLEL 200
static pthread_barrier_t barrier;

static void *fetch_in_parallel(void *server)
{
	char where[128];
	struct answer *answer;
	bool good;

	snprintf(where, sizeof(where), "http://%s/page", http_server_address(server));
	pthread_barrier_wait(&barrier);
	answer = fetch(NULL, where, NULL, NULL);
	good = answer->status == 200 &&
	       answer->size == (size_t)PAGE_BLOCKS * (sizeof(large_block) - 1);
	answer_free(answer);
	return good ? NULL : server;
}

/* 200 at once from one address, all sent one body. */
static void many_at_once(void **state)
{
	pthread_t threads[PARALLEL];
	void *bad;
	int i, failures = 0;

	pthread_barrier_init(&barrier, NULL, PARALLEL);
	for (i = 0; i < PARALLEL; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, fetch_in_parallel, *state), 0);
	for (i = 0; i < PARALLEL; i++) {
		pthread_join(threads[i], &bad);
		failures += bad != NULL;
	}
	pthread_barrier_destroy(&barrier);
	assert_int_equal(failures, 0);
}

/* One address may not take all connections; those within its share work on. */
static void limits_connections(void **state)
{
	struct http_server_options with = options();
	static const char request[] = "GET /hello HTTP/1.0\r\n\r\n";
	struct http_server *server;
	char reply[4096];
	int fds[6], i, answered = 0;

	with.max_connections_per_address = 4;
	server = start(&with);
	for (i = 0; i < 6; i++)
		fds[i] = connect_to(server);
	for (i = 0; i < 6; i++) {
		send(fds[i], request, sizeof(request) - 1, MSG_NOSIGNAL);
		answered += read_to_end(fds[i], reply, sizeof(reply), 5000) > 0;
		if (i >= 4)
			close(fds[i]);
	}
	for (i = 0; i < 4; i++)
		close(fds[i]);
	assert_int_equal(answered, 4);
	http_server_stop(server);
}

struct counts {
	uint64_t hello_2xx, echo_2xx, other_4xx, failure_5xx, rest;
};

static void add_count(void *context, const char *path, const char *status, uint64_t count)
{
	struct counts *counts = context;

	if (!strcmp(path, "/hello") && !strcmp(status, "2xx"))
		counts->hello_2xx += count;
	else if (!strcmp(path, "/echo") && !strcmp(status, "2xx"))
		counts->echo_2xx += count;
	else if (!strcmp(path, "other") && !strcmp(status, "4xx"))
		counts->other_4xx += count;
	else if (!strcmp(path, "/failure") && !strcmp(status, "5xx"))
		counts->failure_5xx += count;
	else
		counts->rest += count;
}

static void counts_requests(void **state)
{
	struct counts counts = { 0 };
	int i;

	for (i = 0; i < 7; i++)
		answer_free(fetch(NULL, url(*state, "/hello"), NULL, NULL));
	for (i = 0; i < 5; i++)
		answer_free(fetch("POST", url(*state, "/echo"), NULL, "x"));
	for (i = 0; i < 3; i++)
		answer_free(fetch("POST", url(*state, i ? "/nowhere" : "/hello"), NULL, "x"));
	answer_free(fetch(NULL, url(*state, "/failure"), NULL, NULL));
	http_server_each_count(*state, add_count, &counts);
	assert_int_equal(counts.hello_2xx, 7);
	assert_int_equal(counts.echo_2xx, 5);
	assert_int_equal(counts.other_4xx, 3);
	assert_int_equal(counts.failure_5xx, 1);
	assert_int_equal(counts.rest, 0);
}

static double thread_cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* With open but silent connections the thread sleeps, and lets go of what was kept. */
static void rests_when_quiet(void **state)
{
	struct timespec pause = { .tv_nsec = 10000000 };
	unsigned before = atomic_load(&quieted);
	int i, fd = connect_to(*state);
	double cpu;

	answer_free(fetch(NULL, url(*state, "/hello"), NULL, NULL));
	for (i = 0; i < 800 && atomic_load(&quieted) == before; i++)
		nanosleep(&pause, NULL);
	assert_int_equal(atomic_load(&quieted), before + 1);
	cpu = thread_cpu_seconds();
	for (i = 0; i < 50; i++)
		nanosleep(&pause, NULL);
	assert_true(thread_cpu_seconds() - cpu < 0.1); /* of 0.5 s and more */
	close(fd);
}

static void restarts(void **state)
{
	struct http_server_options with = options();
	struct http_server *server = start(&with), *second = NULL;
	char address[64], error[256];
	int i;

	snprintf(address, sizeof(address), "%s", http_server_address(server));
	with.listen = address;
	for (i = 0; i < 20; i++) {
		answer_free(fetch(NULL, url(server, "/hello"), NULL, NULL));
		http_server_stop(server);
		server = start(&with); /* the same port, at once */
	}
	assert_int_equal(http_server_start(&with, &second, error, sizeof(error)), -EADDRINUSE);
	assert_null(second);
	assert_non_null(strstr(error, address));
	http_server_stop(server);
	http_server_stop(NULL);
}

#define SERVER_TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVER_TEST(answers),
		SERVER_TEST(refuses_unknown),
		SERVER_TEST(takes_bodies),
		SERVER_TEST(knows_local_peers),
		cmocka_unit_test(survives_garbage),
		SERVER_TEST(bounds_heads),
		SERVER_TEST(pipelined),
		cmocka_unit_test(cuts_slow_senders),
		cmocka_unit_test(cuts_slow_readers),
		cmocka_unit_test(stops_in_the_middle),
		SERVER_TEST(sends_large_bodies),
		SERVER_TEST(many_at_once),
		cmocka_unit_test(limits_connections),
		SERVER_TEST(counts_requests),
		SERVER_TEST(rests_when_quiet),
		cmocka_unit_test(restarts),
	};

	return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
