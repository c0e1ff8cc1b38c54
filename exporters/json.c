// SPDX-License-Identifier: Apache-2.0
/*
 * One JSON document for scripts and pages:
 *
 *   {"timestamp": "2024-05-01T12:00:00.123Z",
 *    "families": [{"name", "help", "type", "unit" (or null),
 *                  "series": [{"labels": {…}, "value": 1.5}
 *                             or {"labels": {…}, "count", "sum", "max", "p50", "p90", "p95", "p99",
 *                                 "buckets": [{"le": 0.25, "count": 7}, …]}]}]}
 *
 * Bucket counts are cumulative; that of +Inf is `count`. What JSON has no number for (NaN, infinities)
 * and what is not known is null. Written by hand: a tree of the whole page first would cost many times
 * the page. HTTP thread.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include "exporters/exporter.h"
#include "exporters/text.h"

static void put_key(struct buffer *out, const char *key)
{
	buffer_char(out, '"');
	buffer_string(out, key);
	buffer_string(out, "\":");
}

static void put_number(struct buffer *out, double value)
{
	if (isfinite(value))
		buffer_number(out, value);
	else
		buffer_string(out, "null");
}

static void put_label(struct buffer *out, bool *first, const char *name, const char *value)
{
	if (!*first)
		buffer_char(out, ',');
	*first = false;
	buffer_json_string(out, name);
	buffer_char(out, ':');
	buffer_json_string(out, value);
}

static void put_labels(struct buffer *out, const struct metric_desc *desc,
		       const struct series *series)
{
	bool first = true;
	int i;

	buffer_string(out, "{\"labels\":{");
	if (series->entity)
		for (i = 0; i < ENTITY_LABELS; i++)
			if (*series->entity[i])
				put_label(out, &first, entity_label_names[i], series->entity[i]);
	if (series->labels)
		for (i = 0; i < METRIC_MAX_LABELS && desc->labels[i]; i++)
			put_label(out, &first, desc->labels[i], series->labels[i]);
	buffer_char(out, '}');
}

static void put_histogram(struct buffer *out, const struct metric_desc *desc,
			  const struct histogram_view *histogram, uint64_t *cumulative)
{
	static const struct {
		const char *key;
		double q;
	} quantiles[] = { { "p50", 0.5 }, { "p90", 0.9 }, { "p95", 0.95 }, { "p99", 0.99 } };
	uint64_t count = histogram_count(histogram);
	size_t n = histogram_cumulative(desc, histogram, cumulative), i;
	const double *bounds = metric_bounds(desc, &n);

	/* As on the text pages. */
	if (n && count < cumulative[n - 1])
		count = cumulative[n - 1];

	buffer_string(out, ",\"count\":");
	buffer_unsigned(out, count);
	buffer_string(out, ",\"sum\":");
	put_number(out, histogram->sum);
	buffer_string(out, ",\"max\":");
	put_number(out, histogram->max > 0 ? histogram->max : NAN);
	for (i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
		buffer_char(out, ',');
		put_key(out, quantiles[i].key);
		put_number(out, histogram_quantile(histogram, quantiles[i].q));
	}
	buffer_string(out, ",\"buckets\":[");
	for (i = 0; i < n; i++) {
		buffer_string(out, i ? ",{\"le\":" : "{\"le\":");
		put_number(out, bounds[i]);
		buffer_string(out, ",\"count\":");
		buffer_unsigned(out, cumulative[i]);
		buffer_char(out, '}');
	}
	buffer_char(out, ']');
}

static int put_family(struct buffer *out, const struct family *family)
{
	const struct metric_desc *desc = family->desc;
	uint64_t *cumulative = NULL;
	size_t n, i;

	if (desc->kind == METRIC_HISTOGRAM) {
		metric_bounds(desc, &n);
		cumulative = calloc(n + 1, sizeof(*cumulative));
		if (!cumulative)
			return -ENOMEM;
	}
	buffer_string(out, "{\"name\":");
	buffer_json_string(out, desc->name);
	buffer_string(out, ",\"help\":");
	buffer_json_string(out, desc->help);
	buffer_string(out, ",\"type\":\"");
	buffer_string(out, text_kind(desc->kind));
	buffer_string(out, "\",\"unit\":");
	if (desc->unit)
		buffer_json_string(out, desc->unit);
	else
		buffer_string(out, "null");
	buffer_string(out, ",\"series\":[");
	for (i = 0; i < family->n_series; i++) {
		if (i)
			buffer_char(out, ',');
		put_labels(out, desc, &family->series[i]);
		if (desc->kind == METRIC_HISTOGRAM) {
			put_histogram(out, desc, &family->series[i].histogram, cumulative);
		} else {
			buffer_string(out, ",\"value\":");
			put_number(out, family->series[i].value);
		}
		buffer_char(out, '}');
	}
	buffer_string(out, "]}");
	free(cumulative);
	return 0;
}

static int json_encode(const struct snapshot *snapshot, struct buffer *out)
{
	int error = 0;
	size_t i;

	buffer_string(out, "{\"timestamp\":");
	buffer_timestamp(out, snapshot->realtime_ns);
	buffer_string(out, ",\"families\":[");
	for (i = 0; i < snapshot->n_families && !error; i++) {
		buffer_string(out, i ? ",\n" : "\n");
		error = put_family(out, &snapshot->families[i]);
	}
	buffer_string(out, "\n]}\n");
	return error ? error : buffer_error(out);
}

const struct encoder encoder_json = {
	.name = "json",
	.content_type = "application/json",
	.accept_type = "application/json",
	.encode = json_encode,
};
