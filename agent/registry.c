// SPDX-License-Identifier: Apache-2.0
/* Builds snapshots from what probes write. Loop thread only; see registry.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "agent/hyperloglog.h"
#include "agent/registry.h"
#include "agent/registry_internal.h"
#include "agent/remains.h"
#include "agent/snapshot_internal.h"
#include "agent/worst.h"

/* A family while it is being written. Kept between collections for its memory. */
struct draft {
	const struct metric_desc *desc;
	struct series *series;
	size_t n, capacity;
	uint64_t most_dropped;
	struct hyperloglog *folded; /* which series ever were, once the cap has bitten; else NULL */
	bool has_remains; /* in this collection */
	bool has_folded; /* ever: it has a series "other" that is not the probe's alone */
};

/* Labels of an entity, copied into the snapshot once per collection. */
struct entity_cache {
	const char *const **labels; /* by entity id */
	size_t size;
};

/* An entity that is about to go, found by its labels in the snapshot. */
struct leaving {
	uint32_t entity;
	const char *const *labels;
};

struct metric_writer {
	struct draft *drafts;
	size_t n_drafts, capacity;
	struct draft *last; /* probes write series of one family in a row */
	struct snapshot *snapshot;
	struct entity_cache entities;
	entity_labels_fn labels_of;
	entity_leaving_fn is_leaving; /* NULL: none ever is */
	void *labels_context;
	struct leaving *leaving;
	size_t n_leaving, leaving_capacity;
	struct remains *remains;
	bool out_of_memory;
};

struct registry {
	struct metric_writer writer;
	struct snapshot *previous; /* tells which series were let in before a cap bit */
	uint64_t sequence;
};

struct registry *registry_new(entity_labels_fn labels, void *context)
{
	struct registry *registry = calloc(1, sizeof(*registry));

	if (!registry)
		return NULL;
	registry->writer.remains = remains_new();
	if (!registry->writer.remains) {
		free(registry);
		return NULL;
	}
	registry->writer.labels_of = labels;
	registry->writer.labels_context = context;
	return registry;
}

void registry_on_leaving(struct registry *registry, entity_leaving_fn is_leaving)
{
	registry->writer.is_leaving = is_leaving;
}

int registry_forget_entity(struct registry *registry, uint32_t entity)
{
	return remains_keep(registry->writer.remains, entity);
}

void registry_free(struct registry *registry)
{
	if (!registry)
		return;
	for (size_t i = 0; i < registry->writer.n_drafts; i++) {
		free(registry->writer.drafts[i].series);
		free(registry->writer.drafts[i].folded);
	}
	free(registry->writer.drafts);
	free(registry->writer.entities.labels);
	free(registry->writer.leaving);
	remains_free(registry->writer.remains);
	snapshot_put(registry->writer.snapshot);
	snapshot_put(registry->previous);
	free(registry);
}

struct metric_writer *registry_begin(struct registry *registry)
{
	struct metric_writer *writer = &registry->writer;

	snapshot_put(writer->snapshot);
	writer->snapshot = snapshot_new();
	writer->out_of_memory = !writer->snapshot;
	writer->last = NULL;
	writer->n_leaving = 0;
	remains_begin(writer->remains);
	for (size_t i = 0; i < writer->n_drafts; i++)
		writer->drafts[i].n = 0;
	if (writer->entities.size)
		memset(writer->entities.labels, 0,
		       writer->entities.size * sizeof(*writer->entities.labels));
	return writer;
}

/* ---- writing ---- */

static struct draft *find_draft(struct metric_writer *writer, const struct metric_desc *desc)
{
	struct draft *draft;

	if (writer->last && writer->last->desc == desc)
		return writer->last;
	for (size_t i = 0; i < writer->n_drafts; i++)
		if (writer->drafts[i].desc == desc)
			return writer->last = &writer->drafts[i];
	if (writer->n_drafts == writer->capacity) {
		size_t capacity = writer->capacity ? writer->capacity * 2 : 64;

		draft = realloc(writer->drafts, capacity * sizeof(*draft));
		if (!draft)
			return NULL;
		writer->drafts = draft;
		writer->capacity = capacity;
	}
	draft = &writer->drafts[writer->n_drafts++];
	*draft = (struct draft){ .desc = desc };
	return writer->last = draft;
}

