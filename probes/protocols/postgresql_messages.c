// SPDX-License-Identifier: Apache-2.0
/*
 * The messages of PostgreSQL's protocol 3, of either side: "Frontend/Backend Protocol", chapter 55 of its manual. All say
 * how long they are, so that rows are passed over, copied or not. Of queries the beginning is summarized, of errors
 * the code is read. Loop thread only.
 */
#include <errno.h>
#include <string.h>
#include "probes/protocols/postgresql_internal.h"
#include "probes/protocols/sql_memo.h"

#define CODE_VERSION_3	196608 /* and its minor versions */
#define CODE_CANCEL	80877102
#define CODE_SSL	80877103
#define CODE_GSS	80877104
#define MAX_STARTUP	10000 /* PostgreSQL's own limit */
#define ERROR_LOOKED_AT 512

/* Types of messages: who sends them, and whether the body of a client's is looked at. */
enum { BY_CLIENT = 1, BY_SERVER = 2, HAS_TEXT = 4 };
static const uint8_t types[UINT8_MAX + 1] = {
	['Q'] = BY_CLIENT | HAS_TEXT,
	['P'] = BY_CLIENT | HAS_TEXT,
	['B'] = BY_CLIENT | HAS_TEXT,
	['E'] = BY_CLIENT | HAS_TEXT | BY_SERVER,
	['F'] = BY_CLIENT,
	['X'] = BY_CLIENT,
	['f'] = BY_CLIENT,
	['p'] = BY_CLIENT,
	['C'] = BY_CLIENT | BY_SERVER,
	['D'] = BY_CLIENT | BY_SERVER,
	['H'] = BY_CLIENT | BY_SERVER,
	['S'] = BY_CLIENT | BY_SERVER,
	['c'] = BY_CLIENT | BY_SERVER,
	['d'] = BY_CLIENT | BY_SERVER,
	['1'] = BY_SERVER,
	['2'] = BY_SERVER,
	['3'] = BY_SERVER,
	['A'] = BY_SERVER,
	['G'] = BY_SERVER,
	['I'] = BY_SERVER,
	['K'] = BY_SERVER,
	['N'] = BY_SERVER,
	['R'] = BY_SERVER,
	['T'] = BY_SERVER,
	['V'] = BY_SERVER,
	['W'] = BY_SERVER,
	['Z'] = BY_SERVER,
	['n'] = BY_SERVER,
	['s'] = BY_SERVER,
	['t'] = BY_SERVER,
	['v'] = BY_SERVER,
};

static uint32_t number(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3];
}

static bool is_header(const uint8_t *header, unsigned by)
{
	uint32_t length = number(header + 1);

	return types[*header] & by && length >= 4 && length <= POSTGRESQL_MAX_MESSAGE;
}

bool postgresql_begins_message(const struct protocol_piece *piece)
{
	return piece->head_size >= POSTGRESQL_HEADER && is_header(piece->head, BY_CLIENT);
}

/* A text up to its NUL, and what follows. False: it is cut. */
static bool take_text(const char **at, size_t *left, const char **ret_text, size_t *ret_size)
{
	const char *end = *left ? memchr(*at, '\0', *left) : NULL;

	*ret_text = *at;
	*ret_size = end ? (size_t)(end - *at) : *left;
	*left -= *ret_size + !!end;
	*at += *ret_size + !!end;
	return end;
}

/* ---- what the client says ---- */

static int read_startup(struct postgresql *postgresql, struct protocol_calls *calls)
{
	const uint8_t *header;
	uint32_t length, code;
	uint64_t ns;
	int err = protocol_stream_peek(&postgresql->client, 8, &header);

	if (err)
		return err;
	length = number(header);
	code = number(header + 4);
	if (length < 8 || length > MAX_STARTUP)
		return -EBADMSG;
	ns = protocol_stream_ns(&postgresql->client);
	if (code == CODE_SSL || code == CODE_GSS) {
		postgresql->phase = PHASE_ANSWER;
	} else if (code == CODE_CANCEL) {
		postgresql->phase = PHASE_OVER;
	} else if (code >> 16 == CODE_VERSION_3 >> 16) {
		postgresql->phase = PHASE_MESSAGES;
		postgresql_sent(postgresql, calls, WAITING_STARTED, ns, length, NULL);
	} else {
		return -EBADMSG;
	}
	protocol_stream_skip(&postgresql->client, length);
	return 0;
}

/* Part of what leads to the next Execute. */
static void chain(struct postgresql *postgresql)
{
	const struct postgresql_message *message = &postgresql->from_client;

	postgresql->in_group = true;
	if (!postgresql->in_chain) {
		postgresql->in_chain = true;
		postgresql->chain_ns = message->ns;
		postgresql->chain_bytes = 0;
	}
	postgresql->chain_bytes += message->bytes;
}

