// SPDX-License-Identifier: Apache-2.0
/*
 * Plain text from the calls of a TLS library on the running kernel. The library is this program's own: it has the names and the ways of
 * OpenSSL, sends records with true headers, and "encrypts" by turning bits over, so that all that libraries may do is known to happen.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tests/harness/harness.h"
#include "tests/harness/requests.h"

#define CLIENT	 "http_client_request_duration_seconds"
#define SERVER	 "http_server_request_duration_seconds"
#define EXCHANGE "leadline_exchange_duration_seconds"

/* ---- the library ---- */

#define RECORD_MAX 16384
#define HEADER	   5

struct session {
	int fd;
	bool is_client;
	bool in_memory; /* it hands records to the program, and takes them from there */
	unsigned char ahead[4 * (RECORD_MAX + HEADER)]; /* read, not yet asked for */
	size_t n_ahead;
	unsigned char out[4 * (RECORD_MAX + HEADER)]; /* in_memory: to be sent */
	size_t n_out;
};

static void turn_over(unsigned char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		bytes[i] ^= 0xa5;
}

static void send_all(int fd, const void *bytes, size_t n)
{
	if (send(fd, bytes, n, MSG_NOSIGNAL) != (ssize_t)n)
		abort();
}

static void put_record(struct session *session, unsigned char type, const void *bytes, size_t n)
{
	unsigned char record[RECORD_MAX + HEADER] = { type, 3, 3, (unsigned char)(n >> 8),
						      (unsigned char)n };

	memcpy(record + HEADER, bytes, n);
	if (type == 23)
		turn_over(record + HEADER, n);
	if (session->in_memory) {
		memcpy(session->out + session->n_out, record, HEADER + n);
		session->n_out += HEADER + n;
	} else {
		send_all(session->fd, record, HEADER + n);
	}
}

/* Size of the record that is there, 0: none. */
static size_t record_ahead(const struct session *session)
{
	size_t n = session->ahead[3] << 8 | session->ahead[4];

	return session->n_ahead >= HEADER && session->n_ahead >= HEADER + n ? n : 0;
}

static void take_ahead(struct session *session, size_t n)
{
	session->n_ahead -= n;
	memmove(session->ahead, session->ahead + n, session->n_ahead);
}

/* All there is, however much is needed. 0: the end. */
static ssize_t read_on(struct session *session)
{
	ssize_t n = recv(session->fd, session->ahead + session->n_ahead,
			 sizeof(session->ahead) - session->n_ahead, 0);

	if (n > 0)
		session->n_ahead += (size_t)n;
	return n;
}

__attribute__((noinline, used)) int SSL_do_handshake(struct session *session);
__attribute__((noinline, used)) int SSL_read(struct session *session, void *buffer, int size);
__attribute__((noinline, used)) int SSL_write(struct session *session, const void *buffer,
					      int size);
__attribute__((noinline, used)) int SSL_read_ex(struct session *session, void *buffer, size_t size,
						size_t *ret_read);
__attribute__((noinline, used)) int SSL_write_ex(struct session *session, const void *buffer,
						 size_t size, size_t *ret_written);

/* Half a round trip: what the client says next arrives along with its hello, or close behind. */
int SSL_do_handshake(struct session *session)
{
	static const unsigned char hello[] = { 1, 0, 0, 4, 3, 3, 0, 0 };

	if (session->is_client) {
		put_record(session, 22, hello, sizeof(hello));
		return 1;
	}
	while (!record_ahead(session))
		if (read_on(session) <= 0)
			return 0;
	take_ahead(session, HEADER + record_ahead(session));
	return 1;
}

int SSL_read(struct session *session, void *buffer, int size)
{
	size_t n;

	while (!(n = record_ahead(session)))
		if (session->in_memory || read_on(session) <= 0)
			return -1;
	if (n > (size_t)size)
		abort();
	memcpy(buffer, session->ahead + HEADER, n);
	turn_over(buffer, n);
	take_ahead(session, HEADER + n);
	return (int)n;
}

