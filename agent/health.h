/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Health: judges each periodic collection by a table of checks and publishes the verdict as an immutable,
 * reference-counted report. Checks see snapshots only. Judging is done on the loop thread; reports may be
 * read from any thread.
 *
 * Adding a check: an entry in the table, its options and its function, all in health_checks.c (or
 * health_kernel.c).
 */
#ifndef LEADLINE_HEALTH_H
#define LEADLINE_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "agent/buffer.h"
#include "agent/config.h"
#include "agent/metric.h"
#include "agent/snapshot.h"

enum health_status {
	HEALTH_UNKNOWN, /* never ran, or has nothing to judge by */
	HEALTH_HEALTHY,
	HEALTH_DEGRADED,
	HEALTH_UNHEALTHY,
	HEALTH_STATUSES,
};

const char *health_status_name(enum health_status status); /* "unknown", "healthy" … */

/* How a probe is, as the core knows it: shown, and waited for by /health/ready. Strings are copied. */
struct health_probe {
	const char *name;
	const char *state; /* "up", "degraded", "failed", "disabled" */
	const char *reason; /* "" when there is nothing to say */
	const char *note; /* what is good to know and no fault; NULL or "" for nothing */
};

extern const struct option_desc health_options[]; /* full keys, "health.cpu.degraded" */
extern const struct metric_desc *const health_metrics[]; /* NULL-terminated */

/* ---- judging: loop thread ---- */

struct health;

/* The configuration is kept, not copied: it must live until health_configure() or health_free(). NULL: no memory. */
struct health *health_new(const struct config *config);
void health_configure(struct health *health, const struct config *config); /* after a reload */
void health_free(struct health *health); /* NULL is fine */

/*
 * A status that has changed: of a check, or of the whole under the name "overall". All begin as unknown; from
 * there to healthy is no change. Called within health_observe(); strings are valid during the call.
 */
struct health_change {
	const char *name;
	enum health_status before, now;
	const char *message;
};
typedef void (*health_change_fn)(void *context, const struct health_change *change);
void health_on_change(struct health *health, health_change_fn callback, void *context);

/*
 * Judges a new collection and publishes the report. Keeps references to a few snapshots (the last window's
 * beginning), never more than HEALTH_MAX_BASES. `settled`: every probe is attached, or has failed for good.
 * 0 or -ENOMEM; the report before then stays in force.
 */
#define HEALTH_MAX_BASES 3
int health_observe(struct health *health, struct snapshot *snapshot,
		   const struct health_probe *probes, size_t n_probes, bool settled);

/* ---- the report: any thread ---- */

struct health_report;

/* The report in force with one more reference, or NULL before the first. */
struct health_report *health_report_get(struct health *health);
void health_report_put(struct health_report *report); /* NULL is fine */

enum health_status health_report_overall(const struct health_report *report);

/* Writes leadline_health_status{check,status}, one-hot, "overall" included. NULL report: nothing. Loop thread. */
void health_report_write_metrics(const struct health_report *report, struct metric_writer *writer);

/* ---- pages ---- */

/* When a page is made; given, so that pages are functions of their arguments. */
struct health_moment {
	uint64_t realtime_ns; /* since 1970 */
	uint64_t monotonic_ns;
	uint64_t uptime_ns; /* of the agent */
};

/*
 * Each appends a JSON object and a newline, and returns the HTTP status: 200 or 503. The report may be NULL:
 * nothing is known yet, which is 503. A report that is older than it should be makes the whole unhealthy, as
 * it means that the loop stands still. Out of memory latches in the buffer.
 */
unsigned health_page(const struct health_report *report, const struct health_moment *moment,
		     struct buffer *out);
unsigned health_page_detailed(const struct health_report *report,
			      const struct health_moment *moment, struct buffer *out);
/* The checks of the host itself; their worst status is the answer. */
unsigned health_page_system(const struct health_report *report, const struct health_moment *moment,
			    struct buffer *out);
/* Only whether the loop turns: `loop_age_ns` since it last did. */
unsigned health_page_live(const struct health_report *report, const struct health_moment *moment,
			  uint64_t loop_age_ns, struct buffer *out);
/* Whether all probes have settled and a first collection has been judged. */
unsigned health_page_ready(const struct health_report *report, const struct health_moment *moment,
			   struct buffer *out);

#endif
