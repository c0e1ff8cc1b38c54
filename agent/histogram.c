// SPDX-License-Identifier: Apache-2.0
/*
 * Arithmetic on exponential histograms: counts, quantiles, classic buckets. Pure functions, any thread.
 */
#include <math.h>
#include "agent/metric.h"

/* 2^-20 s, 2^-18 s … 2^4 s: on the boundaries of every schema, hence exact. */
static const double default_bounds[] = {
	0x1p-20, 0x1p-18, 0x1p-16, 0x1p-14, 0x1p-12, 0x1p-10, 0x1p-8,
	0x1p-6,	 0x1p-4,  0x1p-2,  0x1p0,   0x1p2,   0x1p4,
};

const double *metric_bounds(const struct metric_desc *desc, size_t *n)
{
	if (desc->bounds) {
		*n = desc->n_bounds;
		return desc->bounds;
	}
	*n = sizeof(default_bounds) / sizeof(default_bounds[0]);
	return default_bounds;
}

uint64_t histogram_count(const struct histogram_view *histogram)
{
	uint64_t count = 0;

	for (size_t i = 0; i < histogram->n_slots; i++)
		count += histogram->slots[i];
	return count;
}

/* Upper bound of a slot but the last, which has none. */
static double slot_upper(const struct histogram_view *histogram, size_t slot)
{
	return exp2((histogram->min_index + (double)slot) / (1 << histogram->schema));
}

/*
 * The slot whose upper bound is the largest not above `bound`, or -1. The small allowance makes a bound
 * that is a slot's boundary find that slot whatever log2 rounds to.
 */
static long last_slot_within(const struct histogram_view *histogram, double bound)
{
	double index = floor(log2(bound) * (1 << histogram->schema) + 1e-9);

	return (long)index - histogram->min_index;
}

size_t histogram_cumulative(const struct metric_desc *desc, const struct histogram_view *histogram,
			    uint64_t *out)
{
	uint64_t sum = 0;
	size_t n, slot = 0;
	const double *bounds = metric_bounds(desc, &n);

	for (size_t i = 0; i < n; i++) {
		if (histogram->classic) {
			sum += histogram->classic[i];
		} else {
			long last = last_slot_within(histogram, bounds[i]);

			/* The last slot is open upwards: never within a bound. */
			while (slot + 1 < histogram->n_slots && (long)slot <= last)
				sum += histogram->slots[slot++];
		}
		out[i] = sum;
	}
	return n;
}

long histogram_max_bucket(const struct metric_desc *desc, const struct histogram_view *histogram,
			  const uint64_t *cumulative)
{
	size_t n, i = 0;
	const double *bounds = metric_bounds(desc, &n);

	if (!(histogram->max > 0))
		return -1;
	while (i < n && histogram->max > bounds[i])
		i++;
	return cumulative[i] > (i ? cumulative[i - 1] : 0) ? (long)i : -1;
}

double histogram_quantile(const struct histogram_view *histogram, double q)
{
	uint64_t count = histogram_count(histogram);
	double rank, below = 0;

	if (count == 0 || isnan(q))
		return NAN;
	rank = q * (double)count;
	for (size_t slot = 0; slot < histogram->n_slots; slot++) {
		double here = (double)histogram->slots[slot];
		double upper, factor;

		if (here == 0 || below + here < rank) {
			below += here;
			continue;
		}
		if (slot + 1 ==
		    histogram->n_slots) /* no upper bound: all that is known is the lower */
			return histogram->max > 0 ? histogram->max
						  : slot_upper(histogram, slot - 1);
		upper = slot_upper(histogram, slot);
		factor = rank > below ? (rank - below) / here : 0;
		if (slot == 0) /* reaches down to 0: linear */
			return upper * factor;
		return upper * exp2((factor - 1) / (1 << histogram->schema));
	}
	return NAN;
}
