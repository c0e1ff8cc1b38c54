/* SPDX-License-Identifier: Apache-2.0 */
/* The agent under test, as a program: start, scrape, stop. */
#ifndef LEADLINE_TESTS_LEADLINE_H
#define LEADLINE_TESTS_LEADLINE_H

#include <stdbool.h>
#include <sys/types.h>
#include "tests/harness/fetch.h"
#include "tests/harness/page.h"
#include "tests/harness/program.h"

struct leadline {
	pid_t pid;
	int port;
	const char *log; /* file with its stderr and stdout */
	const char *const *arguments; /* what it was started with, up to NULL */
};

/* Path of the program: $LEADLINE_BINARY, or the one in the build directory of this test. */
const char *leadline_binary(void);

/*
 * Starts `leadline agent` on a free loopback port with --interval=1s --max_age=0s and the given further flags (up to
 * NULL), without a budget unless they set one or name a configuration, as root or skips, and waits up to 20 s until
 * /health/ready answers 200. Failing that the test fails with its log. Killed at cleanup.
 */
struct leadline *leadline_start(const char *const flags[]);
/* The same with only these probes enabled, e.g. "sched host". */
struct leadline *leadline_start_only(const char *probes, const char *const flags[]);
/*
 * The same without further flags, for all tests of the program that ask for these probes one after the other: a start takes
 * long where CPUs are emulated. Not to be stopped, and not where it matters what was there before it.
 */
struct leadline *leadline_shared(const char *probes);
/* Without waiting, and without asking for root. */
struct leadline *leadline_spawn(const char *const flags[]);
/* Starts it again, once ended, with the same flags on the same port; does not wait. */
void leadline_respawn(struct leadline *leadline);
bool leadline_wait_ready(struct leadline *leadline, double seconds);

/* SIGTERM; it must exit with 0 within 10 s, else the test fails with its log. */
void leadline_stop(struct leadline *leadline);
/* Sends a signal and waits for the end: exit code as in program_wait(). */
int leadline_signal(struct leadline *leadline, int signal, double seconds);
bool leadline_alive(struct leadline *leadline);
void leadline_show_log(
	struct leadline *leadline); /* its last lines, as comments of the test's output */
/* The log holds this text. */
bool leadline_logged(struct leadline *leadline, const char *text);

/* "http://127.0.0.1:PORT" and path; valid until the next call. */
const char *leadline_url(const struct leadline *leadline, const char *path);
struct answer *leadline_fetch(struct leadline *leadline, const char *method, const char *path,
			      const char *const headers[], const char *body);
/* /metrics, parsed, with all that happened before the call. The test fails when it is not answered or malformed. Free it with page_free(). */
struct page *leadline_scrape(struct leadline *leadline);

/* Runs `leadline ARGUMENTS…` to its end, at most 30 s. */
struct output *leadline_command(const char *const arguments[]);

#endif
