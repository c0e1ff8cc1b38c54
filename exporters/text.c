// SPDX-License-Identifier: Apache-2.0
/*
 * The sample lines of both text formats; see text.h. HTTP thread.
 *
 * The cost of a page is the cost of its bucket lines, so these are put together from three ready
 * pieces: name and labels (once a series), the `le` label (once a family) and an integer.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
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
	struct buffer exemplar; /* labels of one */
	const struct snapshot *exemplars; /* where they are from; NULL: none are shown */
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
#define EXEMPLAR_MAX 128 /* characters of all its names and values together */

static void put_exemplar(struct buffer *out, const struct buffer *labels, double value,
			 uint64_t realtime_ns)
{
	buffer_string(out, " # {");
	buffer_append(out, labels->data, labels->size);
	buffer_string(out, "} ");
	buffer_number(out, value);
	buffer_printf(out, " %llu.%03u", (unsigned long long)(realtime_ns / 1000000000),
		      (unsigned)(realtime_ns / 1000000 % 1000));
}

/* A label where its name and value fit in what is left. */
static void put_exemplar_label(struct buffer *out, const char *name, const char *value, int *left)
{
	int length = (int)(strlen(name) + strlen(value));

	if (!*value || length > *left)
		return;
	*left -= length;
	put_label(out, name, value);
}

/* "/users/:id" for "/users/{id}": the parser of Prometheus' Python client ends an exemplar's labels at the first brace. */
static void unbrace(char out[EXEMPLAR_MAX], const char *route)
{
	size_t size = 0;

	for (; *route && size + 1 < EXEMPLAR_MAX; route++)
		if (*route != '}')
			out[size++] = *route == '{' ? ':' : *route;
	out[*route ? 0 : size] = '\0'; /* too long: none */
}

/* The target may be private and is not shown here. */
static void label_exemplar(struct buffer *labels, const struct request_record *record)
{
	char pid[16] = "", tid[16] = "", route[EXEMPLAR_MAX];
	int left = EXEMPLAR_MAX;

	labels->size = 0;
	if (record->pid)
		snprintf(pid, sizeof(pid), "%u", record->pid);
	if (record->tid)
		snprintf(tid, sizeof(tid), "%u", record->tid);
	put_exemplar_label(labels, "pid", pid, &left);
	put_exemplar_label(labels, "tid", tid, &left);
	unbrace(route, record->route);
	put_exemplar_label(labels, "route", route, &left);
}

/* What of a series has exemplars: a request for each bucket that has one, and the worst value. */
struct exemplars {
	const struct histogram_view *histogram;
	const struct snapshot *snapshot; /* NULL: none */
	const struct request_entry *requests; /* the quickest first */
	size_t n_requests;
	long worst; /* bucket; -1: none */
};

static struct exemplars find_exemplars(const struct scratch *scratch,
				       const struct metric_desc *desc, const struct series *series)
{
	struct exemplars found = {
		.histogram = &series->histogram,
		.snapshot = scratch->exemplars,
		.worst = -1,
	};

	if (!found.snapshot)
		return found;
	found.worst = histogram_max_bucket(desc, &series->histogram, scratch->cumulative);
	found.requests = request_entries_of(found.snapshot->examples, found.snapshot->n_examples,
					    desc, series, &found.n_requests);
	return found;
}

/* The slowest request up to this bound that was not told before. */
static const struct request_record *next_request(struct exemplars *exemplars, double bound)
{
	const struct request_record *record = NULL;

	while (exemplars->n_requests &&
	       (double)exemplars->requests->record->duration_ns / 1e9 <= bound) {
		record = exemplars->requests++->record;
		exemplars->n_requests--;
	}
	return record;
}

static bool has_exemplar(const struct exemplars *exemplars, size_t bucket, double bound)
{
	return (long)bucket == exemplars->worst ||
	       (exemplars->n_requests &&
		(double)exemplars->requests->record->duration_ns / 1e9 <= bound);
}

/* Of the bucket of the worst value that value, unless it is the request's and more is known of it. */
static void put_exemplar_of(struct buffer *out, struct exemplars *exemplars,
			    struct scratch *scratch, size_t bucket, double bound)
{
	const struct request_record *record = next_request(exemplars, bound);
	const struct histogram_view *histogram = exemplars->histogram;
	double seconds = record ? (double)record->duration_ns / 1e9 : 0;

	scratch->exemplar.size = 0;
	if (!record ||
	    ((long)bucket == exemplars->worst && seconds < histogram->max * (1 - 1e-6))) {
		put_exemplar(out, &scratch->exemplar, histogram->max, histogram->max_ns);
		return;
	}
	label_exemplar(&scratch->exemplar, record);
	put_exemplar(out, &scratch->exemplar, seconds,
		     snapshot_realtime(exemplars->snapshot, record->end_ns));
}

static void put_histogram(struct buffer *out, const struct metric_desc *desc,
			  const struct series *series, struct scratch *scratch)
{
	const struct histogram_view *histogram = &series->histogram;
	uint64_t count = histogram_count(histogram);
	uint64_t *cumulative = scratch->cumulative;
	size_t n = histogram_cumulative(desc, histogram, cumulative);
	size_t i, le_start = 0, le_size;
	const double *bounds = metric_bounds(desc, &n);
	struct exemplars exemplars;
	char *at;

	/* Separately counted classic buckets may run ahead of the slots: a page must not show that. */
	if (n && count < cumulative[n - 1])
		count = cumulative[n - 1];
	cumulative[n] = count;
	exemplars = find_exemplars(scratch, desc, series);

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
		if (has_exemplar(&exemplars, i, i < n ? bounds[i] : INFINITY)) {
			out->size = (size_t)(at - out->data);
			put_exemplar_of(out, &exemplars, scratch, i, i < n ? bounds[i] : INFINITY);
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
	struct scratch scratch = { .exemplars = exemplars ? snapshot : NULL };
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
	if (!error)
		error = buffer_error(&scratch.exemplar);
	buffer_free(&scratch.labels);
	buffer_free(&scratch.bucket);
	buffer_free(&scratch.le);
	buffer_free(&scratch.exemplar);
	free(scratch.le_end);
	free(scratch.cumulative);
	return error ? error : buffer_error(out);
}
