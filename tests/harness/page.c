/* SPDX-License-Identifier: Apache-2.0 */
/* Parser of Prometheus text pages and sums over their samples. */
#include <ctype.h>
#include <math.h>
#include "tests/harness/harness.h"

struct parser {
	struct page *page;
	size_t line;
	char *error;
	size_t error_size;
};

static bool parser_fail(struct parser *parser, const char *what)
{
	snprintf(parser->error, parser->error_size, "line %zu: %s", parser->line, what);
	return false;
}

static size_t name_length(const char *text)
{
	size_t length = 0;

	if (isalpha((unsigned char)text[0]) || text[0] == '_' || text[0] == ':')
		while (isalnum((unsigned char)text[length]) || text[length] == '_' ||
		       text[length] == ':')
			length++;
	return length;
}

/* `at` is behind the opening quote; unescapes in place. Returns what follows the closing quote, or NULL. */
static char *parse_quoted(char *at)
{
	char *out = at;

	for (; *at && *at != '"'; at++) {
		if (*at == '\\') {
			at++;
			if (*at != '\\' && *at != '"' && *at != 'n')
				return NULL;
			*out++ = *at == 'n' ? '\n' : *at;
		} else {
			*out++ = *at;
		}
	}
	if (*at != '"')
		return NULL;
	*out = '\0';
	return at + 1;
}

static char *parse_labels(struct parser *parser, char *at, struct page_sample *sample)
{
	while (*at != '}') {
		struct page_label *label = &sample->labels[sample->n_labels];
		size_t length = name_length(at);

		if (sample->n_labels == PAGE_MAX_LABELS)
			return parser_fail(parser, "too many labels"), NULL;
		if (!length || at[length] != '=' || at[length + 1] != '"')
			return parser_fail(parser, "label name=\"value\" expected"), NULL;
		label->name = at;
		at[length] = '\0';
		label->value = at + length + 2;
		at = parse_quoted(at + length + 2);
		if (!at || (*at != ',' && *at != '}'))
			return parser_fail(parser, "label value not ended"), NULL;
		for (size_t i = 0; i < sample->n_labels; i++)
			if (!strcmp(sample->labels[i].name, label->name))
				return parser_fail(parser, "label twice"), NULL;
		sample->n_labels++;
		if (*at == ',')
			at++;
	}
	return at + 1;
}

static bool parse_sample(struct parser *parser, char *line)
{
	struct page *page = parser->page;
	struct page_sample *sample;
	size_t length = name_length(line);
	char *at = line + length, *end, after;

	if (!length)
		return parser_fail(parser, "metric name expected");
	page->samples = reallocarray(page->samples, page->n_samples + 1, sizeof(*page->samples));
	if (!page->samples)
		abort();
	sample = &page->samples[page->n_samples];
	*sample = (struct page_sample){ .name = line };
	after = *at;
	*at = '\0';
	if (after == '{') {
		at = parse_labels(parser, at + 1, sample);
		if (!at)
			return false;
		after = *at;
	}
	if (after != ' ')
		return parser_fail(parser, "blank before the value expected");
	sample->value = strtod(at + 1, &end);
	if (end == at + 1 || isspace((unsigned char)at[1]))
		return parser_fail(parser, "number expected");
	if (!strncmp(end, " # ", 3)) {
		sample->exemplar = end + 3;
	} else if (*end == ' ') {
		strtod(end + 1, &at);
		if (at == end + 1 || *at)
			return parser_fail(parser, "time stamp expected");
	} else if (*end) {
		return parser_fail(parser, "text behind the value");
	}
	page->n_samples++;
	return true;
}

static struct page_family *family_of(struct page *page, const char *name)
{
	for (size_t i = 0; i < page->n_families; i++)
		if (!strcmp(page->families[i].name, name))
			return &page->families[i];
	page->families =
		reallocarray(page->families, page->n_families + 1, sizeof(*page->families));
	if (!page->families)
		abort();
	page->families[page->n_families] = (struct page_family){ .name = name };
	return &page->families[page->n_families++];
}

