/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conversations of workloads over TCP or unix sockets: a server and a client, each an entity of its own, and what they say. The functions
 * on sockets run in a workload child: a mistake there ends it with a message.
 */
#ifndef LEADLINE_TESTS_DIALOGUE_H
#define LEADLINE_TESTS_DIALOGUE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "tests/harness/host.h"

/* In a workload child: the value, which must not be negative. */
#define MUST(expression)                                                                           \
	({                                                                                         \
		long must_result = (long)(expression);                                             \
		if (must_result < 0) {                                                             \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #expression,        \
				strerror(errno));                                                  \
			_exit(100);                                                                \
		}                                                                                  \
		must_result;                                                                       \
	})

/* Listens on a free port of the loopback, AF_INET or AF_INET6, or on a unix socket of a free name, AF_UNIX, which is a number, too. */
int listen_on_loopback(int family, int *ret_port);
int connect_to_loopback(int family, int port);
/* The same without insisting: 0 or -errno, the socket closed either way. */
int try_to_connect(int port);

void send_bytes(int s, size_t size);
void receive_bytes(int s, size_t size); /* exactly so many */
bool receive_rest(int s); /* until the other side closes; true when it did so by a reset */
void close_with_reset(int s);

struct dialogue {
	int family;
	int connections; /* one after the other */
	const struct network *network; /* both are inside it; NULL: ours */
	void (*server)(int s); /* these close the socket */
	void (*client)(int s);
	int (*accept)(int listener); /* NULL: accept() */
	int port; /* filled in */
};

struct parties {
	const char *server, *client; /* their program names; live until cleanup */
};

/* Holds it to its end, at most `seconds`. */
struct parties dialogue_hold(struct dialogue *dialogue, double seconds);

/* A workload that goes on one step at a time. In the child: says that a step is done, waits for the next. */
void await_step(void);
/* In the test: starts it and waits for the end of its first step, of its next one, of all. One at a time. */
struct workload *steps_start(const char *prefix, int (*body)(void *argument, void *shared),
			     void *argument);
void steps_next(void);
void steps_finish(struct workload *workload);

#endif
