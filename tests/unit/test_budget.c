// SPDX-License-Identifier: Apache-2.0
/* The budget: which plans follow from which readings, and what events in windows weigh. Simulated time. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "agent/budget.h"
#include "agent/budget_weight.h"

#define CPUS 2

/* Two probes: one that samples and can be taken away, one that can only be taken away. */
enum { CALLS, SWITCHES, PROBES };

static const struct budget_terms terms[PROBES] = {
	[CALLS] = { .value = 1,
		    .max_shift = 3,
		    .can_pause = true,
		    .dispatch_ns = 50,
		    .record_ns = 100,
		    .pass_ns = 5,
		    .toggle_ns = 500000 },
	[SWITCHES] = { .value = 3,
		       .can_pause = true,
		       .dispatch_ns = 25,
		       .record_ns = 150,
		       .toggle_ns = 500000 },
};

/* A second in which so many events come while the hooks are there. */
static void pass_second(struct budget *budget, double calls, double switches, double own_seconds)
{
	const double rates[PROBES] = { calls, switches };
	struct budget_reading readings[PROBES];

	for (size_t i = 0; i < PROBES; i++) {
		const struct budget_plan *plan = budget_plan(budget, i);
		double attached = plan->detached ? 0 : ldexp(1, -(int)plan->halvings);

		readings[i] = (struct budget_reading){ .terms = terms[i],
						       .events = rates[i] * attached,
						       .attached_seconds = attached };
	}
	budget_read(budget, 1, own_seconds, readings);
}

static struct budget *budget_of(double limit)
{
	struct budget *budget = budget_new(CPUS, PROBES);

	assert_non_null(budget);
	budget_set_limit(budget, limit);
	return budget;
}

static bool is_exact(const struct budget *budget, size_t i)
{
	return budget_plan_is_exact(budget_plan(budget, i));
}

static double level(const struct budget *budget, size_t i)
{
	return budget_plan_ratio(budget_plan(budget, i));
}

static void cost_is_events_times_time(void **state)
{
	struct budget *budget = budget_of(0);

	pass_second(budget, 1000000, 0, 0.02);
	assert_float_equal(budget_probe_cost(budget, CALLS), 0.15 / CPUS, 1e-9);
	assert_float_equal(budget_cost(budget), (0.15 + 0.02) / CPUS, 1e-9);
	assert_float_equal(budget_cpu_seconds(budget), 0.17, 1e-9);
	budget_free(budget);
}

static void a_quiet_host_is_recorded_in_full(void **state)
{
	struct budget *budget = budget_of(0.01);

	for (int i = 0; i < 100; i++) {
		pass_second(budget, 20000, 10000, 0.01);
		assert_true(is_exact(budget, CALLS) && is_exact(budget, SWITCHES));
	}
	budget_free(budget);
}

static void without_a_limit_nothing_is_left_out(void **state)
{
	struct budget *budget = budget_of(0);

	for (int i = 0; i < 10; i++)
		pass_second(budget, 1e7, 1e6, 1);
	assert_true(is_exact(budget, CALLS) && is_exact(budget, SWITCHES));
	budget_free(budget);
}

static void sampling_comes_before_windows(void **state)
{
	struct budget *budget = budget_of(0.01);

	/* 1.35 % of the machine; 0.5 + 0.45 when one in two is recorded */
	pass_second(budget, 180000, 0, 0);
	assert_true(is_exact(budget, CALLS)); /* once is no storm */
	pass_second(budget, 180000, 0, 0);
	assert_int_equal(budget_plan(budget, CALLS)->shift, 1);
	assert_int_equal(budget_plan(budget, CALLS)->halvings, 0);
	assert_true(is_exact(budget, SWITCHES));
	budget_free(budget);
}

static void a_storm_is_held_to_the_limit(void **state)
{
	struct budget *budget = budget_of(0.01);

	for (int i = 0; i < 10; i++)
		pass_second(budget, 8e6, 1000, 0.002);
	assert_int_equal(budget_plan(budget, CALLS)->shift, 3);
	assert_in_range(budget_plan(budget, CALLS)->halvings, 4, 6);
	assert_true(is_exact(budget, SWITCHES));
	assert_true(budget_probe_cost(budget, CALLS) <= 0.01);
	assert_true(budget_probe_cost(budget, CALLS) >= 0.003);
	budget_free(budget);
}

