/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers as text, for pages with tens of thousands of them: no printf for what is common (integers,
 * and decimals of up to 15 digits such as nanoseconds shown in seconds). Independent of the locale.
 * Any thread.
 */
#ifndef LEADLINE_NUMBER_H
#define LEADLINE_NUMBER_H

#include <stddef.h>
#include <stdint.h>

#define NUMBER_MAX_TEXT 32 /* room that every result fits in; an unsigned integer needs 20 */

/* Each writes without a terminator and returns the length. */
size_t number_unsigned(char *out, uint64_t value);

/* As buffer_number() (buffer.h) says. */
size_t number_double(char *out, double value);

/*
 * The value of an `le` label: always recognisable as a float ("1.0", "0.25", "1e-05", "1.048576e+06"),
 * by the rule of OpenMetrics 1.0.0 ("Considerations: Canonical Numbers"), which is Go's %g with ".0".
 */
size_t number_bound(char *out, double value);

#endif
