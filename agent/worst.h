/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worst value of late, of each histogram: a percentile over minutes hides the one request that took a second.
 *
 * The kernel side keeps the largest value since the last collection. Who scrapes and how often is not known, and there
 * may be several: so what is shown is the largest of this minute and the one before, which misses nothing for anybody
 * who asks once a minute. Of the two minutes a series carries one value each, from snapshot to snapshot. Loop thread.
 */
#ifndef LEADLINE_WORST_H
#define LEADLINE_WORST_H

#include "agent/snapshot.h"

#define WORST_TURN_NS 60000000000ULL

/*
 * Gives each of n sorted histogram series its largest value of late; `before`: the same family in the previous snapshot,
 * or NULL, `turns` as many turns ago. `realtime_ns`: now.
 */
void worst_carry(const struct metric_desc *desc, struct series *series, size_t n,
		 const struct family *before, uint64_t turns, uint64_t realtime_ns);

/* The gauges of a family whose descriptor names one; their labels are the histograms'. 0 or -ENOMEM. */
int worst_family(struct snapshot *snapshot, const struct family *histograms,
		 struct family *ret_gauges);

#endif
