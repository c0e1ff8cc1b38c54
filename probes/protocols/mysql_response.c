// SPDX-License-Identifier: Apache-2.0
/*
 * What a MySQL or MariaDB server sends: the greeting, the end of the authentication, and a response to each command, which ends
 * the oldest call. The numbers of packets are checked: what is not where it should be is not taken for a response.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "probes/protocols/mysql_connection.h"

#define MAX_GREETING 1024

/* ---- ends ---- */

static void response_reset(struct mysql_server *server)
{
	server->part = MYSQL_FIRST;
	server->knows_number = false;
	server->ends_call = false;
	server->error = 0;
	server->bytes = 0;
	server->came_early = false;
}

static void oldest_remove(struct mysql_connection *connection)
{
	connection->first = (connection->first + 1) % MYSQL_MAX_PIPELINED;
	connection->n--;
	response_reset(&connection->server);
}

static void oldest_end(struct mysql_connection *connection, uint64_t ns)
{
	struct mysql_server *server = &connection->server;
	uint64_t key = mysql_oldest(connection)->key;
	char status[8] = "";

	if (server->error)
		snprintf(status, sizeof(status), "%u", server->error);
	protocol_count(connection->calls, key, 0, server->bytes);
	protocol_end(connection->calls, key, ns, status, server->error != 0);
	oldest_remove(connection);
}

void mysql_server_lose(struct mysql_connection *connection, bool lost_bytes)
{
	struct mysql_server *server = &connection->server;

	if (server->phase != MYSQL_WAITING) {
		server->lost_rows = server->part == MYSQL_ROWS;
		server->lost_bytes = false;
	}
	server->lost_bytes |= lost_bytes;
	connection->was_lost |= lost_bytes || connection->n > 1;
	server->phase = MYSQL_WAITING;
	server->goes_on = false;
}

void mysql_server_settle(struct mysql_connection *connection)
{
	struct mysql_server *server = &connection->server;
	const struct mysql_command *oldest = mysql_oldest(connection);
	bool came_early;

	if (server->phase != MYSQL_WAITING) {
		/* a client that waits for its responses had one: it came before its command was seen */
		if (server->came_early && connection->n == 1 && !server->bytes) {
			protocol_forget(connection->calls, oldest->key);
			oldest_remove(connection);
		}
		return;
	}
	if (connection->n == 1 && !server->lost_bytes && server->last_ns >= oldest->start_ns) {
		/* how it ended is not known, but when */
		server->error = 0;
		protocol_respond(connection->calls, oldest->key, server->last_ns);
		oldest_end(connection, server->last_ns);
	}
	if (connection->n) {
		protocol_abandon(connection->calls);
		connection->n = 0;
	}
	came_early = server->came_early && !oldest;
	response_reset(server);
	server->came_early = came_early;
	server->phase = MYSQL_AT_PACKET;
}

/* ---- reading ---- */

/*
 * Of a response that could not be followed to here, this is the end of its rows: then the position is known
 * again. Two commands in flight could have had both of their responses meanwhile.
 */
static bool is_end_of_rows(const struct mysql_connection *connection)
{
	const struct mysql_server *server = &connection->server;
	const uint8_t *eof =
		protocol_piece_last(server->stream.piece, MYSQL_HEADER_SIZE + MYSQL_EOF_LENGTH);
	const uint8_t *ok =
		protocol_piece_last(server->stream.piece, MYSQL_HEADER_SIZE + MYSQL_OK_LENGTH);

	if (connection->n != 1 || !server->lost_rows)
		return false;
	if (eof && mysql_number(eof, 3) == MYSQL_EOF_LENGTH && eof[4] == MYSQL_END)
		return !(mysql_number(eof + 7, 2) & MYSQL_STATUS_MORE);
	return ok && mysql_number(ok, 3) == MYSQL_OK_LENGTH && ok[4] == MYSQL_END && !ok[5] &&
	       !ok[6] && !(mysql_number(ok + 7, 2) & MYSQL_STATUS_MORE);
}

static bool step_waiting(struct mysql_connection *connection)
{
	struct mysql_server *server = &connection->server;
	bool ended = is_end_of_rows(connection);
	uint64_t passed = protocol_stream_give_up(&server->stream);

	protocol_unparsed(connection->calls,
			  server->lost_bytes ? PROTOCOL_MIDWAY : PROTOCOL_TRUNCATED, passed);
	server->bytes += passed;
	connection->is_doubtful &= connection->n > 0;
	if (ended) {
		server->error = 0;
		oldest_end(connection, server->stream.piece->ns);
		server->phase = MYSQL_AT_PACKET;
	}
	return false;
}

/* Bytes here were not copied. */
static bool lose_in_hole(struct mysql_connection *connection)
{
	mysql_server_lose(connection, false);
	return true;
}

/* This is not where a packet begins, or none that can come. */
static bool lose_as_malformed(struct mysql_connection *connection)
{
	mysql_server_lose(connection, true);
	protocol_unparsed(connection->calls, PROTOCOL_MALFORMED,
			  protocol_stream_give_up(&connection->server.stream));
	return false;
}

static bool packet_end(struct mysql_connection *connection)
{
	struct mysql_server *server = &connection->server;

	server->phase = MYSQL_AT_PACKET;
	/* definitions that no packet ends, as far as is known: they were all in what the server wrote at once */
	if (server->part == MYSQL_DEFINITIONS && !server->left && !server->left_after &&
	    server->deprecates_eof == MYSQL_UNKNOWN && !protocol_stream_left(&server->stream))
		server->ends_call = true;
	if (server->ends_call && !server->goes_on)
		oldest_end(connection, server->stream.piece->ns);
	return true;
}

