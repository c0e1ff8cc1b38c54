// SPDX-License-Identifier: Apache-2.0
/* Helpers for tests of the requests probe; see requests.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tests/harness/harness.h"
#include "tests/harness/requests.h"

struct leadline *requests_agent_start(void)
{
	return leadline_start_only("requests", (const char *const[]){ NULL });
}

void requests_expect(const char *what, double seen, double expected)
{
	if (seen != expected)
		test_fail("%s: %.0f, not %.0f", what, seen, expected);
}

void requests_expect_status(const struct page *page, const char *metric, const char *label,
			    const char *value, const char *status, double expected)
{
	double seen = metric_histogram(page, metric, label, value, "http_response_status_code",
				       status, NULL)
			      .count;

	if (seen != expected)
		test_fail("%s, status %s: %.0f, not %.0f", value, status, seen, expected);
}

void requests_expect_durations(const char *what, const struct page_histogram *seen, double n,
			       double logged)
{
	requests_expect(what, seen->count, n);
	if (!is_emulated() && !(fabs(seen->sum - logged) <= fmax(logged * 0.02, n * 100e-6)))
		test_fail("%s: %.6f s, by its own log %.6f s", what, seen->sum, logged);
}

double requests_mean_by_h2load(const char *text)
{
	const char *line = strstr(text, "time for request:");
	double mean = NAN;
	char unit[8] = "";

	if (line && sscanf(line, "time for request: %*s %*s %lf%7s", &mean, unit) == 2)
		mean *= !strcmp(unit, "us") ? 1e-6 : !strcmp(unit, "ms") ? 1e-3 : 1;
	return mean;
}

double requests_summarized(const struct page *page, const char *metric, const char *label,
			   const char *value, const char *system, const char *summary,
			   const char *status)
{
	return metric_histogram(page, metric, label, value, "db_system_name", system,
				"db_query_summary", summary, "db_response_status_code", status,
				NULL)
		.count;
}

void requests_expect_nothing_lost(const struct page *page)
{
	for (size_t i = 0; i < page->n_samples; i++) {
		const struct page_sample *sample = &page->samples[i];

		if (!strcmp(sample->name, "leadline_probe_lost_total") &&
		    !strcmp(sample_label(sample, "probe"), "requests") &&
		    strcmp(sample_label(sample, "reason"), "recursion") &&
		    strcmp(sample_label(sample, "reason"), "slow_routes_full") && sample->value > 0)
			test_fail("lost %s: %.0f", sample_label(sample, "reason"), sample->value);
	}
}

/* ---- the page of slow ones ---- */

static void drop_json(void *json)
{
	json_decref(json);
}

const json_t *requests_page_of(struct leadline *leadline, const char *path)
{
	struct answer *answer = leadline_fetch(leadline, "GET", path, NULL, NULL);
	json_t *json = json_loads(answer->body ? answer->body : "", 0, NULL);

	if (answer->status != 200 || !json)
		test_fail("%s: %ld %s", path, answer->status, answer->body);
	answer_free(answer);
	cleanup_push(drop_json, json);
	return json;
}

const char *requests_text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : "";
}

double requests_number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return json_is_number(value) ? json_number_value(value) : NAN;
}

const json_t *requests_slowest(const json_t *page, const char *side, const char *operation,
			       const char *route, size_t *ret_n)
{
	const json_t *one, *slowest = NULL;
	size_t i;

	*ret_n = 0;
	json_array_foreach(json_object_get(page, "slow"), i, one)
	{
		if (strcmp(requests_text(one, "side"), side) ||
		    strcmp(requests_text(one, "operation"), operation) ||
		    strcmp(requests_text(one, "route"), route))
			continue;
		if (!(*ret_n)++)
			slowest = one;
	}
	return slowest;
}

void requests_expect_all_waits(const struct page *page, const char *unit, const char *protocol)
{
	const double waits = metric_sum(page, "leadline_request_wait_seconds_total", "unit", unit,
					"protocol", protocol, NULL);
	const struct page_histogram durations =
		metric_histogram(page, "leadline_db_server_operation_duration_seconds", "unit",
				 unit, "db_system_name", protocol, NULL);

	if (!durations.count || !(fabs(waits / durations.sum - 1) <= 0.01))
		test_fail("%s: the reasons sum to %.6f s, the durations of %.0f to %.6f s",
			  protocol, waits, durations.count, durations.sum);
}

/* All that is told of it, for a message. */
static const char *described(const json_t *request)
{
	char *text = json_dumps(request, JSON_COMPACT);

	if (!text)
		return "no request";
	cleanup_push(free, text);
	return text;
}

void requests_expect_waits(const json_t *request, const char *main_reason, double expected)
{
	json_t *waits = json_object_get(request, "waits"), *value;
	double sum = 0, duration = requests_number(request, "duration_seconds");
	const char *reason;

	json_object_foreach(waits, reason, value) sum += json_number_value(value);
	if (!(fabs(sum - duration) <= duration * 0.01))
		test_fail("reasons sum to %g, not %g: %s", sum, duration, described(request));
	if (!(requests_number(waits, main_reason) >= expected * 0.95))
		test_fail("%s: %g, not %g: %s", main_reason, requests_number(waits, main_reason),
			  expected, described(request));
}
