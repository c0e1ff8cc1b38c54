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

/* ---- requests as exemplars ---- */

static const double bounds[] = { 0.01, 0.1, 1 };
static const struct metric_desc duration = {
	.name = "http_duration_seconds",
	.help = "h",
	.unit = "seconds",
	.kind = METRIC_HISTOGRAM,
	.per_entity = true,
	.labels = { "method" },
	.bounds = bounds,
	.n_bounds = 3,
};
static const char *const entity[ENTITY_LABELS] = { "", "", "", "", "nginx" };
static const char *const get[] = { "GET" };

static const struct request_record *make_record(uint64_t duration_ns, const char *route)
{
	const struct request_record facts = {
		.operation = "GET",
		.route = route,
		.target = "/private",
		.status = "",
		.error = "",
		.local = "",
		.peer = "",
		.end_ns = 40000000000ULL,
		.duration_ns = duration_ns,
		.pid = 71,
		.tid = 73,
		.histogram = &duration,
		.labels = { "GET" },
	};
	const struct request_record *record = request_record_new(&facts);

	assert_non_null(record);
	return record;
}

/* A page with two examples of one series, and the worst value given. */
static void encode_examples(struct buffer *page, double worst, const char *route)
{
	static const uint64_t slots[] = { 5 }, classic[] = { 1, 2, 2, 0 };
	const struct series one = { .entity = entity,
				    .labels = get,
				    .histogram = { .schema = 3,
						   .n_slots = 1,
						   .slots = slots,
						   .sum = 1,
						   .max = worst,
						   .max_ns = 1714564799500000000ULL,
						   .classic = classic } };
	const struct family family = { &duration, 1, &one };
	const struct request_entry examples[] = { { entity, make_record(50000000, route) },
						  { entity, make_record(500000000, "/b") } };
	const struct snapshot snapshot = { .n_families = 1,
					   .families = &family,
					   .n_series = 1,
					   .realtime_ns = 1714564800000000000ULL,
					   .monotonic_ns = 41000000000ULL,
					   .n_examples = 2,
					   .examples = examples };

	assert_int_equal(encoder_openmetrics.encode(&snapshot, page), 0);
	buffer_char(page, '\0');
	request_record_put(examples[0].record);
	request_record_put(examples[1].record);
}

#define HEAD                                                                                       \
	"# TYPE http_duration_seconds histogram\n# UNIT http_duration_seconds seconds\n"           \
	"# HELP http_duration_seconds h\n"
#define BUCKET "http_duration_seconds_bucket{comm=\"nginx\",method=\"GET\",le=\""
#define TAIL                                                                                       \
	"http_duration_seconds_sum{comm=\"nginx\",method=\"GET\"} 1\n"                             \
	"http_duration_seconds_count{comm=\"nginx\",method=\"GET\"} 5\n# EOF\n"

static void requests_are_exemplars(void **state)
{
	struct buffer page = { 0 }, other = { 0 };

	/* the worst is one of them */
	encode_examples(&page, 0.5, "/users/{id}");
	assert_string_equal(
		page.data, HEAD BUCKET
		"0.01\"} 1\n" BUCKET
		"0.1\"} 3 # {pid=\"71\",tid=\"73\",route=\"/users/:id\"} 0.05 1714564799.000\n" BUCKET
		"1.0\"} 5 # {pid=\"71\",tid=\"73\",route=\"/b\"} 0.5 1714564799.000\n" BUCKET
		"+Inf\"} 5\n" TAIL);
	/* of the worst, which is another, less is known */
	encode_examples(&other, 0.75, "/\"q\"");
	assert_string_equal(
		other.data, HEAD BUCKET
		"0.01\"} 1\n" BUCKET
		"0.1\"} 3 # {pid=\"71\",tid=\"73\",route=\"/\\\"q\\\"\"} 0.05 1714564799.000\n" BUCKET
		"1.0\"} 5 # {} 0.75 1714564799.500\n" BUCKET "+Inf\"} 5\n" TAIL);
	buffer_free(&page);
	buffer_free(&other);
}

/* At most 128 characters of names and values: here 3 + 2 + 3 + 2 and those of the route. */
static void exemplars_stay_within_their_limit(void **state)
{
	char route[128 - 10 - 5 + 2];
	struct buffer fits = { 0 }, too_long = { 0 };

	memset(route, 'r', sizeof(route) - 1);
	route[sizeof(route) - 1] = '\0';
	encode_examples(&too_long, 0.5, route);
	assert_non_null(strstr(too_long.data, "\"0.1\"} 3 # {pid=\"71\",tid=\"73\"} 0.05 "));
	route[sizeof(route) - 2] = '\0';
	encode_examples(&fits, 0.5, route);
	assert_non_null(strstr(fits.data, route));
	buffer_free(&fits);
	buffer_free(&too_long);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_page),
		cmocka_unit_test(nothing_to_show),
		cmocka_unit_test(unit_only_as_suffix),
		cmocka_unit_test(requests_are_exemplars),
		cmocka_unit_test(exemplars_stay_within_their_limit),
	};

	return cmocka_run_group_tests_name("openmetrics", tests, NULL, NULL);
}
