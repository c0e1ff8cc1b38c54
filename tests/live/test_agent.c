/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent as a program: it starts, shows every family, takes a new configuration, ends without a trace, and says
 * what is wrong when it cannot start.
 */
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "tests/harness/harness.h"

static const char *const probes[] = {
#define PROBE(name) #name,
#include "probes/probes.def"
#undef PROBE
};
#define N_PROBES (sizeof(probes) / sizeof(probes[0]))

/* One of each kind of signal, so that every family has something to show. */
static void make_every_signal(struct nginx *nginx)
{
	struct answer *answer = fetch(NULL, nginx_url(nginx, "/"), NULL, NULL);

	assert_int_equal(answer->status, 200);
	answer_free(answer);
	shell("dd if=%s of=/dev/null bs=4k count=7 iflag=direct", loop_device(16));
}

static bool cpu_utilization_is_shown(struct leadline *leadline)
{
	struct page *page = leadline_scrape(leadline);
	bool shown = metric_count(page, "leadline_host_cpu_utilization_ratio", NULL) > 0;

	page_free(page);
	return shown;
}

static void every_family_is_shown(void **state)
{
	static const char *const histograms[] = {
		"leadline_cpu_runqueue_latency_seconds", "leadline_syscall_duration_seconds",
		"leadline_block_io_duration_seconds",	 "leadline_tcp_connect_duration_seconds",
		"http_server_request_duration_seconds",	 "http_client_request_duration_seconds",
	};
	static const char *const samples[] = {
		"leadline_cpu_seconds_total",
		"leadline_cpu_wait_seconds_total",
		"leadline_context_switches_total",
		"leadline_cpu_migrations_total",
		"leadline_syscall_errors_total",
		"leadline_block_io_bytes_total",
		"leadline_tcp_bytes_total",
		"leadline_tcp_connections_opened_total",
		"leadline_process_execs_total",
		"leadline_process_exits_total",
		"leadline_host_cpu_utilization_ratio",
		"leadline_host_memory_utilization_ratio",
		"leadline_host_filesystem_utilization_ratio",
		"leadline_host_load1",
		"leadline_host_network_bytes_total",
		"leadline_host_open_files_ratio",
		"leadline_health_status",
		"leadline_build_info",
		"leadline_bpf_map_bytes",
		"leadline_scrape_duration_seconds",
		"leadline_series",
		"process_cpu_seconds_total",
		"process_resident_memory_bytes",
	};
	struct nginx *nginx = nginx_start(NULL, NULL);
	struct leadline *leadline = leadline_start(NULL);
	struct page *page;

	make_every_signal(nginx);
	/* A share of time needs two readings. */
	assert_true(WAIT_UNTIL(cpu_utilization_is_shown(leadline), 5));
	page = leadline_scrape(leadline);
	for (size_t i = 0; i < N_PROBES; i++)
		if (strcmp(probes[i], "tls") && /* where a process has such a library */
		    metric_value(page, "leadline_probe_up", "probe", probes[i], NULL) != 1)
			test_fail("probe %s is not up", probes[i]);
	for (size_t i = 0; i < sizeof(histograms) / sizeof(histograms[0]); i++)
		if (!(metric_histogram(page, histograms[i], NULL).count > 0))
			test_fail("histogram %s is missing or empty", histograms[i]);
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++)
		if (!metric_count(page, samples[i], NULL))
			test_fail("%s is missing", samples[i]);
	/* Every series belongs to a family with a type and a help text. */
	for (size_t i = 0; i < page->n_families; i++)
		if (!page->families[i].type || !page->families[i].help)
			test_fail("%s without TYPE or HELP", page->families[i].name);
	page_free(page);
	leadline_stop(leadline);
	(void)state;
}

/* The agent leads a process group: whoever it may have started is in it. */
static bool group_is_gone(pid_t leader)
{
	return kill(-leader, 0) < 0 && errno == ESRCH;
}

static void sigterm_leaves_nothing_behind(void **state)
{
	struct leadline *leadline = leadline_start(NULL);
	struct bpf_objects objects = bpf_objects_of(leadline->pid);
	pid_t pid = leadline->pid;

	assert_true(bpf_objects_count(&objects, 'p') > 0);
	assert_true(bpf_objects_count(&objects, 'm') > 0);
	assert_true(bpf_objects_count(&objects, 'l') > 0);
	assert_int_equal(bpf_objects_left(&objects), objects.n);
	leadline_stop(leadline);
	/* The kernel frees programs after a grace period. */
	if (!WAIT_UNTIL(bpf_objects_left(&objects) == 0, 10))
		test_fail("%zu of %zu BPF objects are left", bpf_objects_left(&objects), objects.n);
	assert_true(group_is_gone(pid));
	assert_false(port_open(leadline->port));
	(void)state;
}

