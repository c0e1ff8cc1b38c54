// SPDX-License-Identifier: Apache-2.0
/*
 * The right name on everything: containers of a real runtime, however short their lives, and services that are started
 * again. The names of pods: tests/peers/test_kubernetes.c.
 */
#include <jansson.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
#include "tests/harness/harness.h"

/* ---- containers ---- */

struct bundle {
	const char *directory;
	char id[64];
	char group[64]; /* "/leadline-…" */
};

static void delete_container(void *id)
{
	struct output *output = run_shell("runc delete --force %s", (char *)id);

	output_free(output);
	free(id);
}

/* With the host's own programs, and as few privileges as runc gives by itself. `command` runs in a shell. */
static struct bundle make_bundle(const char *name, const char *command)
{
	static const char *const directories[] = { "bin", "lib", "lib64", "usr", "etc" };
	struct bundle bundle = { .directory = temporary_directory() };
	char path[4200], *text;
	json_t *spec, *process, *mounts;

	require_root();
	require_program("runc");
	snprintf(bundle.id, sizeof(bundle.id), "leadline-%s-%d", name, getpid());
	snprintf(bundle.group, sizeof(bundle.group), "/leadline-test-%s-%d", name, getpid());
	cleanup_push(delete_container, strdup(bundle.id));
	shell("mkdir %s/rootfs && cd %s/rootfs && mkdir bin lib lib64 usr etc proc dev sys && cd .. && runc spec",
	      bundle.directory, bundle.directory);
	snprintf(path, sizeof(path), "%s/config.json", bundle.directory);
	spec = json_load_file(path, 0, NULL);
	assert_non_null(spec);
	process = json_object_get(spec, "process");
	json_object_del(
		process,
		"rlimits"); /* raising them needs what a locked-down machine does not give */
	json_object_set_new(process, "terminal", json_false());
	json_object_set_new(process, "args", json_pack("[s, s, s]", "/bin/sh", "-c", command));
	json_object_set_new(json_object_get(spec, "linux"), "cgroupsPath",
			    json_string(bundle.group));
	mounts = json_object_get(spec, "mounts");
	for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++) {
		snprintf(path, sizeof(path), "/%s", directories[i]);
		json_array_append_new(mounts, json_pack("{s:s, s:s, s:s, s:[s, s]}", "destination",
							path, "type", "bind", "source", path,
							"options", "rbind", "ro"));
	}
	text = json_dumps(spec, JSON_INDENT(1));
	write_file(bundle.directory, "config.json", text);
	free(text);
	json_decref(spec);
	return bundle;
}

static double container_seconds(struct leadline *leadline, const char *container, const char *comm)
{
	struct page *page = leadline_scrape(leadline);
	double seconds = -1;

	if (metric_count(page, "leadline_cpu_seconds_total", "container", container, "comm", comm,
			 NULL))
		seconds = metric_sum(page, "leadline_cpu_seconds_total", "container", container,
				     "comm", comm, NULL);
	page_free(page);
	return seconds;
}

/* About a third of a second of a shell. */
static const char count_up[] = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done; times";

/* "0m0.30s 0m0.01s", twice: the shell's own and its children's. */
static double told_seconds(const char *text)
{
	double minutes[2], seconds[2];
	const char *at = strstr(text, "0m");

	if (!at || sscanf(at, "%lfm%lfs %lfm%lfs", &minutes[0], &seconds[0], &minutes[1],
			  &seconds[1]) != 4)
		test_fail("no times: %s", text);
	return 60 * (minutes[0] + minutes[1]) + seconds[0] + seconds[1];
}

/* Known by its name, and on the page with all its time, though nobody looked while it lived. */
static void a_short_life_has_its_name(void **state)
{
	struct bundle bundle = make_bundle("brief", count_up);
	struct leadline *leadline =
		leadline_start_only("sched", (const char *const[]){ "--interval=1h", NULL });
	struct output *output = run_shell("cd %s && runc run %s", bundle.directory, bundle.id);
	double told, seen;

	if (output->status)
		test_skip("runc run, exit %d: %s", output->status, output->text);
	told = told_seconds(output->text);
	output_free(output);
	seen = container_seconds(leadline, bundle.id, "sh");
	if (seen < told - 0.03 || seen > told + 0.05)
		test_fail("the container says %.3f s, the page has %.3f s", told, seen);
	leadline_stop(leadline);
}

