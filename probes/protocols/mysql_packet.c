// SPDX-License-Identifier: Apache-2.0
/*
 * What a packet of a MySQL or MariaDB server is. It can be told from its first bytes and what came before it, whatever capabilities were
 * agreed on, so a connection can be joined midway. Sources: "Client/Server Protocol" in MariaDB's knowledge base, and MySQL's
 * internals manual.
 */
#include <string.h>
#include "probes/protocols/mysql_connection.h"

#define LOCAL_FILE	0xfb /* first byte: the client is to send a file */
#define PREPARED_LENGTH 12
#define PROGRESS	0xffff /* an "error" that is none: the response goes on */
#define STATUS_CURSOR	0x0040 /* rows are fetched by commands of their own */

int mysql_packet_peek(struct protocol_stream *stream, size_t looked_at, struct mysql_packet *packet)
{
	const uint8_t *bytes;
	size_t n;
	int err = protocol_stream_peek(stream, MYSQL_HEADER_SIZE, &bytes);

	if (err)
		return err;
	packet->length = mysql_number(bytes, 3);
	packet->number = bytes[3];
	n = packet->length < looked_at ? packet->length : looked_at;
	err = protocol_stream_peek_some(stream, MYSQL_HEADER_SIZE + n, &bytes, &n);
	if (err)
		return err;
	packet->bytes = bytes + MYSQL_HEADER_SIZE;
	packet->n = n - MYSQL_HEADER_SIZE;
	return 0;
}

/* A number in one, three, four or nine bytes. False: it is not all there, or it is none. */
static bool read_number(const struct mysql_packet *packet, size_t *at, uint64_t *ret_number)
{
	uint8_t first;
	unsigned n;

	if (*at >= packet->n)
		return false;
	first = packet->bytes[(*at)++];
	n = first < LOCAL_FILE ? 0 : first == 0xfc ? 2 : first == 0xfd ? 3 : first == 0xfe ? 8 : 9;
	if (n > packet->n - *at || n == 9)
		return false;
	*ret_number = first;
	if (n) {
		*ret_number = mysql_number(packet->bytes + *at, n < 4 ? n : 4);
		if (n == 8)
			*ret_number |= (uint64_t)mysql_number(packet->bytes + *at + 4, 4) << 32;
	}
	*at += n;
	return true;
}

static bool is_end(const struct mysql_packet *packet)
{
	return packet->bytes[0] == MYSQL_END && packet->length < MYSQL_MAX_LENGTH &&
	       (packet->length == MYSQL_EOF_LENGTH || packet->length >= MYSQL_OK_LENGTH);
}

static bool is_eof(const struct mysql_packet *packet)
{
	return packet->bytes[0] == MYSQL_END && packet->length == MYSQL_EOF_LENGTH;
}

/* The status in EOF or OK; false: it is not there. */
static bool read_status(const struct mysql_packet *packet, uint32_t *ret_status)
{
	uint64_t affected_rows, last_id;
	size_t at = 3;

	if (!is_eof(packet)) {
		at = 1;
		if (!read_number(packet, &at, &affected_rows) ||
		    !read_number(packet, &at, &last_id))
			return false;
	}
	if (at + 2 > packet->n)
		return false;
	*ret_status = mysql_number(packet->bytes + at, 2);
	return true;
}

/* An error ends any response. False: this says that it is none. */
static bool take_error(struct mysql_server *server, const struct mysql_packet *packet)
{
	if (packet->n < 3)
		return false;
	if (mysql_number(packet->bytes + 1, 2) == PROGRESS)
		return true;
	server->error = (uint16_t)mysql_number(packet->bytes + 1, 2);
	server->ends_call = true;
	return true;
}

/* OK, or the end of rows: of this response or of one of several. */
static bool take_end(struct mysql_server *server, const struct mysql_packet *packet)
{
	uint32_t status;

	if (!read_status(packet, &status))
		return false;
	server->part = MYSQL_FIRST;
	server->ends_call = !(status & MYSQL_STATUS_MORE);
	return true;
}

/*
 * The number of columns. Beside it may be a byte that says whether their definitions follow: before it with MySQL, after it with
 * MariaDB. There is at least one column, so which is which can be told from the two bytes.
 */
static bool take_column_count(struct mysql_server *server, const struct mysql_packet *packet)
{
	bool has_definitions = true;
	uint64_t columns;
	size_t at = 0;

	if (packet->length == 2 && packet->bytes[0] < LOCAL_FILE && packet->n == 2) {
		bool before = packet->bytes[1] > 1 || !packet->bytes[0];

		if (packet->bytes[before ? 0 : 1] > 1)
			return false;
		has_definitions = packet->bytes[before ? 0 : 1];
		columns = packet->bytes[before ? 1 : 0];
	} else if (packet->length > 10 || !read_number(packet, &at, &columns)) {
		return false;
	} else if (at < packet->length) {
		/* of more than one byte, hence MariaDB's, or MySQL's byte was taken for the number */
		if (at + 1 != packet->length || at == 1 || packet->n != packet->length ||
		    packet->bytes[at] > 1)
			return false;
		has_definitions = packet->bytes[at];
	}
	if (!columns || columns > UINT16_MAX)
		return false;
	server->left = columns;
	server->part = has_definitions ? MYSQL_COLUMNS : MYSQL_AFTER_COLUMNS;
	return true;
}

