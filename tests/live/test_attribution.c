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

/*
 * With the host's own programs, and as few privileges as runc gives by itself. `command` runs in a shell, in the bundle's
 * directory work/ under /work; with at most `memory` bytes, if that is not 0.
 */
static struct bundle make_bundle_with(const char *name, const char *command, json_int_t memory)
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
	shell("cd %s && mkdir work rootfs && cd rootfs && mkdir bin lib lib64 usr etc proc dev sys work && cd .. && "
	      "runc spec",
	      bundle.directory);
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
	if (memory)
		json_object_set_new(json_object_get(json_object_get(spec, "linux"), "resources"),
				    "memory",
				    json_pack("{s:I, s:I}", "limit", memory, "swap", memory));
	mounts = json_object_get(spec, "mounts");
	for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++) {
		snprintf(path, sizeof(path), "/%s", directories[i]);
		json_array_append_new(mounts, json_pack("{s:s, s:s, s:s, s:[s, s]}", "destination",
							path, "type", "bind", "source", path,
							"options", "rbind", "ro"));
	}
	snprintf(path, sizeof(path), "%s/work", bundle.directory);
	json_array_append_new(mounts,
			      json_pack("{s:s, s:s, s:s, s:[s, s]}", "destination", "/work", "type",
					"bind", "source", path, "options", "bind", "rw"));
	text = json_dumps(spec, JSON_INDENT(1));
	write_file(bundle.directory, "config.json", text);
	free(text);
	json_decref(spec);
	return bundle;
}

static struct bundle make_bundle(const char *name, const char *command)
{
	return make_bundle_with(name, command, 0);
}

