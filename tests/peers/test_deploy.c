// SPDX-License-Identifier: Apache-2.0
/*
 * What deploy/ ships, judged by those who will read it: systemd, Prometheus, kustomize, Debian's package
 * list, and the agent itself under the unit's user and capabilities. Run from the root of the repository.
 */
#include <ctype.h>
#include "tests/harness/harness.h"

#define UNIT	   "deploy/systemd/leadline.service"
#define DAEMON_SET "deploy/kubernetes/base/daemonset.yaml"
#define IMAGE	   "deploy/container/Containerfile"

/* Names of capabilities, sorted, a blank behind each: "BPF PERFMON ". The file says them on one line. */
static char *capabilities(const char *file, const char *line)
{
	struct output *output;
	char *names;

	output = run_shell(
		"sed -nE 's/^[[:space:]#]*%s//p' %s | grep -oE '[A-Z_]{3,}' | sed 's/^CAP_//' | sort | "
		"tr '\\n' ' '",
		line, file);
	names = strdup(output->text);
	output_free(output);
	assert_non_null(names);
	assert_true(names[0]);
	return names;
}

static void unit_is_understood(void **state)
{
	const char *directory = temporary_directory();

	require_program("systemd-analyze");
	/* It looks for the program, which need not be installed here. */
	shell("sed 's,/usr/sbin/leadline,%s,' " UNIT " > %s/leadline.service", leadline_binary(),
	      directory);
	shell("out=$(systemd-analyze verify --man=no %s/leadline.service 2>&1) && [ -z \"$out\" ] || "
	      "{ echo \"$out\"; exit 1; }",
	      directory);
}

static void grants_are_the_same_everywhere(void **state)
{
	char *ambient = capabilities(UNIT, "AmbientCapabilities=");
	char *bounding = capabilities(UNIT, "CapabilityBoundingSet=");
	char *pod = capabilities(DAEMON_SET, "add: ");

	assert_string_equal(ambient, bounding);
	assert_string_equal(ambient, pod);
	free(ambient);
	free(bounding);
	free(pod);
}

/* Nobody, with the capabilities of the unit and no way to get others: every probe must come up as it does for root. */
static void capabilities_suffice(void **state)
{
	const char *directory = temporary_directory();
	char *names = capabilities(UNIT, "AmbientCapabilities="), list[256] = "-all";
	struct output *root, *nobody;
	char *save = NULL;

	require_root();
	require_program("setpriv");
	for (char *name = strtok_r(names, " ", &save); name; name = strtok_r(NULL, " ", &save)) {
		size_t used = strlen(list);

		snprintf(list + used, sizeof(list) - used, ",+%s", name);
	}
	for (char *c = list; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	shell("chmod 755 %s && install -m 755 %s %s/leadline", directory, leadline_binary(),
	      directory);
	root = run_shell("%s/leadline doctor | sed -n '/^Probes/,$p'", directory);
	nobody = run_shell(
		"setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --bounding-set %s "
		"--inh-caps %s --ambient-caps %s %s/leadline doctor | sed -n '/^Probes/,$p'",
		list, list, list, directory);
	assert_non_null(strstr(root->text, "sched"));
	assert_string_equal(nobody->text, root->text);
	output_free(root);
	output_free(nobody);
	free(names);
}

static void shipped_settings_are_valid(void **state)
{
	shell("%s config check deploy/leadline.yaml", leadline_binary());
	shell("%s config check deploy/kubernetes/base/leadline.yaml", leadline_binary());
}

static void prometheus_takes_the_job(void **state)
{
	require_program("promtool");
	shell("promtool check config deploy/prometheus/prometheus.yml");
}

static void manifests_build(void **state)
{
	const char *directory = temporary_directory();

	require_program("kubectl");
	shell("kubectl kustomize deploy/kubernetes/podmonitor > %s/all.yaml", directory);
	/* Everything is there, and the DaemonSet mounts the ConfigMap under the name its content gave it. */
	shell("[ $(grep -c '^kind: ' %s/all.yaml) = 8 ] && [ $(grep -Ec '^ +name: leadline-[a-z0-9]{10}$' %s/all.yaml) = 2 ]",
	      directory, directory);
}

/* Each library the program names is in a package of the image; libc6 is in every image. */
static void image_has_the_libraries(void **state)
{
	require_program("dpkg-query");
	shell("for library in $(objdump -p %s | awk '$1 == \"NEEDED\" { print $2 }'); do "
	      "path=$(ldd %s | awk -v name=$library '$1 == name { print $3 }'); "
	      "package=$(dpkg-query -S \"*${path#/usr}\" | head -n 1 | cut -d: -f1); "
	      "[ \"$package\" = libc6 ] || grep -Eq \"install .* $package( |$)\" " IMAGE " || "
	      "{ echo \"$library, of package '$package', is not in the image\"; exit 1; }; done",
	      leadline_binary(), leadline_binary());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(unit_is_understood),
		HARNESS_TEST(grants_are_the_same_everywhere),
		HARNESS_TEST(capabilities_suffice),
		HARNESS_TEST(shipped_settings_are_valid),
		HARNESS_TEST(prometheus_takes_the_job),
		HARNESS_TEST(manifests_build),
		HARNESS_TEST(image_has_the_libraries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