static void the_costliest_gives_way_first(void **state)
{
	struct budget *budget = budget_of(0.01);

	for (int i = 0; i < 5; i++)
		pass_second(budget, 50000, 2e6, 0);
	assert_true(is_exact(budget, CALLS)); /* 0.375 % */
	assert_true(level(budget, SWITCHES) < 0.1);
	budget_free(budget);
}

static void only_the_least_valuable_is_given_up(void **state)
{
	struct budget *budget = budget_of(0.0002);

	for (int i = 0; i < 5; i++)
		pass_second(budget, 1e7, 0, 0);
	assert_true(budget_plan(budget, CALLS)->detached);
	assert_false(budget_plan(budget, SWITCHES)->detached);
	budget_free(budget);
}

/* Traps that are given up but for what may take half of the limit, and switches that take 0.6 of it. */
static void what_is_left_of_one_is_not_others_to_take(void **state)
{
	struct budget *budget = budget_of(0.01);
	const struct budget_terms traps = {
		.value = 1, .can_pause = true, .no_windows = true, .dispatch_ns = 5000
	};
	double left[] = { 0, 0.005 };

	for (int i = 0; i < 2; i++) {
		budget_reset(budget, CALLS);
		budget_reset(budget, SWITCHES);
		for (int second = 0; second < 5; second++) {
			struct budget_reading readings[PROBES] = {
				[CALLS] = { traps, 100000, 1 },
				[SWITCHES] = { terms[SWITCHES], 0.006 * CPUS * 1e9 / 175, 1 },
			};

			readings[CALLS].terms.left = left[i];
			if (budget_plan(budget, CALLS)->detached)
				readings[CALLS] =
					(struct budget_reading){ .terms = readings[CALLS].terms };
			budget_read(budget, 1, 0, readings);
		}
		assert_true(budget_plan(budget, CALLS)->detached);
		assert_int_equal(is_exact(budget, SWITCHES), left[i] == 0);
	}
	budget_free(budget);
}

static void what_was_given_up_is_looked_at_again(void **state)
{
	struct budget *budget = budget_of(0.0002);
	int seconds = 0;

	for (int i = 0; i < 5; i++)
		pass_second(budget, 1e7, 0, 0);
	while (budget_plan(budget, CALLS)->detached && seconds++ < 1000)
		pass_second(budget, 0, 0, 0);
	assert_in_range(seconds, 50, 70);
	for (int i = 0; i < 20; i++)
		pass_second(budget, 0, 0, 0);
	assert_true(is_exact(budget, CALLS));
	budget_free(budget);
}

static void it_recovers_after_the_storm(void **state)
{
	struct budget *budget = budget_of(0.01);
	int seconds = 0;

	for (int i = 0; i < 10; i++)
		pass_second(budget, 8e6, 1000, 0);
	while (!is_exact(budget, CALLS) && seconds++ < 100)
		pass_second(budget, 1000, 1000, 0);
	assert_int_equal(seconds, BUDGET_PATIENCE);
	budget_free(budget);
}

static void it_does_not_flap(void **state)
{
	struct budget *budget = budget_of(0.01);
	struct budget_plan before = { 0 };
	int changes = 0;

	/* Gusts of 8 s with 8 s between: each pause is long enough for a step back, at first. */
	for (int i = 0; i < 160; i++) {
		pass_second(budget, i % 16 < 8 ? 8e6 : 1000, 0, 0);
		changes += memcmp(&before, budget_plan(budget, CALLS), sizeof(before)) != 0;
		before = *budget_plan(budget, CALLS);
	}
	assert_in_range(changes, 1, 6);
	/* A rate just beyond a level's bound. */
	changes = 0;
	for (int i = 0; i < 300; i++) {
		pass_second(budget, i % 2 ? 140000 : 130000, 0, 0);
		changes += memcmp(&before, budget_plan(budget, CALLS), sizeof(before)) != 0;
		before = *budget_plan(budget, CALLS);
	}
	assert_in_range(changes, 0, 4);
	budget_free(budget);
}

/* One that samples connections: beyond that it records all of them a part of the time, in windows that are long enough. */
static void windows_for_what_takes_long(void **state)
{
	static const struct budget_terms connections = {
		.value = 4,
		.max_shift = 5,
		.can_pause = true,
		.windows_are_whole = true,
		.least_window = 0.125,
		.dispatch_ns = 60,
		.record_ns = 300,
		.pass_ns = 40,
		.toggle_ns = 500000,
	};
	struct budget *budget = budget_of(0.01);
	const struct budget_plan *plan = budget_plan(budget, CALLS);

	for (int second = 0; second < 30; second++) {
		double attached = ldexp(1, -(int)plan->halvings);
		const struct budget_reading readings[PROBES] = {
			{ .terms = connections,
			  .events = 600000 * attached,
			  .attached_seconds = attached },
		};

		budget_read(budget, 1, 0, readings);
	}
	assert_int_equal(plan->shift, 0);
	assert_int_equal(plan->halvings, 4);
	assert_float_equal(budget_slot_seconds(0.125, plan->halvings), 2, 0);
	assert_float_equal(budget_slot_seconds(0.125, 1), 0.5, 0);
	assert_float_equal(budget_slot_seconds(0, 8), 0.5, 0);
	budget_free(budget);
	(void)state;
}

