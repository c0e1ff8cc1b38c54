// SPDX-License-Identifier: Apache-2.0
/* The sched probe against the kernel's own books: /proc/PID/schedstat and /proc/PID/status. */
#include "tests/harness/harness.h"
#include <linux/futex.h>
#include <math.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- the kernel's books ---- */

struct books {
	double on_cpu, run_queue; /* seconds */
	double voluntary, involuntary;
};

static double status_field(pid_t pid, const char *field)
{
	char path[64], *text, *at;
	double value = -1;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	text = read_file(path);
	at = strstr(text, field);
	if (at)
		value = strtod(at + strlen(field), NULL);
	free(text);
	return value;
}

static struct books read_books(pid_t pid)
{
	struct books books = {};
	unsigned long long ran, waited;
	char path[64], *text;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	text = read_file(path);
	if (sscanf(text, "%llu %llu", &ran, &waited) != 2)
		test_fail("%s: '%s'", path, text);
	free(text);
	books.on_cpu = (double)ran * 1e-9;
	books.run_queue = (double)waited * 1e-9;
	books.voluntary = status_field(pid, "\nvoluntary_ctxt_switches:");
	books.involuntary = status_field(pid, "\nnonvoluntary_ctxt_switches:");
	return books;
}

static void assert_within(const char *what, double value, double expected, double relative,
			  double absolute)
{
	if (fabs(value - expected) > fabs(expected) * relative + absolute)
		test_fail("%s: %.9g, expected %.9g", what, value, expected);
}

static double wait_seconds(const struct page *page, const struct workload *workload,
			   const char *reason)
{
	return metric_sum(page, "leadline_cpu_wait_seconds_total", "comm", workload->comm, "reason",
			  reason, NULL);
}

/* ---- workloads ---- */

static double seconds_now(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

struct stages {
	volatile bool done; /* the work is done, the process still there to be looked at */
	volatile bool may_end;
};

/* So that /proc/PID is still there when the books are compared. */
static void stay(struct stages *stages)
{
	stages->done = true;
	while (!stages->may_end)
		usleep(1000);
}

static int spin_for_a_second(void *argument, void *shared)
{
	while (seconds_now(CLOCK_PROCESS_CPUTIME_ID) < 1.0)
		;
	stay(shared);
	return 0;
}

static bool is_done(struct workload *workload)
{
	return ((struct stages *)workload->shared)->done;
}

static void let_end(struct workload *workload)
{
	((struct stages *)workload->shared)->may_end = true;
	workload_finish(workload, 10);
}

/* ---- tests ---- */

static void test_contended_time_is_that_of_schedstat(void **state)
{
	struct leadline *leadline = leadline_start_only("sched", (const char *[]){ NULL });
	struct workload *workloads[3];
	struct page *page;

	require_real_time();
	for (int i = 0; i < 3; i++)
		workloads[i] = workload_start("spin", 1, spin_for_a_second, NULL);
	for (int i = 0; i < 3; i++)
		workload_release(workloads[i]);
	for (int i = 0; i < 3; i++)
		assert_true(WAIT_UNTIL(is_done(workloads[i]), 30));
	page = leadline_scrape(leadline);
	for (int i = 0; i < 3; i++) {
		struct books books = read_books(workloads[i]->pid);
		struct page_histogram latency =
			metric_histogram(page, "leadline_cpu_runqueue_latency_seconds", "comm",
					 workloads[i]->comm, NULL);

		assert_within("on the CPU",
			      metric_sum(page, "leadline_cpu_seconds_total", "comm",
					 workloads[i]->comm, NULL),
			      books.on_cpu, 0.02, 0);
		assert_within("in the run queue", latency.sum, books.run_queue, 0.02, 0);
		assert_true(books.run_queue > 1); /* it was contended */
		assert_true(latency.count > 100);
	}
	page_free(page);
	for (int i = 0; i < 3; i++)
		let_end(workloads[i]);
	leadline_stop(leadline);
}

#define NAPS 307

/* How often this thread gave its CPU up so far, as the kernel counts. */
static long switches(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_THREAD, &usage))
		_exit(100);
	return usage.ru_nvcsw;
}

