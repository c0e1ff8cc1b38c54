// SPDX-License-Identifier: Apache-2.0
/*
 * MySQL and MariaDB, client/server protocol 41. A call is a command with a response: a query, a statement prepared, executed
 * or fetched from, a ping. Its operation and target come from the text of the query; those of a statement that is executed
 * from the text it was prepared with. Of parameters and rows nothing is read.
 *
 * What is not followed: connections that go on with TLS or compressed, and streams of a replication.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "probes/protocols/mysql_connection.h"
#include "probes/protocols/sql_memo.h"

#define MAX_TEXT 2048 /* bytes of a query that are looked at */
/* Before the text when the client may send attributes with it: how many, and a one. */
#define NO_ATTRIBUTES_SIZE 2
#define SSL_REQUEST_LENGTH 32
#define LOGIN_LOOKED_AT	   8

_Static_assert(sizeof(struct mysql_connection) + 2 * PROTOCOL_STREAM_MAX +
			       MYSQL_MAX_STATEMENTS * sizeof(struct mysql_statement) <=
		       PROTOCOL_MAX_STATE,
	       "a connection keeps within its bound");

/* Commands without a text of their own. Those without a name are not sent to servers, or start a replication. */
static const char *const names[] = {
	[MYSQL_INIT_DB] = "USE",
	[MYSQL_FIELD_LIST] = "FIELD_LIST",
	[0x05] = "CREATE_DB",
	[0x06] = "DROP_DB",
	[0x07] = "REFRESH",
	[0x08] = "SHUTDOWN",
	[MYSQL_STATISTICS] = "STATISTICS",
	[MYSQL_PROCESS_INFO] = "PROCESS_INFO",
	[0x0c] = "PROCESS_KILL",
	[0x0d] = "DEBUG",
	[MYSQL_PING] = "PING",
	[MYSQL_CHANGE_USER] = "CHANGE_USER",
	[MYSQL_STMT_PREPARE] = "PREPARE",
	[MYSQL_STMT_RESET] = "RESET",
	[0x1b] = "SET_OPTION",
	[MYSQL_STMT_FETCH] = "FETCH",
	[MYSQL_RESET_CONNECTION] = "RESET_CONNECTION",
};

static void client_lose(struct mysql_connection *connection)
{
	connection->was_lost = connection->is_doubtful = true;
	connection->client.phase = MYSQL_SEARCHING;
	connection->client.goes_on = false;
	connection->client.sends_file = false;
}

static void *mysql_open(bool midway)
{
	struct mysql_connection *connection = calloc(1, sizeof(*connection));

	if (!connection)
		return NULL;
	if (midway) {
		client_lose(connection);
		mysql_server_lose(connection, true);
	}
	return connection;
}

static void mysql_close(void *context)
{
	struct mysql_connection *connection = context;

	if (!connection)
		return;
	protocol_stream_reset(&connection->client.stream);
	protocol_stream_reset(&connection->server.stream);
	mysql_statements_clear(&connection->statements);
	free(connection);
}

void mysql_stop(struct mysql_connection *connection, enum protocol_unparsed reason)
{
	protocol_abandon(connection->calls);
	connection->n = 0;
	connection->is_stopped = true;
	mysql_statements_clear(&connection->statements);
	protocol_stop(connection->calls, reason);
}

/* ---- names ---- */

static void summarize(struct mysql_connection *connection, struct sql_summary *summary,
		      const struct mysql_packet *packet)
{
	const char *text = (const char *)packet->bytes + 1;
	size_t size = packet->n - 1;

	/* No text begins with what counts attributes; where there are some, it is behind their values. */
	if (size >= NO_ATTRIBUTES_SIZE && !text[0] && text[1] == 1) {
		text += NO_ATTRIBUTES_SIZE;
		size -= NO_ATTRIBUTES_SIZE;
	} else if (size && (uint8_t)text[0] < ' ' && text[0] != '\t' && text[0] != '\n' &&
		   text[0] != '\r') {
		*summary = (struct sql_summary){ 0 };
		return;
	}
	sql_memo_summarize(protocol_sql_memo(connection->calls), summary, text, size,
			   packet->n == packet->length, SQL_MYSQL);
}

/* "SELECT users", of which the operation is SELECT, or with a verb before it, which is the operation then. */
static void name_by_text(struct mysql_connection *connection, uint64_t key, const char *verb,
			 const char *operation, const char *text)
{
	char target[PROTOCOL_TEXT_SIZE];

	if (!verb) {
		protocol_name(connection->calls, key, operation, text);
		return;
	}
	/* cut, if it must be */
	if (snprintf(target, sizeof(target), *text ? "%s %s" : "%s", verb, text) < 0)
		return;
	protocol_name(connection->calls, key, verb, target);
}

