// SPDX-License-Identifier: Apache-2.0
/* Health of the running agent while something is wrong with the host, and the command that asks for it. */
#include <jansson.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>
#include "tests/harness/harness.h"

/* Whatever else this machine does, it is fine: what a test needs strict comes after. */
#define LENIENT                                                                                    \
	"--health.window=2s", "--health.cpu.degraded=101", "--health.cpu.unhealthy=101",           \
		"--health.memory.degraded=101", "--health.memory.unhealthy=101",                   \
		"--health.disk_space.degraded=101", "--health.disk_space.unhealthy=101",           \
		"--health.load.degraded=1000000", "--health.load.unhealthy=1000000",               \
		"--health.open_files.degraded=101", "--health.open_files.unhealthy=101",           \
		"--health.pressure.cpu.degraded=101", "--health.pressure.cpu.unhealthy=101",       \
		"--health.pressure.memory.degraded=101", "--health.pressure.memory.unhealthy=101", \
		"--health.pressure.io.degraded=101", "--health.pressure.io.unhealthy=101",         \
		"--health.run_queue.degraded=1h", "--health.run_queue.unhealthy=1h",               \
		"--health.disk_latency.degraded=1h", "--health.disk_latency.unhealthy=1h",         \
		"--health.losses.degraded=101", "--health.losses.unhealthy=101"

/* Whether a check has that status (NULL: any) and its message that text (NULL: any). */
static bool check_says(struct leadline *leadline, const char *name, const char *status,
		       const char *text)
{
	struct answer *answer = leadline_fetch(leadline, NULL, "/health/detailed", NULL, NULL);
	json_t *page = json_loadb(answer->body, answer->size, 0, NULL),
	       *checks = json_object_get(page, "checks"), *check;
	bool says = false;
	size_t i;

	json_array_foreach(checks, i, check)
	{
		if (strcmp(json_string_value(json_object_get(check, "name")), name) != 0)
			continue;
		says = (!status ||
			strcmp(json_string_value(json_object_get(check, "status")), status) == 0) &&
		       (!text ||
			strstr(json_string_value(json_object_get(check, "message")), text));
	}
	json_decref(page);
	answer_free(answer);
	return says;
}

static struct output *ask_at(struct leadline *leadline, const char *host, const char *more)
{
	char listen[64];

	snprintf(listen, sizeof(listen), "--listen=%s:%d", host, leadline->port);
	return leadline_command(
		(const char *[]){ "health", listen, "--health.timeout=1s", more, NULL });
}

static struct output *ask(struct leadline *leadline, const char *more)
{
	return ask_at(leadline, "127.0.0.1", more);
}

static void unmount(void *context)
{
	umount2(context, MNT_DETACH);
}

static void a_filling_disk_is_named(void **state)
{
	struct leadline *leadline = leadline_start_only(
		"host", (const char *[]){ LENIENT, "--health.disk_space.degraded=80",
					  "--health.disk_space.unhealthy=90", NULL });
	char *directory = strdup(temporary_directory());
	const char *device = loop_device(64);
	struct output *output;
	struct answer *answer;

	shell("mkfs.ext4 -q -m 0 %s && mount -t ext4 %s %s", device, device, directory);
	cleanup_push(unmount, directory);
	shell("fallocate -l $(($(stat -f -c '%%a * %%S' %s) * 85 / 100)) %s/most", directory,
	      directory);
	if (!WAIT_UNTIL(check_says(leadline, "disk_space", "degraded", directory), 10))
		test_fail("85 %% of %s is not said to be degraded", directory);
	output = ask(leadline, NULL);
	assert_int_equal(output->status, 0); /* degraded serves */
	assert_non_null(strstr(output->text, "degraded"));
	assert_non_null(strstr(output->text, directory));
	output_free(output);

	shell("fallocate -l $(($(stat -f -c '%%a * %%S' %s) * 60 / 100)) %s/more", directory,
	      directory);
	if (!WAIT_UNTIL(check_says(leadline, "disk_space", "unhealthy", directory), 10))
		test_fail("94 %% of %s is not said to be unhealthy", directory);
	answer = leadline_fetch(leadline, NULL, "/health", NULL, NULL);
	assert_int_equal(answer->status, 503);
	answer_free(answer);
	answer = leadline_fetch(leadline, NULL, "/health/live", NULL, NULL);
	assert_int_equal(answer->status, 200); /* no reason to restart the agent */
	answer_free(answer);
	output = ask(leadline, NULL);
	assert_int_equal(output->status, 1);
	output_free(output);
	assert_true(leadline_logged(leadline, "health.status.changed"));

	shell("rm %s/most %s/more", directory, directory);
	if (!WAIT_UNTIL(check_says(leadline, "disk_space", "healthy", NULL), 10))
		test_fail("an empty disk is not healthy");
	leadline_stop(leadline);
	cleanup_run();
	free(directory);
}