static int nap(void *argument, void *shared)
{
	struct timespec time = { .tv_nsec = 1000000 };
	long *switched = shared, before = switches();

	for (int i = 0; i < NAPS; i++)
		nanosleep(&time, NULL);
	*switched = switches() - before;
	return 0;
}

static void test_switches_are_exact(void **state)
{
	struct leadline *leadline = leadline_start_only("sched", (const char *[]){ NULL });
	struct workload *workload = workload_start("nap", 1, nap, NULL);
	double seen_before, seen;
	struct page *page;
	long naps;

	/* it waits to be released */
	assert_true(WAIT_UNTIL(status_field(workload->pid, "\nvoluntary_ctxt_switches:") > 0, 10));
	page = leadline_scrape(leadline);
	seen_before = metric_sum(page, "leadline_context_switches_total", "comm", workload->comm,
				 "kind", "voluntary", NULL);
	page_free(page);
	workload_finish(workload, 30);
	naps = *(long *)workload->shared;
	/* Where the CPU itself is kept waiting, as in a virtual machine, a nap may be over before the thread is down. */
	assert_true(naps > NAPS / 2 && naps <= NAPS);
	page = leadline_scrape(leadline);
	seen = metric_sum(page, "leadline_context_switches_total", "comm", workload->comm, "kind",
			  "voluntary", NULL);
	/* the naps and the end of the process */
	assert_true(seen - seen_before == (double)naps + 1);
	page_free(page);
	leadline_stop(leadline);
}

/* Runs on a CPU of its own: never switched away from, yet its time must show. */
static void test_a_thread_that_never_switches_is_counted(void **state)
{
	struct leadline *leadline = leadline_start_only("sched", (const char *[]){ NULL });
	struct workload *workload = workload_start("hog", 1, spin_for_a_second, NULL);
	struct page *page;
	double first, second;

	workload_release(workload);
	assert_true(WAIT_UNTIL(read_books(workload->pid).on_cpu > 0.3, 20));
	page = leadline_scrape(leadline);
	first = metric_sum(page, "leadline_cpu_seconds_total", "comm", workload->comm, NULL);
	page_free(page);
	assert_true(WAIT_UNTIL(read_books(workload->pid).on_cpu > 0.6, 20));
	page = leadline_scrape(leadline);
	second = metric_sum(page, "leadline_cpu_seconds_total", "comm", workload->comm, NULL);
	page_free(page);
	assert_true(first >= 0.28);
	assert_true(second >= 0.58);
	let_end(workload);
	leadline_stop(leadline);
}

/* ---- reasons ---- */

#define REASON_SECONDS 1

static int wait_in_sleep(void *argument, void *shared)
{
	sleep(REASON_SECONDS);
	return 0;
}

static int wait_in_poll(void *argument, void *shared)
{
	poll(NULL, 0, REASON_SECONDS * 1000);
	return 0;
}

static int wait_in_lock(void *argument, void *shared)
{
	struct timespec timeout = { .tv_sec = REASON_SECONDS };

	syscall(SYS_futex, shared, FUTEX_WAIT, 0, &timeout, NULL, 0);
	return 0;
}

static void child_sleeps_then_writes(int fd)
{
	if (fork())
		return;
	sleep(REASON_SECONDS);
	_exit(fd >= 0 && write(fd, "x", 1) != 1);
}

static int wait_in_child(void *argument, void *shared)
{
	child_sleeps_then_writes(-1);
	return wait(NULL) < 0;
}

static int wait_in_pipe(void *argument, void *shared)
{
	char byte;
	int ends[2];

	if (pipe(ends))
		return 1;
	child_sleeps_then_writes(ends[1]);
	return read(ends[0], &byte, 1) != 1;
}

