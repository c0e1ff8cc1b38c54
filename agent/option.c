/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Option values: text in, typed and range-checked value out, or a message that says what to write.
 * Any thread, no state.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "agent/option.h"

#define NS_PER_S 1000000000.0

struct unit {
	const char *name;
	double factor;
};

/* Largest first, so that formatting picks the first that divides; ended by a NULL name. */
static const struct unit duration_units[] = {
	{ "d", 86400 * NS_PER_S },
	{ "h", 3600 * NS_PER_S },
	{ "m", 60 * NS_PER_S },
	{ "s", NS_PER_S },
	{ "ms", 1e6 },
	{ "us", 1e3 },
	{ "ns", 1 },
	{ NULL, 0 },
};

static const struct unit byte_units[] = {
	{ "TiB", 0x1p40 }, { "GiB", 0x1p30 }, { "MiB", 0x1p20 },
	{ "KiB", 0x1p10 }, { "B", 1 },	      { NULL, 0 },
};

const char *option_quote(const char *text, char out[OPTION_QUOTE_SIZE])
{
	const size_t room = OPTION_QUOTE_SIZE - sizeof("\"\"…");
	size_t length = strnlen(text, room + 1);
	const char *ending = "\"";
	char *to = out;

	if (length > room) {
		length = room;
		while (length && ((unsigned char)text[length] & 0xc0) == 0x80)
			length--; /* not in the middle of a UTF-8 sequence */
		ending = "…\"";
	}
	*to++ = '"';
	for (size_t i = 0; i < length; i++)
		*to++ = iscntrl((unsigned char)text[i]) ? '?' : text[i];
	strcpy(to, ending);
	return out;
}

/* A quantity in the largest unit that shows it without fraction. */
static void format_quantity(double value, const struct unit *units, char *out, size_t out_size)
{
	const struct unit *unit = units;

	if (value == 0) {
		snprintf(out, out_size, "0");
		return;
	}
	while (unit[1].name && (value < unit->factor || fmod(value, unit->factor) != 0))
		unit++;
	snprintf(out, out_size, "%.15g%s", value / unit->factor, unit->name);
}

static void format_bound(enum option_type type, double bound, char *out, size_t out_size)
{
	if (type == OPTION_DURATION)
		format_quantity(bound * NS_PER_S, duration_units, out, out_size);
	else if (type == OPTION_BYTES)
		format_quantity(bound, byte_units, out, out_size);
	else
		snprintf(out, out_size, "%.15g%s", bound, type == OPTION_PERCENT ? "%" : "");
}

static bool has_range(const struct option_desc *desc)
{
	return (desc->min != 0 || desc->max != 0) && desc->type != OPTION_BOOL &&
	       desc->type < OPTION_STRING;
}

static void format_choices(const char *choices, char *out, size_t out_size)
{
	size_t used = 0;

	for (; *choices && used + 3 <= out_size; choices++) {
		if (*choices == '|')
			out[used++] = ',';
		out[used++] = *choices == '|' ? ' ' : *choices;
	}
	out[used] = '\0';
}

void option_range(const struct option_desc *desc, char *out, size_t out_size)
{
	char min[32], max[32];

	out[0] = '\0';
	if (desc->choices) {
		format_choices(desc->choices, out, out_size);
	} else if (has_range(desc)) {
		format_bound(desc->type, desc->min, min, sizeof(min));
		format_bound(desc->type, desc->max, max, sizeof(max));
		snprintf(out, out_size, "%s to %s", min, max);
	}
}

void option_describe(const struct option_desc *desc, char *out, size_t out_size)
{
	static const char *const names[] = {
		[OPTION_BOOL] = "true or false",
		[OPTION_INT] = "a whole number",
		[OPTION_NUMBER] = "a number",
		[OPTION_DURATION] = "a duration like 250ms, 10s or 1h30m",
		[OPTION_BYTES] = "a size like 256KiB or 8MiB",
		[OPTION_PERCENT] = "a share like 1% or 0.5%",
		[OPTION_STRING] = "a text",
		[OPTION_ADDRESS] =
			"an IP address and a port like 127.0.0.1:9797, [::1]:9797 or :9797",
	};
	char range[128];

	option_range(desc, range, sizeof(range));
	if (desc->choices)
		snprintf(out, out_size, "one of %s", range);
	else
		snprintf(out, out_size, "%s%s%s", names[desc->type], *range ? " from " : "", range);
}

/* Says what is wrong with the text, and what would be right. */
static int refuse(const struct option_desc *desc, const char *text, const char *wrong, char *error,
		  size_t error_size)
{
	char quoted[OPTION_QUOTE_SIZE], right[256];

	option_describe(desc, right, sizeof(right));
	snprintf(error, error_size, "%s %s; write %s", option_quote(text, quoted), wrong, right);
	return -EINVAL;
}

/*
 * Reads digits with an optional fraction, nothing else of what strtod takes (sign, exponent, hex,
 * nan). Returns where it ends, or NULL.
 */
static const char *read_decimal(const char *text, double *ret_value)
{
	size_t whole = strspn(text, "0123456789");
	size_t fraction = 0;

	if (text[whole] == '.') {
		fraction = strspn(text + whole + 1, "0123456789");
		if (!fraction)
			return NULL;
		fraction++;
	}
	if (!whole || whole + fraction > 40)
		return NULL;
	*ret_value = strtod(text, NULL);
	return text + whole + fraction;
}

static const struct unit *find_unit(const struct unit *units, const char *name, size_t length)
{
	for (; units->name; units++)
		if (strlen(units->name) == length && !memcmp(units->name, name, length))
			return units;
	return NULL;
}

