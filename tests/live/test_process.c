// SPDX-License-Identifier: Apache-2.0
/* The process probe on the running kernel: known numbers of processes that start and end, and how. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "bpf/lib/task.h"
#include "bpf/process.h"
#include "process.skel.h"
#include "tests/harness/harness.h"

static struct leadline *start_agent(const char *flag)
{
	return leadline_start_only("process", (const char *const[]){ flag, NULL });
}

static double exits_of(const struct page *page, const char *comm, const char *kind)
{
	return metric_sum(page, "leadline_process_exits_total", "comm", comm, "kind", kind, NULL);
}

#define SIGNALS_METRIC "leadline_signals_total"
#define DEATHS_METRIC  "leadline_process_fatal_signals_total"

static double signals_of(const struct page *page, const char *metric, const char *comm,
			 const char *name)
{
	return metric_sum(page, metric, "comm", comm, "signal", name, NULL);
}

static double execs_of(const struct page *page, const char *comm)
{
	return metric_sum(page, "leadline_process_execs_total", "comm", comm, NULL);
}

static double lost(const struct page *page, const char *reason)
{
	return metric_sum(page, "leadline_probe_lost_total", "probe", "process", "reason", reason,
			  NULL);
}

/* ---- workloads ---- */

#define TIMES 211

/* One child after the other, each running `body`, then 0 as exit status. Fails when they end otherwise than so. */
static int raise_children(int number, void (*body)(void *argument), void *argument,
			  int expected_status)
{
	for (int i = 0; i < number; i++) {
		pid_t pid = fork();
		int status;

		if (pid < 0)
			return 100;
		if (pid == 0) {
			body(argument);
			_exit(0);
		}
		if (waitpid(pid, &status, 0) != pid)
			return 101;
		if (status != expected_status)
			return 102;
	}
	return 0;
}

static void run_program_at(void *path)
{
	execl(path, path, NULL);
	_exit(103);
}

static void die_by_signal(void *number)
{
	signal(*(int *)number, SIG_DFL);
	raise(*(int *)number);
}

static void *end_thread(void *barrier)
{
	pthread_barrier_wait(barrier);
	return NULL;
}

/* Five threads end at once, the first one somewhere among them. */
static void end_with_threads(void *status)
{
	pthread_barrier_t barrier;
	pthread_t thread;

	pthread_barrier_init(&barrier, NULL, 5);
	for (int i = 0; i < 4; i++)
		if (pthread_create(&thread, NULL, end_thread, &barrier))
			_exit(104);
	pthread_barrier_wait(&barrier);
	if (status) /* ends the others with it */
		_exit(*(int *)status);
	pthread_exit(NULL); /* the last one to do so ends the process */
}

static int run_programs(void *directory, void *shared)
{
	char path[PATH_MAX];
	int result;

	(void)shared;
	snprintf(path, sizeof(path), "%s/true-%d", (char *)directory, getppid());
	result = raise_children(TIMES, run_program_at, path, 0);
	if (result)
		return result;
	snprintf(path, sizeof(path), "%s/false-%d", (char *)directory, getppid());
	return raise_children(TIMES, run_program_at, path, 1 << 8);
}

static int let_children_end(void *argument, void *shared)
{
	static int kill_signal = SIGKILL, hang_up = SIGHUP, three = 3;
	int result = raise_children(TIMES, die_by_signal, &kill_signal, SIGKILL);

	(void)argument;
	(void)shared;
	if (!result)
		result = raise_children(13, die_by_signal, &hang_up, SIGHUP);
	if (!result)
		result = raise_children(53, end_with_threads, NULL, 0);
	if (!result)
		result = raise_children(37, end_with_threads, &three, 3 << 8);
	return result;
}

/* ---- tests ---- */

