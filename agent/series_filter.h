/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which metrics and series the configuration wants, and with which of their labels. Made once for a configuration,
 * then asked by the registry: once per metric and once per entity of a collection, and once for each series only where a
 * term is on a metric's own labels. Loop thread only, since matching uses memory of the filter.
 *
 * Terms are LABEL=REGEX, separated by blanks; Perl syntax (pcre2), on bytes, and the whole value has to match.
 * A match is given up after SERIES_FILTER_STEPS steps, and then counts as none: values come from anybody on the host.
 */
#ifndef LEADLINE_SERIES_FILTER_H
#define LEADLINE_SERIES_FILTER_H

#include <stdbool.h>
#include <stddef.h>

struct series_filter;

#define SERIES_FILTER_MAX_TERMS 64
#define SERIES_FILTER_STEPS	10000

/* Each list is separated by blanks; NULL is as good as "". */
struct series_filter_settings {
	const char *disable; /* names of metrics, as in fnmatch(3) */
	const char *drop_labels; /* names of labels */
	const char *deny, *allow; /* terms */
	unsigned max_series; /* of a metric of programs, in the place of its own cap; 0: none */
};

/* 0; -EINVAL with the mistake in `error`; or -ENOMEM. */
int series_filter_new(const struct series_filter_settings *settings,
		      struct series_filter **ret_filter, char *error, size_t error_size);
void series_filter_free(struct series_filter *filter); /* NULL is fine */

/* Why a series is not in the snapshot. */
enum series_verdict {
	SERIES_PASSES,
	SERIES_DISABLED, /* its metric is */
	SERIES_DENIED,
	SERIES_NOT_ALLOWED,
	SERIES_VERDICTS,
};

/* The name of the setting: "disable", "deny", "allow". */
extern const char *const series_verdict_names[SERIES_VERDICTS];

/* In what follows a filter that is NULL leaves everything as it is. */

bool series_filter_disables(const struct series_filter *filter, const char *metric);
unsigned series_filter_max_series(const struct series_filter *filter);
/* Bit i: the label names[i] is to be empty. At most 32 names. */
unsigned series_filter_drops(const struct series_filter *filter, const char *const *names,
			     size_t n);
/* Whether there is a term on any of these labels; if not, every value passes. */
bool series_filter_concerns(const struct series_filter *filter, const char *const *names, size_t n);
/*
 * By the labels it has: denied where one term to deny matches; not allowed where, of a label with terms to allow, none
 * matches. Values may be NULL, which is "".
 */
enum series_verdict series_filter_judge(const struct series_filter *filter,
					const char *const *names, const char *const *values,
					size_t n);

/* The next word of a list, not terminated; NULL at its end. *text is moved on. */
const char *series_filter_word(const char **text, size_t *ret_length);

#endif
