// SPDX-License-Identifier: Apache-2.0
/*
 * Prometheus' protobuf exposition: a stream of io.prometheus.client.MetricFamily messages, each preceded by its length, with
 * native histograms beside the classic buckets. Field numbers are those of metrics.proto at
 * https://github.com/prometheus/client_model; only the fields in use are named here.
 *
 * A recorded slot is one native bucket of the same schema and bounds, with two exceptions. The recorded slot 0 holds
 * everything down to zero: it is the zero bucket, whose threshold is that slot's upper bound. The last recorded slot is open
 * upwards: it is the bucket whose upper bound is +Inf, since nothing nearer is known.
 *
 * Who finds native buckets ignores the classic ones unless told otherwise, and queries differ; hence it is
 * answered only where the setting allows it. HTTP thread.
 */
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include "exporters/exporter.h"
#include "exporters/protobuf.h"

enum { FAMILY_NAME = 1, FAMILY_HELP, FAMILY_TYPE, FAMILY_METRIC };
enum { TYPE_COUNTER = 0, TYPE_GAUGE = 1, TYPE_HISTOGRAM = 4 };
enum { METRIC_LABEL = 1, METRIC_GAUGE_VALUE = 2, METRIC_COUNTER_VALUE = 3, METRIC_HISTOGRAM_ = 7 };
enum { LABEL_NAME = 1, LABEL_VALUE };
enum { VALUE = 1 }; /* of a counter or gauge */
enum {
	HISTOGRAM_COUNT = 1,
	HISTOGRAM_SUM = 2,
	HISTOGRAM_BUCKET = 3,
	HISTOGRAM_SCHEMA = 5,
	HISTOGRAM_ZERO_THRESHOLD = 6,
	HISTOGRAM_ZERO_COUNT = 7,
	HISTOGRAM_POSITIVE_SPAN = 12,
	HISTOGRAM_POSITIVE_DELTA = 13,
	HISTOGRAM_EXEMPLAR = 16,
};
enum { BUCKET_COUNT = 1, BUCKET_BOUND = 2, BUCKET_EXEMPLAR = 3 };
enum { SPAN_OFFSET = 1, SPAN_LENGTH };
enum { EXEMPLAR_VALUE = 2, EXEMPLAR_TIME = 3 };
enum { TIME_SECONDS = 1, TIME_NANOSECONDS };

/* ---- native buckets ---- */

/* Up to so many empty slots are cheaper as zeros than as the begin of another span. */
#define LARGEST_GAP 2

/* The slots [first, end), one message. */
struct span {
	size_t first, end;
};

/* Slots that are ordinary buckets: those between the zero bucket and the open one. */
static size_t first_bucket(const struct histogram_view *histogram)
{
	return histogram->min_index == histogram->open_index ? 1 : 0;
}

static size_t end_of_buckets(const struct histogram_view *histogram)
{
	return histogram->n_slots ? histogram->n_slots - 1 : 0;
}

static uint64_t above_all(const struct histogram_view *histogram)
{
	return histogram->n_slots ? histogram->slots[histogram->n_slots - 1] : 0;
}

/* The span after `*span`, whose `end` is where to begin looking; false when there is none. */
static bool next_span(const struct histogram_view *histogram, struct span *span)
{
	size_t end = end_of_buckets(histogram), at = span->end;

	while (at < end && !histogram->slots[at])
		at++;
	if (at >= end)
		return false;
	span->first = at;
	span->end = at + 1;
	for (; at < end && at <= span->end + LARGEST_GAP; at++)
		if (histogram->slots[at])
			span->end = at + 1;
	return true;
}

static void put_span(struct buffer *out, long offset, size_t length)
{
	size_t begin = protobuf_begin(out, HISTOGRAM_POSITIVE_SPAN);

	protobuf_signed(out, SPAN_OFFSET, offset);
	protobuf_unsigned(out, SPAN_LENGTH, length);
	protobuf_end(out, begin);
}

