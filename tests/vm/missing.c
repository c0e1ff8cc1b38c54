// SPDX-License-Identifier: Apache-2.0
/*
 * What must hold on a machine of its own when something is missing: each optional hook, a member of a kernel structure,
 * a capability, tracefs, control groups. The agent stays up, says what is missing and why, and what it still counts is right.
 */
#include <bpf/btf.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sys/mount.h>
#include <sys/syscall.h>
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

static void assert_state(json_t *report, const char *probe, const char *state, const char *reason)
{
	json_t *found = named(json_object_get(report, "probes"), probe);

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

static void what_is_missing_is_not_on_the_page(void **state)
{
	struct leadline *leadline = leadline_start_only(
		"process", (const char *[]){ "--hooks.avoid=sched_process_exec", NULL });
	struct page *page;

	shell("true");
	page = leadline_scrape(leadline);
	assert_int_equal(metric_count(page, "leadline_process_execs_total", NULL), 0);
	assert_true(metric_count(page, "leadline_process_exits_total", NULL) > 0);
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
	static char again[] = "sh /build/tests/vm/control-groups.sh";

	shell("umount -R /sys/fs/cgroup");
	cleanup_push(remount, again);
	assert_calls_are_counted("syscalls", NULL);
	(void)state;
}

/* ---- capabilities ---- */

/* As a whole, or each probe by itself. */
static void assert_refused(json_t *report)
{
	static const char remedy[] = "CAP_BPF and CAP_PERFMON";

	assert_true(json_is_false(json_object_get(report, "ok")));
	if (strstr(text_of(report, "error"), remedy))
		return;
	assert_state(report, "syscalls", "failed", remedy);
}

static void each_capability(void **state)
{
	static const struct {
		const char *name, *flag;
		bool needed;
	} capabilities[] = {
		{ "CAP_BPF", "-bpf", true },
		{ "CAP_PERFMON", "-perfmon", true },
		{ "CAP_SYS_PTRACE", "-sys_ptrace", false },
		{ "CAP_DAC_READ_SEARCH", "-dac_read_search", false },
	};

	for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++) {
		char command[128];
		json_t *report, *fact;

		/* SYS_ADMIN stands for the first two */
		snprintf(command, sizeof(command), "setpriv --bounding-set=-sys_admin,%s",
			 capabilities[i].flag);
		report = doctor(command, "");
		fact = named(json_object_get(report, "kernel"), capabilities[i].name);
		assert_true(json_is_false(json_object_get(fact, "ok")));
		assert_true(*text_of(fact, "remedy"));
		if (capabilities[i].needed)
			assert_refused(report);
		else
			assert_state(report, "syscalls", "up", "");
	}
	(void)state;
}

/* ---- members of the kernel's structures ---- */

static void unmount_types(void *context)
{
	umount("/sys/kernel/btf/vmlinux");
	(void)context;
}

/* From here to the cleanup, programs see a kernel whose structure `structure` has no `member`: it is an anonymous one. */
static void hide_member(const char *structure, const char *member)
{
	struct btf *btf = btf__parse_raw("/sys/kernel/btf/vmlinux");
	const struct btf_type *type;
	struct btf_member *members;
	const void *data;
	bool hidden = false;
	char path[256];
	FILE *file;
	__u32 size;
	int id;

	if (!btf)
		test_fail("the kernel's types: %s", strerror(errno));
	id = btf__find_by_name_kind(btf, structure, BTF_KIND_STRUCT);
	type = btf__type_by_id(btf, (__u32)id);
	members = btf_members(type);
	for (int i = 0; type && i < btf_vlen(type); i++)
		if (!strcmp(btf__name_by_offset(btf, members[i].name_off), member)) {
			members[i].name_off = 0;
			hidden = true;
		}
	data = btf__raw_data(btf, &size);
	snprintf(path, sizeof(path), "%s/vmlinux", temporary_directory());
	file = fopen(path, "w");
	if (!hidden || !data || !file || fwrite(data, 1, size, file) != size || fclose(file))
		test_fail("struct %s without %s cannot be made", structure, member);
	btf__free(btf);
	if (mount(path, "/sys/kernel/btf/vmlinux", NULL, MS_BIND, NULL))
		test_fail("mount: %s", strerror(errno));
	cleanup_push(unmount_types, NULL);
}

/* What a probe does without is told, or made up for; the rest is right. */
static void without_a_member(void **state)
{
	static const struct {
		const char *structure, *member, *probe, *state, *reason;
	} members[] = {
		{ "cfs_rq", "throttle_count", "sched", "up", "" },
		{ "tcp_sock", "tcp_clock_cache", "requests", "up", "" },
	};

	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		hide_member(members[i].structure, members[i].member);
		assert_state(doctor("", ""), members[i].probe, members[i].state, members[i].reason);
		unmount_types(NULL);
	}
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
		HARNESS_TEST(without_a_member),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
