/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The YAML file: libyaml's events walked once, with the key in hand and the line known. Nested keys
 * are joined with dots and looked up among the options, so the shape of the file needs no schema of
 * its own. Of YAML the file may use mappings and scalars; anchors, aliases, tags, lists and several
 * documents are refused. Memory and time are linear in the size of the file, and recursion only
 * follows known sections.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>
#include "agent/config_store.h"

#define MAX_SKIP_DEPTH 32 /* nesting under an unknown key or a value; more is an attack */

#define JOINED_SIZE (CONFIG_KEY_SIZE + 1) /* what fills it is longer than any known key */

struct section { /* seen so far, to find those given twice */
	char key[JOINED_SIZE];
	unsigned line;
};

struct reader {
	struct config_loader *loader;
	yaml_parser_t parser;
	const char *data;
	size_t size;
	struct section *sections;
	size_t n_sections;
};

static unsigned line_of(const yaml_mark_t *mark)
{
	return (unsigned)mark->line + 1;
}

#define complain(reader, line, ...)                                                                \
	config_complain((reader)->loader, (reader)->loader->file, line, __VA_ARGS__)

/* libyaml gives no mark for bytes it cannot decode, only their offset. */
static unsigned line_at(const struct reader *reader, size_t offset)
{
	unsigned line = 1;

	for (size_t i = 0; i < offset && i < reader->size; i++)
		line += reader->data[i] == '\n';
	return line;
}

static void complain_syntax(struct reader *reader)
{
	const yaml_parser_t *parser = &reader->parser;
	const yaml_mark_t *mark = &parser->problem_mark;
	const char *problem = parser->problem ? parser->problem : "cannot be read";

	switch (parser->error) {
	case YAML_MEMORY_ERROR:
		reader->loader->no_memory = true;
		return;
	case YAML_READER_ERROR:
		if (parser->problem_value >= 0 && parser->problem_value < 0x20)
			complain(reader, line_at(reader, parser->problem_offset),
				 "control character 0x%02x; the file must be plain text",
				 parser->problem_value);
		else
			complain(reader, line_at(reader, parser->problem_offset),
				 "not UTF-8 (%s); save the file as UTF-8", problem);
		return;
	default:
		break;
	}
	if (mark->index < reader->size && reader->data[mark->index] == '\t')
		complain(reader, line_of(mark), "a tab in column %zu; indent with spaces",
			 mark->column + 1);
	else
		complain(reader, line_of(mark), "not valid YAML: %s%s%s in column %zu",
			 parser->context ? parser->context : "", parser->context ? ", " : "",
			 problem, mark->column + 1);
}

/*
 * The next event, to be deleted by the caller. False after a syntax error, which is complained of.
 */
static bool next_event(struct reader *reader, yaml_event_t *event)
{
	if (yaml_parser_parse(&reader->parser, event))
		return true;
	complain_syntax(reader);
	return false;
}

/*
 * Passes over what the value that has begun with `event` still holds. False ends the reading.
 */
static bool skip_value(struct reader *reader, const yaml_event_t *first)
{
	yaml_event_type_t type = first->type;
	unsigned depth = 0;

	for (;;) {
		yaml_event_t event;

		if (type == YAML_MAPPING_START_EVENT || type == YAML_SEQUENCE_START_EVENT)
			depth++;
		else if (type == YAML_MAPPING_END_EVENT || type == YAML_SEQUENCE_END_EVENT)
			depth--;
		if (!depth)
			return true;
		if (!next_event(reader, &event))
			return false;
		type = event.type;
		if (depth > MAX_SKIP_DEPTH) {
			complain(reader, line_of(&event.start_mark), "nested too deeply");
			yaml_event_delete(&event);
			return false;
		}
		yaml_event_delete(&event);
	}
}

/* A section may be given once; where it was given before is told. */
static void note_section(struct reader *reader, const char *key, unsigned line)
{
	struct section *sections;

	for (size_t i = 0; i < reader->n_sections; i++)
		if (!strcmp(reader->sections[i].key, key)) {
			complain(reader, line, "%s: given twice, first in line %u; merge the two",
				 key, reader->sections[i].line);
			return;
		}
	sections = reallocarray(reader->sections, reader->n_sections + 1, sizeof(*sections));
	if (!sections) {
		reader->loader->no_memory = true;
		return;
	}
	reader->sections = sections;
	snprintf(sections[reader->n_sections].key, JOINED_SIZE, "%s", key);
	sections[reader->n_sections++].line = line;
}

static bool is_null(const yaml_event_t *event)
{
	const char *text = (const char *)event->data.scalar.value;

	return event->type == YAML_SCALAR_EVENT &&
	       event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	       (!*text || !strcmp(text, "~") || !strcmp(text, "null"));
}

/*
 * What YAML could do and this file must not: true when the event does, and that is complained of.
 */
static bool is_refused(struct reader *reader, const char *key, const yaml_event_t *event)
{
	const yaml_char_t *anchor = NULL, *tag = NULL;
	char shown[OPTION_QUOTE_SIZE];

	switch (event->type) {
	case YAML_ALIAS_EVENT:
		anchor = event->data.alias.anchor;
		break;
	case YAML_SCALAR_EVENT:
		anchor = event->data.scalar.anchor;
		tag = event->data.scalar.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = event->data.mapping_start.anchor;
		tag = event->data.mapping_start.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = event->data.sequence_start.anchor;
		tag = event->data.sequence_start.tag;
		break;
	default:
		break;
	}
	config_show_key(key, shown);
	if (anchor)
		complain(reader, line_of(&event->start_mark),
			 "%s: anchors and aliases are not supported; write the value", shown);
	else if (tag)
		complain(reader, line_of(&event->start_mark),
			 "%s: tags are not supported; write the value without", shown);
	return anchor || tag;
}

