/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may go wrong around the agent, done to it on purpose: killed under load, stopped until a ring overflows,
 * flooded with processes and with scrapes, fed with broken HTTP, left without a probe.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/harness/harness.h"

/* ---- killed and started again ---- */

#define SYSCALLS 100003

static int call_getppid(void *argument, void *shared)
{
	(void)argument, (void)shared;
	for (int i = 0; i < SYSCALLS; i++)
		syscall(SYS_getppid);
	return 0;
}

/* Requests without end: the load under which the agent dies. */
static int keep_fetching(void *url, void *shared)
{
	volatile unsigned long *fetched = shared;

	for (;;) {
		struct answer *answer = fetch(NULL, url, NULL, NULL);

		if (answer->status != 200)
			return 1;
		answer_free(answer);
		(*fetched)++;
	}
}

static double getppid_count(struct leadline *leadline, const char *comm)
{
	struct page *page = leadline_scrape(leadline);
	double count = metric_histogram(page, "leadline_syscall_duration_seconds", "comm", comm,
					"syscall", "getppid", NULL)
			       .count;

	page_free(page);
	return count;
}

/* The number a workload of call_getppid() must come to. */
static void expect_getppid_count(struct leadline *leadline, const struct workload *work)
{
	double count = getppid_count(leadline, work->comm);

	if (count != SYSCALLS)
		test_fail("%.0f calls of getppid counted, %d made", count, SYSCALLS);
}

static void killed_under_load_it_starts_again(void **state)
{
	struct nginx *nginx = nginx_start(NULL, NULL);
	char *url = strdup(nginx_url(nginx, "/"));
	struct workload *load = workload_start("load", -1, keep_fetching, url);
	struct leadline *leadline = leadline_start(NULL);
	volatile unsigned long *fetched = load->shared;

	workload_release(load);
	for (int round = 0; round < 3; round++) {
		struct bpf_objects objects = bpf_objects_of(leadline->pid);
		unsigned long before = *fetched;
		struct workload *work;

		assert_true(WAIT_UNTIL(*fetched > before + 50, 20));
		assert_true(objects.n > 0);
		assert_int_equal(leadline_signal(leadline, SIGKILL, 5), 128 + SIGKILL);
		if (!WAIT_UNTIL(bpf_objects_left(&objects) == 0, 10))
			test_fail("%zu of %zu BPF objects are left", bpf_objects_left(&objects),
				  objects.n);

		/* At once, on the same port, with connections of its former life in TIME_WAIT. */
		leadline_respawn(leadline);
		if (!leadline_wait_ready(leadline, 20)) {
			leadline_show_log(leadline);
			test_fail("not ready again");
		}
		work = workload_start("again", -1, call_getppid, NULL);
		workload_finish(work, 30);
		expect_getppid_count(leadline, work);
	}
	assert_true(leadline_alive(leadline));
	leadline_stop(leadline);
	free(url);
	(void)state;
}

/* ---- a ring that overflows ---- */

#define DEATHS 1009