/* Both cost too much: the one of three times the value gets about three times as much of the budget. */
static void shares_go_by_value(void **state)
{
	struct budget *budget = budget_of(0.02);
	double calls, switches;

	for (int second = 0; second < 30; second++)
		pass_second(budget, 5e6, 5e6, 0);
	calls = budget_probe_cost(budget, CALLS);
	switches = budget_probe_cost(budget, SWITCHES);
	assert_true(switches > 2 * calls && switches < 6 * calls);
	budget_free(budget);
	(void)state;
}

/* Windows are opened in the agent's own time: that is not to be paid for twice. */
static void toggles_are_paid_for_once(void **state)
{
	struct budget *budget = budget_of(0.01);
	const struct budget_plan *plan = budget_plan(budget, SWITCHES);
	unsigned halvings[2];

	for (int counted = 0; counted < 2; counted++) {
		budget_reset(budget, SWITCHES);
		for (int second = 0; second < 30; second++) {
			double toggles =
				plan->halvings ? 500000 * BUDGET_WINDOWS_PER_SECOND / 1e9 : 0;

			pass_second(budget, 0, 2e6, 0.012 + (counted ? toggles : 0));
		}
		halvings[counted] = plan->halvings;
	}
	assert_true(halvings[0] > 0);
	/* where the agent's time is taken for lower than it is, it is so by the toggles only */
	assert_in_range(halvings[1] - halvings[0], 0, 1);
	assert_false(plan->detached);
	budget_free(budget);
	(void)state;
}

/* A probe that samples, and costs more than the limit even so: to give up the others would not help. */
static void others_do_not_pay_for_what_cannot_be_had_for_less(void **state)
{
	static const struct budget_terms sampling = {
		.value = 4, .max_shift = 5, .dispatch_ns = 25, .record_ns = 300, .pass_ns = 25
	};
	struct budget *budget = budget_of(0.01);

	for (int second = 0; second < 30; second++) {
		const struct budget_plan *plan = budget_plan(budget, SWITCHES);
		double attached = plan->detached ? 0 : ldexp(1, -(int)plan->halvings);
		const struct budget_reading readings[PROBES] = {
			{ .terms = sampling, .events = 800000, .attached_seconds = 1 },
			{ .terms = terms[SWITCHES],
			  .events = 200000 * attached,
			  .attached_seconds = attached },
		};

		budget_read(budget, 1, 0, readings);
	}
	assert_int_equal(budget_plan(budget, CALLS)->shift, 5);
	assert_true(budget_probe_cost(budget, CALLS) > 0.01);
	assert_false(budget_plan(budget, SWITCHES)->detached);
	assert_true(budget_plan(budget, SWITCHES)->halvings > 0);
	assert_true(budget_probe_cost(budget, SWITCHES) < 0.0025);
	budget_free(budget);
	(void)state;
}

static void the_agents_own_time_leaves_less_for_probes(void **state)
{
	struct budget *budget = budget_of(0.01);

	for (int i = 0; i < 5; i++) /* 0.75 % and 0.5 % */
		pass_second(budget, 100000, 0, 0.01);
	assert_false(is_exact(budget, CALLS));
	budget_reset(budget, CALLS);
	for (int i = 0; i < 5; i++) /* however much it is, probes keep a quarter */
		pass_second(budget, 30000, 0, 0.1);
	assert_true(is_exact(budget, CALLS));
	budget_free(budget);
}

/* ---- weights ---- */

#define SLOT_NS 5e8

/* So many windows of the given length, one in each half second; returns what the events come to in a second. */
static double record(double rate, double length_ns, unsigned shift, int windows)
{
	struct budget_weight weight;
	double recorded = 0;

	budget_weight_start(&weight);
	for (int i = 0; i < windows; i++) {
		/* longer than planned now and then */
		double lasted_ns = i % 3 ? length_ns : length_ns * 1.7;
		uint32_t each = budget_weight_open(&weight, SLOT_NS, length_ns, shift);

		recorded += rate * lasted_ns / 1e9 / (1U << shift) * each;
		budget_weight_close(&weight, lasted_ns);
	}
	return recorded / (windows * SLOT_NS / 1e9);
}

