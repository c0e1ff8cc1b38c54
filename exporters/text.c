// SPDX-License-Identifier: Apache-2.0
/*
 * The sample lines of both text formats; see text.h. HTTP thread.
 *
 * The cost of a page is the cost of its bucket lines, so these are put together from three ready
 * pieces: name and labels (once a series), the `le` label (once a family) and an integer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "agent/number.h"
#include "agent/utf8.h"
#include "exporters/text.h"

/* What is kept from series to series, so that a page allocates a handful of times only. */
struct scratch {
	struct buffer labels; /* name="value",… of the series at hand, without braces */
	struct buffer bucket; /* NAME_bucket{labels, of the series at hand */
	struct buffer le; /* le="BOUND"} of all bounds of the family at hand, one after the other */
	size_t *le_end; /* where each ends */
	uint64_t *cumulative;
	size_t max_bounds; /* room in the two arrays */
	bool exemplars;
};

const char *text_kind(enum metric_kind kind)
{
	static const char *const names[] = {
		[METRIC_COUNTER] = "counter",
		[METRIC_GAUGE] = "gauge",
		[METRIC_HISTOGRAM] = "histogram",
	};

	return names[kind];
}

void text_escape(struct buffer *out, const char *string, bool quotes)
{
	const char *plain = string; /* what is not yet written */
	const char *escape;
	size_t length;

	while (*string) {
		escape = NULL;
		length = utf8_sequence(string);
		if (!length)
			escape = UTF8_REPLACEMENT;
		else if (*string == '\\')
			escape = "\\\\";
		else if (*string == '\n')
			escape = "\\n";
		else if (*string == '"' && quotes)
			escape = "\\\"";
		if (!escape) {
			string += length;
			continue;
		}
		buffer_append(out, plain, (size_t)(string - plain));
		buffer_string(out, escape);
		plain = ++string;
	}
	buffer_append(out, plain, (size_t)(string - plain));
}

static void put_label(struct buffer *out, const char *name, const char *value)
{
	if (out->size)
		buffer_char(out, ',');
	buffer_string(out, name);
	buffer_append(out, "=\"", 2);
	text_escape(out, value, true);
	buffer_char(out, '"');
}

/* Empty labels are left out: empty and absent are the same to Prometheus. */
static void put_labels(struct buffer *out, const struct metric_desc *desc,
		       const struct series *series)
{
	int i;

	out->size = 0;
	if (series->entity)
		for (i = 0; i < ENTITY_LABELS; i++)
			if (*series->entity[i])
				put_label(out, entity_label_names[i], series->entity[i]);
	if (series->labels)
		for (i = 0; i < METRIC_MAX_LABELS && desc->labels[i]; i++)
			if (*series->labels[i])
				put_label(out, desc->labels[i], series->labels[i]);
}

/* NAMEsuffix{labels} and a space; the value and the newline are the caller's. */
static void put_sample_head(struct buffer *out, const struct metric_desc *desc, const char *suffix,
			    const struct scratch *scratch)
{
	buffer_string(out, desc->name);
	buffer_string(out, suffix);
	if (scratch->labels.size) {
		buffer_char(out, '{');
		buffer_append(out, scratch->labels.data, scratch->labels.size);
		buffer_char(out, '}');
	}
	buffer_char(out, ' ');
}

/* The le labels of the family's bounds and of +Inf. Returns the number of bounds, or -ENOMEM. */
static long prepare_bounds(struct scratch *scratch, const struct metric_desc *desc)
{
	size_t n, i;
	const double *bounds = metric_bounds(desc, &n);
	char number[NUMBER_MAX_TEXT];

	if (n + 1 > scratch->max_bounds) {
		free(scratch->le_end);
		free(scratch->cumulative);
		scratch->max_bounds = n + 1;
		scratch->le_end = calloc(n + 1, sizeof(*scratch->le_end));
		scratch->cumulative = calloc(n + 1, sizeof(*scratch->cumulative));
		if (!scratch->le_end || !scratch->cumulative)
			return -ENOMEM;
	}
	scratch->le.size = 0;
	for (i = 0; i <= n; i++) {
		buffer_string(&scratch->le, "le=\"");
		if (i < n)
			buffer_append(&scratch->le, number, number_bound(number, bounds[i]));
		else
			buffer_string(&scratch->le, "+Inf");
		buffer_string(&scratch->le, "\"} ");
		scratch->le_end[i] = scratch->le.size;
	}
	return (long)n;
}

