// SPDX-License-Identifier: Apache-2.0
/*
 * Tokens of SQL. PostgreSQL: "SQL Syntax", section 4.1 of its manual, with standard_conforming_strings; MySQL: "Language
 * Structure" of its manual, without ANSI_QUOTES and NO_BACKSLASH_ESCAPES. A server set otherwise may have literals
 * that end elsewhere; none becomes a name for that, as a name is taken only where a statement has one. Any thread.
 */
#include <stdint.h>
#include <string.h>
#include "probes/protocols/sql_tokens.h"

/* What a character may be part of. */
enum { BEGINS_WORD = 1, IN_WORD = 2, IN_NUMBER = 4, DIGIT = 8, SPACE = 16 };
#define LETTER (BEGINS_WORD | IN_WORD | IN_NUMBER)

static const uint8_t classes[UINT8_MAX + 1] = {
	['\t' ... '\r'] = SPACE,
	[' '] = SPACE,
	['$'] = IN_WORD | IN_NUMBER,
	['.'] = IN_NUMBER,
	['0' ... '9'] = IN_WORD | IN_NUMBER | DIGIT,
	['A' ... 'Z'] = LETTER,
	['_'] = LETTER,
	['a' ... 'z'] = LETTER,
	[0x80 ... 0xff] = LETTER,
};

static bool is_of(char c, unsigned class)
{
	return classes[(uint8_t)c] & class;
}

static bool is_digit(char c)
{
	return is_of(c, DIGIT);
}

static bool is_space(char c)
{
	return is_of(c, SPACE);
}

static size_t left(const struct sql_reader *reader)
{
	return reader->end - reader->at;
}

static bool is_at(const struct sql_reader *reader, const char *text)
{
	size_t size = strlen(text);

	return left(reader) >= size && !memcmp(reader->at, text, size);
}

/* ---- what is between tokens ---- */

static void skip_line(struct sql_reader *reader)
{
	const char *end = memchr(reader->at, '\n', left(reader));

	reader->at = end ? end + 1 : reader->end;
}

static void skip_comment(struct sql_reader *reader)
{
	unsigned depth = 0;

	do {
		if (is_at(reader, "*/")) {
			depth--;
			reader->at += 2;
		} else if (is_at(reader, "/*") && (!depth || reader->dialect == SQL_POSTGRESQL)) {
			depth++;
			reader->at += 2;
		} else {
			reader->at++;
		}
	} while (depth && reader->at < reader->end);
}

/* A comment whose text is executed: only its marks are skipped. Of MySQL, or of MariaDB alone. */
static bool skip_mark(struct sql_reader *reader)
{
	if (is_at(reader, "/*!"))
		reader->at += 3;
	else if (is_at(reader, "/*M!"))
		reader->at += 4;
	else if (is_at(reader, "*/"))
		reader->at += 2;
	else
		return false;
	while (left(reader) && is_digit(*reader->at)) /* the version that it is for */
		reader->at++;
	return true;
}

static void skip_space(struct sql_reader *reader)
{
	while (left(reader)) {
		if (is_space(*reader->at))
			reader->at++;
		else if (reader->dialect == SQL_MYSQL && skip_mark(reader))
			continue;
		else if (is_at(reader, "/*"))
			skip_comment(reader);
		else if (is_at(reader, "--") && (reader->dialect == SQL_POSTGRESQL ||
						 left(reader) == 2 || is_space(reader->at[2])))
			skip_line(reader);
		else if (*reader->at == '#' && reader->dialect == SQL_MYSQL)
			skip_line(reader);
		else
			return;
	}
}

/* ---- tokens ---- */

/* To after the closing quote; one that is doubled, or escaped, is part of the text. False: it is not closed. */
static bool read_quoted(struct sql_reader *reader, bool has_escapes)
{
	char quote = *reader->at++;

	while (left(reader)) {
		char c = *reader->at++;

		if (c == '\\' && has_escapes && left(reader)) {
			reader->at++;
		} else if (c == quote) {
			if (!left(reader) || *reader->at != quote)
				return true;
			reader->at++;
		}
	}
	return false;
}

