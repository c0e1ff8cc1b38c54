/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user side of entities: turns the ids of the kernel side into labels, and recycles ids whose last thread
 * has gone. Its kernel side runs as a probe of the core (probe_entity), first up and last down.
 * Loop thread only.
 */
#ifndef LEADLINE_ENTITY_H
#define LEADLINE_ENTITY_H

#include <stdbool.h>
#include <stdint.h>
#include "bpf/entity.h"
#include "probes/probe.h"

struct entity_table;

extern const struct probe_desc probe_entity;

/* Over a probe_entity that is loaded and attached. `linger_ns`: how long an entity without threads keeps its id. */
struct entity_table *entity_table_new(struct probe *probe, uint64_t linger_ns);
void entity_table_free(struct entity_table *table); /* NULL is fine */

/*
 * Takes what is known of containers and pods now; both are borrowed until the next call. Entities get better names
 * where there are any, all at one time: a series with the old labels then ends, one with the new labels begins, or grows
 * by it, and holds all that the entity has counted since it began.
 */
struct name_sources;
void entity_table_name(struct entity_table *table, const struct name_sources *sources);

/*
 * Five labels (entity_label_names), never NULL. Valid until the next entity_table_name() or _maintain(). Unknown ids, 0 and a
 * NULL table give comm "other".
 */
const char *const *entity_labels(struct entity_table *table, uint32_t id);

/*
 * Brings the table up to date: passes over all threads when the kernel side asked for it, and frees ids nobody
 * uses any more: after the linger, or earlier, oldest first, when fewer than an eighth are free. `forget` must clear
 * what is kept under the id. `collections`: how many there were so far; an entity is never forgotten before it was in
 * one after its end.
 */
void entity_table_maintain(struct entity_table *table, uint64_t now_ns, uint64_t collections,
			   void (*forget)(void *context, uint32_t id), void *context);

/*
 * Whether it is to be forgotten after the next collection while others have the same labels: a service that was started
 * again, a container of the same pod. See registry_on_leaving().
 */
bool entity_is_leaving(const struct entity_table *table, uint32_t id);

/*
 * Says that entities with different labels may become one series, as not all labels are shown: then each is taken to share
 * its labels with others.
 */
void entity_table_join(struct entity_table *table, bool joins);

/* For self-metrics. */
struct entity_counts {
	unsigned in_use, capacity;
	uint64_t threads; /* that live */
	uint64_t recycled;
};
struct entity_counts entity_table_counts(const struct entity_table *table);

#endif
