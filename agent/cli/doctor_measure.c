// SPDX-License-Identifier: Apache-2.0
/* What hooks cost on this host now; see doctor_measure.h. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "agent/cli/doctor_measure.h"
#include "agent/log.h"

#define NS_PER_S 1e9

/* Hooks of all probes, in the same order each time. */
static size_t count_runs(struct probe_set *set, struct probe_runs runs[])
{
	size_t n_probes, n = 0;
	struct probe *const *probes = probe_set_probes(set, &n_probes);

	for (size_t i = 0; i < n_probes; i++) {
		const struct hook_status *statuses;
		size_t n_hooks = probe_hook_statuses(probes[i], &statuses);

		for (size_t hook = 0; hook < n_hooks; hook++, n++)
			if (runs)
				runs[n] = probe_count_hook_runs(probes[i], hook);
	}
	return n;
}

/* As the agent would: what it does not read in time is lost, and then costs less. */
static void drain_for(struct probe_set *set, double seconds)
{
	const struct timespec moment = { .tv_nsec = 20000000 };
	uint64_t end_ns = log_clock_ns() + (uint64_t)(seconds * NS_PER_S);

	while (log_clock_ns() < end_ns) {
		nanosleep(&moment, NULL);
		probe_set_drain(set);
	}
}

static int compare_shares(const void *left, const void *right)
{
	const struct doctor_cost *a = left, *b = right;

	return (a->share < b->share) - (a->share > b->share);
}

static void price(struct probe_set *set, const struct probe_runs before[],
		  const struct probe_runs after[], struct doctor_measurement *measurement)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	size_t n_probes, n = 0;
	struct probe *const *probes = probe_set_probes(set, &n_probes);

	for (size_t i = 0; i < n_probes; i++) {
		const struct hook_status *statuses;
		size_t n_hooks = probe_hook_statuses(probes[i], &statuses);

		for (size_t hook = 0; hook < n_hooks; hook++, n++) {
			double runs = (double)(after[n].runs - before[n].runs);
			double ns = (double)(after[n].ns - before[n].ns);
			struct doctor_cost *cost = &measurement->costs[measurement->n];

			if (!statuses[hook].attached || runs <= 0)
				continue;
			/* The kernel's clock is in its figure, what it takes to get there is not. */
			ns = ns / runs - measurement->floor.clock_ns;
			ns = (ns > 0 ? ns : 0) + measurement->floor.dispatch_ns;
			*cost = (struct doctor_cost){
				.probe = probe_description(probes[i])->name,
				.hook = statuses[hook].hook->name,
				.runs = runs / measurement->seconds,
				.ns = ns,
				.share = runs * ns /
					 (measurement->seconds * NS_PER_S *
					  (double)(cpus > 0 ? cpus : 1)),
			};
			measurement->n++;
		}
	}
	qsort(measurement->costs, measurement->n, sizeof(*measurement->costs), compare_shares);
}

int doctor_measure(struct probe_set *probes, const struct budget_floor *floor,
		   struct doctor_measurement *ret_measurement)
{
	size_t n = count_runs(probes, NULL);
	struct probe_runs *before = calloc(n + 1, sizeof(*before));
	struct probe_runs *after = calloc(n + 1, sizeof(*after));
	struct doctor_measurement measurement = { .floor = *floor };
	int fd = -1, err = -ENOMEM;
	uint64_t began_ns;

	measurement.costs = calloc(n + 1, sizeof(*measurement.costs));
	if (!before || !after || !measurement.costs)
		goto out;
	fd = budget_statistics_on();
	if (fd < 0) {
		err = fd;
		goto out;
	}
	began_ns = log_clock_ns();
	count_runs(probes, before);
	drain_for(probes, DOCTOR_MEASURE_SECONDS);
	count_runs(probes, after);
	measurement.seconds = (double)(log_clock_ns() - began_ns) / NS_PER_S;
	price(probes, before, after, &measurement);
	*ret_measurement = measurement;
	measurement.costs = NULL;
	err = 0;
out:
	if (fd >= 0)
		close(fd);
	free(measurement.costs);
	free(before);
	free(after);
	return err;
}

void doctor_measurement_free(struct doctor_measurement *measurement)
{
	free(measurement->costs);
	*measurement = (struct doctor_measurement){ 0 };
}

/* ---- what is told ---- */

static double total_share(const struct doctor_measurement *measurement)
{
	double total = 0;

	for (size_t i = 0; i < measurement->n; i++)
		total += measurement->costs[i].share;
	return total;
}

void doctor_measurement_print(FILE *out, const struct doctor_measurement *measurement)
{
	fprintf(out, "     %-20s %-18s %12s %9s %9s\n", "probe", "hook", "events/s", "ns each",
		"of CPU");
	for (size_t i = 0; i < measurement->n; i++) {
		const struct doctor_cost *cost = &measurement->costs[i];

		fprintf(out, "     %-20s %-18s %12.0f %9.0f %7.3f %%\n", cost->probe, cost->hook,
			cost->runs, cost->ns, 100 * cost->share);
	}
	fprintf(out, "     %-20s %-18s %12s %9s %7.3f %%\n", "all", "", "", "",
		100 * total_share(measurement));
	fprintf(out, "     for %.1f s, on all CPUs; of each event %.0f ns%s to reach the hook\n",
		measurement->seconds, measurement->floor.dispatch_ns,
		measurement->floor.measured ? "" : " (typically)");
}

json_t *doctor_measurement_describe(const struct doctor_measurement *measurement)
{
	json_t *list = json_array();

	for (size_t i = 0; i < measurement->n; i++) {
		const struct doctor_cost *cost = &measurement->costs[i];

		json_array_append_new(list,
				      json_pack("{s:s, s:s, s:f, s:f, s:f}", "probe", cost->probe,
						"hook", cost->hook, "events_per_second", cost->runs,
						"ns_per_event", cost->ns, "ratio", cost->share));
	}
	return json_pack("{s:f, s:f, s:b, s:f, s:o}", "seconds", measurement->seconds,
			 "dispatch_ns", measurement->floor.dispatch_ns, "dispatch_measured",
			 measurement->floor.measured, "ratio", total_share(measurement), "hooks",
			 list);
}
