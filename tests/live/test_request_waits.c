// SPDX-License-Identifier: Apache-2.0
/*
 * Where the time of requests goes, on the running kernel: servers built to wait for one thing each. The reasons must sum to the
 * durations, and what a server waited for must be called so. Root.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include "tests/harness/dialogue.h"
#include "tests/harness/harness.h"

#define WAITS "leadline_request_wait_seconds_total"
#define ASKED 31
#define PAUSE 0.01

/* ---- what servers do before they answer ---- */

static void do_sleep(void)
{
	pause_seconds(PAUSE);
}

static double cpu_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void do_compute(void)
{
	double end = cpu_seconds() + PAUSE;

	while (cpu_seconds() < end)
		;
}

/* Nobody wakes it: the time for which somebody else would hold the lock. */
static void do_lock(void)
{
	const struct timespec pause = { .tv_nsec = (long)(PAUSE * 1e9) };
	uint32_t word = 1;

	syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 1, &pause, NULL, 0);
}

static const char *file;

static void do_write(void)
{
	static char block[1 << 16];
	int fd = (int)MUST(open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600));

	for (int i = 0; i < 4; i++) {
		MUST(write(fd, block, sizeof(block)));
		MUST(fsync(fd));
	}
	close(fd);
}

static int downstream[2];

static void do_ask_downstream(void)
{
	char byte = 'x';

	MUST(send(downstream[0], &byte, 1, 0));
	MUST(recv(downstream[0], &byte, 1, 0));
}

static void be_downstream(void)
{
	char byte;

	close(downstream[0]); /* it ends with whoever has the other end */
	while (recv(downstream[1], &byte, 1, 0) == 1) {
		pause_seconds(PAUSE);
		send(downstream[1], &byte, 1, 0);
	}
	_exit(0);
}

/* ---- conversations ---- */

/* What they speak: framed by the kernel side, or decoded from copies. */
struct language {
	const char *protocol, *operation; /* as the waits have it */
	const char *durations;
	const char *request, *end_of_request, *response;
};

static const struct language languages[] = {
	{ "http", "", "http_server_request_duration_seconds",
	  "GET /waits HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" },
	{ "redis", "GET", "leadline_db_server_operation_duration_seconds",
	  "*2\r\n$3\r\nGET\r\n$4\r\nwait\r\n", "wait\r\n", "$2\r\nok\r\n" },
};
#define LANGUAGES (sizeof(languages) / sizeof(languages[0]))

static const struct language *language;
static void (*work)(void);

static void answer(int s)
{
	work();
	MUST(send(s, language->response, strlen(language->response), 0));
}

static bool read_request(int s)
{
	char request[512];
	size_t size = 0;

	do {
		long n = MUST(recv(s, request + size, sizeof(request) - 1 - size, 0));

		if (!n)
			return false;
		size += (size_t)n;
		request[size] = '\0';
	} while (!strstr(request, language->end_of_request));
	return true;
}

static void serve(int s)
{
	while (read_request(s))
		answer(s);
	close(s);
}

static void ask(int s)
{
	char response[512];

	for (int i = 0; i < ASKED; i++) {
		MUST(send(s, language->request, strlen(language->request), 0));
		MUST(recv(s, response, sizeof(response), 0));
	}
	close(s);
}

/* One thread reads, another one answers. */
static void *answer_elsewhere(void *argument)
{
	answer(*(int *)argument);
	return NULL;
}

static void serve_by_hand_over(int s)
{
	while (read_request(s)) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, answer_elsewhere, &s))
			_exit(101);
		pthread_join(thread, NULL);
	}
	close(s);
}

static double reason_of(const struct page *page, const char *comm, const char *reason)
{
	return metric_sum(page, WAITS, "comm", comm, "reason", reason, NULL);
}

static double all_reasons_of(const struct page *page, const char *comm)
{
	return metric_sum(page, WAITS, "comm", comm, "protocol", language->protocol, "operation",
			  language->operation, NULL);
}

/* Returns the page and the server's name. Every request is counted, and its time all told. */
static struct page *hold(void (*server)(int s), void (*what)(void), const char **ret_comm)
{
	struct leadline *leadline = leadline_shared("sched requests");
	struct dialogue dialogue = {
		.family = AF_INET, .connections = 1, .server = server, .client = ask
	};
	struct page_histogram durations;
	struct parties parties;
	struct page *page;
	double sum;

	work = what;
	parties = dialogue_hold(&dialogue, 30);
	page = leadline_scrape(leadline);
	durations = metric_histogram(page, language->durations, "comm", parties.server, NULL);
	sum = all_reasons_of(page, parties.server);
	assert_float_equal(durations.count, ASKED, 0);
	if (fabs(sum / durations.sum - 1) > 0.01)
		test_fail("the reasons sum to %.6f s, the durations to %.6f s", sum, durations.sum);
	*ret_comm = parties.server;
	return page;
}

