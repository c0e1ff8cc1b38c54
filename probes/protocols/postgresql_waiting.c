// SPDX-License-Identifier: Apache-2.0
/*
 * What a PostgreSQL client waits for, and what becomes of it as the server answers: the queue that says which call an answer
 * belongs to. Loop thread only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "probes/protocols/postgresql_internal.h"

#define FIRST_WAITING 16
#define MAX_PARSED    16 /* before an Execute; one is usual */

_Static_assert((FIRST_WAITING & (FIRST_WAITING - 1)) == 0 &&
		       (POSTGRESQL_MAX_WAITING & (POSTGRESQL_MAX_WAITING - 1)) == 0,
	       "a mask makes the place in the ring");
/* ---- what is waited for ---- */

static enum postgresql_waiting waiting(const struct postgresql *postgresql, unsigned i)
{
	return postgresql
		->waiting[(postgresql->waiting_at + i) & (postgresql->waiting_capacity - 1)];
}

static bool is_call(enum postgresql_waiting what)
{
	return what == WAITING_EXECUTED || what == WAITING_QUERIED || what == WAITING_FUNCTION;
}

static bool ends_with_ready(enum postgresql_waiting what)
{
	return what >= WAITING_STARTED;
}

static void waiting_pop(struct postgresql *postgresql)
{
	postgresql->answered += is_call(waiting(postgresql, 0));
	postgresql->waiting_at = (postgresql->waiting_at + 1) & (postgresql->waiting_capacity - 1);
	postgresql->n_waiting--;
}

static int waiting_grow(struct postgresql *postgresql)
{
	unsigned capacity =
		postgresql->waiting_capacity ? 4 * postgresql->waiting_capacity : FIRST_WAITING;
	uint8_t *grown;

	if (capacity > POSTGRESQL_MAX_WAITING)
		return -ENOBUFS;
	grown = malloc(capacity);
	if (!grown)
		return -ENOMEM;
	for (unsigned i = 0; i < postgresql->n_waiting; i++)
		grown[i] = waiting(postgresql, i);
	free(postgresql->waiting);
	postgresql->waiting = grown;
	postgresql->waiting_at = 0;
	postgresql->waiting_capacity = capacity;
	return 0;
}

static int waiting_push(struct postgresql *postgresql, enum postgresql_waiting what)
{
	int err = postgresql->n_waiting == postgresql->waiting_capacity ? waiting_grow(postgresql)
									: 0;

	if (err)
		return err;
	postgresql->waiting[(postgresql->waiting_at + postgresql->n_waiting++) &
			    (postgresql->waiting_capacity - 1)] = what;
	return 0;
}

void postgresql_unfollow(struct postgresql *postgresql, struct protocol_calls *calls)
{
	protocol_abandon(calls);
	postgresql->is_following = false;
	postgresql->is_idle = false;
	postgresql->has_client = false;
	postgresql->n_waiting = 0;
	postgresql->answered = postgresql->sent;
	postgresql->in_chain = false;
	postgresql->in_group = false;
	postgresql->is_discarding = false;
	postgresql->is_copying = false;
	postgresql->status[0] = '\0';
}

/* ---- what the client sends ---- */

void postgresql_sent(struct postgresql *postgresql, struct protocol_calls *calls,
		     enum postgresql_waiting what, uint64_t ns, uint64_t bytes,
		     const struct sql_summary *summary)
{
	if (what == WAITING_SYNCED) {
		if (postgresql->is_copying)
			return;
		postgresql->is_discarding = false;
		postgresql->in_group = false;
	}
	if (postgresql->is_discarding || !postgresql->is_following)
		return;
	postgresql->is_idle = false;
	if (is_call(what)) {
		protocol_begin(calls, postgresql->sent, ns);
		protocol_name(calls, postgresql->sent, summary->operation, summary->text);
		protocol_count(calls, postgresql->sent, bytes, 0);
		postgresql->sent++;
	}
	if (waiting_push(postgresql, what)) {
		protocol_unparsed(calls, PROTOCOL_MALFORMED, bytes);
		postgresql_unfollow(postgresql, calls);
	}
}

void postgresql_sent_rows(struct postgresql *postgresql, struct protocol_calls *calls,
			  uint64_t bytes)
{
	protocol_count(calls, postgresql->answered, bytes, 0);
}

