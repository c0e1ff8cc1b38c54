/* SPDX-License-Identifier: Apache-2.0 */
/* The answer of GET /requests as text: requests_print.c for requests.c. Any thread. */
#ifndef LEADLINE_CLI_REQUESTS_H
#define LEADLINE_CLI_REQUESTS_H

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>

/* Where it is printed: rows: at most so many lines, columns: of so many characters; 0: any. */
struct requests_screen {
	FILE *out;
	size_t rows, columns;
};

/* The table of services and routes, the busiest first. */
void requests_print_routes(const json_t *page, const struct requests_screen *screen);
/* The slow ones, and below each where its time went. */
void requests_print_slow(const json_t *page, const struct requests_screen *screen);

/* "18ms", "1.25s", "340us". Returns out. */
const char *requests_show_seconds(double seconds, char out[16]);

#endif
