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
	struct series_filter *filter; /* NULL: all is wanted */
	unsigned entity_drops; /* bit i: label i of an entity is to be empty */
	enum series_verdict host_verdict; /* of what is no entity's */
	uint64_t filtered[SERIES_VERDICTS];
	struct request_list slow, examples;
	bool out_of_memory;
};

struct registry {
	struct metric_writer writer;
	struct snapshot *previous; /* tells which series were let in before a cap bit */
	bool begins_anew; /* the previous snapshot was filtered otherwise: sums and caps are not carried on */
	uint64_t sequence;
	uint64_t filtered[SERIES_VERDICTS]; /* of the previous collection */
};

/* In the place of an entity's labels where it is filtered out, by verdict. */
static const char *const filtered_out[SERIES_VERDICTS];

static const char *const no_labels[ENTITY_LABELS] = { "", "", "", "", "" };

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
	free(registry->writer.slow.entries);
	free(registry->writer.examples.entries);
	remains_free(registry->writer.remains);
	series_filter_free(registry->writer.filter);
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
	writer->slow.n = writer->examples.n = 0;
	memset(writer->filtered, 0, sizeof(writer->filtered));
	remains_begin(writer->remains);
	for (size_t i = 0; i < writer->n_drafts; i++)
		writer->drafts[i].n = 0;
	if (writer->entities.size)
		memset(writer->entities.labels, 0,
		       writer->entities.size * sizeof(*writer->entities.labels));
	return writer;
}

/* ---- what is wanted ---- */

void registry_set_filter(struct registry *registry, struct series_filter *filter)
{
	struct metric_writer *writer = &registry->writer;

	series_filter_free(writer->filter);
	writer->filter = filter;
	writer->entity_drops = series_filter_drops(filter, entity_label_names, ENTITY_LABELS);
	writer->host_verdict =
		series_filter_judge(filter, entity_label_names, no_labels, ENTITY_LABELS);
	for (size_t i = 0; i < writer->n_drafts; i++)
		writer->drafts[i].rules = draft_rules_of(filter, writer->drafts[i].desc);
	remains_clear(writer->remains);
	registry->begins_anew = true;
}

uint64_t registry_filtered(const struct registry *registry, enum series_verdict why)
{
	return registry->filtered[why];
}

/* The labels an entity is to have, in the snapshot, or its place in filtered_out; NULL when memory ran out. */
static const char *const *filter_entity(struct metric_writer *writer, const char *const *labels)
{
	enum series_verdict verdict =
		series_filter_judge(writer->filter, entity_label_names, labels, ENTITY_LABELS);
	const char *kept[ENTITY_LABELS];

	if (verdict)
		return &filtered_out[verdict];
	labels_kept(kept, labels, ENTITY_LABELS, writer->entity_drops);
	return snapshot_copy_strings(writer->snapshot, kept, ENTITY_LABELS);
}

static enum series_verdict verdict_on(const char *const *labels)
{
	enum series_verdict verdict = SERIES_VERDICTS - 1;

	while (verdict != SERIES_PASSES && labels != &filtered_out[verdict])
		verdict--;
	return verdict;
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
	*draft = (struct draft){ .desc = desc, .rules = draft_rules_of(writer->filter, desc) };
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

	if (entity == ENTITY_NONE)
		return writer->host_verdict
			       ? &filtered_out[writer->host_verdict]
			       : snapshot_copy_strings(writer->snapshot, no_labels, ENTITY_LABELS);
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
		const char *const *copy =
			filter_entity(writer, writer->labels_of(writer->labels_context, entity));

		if (!copy || (!verdict_on(copy) && meet_entity(writer, entity, copy)))
			return NULL;
		cache->labels[entity] = copy;
	}
	return cache->labels[entity];
}

/* A new series at the end of its draft, labelled; NULL when memory ran out (latched). */
static struct series *append_series(struct metric_writer *writer, struct draft *draft,
				    const char *const *entity, const char *const *label_values)
{
	size_t n_labels = metric_labels(draft->desc);
	struct series *series;

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
	series->entity = entity;
	if (n_labels &&
	    !(series->labels = snapshot_copy_strings(writer->snapshot, label_values, n_labels)))
		goto out_of_memory;
	draft->n++;
	return series;

out_of_memory:
	writer->out_of_memory = true;
	return NULL;
}

static struct series *filter_out(struct metric_writer *writer, enum series_verdict why)
{
	writer->filtered[why]++;
	return NULL;
}

/*
 * Of the series of programs, those that are not wanted are not kept at all. Of all others, which are few, health has to know
 * the whole: they are filtered in the end, by show_family().
 */