/* ---- what the server answers ---- */

static void end_call(struct postgresql *postgresql, struct protocol_calls *calls, uint64_t ns)
{
	protocol_end(calls, postgresql->answered, ns, postgresql->status, *postgresql->status);
	waiting_pop(postgresql);
	postgresql->status[0] = '\0';
}

static void forget_call(struct postgresql *postgresql, struct protocol_calls *calls)
{
	protocol_forget(calls, postgresql->answered);
	waiting_pop(postgresql);
}

static void take_parsed(struct postgresql *postgresql)
{
	if (postgresql->n_waiting && waiting(postgresql, 0) == WAITING_PARSED)
		waiting_pop(postgresql);
}

/* An answer to something that was not seen. */
static void take_unexpected(struct postgresql *postgresql, struct protocol_calls *calls)
{
	protocol_unparsed(calls, PROTOCOL_MIDWAY, postgresql->from_server.bytes);
	postgresql_unfollow(postgresql, calls);
}

/* An Execute has ended, or one statement of a Query. */
static void take_complete(struct postgresql *postgresql, struct protocol_calls *calls)
{
	while (postgresql->n_waiting && waiting(postgresql, 0) == WAITING_PARSED)
		waiting_pop(postgresql);
	if (postgresql->n_waiting && waiting(postgresql, 0) == WAITING_EXECUTED)
		end_call(postgresql, calls, postgresql->server.piece->ns);
	else if (!postgresql->n_waiting || !is_call(waiting(postgresql, 0)))
		take_unexpected(postgresql, calls);
}

static void take_ready(struct postgresql *postgresql, struct protocol_calls *calls, uint64_t ns)
{
	while (postgresql->n_waiting && !ends_with_ready(waiting(postgresql, 0))) {
		if (is_call(waiting(postgresql, 0)))
			forget_call(postgresql, calls);
		else
			waiting_pop(postgresql);
	}
	if (!postgresql->n_waiting) {
		take_unexpected(postgresql, calls);
		postgresql->is_idle = true;
		return;
	}
	if (is_call(waiting(postgresql, 0)))
		end_call(postgresql, calls, ns);
	else
		waiting_pop(postgresql);
	postgresql->status[0] = '\0';
	postgresql->is_idle = !postgresql->n_waiting;
}

/* A Parse that failed, and no Execute waits for it. */
static void take_failed_parse(struct postgresql *postgresql, struct protocol_calls *calls)
{
	const struct postgresql_message *message = &postgresql->from_server;
	uint64_t key = UINT64_MAX; /* none that is in flight */

	protocol_begin(calls, key, postgresql->parsed_ns);
	protocol_name(calls, key, postgresql->parsed.operation, postgresql->parsed.text);
	protocol_respond(calls, key, message->ns);
	protocol_count(calls, key, 0, message->bytes);
	protocol_end(calls, key, postgresql->server.piece->ns, postgresql->status, true);
}

/* Of what was sent up to the next Sync, the first Execute has failed, and the rest is ignored. */
static void take_group_error(struct postgresql *postgresql, struct protocol_calls *calls)
{
	bool has_ended = false;
	unsigned n_parsed = 0;

	while (postgresql->n_waiting && !ends_with_ready(waiting(postgresql, 0))) {
		if (waiting(postgresql, 0) == WAITING_PARSED) {
			waiting_pop(postgresql);
			n_parsed++;
		} else if (!has_ended) {
			char status[sizeof(postgresql->status)];

			memcpy(status, postgresql->status, sizeof(status));
			end_call(postgresql, calls, postgresql->server.piece->ns);
			memcpy(postgresql->status, status, sizeof(status));
			has_ended = true;
		} else {
			forget_call(postgresql, calls);
		}
	}
	if (!has_ended && n_parsed == 1)
		take_failed_parse(postgresql, calls);
	postgresql->status[0] = '\0';
	postgresql->is_discarding = !postgresql->n_waiting && postgresql->in_group;
	postgresql->is_copying = false;
}

