// SPDX-License-Identifier: Apache-2.0
/*
 * How checks read snapshots: values, and what counters and histograms have gained within the window. Pure
 * functions over two immutable snapshots.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "agent/health_internal.h"

bool health_value(const struct health_view *view, const char *metric, double *ret_value)
{
	const struct family *family = snapshot_whole_family(view->now, metric);

	if (!family || !family->n_series)
		return false;
	*ret_value = family->series[0].value;
	return true;
}

const char *health_label(const struct family *family, const struct series *series,
			 const char *label)
{
	for (size_t i = 0; i < metric_labels(family->desc); i++) {
		if (strcmp(family->desc->labels[i], label) == 0)
			return series->labels[i];
	}
	return "";
}

static const struct series *series_before(const struct health_view *view,
					  const struct family *family, const struct series *series)
{
	if (!view->base)
		return NULL;
	return family_find(snapshot_whole_family(view->base, family->desc->name), series);
}

double health_increase(const struct health_view *view, const struct family *family,
		       const struct series *series)
{
	const struct series *before = series_before(view, family, series);

	if (!view->base)
		return 0;
	if (!before || before->value > series->value)
		return series->value;
	return series->value - before->value;
}

/* The count of a histogram's bucket by its absolute index. */
static uint64_t bucket_at(const struct histogram_view *histogram, int index)
{
	long slot = (long)index - histogram->min_index;

	return slot >= 0 && (size_t)slot < histogram->n_slots ? histogram->slots[slot] : 0;
}

/* Whether `now` can be `before` with more in it. If not, it began anew. */
static bool has_grown(const struct histogram_view *now, const struct histogram_view *before)
{
	if (now->schema != before->schema)
		return false;
	for (size_t i = 0; i < before->n_slots; i++) {
		if (before->slots[i] > bucket_at(now, before->min_index + (int)i))
			return false;
	}
	return true;
}

/* Makes room for the buckets of `more`. */
static int delta_widen(struct health_delta *delta, const struct histogram_view *more)
{
	struct histogram_view *mine = &delta->histogram;
	int start = more->min_index, end = start + (int)more->n_slots;
	uint64_t *slots;

	if (mine->n_slots) {
		int mine_end = mine->min_index + (int)mine->n_slots;

		if (start >= mine->min_index && end <= mine_end)
			return 0;
		if (mine->min_index < start)
			start = mine->min_index;
		if (mine_end > end)
			end = mine_end;
	}
	slots = calloc((size_t)(end - start) + 1, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	if (mine->n_slots)
		memcpy(slots + (mine->min_index - start), mine->slots,
		       mine->n_slots * sizeof(*slots));
	free(delta->slots);
	delta->slots = slots;
	*mine = (struct histogram_view){ .schema = more->schema,
					 .min_index = start,
					 .n_slots = (size_t)(end - start),
					 .slots = slots };
	return 0;
}

int health_delta_add(struct health_delta *delta, const struct health_view *view,
		     const struct family *family, const struct series *series)
{
	const struct series *before = series_before(view, family, series);
	const struct histogram_view *now = &series->histogram;
	int err;

	if (!view->base || !now->n_slots)
		return 0;
	if (delta->histogram.n_slots && delta->histogram.schema != now->schema)
		return 0;
	err = delta_widen(delta, now);
	if (err)
		return err;
	if (before && !has_grown(now, &before->histogram))
		before = NULL;
	for (size_t i = 0; i < now->n_slots; i++) {
		int index = now->min_index + (int)i;
		uint64_t gained =
			now->slots[i] - (before ? bucket_at(&before->histogram, index) : 0);

		delta->slots[index - delta->histogram.min_index] += gained;
		delta->count += gained;
	}
	return 0;
}

void health_delta_free(struct health_delta *delta)
{
	free(delta->slots);
	*delta = (struct health_delta){ 0 };
}
