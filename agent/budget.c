// SPDX-License-Identifier: Apache-2.0
/* Decides what is recorded; see budget.h. */
#include <math.h>
#include <stdlib.h>
#include "agent/budget.h"

#define NS_PER_S 1e9

/* A step back is taken when things would fit into this much of the budget: else the next gust undoes it. */
#define HEADROOM 0.7
/* Of the budget that probes may use, however much is taken by what cannot be had for less: the agent itself, hooks that must stay. */
#define PROBES_LEAST_SHARE 0.25
/* A step back counts as hasty when it is undone within so many readings; without one for so many, patience is as at first. */
#define HASTY	    30
#define PATIENT_FOR 300
/* A probe given up is looked at again after so many readings, then twice as many … */
#define RETRY_FIRST 60
#define RETRY_LAST  960
#define SMOOTHING   0.3 /* weight of the newest reading */

struct kept_probe {
	struct budget_terms terms;
	double rate; /* events a second while attached */
	double cost;
	unsigned level, wanted; /* the latter: at the last reading */
	unsigned calm,
		calm_level; /* readings in a row that ask for less, and the most they asked for */
	unsigned patience, since_raised, since_lowered;
	unsigned retry_after, retry_in; /* readings, while given up */
	struct budget_plan plan;
};

struct budget {
	double limit, own, cost, cpu_seconds;
	unsigned cpus, readings;
	size_t n;
	struct kept_probe probes[BUDGET_MAX_PROBES];
};

bool budget_plan_equals(const struct budget_plan *a, const struct budget_plan *b)
{
	return a->shift == b->shift && a->halvings == b->halvings && a->detached == b->detached;
}

bool budget_plan_is_exact(const struct budget_plan *plan)
{
	return !plan->shift && !plan->halvings && !plan->detached;
}

double budget_plan_ratio(const struct budget_plan *plan)
{
	return plan->detached ? 0 : ldexp(1, -(int)(plan->shift + plan->halvings));
}

/* ---- the ladder ---- */

static unsigned lowest_level(const struct budget_terms *terms)
{
	if (!terms->can_pause)
		return terms->max_shift;
	return terms->max_shift + (terms->no_windows ? 1 : BUDGET_HALVINGS);
}

static unsigned detached_level(const struct budget_terms *terms)
{
	return lowest_level(terms) + !terms->no_windows; /* exists when it can pause */
}

static struct budget_plan plan_of(const struct budget_terms *terms, unsigned level)
{
	struct budget_plan plan = { .shift = level < terms->max_shift ? level : terms->max_shift };

	if (level > terms->max_shift) {
		plan.halvings = level - terms->max_shift;
		if (terms->windows_are_whole)
			plan.shift = 0;
	}
	if (terms->can_pause && level >= detached_level(terms))
		plan = (struct budget_plan){ .detached = true };
	return plan;
}

static double event_ns(const struct budget_terms *terms, unsigned shift)
{
	if (!shift)
		return terms->dispatch_ns + terms->record_ns;
	return terms->dispatch_ns + terms->pass_ns + ldexp(terms->record_ns, -(int)shift);
}

double budget_slot_seconds(double least_window, unsigned halvings)
{
	return fmax(1.0 / BUDGET_WINDOWS_PER_SECOND, ldexp(least_window, (int)halvings));
}

/* Share of the machine that opening and closing windows takes. */
static double toggle_cost(const struct budget *budget, const struct budget_terms *terms,
			  const struct budget_plan *plan)
{
	if (!plan->halvings)
		return 0;
	return terms->toggle_ns / budget_slot_seconds(terms->least_window, plan->halvings) /
	       (NS_PER_S * budget->cpus);
}

/* Share of the machine at a level, if events keep coming as they do. */
static double cost_at(const struct budget *budget, const struct kept_probe *probe, unsigned level)
{
	struct budget_plan plan = plan_of(&probe->terms, level);
	double ns;

	if (plan.detached)
		return fmin(probe->terms.left, cost_at(budget, probe, 0));
	ns = probe->rate * event_ns(&probe->terms, plan.shift) * ldexp(1, -(int)plan.halvings);
	return ns / (NS_PER_S * budget->cpus) + toggle_cost(budget, &probe->terms, &plan);
}

/* ---- what would be right ---- */

