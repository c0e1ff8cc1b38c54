/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Allocations that fail on command. A program named in OUT_OF_MEMORY_TESTS (tests.mk) has its calls of malloc() and the
 * like, and of the library functions that make something, go through here; in all other programs this file does
 * nothing. Only the thread that asked for it sees failures. Under the address sanitizer, leaks are looked for, too.
 */
#ifndef LEADLINE_TESTS_OUT_OF_MEMORY_H
#define LEADLINE_TESTS_OUT_OF_MEMORY_H

#include <stdbool.h>

/* The n-th allocation from here on fails (counted from 1), and with `all` every one after it. */
void allocations_fail_at(unsigned n, bool all);
/* Allocations succeed again. Returns how many have failed. */
unsigned allocations_succeed(void);

/* libcurl and jansson allocate through the same functions from here on. Before anything of either is made. */
void allocations_take_over_libraries(void);

/* Something that may run out of memory. */
struct allocating {
	const char *name;
	/* 0 with the result, or -ENOMEM and the result untouched. */
	int (*make)(void **ret_made);
	void (*undo)(void *made); /* NULL: there is nothing to undo */
	bool makes_do; /* may succeed although an allocation failed: what it was for is optional */
};

/*
 * Makes it with the first allocation failing, then with the second …, until none fails: each alone, then each with all
 * that follow. Fails the running test unless every attempt ends as promised and nothing leaks.
 */
void check_out_of_memory(const struct allocating *allocating);

#endif
