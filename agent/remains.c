// SPDX-License-Identifier: Apache-2.0
/* Keeps series of entities that are gone, one group for each set of labels; see remains.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "agent/buffer.h"
#include "agent/hash.h"
#include "agent/registry_internal.h"
#include "agent/remains.h"
#include "agent/snapshot_internal.h"

/* One series, in one piece of memory with all it points to. */
struct item {
	struct item *next;
	const struct metric_desc *desc;
	struct series series;
};

struct group {
	struct item *items;
	bool is_wanted;
	UT_hash_handle hh;
	char labels[]; /* each ended by a newline: the key */
};

struct aside {
	uint32_t entity;
	struct item *items;
	struct aside *next;
};

struct remains {
	struct group *groups;
	struct aside *aside;
};

/* ---- items ---- */

/* Copies to `*to`, or only counts when that is NULL. */
static void *place(char **to, size_t *size, const void *from, size_t from_size)
{
	size_t rounded = (from_size + 7) & ~(size_t)7;
	void *copy = *to;

	*size += rounded;
	if (!copy)
		return NULL;
	memcpy(copy, from, from_size);
	*to += rounded;
	return copy;
}

static const char *const *place_strings(char **to, size_t *size, const char *const *strings,
					size_t n)
{
	const char **copies = place(to, size, strings, n * sizeof(*strings));

	for (size_t i = 0; i < n; i++) {
		char *copy = place(to, size, strings[i], strlen(strings[i]) + 1);

		if (copies)
			copies[i] = copy;
	}
	return copies;
}

static size_t place_series(char *to, const struct metric_desc *desc, const struct series *from,
			   struct series *series)
{
	size_t size = 0, n_bounds;

	*series = *from;
	if (from->entity)
		series->entity = place_strings(&to, &size, from->entity, ENTITY_LABELS);
	if (from->labels)
		series->labels = place_strings(&to, &size, from->labels, metric_labels(desc));
	if (desc->kind != METRIC_HISTOGRAM)
		return size;
	series->histogram.max = 0; /* of the last collection, not of all time */
	series->histogram.slots = place(&to, &size, from->histogram.slots,
					from->histogram.n_slots * sizeof(*from->histogram.slots));
	if (from->histogram.classic) {
		metric_bounds(desc, &n_bounds);
		series->histogram.classic =
			place(&to, &size, from->histogram.classic,
			      (n_bounds + 1) * sizeof(*from->histogram.classic));
	}
	return size;
}

static struct item *item_new(const struct metric_desc *desc, const struct series *series)
{
	struct series measured;
	struct item *item = malloc(sizeof(*item) + place_series(NULL, desc, series, &measured));

	if (!item)
		return NULL;
	item->desc = desc;
	item->next = NULL;
	place_series((char *)(item + 1), desc, series, &item->series);
	return item;
}

static void free_items(struct item *items)
{
	while (items) {
		struct item *next = items->next;

		free(items);
		items = next;
	}
}

/* Adds an item up with one of a group and the same labels. Neither is freed. */
static struct item *item_sum(const struct item *a, const struct item *b)
{
	struct snapshot *scratch = snapshot_new();
	struct series sum = a->series;
	struct item *item = NULL;

	if (scratch && !series_merge(scratch, a->desc, &sum, &b->series, MERGE_ADD))
		item = item_new(a->desc, &sum);
	snapshot_put(scratch);
	return item;
}

/* ---- groups ---- */

static void group_key(struct buffer *key, const char *const *labels)
{
	key->size = 0;
	for (size_t i = 0; i < ENTITY_LABELS; i++) {
		buffer_string(key, labels[i]);
		buffer_char(key, '\n');
	}
	buffer_char(key, '\0');
}

/* 0 with the group, or with NULL where there is none and none is to be made; -ENOMEM. */
static int find_group(struct remains *remains, const char *const *labels, bool create,
		      struct group **ret_group)
{
	struct buffer key = {};
	struct group *group = NULL;
	int err;