static void take_error(struct postgresql *postgresql, struct protocol_calls *calls)
{
	enum postgresql_waiting first;

	if (!postgresql->n_waiting && !postgresql->in_group) {
		postgresql->status[0] = '\0'; /* the server closes an idle connection */
		return;
	}
	first = postgresql->n_waiting ? waiting(postgresql, 0) : WAITING_PARSED;
	if (first == WAITING_STARTED)
		postgresql->status[0] = '\0';
	else if (!ends_with_ready(first) || !is_call(first))
		take_group_error(postgresql, calls);
	else if (postgresql->is_fatal) /* nothing follows */
		end_call(postgresql, calls, postgresql->server.piece->ns);
}

/* The server awaits rows. The Sync that was sent with the Execute is ignored: another follows the rows. */
static void take_copy_in(struct postgresql *postgresql)
{
	if (!postgresql->n_waiting)
		return;
	postgresql->is_copying = waiting(postgresql, 0) == WAITING_EXECUTED;
	if (postgresql->is_copying && postgresql->n_waiting == 2 &&
	    waiting(postgresql, 1) == WAITING_SYNCED)
		postgresql->n_waiting--;
}

/* Those that may come at any time. */
static bool is_asynchronous(uint8_t type)
{
	return type == 'N' || type == 'S' || type == 'A';
}

static void respond(struct postgresql *postgresql, struct protocol_calls *calls)
{
	const struct postgresql_message *message = &postgresql->from_server;
	unsigned i = 0;

	while (i < MAX_PARSED && i < postgresql->n_waiting &&
	       waiting(postgresql, i) == WAITING_PARSED)
		i++;
	if (i == MAX_PARSED || i == postgresql->n_waiting || !is_call(waiting(postgresql, i)))
		return;
	protocol_respond(calls, postgresql->answered, message->ns);
	protocol_count(calls, postgresql->answered, 0, message->bytes);
}

void postgresql_received(struct postgresql *postgresql, struct protocol_calls *calls)
{
	uint8_t type = postgresql->from_server.type;

	if (is_asynchronous(type))
		return;
	postgresql->is_idle = type == 'Z' && !postgresql->n_waiting;
	if (!postgresql->is_following) {
		postgresql->is_idle = type == 'Z';
		postgresql->status[0] = '\0';
		return;
	}
	respond(postgresql, calls);
	switch (type) {
	case '1':
		take_parsed(postgresql);
		break;
	case 'C':
	case 'I':
	case 's':
		take_complete(postgresql, calls);
		break;
	case 'E':
		take_error(postgresql, calls);
		break;
	case 'G':
		take_copy_in(postgresql);
		break;
	case 'W': /* replication goes on for as long as the connection */
		if (postgresql->n_waiting && is_call(waiting(postgresql, 0)))
			end_call(postgresql, calls, postgresql->server.piece->ns);
		postgresql->phase = PHASE_OVER;
		protocol_stop(calls, PROTOCOL_MALFORMED);
		break;
	case 'Z':
		take_ready(postgresql, calls, postgresql->server.piece->ns);
		break;
	default:
		break;
	}
}

/* ---- after a loss ---- */

/*
 * The server is ready again, and what it said before was not copied to its end. An error ends in two NULs, what completes a
 * statement in one.
 */
void postgresql_found_ready(struct postgresql *postgresql, struct protocol_calls *calls,
			    const struct protocol_piece *piece)
{
	const uint8_t *before = protocol_piece_last(piece, POSTGRESQL_READY_SIZE + 2);
	unsigned n_ready = 0, n_calls = 0;

	postgresql->has_server = true;
	for (unsigned i = 0; i < postgresql->n_waiting; i++) {
		n_ready += ends_with_ready(waiting(postgresql, i));
		n_calls += is_call(waiting(postgresql, i));
	}
	if (!postgresql->is_following || n_ready != 1 || n_calls > 1) {
		postgresql_unfollow(postgresql, calls);
		postgresql->is_idle = true;
		return;
	}
	if (n_calls && !*postgresql->status && before && !before[0] && !before[1])
		strcpy(postgresql->status, "_OTHER");
	while (waiting(postgresql, 0) == WAITING_PARSED)
		waiting_pop(postgresql);
	if (waiting(postgresql, 0) == WAITING_EXECUTED)
		end_call(postgresql, calls, piece->ns);
	take_ready(postgresql, calls, piece->ns);
}
