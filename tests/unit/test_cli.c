// SPDX-License-Identifier: Apache-2.0
/*
 * The command line with the tables of the real agent: what it answers, what it refuses, and that
 * the descriptors all keep the conventions that users and Prometheus rely on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>
#include "agent/catalogue.h"
#include "agent/cli/cli.h"
#include "tests/harness/cleanup.h"

#define MAX_ARGUMENTS 16
#define MAX_NAMES     512

struct result {
	int code;
	char *out, *err;
	size_t out_size, err_size;
};

static void free_result(void *context)
{
	struct result *result = context;

	free(result->out);
	free(result->err);
	free(result);
}

/* Runs a command line, split at blanks. The result lives until the end of the test. */
static const struct result *run_in(const char *const *environment, const char *command)
{
	struct result *result = calloc(1, sizeof(*result));
	char *copy = strdup(command), *rest = copy, *word;
	char *argv[MAX_ARGUMENTS + 1] = { (char *)"leadline" };
	FILE *out = open_memstream(&result->out, &result->out_size);
	FILE *err = open_memstream(&result->err, &result->err_size);
	int argc = 1;

	while ((word = strsep(&rest, " ")) && argc < MAX_ARGUMENTS)
		if (*word)
			argv[argc++] = word;
	result->code = cli_run(argc, argv, environment, out, err);
	fclose(out);
	fclose(err);
	free(copy);
	cleanup_push(free_result, result);
	return result;
}

static const struct result *run(const char *command)
{
	return run_in(NULL, command);
}

static void refused(const char *command, const char *wanted)
{
	const struct result *result = run(command);

	assert_string_equal(result->err, wanted);
	assert_string_equal(result->out, "");
	assert_int_equal(result->code, CLI_USAGE);
}

static const char *printed(const char *command)
{
	const struct result *result = run(command);

	assert_string_equal(result->err, "");
	assert_int_equal(result->code, CLI_OK);
	return result->out;
}

/* Nothing listens on the port of a discarded service. */
static void needs_an_agent(void **state)
{
	const struct result *result = run("requests --slow --listen=127.0.0.1:9");

	assert_non_null(
		strstr(result->err, "leadline: the agent at 127.0.0.1:9 does not answer: "));
	assert_non_null(strstr(result->err, "is it running"));
	assert_string_equal(result->out, "");
	assert_int_equal(result->code, CLI_FAILED);
}

static void refuses_wrong_usage(void **state)
{
	refused("docto", "leadline: \"docto\": unknown command; did you mean \"doctor\"?\n");
	refused("confg show",
		"leadline: \"confg show\": unknown command; did you mean \"config show\"?\n");
	refused("config",
		"leadline: \"config\": unknown command; did you mean \"config check\"?\n");
	refused("fly", "leadline: \"fly\": unknown command; `leadline help` lists all of them\n");
	refused("a b c d e f g h i", "leadline: too many arguments; see `leadline help`\n");
	refused("version now", "leadline: \"now\": `leadline version` takes no arguments\n");
	refused("config check a b", "leadline: \"b\": `leadline config check` takes [FILE]\n");
	refused("version -- --x", "leadline: \"--x\": `leadline version` takes no arguments\n");
	refused("--lisen=:1", "leadline: \"--lisen=:1\": unknown flag; did you mean --listen?\n");
	refused("config show --lisen :1",
		"leadline: \"--lisen\": unknown flag; did you mean --listen?\n");
	refused("version --colour",
		"leadline: \"--colour\": unknown flag; `leadline help` lists all of them\n");
	refused("version -x",
		"leadline: \"-x\": unknown flag; `leadline help` lists all of them\n");
	refused("version -hx",
		"leadline: \"-hx\": unknown flag; `leadline help` lists all of them\n");
	refused("version --listen", "leadline: --listen: needs a value: --listen=ADDRESS\n");
	refused("version --mode",
		"leadline: --mode: needs a value: --mode=disabled|direct|custom\n");
	refused("version -c", "leadline: --config: needs a value: --config=FILE\n");
	refused("version --json=yes", "leadline: --json: takes no value\n");
	refused("config show --json",
		"leadline: --json: `leadline config show` does not take it\n");
	refused("health --measure", "leadline: --measure: `leadline health` does not take it\n");
	refused("doctor --markdown", "leadline: --markdown: `leadline doctor` does not take it\n");
	refused("--json", "leadline: --json: `leadline agent` does not take it\n");
	refused("health --slow", "leadline: --slow: `leadline health` does not take it\n");
	refused("zoom --once", "leadline: --once: `leadline zoom` does not take it\n");
	refused("doctor --service=x", "leadline: --service: `leadline doctor` does not take it\n");
	refused("requests --pid=1", "leadline: --pid: `leadline requests` does not take it\n");
	refused("man", "leadline: man: name the frame: deploy/man/leadline.8.in\n");
}

