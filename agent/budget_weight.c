// SPDX-License-Identifier: Apache-2.0
/* Weights of windows; see budget_weight.h. */
#include <math.h>
#include "agent/budget_weight.h"

#define SLOWDOWN_MOST	   20.0
#define SLOWDOWN_SMOOTHING 0.5
#define WEIGHT_MOST	   (1U << 20)

void budget_weight_start(struct budget_weight *weight)
{
	*weight = (struct budget_weight){ .slowdown = 1 };
}

uint32_t budget_weight_open(struct budget_weight *weight, double slot_ns, double length_ns,
			    unsigned shift)
{
	double rounded;

	weight->owed_ns += slot_ns;
	rounded = fmax(weight->owed_ns / length_ns, 1) * weight->slowdown;
	rounded = round(ldexp(rounded, (int)shift));
	rounded = fmin(fmax(rounded, 1), WEIGHT_MOST);
	weight->given = ldexp(rounded, -(int)shift);
	return (uint32_t)rounded;
}

void budget_weight_close(struct budget_weight *weight, double length_ns, double hooks, double busy)
{
	double slowdown = busy / (1 - fmin(fmax(hooks, 0), 1 - 1 / SLOWDOWN_MOST));

	slowdown = fmax(slowdown, 1);
	weight->owed_ns -= weight->given / slowdown * length_ns;
	weight->slowdown += SLOWDOWN_SMOOTHING * (slowdown - weight->slowdown);
}
