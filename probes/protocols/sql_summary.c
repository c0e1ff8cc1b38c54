// SPDX-License-Identifier: Apache-2.0
/*
 * The summary of a query, by OpenTelemetry's rules ("Generating a summary of the query" in its database conventions):
 * operations and their targets in the order they appear, tables of subqueries too, no literals. What a WITH names is no table,
 * nor is a function. Quotes around plain names are left out, so that a table is one series, however a client
 * writes it. Statements that repeat the one before are left out, so that the size of a batch makes no series. No grammar:
 * it knows after which words a table comes. No allocation; any thread.
 */
#include <string.h>
#include <strings.h>
#include "probes/protocols/sql_summary.h"
#include "probes/protocols/sql_words.h"

#define MAX_DEPTH 32 /* of parentheses; what is deeper is passed over */
#define MAX_NAMES 16 /* that WITH gives in one query */

/* ---- the text that comes of it ---- */

enum expected {
	EXPECT_NOTHING,
	EXPECT_TABLE, /* its name, a list in parentheses may follow */
	EXPECT_SOURCE, /* of rows: a table, or a function, or a subquery */
	EXPECT_THING,
	EXPECT_NAME, /* that WITH gives */
};

struct level { /* of parentheses */
	enum expected expected;
	bool is_query; /* FROM is about tables: not that of extract(year FROM day) */
	bool has_tables; /* in a list of them */
	bool is_with; /* among the names that WITH gives */
	bool takes_change; /* INSERT and the like are operations here, not names */
	bool takes_with; /* WITH is not that of an option */
	bool takes_using; /* it names a table */
	bool is_over; /* nothing of interest follows */
};

struct parser {
	struct sql_reader reader;
	struct sql_summary *summary;
	const char *text;
	struct sql_values *values; /* NULL: not wanted */
	size_t size; /* of the summary's text */
	size_t part,
		part_before; /* where in it begin an operation with its targets, and the one before */
	bool is_full;
	bool at_start; /* of a statement */
	bool after_open; /* parenthesis */
	bool after_distinct;
	struct level levels[MAX_DEPTH];
	unsigned depth;
	unsigned too_deep;
	struct sql_token names[MAX_NAMES];
	unsigned n_names;
};

/* Whole, or not at all and nothing after it. */
static void add(struct parser *parser, const char *text, size_t size)
{
	char *to = parser->summary->text + parser->size;

	parser->is_full |= parser->size + 1 + size >= PROTOCOL_TEXT_SIZE;
	if (parser->is_full)
		return;
	memcpy(to, text, size);
	to[size] = ' ';
	to[size + 1] = '\0';
	parser->size += size + 1;
}

/* An operation with its targets that is as the one before is left out. */
static void end_part(struct parser *parser)
{
	char *text = parser->summary->text;
	size_t before = parser->part - parser->part_before;

	if (before && parser->size - parser->part == before &&
	    !memcmp(text + parser->part_before, text + parser->part, before)) {
		parser->size = parser->part;
		text[parser->size] = '\0';
	} else if (parser->size > parser->part) {
		parser->part_before = parser->part;
		parser->part = parser->size;
	}
}

static void add_operation(struct parser *parser, const char *operation)
{
	char *first = parser->summary->operation;
	size_t size = strlen(operation);

	if (!*first) /* they are short, all of them constants */
		memcpy(first, operation, size + 1);
	end_part(parser);
	add(parser, operation, size);
}

/* ---- names ---- */

struct name {
	char text[PROTOCOL_TEXT_SIZE];
	size_t size;
	bool is_cut, is_long;
};

