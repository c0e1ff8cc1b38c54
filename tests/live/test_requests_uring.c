// SPDX-License-Identifier: Apache-2.0
/*
 * The requests probe and programs that move their bytes through io_uring: by every operation that can, at once, having waited, by worker
 * threads, by the kernel's own thread, into buffers provided beforehand. Each request once on each side.
 */
#include <liburing.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "tests/harness/dialogue.h"
#include "tests/harness/harness.h"
#include "tests/harness/requests.h"

#define SERVER "http_server_request_duration_seconds"
#define CLIENT "http_client_request_duration_seconds"

#define ROUNDS	    13
#define CONNECTIONS 3
#define REQUEST	    "GET / HTTP/1.1\r\nHost: any\r\n\r\n"
#define RESPONSE    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

/* How bytes are moved. */
enum operation {
	SEND_RECV,
	WRITE_READ,
	WRITEV_READV,
	MESSAGE,
	PIECES,
	PROVIDED,
	MULTISHOT, /* one receive that goes on, of a connection that one accept took that goes on */
	MULTISHOT_MESSAGE,
};

static const struct manner {
	const char *name;
	enum operation operation;
	unsigned ring_flags; /* of io_uring_setup */
	unsigned char flags; /* of each request */
} manners[] = {
	{ "send, recv", SEND_RECV, 0, 0 },
	{ "write, read", WRITE_READ, 0, 0 },
	{ "writev, readv", WRITEV_READV, 0, 0 },
	{ "sendmsg, recvmsg", MESSAGE, 0, 0 },
	{ "sendmsg, recvmsg of pieces", PIECES, 0, 0 },
	{ "by worker threads", SEND_RECV, 0, IOSQE_ASYNC },
	{ "messages by worker threads", MESSAGE, 0, IOSQE_ASYNC },
	{ "by the kernel's thread", SEND_RECV, IORING_SETUP_SQPOLL, 0 },
	{ "provided buffers", PROVIDED, 0, 0 },
	{ "recv that goes on", MULTISHOT, 0, 0 },
	{ "recv that goes on, by the kernel's thread", MULTISHOT, IORING_SETUP_SQPOLL, 0 },
	{ "recvmsg that goes on", MULTISHOT_MESSAGE, 0, 0 },
};

#define N_MANNERS (sizeof(manners) / sizeof(manners[0]))

static const struct manner *manner;

/* ---- a ring ---- */

#define BUFFERS	    4
#define BUFFER_SIZE 512
#define GROUP	    7

#define PATIENCE_S 20 /* for what the other party or the kernel does next */

enum { WAITED_FOR, GOING_ON }; /* user data of requests */

struct party {
	struct io_uring ring;
	int s;
	char buffers[BUFFERS][BUFFER_SIZE];
	/* Of the one that goes on: */
	bool goes_on;
	int n_begun;
	struct msghdr message; /* of MULTISHOT_MESSAGE */
	size_t heard; /* bytes that were not asked for yet */
	int accepted; /* socket; 0: none yet */
};

static struct io_uring_sqe *next_request(struct party *party)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&party->ring);

	if (!sqe)
		_exit(130);
	sqe->user_data = WAITED_FOR; /* preparing it need not */
	return sqe;
}

/* What one that goes on has brought. */
static void take_what_came(struct party *party, const struct io_uring_cqe *cqe)
{
	const size_t head =
		manner->operation == MULTISHOT_MESSAGE ? sizeof(struct io_uring_recvmsg_out) : 0;

	party->goes_on = cqe->flags & IORING_CQE_F_MORE;
	if (cqe->res == -ENOBUFS)
		return; /* all were used */
	MUST(cqe->res);
	if (!(cqe->flags & IORING_CQE_F_BUFFER))
		party->accepted = cqe->res;
	else
		party->heard += (size_t)cqe->res - head;
}

/* Does what was asked for, until something of it is done. Returns what that was. */
static int next_completion(struct party *party, int *ret_result)
{
	struct __kernel_timespec patience = { .tv_sec = PATIENCE_S };
	struct io_uring_cqe *cqe;
	int what, err;

	MUST(io_uring_submit(&party->ring));
	err = io_uring_wait_cqe_timeout(&party->ring, &cqe, &patience);
	if (err)
		_exit(133);
	what = (int)cqe->user_data;
	*ret_result = cqe->res;
	if (what == GOING_ON)
		take_what_came(party, cqe);
	io_uring_cqe_seen(&party->ring, cqe);
	return what;
}

