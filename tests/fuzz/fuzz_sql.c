// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes as a query, whole and cut, of either database: a summary within its bounds, of words and names only, so no
 * quote but those around a name.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "probes/protocols/sql_summary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *text, size_t size, bool is_whole, enum sql_dialect dialect)
{
	/* whatever was there before */
	struct sql_summary summary;
	size_t length;

	memset(&summary, 'x', sizeof(summary));
	sql_summarize(&summary, text, size, is_whole, dialect);
	if (!memchr(summary.operation, '\0', sizeof(summary.operation)) ||
	    !memchr(summary.text, '\0', sizeof(summary.text)))
		abort();
	length = strlen(summary.text);
	if (strchr(summary.text, '\'') && !strpbrk(summary.text, "\"`"))
		abort();
	if (length && (summary.text[0] == ' ' || summary.text[length - 1] == ' '))
		abort();
	if (!*summary.operation != !length)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* in memory of its own, so that a read across the end is seen */
	char *text = malloc(size);

	if (size)
		memcpy(text, data, size);
	for (int dialect = SQL_POSTGRESQL; dialect <= SQL_MYSQL; dialect++) {
		check(text, size, true, dialect);
		check(text, size, false, dialect);
	}
	free(text);
	return 0;
}
