// SPDX-License-Identifier: Apache-2.0
/* Every second of a thread's life is somewhere in the ledger, under the right name. */
#include "tests/harness/harness.h"
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * By how much a stopwatch and the scheduler's clock may differ: the latter counts cycles of the CPU, and of an emulated one
 * the kernel does not know well how many there are in a second.
 */
static double clock_error(void)
{
	return is_emulated() ? 0.15 : 0.01;
}

static double ledger_wait(const struct page *page, const char *comm, const char *reason)
{
	return metric_sum(page, "leadline_cpu_wait_seconds_total", "comm", comm, "reason", reason,
			  NULL);
}

static double ledger_total(const struct page *page, const char *comm)
{
	return metric_sum(page, "leadline_cpu_seconds_total", "comm", comm, NULL) +
	       metric_sum(page, "leadline_cpu_wait_seconds_total", "comm", comm, NULL);
}

static double cpu_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int spin(void *argument, void *shared)
{
	double seconds = *(const double *)argument;

	while (cpu_seconds() < seconds)
		;
	*(double *)shared = clock_seconds();
	return 0;
}

/* Waiting for something, as opposed to standing in a queue for a CPU. */
static double waits_of(const struct page *page, const char *comm)
{
	return metric_sum(page, "leadline_cpu_wait_seconds_total", "comm", comm, NULL) -
	       ledger_wait(page, comm, "run_queue") - ledger_wait(page, comm, "stolen");
}

/* Naps, computes and writes in turn. */
static int mix(void *argument, void *shared)
{
	double end = clock_seconds() + 1.0;
	int ends[2];
	char bytes[64] = "";

	if (pipe(ends))
		return 1;
	while (clock_seconds() < end) {
		for (volatile int i = 0; i < 100000; i++)
			;
		usleep(700);
		if (write(ends[1], bytes, sizeof(bytes)) < 0 ||
		    read(ends[0], bytes, sizeof(bytes)) < 0)
			return 1;
	}
	*(double *)shared = clock_seconds();
	return 0;
}

static void test_parts_sum_to_the_time_of_life(void **state)
{
	static double busy = 0.5;
	struct leadline *leadline = leadline_start_only("sched", (const char *[]){ NULL });
	struct workload *workloads[] = {
		workload_start("spin", 1, spin, &busy),
		workload_start("spin", 1, spin, &busy),
		workload_start("mix", 1, mix, NULL),
	};
	double began[3], before[3];
	struct page *page = leadline_scrape(leadline);

	for (int i = 0; i < 3; i++) {
		began[i] = clock_seconds();
		before[i] = ledger_total(page, workloads[i]->comm);
	}
	page_free(page);
	for (int i = 0; i < 3; i++)
		workload_release(workloads[i]);
	for (int i = 0; i < 3; i++)
		workload_finish(workloads[i], 30);
	page = leadline_scrape(leadline);
	for (int i = 0; i < 3; i++) {
		double life = *(double *)workloads[i]->shared - began[i];
		double told = ledger_total(page, workloads[i]->comm) - before[i];

		/* the ends of the stopwatch are a scrape and an exit away from those of the ledger */
		if (fabs(told - life) > life * clock_error() + 0.02)
			test_fail("%s: the ledger has %.4f s of %.4f s", workloads[i]->comm, told,
				  life);
	}
	page_free(page);
	leadline_stop(leadline);
}

/* ---- threads that the agent does not see from birth to death ---- */

#define OLD_THREADS 5

/* Computes and naps until it is told to end. */
static void *compute_and_nap(void *shared)
{
	const volatile int *must_end = shared;

	while (!*must_end) {
		for (volatile int i = 0; i < 100000; i++)
			;
		usleep(1300);
	}
	return NULL;
}

