/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry turns what the probes write at a collection into a snapshot: merges series with equal
 * labels, keeps every metric within its series cap, sorts. Loop thread only.
 */
#ifndef LEADLINE_REGISTRY_H
#define LEADLINE_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>
#include "agent/metric.h"
#include "agent/series_filter.h"
#include "agent/snapshot.h"

struct registry;

/* Five labels of an entity, in the order of entity_label_names; valid until the next call. */
typedef const char *const *(*entity_labels_fn)(void *context, uint32_t entity);

struct registry *registry_new(entity_labels_fn labels, void *context);
void registry_free(struct registry *registry); /* NULL is fine */

/*
 * Entities with equal labels make one series. So that it does not fall when one of them is forgotten: `is_leaving` tells
 * of an entity that will be, in the collection before, and registry_forget_entity() that it has been. What it had then
 * counted stays in the series while another entity has these labels. 0 or -ENOMEM.
 */
typedef bool (*entity_leaving_fn)(void *context, uint32_t entity);
void registry_on_leaving(struct registry *registry,
			 entity_leaving_fn is_leaving); /* with the context of `labels` */
int registry_forget_entity(struct registry *registry, uint32_t entity);

/*
 * What is wanted from the next collection on; takes the filter over, NULL: everything. Series of entities are judged by the
 * labels they have before any is dropped, and before a cap. Series of no program are in snapshot_whole_family() anyhow. Sums and caps begin anew: what
 * entities that are gone have left to a series is given up, and counters may fall once.
 */
void registry_set_filter(struct registry *registry, struct series_filter *filter);
/* How many values of the last collection were left out for that reason, before those with equal labels are merged. */
uint64_t registry_filtered(const struct registry *registry, enum series_verdict why);

/* Starts a collection; probes write to what it returns. */
struct metric_writer *registry_begin(struct registry *registry);
/*
 * Ends it: the new snapshot, with one reference for the caller, or NULL when memory ran out (the values of
 * this collection are then lost, the next one has them).
 */
struct snapshot *registry_finish(struct registry *registry);

/*
 * Calls back for each metric that has hit its cap: the most series it ever had beyond it at one time, and how many different
 * ones were folded so far, as estimated (hyperloglog.h). Memory of the estimates: 4 KiB for each such metric.
 */
void registry_each_dropped(struct registry *registry,
			   void (*callback)(void *context, const char *metric, uint64_t series,
					    double distinct),
			   void *context);

#endif
