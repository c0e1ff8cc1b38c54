// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes as a query, whole and cut, of either database: a summary within its bounds, of words and names only, so no
 * quote but those around a name. And of it with other values in it: what is remembered of one text is not said of another.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "probes/protocols/sql_memo.h"

#define VARIANTS 3 /* of a text */

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

static void check_memo(struct sql_memo *memo, const char *text, size_t size, bool is_whole,
		       enum sql_dialect dialect)
{
	struct sql_summary expected, summary;

	memset(&summary, 'x', sizeof(summary));
	sql_summarize(&expected, text, size, is_whole, dialect);
	sql_memo_summarize(memo, &summary, text, size, is_whole, dialect);
	if (strcmp(summary.operation, expected.operation) || strcmp(summary.text, expected.text))
		abort();
}

static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/* The text, but for some bytes that stand for a digit, or behind a quote. The size in *ret_size. */
static char *vary(const char *text, size_t size, uint32_t *random, size_t *ret_size)
{
	static const char *const others[] = { "0", "12", ".",  "e5", "a", " ",
					      "$", "''", "\\", "-",  "" };
	const char *from;
	char *varied = malloc(2 * size);
	size_t n = 0;

	for (size_t i = 0; i < size; i++) {
		bool is_digit = text[i] >= '0' && text[i] <= '9';
		bool is_quoted = i && (text[i - 1] == '\'' || text[i - 1] == '"');

		from = text + i;
		if ((is_digit || is_quoted) && next_random(random) % 2)
			from = others[next_random(random) % (sizeof(others) / sizeof(others[0]))];
		if (from == text + i)
			varied[n++] = *from;
		else
			for (; *from; from++)
				varied[n++] = *from;
	}
	*ret_size = n;
	/* as above */
	return realloc(varied, n ? n : 1);
}

static void check_variants(const char *text, size_t size)
{
	struct sql_memo *memo = sql_memo_new();
	uint32_t random = (uint32_t)size | 1;

	for (unsigned i = 0; i <= VARIANTS; i++) {
		size_t varied_size = size;
		char *varied = i ? vary(text, size, &random, &varied_size) : NULL;

		for (unsigned how = 0; how < 4; how++)
			check_memo(memo, varied ? varied : text, varied_size, how & 1, how >> 1);
		free(varied);
	}
	sql_memo_free(memo);
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
	check_variants(text, size);
	free(text);
	return 0;
}
