// SPDX-License-Identifier: Apache-2.0
/*
 * The configuration: every source, their order, every mistake with its exact message, and hostile
 * files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "agent/config.h"
#include "tests/harness/cleanup.h"

#define SECOND 1000000000LL

static const struct option_desc own_options[] = {
	{ .key = "listen", .type = OPTION_ADDRESS, .fallback = "127.0.0.1:9797", .help = "where" },
	{ .key = "interval",
	  .type = OPTION_DURATION,
	  .fallback = "10s",
	  .min = 0.1,
	  .max = 3600,
	  .help = "when" },
	{ .key = "log.level",
	  .type = OPTION_STRING,
	  .fallback = "INFO",
	  .choices = "DEBUG|INFO",
	  .help = "what" },
	{ .key = "log.file", .type = OPTION_STRING, .fallback = "", .help = "path" },
	{ .key = "buffer", .type = OPTION_BYTES, .fallback = "8MiB", .help = "room" },
	{ .key = NULL },
};

static const struct option_desc health_table[] = {
	{ .key = "health.cpu.degraded",
	  .type = OPTION_NUMBER,
	  .fallback = "70",
	  .min = 0,
	  .max = 100,
	  .help = "from" },
	{ .key = "health.cpu.unhealthy",
	  .type = OPTION_NUMBER,
	  .fallback = "90",
	  .min = 0,
	  .max = 100,
	  .help = "from" },
	{ .key = NULL },
};

static const struct option_desc probe_table[] = {
	{ .key = "enabled", .type = OPTION_BOOL, .fallback = "true", .help = "whether" },
	{ .key = "max_rows",
	  .type = OPTION_INT,
	  .fallback = "4096",
	  .min = 16,
	  .max = 65536,
	  .help = "how many" },
	{ .key = NULL },
};

static const struct option_desc *const absent;

static const struct option_table tables[] = {
	OPTION_TABLE("", own_options),
	OPTION_TABLE("", health_table),
	OPTION_TABLE("probes.sched", probe_table),
	OPTION_TABLE("probes.tcp", probe_table),
	{ .prefix = "probes.host", .options = &absent },
	{ .prefix = NULL },
};

/* The configuration of a text that must be right. */
static struct config *parse(const char *yaml)
{
	struct buffer errors = { 0 };
	struct config *config = NULL;

	if (config_parse(tables, "test.yaml", yaml, strlen(yaml), &config, &errors))
		fail_msg("%.*s", (int)errors.size, errors.data ? errors.data : "");
	assert_int_equal(errors.size, 0);
	buffer_free(&errors);
	return config;
}

static void assert_errors(struct buffer *errors, const char *wanted)
{
	buffer_char(errors, '\0');
	assert_int_equal(buffer_error(errors), 0);
	assert_string_equal(errors->data, wanted);
	buffer_free(errors);
}

static void refused_bytes(const void *data, size_t size, const char *wanted)
{
	struct buffer errors = { 0 };
	struct config *config = NULL;
	/* a copy of exactly that size, for the address sanitizer to guard */
	char *copy = malloc(size ? size : 1);

	memcpy(copy, data, size);
	assert_int_equal(config_parse(tables, "test.yaml", copy, size, &config, &errors), -EINVAL);
	free(copy);
	assert_null(config);
	assert_errors(&errors, wanted);
}

static void refused(const char *yaml, const char *wanted)
{
	refused_bytes(yaml, strlen(yaml), wanted);
}

static void has_defaults(void **state)
{
	struct config *config = parse("# nothing\n");

	assert_string_equal(config_string(config, "listen"), "127.0.0.1:9797");
	assert_int_equal(config_int(config, "interval"), 10 * SECOND);
	assert_string_equal(config_string(config, "log.file"), "");
	assert_int_equal(config_int(config, "buffer"), 8 << 20);
	assert_true(config_number(config, "health.cpu.degraded") == 70);
	assert_true(config_bool(config, "probes.tcp.enabled"));
	assert_int_equal(config_get(config, "probes.sched.max_rows")->integer, 4096);
	assert_int_equal(config_source(config, "probes.sched.max_rows"), CONFIG_DEFAULT);
	assert_true(config_has(config, "log.level"));
	assert_false(config_has(config, "log"));
	assert_false(config_has(config, "log.levels"));
	assert_null(config_path(config));
	config_free(config);
	config_free(NULL);
}