/* An offset counts from the end of the span before; that of the first from index 0. */
static void put_spans(struct buffer *out, const struct histogram_view *histogram)
{
	/* Its lower bound is 2^1024, beyond every double. */
	const long infinite_index = ((long)DBL_MAX_EXP << histogram->schema) + 1;
	struct span span = { .end = first_bucket(histogram) };
	long counted_from = 0;
	bool any = false;

	while (next_span(histogram, &span)) {
		put_span(out, histogram->min_index + (long)span.first - counted_from,
			 span.end - span.first);
		counted_from = histogram->min_index + (long)span.end;
		any = true;
	}
	if (above_all(histogram))
		put_span(out, infinite_index - counted_from, 1);
	else if (!any)
		put_span(out, 0, 0); /* what makes an empty histogram a native one */
}

static void put_delta(struct buffer *out, uint64_t count, uint64_t *before)
{
	protobuf_varint(out, protobuf_zigzag((int64_t)(count - *before)));
	*before = count;
}

static void put_deltas(struct buffer *out, const struct histogram_view *histogram)
{
	struct span span = { .end = first_bucket(histogram) };
	size_t begin = protobuf_begin(out, HISTOGRAM_POSITIVE_DELTA);
	uint64_t before = 0;

	while (next_span(histogram, &span))
		for (size_t i = span.first; i < span.end; i++)
			put_delta(out, histogram->slots[i], &before);
	if (above_all(histogram))
		put_delta(out, above_all(histogram), &before);
	protobuf_end(out, begin);
}

static void put_native(struct buffer *out, const struct histogram_view *histogram)
{
	protobuf_signed(out, HISTOGRAM_SCHEMA, histogram->schema);
	protobuf_double(out, HISTOGRAM_ZERO_THRESHOLD,
			exp2((double)histogram->open_index / (1 << histogram->schema)));
	protobuf_unsigned(out, HISTOGRAM_ZERO_COUNT,
			  first_bucket(histogram) && histogram->n_slots ? histogram->slots[0] : 0);
	put_spans(out, histogram);
	put_deltas(out, histogram);
}

/* ---- classic buckets and exemplars ---- */

static void put_exemplar(struct buffer *out, unsigned field, const struct histogram_view *histogram)
{
	size_t begin = protobuf_begin(out, field), time;

	protobuf_double(out, EXEMPLAR_VALUE, histogram->max);
	time = protobuf_begin(out, EXEMPLAR_TIME);
	protobuf_unsigned(out, TIME_SECONDS, histogram->max_ns / 1000000000);
	protobuf_unsigned(out, TIME_NANOSECONDS, histogram->max_ns % 1000000000);
	protobuf_end(out, time);
	protobuf_end(out, begin);
}

static void put_histogram(struct buffer *out, const struct metric_desc *desc,
			  const struct histogram_view *histogram, uint64_t *cumulative)
{
	uint64_t count = histogram_count(histogram);
	size_t n = histogram_cumulative(desc, histogram, cumulative), begin, bucket;
	const double *bounds = metric_bounds(desc, &n);
	long worst;

	/* Separately counted classic buckets may run ahead of the slots, which here are the truth. */
	for (size_t i = 0; i < n; i++)
		if (cumulative[i] > count)
			cumulative[i] = count;
	cumulative[n] = count;
	worst = histogram_max_bucket(desc, histogram, cumulative);

	begin = protobuf_begin(out, METRIC_HISTOGRAM_);
	protobuf_unsigned(out, HISTOGRAM_COUNT, count);
	protobuf_double(out, HISTOGRAM_SUM, histogram->sum);
	for (size_t i = 0; i <= n; i++) {
		bucket = protobuf_begin(out, HISTOGRAM_BUCKET);
		protobuf_unsigned(out, BUCKET_COUNT, cumulative[i]);
		protobuf_double(out, BUCKET_BOUND, i < n ? bounds[i] : INFINITY);
		if ((long)i == worst)
			put_exemplar(out, BUCKET_EXEMPLAR, histogram);
		protobuf_end(out, bucket);
	}
	put_native(out, histogram);
	if (worst >= 0)
		put_exemplar(out, HISTOGRAM_EXEMPLAR, histogram);
	protobuf_end(out, begin);
}

