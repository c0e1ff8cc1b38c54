// SPDX-License-Identifier: Apache-2.0
/* Whose plain text is told; see tls_choice.h. */
#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "agent/words.h"
#include "probes/tls_choice.h"

#define PATTERN_SIZE 64

void tls_choice_begin(struct tls_choice *choice, const char *patterns)
{
	*choice = (struct tls_choice){ .patterns = patterns };
}

static bool matches(const char *word, size_t length, const char *name)
{
	char pattern[PATTERN_SIZE];

	if (length >= sizeof(pattern))
		return false; /* longer than any name */
	memcpy(pattern, word, length);
	pattern[length] = '\0';
	return !fnmatch(pattern, name, 0);
}

bool tls_choice_allows(const struct tls_choice *choice, const char *name)
{
	const char *list = choice->patterns, *word;
	bool is_empty = true;
	size_t length;

	for (; words_next(&list, &word, &length); is_empty = false)
		if (matches(word, length, name))
			return true;
	return is_empty;
}

bool tls_choice_leaves_out(const struct tls_choice *choice, const char *name)
{
	if (choice->n_left_out > TLS_CHOICE_LEFT_OUT)
		return true;
	for (size_t i = 0; i < choice->n_left_out; i++)
		if (!strcmp(choice->left_out[i], name))
			return true;
	return false;
}

static void leave_out(struct tls_choice *choice, const char *name)
{
	size_t i = choice->n_left_out++;

	if (i < TLS_CHOICE_LEFT_OUT)
		memcpy(choice->left_out[i], name, TLS_CHOICE_NAME);
}

static int compare_names(const void *left, const void *right)
{
	return strcmp(((const struct tls_caller *)left)->name,
		      ((const struct tls_caller *)right)->name);
}

/* The most calls first. */
static int compare_calls(const void *left, const void *right)
{
	double a = ((const struct tls_caller *)left)->calls,
	       b = ((const struct tls_caller *)right)->calls;

	return (a < b) - (a > b);
}

/* One for each name; those that are left out already only had not been told so yet. */
static size_t join(const struct tls_choice *choice, struct tls_caller callers[], size_t n)
{
	size_t n_joined = 0;

	qsort(callers, n, sizeof(callers[0]), compare_names);
	for (size_t i = 0; i < n; i++) {
		if (tls_choice_leaves_out(choice, callers[i].name))
			continue;
		if (n_joined && !compare_names(&callers[n_joined - 1], &callers[i]))
			callers[n_joined - 1].calls += callers[i].calls;
		else
			callers[n_joined++] = callers[i];
	}
	return n_joined;
}

double tls_choice_fit(struct tls_choice *choice, struct tls_caller callers[], size_t n,
		      double allowed)
{
	double all = 0, left;

	if (n == 0)
		return 1;
	n = join(choice, callers, n);
	for (size_t i = 0; i < n; i++)
		all += callers[i].calls;
	qsort(callers, n, sizeof(callers[0]), compare_calls);
	left = all;
	for (size_t i = 0; i < n && left > allowed && choice->n_left_out <= TLS_CHOICE_LEFT_OUT;
	     i++) {
		left -= callers[i].calls;
		leave_out(choice, callers[i].name);
	}
	if (choice->n_left_out > TLS_CHOICE_LEFT_OUT)
		return 0;
	return all > 0 ? fmax(left, 0) / all : 1; /* sums of parts may miss the whole by a little */
}
