/* SPDX-License-Identifier: Apache-2.0 */
/* How series are copied and added up: shared by the registry and what remains of entities that are gone. */
#ifndef LEADLINE_REGISTRY_INTERNAL_H
#define LEADLINE_REGISTRY_INTERNAL_H

#include "agent/snapshot.h"

enum merge { MERGE_ADD, MERGE_MAX };

/* Into the snapshot's memory; NULL strings become "". NULL when memory ran out. */
const char *const *snapshot_copy_strings(struct snapshot *snapshot, const char *const *strings,
					 size_t n);
/* The same for a histogram, without its empty ends. 0 or -ENOMEM. */
int snapshot_copy_histogram(struct snapshot *snapshot, const struct metric_desc *desc,
			    const struct histogram_view *from, struct histogram_view *to);

/* Makes one of two series with the same labels; new slots are in the snapshot's memory. 0, -ENOMEM or -EINVAL. */
int series_merge(struct snapshot *snapshot, const struct metric_desc *desc, struct series *into,
		 const struct series *from, enum merge how);

#endif
