// SPDX-License-Identifier: Apache-2.0
/* Buffers and numbers as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>
#include "agent/buffer.h"
#include "agent/number.h"
#include "agent/utf8.h"

static void assert_text(struct buffer *buffer, const char *wanted)
{
	buffer_char(buffer, '\0');
	assert_int_equal(buffer_error(buffer), 0);
	assert_string_equal(buffer->data, wanted);
	buffer_free(buffer);
	assert_null(buffer->data);
	assert_int_equal(buffer->size, 0);
}

static void appends(void **state)
{
	struct buffer buffer = { 0 };

	buffer_append(&buffer, NULL, 0);
	assert_null(buffer.data);
	buffer_string(&buffer, "a");
	buffer_append(&buffer, "bcd", 2);
	buffer_printf(&buffer, "%d%%", 42);
	buffer_unsigned(&buffer, 0);
	buffer_unsigned(&buffer, UINT64_MAX);
	assert_text(&buffer, "abc42%018446744073709551615");
}

static void grows(void **state)
{
	struct buffer buffer = { 0 };
	size_t i;

	for (i = 0; i < 100003; i++)
		buffer_printf(&buffer, "%zu\n", i % 10);
	assert_int_equal(buffer.size, 200006);
	for (i = 0; i < 100003; i++)
		assert_int_equal(buffer.data[2 * i], '0' + (int)(i % 10));
	buffer_free(&buffer);
}

static void latches_failure(void **state)
{
	struct buffer buffer = { 0 };

	buffer_string(&buffer, "kept");
	assert_null(buffer_reserve(&buffer, SIZE_MAX / 2));
	assert_int_equal(buffer_error(&buffer), -ENOMEM);
	buffer_string(&buffer, "not appended");
	buffer_printf(&buffer, "%s", "nor this");
	buffer_number(&buffer, 1);
	buffer_unsigned(&buffer, 1);
	assert_int_equal(buffer.size, 4);
	buffer_free(&buffer);
	assert_int_equal(buffer_error(&buffer), 0);
}

static void numbers(void **state)
{
	static const struct {
		double value;
		const char *text;
	} cases[] = {
		{ 0, "0" },
		{ -0.0, "0" },
		{ 1, "1" },
		{ -1, "-1" },
		{ 99, "99" },
		{ 100, "100" },
		{ 1e6, "1000000" },
		{ 1e15, "1000000000000000" },
		{ 9007199254740992.0, "9007199254740992" },
		{ 0x1p62, "4611686018427387904" },
		{ 0x1p63, "9.223372036854776e+18" },
		{ 1e22, "1e+22" },
		{ 1e300, "1e+300" },
		{ 0.5, "0.5" },
		{ 0.1, "0.1" },
		{ 0.1 + 0.2, "0.30000000000000004" },
		{ 1.0 / 3, "0.3333333333333333" },
		{ 2.0 / 3, "0.6666666666666666" },
		{ 123456.789, "123456.789" },
		{ 12.000000001, "12.000000001" },
		{ 1000003 / 1e9, "0.001000003" },
		{ 999999999999999.5, "999999999999999.5" },
		{ 0.0001, "0.0001" },
		{ 0.00012345, "0.00012345" },
		{ 0.00001, "1e-05" },
		{ -1.5e-9, "-1.5e-09" },
		{ DBL_MIN, "2.2250738585072014e-308" },
		{ 5e-324, "5e-324" },
		{ DBL_MAX, "1.7976931348623157e+308" },
		{ NAN, "NaN" },
		{ INFINITY, "+Inf" },
		{ -INFINITY, "-Inf" },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buffer buffer = { 0 };

		buffer_number(&buffer, cases[i].value);
		if (isfinite(cases[i].value) && strlen(cases[i].text) <= 20)
			assert_true(strtod(cases[i].text, NULL) == cases[i].value);
		assert_text(&buffer, cases[i].text);
	}
}

/* As Prometheus' Go client spells them, and OpenMetrics wants them. */
static void bounds(void **state)
{
	static const struct {
		double value;
		const char *text;
	} cases[] = {
		{ 0, "0.0" },	      { 1, "1.0" },	      { 10, "10.0" },
		{ 0.25, "0.25" },     { 2.5, "2.5" },	      { -1, "-1.0" },
		{ 1e-10, "1e-10" },   { 1e-9, "1e-09" },      { 1e-5, "1e-05" },
		{ 0.0001, "0.0001" }, { 0.075, "0.075" },     { 100000, "100000.0" },
		{ 1e6, "1e+06" },     { 1e10, "1e+10" },      { 1048576, "1.048576e+06" },
		{ 65536, "65536.0" }, { 123456, "123456.0" }, { 0x1p-20, "9.5367431640625e-07" },
		{ 16, "16.0" },	      { 1e-8, "1e-08" },      { INFINITY, "+Inf" },
	};
	char text[NUMBER_MAX_TEXT + 1];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		text[number_bound(text, cases[i].value)] = '\0';
		assert_string_equal(text, cases[i].text);
	}
}