struct proposal {
	unsigned level[BUDGET_MAX_PROBES];
	double cost[BUDGET_MAX_PROBES];
	double total;
};

static void step_down(const struct budget *budget, struct proposal *proposal, size_t i,
		      unsigned level)
{
	proposal->level[i] = level;
	proposal->total -= proposal->cost[i];
	proposal->cost[i] = cost_at(budget, &budget->probes[i], level);
	proposal->total += proposal->cost[i];
}

static double cost_for_value(const struct budget *budget, const struct proposal *proposal, size_t i)
{
	return proposal->cost[i] / fmax(budget->probes[i].terms.value, 1);
}

/*
 * The costliest for its value that can still be made cheaper, the less valuable one of equals; n when there is none. Where next to
 * nothing can be saved it is left alone: it is not what the budget is exceeded by.
 */
static size_t costliest(const struct budget *budget, const struct proposal *proposal,
			double allowance)
{
	size_t found = budget->n;

	for (size_t i = 0; i < budget->n; i++) {
		const struct kept_probe *probe = &budget->probes[i];
		unsigned lowest = lowest_level(&probe->terms);
		double cost = cost_for_value(budget, proposal, i), found_cost;

		if (proposal->level[i] >= lowest ||
		    proposal->cost[i] - cost_at(budget, probe, lowest) < allowance / 20)
			continue;
		found_cost = found < budget->n ? cost_for_value(budget, proposal, found) : -1;
		if (cost > found_cost ||
		    (cost == found_cost && probe->terms.value < budget->probes[found].terms.value))
			found = i;
	}
	return found;
}

/* The least valuable that can be given up and saves something worth it. */
static size_t least_valuable(const struct budget *budget, const struct proposal *proposal,
			     double allowance)
{
	size_t found = budget->n;

	for (size_t i = 0; i < budget->n; i++) {
		const struct budget_terms *terms = &budget->probes[i].terms;

		if (!terms->can_pause || proposal->level[i] >= detached_level(terms) ||
		    proposal->cost[i] < allowance / 20)
			continue;
		if (found == budget->n || terms->value < budget->probes[found].terms.value)
			found = i;
	}
	return found;
}

/* What probes cost at least, that cannot be taken apart further: to give up others for it would help nobody. */
static double least_cost(const struct budget *budget)
{
	double least = 0;

	for (size_t i = 0; i < budget->n; i++) {
		const struct kept_probe *probe = &budget->probes[i];

		if (!probe->terms.can_pause)
			least += cost_at(budget, probe, probe->terms.max_shift);
	}
	return least;
}

/* What the windows in force take of the agent's own time, where costs of probes have it, too. */
static double toggles_in_force(const struct budget *budget)
{
	double cost = 0;

	for (size_t i = 0; i < budget->n; i++)
		cost += toggle_cost(budget, &budget->probes[i].terms, &budget->probes[i].plan);
	return cost;
}

static double allowance_of(const struct budget *budget, double share)
{
	double least = least_cost(budget), floor = budget->limit * PROBES_LEAST_SHARE;
	double own = fmax(budget->own - toggles_in_force(budget), 0);

	return fmax((budget->limit - own) * share, least + floor * share);
}

static void propose(const struct budget *budget, double allowance, struct proposal *proposal)
{
	size_t i;

	*proposal = (struct proposal){ 0 };
	for (i = 0; i < budget->n; i++) {
		proposal->cost[i] = cost_at(budget, &budget->probes[i], 0);
		proposal->total += proposal->cost[i];
	}
	if (budget->limit <= 0)
		return;
	while (proposal->total > allowance &&
	       (i = costliest(budget, proposal, allowance)) < budget->n)
		step_down(budget, proposal, i, proposal->level[i] + 1);
	while (proposal->total > allowance &&
	       (i = least_valuable(budget, proposal, allowance)) < budget->n)
		step_down(budget, proposal, i, detached_level(&budget->probes[i].terms));
}

/* ---- what is done ---- */

