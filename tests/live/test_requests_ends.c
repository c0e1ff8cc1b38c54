// SPDX-License-Identifier: Apache-2.0
/*
 * The requests probe and what processes do to their connections, over TCP and over unix sockets: one half is closed, a child or
 * another process takes over, the client does not wait. Each request once on each side.
 */
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include "tests/harness/dialogue.h"
#include "tests/harness/harness.h"
#include "tests/harness/requests.h"

#define SERVER "http_server_request_duration_seconds"
#define CLIENT "http_client_request_duration_seconds"

#define CONNECTIONS 7
#define REQUEST	    "GET / HTTP/1.1\r\nHost: any\r\n\r\n"
#define RESPONSE    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static void ask(int s)
{
	if (MUST(send(s, REQUEST, sizeof(REQUEST) - 1, MSG_NOSIGNAL)) != sizeof(REQUEST) - 1)
		_exit(120);
}

static void be_asked(int s)
{
	receive_bytes(s, sizeof(REQUEST) - 1);
}

static void answer(int s)
{
	if (MUST(send(s, RESPONSE, sizeof(RESPONSE) - 1, MSG_NOSIGNAL)) != sizeof(RESPONSE) - 1)
		_exit(121);
}

static void be_answered(int s)
{
	receive_bytes(s, sizeof(RESPONSE) - 1);
}

/* So many in each connection, that ended so, on both sides; no others. */
static void expect_requests(void (*server)(int s), void (*client)(int s), double expected,
			    const char *status, const char *error)
{
	static const int families[] = { AF_INET, AF_UNIX };
	struct leadline *leadline = leadline_shared("requests");

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		struct dialogue dialogue = { .family = families[i],
					     .connections = CONNECTIONS,
					     .server = server,
					     .client = client };
		struct parties parties = dialogue_hold(&dialogue, 20);
		struct page *page = leadline_scrape(leadline);
		const struct {
			const char *metric, *comm;
		} sides[] = { { SERVER, parties.server }, { CLIENT, parties.client } };

		for (size_t side = 0; side < 2; side++) {
			requests_expect(sides[side].metric,
					metric_histogram(page, sides[side].metric, "comm",
							 sides[side].comm,
							 "http_response_status_code", status,
							 "error_type", error, NULL)
						.count,
					CONNECTIONS * expected);
			requests_expect("all",
					metric_histogram(page, sides[side].metric, "comm",
							 sides[side].comm, NULL)
						.count,
					CONNECTIONS * expected);
		}
		requests_expect_nothing_lost(page);
		page_free(page);
	}
}

/* ---- one half is closed ---- */

static void answer_to_the_end(int s)
{
	be_asked(s);
	receive_rest(s);
	answer(s);
	close(s);
}

static void ask_and_close_one_half(int s)
{
	ask(s);
	MUST(shutdown(s, SHUT_WR));
	be_answered(s);
	receive_rest(s);
	close(s);
}

static void half_closed(void **state)
{
	expect_requests(answer_to_the_end, ask_and_close_one_half, 1, "200", "");
	(void)state;
}

/* ---- a child takes over ---- */

static void answer_in_a_child(int s)
{
	pid_t child = (pid_t)MUST(fork());
	int status;

	if (child == 0) {
		for (int i = 0; i < 3; i++) {
			be_asked(s);
			answer(s);
		}
		receive_rest(s);
		_exit(0);
	}
	close(s);
	MUST(waitpid(child, &status, 0));
	if (status)
		_exit(122);
}

static void ask_three_times(int s)
{
	for (int i = 0; i < 3; i++) {
		ask(s);
		be_answered(s);
	}
	close(s);
}

static void forked_after_accept(void **state)
{
	expect_requests(answer_in_a_child, ask_three_times, 3, "200", "");
	(void)state;
}

/* ---- another process takes over ---- */

static void pass(int channel, int s)
{
	char byte = 0;
	struct iovec piece = { &byte, 1 };
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control = {};
	struct msghdr message = { .msg_iov = &piece,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };

	control.header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)),
					   .cmsg_level = SOL_SOCKET,
					   .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.header), &s, sizeof(s));
	MUST(sendmsg(channel, &message, 0));
}