static void reads_a_file(void **state)
{
	struct config *config = parse("listen: ':80'\n"
				      "interval: \"250ms\"\n"
				      "log: {level: DEBUG, file: /var/log/x y.log}\n"
				      "buffer: >-\n  64KiB\n"
				      "health:\n"
				      "probes:\n"
				      "  tcp:\n"
				      "    enabled: false # for now\n"
				      "  sched:\n"
				      "    # all commented out\n");

	assert_string_equal(config_string(config, "listen"), ":80");
	assert_int_equal(config_int(config, "interval"), SECOND / 4);
	assert_string_equal(config_string(config, "log.level"), "DEBUG");
	assert_string_equal(config_string(config, "log.file"), "/var/log/x y.log");
	assert_int_equal(config_int(config, "buffer"), 65536);
	assert_false(config_bool(config, "probes.tcp.enabled"));
	assert_true(config_bool(config, "probes.sched.enabled"));
	assert_int_equal(config_source(config, "buffer"), CONFIG_FILE);
	assert_int_equal(config_source(config, "probes.sched.enabled"), CONFIG_DEFAULT);
	config_free(config);
	/*
	 * the other spellings YAML allows: JSON, a byte order mark, explicit document marks, CRLF,
	 * keys with dots
	 */
	config_free(parse("{\"interval\": \"1s\", \"log\": {\"level\": \"INFO\"}}"));
	config_free(parse("\xef\xbb\xbfinterval: 1s\n"));
	config_free(parse("---\ninterval: 1s\n...\n"));
	config_free(parse("%YAML 1.1\n---\ninterval: 1s\r\nlog:\r\n  level: DEBUG\r\n"));
	config = parse("log.level: DEBUG\nprobes:\n  sched.max_rows: 32\n");
	assert_string_equal(config_string(config, "log.level"), "DEBUG");
	assert_int_equal(config_int(config, "probes.sched.max_rows"), 32);
	config_free(config);
	config_free(parse("--- ~\n"));
}