static void take_query(struct postgresql *postgresql, struct protocol_calls *calls,
		       const char *text, size_t size)
{
	const struct postgresql_message *message = &postgresql->from_client;
	struct sql_summary summary;
	const char *query;
	size_t length;
	bool is_whole = take_text(&text, &size, &query, &length);

	sql_memo_summarize(protocol_sql_memo(calls), &summary, query, length, is_whole,
			   SQL_POSTGRESQL);
	postgresql_sent(postgresql, calls, WAITING_QUERIED, message->ns, message->bytes, &summary);
}

static void take_parse(struct postgresql *postgresql, struct protocol_calls *calls,
		       const char *text, size_t size)
{
	const struct postgresql_message *message = &postgresql->from_client;
	const char *name, *query;
	size_t name_size, length;
	bool is_whole;

	chain(postgresql);
	is_whole = take_text(&text, &size, &name, &name_size);
	if (is_whole) {
		is_whole = take_text(&text, &size, &query, &length);
		sql_memo_summarize(protocol_sql_memo(calls), &postgresql->parsed, query, length,
				   is_whole, SQL_POSTGRESQL);
		postgresql_names_set(&postgresql->names, POSTGRESQL_STATEMENT, name, name_size,
				     &postgresql->parsed);
	} else {
		memset(&postgresql->parsed, 0, sizeof(postgresql->parsed));
	}
	postgresql->parsed_ns = message->ns;
	postgresql_sent(postgresql, calls, WAITING_PARSED, message->ns, message->bytes, NULL);
}

static void take_bind(struct postgresql *postgresql, const char *text, size_t size)
{
	const char *portal, *statement;
	size_t portal_size, statement_size;
	struct sql_summary summary; /* a copy: the table may move */

	chain(postgresql);
	if (!take_text(&text, &size, &portal, &portal_size) ||
	    !take_text(&text, &size, &statement, &statement_size))
		return;
	summary = *postgresql_names_get(&postgresql->names, POSTGRESQL_STATEMENT, statement,
					statement_size);
	postgresql_names_set(&postgresql->names, POSTGRESQL_PORTAL, portal, portal_size, &summary);
}

static void take_execute(struct postgresql *postgresql, struct protocol_calls *calls,
			 const char *text, size_t size)
{
	static const struct sql_summary unknown;
	const struct sql_summary *summary = &unknown;
	const char *portal;
	size_t portal_size;

	chain(postgresql);
	if (take_text(&text, &size, &portal, &portal_size))
		summary = postgresql_names_get(&postgresql->names, POSTGRESQL_PORTAL, portal,
					       portal_size);
	postgresql->in_chain = false;
	postgresql_sent(postgresql, calls, WAITING_EXECUTED, postgresql->chain_ns,
			postgresql->chain_bytes, summary);
}

static void take_client_message(struct postgresql *postgresql, struct protocol_calls *calls,
				const char *body, size_t size)
{
	static const struct sql_summary function = { .operation = "FUNCTION" };
	const struct postgresql_message *message = &postgresql->from_client;

	switch (message->type) {
	case 'Q':
		take_query(postgresql, calls, body, size);
		break;
	case 'P':
		take_parse(postgresql, calls, body, size);
		break;
	case 'B':
		take_bind(postgresql, body, size);
		break;
	case 'E':
		take_execute(postgresql, calls, body, size);
		break;
	case 'D':
	case 'C':
		chain(postgresql);
		break;
	case 'H': /* the client waits for what it has asked so far */
		postgresql->in_chain = false;
		break;
	case 'S':
		postgresql->in_chain = false;
		postgresql_sent(postgresql, calls, WAITING_SYNCED, message->ns, message->bytes,
				NULL);
		break;
	case 'F':
		postgresql_sent(postgresql, calls, WAITING_FUNCTION, message->ns, message->bytes,
				&function);
		break;
	case 'd':
		postgresql_sent_rows(postgresql, calls, message->bytes);
		break;
	case 'c':
	case 'f':
		postgresql->is_copying = false;
		break;
	default: /* a password, or the end */
		break;
	}
}

/* How much of the body is looked at. */
static size_t client_text(uint8_t type, uint32_t size)
{
	return !(types[type] & HAS_TEXT) ? 0 : size < POSTGRESQL_TEXT ? size : POSTGRESQL_TEXT;
}

