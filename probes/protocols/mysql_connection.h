/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A MySQL or MariaDB connection as its decoder sees it: mysql.c reads what the client says, mysql_response.c what the server
 * answers, mysql_packet.c tells what a packet is, mysql_statements.c remembers prepared statements. Loop thread only.
 *
 * Both sides send packets: three bytes of length, least significant first, a sequence number, and so many bytes. A
 * packet of the greatest length goes on in the next one. A command begins with number 0, its response has the numbers after it.
 */
#ifndef LEADLINE_PROTOCOL_MYSQL_CONNECTION_H
#define LEADLINE_PROTOCOL_MYSQL_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>
#include "probes/protocols/sql_summary.h"
#include "probes/protocols/stream.h"

#define MYSQL_HEADER_SIZE 4
#define MYSQL_MAX_LENGTH  0xffffff
#define MYSQL_MAX_PIPELINED                                                                        \
	32 /* commands whose response is not complete; hardly any client has two */
#define MYSQL_MAX_STATEMENTS 256
#define MYSQL_LAST_PREPARED                                                                        \
	0xffffffff /* MariaDB: the statement prepared last, its number is not known yet */

enum mysql_code {
	MYSQL_QUIT = 0x01,
	MYSQL_INIT_DB = 0x02,
	MYSQL_QUERY = 0x03,
	MYSQL_FIELD_LIST = 0x04,
	MYSQL_STATISTICS = 0x09,
	MYSQL_PROCESS_INFO = 0x0a,
	MYSQL_PING = 0x0e,
	MYSQL_CHANGE_USER = 0x11,
	MYSQL_BINLOG_DUMP = 0x12,
	MYSQL_TABLE_DUMP = 0x13,
	MYSQL_STMT_PREPARE = 0x16,
	MYSQL_STMT_EXECUTE = 0x17,
	MYSQL_STMT_SEND_LONG_DATA = 0x18,
	MYSQL_STMT_CLOSE = 0x19,
	MYSQL_STMT_RESET = 0x1a,
	MYSQL_STMT_FETCH = 0x1c,
	MYSQL_BINLOG_DUMP_GTID = 0x1e,
	MYSQL_RESET_CONNECTION = 0x1f,
	MYSQL_STMT_BULK_EXECUTE = 0xfa,
};

/* Capabilities. */
#define MYSQL_CLIENT_COMPRESS	   (1U << 5)
#define MYSQL_CLIENT_PROTOCOL_41   (1U << 9)
#define MYSQL_CLIENT_SSL	   (1U << 11)
#define MYSQL_CLIENT_DEPRECATE_EOF (1U << 24)
#define MYSQL_CLIENT_ZSTD	   (1U << 26)

struct mysql_statement {
	uint32_t id;
	char operation[PROTOCOL_NAME_SIZE];
	char text[PROTOCOL_TEXT_SIZE];
};

/* Sorted by nothing; when there is no room, one goes for each that comes. */
struct mysql_statements {
	struct mysql_statement *statements;
	unsigned n, room, next_to_go;
};

void mysql_statements_keep(struct mysql_statements *statements, uint32_t id,
			   const struct sql_summary *summary);
/* NULL: not known. */
const struct mysql_statement *mysql_statements_find(const struct mysql_statements *statements,
						    uint32_t id);
void mysql_statements_drop(struct mysql_statements *statements, uint32_t id);
void mysql_statements_clear(struct mysql_statements *statements);

struct mysql_command {
	uint64_t key, start_ns;
	uint8_t code;
	bool is_long; /* of more than one packet */
};

enum mysql_server_phase {
	MYSQL_GREETING,
	MYSQL_AUTHENTICATING,
	MYSQL_AT_PACKET,
	MYSQL_IN_PACKET, /* its rest is skipped */
	/* The position is lost. The next command comes when the response is complete, and its own response begins a piece. */
	MYSQL_WAITING,
};

/* Where in the response to the oldest command. */
enum mysql_part {
	MYSQL_FIRST, /* what says what kind of response it is */
	MYSQL_COLUMNS,
	MYSQL_AFTER_COLUMNS,
	MYSQL_ROWS,
	MYSQL_DEFINITIONS, /* parameters and columns of a prepared statement */
};