static void read_option(struct reader *reader, struct config_entry *entry,
			const yaml_event_t *value)
{
	const unsigned line = line_of(&value->start_mark);
	char right[256];

	option_describe(entry->desc, right, sizeof(right));
	if (entry->source == CONFIG_FILE)
		complain(reader, line, "%s: given twice, first in line %u; remove one", entry->key,
			 entry->line);
	else if (is_refused(reader, entry->key, value))
		return;
	else if (value->type != YAML_SCALAR_EVENT)
		complain(reader, line, "%s: is a %s; write %s", entry->key,
			 value->type == YAML_SEQUENCE_START_EVENT ? "list" : "section", right);
	else if (is_null(value))
		complain(reader, line, "%s: has no value; write %s, or remove the line", entry->key,
			 right);
	else if (strlen((const char *)value->data.scalar.value) != value->data.scalar.length)
		complain(reader, line, "%s: has a NUL character in it; write %s", entry->key,
			 right);
	else
		config_set(reader->loader, entry, (const char *)value->data.scalar.value,
			   CONFIG_FILE, reader->loader->file, line);
}

static bool read_mapping(struct reader *reader, const char *prefix);

/* The value after the key `key`, whose first event is `value`. False ends the reading. */
static bool read_value(struct reader *reader, const char *key, unsigned key_line,
		       const yaml_event_t *value)
{
	struct config_entry *entry = config_find(reader->loader->config, key);

	if (entry) {
		read_option(reader, entry, value);
		return skip_value(reader, value);
	}
	if (!config_is_section(reader->loader->config, key)) {
		config_complain_unknown(reader->loader, key_line, key);
		return skip_value(reader, value);
	}
	note_section(reader, key, key_line);
	if (is_refused(reader, key, value))
		return skip_value(reader, value);
	if (value->type == YAML_MAPPING_START_EVENT)
		return read_mapping(reader, key);
	if (!is_null(value)) /* a section whose lines are all commented out is fine */
		complain(reader, line_of(&value->start_mark),
			 "%s: is a section; write its settings below it, indented", key);
	return skip_value(reader, value);
}

/* "probes" and "sched" make "probes.sched". What is too long to be a key is cut, hence unknown. */
static void join_key(char out[JOINED_SIZE], const char *prefix, const yaml_event_t *event)
{
	const char *name = (const char *)event->data.scalar.value;
	size_t length = strlen(name), used = strlen(prefix);

	memcpy(out, prefix, used);
	if (used && used < JOINED_SIZE - 1)
		out[used++] = '.';
	if (length > JOINED_SIZE - 1 - used)
		length = JOINED_SIZE - 1 - used;
	memcpy(out + used, name, length);
	out[used + length] = '\0';
}

/* A mapping whose start has been read. False ends the reading. */
static bool read_mapping(struct reader *reader, const char *prefix)
{
	for (;;) {
		yaml_event_t key, value;
		char joined[JOINED_SIZE];
		bool go_on;

		if (!next_event(reader, &key))
			return false;
		if (key.type == YAML_MAPPING_END_EVENT) {
			yaml_event_delete(&key);
			return true;
		}
		if (key.type != YAML_SCALAR_EVENT ||
		    strlen((const char *)key.data.scalar.value) != key.data.scalar.length) {
			complain(reader, line_of(&key.start_mark), "%s%sa key must be a plain name",
				 prefix, *prefix ? ": " : "");
			yaml_event_delete(&key);
			return false;
		}
		join_key(joined, prefix, &key);
		if (!next_event(reader, &value)) {
			yaml_event_delete(&key);
			return false;
		}
		go_on = !is_refused(reader, joined, &key) &&
			read_value(reader, joined, line_of(&key.start_mark), &value);
		yaml_event_delete(&value);
		yaml_event_delete(&key);
		if (!go_on)
			return false;
	}
}

/* The whole stream: nothing, or one document that is a mapping. */
static void read_stream(struct reader *reader)
{
	unsigned documents = 0;
	bool go_on = true;

	while (go_on) {
		yaml_event_t event;

		if (!next_event(reader, &event))
			return;
		switch (event.type) {
		case YAML_STREAM_START_EVENT:
		case YAML_DOCUMENT_END_EVENT:
			break;
		case YAML_DOCUMENT_START_EVENT:
			if (documents++) {
				complain(
					reader, line_of(&event.start_mark),
					"a second document; keep everything in one, without \"---\" between");
				go_on = false;
			}
			break;
		case YAML_MAPPING_START_EVENT:
			go_on = !is_refused(reader, "file", &event) && read_mapping(reader, "");
			break;
		case YAML_STREAM_END_EVENT:
			go_on = false;
			break;
		default:
			if (!is_null(&event))
				complain(reader, line_of(&event.start_mark),
					 "expected settings like \"interval: 10s\", found a %s",
					 event.type == YAML_SEQUENCE_START_EVENT ? "list" : "text");
			go_on = is_null(&event);
		}
		yaml_event_delete(&event);
	}
}

void config_read_yaml(struct config_loader *loader, const void *data, size_t size)
{
	struct reader reader = { .loader = loader, .data = data, .size = size };
	size_t blank = 0;

	while (blank < size && strchr(" \t\r\n", reader.data[blank]) && reader.data[blank])
		blank++;
	if (blank == size) {
		/* a file cut short must not pass for one that wants the defaults */
		complain(&reader, 1,
			 "the file is empty; write a setting or a comment, or remove the file");
		return;
	}
	if (!yaml_parser_initialize(&reader.parser)) {
		loader->no_memory = true;
		return;
	}
	yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&reader.parser, data, size);
	read_stream(&reader);
	yaml_parser_delete(&reader.parser);
	free(reader.sections);
}