/* "# TYPE name kind", "# HELP name text"; any other comment means nothing. */
static bool parse_comment(struct parser *parser, char *line)
{
	bool type = !strncmp(line, "# TYPE ", 7), help = !strncmp(line, "# HELP ", 7);
	struct page_family *family;
	char *name = line + 7;
	size_t length;

	if (!type && !help)
		return true;
	length = name_length(name);
	if (!length || name[length] != ' ')
		return parser_fail(parser, "metric name expected");
	name[length] = '\0';
	family = family_of(parser->page, name);
	if (type ? family->type : family->help)
		return parser_fail(parser, "second TYPE or HELP of a metric");
	if (type)
		family->type = name + length + 1;
	else
		family->help = name + length + 1;
	return true;
}

static int compare_labels(const void *left, const void *right)
{
	return strcmp(((const struct page_label *)left)->name,
		      ((const struct page_label *)right)->name);
}

static int compare_samples(const void *left, const void *right)
{
	const struct page_sample *a = *(const struct page_sample *const *)left;
	const struct page_sample *b = *(const struct page_sample *const *)right;
	int order = strcmp(a->name, b->name);

	if (order || a->n_labels != b->n_labels)
		return order ? order : (a->n_labels < b->n_labels ? -1 : 1);
	for (size_t i = 0; i < a->n_labels; i++) {
		order = strcmp(a->labels[i].name, b->labels[i].name);
		order = order ? order : strcmp(a->labels[i].value, b->labels[i].value);
		if (order)
			return order;
	}
	return 0;
}

static bool check_unique(struct parser *parser)
{
	struct page *page = parser->page;
	const struct page_sample **sorted =
		reallocarray(NULL, page->n_samples + 1, sizeof(*sorted));
	bool unique = true;

	if (!sorted)
		abort();
	for (size_t i = 0; i < page->n_samples; i++) {
		struct page_sample *sample = &page->samples[i];

		qsort(sample->labels, sample->n_labels, sizeof(sample->labels[0]), compare_labels);
		sorted[i] = sample;
	}
	qsort(sorted, page->n_samples, sizeof(*sorted), compare_samples);
	for (size_t i = 1; unique && i < page->n_samples; i++) {
		if (compare_samples(&sorted[i - 1], &sorted[i]))
			continue;
		snprintf(parser->error, parser->error_size, "series of %s twice", sorted[i]->name);
		unique = false;
	}
	free(sorted);
	return unique;
}

struct page *page_parse(const char *text, char *error, size_t error_size)
{
	struct page *page = calloc(1, sizeof(*page));
	struct parser parser = { .page = page, .error = error, .error_size = error_size };
	bool good = true;
	char *rest, *line;

	if (!page || !(page->text = strdup(text)))
		abort();
	error[0] = '\0';
	rest = page->text;
	while (good && (line = strsep(&rest, "\n"))) {
		parser.line++;
		if (*line == '#')
			good = parse_comment(&parser, line);
		else if (*line)
			good = parse_sample(&parser, line);
		if (good && !rest && *line)
			good = parser_fail(&parser, "last line without newline");
	}
	if (good && check_unique(&parser))
		return page;
	page_free(page);
	return NULL;
}

void page_free(struct page *page)
{
	if (!page)
		return;
	free(page->samples);
	free(page->families);
	free(page->text);
	free(page);
}

const struct page_family *page_family(const struct page *page, const char *name)
{
	for (size_t i = 0; i < page->n_families; i++)
		if (!strcmp(page->families[i].name, name))
			return &page->families[i];
	return NULL;
}

const char *sample_label(const struct page_sample *sample, const char *name)
{
	for (size_t i = 0; i < sample->n_labels; i++)
		if (!strcmp(sample->labels[i].name, name))
			return sample->labels[i].value;
	return "";
}

static bool labels_match(const struct page_sample *sample, va_list pairs)
{
	const char *name;
	bool match = true;
	va_list copy;

	va_copy(copy, pairs);
	while (match && (name = va_arg(copy, const char *)))
		match = !strcmp(sample_label(sample, name), va_arg(copy, const char *));
	va_end(copy);
	return match;
}