/* ---- families ---- */

/* Empty labels are left out: empty and absent are the same to Prometheus. */
static void put_label(struct buffer *out, const char *name, const char *value)
{
	size_t begin;

	if (!*value)
		return;
	begin = protobuf_begin(out, METRIC_LABEL);
	protobuf_string(out, LABEL_NAME, name);
	protobuf_string(out, LABEL_VALUE, value);
	protobuf_end(out, begin);
}

static void put_labels(struct buffer *out, const struct metric_desc *desc,
		       const struct series *series)
{
	for (size_t i = 0; series->entity && i < ENTITY_LABELS; i++)
		put_label(out, entity_label_names[i], series->entity[i]);
	for (size_t i = 0; series->labels && i < metric_labels(desc); i++)
		put_label(out, desc->labels[i], series->labels[i]);
}

static void put_value(struct buffer *out, unsigned field, double value)
{
	size_t begin = protobuf_begin(out, field);

	protobuf_double(out, VALUE, value);
	protobuf_end(out, begin);
}

static void put_metric(struct buffer *out, const struct metric_desc *desc,
		       const struct series *series, uint64_t *cumulative)
{
	size_t begin;

	/* As on the text pages: there is no counter that is below zero or not a number. */
	if (desc->kind == METRIC_COUNTER && !(series->value >= 0))
		return;
	begin = protobuf_begin(out, FAMILY_METRIC);
	put_labels(out, desc, series);
	if (desc->kind == METRIC_HISTOGRAM)
		put_histogram(out, desc, &series->histogram, cumulative);
	else
		put_value(out,
			  desc->kind == METRIC_COUNTER ? METRIC_COUNTER_VALUE : METRIC_GAUGE_VALUE,
			  series->value);
	protobuf_end(out, begin);
}

static int put_family(struct buffer *out, const struct family *family)
{
	static const unsigned types[] = {
		[METRIC_COUNTER] = TYPE_COUNTER,
		[METRIC_GAUGE] = TYPE_GAUGE,
		[METRIC_HISTOGRAM] = TYPE_HISTOGRAM,
	};
	const struct metric_desc *desc = family->desc;
	uint64_t *cumulative = NULL;
	size_t begin, n;

	if (desc->kind == METRIC_HISTOGRAM) {
		metric_bounds(desc, &n);
		cumulative = calloc(n + 1, sizeof(*cumulative));
		if (!cumulative)
			return -ENOMEM;
	}
	begin = protobuf_begin_delimited(out);
	protobuf_string(out, FAMILY_NAME, desc->name);
	protobuf_string(out, FAMILY_HELP, desc->help);
	protobuf_unsigned(out, FAMILY_TYPE, types[desc->kind]);
	for (size_t i = 0; i < family->n_series; i++)
		put_metric(out, desc, &family->series[i], cumulative);
	protobuf_end(out, begin);
	free(cumulative);
	return 0;
}

static int proto_encode(const struct snapshot *snapshot, struct buffer *out)
{
	int err = 0;

	for (size_t i = 0; i < snapshot->n_families && !err; i++)
		if (snapshot->families[i].n_series)
			err = put_family(out, &snapshot->families[i]);
	return err ? err : buffer_error(out);
}

#define NATIVE_HISTOGRAMS "native_histograms"

static const struct option_desc options[] = {
	{
		.key = NATIVE_HISTOGRAMS,
		.type = OPTION_BOOL,
		.fallback = "false",
		.help = "whether a Prometheus that asks for protobuf gets it, with native histograms, of which it then ignores the classic buckets",
	},
	{ .key = NULL },
};

const struct encoder encoder_prometheus_proto = {
	.name = "protobuf",
	.content_type =
		"application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
	.accept_type = "application/vnd.google.protobuf",
	.accept_parameters = { { "proto", "io.prometheus.client.MetricFamily" },
			       { "encoding", "delimited" } },
	.options = options,
	.enabled_by = ENCODER_OPTIONS_PREFIX "." NATIVE_HISTOGRAMS,
	.encode = proto_encode,
};
