// SPDX-License-Identifier: Apache-2.0
/*
 * The health pages: a report as JSON. Functions of a report and a moment, on the HTTP thread. Reports are
 * shared, so what they hold is referenced, never changed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "agent/health_internal.h"
#include "agent/utf8.h"
#include "agent/version.h"

json_t *health_json_text(const char *text)
{
	struct buffer mended = { 0 };
	json_t *string = json_string(text);

	if (string)
		return string;
	while (*text) {
		size_t length = utf8_sequence(text);

		if (length)
			buffer_append(&mended, text, length);
		else
			buffer_string(&mended, UTF8_REPLACEMENT);
		text += length ? length : 1;
	}
	if (!buffer_error(&mended))
		string = json_stringn(mended.data, mended.size);
	buffer_free(&mended);
	return string;
}

/* RFC 3339 in UTC, to the millisecond. */
static json_t *show_time(uint64_t realtime_ns)
{
	time_t seconds = (time_t)(realtime_ns / 1000000000ULL);
	char text[40], fraction[8];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	snprintf(fraction, sizeof(fraction), "%03u",
		 (unsigned)(realtime_ns % 1000000000ULL / 1000000));
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S.", &tm);
	return json_sprintf("%s%sZ", text, fraction);
}

static uint64_t report_age(const struct health_report *report, const struct health_moment *moment)
{
	return moment->monotonic_ns > report->monotonic_ns
		       ? moment->monotonic_ns - report->monotonic_ns
		       : 0;
}

static bool is_stale(const struct health_report *report, const struct health_moment *moment)
{
	return report_age(report, moment) > report->stale_ns;
}

static unsigned http_status(const struct health_report *report, enum health_status status)
{
	switch (status) {
	case HEALTH_HEALTHY:
		return 200;
	case HEALTH_DEGRADED:
		return report && report->degraded_is_503 ? 503 : 200;
	default:
		return 503;
	}
}

/* What every page begins with. */
static json_t *page_new(enum health_status status, const struct health_moment *moment)
{
	json_t *page = json_object();

	json_object_set_new(page, "status", json_string(health_status_name(status)));
	json_object_set_new(page, "timestamp", show_time(moment->realtime_ns));
	json_object_set_new(page, "version", json_string(leadline_version));
	json_object_set_new(page, "uptime_seconds", json_real((double)moment->uptime_ns * 1e-9));
	return page;
}

static int append_text(const char *text, size_t size, void *out)
{
	buffer_append(out, text, size);
	return buffer_error(out) ? -1 : 0;
}

/* Appends and frees the page. */
static void page_finish(json_t *page, struct buffer *out)
{
	if (!page ||
	    json_dump_callback(page, append_text, out, JSON_COMPACT | JSON_REAL_PRECISION(9)))
		out->error = -ENOMEM;
	buffer_char(out, '\n');
	json_decref(page);
}

static json_t *show_tags(const struct health_check *check)
{
	json_t *tags = json_array();

	for (size_t i = 0; i < sizeof(check->tags) / sizeof(check->tags[0]) && check->tags[i]; i++)
		json_array_append_new(tags, json_string(check->tags[i]));
	return tags;
}

static bool has_tag(const struct health_check *check, const char *tag)
{
	for (size_t i = 0; i < sizeof(check->tags) / sizeof(check->tags[0]) && check->tags[i];
	     i++) {
		if (strcmp(check->tags[i], tag) == 0)
			return true;
	}
	return false;
}

/* A result as it stands now: that of the check which judges the report's own age may have changed since. */
struct verdict {
	const struct health_check *check;
	enum health_status status;
	const char *message; /* the result's, or `late` */
	char late[120];
};

static void judge_now(const struct health_report *report, size_t i,
		      const struct health_moment *moment, struct verdict *verdict)
{
	const struct health_result *result = &report->results[i];

	verdict->check = result->check;
	verdict->status = result->finding.status;
	verdict->message = result->finding.message;
	if (!result->check->judges_age || !is_stale(report, moment))
		return;
	snprintf(verdict->late, sizeof(verdict->late),
		 "no collection for %.0f s: the agent's loop stands still",
		 (double)report_age(report, moment) * 1e-9);
	verdict->status = HEALTH_UNHEALTHY;
	verdict->message = verdict->late;
}

static enum health_status overall_now(const struct health_report *report,
				      const struct health_moment *moment)
{
	if (!report)
		return HEALTH_UNKNOWN;
	return is_stale(report, moment) ? HEALTH_UNHEALTHY : report->overall;
}