/* In the background. -d wants its standard streams to be files. */
static void run_detached(const struct bundle *bundle)
{
	struct output *output =
		run_shell("cd %s && runc run -d %s </dev/null >out 2>&1 || { cat out; exit 1; }",
			  bundle->directory, bundle->id);

	if (output->status)
		test_skip("runc run -d, exit %d: %s", output->status, output->text);
	output_free(output);
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

/*
 * About a third of a second of a shell, which tells what the kernel has counted of it before and after, in ns: what runs
 * before it in the same process, runc, has another name.
 */
#define COUNT_UP(turns)                                                                            \
	"read before rest </proc/$$/schedstat; i=0; while [ $i -lt " turns                         \
	" ]; do i=$((i + 1)); done; "                                                              \
	"read after rest </proc/$$/schedstat; echo $before $after"

static double told_seconds(const char *text)
{
	double before, after;

	if (sscanf(text, "%lf %lf", &before, &after) != 2)
		test_fail("no times: %s", text);
	return (after - before) / 1e9;
}

#define BRIEF_BLOCKS 211

static double container_bytes(struct leadline *leadline, const char *container,
			      const char *direction)
{
	struct page *page = leadline_scrape(leadline);
	double bytes = metric_sum(page, "leadline_process_io_bytes_total", "container", container,
				  "direction", direction, NULL);

	page_free(page);
	return bytes;
}

/* Known by its name, and on the page with all its time and all it wrote, though nobody looked while it lived. */
static void a_short_life_has_its_name(void **state)
{
	struct bundle bundle =
		make_bundle("brief", is_emulated() ? COUNT_UP("20000") : COUNT_UP("200000"));
	struct leadline *leadline =
		leadline_start_only("sched memory", (const char *const[]){ "--interval=1h", NULL });
	struct output *output = run_shell("cd %s && runc run %s", bundle.directory, bundle.id);
	struct bundle writer;
	double told, seen;

	if (output->status)
		test_skip("runc run, exit %d: %s", output->status, output->text);
	told = told_seconds(output->text);
	output_free(output);
	seen = container_seconds(leadline, bundle.id, "sh");
	/* As the kernel brings its count up to date once a tick, and the shell starts and ends besides. */
	if (seen < told - 0.01 || seen > told + (is_emulated() ? 1 : 0.05))
		test_fail("the container says %.3f s, the page has %.3f s", told, seen);

	writer = make_bundle("writer",
			     "dd if=/dev/zero of=/work/file bs=4096 count=211 2>/dev/null");
	shell("cd %s && runc run %s", writer.directory, writer.id);
	/* what the filesystem itself notes down is some blocks more */
	seen = container_bytes(leadline, writer.id, "write");
	if (seen < BRIEF_BLOCKS * 4096 || seen > (BRIEF_BLOCKS + 64) * 4096)
		test_fail("%d bytes written, the page has %.0f", BRIEF_BLOCKS * 4096, seen);
	leadline_stop(leadline);
}

/* One that is older than the agent, and its neighbour. */
static void containers_are_told_apart(void **state)
{
	static const char forever[] = "while :; do :; done";
	struct bundle bundles[] = { make_bundle("first", forever), make_bundle("second", forever) };
	struct leadline *leadline = NULL;

	for (int i = 0; i < 2; i++) {
		if (i == 1)
			leadline = leadline_start_only("sched", NULL);
		run_detached(&bundles[i]);
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

static double preempted_by(const struct page *page, const char *container, const char *by)
{
	return metric_sum(page, "leadline_cpu_preempted_seconds_total", "container", container,
			  by ? "by" : NULL, by, NULL);
}

static double queued(const struct page *page, const char *container)
{
	return metric_sum(page, "leadline_cpu_wait_seconds_total", "container", container, "reason",
			  "run_queue", NULL);
}

static bool has_waited(struct leadline *leadline, const char *container, double wanted)
{
	struct page *page = leadline_scrape(leadline);
	double seconds = queued(page, container);

	page_free(page);
	return seconds >= wanted;
}

/* Both on one CPU, three of them in one container, all at work all the time. */
static void who_starves_a_container_is_named(void **state)
{
	static const char one[] = "exec taskset -c 1 sh -c 'while :; do :; done'";
	static const char three[] =
		"taskset -c 1 sh -c 'while :; do :; done & while :; do :; done & while :; do :; done'";
	struct bundle victim = make_bundle("victim", one), culprit = make_bundle("culprit", three);
	struct leadline *leadline = leadline_start_only("sched", NULL);
	double waited, blamed, waited_before, blamed_before;
	struct page *page;

	run_detached(&culprit);
	run_detached(&victim);
	page = leadline_scrape(leadline);
	/* while the runtime got it going it was on any CPU, and waited for anybody */
	waited_before = queued(page, victim.id);
	blamed_before = preempted_by(page, victim.id, culprit.id);
	page_free(page);
	assert_true(WAIT_UNTIL(has_waited(leadline, victim.id, waited_before + 1), 30));
	page = leadline_scrape(leadline);
	waited = queued(page, victim.id) - waited_before;
	blamed = preempted_by(page, victim.id, culprit.id) - blamed_before;
	/* whoever else is at work on this CPU has some of it; where it is emulated, that may be the agent for most of the time */
	if (blamed < (is_emulated() ? 0.05 : 0.5) * waited)
		test_fail("queued %.3f s, of which %.3f s are blamed on %s", waited, blamed,
			  culprit.id);
	/* all that it waited is somebody's doing */
	assert_float_equal(preempted_by(page, victim.id, NULL), waited_before + waited,
			   (is_emulated() ? 0.05 : 0.01) * (waited_before + waited));
	/* and the other way round */
	assert_true(preempted_by(page, culprit.id, victim.id) > 0);
	page_free(page);
	leadline_stop(leadline);
}

/* ---- memory ---- */

#define CONTAINER_MEMORY (16 << 20)

static double oom_kills(struct leadline *leadline, const char *container)
{
	struct page *page = leadline_scrape(leadline);
	double kills = metric_sum(page, "leadline_oom_kills_total", "container", container, NULL);

	page_free(page);
	return kills;
}

/* The container ends with its only process, its control group goes, the count stays. */
static void an_oom_kill_outlives_its_container(void **state)
{
	struct bundle bundle = make_bundle_with("greedy", "exec tail /dev/zero", CONTAINER_MEMORY);
	struct leadline *leadline = leadline_start_only("process", NULL);
	struct output *output = run_shell("cd %s && runc run %s", bundle.directory, bundle.id);
	char path[256];

	if (output->status != 128 + SIGKILL)
		test_skip("runc run, exit %d: %s", output->status, output->text);
	output_free(output);
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s%s", cgroup_has_v1("memory") ? "/memory" : "",
		 bundle.group);
	assert_int_equal(access(path, F_OK), -1);
	assert_true(oom_kills(leadline, bundle.id) == 1);
	assert_true(WAIT_UNTIL(leadline_logged(leadline, bundle.id), 5));
	assert_true(leadline_logged(leadline,
				    "chosen by the out-of-memory killer, as it wanted memory"));
	assert_true(oom_kills(leadline, bundle.id) == 1);
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
	assert_in_range(latest * 1e3, 200 * runs, (is_emulated() ? 300 : 210) * runs);
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
	assert_in_range(seconds * 1e3, 100, is_emulated() ? 150 : 110);

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
		HARNESS_TEST(who_starves_a_container_is_named),
		HARNESS_TEST(an_oom_kill_outlives_its_container),
		HARNESS_TEST(a_service_started_again_goes_on),
		HARNESS_TEST(a_renamed_group_is_called_by_its_new_name),
	};

	return cmocka_run_group_tests_name("attribution", tests, NULL, NULL);
}