static void programs_are_counted_when_they_start_and_end(void **state)
{
	struct leadline *leadline = start_agent(NULL);
	const char *directory = temporary_directory();
	struct workload *workload;
	char succeeding[16], failing[16];
	struct page *page;

	/* Under names of their own: others on this machine run `true` as well. */
	snprintf(succeeding, sizeof(succeeding), "true-%d", getpid());
	snprintf(failing, sizeof(failing), "false-%d", getpid());
	shell("cp /bin/true %s/%s && cp /bin/false %s/%s", directory, succeeding, directory,
	      failing);
	workload = workload_start("starter", -1, run_programs, (void *)directory);
	workload_finish(workload, 60);

	page = leadline_scrape(leadline);
	assert_true(execs_of(page, succeeding) == TIMES);
	assert_true(execs_of(page, failing) == TIMES);
	assert_true(exits_of(page, succeeding, "success") == TIMES);
	assert_true(exits_of(page, succeeding, "error") == 0);
	assert_true(exits_of(page, failing, "error") == TIMES);
	assert_true(exits_of(page, failing, "success") == 0);
	/* The workload itself: one process, no program started under its name. */
	assert_true(exits_of(page, workload->comm, "success") == 1);
	assert_true(execs_of(page, workload->comm) == 0);
	assert_true(lost(page, "ring_full") == 0);
	page_free(page);
	(void)state;
}

static void processes_are_counted_once_whatever_their_threads(void **state)
{
	struct leadline *leadline = start_agent(NULL);
	struct workload *workload = workload_start("ender", -1, let_children_end, NULL);
	struct page *page;

	workload_finish(workload, 60);
	page = leadline_scrape(leadline);
	assert_true(exits_of(page, workload->comm, "signal") == TIMES + 13);
	assert_true(exits_of(page, workload->comm, "success") == 53 + 1);
	assert_true(exits_of(page, workload->comm, "error") == 37);
	assert_true(signals_of(page, DEATHS_METRIC, workload->comm, "SIGKILL") == TIMES);
	assert_true(signals_of(page, DEATHS_METRIC, workload->comm, "SIGHUP") == 13);
	assert_true(metric_sum(page, SIGNALS_METRIC, "comm", workload->comm, NULL) == 0);
	page_free(page);
	assert_true(WAIT_UNTIL(leadline_logged(leadline, "died by signal 9 SIGKILL"), 5));
	(void)state;
}

static volatile sig_atomic_t handled;

static void count_handled(int number)
{
	(void)number;
	handled++;
}

/* Handled, ignored and blocked ones; `shared` tells how often the handler ran. */
static int take_signals(void *argument, void *shared)
{
	const int real_time = SIGRTMIN + 3;
	sigset_t blocked;

	signal(SIGUSR1, count_handled);
	signal(SIGCHLD, SIG_DFL); /* ignored by default */
	signal(SIGUSR2, SIG_IGN);
	signal(real_time, count_handled);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	for (int i = 0; i < TIMES; i++) {
		raise(SIGUSR1);
		raise(SIGCHLD);
		raise(SIGUSR2);
		raise(SIGTERM);
	}
	for (int i = 0; i < 17; i++)
		raise(real_time);
	*(int *)shared = handled;
	(void)argument;
	return 0;
}

static void signals_are_counted_when_taken(void **state)
{
	struct leadline *leadline = start_agent(NULL);
	struct workload *workload = workload_start("signals", -1, take_signals, NULL);
	struct page *page;

	workload_finish(workload, 60);
	page = leadline_scrape(leadline);
	assert_int_equal(*(int *)workload->shared, TIMES + 17);
	assert_true(signals_of(page, SIGNALS_METRIC, workload->comm, "SIGUSR1") == TIMES);
	assert_true(signals_of(page, SIGNALS_METRIC, workload->comm, "realtime") == 17);
	/* those that were ignored or blocked nobody took */
	assert_true(metric_sum(page, SIGNALS_METRIC, "comm", workload->comm, NULL) == TIMES + 17);
	assert_true(metric_sum(page, DEATHS_METRIC, "comm", workload->comm, NULL) == 0);
	page_free(page);
	(void)state;
}