static bool may_have_rows(uint8_t code)
{
	return code == MYSQL_QUERY || code == MYSQL_STMT_EXECUTE || code == MYSQL_PROCESS_INFO ||
	       code == MYSQL_STMT_BULK_EXECUTE;
}

static bool take_prepared(struct mysql_connection *connection, const struct mysql_packet *packet)
{
	struct mysql_server *server = &connection->server;
	uint32_t columns, parameters;

	if (packet->length < PREPARED_LENGTH || packet->n < PREPARED_LENGTH)
		return false;
	if (connection->preparing == mysql_oldest(connection)->key)
		mysql_statements_keep(&connection->statements, mysql_number(packet->bytes + 1, 4),
				      &connection->prepared);
	else
		mysql_statements_drop(&connection->statements, mysql_number(packet->bytes + 1, 4));
	columns = mysql_number(packet->bytes + 5, 2);
	parameters = mysql_number(packet->bytes + 7, 2);
	server->left = parameters ? parameters : columns;
	server->left_after = parameters ? columns : 0;
	server->part = MYSQL_DEFINITIONS;
	server->ends_call = !server->left;
	return true;
}

static bool take_first(struct mysql_connection *connection, const struct mysql_packet *packet)
{
	struct mysql_server *server = &connection->server;
	uint8_t code = mysql_oldest(connection)->code, first = packet->bytes[0];

	if (first == MYSQL_ERR)
		return take_error(server, packet);
	switch (code) {
	case MYSQL_STATISTICS:
		server->ends_call = true;
		return true;
	case MYSQL_STMT_PREPARE:
		return first == MYSQL_OK && take_prepared(connection, packet);
	case MYSQL_CHANGE_USER:
		/* else the authentication goes on */
		server->ends_call = first == MYSQL_OK;
		return true;
	case MYSQL_FIELD_LIST:
	case MYSQL_STMT_FETCH:
		server->part = MYSQL_ROWS;
		return !is_end(packet) || take_end(server, packet);
	default:
		break;
	}
	if ((first == MYSQL_OK && packet->length >= MYSQL_OK_LENGTH) || is_end(packet))
		return take_end(server, packet);
	if (first == LOCAL_FILE && code == MYSQL_QUERY) {
		connection->client.sends_file = true;
		return true;
	}
	return may_have_rows(code) && take_column_count(server, packet);
}

/* The definition of a column or a parameter is in the catalogue "def". */
static bool is_definition(const struct mysql_packet *packet)
{
	return packet->n >= 4 && !memcmp(packet->bytes, "\003def", 4);
}

static bool take_definition(struct mysql_server *server, const struct mysql_packet *packet)
{
	if (is_eof(packet)) {
		/* of parameters or of columns */
		if (server->left)
			return false;
		server->deprecates_eof = MYSQL_NO;
		server->left = server->left_after;
		server->left_after = 0;
		server->ends_call = !server->left;
		return true;
	}
	if (!server->left) {
		server->deprecates_eof = MYSQL_YES;
		server->left = server->left_after;
		server->left_after = 0;
	}
	if (!server->left || !is_definition(packet))
		return false;
	server->left--;
	server->ends_call =
		!server->left && !server->left_after && server->deprecates_eof == MYSQL_YES;
	return true;
}

static bool take_row(struct mysql_server *server, const struct mysql_packet *packet)
{
	if (packet->bytes[0] == MYSQL_ERR)
		return take_error(server, packet);
	if (is_end(packet))
		return take_end(server, packet);
	return true;
}

static bool take_after_columns(struct mysql_server *server, const struct mysql_packet *packet)
{
	uint32_t status;

	server->part = MYSQL_ROWS;
	if (!is_eof(packet)) {
		if (packet->bytes[0] != MYSQL_ERR)
			server->deprecates_eof = MYSQL_YES;
		return take_row(server, packet);
	}
	if (!read_status(packet, &status))
		return false;
	server->deprecates_eof = MYSQL_NO;
	server->ends_call = status & STATUS_CURSOR;
	return true;
}

static bool take_column(struct mysql_server *server, const struct mysql_packet *packet)
{
	if (packet->bytes[0] == MYSQL_ERR)
		return take_error(server, packet);
	if (!is_definition(packet))
		return false;
	if (!--server->left)
		server->part = MYSQL_AFTER_COLUMNS;
	return true;
}

/* False: this is not what can come here. */
bool mysql_packet_take(struct mysql_connection *connection, const struct mysql_packet *packet)
{
	struct mysql_server *server = &connection->server;

	if (!packet->n)
		return false; /* no response has an empty packet; or it was not copied */
	switch (server->part) {
	case MYSQL_FIRST:
		return take_first(connection, packet);
	case MYSQL_COLUMNS:
		return take_column(server, packet);
	case MYSQL_AFTER_COLUMNS:
		return take_after_columns(server, packet);
	case MYSQL_ROWS:
		return take_row(server, packet);
	case MYSQL_DEFINITIONS:
		return take_definition(server, packet);
	}
	return false;
}
