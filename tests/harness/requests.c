// SPDX-License-Identifier: Apache-2.0
/* Helpers for tests of the requests probe; see requests.h. */
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
		    strcmp(sample_label(sample, "reason"), "recursion") && sample->value > 0)
			test_fail("lost %s: %.0f", sample_label(sample, "reason"), sample->value);
	}
}
