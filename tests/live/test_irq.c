// SPDX-License-Identifier: Apache-2.0
/* The irq probe against /proc/interrupts, /proc/softirqs and the tools hardirqs and softirqs. Root. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>
#include "bpf/irq.h"
#include "bpf/lib/budget.h"
#include "bpf/lib/task.h"
#include "irq.skel.h"
#include "tests/harness/dialogue.h"
#include "tests/harness/harness.h"

#define SECONDS "leadline_irq_seconds_total"
#define COUNT	"leadline_irqs_total"
#define LOST	"leadline_probe_lost_total"
#define SOFT	"leadline_softirq_duration_seconds"
#define STOLEN	"leadline_irq_stolen_seconds_total"

static struct leadline *start_agent(void)
{
	return leadline_start_only("irq", (const char *const[]){ NULL });
}

static void assert_between(const char *what, double value, double low, double high)
{
	if (!(value >= low && value <= high))
		test_fail("%s: %.9g, expected %.9g to %.9g", what, value, low, high);
}

/* ---- the kernel's books ---- */

/* Sum over the CPUs of the line that begins with `name:`; -1 when there is none. */
static double line_sum(const char *path, const char *name)
{
	char *text = read_file(path), *rest = text, *line;
	double sum = -1;

	while ((line = strsep(&rest, "\n"))) {
		char *colon = strchr(line, ':'), *at, *end;

		line += strspn(line, " ");
		if (!colon || (size_t)(colon - line) != strlen(name) ||
		    strncmp(line, name, strlen(name)))
			continue;
		sum = 0;
		for (at = colon + 1;;
		     at = end) { /* as many numbers as there are CPUs, then words */
			double n = strtod(at, &end);

			if (end == at || (*end && *end != ' '))
				break;
			sum += n;
		}
		break;
	}
	free(text);
	return sum;
}

/*
 * A vector of leadline_irqs_total is number:name, or the name alone. Where interrupts between CPUs have a number (arm64),
 * /proc/interrupts hides it, and the files of that number in /sys tell.
 */
static double hard_count_in_proc(const char *vector)
{
	char name[16], path[64], *text, *at;
	double sum;

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(vector, ":"), vector);
	if (strcmp(vector + strcspn(vector, ":"), ":IPI"))
		return line_sum("/proc/interrupts", name);
	snprintf(path, sizeof(path), "/sys/kernel/irq/%s/per_cpu_count", name);
	text = read_file(path);
	sum = strtod(text, &at);
	while (*at == ',')
		sum += strtod(at + 1, &at);
	free(text);
	return sum;
}

/* ---- workloads ---- */

#define DATAGRAMS 20011
#define READS	  1009

/* Each datagram to oneself over the loopback is one soft interrupt, taken at the end of the call. */
static int talk_to_oneself(void *argument, void *shared)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int s = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
	char byte = 0;

	MUST(bind(s, (struct sockaddr *)&address, size));
	MUST(getsockname(s, (struct sockaddr *)&address, &size));
	MUST(connect(s, (struct sockaddr *)&address, size));
	for (int i = 0; i < DATAGRAMS; i++) {
		MUST(send(s, &byte, 1, 0));
		MUST(recv(s, &byte, 1, 0));
	}
	(void)argument;
	(void)shared;
	return 0;
}

/* Reads past the page cache, so that the disk interrupts. */
static int read_from_disk(void *path, void *shared)
{
	int fd = (int)MUST(open(path, O_RDONLY | O_DIRECT));
	void *buffer;

	if (posix_memalign(&buffer, 4096, 4096))
		return 1;
	for (int i = 0; i < READS; i++)
		MUST(pread(fd, buffer, 4096, (off_t)(i % 256) * 4096));
	(void)shared;
	return 0;
}

static const char *disk_file(void)
{
	static char path[4096];

	snprintf(path, sizeof(path), "%s/file", temporary_directory());
	shell("dd if=/dev/zero of=%s bs=1M count=1 conv=fsync 2>&1", path);
	return path;
}

static void interrupt_much(const char *path)
{
	struct workload *talker = workload_start("talk", -1, talk_to_oneself, NULL),
			*reader = workload_start("read", -1, read_from_disk, (void *)path);

	workload_release(talker);
	workload_release(reader);
	workload_finish(talker, 60);
	workload_finish(reader, 60);
}

/* ---- counts ---- */

static const char *const soft_names[] = {
#define X(name) #name,
	IRQ_SOFT_VECTORS(X)
#undef X
};
#define N_SOFT	    (sizeof(soft_names) / sizeof(soft_names[0]))
#define NET_RX	    3
#define MAX_VECTORS 64

static double count_of(const struct page *page, const char *vector, bool is_soft)
{
	return is_soft ? metric_histogram(page, SOFT, "vector", vector, NULL).count
		       : metric_sum(page, COUNT, "vector", vector, NULL);
}