static int wait_in_socket_read(void *argument, void *shared)
{
	char byte;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		return 1;
	child_sleeps_then_writes(ends[1]);
	return read(ends[0], &byte, 1) != 1;
}

static int wait_in_accept(void *argument, void *shared)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval timeout = { .tv_sec = REASON_SECONDS };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 1) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)))
		return 1;
	return accept(fd, NULL, NULL) >= 0;
}

static int wait_stopped(void *argument, void *shared)
{
	if (!fork()) {
		sleep(REASON_SECONDS);
		kill(getppid(), SIGCONT);
		_exit(0);
	}
	raise(SIGSTOP);
	return 0;
}

static const struct {
	const char *reason, *prefix;
	workload_body *body;
} reasons[] = {
	{ "sleep", "sleep", wait_in_sleep },	 { "poll", "poll", wait_in_poll },
	{ "lock", "lock", wait_in_lock },	 { "child", "child", wait_in_child },
	{ "pipe", "pipe", wait_in_pipe },	 { "network", "sockrd", wait_in_socket_read },
	{ "network", "accept", wait_in_accept }, { "stopped", "stop", wait_stopped },
};
#define N_REASONS (sizeof(reasons) / sizeof(reasons[0]))

static void test_waits_have_their_reason(void **state)
{
	struct leadline *leadline = leadline_start_only("sched", (const char *[]){ NULL });
	struct workload *workloads[N_REASONS];
	double before[N_REASONS];
	struct page *page;

	for (size_t i = 0; i < N_REASONS; i++)
		workloads[i] = workload_start(reasons[i].prefix, -1, reasons[i].body, NULL);
	page = leadline_scrape(leadline);
	for (size_t i = 0; i < N_REASONS; i++)
		before[i] = wait_seconds(page, workloads[i], reasons[i].reason);
	page_free(page);
	for (size_t i = 0; i < N_REASONS; i++)
		workload_release(workloads[i]);
	for (size_t i = 0; i < N_REASONS; i++)
		workload_finish(workloads[i], 20);
	page = leadline_scrape(leadline);
	for (size_t i = 0; i < N_REASONS; i++) {
		double waited = wait_seconds(page, workloads[i], reasons[i].reason) - before[i];

		/* what an emulated CPU misses of its host's time may be put down as time in the run queue */
		if (waited < (is_emulated() ? 0.5 : 0.95) * REASON_SECONDS)
			test_fail("%s waited %.3f s for %s, expected %d s", workloads[i]->comm,
				  waited, reasons[i].reason, REASON_SECONDS);
	}
	page_free(page);
	leadline_stop(leadline);
}

/* ---- entities ---- */

static int become_sleep(void *argument, void *shared)
{
	execlp(argument, argument, "30", NULL);
	return 1;
}

/* A program is known by its own name from its first instruction on, and the one before it keeps its own. */
static void test_exec_changes_the_entity(void **state)
{
	struct leadline *leadline = leadline_start_only("sched", (const char *[]){ NULL });
	const char *directory = temporary_directory();
	struct workload *workload;
	struct page *page;
	char path[256];

	snprintf(path, sizeof(path), "%s/lltest-execd", directory);
	shell("cp /bin/sleep %s", path);
	workload = workload_start("exec", -1, become_sleep, path);
	workload_release(workload);
	assert_true(WAIT_UNTIL(({
				       double n;

				       page = leadline_scrape(leadline);
				       n = metric_sum(page, "leadline_cpu_seconds_total", "comm",
						      "lltest-execd", NULL);
				       page_free(page);
				       n > 0;
			       }),
			       10));
	kill(workload->pid, SIGKILL);
	leadline_stop(leadline);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(test_contended_time_is_that_of_schedstat),
		HARNESS_TEST(test_switches_are_exact),
		HARNESS_TEST(test_a_thread_that_never_switches_is_counted),
		HARNESS_TEST(test_waits_have_their_reason),
		HARNESS_TEST(test_exec_changes_the_entity),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