/* $tag$ … $tag$; false: it is none. */
static bool read_dollar_quoted(struct sql_reader *reader)
{
	const char *tag = reader->at, *end = tag + 1;
	size_t size;

	while (end < reader->end && is_of(*end, IN_WORD) && *end != '$')
		end++;
	if (end == reader->end || *end != '$' || is_digit(tag[1]))
		return false;
	size = end + 1 - tag;
	reader->at += size;
	while (left(reader) >= size) {
		reader->at = memchr(reader->at, '$', left(reader));
		if (!reader->at || left(reader) < size)
			break;
		if (!memcmp(reader->at, tag, size)) {
			reader->at += size;
			return true;
		}
		reader->at++;
	}
	reader->at = reader->end;
	return true;
}

static void read_while(struct sql_reader *reader, unsigned class)
{
	while (left(reader) && is_of(*reader->at, class))
		reader->at++;
}

/* E'…' and the like: a letter and a string are one literal. */
static bool has_prefix(const struct sql_reader *reader)
{
	return left(reader) >= 2 && reader->at[1] == '\'' && strchr("eEbBxXnN", *reader->at);
}

static enum sql_token_kind read_word(struct sql_reader *reader)
{
	bool has_escapes = reader->dialect == SQL_MYSQL || (*reader->at | 0x20) == 'e';

	if (has_prefix(reader)) {
		reader->at++;
		read_quoted(reader, has_escapes);
		return SQL_LITERAL;
	}
	read_while(reader, IN_WORD);
	return SQL_WORD;
}

static enum sql_token_kind read_kind(struct sql_reader *reader)
{
	bool is_mysql = reader->dialect == SQL_MYSQL;
	char c = *reader->at;

	if (is_of(c, BEGINS_WORD))
		return read_word(reader);
	if (is_digit(c)) {
		read_while(reader, IN_NUMBER);
		return SQL_LITERAL;
	}
	if (c == '\'' || (c == '"' && is_mysql)) {
		read_quoted(reader, is_mysql);
		return SQL_LITERAL;
	}
	if (c == '"' || (c == '`' && is_mysql)) /* what is not closed may be anything */
		return read_quoted(reader, false) ? SQL_QUOTED : SQL_LITERAL;
	if (c == '$' && !is_mysql) {
		if (read_dollar_quoted(reader))
			return SQL_LITERAL;
		reader->at++;
		read_while(reader, DIGIT); /* $1 */
		return SQL_LITERAL;
	}
	reader->at++;
	return SQL_SIGN;
}

bool sql_is_value(const struct sql_reader *reader, struct sql_token token)
{
	char first = token.kind == SQL_LITERAL ? *token.text : '\0';

	return is_of(first, BEGINS_WORD | DIGIT) || first == '\'' ||
	       (first == '"' && reader->dialect == SQL_MYSQL);
}

bool sql_pass_value(struct sql_reader *reader, char first)
{
	if (!left(reader))
		return false;
	if (is_digit(first) ? !is_digit(*reader->at) : *reader->at != first)
		return false;
	if (is_of(first, BEGINS_WORD) && !has_prefix(reader))
		return false;
	read_kind(reader);
	return true;
}

struct sql_token sql_read(struct sql_reader *reader)
{
	struct sql_token token = { .kind = SQL_END };

	skip_space(reader);
	token.text = reader->at;
	if (left(reader))
		token.kind = read_kind(reader);
	token.size = reader->at - token.text;
	token.is_cut = !left(reader) && !reader->is_whole;
	return token;
}

struct sql_token sql_look(const struct sql_reader *reader)
{
	struct sql_reader copy = *reader;

	return sql_read(&copy);
}
