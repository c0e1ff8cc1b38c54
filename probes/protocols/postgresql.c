// SPDX-License-Identifier: Apache-2.0
/*
 * PostgreSQL: which response is whose. A call is a Query, an Execute or a FunctionCall, as the client sends them, so that
 * a statement is one whether it is simple, extended or prepared; a Query of several statements is one, too, and so is each
 * Execute of a portal that is read in parts. A call begins with the first message that prepares for it (Parse, Bind), unless
 * the client waited in between, and ends with ReadyForQuery, or an Execute with what completes it. A Parse that fails
 * and for which no Execute was sent is a call, too. What an error makes the server ignore is none; nor are connecting
 * and Sync.
 *
 * The position in what the server says is found again where a call of the server's ends in ReadyForQuery; which call that
 * ends is known if only one such message is outstanding. Otherwise, and midway, calls are followed again once the
 * server was ready and the client then begins a message.
 *
 * A connection owns its streams, the queue of what is waited for and the names of prepared statements. Loop thread only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "probes/protocols/postgresql_internal.h"

_Static_assert(sizeof(struct postgresql) + 2 * PROTOCOL_STREAM_MAX + POSTGRESQL_MAX_WAITING +
			       POSTGRESQL_MAX_NAMES * sizeof(struct postgresql_name) <=
		       PROTOCOL_MAX_STATE,
	       "within the bounds of a connection");

static enum protocol_unparsed why_lost(const struct postgresql *postgresql)
{
	if (postgresql->is_encrypted)
		return PROTOCOL_ENCRYPTED;
	if (postgresql->phase == PHASE_OVER)
		return PROTOCOL_MALFORMED;
	return postgresql->is_following ? PROTOCOL_TRUNCATED : PROTOCOL_MIDWAY;
}

static void lose(struct postgresql *postgresql, struct protocol_calls *calls,
		 struct protocol_stream *stream, int err)
{
	enum protocol_unparsed why = err == -EBADMSG && postgresql->phase != PHASE_OVER
					     ? PROTOCOL_MALFORMED
					     : why_lost(postgresql);

	protocol_unparsed(calls, why, protocol_stream_give_up(stream));
	protocol_stream_close(stream);
	if (stream == &postgresql->client) {
		postgresql->has_client = false;
	} else {
		postgresql->has_server = false;
		postgresql->from_server.type = 0;
	}
	if (err == -ENODATA && postgresql->phase == PHASE_MESSAGES)
		return;
	if (postgresql->is_following)
		postgresql_unfollow(postgresql, calls);
	/* the connection is under way, or never was one */
	if (postgresql->phase != PHASE_OVER)
		postgresql->phase = PHASE_MESSAGES;
}

/* What is left of a piece that has been read is kept. Without memory for it, the position is lost. */
static void keep(struct postgresql *postgresql, struct protocol_calls *calls,
		 struct protocol_stream *stream)
{
	if (!protocol_stream_close(stream))
		return;
	*(stream == &postgresql->client ? &postgresql->has_client : &postgresql->has_server) =
		false;
	postgresql_unfollow(postgresql, calls);
}

static bool ends_in_ready(const struct protocol_piece *piece)
{
	static const uint8_t ready[] = { 'Z', 0, 0, 0, 5 };
	const uint8_t *last = protocol_piece_last(piece, POSTGRESQL_READY_SIZE);

	return last && !memcmp(last, ready, sizeof(ready)) && memchr("ITE", last[sizeof(ready)], 3);
}

static void feed_client(struct postgresql *postgresql, struct protocol_calls *calls,
			const struct protocol_piece *piece)
{
	int err;

	if (!postgresql->has_client && postgresql->is_idle && postgresql_begins_message(piece)) {
		protocol_stream_reset(&postgresql->client);
		postgresql->has_client = true;
		postgresql->is_following = true;
	}
	if (!postgresql->has_client) {
		protocol_unparsed(calls, why_lost(postgresql), piece->size);
		return;
	}
	protocol_stream_open(&postgresql->client, piece);
	err = postgresql_read_client(postgresql, calls);
	if (err == -EAGAIN)
		keep(postgresql, calls, &postgresql->client);
	else
		lose(postgresql, calls, &postgresql->client, err);
}

static void feed_server(struct postgresql *postgresql, struct protocol_calls *calls,
			const struct protocol_piece *piece)
{
	int err;

	if (postgresql->has_server) {
		protocol_stream_open(&postgresql->server, piece);
		err = postgresql_read_server(postgresql, calls);
		if (err == -EAGAIN)
			keep(postgresql, calls, &postgresql->server);
		else
			lose(postgresql, calls, &postgresql->server, err);
	} else {
		protocol_unparsed(calls, why_lost(postgresql), piece->size);
	}
	if (!postgresql->has_server && postgresql->phase == PHASE_MESSAGES && ends_in_ready(piece))
		postgresql_found_ready(postgresql, calls, piece);
}

static void postgresql_feed(void *connection, const struct protocol_piece *piece,
			    struct protocol_calls *calls)
{
	struct postgresql *postgresql = connection;

	if (!piece->size)
		return;
	if (piece->from_client)
		feed_client(postgresql, calls, piece);
	else
		feed_server(postgresql, calls, piece);
}

static void postgresql_gap(void *connection, bool from_client, struct protocol_calls *calls)
{
	struct postgresql *postgresql = connection;

	postgresql_unfollow(postgresql, calls);
	if (!from_client) {
		protocol_stream_reset(&postgresql->server);
		postgresql->has_server = false;
		postgresql->from_server.type = 0;
	}
	if (postgresql->phase != PHASE_OVER)
		postgresql->phase = PHASE_MESSAGES;
}

/* ---- the connection ---- */

static void *postgresql_open(bool midway)
{
	struct postgresql *postgresql = calloc(1, sizeof(*postgresql));

	if (!postgresql)
		return NULL;
	postgresql->phase = midway ? PHASE_MESSAGES : PHASE_STARTUP;
	postgresql->is_following = !midway;
	postgresql->has_client = !midway;
	postgresql->has_server = !midway;
	return postgresql;
}

static void postgresql_close(void *connection)
{
	struct postgresql *postgresql = connection;

	if (!postgresql)
		return;
	protocol_stream_reset(&postgresql->client);
	protocol_stream_reset(&postgresql->server);
	postgresql_names_free(&postgresql->names);
	free(postgresql->waiting);
	free(postgresql);
}

const struct protocol protocol_postgresql = {
	.name = "postgresql",
	.family = PROTOCOL_DATABASE,
	.open = postgresql_open,
	.close = postgresql_close,
	.feed = postgresql_feed,
	.gap = postgresql_gap,
};