/* Sum and number of matching samples; *first is the first. */
static double sum_matching(const struct page *page, const char *name, va_list pairs, size_t *n,
			   const struct page_sample **first)
{
	double sum = 0;

	*n = 0;
	*first = NULL;
	for (size_t i = 0; i < page->n_samples; i++) {
		const struct page_sample *sample = &page->samples[i];

		if (strcmp(sample->name, name) || !labels_match(sample, pairs))
			continue;
		sum += sample->value;
		if (!(*n)++)
			*first = sample;
	}
	return sum;
}

#define SUM_MATCHING()                                                                             \
	const struct page_sample *first;                                                           \
	size_t n;                                                                                  \
	double sum;                                                                                \
	va_list pairs;                                                                             \
	va_start(pairs, name);                                                                     \
	sum = sum_matching(page, name, pairs, &n, &first);                                         \
	va_end(pairs)

double metric_sum(const struct page *page, const char *name, ...)
{
	SUM_MATCHING();
	return sum;
}

size_t metric_count(const struct page *page, const char *name, ...)
{
	SUM_MATCHING();
	(void)sum;
	return n;
}

const struct page_sample *metric_find(const struct page *page, const char *name, ...)
{
	SUM_MATCHING();
	(void)sum;
	return first;
}

double metric_value(const struct page *page, const char *name, ...)
{
	SUM_MATCHING();
	return n == 1 ? sum : NAN;
}

static void histogram_add_bucket(struct page_histogram *histogram, double bound, double value)
{
	size_t i = 0;

	while (i < histogram->n_bounds && histogram->bounds[i] < bound)
		i++;
	if (i == histogram->n_bounds || histogram->bounds[i] != bound) {
		if (histogram->n_bounds == PAGE_MAX_BOUNDS)
			test_fail("more than %d buckets", PAGE_MAX_BOUNDS);
		memmove(&histogram->bounds[i + 1], &histogram->bounds[i],
			(histogram->n_bounds - i) * sizeof(double));
		memmove(&histogram->cumulative[i + 1], &histogram->cumulative[i],
			(histogram->n_bounds - i) * sizeof(double));
		histogram->bounds[i] = bound;
		histogram->cumulative[i] = 0;
		histogram->n_bounds++;
	}
	histogram->cumulative[i] += value;
}

struct page_histogram metric_histogram(const struct page *page, const char *family, ...)
{
	struct page_histogram histogram = { 0 };
	size_t length = strlen(family);
	va_list pairs;

	va_start(pairs, family);
	for (size_t i = 0; i < page->n_samples; i++) {
		const struct page_sample *sample = &page->samples[i];
		const char *suffix = sample->name + length;

		if (strncmp(sample->name, family, length) || *suffix != '_' ||
		    !labels_match(sample, pairs))
			continue;
		if (!strcmp(suffix, "_count")) {
			histogram.count += sample->value;
			histogram.n_series++;
		} else if (!strcmp(suffix, "_sum")) {
			histogram.sum += sample->value;
		} else if (!strcmp(suffix, "_bucket")) {
			histogram_add_bucket(&histogram, strtod(sample_label(sample, "le"), NULL),
					     sample->value);
		}
	}
	va_end(pairs);
	return histogram;
}

struct page_histogram page_histogram_delta(const struct page_histogram *before,
					   const struct page_histogram *after)
{
	struct page_histogram delta = *after;

	delta.count -= before->count;
	delta.sum -= before->sum;
	for (size_t i = 0; i < before->n_bounds; i++)
		histogram_add_bucket(&delta, before->bounds[i], -before->cumulative[i]);
	return delta;
}

double page_histogram_quantile(const struct page_histogram *histogram, double q)
{
	double rank = q * histogram->count;
	size_t i = 0;

	if (!histogram->n_bounds || histogram->count <= 0)
		return NAN;
	while (i + 1 < histogram->n_bounds && histogram->cumulative[i] < rank)
		i++;
	if (isinf(histogram->bounds[i]))
		return i ? histogram->bounds[i - 1] : NAN;
	{
		double low = i ? histogram->bounds[i - 1] : 0,
		       below = i ? histogram->cumulative[i - 1] : 0;
		double inside = histogram->cumulative[i] - below;

		return inside > 0 ? low + (histogram->bounds[i] - low) * (rank - below) / inside
				  : low;
	}
}

double page_histogram_mean(const struct page_histogram *histogram)
{
	return histogram->count > 0 ? histogram->sum / histogram->count : NAN;
}
