// SPDX-License-Identifier: Apache-2.0
/* Options of the series filter, checked against the catalogue; see metrics_options.h. */
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include "agent/catalogue.h"
#include "agent/metrics_options.h"
#include "agent/snapshot.h"
#include "agent/suggest.h"

#define NAME_SIZE 128

static int check_disable(const char *text, char *error, size_t error_size);
static int check_drop_labels(const char *text, char *error, size_t error_size);
static int check_terms(const char *text, char *error, size_t error_size);

const struct option_desc metrics_options[] = {
	{
		.key = "disable",
		.type = OPTION_STRING,
		.fallback = "",
		.check = check_disable,
		.help = "metrics to leave out: names or patterns (leadline_softnet_*), separated by blanks",
	},
	{
		.key = "drop_labels",
		.type = OPTION_STRING,
		.fallback = "",
		.check = check_drop_labels,
		.help = "labels to leave out (pod unit), separated by blanks; series that are then alike are added up, ratios and ages give their largest",
	},
	{
		.key = "deny",
		.type = OPTION_STRING,
		.fallback = "",
		.check = check_terms,
		.help = "series to leave out: LABEL=REGEX (comm=kworker.*), separated by blanks; the expression must match the whole value",
	},
	{
		.key = "allow",
		.type = OPTION_STRING,
		.fallback = "",
		.check = check_terms,
		.help = "of metrics with that label, series to leave in: LABEL=REGEX (namespace=prod-.*), separated by blanks; others are left out",
	},
	{
		.key = "max_series",
		.type = OPTION_INT,
		.fallback = "0",
		.min = 0,
		.max = 1000000,
		.help = "most series of a metric of programs, those beyond are added up as other; 0: what `leadline metrics` says of each",
	},
	{ .key = NULL },
};

static const char *string_of(const struct config *config, const char *key)
{
	char full[CONFIG_KEY_SIZE];

	snprintf(full, sizeof(full), METRICS_OPTIONS_PREFIX ".%s", key);
	return config_string(config, full);
}

static struct series_filter_settings settings_of(const struct config *config)
{
	return (struct series_filter_settings){
		.disable = string_of(config, "disable"),
		.drop_labels = string_of(config, "drop_labels"),
		.deny = string_of(config, "deny"),
		.allow = string_of(config, "allow"),
		.max_series = (unsigned)config_int(config, METRICS_OPTIONS_PREFIX ".max_series"),
	};
}

int metrics_filter_new(const struct config *config, struct series_filter **ret_filter)
{
	const struct series_filter_settings settings = settings_of(config);
	char error[256];

	*ret_filter = NULL;
	if (!*settings.disable && !*settings.drop_labels && !*settings.deny && !*settings.allow &&
	    !settings.max_series)
		return 0;
	return series_filter_new(&settings, ret_filter, error, sizeof(error));
}

bool metrics_filter_differs(const struct config *one, const struct config *other)
{
	const struct series_filter_settings a = settings_of(one), b = settings_of(other);

	return strcmp(a.disable, b.disable) || strcmp(a.drop_labels, b.drop_labels) ||
	       strcmp(a.deny, b.deny) || strcmp(a.allow, b.allow) || a.max_series != b.max_series;
}

bool metrics_filter_joins_entities(const struct series_filter *filter)
{
	return series_filter_drops(filter, entity_label_names, ENTITY_LABELS) != 0;
}

/* ---- names that are there, and the nearest to one that is not ---- */

struct lookup {
	char name[NAME_SIZE];
	bool is_found;
	struct suggestion nearest;
};

/* False where the name is too long to be one. */
static bool start_lookup(struct lookup *lookup, const char *name, size_t length)
{
	lookup->is_found = false;
	snprintf(lookup->name, sizeof(lookup->name), "%.*s", (int)length, name);
	suggestion_start(&lookup->nearest, lookup->name);
	return length < sizeof(lookup->name);
}

static int refuse(const struct lookup *lookup, const char *what, const char *remedy, char *error,
		  size_t error_size)
{
	char quoted[OPTION_QUOTE_SIZE];

	option_quote(lookup->name, quoted);
	if (lookup->nearest.best)
		snprintf(error, error_size, "%s is no %s; did you mean %s?", quoted, what,
			 lookup->nearest.best);
	else
		snprintf(error, error_size, "%s is no %s; %s", quoted, what, remedy);
	return -EINVAL;
}

static void look_for_metric(void *context, const char *source, const struct metric_desc *desc)
{
	struct lookup *lookup = context;

	if (!fnmatch(lookup->name, desc->name, 0))
		lookup->is_found = true;
	else
		suggestion_offer(&lookup->nearest, desc->name);
}

static int check_disable(const char *text, char *error, size_t error_size)
{
	struct lookup lookup;
	const char *word;
	size_t length;

	while ((word = series_filter_word(&text, &length))) {
		if (start_lookup(&lookup, word, length))
			catalogue_visit(look_for_metric, &lookup);
		if (!lookup.is_found)
			return refuse(&lookup, "metric and matches none",
				      "`leadline metrics` lists them all", error, error_size);
	}
	return 0;
}

static void offer_label(struct lookup *lookup, const char *label)
{
	if (!strcmp(label, lookup->name))
		lookup->is_found = true;
	else
		suggestion_offer(&lookup->nearest, label);
}

static void look_for_label(void *context, const char *source, const struct metric_desc *desc)
{
	for (size_t i = 0; i < metric_labels(desc); i++)
		offer_label(context, desc->labels[i]);
}

static int check_label(const char *name, size_t length, char *error, size_t error_size)
{
	struct lookup lookup;

	if (start_lookup(&lookup, name, length)) {
		for (size_t i = 0; i < ENTITY_LABELS; i++)
			offer_label(&lookup, entity_label_names[i]);
		catalogue_visit(look_for_label, &lookup);
	}
	return lookup.is_found
		       ? 0
		       : refuse(&lookup, "label of any metric",
				"`leadline metrics` lists them, besides namespace, pod, container, unit and comm",
				error, error_size);
}

static int check_drop_labels(const char *text, char *error, size_t error_size)
{
	const char *word;
	size_t length;
	int err = 0;

	while (!err && (word = series_filter_word(&text, &length)))
		err = check_label(word, length, error, error_size);
	return err;
}

static int check_terms(const char *text, char *error, size_t error_size)
{
	const struct series_filter_settings settings = { .deny = text };
	struct series_filter *filter;
	const char *word;
	size_t length;
	int err;

	if (!*text)
		return 0;
	err = series_filter_new(&settings, &filter, error, error_size);
	if (err)
		return err;
	series_filter_free(filter);
	while (!err && (word = series_filter_word(&text, &length)))
		err = check_label(word, strcspn(word, "="), error, error_size);
	return err;
}
