/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The five labels of one entity, from what is known of its control group: the path's own words, what the container's
 * runtime has written down, what the Kubernetes API tells. Names come in later than the first values do; they only ever
 * get better, so the labels of an entity change twice at most, and what has a name keeps it when its pod is gone. Loop
 * thread only.
 */
#ifndef LEADLINE_ENTITY_NAMES_H
#define LEADLINE_ENTITY_NAMES_H

#include <stdbool.h>
#include <stdint.h>
#include "agent/pod.h"
#include "agent/runtimes.h"
#include "agent/snapshot.h"
#include "bpf/entity.h"

/* Where names come from. Either may be NULL. */
struct name_sources {
	const struct pod_table *pods;
	const struct runtimes *runtimes;
};

struct entity_names {
	const char *labels[ENTITY_LABELS]; /* NULL: not resolved yet */
	char *text; /* what they point into */
	unsigned rank; /* how much is known */
	uint64_t hash; /* of the labels */
};

/* Resolves, or resolves again; without memory, or when nothing better is known, the labels stay as they were. */
void entity_names_resolve(struct entity_names *names, const struct entity_record *record,
			  const struct name_sources *sources);
void entity_names_clear(struct entity_names *names);

#endif
