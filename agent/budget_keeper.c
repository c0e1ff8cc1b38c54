// SPDX-License-Identifier: Apache-2.0
/* Keeps the agent within its budget; see budget_keeper.h. */
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include "agent/budget.h"
#include "agent/budget_keeper.h"
#include "agent/budget_weight.h"
#include "agent/log.h"
#include "agent/loop.h"
#include "agent/probe_set.h"
#include "bpf/lib/budget.h"

#define NS_PER_S	 1000000000ULL
#define TICK_NS		 NS_PER_S
#define SLOT_NS		 (NS_PER_S / BUDGET_WINDOWS_PER_SECOND)
#define PASS_NS		 4.0 /* of a program that lets an event pass; for the first guess only */
#define TYPICAL_TOGGLE	 1e6
#define CALIBRATE_EVENTS 10000 /* fewer in a second say nothing about a storm: caches are cold */
#define CPUS_AT_ONCE	 4 /* that calls of our own are made on in a window */
/* What is done now and then takes longer than what is done all the time: the processor does not foresee it. */
#define RARELY 1.5
/* A probe is calibrated anew when it sees so many times the events it was calibrated by. */
#define CALIBRATE_AGAIN 4
/* Window lengths are taken from the events themselves when there were so many. */
#define MANY_EVENTS 1000

/*
 * What a hook costs in a window is seen by system calls of our own, where events are such. A CPU runs slower now and then, by
 * its frequency or its neighbours, calls and hooks alike, and each CPU for itself: hence what counts is which part of a call within
 * a window is the hooks', by the fastest ever seen, and how long such a call takes on each CPU now.
 */
struct call_cost {
	double fastest_outside_ns, fastest_inside_ns; /* 0: not measured yet */
	unsigned next_cpu; /* to measure on */
};

/* What is kept of each CPU while windows are in force. */
struct kept_cpu {
	struct budget_weight weight;
	uint64_t events_at_opening;
	double call_ns; /* of ours, within a window; 0: not measured yet */
	double spent_ns; /* on them, in the window that is open */
};

struct kept {
	struct probe *probe;
	struct budget_lane *lanes; /* by CPU */
	struct budget_plan plan; /* as applied */
	double record_ns, calibrated_by; /* the latter: events a second */
	struct call_cost calls;
	double toggle_ns;
	uint64_t events_before; /* at the last reading */
	uint64_t attached_since_ns,
		attached_ns; /* since the last reading; the former is 0 while away */
	bool all_exact; /* since the last reading */
	struct probe_runs runs; /* when calibration began */

	/* while windows are in force */
	bool is_windowed, is_open;
	uint64_t next_ns; /* to open or to close */
	uint64_t opened_ns;
	uint64_t slot_ns; /* when its slot begins */
	struct kept_cpu *cpu;
};

struct budget_keeper {
	struct loop *loop;
	struct probe_set *probes;
	struct budget *budget;
	struct budget_floor floor;
	double limit;
	unsigned cpus, online;
	int timer_fd, statistics_fd;
	uint64_t read_ns, own_ns; /* at the last reading */
	uint64_t seed;
	double *busy; /* by CPU */
	uint64_t *busy_memory;
	cpu_set_t own_cpus; /* those this thread may run on */
	size_t n;
	struct kept kept[BUDGET_MAX_PROBES];
};

/* ---- metrics ---- */

