// SPDX-License-Identifier: Apache-2.0
/* The memory probe against the kernel's own books: /proc/PID/stat and io, the control group's, and clocks. */
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "tests/harness/dialogue.h"
#include "tests/harness/harness.h"

#define PAGE 4096

static double faults_of(const struct page *page, const char *comm, const char *kind)
{
	return metric_sum(page, "leadline_page_faults_total", "comm", comm, "kind", kind, NULL);
}

static double bytes_of(const struct page *page, const char *comm, const char *direction)
{
	return metric_sum(page, "leadline_process_io_bytes_total", "comm", comm, "direction",
			  direction, NULL);
}

static struct page_histogram stalls_of(const struct page *page, const char *comm, const char *kind)
{
	return metric_histogram(page, "leadline_reclaim_stall_seconds", "comm", comm, "kind", kind,
				NULL);
}

static void assert_between(const char *what, double value, double low, double high)
{
	if (!(value >= low && value <= high))
		test_fail("%s: %.9g, expected %.9g to %.9g", what, value, low, high);
}

/* ---- what workloads do ---- */

struct stages {
	volatile bool done; /* the work is done, the process still there to be looked at */
	volatile bool may_end;
	double seconds; /* what it took, by the workload's own clock */
};

static void stay(struct stages *stages)
{
	stages->done = true;
	while (!stages->may_end)
		usleep(1000);
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

/* So many pages, each by a fault of its own. */
static void touch_fresh_pages(size_t pages)
{
	volatile char *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		_exit(101);
	MUST(madvise((void *)memory, pages * PAGE, MADV_NOHUGEPAGE));
	for (size_t i = 0; i < pages; i++)
		memory[i * PAGE] = 1;
	munmap((void *)memory, pages * PAGE);
}

/* ---- faults ---- */

struct faults {
	double minor, major;
};

static struct faults read_faults(pid_t pid)
{
	unsigned long minor, major;
	char path[64], *text, *fields;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	text = read_file(path);
	fields = strrchr(text, ')'); /* the name may hold anything */
	if (!fields ||
	    sscanf(fields + 1, " %*c %*d %*d %*d %*d %*d %*u %lu %*u %lu", &minor, &major) != 2)
		test_fail("%s: '%s'", path, text);
	free(text);
	return (struct faults){ .minor = (double)minor, .major = (double)major };
}

#define FRESH_PAGES 10007
#define FILE_PAGES  211

/* Pages that nobody had before, and pages of a file that are on the disk only. */
static int fault_in_both_ways(void *path, void *shared)
{
	volatile char *memory;
	int sum = 0, fd;

	touch_fresh_pages(FRESH_PAGES);
	fd = (int)MUST(open(path, O_RDONLY));
	MUST(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	memory = mmap(NULL, FILE_PAGES * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	if (memory == MAP_FAILED)
		return 102;
	MUST(madvise((void *)memory, FILE_PAGES * PAGE, MADV_RANDOM)); /* no read-ahead */
	for (int i = 0; i < FILE_PAGES; i++)
		sum += memory[i * PAGE];
	stay(shared);
	return sum == 12345;
}

static void faults_are_those_of_proc_stat(void **state)
{
	const char *directory = temporary_directory();
	struct leadline *leadline = leadline_start_only("memory", (const char *const[]){ NULL });
	struct faults before, after;
	struct workload *workload;
	struct page *page;
	char path[PATH_MAX];
	double minor, major;

	snprintf(path, sizeof(path), "%s/pages", directory);
	shell("dd if=/dev/urandom of=%s bs=%d count=%d conv=fsync 2>&1", path, PAGE, FILE_PAGES);
	workload = workload_start("fault", -1, fault_in_both_ways, path);
	/* it waits to be released */
	page = leadline_scrape(leadline);
	before = read_faults(workload->pid);
	minor = faults_of(page, workload->comm, "minor");
	major = faults_of(page, workload->comm, "major");
	page_free(page);
	workload_release(workload);
	assert_true(WAIT_UNTIL(is_done(workload), 30));
	page = leadline_scrape(leadline);
	after = read_faults(workload->pid);
	minor = faults_of(page, workload->comm, "minor") - minor;
	major = faults_of(page, workload->comm, "major") - major;
	page_free(page);
	assert_true(after.minor - before.minor >= FRESH_PAGES);
	assert_true(minor == after.minor - before.minor);
	assert_true(after.major - before.major >=
		    FILE_PAGES / 2); /* the filesystem may read several at once */
	assert_true(major == after.major - before.major);
	let_end(workload);
	(void)state;
}

/* ---- processes that live between two collections ---- */

#define CHILDREN     101
#define CHILD_PAGES  211
#define CHILD_WRITES 5

/* What each child read off its own books just before its end; the last one is their parent's. */
struct child_books {
	double cpu_seconds; /* the parent's only, of all of them, as the kernel accounts it */
	unsigned long minor_faults;
	unsigned long long written_bytes;
};

static unsigned long long written_bytes(void)
{
	unsigned long long bytes = 0;
	char line[64];
	FILE *file = fopen("/proc/thread-self/io", "re");

	if (!file)
		_exit(103);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "write_bytes: %llu", &bytes) == 1)
			break;
	fclose(file);
	return bytes;
}

/* RUSAGE_SELF: so far; RUSAGE_CHILDREN: of those that were waited for, to their end. */
static double cpu_seconds_of(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static void live_for_a_moment(const char *directory, struct child_books *books)
{
	double end = clock_seconds() + 0.05;
	static char block[PAGE];
	char path[PATH_MAX];
	struct rusage usage;
	int fd;

	touch_fresh_pages(CHILD_PAGES);
	snprintf(path, sizeof(path), "%s/child-%d", directory, getpid());
	fd = (int)MUST(open(path, O_CREAT | O_WRONLY | O_EXCL, 0600));
	for (int i = 0; i < CHILD_WRITES; i++)
		MUST(write(fd, block, sizeof(block)));
	close(fd);
	books->written_bytes = written_bytes();
	while (clock_seconds() < end)
		;
	getrusage(RUSAGE_SELF, &usage);
	books->minor_faults = (unsigned long)usage.ru_minflt;
	_exit(0);
}

static int raise_children(void *directory, void *shared)
{
	struct child_books *books = shared;

	for (int i = 0; i < CHILDREN; i++) {
		pid_t pid = fork();
		int status;

		if (pid < 0)
			return 104;
		if (pid == 0)
			live_for_a_moment(directory, &books[i]);
		if (waitpid(pid, &status, 0) != pid || status)
			return 105;
	}
	/* the parent's own, as all of them are one entity */
	books[CHILDREN].written_bytes = written_bytes();
	books[CHILDREN].minor_faults = 0;
	books[CHILDREN].cpu_seconds = cpu_seconds_of(RUSAGE_SELF) + cpu_seconds_of(RUSAGE_CHILDREN);
	return 0;
}

static void the_short_lived_are_counted(void **state)
{
	const char *directory = temporary_directory();
	const struct child_books *books;
	struct child_books sum = {};
	struct page *before, *after;
	struct leadline *leadline;
	struct workload *workload;
	double minor, cpu;

	require_real_time();
	/* no collection but those that are asked for */
	leadline = leadline_start_only("sched memory",
				       (const char *const[]){ "--interval=60s", NULL });
	workload = workload_start("brief", -1, raise_children, (void *)directory);
	books = workload->shared;
	before = leadline_scrape(leadline);
	workload_finish(workload, 60);
	after = leadline_scrape(leadline);
	for (int i = 0; i <= CHILDREN; i++) {
		sum.minor_faults += books[i].minor_faults;
		sum.written_bytes += books[i].written_bytes;
	}
	minor = faults_of(after, workload->comm, "minor") -
		faults_of(before, workload->comm, "minor");
	cpu = metric_sum(after, "leadline_cpu_seconds_total", "comm", workload->comm, NULL) -
	      metric_sum(before, "leadline_cpu_seconds_total", "comm", workload->comm, NULL);
	assert_true(sum.minor_faults >= CHILDREN * CHILD_PAGES);
	/* the parent has some of its own: at each fork the pages both write to are copied */
	assert_between("minor faults", minor, (double)sum.minor_faults,
		       (double)sum.minor_faults + CHILDREN * 40);
	assert_true(sum.written_bytes >= CHILDREN * CHILD_WRITES * PAGE);
	assert_between("bytes written",
		       bytes_of(after, workload->comm, "write") -
			       bytes_of(before, workload->comm, "write"),
		       (double)sum.written_bytes, (double)sum.written_bytes + PAGE);
	assert_between("CPU seconds", cpu, books[CHILDREN].cpu_seconds * 0.99,
		       books[CHILDREN].cpu_seconds * 1.01);
	page_free(before);
	page_free(after);
	(void)state;
}

/* ---- reclaim ---- */

#define GROUP_LIMIT (16 << 20)
#define READ_BYTES  (96 << 20)

struct reclaim_order {
	const char *group, *path;
};

/* None of it is in memory. */
static void make_large_file(const char *path)
{
	shell("dd if=/dev/zero of=%s bs=1M count=%d conv=fsync 2>&1", path, READ_BYTES >> 20);
	shell("dd of=%s oflag=nocache conv=notrunc,fdatasync count=0 2>&1", path);
}

/* Every page beyond the limit must displace another one. */
static int read_more_than_allowed(void *argument, void *shared)
{
	const struct reclaim_order *order = argument;
	struct stages *stages = shared;
	static char buffer[1 << 16];
	double began;
	int fd;

	cgroup_enter(order->group, 0);
	fd = (int)MUST(open(order->path, O_RDONLY));
	began = clock_seconds();
	while (MUST(read(fd, buffer, sizeof(buffer))) > 0)
		;
	stages->seconds = clock_seconds() - began;
	stay(shared);
	return 0;
}

static void reclaim_of_a_group_is_a_stall(void **state)
{
	const char *directory = temporary_directory(),
		   *group = memory_group_create("leadline-test-reclaim");
	struct leadline *leadline = leadline_start_only("memory", (const char *const[]){ NULL });
	struct reclaim_order order = { .group = group };
	double fails;
	struct workload *workload;
	struct page_histogram stalls;
	struct page *page;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/large", directory);
	order.path = path;
	make_large_file(path);
	memory_group_limit(group, GROUP_LIMIT);
	workload = workload_start("reclaim", -1, read_more_than_allowed, &order);
	workload_release(workload);
	assert_true(WAIT_UNTIL(is_done(workload), 60));
	fails = memory_group_times_at_limit(group);
	page = leadline_scrape(leadline);
	stalls = stalls_of(page, workload->comm, "memcg");
	assert_true(fails > 0); /* it was at its limit */
	assert_true(stalls.count > 10);
	assert_true(stalls.sum < ((struct stages *)workload->shared)->seconds);
	assert_true(stalls_of(page, workload->comm, "direct").count == 0);
	page_free(page);
	let_end(workload);
	(void)state;
}

static int empty_group(void *argument, void *shared)
{
	const struct reclaim_order *order = argument;
	struct stages *stages = shared;
	int fd = (int)MUST(memory_group_open_reclaim(order->group));
	double began = clock_seconds();

	MUST(memory_group_reclaim(fd, order->group));
	stages->seconds = clock_seconds() - began;
	stay(shared);
	return 0;
}

/* Here the whole call is reclaim, so that its own clock tells how much there is. */
static void a_stall_lasts_as_long_as_the_clock_says(void **state)
{
	const char *directory = temporary_directory(),
		   *group = memory_group_create("leadline-test-empty");
	struct leadline *leadline = leadline_start_only("memory", (const char *const[]){ NULL });
	struct reclaim_order order = { .group = group };
	struct workload *reader, *workload;
	struct page_histogram stalls;
	struct page *page;
	char path[PATH_MAX];
	double seconds;

	snprintf(path, sizeof(path), "%s/large", directory);
	order.path = path;
	make_large_file(path);
	reader = workload_start("reader", -1, read_more_than_allowed, &order);
	workload_release(reader);
	assert_true(WAIT_UNTIL(is_done(reader), 60));
	let_end(reader);
	assert_true(memory_group_usage(group) > 0.9 * READ_BYTES);
	workload = workload_start("empty", -1, empty_group, &order);
	workload_release(workload);
	assert_true(WAIT_UNTIL(is_done(workload), 60));
	assert_true(memory_group_usage(group) < 0.1 * READ_BYTES);
	page = leadline_scrape(leadline);
	assert_true(stalls_of(page, reader->comm, "memcg").count == 0); /* had no limit */
	stalls = stalls_of(page, workload->comm, "memcg");
	seconds = ((struct stages *)workload->shared)->seconds;
	/* a few milliseconds: others may have the CPU for as long between two stalls */
	assert_between("stalled in reclaim", stalls.sum, (is_emulated() ? 0.1 : 0.4) * seconds,
		       seconds);
	page_free(page);
	let_end(workload);
	(void)state;
}

/* ---- compaction ---- */

static int compact(void *argument, void *shared)
{
	struct stages *stages = shared;
	int fd = (int)MUST(open("/proc/sys/vm/compact_memory", O_WRONLY));
	double began = clock_seconds();

	MUST(write(fd, "1", 1));
	stages->seconds = clock_seconds() - began;
	stay(shared);
	(void)argument;
	return 0;
}

/* Each zone that has memory is compacted. */
static double populated_zones(void)
{
	char *text = read_file("/proc/zoneinfo"), *at = text;
	double zones = 0;

	while ((at = strstr(at, "\n        present "))) {
		at += strlen("\n        present ");
		zones += atol(at) > 0;
	}
	free(text);
	return zones;
}

static void compaction_is_a_stall(void **state)
{
	struct leadline *leadline = leadline_start_only("memory", (const char *const[]){ NULL });
	struct workload *workload = workload_start("compact", -1, compact, NULL);
	struct page_histogram stalls;
	struct page *page;
	double seconds;

	workload_release(workload);
	assert_true(WAIT_UNTIL(is_done(workload), 60));
	page = leadline_scrape(leadline);
	stalls = stalls_of(page, workload->comm, "compaction");
	seconds = ((struct stages *)workload->shared)->seconds;
	assert_true(stalls.count == populated_zones());
	assert_between("stalled in compaction", stalls.sum, (is_emulated() ? 0.1 : 0.9) * seconds,
		       seconds);
	page_free(page);
	let_end(workload);
	(void)state;
}

/* ---- dirty pages ---- */

#define DIRTY_LIMIT (1 << 20)
#define DIRTY_BYTES (192 << 20)

static int write_much(void *path, void *shared)
{
	struct stages *stages = shared;
	static char block[1 << 16];
	double began;
	int fd = (int)MUST(open(path, O_CREAT | O_WRONLY, 0600));

	began = clock_seconds();
	for (int i = 0; i < DIRTY_BYTES / (int)sizeof(block); i++)
		MUST(write(fd, block, sizeof(block)));
	stages->seconds = clock_seconds() - began;
	close(fd);
	stay(shared);
	return 0;
}

static void unmount(void *directory)
{
	output_free(run_shell("umount %s", (char *)directory));
}

static void forget_limit_of_all(void *command)
{
	output_free(run_shell("%s", (char *)command));
}

/* Before 6.2 all devices together: only where nobody else writes. */
static void limit_all(void)
{
	static char forget[] =
		"cd /proc/sys/vm && echo 10 >dirty_background_ratio && echo 20 >dirty_ratio";

	if (!is_emulated())
		test_skip("this kernel has no limit for the dirty pages of one device");
	shell("cd /proc/sys/vm && echo %d >dirty_background_bytes && echo %d >dirty_bytes",
	      DIRTY_LIMIT / 2, DIRTY_LIMIT);
	cleanup_push(forget_limit_of_all, forget);
}

/* A device of its own may have few dirty pages: who writes faster than it takes them must wait. */
static const char *mount_slow_disk(void)
{
	const char *device = loop_device(DIRTY_BYTES / (1 << 20) + 64),
		   *directory = temporary_directory();
	struct stat info;
	char settings[64], limit[96];

	assert_int_equal(stat(device, &info), 0);
	shell("mkfs.ext4 -q -O ^has_journal %s && mount %s %s", device, device, directory);
	cleanup_push(unmount, (void *)directory);
	snprintf(settings, sizeof(settings), "/sys/class/bdi/%u:%u", major(info.st_rdev),
		 minor(info.st_rdev));
	snprintf(limit, sizeof(limit), "%s/strict_limit", settings);
	if (access(limit, F_OK))
		limit_all();
	else
		shell("cd %s && echo 1 >strict_limit && echo %d >max_bytes", settings, DIRTY_LIMIT);
	return directory;
}

static void writers_are_made_to_pause(void **state)
{
	const char *directory = mount_slow_disk();
	struct leadline *leadline =
		leadline_start_only("memory sched", (const char *const[]){ NULL });
	struct workload *workload;
	struct page *page;
	char path[PATH_MAX];
	double paused, waited;

	snprintf(path, sizeof(path), "%s/file", directory);
	workload = workload_start("dirty", -1, write_much, path);
	workload_release(workload);
	assert_true(WAIT_UNTIL(is_done(workload), 120));
	page = leadline_scrape(leadline);
	paused = metric_sum(page, "leadline_dirty_throttle_seconds_total", "comm", workload->comm,
			    NULL);
	waited = metric_sum(page, "leadline_cpu_wait_seconds_total", "comm", workload->comm,
			    "reason", "disk", NULL);
	/*
	 * Told before the pause: without the way back to the CPU, and with half a jiffy for the timer's rounding. Emulated
	 * timers make that way longer, and the pause shorter where jiffies had fallen behind.
	 */
	assert_between("paused", paused, is_emulated() ? 0.1 : fmax(0.1, 0.6 * waited),
		       (is_emulated() ? 3 : 1.1) * waited);
	assert_true(waited < ((struct stages *)workload->shared)->seconds);
	page_free(page);
	let_end(workload);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(faults_are_those_of_proc_stat),
		HARNESS_TEST(the_short_lived_are_counted),
		HARNESS_TEST(reclaim_of_a_group_is_a_stall),
		HARNESS_TEST(a_stall_lasts_as_long_as_the_clock_says),
		HARNESS_TEST(compaction_is_a_stall),
		HARNESS_TEST(writers_are_made_to_pause),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
