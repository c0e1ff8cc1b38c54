/* SPDX-License-Identifier: Apache-2.0 */
/* What tests of the requests probe have in common. */
#ifndef LEADLINE_TESTS_REQUESTS_H
#define LEADLINE_TESTS_REQUESTS_H

#include "tests/harness/leadline.h"

/* An agent with this probe alone. */
struct leadline *requests_agent_start(void);
/* A count must be exact, else the test fails naming `what`. */
void requests_expect(const char *what, double seen, double expected);
/*
 * Operations of a database that are told by a summary of their text: those of `metric` whose `label` is `value`, a
 * server's or a client's.
 */
double requests_summarized(const struct page *page, const char *metric, const char *label,
			   const char *value, const char *system, const char *summary,
			   const char *status);
/* A hook that interrupts itself is skipped by the kernel; those that count requests never do. */
void requests_expect_nothing_lost(const struct page *page);

#endif