int SSL_write(struct session *session, const void *buffer, int size)
{
	for (int at = 0; at < size; at += RECORD_MAX)
		put_record(session, 23, (const char *)buffer + at,
			   (size_t)(size - at < RECORD_MAX ? size - at : RECORD_MAX));
	return size;
}

int SSL_read_ex(struct session *session, void *buffer, size_t size, size_t *ret_read)
{
	int n = SSL_read(session, buffer, (int)size);

	*ret_read = n > 0 ? (size_t)n : 0;
	return n > 0;
}

int SSL_write_ex(struct session *session, const void *buffer, size_t size, size_t *ret_written)
{
	*ret_written = (size_t)SSL_write(session, buffer, (int)size);
	return 1;
}

/* By address, so that the compiler makes no copies of its own. */
static int (*volatile handshake_call)(struct session *) = SSL_do_handshake;
static int (*volatile read_call)(struct session *, void *, int) = SSL_read;
static int (*volatile write_call)(struct session *, const void *, int) = SSL_write;
static int (*volatile read_counted)(struct session *, void *, size_t, size_t *) = SSL_read_ex;
static int (*volatile write_counted)(struct session *, const void *, size_t,
				     size_t *) = SSL_write_ex;

/* ---- two parties ---- */

#define REQUESTS 101

struct way {
	bool shakes_hands; /* by the call of that name, else the hello goes unseen */
	bool counted; /* by the calls that return their lengths elsewhere */
	bool in_memory;
	size_t body; /* of a response */
};

struct party {
	int fd, other_fd; /* the latter: the other party's, which is not to be kept open */
	const struct way *way;
	int go[2]; /* when something is written there, it goes on after the first request */
};

static void hello_unseen(struct session *session)
{
	static const unsigned char hello[] = { 22, 3, 1, 0, 4, 1, 0, 0, 0 };
	unsigned char there[sizeof(hello)];

	if (session->is_client)
		send_all(session->fd, hello, sizeof(hello));
	else if (recv(session->fd, there, sizeof(there), MSG_WAITALL) != sizeof(there))
		abort();
}

static void begin(struct session *session, const struct way *way)
{
	session->in_memory = false;
	if (way->shakes_hands) {
		if (handshake_call(session) != 1)
			abort();
	} else {
		hello_unseen(session);
	}
	session->in_memory = way->in_memory;
}

static void say(struct session *session, const struct way *way, const char *text, size_t n)
{
	size_t written = n;

	if (way->counted) {
		if (write_counted(session, text, n, &written) != 1 || written != n)
			abort();
	} else if (write_call(session, text, (int)n) != (int)n) {
		abort();
	}
	if (session->in_memory) {
		send_all(session->fd, session->out, session->n_out);
		session->n_out = 0;
	}
}

/* A record's plain text; 0: the end. */
static int hear(struct session *session, const struct way *way, char *text, size_t size)
{
	size_t n = 0;

	while (session->in_memory && !record_ahead(session))
		if (read_on(session) <= 0)
			return 0;
	if (way->counted)
		return read_counted(session, text, size, &n) == 1 ? (int)n : 0;
	return read_call(session, text, (int)size);
}

static void await(int fd)
{
	char byte;

	if (fd && read(fd, &byte, 1) != 1)
		abort();
}

static int serve(void *argument, void *shared)
{
	static struct session session;
	static char response[200000], request[RECORD_MAX];
	const struct party *party = argument;
	int head = snprintf(response, sizeof(response),
			    "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", party->way->body);

	close(party->other_fd);
	session.fd = party->fd;
	begin(&session, party->way);
	while (hear(&session, party->way, request, sizeof(request)) > 0)
		say(&session, party->way, response, (size_t)head + party->way->body);
	close(party->fd);
	(void)shared;
	return 0;
}