/* The kernel's result of the one request that is waited for. */
static int complete(struct party *party)
{
	int result;

	while (next_completion(party, &result) != WAITED_FOR)
		;
	return (int)MUST(result);
}

static void give_buffers(struct party *party)
{
	struct io_uring_sqe *sqe = next_request(party);

	io_uring_prep_provide_buffers(sqe, party->buffers, BUFFER_SIZE, BUFFERS, GROUP, 0);
	complete(party);
}

static void join(struct party *party, int s)
{
	memset(party, 0, sizeof(*party));
	party->s = s;
	MUST(io_uring_queue_init(64, &party->ring, manner->ring_flags));
	if (manner->operation == PROVIDED)
		give_buffers(party);
}

static void leave(struct party *party)
{
	/* a request that goes on keeps the socket open until the ring is gone, which may take a while */
	if (party->goes_on)
		MUST(shutdown(party->s, SHUT_WR));
	if (party->n_begun > ROUNDS / BUFFERS + 1)
		_exit(134); /* it has not gone on */
	close(party->s);
	io_uring_queue_exit(&party->ring);
}

static int move(struct party *party, char *bytes, size_t size, bool is_send)
{
	struct io_uring_sqe *sqe = next_request(party);
	size_t first = size > 20 ? 20 : size;
	struct iovec pieces[2] = { { bytes, size }, { bytes + first, size - first } };
	struct msghdr message = { .msg_iov = pieces, .msg_iovlen = 1 };

	switch (manner->operation) {
	case WRITE_READ:
		if (is_send)
			io_uring_prep_write(sqe, party->s, bytes, (unsigned)size, 0);
		else
			io_uring_prep_read(sqe, party->s, bytes, (unsigned)size, 0);
		break;
	case WRITEV_READV:
		pieces[0].iov_len = first;
		if (is_send)
			io_uring_prep_writev(sqe, party->s, pieces, 2, 0);
		else
			io_uring_prep_readv(sqe, party->s, pieces, 2, 0);
		break;
	case PIECES:
		pieces[0].iov_len = first;
		message.msg_iovlen = 2;
		/* fall through */
	case MESSAGE:
		if (is_send)
			io_uring_prep_sendmsg(sqe, party->s, &message, 0);
		else
			io_uring_prep_recvmsg(sqe, party->s, &message, 0);
		break;
	default:
		if (is_send)
			io_uring_prep_send(sqe, party->s, bytes, size, 0);
		else
			io_uring_prep_recv(sqe, party->s, bytes, size, 0);
	}
	io_uring_sqe_set_flags(sqe, manner->flags);
	return complete(party);
}

static void say(struct party *party, const char *text)
{
	if (move(party, (char *)(uintptr_t)text, strlen(text), true) != (int)strlen(text))
		_exit(131);
}

/* Into a buffer that the kernel takes from those it was given. */
static int take_into_provided(struct party *party, size_t size)
{
	struct io_uring_sqe *sqe = next_request(party);
	int result;

	io_uring_prep_recv(sqe, party->s, NULL, size, 0);
	sqe->buf_group = GROUP;
	io_uring_sqe_set_flags(sqe, IOSQE_BUFFER_SELECT);
	result = complete(party);
	give_buffers(party); /* all of them anew */
	return result;
}

/* Buffers are given when all are used, which ends the request, too: the next one finds what has come meanwhile. */
static void listen_on(struct party *party)
{
	struct io_uring_sqe *sqe;

	give_buffers(party);
	sqe = next_request(party);
	if (manner->operation == MULTISHOT)
		io_uring_prep_recv_multishot(sqe, party->s, NULL, 0, 0);
	else
		io_uring_prep_recvmsg_multishot(sqe, party->s, &party->message, 0);
	sqe->buf_group = GROUP;
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->user_data = GOING_ON;
	party->goes_on = true;
	party->n_begun++;
}

