// SPDX-License-Identifier: Apache-2.0
/* Copies series into a snapshot's memory, and makes one of two; see registry_internal.h. */
#include <errno.h>
#include <string.h>
#include "agent/registry_internal.h"
#include "agent/snapshot_internal.h"

const char *const *snapshot_copy_strings(struct snapshot *snapshot, const char *const *strings,
					 size_t n)
{
	const char **copies = snapshot_alloc(snapshot, n * sizeof(*copies));

	for (size_t i = 0; copies && i < n; i++) {
		copies[i] = snapshot_strdup(snapshot, strings[i] ? strings[i] : "");
		if (!copies[i])
			return NULL;
	}
	return copies;
}

/*
 * Copies a histogram without its empty ends: most span a few doublings only. A last slot is open
 * upwards, hence one empty slot stays behind the highest that is not.
 */
int snapshot_copy_histogram(struct snapshot *snapshot, const struct metric_desc *desc,
			    const struct histogram_view *from, struct histogram_view *to)
{
	size_t first = 0, end = from->n_slots, n_bounds;
	uint64_t *slots;

	while (end > 0 && from->slots[end - 1] == 0)
		end--;
	while (first < end && from->slots[first] == 0)
		first++;
	if (end < from->n_slots)
		end++;
	*to = *from;
	to->min_index = from->min_index + (int)first;
	to->n_slots = end - first;
	to->slots = slots = snapshot_alloc(snapshot, to->n_slots * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	memcpy(slots, from->slots + first, to->n_slots * sizeof(*slots));
	if (from->classic) {
		metric_bounds(desc, &n_bounds);
		to->classic = slots = snapshot_alloc(snapshot, (n_bounds + 1) * sizeof(*slots));
		if (!slots)
			return -ENOMEM;
		memcpy(slots, from->classic, (n_bounds + 1) * sizeof(*slots));
	}
	return 0;
}

static void merge_counts(uint64_t *into, const uint64_t *from, size_t n, enum merge how)
{
	for (size_t i = 0; i < n; i++) {
		if (how == MERGE_ADD)
			into[i] += from[i];
		else if (from[i] > into[i])
			into[i] = from[i];
	}
}

/* Over the union of both ranges. Two of one metric have one schema. */
static int merge_histograms(struct snapshot *snapshot, const struct metric_desc *desc,
			    struct histogram_view *into, const struct histogram_view *from,
			    enum merge how)
{
	int start = into->min_index < from->min_index ? into->min_index : from->min_index;
	int into_end = into->min_index + (int)into->n_slots,
	    from_end = from->min_index + (int)from->n_slots;
	int end = into_end > from_end ? into_end : from_end;
	uint64_t *slots, *classic;
	size_t n_bounds;

	if (into->schema != from->schema)
		return -EINVAL;
	slots = snapshot_alloc(snapshot, (size_t)(end - start) * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	memcpy(slots + (into->min_index - start), into->slots, into->n_slots * sizeof(*slots));
	merge_counts(slots + (from->min_index - start), from->slots, from->n_slots, how);
	into->slots = slots;
	into->min_index = start;
	into->n_slots = (size_t)(end - start);
	if (into->classic && from->classic) {
		metric_bounds(desc, &n_bounds);
		classic = snapshot_alloc(snapshot, (n_bounds + 1) * sizeof(*classic));
		if (!classic)
			return -ENOMEM;
		memcpy(classic, into->classic, (n_bounds + 1) * sizeof(*classic));
		merge_counts(classic, from->classic, n_bounds + 1, how);
		into->classic = classic;
	}
	if (how == MERGE_ADD)
		into->sum += from->sum;
	else if (from->sum > into->sum)
		into->sum = from->sum;
	if (how == MERGE_ADD &&
	    from->max > into->max) /* else it is that of an earlier collection */
		into->max = from->max;
	return 0;
}

int series_merge(struct snapshot *snapshot, const struct metric_desc *desc, struct series *into,
		 const struct series *from, enum merge how)
{
	if (desc->kind == METRIC_HISTOGRAM)
		return merge_histograms(snapshot, desc, &into->histogram, &from->histogram, how);
	if (how == MERGE_ADD)
		into->value += from->value;
	else if (from->value > into->value)
		into->value = from->value;
	return 0;
}