static void ask(struct session *session, const struct way *way)
{
	static const char request[] = "GET /things HTTP/1.1\r\nHost: test\r\n\r\n";
	static char response[RECORD_MAX];
	size_t missing;
	int n, head = 0;

	say(session, way, request, sizeof(request) - 1);
	n = hear(session, way, response, sizeof(response));
	if (n <= 0)
		abort();
	head = (int)((char *)memmem(response, (size_t)n, "\r\n\r\n", 4) + 4 - response);
	for (missing = way->body - (size_t)(n - head); missing > 0; missing -= (size_t)n) {
		n = hear(session, way, response, sizeof(response));
		if (n <= 0)
			abort();
	}
}

static int request_all(void *argument, void *shared)
{
	static struct session session;
	const struct party *party = argument;

	close(party->other_fd);
	session.fd = party->fd;
	session.is_client = true;
	begin(&session, party->way);
	for (int i = 0; i < REQUESTS; i++) {
		ask(&session, party->way);
		*(volatile int *)shared = i + 1;
		if (!i)
			await(party->go[0]);
	}
	close(party->fd);
	return 0;
}

static void connect_pair(int fds[2])
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	assert_int_equal(connect(fds[1], (struct sockaddr *)&address, size), 0);
	fds[0] = accept(listener, NULL, NULL);
	assert_true(fds[0] >= 0);
	close(listener);
}

struct parties_at_work {
	struct workload *server, *client;
	struct party party[2];
};

static void start_parties_with(struct parties_at_work *at_work, const struct way *way,
			       int (*client)(void *argument, void *shared))
{
	int fds[2];

	connect_pair(fds);
	for (int i = 0; i < 2; i++) {
		at_work->party[i].fd = fds[i];
		at_work->party[i].other_fd = fds[1 - i];
		at_work->party[i].way = way;
	}
	at_work->server = workload_start("tlsserv", -1, serve, &at_work->party[0]);
	at_work->client = workload_start("tlscli", -1, client, &at_work->party[1]);
	/* each end is in one process only: its end is seen by the other */
	close(fds[0]);
	close(fds[1]);
}

static void start_parties(struct parties_at_work *at_work, const struct way *way)
{
	start_parties_with(at_work, way, request_all);
}

static void finish_parties(const struct parties_at_work *at_work)
{
	workload_release(at_work->server);
	workload_finish(at_work->client, 30);
	workload_finish(at_work->server, 30);
}

/* ---- the agent ---- */

/* That of this program. */
static bool library_is(struct leadline *leadline, const char *wanted)
{
	struct page *page = leadline_scrape(leadline);
	double n = metric_sum(page, "leadline_tls_libraries", "library", "test_tls", "state",
			      wanted, NULL);

	page_free(page);
	return n == 1;
}

/* This program has been here for long: it is found at once. */
static struct leadline *agent_start(const char *setting)
{
	struct leadline *leadline = leadline_start_only(
		"requests tls", (const char *const[]){ "--max_entities=4096", setting, NULL });

	if (!WAIT_UNTIL(library_is(leadline, "hooked"), 30)) {
		leadline_show_log(leadline);
		test_fail("the program's own library is not hooked");
	}
	return leadline;
}

static double count_of(const struct page *page, const char *metric, const char *comm)
{
	return metric_histogram(page, metric, "comm", comm, NULL).count;
}

static double https_of(const struct page *page, const char *metric, const char *comm)
{
	return metric_histogram(page, metric, "comm", comm, "http_response_status_code", "200",
				"url_scheme", "https", NULL)
		.count;
}

static void expect_told(struct leadline *leadline, const struct parties_at_work *at_work,
			double n_asked, double n_served)
{
	struct page *page = leadline_scrape(leadline);

	requests_expect("asked", https_of(page, CLIENT, at_work->client->comm), n_asked);
	requests_expect("served", https_of(page, SERVER, at_work->server->comm), n_served);
	requests_expect("all asked", count_of(page, CLIENT, at_work->client->comm), n_asked);
	requests_expect("all served", count_of(page, SERVER, at_work->server->comm), n_served);
	requests_expect("exchanges asked", count_of(page, EXCHANGE, at_work->client->comm), 0);
	requests_expect("exchanges served", count_of(page, EXCHANGE, at_work->server->comm), 0);
	requests_expect_nothing_lost(page);
	page_free(page);
}