/* Without quotes, if it could be written without. */
static void name_add(struct name *name, struct sql_token token)
{
	bool is_plain = token.kind == SQL_QUOTED && token.size > 2;

	for (size_t i = 1; is_plain && i + 1 < token.size; i++)
		is_plain = (token.text[i] >= 'a' && token.text[i] <= 'z') ||
			   (token.text[i] >= 'A' && token.text[i] <= 'Z') ||
			   (token.text[i] >= '0' && token.text[i] <= '9') || token.text[i] == '_';
	if (is_plain) {
		token.text++;
		token.size -= 2;
	}
	name->is_cut |= memchr(token.text, '\0', token.size) != NULL;
	name->is_long |= name->size + token.size > sizeof(name->text);
	if (name->is_long)
		return;
	memcpy(name->text + name->size, token.text, token.size);
	name->size += token.size;
}

static bool is_name(struct sql_token token)
{
	return token.kind == SQL_WORD || token.kind == SQL_QUOTED;
}

/* schema.table, of which the first part has been read. */
static struct name name_read(struct parser *parser, struct sql_token first, unsigned *ret_parts)
{
	struct sql_reader *reader = &parser->reader;
	struct name name = { .is_cut = first.is_cut };
	struct sql_token dot;

	*ret_parts = 1;
	name_add(&name, first);
	while (dot = sql_look(reader), sql_is_sign(dot, '.')) {
		struct sql_token token;

		sql_read(reader);
		token = sql_look(reader);
		name.is_cut |= dot.is_cut || token.is_cut || token.kind == SQL_END;
		if (!is_name(token))
			break;
		sql_read(reader);
		name_add(&name, dot);
		name_add(&name, token);
		++*ret_parts;
	}
	return name;
}

static bool is_given_by_with(const struct parser *parser, struct sql_token token)
{
	for (unsigned i = 0; i < parser->n_names; i++)
		if (parser->names[i].size == token.size &&
		    !strncasecmp(parser->names[i].text, token.text, token.size))
			return true;
	return false;
}

static void take_target(struct parser *parser, struct level *level, struct sql_token token)
{
	unsigned parts;
	struct name name = name_read(parser, token, &parts);
	bool is_function =
		level->expected == EXPECT_SOURCE && sql_is_sign(sql_look(&parser->reader), '(');

	level->expected = EXPECT_NOTHING;
	if (is_function || name.is_cut || (parts == 1 && is_given_by_with(parser, token)))
		return;
	parser->is_full |= name.is_long;
	add(parser, name.text, name.size);
}

/* ---- words, where they stand ---- */

/* TEMP is none in INSERT INTO temp VALUES, but is in SELECT 1 INTO TEMP numbers. */
static bool is_filler(const struct parser *parser, const struct level *level,
		      const struct sql_word *word)
{
	struct sql_token next;
	const struct sql_word *known;

	if (word->role == WORD_ONLY || word->role == WORD_INTO)
		return true;
	if (word->role != WORD_FILLER || level->expected != EXPECT_TABLE)
		return false;
	next = sql_look(&parser->reader);
	known = sql_word_find(next);
	return is_name(next) && (!known || known->role == WORD_FILLER || known->role == WORD_ONLY);
}

/* One of those that go on with the statement where a name is missing. */
static bool is_structure(const struct sql_word *word)
{
	return word->role >= WORD_SELECT && word->role <= WORD_SET;
}

/* True: the word was what was expected. */
static bool take_expected(struct parser *parser, struct level *level, struct sql_token token,
			  const struct sql_word *word)
{
	const char *thing;

	switch (level->expected) {
	case EXPECT_NOTHING:
		return false;
	case EXPECT_THING:
		thing = sql_thing_find(token);
		if (thing) {
			add(parser, thing, strlen(thing));
			level->expected = EXPECT_TABLE;
		}
		return true;
	case EXPECT_NAME:
		if (sql_is_word(token, "RECURSIVE"))
			return true;
		if (parser->n_names < MAX_NAMES)
			parser->names[parser->n_names++] = token;
		level->expected = EXPECT_NOTHING;
		return true;
	case EXPECT_TABLE:
	case EXPECT_SOURCE:
		if (word && is_filler(parser, level, word))
			return true;
		if (word && is_structure(word)) {
			level->expected = EXPECT_NOTHING;
			return false;
		}
		take_target(parser, level, token);
		return true;
	}
	return false;
}

