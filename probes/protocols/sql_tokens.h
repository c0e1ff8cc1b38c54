/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQL text as tokens, in the lexical rules of either database: what is a comment, a literal, a name. Any bytes are
 * fine, and so is a text that ends anywhere. Owns nothing; any thread.
 */
#ifndef LEADLINE_SQL_TOKENS_H
#define LEADLINE_SQL_TOKENS_H

#include <stdbool.h>
#include <stddef.h>

enum sql_dialect {
	SQL_POSTGRESQL, /* "name", $tag$…$tag$, E'…\'…', nested comments */
	SQL_MYSQL, /* `name`, "literal", '…\'…', # comments, comments that are executed */
};

enum sql_token_kind {
	SQL_END,
	SQL_WORD, /* a keyword or a name */
	SQL_QUOTED, /* a name, with its quotes */
	SQL_LITERAL, /* a string, a number, a parameter */
	SQL_SIGN, /* one character */
};

struct sql_token {
	enum sql_token_kind kind;
	const char *text;
	size_t size;
	bool is_cut; /* the text ends here and is not whole: there may be more to it */
};

struct sql_reader {
	const char *at, *end;
	bool is_whole; /* false: the text goes on after its end */
	enum sql_dialect dialect;
};

struct sql_token sql_read(struct sql_reader *reader);
/* The next token, which is read again. */
struct sql_token sql_look(const struct sql_reader *reader);

/*
 * Values: numbers, and strings in quotes with or without a letter before. They are the literals that another may stand in
 * place of. "First" is the first character of one: a digit, a quote or that letter.
 */
bool sql_is_value(const struct sql_reader *reader, struct sql_token token);
/* Goes on behind the value at the position. False: there is none that begins so, all digits being alike. */
bool sql_pass_value(struct sql_reader *reader, char first);

static inline bool sql_is_sign(struct sql_token token, char sign)
{
	return token.kind == SQL_SIGN && *token.text == sign;
}

#endif