static long reload(struct leadline *leadline)
{
	struct answer *answer = leadline_fetch(leadline, "POST", "/-/reload", NULL, "");
	long status = answer->status;

	answer_free(answer);
	return status;
}

static void configuration_is_taken_anew(void **state)
{
	const char *directory = temporary_directory();
	const char *config = write_file(directory, "leadline.yaml", "log:\n  level: INFO\n");
	struct leadline *leadline =
		leadline_start((const char *const[]){ "--config", config, NULL });
	struct answer *answer;

	assert_false(leadline_logged(leadline, "log.level has changed"));
	write_file(directory, "leadline.yaml", "log:\n  level: DEBUG\n");
	kill(leadline->pid, SIGHUP);
	assert_true(WAIT_UNTIL(leadline_logged(leadline, "log.level has changed"), 5));

	write_file(directory, "leadline.yaml",
		   "log:\n  level: DEBUG\nhealth:\n  cpu:\n    degraded: 71\n");
	assert_int_equal(reload(leadline), 200);
	assert_true(WAIT_UNTIL(leadline_logged(leadline, "health.cpu.degraded has changed"), 5));

	/* A bad one is refused, said with file and line, and changes nothing. */
	write_file(directory, "leadline.yaml",
		   "log:\n  level: DEBUG\nhealth:\n  cpu:\n    degradet: 71\n");
	kill(leadline->pid, SIGHUP);
	assert_true(WAIT_UNTIL(leadline_logged(leadline, "leadline.yaml:5:"), 5));
	assert_int_not_equal(reload(leadline), 0);

	answer = leadline_fetch(leadline, "GET", "/-/reload", NULL, NULL);
	assert_int_equal(answer->status, 405);
	answer_free(answer);
	page_free(leadline_scrape(leadline));
	leadline_stop(leadline);
	(void)state;
}

static bool system_time_is_shown(struct leadline *leadline)
{
	struct page *page = leadline_scrape(leadline);
	bool shown = metric_sum(page, "leadline_cpu_seconds_total", "mode", "system", NULL) > 0;

	page_free(page);
	return shown;
}

/* What is not wanted is not there, what remains is whole, and a reload changes it. */
static void series_are_filtered_as_configured(void **state)
{
	const char *directory = temporary_directory();
	const char *config = write_file(directory, "leadline.yaml",
					"metrics:\n"
					"  disable: leadline_host_* leadline_cpu_migrations_total\n"
					"  drop_labels: unit comm\n"
					"  deny: mode=user\n");
	struct leadline *leadline = leadline_start((const char *const[]){
		"--config", config, "--mode=custom", "--probes.sched.enabled=true",
		"--probes.host.enabled=true", NULL });
	struct page *page = leadline_scrape(leadline);

	assert_int_equal(metric_count(page, "leadline_host_load1", NULL), 0);
	assert_int_equal(metric_count(page, "leadline_cpu_migrations_total", NULL), 0);
	assert_int_equal(metric_count(page, "leadline_cpu_seconds_total", "mode", "user", NULL), 0);
	for (size_t i = 0; i < page->n_samples; i++)
		if (*sample_label(&page->samples[i], "unit") ||
		    *sample_label(&page->samples[i], "comm"))
			test_fail("%s has a label that was to be dropped", page->samples[i].name);
	page_free(page);
	assert_true(WAIT_UNTIL(system_time_is_shown(leadline), 10));
	page = leadline_scrape(leadline);
	assert_true(metric_value(page, "leadline_series_filtered", "setting", "disable", NULL) > 0);
	assert_true(metric_value(page, "leadline_series_filtered", "setting", "deny", NULL) > 0);
	assert_true(metric_value(page, "leadline_series_filtered", "setting", "allow", NULL) == 0);
	page_free(page);

	write_file(directory, "leadline.yaml", "metrics:\n  allow: comm=test_ag.*\n");
	assert_int_equal(reload(leadline), 200);
	assert_true(WAIT_UNTIL(leadline_logged(leadline, "metrics.allow has changed"), 5));
	page = leadline_scrape(leadline);
	assert_true(metric_count(page, "leadline_host_load1", NULL) == 1);
	assert_true(metric_sum(page, "leadline_context_switches_total", "comm", "test_agent",
			       NULL) > 0);
	for (size_t i = 0; i < page->n_samples; i++) {
		const char *comm = sample_label(&page->samples[i], "comm");

		if (*comm && strcmp(comm, "test_agent"))
			test_fail("%s is of %s", page->samples[i].name, comm);
	}
	page_free(page);

	write_file(directory, "leadline.yaml", "metrics:\n  allow: comm=(\n");
	assert_int_not_equal(reload(leadline), 200);
	leadline_stop(leadline);
	(void)state;
}

