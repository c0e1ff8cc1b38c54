// SPDX-License-Identifier: Apache-2.0
/* Carries the worst values of histograms from one snapshot to the next; see worst.h. Loop thread only. */
#include <errno.h>
#include "agent/snapshot_internal.h"
#include "agent/worst.h"

/* Takes over the other value, and when it was collected, where that is larger. */
static void take_larger(double *max, uint64_t *max_ns, double other, uint64_t other_ns)
{
	if (other > *max) {
		*max = other;
		*max_ns = other_ns;
	}
}

static void carry(struct histogram_view *now, const struct histogram_view *before, uint64_t turns,
		  uint64_t realtime_ns)
{
	now->turn_max = now->max;
	now->turn_max_ns = now->max > 0 ? realtime_ns : 0;
	now->last_turn_max = 0;
	now->last_turn_max_ns = 0;
	if (before && turns == 0) {
		take_larger(&now->turn_max, &now->turn_max_ns, before->turn_max,
			    before->turn_max_ns);
		now->last_turn_max = before->last_turn_max;
		now->last_turn_max_ns = before->last_turn_max_ns;
	} else if (before && turns == 1) {
		now->last_turn_max = before->turn_max;
		now->last_turn_max_ns = before->turn_max_ns;
	}
	now->max = now->turn_max;
	now->max_ns = now->turn_max_ns;
	take_larger(&now->max, &now->max_ns, now->last_turn_max, now->last_turn_max_ns);
}

/* Both are in the same order. */
void worst_carry(const struct metric_desc *desc, struct series *series, size_t n,
		 const struct family *before, uint64_t turns, uint64_t realtime_ns)
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
		carry(&series[i].histogram, old, turns, realtime_ns);
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
