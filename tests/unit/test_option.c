// SPDX-License-Identifier: Apache-2.0
/* Option values: what each type takes, its range, and what is said of all else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "agent/option.h"
#include "agent/suggest.h"

#define SECOND 1000000000LL

static const struct option_desc flag = { .key = "flag", .type = OPTION_BOOL };
static const struct option_desc count = {
	.key = "count", .type = OPTION_INT, .min = -5, .max = 4096
};
static const struct option_desc any_int = { .key = "any_int", .type = OPTION_INT };
static const struct option_desc ratio = {
	.key = "ratio", .type = OPTION_NUMBER, .min = 0, .max = 100
};
static const struct option_desc share = {
	.key = "share", .type = OPTION_PERCENT, .min = 0, .max = 100
};
static const struct option_desc any_number = { .key = "any_number", .type = OPTION_NUMBER };
static const struct option_desc period = {
	.key = "period", .type = OPTION_DURATION, .min = 0.1, .max = 3600
};
static const struct option_desc any_period = { .key = "any_period", .type = OPTION_DURATION };
static const struct option_desc size = {
	.key = "size", .type = OPTION_BYTES, .min = 4096, .max = 0x1p30
};
static const struct option_desc any_size = { .key = "any_size", .type = OPTION_BYTES };
static const struct option_desc text = { .key = "text", .type = OPTION_STRING };
static const struct option_desc choice = { .key = "choice",
					   .type = OPTION_STRING,
					   .choices = "json|plain",
					   .missing = "toml|is not what one would want" };
static const struct option_desc address = { .key = "address", .type = OPTION_ADDRESS };

static union option_value parse(const struct option_desc *desc, const char *written)
{
	union option_value value;
	char error[320] = "untouched";

	if (option_parse(desc, written, &value, error, sizeof(error)))
		fail_msg("%s: %s", written, error);
	assert_string_equal(error, "untouched");
	return value;
}

static void refused(const struct option_desc *desc, const char *written, const char *wanted)
{
	union option_value value = { .integer = 77 };
	char error[320] = "";

	assert_int_equal(option_parse(desc, written, &value, error, sizeof(error)), -EINVAL);
	assert_string_equal(error, wanted);
	assert_int_equal(value.integer, 77);
}

static void takes_shares(void **state)
{
	assert_float_equal(parse(&share, "1%").number, 1, 0);
	assert_float_equal(parse(&share, "0.25%").number, 0.25, 0);
	assert_float_equal(parse(&share, "100%").number, 100, 0);
	assert_float_equal(parse(&share, "0").number, 0, 0);
	assert_float_equal(parse(&share, "0%").number, 0, 0);
	refused(&share, "1", "\"1\" is not a share; write a share like 1% or 0.5% from 0% to 100%");
	refused(&share, "1%%",
		"\"1%%\" is not a share; write a share like 1% or 0.5% from 0% to 100%");
	refused(&share, "", "\"\" is not a share; write a share like 1% or 0.5% from 0% to 100%");
	refused(&share, "-1%",
		"\"-1%\" is not a share; write a share like 1% or 0.5% from 0% to 100%");
	refused(&share, "101%",
		"\"101%\" is too large; write a share like 1% or 0.5% from 0% to 100%");
}

static void says_why_a_choice_is_missing(void **state)
{
	refused(&choice, "toml", "\"toml\" is not what one would want; write one of json, plain");
	refused(&choice, "tom", "\"tom\" is unknown; write one of json, plain");
}

static void takes_booleans(void **state)
{
	static const char *const wrong[] = { "", "yes", "True", "1", "true ", "on" };
	char message[128];

	assert_true(parse(&flag, "true").boolean);
	assert_false(parse(&flag, "false").boolean);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		snprintf(message, sizeof(message), "\"%s\" is neither; write true or false",
			 wrong[i]);
		refused(&flag, wrong[i], message);
	}
}

static void takes_integers(void **state)
{
	assert_int_equal(parse(&count, "0").integer, 0);
	assert_int_equal(parse(&count, "-5").integer, -5);
	assert_int_equal(parse(&count, "4096").integer, 4096);
	assert_true(parse(&any_int, "9223372036854775807").integer == INT64_MAX);
	assert_true(parse(&any_int, "-9223372036854775808").integer == INT64_MIN);
	refused(&count, "4097", "\"4097\" is too large; write a whole number from -5 to 4096");
	refused(&count, "-6", "\"-6\" is too small; write a whole number from -5 to 4096");
	refused(&count, "1.5",
		"\"1.5\" is not a whole number; write a whole number from -5 to 4096");
	refused(&count, "0x10",
		"\"0x10\" is not a whole number; write a whole number from -5 to 4096");
	refused(&any_int, "", "\"\" is not a whole number; write a whole number");
	refused(&any_int, "-", "\"-\" is not a whole number; write a whole number");
	refused(&any_int, "+1", "\"+1\" is not a whole number; write a whole number");
	refused(&any_int, " 1", "\" 1\" is not a whole number; write a whole number");
	refused(&any_int, "1 ", "\"1 \" is not a whole number; write a whole number");
	refused(&any_int, "ten", "\"ten\" is not a whole number; write a whole number");
	refused(&any_int, "9223372036854775808",
		"\"9223372036854775808\" is too large; write a whole number");
}

static void takes_numbers(void **state)
{
	assert_true(parse(&ratio, "0").number == 0);
	assert_true(parse(&ratio, "0.125").number == 0.125);
	assert_true(parse(&ratio, "100").number == 100);
	assert_true(parse(&any_number, "-2.5").number == -2.5);
	refused(&ratio, "100.001", "\"100.001\" is too large; write a number from 0 to 100");
	refused(&ratio, "-1", "\"-1\" is too small; write a number from 0 to 100");
	refused(&ratio, "70%", "\"70%\" is not a number; write a number from 0 to 100");
	refused(&any_number, "nan", "\"nan\" is not a number; write a number");
	refused(&any_number, "inf", "\"inf\" is not a number; write a number");
	refused(&any_number, "1e3", "\"1e3\" is not a number; write a number");
	refused(&any_number, ".5", "\".5\" is not a number; write a number");
	refused(&any_number, "5.", "\"5.\" is not a number; write a number");
	refused(&any_number, "0x1p3", "\"0x1p3\" is not a number; write a number");
	refused(&any_number, "", "\"\" is not a number; write a number");
	refused(&any_number, "--1", "\"--1\" is not a number; write a number");
}

static void takes_durations(void **state)
{
	assert_int_equal(parse(&period, "250ms").integer, SECOND / 4);
	assert_int_equal(parse(&period, "100ms").integer, SECOND / 10);
	assert_int_equal(parse(&period, "1.5s").integer, 3 * SECOND / 2);
	assert_int_equal(parse(&period, "1h").integer, 3600 * SECOND);
	assert_int_equal(parse(&any_period, "1h30m").integer, 5400 * SECOND);
	assert_int_equal(parse(&any_period, "2d1h1m1s1ms1us1ns").integer,
			 (2 * 86400LL + 3600 + 61) * SECOND + 1001001);
	assert_int_equal(parse(&any_period, "7ns").integer, 7);
	assert_int_equal(parse(&any_period, "0").integer, 0);
	refused(&any_period, "10", "\"10\" has no unit; write a duration like 250ms, 10s or 1h30m");
	refused(&any_period, "1h30",
		"\"1h30\" has no unit; write a duration like 250ms, 10s or 1h30m");
	refused(&any_period, "10 s",
		"\"10 s\" is not a duration; write a duration like 250ms, 10s or 1h30m");
	refused(&any_period, "-1s",
		"\"-1s\" is not a duration; write a duration like 250ms, 10s or 1h30m");
	refused(&any_period, "",
		"\"\" is not a duration; write a duration like 250ms, 10s or 1h30m");
	refused(&any_period, "s",
		"\"s\" is not a duration; write a duration like 250ms, 10s or 1h30m");
	refused(&any_period, "1s,",
		"\"1s,\" is not a duration; write a duration like 250ms, 10s or 1h30m");
	refused(&any_period, "1KiB",
		"\"1KiB\" has an unknown unit; write a duration like 250ms, 10s or 1h30m");
	refused(&any_period, "1min",
		"\"1min\" has an unknown unit; write a duration like 250ms, 10s or 1h30m");
	refused(&any_period, "300000d",
		"\"300000d\" is too large; write a duration like 250ms, 10s or 1h30m");
	refused(&period, "99ms",
		"\"99ms\" is too small; write a duration like 250ms, 10s or 1h30m from 100ms to 1h");
	refused(&period, "61m",
		"\"61m\" is too large; write a duration like 250ms, 10s or 1h30m from 100ms to 1h");
}

static void takes_sizes(void **state)
{
	assert_int_equal(parse(&size, "4096").integer, 4096);
	assert_int_equal(parse(&size, "4KiB").integer, 4096);
	assert_int_equal(parse(&size, "1.5MiB").integer, 1572864);
	assert_int_equal(parse(&size, "1GiB").integer, 1 << 30);
	assert_int_equal(parse(&any_size, "8B").integer, 8);
	assert_int_equal(parse(&any_size, "2TiB").integer, 2LL << 40);
	refused(&any_size, "4K", "\"4K\" has an unknown unit; write a size like 256KiB or 8MiB");
	refused(&any_size, "4MB", "\"4MB\" has an unknown unit; write a size like 256KiB or 8MiB");
	refused(&any_size, "4MiB1KiB",
		"\"4MiB1KiB\" is not a size; write a size like 256KiB or 8MiB");
	refused(&any_size, "many", "\"many\" is not a size; write a size like 256KiB or 8MiB");
	refused(&any_size, "9999999999TiB",
		"\"9999999999TiB\" is too large; write a size like 256KiB or 8MiB");
	refused(&size, "4095",
		"\"4095\" is too small; write a size like 256KiB or 8MiB from 4KiB to 1GiB");
	refused(&size, "2GiB",
		"\"2GiB\" is too large; write a size like 256KiB or 8MiB from 4KiB to 1GiB");
}

static void takes_texts(void **state)
{
	static const char written[] = "any thing: #'\"";

	assert_ptr_equal(parse(&text, written).string, written);
	assert_string_equal(parse(&text, "").string, "");
	assert_string_equal(parse(&choice, "plain").string, "plain");
	refused(&choice, "xml", "\"xml\" is unknown; write one of json, plain");
	refused(&choice, "", "\"\" is unknown; write one of json, plain");
	refused(&choice, "json|plain", "\"json|plain\" is unknown; write one of json, plain");
	refused(&choice, "jso", "\"jso\" is unknown; write one of json, plain");
	assert_string_equal(parse(&text, "\xc2\xa0\xe2\x80\xa7").string, "\xc2\xa0\xe2\x80\xa7");
	refused(&text, "\xc2\x85", "\"\xc2\x85\" has control characters in it; write a text");
	refused(&text, "\xe2\x80\xa8",
		"\"\xe2\x80\xa8\" has control characters in it; write a text");
	refused(&text, "a\nb", "\"a?b\" has control characters in it; write a text");
}

static void takes_addresses(void **state)
{
	static const char *const right[] = { "127.0.0.1:9797", "[::1]:9797", ":9797", "0.0.0.0:0",
					     "[fd00::12]:65535" };
	static const char *const wrong[] = {
		"",	     "127.0.0.1",     "9797",	 "localhost:9797", "::1:9797",
		"[::1]9797", "1.2.3.4:65536", "[]:80",	 "[1.2.3.4]:80",   "1.2.3:80",
		"1.2.3.4:",  "1.2.3.4:8o",    "[::1:80", "1.2.3.4:000080", "1.2.3.4:-1",
		"[:80"
	};
	char message[256];

	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++)
		assert_string_equal(parse(&address, right[i]).string, right[i]);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		snprintf(
			message, sizeof(message),
			"\"%s\" is not an address to listen on; write an IP address and a port like 127.0.0.1:9797, [::1]:9797 or :9797",
			wrong[i]);
		refused(&address, wrong[i], message);
	}
}

static void bounds_what_it_quotes(void **state)
{
	char out[OPTION_QUOTE_SIZE], long_text[4096];

	assert_string_equal(option_quote("", out), "\"\"");
	assert_string_equal(option_quote("a\x1b[2Jb\n", out), "\"a?[2Jb?\"");
	memset(long_text, 'x', sizeof(long_text));
	long_text[sizeof(long_text) - 1] = '\0';
	option_quote(long_text, out);
	assert_int_equal(strlen(out), OPTION_QUOTE_SIZE - 1);
	assert_string_equal(out + strlen(out) - 6, "xx…\"");
	/* never in the middle of a sequence */
	for (size_t i = 0; i + 2 < sizeof(long_text); i += 2)
		memcpy(long_text + i, "é", 2);
	long_text[0] = 'x';
	memmove(long_text + 1, long_text + 2, sizeof(long_text) - 2);
	option_quote(long_text, out);
	assert_non_null(strstr(out, "é…\""));
	/* a short buffer for the message is cut, not overrun */
	union option_value value;
	char error[8];

	assert_int_equal(option_parse(&any_period, long_text, &value, error, sizeof(error)),
			 -EINVAL);
	assert_int_equal(strlen(error), 7);
}

