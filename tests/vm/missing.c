// SPDX-License-Identifier: Apache-2.0
/*
 * What must hold on a machine of its own when something is missing: each optional hook, a member of a kernel structure,
 * a capability, tracefs, control groups. The agent stays up, says what is missing and why, and what it still counts is right.
 */
#include <bpf/btf.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <netinet/in.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>
#include "agent/probe_set.h"
#include "tests/harness/harness.h"

static void free_json(void *context)
{
	json_decref(context);
}

/* `leadline doctor --json` as `command` runs it; freed at cleanup. */
static json_t *doctor(const char *command, const char *flags)
{
	struct output *output =
		run_shell("%s %s doctor --json %s 2>/dev/null", command, leadline_binary(), flags);
	json_t *report = json_loads(output->text, 0, NULL);

	if (!report)
		test_fail("doctor (exit %d): %s", output->status, output->text);
	output_free(output);
	cleanup_push(free_json, report);
	return report;
}

static json_t *named(json_t *list, const char *name)
{
	json_t *item;
	size_t i;

	json_array_foreach(list, i,
			   item) if (!strcmp(json_string_value(json_object_get(item, "name")),
					     name)) return item;
	test_fail("doctor does not know %s", name);
}

static const char *text_of(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* On arm64 before 6.3: no tracepoints for them, and functions cannot be traced. */
static bool requests_are_unseen(void)
{
	static int unseen = -1; /* types are hidden later */
	struct utsname kernel;

	if (unseen < 0) {
		uname(&kernel);
		unseen = !strcmp(kernel.machine, "aarch64") &&
			 system("grep -q btf_trace_sock_send_length /sys/kernel/btf/vmlinux");
	}
	return unseen;
}

static void assert_state(json_t *report, const char *probe, const char *state, const char *reason)
{
	json_t *found = named(json_object_get(report, "probes"), probe);

	if (!strcmp(probe, "requests") && requests_are_unseen()) {
		state = "failed";
		/* what else is missing may be found first, or only it */
		if (!strstr(text_of(found, "reason"), reason))
			reason = "no requests: ";
	}
	if (strcmp(text_of(found, "state"), state) || !strstr(text_of(found, "reason"), reason))
		test_fail("%s is %s (%s), not %s (%s)", probe, text_of(found, "state"),
			  text_of(found, "reason"), state, reason);
}

/* ---- hooks ---- */

static const struct hook *nth_hook(const struct probe_desc *probe, int n, bool required)
{
	for (const struct hook *hook = probe->hooks; hook && hook->name; hook++)
		if (hook->required == required && !hook->where_present && n-- == 0)
			return hook;
	return NULL;
}

/* All probes without their n-th hook of a kind: they must be `state` and name what is gone. False when none has so many. */
static bool check_without(int n, bool required, const char *state)
{
	char flags[2048] = "--hooks.avoid=";
	bool any = false;
	json_t *report;

	for (size_t i = 0; all_probes[i]; i++) {
		const struct hook *hook = nth_hook(all_probes[i], n, required);

		any |= hook != NULL;
		for (int k = 0; hook && k < HOOK_MAX_ALTERNATIVES && hook->alternatives[k].program;
		     k++)
			snprintf(flags + strlen(flags), sizeof(flags) - strlen(flags), "%s,",
				 hook->alternatives[k].program);
	}
	if (!any)
		return false;
	report = doctor("", flags);
	for (size_t i = 0; all_probes[i]; i++) {
		const struct hook *hook = nth_hook(all_probes[i], n, required);

		if (!hook)
			continue;
		assert_state(report, all_probes[i]->name, state, hook->provides);
		assert_state(report, all_probes[i]->name, state, "(hooks.avoid)");
	}
	return true;
}

static void each_optional_hook(void **state)
{
	int n = 0;

	while (check_without(n, false, "degraded"))
		n++;
	assert_true(n > 3);
	(void)state;
}

static void each_required_hook(void **state)
{
	int n = 0;

	while (check_without(n, true, "failed"))
		n++;
	assert_true(n > 1);
	(void)state;
}

/* ---- the agent goes on ---- */

#define CALLS 10007

static int ask_for_parent(void *argument, void *shared)
{
	for (int i = 0; i < CALLS; i++)
		syscall(SYS_getppid);
	(void)argument;
	(void)shared;
	return 0;
}

/* The agent with these flags (and the environment) still counts each call, for the right program. */
static void assert_calls_are_counted(const char *probes, const char *const flags[])
{
	struct leadline *leadline = leadline_start_only(probes, flags);
	struct workload *workload = workload_start("calls", -1, ask_for_parent, NULL);
	struct page *page;
	double calls;

	workload_finish(workload, 60);
	page = leadline_scrape(leadline);
	calls = metric_histogram(page, "leadline_syscall_duration_seconds", "comm", workload->comm,
				 "syscall", "getppid", NULL)
			.count;
	page_free(page);
	if (calls != CALLS)
		test_fail("%.0f calls, not %d", calls, CALLS);
	leadline_stop(leadline);
}

/* A connection to a port where nobody listens: a segment each way, and a reset. */
static int knock(void *argument, void *shared)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(7),
	};
	int s = socket(AF_INET, SOCK_STREAM, 0);

	(void)argument;
	(void)shared;
	return s < 0 || !connect(s, (struct sockaddr *)&address, sizeof(address));
}

