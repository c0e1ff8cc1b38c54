// SPDX-License-Identifier: Apache-2.0
/* The main thread's loop over epoll; see loop.h. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include "agent/log.h"
#include "agent/loop.h"

#define MAX_SOURCES 48
#define HEARTBEAT_MS                                                                               \
	1000 /* turns at least so often, so that a stalled loop can be told from an idle one */

enum source_kind { SOURCE_NONE, SOURCE_FD, SOURCE_TIMER, SOURCE_SIGNAL, SOURCE_WAKE };

struct source {
	enum source_kind kind;
	int fd;
	loop_callback callback;
	void *context;
};

struct loop {
	int epoll_fd, wake_fd;
	bool stopped;
	int punctual_fd; /* -1: none */
	atomic_uint_fast64_t last_turn_ns;
	struct source sources[MAX_SOURCES];
};

int loop_new(struct loop **ret_loop)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int err;

	if (!loop)
		return -ENOMEM;
	loop->wake_fd = -1;
	loop->punctual_fd = -1;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		err = -errno;
		free(loop);
		return err;
	}
	atomic_store(&loop->last_turn_ns, log_clock_ns());
	*ret_loop = loop;
	return 0;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	for (int i = 0; i < MAX_SOURCES; i++)
		if (loop->sources[i].kind > SOURCE_FD)
			close(loop->sources[i].fd);
	close(loop->epoll_fd);
	free(loop);
}

static int add_source(struct loop *loop, struct source source)
{
	for (int i = 0; i < MAX_SOURCES; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.u32 = (uint32_t)i };

		if (loop->sources[i].kind)
			continue;
		if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, source.fd, &event))
			return -errno;
		loop->sources[i] = source;
		return 0;
	}
	return -ENOSPC;
}

/* For files that the loop makes itself: closes them when they cannot be added. */
static int add_owned(struct loop *loop, struct source source)
{
	int err;

	if (source.fd < 0)
		return -errno;
	err = add_source(loop, source);
	if (err)
		close(source.fd);
	return err;
}

int loop_add_fd(struct loop *loop, int fd, loop_callback callback, void *context)
{
	return add_source(loop, (struct source){ SOURCE_FD, fd, callback, context });
}

void loop_remove_fd(struct loop *loop, int fd)
{
	for (int i = 0; i < MAX_SOURCES; i++) {
		if (loop->sources[i].kind != SOURCE_FD || loop->sources[i].fd != fd)
			continue;
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
		loop->sources[i].kind = SOURCE_NONE;
	}
	if (loop->punctual_fd == fd)
		loop->punctual_fd = -1;
}

void loop_be_punctual(struct loop *loop, int fd)
{
	loop->punctual_fd = fd;
}

int loop_add_timer(struct loop *loop, uint64_t interval_ns, loop_callback callback, void *context)
{
	struct timespec interval = { (time_t)(interval_ns / 1000000000ULL),
				     (long)(interval_ns % 1000000000ULL) };
	struct itimerspec times = { .it_interval = interval, .it_value = interval };
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), err;

	if (fd >= 0 && timerfd_settime(fd, 0, &times, NULL)) {
		err = -errno;
		close(fd);
		return err;
	}
	return add_owned(loop, (struct source){ SOURCE_TIMER, fd, callback, context });
}

int loop_add_signal(struct loop *loop, int signal, loop_callback callback, void *context)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signal);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	return add_owned(loop, (struct source){ SOURCE_SIGNAL,
						signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
						callback, context });
}

int loop_on_wake(struct loop *loop, loop_callback callback, void *context)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int err = add_owned(loop, (struct source){ SOURCE_WAKE, fd, callback, context });

	if (!err)
		loop->wake_fd = fd;
	return err;
}

void loop_wake(struct loop *loop)
{
	const uint64_t one = 1;

	/* It can only fail when the counter is full: then a wake is pending anyway. */
	if (loop->wake_fd >= 0 && write(loop->wake_fd, &one, sizeof(one)) < 0)
		return;
}

/* Takes what made a file of the loop's own readable. */
static void consume(const struct source *source)
{
	struct signalfd_siginfo information;
	uint64_t count;
	ssize_t n;

	if (source->kind == SOURCE_SIGNAL)
		n = read(source->fd, &information, sizeof(information));
	else if (source->kind != SOURCE_FD)
		n = read(source->fd, &count, sizeof(count));
	else
		n = 0;
	(void)n; /* EAGAIN: somebody else took it; the callback does no harm */
}

/*
 * Ahead of every thread that is not real-time, or among them again. Without the privilege nothing changes: it is
 * as punctual as the machine is idle.
 */
static void set_ahead(bool ahead)
{
	const struct sched_param parameter = { .sched_priority = ahead };

	sched_setscheduler(0, (ahead ? SCHED_FIFO : SCHED_OTHER) | SCHED_RESET_ON_FORK, &parameter);
}

static void call_back(struct loop *loop, const struct epoll_event *event)
{
	struct source source = loop->sources[event->data.u32];

	if (!source.kind) /* removed by a callback of this turn */
		return;
	consume(&source);
	source.callback(source.context);
}

/* What has to be on time comes first, and ahead of other threads; the rest does not. */
static void call_back_punctual(struct loop *loop, struct epoll_event events[], int n)
{
	for (int i = 0; i < n; i++) {
		if (loop->sources[events[i].data.u32].fd != loop->punctual_fd)
			continue;
		call_back(loop, &events[i]);
		events[i] = events[n - 1];
		events[n - 1].data.u32 = MAX_SOURCES;
		return;
	}
}

int loop_run(struct loop *loop)
{
	struct epoll_event events[MAX_SOURCES];

	loop->stopped = false;
	while (!loop->stopped) {
		bool punctual = loop->punctual_fd >= 0;
		int n;

		if (punctual)
			set_ahead(true);
		n = epoll_wait(loop->epoll_fd, events, MAX_SOURCES, HEARTBEAT_MS);
		if (n < 0 && errno != EINTR)
			return -errno;
		atomic_store_explicit(&loop->last_turn_ns, log_clock_ns(), memory_order_relaxed);
		if (punctual) {
			call_back_punctual(loop, events, n);
			set_ahead(false);
		}
		for (int i = 0; i < n && !loop->stopped; i++)
			if (events[i].data.u32 < MAX_SOURCES)
				call_back(loop, &events[i]);
	}
	return 0;
}

void loop_stop(struct loop *loop)
{
	loop->stopped = true;
}

uint64_t loop_last_turn_ns(const struct loop *loop)
{
	return atomic_load_explicit(&((struct loop *)loop)->last_turn_ns, memory_order_relaxed);
}
