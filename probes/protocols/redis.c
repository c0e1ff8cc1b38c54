// SPDX-License-Identifier: Apache-2.0
/*
 * Redis and its kin: which reply answers which command. A call is a command that is answered; each of a pipeline and of
 * a transaction is one. Replies come in the order of the commands, but for messages of subscriptions, of tracking and of
 * MONITOR, which answer nothing, and for CLIENT REPLY, after which nothing is answered.
 *
 * After a loss, and on a connection that was joined midway, it is not known how many replies are outstanding. Commands and replies
 * are then counted by turns: what the client says until the server speaks, and what that says until the client speaks
 * again. After GOOD_TURNS of as many replies as commands in a row the next command is taken to be answered by the next
 * reply. Two losses are less than that: commands in flight are known by their order when a piece of a command was not
 * copied; and when there is one command in flight whose reply was not copied to its end, the client's next word ends it.
 *
 * What a connection owns is the two streams. Loop thread only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "probes/protocols/redis_internal.h"

#define GOOD_TURNS 3

_Static_assert(sizeof(struct redis) + 2 * PROTOCOL_STREAM_MAX <= PROTOCOL_MAX_STATE,
	       "within the bounds of a connection");

/* ---- losing track ---- */

/* From here on turns are counted. */
static void unfollow(struct redis *redis, struct protocol_calls *calls)
{
	protocol_abandon(calls);
	redis->is_following = false;
	redis->has_hidden = false;
	redis->answered = redis->sent;
	redis->n_specials = 0;
	redis->request.is_begun = false;
	redis->turn_commands = 0;
	redis->turn_replies = 0;
	redis->good_turns = 0;
	redis->server_spoke = false;
}

static uint64_t in_flight(const struct redis *redis)
{
	return redis->sent - redis->answered;
}

static bool client_is_between(const struct redis *redis)
{
	return redis->has_commands && !redis->in_request && !redis->in_line &&
	       !redis->commands.held_size && protocol_stream_has_skipped(&redis->commands);
}

static bool server_is_between(const struct redis *redis)
{
	return redis->has_replies && !redis->reply.type && !redis->replies.held_size &&
	       protocol_stream_has_skipped(&redis->replies);
}

static void lose_commands(struct redis *redis, struct protocol_calls *calls, bool is_hole)
{
	bool has_name = redis->in_request && redis->request.command;

	redis->has_commands = false;
	redis->in_line = false;
	redis->in_request = false;
	if (!redis->is_following)
		return;
	if (!is_hole || (has_name && redis->request.command->kind)) {
		unfollow(redis, calls);
		return;
	}
	/* the command whose arguments were not copied is in flight; where none was begun, others are hidden */
	if (has_name && redis->request.is_begun)
		redis->sent++;
	else if (!has_name)
		redis->has_hidden = true;
	redis->request.is_begun = false;
}

static void lose_replies(struct redis *redis, struct protocol_calls *calls, bool is_hole)
{
	redis->has_replies = false;
	redis->in_element = false;
	redis->in_reply_line = false;
	if (redis->is_following &&
	    (!is_hole || in_flight(redis) != 1 || !redis->reply.type || redis->n_specials))
		unfollow(redis, calls);
	if (!redis->is_following)
		redis->reply.type = 0;
}

static void lose(struct redis *redis, struct protocol_calls *calls, bool from_client, int err)
{
	struct protocol_stream *stream = from_client ? &redis->commands : &redis->replies;
	bool was_following = redis->is_following;
	uint64_t bytes = protocol_stream_give_up(stream);

	if (was_following)
		protocol_unparsed(calls, err == -ENODATA ? PROTOCOL_TRUNCATED : PROTOCOL_MALFORMED,
				  bytes);
	if (from_client)
		lose_commands(redis, calls, err == -ENODATA);
	else
		lose_replies(redis, calls, err == -ENODATA);
}

/* ---- commands ---- */

void redis_request_named(struct redis *redis, struct protocol_calls *calls)
{
	struct redis_request *request = &redis->request;

	if (!redis->is_following || redis->mode != REDIS_REPLIES)
		return;
	protocol_begin(calls, redis->sent, request->ns);
	protocol_name(calls, redis->sent, request->command->name, NULL);
	request->is_begun = true;
}

/* CLIENT REPLY. True: this command is answered. */
static bool take_mode(struct redis *redis, bool is_answered)
{
	const struct redis_request *request = &redis->request;
	const char *mode = (const char *)request->second;

	if (request->n != 3 || strcasecmp((const char *)request->first, "REPLY") != 0)
		return is_answered;
	if (!strcasecmp(mode, "ON")) {
		redis->mode = REDIS_REPLIES;
		return true;
	}
	if (!strcasecmp(mode, "OFF"))
		redis->mode = REDIS_NO_REPLIES;
	else if (!strcasecmp(mode, "SKIP") && redis->mode != REDIS_NO_REPLIES)
		redis->mode = REDIS_SKIPS_NEXT;
	else
		return is_answered;
	return false;
}