static const struct {
	const char *yaml;
	const char *errors;
} mistakes[] = {
	/* keys */
	{ "intervall: 10s\n", "test.yaml:1: intervall: unknown key; did you mean \"interval\"?\n" },
	{ "\n\nlog:\n  levle: DEBUG\n",
	  "test.yaml:4: log.levle: unknown key; did you mean \"log.level\"?\n" },
	{ "level: DEBUG\n", "test.yaml:1: level: unknown key; did you mean \"log.level\"?\n" },
	{ "colour:\n  deep: [1, {a: b}]\ninterval: 0\n",
	  "test.yaml:1: colour: unknown key; `leadline config sample` lists all of them\n"
	  "test.yaml:3: interval: \"0\" is too small; write a duration like 250ms, 10s or 1h30m from 100ms to 1h\n" },
	{ "probes:\n  sched:\n    max_rows: 16\n  schde:\n    max_rows: 16\n",
	  "test.yaml:4: probes.schde: unknown key; `leadline config sample` lists all of them\n" },
	{ "'': 3\n",
	  "test.yaml:1: \"\": unknown key; `leadline config sample` lists all of them\n" },
	{ "\"a\\e[2Jb\": 3\n",
	  "test.yaml:1: \"a?[2Jb\": unknown key; `leadline config sample` lists all of them\n" },
	{ "\"interval\\0x\": 3\n", "test.yaml:1: a key must be a plain name\n" },
	{ "? [a, b]\n: 3\n", "test.yaml:1: a key must be a plain name\n" },
	{ "log:\n  ? {a: b}\n  : 3\n", "test.yaml:2: log: a key must be a plain name\n" },
	{ "<<: {interval: 1s}\n",
	  "test.yaml:1: \"<<\": unknown key; `leadline config sample` lists all of them\n" },
	{ "probes:\n  host:\n    enabled: true\n",
	  "test.yaml:2: probes.host: unknown key; `leadline config sample` lists all of them\n" },
	/* given twice */
	{ "interval: 1s\nlisten: :1\ninterval: 2s\n",
	  "test.yaml:3: interval: given twice, first in line 1; remove one\n" },
	{ "interval: 1s\ninterval: 1s\n",
	  "test.yaml:2: interval: given twice, first in line 1; remove one\n" },
	{ "log:\n  level: INFO\nhealth:\nlog:\n  file: x\n",
	  "test.yaml:4: log: given twice, first in line 1; merge the two\n" },
	{ "log:\n  level: INFO\nlog.level: DEBUG\n",
	  "test.yaml:3: log.level: given twice, first in line 2; remove one\n" },
	/* values */
	{ "interval: 10\n",
	  "test.yaml:1: interval: \"10\" has no unit; write a duration like 250ms, 10s or 1h30m from 100ms to 1h\n" },
	{ "log:\n  level: LOUD\n",
	  "test.yaml:2: log.level: \"LOUD\" is unknown; write one of DEBUG, INFO\n" },
	{ "health:\n  cpu:\n    degraded: 101\n",
	  "test.yaml:3: health.cpu.degraded: \"101\" is too large; write a number from 0 to 100\n" },
	{ "probes: {tcp: {enabled: yes}}\n",
	  "test.yaml:1: probes.tcp.enabled: \"yes\" is neither; write true or false\n" },
	{ "probes:\n  tcp:\n    max_rows: 1e3\n",
	  "test.yaml:3: probes.tcp.max_rows: \"1e3\" is not a whole number; write a whole number from 16 to 65536\n" },
	{ "buffer: 4MB\n",
	  "test.yaml:1: buffer: \"4MB\" has an unknown unit; write a size like 256KiB or 8MiB\n" },
	{ "listen: localhost:80\n",
	  "test.yaml:1: listen: \"localhost:80\" is not an address to listen on; write an IP address and a port like "
	  "127.0.0.1:9797, [::1]:9797 or :9797\n" },
	{ "log:\n  file:\n",
	  "test.yaml:2: log.file: has no value; write a text, or remove the line\n" },
	{ "log:\n  file: ~\n",
	  "test.yaml:2: log.file: has no value; write a text, or remove the line\n" },
	{ "log:\n  level: [DEBUG]\n",
	  "test.yaml:2: log.level: is a list; write one of DEBUG, INFO\n" },
	{ "log:\n  level:\n    deep: 1\n",
	  "test.yaml:3: log.level: is a section; write one of DEBUG, INFO\n" },
	{ "log:\n  file: \"a\\0b\"\n",
	  "test.yaml:2: log.file: has a NUL character in it; write a text\n" },
	{ "log:\n  file: \"a\\nb\"\n",
	  "test.yaml:2: log.file: \"a?b\" has control characters in it; write a text\n" },
	/* sections */
	{ "log: DEBUG\n",
	  "test.yaml:1: log: is a section; write its settings below it, indented\n" },
	{ "log: [a]\n", "test.yaml:1: log: is a section; write its settings below it, indented\n" },
	/* what YAML could do */
	{ "log: &l\n  level: DEBUG\n",
	  "test.yaml:1: log: anchors and aliases are not supported; write the value\n" },
	{ "interval: &i 1s\n",
	  "test.yaml:1: interval: anchors and aliases are not supported; write the value\n" },
	{ "interval: *i\n",
	  "test.yaml:1: interval: anchors and aliases are not supported; write the value\n" },
	{ "&k interval: 1s\n",
	  "test.yaml:1: interval: anchors and aliases are not supported; write the value\n" },
	{ "&k\ninterval: 1s\n",
	  "test.yaml:1: file: anchors and aliases are not supported; write the value\n" },
	{ "interval: !!str 1s\n",
	  "test.yaml:1: interval: tags are not supported; write the value without\n" },
	{ "log: !x\n  level: DEBUG\n",
	  "test.yaml:1: log: tags are not supported; write the value without\n" },
	{ "interval: 1s\n---\ninterval: 2s\n",
	  "test.yaml:2: a second document; keep everything in one, without \"---\" between\n" },
	{ "- interval: 1s\n",
	  "test.yaml:1: expected settings like \"interval: 10s\", found a list\n" },
	{ "interval\n", "test.yaml:1: expected settings like \"interval: 10s\", found a text\n" },
	{ "interval=10s\n",
	  "test.yaml:1: expected settings like \"interval: 10s\", found a text\n" },
	/* syntax */
	{ "log:\n\tlevel: DEBUG\n", "test.yaml:2: a tab in column 1; indent with spaces\n" },
	{ "log: {level: DEBUG\n",
	  "test.yaml:2: not valid YAML: while parsing a flow mapping, did not find expected ',' or '}' in column 1\n" },
	{ "interval: 1s\n  listen: :1\n",
	  "test.yaml:1: interval: \"1s listen\" is not a duration; write a duration like 250ms, 10s or 1h30m from 100ms "
	  "to 1h\n"
	  "test.yaml:2: not valid YAML: mapping values are not allowed in this context in column 9\n" },
	{ "interval: \"1s\n",
	  "test.yaml:2: not valid YAML: while scanning a quoted scalar, found unexpected end of stream in column 1\n" },
	/* what came before a syntax error is told as well */
	{ "intervall: 1s\n\"\n",
	  "test.yaml:1: intervall: unknown key; did you mean \"interval\"?\n"
	  "test.yaml:3: not valid YAML: while scanning a quoted scalar, found unexpected end of stream in column 1\n" },
	{ "",
	  "test.yaml:1: the file is empty; write a setting or a comment, or remove the file\n" },
	{ " \n\t\r\n",
	  "test.yaml:1: the file is empty; write a setting or a comment, or remove the file\n" },
};

