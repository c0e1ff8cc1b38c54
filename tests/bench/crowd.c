/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A crowded host: crowd THREADS CONNECTIONS [CGROUP…] starts three programs, crowd-0 to crowd-2, in each of the control
 * groups given by their directories (without any: where it is), and shares among them so many threads that sleep and
 * so many TCP connections of loopback, both ends held, a byte sent over each. Prints "ready" and stays until its input
 * ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define STACK_SIZE (32 * 1024)
#define PROGRAMS   3 /* in each control group */

static int fail(const char *what)
{
	fprintf(stderr, "crowd: %s: %s\n", what, strerror(errno));
	return -1;
}

static void *sleep_on(void *context)
{
	(void)context;
	for (;;)
		pause();
	return NULL;
}

static int start_threads(long n)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	pthread_attr_setguardsize(&attributes, 0);
	for (long i = 0; i < n; i++) {
		errno = pthread_create(&thread, &attributes, sleep_on, NULL);
		if (errno)
			return fail("pthread_create");
	}
	return 0;
}

static int open_connections(long n)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct rlimit limit;
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) ||
	    listen(listener, 16) || getsockname(listener, (struct sockaddr *)&address, &size))
		return fail("listen");
	for (long i = 0; i < n; i++) {
		int client = socket(AF_INET, SOCK_STREAM, 0), server;
		char byte = 'x';

		if (client < 0 || connect(client, (struct sockaddr *)&address, size))
			return fail("connect");
		server = accept(listener, NULL, NULL);
		if (server < 0 || write(client, &byte, 1) != 1 || read(server, &byte, 1) != 1)
			return fail("accept");
	}
	return 0;
}

static int enter(const char *cgroup)
{
	char path[4096], text[16];
	int fd, n = snprintf(text, sizeof(text), "%d", getpid());
	ssize_t written;

	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	fd = open(path, O_WRONLY);
	written = fd < 0 ? -1 : write(fd, text, (size_t)n);
	close(fd);
	return written == n ? 0 : fail(path);
}

/* Says on `ready` that it is; never returns. */
static void live(const char *cgroup, long program, long threads, long connections, int ready)
{
	char byte = 'x', name[16];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(name, sizeof(name), "crowd-%ld", program);
	prctl(PR_SET_NAME, name);
	if ((cgroup && enter(cgroup)) || start_threads(threads - 1) ||
	    open_connections(connections) || write(ready, &byte, 1) != 1)
		_exit(1);
	sleep_on(NULL);
}

int main(int argc, char **argv)
{
	long threads = argc > 2 ? atol(argv[1]) : 0, connections = argc > 2 ? atol(argv[2]) : 0;
	long n = PROGRAMS * (argc > 3 ? argc - 3 : 1);
	int ready[2];
	char byte;

	if (threads < n) {
		fprintf(stderr, "usage: crowd THREADS CONNECTIONS [CGROUP...]\n");
		return 2;
	}
	if (pipe(ready))
		return 1;
	/* One at a time, so that none is refused for a burst. */
	for (long i = 0; i < n; i++) {
		pid_t child = fork();

		if (child < 0)
			return fail("fork") ? 1 : 0;
		if (child == 0) {
			close(ready[0]);
			live(argc > 3 ? argv[3 + i / PROGRAMS] : NULL, i % PROGRAMS,
			     threads * (i + 1) / n - threads * i / n,
			     connections * (i + 1) / n - connections * i / n, ready[1]);
		}
	}
	close(ready[1]);
	for (long i = 0; i < n; i++)
		if (read(ready[0], &byte, 1) != 1)
			return 1;
	printf("ready\n");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}
