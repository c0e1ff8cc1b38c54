/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flags: those of the command line itself and one for every option, as argp reads and explains
 * them. Made at start from the descriptors, freed at the end.
 */
#ifndef LEADLINE_CLI_FLAGS_H
#define LEADLINE_CLI_FLAGS_H

#include <argp.h>
#include <stddef.h>
#include "agent/config.h"

/* Keys of the flags that are no option; an option has FLAG_OPTION + its place in the tables. */
enum {
	FLAG_CONFIG = 'c',
	FLAG_HELP = 'h',
	FLAG_VERSION = 'V',
	FLAG_JSON = 0x1000,
	FLAG_MARKDOWN,
	FLAG_SLOW,
	FLAG_ONCE,
	FLAG_MEASURE,
	FLAG_VALUE, /* + enum cli_value */
	FLAG_OPTION = 0x2000,
};

struct flags {
	struct argp_option *options; /* for argp; ended by zeroes */
	size_t n_options;
	char **strings; /* what the options point to */
	size_t n_strings;
	const char **keys; /* of the options, in the order of the tables */
	size_t n_keys;
	int group; /* last one made */
	int error; /* -ENOMEM, latched */
};

int flags_create(struct flags *flags, const struct option_table *tables);
void flags_destroy(struct flags *flags);

/* The nearest flag to one that is not known, without its dashes; NULL when none is near. */
const char *flags_nearest(const struct flags *flags, const char *name);
/* The flag called exactly so, or NULL. */
const struct argp_option *flags_find(const struct flags *flags, const char *name);

/* What a flag takes, in capitals or as the choices: "DURATION", "json|plain". */
const char *flag_argument(const struct option_desc *desc);

#endif