/* Somebody who cannot read our directories runs a copy. */
static const char *public_copy(void)
{
	const char *directory = temporary_directory(),
		   *path = write_file(directory, "leadline", "");

	shell("cp %s %s && chmod 755 %s %s", leadline_binary(), path, directory, path);
	return path;
}

static void without_root_it_says_what_is_missing(void **state)
{
	struct output *output;
	char listen[64];

	snprintf(listen, sizeof(listen), "--listen=127.0.0.1:%d", free_port());
	if (geteuid() == 0)
		output = run_program(20,
				     (const char *const[]){ "setpriv", "--reuid=65534",
							    "--regid=65534", "--clear-groups",
							    public_copy(), "agent", listen, NULL });
	else
		output = run_program(
			20, (const char *const[]){ leadline_binary(), "agent", listen, NULL });
	if (output->status != 1)
		test_fail("exit %d: %s", output->status, output->text);
	if (!strstr(output->text, "CAP_BPF") && !strstr(output->text, "root"))
		test_fail("does not say what is missing: %s", output->text);
	output_free(output);
	(void)state;
}

static void a_bad_configuration_is_refused(void **state)
{
	static const struct {
		const char *text, *place, *word;
	} cases[] = {
		{ "interval: 5s\nlisten: 127.0.0.1:1\nintervall: 1s\n",
		  "leadline.yaml:3:", "intervall" },
		{ "interval: soon\n", "leadline.yaml:1:", "interval" },
		{ "probes:\n  sched:\n    enabled: perhaps\n", "leadline.yaml:3:", "enabled" },
		{ "interval: [1s\n", "leadline.yaml:", "" },
	};
	const char *directory = temporary_directory();

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *path = write_file(directory, "leadline.yaml", cases[i].text);
		struct output *output =
			leadline_command((const char *const[]){ "agent", "--config", path, NULL });

		if (output->status != 2 || !strstr(output->text, cases[i].place) ||
		    !strstr(output->text, cases[i].word))
			test_fail("case %zu, exit %d: %s", i, output->status, output->text);
		output_free(output);
	}
	(void)state;
}

static void bad_flags_are_refused(void **state)
{
	static const char *const flags[] = { "--no-such-option=1", "--interval=soon",
					     "--listen=nowhere:port:x",
					     "--config=/nonexistent/leadline.yaml" };

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		struct output *output =
			leadline_command((const char *const[]){ "agent", flags[i], NULL });

		if (output->status != 2)
			test_fail("%s: exit %d: %s", flags[i], output->status, output->text);
		output_free(output);
	}
	(void)state;
}

static void a_taken_port_is_said(void **state)
{
	struct leadline *first = leadline_start_only("host", NULL), *second;
	char listen[64];

	snprintf(listen, sizeof(listen), "--listen=127.0.0.1:%d", first->port);
	second = leadline_spawn((const char *const[]){ listen, NULL });
	assert_int_equal(program_wait(second->pid, 20), 1);
	assert_true(leadline_logged(second, strchr(listen, '=') + 1));
	leadline_stop(first);
	(void)state;
}

static void two_agents_run_side_by_side(void **state)
{
	struct leadline *first = leadline_start(NULL), *second = leadline_start(NULL);
	struct page *page;

	leadline_stop(first);
	page = leadline_scrape(second);
	assert_true(metric_sum(page, "leadline_probe_up", NULL) >= N_PROBES);
	page_free(page);
	leadline_stop(second);
	(void)state;
}

static void a_disabled_probe_attaches_nothing(void **state)
{
	struct leadline *leadline = leadline_start_only("host", NULL);
	struct page *page = leadline_scrape(leadline);

	assert_int_equal(metric_count(page, "leadline_probe_up", "probe", "host", NULL), 1);
	for (size_t i = 0; i < N_PROBES; i++)
		if (strcmp(probes[i], "host"))
			assert_int_equal(
				metric_count(page, "leadline_probe_up", "probe", probes[i], NULL),
				0);
	assert_int_equal(metric_count(page, "leadline_syscall_duration_seconds_count", NULL), 0);
	assert_int_equal(metric_count(page, "leadline_cpu_seconds_total", NULL), 0);
	page_free(page);
	leadline_stop(leadline);
	(void)state;
}

#define DURATION	"leadline_syscall_duration_seconds"
#define FOLDED_PROGRAMS 211 /* a prime */
#define SHOWN		2

static int ask_for_parent(void *argument, void *shared)
{
	(void)argument;
	(void)shared;
	return syscall(SYS_getppid) < 0;
}

