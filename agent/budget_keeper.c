// SPDX-License-Identifier: Apache-2.0
/* Keeps the agent within its budget; see budget_keeper.h. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "agent/budget_keeper_internal.h"
#include "agent/log.h"
#include "agent/loop.h"
#include "agent/probe_set.h"

#define NS_PER_S	 1000000000ULL
#define TICK_NS		 NS_PER_S
#define TYPICAL_TOGGLE	 1e6
#define CALIBRATE_EVENTS 10000 /* fewer in a second say nothing about a storm: caches are cold */
/* A probe is calibrated anew when it sees so many times the events it was calibrated by. */
#define CALIBRATE_AGAIN 4

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

static double recorded_ratio(const struct kept *kept)
{
	return kept->plan.detached ? kept->left : budget_plan_ratio(&kept->plan);
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
			     recorded_ratio(&keeper->kept[i]));
	}
}

static void describe_plan(const struct kept *kept, const struct budget_plan *plan, char *out,
			  size_t size)
{
	int used = 0;

	out[0] = '\0';
	if (plan->detached) {
		snprintf(out, size, "%s, to stay within the budget",
			 economy_of(kept)->by_trap
				 ? "only programs that make few calls are recorded"
				 : "nothing is recorded");
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
			describe_plan(&keeper->kept[i], &keeper->kept[i].plan, out, size);
	return out;
}

static void tell(const struct budget_keeper *keeper, size_t i, const struct budget_plan *plan)
{
	const struct kept *kept = &keeper->kept[i];
	double ratio = budget_plan_ratio(plan);
	char text[160];

	describe_plan(kept, plan, text, sizeof(text));
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

static bool needs_calibration(const struct kept *kept, double events)
{
	return kept->all_exact && events >= CALIBRATE_EVENTS &&
	       events > CALIBRATE_AGAIN * kept->calibrated_by;
}

static void calibrate(struct kept *kept, double record_ns, double events)
{
	if (record_ns <= 0) /* others had the CPU meanwhile */
		return;
	kept->record_ns = record_ns;
	kept->calibrated_by = events;
	log_debug("budget", "%s: an event takes %.0f ns and %.0f ns to get there", name_of(kept),
		  record_ns, kept->dispatch_ns);
}

/* The kernel's statistics see programs only, not all of what hooks make a call wait for. */
static bool is_seen_by_calls(const struct budget_keeper *keeper, const struct kept *kept)
{
	return economy_of(kept)->is_call && keeper->floor.call_ns > 0;
}

static void calibrate_by_calls(struct budget_keeper *keeper, const double events[])
{
	for (size_t i = 0; i < keeper->n; i++) {
		struct kept *kept = &keeper->kept[i];

		if (is_seen_by_calls(keeper, kept) && needs_calibration(kept, events[i]))
			calibrate(kept, budget_calls_record_ns(keeper, kept), events[i]);
	}
}

/* What ran since statistics_on(), where nothing was left out, tells what recording costs. */
static void calibrate_by_statistics(struct budget_keeper *keeper, const double events[])
{
	for (size_t i = 0; i < keeper->n; i++) {
		struct kept *kept = &keeper->kept[i];
		struct probe_runs now = probe_count_runs(kept->probe);
		double ns = (double)(now.ns - kept->runs.ns) -
			    (double)(now.runs - kept->runs.runs) * keeper->floor.clock_ns;

		if (!is_seen_by_calls(keeper, kept) && needs_calibration(kept, events[i]))
			calibrate(kept, ns / events[i], events[i]);
	}
	close(keeper->statistics_fd);
	keeper->statistics_fd = -1;
}

static bool wants_calibration(const struct budget_keeper *keeper, const double events[])
{
	for (size_t i = 0; i < keeper->n; i++)
		if (needs_calibration(&keeper->kept[i], events[i]))
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
	uint64_t events = budget_count_events(keeper, kept);

	budget_account_attached(kept, log_clock_ns());
	*reading = (struct budget_reading){
		.terms = {
			.value = economy->value,
			.max_shift = economy->max_shift,
			.can_pause = probe_can_pause(kept->probe),
			.no_windows = economy->by_trap,
			.windows_are_whole = economy->by_connection,
			.least_window = budget_least_window(economy),
			.dispatch_ns = kept->dispatch_ns,
			.record_ns = kept->record_ns,
			.pass_ns = budget_pass_ns(economy),
			.toggle_ns = kept->toggle_ns,
			.left = budget_left(keeper, kept),
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
	if (keeper->statistics_fd >= 0)
		calibrate_by_statistics(keeper, events);
	calibrate_by_calls(keeper, events);
	for (size_t i = 0; i < keeper->n; i++)
		readings[i].terms.record_ns = keeper->kept[i].record_ns;
	if (wants_calibration(keeper, events))
		turn_statistics_on(keeper);
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
		budget_apply_plan(keeper, kept, plan);
	}
	budget_arm_timer(keeper);
}

/* ---- life ---- */

/* What an event costs before it gets to a program of the probe's. */
static double dispatch_ns(struct budget_keeper *keeper, const struct probe_economy *economy)
{
	if (!economy->by_trap)
		return keeper->floor.dispatch_ns *
		       (economy->hooks_per_event ? economy->hooks_per_event : 1);
	if (!keeper->trap_ns)
		keeper->trap_ns = budget_measure_trap();
	return keeper->trap_ns;
}

static int keep(struct budget_keeper *keeper, struct probe *probe)
{
	struct kept *kept = &keeper->kept[keeper->n];
	uint64_t now_ns = log_clock_ns();

	*kept = (struct kept){
		.probe = probe,
		.lanes = probe_lanes(probe),
		.record_ns = probe_description(probe)->economy.typical_ns,
		.dispatch_ns = dispatch_ns(keeper, &probe_description(probe)->economy),
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
			budget_apply_plan(keeper, kept, &exact);
		free(kept->cpu);
	}
	keeper->n = 0;
	budget_arm_timer(keeper);
	if (keeper->statistics_fd >= 0)
		close(keeper->statistics_fd);
	keeper->statistics_fd = -1;
}

void budget_keeper_adopt(struct budget_keeper *keeper, const struct config *config)
{
	struct probe *const *probes;
	size_t n;

	keeper->limit = config_number(config, "budget") / 100;
	budget_set_limit(keeper->budget, keeper->limit);
	probes = probe_set_probes(keeper->probes, &n);
	for (size_t i = 0; i < n && keeper->n < BUDGET_MAX_PROBES; i++)
		if (probe_lanes(probes[i]) && keep(keeper, probes[i])) {
			log_error("budget", "out of memory: no probe is held to the budget");
			budget_keeper_release(keeper);
			return;
		}
	for (size_t i = 0; i < keeper->n; i++)
		keeper->kept[i].events_before = budget_count_events(keeper, &keeper->kept[i]);
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
		err = loop_add_fd(loop, keeper->timer_fd, budget_turn_windows, keeper);
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
