/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Valid UTF-8, for text that comes from outside: program names, paths and cgroup names may hold any
 * bytes, the formats served may not. Any thread.
 */
#ifndef LEADLINE_UTF8_H
#define LEADLINE_UTF8_H

#include <stddef.h>

#define UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD, for each byte that is part of no sequence */

/*
 * Length of the well-formed sequence at `text` (1 to 4; Unicode 15, table 3-7: no overlong forms, no
 * surrogates, nothing above U+10FFFF), or 0. Reads up to the first byte that does not fit, hence
 * never past the terminator.
 */
static inline size_t utf8_sequence(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	unsigned char low = 0x80, high = 0xbf; /* of the second byte */
	size_t length, i;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	length = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	if (s[1] < low || s[1] > high)
		return 0;
	for (i = 2; i < length; i++)
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	return length;
}

#endif