static void describes(void **state)
{
	char out[128], small[8];

	option_describe(&period, out, sizeof(out));
	assert_string_equal(out, "a duration like 250ms, 10s or 1h30m from 100ms to 1h");
	option_describe(&choice, out, sizeof(out));
	assert_string_equal(out, "one of json, plain");
	option_describe(&choice, small, sizeof(small));
	assert_int_equal(strlen(small), 7);
	option_describe(&period, small, sizeof(small));
	assert_string_equal(small, "a durat");
	option_range(&period, out, sizeof(out));
	assert_string_equal(out, "100ms to 1h");
	option_range(&size, out, sizeof(out));
	assert_string_equal(out, "4KiB to 1GiB");
	option_range(&choice, out, sizeof(out));
	assert_string_equal(out, "json, plain");
	option_range(&choice, small, sizeof(small));
	assert_string_equal(small, "json, ");
	option_range(&flag, out, sizeof(out));
	assert_string_equal(out, "");
}

static const char *nearest(const char *wanted)
{
	static const char *const names[] = { "listen", "interval", "log.level", "log.format",
					     "health.cpu.degraded" };
	struct suggestion suggestion;

	suggestion_start(&suggestion, wanted);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		suggestion_offer(&suggestion, names[i]);
	return suggestion.best ? suggestion.best : "none";
}