static void tells_each_mistake(void **state)
{
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++)
		refused(mistakes[i].yaml, mistakes[i].errors);
}

static void refuses_bytes_that_are_no_text(void **state)
{
	static const char nul[] = "interval: 1s\nlisten: \0:1\n";

	refused_bytes(nul, sizeof(nul) - 1,
		      "test.yaml:2: control character 0x00; the file must be plain text\n");
	refused("interval: 1s\n# \x01\n",
		"test.yaml:2: control character 0x01; the file must be plain text\n");
	refused("interval: 1s\nlog:\n  file: caf\xe9 au lait\n",
		"test.yaml:3: not UTF-8 (invalid trailing UTF-8 octet); save the file as UTF-8\n");
	refused("interval: \xff\n",
		"test.yaml:1: not UTF-8 (invalid leading UTF-8 octet); save the file as UTF-8\n");
	refused_bytes(
		"\xff\xfei\0n\0", 6,
		"test.yaml:1: not UTF-8 (invalid leading UTF-8 octet); save the file as UTF-8\n");
}

/* `n` times `unit`, between `head` and `tail`. Freed by the caller. */
static char *repeat(const char *head, const char *unit, size_t n, const char *tail)
{
	char *text = malloc(strlen(head) + strlen(unit) * n + strlen(tail) + 1);
	char *to = stpcpy(text, head);

	while (n--)
		to = stpcpy(to, unit);
	strcpy(to, tail);
	return text;
}

static void survives_attacks(void **state)
{
	char *text;

	text = repeat("a: ", "[", 100000, "");
	refused(text, "test.yaml:1: a: unknown key; `leadline config sample` lists all of them\n"
		      "test.yaml:1: nested too deeply\n");
	free(text);
	text = repeat("interval: ", "{a: ", 100000, "");
	refused(text,
		"test.yaml:1: interval: is a section; write a duration like 250ms, 10s or 1h30m from 100ms to 1h\n"
		"test.yaml:1: nested too deeply\n");
	free(text);
	text = repeat("log:\n", " ", 500000, "level: DEBUG\n");
	config_free(parse(text));
	free(text);
	/* a billion laughs */
	refused("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
		"test.yaml:1: a: unknown key; `leadline config sample` lists all of them\n"
		"test.yaml:2: b: unknown key; `leadline config sample` lists all of them\n"
		"test.yaml:3: c: unknown key; `leadline config sample` lists all of them\n");
	text = repeat("", "a", 900000, ": 1\n");
	refused(text, "test.yaml:1: expected settings like \"interval: 10s\", found a text\n");
	free(text);
}

static void bounds_what_it_tells(void **state)
{
	struct buffer errors = { 0 };
	struct config *config = NULL;
	char *text = repeat("", "zzzzz: 1\n", 1000, "");

	assert_int_equal(config_parse(tables, "test.yaml", text, strlen(text), &config, &errors),
			 -EINVAL);
	buffer_char(&errors, '\0');
	assert_non_null(strstr(errors.data, "test.yaml:20: zzzzz:"));
	assert_null(strstr(errors.data, "test.yaml:21: zzzzz:"));
	assert_string_equal(strrchr(errors.data, ':') ? strstr(errors.data, "…") : "",
			    "… and 980 more\n");
	buffer_free(&errors);
	free(text);
	text = repeat("#", "x", 1024 * 1024, "\n");
	refused(text, "test.yaml: is larger than 1 MiB; this is no leadline configuration\n");
	free(text);
	/* a key longer than any that is known, and one that begins like a known one */
	text = repeat("log:\n  level", "x", 500, ": 1\n");
	assert_int_equal(config_parse(tables, "test.yaml", text, strlen(text), &config, &errors),
			 -EINVAL);
	assert_true(errors.size < 200);
	buffer_free(&errors);
	free(text);
}

