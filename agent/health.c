// SPDX-License-Identifier: Apache-2.0
/*
 * Judges collections and publishes reports. `struct health` belongs to the loop thread, but for the report
 * in force, which is handed over under a mutex held for a pointer's copy.
 */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "agent/health_internal.h"

/* A report is too old when so many intervals have passed without a new one. */
#define STALE_INTERVALS 3

struct health {
	const struct config *config;
	/* Collections a window may begin at, oldest first, about half a window apart. */
	struct snapshot *bases[HEALTH_MAX_BASES];
	size_t n_bases;
	uint64_t last_monotonic_ns; /* of the collection judged last */
	health_change_fn on_change;
	void *change_context;
	pthread_mutex_t lock; /* of `report` */
	struct health_report *report;
};

static const struct health_check *const check_tables[] = { health_system_checks,
							   health_kernel_checks };

static const struct metric_desc health_status_metric = {
	.name = "leadline_health_status",
	.help = "1 for the status each check has, 0 for the others; check \"overall\" is the whole",
	.kind = METRIC_GAUGE,
	.labels = { "check", "status" },
};

const struct metric_desc *const health_metrics[] = { &health_status_metric, NULL };

const char *health_status_name(enum health_status status)
{
	static const char *const names[HEALTH_STATUSES] = {
		[HEALTH_UNKNOWN] = "unknown",
		[HEALTH_HEALTHY] = "healthy",
		[HEALTH_DEGRADED] = "degraded",
		[HEALTH_UNHEALTHY] = "unhealthy",
	};

	return names[status];
}

enum health_status health_worse(enum health_status a, enum health_status b)
{
	return a > b ? a : b;
}

/* ---- what checks use ---- */

void health_say(struct health_finding *finding, enum health_status status, const char *format, ...)
{
	va_list arguments;

	finding->status = status;
	va_start(arguments, format);
	vsnprintf(finding->message, sizeof(finding->message), format, arguments);
	va_end(arguments);
}

void health_add_number(struct health_finding *finding, const char *key, double value)
{
	const double exact = 9007199254740992.0; /* 2^53 */
	bool whole = value > -exact && value < exact && value == (double)(json_int_t)value;

	json_object_set_new(finding->details, key,
			    whole ? json_integer((json_int_t)value) : json_real(value));
}

void health_add_text(struct health_finding *finding, const char *key, const char *text)
{
	json_object_set_new(finding->details, key, health_json_text(text));
}

static const union option_value *threshold(const struct health_view *view, const char *key,
					   const char *which)
{
	char full[CONFIG_KEY_SIZE];

	snprintf(full, sizeof(full), "health.%s.%s", key, which);
	return config_get(view->config, full);
}

static enum health_status judge(double value, double degraded, double unhealthy)
{
	if (value >= unhealthy)
		return HEALTH_UNHEALTHY;
	return value >= degraded ? HEALTH_DEGRADED : HEALTH_HEALTHY;
}

enum health_status health_judge(const struct health_view *view, const char *key, double value)
{
	return judge(value, threshold(view, key, "degraded")->number,
		     threshold(view, key, "unhealthy")->number);
}

enum health_status health_judge_seconds(const struct health_view *view, const char *key,
					double seconds)
{
	return judge(seconds, (double)threshold(view, key, "degraded")->integer * 1e-9,
		     (double)threshold(view, key, "unhealthy")->integer * 1e-9);
}

/* ---- life ---- */

struct health *health_new(const struct config *config)
{
	struct health *health = calloc(1, sizeof(*health));

	if (!health)
		return NULL;
	health->config = config;
	pthread_mutex_init(&health->lock, NULL);
	return health;
}

void health_configure(struct health *health, const struct config *config)
{
	health->config = config;
}

void health_on_change(struct health *health, health_change_fn callback, void *context)
{
	health->on_change = callback;
	health->change_context = context;
}

void health_free(struct health *health)
{
	if (!health)
		return;
	for (size_t i = 0; i < health->n_bases; i++)
		snapshot_put(health->bases[i]);
	health_report_put(health->report);
	pthread_mutex_destroy(&health->lock);
	free(health);
}

