// SPDX-License-Identifier: Apache-2.0
/*
 * What a Redis server says: values of RESP2 and RESP3, nested, as in "Redis serialization protocol specification",
 * https://redis.io/docs/latest/develop/reference/protocol-spec/. Strings are passed over by their length, copied or not;
 * of an error the first word is read, and of what may be a message its kind. Loop thread only.
 */
#include <errno.h>
#include <string.h>
#include "probes/protocols/redis_internal.h"

static void skip(struct redis *redis, uint64_t size)
{
	redis->reply.bytes += size;
	protocol_stream_skip(&redis->replies, size);
}

/* A value is complete, and so are the arrays that it was the last of. */
static void end_element(struct redis *redis, struct protocol_calls *calls)
{
	struct redis_reply *reply = &redis->reply;

	reply->is_first = false;
	while (reply->depth) {
		unsigned level = reply->depth - 1;

		if (reply->left[level] && --reply->left[level])
			return;
		reply->depth--;
		/* the value that attributes are about follows in their place */
		if (reply->attributes & 1U << level) {
			reply->attributes &= ~(1U << level);
			return;
		}
	}
	redis_reply_ended(redis, calls);
	reply->type = 0;
}

/* ---- values ---- */

static void note_text(struct redis_reply *reply, uint8_t type, const uint8_t *text, size_t size)
{
	if (reply->depth)
		return;
	reply->is_number = size && *text >= '0' && *text <= '9';
	if (type != '-' && type != '!')
		return;
	reply->is_error = true;
	reply->status = redis_error_find(text, size);
}

static int read_text(struct redis *redis, struct protocol_calls *calls, uint8_t type)
{
	const uint8_t *line;
	size_t size = REDIS_TEXT;
	int err = protocol_stream_peek_line(&redis->replies, REDIS_TEXT, &line, &size);

	if (err == -EMSGSIZE) {
		err = protocol_stream_peek(&redis->replies, REDIS_TEXT, &line);
		redis->in_reply_line = !err;
	}
	if (err)
		return err;
	if (!redis->in_reply_line && (size < 3 || line[size - 2] != '\r'))
		return -EBADMSG;
	note_text(&redis->reply, type, line + 1, size - 1);
	skip(redis, size);
	if (!redis->in_reply_line)
		end_element(redis, calls);
	return 0;
}

static bool is_short(uint8_t type, const uint8_t *line, size_t size)
{
	int64_t number;

	if (size < 3 || line[size - 2] != '\r')
		return false;
	switch (type) {
	case ':':
		return redis_line_number(line, size, &number);
	case '_':
		return size == 3;
	case '#':
		return size == 4;
	default: /* a floating point number has many forms */
		return size > 3;
	}
}

/* Numbers, nulls and booleans. */
static int read_short(struct redis *redis, struct protocol_calls *calls, uint8_t type)
{
	struct redis_reply *reply = &redis->reply;
	const uint8_t *line;
	size_t size;
	int64_t number;
	int err = protocol_stream_peek_line(&redis->replies, REDIS_TEXT, &line, &size);

	if (err)
		return err == -EMSGSIZE ? -EBADMSG : err;
	if (!is_short(type, line, size))
		return -EBADMSG;
	/* a message about subscriptions closes with how many there are */
	if (type == ':' && reply->depth == 1 && reply->left[0] == 1 &&
	    redis_line_number(line, size, &number))
		reply->is_last = !number;
	skip(redis, size);
	end_element(redis, calls);
	return 0;
}

/* The first element of what may be a message tells. */
static bool says_kind(const struct redis *redis)
{
	const struct redis_reply *reply = &redis->reply;

	return reply->depth == 1 && reply->is_first &&
	       (reply->type == '>' || (reply->type == '*' && redis->may_be_message));
}

