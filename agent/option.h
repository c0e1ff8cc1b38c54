/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options: every setting of the agent and of a probe is one const descriptor. The YAML schema, the
 * environment variable, the command line flag, --help, the man page and the error messages are made
 * from it.
 *
 *   key "health.cpu.degraded" ↔ YAML health: cpu: degraded: ↔ LEADLINE_HEALTH_CPU_DEGRADED ↔ --health.cpu.degraded=
 *   a probe's option "max_rows" of probe "sched" has the key "probes.sched.max_rows"
 */
#ifndef LEADLINE_OPTION_H
#define LEADLINE_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_type {
	OPTION_BOOL, /* true, false */
	OPTION_INT, /* 64 bits, within min..max */
	OPTION_NUMBER, /* double, within min..max */
	OPTION_DURATION, /* "250ms", "10s", "5m", "1h30m"; kept in ns, min..max in seconds */
	OPTION_BYTES, /* "256KiB", "8MiB", plain number; kept in bytes */
	OPTION_PERCENT, /* "1%", "0.5%", "0"; kept as the number before the sign */
	OPTION_STRING,
	OPTION_ADDRESS, /* "127.0.0.1:9797", "[::1]:9797", ":9797" (all addresses); kept as string */
};

struct option_desc {
	const char *key; /* NULL ends a table */
	enum option_type type;
	const char *fallback; /* the default, as one would write it */
	double min, max; /* inclusive; both 0: unchecked */
	const char *help; /* one phrase, lower case, ends without a full stop */
	const char *choices; /* OPTION_STRING: "json|plain", the only values allowed; NULL: any */
	const char *
		missing; /* a choice people may expect that is not there, and why: "choice|needs …"; NULL: none */
	/*
	 * OPTION_STRING: whether the text makes sense. 0; or -EINVAL with what is wrong and what would be right in `error`; or
	 * -ENOMEM. NULL: any does.
	 */
	int (*check)(const char *text, char *error, size_t error_size);
};

/* A value in force. */
union option_value {
	bool boolean;
	int64_t integer; /* INT; DURATION in ns; BYTES */
	double number; /* NUMBER, PERCENT */
	const char *string; /* STRING, ADDRESS; never NULL */
};

/*
 * Parses `text` by the descriptor's type and range. Returns 0; -EINVAL with a message (what is
 * wrong and what would be right, without the key) in `error`; or -ENOMEM. A string value points into `text`.
 */
int option_parse(const struct option_desc *desc, const char *text, union option_value *ret_value,
		 char *error, size_t error_size);

/*
 * What may be written, for people: "a duration like … from 100ms to 1h", "one of json, plain". Cut
 * to fit.
 */
void option_describe(const struct option_desc *desc, char *out, size_t out_size);
/*
 * The bounds or choices alone: "100ms to 1h", "json, plain"; empty when there are none. Cut to fit.
 */
void option_range(const struct option_desc *desc, char *out, size_t out_size);

/*
 * `text` in double quotes for a message: bounded to OPTION_QUOTE_SIZE, control characters shown as
 * '?'. Returns `out`.
 */
#define OPTION_QUOTE_SIZE 56
const char *option_quote(const char *text, char out[OPTION_QUOTE_SIZE]);

#endif