static const struct metric_desc overhead_ratio = {
	.name = "leadline_overhead_ratio",
	.help = "Share of the machine's CPU that the agent takes, its hooks in the kernel included, over some seconds",
	.unit = "ratio",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc overhead_seconds = {
	.name = "leadline_overhead_cpu_seconds_total",
	.help = "CPU time the agent has taken, its hooks in the kernel included as their number of events tells",
	.unit = "seconds",
	.kind = METRIC_COUNTER,
};
static const struct metric_desc probe_overhead_ratio = {
	.name = "leadline_probe_overhead_ratio",
	.help = "Share of the machine's CPU that the hooks of the probe took in the last second",
	.unit = "ratio",
	.kind = METRIC_GAUGE,
	.labels = { "probe" },
};
static const struct metric_desc sampling_ratio = {
	.name = "leadline_sampling_ratio",
	.help = "Share of its events that the probe records to stay within the budget; below 1 its figures are estimates",
	.unit = "ratio",
	.kind = METRIC_GAUGE,
	.labels = { "probe" },
};
const struct metric_desc *const budget_metrics[] = {
	&overhead_ratio, &overhead_seconds, &probe_overhead_ratio, &sampling_ratio, NULL,
};

static const struct probe_economy *economy_of(const struct kept *kept)
{
	return &probe_description(kept->probe)->economy;
}

static const char *name_of(const struct kept *kept)
{
	return probe_description(kept->probe)->name;
}

void budget_keeper_write_metrics(struct budget_keeper *keeper, struct metric_writer *writer)
{
	metric_write(writer, &overhead_ratio, ENTITY_NONE, NULL, budget_cost(keeper->budget));
	metric_write(writer, &overhead_seconds, ENTITY_NONE, NULL,
		     budget_cpu_seconds(keeper->budget));
	for (size_t i = 0; i < keeper->n; i++) {
		const char *const labels[] = { name_of(&keeper->kept[i]) };

		metric_write(writer, &probe_overhead_ratio, ENTITY_NONE, labels,
			     budget_probe_cost(keeper->budget, i));
		metric_write(writer, &sampling_ratio, ENTITY_NONE, labels,
			     budget_plan_ratio(&keeper->kept[i].plan));
	}
}

static void describe_plan(const struct budget_plan *plan, char *out, size_t size)
{
	int used = 0;

	out[0] = '\0';
	if (plan->detached) {
		snprintf(out, size, "nothing is recorded, to stay within the budget");
		return;
	}
	if (budget_plan_is_exact(plan))
		return;
	if (plan->shift)
		used = snprintf(out, size, "one event in %u is recorded", 1U << plan->shift);
	if (plan->halvings)
		used += snprintf(out + used, size - (size_t)used,
				 used ? ", 1/%u of the time" : "recorded 1/%u of the time",
				 1U << plan->halvings);
	snprintf(out + used, size - (size_t)used,
		 ", to stay within the budget: figures are estimates");
}

const char *budget_keeper_note(const struct budget_keeper *keeper, const struct probe *probe,
			       char *out, size_t size)
{
	out[0] = '\0';
	for (size_t i = 0; keeper && i < keeper->n; i++)
		if (keeper->kept[i].probe == probe)
			describe_plan(&keeper->kept[i].plan, out, size);
	return out;
}

/* ---- lanes ---- */

static void set_lanes(const struct budget_keeper *keeper, struct kept *kept, unsigned shift)
{
	for (unsigned cpu = 0; cpu < keeper->cpus; cpu++) {
		kept->lanes[cpu].weight = 1U << shift;
		kept->lanes[cpu].spread = (2U << shift) - 2;
	}
}

static uint64_t count_events(const struct budget_keeper *keeper, const struct kept *kept)
{
	uint64_t events = 0;

	for (unsigned cpu = 0; cpu < keeper->cpus; cpu++)
		events += __atomic_load_n(&kept->lanes[cpu].events, __ATOMIC_RELAXED);
	return events;
}

static void account_attached(struct kept *kept, uint64_t now_ns)
{
	if (!kept->attached_since_ns)
		return;
	kept->attached_ns += now_ns - kept->attached_since_ns;
	kept->attached_since_ns = now_ns;
}

/* ---- taking hooks away and bringing them back ---- */

static uint64_t thread_cpu_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

static void note_toggle(struct kept *kept, uint64_t began_ns)
{
	double ns =
		2 * (double)(thread_cpu_ns() - began_ns); /* the other half costs about the same */

	kept->toggle_ns += 0.2 * (ns - kept->toggle_ns);
}

static void take_away(struct kept *kept)
{
	uint64_t began_ns = thread_cpu_ns();

	account_attached(kept, log_clock_ns());
	kept->attached_since_ns = 0;
	probe_pause(kept->probe);
	note_toggle(kept, began_ns);
}

static int bring_back(const struct budget_keeper *keeper, struct kept *kept)
{
	uint64_t began_ns = thread_cpu_ns(), now_ns = log_clock_ns();
	int err;

	for (unsigned cpu = 0; cpu < keeper->cpus; cpu++) {
		kept->lanes[cpu].first_ns = 0;
		kept->lanes[cpu].window_began_ns = now_ns;
	}
	err = probe_resume(kept->probe);
	if (err)
		log_limited(LOG_LEVEL_ERROR, "budget", "%s: its hooks do not come back: %s",
			    name_of(kept), strerror(-err));
	else
		kept->attached_since_ns = log_clock_ns();
	note_toggle(kept, began_ns);
	return err;
}

/* ---- windows ---- */

static double event_ns(const struct budget_keeper *keeper, const struct kept *kept, unsigned shift)
{
	unsigned hooks = economy_of(kept)->hooks_per_event;

	return keeper->floor.dispatch_ns * (hooks ? hooks : 1) + PASS_NS +
	       kept->record_ns / (1U << shift);
}

/* The same as it was in the window on this CPU. */
static double window_event_ns(const struct budget_keeper *keeper, const struct kept *kept,
			      unsigned cpu)
{
	const struct call_cost *calls = &kept->calls;
	double call_ns = kept->cpu[cpu].call_ns;

	if (call_ns == 0 || calls->fastest_inside_ns <= calls->fastest_outside_ns)
		return event_ns(keeper, kept, kept->plan.shift);
	return call_ns * (1 - calls->fastest_outside_ns / calls->fastest_inside_ns) +
	       RARELY * kept->record_ns / (1U << kept->plan.shift);
}

static void note_fastest(double *fastest_ns, double ns)
{
	if (*fastest_ns == 0 || ns < *fastest_ns)
		*fastest_ns = ns;
}

/* On some of the CPUs each time. */
static void call_inside(struct budget_keeper *keeper, struct kept *kept)
{
	unsigned measured = 0;

	for (unsigned cpu = 0; cpu < keeper->cpus; cpu++)
		kept->cpu[cpu].spent_ns = 0;
	for (unsigned tried = 0; tried < keeper->cpus && measured < CPUS_AT_ONCE; tried++) {
		unsigned cpu = kept->calls.next_cpu++ % keeper->cpus;
		uint64_t began_ns;
		cpu_set_t there;

		CPU_ZERO(&there);
		CPU_SET(cpu, &there);
		if (cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &keeper->own_cpus) ||
		    sched_setaffinity(0, sizeof(there), &there))
			continue;
		began_ns = log_clock_ns();
		kept->cpu[cpu].call_ns = budget_measure_call();
		kept->cpu[cpu].spent_ns = (double)(log_clock_ns() - began_ns);
		note_fastest(&kept->calls.fastest_inside_ns, kept->cpu[cpu].call_ns);
		measured++;
	}
	sched_setaffinity(0, sizeof(keeper->own_cpus), &keeper->own_cpus);
}