static void name_by_statement(struct mysql_connection *connection, uint64_t key, const char *verb,
			      uint32_t id)
{
	const struct mysql_statement *statement;

	if (id == MYSQL_LAST_PREPARED) {
		name_by_text(connection, key, verb, connection->prepared.operation,
			     connection->prepared.text);
		return;
	}
	statement = mysql_statements_find(&connection->statements, id);
	name_by_text(connection, key, verb, statement ? statement->operation : "",
		     statement ? statement->text : "");
}

static void name_command(struct mysql_connection *connection, uint64_t key,
			 const struct mysql_packet *packet)
{
	uint8_t code = packet->bytes[0];
	uint32_t id = packet->n >= 5 ? mysql_number(packet->bytes + 1, 4) : 0;
	struct sql_summary summary;

	switch (code) {
	case MYSQL_QUERY:
		summarize(connection, &summary, packet);
		name_by_text(connection, key, NULL, summary.operation, summary.text);
		break;
	case MYSQL_STMT_PREPARE:
		sql_memo_summarize(protocol_sql_memo(connection->calls), &connection->prepared,
				   (const char *)packet->bytes + 1, packet->n - 1,
				   packet->n == packet->length, SQL_MYSQL);
		connection->preparing = key;
		name_by_text(connection, key, names[code], "", connection->prepared.text);
		break;
	case MYSQL_STMT_EXECUTE:
	case MYSQL_STMT_BULK_EXECUTE:
		name_by_statement(connection, key, NULL, id);
		break;
	case MYSQL_STMT_FETCH:
	case MYSQL_STMT_RESET:
		name_by_statement(connection, key, names[code], id);
		break;
	case MYSQL_CHANGE_USER:
	case MYSQL_RESET_CONNECTION:
		mysql_statements_clear(&connection->statements);
		protocol_name(connection->calls, key, names[code], names[code]);
		break;
	default:
		protocol_name(connection->calls, key, names[code], names[code]);
		break;
	}
}

/* ---- commands ---- */

static bool has_no_response(uint8_t code)
{
	return code == MYSQL_QUIT || code == MYSQL_STMT_CLOSE || code == MYSQL_STMT_SEND_LONG_DATA;
}

static bool is_replication(uint8_t code)
{
	return code == MYSQL_BINLOG_DUMP || code == MYSQL_TABLE_DUMP ||
	       code == MYSQL_BINLOG_DUMP_GTID;
}

static bool is_command(uint8_t code)
{
	return (code < sizeof(names) / sizeof(names[0]) && names[code]) || has_no_response(code) ||
	       is_replication(code) || code == 0x15 /* a replica registers */ ||
	       code == MYSQL_QUERY || code == MYSQL_STMT_EXECUTE || code == MYSQL_STMT_BULK_EXECUTE;
}

static void begin(struct mysql_connection *connection, const struct mysql_packet *packet,
		  uint64_t ns)
{
	uint8_t code = packet->bytes[0];
	struct mysql_command *command;

	mysql_server_settle(connection);
	if (code == MYSQL_STMT_CLOSE && packet->n >= 5)
		mysql_statements_drop(&connection->statements, mysql_number(packet->bytes + 1, 4));
	if (has_no_response(code) || connection->is_doubtful)
		return;
	connection->pipelines |= connection->n > 0;
	if (connection->pipelines && connection->was_lost) {
		mysql_stop(connection, PROTOCOL_MIDWAY);
		return;
	}
	if (connection->n == MYSQL_MAX_PIPELINED) {
		protocol_abandon(connection->calls);
		connection->n = 0;
		mysql_server_lose(connection, true);
		mysql_server_settle(connection);
	}
	command =
		&connection->commands[(connection->first + connection->n++) % MYSQL_MAX_PIPELINED];
	*command = (struct mysql_command){
		.key = ++connection->last_key,
		.code = code,
		.start_ns = ns,
		.is_long = packet->length == MYSQL_MAX_LENGTH,
	};
	protocol_begin(connection->calls, command->key, ns);
	name_command(connection, command->key, packet);
	protocol_count(connection->calls, command->key, MYSQL_HEADER_SIZE + packet->length, 0);
}

/* ---- reading ---- */

static bool give_up(struct mysql_connection *connection, enum protocol_unparsed reason)
{
	protocol_unparsed(connection->calls, reason,
			  protocol_stream_give_up(&connection->client.stream));
	client_lose(connection);
	return false;
}

static void skip_packet(struct mysql_client *client, uint32_t length)
{
	client->goes_on = length == MYSQL_MAX_LENGTH;
	protocol_stream_skip(&client->stream, MYSQL_HEADER_SIZE + length);
}

