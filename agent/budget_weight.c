// SPDX-License-Identifier: Apache-2.0
/* Weights of windows; see budget_weight.h. */
#include <math.h>
#include "agent/budget_weight.h"

#define SLOWDOWN_MOST 20.0
#define WEIGHT_MOST   (1U << 20)

void budget_weight_start(struct budget_weight *weight)
{
	*weight = (struct budget_weight){ 0 };
}

uint32_t budget_weight_open(struct budget_weight *weight, double slot_ns, double length_ns,
			    unsigned shift)
{
	double rounded;

	weight->owed_ns += slot_ns;
	rounded = fmax(weight->owed_ns / length_ns, 1);
	rounded = round(ldexp(rounded, (int)shift));
	rounded = fmin(fmax(rounded, 1), WEIGHT_MOST);
	weight->given = ldexp(rounded, -(int)shift);
	return (uint32_t)rounded;
}

void budget_weight_close(struct budget_weight *weight, double length_ns)
{
	weight->owed_ns -= weight->given * length_ns;
}

double budget_weight_slowdown(double hooks_share, double busy)
{
	return fmin(fmax(busy / fmax(1 - hooks_share, 1 / SLOWDOWN_MOST), 1), SLOWDOWN_MOST);
}

double budget_weight_taken(double hooks_ns, double pace_ns, double share, double busy)
{
	double limited_ns = fmin(hooks_ns, pace_ns * (1 - 1 / SLOWDOWN_MOST)), slowdown;

	if (hooks_ns <= 0 || pace_ns <= 0 || share <= 0)
		return 0;
	slowdown = pace_ns / (pace_ns - limited_ns) * (1 - (1 - busy) / fmin(share, 1));
	return slowdown > 1 ? pace_ns * (1 - 1 / slowdown) / hooks_ns : 0;
}
