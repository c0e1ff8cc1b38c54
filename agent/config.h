/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration: every option of the given tables with the value in force and where it was set.
 * Defaults < the YAML file < environment LEADLINE_* < command line flags. Immutable once loaded,
 * hence read from any thread; a reload makes a new one and compares.
 */
#ifndef LEADLINE_CONFIG_H
#define LEADLINE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "agent/buffer.h"
#include "agent/option.h"

#define CONFIG_DEFAULT_PATH "/etc/leadline/leadline.yaml"

enum config_source {
	CONFIG_DEFAULT,
	CONFIG_FILE,
	CONFIG_ENVIRONMENT,
	CONFIG_FLAG,
};

/* Options that share a prefix: "" or "probes.sched". */
struct option_table {
	const char *prefix; /* NULL ends an array of tables */
	const struct option_desc *const
		*options; /* pointer to the table, which may be absent (NULL) */
};

/* Initialises one at file scope from a table known by name. */
#define OPTION_TABLE(prefix_, options_)                                                            \
	{                                                                                          \
		.prefix = (prefix_), .options = &(const struct option_desc *const)                 \
		{                                                                                  \
			options_                                                                   \
		}                                                                                  \
	}

/* All tables of the agent: its own, health's, and each probe's. Static. */
const struct option_table *config_tables(void);

struct config_flag { /* --key=value */
	const char *key;
	const char *value;
};

/*
 * All that a configuration is made from; kept by whoever wants to load it again. Strings are
 * borrowed.
 */
struct config_request {
	const struct option_table *tables;
	const char
		*path; /* NULL: LEADLINE_CONFIG, else CONFIG_DEFAULT_PATH, which may be missing */
	const char *const *environment; /* as environ; NULL: none */
	const struct config_flag *flags;
	size_t n_flags;
};

struct config;

/*
 * Loads everything. 0; or -EINVAL, -ENOMEM or what reading the file gave, with a line per mistake
 * appended to `errors`: "FILE:LINE: KEY: what is wrong, what would be right".
 */
int config_load(const struct config_request *request, struct config **ret_config,
		struct buffer *errors);

/*
 * The same from the bytes of a file called `name`, without environment and flags. Any bytes are
 * safe.
 */
int config_parse(const struct option_table *tables, const char *name, const void *data, size_t size,
		 struct config **ret_config, struct buffer *errors);
void config_free(struct config *config); /* NULL is fine */

/* Values by full key. A key that is in no table is a mistake in the program: it aborts. */
const union option_value *config_get(const struct config *config, const char *key);
bool config_bool(const struct config *config, const char *key);
int64_t config_int(const struct config *config, const char *key); /* INT; DURATION in ns; BYTES */
double config_number(const struct config *config, const char *key);
const char *config_string(const struct config *config, const char *key);

bool config_has(const struct config *config, const char *key);
enum config_source config_source(const struct config *config, const char *key);
/* The file that was read, or NULL when there was none. */
const char *config_path(const struct config *config);

/*
 * Keys whose values differ, in sorted order. Both must be of the same tables. Writes at most `max`
 * keys (valid as long as `new`), returns how many there are.
 */
size_t config_changes(const struct config *old, const struct config *new, const char **ret_keys,
		      size_t max);

/* The configuration in force as YAML, each line with its source as a comment. */
void config_dump(const struct config *config, struct buffer *out);
/* The sample file: every option with its help, its default commented out. */
void config_sample(const struct option_table *tables, struct buffer *out);

/* Walks all options in the order of the tables; `key` is the full key. */
typedef void (*config_visit_fn)(void *context, const char *key, const struct option_desc *desc);
void config_visit(const struct option_table *tables, config_visit_fn visit, void *context);

/* Longest full key, its NUL included. */
#define CONFIG_KEY_SIZE 96

#endif
