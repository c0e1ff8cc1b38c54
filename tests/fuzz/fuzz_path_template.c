// SPDX-License-Identifier: Apache-2.0
/*
 * Lines of any bytes as targets of requests to one service: templates are printable and bounded, so is the number of names, and a
 * name once given stays.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "probes/protocols/path_template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text)
{
	if (strnlen(text, PATH_TEMPLATE_SIZE) == PATH_TEMPLATE_SIZE)
		abort();
	for (; *text; text++)
		if (*text <= ' ' || *text > '~')
			abort();
}

static void name_line(struct path_table *table, const uint8_t *line, size_t size)
{
	char template[PATH_TEMPLATE_SIZE], first[PATH_TEMPLATE_SIZE], second[PATH_TEMPLATE_SIZE];
	char *exact = malloc(size ? size : 1);

	if (!exact)
		abort();
	memcpy(exact, line, size);
	path_template(exact, size, template);
	free(exact);
	check_text(template);
	path_table_find(table, template, true, first);
	check_text(first);
	path_table_find(table, template, false, second);
	if (strcmp(first, second) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { TEMPLATES = 13, SEGMENTS = 3 };
	struct path_table *table = path_table_create(TEMPLATES, SEGMENTS);
	const uint8_t *end = data + size;

	if (!table)
		abort();
	while (data < end) {
		const uint8_t *newline = memchr(data, '\n', (size_t)(end - data));
		const uint8_t *line_end = newline ? newline : end;

		name_line(table, data, (size_t)(line_end - data));
		data = newline ? newline + 1 : end;
	}
	if (path_table_templates(table) > TEMPLATES)
		abort();
	path_table_destroy(table);
	return 0;
}