static void refuses_wrong_settings(void **state)
{
	static const char *const environment[] = { "LEADLINE_CONFIG=/dev/null",
						   "LEADLINE_INTERVALL=1s", NULL };
	const char *path = write_file(temporary_directory(), "a.yaml", "log:\n  level: LOUD\n");
	char command[600], wanted[1024];

	snprintf(command, sizeof(command), "config show -c %s --mode=event-driven --max_entities 3",
		 path);
	snprintf(
		wanted, sizeof(wanted),
		"%s:2: log.level: \"LOUD\" is unknown; write one of DEBUG, INFO, WARNING, ERROR, CRITICAL\n"
		"--mode: \"event-driven\" needs a sink to publish to, and this version has none; write one of disabled, direct, custom\n"
		"--max_entities: \"3\" is too small; write a whole number from 16 to 16384\n",
		path);
	refused(command, wanted);
	snprintf(command, sizeof(command), "config check %s", path);
	snprintf(
		wanted, sizeof(wanted),
		"%s:2: log.level: \"LOUD\" is unknown; write one of DEBUG, INFO, WARNING, ERROR, CRITICAL\n",
		path);
	refused(command, wanted);
	refused("config check /nonexistent/leadline.yaml",
		"/nonexistent/leadline.yaml: cannot be read: No such file or directory\n");
	refused("agent --config=/nonexistent/leadline.yaml",
		"/nonexistent/leadline.yaml: cannot be read: No such file or directory\n");

	const struct result *result = run_in(environment, "config check");

	assert_int_equal(result->code, CLI_USAGE);
	assert_string_equal(
		result->err,
		"/dev/null:1: the file is empty; write a setting or a comment, or remove the file\n"
		"LEADLINE_INTERVALL: unknown setting in the environment; did you mean LEADLINE_INTERVAL?\n");
}

static void checks_and_shows(void **state)
{
	const char *path = write_file(temporary_directory(), "a.yaml", "log:\n  level: DEBUG\n");
	char command[600], wanted[700];

	snprintf(command, sizeof(command), "config check %s --interval=1s", path);
	snprintf(wanted, sizeof(wanted), "%s: fine, 2 settings given\n", path);
	assert_string_equal(printed(command), wanted);
	snprintf(command, sizeof(command), "config show --interval 1s --config=%s", path);
	assert_non_null(strstr(printed(command), "\ninterval: 1s # --interval\n"));
	snprintf(wanted, sizeof(wanted), "\n  level: DEBUG # %s:2\n", path);
	assert_non_null(strstr(printed(command), wanted));
	assert_non_null(strstr(printed(command), "\n  sched:\n    enabled: true # default\n"));
}

static void check_in_help(void *context, const char *key, const struct option_desc *desc)
{
	char flag[CONFIG_KEY_SIZE + 8];

	snprintf(flag, sizeof(flag), " --%s=", key);
	if (!strstr(context, flag))
		fail_msg("help lacks %s", flag);
}

