// SPDX-License-Identifier: Apache-2.0
/* The protobuf page, read back by a reader of its own: the golden page, and slots of any shape as native buckets. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "exporters/exporter.h"
#include "exporters/protobuf.h"
#include "tests/harness/golden.h"
#include "tests/harness/protobuf_text.h"
#include "tests/harness/sample_snapshot.h"

/* The page as text; to be freed. */
static struct buffer read_page(const struct snapshot *snapshot)
{
	struct buffer page = { 0 }, text = { 0 };
	char error[256];

	assert_int_equal(encoder_prometheus_proto.encode(snapshot, &page), 0);
	if (!protobuf_text(page.data, page.size, &text, error, sizeof(error)))
		fail_msg("%s", error);
	buffer_free(&page);
	buffer_char(&text, '\0');
	assert_int_equal(buffer_error(&text), 0);
	return text;
}

static void golden_page(void **state)
{
	struct snapshot *snapshot = sample_snapshot(1);
	struct buffer text = read_page(snapshot);

	assert_golden("protobuf.txt", text.data, text.size - 1);
	buffer_free(&text);
	snapshot_put(snapshot);
}

static void nothing_to_show(void **state)
{
	const struct snapshot nothing = { 0 };
	struct buffer page = { 0 };

	assert_int_equal(encoder_prometheus_proto.encode(&nothing, &page), 0);
	assert_int_equal(page.size, 0);
	buffer_free(&page);
}

/* The lengths of families take three bytes: what was written is moved. */
static void large_page(void **state)
{
	struct snapshot *snapshot = sample_snapshot_large(1000);
	struct buffer text = read_page(snapshot);
	size_t metrics = 0;

	for (const char *at = text.data; (at = strstr(at, "\n  metric:")); at++)
		metrics++;
	assert_int_equal(metrics, snapshot->n_series - 1); /* one counter is negative */
	buffer_free(&text);
	snapshot_put(snapshot);
}

/* ---- native buckets ---- */

#define SLOTS 126
#define FIRST (-100)

static const struct metric_desc latency = { .name = "a_seconds",
					    .help = "h",
					    .kind = METRIC_HISTOGRAM };

/* What a reader makes of the spans and deltas. */
struct native {
	long schema;
	double zero_threshold;
	uint64_t zero_count, total;
	long spans;
	uint64_t by_index[2 * SLOTS]; /* of index FIRST and up */
	uint64_t infinite; /* of the bucket whose upper bound is +Inf */
};

static const char *find(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? at + strlen(name) : NULL;
}

static long long count_at(struct native *native, long index, long long count)
{
	assert_true(count >= 0);
	native->total += (uint64_t)count;
	if (ldexp(1, (int)floor((double)index / (1 << native->schema) - 1e-9)) > DBL_MAX / 2)
		native->infinite += (uint64_t)count;
	else
		native->by_index[index - FIRST] = (uint64_t)count;
	return count;
}

static struct native read_native(const char *text)
{
	struct native native = { .schema = strtol(find(text, " schema: "), NULL, 10),
				 .zero_threshold = strtod(find(text, "zero_threshold: "), NULL),
				 .zero_count = strtoull(find(text, "zero_count: "), NULL, 10) };
	const char *delta = find(text, "positive_delta: ");
	long index = 0;
	long long count = 0;
	char *end;

	while ((text = find(text, "positive_span:"))) {
		long length = strtol(find(text, "length: "), NULL, 10);

		native.spans++;
		index += strtol(find(text, "offset: "), NULL, 10);
		for (; length; length--, index++, delta = end) {
			long long step = strtoll(delta, &end, 10);

			assert_ptr_not_equal(delta, end);
			count = count_at(&native, index, count + step);
		}
	}
	assert_true(!*delta || *delta == '\n'); /* all were used */
	native.total += native.zero_count;
	return native;
}

static struct native native_of(const struct histogram_view *histogram)
{
	const struct series series = { .histogram = *histogram };
	const struct family one = { &latency, 1, &series };
	const struct snapshot snapshot = { .n_families = 1, .families = &one, .n_series = 1 };
	struct buffer text = read_page(&snapshot);
	struct native native = read_native(text.data);

	assert_int_equal(strtoull(find(text.data, "sample_count: "), NULL, 10), native.total);
	buffer_free(&text);
	return native;
}