/* One or, for durations, several number-unit pairs, added up. 0 or -EINVAL with *wrong set. */
static int parse_quantity(const char *text, const struct unit *units, bool several,
			  double *ret_value, const char **wrong)
{
	double total = 0, value;

	*wrong = several ? "is not a duration" : "is not a size";
	if (!*text)
		return -EINVAL;
	do {
		const struct unit *unit;
		size_t length;

		text = read_decimal(text, &value);
		if (!text)
			return -EINVAL;
		length = strspn(text, "BKMGTdhimnsu");
		if (!length) {
			if (*text)
				return -EINVAL;
			if (several && value != 0) {
				*wrong = "has no unit";
				return -EINVAL;
			}
			total += value;
			break;
		}
		unit = find_unit(units, text, length);
		if (!unit) {
			*wrong = "has an unknown unit";
			return -EINVAL;
		}
		total += value * unit->factor;
		text += length;
	} while (several && *text);
	if (*text && !several)
		return -EINVAL;
	if (total >= 0x1p63) {
		*wrong = "is too large";
		return -EINVAL;
	}
	*ret_value = total;
	return 0;
}

static bool is_choice(const char *choices, const char *text)
{
	size_t length = strlen(text);

	while (length && *choices) {
		size_t span = strcspn(choices, "|");

		if (span == length && !memcmp(choices, text, length))
			return true;
		choices += span + (choices[span] == '|');
	}
	return false;
}

/*
 * HOST:PORT with a numeric host; names are not resolved: what is listened on must not depend on
 * DNS.
 */
static bool is_address(const char *text)
{
	const char *colon = strrchr(text, ':');
	unsigned char binary[sizeof(struct in6_addr)];
	char host[64], *end;
	size_t length;

	if (!colon || !isdigit((unsigned char)colon[1]) || strlen(colon + 1) > 5 ||
	    strtoul(colon + 1, &end, 10) > 65535 || *end)
		return false;
	length = (size_t)(colon - text);
	if (length == 0)
		return true;
	if (length >= sizeof(host))
		return false;
	if (text[0] == '[' && colon[-1] == ']' && length > 2) {
		memcpy(host, text + 1, length - 2);
		host[length - 2] = '\0';
		return inet_pton(AF_INET6, host, binary) == 1;
	}
	memcpy(host, text, length);
	host[length] = '\0';
	return inet_pton(AF_INET, host, binary) == 1;
}

/* ASCII control characters, those of U+0080 to U+009F, and the line breaks U+2028 and U+2029. */
static bool has_control(const char *text)
{
	for (; *text; text++) {
		const unsigned char *c = (const unsigned char *)text;

		if (iscntrl(c[0]) || (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) ||
		    (c[0] == 0xe2 && c[1] == 0x80 && (c[2] == 0xa8 || c[2] == 0xa9)))
			return true;
	}
	return false;
}

/* Why a choice is not to be had: what a message says is wrong with it. */
static const char *why_not(const struct option_desc *desc, const char *text)
{
	size_t length = desc->missing ? strcspn(desc->missing, "|") : 0;

	if (length && strlen(text) == length && !memcmp(desc->missing, text, length))
		return desc->missing + length + 1;
	return "is unknown";
}

int option_parse(const struct option_desc *desc, const char *text, union option_value *ret_value,
		 char *error, size_t error_size)
{
	union option_value value = { 0 };
	const char *wrong = NULL;
	double measure = 0; /* in the unit of min and max */
	char *end;
	int err;

	switch (desc->type) {
	case OPTION_BOOL:
		value.boolean = !strcmp(text, "true");
		if (!value.boolean && strcmp(text, "false"))
			wrong = "is neither";
		break;
	case OPTION_INT:
		errno = 0;
		value.integer = strtoll(text, &end, 10);
		measure = (double)value.integer;
		if (!(isdigit((unsigned char)text[0]) ||
		      (text[0] == '-' && isdigit((unsigned char)text[1]))) ||
		    *end)
			wrong = "is not a whole number";
		else if (errno)
			wrong = "is too large";
		break;
	case OPTION_NUMBER: {
		bool negative = text[0] == '-';
		const char *rest = read_decimal(text + negative, &value.number);

		if (!rest || *rest)
			wrong = "is not a number";
		else if (negative)
			value.number = -value.number;
		measure = value.number;
		break;
	}
	case OPTION_PERCENT: {
		const char *rest = read_decimal(text, &value.number);

		if (!rest || strcmp(rest, value.number == 0 && !*rest ? "" : "%"))
			wrong = "is not a share";
		measure = value.number;
		break;
	}
	case OPTION_DURATION:
	case OPTION_BYTES: {
		bool duration = desc->type == OPTION_DURATION;
		double quantity = 0;

		if (!parse_quantity(text, duration ? duration_units : byte_units, duration,
				    &quantity, &wrong))
			wrong = NULL;
		value.integer = wrong ? 0 : (int64_t)llrint(quantity);
		measure = duration ? quantity / NS_PER_S : quantity;
		break;
	}
	case OPTION_STRING:
		if (has_control(text))
			wrong = "has control characters in it";
		else if (desc->choices && !is_choice(desc->choices, text))
			wrong = why_not(desc, text);
		value.string = text;
		break;
	case OPTION_ADDRESS:
		if (!is_address(text))
			wrong = "is not an address to listen on";
		value.string = text;
		break;
	}
	if (!wrong && has_range(desc) && !(measure >= desc->min && measure <= desc->max))
		wrong = measure < desc->min ? "is too small" : "is too large";
	if (wrong)
		return refuse(desc, text, wrong, error, error_size);
	if (desc->check && (err = desc->check(text, error, error_size)))
		return err;
	*ret_value = value;
	return 0;
}