	group_key(&key, labels);
	err = buffer_error(&key);
	if (err)
		goto out;
	HASH_FIND_STR(remains->groups, key.data, group);
	if (group || !create)
		goto out;
	group = calloc(1, sizeof(*group) + key.size);
	if (!group) {
		err = -ENOMEM;
		goto out;
	}
	memcpy(group->labels, key.data, key.size);
	group->is_wanted = true;
	HASH_ADD_STR(remains->groups, labels, group);
	if (!HASH_TOOK(group)) {
		free(group);
		err = -ENOMEM;
	}
out:
	buffer_free(&key);
	if (!err)
		*ret_group = group;
	return err;
}

static void group_free(struct remains *remains, struct group *group)
{
	HASH_DEL(remains->groups, group);
	free_items(group->items);
	free(group);
}

/* Takes the item over. */
static int add_to_group(struct group *group, struct item *item)
{
	struct item **at = &group->items, *sum;

	while (*at && ((*at)->desc != item->desc ||
		       series_compare(item->desc, &(*at)->series, &item->series)))
		at = &(*at)->next;
	if (!*at) {
		*at = item;
		return 0;
	}
	sum = item_sum(*at, item);
	free(item);
	if (!sum)
		return -ENOMEM;
	sum->next = (*at)->next;
	free(*at);
	*at = sum;
	return 0;
}

/* ---- the whole ---- */

struct remains *remains_new(void)
{
	return calloc(1, sizeof(struct remains));
}

static void drop_aside(struct remains *remains)
{
	while (remains->aside) {
		struct aside *next = remains->aside->next;

		free_items(remains->aside->items);
		free(remains->aside);
		remains->aside = next;
	}
}

void remains_clear(struct remains *remains)
{
	struct group *group, *next;

	drop_aside(remains);
	HASH_ITER(hh, remains->groups, group, next)
	group_free(remains, group);
}

void remains_free(struct remains *remains)
{
	if (!remains)
		return;
	remains_clear(remains);
	free(remains);
}

void remains_begin(struct remains *remains)
{
	struct group *group, *next;

	drop_aside(remains);
	HASH_ITER(hh, remains->groups, group, next)
	group->is_wanted = false;
}

int remains_want(struct remains *remains, const char *const *labels)
{
	struct group *group = NULL;
	int err = remains->groups ? find_group(remains, labels, false, &group) : 0;

	if (group)
		group->is_wanted = true;
	return err;
}

static struct aside *find_aside(struct remains *remains, uint32_t entity)
{
	struct aside *aside = remains->aside;

	while (aside && aside->entity != entity)
		aside = aside->next;
	return aside;
}

int remains_put_aside(struct remains *remains, uint32_t entity, const struct metric_desc *desc,
		      const struct series *series)
{
	struct aside *aside = find_aside(remains, entity);
	struct item *item = item_new(desc, series);

	if (!item)
		return -ENOMEM;
	if (!aside) {
		aside = calloc(1, sizeof(*aside));
		if (!aside) {
			free(item);
			return -ENOMEM;
		}
		aside->entity = entity;
		aside->next = remains->aside;
		remains->aside = aside;
	}
	item->next = aside->items;
	aside->items = item;
	return 0;
}

int remains_each(const struct remains *remains, const struct metric_desc *desc,
		 int (*callback)(void *context, const struct series *series), void *context)
{
	struct group *group, *next;
	int err = 0;

	HASH_ITER(hh, remains->groups, group, next)
	for (const struct item *item = group->items; item && group->is_wanted && !err;
	     item = item->next)
		if (item->desc == desc)
			err = callback(context, &item->series);
	return err;
}

void remains_end(struct remains *remains)
{
	struct group *group, *next;

	HASH_ITER(hh, remains->groups, group, next)
	if (!group->is_wanted)
		group_free(remains, group);
}

int remains_keep(struct remains *remains, uint32_t entity)
{
	struct aside *aside = find_aside(remains, entity);
	struct group *group;
	int err;

	if (!aside)
		return 0;
	err = find_group(remains, aside->items->series.entity, true, &group);
	if (err)
		return err;
	while (aside->items) {
		struct item *item = aside->items;

		aside->items = item->next;
		item->next = NULL;
		err = add_to_group(group, item) ? -ENOMEM : err;
	}
	aside->entity =
		ENTITY_NONE; /* nobody's: an id may be given again before the next collection */
	return err;
}