enum mysql_tristate {
	MYSQL_UNKNOWN,
	MYSQL_NO,
	MYSQL_YES,
};

struct mysql_server {
	struct protocol_stream stream;
	enum mysql_server_phase phase;
	enum mysql_part part;
	uint32_t capabilities;
	uint64_t left; /* columns, or definitions, to come */
	uint32_t left_after; /* definitions after those */
	uint8_t next_number;
	bool knows_number; /* the next packet's is next_number */
	bool goes_on; /* the packet before was of the greatest length */
	bool ends_call; /* with the last byte of this packet */
	uint16_t error; /* and with this error */
	bool lost_bytes; /* pieces, or the response before its command; not just what was not copied */
	bool came_early; /* a response to no command, maybe to the one that comes next */
	bool lost_rows; /* the position was lost in rows */
	uint64_t last_ns;
	uint64_t bytes; /* of this response */
	enum mysql_tristate deprecates_eof; /* no packet marks the end of definitions */
};

enum mysql_client_phase {
	MYSQL_LOGIN,
	MYSQL_COMMANDS,
	MYSQL_SEARCHING, /* for a piece that begins with a command */
};

struct mysql_client {
	struct protocol_stream stream;
	enum mysql_client_phase phase;
	uint32_t capabilities;
	bool goes_on;
	bool sends_file; /* LOCAL INFILE: packets until an empty one */
};

struct mysql_connection {
	bool is_stopped;
	/*
	 * After a loss it is unknown how many responses are to come, unless the client waits for each. Both together: nothing more
	 * can be told.
	 */
	bool was_lost, pipelines;
	/* Commands were lost, and no response to them was seen yet: to what the next response answers is unknown. */
	bool is_doubtful;
	struct mysql_client client;
	struct mysql_server server;
	struct protocol_calls *calls; /* set for each piece */
	/* A ring of those without a complete response. */
	struct mysql_command commands[MYSQL_MAX_PIPELINED];
	unsigned first, n;
	uint64_t last_key;
	struct mysql_statements statements;
	/* What the statement that was sent to be prepared last does. */
	uint64_t preparing;
	struct sql_summary prepared;
};

static inline uint32_t mysql_number(const uint8_t *bytes, unsigned n)
{
	uint32_t number = 0;

	while (n--)
		number = number << 8 | bytes[n];
	return number;
}

static inline struct mysql_command *mysql_oldest(struct mysql_connection *connection)
{
	return connection->n ? &connection->commands[connection->first] : NULL;
}

/* ---- packets ---- */

/* First bytes of a server's. */
#define MYSQL_OK  0x00
#define MYSQL_END 0xfe /* of rows or definitions: EOF, or OK in its place */
#define MYSQL_ERR 0xff

#define MYSQL_EOF_LENGTH 5
#define MYSQL_OK_LENGTH	 7 /* at least */
#define MYSQL_LOOKED_AT                                                                            \
	32 /* of a server's, to tell what it is: OK's status comes after two numbers of up to nine bytes */
#define MYSQL_STATUS_MORE 0x0008 /* another response to the same command follows */

struct mysql_packet {
	uint32_t length;
	uint8_t number;
	const uint8_t *bytes; /* the first … */
	size_t n; /* … so many */
};

/*
 * 0: the packet at the position, with as many of its bytes as are to be looked at, or as were copied before a hole.
 * -EAGAIN: it comes later. -ENODATA: its header was not copied.
 */
int mysql_packet_peek(struct protocol_stream *stream, size_t looked_at,
		      struct mysql_packet *packet);
/* The next packet of the response to the oldest command. False: it is not what can come here. */
bool mysql_packet_take(struct mysql_connection *connection, const struct mysql_packet *packet);

/* ---- the connection ---- */

/* Nothing more can be told of it. */
void mysql_stop(struct mysql_connection *connection, enum protocol_unparsed reason);

/* Reads on in a piece of the server. */
void mysql_server_feed(struct mysql_connection *connection, const struct protocol_piece *piece);
/* The position is lost. Pieces were, or only what was not copied? */
void mysql_server_lose(struct mysql_connection *connection, bool lost_bytes);
/* A command comes: what came before it is over. */
void mysql_server_settle(struct mysql_connection *connection);

#endif