/* ---- all sources ---- */

static struct config *load(const char *path, const char *const *environment,
			   const struct config_flag *flags, size_t n_flags)
{
	const struct config_request request = { .tables = tables,
						.path = path,
						.environment = environment,
						.flags = flags,
						.n_flags = n_flags };
	struct buffer errors = { 0 };
	struct config *config = NULL;

	if (config_load(&request, &config, &errors))
		fail_msg("%.*s", (int)errors.size, errors.data ? errors.data : "");
	buffer_free(&errors);
	return config;
}

static void load_refused(const char *path, const char *const *environment,
			 const struct config_flag *flags, size_t n_flags, int code,
			 const char *wanted)
{
	const struct config_request request = { .tables = tables,
						.path = path,
						.environment = environment,
						.flags = flags,
						.n_flags = n_flags };
	struct buffer errors = { 0 };
	struct config *config = NULL;

	assert_int_equal(config_load(&request, &config, &errors), code);
	assert_null(config);
	assert_errors(&errors, wanted);
}

static void keeps_the_order_of_sources(void **state)
{
	const char *path = write_file(temporary_directory(), "a.yaml",
				      "interval: 2s\nlisten: :2\nhealth: {cpu: {degraded: 2}}\n");
	const char *const environment[] = { "PATH=/bin", "LEADLINE_LISTEN=:3",
					    "LEADLINE_HEALTH_CPU_DEGRADED=3",
					    "LEADLINE_PROBES_SCHED_MAX_ROWS=33", NULL };
	const struct config_flag flags[] = { { "health.cpu.degraded", "4" },
					     { "log.level", "INFO" },
					     { "log.level", "DEBUG" } };
	struct config *config = load(path, environment, flags, 3);
	struct buffer shown = { 0 };
	char wanted[1024];

	assert_string_equal(config_path(config), path);
	assert_int_equal(config_int(config, "buffer"), 8 << 20);
	assert_int_equal(config_source(config, "buffer"), CONFIG_DEFAULT);
	assert_int_equal(config_int(config, "interval"), 2 * SECOND);
	assert_int_equal(config_source(config, "interval"), CONFIG_FILE);
	assert_string_equal(config_string(config, "listen"), ":3");
	assert_int_equal(config_source(config, "listen"), CONFIG_ENVIRONMENT);
	assert_true(config_number(config, "health.cpu.degraded") == 4);
	assert_int_equal(config_source(config, "health.cpu.degraded"), CONFIG_FLAG);
	assert_string_equal(config_string(config, "log.level"),
			    "DEBUG"); /* the last of two flags */

	config_dump(config, &shown);
	snprintf(wanted, sizeof(wanted),
		 "listen: ':3' # LEADLINE_LISTEN\n"
		 "interval: 2s # %s:1\n"
		 "buffer: 8MiB # default\n"
		 "log:\n"
		 "  level: DEBUG # --log.level\n"
		 "  file: '' # default\n"
		 "health:\n"
		 "  cpu:\n"
		 "    degraded: 4 # --health.cpu.degraded\n"
		 "    unhealthy: 90 # default\n"
		 "probes:\n"
		 "  sched:\n"
		 "    enabled: true # default\n"
		 "    max_rows: 33 # LEADLINE_PROBES_SCHED_MAX_ROWS\n"
		 "  tcp:\n"
		 "    enabled: true # default\n"
		 "    max_rows: 4096 # default\n",
		 path);
	assert_errors(&shown, wanted);
	config_free(config);
}