/* ---- the window ---- */

static uint64_t snapshot_age(const struct snapshot *old, const struct snapshot *now)
{
	return now->monotonic_ns > old->monotonic_ns ? now->monotonic_ns - old->monotonic_ns : 0;
}

static void drop_oldest_base(struct health *health)
{
	snapshot_put(health->bases[0]);
	health->n_bases--;
	for (size_t i = 0; i < health->n_bases; i++)
		health->bases[i] = health->bases[i + 1];
}

/* The youngest base as old as the window, else the oldest there is. Older ones are let go. */
static const struct snapshot *choose_base(struct health *health, const struct snapshot *now,
					  uint64_t window_ns)
{
	while (health->n_bases > 1 && snapshot_age(health->bases[1], now) >= window_ns)
		drop_oldest_base(health);
	return health->n_bases ? health->bases[0] : NULL;
}

/*
 * Half a window apart: a window is then between one and one and a half times what is asked for, and three
 * snapshots are kept where every collection of a minute would be seven.
 */
static void keep_base(struct health *health, struct snapshot *snapshot, uint64_t window_ns)
{
	const struct snapshot *youngest =
		health->n_bases ? health->bases[health->n_bases - 1] : NULL;

	if (youngest && snapshot_age(youngest, snapshot) < window_ns / 2)
		return;
	if (health->n_bases == HEALTH_MAX_BASES)
		drop_oldest_base(health);
	health->bases[health->n_bases++] = snapshot_get(snapshot);
}

/* ---- reports ---- */

static size_t count_checks(void)
{
	size_t n = 0;

	for (size_t i = 0; i < sizeof(check_tables) / sizeof(check_tables[0]); i++) {
		for (const struct health_check *check = check_tables[i]; check->name; check++)
			n++;
	}
	return n;
}

static double seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) * 1e-9;
}

static void evaluate(const struct health_check *check, const struct health_view *view,
		     struct health_result *result)
{
	struct timespec start;

	clock_gettime(CLOCK_MONOTONIC, &start);
	result->check = check;
	result->realtime_ns = view->now->realtime_ns;
	result->finding.details = json_object();
	check->evaluate(view, &result->finding);
	result->response_seconds = seconds_since(&start);
}

static json_t *show_probes(const struct health_probe *probes, size_t n)
{
	json_t *array = json_array();

	for (size_t i = 0; i < n; i++) {
		json_t *probe = json_object();

		json_object_set_new(probe, "name", health_json_text(probes[i].name));
		json_object_set_new(probe, "state", health_json_text(probes[i].state));
		if (probes[i].reason[0])
			json_object_set_new(probe, "reason", health_json_text(probes[i].reason));
		if (probes[i].note && probes[i].note[0])
			json_object_set_new(probe, "note", health_json_text(probes[i].note));
		json_array_append_new(array, probe);
	}
	return array;
}

static struct health_report *report_new(const struct health_view *view)
{
	size_t n = count_checks();
	struct health_report *report = calloc(1, sizeof(*report) + n * sizeof(report->results[0]));

	if (!report)
		return NULL;
	atomic_init(&report->references, 1);
	report->realtime_ns = view->now->realtime_ns;
	report->monotonic_ns = view->now->monotonic_ns;
	report->degraded_is_503 = config_bool(view->config, "health.degraded_is_503");
	report->live_limit_ns = (uint64_t)config_int(view->config, "health.live_limit");
	for (size_t i = 0; i < sizeof(check_tables) / sizeof(check_tables[0]); i++) {
		for (const struct health_check *check = check_tables[i]; check->name; check++)
			evaluate(check, view, &report->results[report->n_results++]);
	}
	for (size_t i = 0; i < report->n_results; i++)
		report->overall = health_worse(report->overall, report->results[i].finding.status);
	return report;
}

