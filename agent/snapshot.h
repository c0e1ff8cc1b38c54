/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot: all metric values of one collection. Immutable and reference counted; made by the
 * registry on the loop thread, read from any thread. Families are sorted by name, series by label
 * values, so encoders walk it once from front to back.
 */
#ifndef LEADLINE_SNAPSHOT_H
#define LEADLINE_SNAPSHOT_H

#include <stddef.h>
#include <stdint.h>
#include "agent/metric.h"
#include "agent/request_record.h"

#define ENTITY_LABELS 5
/* namespace, pod, container, unit, comm: names in the order of series::entity. */
extern const char *const entity_label_names[ENTITY_LABELS];

struct series {
	const char *const *
		entity; /* five values, "" where not known; NULL when the metric is not per entity */
	const char *const
		*labels; /* values in the order of the descriptor's labels; NULL when it has none */
	union {
		double value;
		struct histogram_view histogram;
	};
};

struct family {
	const struct metric_desc *desc;
	size_t n_series;
	const struct series *series;
};

struct snapshot {
	uint64_t realtime_ns; /* when it was collected */
	uint64_t monotonic_ns;
	uint64_t sequence; /* 1, 2, … */
	size_t n_families;
	const struct family *families;
	size_t n_series; /* of all families */
	/*
	 * The whole of those families of no program of which the settings show a part or nothing; sorted. Not to be shown: what
	 * judges the host needs them.
	 */
	size_t n_withheld;
	const struct family *withheld;
	/* Single requests: the slowest of each route, the slowest first; and examples of buckets, by series. */
	size_t n_slow, n_examples;
	const struct request_entry *slow, *examples;
};

struct snapshot *
snapshot_get(struct snapshot *snapshot); /* one more reference; returns its argument */
void snapshot_put(struct snapshot *snapshot); /* drops one; NULL is fine */

/* When something happened that is told by CLOCK_MONOTONIC: ns since 1970. */
uint64_t snapshot_realtime(const struct snapshot *snapshot, uint64_t monotonic_ns);

/* The family of that name, or NULL. */
const struct family *snapshot_family(const struct snapshot *snapshot, const char *name);

/* The same, whatever of it is shown; of a NULL snapshot, NULL. */
const struct family *snapshot_whole_family(const struct snapshot *snapshot, const char *name);

/* The order of series in a family: by the entity's labels, then by the metric's own. */
int series_compare(const struct metric_desc *desc, const struct series *a, const struct series *b);

/* The series of that family (NULL: none) with the labels of `like`, which may be of another snapshot; or NULL. */
const struct series *family_find(const struct family *family, const struct series *like);

/* Number of own labels of a metric. */
size_t metric_labels(const struct metric_desc *desc);

#endif
