/* SPDX-License-Identifier: Apache-2.0 */
/* What tests of the requests probe have in common. */
#ifndef LEADLINE_TESTS_REQUESTS_H
#define LEADLINE_TESTS_REQUESTS_H

#include <jansson.h>
#include "tests/harness/leadline.h"

/* An agent with this probe alone. */
struct leadline *requests_agent_start(void);
/* A count must be exact, else the test fails naming `what`. */
void requests_expect(const char *what, double seen, double expected);
/* HTTP requests with this status, those of `metric` whose `label` is `value`. */
void requests_expect_status(const struct page *page, const char *metric, const char *label,
			    const char *value, const char *status, double expected);
/*
 * So many, and durations that are in sum those that the program has logged itself, in seconds: within 2 % or 100 us each. Of these, only the
 * number where CPUs are emulated.
 */
void requests_expect_durations(const char *what, const struct page_histogram *seen, double n,
			       double logged);
/* "time for request: MIN MAX MEAN SD" of h2load, the mean in seconds; NAN without. */
double requests_mean_by_h2load(const char *text);
/*
 * Operations of a database that are told by a summary of their text: those of `metric` whose `label` is `value`, a
 * server's or a client's.
 */
double requests_summarized(const struct page *page, const char *metric, const char *label,
			   const char *value, const char *system, const char *summary,
			   const char *status);
/*
 * A hook that interrupts itself is skipped by the kernel; those that count requests never do. Nor does it take a count away when slow
 * requests of one route are forgotten for another's.
 */
void requests_expect_nothing_lost(const struct page *page);

/* GET /requests with what is asked for behind it; lives until cleanup. */
const json_t *requests_page_of(struct leadline *leadline, const char *path);
/* "" and NAN where there is none. */
const char *requests_text(const json_t *object, const char *key);
double requests_number(const json_t *object, const char *key);
/* The slowest of a side, an operation and a route, or NULL, and how many there are. */
const json_t *requests_slowest(const json_t *page, const char *side, const char *operation,
			       const char *route, size_t *ret_n);
/* The reasons of a service's decoded calls sum to their durations, those of one protocol. */
void requests_expect_all_waits(const struct page *page, const char *unit, const char *protocol);
/* Its reasons sum to its duration, and this one is at least 95 % of so many seconds. */
void requests_expect_waits(const json_t *request, const char *main_reason, double expected);

#endif
