/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `leadline man FRAME`: the manual page. The frame (deploy/man/leadline.8.in) holds what people
 * wrote; a line "@NAME@" in it is replaced by the table NAME, made from the descriptors. Run by the
 * Makefile.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "agent/catalogue.h"
#include "agent/cli/cli.h"
#include "agent/cli/flags.h"
#include "agent/version.h"
#include "probes/probe.h"

/* Text as roff takes it literally. Every caller writes something before it on the line. */
static void add_roff(struct buffer *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '\\' || *text == '-')
			buffer_char(out, '\\');
		buffer_char(out, *text == '\\' ? 'e' : *text);
	}
}

static void add_commands(struct buffer *out)
{
	for (const struct cli_command *command = cli_commands; command->name; command++) {
		buffer_string(out, ".TP\n\\fB");
		add_roff(out, command->name);
		buffer_string(out, "\\fR ");
		add_roff(out, command->arguments ? command->arguments : "");
		buffer_string(out, "\n\\&");
		add_roff(out, command->summary);
		if (command->flags & (CLI_JSON | CLI_MARKDOWN))
			buffer_printf(out, " (%s%s)", command->flags & CLI_JSON ? "\\-\\-json" : "",
				      command->flags & CLI_MARKDOWN ? ", \\-\\-markdown" : "");
		buffer_char(out, '\n');
	}
}

static void add_option(void *context, const char *key, const struct option_desc *desc)
{
	struct buffer *out = context;
	char range[128];

	option_range(desc, range, sizeof(range));
	buffer_string(out, ".TP\n\\fB");
	add_roff(out, key);
	buffer_string(out, "\\fR (");
	add_roff(out, desc->fallback && *desc->fallback ? desc->fallback : "empty");
	buffer_string(out, ")\n\\&");
	add_roff(out, desc->help);
	buffer_string(out, *range ? " (" : "");
	add_roff(out, range);
	buffer_string(out, *range ? ")\n" : "\n");
}

static void add_settings(struct buffer *out)
{
	config_visit(config_tables(), add_option, out);
}

static void add_probe(struct buffer *out, const struct probe_desc *probe)
{
	buffer_printf(out, ".TP\n\\fB%s\\fR\n\\&", probe->name);
	add_roff(out, probe->help);
	buffer_char(out, '\n');
}

static void add_probes(struct buffer *out)
{
#define PROBE(name) add_probe(out, &probe_##name);
#include "probes/probes.def"
#undef PROBE
}

static void add_metric(void *context, const char *source, const struct metric_desc *desc)
{
	struct buffer *out = context;

	buffer_string(out, ".TP\n\\fB");
	add_roff(out, desc->name);
	buffer_string(out, "\\fR ");
	for (const char *const *label = desc->labels; *label; label++)
		buffer_printf(out, "%s%s%s", label == desc->labels ? "{" : ",", *label,
			      label[1] ? "" : "}");
	buffer_printf(out, "\n\\&%s%s; ", metric_kind_name(desc->kind),
		      desc->per_entity ? " per program" : "");
	add_roff(out, desc->help);
	buffer_char(out, '\n');
}

static void add_metrics(struct buffer *out)
{
	catalogue_visit(add_metric, out);
}

static void add_version(struct buffer *out)
{
	buffer_printf(out, ".TH LEADLINE 8 \"\" \"leadline %s\" \"System Administration\"\n",
		      leadline_version);
}

static const struct {
	const char *name;
	void (*add)(struct buffer *out);
} tables[] = {
	{ "@HEADER@", add_version }, { "@COMMANDS@", add_commands }, { "@SETTINGS@", add_settings },
	{ "@PROBES@", add_probes },  { "@METRICS@", add_metrics },
};

static void add_line(struct buffer *out, const char *line)
{
	size_t length = strcspn(line, "\n");

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		if (strlen(tables[i].name) == length && !memcmp(tables[i].name, line, length)) {
			tables[i].add(out);
			return;
		}
	buffer_string(out, line);
}

int cli_man(const struct cli_context *context)
{
	struct buffer out = { 0 };
	int code = CLI_FAILED;
	char *line = NULL;
	size_t size = 0;
	FILE *frame;

	if (!context->n_arguments) {
		fprintf(context->err, "leadline: man: name the frame: deploy/man/leadline.8.in\n");
		return CLI_USAGE;
	}
	frame = fopen(context->arguments[0], "re");
	if (!frame) {
		fprintf(context->err, "leadline: %s: %s\n", context->arguments[0], strerror(errno));
		return CLI_FAILED;
	}
	while (getline(&line, &size, frame) >= 0)
		add_line(&out, line);
	if (ferror(frame) || buffer_error(&out)) {
		fprintf(context->err, "leadline: %s: cannot be read\n", context->arguments[0]);
	} else {
		fwrite(out.data, 1, out.size, context->out);
		code = CLI_OK;
	}
	fclose(frame);
	free(line);
	buffer_free(&out);
	return code;
}
