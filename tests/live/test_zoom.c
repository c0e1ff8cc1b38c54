// SPDX-License-Identifier: Apache-2.0
/* Zoom on the running kernel: known numbers of calls and bytes, a known ledger, and nothing left behind. Root. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <jansson.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "tests/harness/harness.h"

/* ---- running zoom ---- */

struct zoom_run {
	pid_t pid;
	const char *log;
	char *text; /* of the log, when it was last read */
};

static void free_text(void *context)
{
	struct zoom_run *run = context;

	free(run->text);
	free(run);
}

static bool has_said(struct zoom_run *run, const char *what)
{
	free(run->text);
	run->text = read_file(run->log);
	return strstr(run->text, what) != NULL;
}

/* Returns once it looks. */
static struct zoom_run *zoom_run(const char *flag, const char *target)
{
	struct zoom_run *run = calloc(1, sizeof(*run));
	static unsigned number;
	char name[32];

	require_root();
	cleanup_push(free_text, run);
	snprintf(name, sizeof(name), "zoom-%u", number++);
	run->log = write_file(temporary_directory(), name, "");
	run->pid =
		program_start(run->log, (const char *[]){ leadline_binary(), "zoom", flag, target,
							  "--for", "60s", "--json", NULL });
	if (!WAIT_UNTIL(has_said(run, "looking at"), 20))
		test_fail("zoom did not start: %s", run->text);
	return run;
}

static struct zoom_run *zoom_run_pid(pid_t pid)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", pid);
	return zoom_run("--pid", text);
}

static void free_json(void *context)
{
	json_decref(context);
}

static json_t *result_of(struct zoom_run *run)
{
	json_error_t error;
	json_t *json;
	char *begin;

	has_said(run, "{");
	begin = strchr(run->text, '{');
	json = begin ? json_loads(begin, 0, &error) : NULL;
	if (!json)
		test_fail("no JSON in: %s", run->text);
	cleanup_push(free_json, json);
	return json;
}

/* ---- reading the result ---- */

static json_int_t integer_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static double real_of(const json_t *object, const char *key)
{
	return json_real_value(json_object_get(object, key));
}

static json_int_t calls_of(const json_t *result, pid_t tid, const char *name)
{
	const json_t *list = json_object_get(result, "syscalls"), *row;
	size_t i;

	json_array_foreach(list, i,
			   row) if (integer_of(row, "tid") == tid &&
				    !strcmp(json_string_value(json_object_get(row, "syscall")),
					    name)) return integer_of(row, "calls");
	return 0;
}

static const json_t *descriptor_of(const json_t *result, int fd)
{
	const json_t *list = json_object_get(result, "descriptors"), *row;
	size_t i;

	json_array_foreach(list, i, row) if (integer_of(row, "fd") == fd) return row;
	test_fail("no descriptor %d", fd);
}

static void assert_transfer(const json_t *result, int fd, const char *direction, json_int_t calls,
			    json_int_t bytes)
{
	const json_t *row = json_object_get(descriptor_of(result, fd), direction);

	assert_int_equal(integer_of(row, "calls"), calls);
	assert_int_equal(integer_of(row, "bytes"), bytes);
	assert_int_equal(integer_of(row, "errors"), 0);
}

static const json_t *thread_of(const json_t *result, pid_t tid)
{
	const json_t *list = json_object_get(result, "threads"), *row;
	size_t i;

	json_array_foreach(list, i, row) if (integer_of(row, "tid") == tid) return row;
	test_fail("no thread %d", tid);
}

/* All parts of the ledger of a thread. */
static double accounted(const json_t *thread)
{
	double sum = real_of(thread, "cpu_seconds") + real_of(thread, "run_queue_seconds");
	const char *reason;
	json_t *value;

	json_object_foreach(json_object_get(thread, "wait_seconds"), reason, value) sum +=
		json_real_value(value);
	return sum;
}

/* ---- calls and bytes ---- */

#define GETPPIDS   100003
#define FILE_CALLS 1009
#define PIPE_CALLS 499
#define TCP_CALLS  311
#define FILE_SIZE  97
#define PIPE_SIZE  13
#define TCP_SIZE   29

struct descriptors {
	int file, pipe[2], client, server, port;
};