/* What it does not decide: how long it runs and waits to run, which depends on the machine. */
static double own_time(const struct page *page, const char *comm)
{
	return reason_of(page, comm, "on_cpu") + reason_of(page, comm, "run_queue") +
	       reason_of(page, comm, "socket_queue") + reason_of(page, comm, "stolen");
}

static void in_each_language(void (*test)(void))
{
	for (size_t i = 0; i < LANGUAGES; i++) {
		language = &languages[i];
		test();
	}
	language = &languages[0];
}

static void (*wait_expected)(void);
static const char *reason_expected;

static void hold_and_expect_wait(void)
{
	const char *comm;
	struct page *page = hold(serve, wait_expected, &comm);
	double waited = all_reasons_of(page, comm) - own_time(page, comm);
	double found = reason_of(page, comm, reason_expected);

	if (found < 0.95 * waited || found <= 0)
		test_fail("%s, %s: %.6f s of %.6f s waited", language->protocol, reason_expected,
			  found, waited);
	page_free(page);
}

static void expect_wait(void (*what)(void), const char *reason)
{
	wait_expected = what;
	reason_expected = reason;
	in_each_language(hold_and_expect_wait);
}

static void hold_sleeping(void)
{
	const char *comm;
	struct page *page = hold(serve, do_sleep, &comm);
	double slept = reason_of(page, comm, "sleep");

	assert_true(slept >= 0.99 * ASKED * PAUSE);
	assert_true(slept > 0.95 * (all_reasons_of(page, comm) - own_time(page, comm)));
	page_free(page);
}

static void sleeping(void **state)
{
	in_each_language(hold_sleeping);
	(void)state;
}

static void hold_computing(void)
{
	const char *comm;
	struct page *page = hold(serve, do_compute, &comm);
	double on_cpu = reason_of(page, comm, "on_cpu");

	assert_true(on_cpu >= 0.95 * ASKED * PAUSE);
	assert_true(own_time(page, comm) > 0.95 * all_reasons_of(page, comm));
	page_free(page);
}

static void computing(void **state)
{
	in_each_language(hold_computing);
	(void)state;
}

static void waiting_for_a_lock(void **state)
{
	expect_wait(do_lock, "lock");
	(void)state;
}

static void waiting_for_the_disk(void **state)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/written", temporary_directory());
	file = path;
	expect_wait(do_write, "disk");
	(void)state;
}

static pid_t start_downstream(void)
{
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, downstream), 0);
	pid = fork();
	if (!pid)
		be_downstream();
	assert_true(pid > 0);
	return pid;
}

static void end_downstream(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(downstream[0]);
	close(downstream[1]);
}

static void waiting_for_another_server(void **state)
{
	pid_t pid = start_downstream();

	expect_wait(do_ask_downstream, "network");
	end_downstream(pid);
	(void)state;
}

/* ---- all of these in one request ---- */

/* What the server measures of them itself, in memory that is shared with it: time that it did not run, and time that it did. */
static struct {
	double waited[4], ran;
} * measured;

static const struct part {
	void (*what)(void);
	const char *reason;
	int times;
} parts[] = {
	{ do_sleep, "sleep", 5 },
	{ do_lock, "lock", 3 },
	{ do_write, "disk", 2 },
	{ do_ask_downstream, "network", 2 },
};
#define PARTS (sizeof(parts) / sizeof(parts[0]))
_Static_assert(PARTS == sizeof(measured->waited) / sizeof(measured->waited[0]), "one for each");

static void do_all(void)
{
	double began_cpu = cpu_seconds();

	do_compute();
	for (size_t i = 0; i < PARTS; i++) {
		double began = clock_seconds(), cpu = cpu_seconds();

		for (int n = 0; n < parts[i].times; n++)
			parts[i].what();
		measured->waited[i] += clock_seconds() - began - (cpu_seconds() - cpu);
	}
	measured->ran += cpu_seconds() - began_cpu;
}

/* At least 95 % of the time is under the right name. It cannot measure how long it waited to run. */
static void hold_all(void)
{
	const char *comm;
	struct page *page;
	double right, all;

	memset(measured, 0, sizeof(*measured));
	page = hold(serve, do_all, &comm);
	all = measured->ran;
	right = fmin(measured->ran, reason_of(page, comm, "on_cpu")) +
		reason_of(page, comm, "run_queue") + reason_of(page, comm, "stolen");
	for (size_t i = 0; i < PARTS; i++) {
		all += measured->waited[i];
		right += fmin(measured->waited[i], reason_of(page, comm, parts[i].reason));
	}
	assert_true(all > ASKED * (1 + 5 + 3 + 2) * PAUSE);
	if (right < 0.95 * all)
		test_fail("%s: %.6f s of %.6f s are under the right name", language->protocol,
			  right, all);
	page_free(page);
}

