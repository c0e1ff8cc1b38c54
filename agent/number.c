// SPDX-License-Identifier: Apache-2.0
/* Numbers as text; see number.h. Pure functions. */
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "agent/number.h"

/* 10^22 is the largest power of ten a double holds exactly. */
static const double power_of_ten[] = { 1e0,  1e1,  1e2,	 1e3,  1e4,  1e5,  1e6,	 1e7,
				       1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
				       1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };
#define MAX_EXACT_POWER	  22
#define MAX_EXACT_INTEGER (1ULL << 53)

/* A decimal number 0.DDD × 10^point, without leading or trailing zeros. */
struct decimal {
	char digits[24];
	int n_digits;
	int point;
};

size_t number_unsigned(char *out, uint64_t value)
{
	static const char pairs[] = "00010203040506070809101112131415161718192021222324"
				    "25262728293031323334353637383940414243444546474849"
				    "50515253545556575859606162636465666768697071727374"
				    "75767778798081828384858687888990919293949596979899";
	char text[20];
	size_t at = sizeof(text), length;

	while (value >= 100) {
		at -= 2;
		memcpy(text + at, pairs + value % 100 * 2, 2);
		value /= 100;
	}
	if (value >= 10) {
		at -= 2;
		memcpy(text + at, pairs + value * 2, 2);
	} else {
		text[--at] = (char)('0' + value);
	}
	length = sizeof(text) - at;
	memcpy(out, text + at, length);
	return length;
}

static void decimal_trim(struct decimal *decimal)
{
	while (decimal->n_digits > 1 && decimal->digits[decimal->n_digits - 1] == '0')
		decimal->n_digits--;
}

/* Decimal digits before the point; for values below 1 minus the zeros after it. 1e-7 <= value < 1e15. */
static int integer_digits(double value)
{
	int n = 0;

	if (value >= 1)
		while (value >= power_of_ten[n])
			n++;
	else
		while (value * power_of_ten[1 - n] < 1)
			n--;
	return n;
}

/*
 * Tries value = n / 10^k with n of `precision` digits. An n below 2^53 and a power up to 10^22 are
 * exact, so IEEE division yields the double nearest to the decimal: what a reader will get. With 15
 * digits, different decimals are different doubles, so a hit is the shortest text there is.
 */
static bool decimal_exact(struct decimal *decimal, double value, int precision)
{
	int k = precision - integer_digits(value);
	uint64_t n;

	if (k < 0 || k > MAX_EXACT_POWER)
		return false;
	n = (uint64_t)(value * power_of_ten[k] + 0.5);
	if (n > MAX_EXACT_INTEGER || (double)n / power_of_ten[k] != value)
		return false;
	decimal->n_digits = (int)number_unsigned(decimal->digits, n);
	decimal->point = decimal->n_digits - k;
	decimal_trim(decimal);
	return true;
}

/* The shortest decimal that reads back as `value`, which is finite and above 0. */
static void decimal_shortest(struct decimal *decimal, double value)
{
	char text[40], *exponent;
	int precision;

	if (value >= 1e-7 && value < 1e15 &&
	    (decimal_exact(decimal, value, 15) || decimal_exact(decimal, value, 16)))
		return;
	/* Normal numbers hold any 15 digits; subnormal ones fewer. */
	for (precision = value < DBL_MIN ? 1 : 15; precision <= 17; precision++) {
		snprintf(text, sizeof(text), "%.*e", precision - 1, value);
		if (precision == 17 || strtod(text, NULL) == value)
			break;
	}
	/* The digit before the point, whatever the locale writes as point, the rest up to the e. */
	exponent = strchr(text, 'e');
	decimal->n_digits = precision;
	decimal->digits[0] = text[0];
	memcpy(decimal->digits + 1, exponent - (precision - 1), (size_t)precision - 1);
	decimal->point = atoi(exponent + 1) + 1;
	decimal_trim(decimal);
}

/* D.DDDe-07 */
static char *put_exponential(char *at, const struct decimal *decimal)
{
	int exponent = decimal->point - 1;

	*at++ = decimal->digits[0];
	if (decimal->n_digits > 1) {
		*at++ = '.';
		memcpy(at, decimal->digits + 1, (size_t)decimal->n_digits - 1);
		at += decimal->n_digits - 1;
	}
	*at++ = 'e';
	*at++ = exponent < 0 ? '-' : '+';
	exponent = abs(exponent);
	if (exponent < 10)
		*at++ = '0';
	return at + number_unsigned(at, (uint64_t)exponent);
}

/* DDD.DDD; point is between -3 and 15 or so, the caller sees to it. */
static char *put_positional(char *at, const struct decimal *decimal)
{
	int i;

	if (decimal->point <= 0) {
		*at++ = '0';
		*at++ = '.';
		for (i = decimal->point; i < 0; i++)
			*at++ = '0';
		memcpy(at, decimal->digits, (size_t)decimal->n_digits);
		return at + decimal->n_digits;
	}
	for (i = 0; i < decimal->point || i < decimal->n_digits; i++) {
		if (i == decimal->point)
			*at++ = '.';
		*at++ = i < decimal->n_digits ? decimal->digits[i] : '0';
	}
	return at;
}

/* NaN, +Inf, -Inf; 0 for every other value. */
static size_t put_special(char *out, double value)
{
	if (isnan(value)) {
		memcpy(out, "NaN", 3);
		return 3;
	}
	if (isinf(value)) {
		memcpy(out, value > 0 ? "+Inf" : "-Inf", 4);
		return 4;
	}
	return 0;
}

size_t number_double(char *out, double value)
{
	struct decimal decimal;
	char *at = out;

	if (!isfinite(value))
		return put_special(out, value);
	if (value < 0) {
		*at++ = '-';
		value = -value;
	}
	if (value < 0x1p63 && (double)(uint64_t)value == value)
		return (size_t)(at - out) + number_unsigned(at, (uint64_t)value);
	decimal_shortest(&decimal, value);
	if (decimal.point - 1 < -4 || value >= 0x1p63)
		at = put_exponential(at, &decimal);
	else
		at = put_positional(at, &decimal);
	return (size_t)(at - out);
}

size_t number_bound(char *out, double value)
{
	struct decimal decimal;
	char *at = out;

	if (!isfinite(value))
		return put_special(out, value);
	if (value < 0) {
		*at++ = '-';
		value = -value;
	}
	if (value == 0) {
		*at++ = '0';
		decimal.n_digits = decimal.point = 1;
	} else {
		decimal_shortest(&decimal, value);
		if (decimal.point - 1 < -4 || decimal.point - 1 >= 6)
			return (size_t)(put_exponential(at, &decimal) - out);
		at = put_positional(at, &decimal);
	}
	if (decimal.n_digits <= decimal.point) {
		*at++ = '.';
		*at++ = '0';
	}
	return (size_t)(at - out);
}
