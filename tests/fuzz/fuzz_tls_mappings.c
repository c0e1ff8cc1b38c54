// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes as /proc/PID/maps and as mountinfo: names in them are whatever a process has called its files. The first two
 * bytes are the device that is looked for.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include "probes/tls_mappings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_mapping(const char *line, size_t length)
{
	struct tls_mapping mapping;
	const char *name;
	size_t name_length;

	if (!tls_mapping_parse(line, length, &mapping))
		return;
	if (mapping.path < line || mapping.path + mapping.path_length != line + length ||
	    mapping.path[0] != '/' || !mapping.file.inode)
		abort();
	name = tls_last_part(mapping.path, mapping.path_length, &name_length);
	if (name + name_length != line + length || memchr(name, '/', name_length))
		abort();
	if (tls_library_is_named(mapping.path, mapping.path_length) && name_length < 7)
		abort();
}

static void read_mappings(const char *text, size_t size)
{
	const char *end = text + size;

	while (text < end) {
		const char *stop = memchr(text, '\n', (size_t)(end - text));
		size_t length = (size_t)((stop ? stop : end) - text);
		char *line = malloc(length ? length : 1);

		/* in memory of its own, so that a read behind it is seen */
		if (!line)
			abort();
		memcpy(line, text, length);
		read_mapping(line, length);
		free(line);
		text += length + 1;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char type[TLS_FILESYSTEM_TYPE], *text;

	if (size < 2)
		return 0;
	text = malloc(size - 2 ? size - 2 : 1);
	if (!text)
		abort();
	memcpy(text, data + 2, size - 2);
	read_mappings(text, size - 2);
	memset(type, 0x5a, sizeof(type));
	if (tls_filesystem_find(text, size - 2, makedev(data[0], data[1]), type)) {
		if (!memchr(type, '\0', sizeof(type)))
			abort();
		tls_filesystem_may_stall(type);
	}
	free(text);
	return 0;
}