static void helps(void **state)
{
	const char *help = printed("help");
	unsigned column = 0;

	assert_string_equal(printed("--help"), help);
	assert_string_equal(printed("doctor -h"), help);
	for (const struct cli_command *command = cli_commands; command->name; command++)
		assert_non_null(strstr(help, command->summary));
	config_visit(config_tables(), check_in_help, (void *)help);
	for (const char *c = help; *c; c++) {
		if ((*c & 0xc0) == 0x80)
			continue; /* not the first byte of a character */
		column = *c == '\n' ? 0 : column + 1;
		if (column > 100)
			fail_msg("more than 100 columns before: %.60s", c);
	}
}

static void tells_its_version(void **state)
{
	json_t *json = json_loads(printed("version --json"), 0, NULL);
	const char *version = json_string_value(json_object_get(json, "version"));

	assert_non_null(version);
	assert_int_equal(strncmp(printed("version"), "leadline ", 9), 0);
	assert_int_equal(strncmp(printed("--version") + 9, version, strlen(version)), 0);
	json_decref(json);
}

/* ---- conventions ---- */

struct names {
	char *names[MAX_NAMES];
	size_t n;
};

static void add_name(struct names *names, const char *name)
{
	for (size_t i = 0; i < names->n; i++)
		if (!strcmp(names->names[i], name))
			fail_msg("%s is there twice", name);
	assert_true(names->n < MAX_NAMES);
	names->names[names->n++] = strdup(name);
}

static void free_names(struct names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->names[i]);
}

