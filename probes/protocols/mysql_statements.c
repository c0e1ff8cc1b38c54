// SPDX-License-Identifier: Apache-2.0
/* Prepared statements of a connection, by the number the server gave them. */
#include <stdio.h>
#include <stdlib.h>
#include "probes/protocols/mysql_connection.h"

#define FIRST_ROOM 4

static struct mysql_statement *find(const struct mysql_statements *statements, uint32_t id)
{
	/* what was prepared last is used most */
	for (unsigned i = statements->n; i-- > 0;)
		if (statements->statements[i].id == id)
			return &statements->statements[i];
	return NULL;
}

const struct mysql_statement *mysql_statements_find(const struct mysql_statements *statements,
						    uint32_t id)
{
	return find(statements, id);
}

static struct mysql_statement *add(struct mysql_statements *statements)
{
	struct mysql_statement *grown;
	unsigned room = statements->room ? statements->room * 2 : FIRST_ROOM;

	if (statements->n == MYSQL_MAX_STATEMENTS) {
		statements->next_to_go = (statements->next_to_go + 1) % MYSQL_MAX_STATEMENTS;
		return &statements->statements[statements->next_to_go];
	}
	if (statements->n == statements->room) {
		grown = reallocarray(statements->statements, room, sizeof(*grown));
		if (!grown)
			return NULL;
		statements->statements = grown;
		statements->room = room;
	}
	return &statements->statements[statements->n++];
}

void mysql_statements_keep(struct mysql_statements *statements, uint32_t id,
			   const struct sql_summary *summary)
{
	struct mysql_statement *statement = find(statements, id);

	if (!statement)
		statement = add(statements);
	if (!statement)
		return;
	statement->id = id;
	snprintf(statement->operation, sizeof(statement->operation), "%s", summary->operation);
	snprintf(statement->text, sizeof(statement->text), "%s", summary->text);
}

void mysql_statements_drop(struct mysql_statements *statements, uint32_t id)
{
	struct mysql_statement *statement = find(statements, id);

	if (statement)
		*statement = statements->statements[--statements->n];
}

void mysql_statements_clear(struct mysql_statements *statements)
{
	free(statements->statements);
	*statements = (struct mysql_statements){ 0 };
}
