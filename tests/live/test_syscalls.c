// SPDX-License-Identifier: Apache-2.0
/* The syscalls probe on the running kernel: known numbers of calls, failures and sleeps. Root. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "tests/harness/dialogue.h"
#include "tests/harness/harness.h"

#define DURATION "leadline_syscall_duration_seconds"
#define FSYNC	 "leadline_fsync_duration_seconds"
#define ERRORS	 "leadline_syscall_errors_total"

static struct leadline *start_agent(void)
{
	return leadline_start_only("syscalls", NULL);
}

static double calls_of(const struct page *page, const char *comm, const char *syscall)
{
	return metric_histogram(page, DURATION, "comm", comm, "syscall", syscall, NULL).count;
}

static double errors_of(const struct page *page, const char *comm, const char *syscall,
			const char *name)
{
	return metric_sum(page, ERRORS, "comm", comm, "syscall", syscall, "errno", name, NULL);
}

static double lost(const struct page *page, const char *reason)
{
	return metric_sum(page, "leadline_probe_lost_total", "probe", "syscalls", "reason", reason,
			  NULL);
}

/* Runs the body under a name of its own, and scrapes when it is done. */
static struct page *page_after(struct leadline *leadline, struct workload *workload)
{
	workload_finish(workload, 60);
	return leadline_scrape(leadline);
}

#define CALLS 1000003

/* Tells in `shared` how many seconds the calls took, by its own clock. */
static int ask_for_parent(void *argument, void *shared)
{
	double began = clock_seconds();

	for (int i = 0; i < CALLS; i++)
		syscall(SYS_getppid);
	*(double *)shared = clock_seconds() - began;
	(void)argument;
	return 0;
}

static void a_million_calls_are_counted_exactly(void **state)
{
	struct leadline *leadline = start_agent();
	struct workload *workload = workload_start("million", -1, ask_for_parent, NULL);
	struct page *page = page_after(leadline, workload);
	struct page_histogram histogram = metric_histogram(page, DURATION, "comm", workload->comm,
							   "syscall", "getppid", NULL);

	assert_true(histogram.count == CALLS);
	assert_true(histogram.sum > 0 && histogram.sum < *(double *)workload->shared);
	assert_true(metric_sum(page, ERRORS, "comm", workload->comm, "syscall", "getppid", NULL) ==
		    0);
	assert_true(lost(page, "table_full") == 0);
	assert_true(lost(page, "recursion") == 0);
	page_free(page);
	leadline_stop(leadline);
	(void)state;
}

#define THREADS		 4
#define CALLS_PER_THREAD 100003

static void *ask_from_thread(void *barrier)
{
	pthread_barrier_wait(barrier);
	for (int i = 0; i < CALLS_PER_THREAD; i++)
		syscall(SYS_getpgid, 0);
	return NULL;
}

static int ask_from_threads(void *argument, void *shared)
{
	pthread_barrier_t barrier;
	pthread_t threads[THREADS];

	pthread_barrier_init(&barrier, NULL, THREADS);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, ask_from_thread, &barrier))
			return 1;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	(void)argument;
	(void)shared;
	return 0;
}

/* All threads meet the new pair of entity and call at one moment, and move between CPUs. */
static void threads_on_all_cpus_are_counted_together(void **state)
{
	struct leadline *leadline = start_agent();
	struct workload *workload = workload_start("threads", -1, ask_from_threads, NULL);
	struct page *page = page_after(leadline, workload);

	assert_true(calls_of(page, workload->comm, "getpgid") == THREADS * CALLS_PER_THREAD);
	assert_true(metric_count(page, DURATION "_count", "comm", workload->comm, "syscall",
				 "getpgid", NULL) == 1);
	page_free(page);
	(void)state;
}

#define BAD_CLOSES  10007
#define GOOD_CLOSES 101
#define ABSENT	    5003
#define EMPTY_READS 20011

static int fail_in_known_ways(void *argument, void *shared)
{
	int pipes[2];
	char byte;

	for (int i = 0; i < BAD_CLOSES; i++)
		syscall(SYS_close, -1);
	for (int i = 0; i < GOOD_CLOSES; i++)
		syscall(SYS_close, syscall(SYS_dup, STDERR_FILENO));
	for (int i = 0; i < ABSENT; i++)
		syscall(SYS_openat, AT_FDCWD, "/nonexistent", O_RDONLY);
	if (pipe2(pipes, O_NONBLOCK))
		return 1;
	for (int i = 0; i < EMPTY_READS; i++)
		if (syscall(SYS_read, pipes[0], &byte, 1) != -1 || errno != EAGAIN)
			return 1;
	(void)argument;
	(void)shared;
	return 0;
}

