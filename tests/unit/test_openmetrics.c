// SPDX-License-Identifier: Apache-2.0
/* OpenMetrics: the golden page, and units that fit no name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "exporters/exporter.h"
#include "tests/harness/golden.h"
#include "tests/harness/sample_snapshot.h"

static void golden_page(void **state)
{
	struct snapshot *snapshot = sample_snapshot(1);
	struct buffer page = { 0 };

	assert_int_equal(encoder_openmetrics.encode(snapshot, &page), 0);
	assert_golden("openmetrics.txt", page.data, page.size);
	buffer_free(&page);
	snapshot_put(snapshot);
}

static void nothing_to_show(void **state)
{
	const struct snapshot nothing = { 0 };
	struct buffer page = { 0 };

	assert_int_equal(encoder_openmetrics.encode(&nothing, &page), 0);
	assert_int_equal(page.size, 6);
	assert_memory_equal(page.data, "# EOF\n", 6);
	buffer_free(&page);
}

/* A UNIT line whose unit is not the end of the name would spoil the page. */
static void unit_only_as_suffix(void **state)
{
	static const struct metric_desc wrong = {
		.name = "a_count", .help = "h", .unit = "seconds", .kind = METRIC_GAUGE
	};
	static const struct metric_desc whole = {
		.name = "seconds", .help = "h", .unit = "seconds", .kind = METRIC_GAUGE
	};
	static const struct metric_desc right = {
		.name = "b_bytes_total", .help = "h", .unit = "bytes", .kind = METRIC_COUNTER
	};
	static const struct series one = { .value = 1 };
	static const struct family families[] = { { &wrong, 1, &one },
						  { &right, 1, &one },
						  { &whole, 1, &one } };
	const struct snapshot snapshot = { .n_families = 3, .families = families, .n_series = 3 };
	struct buffer page = { 0 };

	assert_int_equal(encoder_openmetrics.encode(&snapshot, &page), 0);
	buffer_char(&page, '\0');
	assert_string_equal(page.data,
			    "# TYPE a_count gauge\n# HELP a_count h\na_count 1\n"
			    "# TYPE b_bytes counter\n# UNIT b_bytes bytes\n# HELP b_bytes h\n"
			    "b_bytes_total 1\n"
			    "# TYPE seconds gauge\n# HELP seconds h\nseconds 1\n# EOF\n");
	buffer_free(&page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_page),
		cmocka_unit_test(nothing_to_show),
		cmocka_unit_test(unit_only_as_suffix),
	};

	return cmocka_run_group_tests_name("openmetrics", tests, NULL, NULL);
}
