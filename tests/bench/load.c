/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loops that the benchmarks time, pinned to one CPU: load syscall|switch COUNT CPU prints the
 * nanoseconds of one operation. The count is timed in a hundred parts, of which the tenth fastest is
 * printed: what others do on the CPU meanwhile falls into the rest.
 *   syscall  getppid(2), the cheapest call that always enters the kernel
 *   switch   two processes handing one byte to and fro through pipes: a write, a wakeup, a context switch, a read
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

#define PARTS 100

static int compare_times(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

/* ns per operation; -1 when an operation failed. */
static double time_parts(int (*operate)(void *context, long count), void *context, long count)
{
	double times[PARTS];
	long part = count / PARTS;

	for (int i = 0; i < PARTS; i++) {
		double start = now_ns();

		if (operate(context, part))
			return -1;
		times[i] = (now_ns() - start) / (double)part;
	}
	qsort(times, PARTS, sizeof(times[0]), compare_times);
	return times[PARTS / 10];
}

static int call_getppid(void *context, long count)
{
	(void)context;
	for (long i = 0; i < count; i++)
		syscall(SYS_getppid);
	return 0;
}

struct pipes {
	int to_child, from_child;
};

/* Two switches a round: to the child and back. */
static int pass_bytes(void *context, long count)
{
	struct pipes *pipes = context;
	char byte = 'x';

	for (long i = 0; i < count; i += 2)
		if (write(pipes->to_child, &byte, 1) != 1 || read(pipes->from_child, &byte, 1) != 1)
			return -1;
	return 0;
}

/* Ends when the other side is gone. */
static int echo_bytes(int from, int to)
{
	char byte;

	while (read(from, &byte, 1) == 1)
		if (write(to, &byte, 1) != 1)
			return 1;
	return 0;
}

static double time_switches(long count)
{
	int there[2], back[2];
	struct pipes pipes;
	double ns;
	pid_t child;

	if (pipe(there) || pipe(back))
		return -1;
	child = fork();
	if (child < 0)
		return -1;
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(there[1]);
		close(back[0]);
		_exit(echo_bytes(there[0], back[1]));
	}
	close(there[0]);
	close(back[1]);
	pipes = (struct pipes){ there[1], back[0] };
	ns = time_parts(pass_bytes, &pipes, count);
	close(there[1]);
	waitpid(child, NULL, 0);
	return ns;
}

int main(int argc, char **argv)
{
	long count = argc == 4 ? atol(argv[2]) : 0;
	double ns;
	cpu_set_t set;

	if (count < PARTS * 2 || (strcmp(argv[1], "syscall") && strcmp(argv[1], "switch"))) {
		fprintf(stderr, "usage: load syscall|switch COUNT CPU\n");
		return 2;
	}
	CPU_ZERO(&set);
	CPU_SET((size_t)atoi(argv[3]), &set);
	if (sched_setaffinity(0, sizeof(set), &set)) {
		perror("sched_setaffinity");
		return 1;
	}
	ns = strcmp(argv[1], "syscall") ? time_switches(count)
					: time_parts(call_getppid, NULL, count);
	if (ns < 0) {
		perror("load");
		return 1;
	}
	printf("%.2f\n", ns);
	return 0;
}