static bool skip_packet(struct mysql_connection *connection, uint32_t length)
{
	struct mysql_server *server = &connection->server;

	server->goes_on = length == MYSQL_MAX_LENGTH;
	server->bytes += MYSQL_HEADER_SIZE + length;
	server->phase = MYSQL_IN_PACKET;
	if (!protocol_stream_skip(&server->stream, MYSQL_HEADER_SIZE + length))
		return false;
	return packet_end(connection);
}

static bool step_packet(struct mysql_connection *connection)
{
	struct mysql_server *server = &connection->server;
	const struct mysql_command *oldest = mysql_oldest(connection);
	struct mysql_packet packet;
	int err = mysql_packet_peek(&server->stream, MYSQL_LOOKED_AT, &packet);

	if (err == -EAGAIN)
		return false;
	if (err)
		return lose_in_hole(connection);
	/* of its own accord, or before its command */
	if (!oldest) {
		server->came_early = !connection->is_doubtful;
		connection->is_doubtful = false;
		return lose_as_malformed(connection);
	}
	if (server->knows_number ? packet.number != server->next_number
				 : server->part == MYSQL_FIRST && !server->bytes &&
					   !oldest->is_long && packet.number != 1)
		return lose_as_malformed(connection);
	server->knows_number = oldest->code != MYSQL_CHANGE_USER;
	server->next_number = packet.number + 1;
	if (!server->bytes)
		protocol_respond(connection->calls, oldest->key,
				 protocol_stream_ns(&server->stream));
	if (server->goes_on)
		return skip_packet(connection, packet.length);
	if (!mysql_packet_take(connection, &packet)) {
		if (packet.n < packet.length && packet.n < MYSQL_LOOKED_AT)
			return lose_in_hole(connection);
		return lose_as_malformed(connection);
	}
	if (connection->client.sends_file)
		server->knows_number = false;
	return skip_packet(connection, packet.length);
}

static bool step_greeting(struct mysql_connection *connection)
{
	struct mysql_server *server = &connection->server;
	const uint8_t *end, *at;
	struct mysql_packet packet;
	int err = protocol_stream_peek(&server->stream, MYSQL_HEADER_SIZE, &at);

	if (!err && (at[3] || mysql_number(at, 3) > MAX_GREETING)) {
		mysql_stop(connection, PROTOCOL_MALFORMED);
		return false;
	}
	if (!err)
		err = mysql_packet_peek(&server->stream, MAX_GREETING, &packet);
	if (err == -EAGAIN)
		return false;
	if (err || packet.n < packet.length) {
		mysql_server_lose(connection, true);
		return true;
	}
	/* protocol 10: version, thread, eight bytes, a zero, capabilities, character set, status, capabilities */
	if (packet.n && packet.bytes[0] == 10) {
		end = packet.bytes + packet.n;
		at = memchr(packet.bytes + 1, 0, packet.n - 1);
		if (at && end - at >= 1 + 4 + 8 + 1 + 2 + 1 + 2 + 2)
			server->capabilities = mysql_number(at + 14, 2) | mysql_number(at + 19, 2)
										  << 16;
	} else if (!packet.n || packet.bytes[0] != MYSQL_ERR) {
		mysql_stop(connection, PROTOCOL_MALFORMED);
		return false;
	}
	protocol_stream_skip(&server->stream, MYSQL_HEADER_SIZE + packet.length);
	server->phase = MYSQL_AUTHENTICATING;
	return true;
}

static bool step_authentication(struct mysql_connection *connection)
{
	struct mysql_server *server = &connection->server;
	uint32_t agreed = server->capabilities & connection->client.capabilities;
	struct mysql_packet packet;
	int err = mysql_packet_peek(&server->stream, 1, &packet);

	if (err == -EAGAIN)
		return false;
	if (err) {
		mysql_server_lose(connection, true);
		return true;
	}
	if (packet.n && packet.bytes[0] == MYSQL_OK) {
		if (agreed & (MYSQL_CLIENT_COMPRESS | MYSQL_CLIENT_ZSTD)) {
			mysql_stop(connection, PROTOCOL_MALFORMED);
			return false;
		}
		server->deprecates_eof =
			(agreed & MYSQL_CLIENT_DEPRECATE_EOF) ? MYSQL_YES : MYSQL_NO;
		server->phase = MYSQL_AT_PACKET;
	}
	protocol_stream_skip(&server->stream, MYSQL_HEADER_SIZE + packet.length);
	return true;
}

static bool step(struct mysql_connection *connection)
{
	struct mysql_server *server = &connection->server;

	switch (server->phase) {
	case MYSQL_GREETING:
		return step_greeting(connection);
	case MYSQL_AUTHENTICATING:
		return step_authentication(connection);
	case MYSQL_AT_PACKET:
		return step_packet(connection);
	case MYSQL_IN_PACKET:
		return protocol_stream_has_skipped(&server->stream) && packet_end(connection);
	case MYSQL_WAITING:
		return step_waiting(connection);
	}
	return false;
}

void mysql_server_feed(struct mysql_connection *connection, const struct protocol_piece *piece)
{
	struct mysql_server *server = &connection->server;

	protocol_stream_open(&server->stream, piece);
	while (!connection->is_stopped && step(connection))
		;
	server->last_ns = piece->ns;
	if (connection->is_stopped)
		protocol_stream_give_up(&server->stream);
	if (protocol_stream_close(&server->stream))
		mysql_server_lose(connection, false);
}
