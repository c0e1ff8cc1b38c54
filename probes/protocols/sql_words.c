// SPDX-License-Identifier: Apache-2.0
/* The words of SQL that say where a statement names a table. Constants; any thread. */
#include <stdint.h>
#include "probes/protocols/sql_words.h"

/* Sorted. */
static const struct sql_word words[] = {
	{ "ABORT", WORD_COMMAND },
	{ "ALTER", WORD_DEFINE },
	{ "ANALYZE", WORD_COMMAND_TABLE },
	{ "AS", WORD_AS },
	{ "BEGIN", WORD_COMMAND },
	{ "CALL", WORD_COMMAND_TABLE },
	{ "CHANGE", WORD_COMMAND },
	{ "CHECK", WORD_COMMAND_TABLE },
	{ "CHECKPOINT", WORD_COMMAND },
	{ "CLOSE", WORD_COMMAND },
	{ "CLUSTER", WORD_COMMAND_TABLE },
	{ "COMMENT", WORD_COMMAND },
	{ "COMMIT", WORD_COMMAND },
	{ "CONCURRENTLY", WORD_FILLER },
	{ "COPY", WORD_COMMAND_TABLE },
	{ "CREATE", WORD_DEFINE },
	{ "DATABASE", WORD_FILLER },
	{ "DEALLOCATE", WORD_COMMAND },
	{ "DECLARE", WORD_PREFIX },
	{ "DELAYED", WORD_FILLER },
	{ "DELETE", WORD_DELETE },
	{ "DESC", WORD_PREFIX },
	{ "DESCRIBE", WORD_PREFIX },
	{ "DISCARD", WORD_COMMAND },
	{ "DO", WORD_COMMAND },
	{ "DROP", WORD_DEFINE },
	{ "DUMPFILE", WORD_ENDS_TABLES },
	{ "END", WORD_COMMAND },
	{ "EXCEPT", WORD_ENDS_TABLES },
	{ "EXECUTE", WORD_COMMAND },
	{ "EXISTS", WORD_FILLER },
	{ "EXPLAIN", WORD_PREFIX },
	{ "FETCH", WORD_COMMAND },
	{ "FLUSH", WORD_COMMAND },
	{ "FOR", WORD_ENDS_TABLES },
	{ "FREEZE", WORD_FILLER },
	{ "FROM", WORD_FROM },
	{ "FULL", WORD_FILLER },
	{ "GRANT", WORD_COMMAND },
	{ "GROUP", WORD_ENDS_TABLES },
	{ "HANDLER", WORD_COMMAND },
	{ "HAVING", WORD_ENDS_TABLES },
	{ "HELP", WORD_COMMAND },
	{ "HIGH_PRIORITY", WORD_FILLER },
	{ "IF", WORD_FILLER },
	{ "IGNORE", WORD_ONLY },
	{ "INDEX", WORD_FILLER },
	{ "INSERT", WORD_CHANGE },
	{ "INTERSECT", WORD_ENDS_TABLES },
	{ "INTO", WORD_INTO },
	{ "JOIN", WORD_JOIN },
	{ "KILL", WORD_COMMAND },
	{ "LATERAL", WORD_ONLY },
	{ "LIMIT", WORD_ENDS_TABLES },
	{ "LISTEN", WORD_COMMAND },
	{ "LOAD", WORD_PREFIX },
	{ "LOCK", WORD_COMMAND_TABLE },
	{ "LOW_PRIORITY", WORD_ONLY },
	{ "MATERIALIZED", WORD_FILLER },
	{ "MERGE", WORD_CHANGE },
	{ "MOVE", WORD_COMMAND },
	{ "NOT", WORD_FILLER },
	{ "NOTIFY", WORD_COMMAND },
	{ "OFFSET", WORD_ENDS_TABLES },
	{ "ON", WORD_FILLER },
	{ "ONLY", WORD_ONLY },
	{ "OPTIMIZE", WORD_COMMAND_TABLE },
	{ "ORDER", WORD_ENDS_TABLES },
	{ "OUTFILE", WORD_ENDS_TABLES },
	{ "OVERWRITE", WORD_FILLER },
	{ "PREPARE", WORD_PREFIX },
	{ "PURGE", WORD_COMMAND },
	{ "QUICK", WORD_FILLER },
	{ "REASSIGN", WORD_COMMAND },
	{ "REFRESH", WORD_COMMAND_TABLE },
	{ "REINDEX", WORD_COMMAND_TABLE },
	{ "RELEASE", WORD_COMMAND },
	{ "RENAME", WORD_COMMAND },
	{ "REPAIR", WORD_COMMAND_TABLE },
	{ "REPLACE", WORD_CHANGE },
	{ "RESET", WORD_COMMAND },
	{ "RETURNING", WORD_ENDS_TABLES },
	{ "REVOKE", WORD_COMMAND },
	{ "ROLLBACK", WORD_COMMAND },
	{ "SAVEPOINT", WORD_COMMAND },
	{ "SCHEMA", WORD_FILLER },
	{ "SECURITY", WORD_COMMAND },
	{ "SELECT", WORD_SELECT },
	{ "SET", WORD_SET },
	{ "SHOW", WORD_COMMAND },
	{ "SIGNAL", WORD_COMMAND },
	{ "START", WORD_COMMAND },
	{ "STOP", WORD_COMMAND },
	{ "STRAIGHT_JOIN", WORD_JOIN },
	{ "SYSTEM", WORD_FILLER },
	{ "TABLE", WORD_FILLER },
	{ "TABLES", WORD_FILLER },
	{ "TEMP", WORD_FILLER },
	{ "TEMPORARY", WORD_FILLER },
	{ "TO", WORD_ENDS_TABLES },
	{ "TRUNCATE", WORD_COMMAND_TABLE },
	{ "UNION", WORD_ENDS_TABLES },
	{ "UNLISTEN", WORD_COMMAND },
	{ "UNLOCK", WORD_COMMAND },
	{ "UNLOGGED", WORD_FILLER },
	{ "UPDATE", WORD_CHANGE },
	{ "USE", WORD_COMMAND },
	{ "USING", WORD_USING },
	{ "VACUUM", WORD_COMMAND_TABLE },
	{ "VALUES", WORD_SET },
	{ "VERBOSE", WORD_FILLER },
	{ "VIEW", WORD_FILLER },
	{ "WHERE", WORD_ENDS_TABLES },
	{ "WINDOW", WORD_ENDS_TABLES },
	{ "WITH", WORD_WITH },
	{ "XA", WORD_COMMAND },
};