static bool step_command(struct mysql_connection *connection)
{
	struct mysql_client *client = &connection->client;
	uint64_t ns = protocol_stream_ns(&client->stream);
	struct mysql_packet packet;
	int err = mysql_packet_peek(&client->stream, MAX_TEXT, &packet);

	if (err == -EAGAIN)
		return false;
	if (err)
		return give_up(connection, PROTOCOL_TRUNCATED);
	if (client->sends_file) {
		client->sends_file = packet.length;
	} else if (!packet.number && !client->goes_on) {
		if (!packet.length)
			return give_up(connection, PROTOCOL_MALFORMED);
		if (!packet.n)
			return give_up(connection, PROTOCOL_TRUNCATED);
		if (!is_command(packet.bytes[0]))
			return give_up(connection, PROTOCOL_MALFORMED);
		if (is_replication(packet.bytes[0])) {
			mysql_stop(connection, PROTOCOL_MALFORMED);
			return false;
		}
		begin(connection, &packet, ns);
	}
	skip_packet(client, packet.length);
	return true;
}

/* Capabilities, as 16 bits of clients from before protocol 41. */
static bool step_login(struct mysql_connection *connection)
{
	struct mysql_client *client = &connection->client;
	struct mysql_packet packet;
	int err = mysql_packet_peek(&client->stream, LOGIN_LOOKED_AT, &packet);

	if (err == -EAGAIN)
		return false;
	if (err || packet.number != 1 || packet.n < 4)
		return give_up(connection, err ? PROTOCOL_TRUNCATED : PROTOCOL_MALFORMED);
	client->capabilities = mysql_number(packet.bytes, 4);
	if (!(client->capabilities & MYSQL_CLIENT_PROTOCOL_41))
		client->capabilities &= UINT16_MAX;
	if ((client->capabilities & MYSQL_CLIENT_SSL) && packet.length <= SSL_REQUEST_LENGTH) {
		mysql_stop(connection, PROTOCOL_ENCRYPTED);
		return false;
	}
	skip_packet(client, packet.length);
	client->phase = MYSQL_COMMANDS;
	return true;
}

/* Is this piece commands, up to its end? Some have one length only. */
static bool is_chain_of_commands(const struct protocol_piece *piece)
{
	uint64_t at = 0;

	while (at + MYSQL_HEADER_SIZE < piece->head_size) {
		const uint8_t *bytes = piece->head + at;
		uint32_t length = mysql_number(bytes, 3);
		uint8_t code = bytes[MYSQL_HEADER_SIZE];

		if (bytes[3] || !length || !is_command(code))
			return false;
		if ((code == MYSQL_PING || code == MYSQL_QUIT || code == MYSQL_RESET_CONNECTION) &&
		    length != 1)
			return false;
		if ((code == MYSQL_STMT_CLOSE || code == MYSQL_STMT_RESET) && length != 5)
			return false;
		at += MYSQL_HEADER_SIZE + length;
	}
	return at && at == piece->size;
}

static bool step_search(struct mysql_connection *connection)
{
	struct mysql_client *client = &connection->client;

	if (client->stream.at)
		return false;
	if (!is_chain_of_commands(client->stream.piece))
		return give_up(connection, PROTOCOL_MIDWAY);
	client->phase = MYSQL_COMMANDS;
	return true;
}

static bool step(struct mysql_connection *connection)
{
	switch (connection->client.phase) {
	case MYSQL_LOGIN:
		return step_login(connection);
	case MYSQL_COMMANDS:
		return step_command(connection);
	case MYSQL_SEARCHING:
		return step_search(connection);
	}
	return false;
}

static void client_feed(struct mysql_connection *connection, const struct protocol_piece *piece)
{
	struct mysql_client *client = &connection->client;

	protocol_stream_open(&client->stream, piece);
	while (!connection->is_stopped && step(connection))
		;
	if (connection->is_stopped)
		protocol_stream_give_up(&client->stream);
	if (protocol_stream_close(&client->stream))
		client_lose(connection);
}

static void mysql_feed(void *context, const struct protocol_piece *piece,
		       struct protocol_calls *calls)
{
	struct mysql_connection *connection = context;

	connection->calls = calls;
	if (piece->from_client)
		client_feed(connection, piece);
	else
		mysql_server_feed(connection, piece);
}

static void mysql_gap(void *context, bool from_client, struct protocol_calls *calls)
{
	struct mysql_connection *connection = context;

	connection->calls = calls;
	if (from_client) {
		protocol_stream_reset(&connection->client.stream);
		client_lose(connection);
	} else {
		protocol_stream_reset(&connection->server.stream);
		mysql_server_lose(connection, true);
	}
}

const struct protocol protocol_mysql = {
	.name = "mysql",
	.family = PROTOCOL_DATABASE,
	.open = mysql_open,
	.close = mysql_close,
	.feed = mysql_feed,
	.gap = mysql_gap,
};