/* Any double reads back as itself, and no shorter text does. */
static void numbers_read_back(void **state)
{
	uint64_t random = 88172645463325252ULL;
	char text[NUMBER_MAX_TEXT + 1], shorter[40];
	double value;
	int i, digits, n;
	char *at;

	for (i = 0; i < 200000; i++) {
		random ^= random << 13; /* xorshift64 */
		random ^= random >> 7;
		random ^= random << 17;
		switch (i % 4) {
		case 0: /* any bits */
			memcpy(&value, &random, sizeof(value));
			break;
		case 1: /* nanoseconds as seconds */
			value = (double)(random >> (i % 40 + 10)) / 1e9;
			break;
		case 2: /* a ratio */
			value = (double)(random >> 11) * 0x1p-53;
			break;
		default: /* a few digits */
			value = (double)(random % 100000) / 1000;
			break;
		}
		if (!isfinite(value))
			continue;
		n = (int)number_double(text, value);
		assert_in_range(n, 1, NUMBER_MAX_TEXT);
		text[n] = '\0';
		assert_true(strtod(text, NULL) == value);
		n = (int)number_bound(text, value);
		assert_in_range(n, 1, NUMBER_MAX_TEXT);
		text[n] = '\0';
		assert_true(strtod(text, NULL) == value);

		/* bounds have a .0 that is no digit of the number; skip those */
		if (fabs(value) >= 0x1p53 || fabs(value) == floor(fabs(value)))
			continue;
		number_double(text, value);
		digits = 0;
		for (at = text; *at && *at != 'e'; at++)
			if (*at >= '0' && *at <= '9' && (digits || *at != '0'))
				digits++;
		if (digits > 1) {
			snprintf(shorter, sizeof(shorter), "%.*e", digits - 2, value);
			if (strtod(shorter, NULL) == value)
				fail_msg("%s is not the shortest: %s", text, shorter);
		}
	}
}

static void utf8(void **state)
{
	assert_int_equal(utf8_sequence("a"), 1);
	assert_int_equal(utf8_sequence(""),
			 1); /* the terminator is a character, callers stop before it */
	assert_int_equal(utf8_sequence("\xc3\xa9"), 2);
	assert_int_equal(utf8_sequence("\xe2\x82\xac"), 3);
	assert_int_equal(utf8_sequence("\xf0\x9f\x98\x80"), 4);
	assert_int_equal(utf8_sequence("\xf4\x8f\xbf\xbf"), 4);
	assert_int_equal(utf8_sequence("\x80"), 0);
	assert_int_equal(utf8_sequence("\xff"), 0);
	assert_int_equal(utf8_sequence("\xc3"), 0); /* cut off */
	assert_int_equal(utf8_sequence("\xe2\x82"), 0);
	assert_int_equal(utf8_sequence("\xc0\x80"), 0); /* overlong */
	assert_int_equal(utf8_sequence("\xe0\x80\xaf"), 0);
	assert_int_equal(utf8_sequence("\xed\xa0\x80"), 0); /* surrogate */
	assert_int_equal(utf8_sequence("\xf4\x90\x80\x80"), 0); /* above U+10FFFF */
	assert_int_equal(utf8_sequence("\xf5\x80\x80\x80"), 0);
}

/* Every byte, and then some, comes out as JSON that a parser takes. */
static void json_strings(void **state)
{
	struct buffer buffer = { 0 };
	char bytes[256];
	json_t *json;
	int i;

	buffer_json_string(&buffer, "a\"b\\c\n\t\r\x01\x1f\xc3\xa9\xff\xe2\x82z");
	assert_text(&buffer,
		    "\"a\\\"b\\\\c\\n\\t\\r\\u0001\\u001f\xc3\xa9" UTF8_REPLACEMENT UTF8_REPLACEMENT
			    UTF8_REPLACEMENT "z\"");
	buffer_json_string(&buffer, "");
	assert_text(&buffer, "\"\"");

	for (i = 0; i < 255; i++)
		bytes[i] = (char)(i + 1);
	bytes[255] = '\0';
	buffer_json_string(&buffer, bytes);
	json = json_loadb(buffer.data, buffer.size, JSON_DECODE_ANY, NULL);
	assert_non_null(json);
	assert_memory_equal(json_string_value(json), bytes, 127);
	assert_string_equal(json_string_value(json) + 127 + 127 * 3, UTF8_REPLACEMENT);
	json_decref(json);
	buffer_free(&buffer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(appends),
		cmocka_unit_test(grows),
		cmocka_unit_test(latches_failure),
		cmocka_unit_test(numbers),
		cmocka_unit_test(bounds),
		cmocka_unit_test(numbers_read_back),
		cmocka_unit_test(utf8),
		cmocka_unit_test(json_strings),
	};

	return cmocka_run_group_tests_name("buffer", tests, NULL, NULL);
}