static int read_client_message(struct postgresql *postgresql, struct protocol_calls *calls)
{
	struct protocol_stream *stream = &postgresql->client;
	struct postgresql_message *message = &postgresql->from_client;
	const uint8_t *header;
	size_t size = 0, wanted;
	uint32_t length;
	int err = protocol_stream_peek(stream, POSTGRESQL_HEADER, &header);

	if (err)
		return err;
	if (!is_header(header, BY_CLIENT))
		return -EBADMSG;
	message->type = *header;
	message->ns = protocol_stream_ns(stream);
	length = number(header + 1);
	message->bytes = 1 + (uint64_t)length;
	wanted = client_text(message->type, length - 4);
	if (wanted) {
		err = protocol_stream_peek_some(stream, POSTGRESQL_HEADER + wanted, &header, &size);
		if (err)
			return err;
		size = size > POSTGRESQL_HEADER ? size - POSTGRESQL_HEADER : 0;
	}
	take_client_message(postgresql, calls, (const char *)header + POSTGRESQL_HEADER, size);
	protocol_stream_skip(stream, message->bytes);
	return 0;
}

int postgresql_read_client(struct postgresql *postgresql, struct protocol_calls *calls)
{
	int err = 0;

	while (!err) {
		if (!protocol_stream_has_skipped(&postgresql->client))
			return -EAGAIN;
		if (postgresql->phase == PHASE_STARTUP)
			err = read_startup(postgresql, calls);
		else if (postgresql->phase == PHASE_MESSAGES)
			err = read_client_message(postgresql, calls);
		else
			return protocol_stream_left(&postgresql->client) ? -EBADMSG : -EAGAIN;
	}
	return err;
}

/* ---- what the server says ---- */

/* One byte says whether all that follows is encrypted. */
static int read_answer(struct postgresql *postgresql, struct protocol_calls *calls)
{
	const uint8_t *answer;
	int err = protocol_stream_peek(&postgresql->server, 1, &answer);

	if (err)
		return err;
	switch (*answer) {
	case 'N':
		postgresql->phase = PHASE_STARTUP;
		break;
	case 'S':
	case 'G':
		postgresql->phase = PHASE_OVER;
		postgresql->is_encrypted = true;
		protocol_stop(calls, PROTOCOL_ENCRYPTED);
		break;
	case 'E': /* an error, of a server that knows no encryption: the client connects anew */
		postgresql->phase = PHASE_OVER;
		break;
	default:
		return -EBADMSG;
	}
	protocol_stream_skip(&postgresql->server, 1);
	return 0;
}

static bool is_sqlstate(const char *text, size_t size)
{
	if (size != 5)
		return false;
	for (size_t i = 0; i < size; i++)
		if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'A' && text[i] <= 'Z')))
			return false;
	return true;
}

/* Fields: a letter and a text each. */
static void take_error(struct postgresql *postgresql, const char *body, size_t size)
{
	const char *text;
	size_t length;

	strcpy(postgresql->status, "_OTHER");
	postgresql->is_fatal = false;
	while (size && *body) {
		char field = *body;

		body++;
		size--;
		if (!take_text(&body, &size, &text, &length))
			return;
		if (field == 'C' && is_sqlstate(text, length))
			memcpy(postgresql->status, text, length + 1);
		else if (field == 'V')
			postgresql->is_fatal = (length == 5 && !memcmp(text, "FATAL", 5)) ||
					       (length == 5 && !memcmp(text, "PANIC", 5));
	}
}

static int read_server_message(struct postgresql *postgresql)
{
	struct protocol_stream *stream = &postgresql->server;
	struct postgresql_message *message = &postgresql->from_server;
	const uint8_t *header;
	size_t size, wanted;
	uint32_t length;
	int err = protocol_stream_peek(stream, POSTGRESQL_HEADER, &header);

	if (err)
		return err;
	if (!is_header(header, BY_SERVER))
		return -EBADMSG;
	length = number(header + 1);
	if (*header == 'E') {
		wanted = length - 4 < ERROR_LOOKED_AT ? length - 4 : ERROR_LOOKED_AT;
		err = protocol_stream_peek_some(stream, POSTGRESQL_HEADER + wanted, &header, &size);
		if (err)
			return err;
		if (size > POSTGRESQL_HEADER)
			take_error(postgresql, (const char *)header + POSTGRESQL_HEADER,
				   size - POSTGRESQL_HEADER);
	}
	message->type = *header;
	message->ns = protocol_stream_ns(stream);
	message->bytes = 1 + (uint64_t)length;
	protocol_stream_skip(stream, message->bytes);
	return 0;
}

int postgresql_read_server(struct postgresql *postgresql, struct protocol_calls *calls)
{
	int err = 0;

	while (!err) {
		if (!protocol_stream_has_skipped(&postgresql->server))
			return -EAGAIN;
		if (postgresql->from_server.type) {
			postgresql_received(postgresql, calls);
			postgresql->from_server.type = 0;
		} else if (postgresql->phase == PHASE_ANSWER) {
			err = read_answer(postgresql, calls);
		} else if (postgresql->phase == PHASE_MESSAGES) {
			err = read_server_message(postgresql);
		} else {
			return protocol_stream_left(&postgresql->server) ? -EBADMSG : -EAGAIN;
		}
	}
	return err;
}