static void what_is_missing_is_not_on_the_page(void **state)
{
	struct leadline *leadline = leadline_start_only(
		"process tcp", (const char *[]){ "--hooks.avoid="
						 "sched_process_exec,tcp_send_reset",
						 NULL });
	struct page *page;

	shell("true");
	workload_finish(workload_start("knock", -1, knock, NULL), 20);
	page = leadline_scrape(leadline);
	assert_int_equal(metric_count(page, "leadline_process_execs_total", NULL), 0);
	assert_true(metric_count(page, "leadline_process_exits_total", NULL) > 0);
	assert_int_equal(metric_count(page, "leadline_tcp_resets_total", "direction", "sent", NULL),
			 0);
	assert_true(metric_sum(page, "leadline_tcp_resets_total", "direction", "received", NULL) >
		    0);
	page_free(page);
	leadline_stop(leadline);
	(void)state;
}

/* ---- mounts ---- */

static void remount(void *command)
{
	output_free(run_shell("%s", (const char *)command));
}

static void without_tracefs(void **state)
{
	static char again[] = "mount -t tracefs tracefs /sys/kernel/tracing";
	json_t *report;

	shell("umount /sys/kernel/tracing");
	cleanup_push(remount, again);
	report = doctor("", "--hooks.avoid=syscalls_enter");
	assert_state(report, "syscalls", "failed", "hooks.avoid");
	assert_calls_are_counted("syscalls", NULL);
	(void)state;
}

static void without_control_groups(void **state)
{
	static char again[] = "sh /build/tests/vm/control-groups.sh both";
	static const char *const kinds[] = { "none", "v1", "v2" };

	cleanup_push(remount, again);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		shell("sh /build/tests/vm/control-groups.sh %s", kinds[i]);
		assert_calls_are_counted("syscalls", NULL);
	}
	(void)state;
}

/* ---- capabilities ---- */

static const char needed_capabilities[] = "CAP_BPF and CAP_PERFMON";

/* As a whole, or each probe by itself; what has nothing in the kernel goes on. */
static void assert_refused(json_t *report)
{
	assert_true(json_is_false(json_object_get(report, "ok")));
	if (strstr(text_of(report, "error"), needed_capabilities))
		return;
	for (size_t i = 0; all_probes[i]; i++)
		assert_state(report, all_probes[i]->name, all_probes[i]->open ? "failed" : "up",
			     all_probes[i]->open ? needed_capabilities : "");
}

/* All is as it was in `before`, when nothing was missing. */
static void assert_not_needed(json_t *report, json_t *before)
{
	json_t *probes = json_object_get(before, "probes"), *probe;
	size_t i;

	json_array_foreach(probes, i, probe) assert_state(
		report, text_of(probe, "name"), text_of(probe, "state"), text_of(probe, "reason"));
	assert_true(json_array_size(probes) > 5);
}

static void each_capability(void **state)
{
	static const struct {
		const char *name, *flag;
		bool needed, is_told;
	} capabilities[] = {
		/* SYS_ADMIN stands for the first two */
		{ "CAP_BPF", "-sys_admin,-bpf", true, true },
		{ "CAP_PERFMON", "-sys_admin,-perfmon", true, true },
		{ "CAP_SYS_PTRACE", "-sys_ptrace", false, true },
		{ "CAP_DAC_READ_SEARCH", "-dac_read_search", false, true },
		{ "CAP_SYS_ADMIN", "-sys_admin", false, false },
		{ "CAP_SYSLOG", "-syslog", false, false },
		{ "CAP_SYS_RESOURCE", "-sys_resource", false, false },
		{ "CAP_NET_ADMIN", "-net_admin", false, false },
	};
	json_t *before = doctor("", "");

	for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++) {
		char command[128];
		json_t *report, *fact;

		snprintf(command, sizeof(command), "setpriv --bounding-set=%s",
			 capabilities[i].flag);
		report = doctor(command, "");
		if (capabilities[i].is_told) {
			fact = named(json_object_get(report, "kernel"), capabilities[i].name);
			assert_true(json_is_false(json_object_get(fact, "ok")));
			assert_true(*text_of(fact, "remedy"));
		}
		if (capabilities[i].needed)
			assert_refused(report);
		else
			assert_not_needed(report, before);
	}
	(void)state;
}

static void forget_binary(void *context)
{
	unsetenv("LEADLINE_BINARY");
	(void)context;
}

