// SPDX-License-Identifier: Apache-2.0
/* Golden files; see golden.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/harness/golden.h"

static void golden_write(const char *path, const char *data, size_t size)
{
	FILE *file = fopen(path, "w");

	if (!file || fwrite(data, 1, size, file) != size || fclose(file))
		fail_msg("%s cannot be written", path);
}

void assert_golden(const char *name, const char *data, size_t size)
{
	char path[256], *wanted;
	size_t wanted_size, at = 0, line = 0, line_start = 0;
	FILE *file;

	snprintf(path, sizeof(path), "tests/unit/golden/%s", name);
	if (getenv("LEADLINE_UPDATE_GOLDEN"))
		golden_write(path, data, size);
	file = fopen(path, "r");
	if (!file)
		fail_msg("%s: no such file; tests run in the top folder", path);
	wanted = malloc(size + 2); /* one byte more than expected is enough to differ */
	assert_non_null(wanted);
	wanted_size = fread(wanted, 1, size + 1, file);
	fclose(file);
	while (at < size && at < wanted_size && data[at] == wanted[at])
		if (data[at++] == '\n') {
			line++;
			line_start = at;
		}
	if (at < size || at < wanted_size) {
		print_error("%s:%zu: wanted\n%.*s\ngot\n%.*s\n", path, line + 1,
			    (int)strcspn(wanted + line_start, "\n"), wanted + line_start,
			    (int)strcspn(data + line_start, "\n"), data + line_start);
		free(wanted);
		fail_msg("%s differs", path);
	}
	free(wanted);
}
