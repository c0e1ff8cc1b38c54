// SPDX-License-Identifier: Apache-2.0
/* leadline doctor --measure on the running kernel, beside a load it must see: what it tells adds up. Root. No speed is asserted. */
#include <jansson.h>
#include <math.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "tests/harness/harness.h"

static int call(void *argument, void *shared)
{
	volatile uint64_t *stop = shared;

	while (!*stop)
		syscall(SYS_getppid);
	(void)argument;
	return 0;
}

static double number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	assert_true(json_is_number(value));
	return json_number_value(value);
}

static bool is_hook(const json_t *hook, const char *probe, const char *name)
{
	return !strcmp(json_string_value(json_object_get(hook, "probe")), probe) &&
	       !strcmp(json_string_value(json_object_get(hook, "hook")), name);
}

static void it_measures_what_hooks_cost(void **state)
{
	struct workload *workload = workload_start("caller", -1, call, NULL);
	const double cpus = (double)sysconf(_SC_NPROCESSORS_ONLN);
	double sum = 0, entered = 0, left = 0, before = INFINITY;
	json_t *document, *cost, *hook;
	struct output *output;
	size_t i;

	workload_release(workload);
	output = run_shell("%s doctor --measure --json", leadline_binary());
	*(volatile uint64_t *)workload->shared = 1;
	workload_finish(workload, 10);
	document = json_loads(output->text, 0, NULL);
	assert_non_null(document);
	cost = json_object_get(document, "cost");
	assert_true(number(cost, "seconds") >= 4);
	assert_true(number(cost, "dispatch_ns") > 0);
	json_array_foreach(json_object_get(cost, "hooks"), i, hook)
	{
		double events = number(hook, "events_per_second");
		double ratio = number(hook, "ratio");

		assert_true(ratio <= before); /* the dearest first */
		before = ratio;
		sum += ratio;
		assert_float_equal(ratio / (events * number(hook, "ns_per_event") / 1e9 / cpus), 1,
				   1e-6);
		if (is_hook(hook, "syscalls", "enter"))
			entered = events;
		if (is_hook(hook, "syscalls", "exit"))
			left = events;
	}
	assert_float_equal(sum / number(cost, "ratio"), 1, 1e-6);
	assert_true(entered > 10000);
	/* Whatever enters leaves, but for who sleeps inside when it begins or ends. */
	assert_float_equal(left / entered, 1, 0.05);
	json_decref(document);
	output_free(output);
	(void)state;
}

static void it_prints_a_table(void **state)
{
	struct output *output = run_shell("%s doctor --measure", leadline_binary());
	const char *table = strstr(output->text, "\nCost\n     probe                hook");

	assert_non_null(table);
	assert_non_null(strstr(table, "\n     syscalls             enter "));
	assert_non_null(strstr(table, "\n     all "));
	output_free(output);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(it_measures_what_hooks_cost),
		HARNESS_TEST(it_prints_a_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
