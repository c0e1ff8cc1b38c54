/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of health share: health.c judges, health_view.c reads snapshots, health_checks.c and
 * health_kernel.c hold the checks, health_json.c the pages.
 */
#ifndef LEADLINE_HEALTH_INTERNAL_H
#define LEADLINE_HEALTH_INTERNAL_H

#include <jansson.h>
#include <stdatomic.h>
#include "agent/health.h"

/* ---- reading snapshots (health_view.c) ---- */

/* What a check sees: a collection, and one from the beginning of the window before it. */
struct health_view {
	const struct config *config;
	const struct snapshot *now;
	const struct snapshot *base; /* NULL: this is the first collection */
	double window; /* seconds between the two; 0 without base */
};

/* The value of a metric without labels, or of its first series; false when it is absent. */
bool health_value(const struct health_view *view, const char *metric, double *ret_value);

/* The value of an own label of a series. The label must be one of the metric's. */
const char *health_label(const struct family *family, const struct series *series,
			 const char *label);

/*
 * By how much a counter has grown within the window. A counter that has gone back began anew, and one that was
 * not there began within the window: both have grown by what they now show.
 */
double health_increase(const struct health_view *view, const struct family *family,
		       const struct series *series);

/*
 * Histogram of what was recorded within the window. Starts as all 0; takes any number of series of one metric;
 * health_delta_free() when done.
 */
struct health_delta {
	struct histogram_view histogram; /* of `slots` */
	uint64_t *slots;
	uint64_t count;
};
/* 0 or -ENOMEM, then unchanged. Series of another schema than the first are left out. */
int health_delta_add(struct health_delta *delta, const struct health_view *view,
		     const struct family *family, const struct series *series);
void health_delta_free(struct health_delta *delta);

/* ---- checks ---- */

/* What a check says. Filled by its function; all 0 before. */
struct health_finding {
	enum health_status status;
	char message[240];
	json_t *details; /* an object; NULL: no memory */
};

struct health_check {
	const char *name; /* NULL ends a table */
	const char *help;
	const char *tags[4]; /* "system": part of /health/system */
	void (*evaluate)(const struct health_view *view, struct health_finding *finding);
	bool judges_age; /* turns unhealthy by itself when no report follows */
};

extern const struct health_check health_system_checks[]; /* health_checks.c */
extern const struct health_check health_kernel_checks[]; /* health_kernel.c */

/* Sets status and message; printf-like. */
void health_say(struct health_finding *finding, enum health_status status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Adds a detail. Text that is no UTF-8 is mended. */
void health_add_number(struct health_finding *finding, const char *key, double value);
void health_add_text(struct health_finding *finding, const char *key, const char *text);
/*
 * The status of a value by the options health.KEY.degraded and health.KEY.unhealthy: at or above is bad. The
 * second is for options that are durations; the value is in seconds.
 */
enum health_status health_judge(const struct health_view *view, const char *key, double value);
enum health_status health_judge_seconds(const struct health_view *view, const char *key,
					double seconds);

enum health_status health_worse(enum health_status a, enum health_status b);

/* ---- the report (health.c makes it, health_json.c shows it) ---- */

struct health_result {
	const struct health_check *check;
	uint64_t realtime_ns; /* when it was judged */
	double response_seconds; /* how long that took */
	struct health_finding finding;
};

struct health_report {
	atomic_uint references;
	uint64_t realtime_ns, monotonic_ns;
	uint64_t stale_ns; /* older than this is too old */
	uint64_t live_limit_ns;
	bool degraded_is_503;
	bool settled;
	enum health_status overall;
	json_t *probes; /* array, as the pages show it */
	size_t n_results;
	struct health_result results[];
};

#define HEALTH_LIVE_LIMIT_DEFAULT    "30s" /* the option's, and in force while there is no report */
#define HEALTH_LIVE_LIMIT_DEFAULT_NS 30000000000ULL

/* A JSON string of any bytes: what is no UTF-8 becomes U+FFFD. NULL without memory. */
json_t *health_json_text(const char *text);

#endif