static int have_old_threads(void *argument, void *shared)
{
	pthread_t threads[OLD_THREADS - 1];

	for (int i = 0; i < OLD_THREADS - 1; i++)
		if (pthread_create(&threads[i], NULL, compute_and_nap, shared))
			return 1;
	((volatile int *)shared)[1] = 1;
	compute_and_nap(shared);
	for (int i = 0; i < OLD_THREADS - 1; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

/* A page, and between which times it shows all that was. */
struct look {
	double total, earliest, latest;
};

static struct look look_at(struct leadline *leadline, const char *comm)
{
	struct look look = { .earliest = clock_seconds() };
	struct page *page = leadline_scrape(leadline);

	look.latest = clock_seconds();
	look.total = ledger_total(page, comm);
	page_free(page);
	return look;
}

/* Older than the agent, and alive at both looks: what it was doing when the agent came counts from then on. */
static void test_threads_older_than_the_agent_are_all_there(void **state)
{
	struct workload *workload = workload_start("older", -1, have_old_threads, NULL);
	volatile int *must_end = workload->shared;
	struct leadline *leadline;
	struct look first, second;
	double told, least, most;

	workload_release(workload);
	assert_true(WAIT_UNTIL(must_end[1], 10));
	leadline = leadline_start_only("sched", NULL);
	first = look_at(leadline, workload->comm);
	pause_seconds(2);
	second = look_at(leadline, workload->comm);
	told = second.total - first.total;
	least = OLD_THREADS * (second.earliest - first.latest);
	most = OLD_THREADS * (second.latest - first.earliest);
	/* one that stands in the run queue at a look is charged for it when it has had its turn */
	if (told < least * (1 - clock_error()) - 0.03 * OLD_THREADS ||
	    told > most * (1 + clock_error()) + 0.03 * OLD_THREADS)
		test_fail("the ledger has %.4f s of %.4f to %.4f s", told, least, most);
	must_end[0] = 1;
	workload_finish(workload, 10);
	leadline_stop(leadline);
}

#define BRIEF_THREADS 211

struct lives {
	double own; /* of all threads, by clocks they read themselves */
	double around; /* the same, from making to joining them */
	double began, ended; /* the first thread */
};

static void *live_briefly(void *own)
{
	double began = clock_seconds();

	for (volatile int i = 0; i < 300000; i++)
		;
	usleep(2000);
	*(double *)own += clock_seconds() - began;
	return NULL;
}

static int have_brief_threads(void *argument, void *shared)
{
	struct lives *lives = shared;

	lives->began = clock_seconds();
	for (int i = 0; i < BRIEF_THREADS; i++) {
		double began = clock_seconds();
		pthread_t thread;

		if (pthread_create(&thread, NULL, live_briefly, &lives->own) ||
		    pthread_join(thread, NULL))
			return 1;
		lives->around += clock_seconds() - began;
	}
	lives->ended = clock_seconds();
	return 0;
}

/* Made and gone with nobody looking. */
static void test_threads_that_end_between_pages_are_all_there(void **state)
{
	struct leadline *leadline =
		leadline_start_only("sched", (const char *[]){ "--interval=1h", NULL });
	struct workload *workload = workload_start("brief", -1, have_brief_threads, NULL);
	const struct lives *lives = workload->shared;
	struct look before = look_at(leadline, workload->comm), after;
	double told, least, most;

	workload_finish(workload, 60);
	after = look_at(leadline, workload->comm);
	told = after.total - before.total;
	least = lives->own + lives->ended - lives->began;
	most = lives->around + lives->ended - before.earliest;
	/* at its end a process has some way to go behind its last look at the clock */
	if (told < (1 - clock_error()) * least || told > (1 + clock_error()) * most + 0.02)
		test_fail("the ledger has %.4f s of %.4f to %.4f s", told, least, most);
	leadline_stop(leadline);
}

/* ---- throttled, preempted ---- */

static double throttled_seconds(const char *directory)
{
	char path[256], *text, *at;
	double seconds = -1;

	snprintf(path, sizeof(path), "%s/cpu.stat", directory);
	text = read_file(path);
	at = strstr(text, "throttled_time ");
	if (at)
		seconds = strtod(at + strlen("throttled_time "), NULL) * 1e-9;
	free(text);
	return seconds;
}

static void test_throttled_time_is_that_of_cpu_stat(void **state)
{
	static double busy = 0.4;
	struct leadline *leadline = leadline_start_only("sched", (const char *[]){ NULL });
	const char *directory = cgroup_create_v1("cpu", "quota");
	struct workload *workload = workload_start("quota", 1, spin, &busy);
	double expected, told;
	struct page *page;

	shell("echo 50000 > %s/cpu.cfs_period_us && echo 10000 > %s/cpu.cfs_quota_us", directory,
	      directory);
	cgroup_enter(directory, workload->pid);
	workload_finish(workload, 30);
	expected = throttled_seconds(directory);
	page = leadline_scrape(leadline);
	told = ledger_wait(page, workload->comm, "throttled");
	if (expected < 0.2 || fabs(told - expected) > 0.05 * expected)
		test_fail("throttled for %.4f s, cpu.stat has %.4f s", told, expected);
	if (told <
	    0.95 * (waits_of(page, workload->comm) - ledger_wait(page, workload->comm, "pipe")))
		test_fail("throttled for %.4f s only", told);
	page_free(page);
	leadline_stop(leadline);
}

/* NULL: by anybody */
static double preempted_by(const struct page *page, const char *comm, const char *by)
{
	return metric_sum(page, "leadline_cpu_preempted_seconds_total", "comm", comm,
			  by ? "by" : NULL, by, NULL);
}

static void test_the_culprit_is_named(void **state)
{
	static const char *const nobody[] = { "self", "kernel", "idle", "brief", "other" };
	static double victim_busy = 0.3, culprit_busy = 1.5;
	struct leadline *leadline = leadline_start_only("sched", (const char *[]){ NULL });
	struct workload *culprits[3], *victim = workload_start("victim", 1, spin, &victim_busy);
	double blamed = 0, waited;
	struct page *page;

	for (int i = 0; i < 3; i++)
		culprits[i] = workload_start("culprit", 1, spin, &culprit_busy);
	for (int i = 0; i < 3; i++)
		workload_release(culprits[i]);
	workload_finish(victim, 30);
	page = leadline_scrape(leadline);
	/* the culprits are named by their group, like other programs beside them: nobody else is left over */
	waited = ledger_wait(page, victim->comm, "run_queue") -
		 preempted_by(page, victim->comm, "kernel");
	/* one that only computes waits for nothing else */
	if (waits_of(page, victim->comm) - ledger_wait(page, victim->comm, "pipe") > 0.05 * waited)
		test_fail("waited %.3f s for a CPU, and %.3f s for other things", waited,
			  waits_of(page, victim->comm));
	blamed = preempted_by(page, victim->comm, NULL);
	for (size_t i = 0; i < sizeof(nobody) / sizeof(nobody[0]); i++)
		blamed -= preempted_by(page, victim->comm, nobody[i]);
	page_free(page);
	if (waited < 0.3 || blamed < 0.9 * waited)
		test_fail("waited %.3f s, of which %.3f s are blamed on other programs", waited,
			  blamed);
	for (int i = 0; i < 3; i++)
		workload_finish(culprits[i], 30);
	leadline_stop(leadline);
}

/* ---- one workload for each reason ---- */

#define ROUNDS 2003

/* Passes a byte to a child and back, over whatever the two ends are. */
static int play_ping_pong(int ours_in, int ours_out, int theirs_in, int theirs_out)
{
	char byte = 'x';

	if (!fork()) {
		for (int i = 0; i < ROUNDS; i++)
			if (read(theirs_in, &byte, 1) != 1 || write(theirs_out, &byte, 1) != 1)
				_exit(1);
		_exit(0);
	}
	for (int i = 0; i < ROUNDS; i++)
		if (write(ours_out, &byte, 1) != 1 || read(ours_in, &byte, 1) != 1)
			return 1;
	return 0;
}

static int pipe_ping_pong(void *argument, void *shared)
{
	int there[2], back[2];

	if (pipe(there) || pipe(back))
		return 1;
	return play_ping_pong(back[0], there[1], there[0], back[1]);
}

static int socket_wait(void *argument, void *shared)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		return 1;
	return play_ping_pong(ends[0], ends[0], ends[1], ends[1]);
}

static int nap(void *argument, void *shared)
{
	for (int i = 0; i < 307; i++)
		usleep(1000);
	return 0;
}

static int fork_storm(void *argument, void *shared)
{
	for (int i = 0; i < 211; i++) {
		pid_t child = fork();

		if (child == 0) {
			for (volatile int n = 0; n < 300000; n++)
				;
			_exit(0);
		}
		if (waitpid(child, NULL, 0) != child)
			return 1;
	}
	return 0;
}

static pthread_mutex_t fought_over = PTHREAD_MUTEX_INITIALIZER;

static void *fight(void *argument)
{
	for (int i = 0; i < 97; i++) {
		pthread_mutex_lock(&fought_over);
		for (volatile int n = 0; n < 200000; n++)
			;
		pthread_mutex_unlock(&fought_over);
	}
	return NULL;
}

static int futex_fight(void *argument, void *shared)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		if (pthread_create(&threads[i], NULL, fight, NULL))
			return 1;
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

static int direct_reads(void *device, void *shared)
{
	int fd = open(device, O_RDONLY | O_DIRECT);
	void *block;

	if (fd < 0 || posix_memalign(&block, 4096, 4096))
		return 1;
	for (int i = 0; i < ROUNDS; i++)
		if (pread(fd, block, 4096, (i * 7919L % 4096) * 4096) != 4096)
			return 1;
	return 0;
}

/* Pages of a mapped device that are not in memory: it stops at each of them, in no system call. */
static int touch_pages(void *device, void *shared)
{
	int fd = open(device, O_RDONLY);
	volatile char *pages = mmap(NULL, 16 << 20, PROT_READ, MAP_PRIVATE, fd, 0);
	int sum = 0;

	if (pages == MAP_FAILED || madvise((void *)pages, 16 << 20, MADV_RANDOM))
		return 1;
	for (long i = 0; i < ROUNDS; i++)
		sum += pages[(i * 7919 % 4096) * 4096];
	return sum == 12345;
}

/*
 * Before its work each workload waits in a pipe to be released, which is not counted but where the work is just
 * that.
 */
static double total_wait(const struct page *page, const char *comm, const char *reason)
{
	double total = waits_of(page, comm);

	return strcmp(reason, "pipe") ? total - ledger_wait(page, comm, "pipe") : total;
}

static void test_each_workload_waits_for_what_it_does(void **state)
{
	const struct {
		const char *prefix, *reason;
		workload_body *body;
		void *argument;
	} works[] = {
		{ "pingpng", "pipe", pipe_ping_pong, NULL },
		{ "socket", "network", socket_wait, NULL },
		{ "nap", "sleep", nap, NULL },
		{ "storm", "child", fork_storm, NULL },
		{ "futex", "lock", futex_fight, NULL },
		{ "direct", "disk", direct_reads, (void *)loop_device(16) },
		{ "fault", "fault", touch_pages, (void *)loop_device(16) },
	};
	struct leadline *leadline = leadline_start_only("sched", (const char *[]){ NULL });

	for (size_t i = 0; i < sizeof(works) / sizeof(works[0]); i++) {
		struct workload *workload =
			workload_start(works[i].prefix, -1, works[i].body, works[i].argument);
		struct page *before = leadline_scrape(leadline), *after;
		double waited, expected;

		workload_finish(workload, 30);
		after = leadline_scrape(leadline);
		waited = total_wait(after, workload->comm, works[i].reason) -
			 total_wait(before, workload->comm, works[i].reason);
		expected = ledger_wait(after, workload->comm, works[i].reason) -
			   ledger_wait(before, workload->comm, works[i].reason);
		if (waited <= 0 || expected < 0.95 * waited)
			test_fail("%s: %.4f s of %.4f s waited for %s", workload->comm, expected,
				  waited, works[i].reason);
		page_free(before);
		page_free(after);
	}
	leadline_stop(leadline);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(test_each_workload_waits_for_what_it_does),
		HARNESS_TEST(test_parts_sum_to_the_time_of_life),
		HARNESS_TEST(test_threads_older_than_the_agent_are_all_there),
		HARNESS_TEST(test_threads_that_end_between_pages_are_all_there),
		HARNESS_TEST(test_throttled_time_is_that_of_cpu_stat),
		HARNESS_TEST(test_the_culprit_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