/* Each dies of a signal: an event each. */
static int die_often(void *argument, void *shared)
{
	(void)argument, (void)shared;
	for (int i = 0; i < DEATHS; i++) {
		int status;
		pid_t pid = fork();

		if (pid == 0) {
			signal(SIGUSR1, SIG_DFL);
			raise(SIGUSR1);
			_exit(0);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
			return 1;
	}
	return 0;
}

static void expect_signalled(struct page *page, const struct workload *work, int deaths)
{
	double count = metric_sum(page, "leadline_process_exits_total", "comm", work->comm, "kind",
				  "signal", NULL);

	if (count != deaths)
		test_fail("%.0f deaths by signal counted, %d died", count, deaths);
}

static double ring_losses(struct page *page)
{
	return metric_sum(page, "leadline_probe_lost_total", "probe", "process", "reason",
			  "ring_full", NULL);
}

static void a_full_ring_loses_detail_but_no_counts(void **state)
{
	struct leadline *leadline = leadline_start_only(
		"process", (const char *const[]){ "--probes.process.ring_bytes=4096", NULL });
	struct workload *work = workload_start("dying", -1, die_often, NULL);
	struct page *page;
	double lost;

	kill(leadline->pid, SIGSTOP);
	workload_finish(work, 60);
	kill(leadline->pid, SIGCONT);
	page = leadline_scrape(leadline);
	lost = ring_losses(page);
	if (!(lost > 0 && lost < DEATHS))
		test_fail("%g of %d events lost", lost, DEATHS);
	expect_signalled(page, work, DEATHS);
	page_free(page);

	/* Once it reads again, nothing more is lost. */
	work = workload_start("single", -1, die_often, NULL);
	kill(work->pid, SIGKILL);
	program_wait(work->pid, 5);
	page = leadline_scrape(leadline);
	expect_signalled(page, work, 1);
	assert_true(ring_losses(page) == lost);
	page_free(page);
	leadline_stop(leadline);
	(void)state;
}

/* ---- processes without number ---- */

#define BIRTHS		  5003
#define BIRTHS_PER_SECOND 1000

/* A thousand a second, each under a name of its own: an entity each. */
static int give_birth(void *argument, void *shared)
{
	double start = clock_seconds();

	(void)argument, (void)shared;
	for (int i = 0; i < BIRTHS; i++) {
		double due = start + (double)i / BIRTHS_PER_SECOND, now = clock_seconds();
		int status;
		pid_t pid;

		if (now < due)
			pause_seconds(due - now);
		pid = fork();
		if (pid == 0) {
			char name[16];

			snprintf(name, sizeof(name), "birth%d", i);
			prctl(PR_SET_NAME, name);
			_exit(0);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
			return 1;
	}
	return 0;
}

static double resident_kilobytes(pid_t pid)
{
	char path[64], *text, *at;
	double kilobytes;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	text = read_file(path);
	at = strstr(text, "VmRSS:");
	kilobytes = at ? strtod(at + 6, NULL) : 0;
	free(text);
	return kilobytes;
}

static void births_and_deaths_leave_memory_flat(void **state)
{
	struct leadline *leadline = leadline_start(
		(const char *const[]){ "--max_entities=256", "--entity_linger=1s", NULL });
	struct workload *work = workload_start("mother", -1, give_birth, NULL);
	double resident, grown, recycled, entities;
	struct page *page;

	/* One generation first: buffers find their size. */
	workload_finish(work, 60);
	page_free(leadline_scrape(leadline));
	resident = resident_kilobytes(leadline->pid);
	work = workload_start("mother", -1, give_birth, NULL);
	workload_finish(work, 60);
	page = leadline_scrape(leadline);
	grown = resident_kilobytes(leadline->pid) - resident;
	assert_true(resident > 0);
	if (grown > 2048)
		test_fail("resident memory grew from %g by %g KiB", resident, grown);
	assert_true(metric_value(page, "leadline_entities_limit", NULL) == 256);
	assert_true(metric_value(page, "leadline_entities", NULL) <= 256);
	recycled = metric_value(page, "leadline_entities_recycled_total", NULL);
	if (!(recycled > 256))
		test_fail("%.0f entity ids recycled", recycled);
	page_free(page);

	/* Ids come free again: a newcomer gets one of its own, and its exact count. */
	assert_true(WAIT_UNTIL((page = leadline_scrape(leadline),
				entities = metric_value(page, "leadline_entities", NULL),
				page_free(page), entities < 200),
			       15));
	work = workload_start("new", -1, call_getppid, NULL);
	workload_finish(work, 30);
	expect_getppid_count(leadline, work);
	leadline_stop(leadline);
	(void)state;
}

/* Counts calls, and stays among all those that come and go. */
static int call_without_end(void *argument, void *shared)
{
	(void)argument, (void)shared;
	while (true) {
		for (int i = 0; i < 101; i++)
			syscall(SYS_getppid);
		pause_seconds(0.002);
	}
	return 0;
}

static bool is_counter(const struct page_sample *sample)
{
	const char *end = sample->name + strlen(sample->name);

	return !strcmp(end - 6, "_total") || !strcmp(end - 6, "_count");
}

static const struct page_sample *same_series(const struct page *page,
					     const struct page_sample *sample)
{
	for (size_t i = 0; i < page->n_samples; i++) {
		const struct page_sample *other = &page->samples[i];
		bool same =
			other->n_labels == sample->n_labels && !strcmp(other->name, sample->name);

		for (size_t j = 0; same && j < sample->n_labels; j++)
			same = !strcmp(other->labels[j].name, sample->labels[j].name) &&
			       !strcmp(other->labels[j].value, sample->labels[j].value);
		if (same)
			return other;
	}
	return NULL;
}

/* No counter of this program is gone, or smaller. */
static size_t expect_growth(const struct page *before, const struct page *after, const char *comm)
{
	size_t n = 0;

	for (size_t i = 0; i < before->n_samples; i++) {
		const struct page_sample *old = &before->samples[i], *now;

		if (!is_counter(old) || strcmp(sample_label(old, "comm"), comm))
			continue;
		now = same_series(after, old);
		if (!now)
			test_fail("%s of %s is gone", old->name, comm);
		if (now->value < old->value)
			test_fail("%s of %s: %.9g after %.9g", old->name, comm, now->value,
				  old->value);
		n++;
	}
	return n;
}

static double recycled(const struct page *page)
{
	return metric_value(page, "leadline_entities_recycled_total", NULL);
}

/* While one program lives on, thousands come and go, and every id is given away again. */
static void a_live_series_never_goes_backwards(void **state)
{
	struct leadline *leadline = leadline_start(
		(const char *const[]){ "--max_entities=256", "--entity_linger=1s", NULL });
	struct workload *stayer = workload_start("stayer", -1, call_without_end, NULL), *mother;
	struct page *page, *next;
	size_t compared = 0;

	workload_release(stayer);
	assert_true(WAIT_UNTIL(getppid_count(leadline, stayer->comm) > 0, 10));
	page = leadline_scrape(leadline);
	for (int generation = 0; generation < 5 && recycled(page) <= 256; generation++) {
		mother = workload_start("mother", -1, give_birth, NULL);
		workload_release(mother);
		while (program_wait(mother->pid, 0.1) < 0) {
			next = leadline_scrape(leadline);
			compared += expect_growth(page, next, stayer->comm);
			expect_growth(page, next, "other");
			page_free(page);
			page = next;
		}
	}
	if (recycled(page) <= 256 || compared < 100)
		test_fail("%.0f ids recycled, %zu values compared", recycled(page), compared);
	page_free(page);
	kill(stayer->pid, SIGKILL);
	leadline_stop(leadline);
	(void)state;
}

/* ---- HTTP ---- */

static void broken_http_is_survived(void **state)
{
	static const struct {
		const char *bytes;
		size_t size;
	} requests[] = {
#define BYTES(text) { text, sizeof(text) - 1 }
		BYTES(""),
		BYTES("\r\n\r\n"),
		BYTES("\0\0\0\0\0\0\0\0"),
		BYTES("\xff\xfe\xfd GET /metrics\r\n\r\n"),
		BYTES("GET\r\n\r\n"),
		BYTES("GET /metrics\r\n\r\n"),
		BYTES("GET /metrics HTTP/9.9\r\n\r\n"),
		BYTES("GET /metrics HTTP/1.1\r\nHost\r\n\r\n"),
		BYTES("GET /metrics HTTP/1.1\r\n: x\r\n\r\n"),
		BYTES("GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"),
		BYTES("POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551616\r\n\r\n"),
		BYTES("POST /-/reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
		BYTES("POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nshort"),
		BYTES("GET /metrics?name=%zz%00%ff HTTP/1.1\r\nHost: x\r\n\r\n"),
		BYTES("GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n"),
		BYTES("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: ;;;,,,q=\xff/*;version=\r\n\r\n"),
		BYTES("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip;q=nan\r\n\r\n"),
		BYTES("DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
		BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
		BYTES("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
#undef BYTES
	};
	static char flood[1 << 20];
	struct leadline *leadline = leadline_start_only("host", NULL);
	char reply[65536];

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		long got = send_raw(leadline->port, requests[i].bytes, requests[i].size, reply,
				    sizeof(reply), 1);

		if (got < 0)
			test_fail("request %zu: %s", i, strerror((int)-got));
		if (got > 0 && strstr(reply, "root:"))
			test_fail("request %zu was shown a file", i);
	}
	/* A megabyte of a header, of a path, of newlines. */
	memset(flood, 'a', sizeof(flood));
	memcpy(flood, "GET /metrics HTTP/1.1\r\nX: ", 26);
	send_raw(leadline->port, flood, sizeof(flood), reply, sizeof(reply), 1);
	memcpy(flood, "GET /aaaaaaaaaaaaaaaaaaaaa", 26);
	send_raw(leadline->port, flood, sizeof(flood), reply, sizeof(reply), 1);
	memset(flood, '\n', sizeof(flood));
	send_raw(leadline->port, flood, sizeof(flood), reply, sizeof(reply), 1);

	assert_true(leadline_alive(leadline));
	page_free(leadline_scrape(leadline));
	leadline_stop(leadline);
	(void)state;
}

#define SCRAPERS 200

struct scraper {
	pthread_t thread;
	pthread_barrier_t *start;
	const char *url;
	struct answer *answer;
};

static void *scrape_once(void *context)
{
	struct scraper *scraper = context;

	pthread_barrier_wait(scraper->start);
	scraper->answer = fetch(NULL, scraper->url, NULL, NULL);
	return NULL;
}

static void two_hundred_scrape_at_once(void **state)
{
	static struct scraper scrapers[SCRAPERS];
	/* As by default: those who come together share a collection. */
	struct leadline *leadline =
		leadline_start((const char *const[]){ "--max_age=250ms", NULL });
	pthread_barrier_t start;
	const char *url = leadline_url(leadline, "/metrics");
	size_t refused = 0;

	page_free(leadline_scrape(leadline)); /* libcurl initialises itself, once, here */
	pthread_barrier_init(&start, NULL, SCRAPERS);
	for (int i = 0; i < SCRAPERS; i++) {
		scrapers[i] = (struct scraper){ .start = &start, .url = url };
		assert_int_equal(
			pthread_create(&scrapers[i].thread, NULL, scrape_once, &scrapers[i]), 0);
	}
	for (int i = 0; i < SCRAPERS; i++)
		pthread_join(scrapers[i].thread, NULL);
	for (int i = 0; i < SCRAPERS; i++) {
		struct answer *answer = scrapers[i].answer;
		char error[256] = "";
		struct page *page = answer->status == 200
					    ? page_parse(answer->body, error, sizeof(error))
					    : NULL;

		if (error[0])
			test_fail("scrape %d: %s", i, error);
		if (page && metric_sum(page, "leadline_probe_up", NULL) < 1)
			test_fail("scrape %d is not whole", i);
		if (!page && refused++ == 0)
			printf("# scrape %d: status %ld %s\n", i, answer->status, answer->error);
		page_free(page);
		answer_free(answer);
	}
	pthread_barrier_destroy(&start);
	assert_int_equal(refused, 0);
	leadline_stop(leadline);
	(void)state;
}

/* ---- a probe that cannot work ---- */

static void a_failing_probe_is_survived(void **state)
{
	struct leadline *leadline =
		leadline_start((const char *const[]){ "--probes.host.procfs=/nonexistent", NULL });
	struct page *page = leadline_scrape(leadline);
	struct workload *work;
	struct answer *answer;

	assert_true(metric_value(page, "leadline_probe_up", "probe", "host", NULL) == 0);
	assert_true(metric_value(page, "leadline_probe_up", "probe", "syscalls", NULL) == 1);
	/* Not shown as zero: not shown. */
	assert_int_equal(metric_count(page, "leadline_host_cpu_utilization_ratio", NULL), 0);
	page_free(page);
	assert_true(leadline_logged(leadline, "host has failed"));
	answer = leadline_fetch(leadline, NULL, "/health/detailed", NULL, NULL);
	assert_int_equal(answer->status, 200);
	assert_non_null(strstr(answer->body, "\"failed\""));
	answer_free(answer);
	work = workload_start("others", -1, call_getppid, NULL);
	workload_finish(work, 30);
	expect_getppid_count(leadline, work);
	leadline_stop(leadline);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(killed_under_load_it_starts_again),
		HARNESS_TEST(a_full_ring_loses_detail_but_no_counts),
		HARNESS_TEST(births_and_deaths_leave_memory_flat),
		HARNESS_TEST(a_live_series_never_goes_backwards),
		HARNESS_TEST(broken_http_is_survived),
		HARNESS_TEST(two_hundred_scrape_at_once),
		HARNESS_TEST(a_failing_probe_is_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