/* The soft ones, then the hard ones that a page shows. */
struct counts {
	double of[N_SOFT + MAX_VECTORS];
};

static struct counts read_counts(const char *const vectors[], size_t n)
{
	struct counts counts;

	for (size_t i = 0; i < N_SOFT; i++)
		counts.of[i] = line_sum("/proc/softirqs", soft_names[i]);
	for (size_t i = 0; i < n; i++)
		counts.of[N_SOFT + i] = hard_count_in_proc(vectors[i]);
	return counts;
}

/*
 * The growth between two pages lies between that of the books read within and that of those read around them. The books
 * count at the beginning of an interrupt, the probe at the end, soft ones up to so many later.
 */
static bool is_growth(double growth, double within, double around, bool is_soft)
{
	double late = cpu_count() * (is_soft ? IRQ_SOFT_SAMPLE : 1);

	return growth >= within - late && growth <= around + late;
}

/* One round: how many vectors are counted otherwise than in the books. The last of them is told in `wrong`. */
static int compare_counts(struct leadline *leadline, const char *const vectors[], size_t n,
			  const char *path, char wrong[128])
{
	struct counts before, begun, done, after;
	struct page *first, *second;
	double hard = 0;
	int differences = 0;

	before = read_counts(vectors, n);
	first = leadline_scrape(leadline);
	begun = read_counts(vectors, n);
	interrupt_much(path);
	done = read_counts(vectors, n);
	second = leadline_scrape(leadline);
	after = read_counts(vectors, n);
	for (size_t i = 0; i < N_SOFT + n; i++) {
		const char *vector = i < N_SOFT ? soft_names[i] : vectors[i - N_SOFT];
		double growth =
			count_of(second, vector, i < N_SOFT) - count_of(first, vector, i < N_SOFT);
		double within = done.of[i] - begun.of[i], around = after.of[i] - before.of[i];

		hard += i < N_SOFT ? 0 : growth;
		if (is_growth(growth, within, around, i < N_SOFT))
			continue;
		differences++;
		snprintf(wrong, 128, "%s: %g, expected %g to %g", vector, growth, within, around);
	}
	assert_true(done.of[NET_RX] - begun.of[NET_RX] >= DATAGRAMS);
	assert_true(hard >= (is_emulated() ? 0.25 : 0.5) * READS); /* one may be for several */
	assert_true(metric_sum(second, LOST, "probe", "irq", "reason", "table_full", NULL) == 0);
	assert_true(metric_sum(second, LOST, "probe", "irq", "reason", "recursion", NULL) == 0);
	page_free(first);
	page_free(second);
	return differences;
}

/*
 * Several rounds, of which one must be exact: kernels were seen that leave programs out while certain tasks have the CPU
 * (ftrace beside them had it all), and who has it when an interrupt comes is not in our hands.
 */
static void counts_are_those_of_proc(void **state)
{
	struct leadline *leadline = start_agent();
	const char *vectors[MAX_VECTORS], *path = disk_file();
	struct page *known;
	char wrong[128];
	size_t n = 0;

	interrupt_much(path); /* all vectors that will be asked for have come once */
	known = leadline_scrape(leadline);
	for (size_t i = 0; i < known->n_samples && n < MAX_VECTORS; i++)
		if (!strcmp(known->samples[i].name, COUNT))
			vectors[n++] = sample_label(&known->samples[i], "vector");
	for (int round = 0; compare_counts(leadline, vectors, n, path, wrong); round++)
		if (round == 10)
			test_fail("%s", wrong);
	page_free(known);
	(void)state;
}

/* ---- times ---- */

/* The number behind `name` in what a tool printed, in ns; 0 when there is none. */
static double told_ns(const char *text, const char *name)
{
	char *copy = strdup(text), *rest = copy, *line;
	double ns = 0;

	while ((line = strsep(&rest, "\n")))
		if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ' ')
			ns = atof(line + strlen(name));
	free(copy);
	return ns;
}

/* Both keep the time to run and its end; nobody can tell from outside when they have begun but by what they attached. */
static pid_t start_tool(const char *name, const char *log)
{
	pid_t pid = program_start(log, (const char *const[]){ name, "-N", "3", "1", NULL });

	assert_true(WAIT_UNTIL(({
				       struct bpf_objects objects = bpf_objects_of(pid);

				       bpf_objects_count(&objects, 'l') >= 2;
			       }),
			       20));
	return pid;
}

static double grown(const struct page *first, const struct page *second, const char *kind,
		    const char *vector)
{
	return metric_sum(second, SECONDS, "kind", kind, "vector", vector, NULL) -
	       metric_sum(first, SECONDS, "kind", kind, "vector", vector, NULL);
}

