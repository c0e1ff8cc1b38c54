/* SPDX-License-Identifier: Apache-2.0 */
/* How series are copied, added up and capped: shared by the registry's files and what remains of entities that are gone. */
#ifndef LEADLINE_REGISTRY_INTERNAL_H
#define LEADLINE_REGISTRY_INTERNAL_H

#include <stdbool.h>
#include "agent/series_filter.h"
#include "agent/snapshot.h"

struct hyperloglog;

enum merge { MERGE_ADD, MERGE_MAX };

/* How equal series of a metric become one. */
enum merge metric_merge(const struct metric_desc *desc);

/* Into the snapshot's memory; NULL strings become "". NULL when memory ran out. */
const char *const *snapshot_copy_strings(struct snapshot *snapshot, const char *const *strings,
					 size_t n);
/* The same for a histogram, without its empty ends. 0 or -ENOMEM. */
int snapshot_copy_histogram(struct snapshot *snapshot, const struct metric_desc *desc,
			    const struct histogram_view *from, struct histogram_view *to);

/* Makes one of two series with the same labels; new slots are in the snapshot's memory. 0, -ENOMEM or -EINVAL. */
int series_merge(struct snapshot *snapshot, const struct metric_desc *desc, struct series *into,
		 const struct series *from, enum merge how);

/* What the filter says of a metric. */
struct draft_rules {
	bool is_disabled;
	bool has_terms; /* on own labels: each series is judged by them */
	bool hides_worst; /* its gauge of the worst values is disabled */
	unsigned drops; /* bit i: own label i is to be empty */
	bool joins_entities; /* labels of theirs are to be empty */
	size_t max_series;
};

/* A family while it is being written. Kept between collections for its memory. */
struct draft {
	const struct metric_desc *desc;
	struct draft_rules rules;
	struct series *series;
	size_t n, capacity;
	uint64_t most_dropped;
	struct hyperloglog *folded; /* which series ever were, once the cap has bitten; else NULL */
	bool has_merged; /* ever: of values written under equal labels, sums */
	bool has_folded; /* ever: it has a series "other" that is not the probe's alone */
};

struct draft_rules draft_rules_of(const struct series_filter *filter,
				  const struct metric_desc *desc);
/* Label values with those empty whose bit is set. */
void labels_kept(const char **kept, const char *const *values, size_t n, unsigned drops);

/* In the order of a snapshot. */
void draft_sort(struct draft *draft);
/* Makes one of sorted series with equal labels, and notes whether there were any. 0 or -errno. */
int draft_merge_equal(struct draft *draft, struct snapshot *snapshot);
/*
 * The same numbers, added up in another order, may make a sum smaller by the last digit, which would be read as a counter
 * that began anew.
 */
void draft_level_rounding(struct draft *draft, const struct family *before);
/*
 * Of what own labels have told apart before they were dropped, a part may end: an interface that is removed. The sum then
 * stands still until the others have caught up, as that of a cap does. 0 or -errno.
 */
int draft_level_sums(struct draft *draft, struct snapshot *snapshot, const struct family *before);
/* Copies the series into a family of the snapshot. 0 or -ENOMEM. */
int draft_store(const struct draft *draft, struct snapshot *snapshot, struct family *family);

/*
 * Keeps a family within its cap. Series of `before`, the family in the previous snapshot, stay, so that none vanishes while it lives;
 * free places go to new ones in order; the rest is added up in one series labelled "other", together with what the
 * probe itself has written under these labels. That one never goes backwards: when one of those folded into it
 * ends, it stands still until the others have caught up. Series are sorted before and after. 0 or -errno.
 */
int draft_fold_beyond_cap(struct draft *draft, struct snapshot *snapshot,
			  const struct family *before);

#endif