static struct series *add_program_series(struct metric_writer *writer, struct draft *draft,
					 uint32_t id, const char *const *label_values)
{
	const struct metric_desc *desc = draft->desc;
	const char *kept[METRIC_MAX_LABELS];
	const char *const *entity;
	enum series_verdict verdict;

	if (draft->rules.is_disabled)
		return filter_out(writer, SERIES_DISABLED);
	entity = entity_labels(writer, id);
	if (!entity) {
		writer->out_of_memory = true;
		return NULL;
	}
	verdict = verdict_on(entity);
	if (!verdict && draft->rules.has_terms)
		verdict = series_filter_judge(writer->filter, desc->labels, label_values,
					      metric_labels(desc));
	if (verdict)
		return filter_out(writer, verdict);
	if (draft->rules.drops) {
		labels_kept(kept, label_values, metric_labels(desc), draft->rules.drops);
		label_values = kept;
	}
	return append_series(writer, draft, entity, label_values);
}

/* A new series; NULL when it is not wanted (counted) or memory ran out (latched). */
static struct series *add_series(struct metric_writer *writer, const struct metric_desc *desc,
				 uint32_t id, const char *const *label_values)
{
	struct draft *draft = writer->out_of_memory ? NULL : find_draft(writer, desc);

	if (!draft) {
		writer->out_of_memory = true;
		return NULL;
	}
	return desc->per_entity ? add_program_series(writer, draft, id, label_values)
				: append_series(writer, draft, NULL, label_values);
}

void metric_write(struct metric_writer *writer, const struct metric_desc *desc, uint32_t entity,
		  const char *const label_values[], double value)
{
	struct series *series = add_series(writer, desc, entity, label_values);

	if (series)
		series->value = value;
}

void metric_write_histogram(struct metric_writer *writer, const struct metric_desc *desc,
			    uint32_t entity, const char *const label_values[],
			    const struct histogram_view *histogram)
{
	struct series *series = add_series(writer, desc, entity, label_values);

	if (!series)
		return;
	if (snapshot_copy_histogram(writer->snapshot, desc, histogram, &series->histogram))
		writer->out_of_memory = true;
	series->histogram.open_index = histogram->min_index;
}

/* Of a program that is filtered out nothing is told. */
void metric_write_request(struct metric_writer *writer, uint32_t entity, enum request_use use,
			  const struct request_record *record)
{
	struct request_list *list = use == REQUEST_SLOW ? &writer->slow : &writer->examples;
	const char *const *labels = writer->out_of_memory ? NULL : entity_labels(writer, entity);

	if (!labels || (!verdict_on(labels) && request_list_add(list, labels, record)))
		writer->out_of_memory = true;
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

/* They were let in by the filter when they were put aside, and are not asked for again. */
static int add_remains(void *context, const struct series *from)
{
	const struct addition *to = context;
	struct metric_writer *writer = to->writer;
	struct draft *draft = find_draft(writer, to->desc);
	const char *const *entity =
		snapshot_copy_strings(writer->snapshot, from->entity, ENTITY_LABELS);
	struct series *series =
		draft && entity ? append_series(writer, draft, entity, from->labels) : NULL;

	if (!series)
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

		if (!desc->per_entity || desc->kind == METRIC_GAUGE)
			continue;
		err = put_aside(writer, &writer->drafts[i]);
		if (!err)
			err = remains_each(writer->remains, desc, add_remains, &addition);
	}
	remains_end(writer->remains);
	return err;
}

/* ---- finishing ---- */

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

static void carry_worst(struct registry *registry, struct draft *draft)
{
	const struct snapshot *previous = registry->previous;
	uint64_t turn = registry->writer.snapshot->monotonic_ns / WORST_TURN_NS;

	worst_carry(draft->desc, draft->series, draft->n,
		    snapshot_whole_family(previous, draft->desc->name),
		    previous ? turn - previous->monotonic_ns / WORST_TURN_NS : 0,
		    registry->writer.snapshot->realtime_ns);
}

/* The previous snapshot where it was filtered alike; else sums and caps begin anew. */
static const struct snapshot *comparable(const struct registry *registry)
{
	return registry->begins_anew ? NULL : registry->previous;
}

static int finish_family(struct registry *registry, struct draft *draft, struct family *family)
{
	struct snapshot *snapshot = registry->writer.snapshot;
	const struct family *before =
		snapshot_whole_family(comparable(registry), draft->desc->name);
	bool is_gauge = draft->desc->kind == METRIC_GAUGE;
	bool drops = draft->rules.drops && draft->desc->per_entity;
	int err;

	draft_sort(draft);
	err = draft_merge_equal(draft, snapshot);
	if (!err && draft->has_merged && !is_gauge)
		draft_level_rounding(draft, before);
	if (!err && drops && !is_gauge)
		err = draft_level_sums(draft, snapshot, before);
	if (!err)
		err = draft_fold_beyond_cap(draft, snapshot, before);
	if (err)
		return err;
	if (draft->desc->kind == METRIC_HISTOGRAM)
		carry_worst(registry, draft);
	return draft_store(draft, snapshot, family);
}