static int read_string(struct redis *redis, struct protocol_calls *calls, uint8_t type)
{
	struct redis_reply *reply = &redis->reply;
	size_t size, looked_at = 0;
	const uint8_t *line;
	int64_t length;
	int err = protocol_stream_peek_line(&redis->replies, REDIS_LINE, &line, &size);

	if (err)
		return err == -EMSGSIZE ? -EBADMSG : err;
	if (!redis_line_number(line, size, &length) || length < -1 ||
	    length > (int64_t)REDIS_MAX_BYTES)
		return -EBADMSG;
	if (length < 0) {
		skip(redis, size);
		end_element(redis, calls);
		return 0;
	}
	if (says_kind(redis) && length < REDIS_LONGEST_WORD)
		looked_at = length;
	else if (type == '!' && !reply->depth)
		looked_at = length < REDIS_LONGEST_WORD ? length : REDIS_LONGEST_WORD;
	if (looked_at) {
		err = protocol_stream_peek(&redis->replies, size + looked_at, &line);
		if (err)
			return err;
		if (type == '!')
			note_text(reply, type, line + size, looked_at);
		else
			reply->kind = redis_message_kind(line + size, looked_at);
	}
	skip(redis, size + length + 2);
	redis->in_element = true;
	return 0;
}

static int read_array(struct redis *redis, struct protocol_calls *calls, uint8_t type)
{
	struct redis_reply *reply = &redis->reply;
	const uint8_t *line;
	size_t size;
	int64_t n;
	int err = protocol_stream_peek_line(&redis->replies, REDIS_LINE, &line, &size);

	if (err)
		return err == -EMSGSIZE ? -EBADMSG : err;
	if (!redis_line_number(line, size, &n) || n < -1 || n > (int64_t)REDIS_MAX_ELEMENTS)
		return -EBADMSG;
	if (type == '%' || type == '|')
		n *= 2;
	skip(redis, size);
	if (n <= 0) {
		if (type != '|')
			end_element(redis, calls);
		return 0;
	}
	if (reply->depth == REDIS_DEPTH)
		return -EBADMSG;
	reply->is_first = !reply->depth;
	if (type == '|')
		reply->attributes |= 1U << reply->depth;
	reply->left[reply->depth++] = n;
	return 0;
}

/* ---- what kind of value ---- */

typedef int (*read_value)(struct redis *redis, struct protocol_calls *calls, uint8_t type);

static read_value reader_of(uint8_t type)
{
	switch (type) {
	case '+':
	case '-':
	case '(':
		return read_text;
	case ':':
	case '_':
	case '#':
	case ',':
		return read_short;
	case '$':
	case '=':
	case '!':
		return read_string;
	case '*':
	case '~':
	case '>':
	case '%':
	case '|':
		return read_array;
	default:
		return NULL;
	}
}

static int read_element(struct redis *redis, struct protocol_calls *calls)
{
	struct redis_reply *reply = &redis->reply;
	const uint8_t *first;
	read_value read;
	uint8_t type;
	int err = protocol_stream_peek(&redis->replies, 1, &first);

	if (err)
		return err;
	type = *first;
	read = reader_of(type);
	if (!read)
		return -EBADMSG;
	if (!reply->type) {
		memset(reply, 0, sizeof(*reply));
		reply->ns = protocol_stream_ns(&redis->replies);
		reply->status = "";
	}
	/* attributes stand before the value and do not make it another */
	if (!reply->depth && (!reply->type || reply->type == '|'))
		reply->type = type;
	return read(redis, calls, type);
}

int redis_read_replies(struct redis *redis, struct protocol_calls *calls)
{
	int err = 0;

	while (!err && !redis->is_over) {
		if (!protocol_stream_has_skipped(&redis->replies))
			return -EAGAIN;
		if (redis->in_element) {
			redis->in_element = false;
			end_element(redis, calls);
		} else if (redis->in_reply_line) {
			err = redis_skip_line(&redis->replies, &redis->reply.bytes);
			if (err)
				break;
			redis->in_reply_line = false;
			end_element(redis, calls);
		} else {
			err = read_element(redis, calls);
		}
	}
	return err;
}
