/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routes from paths: "/users/4711/orders?page=2" is "/users/{id}/orders". Two steps. path_template() looks at one path only and
 * folds what looks like a value: numbers, dates, uuids, hashes, tokens, addresses. What looks like a word may be a
 * value still (a user's name, the title of an article): struct path_table remembers the templates of one service, and beyond
 * its bounds a segment becomes "{other}", a template "/{rest}". Both are pure: no clock, no log, no global. Any
 * thread, a table one at a time.
 */
#ifndef LEADLINE_PATH_TEMPLATE_H
#define LEADLINE_PATH_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

#define PATH_TEMPLATE_SIZE     96 /* with the NUL */
#define PATH_TEMPLATE_SEGMENTS 8 /* those beyond are one "/{rest}" */

/*
 * The template of a request's target: a path, an absolute URL, or "*". Query, fragment and path parameters are dropped, so
 * are empty segments. "" when it is none of these, as an authority in CONNECT. Printable ASCII in any case.
 */
void path_template(const char *target, size_t size, char ret_template[PATH_TEMPLATE_SIZE]);

/* A request's target, or the beginning of it. */
struct path_target {
	const char *text;
	size_t size;
	bool is_cut;
};
/* The one in a request line of which so many bytes are there, and perhaps some that follow it. */
struct path_target path_target_of_line(const char *line, size_t size);
/* As path_template(); of a path that was cut the last segment is not known, and is "/{rest}". */
void path_template_of(const struct path_target *target, char ret_template[PATH_TEMPLATE_SIZE]);

/* The templates of one service. */
struct path_table;

/* NULL: no memory. At most so many templates are kept apart, and so many different segments in one place. */
struct path_table *path_table_create(unsigned max_templates, unsigned max_segments);
void path_table_destroy(struct path_table *table); /* NULL is fine */

/*
 * What to call a template: itself, or with "{other}" and "/{rest}" in it when there is no room. A template keeps its name once
 * it has one, so that series do not change. may_add: false finds only; for answers that say there is no such
 * path (404), or a scanner fills the table. Templates of path_template() only.
 */
void path_table_find(struct path_table *table, const char *template, bool may_add,
		     char ret_name[PATH_TEMPLATE_SIZE]);

/* Different names it has given so far, but for "/{rest}". */
unsigned path_table_templates(const struct path_table *table);
/* Bytes it takes, about. */
size_t path_table_size(const struct path_table *table);

#endif
