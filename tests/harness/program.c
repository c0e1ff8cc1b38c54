/* SPDX-License-Identifier: Apache-2.0 */
/* Programs, daemons and workloads of a test. Children die with the test program. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/harness/harness.h"

static int exit_code(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void child_setup(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	unsetenv(
		"LEADLINE_BINARY"); /* ours; the agent would take it for a setting it does not know */
}

/* Forks and executes with stdout and stderr at `output`; the child leads a process group. */
static pid_t launch(int output, const char *const arguments[])
{
	pid_t parent = getpid(), pid;
	int failure[2], error = 0;

	if (pipe2(failure, O_CLOEXEC))
		test_fail("pipe: %s", strerror(errno));
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		test_fail("fork: %s", strerror(errno));
	if (pid == 0) {
		child_setup(parent);
		setpgid(0, 0);
		dup2(output, STDOUT_FILENO);
		dup2(output, STDERR_FILENO);
		execvp(arguments[0], (char *const *)arguments);
		error = errno;
		if (write(failure[1], &error, sizeof(error)) < 0)
			_exit(126);
		_exit(127);
	}
	close(failure[1]);
	if (read(failure[0], &error, sizeof(error)) == (ssize_t)sizeof(error)) {
		waitpid(pid, NULL, 0);
		close(failure[0]);
		test_fail("%s: %s", arguments[0], strerror(error));
	}
	close(failure[0]);
	return pid;
}

int program_wait(pid_t pid, double seconds)
{
	double deadline = clock_seconds() + patience(seconds);
	int status;

	for (;;) {
		pid_t got = waitpid(pid, &status, WNOHANG);

		if (got == pid) {
			cleanup_forget((void *)(intptr_t)pid);
			return exit_code(status);
		}
		if (got < 0 || clock_seconds() >= deadline)
			return -1;
		pause_seconds(0.002);
	}
}

int program_stop(pid_t pid, int signal_number, double seconds)
{
	int code;

	kill(pid, signal_number);
	code = program_wait(pid, seconds);
	if (code >= 0)
		return code;
	kill(pid, SIGKILL);
	program_wait(pid, 5);
	return 124;
}

