// SPDX-License-Identifier: Apache-2.0
/* Records of single requests, and lists of them; see request_record.h. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "agent/request_record.h"
#include "agent/snapshot.h"

struct owned_record {
	struct request_record record; /* first: callers hold this */
	atomic_uint references;
	size_t size;
	struct request_wait waits[]; /* and behind them the strings */
};

/* The strings that are copied, in the order they are stored. */
#define OWN_TEXTS 7
#define MAX_TEXTS (OWN_TEXTS + REQUEST_MAX_DOWNSTREAMS + METRIC_MAX_LABELS)

static size_t list_texts(struct request_record *record, const char **texts[MAX_TEXTS])
{
	const char **const own[OWN_TEXTS] = { &record->operation, &record->route, &record->target,
					      &record->status,	  &record->error, &record->local,
					      &record->peer };
	size_t n = OWN_TEXTS;

	memcpy(texts, own, sizeof(own));
	for (size_t i = 0; i < record->n_downstreams; i++)
		texts[n++] = &record->downstreams[i].peer;
	for (size_t i = 0; record->histogram && i < metric_labels(record->histogram); i++) {
		if (!record->labels[i])
			record->labels[i] = "";
		texts[n++] = &record->labels[i];
	}
	return n;
}

const struct request_record *request_record_new(const struct request_record *facts)
{
	struct request_record copy = *facts;
	const char **texts[MAX_TEXTS];
	size_t n = list_texts(&copy, texts), size = sizeof(struct owned_record);
	struct owned_record *owned;
	char *at;

	size += facts->n_waits * sizeof(*facts->waits);
	for (size_t i = 0; i < n; i++)
		size += strlen(*texts[i]) + 1;
	owned = malloc(size);
	if (!owned)
		return NULL;
	atomic_init(&owned->references, 1);
	owned->size = size;
	if (facts->n_waits)
		memcpy(owned->waits, facts->waits, facts->n_waits * sizeof(*facts->waits));
	copy.waits = owned->waits;
	at = (char *)(owned->waits + facts->n_waits);
	for (size_t i = 0; i < n; i++) {
		size_t length = strlen(*texts[i]) + 1;

		memcpy(at, *texts[i], length);
		*texts[i] = at;
		at += length;
	}
	owned->record = copy;
	return &owned->record;
}

const struct request_record *request_record_get(const struct request_record *record)
{
	struct owned_record *owned = (struct owned_record *)record;

	atomic_fetch_add_explicit(&owned->references, 1, memory_order_relaxed);
	return record;
}

void request_record_put(const struct request_record *record)
{
	struct owned_record *owned = (struct owned_record *)record;

	if (owned && atomic_fetch_sub_explicit(&owned->references, 1, memory_order_acq_rel) == 1)
		free(owned);
}

size_t request_record_size(const struct request_record *record)
{
	return ((const struct owned_record *)record)->size;
}

/* ---- lists ---- */

int request_list_add(struct request_list *list, const char *const *entity,
		     const struct request_record *record)
{
	if (list->n == list->capacity) {
		size_t capacity = list->capacity ? list->capacity * 2 : 64;
		struct request_entry *grown =
			realloc(list->entries, capacity * sizeof(*list->entries));

		if (!grown)
			return -ENOMEM;
		list->entries = grown;
		list->capacity = capacity;
	}
	list->entries[list->n++] = (struct request_entry){ entity, record };
	return 0;
}

static int compare_numbers(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int compare_durations(const void *a, const void *b)
{
	const struct request_record *one = ((const struct request_entry *)a)->record;
	const struct request_record *other = ((const struct request_entry *)b)->record;
	int order = compare_numbers(other->duration_ns, one->duration_ns);

	return order ? order : compare_numbers(other->end_ns, one->end_ns);
}

void request_list_sort_by_duration(struct request_list *list)
{
	if (list->n)
		qsort(list->entries, list->n, sizeof(*list->entries), compare_durations);
}

static int compare_to_series(const struct request_entry *entry, const struct metric_desc *histogram,
			     const struct series *series)
{
	const struct series own = { .entity = entry->entity, .labels = entry->record->labels };
	int order = compare_numbers((uintptr_t)entry->record->histogram, (uintptr_t)histogram);

	return order ? order : series_compare(histogram, &own, series);
}

static int compare_places(const void *a, const void *b)
{
	const struct request_entry *other = b;
	const struct request_record *one = ((const struct request_entry *)a)->record;
	const struct series series = { .entity = other->entity, .labels = other->record->labels };
	int order = compare_to_series(a, other->record->histogram, &series);

	return order ? order : compare_numbers(one->duration_ns, other->record->duration_ns);
}

void request_list_sort_by_series(struct request_list *list)
{
	if (list->n)
		qsort(list->entries, list->n, sizeof(*list->entries), compare_places);
}

const struct request_entry *request_entries_of(const struct request_entry *examples, size_t n,
					       const struct metric_desc *histogram,
					       const struct series *series, size_t *ret_n)
{
	size_t low = 0, high = n, end;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (compare_to_series(&examples[middle], histogram, series) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	end = low;
	while (end < n && !compare_to_series(&examples[end], histogram, series))
		end++;
	*ret_n = end - low;
	return end > low ? &examples[low] : NULL;
}
