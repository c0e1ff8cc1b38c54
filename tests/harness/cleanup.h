/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must be undone when a test or the program ends, time, waiting, skipping. Of a program only the tests whose names fit
 * $TEST_FILTER are run, * being any text and ? any letter.
 */
#ifndef LEADLINE_TESTS_CLEANUP_H
#define LEADLINE_TESTS_CLEANUP_H

#include <stdbool.h>

/*
 * Registers `undo(context)`. Run in reverse order at the end of the test (HARNESS_TEST), at exit, and
 * when the program is told to stop by SIGTERM or SIGINT; never in a child of the test program.
 */
void cleanup_push(void (*undo)(void *context), void *context);
/* Takes back the registration of `context` without running it. */
void cleanup_forget(void *context);
void cleanup_run(void);
int cleanup_teardown(void **state); /* of a test, for cmocka */
/* While true, what is registered stays until the program ends, for the tests after this one. */
void cleanup_keep(bool keep);

/* Fails the running test with a message. Does not return. */
void test_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* Skips the running test; the reason is shown at the end of the run. Does not return. */
void test_skip(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void require_root(void); /* else skips */
bool is_emulated(void); /* CPUs are, by another program: TEST_EMULATED is set */
/* Skips then: for tests that compare the kernel's times with a program's. */
void require_real_time(void);
void require_program(const char *name); /* on PATH, or with its path; else skips */

/* A fresh directory, removed with all its content at cleanup. The string lives until then. */
const char *temporary_directory(void);
/* Writes (replaces) the file `name` in `directory`; returns its path, which lives until cleanup. */
const char *write_file(const char *directory, const char *name, const char *content);

double clock_seconds(void); /* CLOCK_MONOTONIC */
/* How long to wait for what takes `seconds` at most on a real CPU: six times that on an emulated one. */
double patience(double seconds);
void pause_seconds(double seconds);

/* Polls every 20 ms until condition(context) is true; false when patience(seconds) passed first. */
bool wait_for(bool (*condition)(void *context), void *context, double seconds);

/* The same for an expression: assert_true(WAIT_UNTIL(queue_is_empty(), 5)). */
#define WAIT_UNTIL(expression, seconds)                                                            \
	({                                                                                         \
		double wait_until_deadline = clock_seconds() + patience(seconds);                  \
		bool wait_until_met;                                                               \
		while (!(wait_until_met = (expression)) && clock_seconds() < wait_until_deadline)  \
			pause_seconds(0.02);                                                       \
		wait_until_met;                                                                    \
	})

#endif