static void finds_its_file(void **state)
{
	const char *directory = temporary_directory();
	const char *path = write_file(directory, "a.yaml", "interval: 2s\n");
	const char *other = write_file(directory, "b.yaml", "interval: 3s\n");
	char variable[512], message[1024];
	const char *const environment[] = { variable, NULL };
	struct config *config;

	snprintf(variable, sizeof(variable), "LEADLINE_CONFIG=%s", path);
	config = load(NULL, environment, NULL, 0);
	assert_int_equal(config_int(config, "interval"), 2 * SECOND);
	config_free(config);
	config = load(other, environment, NULL, 0);
	assert_int_equal(config_int(config, "interval"), 3 * SECOND);
	config_free(config);

	load_refused("/nonexistent/x.yaml", NULL, NULL, 0, -ENOENT,
		     "/nonexistent/x.yaml: cannot be read: No such file or directory\n");
	snprintf(message, sizeof(message), "%s: cannot be read: Is a directory\n", directory);
	load_refused(directory, NULL, NULL, 0, -EISDIR, message);
	load_refused("/dev/zero", NULL, NULL, 0, -EFBIG,
		     "/dev/zero: is larger than 1 MiB; this is no leadline configuration\n");
	write_file(directory, "a.yaml", "\nlog:\n  level: 1\n");
	snprintf(message, sizeof(message),
		 "%s:3: log.level: \"1\" is unknown; write one of DEBUG, INFO\n", path);
	load_refused(path, NULL, NULL, 0, -EINVAL, message);
}

static void reads_the_environment(void **state)
{
	const char *path = write_file(temporary_directory(), "a.yaml", "# nothing\n");
	/* what Kubernetes adds for services called "leadline" and "leadline-web" */
	const char *const links[] = { "LEADLINE_SERVICE_HOST=10.0.0.1",
				      "LEADLINE_SERVICE_PORT=9797",
				      "LEADLINE_SERVICE_PORT_METRICS=9797",
				      "LEADLINE_PORT=tcp://10.0.0.1:9797",
				      "LEADLINE_PORT_9797_TCP=tcp://10.0.0.1:9797",
				      "LEADLINE_PORT_9797_TCP_PROTO=tcp",
				      "LEADLINE_PORT_9797_TCP_ADDR=10.0.0.1",
				      "LEADLINE_WEB_SERVICE_HOST=10.0.0.2",
				      "LEADLINE_WEB_PORT_53_UDP=udp://10.0.0.2:53",
				      "LEADLINEX=1",
				      "LEADLINE=1",
				      NULL };
	const char *const wrong[] = { "LEADLINE_LISEN=:1",
				      "LEADLINE_INTERVAL=10",
				      "LEADLINE_COLOUR=red",
				      "LEADLINE_PORT_X=1",
				      "LEADLINE_a\n=1",
				      "LEADLINE_LOG_FILE=",
				      "LEADLINE_INTERVAL_WITHOUT_VALUE",
				      NULL };

	config_free(load(path, links, NULL, 0));
	load_refused(
		path, wrong, NULL, 0, -EINVAL,
		"LEADLINE_LISEN: unknown setting in the environment; did you mean LEADLINE_LISTEN?\n"
		"LEADLINE_INTERVAL: \"10\" has no unit; write a duration like 250ms, 10s or 1h30m from 100ms to 1h\n"
		"LEADLINE_COLOUR: unknown setting in the environment; unset it, or see `leadline help` for all "
		"settings\n"
		"LEADLINE_PORT_X: unknown setting in the environment; unset it, or see `leadline help` for all "
		"settings\n"
		"\"LEADLINE_a?\": unknown setting in the environment; unset it, or see `leadline help` for all "
		"settings\n");
}

static void reads_flags(void **state)
{
	const char *path = write_file(temporary_directory(), "a.yaml", "listen: 1\n");
	const struct config_flag flags[] = { { "interval", "1w" }, { "nope", "1" } };
	char wanted[1024];

	snprintf(
		wanted, sizeof(wanted),
		"%s:1: listen: \"1\" is not an address to listen on; write an IP address and a port like "
		"127.0.0.1:9797, [::1]:9797 or :9797\n"
		"--interval: \"1w\" is not a duration; write a duration like 250ms, 10s or 1h30m from 100ms to 1h\n"
		"--nope: unknown flag\n",
		path);
	load_refused(path, NULL, flags, 2, -EINVAL, wanted);
}

