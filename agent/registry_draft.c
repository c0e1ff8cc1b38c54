// SPDX-License-Identifier: Apache-2.0
/* The steps of a family from what was written to what a snapshot holds; see registry_internal.h. Loop thread only. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "agent/registry_internal.h"
#include "agent/snapshot_internal.h"

struct draft_rules draft_rules_of(const struct series_filter *filter,
				  const struct metric_desc *desc)
{
	size_t n_labels = metric_labels(desc), cap = 0;

	if (desc->per_entity)
		cap = series_filter_max_series(filter);
	if (!cap)
		cap = desc->max_series ? desc->max_series : METRIC_DEFAULT_MAX_SERIES;
	return (struct draft_rules){
		.is_disabled = series_filter_disables(filter, desc->name),
		.has_terms = series_filter_concerns(filter, desc->labels, n_labels),
		.hides_worst = desc->worst && series_filter_disables(filter, desc->worst->name),
		.drops = series_filter_drops(filter, desc->labels, n_labels),
		.joins_entities = desc->per_entity &&
				  series_filter_drops(filter, entity_label_names, ENTITY_LABELS),
		.max_series = cap,
	};
}

enum merge metric_merge(const struct metric_desc *desc)
{
	bool is_ratio = desc->kind == METRIC_GAUGE && desc->unit && !strcmp(desc->unit, "ratio");

	return desc->merges_by_max || is_ratio ? MERGE_MAX : MERGE_ADD;
}

static int compare_series(const void *a, const void *b, void *desc)
{
	return series_compare(desc, a, b);
}

void draft_sort(struct draft *draft)
{
	qsort_r(draft->series, draft->n, sizeof(*draft->series), compare_series,
		(void *)draft->desc);
}

int draft_merge_equal(struct draft *draft, struct snapshot *snapshot)
{
	size_t kept = 0;
	int err = 0;

	for (size_t i = 0; i < draft->n && !err; i++) {
		if (kept &&
		    !series_compare(draft->desc, &draft->series[kept - 1], &draft->series[i]))
			err = series_merge(snapshot, draft->desc, &draft->series[kept - 1],
					   &draft->series[i], metric_merge(draft->desc));
		else
			draft->series[kept++] = draft->series[i];
	}
	if (kept < draft->n)
		draft->has_merged = true;
	draft->n = kept;
	return err;
}

void draft_level_rounding(struct draft *draft, const struct family *before)
{
	bool is_histogram = draft->desc->kind == METRIC_HISTOGRAM;
	size_t n_before = before ? before->n_series : 0;

	for (size_t i = 0, j = 0; i < draft->n && j < n_before;) {
		const struct series *old = &before->series[j];
		struct series *now = &draft->series[i];
		int order = series_compare(draft->desc, old, now);

		if (!order) {
			double *value = is_histogram ? &now->histogram.sum : &now->value;
			double least = is_histogram ? old->histogram.sum : old->value;

			if (*value < least && least - *value < least * 1e-9)
				*value = least;
		}
		i += order >= 0;
		j += order <= 0;
	}
}

int draft_level_sums(struct draft *draft, struct snapshot *snapshot, const struct family *before)
{
	int err = 0;

	for (size_t i = 0; i < draft->n && !err; i++) {
		const struct series *old = family_find(before, &draft->series[i]);

		if (old)
			err = series_merge(snapshot, draft->desc, &draft->series[i], old,
					   MERGE_MAX);
	}
	return err;
}

int draft_store(const struct draft *draft, struct snapshot *snapshot, struct family *family)
{
	struct series *series = snapshot_alloc(snapshot, draft->n * sizeof(*series));

	if (!series)
		return -ENOMEM;
	memcpy(series, draft->series, draft->n * sizeof(*series));
	*family = (struct family){ .desc = draft->desc, .n_series = draft->n, .series = series };
	return 0;
}

void labels_kept(const char **kept, const char *const *values, size_t n, unsigned drops)
{
	for (size_t i = 0; i < n; i++)
		kept[i] = (drops & (1U << i)) ? "" : values[i];
}