static json_t *show_result(const struct health_report *report, size_t i,
			   const struct health_moment *moment)
{
	const struct health_result *result = &report->results[i];
	json_t *object = json_object();
	struct verdict verdict;

	judge_now(report, i, moment, &verdict);
	json_object_set_new(object, "name", json_string(result->check->name));
	json_object_set_new(object, "status", json_string(health_status_name(verdict.status)));
	json_object_set_new(object, "timestamp", show_time(result->realtime_ns));
	json_object_set_new(object, "response_time", json_real(result->response_seconds));
	json_object_set_new(object, "message", health_json_text(verdict.message));
	json_object_set(object, "details", result->finding.details);
	json_object_set_new(object, "tags", show_tags(result->check));
	return object;
}

/* What is not as it should be, for people in a hurry. */
static json_t *show_problems(const struct health_report *report, const struct health_moment *moment)
{
	json_t *problems = json_array();

	for (size_t i = 0; report && i < report->n_results; i++) {
		json_t *problem;
		struct verdict verdict;

		judge_now(report, i, moment, &verdict);
		if (verdict.status < HEALTH_DEGRADED)
			continue;
		problem = json_object();
		json_object_set_new(problem, "check", json_string(verdict.check->name));
		json_object_set_new(problem, "status",
				    json_string(health_status_name(verdict.status)));
		json_object_set_new(problem, "message", health_json_text(verdict.message));
		json_array_append_new(problems, problem);
	}
	return problems;
}

static void add_probes(json_t *page, const struct health_report *report)
{
	if (report)
		json_object_set(page, "probes", report->probes);
	else
		json_object_set_new(page, "probes", json_array());
}

unsigned health_page(const struct health_report *report, const struct health_moment *moment,
		     struct buffer *out)
{
	enum health_status status = overall_now(report, moment);
	json_t *page = page_new(status, moment), *checks = json_object();

	for (size_t i = 0; report && i < report->n_results; i++) {
		struct verdict verdict;

		judge_now(report, i, moment, &verdict);
		json_object_set_new(checks, verdict.check->name,
				    json_string(health_status_name(verdict.status)));
	}
	json_object_set_new(page, "checks", checks);
	json_object_set_new(page, "problems", show_problems(report, moment));
	page_finish(page, out);
	return http_status(report, status);
}

unsigned health_page_detailed(const struct health_report *report,
			      const struct health_moment *moment, struct buffer *out)
{
	enum health_status status = overall_now(report, moment);
	json_t *page = page_new(status, moment), *checks = json_array();

	for (size_t i = 0; report && i < report->n_results; i++)
		json_array_append_new(checks, show_result(report, i, moment));
	if (report)
		json_object_set_new(page, "age_seconds",
				    json_real((double)report_age(report, moment) * 1e-9));
	json_object_set_new(page, "checks", checks);
	json_object_set_new(page, "problems", show_problems(report, moment));
	add_probes(page, report);
	page_finish(page, out);
	return http_status(report, status);
}

unsigned health_page_system(const struct health_report *report, const struct health_moment *moment,
			    struct buffer *out)
{
	enum health_status status = HEALTH_UNKNOWN;
	json_t *checks = json_array(), *page;

	for (size_t i = 0; report && i < report->n_results; i++) {
		if (!has_tag(report->results[i].check, "system"))
			continue;
		status = health_worse(status, report->results[i].finding.status);
		json_array_append_new(checks, show_result(report, i, moment));
	}
	/* Figures of long ago tell nothing, whatever they were. */
	if (report && is_stale(report, moment))
		status = HEALTH_UNHEALTHY;
	page = page_new(status, moment);
	if (report)
		json_object_set_new(page, "age_seconds",
				    json_real((double)report_age(report, moment) * 1e-9));
	json_object_set_new(page, "checks", checks);
	page_finish(page, out);
	return http_status(report, status);
}

unsigned health_page_live(const struct health_report *report, const struct health_moment *moment,
			  uint64_t loop_age_ns, struct buffer *out)
{
	uint64_t limit_ns = report ? report->live_limit_ns : HEALTH_LIVE_LIMIT_DEFAULT_NS;
	enum health_status status = loop_age_ns <= limit_ns ? HEALTH_HEALTHY : HEALTH_UNHEALTHY;
	json_t *page = page_new(status, moment);

	json_object_set_new(page, "loop_age_seconds", json_real((double)loop_age_ns * 1e-9));
	json_object_set_new(page, "limit_seconds", json_real((double)limit_ns * 1e-9));
	page_finish(page, out);
	return http_status(NULL, status);
}

unsigned health_page_ready(const struct health_report *report, const struct health_moment *moment,
			   struct buffer *out)
{
	bool ready = report && report->settled;
	json_t *page = page_new(ready ? HEALTH_HEALTHY : HEALTH_UNKNOWN, moment);

	json_object_set_new(page, "ready", json_boolean(ready));
	if (!ready)
		json_object_set_new(
			page, "message",
			json_string(report ? "probes are still starting" : "no collection yet"));
	add_probes(page, report);
	page_finish(page, out);
	return ready ? 200 : 503;
}
