/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The budget: how much of each probe the agent can afford. A pure controller: readings in, plans out, no clock and no
 * kernel of its own. budget_keeper.h reads, applies and reports.
 *
 * A probe has a ladder of levels: record everything; one event in 2, 4 … 2^max_shift; that, or everything where it samples
 * something else than events, with the hooks attached 1/2 … 1/256 of the time, where windows make sense; hooks away. While the sum
 * is over the limit the probe that is costliest for its value takes a step down; what comes last is giving up the least valuable one. A step down needs two readings in a row, a step back a
 * stretch of calm, longer each time it was followed by a step down again.
 *
 * Costs are shares of the machine: 1 is all CPUs. Loop thread only.
 */
#ifndef LEADLINE_BUDGET_H
#define LEADLINE_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

#define BUDGET_MAX_PROBES	  24
#define BUDGET_HALVINGS		  8 /* windows are at least 1/256 of the time */
#define BUDGET_WINDOWS_PER_SECOND 2
#define BUDGET_PATIENCE		  5 /* readings of calm before a step back */
#define BUDGET_MAX_PATIENCE	  60

/* What a probe costs and what can be done about it. Times in ns of CPU. */
struct budget_terms {
	unsigned
		value; /* may cost so many times as much as one of value 1; the least valuable is given up first */
	unsigned max_shift; /* 0: it cannot sample */
	bool can_pause;
	bool no_windows; /* it would have to be for long: it is given up instead */
	bool windows_are_whole; /* everything is recorded in them */
	double least_window; /* seconds that they must have, however seldom they come then */
	double dispatch_ns; /* of an event: what reaching the hooks costs, were their programs empty */
	double record_ns; /* of recording it */
	double pass_ns; /* of letting it pass */
	double toggle_ns; /* taking the hooks away and bringing them back */
	double left; /* share of the machine that it may take while it is given up */
};

/* What a probe saw since the last reading. */
struct budget_reading {
	struct budget_terms terms;
	double events;
	double attached_seconds; /* for how long its hooks were there; 0: `events` says nothing */
};

struct budget_plan {
	unsigned shift; /* record one event in 2^shift */
	unsigned halvings; /* attached 1/2^halvings of the time; 0: always */
	bool detached;
};
bool budget_plan_equals(const struct budget_plan *a, const struct budget_plan *b);
bool budget_plan_is_exact(const struct budget_plan *plan);
double budget_plan_ratio(const struct budget_plan *plan); /* of events recorded, 1 to 0 */

/* How often such a plan has a window, in seconds. */
double budget_slot_seconds(double least_window, unsigned halvings);

struct budget;

struct budget *budget_new(unsigned cpus, size_t n_probes); /* NULL: no memory */
void budget_free(struct budget *budget); /* NULL is fine */
/* A share of the machine; 0: no limit. */
void budget_set_limit(struct budget *budget, double limit);
/* Probe i begins anew: everything is recorded. */
void budget_reset(struct budget *budget, size_t i);

/*
 * One reading, to be made about once a second: `seconds` since the last one, `own_seconds` of CPU the agent itself used,
 * and what each probe saw. Changes the plans.
 */
void budget_read(struct budget *budget, double seconds, double own_seconds,
		 const struct budget_reading readings[]);

const struct budget_plan *budget_plan(const struct budget *budget, size_t i);
double budget_probe_cost(const struct budget *budget, size_t i); /* as of the last reading */
/* What it would cost now, were everything recorded. */
double budget_full_cost(const struct budget *budget, size_t i);
double budget_cost(const struct budget *
			   budget); /* all probes and the agent's own, smoothed over some seconds */
double budget_cpu_seconds(const struct budget *budget); /* the same, added up since the beginning */

#endif