/* First sight of an entity in a collection. */
static int meet_entity(struct metric_writer *writer, uint32_t entity, const char *const *labels)
{
	if (remains_want(writer->remains, labels))
		return -ENOMEM;
	if (!writer->is_leaving || !writer->is_leaving(writer->labels_context, entity))
		return 0;
	if (writer->n_leaving == writer->leaving_capacity) {
		size_t capacity = writer->leaving_capacity ? writer->leaving_capacity * 2 : 16;
		struct leaving *grown = realloc(writer->leaving, capacity * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		writer->leaving = grown;
		writer->leaving_capacity = capacity;
	}
	writer->leaving[writer->n_leaving++] = (struct leaving){ entity, labels };
	return 0;
}

static const char *const *entity_labels(struct metric_writer *writer, uint32_t entity)
{
	struct entity_cache *cache = &writer->entities;
	const char *const no_labels[ENTITY_LABELS] = { "", "", "", "", "" };

	if (entity == ENTITY_NONE)
		return snapshot_copy_strings(writer->snapshot, no_labels, ENTITY_LABELS);
	if (entity >= cache->size) {
		size_t size = entity < 256 ? 256 : (size_t)entity * 2;
		const char *const **labels = realloc(cache->labels, size * sizeof(*labels));

		if (!labels)
			return NULL;
		memset(labels + cache->size, 0, (size - cache->size) * sizeof(*labels));
		cache->labels = labels;
		cache->size = size;
	}
	if (!cache->labels[entity]) {
		const char *const *copy = snapshot_copy_strings(
			writer->snapshot, writer->labels_of(writer->labels_context, entity),
			ENTITY_LABELS);

		if (!copy || meet_entity(writer, entity, copy))
			return NULL;
		cache->labels[entity] = copy;
	}
	return cache->labels[entity];
}

/* A new series at the end of its draft, labelled; NULL when memory ran out (latched). */
static struct series *append_series(struct metric_writer *writer, const struct metric_desc *desc,
				    uint32_t entity, const char *const label_values[])
{
	struct draft *draft = NULL;
	struct series *series;
	size_t n_labels = metric_labels(desc);

	if (!writer->out_of_memory)
		draft = find_draft(writer, desc);
	if (!draft)
		goto out_of_memory;
	if (draft->n == draft->capacity) {
		size_t capacity = draft->capacity ? draft->capacity * 2 : 16;

		series = realloc(draft->series, capacity * sizeof(*series));
		if (!series)
			goto out_of_memory;
		draft->series = series;
		draft->capacity = capacity;
	}
	series = &draft->series[draft->n];
	memset(series, 0, sizeof(*series));
	if (desc->per_entity && !(series->entity = entity_labels(writer, entity)))
		goto out_of_memory;
	if (n_labels &&
	    !(series->labels = snapshot_copy_strings(writer->snapshot, label_values, n_labels)))
		goto out_of_memory;
	draft->n++;
	return series;

out_of_memory:
	writer->out_of_memory = true;
	return NULL;
}

void metric_write(struct metric_writer *writer, const struct metric_desc *desc, uint32_t entity,
		  const char *const label_values[], double value)
{
	struct series *series = append_series(writer, desc, entity, label_values);

	if (series)
		series->value = value;
}

void metric_write_histogram(struct metric_writer *writer, const struct metric_desc *desc,
			    uint32_t entity, const char *const label_values[],
			    const struct histogram_view *histogram)
{
	struct series *series = append_series(writer, desc, entity, label_values);

	if (!series)
		return;
	if (snapshot_copy_histogram(writer->snapshot, desc, histogram, &series->histogram))
		writer->out_of_memory = true;
	series->histogram.open_index = histogram->min_index;
}

/* ---- finishing ---- */

static int compare_series(const void *a, const void *b, void *desc)
{
	return series_compare(desc, a, b);
}

static enum merge how_to_merge(const struct metric_desc *desc)
{
	return desc->merges_by_max ? MERGE_MAX : MERGE_ADD;
}

static int merge_equal(struct snapshot *snapshot, struct draft *draft)
{
	size_t kept = 0;
	int err = 0;

	for (size_t i = 0; i < draft->n && !err; i++) {
		if (kept &&
		    !series_compare(draft->desc, &draft->series[kept - 1], &draft->series[i]))
			err = series_merge(snapshot, draft->desc, &draft->series[kept - 1],
					   &draft->series[i], how_to_merge(draft->desc));
		else
			draft->series[kept++] = draft->series[i];
	}
	draft->n = kept;
	return err;
}

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
		return series_merge(snapshot, desc, other, series, how_to_merge(desc));
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
	qsort_r(draft->series, draft->n, sizeof(*draft->series), compare_series,
		(void *)draft->desc);
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

/*
 * Keeps a family within its cap. Series of the previous snapshot stay, so that none vanishes while it lives;
 * free places go to new ones in order; the rest is added up in one series labelled "other", together with what the
 * probe itself has written under these labels. That one never goes backwards: when one of those folded into it
 * ends, it stands still until the others have caught up.
 */
static int fold_beyond_cap(struct registry *registry, struct draft *draft, size_t n_labels)
{
	struct snapshot *snapshot = registry->writer.snapshot;
	const struct metric_desc *desc = draft->desc;
	size_t cap = desc->max_series ? desc->max_series : METRIC_DEFAULT_MAX_SERIES;
	const struct family *before = NULL;
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
	if (registry->previous)
		before = snapshot_family(registry->previous, desc->name);
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

/* ---- entities that go, and what they leave behind ---- */

static int put_aside(struct metric_writer *writer, const struct draft *draft)
{
	int err = 0;

	for (size_t i = 0; i < draft->n && !err; i++)
		for (size_t j = 0; j < writer->n_leaving && !err; j++)
			if (draft->series[i].entity == writer->leaving[j].labels)
				err = remains_put_aside(writer->remains, writer->leaving[j].entity,
							draft->desc, &draft->series[i]);
	return err;
}

struct addition {
	struct metric_writer *writer;
	const struct metric_desc *desc;
};

static int add_remains(void *context, const struct series *from)
{
	const struct addition *to = context;
	struct metric_writer *writer = to->writer;
	struct series *series = append_series(writer, to->desc, ENTITY_NONE, from->labels);

	if (!series || !(series->entity = snapshot_copy_strings(writer->snapshot, from->entity,
								ENTITY_LABELS)))
		return -ENOMEM;
	if (to->desc->kind == METRIC_HISTOGRAM)
		return snapshot_copy_histogram(writer->snapshot, to->desc, &from->histogram,
					       &series->histogram);
	series->value = from->value;
	return 0;
}

/* Before series are merged: an entity's own are told from others by the pointer to its labels. */
static int settle_remains(struct metric_writer *writer)
{
	int err = 0;

	for (size_t i = 0; i < writer->n_drafts && !err; i++) {
		const struct metric_desc *desc = writer->drafts[i].desc;
		struct addition addition = { writer, desc };
		size_t before;

		if (!desc->per_entity || desc->kind == METRIC_GAUGE)
			continue;
		before = writer->drafts[i].n;
		err = put_aside(writer, &writer->drafts[i]);
		if (!err)
			err = remains_each(writer->remains, desc, add_remains, &addition);
		writer->drafts[i].has_remains = writer->drafts[i].n > before;
	}
	remains_end(writer->remains);
	return err;
}

static int compare_families(const void *a, const void *b)
{
	return strcmp(((const struct family *)a)->desc->name,
		      ((const struct family *)b)->desc->name);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

/*
 * The same numbers, added up in another order, may make a sum smaller by the last digit, which would be read as a counter
 * that began anew.
 */
static void level_rounding(const struct family *before, struct draft *draft)
{
	bool is_histogram = draft->desc->kind == METRIC_HISTOGRAM;

	for (size_t i = 0; i < draft->n; i++) {
		const struct series *old = family_find(before, &draft->series[i]);
		double *value =
			is_histogram ? &draft->series[i].histogram.sum : &draft->series[i].value;
		double least = !old ? *value : is_histogram ? old->histogram.sum : old->value;

		if (*value < least && least - *value < least * 1e-9)
			*value = least;
	}
}

static void carry_worst(struct registry *registry, struct draft *draft)
{
	const struct snapshot *previous = registry->previous;
	uint64_t turn = registry->writer.snapshot->monotonic_ns / WORST_TURN_NS;

	worst_carry(draft->desc, draft->series, draft->n,
		    previous ? snapshot_family(previous, draft->desc->name) : NULL,
		    previous ? turn - previous->monotonic_ns / WORST_TURN_NS : 0,
		    registry->writer.snapshot->realtime_ns);
}

static int finish_family(struct registry *registry, struct draft *draft, struct family *family)
{
	struct snapshot *snapshot = registry->writer.snapshot;
	size_t n_labels = metric_labels(draft->desc);
	struct series *series;
	int err;

	qsort_r(draft->series, draft->n, sizeof(*draft->series), compare_series,
		(void *)draft->desc);
	err = merge_equal(snapshot, draft);
	if (!err && draft->has_remains && registry->previous)
		level_rounding(snapshot_family(registry->previous, draft->desc->name), draft);
	if (!err)
		err = fold_beyond_cap(registry, draft, n_labels);
	if (err)
		return err;
	if (draft->desc->kind == METRIC_HISTOGRAM)
		carry_worst(registry, draft);
	series = snapshot_alloc(snapshot, draft->n * sizeof(*series));
	if (!series)
		return -ENOMEM;
	memcpy(series, draft->series, draft->n * sizeof(*series));
	*family = (struct family){ .desc = draft->desc, .n_series = draft->n, .series = series };
	snapshot->n_series += draft->n;
	return 0;
}

/* Of each draft one family, and one of the worst values where the metric has such a gauge. 0 or -errno. */
static int finish_families(struct registry *registry, struct family *families, size_t *ret_n)
{
	struct metric_writer *writer = &registry->writer;
	size_t n = 0;
	int err = 0;

	for (size_t i = 0; i < writer->n_drafts && !err; i++) {
		if (!writer->drafts[i].n)
			continue;
		err = finish_family(registry, &writer->drafts[i], &families[n++]);
		if (!err && writer->drafts[i].desc->worst) {
			err = worst_family(writer->snapshot, &families[n - 1], &families[n]);
			n++;
		}
	}
	*ret_n = n;
	return err;
}

struct snapshot *registry_finish(struct registry *registry)
{
	struct metric_writer *writer = &registry->writer;
	struct snapshot *snapshot = writer->snapshot;
	struct family *families = NULL;
	size_t n = 0;

	if (!writer->out_of_memory && !settle_remains(writer))
		families = snapshot_alloc(snapshot, 2 * writer->n_drafts * sizeof(*families));
	if (!families)
		return NULL;
	snapshot->realtime_ns = clock_ns(CLOCK_REALTIME);
	snapshot->monotonic_ns = clock_ns(CLOCK_MONOTONIC);
	if (finish_families(registry, families, &n))
		return NULL;
	qsort(families, n, sizeof(*families), compare_families);
	snapshot->families = families;
	snapshot->n_families = n;
	snapshot->sequence = ++registry->sequence;
	writer->snapshot = NULL;
	snapshot_put(registry->previous);
	registry->previous = snapshot_get(snapshot);
	return snapshot;
}

void registry_each_dropped(struct registry *registry,
			   void (*callback)(void *context, const char *metric, uint64_t series,
					    double distinct),
			   void *context)
{
	for (size_t i = 0; i < registry->writer.n_drafts; i++) {
		const struct draft *draft = &registry->writer.drafts[i];

		if (draft->most_dropped)
			callback(context, draft->desc->name, draft->most_dropped,
				 hyperloglog_estimate(draft->folded));
	}
}