/* What CREATE, ALTER and DROP can be about; the words before it say how. */
static const char *const things[] = {
	"AGGREGATE", "CAST",	   "COLLATION",	   "CONVERSION", "DATABASE",   "DOMAIN",
	"EVENT",     "EXTENSION",  "FUNCTION",	   "INDEX",	 "LANGUAGE",   "OPERATOR",
	"POLICY",    "PROCEDURE",  "ROLE",	   "RULE",	 "SCHEMA",     "SEQUENCE",
	"SERVER",    "STATISTICS", "SUBSCRIPTION", "TABLE",	 "TABLESPACE", "TRIGGER",
	"TYPE",	     "USER",	   "VIEW",
};

/* As strcmp() of the token in upper case; mostly the first letter tells. */
static inline int word_compare(struct sql_token token, const char *text)
{
	for (size_t i = 0; i < token.size; i++) {
		uint8_t c = token.text[i], of_text = text[i];

		if (c >= 'a' && c <= 'z')
			c -= 'a' - 'A';
		if (c != of_text)
			return c < of_text ? -1 : 1;
	}
	return -(text[token.size] != '\0');
}

const struct sql_word *sql_word_find(struct sql_token token)
{
	size_t low = 0, high = sizeof(words) / sizeof(words[0]);

	if (token.kind != SQL_WORD)
		return NULL;
	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = word_compare(token, words[middle].text);

		if (!order)
			return &words[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

const char *sql_thing_find(struct sql_token token)
{
	for (size_t i = 0; i < sizeof(things) / sizeof(things[0]); i++)
		if (token.kind == SQL_WORD && !word_compare(token, things[i]))
			return things[i];
	return NULL;
}

bool sql_is_word(struct sql_token token, const char *text)
{
	return token.kind == SQL_WORD && !word_compare(token, text);
}
