/* SPDX-License-Identifier: Apache-2.0 */
/* Debian's Prometheus, scraping the agent under test every second. Ended at cleanup. */
#ifndef LEADLINE_TESTS_PROMETHEUS_H
#define LEADLINE_TESTS_PROMETHEUS_H

#include <jansson.h>
#include "tests/harness/leadline.h"

struct prometheus {
	int port;
	const char *log;
};

/* `flag`: one more, or NULL. Does not wait. */
struct prometheus prometheus_start(const struct leadline *leadline, const char *flag);
/* Until its last scrapes have succeeded, at most 30 s; else the test fails with its log. */
void prometheus_wait(const struct prometheus *prometheus);
/* Until a scrape that began after the call has succeeded. */
void prometheus_wait_for_next(const struct prometheus *prometheus);

/* The answer of an API call ("query?query=up", escaped), or NULL while there is none. */
json_t *prometheus_get(const struct prometheus *prometheus, const char *path);
/* Value of a query that yields one number; NaN when it does not. */
double prometheus_value(const struct prometheus *prometheus, const char *query);
/* Of the last ten seconds, the values of all exemplars of the series: an array of {value, timestamp, labels}, or NULL. */
json_t *prometheus_exemplars(const struct prometheus *prometheus, const char *series);

#endif
