/* SPDX-License-Identifier: Apache-2.0 */
/* The words of SQL that say where a statement names a table; for sql_summary.c. Any thread. */
#ifndef LEADLINE_SQL_WORDS_H
#define LEADLINE_SQL_WORDS_H

#include "probes/protocols/sql_tokens.h"

enum sql_word_role {
	WORD_NONE,
	WORD_AS,
	WORD_COMMAND, /* an operation at the beginning of a statement, nothing else of it matters */
	WORD_COMMAND_TABLE, /* the same, and a table comes next */
	WORD_DEFINE, /* CREATE and the like: the kind of thing comes next, then its name */
	WORD_PREFIX, /* a statement follows that is of interest, too */
	WORD_SELECT,
	WORD_CHANGE, /* INSERT and the like: a table comes next */
	WORD_DELETE,
	WORD_WITH,
	WORD_FROM,
	WORD_JOIN,
	WORD_INTO,
	WORD_USING,
	WORD_ENDS_TABLES, /* no more tables before the next FROM or JOIN */
	WORD_SET, /* the same, and an operation at the beginning of a statement */
	WORD_FILLER, /* may stand between an operation and its table, and may be the name of that */
	WORD_ONLY, /* may stand before any table */
};

struct sql_word {
	const char *text; /* upper case */
	enum sql_word_role role;
};

/* In either case. NULL: it is none of them. */
const struct sql_word *sql_word_find(struct sql_token token);
/* What CREATE, ALTER and DROP are about: "TABLE"; or NULL. */
const char *sql_thing_find(struct sql_token token);
bool sql_is_word(struct sql_token token, const char *text);

#endif