/* The bad ones by name, for the change of the whole. */
static void list_problems(const struct health_report *report, char *out, size_t size)
{
	size_t length = 0;

	snprintf(out, size, "every check is fine");
	for (size_t i = 0; i < report->n_results && length < size; i++) {
		const struct health_result *result = &report->results[i];

		if (result->finding.status >= HEALTH_DEGRADED)
			length += (size_t)snprintf(out + length, size - length, "%s%s: %s",
						   length ? "; " : "", result->check->name,
						   result->finding.message);
	}
}

static void tell_change(const struct health *health, const char *name, enum health_status before,
			enum health_status now, const char *message)
{
	const struct health_change change = { name, before, now, message };

	if (before == now || (before == HEALTH_UNKNOWN && now == HEALTH_HEALTHY))
		return;
	health->on_change(health->change_context, &change);
}

/* Both reports list the same checks in the same order. */
static void tell_changes(const struct health *health, const struct health_report *now)
{
	const struct health_report *before = health->report;
	char problems[512];

	if (!health->on_change)
		return;
	for (size_t i = 0; i < now->n_results; i++)
		tell_change(health, now->results[i].check->name,
			    before ? before->results[i].finding.status : HEALTH_UNKNOWN,
			    now->results[i].finding.status, now->results[i].finding.message);
	list_problems(now, problems, sizeof(problems));
	tell_change(health, "overall", before ? before->overall : HEALTH_UNKNOWN, now->overall,
		    problems);
}

static void publish(struct health *health, struct health_report *report)
{
	struct health_report *old;

	pthread_mutex_lock(&health->lock);
	old = health->report;
	health->report = report;
	pthread_mutex_unlock(&health->lock);
	health_report_put(old);
}

int health_observe(struct health *health, struct snapshot *snapshot,
		   const struct health_probe *probes, size_t n_probes, bool settled)
{
	uint64_t window_ns = (uint64_t)config_int(health->config, "health.window");
	struct health_view view = { .config = health->config, .now = snapshot };
	const struct snapshot *base;
	struct health_report *report;
	uint64_t interval_ns = 0;

	base = choose_base(health, snapshot, window_ns);
	if (base && snapshot_age(base, snapshot) > 0) {
		view.base = base;
		view.window = (double)snapshot_age(base, snapshot) * 1e-9;
	}
	if (health->last_monotonic_ns)
		interval_ns = snapshot->monotonic_ns - health->last_monotonic_ns;
	health->last_monotonic_ns = snapshot->monotonic_ns;

	report = report_new(&view);
	keep_base(health, snapshot, window_ns); /* may let go of the one just used */
	if (!report)
		return -ENOMEM;
	report->settled = settled;
	report->probes = show_probes(probes, n_probes);
	report->stale_ns = (uint64_t)config_int(health->config, "health.stale_after");
	if (report->stale_ns < STALE_INTERVALS * interval_ns)
		report->stale_ns = STALE_INTERVALS * interval_ns;
	tell_changes(health, report);
	publish(health, report);
	return 0;
}

struct health_report *health_report_get(struct health *health)
{
	struct health_report *report;

	pthread_mutex_lock(&health->lock);
	report = health->report;
	if (report)
		atomic_fetch_add_explicit(&report->references, 1, memory_order_relaxed);
	pthread_mutex_unlock(&health->lock);
	return report;
}

void health_report_put(struct health_report *report)
{
	if (!report || atomic_fetch_sub_explicit(&report->references, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < report->n_results; i++)
		json_decref(report->results[i].finding.details);
	json_decref(report->probes);
	free(report);
}

enum health_status health_report_overall(const struct health_report *report)
{
	return report->overall;
}

static void write_one_hot(struct metric_writer *writer, const char *check,
			  enum health_status status)
{
	for (int each = 0; each < HEALTH_STATUSES; each++) {
		const char *const labels[] = { check, health_status_name(each) };

		metric_write(writer, &health_status_metric, ENTITY_NONE, labels,
			     each == (int)status);
	}
}

void health_report_write_metrics(const struct health_report *report, struct metric_writer *writer)
{
	if (!report)
		return;
	for (size_t i = 0; i < report->n_results; i++)
		write_one_hot(writer, report->results[i].check->name,
			      report->results[i].finding.status);
	write_one_hot(writer, "overall", report->overall);
}
