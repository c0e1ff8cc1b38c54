/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps every CPU busy with what hooks make dear, for as long as its standard input is open: storm syscall|switch.
 * For each letter that comes in it does something and answers with a line: how many operations all CPUs have made so far,
 * the CPU time that took, and CLOCK_MONOTONIC, both in nanoseconds.
 *   c  counts
 *   s  stops the storm, then counts
 *   g  lets it go on, then counts
 *   syscall  getppid(2); one process per CPU
 *   switch   a byte handed to and fro through pipes, two operations a round; two processes per CPU
 */
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_CPUS 64
#define BATCH	 100 /* calls before they are counted */

/* A cache line each. */
struct counter {
	volatile uint64_t operations;
	volatile pid_t partner; /* 0: works alone */
	uint64_t pad[6];
};

static uint64_t in_ns(struct timespec time)
{
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static uint64_t cpu_ns(pid_t pid)
{
	struct timespec time = { 0 };
	clockid_t clock;

	if (pid > 0 && !clock_getcpuclockid(pid, &clock))
		clock_gettime(clock, &time);
	return in_ns(time);
}

static int call_getppid(struct counter *counter)
{
	do {
		for (int i = 1; i < BATCH; i++)
			syscall(SYS_getppid);
		counter->operations += BATCH;
	} while (syscall(SYS_getppid) >= 0);
	return 1;
}

static int pass_bytes(struct counter *counter)
{
	int there[2], back[2];
	char byte = 'x';
	pid_t child;

	if (pipe(there) || pipe(back))
		return 1;
	child = fork();
	if (child < 0)
		return 1;
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1)
			;
		_exit(1);
	}
	counter->partner = child;
	while (write(there[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1)
		counter->operations += 2;
	return 1;
}

/* In a process group of its own, as what it forks must stop and go on with it. */
static pid_t start(int (*work)(struct counter *counter), struct counter *counter, int cpu)
{
	pid_t parent = getpid(), pid = fork();
	cpu_set_t set;

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	setpgid(0, 0);
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		_exit(1);
	_exit(work(counter));
}

static void signal_all(const pid_t pids[], int n, int number)
{
	for (int i = 0; i < n; i++)
		kill(-pids[i], number);
}

static void answer(const struct counter *counters, const pid_t pids[], int n)
{
	uint64_t operations = 0, ns = 0;
	struct timespec now;

	for (int i = 0; i < n; i++) {
		operations += counters[i].operations;
		ns += cpu_ns(pids[i]) + cpu_ns(counters[i].partner);
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	printf("%llu %llu %llu\n", (unsigned long long)operations, (unsigned long long)ns,
	       (unsigned long long)in_ns(now));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int n = (int)sysconf(_SC_NPROCESSORS_ONLN), letter;
	struct counter *counters;
	pid_t pids[MAX_CPUS];

	if (argc != 2 || (strcmp(argv[1], "syscall") && strcmp(argv[1], "switch"))) {
		fprintf(stderr, "usage: storm syscall|switch\n");
		return 2;
	}
	if (n > MAX_CPUS)
		n = MAX_CPUS;
	counters = mmap(NULL, MAX_CPUS * sizeof(*counters), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counters == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	for (int i = 0; i < n; i++) {
		pids[i] = start(strcmp(argv[1], "switch") ? call_getppid : pass_bytes, &counters[i],
				i);
		if (pids[i] < 0) {
			perror("fork");
			return 1;
		}
		setpgid(pids[i], pids[i]); /* whoever comes first */
	}
	while ((letter = getchar()) != EOF) {
		if (letter == 's')
			signal_all(pids, n, SIGSTOP);
		else if (letter == 'g')
			signal_all(pids, n, SIGCONT);
		answer(counters, pids, n);
	}
	signal_all(pids, n, SIGKILL);
	while (wait(NULL) > 0)
		;
	return 0;
}