/* The agent counts with the two it needs. */
static void no_other_capability(void **state)
{
	const char *path;
	char script[512];

	snprintf(script, sizeof(script),
		 "#!/bin/sh\nexec setpriv --bounding-set=-all,+bpf,+perfmon %s \"$@\"\n",
		 leadline_binary());
	path = write_file(temporary_directory(), "leadline", script);
	shell("chmod +x %s", path);
	setenv("LEADLINE_BINARY", path, 1);
	cleanup_push(forget_binary, NULL);
	assert_calls_are_counted("syscalls", NULL);
	(void)state;
}

/* ---- members of the kernel's structures ---- */

static void unmount_types(void *context)
{
	umount("/sys/kernel/btf/vmlinux");
	(void)context;
}

struct hidden_member {
	const char *structure, *member, *probe, *state, *reason;
};

/* Makes it an anonymous one. False when there is none anyway. */
static bool hide_member(struct btf *btf, const struct hidden_member *hidden)
{
	int id = btf__find_by_name_kind(btf, hidden->structure, BTF_KIND_STRUCT);
	const struct btf_type *type = btf__type_by_id(btf, (__u32)id);
	struct btf_member *members = btf_members(type);

	for (int i = 0; type && i < btf_vlen(type); i++)
		if (!strcmp(btf__name_by_offset(btf, members[i].name_off), hidden->member)) {
			members[i].name_off = 0;
			return true;
		}
	return false;
}

/* From here to the cleanup, programs see a kernel with these types. Takes them over. */
static void mount_types(struct btf *btf)
{
	const void *data;
	char path[256];
	FILE *file;
	__u32 size;

	data = btf__raw_data(btf, &size);
	snprintf(path, sizeof(path), "%s/vmlinux", temporary_directory());
	file = fopen(path, "w");
	if (!data || !file || fwrite(data, 1, size, file) != size || fclose(file))
		test_fail("types without some members cannot be written: %s", strerror(errno));
	btf__free(btf);
	if (mount(path, "/sys/kernel/btf/vmlinux", NULL, MS_BIND, NULL))
		test_fail("mount: %s", strerror(errno));
	cleanup_push(unmount_types, NULL);
}

/* What the probe of a hidden member says; NULL: it uses none. */
static const struct hidden_member *of_probe(const struct hidden_member *hidden, const char *probe)
{
	for (; hidden->structure; hidden++)
		if (!strcmp(hidden->probe, probe))
			return hidden;
	return NULL;
}

/* One member of each probe at a time. What it can do without is made up for; what it cannot, is told. Others do not mind. */
static void without_a_member(void **state)
{
	static const struct hidden_member turns[][8] = {
		{ { "cfs_rq", "throttle_count", "sched", "up", "" },
		  { "task_io_accounting", "read_bytes", "memory", "up", "" },
		  { "tcp_sock", "tcp_clock_cache", "requests", "up", "" },
		  { "tcp_sock", "delivered", "tcp", "failed", "the kernel refuses its programs" } },
		{ { "cfs_rq", "throttled_clock_self_time", "sched", "up", "" },
		  { "task_io_accounting", "write_bytes", "memory", "up", "" },
		  { "sock", "sk_ack_backlog", "network", "failed",
		    "the kernel refuses its programs" } },
		{ { "sched_entity", "sched_delayed", "sched", "up", "" } },
	};
	json_t *before = doctor("", ""), *probes = json_object_get(before, "probes"), *probe;
	unsigned all = 0;
	size_t i;

	for (size_t turn = 0; turn < sizeof(turns) / sizeof(turns[0]); turn++) {
		struct btf *btf = btf__parse_raw("/sys/kernel/btf/vmlinux");
		unsigned n = 0;
		json_t *report;

		if (!btf)
			test_fail("the kernel's types: %s", strerror(errno));
		for (const struct hidden_member *hidden = turns[turn]; hidden->structure; hidden++)
			n += hide_member(btf, hidden);
		all += n;
		if (n == 0) {
			btf__free(btf);
			continue;
		}
		mount_types(btf);
		report = doctor("", "");
		unmount_types(NULL);
		json_array_foreach(probes, i, probe)
		{
			const struct hidden_member *hidden =
				of_probe(turns[turn], text_of(probe, "name"));

			assert_state(report, text_of(probe, "name"),
				     hidden ? hidden->state : text_of(probe, "state"),
				     hidden ? hidden->reason : text_of(probe, "reason"));
		}
	}
	assert_true(all > 5);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(each_optional_hook),
		HARNESS_TEST(each_required_hook),
		HARNESS_TEST(what_is_missing_is_not_on_the_page),
		HARNESS_TEST(without_tracefs),
		HARNESS_TEST(without_control_groups),
		HARNESS_TEST(each_capability),
		HARNESS_TEST(no_other_capability),
		HARNESS_TEST(without_a_member),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