static void compares(void **state)
{
	struct config *old = parse("interval: 60s\nbuffer: 1MiB\nlog: {level: INFO}\n");
	struct config *new = parse(
		"interval: 1m\nbuffer: 1024KiB\nlog: {level: DEBUG}\nhealth: {cpu: {degraded: 70.5}}\n"
		"probes: {sched: {enabled: false, max_rows: 17}}\n");
	const char *keys[8] = { NULL };

	assert_int_equal(config_changes(old, new, keys, 8), 4);
	assert_string_equal(keys[0], "health.cpu.degraded");
	assert_string_equal(keys[1], "log.level");
	assert_string_equal(keys[2], "probes.sched.enabled");
	assert_string_equal(keys[3], "probes.sched.max_rows");
	assert_null(keys[4]);
	assert_int_equal(config_changes(old, new, keys, 1), 4);
	assert_int_equal(config_changes(old, old, NULL, 0), 0);
	config_free(old);
	config_free(new);
}

/* What is printed reads back equal, whatever the text. */
static void prints_what_it_reads(void **state)
{
	static const char *const files[] = { "plain", "it''s", "a: b",	"#x",  "-",    "null", "~",
					     "a #b",  "[x]",   "/a/b:", "é ü", "true", " x ",  "" };
	const char *path = write_file(temporary_directory(), "a.yaml", "# nothing\n");

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		const struct config_flag flags[] = { { "log.file", files[i] },
						     { "listen", "[::1]:1" } };
		struct config *config = load(path, NULL, flags, 2), *again;
		struct buffer shown = { 0 };

		config_dump(config, &shown);
		buffer_char(&shown, '\0');
		again = parse(shown.data);
		assert_string_equal(config_string(again, "log.file"), files[i]);
		assert_int_equal(config_changes(config, again, NULL, 0), 0);
		assert_int_equal(config_source(again, "buffer"), CONFIG_FILE);
		buffer_free(&shown);
		config_free(again);
		config_free(config);
	}
}

/*
 * Every setting is in the sample, commented out; with the comment signs gone it gives the defaults.
 */
static void prints_a_sample(void **state)
{
	struct buffer sample = { 0 }, bare = { 0 };
	struct config *config, *defaults = parse("#");
	size_t n = 0;

	config_sample(tables, &sample);
	buffer_char(&sample, '\0');
	config = parse(sample.data);
	assert_int_equal(config_source(config, "interval"), CONFIG_DEFAULT);
	config_free(config);
	for (const char *c = sample.data; *c; c++) {
		if (*c == '#' && c[1] != ' ')
			n++;
		else
			buffer_char(&bare, *c);
	}
	buffer_char(&bare, '\0');
	assert_int_equal(n, 11);
	config = parse(bare.data);
	assert_int_equal(config_source(config, "interval"), CONFIG_FILE);
	assert_int_equal(config_source(config, "probes.tcp.max_rows"), CONFIG_FILE);
	assert_int_equal(config_changes(defaults, config, NULL, 0), 0);
	config_free(config);
	config_free(defaults);
	buffer_free(&sample);
	buffer_free(&bare);
}

static void refuses_tables_that_are_wrong(void **state)
{
	static const struct option_desc wrong[] = {
		{ .key = "a",
		  .type = OPTION_INT,
		  .fallback = "12",
		  .min = 1,
		  .max = 10,
		  .help = "x" },
		{ .key = "a", .type = OPTION_BOOL, .fallback = "true", .help = "x" },
		{ .key = NULL },
	};
	const struct option_table wrong_tables[] = { OPTION_TABLE("", wrong), { .prefix = NULL } };
	struct buffer errors = { 0 };
	struct config *config = NULL;

	assert_int_equal(config_parse(wrong_tables, "x", "#", 1, &config, &errors), -EINVAL);
	assert_errors(&errors, "a: \"12\" is too large; write a whole number from 1 to 10\n"
			       "a: is declared twice\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(has_defaults),
		cmocka_unit_test(reads_a_file),
		cmocka_unit_test(tells_each_mistake),
		cmocka_unit_test(refuses_bytes_that_are_no_text),
		cmocka_unit_test(survives_attacks),
		cmocka_unit_test(bounds_what_it_tells),
		cmocka_unit_test_teardown(keeps_the_order_of_sources, cleanup_teardown),
		cmocka_unit_test_teardown(finds_its_file, cleanup_teardown),
		cmocka_unit_test_teardown(reads_the_environment, cleanup_teardown),
		cmocka_unit_test_teardown(reads_flags, cleanup_teardown),
		cmocka_unit_test(compares),
		cmocka_unit_test_teardown(prints_what_it_reads, cleanup_teardown),
		cmocka_unit_test(prints_a_sample),
		cmocka_unit_test(refuses_tables_that_are_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