static void some_of_each(void **state)
{
	char path[300];
	pid_t pid;

	snprintf(path, sizeof(path), "%s/written", temporary_directory());
	file = path;
	measured = mmap(NULL, sizeof(*measured), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	assert_true(measured != MAP_FAILED);
	pid = start_downstream();
	in_each_language(hold_all);
	end_downstream(pid);
	munmap(measured, sizeof(*measured));
	(void)state;
}

/* A busy neighbour on the same CPU. */
static int spin(void *argument, void *shared)
{
	for (;;)
		;
	return 0;
}

static void compute_on_the_first_cpu(int s)
{
	cpu_set_t first;

	CPU_ZERO(&first);
	CPU_SET(0, &first);
	MUST(sched_setaffinity(0, sizeof(first), &first));
	serve(s);
}

static void waiting_for_a_cpu(void **state)
{
	struct workload *hog = workload_start("hog", 0, spin, NULL);
	const char *comm;
	struct page *page;

	workload_release(hog);
	page = hold(compute_on_the_first_cpu, do_compute, &comm);
	kill(hog->pid, SIGKILL);
	assert_true(reason_of(page, comm, "run_queue") > 0.2 * reason_of(page, comm, "on_cpu"));
	assert_true(own_time(page, comm) > 0.95 * all_reasons_of(page, comm));
	page_free(page);
	(void)state;
}

/* Honest: who answered cannot know what the time before was spent on. */
static void hold_by_hand_over(void)
{
	const char *comm;
	struct page *page = hold(serve_by_hand_over, do_sleep, &comm);

	assert_float_equal(reason_of(page, comm, "unattributed"), all_reasons_of(page, comm), 1e-9);
	page_free(page);
}

static void handed_to_another_thread(void **state)
{
	in_each_language(hold_by_hand_over);
	(void)state;
}

/* Two requests in one piece: the second waits for the first, in no queue of the kernel. */
static void ask_twice_at_once(int s)
{
	char requests[256], response[512];
	size_t size = 0;

	snprintf(requests, sizeof(requests), "%s%s", language->request, language->request);
	MUST(send(s, requests, strlen(requests), 0));
	while (size < 2 * strlen(language->response))
		size += (size_t)MUST(recv(s, response, sizeof(response), 0));
	close(s);
}

static void answer_twice(int s)
{
	read_request(s);
	answer(s);
	answer(s);
	receive_rest(s);
	close(s);
}

static void hold_several_at_once(void)
{
	struct leadline *leadline = leadline_shared("sched requests");
	struct dialogue dialogue = { .family = AF_INET,
				     .connections = 1,
				     .server = answer_twice,
				     .client = ask_twice_at_once };
	struct parties parties;
	struct page *page;

	work = do_sleep;
	parties = dialogue_hold(&dialogue, 30);
	page = leadline_scrape(leadline);
	assert_float_equal(
		metric_histogram(page, language->durations, "comm", parties.server, NULL).count, 2,
		0);
	assert_float_equal(
		reason_of(page, parties.server, "unattributed"),
		metric_histogram(page, language->durations, "comm", parties.server, NULL).sum,
		1e-6);
	page_free(page);
}

static void several_at_once(void **state)
{
	in_each_language(hold_several_at_once);
	(void)state;
}

/* Without sched nobody knows, and nothing is said. */
static void hold_without_the_ledger(void)
{
	struct leadline *leadline = leadline_start_only("requests", (const char *const[]){ NULL });
	struct dialogue dialogue = {
		.family = AF_INET, .connections = 1, .server = serve, .client = ask
	};
	struct parties parties;
	struct page *page;

	work = do_sleep;
	parties = dialogue_hold(&dialogue, 30);
	page = leadline_scrape(leadline);
	assert_float_equal(
		metric_histogram(page, language->durations, "comm", parties.server, NULL).count,
		ASKED, 0);
	assert_float_equal(metric_sum(page, WAITS, "comm", parties.server, NULL), 0, 0);
	page_free(page);
	leadline_stop(leadline);
}

static void without_the_ledger(void **state)
{
	in_each_language(hold_without_the_ledger);
	(void)state;
}

int main(void)
{
	language = &languages[0];

	const struct CMUnitTest tests[] = {
		HARNESS_TEST(sleeping),
		HARNESS_TEST(computing),
		HARNESS_TEST(waiting_for_a_lock),
		HARNESS_TEST(waiting_for_the_disk),
		HARNESS_TEST(waiting_for_another_server),
		HARNESS_TEST(some_of_each),
		HARNESS_TEST(waiting_for_a_cpu),
		HARNESS_TEST(handed_to_another_thread),
		HARNESS_TEST(several_at_once),
		HARNESS_TEST(without_the_ledger),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