#define BURNERS 3 /* the more, the fewer turns each gets: a percentile needs some */

static int burn(void *argument, void *shared)
{
	double until = clock_seconds() + 40;

	while (clock_seconds() < until)
		;
	return 0;
}

/* Programs that wait for one CPU: the run queue shows it, and who waits. */
static void a_crowded_cpu_shows(void **state)
{
	struct leadline *leadline = leadline_start_only(
		"sched host", (const char *[]){ LENIENT, "--health.cpu.unhealthy=40",
						"--health.run_queue.degraded=4ms", NULL });
	struct workload *burners[BURNERS];
	bool named = false;

	for (int i = 0; i < BURNERS; i++) {
		burners[i] = workload_start("crowd", 0, burn, NULL);
		workload_release(burners[i]);
	}
	assert_true(WAIT_UNTIL(check_says(leadline, "cpu", "unhealthy", NULL), 15));
	for (double until = clock_seconds() + 15; !named && clock_seconds() < until;
	     pause_seconds(0.2)) {
		for (int i = 0; i < BURNERS && !named; i++)
			named = check_says(leadline, "run_queue", NULL, burners[i]->comm);
	}
	for (int i = 0; i < BURNERS; i++)
		kill(burners[i]->pid, SIGKILL);
	assert_true(named);
	leadline_stop(leadline);
}

static void the_command_tells_and_exits(void **state)
{
	struct leadline *leadline = leadline_start_only("host", (const char *[]){ LENIENT, NULL });
	struct output *output;
	json_t *page;

	assert_true(WAIT_UNTIL(check_says(leadline, "cpu", "healthy", NULL), 10));
	output = ask(leadline, NULL);
	assert_int_equal(output->status, 0);
	assert_non_null(strstr(output->text, "healthy    overall\n"));
	assert_null(strchr(output->text, '\033')); /* not a terminal */
	output_free(output);

	output = ask(leadline, "--json");
	assert_int_equal(output->status, 0);
	page = json_loadb(output->text, output->size, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(page, "status")), "healthy");
	assert_true(json_array_size(json_object_get(page, "checks")) >= 10);
	json_decref(page);
	output_free(output);

	/* Configured to listen on all addresses, it is asked on this host's own. */
	for (size_t i = 0; i < 2; i++) {
		output = ask_at(leadline, i ? "" : "0.0.0.0", NULL);
		assert_int_equal(output->status, 0);
		output_free(output);
	}

	/* An agent that hangs, then none at all. */
	kill(leadline->pid, SIGSTOP);
	output = ask(leadline, NULL);
	kill(leadline->pid, SIGCONT);
	assert_int_equal(output->status, 1);
	assert_non_null(strstr(output->text, "does not answer"));
	output_free(output);
	leadline_stop(leadline);
	output = ask(leadline, "--json");
	assert_int_equal(output->status, 1);
	assert_non_null(strstr(output->text, "does not answer"));
	assert_non_null(strstr(output->text, "{\"status\":\"unknown\""));
	output_free(output);
}

/* One that failed is no reason to stop serving, but is said. */
static void a_failed_probe_degrades(void **state)
{
	struct leadline *leadline = leadline_start_only(
		"host process",
		(const char *[]){ LENIENT, "--probes.host.procfs=/nonexistent", NULL });
	struct answer *answer;

	assert_true(WAIT_UNTIL(check_says(leadline, "probes", "degraded", "host"), 10));
	assert_true(check_says(leadline, "memory", "unknown", NULL));
	answer = leadline_fetch(leadline, NULL, "/health", NULL, NULL);
	assert_int_equal(answer->status, 200);
	assert_non_null(strstr(answer->body, "\"status\":\"degraded\""));
	answer_free(answer);
	answer = leadline_fetch(leadline, NULL, "/health/ready", NULL, NULL);
	assert_int_equal(answer->status, 200);
	answer_free(answer);
	leadline_stop(leadline);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(a_filling_disk_is_named),
		HARNESS_TEST(a_crowded_cpu_shows),
		HARNESS_TEST(the_command_tells_and_exits),
		HARNESS_TEST(a_failed_probe_degrades),
	};

	return cmocka_run_group_tests_name("health, live", tests, NULL, NULL);
}