/* Good enough to be in step with nothing: the upper half of a 64-bit linear congruential generator (Knuth's MMIX). */
static uint64_t next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return *seed >> 32;
}

static uint64_t window_ns(const struct kept *kept)
{
	return SLOT_NS >> kept->plan.halvings;
}

/* At any moment of its slot: what a host does at full seconds must not always fall into a window, nor never. */
static void place_window(struct budget_keeper *keeper, struct kept *kept)
{
	kept->next_ns = kept->slot_ns + next_random(&keeper->seed) % (SLOT_NS - window_ns(kept));
}

static void open_window(struct budget_keeper *keeper, struct kept *kept)
{
	/* More than one when the loop was held up. */
	uint64_t slots_ns = (1 + (log_clock_ns() - kept->slot_ns) / SLOT_NS) * SLOT_NS;

	if (economy_of(kept)->is_call)
		note_fastest(&kept->calls.fastest_outside_ns, budget_measure_call());
	for (unsigned cpu = 0; cpu < keeper->cpus; cpu++) {
		struct budget_lane *lane = &kept->lanes[cpu];

		lane->spread = (2U << kept->plan.shift) - 2;
		lane->weight = budget_weight_open(&kept->cpu[cpu].weight, (double)slots_ns,
						  (double)window_ns(kept), kept->plan.shift);
		kept->cpu[cpu].events_at_opening = lane->events;
	}
	kept->slot_ns += slots_ns;
	if (bring_back(keeper, kept)) {
		place_window(keeper, kept);
		return;
	}
	kept->is_open = true;
	kept->opened_ns = kept->attached_since_ns;
	kept->next_ns = kept->opened_ns + window_ns(kept);
	if (economy_of(kept)->is_call)
		call_inside(keeper, kept);
}