static void set_level(struct kept_probe *probe, unsigned level)
{
	if (level > probe->level) {
		if (probe->since_lowered < HASTY && probe->patience < BUDGET_MAX_PATIENCE)
			probe->patience *= 2;
		probe->since_raised = 0;
	} else if (level < probe->level) {
		probe->since_lowered = 0;
	}
	probe->level = level;
	probe->calm = 0;
	probe->plan = plan_of(&probe->terms, level);
	if (probe->plan.detached)
		probe->retry_in = probe->retry_after;
	else if (!level)
		probe->retry_after = RETRY_FIRST;
}

static void try_again(struct kept_probe *probe)
{
	if (--probe->retry_in)
		return;
	if (probe->retry_after < RETRY_LAST)
		probe->retry_after *= 2;
	probe->wanted = 0; /* two readings before it is given up again */
	set_level(probe,
		  probe->terms.no_windows ? probe->terms.max_shift : lowest_level(&probe->terms));
}

static void decide(struct kept_probe *probe, unsigned wanted, unsigned relaxed)
{
	unsigned agreed = wanted < probe->wanted ? wanted : probe->wanted;

	probe->wanted = wanted;
	probe->since_raised++;
	probe->since_lowered++;
	if (probe->since_raised > PATIENT_FOR)
		probe->patience = BUDGET_PATIENCE;
	if (probe->plan.detached) {
		try_again(probe);
		return;
	}
	if (agreed > probe->level) {
		set_level(probe, agreed);
	} else if (relaxed < probe->level) {
		if (!probe->calm || relaxed > probe->calm_level)
			probe->calm_level = relaxed;
		if (++probe->calm >= probe->patience)
			set_level(probe, probe->calm_level);
	} else {
		probe->calm = 0;
	}
}

static void take_reading(struct budget *budget, struct kept_probe *probe,
			 const struct budget_reading *reading, double seconds)
{
	probe->terms = reading->terms;
	probe->cost = reading->events * event_ns(&reading->terms, probe->plan.shift) /
		      (NS_PER_S * budget->cpus * seconds);
	if (reading->attached_seconds > 0)
		probe->rate = reading->events / reading->attached_seconds;
}

void budget_read(struct budget *budget, double seconds, double own_seconds,
		 const struct budget_reading readings[])
{
	double own = own_seconds / (seconds * budget->cpus), total = own;
	struct proposal right, relaxed;

	for (size_t i = 0; i < budget->n; i++) {
		take_reading(budget, &budget->probes[i], &readings[i], seconds);
		total += budget->probes[i].cost;
	}
	budget->cpu_seconds += total * seconds * budget->cpus;
	if (!budget->readings++) {
		budget->own = own;
		budget->cost = total;
	}
	budget->own += SMOOTHING * (own - budget->own);
	budget->cost += SMOOTHING * (total - budget->cost);

	propose(budget, allowance_of(budget, 1), &right);
	propose(budget, allowance_of(budget, HEADROOM), &relaxed);
	for (size_t i = 0; i < budget->n; i++)
		decide(&budget->probes[i], right.level[i], relaxed.level[i]);
}

/* ---- life ---- */

struct budget *budget_new(unsigned cpus, size_t n_probes)
{
	struct budget *budget = calloc(1, sizeof(*budget));

	if (!budget)
		return NULL;
	budget->cpus = cpus ? cpus : 1;
	budget->n = n_probes < BUDGET_MAX_PROBES ? n_probes : BUDGET_MAX_PROBES;
	for (size_t i = 0; i < budget->n; i++)
		budget_reset(budget, i);
	return budget;
}

void budget_free(struct budget *budget)
{
	free(budget);
}

void budget_set_limit(struct budget *budget, double limit)
{
	budget->limit = limit;
}

void budget_reset(struct budget *budget, size_t i)
{
	budget->probes[i] = (struct kept_probe){
		.patience = BUDGET_PATIENCE,
		.since_lowered = HASTY,
		.retry_after = RETRY_FIRST,
	};
}

const struct budget_plan *budget_plan(const struct budget *budget, size_t i)
{
	return &budget->probes[i].plan;
}

double budget_probe_cost(const struct budget *budget, size_t i)
{
	return budget->probes[i].cost;
}

double budget_full_cost(const struct budget *budget, size_t i)
{
	return cost_at(budget, &budget->probes[i], 0);
}

double budget_cost(const struct budget *budget)
{
	return budget->cost;
}

double budget_cpu_seconds(const struct budget *budget)
{
	return budget->cpu_seconds;
}
