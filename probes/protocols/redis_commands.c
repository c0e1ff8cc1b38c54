// SPDX-License-Identifier: Apache-2.0
/*
 * What a client of Redis says: commands as arrays of strings, or as a line of words ("inline"), as in "Redis serialization
 * protocol specification", https://redis.io/docs/latest/develop/reference/protocol-spec/. Of arguments nothing is looked
 * at but the few that decide about replies. Loop thread only.
 */
#include <errno.h>
#include <string.h>
#include "probes/protocols/redis_internal.h"

#define INLINE_LINE 1024 /* what is looked at of an inline command */

bool redis_line_number(const uint8_t *line, size_t size, int64_t *ret_number)
{
	bool is_negative = size > 1 && line[1] == '-';
	size_t at = 1 + (is_negative || (size > 1 && line[1] == '+'));
	int64_t number = 0;

	/* a digit at least, and "\r\n" */
	if (size < at + 3 || size > at + 20 || line[size - 2] != '\r')
		return false;
	for (; at < size - 2; at++) {
		if (line[at] < '0' || line[at] > '9')
			return false;
		number = number * 10 + (line[at] - '0');
	}
	*ret_number = is_negative ? -number : number;
	return true;
}

int redis_skip_line(struct protocol_stream *stream, uint64_t *bytes)
{
	const uint8_t *text, *end;
	size_t size;
	int err;

	for (;;) {
		err = protocol_stream_peek(stream, 1, &text);
		if (err)
			return err;
		/* what is there, without waiting for more */
		size = protocol_stream_ready(stream, &text);
		end = memchr(text, '\n', size);
		if (end)
			size = end + 1 - text;
		*bytes += size;
		protocol_stream_skip(stream, size);
		if (end)
			return 0;
	}
}

static void skip(struct redis *redis, uint64_t size)
{
	redis->request.bytes += size;
	protocol_stream_skip(&redis->commands, size);
}

/* ---- inline ---- */

static size_t next_word(const uint8_t **at, const uint8_t *end, const uint8_t **ret_word)
{
	while (*at < end && (**at == ' ' || **at == '\t' || **at == '\r' || **at == '\n'))
		(*at)++;
	*ret_word = *at;
	while (*at < end && **at != ' ' && **at != '\t' && **at != '\r' && **at != '\n')
		(*at)++;
	return *at - *ret_word;
}

static void keep_argument(struct redis_request *request, uint64_t n, const uint8_t *text,
			  size_t size)
{
	uint8_t *argument = n == 1 ? request->first : request->second;

	if (n < 1 || n > 2 || size >= sizeof(request->first))
		return;
	memcpy(argument, text, size);
	argument[size] = '\0';
}

/* Its name at least is in these bytes; an empty one answers nothing. */
static int take_inline(struct redis *redis, struct protocol_calls *calls, const uint8_t *line,
		       size_t size)
{
	const uint8_t *at = line, *word;
	size_t length = next_word(&at, line + size, &word);

	for (size_t i = 0; i < length; i++)
		if (word[i] < ' ' || word[i] > '~')
			return -EBADMSG;
	if (!length)
		return 0;
	redis->request.command = redis_command_find(word, length);
	redis_request_named(redis, calls);
	redis->request.n = 1;
	while ((length = next_word(&at, line + size, &word))) {
		keep_argument(&redis->request, redis->request.n, word, length);
		redis->request.n++;
	}
	return 0;
}

static int read_inline(struct redis *redis, struct protocol_calls *calls)
{
	const uint8_t *line;
	size_t size = INLINE_LINE;
	int err = protocol_stream_peek_line(&redis->commands, INLINE_LINE, &line, &size);

	if (err == -EMSGSIZE) {
		err = protocol_stream_peek(&redis->commands, INLINE_LINE, &line);
		redis->in_line = !err;
	}
	if (err)
		return err;
	err = take_inline(redis, calls, line, size);
	skip(redis, size);
	if (err || redis->in_line)
		return err;
	if (redis->request.command)
		redis_request_ended(redis, calls);
	return 0;
}

/* ---- arrays ---- */

static int read_first_line(struct redis *redis, struct protocol_calls *calls)
{
	struct protocol_stream *stream = &redis->commands;
	const uint8_t *line;
	size_t size;
	int64_t n;
	int err = protocol_stream_peek(stream, 1, &line);

	if (err)
		return err;
	memset(&redis->request, 0, sizeof(redis->request));
	redis->request.ns = protocol_stream_ns(stream);
	if (*line != '*' && (*line < ' ' || *line > '~') && !strchr("\t\r\n", *line))
		return -EBADMSG;
	if (*line != '*')
		return read_inline(redis, calls);
	err = protocol_stream_peek_line(stream, REDIS_LINE, &line, &size);
	if (err)
		return err == -EMSGSIZE ? -EBADMSG : err;
	if (!redis_line_number(line, size, &n) || n > (int64_t)REDIS_MAX_ELEMENTS)
		return -EBADMSG;
	skip(redis, size);
	if (n <= 0)
		return 0; /* nothing is said, nothing is answered */
	redis->request.arguments = n;
	redis->in_request = true;
	return 0;
}

/* Whether the argument is of interest, its name is one. */
static bool is_needed(const struct redis_request *request)
{
	if (!request->command)
		return true;
	return request->n <= 2 &&
	       (request->command->kind == REDIS_CLIENT || request->command->kind == REDIS_HELLO);
}

static int read_argument(struct redis *redis, struct protocol_calls *calls)
{
	struct redis_request *request = &redis->request;
	const uint8_t *line;
	size_t size;
	int64_t length;
	int err = protocol_stream_peek_line(&redis->commands, REDIS_LINE, &line, &size);

	if (err)
		return err == -EMSGSIZE ? -EBADMSG : err;
	if (*line != '$' || !redis_line_number(line, size, &length) || length < 0 ||
	    length > (int64_t)REDIS_MAX_BYTES)
		return -EBADMSG;
	if (is_needed(request) && length < REDIS_LONGEST_WORD) {
		err = protocol_stream_peek(&redis->commands, size + length, &line);
		if (err)
			return err;
		if (request->command)
			keep_argument(request, request->n, line + size, length);
		else
			request->command = redis_command_find(line + size, length);
	}
	if (!request->command) /* too long for one */
		request->command = redis_command_find(NULL, 0);
	skip(redis, size + length + 2);
	if (!request->n++)
		redis_request_named(redis, calls);
	if (--request->arguments)
		return 0;
	redis->in_request = false;
	redis_request_ended(redis, calls);
	return 0;
}

int redis_read_commands(struct redis *redis, struct protocol_calls *calls)
{
	int err = 0;

	while (!err && !redis->is_over) {
		if (!protocol_stream_has_skipped(&redis->commands))
			return -EAGAIN;
		if (redis->in_line) {
			err = redis_skip_line(&redis->commands, &redis->request.bytes);
			if (err)
				break;
			redis->in_line = false;
			redis_request_ended(redis, calls);
		} else if (redis->in_request) {
			err = read_argument(redis, calls);
		} else {
			err = read_first_line(redis, calls);
		}
	}
	return err;
}
