/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of words between commas and blanks, as settings have them. */
#ifndef LEADLINE_WORDS_H
#define LEADLINE_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Takes the next word off a list; false when there is none. The word is not NUL-terminated. NULL is an empty list. */
static inline bool words_next(const char **list, const char **ret_word, size_t *ret_length)
{
	static const char separators[] = ", ";

	if (!*list)
		return false;
	*list += strspn(*list, separators);
	*ret_word = *list;
	*ret_length = strcspn(*list, separators);
	*list += *ret_length;
	return *ret_length > 0;
}

#endif