static void settle_lane(const struct budget_keeper *keeper, struct kept *kept, unsigned cpu,
			double length_ns)
{
	const struct budget_lane *lane = &kept->lanes[cpu];
	struct kept_cpu *here = &kept->cpu[cpu];
	double events = (double)(lane->events - here->events_at_opening);

	if (lane->first_ns >= lane->window_began_ns && lane->last_ns > lane->first_ns &&
	    events > MANY_EVENTS)
		length_ns = (double)(lane->last_ns - lane->first_ns);
	if (here->spent_ns > 0)
		events = fmax(events - BUDGET_MEASURE_CALLS, 0);
	log_debug(
		"budget",
		"%s: CPU %u: %.0f events in %.2f ms, %.0f ns each of %.0f; weight %u, slowed down %.2f times",
		name_of(kept), cpu, events, length_ns / 1e6, window_event_ns(keeper, kept, cpu),
		length_ns / fmax(events, 1), lane->weight, here->weight.slowdown);
	/* While we called, others were held up as by hooks. */
	budget_weight_close(&here->weight, length_ns,
			    (here->spent_ns + events * window_event_ns(keeper, kept, cpu)) /
				    length_ns,
			    keeper->busy[cpu]);
}

static void close_window(struct budget_keeper *keeper, struct kept *kept)
{
	double length_ns = (double)(log_clock_ns() - kept->opened_ns);

	take_away(kept);
	kept->is_open = false;
	for (unsigned cpu = 0; cpu < keeper->cpus; cpu++)
		settle_lane(keeper, kept, cpu, length_ns);
	place_window(keeper, kept);
}