static void suggests(void **state)
{
	static char endless[100000];

	assert_string_equal(nearest("lisen"), "listen");
	assert_string_equal(nearest("lsiten"), "listen");
	assert_string_equal(nearest("LISTEN"), "listen");
	assert_string_equal(nearest("intervall"), "interval");
	assert_string_equal(nearest("level"), "log.level");
	assert_string_equal(nearest("log_level"), "log.level");
	assert_string_equal(nearest("health.cpu.degarded"), "health.cpu.degraded");
	assert_string_equal(nearest("colour"), "none");
	assert_string_equal(nearest(""), "none");
	assert_string_equal(nearest("x"), "none");
	memset(endless, 'l', sizeof(endless) - 1);
	assert_string_equal(nearest(endless), "none");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_shares),	   cmocka_unit_test(says_why_a_choice_is_missing),
		cmocka_unit_test(takes_booleans),  cmocka_unit_test(takes_integers),
		cmocka_unit_test(takes_numbers),   cmocka_unit_test(takes_durations),
		cmocka_unit_test(takes_sizes),	   cmocka_unit_test(takes_texts),
		cmocka_unit_test(takes_addresses), cmocka_unit_test(bounds_what_it_quotes),
		cmocka_unit_test(describes),	   cmocka_unit_test(suggests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
