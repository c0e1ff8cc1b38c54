// SPDX-License-Identifier: Apache-2.0
/* Names, labels and patterns of the configuration against those of series; see series_filter.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <fnmatch.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "agent/option.h"
#include "agent/series_filter.h"

#define MATCH_MEMORY_KIB 256

struct words {
	char *text; /* cut up into … */
	const char **words;
	size_t n;
};

struct term {
	const char *label;
	pcre2_code *pattern;
};

struct terms {
	struct words words;
	struct term terms[SERIES_FILTER_MAX_TERMS];
	size_t n;
};

struct series_filter {
	struct words disabled, dropped;
	struct terms denied, allowed;
	unsigned max_series;
	pcre2_match_context *limits;
	pcre2_match_data *match;
};

const char *const series_verdict_names[SERIES_VERDICTS] = {
	[SERIES_PASSES] = "",
	[SERIES_DISABLED] = "disable",
	[SERIES_DENIED] = "deny",
	[SERIES_NOT_ALLOWED] = "allow",
};

/* ---- making one ---- */

const char *series_filter_word(const char **text, size_t *ret_length)
{
	const char *word = *text + strspn(*text, " ");

	*ret_length = strcspn(word, " ");
	*text = word + *ret_length;
	return *ret_length ? word : NULL;
}

static int split(const char *text, struct words *words)
{
	const char *rest = text ? text : "", *word;
	size_t length;
	char *to;

	words->text = strdup(rest);
	words->words = calloc(strlen(rest) / 2 + 1, sizeof(*words->words));
	if (!words->text || !words->words)
		return -ENOMEM;
	while ((word = series_filter_word(&rest, &length))) {
		to = words->text + (word - text);
		words->words[words->n++] = to;
		to[length] = '\0';
	}
	return 0;
}

/* Cuts "LABEL=REGEX" in two. */
static int parse_term(char *text, struct term *term, char *error, size_t error_size)
{
	char quoted[OPTION_QUOTE_SIZE], reason[120];
	char *equals = strchr(text, '=');
	PCRE2_SIZE at;
	int code;

	if (!equals || equals == text) {
		snprintf(error, error_size, "%s is not a term; write LABEL=REGEX",
			 option_quote(text, quoted));
		return -EINVAL;
	}
	term->label = text;
	term->pattern = pcre2_compile((PCRE2_SPTR)equals + 1, PCRE2_ZERO_TERMINATED,
				      PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NEVER_UTF, &code,
				      &at, NULL);
	if (!term->pattern) {
		if (code == PCRE2_ERROR_HEAP_FAILED)
			return -ENOMEM;
		pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof(reason));
		snprintf(error, error_size, "%s is not a regular expression: %s, after %zu bytes",
			 option_quote(equals + 1, quoted), reason, (size_t)at);
		return -EINVAL;
	}
	*equals = '\0';
	return 0;
}

static int parse_terms(const char *text, struct terms *terms, char *error, size_t error_size)
{
	int err = split(text, &terms->words);

	if (!err && terms->words.n > SERIES_FILTER_MAX_TERMS) {
		snprintf(error, error_size,
			 "has %zu terms, at most %d are possible; join some with LABEL=ONE|OTHER",
			 terms->words.n, SERIES_FILTER_MAX_TERMS);
		return -EINVAL;
	}
	for (size_t i = 0; i < terms->words.n && !err; i++) {
		err = parse_term((char *)terms->words.words[i], &terms->terms[i], error,
				 error_size);
		terms->n += !err;
	}
	return err;
}

int series_filter_new(const struct series_filter_settings *settings,
		      struct series_filter **ret_filter, char *error, size_t error_size)
{
	struct series_filter *filter = calloc(1, sizeof(*filter));
	int err;

	if (!filter)
		return -ENOMEM;
	filter->max_series = settings->max_series;
	err = split(settings->disable, &filter->disabled);
	if (!err)
		err = split(settings->drop_labels, &filter->dropped);
	if (!err)
		err = parse_terms(settings->deny, &filter->denied, error, error_size);
	if (!err)
		err = parse_terms(settings->allow, &filter->allowed, error, error_size);
	if (err)
		goto fail;
	filter->limits = pcre2_match_context_create(NULL);
	filter->match = pcre2_match_data_create(1, NULL);
	if (!filter->limits || !filter->match) {
		err = -ENOMEM;
		goto fail;
	}
	pcre2_set_match_limit(filter->limits, SERIES_FILTER_STEPS);
	pcre2_set_heap_limit(filter->limits, MATCH_MEMORY_KIB);
	*ret_filter = filter;
	return 0;

fail:
	series_filter_free(filter);
	return err;
}

static void free_words(struct words *words)
{
	free(words->text);
	free(words->words);
}

static void free_terms(struct terms *terms)
{
	for (size_t i = 0; i < terms->n; i++)
		pcre2_code_free(terms->terms[i].pattern);
	free_words(&terms->words);
}

void series_filter_free(struct series_filter *filter)
{
	if (!filter)
		return;
	free_words(&filter->disabled);
	free_words(&filter->dropped);
	free_terms(&filter->denied);
	free_terms(&filter->allowed);
	pcre2_match_data_free(filter->match);
	pcre2_match_context_free(filter->limits);
	free(filter);
}

/* ---- asking it ---- */

bool series_filter_disables(const struct series_filter *filter, const char *metric)
{
	for (size_t i = 0; filter && i < filter->disabled.n; i++)
		if (!fnmatch(filter->disabled.words[i], metric, 0))
			return true;
	return false;
}

unsigned series_filter_max_series(const struct series_filter *filter)
{
	return filter ? filter->max_series : 0;
}

unsigned series_filter_drops(const struct series_filter *filter, const char *const *names, size_t n)
{
	unsigned drops = 0;

	for (size_t i = 0; filter && i < n; i++)
		for (size_t j = 0; j < filter->dropped.n; j++)
			if (!strcmp(names[i], filter->dropped.words[j]))
				drops |= 1U << i;
	return drops;
}

static bool has_label(const struct terms *terms, const char *label)
{
	for (size_t i = 0; i < terms->n; i++)
		if (!strcmp(terms->terms[i].label, label))
			return true;
	return false;
}

bool series_filter_concerns(const struct series_filter *filter, const char *const *names, size_t n)
{
	for (size_t i = 0; filter && i < n; i++)
		if (has_label(&filter->denied, names[i]) || has_label(&filter->allowed, names[i]))
			return true;
	return false;
}

static bool any_matches(const struct series_filter *filter, const struct terms *terms,
			const char *label, const char *value)
{
	size_t length = strlen(value);

	for (size_t i = 0; i < terms->n; i++)
		if (!strcmp(terms->terms[i].label, label) &&
		    pcre2_match(terms->terms[i].pattern, (PCRE2_SPTR)value, length, 0, 0,
				filter->match, filter->limits) >= 0)
			return true;
	return false;
}

enum series_verdict series_filter_judge(const struct series_filter *filter,
					const char *const *names, const char *const *values,
					size_t n)
{
	for (size_t i = 0; filter && i < n; i++) {
		const char *value = values[i] ? values[i] : "";

		if (any_matches(filter, &filter->denied, names[i], value))
			return SERIES_DENIED;
		if (has_label(&filter->allowed, names[i]) &&
		    !any_matches(filter, &filter->allowed, names[i], value))
			return SERIES_NOT_ALLOWED;
	}
	return SERIES_PASSES;
}