/* One that is older than the agent, and its neighbour. */
static void containers_are_told_apart(void **state)
{
	static const char forever[] = "while :; do :; done";
	struct bundle bundles[] = { make_bundle("first", forever), make_bundle("second", forever) };
	struct leadline *leadline = NULL;

	for (int i = 0; i < 2; i++) {
		struct output *output;

		if (i == 1)
			leadline = leadline_start_only("sched", NULL);
		/* -d wants its standard streams to be files */
		output = run_shell(
			"cd %s && runc run -d %s </dev/null >out 2>&1 || { cat out; exit 1; }",
			bundles[i].directory, bundles[i].id);
		if (output->status)
			test_skip("runc run -d, exit %d: %s", output->status, output->text);
		output_free(output);
	}
	for (int i = 0; i < 2; i++)
		assert_true(WAIT_UNTIL(container_seconds(leadline, bundles[i].id, "sh") > 0.1, 10));
	/* their control groups are not named beside them */
	{
		struct page *page = leadline_scrape(leadline);

		for (int i = 0; i < 2; i++)
			assert_int_equal(metric_count(page, "leadline_cpu_seconds_total", "unit",
						      bundles[i].group, "comm", "sh", NULL),
					 0);
		page_free(page);
	}
	leadline_stop(leadline);
}

/* Two workloads of one name in a control group that is made, removed and made again. */
static double busy_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int serve(void *argument, void *shared)
{
	double end = busy_seconds() + *(const double *)argument;

	prctl(PR_SET_NAME, "service");
	while (busy_seconds() < end)
		;
	*(volatile int *)shared = 1;
	while (pause())
		;
	return 0;
}

static double service_seconds(struct leadline *leadline, const char *unit)
{
	struct page *page = leadline_scrape(leadline);
	double seconds = metric_sum(page, "leadline_cpu_seconds_total", "unit", unit, "comm",
				    "service", NULL);

	page_free(page);
	return seconds;
}

/* As systemd does it: the new run has a new group under the old path, hence an entity of its own with the same labels. */
static void a_service_started_again_goes_on(void **state)
{
	static double busy = 0.2;
	struct leadline *leadline =
		leadline_start_only("sched", (const char *const[]){ "--entity_linger=3s", NULL });
	double latest = 0, seconds, end;
	const int runs = 3;

	for (int run = 0; run < runs; run++) {
		const char *group = cgroup_create("leadline.slice/again.service");
		struct workload *workload = workload_start("serve", -1, serve, &busy);

		cgroup_enter(group, workload->pid);
		workload_release(workload);
		for (end = clock_seconds() + 7; clock_seconds() < end; pause_seconds(0.1)) {
			seconds = service_seconds(leadline, "again.service");
			if (seconds < latest)
				test_fail("run %d: %.6f s after %.6f s", run, seconds, latest);
			latest = seconds;
		}
		assert_true(*(volatile int *)workload->shared);
		if (run < runs - 1) {
			/* the next run begins before the last one is forgotten, within three seconds */
			program_stop(workload->pid, SIGKILL, 5);
			assert_int_equal(rmdir(group), 0);
		}
	}
	assert_in_range(latest * 1e3, 200 * runs, 210 * runs);
	leadline_stop(leadline);
}

static char renamed[4300], old_name[4300];

static void rename_back(void *context)
{
	rename(renamed, old_name); /* it is only there after a failure */
}

/* Version 1 only, deep below; the program does not move and does not exec. */
static void a_renamed_group_is_called_by_its_new_name(void **state)
{
	static double busy = 0.1;
	struct leadline *leadline = leadline_start_only("sched", NULL);
	const char *group = cgroup_create_v1("memory", "leadline-old/deep.service");
	struct workload *workload = workload_start("serve", -1, serve, &busy);
	double seconds;

	cgroup_enter(group, workload->pid);
	workload_release(workload);
	assert_true(WAIT_UNTIL(*(volatile int *)workload->shared, 10));
	seconds = service_seconds(leadline, "deep.service");
	assert_in_range(seconds * 1e3, 100, 110);

	snprintf(old_name, sizeof(old_name), "%s", group);
	snprintf(renamed, sizeof(renamed), "%.*s/fresh.service", (int)(strrchr(group, '/') - group),
		 group);
	cleanup_push(rename_back, renamed);
	assert_int_equal(rename(group, renamed), 0);
	assert_true(WAIT_UNTIL(service_seconds(leadline, "fresh.service") >= seconds, 5));
	assert_true(service_seconds(leadline, "deep.service") == 0);
	assert_int_equal(rename(renamed, group), 0);
	assert_true(WAIT_UNTIL(service_seconds(leadline, "deep.service") >= seconds, 5));
	leadline_stop(leadline);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(a_short_life_has_its_name),
		HARNESS_TEST(containers_are_told_apart),
		HARNESS_TEST(a_service_started_again_goes_on),
		HARNESS_TEST(a_renamed_group_is_called_by_its_new_name),
	};

	return cmocka_run_group_tests_name("attribution", tests, NULL, NULL);
}
