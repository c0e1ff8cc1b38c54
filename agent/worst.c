// SPDX-License-Identifier: Apache-2.0
/* Carries the worst values of histograms from one snapshot to the next; see worst.h. Loop thread only. */
#include <errno.h>
#include "agent/snapshot_internal.h"
#include "agent/worst.h"

static double larger(double a, double b)
{
	return a > b ? a : b;
}

static void carry(struct histogram_view *now, const struct histogram_view *before, uint64_t turns)
{
	now->turn_max = now->max;
	now->last_turn_max = 0;
	if (before && turns == 0) {
		now->turn_max = larger(now->max, before->turn_max);
		now->last_turn_max = before->last_turn_max;
	} else if (before && turns == 1) {
		now->last_turn_max = before->turn_max;
	}
	now->max = larger(now->turn_max, now->last_turn_max);
}

/* Both are in the same order. */
void worst_carry(const struct metric_desc *desc, struct series *series, size_t n,
		 const struct family *before, uint64_t turns)
{
	size_t n_before = before ? before->n_series : 0, at = 0;

	for (size_t i = 0; i < n; i++) {
		const struct histogram_view *old = NULL;

		while (at < n_before) {
			int order = series_compare(desc, &before->series[at], &series[i]);

			if (order == 0)
				old = &before->series[at].histogram;
			if (order >= 0)
				break;
			at++;
		}
		carry(&series[i].histogram, old, turns);
	}
}

int worst_family(struct snapshot *snapshot, const struct family *histograms,
		 struct family *ret_gauges)
{
	struct series *gauges = snapshot_alloc(snapshot, histograms->n_series * sizeof(*gauges));

	if (!gauges)
		return -ENOMEM;
	for (size_t i = 0; i < histograms->n_series; i++) {
		const struct series *from = &histograms->series[i];

		gauges[i].entity = from->entity;
		gauges[i].labels = from->labels;
		gauges[i].value = from->histogram.max;
	}
	*ret_gauges = (struct family){ .desc = histograms->desc->worst,
				       .n_series = histograms->n_series,
				       .series = gauges };
	snapshot->n_series += histograms->n_series;
	return 0;
}