static void every_slot_keeps_its_count(void **state)
{
	uint64_t slots[SLOTS], seed = 1;

	for (unsigned round = 0; round < 2000; round++) {
		struct histogram_view histogram = { .schema = 2 + round % 2,
						    .min_index = FIRST,
						    .open_index = FIRST,
						    .n_slots = SLOTS,
						    .slots = slots };
		struct native native;

		for (size_t i = 0; i < SLOTS; i++) {
			seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
			slots[i] = (seed >> 33) % 100 < round % 101 ? seed >> (34 + seed % 30) : 0;
		}
		native = native_of(&histogram);
		assert_int_equal(native.schema, histogram.schema);
		assert_true(native.zero_threshold == exp2((double)FIRST / (1 << histogram.schema)));
		assert_int_equal(native.zero_count, slots[0]);
		for (size_t i = 1; i + 1 < SLOTS; i++)
			assert_int_equal(native.by_index[i], slots[i]);
		assert_int_equal(native.infinite, slots[SLOTS - 1]);
	}
}

/* As the registry leaves it: without empty ends, hence with an ordinary bucket in front. */
static void cut_ends(void **state)
{
	const uint64_t slots[] = { 3, 0, 0, 4, 0, 0, 0, 5, 0 };
	const struct native native = native_of(&(struct histogram_view){
		.schema = 2, .min_index = -20, .open_index = FIRST, .n_slots = 9, .slots = slots });

	assert_true(native.zero_threshold == 0x1p-25);
	assert_int_equal(native.zero_count, 0);
	assert_int_equal(native.by_index[-20 - FIRST], 3);
	assert_int_equal(native.by_index[-17 - FIRST], 4);
	assert_int_equal(native.by_index[-13 - FIRST], 5);
	assert_int_equal(native.infinite, 0);
	assert_int_equal(native.spans, 2); /* a gap of two is written out, one of three is not */
}

static void empty_is_native_too(void **state)
{
	const uint64_t slots[] = { 0, 0 };
	const struct native native = native_of(&(struct histogram_view){ .schema = 2,
									 .min_index = FIRST,
									 .open_index = FIRST,
									 .n_slots = 2,
									 .slots = slots });

	assert_int_equal(native.total, 0);
	assert_int_equal(native.spans, 1);
}

/* ---- the writer ---- */

static void assert_bytes(struct buffer *written, const char *bytes, size_t size)
{
	assert_int_equal(written->size, size);
	assert_memory_equal(written->data, bytes, size);
	buffer_free(written);
}

/* The examples of the encoding's specification, and the ends of the ranges. */
static void wire_format(void **state)
{
	struct buffer out = { 0 };
	size_t begin, i;

	protobuf_unsigned(&out, 1, 150);
	assert_bytes(&out, "\x08\x96\x01", 3);
	protobuf_string(&out, 2, "testing");
	assert_bytes(&out, "\x12\x07testing", 9);
	protobuf_string(&out, 2, "a\xff");
	assert_bytes(&out,
		     "\x12\x04"
		     "a\xef\xbf\xbd",
		     6);
	protobuf_unsigned(&out, 16, UINT64_MAX);
	assert_bytes(&out, "\x80\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12);
	protobuf_signed(&out, 1, -2);
	assert_bytes(&out, "\x08\x03", 2);
	protobuf_signed(&out, 1, INT64_MIN);
	assert_bytes(&out, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11);
	protobuf_double(&out, 1, 1.5);
	assert_bytes(&out, "\x09\0\0\0\0\0\0\xf8\x3f", 9);

	begin = protobuf_begin(&out, 3);
	for (i = 0; i < 200; i++)
		buffer_char(&out, 'x');
	protobuf_end(&out, begin);
	assert_int_equal(out.size, 203);
	assert_memory_equal(out.data, "\x1a\xc8\x01x", 4);
	assert_int_equal(out.data[202], 'x');
	buffer_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_page), cmocka_unit_test(nothing_to_show),
		cmocka_unit_test(large_page),  cmocka_unit_test(every_slot_keeps_its_count),
		cmocka_unit_test(cut_ends),    cmocka_unit_test(empty_is_native_too),
		cmocka_unit_test(wire_format),
	};

	return cmocka_run_group_tests_name("prometheus_proto", tests, NULL, NULL);
}