static bool is_filtered_in_the_end(const struct draft *draft)
{
	return !draft->desc->per_entity &&
	       (draft->rules.is_disabled || draft->rules.has_terms || draft->rules.drops);
}

/* Of a whole family what is wanted. The draft's memory serves again: the family is in the snapshot already. */
static int show_family(struct registry *registry, struct draft *draft, const struct family *whole,
		       struct family *ret_shown)
{
	struct metric_writer *writer = &registry->writer;
	const struct metric_desc *desc = draft->desc;
	size_t n_labels = metric_labels(desc);
	const char *kept[METRIC_MAX_LABELS];
	const struct snapshot *previous = comparable(registry);
	int err;

	draft->n = 0;
	for (size_t i = 0; i < whole->n_series; i++) {
		struct series series = whole->series[i];
		enum series_verdict verdict = SERIES_DISABLED;

		if (!draft->rules.is_disabled)
			verdict = series_filter_judge(writer->filter, desc->labels, series.labels,
						      n_labels);
		if (verdict) {
			filter_out(writer, verdict);
			continue;
		}
		if (draft->rules.drops) {
			labels_kept(kept, series.labels, n_labels, draft->rules.drops);
			series.labels = snapshot_copy_strings(writer->snapshot, kept, n_labels);
			if (!series.labels)
				return -ENOMEM;
		}
		draft->series[draft->n++] = series;
	}
	draft_sort(draft);
	err = draft_merge_equal(draft, writer->snapshot);
	if (!err && previous && draft->rules.drops && desc->kind != METRIC_GAUGE)
		err = draft_level_sums(draft, writer->snapshot,
				       snapshot_family(previous, desc->name));
	return err ? err : draft_store(draft, writer->snapshot, ret_shown);
}

/* Families under way to their snapshot. */
struct finished {
	struct family *shown, *withheld;
	size_t n_shown, n_withheld;
};

/* Of each draft one family, and one of the worst values where the metric has such a gauge. 0 or -errno. */
static int finish_draft(struct registry *registry, struct draft *draft, struct finished *finished)
{
	struct snapshot *snapshot = registry->writer.snapshot;
	struct family *shown = &finished->shown[finished->n_shown];
	int err = finish_family(registry, draft, shown);

	if (!err && is_filtered_in_the_end(draft)) {
		struct family *whole = &finished->withheld[finished->n_withheld++];

		*whole = *shown;
		err = show_family(registry, draft, whole, shown);
	}
	if (err || !shown->n_series)
		return err;
	finished->n_shown++;
	snapshot->n_series += shown->n_series;
	if (!draft->desc->worst || draft->rules.hides_worst)
		return 0;
	return worst_family(snapshot, shown, &finished->shown[finished->n_shown++]);
}

static int store_requests(struct metric_writer *writer, struct snapshot *snapshot)
{
	int err;

	request_list_sort_by_duration(&writer->slow);
	request_list_sort_by_series(&writer->examples);
	err = snapshot_store_requests(snapshot, &writer->slow, &snapshot->slow, &snapshot->n_slow);
	return err ? err
		   : snapshot_store_requests(snapshot, &writer->examples, &snapshot->examples,
					     &snapshot->n_examples);
}

struct snapshot *registry_finish(struct registry *registry)
{
	struct metric_writer *writer = &registry->writer;
	struct snapshot *snapshot = writer->snapshot;
	struct finished finished = {};

	if (writer->out_of_memory || settle_remains(writer))
		return NULL;
	finished.shown = snapshot_alloc(snapshot, 2 * writer->n_drafts * sizeof(*finished.shown));
	finished.withheld = snapshot_alloc(snapshot, writer->n_drafts * sizeof(*finished.withheld));
	if (!finished.shown || !finished.withheld || store_requests(writer, snapshot))
		return NULL;
	snapshot->realtime_ns = clock_ns(CLOCK_REALTIME);
	snapshot->monotonic_ns = clock_ns(CLOCK_MONOTONIC);
	for (size_t i = 0; i < writer->n_drafts; i++)
		if (writer->drafts[i].n && finish_draft(registry, &writer->drafts[i], &finished))
			return NULL;
	qsort(finished.shown, finished.n_shown, sizeof(*finished.shown), compare_families);
	qsort(finished.withheld, finished.n_withheld, sizeof(*finished.withheld), compare_families);
	snapshot->families = finished.shown;
	snapshot->n_families = finished.n_shown;
	snapshot->withheld = finished.withheld;
	snapshot->n_withheld = finished.n_withheld;
	snapshot->sequence = ++registry->sequence;
	registry->begins_anew = false;
	memcpy(registry->filtered, writer->filtered, sizeof(registry->filtered));
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