static void failures_are_counted_by_error(void **state)
{
	struct leadline *leadline = start_agent();
	struct workload *workload = workload_start("failing", -1, fail_in_known_ways, NULL);
	struct page *page = page_after(leadline, workload);
	const char *comm = workload->comm;

	assert_true(errors_of(page, comm, "close", "EBADF") == BAD_CLOSES);
	assert_true(calls_of(page, comm, "close") >= BAD_CLOSES + GOOD_CLOSES);
	assert_true(metric_sum(page, ERRORS, "comm", comm, "syscall", "dup", NULL) == 0);
	assert_true(calls_of(page, comm, "dup") == GOOD_CLOSES);
	assert_true(errors_of(page, comm, "openat", "ENOENT") == ABSENT);
	assert_true(errors_of(page, comm, "read", "EAGAIN") == EMPTY_READS);
	page_free(page);
	(void)state;
}

#define SLEEPS	 47
#define SLEEP_NS 20000000

static int sleep_known_times(void *argument, void *shared)
{
	struct timespec time = { .tv_nsec = SLEEP_NS };
	double began = clock_seconds();

	for (int i = 0; i < SLEEPS; i++)
		if (syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &time, NULL))
			return 1;
	*(double *)shared = clock_seconds() - began;
	(void)argument;
	return 0;
}

static void durations_include_the_sleep(void **state)
{
	struct leadline *leadline = start_agent();
	struct workload *workload = workload_start("sleeper", -1, sleep_known_times, NULL);
	struct page *page = page_after(leadline, workload);
	struct page_histogram histogram = metric_histogram(page, DURATION, "comm", workload->comm,
							   "syscall", "clock_nanosleep", NULL);

	assert_true(histogram.count == SLEEPS);
	assert_true(page_histogram_mean(&histogram) >= SLEEP_NS * 1e-9);
	/* a loaded machine wakes late */
	assert_true(histogram.sum <= *(double *)workload->shared);
	page_free(page);
	(void)state;
}

#define CHILDREN 101

static int have_children(void *argument, void *shared)
{
	for (int i = 0; i < CHILDREN; i++) {
		pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

		if (pid == 0)
			syscall(SYS_exit_group, 0);
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			return 1;
	}
	(void)argument;
	(void)shared;
	return 0;
}

/* A child leaves a clone that it never entered. */
static void a_fork_is_one_call(void **state)
{
	struct leadline *leadline = start_agent();
	struct workload *workload = workload_start("forker", -1, have_children, NULL);
	struct page *page = page_after(leadline, workload);

	assert_true(calls_of(page, workload->comm, "clone") == CHILDREN);
	assert_true(calls_of(page, workload->comm, "wait4") >= CHILDREN);
	page_free(page);
	(void)state;
}

#define COMPAT_CALLS 10007

#if defined(__x86_64__)
#define NUMBER_TO_32_BITS "getppid" /* 64 */
#define NUMBER_TO_64_BITS "semget"

static int ask_as_32_bit(void *argument, void *shared)
{
	for (int i = 0; i < COMPAT_CALLS; i++) {
		long result = 64;

		__asm__ volatile("int $0x80" : "+a"(result) : : "r8", "r9", "r10", "r11", "memory");
		if (result != getppid())
			return 1;
	}
	(void)argument;
	(void)shared;
	return 0;
}

/* A kernel may be built for it and yet not let 64-bit programs do it, as some virtual machines' do not. */
static bool runs_32_bit(const char *directory)
{
	int status = 0;
	pid_t child = (pid_t)MUST(fork());

	if (!child) {
		signal(SIGSEGV, SIG_DFL);
		_exit(ask_as_32_bit(NULL, NULL));
	}
	MUST(waitpid(child, &status, 0));
	(void)directory;
	return status == 0;
}

#define OTHER_COMPAT_CALLS  0
#define OTHER_CALLS_LIKE_IT COMPAT_CALLS /* getppid(), to compare with */
#elif defined(__aarch64__)
#define NUMBER_TO_32_BITS "sched_yield" /* 158 */
#define NUMBER_TO_64_BITS "getgroups"

