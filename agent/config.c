/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration as a store: entries made from the tables with their defaults, set while it is being
 * loaded (config_load.c, config_yaml.c), then only read. No state outside the objects; any thread.
 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "agent/config_store.h"
#include "agent/suggest.h"

/* ---- keys ---- */

void config_visit(const struct option_table *tables, config_visit_fn visit, void *context)
{
	char key[CONFIG_KEY_SIZE];

	for (; tables->prefix; tables++)
		for (const struct option_desc *desc = *tables->options; desc && desc->key; desc++) {
			snprintf(key, sizeof(key), "%s%s%s", tables->prefix,
				 *tables->prefix ? "." : "", desc->key);
			visit(context, key, desc);
		}
}

static int compare_entries(const void *a, const void *b)
{
	return strcmp((*(struct config_entry *const *)a)->key,
		      (*(struct config_entry *const *)b)->key);
}

/* The first entry whose key is not less than `key`; n_entries when there is none. */
static size_t lower_bound(const struct config *config, const char *key)
{
	size_t low = 0, high = config->n_entries;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(config->sorted[middle]->key, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct config_entry *config_find(const struct config *config, const char *key)
{
	size_t i = lower_bound(config, key);

	return i < config->n_entries && !strcmp(config->sorted[i]->key, key) ? config->sorted[i]
									     : NULL;
}

bool config_is_section(const struct config *config, const char *key)
{
	char prefix[CONFIG_KEY_SIZE + 1];
	int length = snprintf(prefix, sizeof(prefix), "%s.", key);
	size_t i;

	if ((size_t)length >= sizeof(prefix))
		return false;
	i = lower_bound(config, prefix);
	return i < config->n_entries && !strncmp(config->sorted[i]->key, prefix, (size_t)length);
}

const char *config_variable(const char *key, char out[CONFIG_VARIABLE_SIZE])
{
	char *to = stpcpy(out, CONFIG_VARIABLE_PREFIX);

	for (; *key && to < out + CONFIG_VARIABLE_SIZE - 1; key++)
		*to++ = *key == '.' ? '_' : (char)toupper((unsigned char)*key);
	*to = '\0';
	return out;
}

/* ---- mistakes ---- */

void config_complain(struct config_loader *loader, const char *where, unsigned line,
		     const char *format, ...)
{
	va_list arguments;
	char text[512];

	if (loader->n_errors++ >= CONFIG_MAX_ERRORS)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (line)
		buffer_printf(loader->errors, "%s:%u: %s\n", where, line, text);
	else
		buffer_printf(loader->errors, "%s: %s\n", where, text);
}

static const char *nearest_key(const struct config *config, const char *key)
{
	struct suggestion suggestion;

	suggestion_start(&suggestion, key);
	for (size_t i = 0; i < config->n_entries; i++)
		suggestion_offer(&suggestion, config->entries[i].key);
	return suggestion.best;
}

const char *config_show_key(const char *key, char out[OPTION_QUOTE_SIZE])
{
	if (key[strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] ||
	    !*key || strlen(key) >= OPTION_QUOTE_SIZE)
		return option_quote(key, out);
	return strcpy(out, key);
}

void config_complain_unknown(struct config_loader *loader, unsigned line, const char *key)
{
	const char *nearest = nearest_key(loader->config, key);
	char shown[OPTION_QUOTE_SIZE];

	config_show_key(key, shown);
	if (nearest)
		config_complain(loader, loader->file, line, "%s: unknown key; did you mean \"%s\"?",
				shown, nearest);
	else
		config_complain(loader, loader->file, line,
				"%s: unknown key; `leadline config sample` lists all of them",
				shown);
}

void config_set(struct config_loader *loader, struct config_entry *entry, const char *text,
		enum config_source source, const char *where, unsigned line)
{
	union option_value value;
	char error[320];
	char *copy = strdup(text);
	int err = copy ? option_parse(entry->desc, copy, &value, error, sizeof(error)) : -ENOMEM;

	if (err) {
		if (err == -ENOMEM)
			loader->no_memory = true;
		else if (source == CONFIG_FILE)
			config_complain(loader, where, line, "%s: %s", entry->key, error);
		else
			config_complain(loader, where, line, "%s", error);
		free(copy);
		return;
	}
	free(entry->text);
	entry->text = copy;
	entry->value = value;
	entry->source = source;
	entry->line = line;
}

/* ---- birth and death ---- */

struct filling {
	struct config_loader *loader;
	size_t n; /* entries so far */
};

static void count_entry(void *context, const char *key, const struct option_desc *desc)
{
	(*(size_t *)context)++;
}

static void add_entry(void *context, const char *key, const struct option_desc *desc)
{
	struct filling *filling = context;
	struct config *config = filling->loader->config;
	struct config_entry *entry = &config->entries[filling->n];

	entry->key = strdup(key);
	if (!entry->key) {
		filling->loader->no_memory = true;
		return;
	}
	entry->desc = desc;
	config->sorted[filling->n++] = entry;
	config_set(filling->loader, entry, desc->fallback ? desc->fallback : "", CONFIG_DEFAULT,
		   key, 0);
}

void config_create(struct config_loader *loader, const struct option_table *tables)
{
	struct filling filling = { .loader = loader };
	struct config *config;
	size_t n = 0;

	config_visit(tables, count_entry, &n);
	config = calloc(1, sizeof(*config));
	if (!config)
		goto no_memory;
	loader->config = config;
	config->entries = calloc(n + 1, sizeof(*config->entries));
	config->sorted = calloc(n + 1, sizeof(struct config_entry *));
	if (!config->entries || !config->sorted)
		goto no_memory;
	config_visit(tables, add_entry, &filling);
	config->n_entries = filling.n;
	qsort(config->sorted, filling.n, sizeof(struct config_entry *), compare_entries);
	for (size_t i = 1; i < filling.n; i++)
		if (!strcmp(config->sorted[i - 1]->key, config->sorted[i]->key))
			config_complain(loader, config->sorted[i]->key, 0, "is declared twice");
	return;
no_memory:
	loader->no_memory = true;
}

void config_free(struct config *config)
{
	if (!config)
		return;
	for (size_t i = 0; config->entries && i < config->n_entries; i++) {
		free((char *)config->entries[i].key);
		free(config->entries[i].text);
	}
	free(config->entries);
	free(config->sorted);
	free(config->path);
	free(config);
}

int config_finish(struct config_loader *loader, int error, struct config **ret_config)
{
	if (loader->n_errors > CONFIG_MAX_ERRORS)
		buffer_printf(loader->errors, "… and %u more\n",
			      loader->n_errors - CONFIG_MAX_ERRORS);
	if (!error && (loader->no_memory || buffer_error(loader->errors)))
		error = -ENOMEM;
	if (!error && loader->n_errors)
		error = -EINVAL;
	if (error) {
		config_free(loader->config);
		return error;
	}
	*ret_config = loader->config;
	return 0;
}

/* ---- reading ---- */

static const struct config_entry *config_entry(const struct config *config, const char *key)
{
	const struct config_entry *entry = config_find(config, key);

	if (!entry) {
		fprintf(stderr, "leadline: option \"%s\" is in no table\n", key);
		abort();
	}
	return entry;
}

const union option_value *config_get(const struct config *config, const char *key)
{
	return &config_entry(config, key)->value;
}

bool config_bool(const struct config *config, const char *key)
{
	return config_get(config, key)->boolean;
}

int64_t config_int(const struct config *config, const char *key)
{
	return config_get(config, key)->integer;
}

double config_number(const struct config *config, const char *key)
{
	return config_get(config, key)->number;
}

const char *config_string(const struct config *config, const char *key)
{
	return config_get(config, key)->string;
}

bool config_has(const struct config *config, const char *key)
{
	return config_find(config, key) != NULL;
}

enum config_source config_source(const struct config *config, const char *key)
{
	return config_entry(config, key)->source;
}

const char *config_path(const struct config *config)
{
	return config->path;
}

static bool same_value(const struct config_entry *a, const struct config_entry *b)
{
	switch (a->desc->type) {
	case OPTION_BOOL:
		return a->value.boolean == b->value.boolean;
	case OPTION_INT:
	case OPTION_DURATION:
	case OPTION_BYTES:
		return a->value.integer == b->value.integer;
	case OPTION_NUMBER:
	case OPTION_PERCENT:
		return a->value.number == b->value.number;
	case OPTION_STRING:
	case OPTION_ADDRESS:
		break;
	}
	return !strcmp(a->value.string, b->value.string);
}

size_t config_changes(const struct config *old, const struct config *new, const char **ret_keys,
		      size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < new->n_entries; i++) {
		const struct config_entry *entry = new->sorted[i];

		if (same_value(config_entry(old, entry->key), entry))
			continue;
		if (n < max)
			ret_keys[n] = entry->key;
		n++;
	}
	return n;
}
