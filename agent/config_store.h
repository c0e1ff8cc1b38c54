/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of a configuration, shared by the files that fill it (config_load.c, config_yaml.c) and
 * print it (config_print.c); nobody else includes this.
 */
#ifndef LEADLINE_CONFIG_STORE_H
#define LEADLINE_CONFIG_STORE_H

#include "agent/config.h"

struct config_entry {
	const char *key;
	const struct option_desc *desc;
	union option_value value; /* a string points into text */
	char *text; /* as written */
	enum config_source source;
	unsigned line; /* of the file; 0 elsewhere */
};

struct config {
	struct config_entry *entries; /* in the order of the tables */
	struct config_entry **sorted; /* by key */
	size_t n_entries;
	char *path;
};

/* A load under way: where mistakes go. After CONFIG_MAX_ERRORS of them the rest is only counted. */
struct config_loader {
	struct config *config;
	const char *file;
	struct buffer *errors;
	unsigned n_errors;
	bool no_memory;
};

#define CONFIG_MAX_ERRORS    20
#define CONFIG_MAX_FILE_SIZE (1024 * 1024)

/*
 * Makes loader->config with every option at its default. Keys given twice and defaults out of range are
 * the program's mistakes, complained of as well.
 */
void config_create(struct config_loader *loader, const struct option_table *tables);
/* Hands the finished configuration over; or, after a mistake, destroys it and says -errno. */
int config_finish(struct config_loader *loader, int error, struct config **ret_config);

struct config_entry *config_find(const struct config *config, const char *key);
bool config_is_section(const struct config *config, const char *key);

/* One line "WHERE: message"; `line` 0: without. */
void config_complain(struct config_loader *loader, const char *where, unsigned line,
		     const char *format, ...) __attribute__((format(printf, 4, 5)));
/*
 * A key as it may be shown: bounded, in quotes unless it is an ordinary name, without control
 * characters.
 */
const char *config_show_key(const char *key, char out[OPTION_QUOTE_SIZE]);
/* Complains of a key of the file, with the nearest known one. */
void config_complain_unknown(struct config_loader *loader, unsigned line, const char *key);

/*
 * Parses and stores a value; complains when it is not right. `where` is what the complaint starts
 * with, for a line of a file the name of the file.
 */
void config_set(struct config_loader *loader, struct config_entry *entry, const char *text,
		enum config_source source, const char *where, unsigned line);

/* Reads the bytes of loader->file into the configuration. */
void config_read_yaml(struct config_loader *loader, const void *data, size_t size);

/* "LEADLINE_HEALTH_CPU_DEGRADED" of "health.cpu.degraded". */
#define CONFIG_VARIABLE_PREFIX "LEADLINE_"
#define CONFIG_VARIABLE_SIZE   (CONFIG_KEY_SIZE + sizeof(CONFIG_VARIABLE_PREFIX))
const char *config_variable(const char *key, char out[CONFIG_VARIABLE_SIZE]);

#endif