static void begin_query(struct level *level)
{
	level->is_query = true;
	level->is_with = false;
	level->has_tables = false;
	level->takes_change = false;
	level->takes_with = false;
}

static void take_change(struct parser *parser, struct level *level, const struct sql_word *word)
{
	add_operation(parser, word->text);
	begin_query(level);
	level->takes_with = true;
	/* UPDATE has a list of them in MySQL */
	level->has_tables = !strcmp(word->text, "UPDATE");
	level->is_query = level->has_tables;
	level->takes_using = !strcmp(word->text, "MERGE");
	level->expected = level->has_tables ? EXPECT_SOURCE : EXPECT_TABLE;
}

/* True: the word is an operation that only a statement begins with. */
static bool take_command(struct parser *parser, struct level *level, const struct sql_word *word)
{
	switch (word->role) {
	case WORD_COMMAND:
	case WORD_SET:
		add_operation(parser, word->text);
		level->is_over = true;
		return true;
	case WORD_COMMAND_TABLE:
		add_operation(parser, word->text);
		level->expected = EXPECT_TABLE;
		level->has_tables = true;
		level->takes_change = true;
		return true;
	case WORD_DEFINE:
		add_operation(parser, word->text);
		level->expected = EXPECT_THING;
		level->takes_with = true;
		return true;
	case WORD_PREFIX:
		add_operation(parser, word->text);
		level->is_query = true;
		level->takes_change = true;
		level->takes_with = true;
		return true;
	default:
		return false;
	}
}

static void take_keyword(struct parser *parser, struct level *level, const struct sql_word *word,
			 bool begins, bool after_distinct)
{
	switch (word->role) {
	case WORD_SELECT:
		add_operation(parser, word->text);
		begin_query(level);
		break;
	case WORD_CHANGE:
		if (begins || level->takes_change)
			take_change(parser, level, word);
		break;
	case WORD_DELETE:
		if (begins || level->takes_change) {
			add_operation(parser, word->text);
			begin_query(level);
			level->takes_using = true;
		}
		break;
	case WORD_WITH:
		if (begins || level->takes_with) {
			level->is_with = true;
			level->takes_change = true;
			level->expected = EXPECT_NAME;
		}
		break;
	case WORD_FROM:
		if (level->is_query && !after_distinct) {
			level->has_tables = true;
			level->expected = EXPECT_SOURCE;
		}
		break;
	case WORD_JOIN:
		if (level->has_tables)
			level->expected = EXPECT_SOURCE;
		break;
	case WORD_INTO:
		if (level->is_query)
			level->expected = EXPECT_TABLE;
		break;
	case WORD_USING:
		if (level->takes_using) {
			level->has_tables = true;
			level->expected = EXPECT_SOURCE;
		}
		break;
	case WORD_ENDS_TABLES:
	case WORD_SET:
		level->has_tables = false;
		break;
	default:
		break;
	}
}

static void take_word(struct parser *parser, struct sql_token token)
{
	struct level *level = &parser->levels[parser->depth];
	const struct sql_word *word = sql_word_find(token);
	bool starts = parser->at_start;
	bool begins = starts || (parser->after_open && parser->depth &&
				 (level[-1].is_with || (word && word->role == WORD_WITH)));
	bool after_distinct = parser->after_distinct;

	parser->at_start = false;
	parser->after_open = false;
	parser->after_distinct = sql_is_word(token, "DISTINCT");
	if (level->is_over || take_expected(parser, level, token, word))
		return;
	if (starts && word && take_command(parser, level, word))
		return;
	if (word)
		take_keyword(parser, level, word, begins, after_distinct);
	if (starts && !*parser->summary->operation && !token.is_cut &&
	    (!word || word->role != WORD_WITH))
		add_operation(parser, "_OTHER");
}

