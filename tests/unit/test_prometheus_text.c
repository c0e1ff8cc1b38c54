// SPDX-License-Identifier: Apache-2.0
/* The Prometheus text format: the golden page, and what it costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "exporters/exporter.h"
#include "exporters/text.h"
#include "tests/harness/golden.h"
#include "tests/harness/sample_snapshot.h"

static void golden_page(void **state)
{
	struct snapshot *snapshot = sample_snapshot(1);
	struct buffer page = { 0 };

	assert_int_equal(encoder_prometheus_text.encode(snapshot, &page), 0);
	assert_golden("prometheus.txt", page.data, page.size);
	buffer_free(&page);
	snapshot_put(snapshot);
}

static void nothing_to_show(void **state)
{
	const struct snapshot nothing = { 0 };
	struct buffer page = { 0 };

	assert_int_equal(encoder_prometheus_text.encode(&nothing, &page), 0);
	assert_int_equal(page.size, 0);
	buffer_free(&page);
}

static void appends_to_what_is_there(void **state)
{
	struct snapshot *snapshot = sample_snapshot(1);
	struct buffer page = { 0 };

	buffer_string(&page, "before\n");
	assert_int_equal(encoder_prometheus_text.encode(snapshot, &page), 0);
	assert_memory_equal(page.data, "before\n# HELP leadline_build_info ", 34);
	buffer_free(&page);
	snapshot_put(snapshot);
}

/* 1000 histograms of 13 bounds: every line of the page is there and ends. */
static void many_series(void **state)
{
	struct snapshot *snapshot = sample_snapshot_large(1000);
	struct buffer page = { 0 };
	size_t lines = 0, i;

	assert_int_equal(encoder_prometheus_text.encode(snapshot, &page), 0);
	for (i = 0; i < page.size; i++)
		lines += page.data[i] == '\n';
	assert_int_equal(page.data[page.size - 1], '\n');
	/* the sample's: 7 families of 2 comments; 10 gauges and counters twice over; 4 histograms */
	assert_int_equal(lines, 7 * 2 + 13 + 2 * (6 + 2) + 2 * (14 + 2) + 2 + 1000 * (14 + 2));
	buffer_free(&page);
	snapshot_put(snapshot);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_page),
		cmocka_unit_test(nothing_to_show),
		cmocka_unit_test(appends_to_what_is_there),
		cmocka_unit_test(many_series),
	};

	return cmocka_run_group_tests_name("prometheus_text", tests, NULL, NULL);
}