static void take_special(struct redis *redis, struct protocol_calls *calls)
{
	const struct redis_request *request = &redis->request;
	enum redis_kind kind = request->command->kind;
	struct redis_special special = { .key = redis->sent, .kind = kind, .messages = 1 };

	if (kind >= REDIS_SUBSCRIBE) {
		special.messages = request->n > 1 ? request->n - 1 : 1;
		redis->may_be_message |= !redis->is_resp3;
	}
	if (kind == REDIS_HELLO && strcmp((const char *)request->first, "3") != 0 &&
	    strcmp((const char *)request->first, "2") != 0)
		return; /* no choice */
	if (!redis->is_following)
		return;
	if (redis->n_specials == REDIS_SPECIALS) {
		unfollow(redis, calls);
		return;
	}
	if (kind == REDIS_HELLO)
		special.messages = request->first[0] == '3' ? 3 : 2;
	redis->specials[redis->n_specials++] = special;
}

void redis_request_ended(struct redis *redis, struct protocol_calls *calls)
{
	struct redis_request *request = &redis->request;
	bool is_answered = redis->mode == REDIS_REPLIES;

	if (redis->mode == REDIS_SKIPS_NEXT)
		redis->mode = REDIS_REPLIES;
	if (request->command->kind == REDIS_CLIENT)
		is_answered = take_mode(redis, is_answered);
	if (!is_answered) {
		protocol_forget(calls, redis->sent);
		request->is_begun = false;
		return;
	}
	if (request->command->kind != REDIS_ORDINARY && request->command->kind != REDIS_CLIENT)
		take_special(redis, calls);
	if (!redis->is_following) {
		redis->turn_commands++;
		return;
	}
	if (!request->is_begun) {
		protocol_begin(calls, redis->sent, request->ns);
		protocol_name(calls, redis->sent, request->command->name, NULL);
	}
	protocol_count(calls, redis->sent, request->bytes, 0);
	request->is_begun = false;
	redis->sent++;
}

/* ---- replies ---- */

static void end_special(struct redis *redis, struct protocol_calls *calls)
{
	struct redis_special special = redis->specials[0];

	memmove(redis->specials, redis->specials + 1,
		--redis->n_specials * sizeof(redis->specials[0]));
	if (redis->reply.is_error)
		return;
	switch (special.kind) {
	case REDIS_HELLO:
		redis->is_resp3 = special.messages == 3;
		redis->may_be_message = false;
		break;
	case REDIS_RESET:
		redis->is_resp3 = false;
		redis->may_be_message = false;
		redis->is_monitor = false;
		break;
	case REDIS_MONITOR:
		redis->is_monitor = true;
		break;
	case REDIS_SYNC:
		redis->is_over = true;
		protocol_stop(calls, PROTOCOL_MALFORMED);
		break;
	default:
		break;
	}
}

static void answer(struct redis *redis, struct protocol_calls *calls)
{
	struct redis_reply *reply = &redis->reply;
	uint64_t key = redis->answered;

	if (!redis->is_following) {
		redis->turn_replies++;
		return;
	}
	if (!in_flight(redis)) {
		protocol_unparsed(calls, PROTOCOL_MIDWAY, reply->bytes);
		unfollow(redis, calls);
		return;
	}
	if (redis->n_specials && redis->specials[0].key == key)
		end_special(redis, calls);
	protocol_respond(calls, key, reply->ns);
	protocol_count(calls, key, 0, reply->bytes);
	protocol_end(calls, key, redis->server_ns, reply->status, reply->is_error);
	redis->answered++;
}

/* A message that tells of subscriptions answers the command that made them, if that is the next to be answered. */
static void take_message(struct redis *redis, struct protocol_calls *calls)
{
	struct redis_special *special = redis->specials;
	enum redis_kind kind = redis->reply.kind;

	if (!redis->is_resp3 && redis->reply.is_last && kind >= REDIS_UNSUBSCRIBE)
		redis->may_be_message = redis->n_specials > 1;
	if (!redis->n_specials || special->key != redis->answered || special->kind != kind)
		return;
	if (!--special->messages)
		answer(redis, calls);
}

void redis_reply_ended(struct redis *redis, struct protocol_calls *calls)
{
	const struct redis_reply *reply = &redis->reply;

	if (reply->type == '>' || reply->kind != REDIS_ORDINARY)
		take_message(redis, calls);
	else if (!redis->is_monitor || reply->type != '+' || !reply->is_number)
		answer(redis, calls);
}

/* ---- pieces ---- */

/* The size of the piece's first line, if it has been copied and ends in "\r\n". */
static size_t first_line(const struct protocol_piece *piece)
{
	size_t size = piece->head_size < REDIS_TEXT ? piece->head_size : REDIS_TEXT;
	const uint8_t *end = size ? memchr(piece->head, '\n', size) : NULL;

	return end && end > piece->head + 1 && end[-1] == '\r' ? end + 1 - piece->head : 0;
}

/* "*3\r\n$" and the like: within a command only a string could look so. */
static bool begins_command(const struct protocol_piece *piece)
{
	size_t size = first_line(piece);
	int64_t n;

	return size && *piece->head == '*' && redis_line_number(piece->head, size, &n) &&
	       piece->head_size > size && piece->head[size] == '$';
}