/* ---- the tests ---- */

static void each_request_is_told_once(void **state)
{
	static const struct way ways[] = {
		{ .shakes_hands = true, .body = 10 },
		{ .shakes_hands = true, .counted = true, .body = 10 },
		{ .shakes_hands = true, .body = 150000 }, /* ten records */
		{ .body = 10 }, /* what a program does by other means than the calls */
	};
	/* by one link for all functions, and by one for each */
	static const char *const settings[] = { NULL, "--hooks.avoid=uprobe_multi" };

	for (size_t s = 0; s < sizeof(settings) / sizeof(settings[0]); s++) {
		struct leadline *leadline = agent_start(settings[s]);

		for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
			struct parties_at_work at_work = { 0 };

			start_parties(&at_work, &ways[i]);
			finish_parties(&at_work);
			expect_told(leadline, &at_work, REQUESTS, REQUESTS);
		}
		leadline_stop(leadline);
	}
	(void)state;
}

static bool are_exchanges(struct leadline *leadline, const char *comm, double n)
{
	struct page *page = leadline_scrape(leadline);
	double seen = count_of(page, EXCHANGE, comm);

	page_free(page);
	return seen == n;
}

/* Whose the plain text is cannot be known: the connection is told by its records. */
static void records_in_memory_are_not_guessed_at(void **state)
{
	static const struct way way = { .in_memory = true, .body = 10 };
	struct leadline *leadline = agent_start(NULL);
	struct parties_at_work at_work = { 0 };
	struct page *page;

	start_parties(&at_work, &way);
	finish_parties(&at_work);
	/* The first record after a hello is taken for the rest of a handshake. */
	assert_true(WAIT_UNTIL(are_exchanges(leadline, at_work.client->comm, REQUESTS - 1), 5));
	assert_true(WAIT_UNTIL(are_exchanges(leadline, at_work.server->comm, REQUESTS - 1), 5));
	page = leadline_scrape(leadline);
	requests_expect("asked", count_of(page, CLIENT, at_work.client->comm), 0);
	requests_expect("served", count_of(page, SERVER, at_work.server->comm), 0);
	assert_true(metric_sum(page, "leadline_tls_plain_bytes_total", "told", "false", "reason",
			       "no_socket", NULL) >= 4 * REQUESTS * 30);
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

static int ask_for_long(void *argument, void *shared)
{
	static struct session session;
	const struct party *party = argument;
	volatile bool *is_enough = shared;

	close(party->other_fd);
	session.fd = party->fd;
	session.is_client = true;
	begin(&session, party->way);
	while (!*is_enough)
		ask(&session, party->way);
	close(party->fd);
	return 0;
}

/* Of this program's library, in this state. */
static bool are_processes(struct leadline *leadline, const char *state, double n)
{
	struct page *page = leadline_scrape(leadline);
	double seen = metric_sum(page, "leadline_tls_processes", "library", "test_tls", "state",
				 state, NULL);

	page_free(page);
	return seen == n;
}

/* Parties that wait after their first request; `go` lets them go on. */
static void start_waiting_parties(struct parties_at_work *at_work, int go[2])
{
	static const struct way way = { .shakes_hands = true, .body = 10 };

	assert_int_equal(pipe(go), 0);
	at_work->party[1].go[0] = go[0];
	start_parties(at_work, &way);
	workload_release(at_work->server);
	workload_release(at_work->client);
	assert_true(WAIT_UNTIL(*(volatile int *)at_work->client->shared == 1, 30));
}

static void let_go(const struct parties_at_work *at_work, const int go[2])
{
	assert_int_equal(write(go[1], "", 1), 1);
	finish_parties(at_work);
	close(go[0]);
	close(go[1]);
}

/* Connections that are older than the agent: from their next request on. */
static void connections_are_joined_midway(void **state)
{
	struct parties_at_work at_work = { 0 };
	struct leadline *leadline;
	int go[2];

	start_waiting_parties(&at_work, go);
	leadline = agent_start(NULL);
	let_go(&at_work, go);
	/* The first request was over. And the server was in a call by then, of which only the return was still to be seen. */
	expect_told(leadline, &at_work, REQUESTS - 1, REQUESTS - 2);
	(void)state;
}

/*
 * As fast as they can, that is hundreds of thousands of traps a second: far more than the budget. Their connection is told by its records
 * from then on; programs that make fewer calls still are by their plain text.
 */
static void a_storm_is_left_out(void **state)
{
	static const struct way way = { .shakes_hands = true, .body = 10 };
	struct leadline *leadline;
	struct parties_at_work storm = { 0 }, calm = { 0 };
	double exchanges;
	struct page *page;
	int go[2];

	require_real_time(); /* what calls cost, and how many there are in a second */
	leadline =
		leadline_start_only("requests tls", (const char *const[]){ "--max_entities=4096",
									   "--budget=10%", NULL });
	assert_true(WAIT_UNTIL(library_is(leadline, "hooked"), 30));
	start_parties_with(&storm, &way, ask_for_long);
	workload_release(storm.server);
	workload_release(storm.client);
	assert_true(WAIT_UNTIL(library_is(leadline, "in_part"), 20));
	assert_true(WAIT_UNTIL(are_processes(leadline, "left_out", 2), 20));
	page = leadline_scrape(leadline);
	exchanges = count_of(page, EXCHANGE, storm.server->comm);
	assert_true(metric_value(page, "leadline_sampling_ratio", "probe", "tls", NULL) < 0.1);
	assert_true(https_of(page, SERVER, storm.server->comm) > 0);
	page_free(page);

	start_waiting_parties(&calm, go);
	/* this program itself is one */
	assert_true(WAIT_UNTIL(are_processes(leadline, "told", 3), 20));
	let_go(&calm, go);
	*(volatile bool *)storm.client->shared = true;
	finish_parties(&storm);
	page = leadline_scrape(leadline);
	/* the first was over before the hooks came, see connections_are_joined_midway() */
	requests_expect("asked", https_of(page, CLIENT, calm.client->comm), REQUESTS - 1);
	requests_expect("served", https_of(page, SERVER, calm.server->comm), REQUESTS - 2);
	assert_true(count_of(page, EXCHANGE, storm.server->comm) > exchanges);
	page_free(page);
	(void)state;
}

static void only_named_programs_are_looked_into(void **state)
{
	static const struct way way = { .shakes_hands = true, .body = 10 };
	struct parties_at_work named = { 0 }, other = { 0 };
	struct leadline *leadline;
	struct page *page;
	char setting[64];
	int go[2];

	start_waiting_parties(&named, go);
	snprintf(setting, sizeof(setting), "--probes.tls.programs=%s,%.10s*", named.server->comm,
		 named.client->comm);
	leadline = leadline_start_only(
		"requests tls", (const char *const[]){ "--max_entities=4096", setting, NULL });
	assert_true(WAIT_UNTIL(are_processes(leadline, "told", 2), 30));
	assert_true(library_is(leadline, "in_part"));
	assert_true(are_processes(leadline, "not_named", 1)); /* this one */
	start_parties(&other, &way);
	finish_parties(&other);
	let_go(&named, go);
	expect_told(leadline, &named, REQUESTS - 1, REQUESTS - 2);
	if (WAIT_UNTIL(are_exchanges(leadline, other.client->comm, REQUESTS - 1), 5))
		return;
	page = leadline_scrape(leadline);
	test_fail("%.0f exchanges, not %d", count_of(page, EXCHANGE, other.client->comm),
		  REQUESTS - 1);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(each_request_is_told_once),
		HARNESS_TEST(records_in_memory_are_not_guessed_at),
		HARNESS_TEST(connections_are_joined_midway),
		HARNESS_TEST(a_storm_is_left_out),
		HARNESS_TEST(only_named_programs_are_looked_into),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
