/* SPDX-License-Identifier: Apache-2.0 */
/* argp's table from the option descriptors; see flags.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "agent/cli/cli.h"
#include "agent/cli/flags.h"
#include "agent/suggest.h"

static const struct argp_option general[] = {
	{ .doc = "Flags:", .group = 1 },
	{ .name = "config",
	  .key = FLAG_CONFIG,
	  .arg = "FILE",
	  .group = 1,
	  .doc = "configuration file [" CONFIG_DEFAULT_PATH ", where there is one]" },
	{ .name = "json", .key = FLAG_JSON, .group = 1, .doc = "print JSON" },
	{ .name = "markdown", .key = FLAG_MARKDOWN, .group = 1, .doc = "print a Markdown table" },
	{ .name = "measure",
	  .key = FLAG_MEASURE,
	  .group = 1,
	  .doc = "doctor: attach the probes for four seconds, and tell what each costs" },
	{ .name = "pid",
	  .key = FLAG_VALUE + CLI_PID,
	  .arg = "PID",
	  .group = 1,
	  .doc = "zoom: at this process" },
	{ .name = "container",
	  .key = FLAG_VALUE + CLI_CONTAINER,
	  .arg = "NAME",
	  .group = 1,
	  .doc = "zoom: at this container; its id, the first 12 digits of it, or its name" },
	{ .name = "cgroup",
	  .key = FLAG_VALUE + CLI_CGROUP,
	  .arg = "PATH",
	  .group = 1,
	  .doc = "zoom: at this control group and those below it" },
	{ .name = "for",
	  .key = FLAG_VALUE + CLI_FOR,
	  .arg = "TIME",
	  .group = 1,
	  .doc = "zoom: for so long [30s]" },
	{ .name = "top",
	  .key = FLAG_VALUE + CLI_TOP,
	  .arg = "NUMBER",
	  .group = 1,
	  .doc = "zoom: rows of each table, 0 for all [10]" },
	{ .name = "slow",
	  .key = FLAG_SLOW,
	  .group = 1,
	  .doc = "requests: the slowest of this minute and the one before, and where their time went" },
	{ .name = "service",
	  .key = FLAG_VALUE + CLI_SERVICE,
	  .arg = "NAME",
	  .group = 1,
	  .doc = "requests: of this pod, container, unit or program only" },
	{ .name = "once",
	  .key = FLAG_ONCE,
	  .group = 1,
	  .doc = "requests: print the table once instead of refreshing it" },
	{ .name = "help", .key = FLAG_HELP, .group = 1, .doc = "print this and exit" },
	{ .name = "version", .key = FLAG_VERSION, .group = 1, .doc = "print the version and exit" },
};

#define N_GENERAL (sizeof(general) / sizeof(general[0]))

const char *flag_argument(const struct option_desc *desc)
{
	static const char *const names[] = {
		[OPTION_BOOL] = "true|false", [OPTION_INT] = "NUMBER",
		[OPTION_NUMBER] = "NUMBER",   [OPTION_DURATION] = "TIME",
		[OPTION_BYTES] = "SIZE",      [OPTION_PERCENT] = "PERCENT",
		[OPTION_STRING] = "TEXT",     [OPTION_ADDRESS] = "ADDRESS",
	};

	return desc->choices ? desc->choices : names[desc->type];
}

/* Takes ownership of `string`, which may be NULL after a failed allocation. */
static const char *keep(struct flags *flags, char *string)
{
	if (!string)
		flags->error = -ENOMEM;
	else
		flags->strings[flags->n_strings++] = string;
	return string;
}

static const char *describe(struct flags *flags, const struct option_desc *desc)
{
	char *doc;

	if (asprintf(&doc, "%s [%s]", desc->help,
		     desc->fallback && *desc->fallback ? desc->fallback : "none") < 0)
		doc = NULL;
	return keep(flags, doc);
}

/* What of the key names the group: "" or "log" or "probes.sched". */
static size_t group_length(const char *key)
{
	const char *dot = strchr(key, '.');

	if (dot && !strncmp(key, "probes.", 7) && strchr(dot + 1, '.'))
		dot = strchr(dot + 1, '.');
	return dot ? (size_t)(dot - key) : 0;
}

/* Opens a group when the key is of another than the option before. */
static void add_header(struct flags *flags, const char *key)
{
	const char *before = flags->n_keys ? flags->keys[flags->n_keys - 1] : NULL;
	size_t length = group_length(key);
	char *header;

	if (before && group_length(before) == length && !strncmp(before, key, length))
		return;
	if (length && asprintf(&header, "Settings of %.*s:", (int)length, key) < 0)
		header = NULL;
	flags->options[flags->n_options++] = (struct argp_option){
		.doc = length ? keep(flags, header)
			      : "Settings, which can also be in the file and in the environment as LEADLINE_NAME:",
		.group = ++flags->group,
	};
}

static void add_option(void *context, const char *key, const struct option_desc *desc)
{
	struct flags *flags = context;
	const char *name;

	if (flags->error)
		return;
	add_header(flags, key);
	name = keep(flags, strdup(key));
	flags->keys[flags->n_keys] = name;
	flags->options[flags->n_options++] = (struct argp_option){
		.name = name,
		.key = FLAG_OPTION + (int)flags->n_keys++,
		.arg = flag_argument(desc),
		.doc = describe(flags, desc),
		.group = flags->group,
	};
}

static void count_option(void *context, const char *key, const struct option_desc *desc)
{
	(*(size_t *)context)++;
}

int flags_create(struct flags *flags, const struct option_table *tables)
{
	size_t n = 0;

	config_visit(tables, count_option, &n);
	/* at most a header, a name and a text for each */
	*flags = (struct flags){
		.options = calloc(N_GENERAL + 2 * n + 1, sizeof(*flags->options)),
		.strings = calloc(3 * n + 1, sizeof(*flags->strings)),
		.keys = calloc(n + 1, sizeof(*flags->keys)),
		.group = 1,
	};
	if (!flags->options || !flags->strings || !flags->keys) {
		flags->error = -ENOMEM;
	} else {
		memcpy(flags->options, general, sizeof(general));
		flags->n_options = N_GENERAL;
		config_visit(tables, add_option, flags);
	}
	if (flags->error)
		flags_destroy(flags);
	return flags->error;
}

void flags_destroy(struct flags *flags)
{
	for (size_t i = 0; flags->strings && i < flags->n_strings; i++)
		free(flags->strings[i]);
	free(flags->strings);
	free(flags->keys);
	free(flags->options);
	flags->strings = NULL;
	flags->keys = NULL;
	flags->options = NULL;
}

const char *flags_nearest(const struct flags *flags, const char *name)
{
	struct suggestion suggestion;

	suggestion_start(&suggestion, name);
	for (size_t i = 0; i < flags->n_options; i++)
		if (flags->options[i].name)
			suggestion_offer(&suggestion, flags->options[i].name);
	return suggestion.best;
}

const struct argp_option *flags_find(const struct flags *flags, const char *name)
{
	for (size_t i = 0; i < flags->n_options; i++)
		if (flags->options[i].name && !strcmp(flags->options[i].name, name))
			return &flags->options[i];
	return NULL;
}