/* A whole line of a kind that a reply begins with. */
static bool begins_reply(const struct protocol_piece *piece)
{
	size_t size = first_line(piece);
	int64_t n;

	if (!size || !*piece->head)
		return false;
	if (strchr("+-_#,(", *piece->head))
		return true;
	return strchr(":$=!*~>%|", *piece->head) && redis_line_number(piece->head, size, &n);
}

/* The client speaks after the server: a turn is over. */
static void end_turn(struct redis *redis)
{
	bool is_good = redis->turn_commands && redis->turn_commands == redis->turn_replies &&
		       client_is_between(redis) && server_is_between(redis);

	redis->good_turns = is_good ? redis->good_turns + 1 : 0;
	redis->turn_commands = 0;
	redis->turn_replies = 0;
	redis->server_spoke = false;
	redis->is_following = redis->good_turns == GOOD_TURNS;
}

/* The client goes on, so the reply that was not copied to its end has ended. */
static void end_lost_reply(struct redis *redis, struct protocol_calls *calls)
{
	if (in_flight(redis) != 1 || redis->in_request || redis->in_line || redis->has_hidden) {
		unfollow(redis, calls);
		return;
	}
	answer(redis, calls);
	redis->reply.type = 0;
	redis->has_replies = true;
}

/* False: where commands begin remains unknown. */
static bool find_commands(struct redis *redis, struct protocol_calls *calls,
			  const struct protocol_piece *piece)
{
	if (redis->is_following && in_flight(redis))
		return false; /* this may be the rest of a command that is in flight */
	if (redis->is_following && (redis->has_hidden || !server_is_between(redis)))
		unfollow(redis, calls);
	redis->has_commands = begins_command(piece);
	return redis->has_commands;
}

static void feed_commands(struct redis *redis, struct protocol_calls *calls,
			  const struct protocol_piece *piece)
{
	int err;

	if (!redis->is_following && redis->server_spoke)
		end_turn(redis);
	if (redis->is_following && !redis->has_replies)
		end_lost_reply(redis, calls);
	if (!redis->has_commands && !find_commands(redis, calls, piece)) {
		if (redis->is_following)
			protocol_unparsed(calls, PROTOCOL_TRUNCATED, piece->size);
		return;
	}
	protocol_stream_open(&redis->commands, piece);
	err = redis_read_commands(redis, calls);
	if (err != -EAGAIN)
		lose(redis, calls, true, err);
	else if (protocol_stream_close(&redis->commands))
		lose_commands(redis, calls, true);
}

static void feed_replies(struct redis *redis, struct protocol_calls *calls,
			 const struct protocol_piece *piece)
{
	int err;

	redis->server_spoke = true;
	redis->server_ns = piece->ns;
	if (!redis->has_replies) {
		if (redis->is_following)
			protocol_unparsed(calls, PROTOCOL_TRUNCATED, piece->size);
		else
			redis->has_replies = begins_reply(piece);
		if (!redis->has_replies)
			return;
	}
	protocol_stream_open(&redis->replies, piece);
	err = redis_read_replies(redis, calls);
	if (err != -EAGAIN)
		lose(redis, calls, false, err);
	else if (protocol_stream_close(&redis->replies))
		lose_replies(redis, calls, true);
}

static void redis_feed(void *connection, const struct protocol_piece *piece,
		       struct protocol_calls *calls)
{
	struct redis *redis = connection;
	bool was_following = redis->is_following;

	if (!piece->size)
		return;
	if (redis->is_over) {
		protocol_unparsed(calls, PROTOCOL_MALFORMED, piece->size);
		return;
	}
	if (piece->from_client)
		feed_commands(redis, calls, piece);
	else
		feed_replies(redis, calls, piece);
	if (!was_following && !redis->is_following)
		protocol_unparsed(calls, PROTOCOL_MIDWAY, piece->size);
}

static void redis_gap(void *connection, bool from_client, struct protocol_calls *calls)
{
	struct redis *redis = connection;

	unfollow(redis, calls);
	if (from_client) {
		protocol_stream_reset(&redis->commands);
		lose_commands(redis, calls, false);
	} else {
		protocol_stream_reset(&redis->replies);
		lose_replies(redis, calls, false);
	}
}

/* ---- the connection ---- */

static void *redis_open(bool midway)
{
	struct redis *redis = calloc(1, sizeof(*redis));

	if (!redis)
		return NULL;
	redis->is_following = !midway;
	redis->has_commands = !midway;
	redis->has_replies = !midway;
	redis->may_be_message = midway; /* it may have subscribed before */
	return redis;
}

static void redis_close(void *connection)
{
	struct redis *redis = connection;

	if (!redis)
		return;
	protocol_stream_reset(&redis->commands);
	protocol_stream_reset(&redis->replies);
	free(redis);
}

const struct protocol protocol_redis = {
	.name = "redis",
	.family = PROTOCOL_DATABASE,
	.open = redis_open,
	.close = redis_close,
	.feed = redis_feed,
	.gap = redis_gap,
};
