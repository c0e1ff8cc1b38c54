// SPDX-License-Identifier: Apache-2.0
/* Memory and life of snapshots. Reference counts are atomic; the rest is written by the loop thread only. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "agent/snapshot_internal.h"

const char *const entity_label_names[ENTITY_LABELS] = { "namespace", "pod", "container", "unit",
							"comm" };

#define CHUNK_SIZE (64 * 1024)

struct chunk {
	struct chunk *next;
	size_t used, size;
	_Alignas(8) char data[];
};

struct owned_snapshot {
	struct snapshot snapshot; /* first: callers hold this */
	atomic_uint references;
	struct chunk *chunks;
};

struct snapshot *snapshot_new(void)
{
	struct owned_snapshot *owned = calloc(1, sizeof(*owned));

	if (!owned)
		return NULL;
	atomic_init(&owned->references, 1);
	return &owned->snapshot;
}

void *snapshot_alloc(struct snapshot *snapshot, size_t size)
{
	struct owned_snapshot *owned = (struct owned_snapshot *)snapshot;
	struct chunk *chunk = owned->chunks;
	void *memory;

	size = (size + 7) & ~(size_t)7;
	if (!chunk || chunk->size - chunk->used < size) {
		size_t room = size > CHUNK_SIZE ? size : CHUNK_SIZE;

		chunk = malloc(sizeof(*chunk) + room);
		if (!chunk)
			return NULL;
		chunk->used = 0;
		chunk->size = room;
		chunk->next = owned->chunks;
		owned->chunks = chunk;
	}
	memory = chunk->data + chunk->used;
	chunk->used += size;
	memset(memory, 0, size);
	return memory;
}

char *snapshot_strdup(struct snapshot *snapshot, const char *string)
{
	size_t size = strlen(string) + 1;
	char *copy = snapshot_alloc(snapshot, size);

	if (copy)
		memcpy(copy, string, size);
	return copy;
}

struct snapshot *snapshot_get(struct snapshot *snapshot)
{
	struct owned_snapshot *owned = (struct owned_snapshot *)snapshot;

	atomic_fetch_add_explicit(&owned->references, 1, memory_order_relaxed);
	return snapshot;
}

int snapshot_store_requests(struct snapshot *snapshot, const struct request_list *list,
			    const struct request_entry **ret_entries, size_t *ret_n)
{
	struct request_entry *entries = snapshot_alloc(snapshot, list->n * sizeof(*entries));

	if (!entries)
		return -ENOMEM;
	for (size_t i = 0; i < list->n; i++) {
		entries[i] = list->entries[i];
		request_record_get(entries[i].record);
	}
	*ret_entries = entries;
	*ret_n = list->n;
	return 0;
}

static void drop_requests(const struct request_entry *entries, size_t n)
{
	for (size_t i = 0; i < n; i++)
		request_record_put(entries[i].record);
}

void snapshot_put(struct snapshot *snapshot)
{
	struct owned_snapshot *owned = (struct owned_snapshot *)snapshot;

	if (!owned || atomic_fetch_sub_explicit(&owned->references, 1, memory_order_acq_rel) != 1)
		return;
	drop_requests(snapshot->slow, snapshot->n_slow);
	drop_requests(snapshot->examples, snapshot->n_examples);
	while (owned->chunks) {
		struct chunk *next = owned->chunks->next;

		free(owned->chunks);
		owned->chunks = next;
	}
	free(owned);
}

uint64_t snapshot_realtime(const struct snapshot *snapshot, uint64_t monotonic_ns)
{
	return snapshot->realtime_ns - snapshot->monotonic_ns + monotonic_ns;
}

static int compare_name(const void *name, const void *family)
{
	return strcmp(name, ((const struct family *)family)->desc->name);
}

static const struct family *find_family(const struct family *families, size_t n, const char *name)
{
	return n ? bsearch(name, families, n, sizeof(*families), compare_name) : NULL;
}

const struct family *snapshot_family(const struct snapshot *snapshot, const char *name)
{
	return find_family(snapshot->families, snapshot->n_families, name);
}

const struct family *snapshot_whole_family(const struct snapshot *snapshot, const char *name)
{
	const struct family *family =
		snapshot ? find_family(snapshot->withheld, snapshot->n_withheld, name) : NULL;

	return family || !snapshot ? family : snapshot_family(snapshot, name);
}

size_t metric_labels(const struct metric_desc *desc)
{
	size_t n = 0;

	while (n < METRIC_MAX_LABELS && desc->labels[n])
		n++;
	return n;
}

static int compare_strings(const char *const *a, const char *const *b, size_t n)
{
	int order = 0;

	if (a == b)
		return 0;
	for (size_t i = 0; i < n && !order; i++)
		order = strcmp(a[i], b[i]);
	return order;
}

int series_compare(const struct metric_desc *desc, const struct series *a, const struct series *b)
{
	int order = compare_strings(a->entity, b->entity, a->entity ? ENTITY_LABELS : 0);

	return order ? order : compare_strings(a->labels, b->labels, metric_labels(desc));
}

const struct series *family_find(const struct family *family, const struct series *like)
{
	size_t low = 0, high = family ? family->n_series : 0;

	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = series_compare(family->desc, &family->series[middle], like);

		if (!order)
			return &family->series[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}