static void hear_on(struct party *party, size_t size)
{
	int ignored;

	while (party->heard < size) {
		if (!party->goes_on)
			listen_on(party);
		next_completion(party, &ignored);
	}
	party->heard -= size;
}

static void hear(struct party *party, size_t size)
{
	char bytes[BUFFER_SIZE];

	if (manner->operation == MULTISHOT || manner->operation == MULTISHOT_MESSAGE) {
		hear_on(party, size);
		return;
	}
	while (size) {
		int n;

		if (manner->operation == PROVIDED)
			n = take_into_provided(party, size);
		else
			n = move(party, bytes, size, false);
		if (n <= 0)
			_exit(132);
		size -= (size_t)n;
	}
}

/* One that goes on, for all connections. */
static int accept_on(int listener)
{
	static struct party party;
	int result;

	if (!party.goes_on) {
		struct io_uring_sqe *sqe;

		MUST(io_uring_queue_init(4, &party.ring, 0));
		sqe = next_request(&party);
		io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, 0);
		sqe->user_data = GOING_ON;
	}
	for (party.accepted = 0; !party.accepted;)
		next_completion(&party, &result);
	return party.accepted;
}

static void serve(int s)
{
	static struct party party;

	join(&party, s);
	for (int i = 0; i < ROUNDS; i++) {
		hear(&party, sizeof(REQUEST) - 1);
		say(&party, RESPONSE);
	}
	receive_rest(s);
	leave(&party);
}

static void ask(int s)
{
	static struct party party;

	join(&party, s);
	for (int i = 0; i < ROUNDS; i++) {
		say(&party, REQUEST);
		hear(&party, sizeof(RESPONSE) - 1);
	}
	leave(&party);
}

static void expect_all(struct leadline *leadline, int family)
{
	struct dialogue dialogue = {
		.family = family, .connections = CONNECTIONS, .server = serve, .client = ask
	};
	struct parties parties;
	struct page *page;
	double served, asked;

	if (manner->operation == MULTISHOT)
		dialogue.accept = accept_on;
	parties = dialogue_hold(&dialogue, 30);
	page = leadline_scrape(leadline);
	served = metric_histogram(page, SERVER, "comm", parties.server, "http_response_status_code",
				  "200", "error_type", "", NULL)
			 .count;
	asked = metric_histogram(page, CLIENT, "comm", parties.client, "http_response_status_code",
				 "200", "error_type", "", NULL)
			.count;

	if (served != CONNECTIONS * ROUNDS || asked != CONNECTIONS * ROUNDS)
		test_fail("%s, family %d: %.0f served, %.0f asked, not %d", manner->name, family,
			  served, asked, CONNECTIONS * ROUNDS);
	requests_expect_nothing_lost(page);
	page_free(page);
}

static bool ring_is_to_be_had(void)
{
	struct io_uring ring;

	if (io_uring_queue_init(4, &ring, 0))
		return false;
	io_uring_queue_exit(&ring);
	return true;
}

/* Before, they are on the kernel's stack when the request need not wait. Skips the test: the rest has passed. */
static void need_messages_in_memory(void)
{
	struct output *output =
		run_shell("grep -q btf_trace_io_uring_submit_req /sys/kernel/btf/vmlinux");
	bool exists = !output->status;

	output_free(output);
	if (!exists)
		test_skip("all but %s: this kernel does not tell where it puts messages",
			  manner->name);
}

static void every_way(int family)
{
	struct leadline *leadline;

	if (!ring_is_to_be_had())
		test_skip("no io_uring here: see /proc/sys/kernel/io_uring_disabled");
	leadline = leadline_shared("requests");
	for (size_t i = 0; i < N_MANNERS; i++) {
		manner = &manners[i];
		if (manner->operation == MULTISHOT_MESSAGE)
			need_messages_in_memory();
		expect_all(leadline, family);
	}
}

static void every_way_over_tcp(void **state)
{
	every_way(AF_INET);
	(void)state;
}

static void every_way_over_unix_sockets(void **state)
{
	every_way(AF_UNIX);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(every_way_over_tcp),
		HARNESS_TEST(every_way_over_unix_sockets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