/* Only a program of its own can be in 32 bits here: COMPAT_CALLS times sched_yield, then exit(0). */
#define BASE		  0x100000
static const struct {
	Elf32_Ehdr header;
	Elf32_Phdr segment;
	uint32_t code[8];
} program = {
	.header = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS32, ELFDATA2LSB,
				 EV_CURRENT },
		    .e_type = ET_EXEC,
		    .e_machine = EM_ARM,
		    .e_version = EV_CURRENT,
		    .e_entry = BASE + sizeof(Elf32_Ehdr) + sizeof(Elf32_Phdr),
		    .e_phoff = sizeof(Elf32_Ehdr),
		    .e_flags = EF_ARM_EABI_VER5,
		    .e_ehsize = sizeof(Elf32_Ehdr),
		    .e_phentsize = sizeof(Elf32_Phdr),
		    .e_phnum = 1 },
	.segment = { .p_type = PT_LOAD,
		     .p_vaddr = BASE,
		     .p_paddr = BASE,
		     .p_filesz = sizeof(program),
		     .p_memsz = sizeof(program),
		     .p_flags = PF_R | PF_X,
		     .p_align = 0x10000 },
	.code = {
		0xe3004000 | (COMPAT_CALLS >> 12) << 16 | (COMPAT_CALLS & 0xfff), /* movw r4, … */
		0xe3a0709e, /* mov r7, #158 */
		0xef000000, /* svc 0 */
		0xe2544001, /* subs r4, r4, #1 */
		0x1afffffc, /* bne, to the svc */
		0xe3a00000, /* mov r0, #0 */
		0xe3a07001, /* mov r7, #1 */
		0xef000000, /* svc 0 */
	},
};

/* A file that is this program; its name is that of the thread. */
static const char *program_file(const char *directory)
{
	static char path[4096];
	char name[16];
	int fd;

	prctl(PR_GET_NAME, name);
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = (int)MUST(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755));
	MUST(write(fd, &program, sizeof(program)));
	MUST(close(fd));
	return path;
}

static int ask_as_32_bit(void *directory, void *shared)
{
	MUST(execl(program_file(directory), "program", NULL));
	(void)shared;
	return 1;
}

static bool runs_32_bit(const char *directory)
{
	struct output *output = run_shell("%s", program_file(directory));
	bool runs = !output->status;

	output_free(output);
	return runs;
}

#define OTHER_COMPAT_CALLS  1 /* the execve that made it a program of 32 bits ends in one */
#define OTHER_CALLS_LIKE_IT 0
#endif

/* One number is one call to 32 bits and another to 64. */
static void calls_of_32_bits_are_not_misnamed(void **state)
{
	const char *directory = temporary_directory();
	struct leadline *leadline;
	struct workload *workload;
	struct page *page;

	if (!runs_32_bit(directory))
		test_skip("no 32-bit programs run here");
	leadline = start_agent();
	workload = workload_start("compat", -1, ask_as_32_bit, (void *)directory);
	page = page_after(leadline, workload);
	assert_true(calls_of(page, workload->comm, "compat") == COMPAT_CALLS + OTHER_COMPAT_CALLS);
	assert_true(calls_of(page, workload->comm, NUMBER_TO_64_BITS) == 0);
	assert_true(calls_of(page, workload->comm, NUMBER_TO_32_BITS) == OTHER_CALLS_LIKE_IT);
	page_free(page);
	(void)state;
}

#define FSYNCS	    53
#define FDATASYNCS  47
#define RANGE_SYNCS 31

/* What the calls took by the workload's own clock, in all and at most. */
struct sync_times {
	double seconds, worst;
};
struct sync_seconds {
	struct sync_times fsync, fdatasync, range;
};

static void add_time(struct sync_times *times, double seconds)
{
	times->seconds += seconds;
	if (seconds > times->worst)
		times->worst = seconds;
}

static int wait_for_the_disk(void *path, void *shared)
{
	struct sync_seconds *seconds = shared;
	static char block[4096];
	int fd = open(path, O_CREAT | O_WRONLY, 0600);
	double began;

	for (int i = 0; i < FSYNCS + FDATASYNCS + RANGE_SYNCS; i++) {
		if (write(fd, block, sizeof(block)) != sizeof(block))
			return 1;
		began = clock_seconds();
		if (i < FSYNCS) {
			if (fsync(fd))
				return 2;
			add_time(&seconds->fsync, clock_seconds() - began);
		} else if (i < FSYNCS + FDATASYNCS) {
			if (fdatasync(fd))
				return 3;
			add_time(&seconds->fdatasync, clock_seconds() - began);
		} else {
			if (sync_file_range(fd, 0, 0,
					    SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER))
				return 4;
			add_time(&seconds->range, clock_seconds() - began);
		}
	}
	return 0;
}