static void kill_program(void *context)
{
	pid_t pid = (pid_t)(intptr_t)context;

	kill(-pid, SIGKILL);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

pid_t program_start(const char *log, const char *const arguments[])
{
	int output = open(log ? log : "/dev/null", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	pid_t pid;

	if (output < 0)
		test_fail("%s: %s", log, strerror(errno));
	pid = launch(output, arguments);
	close(output);
	cleanup_push(kill_program, (void *)(intptr_t)pid);
	return pid;
}

const char *program_renamed(const char *program, const char *name)
{
	char *path = NULL;

	require_program(program);
	if (asprintf(&path, "%s/%s", temporary_directory(), name) < 0)
		abort();
	cleanup_push(free, path);
	shell("ln -s $(command -v %s) %s", program, path);
	return path;
}

static char *read_all(int fd, size_t *ret_size)
{
	size_t size = 0, capacity = 65536;
	char *text = malloc(capacity);

	for (;;) {
		ssize_t got;

		if (!text)
			abort();
		got = read(fd, text + size, capacity - size - 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		size += (size_t)got;
		if (capacity - size < 4096)
			text = realloc(text, capacity *= 2);
	}
	text[size] = '\0';
	*ret_size = size;
	return text;
}

char *read_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t size;
	char *text;

	if (fd < 0)
		return calloc(1, 1);
	text = read_all(fd, &size);
	close(fd);
	return text;
}

struct output *run_program(double seconds, const char *const arguments[])
{
	struct output *output = calloc(1, sizeof(*output));
	FILE *file = tmpfile();
	pid_t pid;

	if (!output || !file)
		test_fail("temporary file: %s", strerror(errno));
	/* A file, not a pipe: it cannot fill up, and a grandchild that lives on cannot hold us. */
	pid = launch(fileno(file), arguments);
	cleanup_push(kill_program, (void *)(intptr_t)pid);
	output->status = program_wait(pid, seconds);
	if (output->status < 0)
		output->status = program_stop(pid, SIGKILL, 5) >= 0 ? 124 : -1;
	lseek(fileno(file), 0, SEEK_SET);
	output->text = read_all(fileno(file), &output->size);
	fclose(file);
	return output;
}

__attribute__((format(printf, 1, 0))) static struct output *run_shell_va(const char *format,
									 va_list arguments)
{
	struct output *output;
	char *command = NULL;

	if (vasprintf(&command, format, arguments) < 0)
		abort();
	output = run_program(60, (const char *const[]){ "sh", "-c", command, NULL });
	free(command);
	return output;
}

struct output *run_shell(const char *format, ...)
{
	struct output *output;
	va_list arguments;

	va_start(arguments, format);
	output = run_shell_va(format, arguments);
	va_end(arguments);
	return output;
}

void shell(const char *format, ...)
{
	struct output *output;
	va_list arguments;

	va_start(arguments, format);
	output = run_shell_va(format, arguments);
	va_end(arguments);
	if (output->status) {
		char message[1024];

		snprintf(message, sizeof(message), "exit %d from %s: %s", output->status, format,
			 output->text);
		output_free(output);
		test_fail("%s", message);
	}
	output_free(output);
}

void output_free(struct output *output)
{
	if (!output)
		return;
	free(output->text);
	free(output);
}

/* ---- workloads ---- */

struct held_workload {
	struct workload workload;
	int gate; /* a byte here lets the child go; -1 once given */
};

static void workload_destroy(void *context)
{
	struct held_workload *held = context;

	if (held->gate >= 0)
		close(held->gate);
	munmap(held->workload.shared, WORKLOAD_SHARED);
	free(held);
}

struct workload *workload_start(const char *prefix, int cpu, workload_body *body, void *argument)
{
	struct held_workload *held = calloc(1, sizeof(*held));
	struct workload *workload = &held->workload;
	static unsigned serial;
	pid_t parent = getpid();
	int gate[2], named[2];
	char end;

	if (!held || pipe2(gate, O_CLOEXEC) || pipe2(named, O_CLOEXEC))
		test_fail("workload: %s", strerror(errno));
	snprintf(workload->comm, sizeof(workload->comm), "%.7s%06x%02x", prefix, parent & 0xffffff,
		 serial++ & 0xff);
	workload->shared = mmap(NULL, WORKLOAD_SHARED, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (workload->shared == MAP_FAILED)
		test_fail("mmap: %s", strerror(errno));
	fflush(NULL);
	workload->pid = fork();
	if (workload->pid < 0)
		test_fail("fork: %s", strerror(errno));
	if (workload->pid == 0) {
		char go;

		child_setup(parent);
		prctl(PR_SET_NAME, workload->comm);
		if (cpu >= 0)
			pin_to_cpu(cpu);
		close(gate[1]);
		close(named[0]);
		close(named[1]); /* says: ready */
		while (read(gate[0], &go, 1) < 0 && errno == EINTR)
			;
		close(gate[0]);
		_exit(body(argument, workload->shared));
	}
	close(gate[0]);
	close(named[1]);
	while (read(named[0], &end, 1) < 0 && errno == EINTR)
		;
	close(named[0]);
	held->gate = gate[1];
	cleanup_push(workload_destroy, held);
	cleanup_push(kill_program, (void *)(intptr_t)workload->pid);
	return workload;
}

void workload_release(struct workload *workload)
{
	struct held_workload *held = (struct held_workload *)workload;

	if (held->gate < 0)
		return;
	if (write(held->gate, "g", 1) != 1)
		test_fail("workload %s: %s", workload->comm, strerror(errno));
	close(held->gate);
	held->gate = -1;
}

void workload_finish(struct workload *workload, double seconds)
{
	int code;

	workload_release(workload);
	code = program_wait(workload->pid, seconds);
	if (code < 0)
		test_fail("workload %s still runs after %g s", workload->comm, seconds);
	if (code > 0)
		test_fail("workload %s exited with %d", workload->comm, code);
}

void pin_to_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set)) {
		fprintf(stderr, "CPU %d: %s\n", cpu, strerror(errno));
		_exit(125);
	}
}

int cpu_count(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);
}
