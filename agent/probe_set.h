/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All probes of a run, the entity table under them included: started together, collected in order, each replaceable
 * alone when its options change. Loop thread only.
 */
#ifndef LEADLINE_PROBE_SET_H
#define LEADLINE_PROBE_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "agent/entity.h"
#include "agent/lifecycle.h"

struct probe_set;

/*
 * Makes one over all of probes.def; nothing is in the kernel yet. `config` must outlive it, or live until
 * probe_set_reconfigure() gives another one. 0 or -ENOMEM.
 */
int probe_set_new(const struct config *config, struct probe_set **ret_set);
void probe_set_free(struct probe_set *set); /* detaches everything; NULL is fine */

/*
 * Loads all: what the kernel refuses shows in the probes' states. With `attach`, also starts them. 0, or -errno with
 * the reason in `error` when the kernel cannot be used at all.
 */
int probe_set_start(struct probe_set *set, bool attach, char *error, size_t error_size);

/* Probes whose options differ are stopped and started anew, their counters from zero. */
void probe_set_reconfigure(struct probe_set *set, const struct config *config);

/*
 * Asks probes that wait for something to do whether there is something; to be called about once a second. Returns whether there
 * is for one that is not loaded: probe_set_wake() then loads those.
 */
bool probe_set_watch(struct probe_set *set);
void probe_set_wake(struct probe_set *set);

void probe_set_collect(struct probe_set *set, struct metric_writer *writer);
void probe_set_drain(struct probe_set *set);
/*
 * Entities that ended make room; after so many collections as there were. `forgotten` is told of each. To be called
 * about every second.
 */
void probe_set_maintain(struct probe_set *set, uint64_t collections,
			void (*forgotten)(void *context, uint32_t id), void *context);

/* The entity table's own probe comes first. */
struct probe *const *probe_set_probes(const struct probe_set *set, size_t *ret_n);
unsigned probe_set_cpus(const struct probe_set *set); /* possible ones */
/* For labels and counts; NULL when it failed. */
struct entity_table *probe_set_entities(const struct probe_set *set);

/* The descriptors of probes.def, NULL-terminated: for the catalogue. */
extern const struct probe_desc *const all_probes[];

#endif
