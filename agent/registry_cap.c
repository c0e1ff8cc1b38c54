// SPDX-License-Identifier: Apache-2.0
/* Keeps families within their caps; see registry_internal.h. Loop thread only. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "agent/hyperloglog.h"
#include "agent/registry_internal.h"

static int label_other(struct snapshot *snapshot, const struct metric_desc *desc,
		       struct series *series, size_t n_labels)
{
	const char *const entity[ENTITY_LABELS] = { "", "", "", "", "other" };
	const char *labels[METRIC_MAX_LABELS];

	memset(series, 0, sizeof(*series));
	for (size_t i = 0; i < n_labels; i++)
		labels[i] = "other";
	if (desc->per_entity &&
	    !(series->entity = snapshot_copy_strings(snapshot, entity, ENTITY_LABELS)))
		return -ENOMEM;
	if (n_labels && !(series->labels = snapshot_copy_strings(snapshot, labels, n_labels)))
		return -ENOMEM;
	return 0;
}

/* Adds a series to `other`, of which it may be the first. */
static int fold(struct snapshot *snapshot, const struct metric_desc *desc, struct series *other,
		const struct series *series, bool is_first)
{
	if (!is_first)
		return series_merge(snapshot, desc, other, series, metric_merge(desc));
	if (desc->kind == METRIC_HISTOGRAM)
		other->histogram = series->histogram;
	else
		other->value = series->value;
	return 0;
}

/* The series `other` never goes backwards; where nothing is in it now, it is what it was. */
static int level_other(struct snapshot *snapshot, const struct metric_desc *desc,
		       struct series *other, const struct series *before, bool is_empty)
{
	if (!is_empty)
		return desc->kind == METRIC_GAUGE
			       ? 0
			       : series_merge(snapshot, desc, other, before, MERGE_MAX);
	/* it may point into the previous snapshot: copy what stays */
	if (desc->kind == METRIC_HISTOGRAM) {
		int err = snapshot_copy_histogram(snapshot, desc, &before->histogram,
						  &other->histogram);

		other->histogram.max = 0; /* it was of the collection before */
		return err;
	}
	other->value = before->value;
	return 0;
}

static int append_other(struct draft *draft, const struct series *other)
{
	if (draft->n == draft->capacity) {
		struct series *grown = realloc(draft->series, (draft->n + 1) * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		draft->series = grown;
		draft->capacity = draft->n + 1;
	}
	draft->series[draft->n++] = *other;
	draft_sort(draft);
	return 0;
}

static int note_folded(struct draft *draft, const struct series *series, size_t n_labels)
{
	uint64_t hash = HYPERLOGLOG_SEED;

	if (!draft->folded)
		draft->folded = calloc(1, sizeof(*draft->folded));
	if (!draft->folded)
		return -ENOMEM;
	for (size_t i = 0; series->entity && i < ENTITY_LABELS; i++)
		hash = hyperloglog_hash(hash, series->entity[i]);
	for (size_t i = 0; i < n_labels; i++)
		hash = hyperloglog_hash(hash, series->labels[i]);
	hyperloglog_add(draft->folded, hyperloglog_hash_end(hash));
	return 0;
}

int draft_fold_beyond_cap(struct draft *draft, struct snapshot *snapshot,
			  const struct family *before)
{
	const struct metric_desc *desc = draft->desc;
	size_t cap = draft->rules.max_series, n_labels = metric_labels(desc);
	const struct series *other_before;
	struct series other;
	size_t known = 0, room, kept = 0, in_other = 0;
	uint64_t dropped = 0;
	int err;

	if (!n_labels && !desc->per_entity)
		return 0; /* its one series has the labels of `other`: none */
	if (draft->n <= cap && !draft->has_folded)
		return 0;
	draft->has_folded = true;
	err = label_other(snapshot, desc, &other, n_labels);
	if (err)
		return err;
	other_before = family_find(before, &other);

	for (size_t i = 0; i < draft->n; i++)
		known += series_compare(desc, &draft->series[i], &other) &&
			 family_find(before, &draft->series[i]);
	room = cap > known ? cap - known : 0;
	for (size_t i = 0; i < draft->n && !err; i++) {
		struct series *series = &draft->series[i];
		bool is_known = family_find(before, series) != NULL;
		bool is_other = !series_compare(desc, series, &other);

		if (!is_other && (is_known || room > 0)) {
			room -= !is_known;
			draft->series[kept++] = *series;
			continue;
		}
		err = fold(snapshot, desc, &other, series, in_other++ == 0);
		if (err || is_other)
			continue;
		dropped++;
		err = note_folded(draft, series, n_labels);
	}
	if (!err && dropped > draft->most_dropped)
		draft->most_dropped = dropped;
	draft->n = kept;
	if (!err && other_before)
		err = level_other(snapshot, desc, &other, other_before, in_other == 0);
	if (err || (!in_other && !other_before))
		return err;
	return append_other(draft, &other);
}
