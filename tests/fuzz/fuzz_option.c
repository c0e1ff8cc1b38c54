// SPDX-License-Identifier: Apache-2.0
/*
 * Any text as the value of an option of each type: refused with a message and the result untouched, or taken and within
 * bounds.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "agent/option.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct option_desc options[] = {
	{ .key = "bool", .type = OPTION_BOOL },
	{ .key = "int", .type = OPTION_INT, .min = -7, .max = 1e6 },
	{ .key = "any int", .type = OPTION_INT },
	{ .key = "number", .type = OPTION_NUMBER, .min = 0.5, .max = 100 },
	{ .key = "any number", .type = OPTION_NUMBER },
	{ .key = "duration", .type = OPTION_DURATION, .min = 0.1, .max = 3600 },
	{ .key = "any duration", .type = OPTION_DURATION },
	{ .key = "bytes", .type = OPTION_BYTES, .min = 4096, .max = 1 << 30 },
	{ .key = "any bytes", .type = OPTION_BYTES },
	{ .key = "share", .type = OPTION_PERCENT, .min = 0, .max = 100 },
	{ .key = "string", .type = OPTION_STRING },
	{ .key = "choice", .type = OPTION_STRING, .choices = "json|plain" },
	{ .key = "address", .type = OPTION_ADDRESS },
};

static int is_within(const struct option_desc *option, const union option_value *value)
{
	double number = (double)value->integer;

	if (option->type == OPTION_NUMBER || option->type == OPTION_PERCENT)
		number = value->number;
	else if (option->type == OPTION_DURATION)
		number *= 1e-9;
	if (number != number)
		return 0;
	return (!option->min && !option->max) || (number >= option->min && number <= option->max);
}

static void parse(const struct option_desc *option, const char *text)
{
	union option_value value, untouched;
	char error[320] = "", shown[OPTION_QUOTE_SIZE];

	memset(&value, 0xa5, sizeof(value));
	untouched = value;
	if (option_parse(option, text, &value, error, sizeof(error))) {
		if (!*error || memcmp(&value, &untouched, sizeof(value)))
			abort();
	} else if (option->type == OPTION_STRING || option->type == OPTION_ADDRESS) {
		if (value.string != text)
			abort();
	} else if (option->type != OPTION_BOOL && !is_within(option, &value)) {
		abort();
	}
	option_quote(text, shown);
	if (strlen(shown) >= sizeof(shown))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	if (!text)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		parse(&options[i], text);
	free(text);
	return 0;
}