static void check_option(void *context, const char *key, const struct option_desc *desc)
{
	char variable[CONFIG_KEY_SIZE];
	size_t i;

	for (i = 0; key[i]; i++)
		variable[i] = key[i] == '.' ? '_' : key[i];
	variable[i] = '\0';
	add_name(context, variable); /* two keys must not share one name in the environment */
	if (key[strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_.")])
		fail_msg("%s: lower case letters, digits, _ and . only", key);
	if (!desc->help || !*desc->help || desc->help[strlen(desc->help) - 1] == '.')
		fail_msg("%s: help is one phrase without a full stop", key);
	if (desc->max < desc->min)
		fail_msg("%s: max is below min", key);
	assert_non_null(desc->fallback);
}

static void keeps_the_conventions_of_options(void **state)
{
	struct names names = { .n = 0 };

	config_visit(config_tables(), check_option, &names);
	assert_true(names.n > 8);
	free_names(&names);
}

static bool ends_with(const char *text, size_t length, const char *end)
{
	size_t end_length = strlen(end);

	return length > end_length && !memcmp(text + length - end_length, end, end_length);
}

static void check_metric(void *context, const char *source, const struct metric_desc *desc)
{
	static const char *const entity[] = { "namespace", "pod", "container", "unit",
					      "comm",	   "le",  "pid",       "tid" };
	size_t length = strlen(desc->name);
	const bool total = ends_with(desc->name, length, "_total");

	add_name(context, desc->name);
	if (desc->name[strspn(desc->name, "abcdefghijklmnopqrstuvwxyz0123456789_")])
		fail_msg("%s: lower case letters, digits and _ only", desc->name);
	if (total != (desc->kind == METRIC_COUNTER))
		fail_msg("%s: _total is for counters", desc->name);
	if (total)
		length -= strlen("_total");
	if (desc->unit && !ends_with(desc->name, length, desc->unit))
		fail_msg("%s: the unit %s is no suffix of it", desc->name, desc->unit);
	if (!desc->help || !*desc->help || desc->help[strlen(desc->help) - 1] == '.')
		fail_msg("%s: help is one sentence without a full stop", desc->name);
	/* information about a pod is joined to entities by their labels */
	for (const char *const *label = desc->labels; *label; label++)
		for (size_t i = 0; i < sizeof(entity) / sizeof(entity[0]); i++)
			if (!strcmp(*label, entity[i]) && !ends_with(desc->name, length, "info"))
				fail_msg("%s: the label %s is not its to set", desc->name, *label);
	for (size_t i = 1; desc->bounds && i < desc->n_bounds; i++)
		if (!(desc->bounds[i - 1] < desc->bounds[i]))
			fail_msg("%s: its bounds do not ascend", desc->name);
}

static void keeps_the_conventions_of_metrics(void **state)
{
	struct names names = { .n = 0 };
	const char *text = printed("metrics"), *markdown = printed("metrics --markdown");
	json_error_t error;
	json_t *json = json_loads(printed("metrics --json"), JSON_REJECT_DUPLICATES, &error);

	catalogue_visit(check_metric, &names);
	assert_true(names.n > 40);
	assert_int_equal(json_array_size(json), names.n);
	for (size_t i = 0; i < names.n; i++) {
		assert_non_null(strstr(text, names.names[i]));
		assert_non_null(strstr(markdown, names.names[i]));
		assert_string_equal(
			json_string_value(json_object_get(json_array_get(json, i), "name")),
			names.names[i]);
	}
	/* each line of the table has its five cells */
	for (const char *line = markdown; *line; line = strchr(line, '\n') + 1) {
		unsigned bars = 0;

		for (const char *c = line; *c != '\n'; c++)
			bars += *c == '|' && (c == line || c[-1] != '\\');
		assert_int_equal(bars, 6);
	}
	json_decref(json);
	free_names(&names);
}

/* deploy/leadline.yaml is the sample: build/leadline config sample > deploy/leadline.yaml */
static void ships_the_sample(void **state)
{
	const char *sample = printed("config sample");
	char *shipped = calloc(1, 1 << 20);
	FILE *file = fopen("deploy/leadline.yaml", "re");

	assert_non_null(file);
	assert_true(fread(shipped, 1, (1 << 20) - 1, file) > 0);
	fclose(file);
	if (strcmp(shipped, sample))
		fail_msg(
			"the settings have changed: build/leadline config sample > deploy/leadline.yaml");
	free(shipped);
	assert_string_equal(printed("config check deploy/leadline.yaml"),
			    "deploy/leadline.yaml: fine, 0 settings given\n");
}

static void writes_the_manual(void **state)
{
	const char *page = printed("man deploy/man/leadline.8.in");

	assert_non_null(strstr(page, "\n.TH LEADLINE 8 "));
	assert_non_null(strstr(
		page,
		"\n.TP\n\\fBlog.level\\fR (INFO)\n\\&the least important lines to log (DEBUG, INFO, "));
	assert_non_null(strstr(
		page,
		"\n.TP\n\\fBleadline_cpu_seconds_total\\fR {mode}\n\\&counter per program; "));
	assert_non_null(strstr(page, "\n.TP\n\\fBsched\\fR\n\\&"));
	assert_null(strchr(page, '@'));

	const struct result *result = run("man /nonexistent");

	assert_int_equal(result->code, CLI_FAILED);
	assert_string_equal(result->err, "leadline: /nonexistent: No such file or directory\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(needs_an_agent, cleanup_teardown),
		cmocka_unit_test_teardown(refuses_wrong_usage, cleanup_teardown),
		cmocka_unit_test_teardown(refuses_wrong_settings, cleanup_teardown),
		cmocka_unit_test_teardown(checks_and_shows, cleanup_teardown),
		cmocka_unit_test_teardown(helps, cleanup_teardown),
		cmocka_unit_test_teardown(tells_its_version, cleanup_teardown),
		cmocka_unit_test_teardown(keeps_the_conventions_of_options, cleanup_teardown),
		cmocka_unit_test_teardown(keeps_the_conventions_of_metrics, cleanup_teardown),
		cmocka_unit_test_teardown(ships_the_sample, cleanup_teardown),
		cmocka_unit_test_teardown(writes_the_manual, cleanup_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
