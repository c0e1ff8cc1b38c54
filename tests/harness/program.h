/* SPDX-License-Identifier: Apache-2.0 */
/* Running programs, daemons and workloads of a test. */
#ifndef LEADLINE_TESTS_PROGRAM_H
#define LEADLINE_TESTS_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct output {
	char *text; /* what it wrote to stdout and stderr, NUL-terminated; free it with output_free() */
	size_t size;
	int status; /* exit code; 128 + signal; 124 when it ran longer than the deadline and was killed */
};

/*
 * Runs a program to its end, found on PATH, arguments up to NULL, at most `seconds`. Fails the test only
 * when the program cannot be started. The result is never NULL.
 */
struct output *run_program(double seconds, const char *const arguments[]);
/* A shell command line, at most 60 s. */
struct output *run_shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
void output_free(struct output *output);

/* A shell command line that must exit 0, else the test fails showing what it said. */
void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Starts a program in the background; stdout and stderr go to the file `log` (NULL: /dev/null). Killed
 * at cleanup, and when the test program dies.
 */
pid_t program_start(const char *log, const char *const arguments[]);
/* Waits for its end: exit code, 128 + signal, or -1 when it still runs after `seconds`. */
int program_wait(pid_t pid, double seconds);
/* Sends `signal` and waits; SIGKILL after `seconds`. Exit code as above, 124 when it had to be killed. */
int program_stop(pid_t pid, int signal, double seconds);
/*
 * A program under another name, so that it is an entity of its own: a path that lives until cleanup. Skips without the
 * program.
 */
const char *program_renamed(const char *program, const char *name);
/* The whole file as a string, "" when it cannot be read; the caller frees it. */
char *read_file(const char *path);

/*
 * A workload: a forked child with a program name of its own, so that it is an entity of its own.
 * body(argument, shared) runs in the child; its result (0..255) is the exit code. `shared` is zeroed memory
 * of WORKLOAD_SHARED bytes that both sides see.
 */
#define WORKLOAD_SHARED 65536
struct workload {
	pid_t pid;
	char comm[16];
	void *shared;
};
typedef int workload_body(void *argument, void *shared);

/*
 * `prefix` (up to 7 characters) is completed to a name no other workload has. cpu: pinned there, -1 for
 * anywhere. The child has its name and CPU on return, and waits in read(2) until workload_release(). Freed at cleanup.
 */
struct workload *workload_start(const char *prefix, int cpu, workload_body *body, void *argument);
void workload_release(struct workload *workload);
/* Releases it if need be and waits for its end; fails the test when it takes longer or exits otherwise than 0. */
void workload_finish(struct workload *workload, double seconds);

void pin_to_cpu(int cpu); /* the calling thread */
int cpu_count(void); /* CPUs this process may run on */

#endif