static int connect_pair(struct descriptors *fds)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	fds->client = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&address, &size) ||
	    connect(fds->client, (struct sockaddr *)&address, size))
		return -1;
	fds->port = ntohs(address.sin_port);
	fds->server = accept(listener, NULL, NULL);
	return fds->server;
}

static int transfer(void *path, void *shared)
{
	struct descriptors *fds = shared;
	char data[128] = { 0 };

	fds->file = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);
	if (fds->file < 0 || pipe(fds->pipe) || connect_pair(fds) < 0)
		return 1;
	for (int i = 0; i < GETPPIDS; i++)
		syscall(SYS_getppid);
	for (int i = 0; i < FILE_CALLS; i++)
		if (write(fds->file, data, FILE_SIZE) != FILE_SIZE ||
		    pread(fds->file, data, FILE_SIZE, 0) != FILE_SIZE)
			return 2;
	for (int i = 0; i < PIPE_CALLS; i++)
		if (write(fds->pipe[1], data, PIPE_SIZE) != PIPE_SIZE ||
		    read(fds->pipe[0], data, PIPE_SIZE) != PIPE_SIZE)
			return 3;
	for (int i = 0; i < TCP_CALLS; i++)
		if (send(fds->client, data, TCP_SIZE, 0) != TCP_SIZE ||
		    recv(fds->server, data, TCP_SIZE, MSG_WAITALL) != TCP_SIZE)
			return 4;
	return 0;
}

static void assert_what(const json_t *result, int fd, const char *kind, const char *what)
{
	const json_t *row = descriptor_of(result, fd);

	assert_string_equal(json_string_value(json_object_get(row, "kind")), kind);
	if (!strstr(json_string_value(json_object_get(row, "what")), what))
		test_fail("descriptor %d is %s, not %s", fd,
			  json_string_value(json_object_get(row, "what")), what);
}

static void test_calls_and_bytes_are_exact(void **state)
{
	char *path = (char *)write_file(temporary_directory(), "data-of-zoom", "");
	struct workload *other = workload_start("other", -1, transfer, path);
	struct workload *workload = workload_start("zoomed", -1, transfer, path);
	const struct descriptors *fds = workload->shared;
	struct zoom_run *run = zoom_run_pid(workload->pid);
	char endpoint[32];
	json_t *result;

	workload_release(other);
	workload_finish(workload, 60);
	workload_finish(other, 60);
	assert_int_equal(program_wait(run->pid, 20), 0);
	result = result_of(run);
	assert_string_equal(json_string_value(json_object_get(result, "ended")), "target exited");
	assert_int_equal(integer_of(result, "lost"), 0);
	assert_int_equal(json_array_size(json_object_get(result, "processes")), 1);

	assert_int_equal(calls_of(result, workload->pid, "getppid"), GETPPIDS);
	assert_int_equal(calls_of(result, workload->pid, "pread64"), FILE_CALLS);
	assert_int_equal(calls_of(result, workload->pid, "write"), FILE_CALLS + PIPE_CALLS);
	assert_int_equal(calls_of(result, workload->pid, "sendto"), TCP_CALLS);
	assert_int_equal(calls_of(result, workload->pid, "recvfrom"), TCP_CALLS);
	assert_int_equal(calls_of(result, other->pid, "getppid"), 0);

	assert_transfer(result, fds->file, "write", FILE_CALLS, FILE_CALLS * FILE_SIZE);
	assert_transfer(result, fds->file, "read", FILE_CALLS, FILE_CALLS * FILE_SIZE);
	assert_transfer(result, fds->pipe[1], "write", PIPE_CALLS, PIPE_CALLS * PIPE_SIZE);
	assert_transfer(result, fds->pipe[0], "read", PIPE_CALLS, PIPE_CALLS * PIPE_SIZE);
	assert_transfer(result, fds->client, "write", TCP_CALLS, TCP_CALLS * TCP_SIZE);
	assert_transfer(result, fds->server, "read", TCP_CALLS, TCP_CALLS * TCP_SIZE);
	assert_what(result, fds->file, "file", "data-of-zoom");
	assert_what(result, fds->pipe[0], "pipe", "pipe:[");
	snprintf(endpoint, sizeof(endpoint), "-> 127.0.0.1:%d", fds->port);
	assert_what(result, fds->client, "socket", endpoint);
	(void)state;
}