/* https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md#exemplars */
static void put_exemplar(struct buffer *out, const struct histogram_view *histogram)
{
	buffer_string(out, " # {} ");
	buffer_number(out, histogram->max);
	buffer_printf(out, " %llu.%03u", (unsigned long long)(histogram->max_ns / 1000000000),
		      (unsigned)(histogram->max_ns / 1000000 % 1000));
}

static void put_histogram(struct buffer *out, const struct metric_desc *desc,
			  const struct series *series, struct scratch *scratch)
{
	const struct histogram_view *histogram = &series->histogram;
	uint64_t count = histogram_count(histogram);
	uint64_t *cumulative = scratch->cumulative;
	size_t n = histogram_cumulative(desc, histogram, cumulative);
	size_t i, le_start = 0, le_size;
	long worst = -1;
	char *at;

	/* Separately counted classic buckets may run ahead of the slots: a page must not show that. */
	if (n && count < cumulative[n - 1])
		count = cumulative[n - 1];
	cumulative[n] = count;
	if (scratch->exemplars)
		worst = histogram_max_bucket(desc, histogram, cumulative);

	scratch->bucket.size = 0;
	buffer_string(&scratch->bucket, desc->name);
	buffer_string(&scratch->bucket, "_bucket{");
	buffer_append(&scratch->bucket, scratch->labels.data, scratch->labels.size);
	if (scratch->labels.size)
		buffer_char(&scratch->bucket, ',');
	if (buffer_error(&scratch->bucket) || buffer_error(&scratch->le))
		return;

	for (i = 0; i <= n; i++) {
		le_size = scratch->le_end[i] - le_start;
		at = buffer_reserve(out, scratch->bucket.size + le_size + NUMBER_MAX_TEXT + 1);
		if (!at)
			return;
		memcpy(at, scratch->bucket.data, scratch->bucket.size);
		at += scratch->bucket.size;
		memcpy(at, scratch->le.data + le_start, le_size);
		at += le_size;
		at += number_unsigned(at, cumulative[i]);
		if ((long)i == worst) {
			out->size = (size_t)(at - out->data);
			put_exemplar(out, histogram);
			at = buffer_reserve(out, 1);
			if (!at)
				return;
		}
		*at++ = '\n';
		out->size = (size_t)(at - out->data);
		le_start += le_size;
	}
	put_sample_head(out, desc, "_sum", scratch);
	buffer_number(out, histogram->sum);
	buffer_char(out, '\n');
	put_sample_head(out, desc, "_count", scratch);
	buffer_unsigned(out, count);
	buffer_char(out, '\n');
}

static int put_family(struct buffer *out, const struct family *family, struct scratch *scratch)
{
	const struct metric_desc *desc = family->desc;
	const struct series *series;

	if (desc->kind == METRIC_HISTOGRAM && prepare_bounds(scratch, desc) < 0)
		return -ENOMEM;
	for (series = family->series; series < family->series + family->n_series; series++) {
		/* Neither format has a counter that is below zero or not a number. */
		if (desc->kind == METRIC_COUNTER && !(series->value >= 0))
			continue;
		put_labels(&scratch->labels, desc, series);
		if (desc->kind == METRIC_HISTOGRAM) {
			put_histogram(out, desc, series, scratch);
			continue;
		}
		put_sample_head(out, desc, "", scratch);
		buffer_number(out, series->value);
		buffer_char(out, '\n');
	}
	return 0;
}

int text_families(const struct snapshot *snapshot, struct buffer *out, text_head *head,
		  bool exemplars)
{
	struct scratch scratch = { .exemplars = exemplars };
	int error = 0;
	size_t i;

	for (i = 0; i < snapshot->n_families && !error; i++) {
		if (!snapshot->families[i].n_series)
			continue;
		head(out, snapshot->families[i].desc);
		error = put_family(out, &snapshot->families[i], &scratch);
	}
	if (!error)
		error = buffer_error(&scratch.labels);
	if (!error)
		error = buffer_error(&scratch.bucket);
	if (!error)
		error = buffer_error(&scratch.le);
	buffer_free(&scratch.labels);
	buffer_free(&scratch.bucket);
	buffer_free(&scratch.le);
	free(scratch.le_end);
	free(scratch.cumulative);
	return error ? error : buffer_error(out);
}
