/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration as YAML: what is in force and where it came from, and the sample file. What is
 * printed can be read back. Values of a section come before the sections inside it, both in the
 * order of the tables. Any thread.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "agent/config_store.h"

#define SAMPLE_COLUMNS 100

struct printer {
	const struct config *config;
	struct buffer *out;
	bool airy; /* an empty line before each section at the top */
	void (*print_entry)(struct printer *printer, const struct config_entry *entry,
			    const char *name, int indent);
};

/* A scalar: as it is where YAML takes it for a string or number anyway, else in single quotes. */
static void print_scalar(struct buffer *out, const char *text)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:%+-";
	size_t length = strlen(text);

	if (length && text[strspn(text, plain)] == '\0' && !strchr(":%+-", text[0]) &&
	    text[length - 1] != ':' && strcmp(text, "null")) {
		buffer_string(out, text);
		return;
	}
	buffer_char(out, '\'');
	for (; *text; text++) {
		if (*text == '\'')
			buffer_char(out, '\'');
		buffer_char(out, *text);
	}
	buffer_char(out, '\'');
}

/*
 * Length of the section name that follows the prefix in `key`; 0 when the key is a value right
 * below the prefix.
 */
static size_t section_length(const char *key, size_t prefix)
{
	const char *dot = strchr(key + prefix, '.');

	return dot ? (size_t)(dot - (key + prefix)) : 0;
}

/* True when an entry before `index` is in the same section below the prefix. */
static bool section_printed(const struct config *config, size_t index, size_t prefix, size_t length)
{
	const char *key = config->entries[index].key;

	for (size_t i = 0; i < index; i++)
		if (!strncmp(config->entries[i].key, key, prefix + length + 1))
			return true;
	return false;
}

/*
 * Everything whose key begins with the first `prefix` bytes of `like`. Depth is bounded by the
 * length of a key.
 */
static void print_section(struct printer *printer, const char *like, size_t prefix, int indent)
{
	const struct config *config = printer->config;

	for (size_t i = 0; i < config->n_entries; i++) {
		const struct config_entry *entry = &config->entries[i];

		if (!strncmp(entry->key, like, prefix) && !section_length(entry->key, prefix))
			printer->print_entry(printer, entry, entry->key + prefix, indent);
	}
	for (size_t i = 0; i < config->n_entries; i++) {
		const char *key = config->entries[i].key;
		size_t length;

		if (strncmp(key, like, prefix))
			continue;
		length = section_length(key, prefix);
		if (!length || section_printed(config, i, prefix, length))
			continue;
		if (printer->airy && !indent)
			buffer_char(printer->out, '\n');
		buffer_printf(printer->out, "%*s%.*s:\n", indent, "", (int)length, key + prefix);
		print_section(printer, key, prefix + length + 1, indent + 2);
	}
}

static void print_source(struct buffer *out, const struct config *config,
			 const struct config_entry *entry)
{
	char variable[CONFIG_VARIABLE_SIZE];

	switch (entry->source) {
	case CONFIG_DEFAULT:
		buffer_string(out, "default");
		break;
	case CONFIG_FILE:
		buffer_printf(out, "%s:%u", config->path ? config->path : "line", entry->line);
		break;
	case CONFIG_ENVIRONMENT:
		buffer_string(out, config_variable(entry->key, variable));
		break;
	case CONFIG_FLAG:
		buffer_printf(out, "--%s", entry->key);
		break;
	}
}

static void print_value(struct printer *printer, const struct config_entry *entry, const char *name,
			int indent)
{
	buffer_printf(printer->out, "%*s%s: ", indent, "", name);
	print_scalar(printer->out, entry->text);
	buffer_string(printer->out, " # ");
	print_source(printer->out, printer->config, entry);
	buffer_char(printer->out, '\n');
}

void config_dump(const struct config *config, struct buffer *out)
{
	struct printer printer = { .config = config, .out = out, .print_entry = print_value };

	print_section(&printer, "", 0, 0);
}

/* A comment, broken between words before it is wider than the file shall be. */
static void print_comment(struct buffer *out, const char *text, int indent)
{
	const size_t room = SAMPLE_COLUMNS - (size_t)indent - 2;

	while (*text) {
		size_t length = strlen(text);

		if (length > room)
			for (length = room; length && text[length] != ' '; length--)
				;
		if (!length)
			length = strcspn(text, " ");
		buffer_printf(out, "%*s# %.*s\n", indent, "", (int)length, text);
		text += length;
		text += strspn(text, " ");
	}
}

static void print_sample(struct printer *printer, const struct config_entry *entry,
			 const char *name, int indent)
{
	const struct option_desc *desc = entry->desc;
	char range[128], comment[1024];

	option_range(desc, range, sizeof(range));
	snprintf(comment, sizeof(comment), "%s%s%s%s", desc->help, *range ? " (" : "", range,
		 *range ? ")" : "");
	print_comment(printer->out, comment, indent);
	buffer_printf(printer->out, "%*s#%s: ", indent, "", name);
	print_scalar(printer->out, entry->text);
	buffer_string(printer->out, "\n");
}

void config_sample(const struct option_table *tables, struct buffer *out)
{
	struct printer printer = { .out = out, .airy = true, .print_entry = print_sample };
	static const char nothing[] = "#"; /* a file with no settings: all defaults */
	struct config *config;
	int err = config_parse(tables, "sample", nothing, sizeof(nothing) - 1, &config, out);

	if (err) {
		if (err == -ENOMEM)
			out->error = err;
		return;
	}
	printer.config = config;
	buffer_string(
		out,
		"# The settings of leadline, each with its default. Remove the # before a line to change it. The\n"
		"# environment (LEADLINE_LOG_LEVEL=DEBUG) and flags (--log.level=DEBUG) go before this file. Check it\n"
		"# with `leadline config check`, see what is in force with `leadline config show`; SIGHUP reloads.\n\n");
	print_section(&printer, "", 0, 0);
	config_free(config);
}
