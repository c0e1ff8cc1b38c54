// SPDX-License-Identifier: Apache-2.0
/* Conversations of workloads; see dialogue.h. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "tests/harness/dialogue.h"
#include "tests/harness/harness.h"

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un local;
};

/*
 * The kernel names unix sockets that ask for it: a zero, and a number in five hexadecimal digits, which is the port then. Port 0 asks
 * for one.
 */
#define UNIX_NAME 6

static socklen_t loopback(union address *address, int family, int port)
{
	*address = (union address){ .any.sa_family = (sa_family_t)family };
	if (family == AF_UNIX) {
		snprintf(address->local.sun_path + 1, UNIX_NAME, "%05x", (unsigned)port & 0xfffff);
		return (socklen_t)offsetof(struct sockaddr_un, sun_path) + (port ? UNIX_NAME : 0);
	}
	if (family == AF_INET) {
		address->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		address->v4.sin_port = htons((uint16_t)port);
		return sizeof(address->v4);
	}
	address->v6.sin6_addr = in6addr_loopback;
	address->v6.sin6_port = htons((uint16_t)port);
	return sizeof(address->v6);
}

static int port_of(const union address *address)
{
	if (address->any.sa_family == AF_UNIX)
		return (int)strtol(address->local.sun_path + 1, NULL, 16);
	return ntohs(address->any.sa_family == AF_INET ? address->v4.sin_port
						       : address->v6.sin6_port);
}

int listen_on_loopback(int family, int *ret_port)
{
	int listener = (int)MUST(socket(family, SOCK_STREAM, 0));
	union address address;
	socklen_t size = loopback(&address, family, 0);

	MUST(bind(listener, &address.any, size));
	MUST(listen(listener, 512));
	size = sizeof(address) - 1; /* the name stays terminated */
	memset(&address, 0, sizeof(address));
	MUST(getsockname(listener, &address.any, &size));
	*ret_port = port_of(&address);
	return listener;
}

int connect_to_loopback(int family, int port)
{
	int s = (int)MUST(socket(family, SOCK_STREAM, 0));
	union address address;
	socklen_t size = loopback(&address, family, port);

	MUST(connect(s, &address.any, size));
	return s;
}

void send_bytes(int s, size_t size)
{
	static const char zeroes[65536];

	while (size) {
		size_t part = size < sizeof(zeroes) ? size : sizeof(zeroes);

		size -= (size_t)MUST(send(s, zeroes, part, MSG_NOSIGNAL));
	}
}

void receive_bytes(int s, size_t size)
{
	char buffer[65536];

	while (size) {
		ssize_t n = MUST(recv(s, buffer, size < sizeof(buffer) ? size : sizeof(buffer), 0));

		if (n == 0)
			_exit(101);
		size -= (size_t)n;
	}
}

bool receive_rest(int s)
{
	char buffer[65536];
	ssize_t n;

	while ((n = recv(s, buffer, sizeof(buffer), 0)) > 0)
		;
	if (n < 0 && errno != ECONNRESET)
		MUST(n);
	return n < 0;
}

void close_with_reset(int s)
{
	const struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	MUST(setsockopt(s, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
	MUST(close(s));
}

int try_to_connect(int port)
{
	int s = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
	union address address;
	socklen_t size = loopback(&address, AF_INET, port);
	int result = connect(s, &address.any, size) ? -errno : 0;

	close(s);
	return result;
}

static int be_server(void *argument, void *shared)
{
	const struct dialogue *dialogue = argument;
	int listener, port;

	if (dialogue->network)
		MUST(network_enter(dialogue->network));
	listener = listen_on_loopback(dialogue->family, &port);
	__atomic_store_n((int *)shared, port, __ATOMIC_RELEASE);
	for (int i = 0; i < dialogue->connections; i++)
		dialogue->server((int)MUST(dialogue->accept ? dialogue->accept(listener)
							    : accept(listener, NULL, NULL)));
	return 0;
}

static int be_client(void *argument, void *shared)
{
	const struct dialogue *dialogue = argument;

	(void)shared;
	if (dialogue->network)
		MUST(network_enter(dialogue->network));
	for (int i = 0; i < dialogue->connections; i++)
		dialogue->client(connect_to_loopback(dialogue->family, dialogue->port));
	return 0;
}

struct parties dialogue_hold(struct dialogue *dialogue, double seconds)
{
	struct workload *server = workload_start("server", -1, be_server, dialogue), *client;

	workload_release(server);
	if (!WAIT_UNTIL(dialogue->port = __atomic_load_n((int *)server->shared, __ATOMIC_ACQUIRE),
			10))
		test_fail("the server does not listen");
	client = workload_start("client", -1, be_client, dialogue);
	workload_finish(client, seconds);
	workload_finish(server, seconds);
	return (struct parties){ server->comm, client->comm };
}

/* ---- step by step ---- */

static int step_socket[2] = { -1, -1 }; /* the test's end, the child's */

void await_step(void)
{
	char c = 0;

	MUST(write(step_socket[1], &c, 1));
	if (MUST(read(step_socket[1], &c, 1)) == 0)
		_exit(103);
}

static void wait_for_step(void)
{
	char c;

	if (read(step_socket[0], &c, 1) != 1)
		test_fail("the workload ended before its step");
}

static void close_steps(void *context)
{
	close(step_socket[0]);
	step_socket[0] = step_socket[1] = -1;
	(void)context;
}

struct workload *steps_start(const char *prefix, int (*body)(void *argument, void *shared),
			     void *argument)
{
	struct workload *workload;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, step_socket))
		test_fail("socketpair: %s", strerror(errno));
	cleanup_push(close_steps, step_socket);
	workload = workload_start(prefix, -1, body, argument);
	close(step_socket[1]); /* so that a child that dies is noticed */
	workload_release(workload);
	wait_for_step();
	return workload;
}

void steps_next(void)
{
	char c = 0;

	if (write(step_socket[0], &c, 1) != 1)
		test_fail("the workload has ended: %s", strerror(errno));
	wait_for_step();
}

void steps_finish(struct workload *workload)
{
	char c = 0;

	if (write(step_socket[0], &c, 1) != 1)
		test_fail("the workload has ended: %s", strerror(errno));
	workload_finish(workload, 10);
}