/* ---- signs ---- */

static void open_level(struct parser *parser)
{
	struct level *level = &parser->levels[parser->depth];
	bool has_tables = level->expected == EXPECT_SOURCE;

	if (parser->too_deep || parser->depth + 1 == MAX_DEPTH) {
		parser->too_deep++;
		return;
	}
	/* options come before the table in VACUUM (FULL) orders */
	if (level->expected != EXPECT_TABLE)
		level->expected = EXPECT_NOTHING;
	level++;
	parser->depth++;
	*level = (struct level){
		.expected = has_tables ? EXPECT_SOURCE : EXPECT_NOTHING,
		.is_query = has_tables,
		.has_tables = has_tables,
	};
	parser->after_open = true;
}

static void close_level(struct parser *parser)
{
	if (parser->too_deep)
		parser->too_deep--;
	else if (parser->depth)
		parser->depth--;
}

static void begin_statement(struct parser *parser)
{
	parser->depth = 0;
	parser->too_deep = 0;
	parser->n_names = 0;
	parser->at_start = true;
	parser->levels[0] = (struct level){ 0 };
}

static void take_sign(struct parser *parser, char sign)
{
	struct level *level = &parser->levels[parser->depth];

	parser->after_distinct = false;
	/* a statement may begin within parentheses */
	parser->at_start &= sign == '(';
	parser->after_open = false;
	switch (sign) {
	case ';':
		begin_statement(parser);
		break;
	case '(':
		open_level(parser);
		break;
	case ')':
		close_level(parser);
		break;
	case ',':
		if (parser->too_deep)
			break;
		level->expected = level->is_with      ? EXPECT_NAME
				  : level->has_tables ? EXPECT_SOURCE
						      : EXPECT_NOTHING;
		break;
	case '.': /* what comes next is part of a name */
		if (is_name(sql_look(&parser->reader)))
			sql_read(&parser->reader);
		break;
	default:
		if (level->expected != EXPECT_THING)
			level->expected = EXPECT_NOTHING;
		break;
	}
}

static void take_literal(struct parser *parser, struct sql_token token)
{
	struct sql_values *values = parser->values;
	struct level *level = &parser->levels[parser->depth];

	parser->at_start = false;
	parser->after_open = false;
	if (level->expected != EXPECT_THING)
		level->expected = EXPECT_NOTHING;
	if (!values || !sql_is_value(&parser->reader, token))
		return;
	if (values->n < values->max)
		values->values[values->n] = (struct sql_value){
			.at = token.text - parser->text,
			.size = token.size,
		};
	values->n++;
}

void sql_summarize_values(struct sql_summary *summary, const char *text, size_t size, bool is_whole,
			  enum sql_dialect dialect, struct sql_values *ret_values)
{
	struct parser parser = {
		.reader = { text, text + size, is_whole, dialect },
		.summary = summary,
		.text = text,
		.values = ret_values,
	};
	struct sql_token token;

	*summary->operation = '\0';
	*summary->text = '\0';
	begin_statement(&parser);
	while (token = sql_read(&parser.reader), token.kind != SQL_END) {
		switch (token.kind) {
		case SQL_SIGN:
			take_sign(&parser, *token.text);
			break;
		case SQL_WORD:
		case SQL_QUOTED:
			if (!parser.too_deep)
				take_word(&parser, token);
			break;
		default:
			take_literal(&parser, token);
			break;
		}
	}
	end_part(&parser);
	if (parser.size)
		summary->text[parser.size - 1] = '\0';
}

void sql_summarize(struct sql_summary *summary, const char *text, size_t size, bool is_whole,
		   enum sql_dialect dialect)
{
	sql_summarize_values(summary, text, size, is_whole, dialect, NULL);
}