static void times_are_those_of_the_tools(void **state)
{
	const char *directory = temporary_directory(), *path = disk_file();
	char soft_log[4096], hard_log[4096], *told;
	struct leadline *leadline;
	struct page *first, *second;
	double compared = 0;
	pid_t soft, hard;

	require_program("softirqs");
	require_program("hardirqs");
	require_real_time();
	leadline = start_agent();
	snprintf(soft_log, sizeof(soft_log), "%s/softirqs", directory);
	snprintf(hard_log, sizeof(hard_log), "%s/hardirqs", directory);
	soft = start_tool("softirqs", soft_log);
	hard = start_tool("hardirqs", hard_log);
	first = leadline_scrape(leadline);
	interrupt_much(path);
	interrupt_much(path);
	assert_int_equal(program_wait(soft, 20), 0);
	assert_int_equal(program_wait(hard, 20), 0);
	second = leadline_scrape(leadline);

	told = read_file(soft_log);
	assert_between("NET_RX", grown(first, second, "soft", "NET_RX"),
		       0.7e-9 * told_ns(told, "net_rx"), 1.3e-9 * told_ns(told, "net_rx"));
	free(told);
	told = read_file(hard_log);
	for (size_t i = 0; i < second->n_samples; i++) {
		const char *vector = sample_label(&second->samples[i], "vector"),
			   *name = strchr(vector, ':');
		double ns;

		if (strcmp(second->samples[i].name, COUNT) || !name)
			continue;
		ns = told_ns(told, name + 1);
		if (ns < 1e6) /* too few to compare */
			continue;
		assert_between(vector, grown(first, second, "hard", vector), 0.7e-9 * ns,
			       1.3e-9 * ns);
		compared++;
	}
	assert_true(compared > 0);
	free(told);
	page_free(first);
	page_free(second);
	(void)state;
}

/* ---- who pays ---- */

static int spin_for_a_second(void *argument, void *shared)
{
	double end = clock_seconds() + 1;

	while (clock_seconds() < end)
		;
	(void)argument;
	(void)shared;
	return 0;
}

static void the_interrupted_pay(void **state)
{
	struct leadline *leadline = start_agent();
	struct workload *talker = workload_start("talk", -1, talk_to_oneself, NULL),
			*spinner = workload_start("spin", 1, spin_for_a_second, NULL);
	struct page *page;
	double soft, hard;

	workload_finish(talker, 60);
	workload_finish(spinner, 60);
	page = leadline_scrape(leadline);
	soft = metric_sum(page, STOLEN, "comm", talker->comm, "kind", "soft", NULL);
	hard = metric_sum(page, STOLEN, "comm", spinner->comm, "kind", "hard", NULL);
	/* a loopback datagram's way up takes some microseconds at most, a tick too */
	assert_between("soft, of the talker", soft, DATAGRAMS * 200e-9, DATAGRAMS * 50e-6);
	assert_between("hard, of the spinner", hard, 50 * 500e-9, 0.2);
	assert_true(soft <= metric_sum(page, SECONDS, "kind", "soft", NULL));
	assert_true(metric_sum(page, STOLEN, "kind", "soft", NULL) <=
		    metric_sum(page, SECONDS, "kind", "soft", NULL));
	assert_true(metric_sum(page, STOLEN, "kind", "hard", NULL) <=
		    metric_sum(page, SECONDS, "kind", "hard", NULL));
	/* neither is anybody's victim */
	assert_int_equal(metric_count(page, STOLEN, "comm", "ksoftirqd", NULL), 0);
	assert_int_equal(metric_count(page, STOLEN, "comm", "swapper", NULL), 0);
	page_free(page);
	(void)state;
}

/* ---- one in the midst of the other ---- */

/*
 * The programs, at tracepoints that this test can pass at will: setitimer is the end of a soft interrupt and then the
 * beginning of the next (its first argument being a number, too), flock and fcntl beginning and end of a hard one.
 */
static void attach_elsewhere(struct irq_bpf *skeleton, struct bpf_link *links[4])
{
	const struct {
		struct bpf_program *program;
		const char *tracepoint;
	} places[] = {
		/* in the order they run at one place */
		{ skeleton->progs.irq_soft_exit, "itimer_state" },
		{ skeleton->progs.irq_soft_entry, "itimer_state" },
		{ skeleton->progs.irq_timer_entry, "flock_lock_inode" },
		{ skeleton->progs.irq_timer_exit, "posix_lock_inode" },
	};
	struct bpf_program *program;

	bpf_object__for_each_program (program, skeleton->obj)
		bpf_program__set_autoload(program, false);
	for (int i = 0; i < 4; i++) {
		bpf_program__set_autoload(places[i].program, true);
		assert_int_equal(
			bpf_program__set_attach_target(places[i].program, 0, places[i].tracepoint),
			0);
	}
	assert_int_equal(irq_bpf__load(skeleton), 0);
	for (int i = 0; i < 4; i++) {
		links[i] = bpf_program__attach(places[i].program);
		assert_non_null(links[i]);
	}
}