static void assert_fsyncs(const struct page *page, const char *comm, const char *operation,
			  double count, const struct sync_times *times)
{
	double worst = metric_value(page, "leadline_fsync_duration_max_seconds", "comm", comm,
				    "operation", operation, NULL);
	struct page_histogram duration =
		metric_histogram(page, FSYNC, "comm", comm, "operation", operation, NULL);

	if (duration.count != count)
		test_fail("%g times %s, expected %g", duration.count, operation, count);
	/* the clock is read outside the call, before and after which others may have the CPU */
	if (duration.sum > times->seconds || duration.sum < 0.8 * times->seconds - count * 5e-6)
		test_fail("%.9f s in %s, %.9f s by the clock", duration.sum, operation,
			  times->seconds);
	if (worst > times->worst || worst < duration.sum / count)
		test_fail("%.9f s at most in %s, %.9f s by the clock", worst, operation,
			  times->worst);
}

static void waits_for_the_disk_are_timed(void **state)
{
	struct leadline *leadline = start_agent();
	struct workload *workload;
	struct sync_seconds *seconds;
	struct page *page;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/file", temporary_directory());
	workload = workload_start("fsync", -1, wait_for_the_disk, path);
	seconds = workload->shared;
	page = page_after(leadline, workload);
	/* twice: who asks first does not take the worst from the next one */
	for (int i = 0; i < 2; i++) {
		assert_fsyncs(page, workload->comm, "fsync", FSYNCS, &seconds->fsync);
		assert_fsyncs(page, workload->comm, "fdatasync", FDATASYNCS, &seconds->fdatasync);
		assert_fsyncs(page, workload->comm, "sync_file_range", RANGE_SYNCS,
			      &seconds->range);
		page_free(page);
		page = leadline_scrape(leadline);
	}
	page_free(page);
	(void)state;
}

#define FIRST_KIND     480
#define LAST_KIND      508
#define KINDS	       (LAST_KIND - FIRST_KIND + 1)
#define CALLS_PER_KIND 7
#define PROGRAMS       4
#define ROWS	       64

/* Numbers that no system call has: the harmless way to make many pairs. */
static int make_many_kinds_of_calls(void *argument, void *shared)
{
	for (int i = 0; i < CALLS_PER_KIND; i++)
		for (long number = FIRST_KIND; number <= LAST_KIND; number++)
			syscall(number);
	(void)argument;
	(void)shared;
	return 0;
}

static void a_full_table_loses_names_not_calls(void **state)
{
	struct leadline *leadline = leadline_start_only(
		"syscalls", (const char *const[]){ "--probes.syscalls.rows=64", NULL });
	double unattributed;
	struct page *page;

	for (int i = 0; i < PROGRAMS; i++)
		workload_finish(workload_start("kinds", -1, make_many_kinds_of_calls, NULL), 60);
	page = leadline_scrape(leadline);
	unattributed = lost(page, "table_full");
	assert_true(unattributed >= (PROGRAMS * KINDS - (ROWS - 1)) * CALLS_PER_KIND);
	assert_true(calls_of(page, "other", "other") == unattributed);
	page_free(page);
	(void)state;
}

static bool series_are_gone(struct leadline *leadline, const char *comm)
{
	struct page *page = leadline_scrape(leadline);
	bool gone = metric_histogram(page, DURATION, "comm", comm, NULL).n_series == 0;

	page_free(page);
	return gone;
}

static void the_dead_leave_their_rows(void **state)
{
	struct leadline *leadline = leadline_start_only(
		"syscalls", (const char *const[]){ "--entity_linger=1s", NULL });
	struct workload *first = workload_start("mortal", -1, fail_in_known_ways, NULL), *second;
	struct page *page = page_after(leadline, first);

	assert_true(calls_of(page, first->comm, "read") >= EMPTY_READS);
	page_free(page);
	assert_true(WAIT_UNTIL(series_are_gone(leadline, first->comm), 20));

	second = workload_start("heir", -1, fail_in_known_ways, NULL);
	page = page_after(leadline, second);
	assert_true(errors_of(page, second->comm, "read", "EAGAIN") == EMPTY_READS);
	assert_true(errors_of(page, second->comm, "close", "EBADF") == BAD_CLOSES);
	page_free(page);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(a_million_calls_are_counted_exactly),
		HARNESS_TEST(threads_on_all_cpus_are_counted_together),
		HARNESS_TEST(failures_are_counted_by_error),
		HARNESS_TEST(durations_include_the_sleep),
		HARNESS_TEST(a_fork_is_one_call),
		HARNESS_TEST(calls_of_32_bits_are_not_misnamed),
		HARNESS_TEST(waits_for_the_disk_are_timed),
		HARNESS_TEST(a_full_table_loses_names_not_calls),
		HARNESS_TEST(the_dead_leave_their_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
