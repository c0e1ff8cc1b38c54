// SPDX-License-Identifier: Apache-2.0
/*
 * What hooks at system calls add to one: seen by calls of the agent's own, since who makes calls cannot be asked. In a window, on
 * one CPU each time, right before and after the hooks come: a CPU runs slower now and then, by its frequency or its
 * neighbours, calls and hooks alike, and each CPU for itself. See budget_keeper_internal.h.
 */
#include <string.h>
#include "agent/budget_keeper_internal.h"
#include "agent/log.h"

#define MEASURED 4 /* in one window of so many */
/*
 * What hooks take from marked threads more than from others, as part of what reaching hooks costs: 20 of 127 ns on an AMD EPYC of
 * 2023 under 6.18. Cannot be measured on the spot, as the kernel marks whom it finds.
 */
#define MARKED_PART 0.16

/*
 * In the first windows, then in some: while this thread makes its calls others are kept off that CPU, and come back to it in a way that is not
 * that of any other moment.
 */
static bool is_measured(const struct budget_keeper *keeper, struct kept *kept)
{
	unsigned window = kept->n_windows++;

	return window < 2 * keeper->cpus || window % MEASURED == 0;
}

/* To the next of the CPUs this thread may run on. False: to none. */
static bool go_to_next_cpu(struct budget_keeper *keeper, struct kept *kept)
{
	for (unsigned tried = 0; tried < keeper->cpus; tried++) {
		unsigned cpu = ++kept->own_cpu % keeper->cpus;
		cpu_set_t there;

		CPU_ZERO(&there);
		CPU_SET(cpu, &there);
		kept->own_cpu = cpu;
		if (cpu < CPU_SETSIZE && CPU_ISSET(cpu, &keeper->own_cpus) &&
		    !sched_setaffinity(0, sizeof(there), &there))
			return true;
	}
	return false;
}

static double measure_with_hooks(const struct budget_keeper *keeper, const struct kept *kept)
{
	double ns;

	for (unsigned cpu = 0; cpu < keeper->cpus; cpu++)
		__atomic_store_n(&kept->lanes[cpu].takes_own, 1, __ATOMIC_RELAXED);
	ns = budget_measure_call();
	for (unsigned cpu = 0; cpu < keeper->cpus; cpu++)
		__atomic_store_n(&kept->lanes[cpu].takes_own, 0, __ATOMIC_RELAXED);
	return ns;
}

/* The middle one of the last measurements, as some fall into a moment when others had the CPU. */
static void note_hooks(struct kept_cpu *here, double hooks_ns)
{
	double last[BUDGET_MEASUREMENTS];

	here->measured[here->next_measured] = hooks_ns;
	here->next_measured = (here->next_measured + 1) % BUDGET_MEASUREMENTS;
	if (here->n_measured < BUDGET_MEASUREMENTS)
		here->n_measured++;
	memcpy(last, here->measured, sizeof(last));
	here->hooks_ns = budget_median(last, here->n_measured);
}

/* Whatever of it is not recording goes with all events alike. */
static void note_dispatch(const struct budget_keeper *keeper, struct kept *kept)
{
	double ns = budget_calls_hooks_ns(keeper, kept, kept->own_cpu) -
		    (budget_event_ns(kept, kept->plan.shift) - kept->dispatch_ns);

	if (ns > 0)
		kept->dispatch_ns = ns;
}

double budget_calls_marked_ns(const struct budget_keeper *keeper, const struct kept *kept)
{
	return MARKED_PART * keeper->floor.dispatch_ns * economy_of(kept)->hooks_per_event;
}

double budget_calls_before(struct budget_keeper *keeper, struct kept *kept)
{
	return is_measured(keeper, kept) && go_to_next_cpu(keeper, kept) ? budget_measure_call()
									 : 0;
}

void budget_calls_after(struct budget_keeper *keeper, struct kept *kept, double before_ns)
{
	double with_ns = before_ns > 0 ? measure_with_hooks(keeper, kept) : 0;

	if (with_ns > before_ns) {
		note_hooks(&kept->cpu[kept->own_cpu],
			   with_ns - before_ns -
				   (kept->lanes[kept->own_cpu].own_is_marked
					    ? budget_calls_marked_ns(keeper, kept)
					    : 0));
		note_dispatch(keeper, kept);
		log_debug("budget", "%s: CPU %u: a call takes %.0f ns, with hooks %.0f%s",
			  name_of(kept), kept->own_cpu, before_ns, with_ns,
			  kept->lanes[kept->own_cpu].own_is_marked ? " (marked)" : "");
	}
	sched_setaffinity(0, sizeof(keeper->own_cpus), &keeper->own_cpus);
}

double budget_calls_hooks_ns(const struct budget_keeper *keeper, const struct kept *kept,
			     unsigned cpu)
{
	double sum = 0, known = 0;

	for (unsigned i = 0; i < keeper->cpus; i++) {
		sum += kept->cpu[i].hooks_ns;
		known += kept->cpu[i].hooks_ns > 0;
	}
	if (!known)
		return budget_event_ns(kept, kept->plan.shift);
	return kept->cpu[cpu].hooks_ns > 0 ? kept->cpu[cpu].hooks_ns : sum / known;
}

double budget_calls_record_ns(const struct budget_keeper *keeper, const struct kept *kept)
{
	return measure_with_hooks(keeper, kept) - keeper->floor.call_ns - kept->dispatch_ns;
}