static int be_passed(int channel)
{
	char byte;
	struct iovec piece = { &byte, 1 };
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control;
	struct msghdr message = { .msg_iov = &piece,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	int s;

	if (MUST(recvmsg(channel, &message, 0)) != 1)
		_exit(123);
	memcpy(&s, CMSG_DATA(&control.header), sizeof(s));
	return s;
}

/* One process has read the request, another one answers, and the next one, too. */
static void pass_on(int s)
{
	int channel[2], status;
	pid_t child;

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, channel));
	child = (pid_t)MUST(fork());
	if (child == 0) {
		close(s);
		close(channel[0]);
		s = be_passed(channel[1]);
		answer(s);
		for (int i = 0; i < 2; i++) {
			be_asked(s);
			answer(s);
		}
		receive_rest(s);
		_exit(0);
	}
	close(channel[1]);
	be_asked(s);
	pass(channel[0], s);
	close(s);
	close(channel[0]);
	MUST(waitpid(child, &status, 0));
	if (status)
		_exit(124);
}

static void passed_on(void **state)
{
	expect_requests(pass_on, ask_three_times, 3, "200", "");
	(void)state;
}

/* ---- the client does not wait ---- */

static void ask_all_at_once(int s)
{
	for (int i = 0; i < 5; i++)
		ask(s);
	for (int i = 0; i < 5; i++)
		be_answered(s);
	close(s);
}

static void answer_one_after_the_other(int s, int n)
{
	for (int i = 0; i < n; i++) {
		be_asked(s);
		answer(s);
	}
	receive_rest(s);
	close(s);
}

static void answer_five(int s)
{
	answer_one_after_the_other(s, 5);
}

static void asked_before_reading(void **state)
{
	expect_requests(answer_five, ask_all_at_once, 5, "200", "");
	(void)state;
}

/* One thread asks, another one reads the answers meanwhile. */
#define BY_THREADS    2003
#define THREADS_AHEAD 8 /* requests, at most */

struct reading {
	int s;
	unsigned answered;
};

static void *read_answers(void *context)
{
	struct reading *reading = context;

	for (int i = 0; i < BY_THREADS; i++) {
		be_answered(reading->s);
		__atomic_fetch_add(&reading->answered, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void ask_while_reading(int s)
{
	struct reading reading = { .s = s };
	pthread_t thread;

	MUST(-pthread_create(&thread, NULL, read_answers, &reading));
	for (unsigned i = 0; i < BY_THREADS; i++) {
		while (i - __atomic_load_n(&reading.answered, __ATOMIC_ACQUIRE) >= THREADS_AHEAD)
			sched_yield();
		ask(s);
	}
	pthread_join(thread, NULL);
	close(s);
}

static void answer_threads(int s)
{
	answer_one_after_the_other(s, BY_THREADS);
}

static void asked_while_reading(void **state)
{
	expect_requests(answer_threads, ask_while_reading, BY_THREADS, "200", "");
	(void)state;
}

static void ask_and_go(int s)
{
	ask(s);
	close(s);
}

static void notice_that_it_went(int s)
{
	be_asked(s);
	receive_rest(s);
	close(s);
}

static void gone_before_the_answer(void **state)
{
	expect_requests(notice_that_it_went, ask_and_go, 1, "", "no_response");
	(void)state;
}

/* ---- more is to be said ---- */

#define EXPECTING "POST / HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
#define CONTINUE  "HTTP/1.1 100 Continue\r\n\r\n"

static void ask_and_wait_to_go_on(int s)
{
	MUST(send(s, EXPECTING, sizeof(EXPECTING) - 1, MSG_NOSIGNAL));
	receive_bytes(s, sizeof(CONTINUE) - 1);
	send_bytes(s, 3);
	be_answered(s);
	close(s);
}

static void tell_to_go_on(int s)
{
	receive_bytes(s, sizeof(EXPECTING) - 1);
	MUST(send(s, CONTINUE, sizeof(CONTINUE) - 1, MSG_NOSIGNAL));
	receive_bytes(s, 3);
	answer(s);
	receive_rest(s);
	close(s);
}

static void told_to_go_on(void **state)
{
	expect_requests(tell_to_go_on, ask_and_wait_to_go_on, 1, "200", "");
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(half_closed),	   HARNESS_TEST(forked_after_accept),
		HARNESS_TEST(passed_on),	   HARNESS_TEST(asked_before_reading),
		HARNESS_TEST(asked_while_reading), HARNESS_TEST(gone_before_the_answer),
		HARNESS_TEST(told_to_go_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