static void soft_ends_and_begins(void)
{
	const struct itimerval off = {};

	assert_int_equal(setitimer(ITIMER_VIRTUAL, &off, NULL),
			 0); /* its number is that of TIMER */
}

static void hard_begins(int fd)
{
	assert_int_equal(flock(fd, LOCK_EX), 0);
}

static void hard_ends(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	assert_int_equal(fcntl(fd, F_SETLK, &lock), 0);
}

static void run_for(double seconds)
{
	double end = clock_seconds() + seconds;

	while (clock_seconds() < end)
		;
}

static void set_sizes(struct irq_bpf *skeleton, unsigned cpus)
{
	skeleton->rodata->settings.max_entities = 4;
	skeleton->rodata->settings.handlers = 16;
	bpf_map__set_max_entries(skeleton->maps.irq_handlers, 16);
	bpf_map__set_max_entries(skeleton->maps.irq_free, 16);
	bpf_map__set_max_entries(skeleton->maps.irq_records, 16);
	bpf_map__set_max_entries(skeleton->maps.irq_hard_rows, 16 * cpus);
	bpf_map__set_max_entries(skeleton->maps.irq_soft_rows, IRQ_SOFT_COUNT * cpus);
	bpf_map__set_max_entries(skeleton->maps.irq_stolen_rows, 4 * cpus);
	bpf_map__set_max_entries(skeleton->maps.irq_cpus, cpus);
	bpf_map__set_max_entries(skeleton->maps.budget_lanes, cpus);
}

static void a_hard_one_within_a_soft_one_counts_once(void **state)
{
	const struct task_state entity_1 = { .entity = 1 };
	const struct budget_lane exact = { .weight = 1 };
	unsigned cpus = (unsigned)libbpf_num_possible_cpus(), row = 1, key;
	struct irq_stolen_row stolen;
	struct irq_hard_row hard;
	struct irq_bpf *skeleton;
	struct bpf_link *links[4];
	struct hist soft;
	double began, all;
	int fd, pidfd;

	require_root();
	skeleton = irq_bpf__open();
	assert_non_null(skeleton);
	set_sizes(skeleton, cpus);
	attach_elsewhere(skeleton, links);
	assert_int_equal(
		bpf_map_update_elem(bpf_map__fd(skeleton->maps.irq_free), NULL, &row, BPF_ANY), 0);
	for (unsigned cpu = 0; cpu < cpus; cpu++)
		assert_int_equal(bpf_map_update_elem(bpf_map__fd(skeleton->maps.budget_lanes), &cpu,
						     &exact, BPF_ANY),
				 0);
	pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(skeleton->maps.task_states), &pidfd,
					     &entity_1, BPF_ANY),
			 0);
	fd = open(write_file(temporary_directory(), "lock", ""), O_RDWR);
	assert_true(fd >= 0);
	pin_to_cpu(0);

	began = clock_seconds();
	soft_ends_and_begins();
	run_for(0.011);
	hard_begins(fd);
	run_for(0.029);
	hard_ends(fd);
	run_for(0.007);
	soft_ends_and_begins();
	all = clock_seconds() - began;
	for (int i = 0; i < 4; i++)
		bpf_link__destroy(links[i]);

	key = 1;
	assert_int_equal(
		bpf_map_lookup_elem(bpf_map__fd(skeleton->maps.irq_hard_rows), &key, &hard), 0);
	key = IRQ_SOFT_TIMER;
	assert_int_equal(
		bpf_map_lookup_elem(bpf_map__fd(skeleton->maps.irq_soft_rows), &key, &soft), 0);
	key = 1;
	assert_int_equal(
		bpf_map_lookup_elem(bpf_map__fd(skeleton->maps.irq_stolen_rows), &key, &stolen), 0);
	assert_int_equal(hard.count, 1);
	assert_between("hard", (double)hard.ns * 1e-9, 0.029, all - 0.018);
	assert_between("soft", (double)soft.sum_ns * 1e-9, 0.018, all - 0.029);
	assert_between("both", (double)(hard.ns + soft.sum_ns) * 1e-9, 0.047, all);
	assert_int_equal(stolen.hard_ns, hard.ns);
	assert_int_equal(stolen.soft_ns, soft.sum_ns);
	close(fd);
	close(pidfd);
	irq_bpf__destroy(skeleton);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(counts_are_those_of_proc),
		HARNESS_TEST(times_are_those_of_the_tools),
		HARNESS_TEST(the_interrupted_pay),
		HARNESS_TEST(a_hard_one_within_a_soft_one_counts_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
