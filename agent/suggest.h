/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "Did you mean …?": the nearest of a stream of known names to one that was mistyped. Names are
 * offered one by one; the result must not outlive them. Any thread, no allocation.
 */
#ifndef LEADLINE_SUGGEST_H
#define LEADLINE_SUGGEST_H

struct suggestion {
	const char *wanted; /* what was typed */
	const char *best; /* nearest so far, NULL when nothing is near enough */
	unsigned distance;
};

void suggestion_start(struct suggestion *suggestion, const char *wanted);
void suggestion_offer(struct suggestion *suggestion, const char *name);

#endif
