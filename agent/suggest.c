/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Distance is the number of letters inserted, removed, replaced or swapped with their neighbour
 * (optimal string alignment), ignoring case. A name that is another's last part ("level" of
 * "log.level") is near as well.
 */
#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include "agent/suggest.h"

#define MAX_LENGTH	   64
#define LAST_PART_DISTANCE 1 /* as good as one typing mistake */

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned least = a < b ? a : b;

	return least < c ? least : c;
}

/* Both at most MAX_LENGTH long. */
static unsigned edit_distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
	unsigned char rows[3][MAX_LENGTH + 1]; /* the row before the last, the last, this one */

	for (size_t j = 0; j <= b_length; j++)
		rows[0][j] = (unsigned char)j;
	for (size_t i = 1; i <= a_length; i++) {
		unsigned char *row = rows[i % 3];
		const unsigned char *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];

		row[0] = (unsigned char)i;
		for (size_t j = 1; j <= b_length; j++) {
			int x = tolower((unsigned char)a[i - 1]),
			    y = tolower((unsigned char)b[j - 1]);
			unsigned cost = min3(last[j] + 1U, row[j - 1] + 1U, last[j - 1] + (x != y));

			if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
			    y == tolower((unsigned char)a[i - 2]) && before[j - 2] + 1U < cost)
				cost = before[j - 2] + 1U;
			row[j] = (unsigned char)cost;
		}
	}
	return rows[a_length % 3][b_length];
}

static bool is_last_part(const char *name, size_t name_length, const char *wanted,
			 size_t wanted_length)
{
	const char *tail = name + name_length - wanted_length;

	return wanted_length && name_length > wanted_length &&
	       (tail[-1] == '.' || tail[-1] == '_') && !strcasecmp(tail, wanted);
}

void suggestion_start(struct suggestion *suggestion, const char *wanted)
{
	size_t length = strlen(wanted);

	/* a third of the letters wrong is still a typing mistake; more is another word */
	*suggestion = (struct suggestion){ .wanted = wanted, .distance = (unsigned)length / 3 + 1 };
	if (suggestion->distance > 5)
		suggestion->distance = 5;
	if (length > MAX_LENGTH)
		suggestion->distance = 0;
}

void suggestion_offer(struct suggestion *suggestion, const char *name)
{
	size_t length = strlen(name), wanted = strlen(suggestion->wanted);
	unsigned distance;

	if (length > MAX_LENGTH || wanted > MAX_LENGTH)
		return;
	distance = edit_distance(suggestion->wanted, wanted, name, length);
	if (distance > LAST_PART_DISTANCE && is_last_part(name, length, suggestion->wanted, wanted))
		distance = LAST_PART_DISTANCE;
	if (distance < suggestion->distance) {
		suggestion->distance = distance;
		suggestion->best = name;
	}
}