static void windows_stand_for_all_the_time(void **state)
{
	assert_float_equal(record(10000, 15e6, 0, 40), 10000, 300);
	assert_float_equal(record(10000, 15e6, 5, 40), 10000, 300);
	assert_float_equal(record(6e6, 2e6, 5, 40), 6e6, 2e5);
}

static double slowdown(double taken, double hooks_ns, double pace_ns)
{
	return pace_ns / (pace_ns - taken * hooks_ns);
}

static void hooks_take_from_the_work_what_was_not_idle(void **state)
{
	/* On a busy CPU all of it, whatever the share of those that call. */
	assert_float_equal(budget_weight_taken(200, 360, 1, 1), 1, 1e-5);
	assert_float_equal(budget_weight_taken(200, 360, 0.3, 1), 1, 1e-5);
	/* A CPU that would be busy for 60 % makes 0.6 / 160 ns calls, and 1 / 360 ns with hooks. */
	assert_float_equal(slowdown(budget_weight_taken(200, 360, 1, 0.6), 200, 360),
			   0.6 / 160 * 360, 1e-5);
	/* 50 % for those that call, 30 % for others that go first: 0.5 / 160 and 0.7 / 360. */
	assert_float_equal(slowdown(budget_weight_taken(200, 360, 0.7, 0.8), 200, 360),
			   0.5 / 160 / (0.7 / 360), 1e-5);
	/* An idle CPU just idles less. */
	assert_float_equal(budget_weight_taken(200, 360, 0.3, 0.2), 0, 0);
	/* Nothing was seen. */
	assert_float_equal(budget_weight_taken(200, 0, 0, 1), 0, 0);
	/* What cannot be: hooks that take longer than it all. */
	assert_in_range(slowdown(budget_weight_taken(500, 360, 1, 1), 500, 360), 19, 21);
}

/* A quarter of the time is the hooks': on a busy CPU, of four requests one did not come to be; on another, idle time goes first. */
static void a_busy_cpu_is_slowed_down(void **state)
{
	assert_float_equal(budget_weight_slowdown(0.25, 1), 4.0 / 3, 1e-9);
	assert_float_equal(budget_weight_slowdown(0.25, 0.9), 1.2, 1e-9);
	assert_float_equal(budget_weight_slowdown(0.25, 0.5), 1, 0);
	assert_float_equal(budget_weight_slowdown(0, 1), 1, 0);
	assert_in_range((uint64_t)budget_weight_slowdown(5, 1), 2, 100);
	(void)state;
}

static void an_event_never_weighs_less_than_one(void **state)
{
	struct budget_weight weight;

	budget_weight_start(&weight);
	assert_int_equal(budget_weight_open(&weight, 2000, 1000, 0), 2);
	budget_weight_close(&weight, 1e6); /* far longer than meant: owed less than nothing */
	assert_int_equal(budget_weight_open(&weight, 2000, 1000, 0), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cost_is_events_times_time),
		cmocka_unit_test(a_quiet_host_is_recorded_in_full),
		cmocka_unit_test(without_a_limit_nothing_is_left_out),
		cmocka_unit_test(sampling_comes_before_windows),
		cmocka_unit_test(a_storm_is_held_to_the_limit),
		cmocka_unit_test(the_costliest_gives_way_first),
		cmocka_unit_test(only_the_least_valuable_is_given_up),
		cmocka_unit_test(what_is_left_of_one_is_not_others_to_take),
		cmocka_unit_test(what_was_given_up_is_looked_at_again),
		cmocka_unit_test(it_recovers_after_the_storm),
		cmocka_unit_test(it_does_not_flap),
		cmocka_unit_test(windows_for_what_takes_long),
		cmocka_unit_test(shares_go_by_value),
		cmocka_unit_test(toggles_are_paid_for_once),
		cmocka_unit_test(others_do_not_pay_for_what_cannot_be_had_for_less),
		cmocka_unit_test(the_agents_own_time_leaves_less_for_probes),
		cmocka_unit_test(windows_stand_for_all_the_time),
		cmocka_unit_test(hooks_take_from_the_work_what_was_not_idle),
		cmocka_unit_test(a_busy_cpu_is_slowed_down),
		cmocka_unit_test(an_event_never_weighs_less_than_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
