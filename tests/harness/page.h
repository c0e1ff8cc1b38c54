/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Prometheus text page (0.0.4, or OpenMetrics) as samples. The parser is strict: a line it does not
 * understand, or the same series twice, is an error, so that every live test checks the page's form too.
 */
#ifndef LEADLINE_TESTS_PAGE_H
#define LEADLINE_TESTS_PAGE_H

#include <stdbool.h>
#include <stddef.h>

#define PAGE_MAX_LABELS 16

struct page_label {
	const char *name;
	const char *value; /* unescaped */
};

struct page_sample {
	const char *name;
	double value;
	size_t n_labels;
	struct page_label labels[PAGE_MAX_LABELS];
	const char *exemplar; /* the text after " # ", or NULL */
};

struct page_family {
	const char *name; /* as in the TYPE line */
	const char *type;
	const char *help; /* NULL when there is no HELP line */
};

struct page {
	char *text; /* the parsed copy, owned */
	size_t n_samples;
	struct page_sample *samples;
	size_t n_families;
	struct page_family *families;
};

/* NULL with a message that names the line when the page is malformed. */
struct page *page_parse(const char *text, char *error, size_t error_size);
void page_free(struct page *page);

const struct page_family *page_family(const struct page *page, const char *name); /* or NULL */
const char *sample_label(const struct page_sample *sample,
			 const char *name); /* "" when it has none */

/*
 * The functions below take pairs of label name and value up to NULL; other labels may be anything.
 *   metric_sum(page, "leadline_tcp_bytes_total", "comm", "nginx", NULL)
 */

/* Sum over all matching series; 0 when there is none. */
double metric_sum(const struct page *page, const char *name, ...) __attribute__((sentinel));
/* Number of matching series. */
size_t metric_count(const struct page *page, const char *name, ...) __attribute__((sentinel));
/* The first matching one, or NULL. */
const struct page_sample *metric_find(const struct page *page, const char *name, ...)
	__attribute__((sentinel));
/* Value of the only match; NaN when there is none or more than one. */
double metric_value(const struct page *page, const char *name, ...) __attribute__((sentinel));

/* All matching histograms of a family added up. */
#define PAGE_MAX_BOUNDS 64
struct page_histogram {
	size_t n_series;
	double count, sum;
	size_t n_bounds; /* +Inf included */
	double bounds[PAGE_MAX_BOUNDS];
	double cumulative[PAGE_MAX_BOUNDS];
};

/* `family` without suffix. n_series is 0 when nothing matches. */
struct page_histogram metric_histogram(const struct page *page, const char *family, ...)
	__attribute__((sentinel));
/* What came between two scrapes. */
struct page_histogram page_histogram_delta(const struct page_histogram *before,
					   const struct page_histogram *after);
/* By linear interpolation inside the bucket, as histogram_quantile() of Prometheus; NaN when empty. */
double page_histogram_quantile(const struct page_histogram *histogram, double q);
double page_histogram_mean(const struct page_histogram *histogram); /* NaN when empty */

#endif
