/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the keeper share: budget_keeper.c reads and decides; of what it calls, budget_windows.c does what was decided, and
 * budget_calls.c sees by calls of our own what hooks at system calls cost. Loop thread only.
 */
#ifndef LEADLINE_BUDGET_KEEPER_INTERNAL_H
#define LEADLINE_BUDGET_KEEPER_INTERNAL_H

#include <sched.h>
#include "agent/budget.h"
#include "agent/budget_keeper.h"
#include "agent/budget_weight.h"
#include "agent/lifecycle.h"
#include "bpf/lib/budget.h"

#define BUDGET_MEASUREMENTS 9
#define BUDGET_PASS_NS	    4.0 /* of a program that lets an event pass; for the first guess only */

/* What is kept of each CPU while windows are in force. */
struct kept_cpu {
	struct budget_weight weight;
	uint64_t events_at_opening;
	double hooks_ns; /* what they add to a call; 0: not measured yet */
	double measured[BUDGET_MEASUREMENTS]; /* the same, the last few times */
	unsigned n_measured, next_measured;
	double taken; /* part of that which is taken from the work that is counted */
	double slowdown; /* where events are not calls: as the last windows had it */
};

struct kept {
	struct probe *probe;
	struct budget_lane *lanes; /* by CPU */
	struct budget_plan plan; /* as applied */
	double dispatch_ns; /* of an event: what reaching its hooks costs */
	double record_ns, calibrated_by; /* the latter: events a second */
	double toggle_ns;
	uint64_t events_before; /* at the last reading */
	uint64_t attached_since_ns,
		attached_ns; /* since the last reading; the former is 0 while away */
	double left; /* while it is given up: the share of its events that still come */
	bool all_exact; /* since the last reading */
	struct probe_runs runs; /* when calibration began */

	/* while windows are in force */
	bool is_windowed, is_open;
	uint64_t
		next_ns; /* to open or to close; where connections are sampled: to turn to others */
	uint64_t opened_ns;
	uint64_t slot_ns; /* when its slot begins */
	struct kept_cpu *cpu;
	unsigned n_windows; /* so far */
	unsigned own_cpu; /* where calls of our own were made last */
};

struct budget_keeper {
	struct loop *loop;
	struct probe_set *probes;
	struct budget *budget;
	struct budget_floor floor;
	double limit;
	double trap_ns; /* 0: not measured yet */
	unsigned cpus;
	int timer_fd, statistics_fd;
	uint64_t read_ns, own_ns; /* at the last reading */
	uint64_t seed;
	double *busy; /* by CPU */
	uint64_t *busy_memory;
	cpu_set_t own_cpus; /* those this thread may run on */
	size_t n;
	struct kept kept[BUDGET_MAX_PROBES];
};

static inline const struct probe_economy *economy_of(const struct kept *kept)
{
	return &probe_description(kept->probe)->economy;
}

/* Share of the machine that a probe may take while it is given up, as some can choose among their events: an eighth of the limit. */
static inline double budget_left(const struct budget_keeper *keeper, const struct kept *kept)
{
	return economy_of(kept)->by_trap ? keeper->limit / 8 : 0;
}

/* Seconds that a window must have: where connections are sampled, for calls to begin and end in it. */
static inline double budget_least_window(const struct probe_economy *economy)
{
	return economy->by_connection ? 0.125 : 0;
}

static inline double budget_pass_ns(const struct probe_economy *economy)
{
	return economy->pass_ns ? economy->pass_ns : BUDGET_PASS_NS;
}

/* Of an event, when one in 2^shift is recorded. */
static inline double budget_event_ns(const struct kept *kept, unsigned shift)
{
	if (!shift)
		return kept->dispatch_ns + kept->record_ns;
	return kept->dispatch_ns + budget_pass_ns(economy_of(kept)) +
	       kept->record_ns / (1U << shift);
}

/* Does something now and then as long as its plan is in force, at next_ns. */
static inline bool is_timed(const struct kept *kept)
{
	return kept->is_windowed || (economy_of(kept)->by_connection && kept->plan.shift);
}

static inline const char *name_of(const struct kept *kept)
{
	return probe_description(kept->probe)->name;
}

uint64_t budget_count_events(const struct budget_keeper *keeper, const struct kept *kept);
/* Brings attached_ns up to date. */
void budget_account_attached(struct kept *kept, uint64_t now_ns);
/* The caller arms the timer afterwards. */
void budget_apply_plan(struct budget_keeper *keeper, struct kept *kept,
		       const struct budget_plan *plan);
/* For the next window to be opened or closed. */
void budget_arm_timer(const struct budget_keeper *keeper);
/* When it has expired: opens and closes windows. */
void budget_turn_windows(void *context);

/*
 * Around the opening of a window, of a probe whose events are calls: 0, when this one is not measured; else what a call takes
 * without hooks on the next CPU, where this thread stays until budget_calls_after(), which sees what they add.
 */
double budget_calls_before(struct budget_keeper *keeper, struct kept *kept);
void budget_calls_after(struct budget_keeper *keeper, struct kept *kept, double before_ns);
/* What they add to a call in a window on this CPU, or failing that on others. */
double budget_calls_hooks_ns(const struct budget_keeper *keeper, const struct kept *kept,
			     unsigned cpu);
/* What they add to one of a marked thread more than to others': task_is_marked_by_rcu() in bpf/lib/compat.bpf.h. */
double budget_calls_marked_ns(const struct budget_keeper *keeper, const struct kept *kept);
/* What recording a call takes, while all are and the hooks are there; not above 0 when others had the CPU. Needs floor.call_ns. */
double budget_calls_record_ns(const struct budget_keeper *keeper, const struct kept *kept);

#endif