/* Programs that all make one call that is shown, for which there is no room. */
static void how_many_series_were_folded_is_estimated(void **state)
{
	struct leadline *leadline = leadline_start_only(
		"syscalls",
		(const char *const[]){ "--metrics.max_series=2", "--metrics.allow=syscall=getppid",
				       /* for all calls of all programs, and others' */
				       "--probes.syscalls.rows=4096", NULL });
	struct page *page;
	double folded;

	for (int i = 0; i < FOLDED_PROGRAMS; i++) {
		char name[16];

		snprintf(name, sizeof(name), "fold%d-", i);
		workload_finish(workload_start(name, -1, ask_for_parent, NULL), 30);
	}
	page = leadline_scrape(leadline);
	assert_int_equal(metric_count(page, DURATION "_count", NULL), SHOWN + 1); /* and "other" */
	assert_true(metric_sum(page, DURATION "_count", NULL) >= FOLDED_PROGRAMS);
	page_free(page);
	page = leadline_scrape(leadline); /* the estimate is of the collections before */
	folded = metric_sum(page, "leadline_series_folded_estimate", "metric", DURATION, NULL);
	/* Others may make that call, too; the estimate is good to a few in a hundred. */
	if (!(folded >= 0.95 * (FOLDED_PROGRAMS - SHOWN) && folded <= 1.15 * FOLDED_PROGRAMS))
		test_fail("%d programs were folded, the estimate says %.1f",
			  FOLDED_PROGRAMS - SHOWN, folded);
	page_free(page);
	leadline_stop(leadline);
	(void)state;
}

static bool sockets_are_counted(struct leadline *leadline)
{
	struct page *page = leadline_scrape(leadline);
	double bytes = metric_value(page, "leadline_memory_bound_bytes", "part", "sockets", NULL);

	page_free(page);
	return bytes >= 512; /* that of the connection the page comes over */
}

/* What the kernel accounts for the maps, and what the process has in memory, is within the formula. */
static void memory_is_within_its_formula(void **state)
{
	struct leadline *leadline = leadline_start(NULL);
	double maps, bound, agent, resident;
	struct page *page;

	assert_true(WAIT_UNTIL(sockets_are_counted(leadline), 30));
	page = leadline_scrape(leadline);
	maps = metric_sum(page, "leadline_bpf_map_bytes", NULL);
	bound = metric_value(page, "leadline_memory_bound_bytes", "part", "maps", NULL);
	if (!(maps > 0 && maps <= bound && bound <= 1.2 * maps))
		test_fail("maps take %.0f bytes, the formula says %.0f", maps, bound);
	/* what of the maps the process has mapped is in its resident memory, too */
	agent = metric_value(page, "leadline_memory_bound_bytes", "part", "agent", NULL);
	resident = metric_value(page, "process_resident_memory_bytes", NULL);
	if (!(resident > 0 && resident <= agent + maps))
		test_fail(
			"the process has %.0f bytes in memory, the formula says %.0f and maps of %.0f",
			resident, agent, maps);
	bound = metric_value(page, "leadline_memory_bound_bytes", "part", "threads", NULL);
	assert_true(bound >= 10 * 256); /* any host has some threads of the kernel */
	page_free(page);
	leadline_stop(leadline);
	(void)state;
}

/* The kernel gives up on a program after a million instructions, and the agent's start waits for each. */
#define VERIFIED_INSTRUCTIONS_MAX 250000

static void programs_are_soon_verified(void **state)
{
	struct leadline *leadline = leadline_start(NULL);
	struct output *output =
		run_shell("grep -sh ^verified_insns: /proc/%d/fdinfo/* | sort -n -k 2 | tail -n 1",
			  (int)leadline->pid);
	unsigned most = 0;

	if (sscanf(output->text, "verified_insns: %u", &most) != 1)
		test_skip("the kernel does not tell, as from 5.16 on it does");
	output_free(output);
	if (most > VERIFIED_INSTRUCTIONS_MAX)
		test_fail("%u instructions verified for one program", most);
	leadline_stop(leadline);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(every_family_is_shown),
		HARNESS_TEST(sigterm_leaves_nothing_behind),
		HARNESS_TEST(configuration_is_taken_anew),
		HARNESS_TEST(series_are_filtered_as_configured),
		HARNESS_TEST(how_many_series_were_folded_is_estimated),
		HARNESS_TEST(without_root_it_says_what_is_missing),
		HARNESS_TEST(a_bad_configuration_is_refused),
		HARNESS_TEST(bad_flags_are_refused),
		HARNESS_TEST(a_taken_port_is_said),
		HARNESS_TEST(two_agents_run_side_by_side),
		HARNESS_TEST(a_disabled_probe_attaches_nothing),
		HARNESS_TEST(memory_is_within_its_formula),
		HARNESS_TEST(programs_are_soon_verified),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