/* ---- the ledger ---- */

#define SECONDS 0.9

struct ledger {
	pid_t spinner, sleeper;
	double spinner_cpu;
};

static double clock_of(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void *spin(void *shared)
{
	struct ledger *ledger = shared;

	ledger->spinner = (pid_t)syscall(SYS_gettid);
	while (clock_of(CLOCK_THREAD_CPUTIME_ID) < SECONDS)
		;
	ledger->spinner_cpu = clock_of(CLOCK_THREAD_CPUTIME_ID);
	return NULL;
}

static void *doze(void *shared)
{
	struct ledger *ledger = shared;

	ledger->sleeper = (pid_t)syscall(SYS_gettid);
	pause_seconds(SECONDS);
	return NULL;
}

static int spin_and_doze(void *argument, void *shared)
{
	pthread_t threads[2];

	if (pthread_create(&threads[0], NULL, spin, shared) ||
	    pthread_create(&threads[1], NULL, doze, shared))
		return 1;
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	(void)argument;
	return 0;
}

static void test_every_thread_has_its_ledger(void **state)
{
	struct workload *workload = workload_start("ledger", -1, spin_and_doze, NULL);
	const struct ledger *ledger = workload->shared;
	struct zoom_run *run = zoom_run_pid(workload->pid);
	const json_t *result, *spinner, *sleeper;
	double slept;

	workload_finish(workload, 60);
	assert_int_equal(program_wait(run->pid, 20), 0);
	result = result_of(run);
	spinner = thread_of(result, ledger->spinner);
	sleeper = thread_of(result, ledger->sleeper);
	assert_float_equal(real_of(spinner, "cpu_seconds"), ledger->spinner_cpu,
			   0.02 * ledger->spinner_cpu);
	slept = real_of(json_object_get(sleeper, "wait_seconds"), "sleep");
	assert_true(slept > 0.95 * SECONDS);
	assert_true(slept > 0.95 * (real_of(sleeper, "seen_seconds") -
				    real_of(sleeper, "run_queue_seconds")));
	assert_float_equal(accounted(spinner), real_of(spinner, "seen_seconds"),
			   0.01 * real_of(spinner, "seen_seconds"));
	assert_float_equal(accounted(sleeper), real_of(sleeper, "seen_seconds"),
			   0.01 * real_of(sleeper, "seen_seconds"));
	(void)state;
}

/* ---- its end ---- */

static int wait_long(void *argument, void *shared)
{
	pause();
	(void)argument;
	(void)shared;
	return 0;
}

static void assert_nothing_stays(int signal, int status)
{
	struct workload *workload = workload_start("target", -1, wait_long, NULL);
	struct zoom_run *run = zoom_run_pid(workload->pid);
	struct bpf_objects objects = bpf_objects_of(run->pid);
	struct output *second;

	workload_release(workload);
	assert_true(bpf_objects_count(&objects, 'l') >= 3);
	second = leadline_command((const char *[]){ "zoom", "--pid", "1", NULL });
	assert_int_equal(second->status, 1);
	assert_non_null(strstr(second->text, "another zoom is running"));
	output_free(second);
	assert_int_equal(program_stop(run->pid, signal, 10), status);
	assert_true(WAIT_UNTIL(bpf_objects_left(&objects) == 0, 10));
	if (!status) {
		const json_t *result = result_of(run);

		assert_string_equal(json_string_value(json_object_get(result, "ended")),
				    "interrupted");
		thread_of(result, workload->pid);
	}
}

static void test_nothing_stays_after_an_interrupt(void **state)
{
	assert_nothing_stays(SIGINT, 0);
	(void)state;
}

static void test_nothing_stays_after_a_kill(void **state)
{
	assert_nothing_stays(SIGKILL, 128 + SIGKILL);
	(void)state;
}

/* ---- control groups ---- */

static int fork_and_ask(void *argument, void *shared)
{
	pid_t *child = shared, forked = fork();

	if (forked)
		*child = forked;
	for (int i = 0; i < FILE_CALLS; i++)
		syscall(SYS_getppid);
	if (!forked)
		_exit(0);
	(void)argument;
	return 0;
}

static void assert_all_in_group_are_seen(const char *group, const char *flag, const char *target)
{
	struct workload *workload = workload_start("grouped", -1, fork_and_ask, NULL);
	const pid_t *child = workload->shared;
	struct zoom_run *run;
	const json_t *result;

	cgroup_enter(group, workload->pid);
	run = zoom_run(flag, target);
	workload_finish(workload, 60);
	assert_int_equal(program_wait(run->pid, 20), 0);
	result = result_of(run);
	assert_string_equal(json_string_value(json_object_get(result, "ended")), "target exited");
	assert_int_equal(json_array_size(json_object_get(result, "processes")), 2);
	assert_int_equal(calls_of(result, workload->pid, "getppid"), FILE_CALLS);
	assert_int_equal(calls_of(result, *child, "getppid"), FILE_CALLS);
}

static void test_a_group_is_all_processes_in_it(void **state)
{
	const char *group;

	require_root();
	group = cgroup_create("leadline-test-zoom");
	assert_all_in_group_are_seen(group, "--cgroup", group);
	(void)state;
}

static void test_a_group_of_version_1_is_too(void **state)
{
	const char *group;

	require_root();
	group = cgroup_create_v1("memory", "leadline-test-zoom");
	assert_all_in_group_are_seen(group, "--cgroup", group);
	(void)state;
}

static void test_a_container_is_found_by_its_id(void **state)
{
	require_root();
	assert_all_in_group_are_seen(
		cgroup_create("a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90"),
		"--container", "a1b2c3d4e5f6");
	(void)state;
}

/* ---- over HTTP ---- */

static const char *state_of(struct leadline *leadline, const char *path, json_t **ret_json)
{
	struct answer *answer = leadline_fetch(leadline, NULL, path, NULL, NULL);

	*ret_json = json_loads(answer->body, 0, NULL);
	answer_free(answer);
	if (!*ret_json)
		test_fail("no JSON at %s", path);
	cleanup_push(free_json, *ret_json);
	return json_string_value(json_object_get(*ret_json, "state"));
}

static long post_zoom(struct leadline *leadline, pid_t pid, const char *header)
{
	const char *headers[] = { header, NULL };
	struct answer *answer;
	char body[64];
	long status;

	snprintf(body, sizeof(body), "{\"pid\": %d, \"seconds\": 2}", pid);
	answer = leadline_fetch(leadline, "POST", "/zoom", header ? headers : NULL, body);
	status = answer->status;
	answer_free(answer);
	return status;
}

static void test_the_agent_zooms_on_request(void **state)
{
	struct leadline *leadline = leadline_start_only("host", NULL);
	struct workload *workload = workload_start("asked", -1, wait_long, NULL);
	json_t *json;

	assert_int_equal(post_zoom(leadline, workload->pid, "X-Forwarded-For: 192.0.2.1"), 403);
	assert_int_equal(post_zoom(leadline, workload->pid, NULL), 202);
	assert_int_equal(post_zoom(leadline, workload->pid, NULL), 409);
	assert_string_equal(state_of(leadline, "/zoom/1", &json), "running");
	assert_true(WAIT_UNTIL(!strcmp(state_of(leadline, "/zoom/1", &json), "finished"), 20));
	json = json_object_get(json, "result");
	thread_of(json, workload->pid);

	/* a process that is gone: told in the result; then one that the agent's end ends */
	assert_int_equal(post_zoom(leadline, 4194303, NULL), 202);
	assert_true(WAIT_UNTIL(!strcmp(state_of(leadline, "/zoom/2", &json), "failed"), 20));
	assert_int_equal(post_zoom(leadline, getpid(), NULL), 202);
	leadline_stop(leadline);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(test_calls_and_bytes_are_exact),
		HARNESS_TEST(test_every_thread_has_its_ledger),
		HARNESS_TEST(test_nothing_stays_after_an_interrupt),
		HARNESS_TEST(test_nothing_stays_after_a_kill),
		HARNESS_TEST(test_a_group_is_all_processes_in_it),
		HARNESS_TEST(test_a_group_of_version_1_is_too),
		HARNESS_TEST(test_a_container_is_found_by_its_id),
		HARNESS_TEST(test_the_agent_zooms_on_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