static void arm_timer(const struct budget_keeper *keeper)
{
	struct itimerspec when = { 0 };
	uint64_t next_ns = UINT64_MAX;

	for (size_t i = 0; i < keeper->n; i++)
		if (keeper->kept[i].is_windowed && keeper->kept[i].next_ns < next_ns)
			next_ns = keeper->kept[i].next_ns;
	if (next_ns != UINT64_MAX)
		when.it_value = (struct timespec){ (time_t)(next_ns / NS_PER_S),
						   (long)(next_ns % NS_PER_S) };
	timerfd_settime(keeper->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void turn_windows(void *context)
{
	struct budget_keeper *keeper = context;
	uint64_t expirations;
	ssize_t n = read(keeper->timer_fd, &expirations, sizeof(expirations));

	(void)n; /* EAGAIN: armed anew meanwhile */
	for (size_t i = 0; i < keeper->n; i++) {
		struct kept *kept = &keeper->kept[i];

		if (!kept->is_windowed || kept->next_ns > log_clock_ns())
			continue;
		if (kept->is_open)
			close_window(keeper, kept);
		else
			open_window(keeper, kept);
	}
	arm_timer(keeper);
}

/* ---- applying plans ---- */

static void begin_windows(struct budget_keeper *keeper, struct kept *kept)
{
	if (kept->attached_since_ns)
		take_away(kept);
	kept->is_windowed = true;
	kept->is_open = false;
	for (unsigned cpu = 0; cpu < keeper->cpus; cpu++)
		budget_weight_start(&kept->cpu[cpu].weight);
	kept->slot_ns = log_clock_ns();
	place_window(keeper, kept);
}

static void end_windows(struct kept *kept)
{
	if (kept->is_open)
		take_away(kept);
	kept->is_windowed = kept->is_open = false;
}

static void apply_plan(struct budget_keeper *keeper, struct kept *kept,
		       const struct budget_plan *plan)
{
	kept->plan = *plan;
	if (plan->halvings && !plan->detached) {
		if (!kept->is_windowed)
			begin_windows(keeper, kept);
		return;
	}
	if (kept->is_windowed)
		end_windows(kept);
	set_lanes(keeper, kept, plan->shift);
	if (plan->detached && kept->attached_since_ns)
		take_away(kept);
	else if (!plan->detached && !kept->attached_since_ns)
		bring_back(keeper, kept); /* failing that, with the next reading */
}

static void tell(const struct budget_keeper *keeper, size_t i, const struct budget_plan *plan)
{
	const struct kept *kept = &keeper->kept[i];
	double ratio = budget_plan_ratio(plan);
	char text[160];

	describe_plan(plan, text, sizeof(text));
	if (ratio < budget_plan_ratio(&kept->plan))
		log_warning("budget", "%s: %s; all of it would cost %.1f %% of the machine",
			    name_of(kept), text, 100 * budget_full_cost(keeper->budget, i));
	else
		log_info("budget", "%s: %s", name_of(kept),
			 text[0] ? text : "everything is recorded again");
}

/* ---- readings ---- */

static uint64_t own_cpu_ns(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * NS_PER_S +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

/* What ran since statistics_on(), where nothing was left out, tells what recording costs. */
static void calibrate(struct budget_keeper *keeper, const double events[])
{
	for (size_t i = 0; i < keeper->n; i++) {
		struct kept *kept = &keeper->kept[i];
		struct probe_runs now = probe_count_runs(kept->probe);
		double ns = (double)(now.ns - kept->runs.ns) -
			    (double)(now.runs - kept->runs.runs) * keeper->floor.clock_ns;

		if (!kept->all_exact || events[i] < CALIBRATE_EVENTS || ns <= 0)
			continue;
		kept->record_ns = ns / events[i];
		kept->calibrated_by = events[i];
		log_debug("budget", "%s: an event takes %.0f ns and %.0f ns to get there",
			  name_of(kept), kept->record_ns,
			  event_ns(keeper, kept, 0) - kept->record_ns);
	}
	close(keeper->statistics_fd);
	keeper->statistics_fd = -1;
}

static bool wants_calibration(const struct budget_keeper *keeper, const double events[])
{
	for (size_t i = 0; i < keeper->n; i++)
		if (keeper->kept[i].all_exact && events[i] >= CALIBRATE_EVENTS &&
		    events[i] > CALIBRATE_AGAIN * keeper->kept[i].calibrated_by)
			return true;
	return false;
}

/* For one reading. Without the privilege typical costs have to do. */
static void turn_statistics_on(struct budget_keeper *keeper)
{
	keeper->statistics_fd = budget_statistics_on();
	for (size_t i = 0; i < keeper->n; i++) {
		struct kept *kept = &keeper->kept[i];

		if (keeper->statistics_fd < 0)
			kept->calibrated_by = (double)UINT64_MAX;
		else
			kept->runs = probe_count_runs(kept->probe);
	}
}

static void take_reading(struct budget_keeper *keeper, size_t i, double seconds,
			 struct budget_reading *reading)
{
	struct kept *kept = &keeper->kept[i];
	const struct probe_economy *economy = economy_of(kept);
	uint64_t events = count_events(keeper, kept);
	unsigned hooks = economy->hooks_per_event ? economy->hooks_per_event : 1;

	account_attached(kept, log_clock_ns());
	*reading = (struct budget_reading){
		.terms = {
			.value = economy->value,
			.max_shift = economy->max_shift,
			.can_pause = probe_can_pause(kept->probe),
			.dispatch_ns = keeper->floor.dispatch_ns * hooks,
			.record_ns = kept->record_ns,
			.pass_ns = PASS_NS,
			.toggle_ns = kept->toggle_ns,
		},
		.events = (double)(events - kept->events_before),
		.attached_seconds = kept->is_windowed || kept->plan.detached
					    ? (double)kept->attached_ns / 1e9
					    : seconds,
	};
	kept->events_before = events;
	kept->attached_ns = 0;
}

static void read_all(void *context)
{
	struct budget_keeper *keeper = context;
	struct budget_reading readings[BUDGET_MAX_PROBES] = { 0 };
	double events[BUDGET_MAX_PROBES];
	uint64_t now_ns = log_clock_ns(), own_ns = own_cpu_ns();
	double seconds = (double)(now_ns - keeper->read_ns) / 1e9;

	if (seconds < 0.5) /* the loop was held up: this turn comes right after the last */
		return;
	for (size_t i = 0; i < keeper->n; i++) {
		take_reading(keeper, i, seconds, &readings[i]);
		events[i] = readings[i].events;
	}
	if (keeper->statistics_fd >= 0) {
		calibrate(keeper, events);
		for (size_t i = 0; i < keeper->n; i++)
			readings[i].terms.record_ns = keeper->kept[i].record_ns;
	} else if (wants_calibration(keeper, events)) {
		turn_statistics_on(keeper);
	}
	budget_measure_busy(keeper->cpus, keeper->busy_memory, keeper->busy);
	budget_read(keeper->budget, seconds, (double)(own_ns - keeper->own_ns) / 1e9, readings);
	keeper->read_ns = now_ns;
	keeper->own_ns = own_ns;
	for (size_t i = 0; i < keeper->n; i++) {
		const struct budget_plan *plan = budget_plan(keeper->budget, i);
		struct kept *kept = &keeper->kept[i];

		kept->all_exact = budget_plan_is_exact(plan);
		if (budget_plan_equals(plan, &kept->plan) &&
		    (plan->halvings || plan->detached || kept->attached_since_ns))
			continue;
		tell(keeper, i, plan);
		apply_plan(keeper, kept, plan);
	}
	arm_timer(keeper);
}

/* ---- life ---- */

static int keep(struct budget_keeper *keeper, struct probe *probe)
{
	struct kept *kept = &keeper->kept[keeper->n];
	uint64_t now_ns = log_clock_ns();

	*kept = (struct kept){
		.probe = probe,
		.lanes = probe_lanes(probe),
		.record_ns = probe_description(probe)->economy.typical_ns,
		.toggle_ns = TYPICAL_TOGGLE,
		.attached_since_ns = now_ns,
		.cpu = calloc(keeper->cpus, sizeof(*kept->cpu)),
	};
	budget_reset(keeper->budget, keeper->n++);
	return kept->cpu ? 0 : -ENOMEM;
}

void budget_keeper_release(struct budget_keeper *keeper)
{
	const struct budget_plan exact = { 0 };

	for (size_t i = 0; i < keeper->n; i++) {
		struct kept *kept = &keeper->kept[i];

		if (!budget_plan_is_exact(&kept->plan))
			apply_plan(keeper, kept, &exact);
		free(kept->cpu);
	}
	keeper->n = 0;
	arm_timer(keeper);
	if (keeper->statistics_fd >= 0)
		close(keeper->statistics_fd);
	keeper->statistics_fd = -1;
}

void budget_keeper_adopt(struct budget_keeper *keeper, const struct config *config)
{
	struct probe *const *probes;
	size_t n;

	budget_set_limit(keeper->budget, config_number(config, "budget") / 100);
	probes = probe_set_probes(keeper->probes, &n);
	for (size_t i = 0; i < n && keeper->n < BUDGET_MAX_PROBES; i++)
		if (probe_lanes(probes[i]) && keep(keeper, probes[i])) {
			log_error("budget", "out of memory: no probe is held to the budget");
			budget_keeper_release(keeper);
			return;
		}
	for (size_t i = 0; i < keeper->n; i++)
		keeper->kept[i].events_before = count_events(keeper, &keeper->kept[i]);
	keeper->read_ns = log_clock_ns();
	keeper->own_ns = own_cpu_ns();
}

int budget_keeper_new(struct loop *loop, struct probe_set *probes, const struct config *config,
		      const struct budget_floor *floor, struct budget_keeper **ret_keeper)
{
	struct budget_keeper *keeper = calloc(1, sizeof(*keeper));
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	int err;

	if (!keeper)
		return -ENOMEM;
	keeper->loop = loop;
	keeper->probes = probes;
	keeper->floor = *floor;
	keeper->cpus = probe_set_cpus(probes);
	keeper->seed = log_clock_ns();
	keeper->statistics_fd = -1;
	keeper->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	err = keeper->timer_fd < 0 ? -errno : 0;
	keeper->budget = budget_new(online > 0 ? (unsigned)online : 1, BUDGET_MAX_PROBES);
	keeper->busy = calloc(keeper->cpus, sizeof(*keeper->busy));
	keeper->busy_memory = calloc((size_t)keeper->cpus * 2, sizeof(*keeper->busy_memory));
	if (!err && (!keeper->budget || !keeper->busy || !keeper->busy_memory))
		err = -ENOMEM;
	if (!err)
		err = loop_add_fd(loop, keeper->timer_fd, turn_windows, keeper);
	if (!err)
		err = loop_add_timer(loop, TICK_NS, read_all, keeper);
	if (err) {
		budget_keeper_free(keeper);
		return err;
	}
	if (sched_getaffinity(0, sizeof(keeper->own_cpus), &keeper->own_cpus))
		CPU_ZERO(&keeper->own_cpus); /* more CPUs than fit: nothing is measured by calls */
	budget_measure_busy(keeper->cpus, keeper->busy_memory, keeper->busy);
	budget_keeper_adopt(keeper, config);
	*ret_keeper = keeper;
	return 0;
}

void budget_keeper_free(struct budget_keeper *keeper)
{
	if (!keeper)
		return;
	if (keeper->timer_fd >= 0)
		budget_keeper_release(keeper);
	loop_remove_fd(keeper->loop, keeper->timer_fd);
	if (keeper->timer_fd >= 0)
		close(keeper->timer_fd);
	budget_free(keeper->budget);
	free(keeper->busy);
	free(keeper->busy_memory);
	free(keeper);
}