/* A child that waits until the gate is closed, gets an entity, and then ends with its threads. */
static int end_attributed_child(const struct process_bpf *skeleton, int *status_or_null,
				bool is_victim)
{
	const struct task_state task_state = { .entity = 1 };
	const __u64 nothing = 0;
	int gate[2], pidfd, status = -1;
	pid_t pid;

	assert_int_equal(pipe(gate), 0);
	pid = fork();
	if (pid == 0) {
		char go;

		close(gate[1]);
		if (read(gate[0], &go, 1) != 0)
			_exit(105);
		end_with_threads(status_or_null);
	}
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(skeleton->maps.task_states), &pidfd,
					     &task_state, BPF_ANY),
			 0);
	if (is_victim)
		assert_int_equal(bpf_map_update_elem(bpf_map__fd(skeleton->maps.process_victims),
						     &pid, &nothing, BPF_ANY),
				 0);
	close(gate[0]);
	close(gate[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(pidfd);
	return status;
}

#define ROWS	   8
#define ROWS_BYTES (ROWS * sizeof(struct process_row))

/* The object with one program only, as on a kernel where the core chooses it. */
struct alone {
	struct process_bpf *skeleton;
	struct process_row *rows;
	struct bpf_link *link;
};

static struct alone attach_alone(const char *name, bool oom_by_pid)
{
	struct alone alone = { .skeleton = process_bpf__open() };
	struct bpf_program *program, *chosen = NULL;

	assert_non_null(alone.skeleton);
	bpf_object__for_each_program (program, alone.skeleton->obj) {
		bool is_chosen = !strcmp(bpf_program__name(program), name);

		bpf_program__set_autoload(program, is_chosen);
		if (is_chosen)
			chosen = program;
	}
	alone.skeleton->rodata->settings.oom_by_pid = oom_by_pid;
	bpf_map__set_max_entries(alone.skeleton->maps.process_rows, ROWS);
	assert_int_equal(process_bpf__load(alone.skeleton), 0);
	alone.rows = mmap(NULL, ROWS_BYTES, PROT_READ, MAP_SHARED,
			  bpf_map__fd(alone.skeleton->maps.process_rows), 0);
	assert_ptr_not_equal(alone.rows, MAP_FAILED);
	alone.link = bpf_program__attach(chosen);
	assert_non_null(alone.link);
	return alone;
}

static void detach_alone(struct alone *alone)
{
	bpf_link__destroy(alone->link);
	munmap(alone->rows, ROWS_BYTES);
	process_bpf__destroy(alone->skeleton);
}

/* The way for kernels whose tracepoint does not tell the last thread; it works here, too. */
static void the_last_thread_is_found_without_being_told(void **state)
{
	struct alone alone;
	int three = 3;

	require_root();
	alone = attach_alone("process_exit_by_live", false);
	for (int i = 0; i < 101; i++) {
		assert_int_equal(end_attributed_child(alone.skeleton, NULL, false), 0);
		assert_int_equal(end_attributed_child(alone.skeleton, &three, false), 3 << 8);
	}
	assert_int_equal(alone.rows[1].exits[PROCESS_EXIT_SUCCESS], 101);
	assert_int_equal(alone.rows[1].exits[PROCESS_EXIT_ERROR], 101);
	assert_int_equal(alone.rows[1].exits[PROCESS_EXIT_SIGNAL], 0);
	assert_int_equal(alone.rows[1].oom_kills[PROCESS_TRIGGER_OTHER], 0);
	detach_alone(&alone);
	(void)state;
}

/* The way for kernels that tell a victim's number only: entered here in the kernel's stead. */
static void a_victim_known_by_number_is_counted_when_it_ends(void **state)
{
	struct alone alone;

	require_root();
	alone = attach_alone("process_exit_by_live", true);
	for (int i = 0; i < 11; i++) {
		end_attributed_child(alone.skeleton, NULL, false);
		end_attributed_child(alone.skeleton, NULL, true);
	}
	assert_int_equal(alone.rows[1].oom_kills[PROCESS_TRIGGER_OTHER], 11);
	assert_int_equal(alone.rows[1].exits[PROCESS_EXIT_SUCCESS], 22);
	detach_alone(&alone);
	(void)state;
}

#define OOM_LIMIT (16 << 20)

static void use_too_much_memory(void *directory)
{
	char *memory;

	cgroup_enter(directory, 0);
	memory = mmap(NULL, 8 * OOM_LIMIT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	for (size_t i = 0; i < 8 * OOM_LIMIT; i += 4096)
		memory[i] = 1;
}

static int run_out_of_memory(void *directory, void *shared)
{
	(void)shared;
	return raise_children(3, use_too_much_memory, directory, SIGKILL);
}

static void victims_of_the_oom_killer_are_counted(void **state)
{
	const char *directory = memory_group_create("leadline-test-oom");
	struct leadline *leadline = start_agent(NULL);
	struct workload *workload;
	struct page *page;

	memory_group_limit(directory, OOM_LIMIT);
	workload = workload_start("greedy", -1, run_out_of_memory, (void *)directory);
	workload_finish(workload, 60);
	page = leadline_scrape(leadline);
	assert_true(memory_group_oom_kills(directory) == 3);
	/* chosen as they themselves wanted memory: parent and children are one program */
	assert_true(metric_sum(page, "leadline_oom_kills_total", "comm", workload->comm, "trigger",
			       "self", NULL) == 3);
	assert_true(metric_sum(page, "leadline_oom_kills_total", "comm", workload->comm, "trigger",
			       "other", NULL) == 0);
	assert_true(exits_of(page, workload->comm, "signal") == 3);
	page_free(page);
	assert_true(WAIT_UNTIL(
		leadline_logged(leadline,
				"chosen by the out-of-memory killer, as it wanted memory"),
		5));
	(void)state;
}

#define CASUALTIES 3001
#define RING_BYTES 4096

static int lose_children(void *argument, void *shared)
{
	static int kill_signal = SIGKILL;

	(void)argument;
	(void)shared;
	return raise_children(CASUALTIES, die_by_signal, &kill_signal, SIGKILL);
}

/* The agent does not read while they die: what the ring cannot hold is counted, and the counts stay exact. */
static void a_full_ring_loses_events_but_no_counts(void **state)
{
	/* An event takes its size and a header of 8 bytes. */
	const double room = RING_BYTES / (sizeof(struct process_event) + 8);
	struct leadline *leadline = start_agent("--probes.process.ring_bytes=4KiB");
	struct workload *workload = workload_start("mortal", -1, lose_children, NULL);
	struct page *page;

	assert_int_equal(kill(leadline->pid, SIGSTOP), 0);
	workload_finish(workload, 60);
	assert_int_equal(kill(leadline->pid, SIGCONT), 0);
	page = leadline_scrape(leadline);
	assert_true(exits_of(page, workload->comm, "signal") == CASUALTIES);
	/* Others on this machine may die by a signal meanwhile: never fewer than ours. */
	assert_true(lost(page, "ring_full") >= CASUALTIES - room);
	assert_true(lost(page, "ring_full") < CASUALTIES + 100);
	assert_true(lost(page, "malformed") == 0);
	page_free(page);
	assert_true(leadline_alive(leadline));
	assert_true(WAIT_UNTIL(leadline_logged(leadline, "died by signal 9 SIGKILL"), 5));
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(programs_are_counted_when_they_start_and_end),
		HARNESS_TEST(processes_are_counted_once_whatever_their_threads),
		HARNESS_TEST(signals_are_counted_when_taken),
		HARNESS_TEST(the_last_thread_is_found_without_being_told),
		HARNESS_TEST(a_victim_known_by_number_is_counted_when_it_ends),
		HARNESS_TEST(victims_of_the_oom_killer_are_counted),
		HARNESS_TEST(a_full_ring_loses_events_but_no_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
