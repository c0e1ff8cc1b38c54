// SPDX-License-Identifier: Apache-2.0
/* The JSON page: the golden file, and that a parser reads it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>
#include "exporters/exporter.h"
#include "tests/harness/golden.h"
#include "tests/harness/sample_snapshot.h"

static json_t *parse(const struct snapshot *snapshot)
{
	struct buffer page = { 0 };
	json_error_t error;
	json_t *json;

	assert_int_equal(encoder_json.encode(snapshot, &page), 0);
	json = json_loadb(page.data, page.size, JSON_REJECT_DUPLICATES, &error);
	if (!json)
		fail_msg("line %d: %s", error.line, error.text);
	buffer_free(&page);
	return json;
}

static json_t *family_named(json_t *page, const char *name)
{
	json_t *family;
	size_t i;

	json_array_foreach(json_object_get(page, "families"), i,
			   family) if (!strcmp(json_string_value(json_object_get(family, "name")),
					       name)) return family;
	fail_msg("no family %s", name);
	return NULL;
}

static void golden_page(void **state)
{
	struct snapshot *snapshot = sample_snapshot(1);
	struct buffer page = { 0 };

	assert_int_equal(encoder_json.encode(snapshot, &page), 0);
	assert_golden("metrics.json", page.data, page.size);
	buffer_free(&page);
	snapshot_put(snapshot);
}

static void parses(void **state)
{
	struct snapshot *snapshot = sample_snapshot(1);
	json_t *page = parse(snapshot), *family, *series, *buckets;

	assert_string_equal(json_string_value(json_object_get(page, "timestamp")),
			    "2024-05-01T12:00:00.123Z");
	assert_int_equal(json_array_size(json_object_get(page, "families")), snapshot->n_families);

	family = family_named(page, "leadline_cpu_runqueue_latency_seconds");
	assert_string_equal(json_string_value(json_object_get(family, "type")), "histogram");
	assert_string_equal(json_string_value(json_object_get(family, "unit")), "seconds");
	series = json_array_get(json_object_get(family, "series"), 0);
	assert_int_equal(json_integer_value(json_object_get(series, "count")), 17);
	assert_true(json_number_value(json_object_get(series, "max")) == 3.5);
	assert_true(json_number_value(json_object_get(series, "p99")) ==
		    3.5); /* in the open slot */
	buckets = json_object_get(series, "buckets");
	assert_int_equal(json_array_size(buckets), 5);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(buckets, 4), "count")),
			 15);
	/* a maximum that is not known */
	series = json_array_get(json_object_get(family, "series"), 1);
	assert_true(json_is_null(json_object_get(series, "max")));

	/* an empty histogram has no quantiles */
	family = family_named(page, "leadline_syscall_duration_seconds");
	series = json_array_get(json_object_get(family, "series"), 0);
	assert_true(json_is_null(json_object_get(series, "p50")));

	family = family_named(page, "leadline_overhead_ratio");
	series = json_array_get(json_object_get(family, "series"), 2);
	assert_true(json_is_null(json_object_get(series, "value")));
	json_decref(page);
	snapshot_put(snapshot);
}

static void nothing_to_show(void **state)
{
	const struct snapshot nothing = { 0 };
	json_t *page = parse(&nothing);

	assert_int_equal(json_array_size(json_object_get(page, "families")), 0);
	json_decref(page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_page),
		cmocka_unit_test(parses),
		cmocka_unit_test(nothing_to_show),
	};

	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
