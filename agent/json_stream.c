// SPDX-License-Identifier: Apache-2.0
/*
 * Finds where values begin and end, which takes counting brackets outside of strings, and leaves reading them to
 * jansson; see json_stream.h.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "agent/buffer.h"
#include "agent/json_stream.h"

#define KEEP_BYTES (64U << 10) /* of the buffer, between two streams */
#define KEY_SIZE   64 /* longer keys are nobody's */

/* What may come next outside of the values that are handed out. */
enum place {
	AT_START,
	AT_KEY, /* or the end of the object */
	IN_KEY,
	AT_COLON,
	AT_VALUE,
	AFTER_VALUE,
	AT_FIRST_ITEM, /* or the end of the array */
	AT_ITEM,
	AFTER_ITEM,
	IN_VALUE,
	AT_END,
};

struct json_stream {
	json_stream_fn on_value;
	void *context;
	enum json_stream_shape shape;
	enum place place, after; /* `after`: where to go at the end of the value */
	int error;
	uint64_t skipped;

	/* the value under way */
	struct buffer text;
	unsigned depth, values;
	bool in_string, escaped, is_scalar, is_beyond;

	char key[KEY_SIZE];
	size_t key_length;
};

struct json_stream *json_stream_new(json_stream_fn on_value, void *context)
{
	struct json_stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return NULL;
	stream->on_value = on_value;
	stream->context = context;
	return stream;
}

void json_stream_free(struct json_stream *stream)
{
	if (!stream)
		return;
	buffer_free(&stream->text);
	free(stream);
}

void json_stream_start(struct json_stream *stream, enum json_stream_shape shape)
{
	if (stream->text.capacity > KEEP_BYTES || buffer_error(&stream->text))
		buffer_free(&stream->text);
	stream->text.size = 0;
	stream->shape = shape;
	stream->place = AT_START;
	stream->error = 0;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* ---- one value ---- */

static void begin_value(struct json_stream *stream, char c, enum place after)
{
	stream->text.size = 0;
	stream->depth = stream->values = 0;
	stream->in_string = stream->escaped = stream->is_beyond = false;
	stream->is_scalar = c != '{' && c != '[' && c != '"';
	stream->place = IN_VALUE;
	stream->after = after;
}

static int end_value(struct json_stream *stream)
{
	json_t *value;
	int err;

	stream->place = stream->after;
	if (stream->is_beyond) {
		stream->skipped++;
		return 0;
	}
	if (buffer_error(&stream->text))
		return -ENOMEM;
	value = json_loadb(stream->text.data, stream->text.size, JSON_DECODE_ANY, NULL);
	if (!value)
		return -EBADMSG;
	err = stream->on_value(stream->context,
			       stream->shape == JSON_STREAM_LIST ? stream->key : NULL, value);
	json_decref(value);
	return err;
}

static void keep(struct json_stream *stream, const char *data, size_t size)
{
	if (stream->is_beyond)
		return;
	if (stream->text.size + size > JSON_STREAM_MAX_BYTES ||
	    stream->values > JSON_STREAM_MAX_VALUES || stream->depth > JSON_STREAM_MAX_DEPTH) {
		stream->is_beyond = true;
		buffer_free(&stream->text);
		return;
	}
	buffer_append(&stream->text, data, size);
}

/* Inside of a value. True when `c` is its last character. */
static bool take(struct json_stream *stream, char c)
{
	if (stream->in_string) {
		bool ends = c == '"' && !stream->escaped;

		stream->escaped = c == '\\' && !stream->escaped;
		stream->in_string = !ends;
		return ends && stream->depth == 0;
	}
	switch (c) {
	case '"':
		stream->in_string = true;
		break;
	case '{':
	case '[':
		stream->depth++;
		stream->values++;
		/* too deep for good, however little of it is left */
		stream->is_beyond |= stream->depth > JSON_STREAM_MAX_DEPTH;
		break;
	case '}':
	case ']':
		return --stream->depth == 0;
	case ',':
	case ':':
		stream->values++;
		break;
	}
	return false;
}

static bool ends_scalar(char c)
{
	return is_space(c) || c == ',' || c == '}' || c == ']';
}

/* Returns how much of the data belongs to the value. */
static size_t feed_value(struct json_stream *stream, const char *data, size_t size)
{
	bool ended = false;
	size_t n = 0;

	while (n < size && !ended) {
		if (stream->is_scalar && ends_scalar(data[n])) {
			ended = true;
			break;
		}
		ended = !stream->is_scalar && take(stream, data[n]);
		n++;
	}
	keep(stream, data, n);
	if (ended)
		stream->error = end_value(stream);
	return n;
}

/* ---- what is around the values ---- */

static int start(struct json_stream *stream, char c)
{
	if (c != '{')
		return -EBADMSG;
	if (stream->shape == JSON_STREAM_LIST) {
		stream->place = AT_KEY;
		return 0;
	}
	begin_value(stream, c, AT_START);
	return 1;
}

static int read_key(struct json_stream *stream, char c)
{
	if (c == '"') {
		stream->key[stream->key_length] = '\0';
		stream->place = AT_COLON;
	} else if (c == '\\' || stream->key_length == KEY_SIZE - 1) {
		return -EBADMSG; /* keys of an API object are short words */
	} else {
		stream->key[stream->key_length++] = c;
	}
	return 0;
}

/* 0, -EBADMSG, or 1 when `c` belongs to the value that was begun. */
static int advance(struct json_stream *stream, char c)
{
	if (stream->place == IN_KEY)
		return read_key(stream, c);
	if (is_space(c))
		return 0;
	switch (stream->place) {
	case AT_START:
		return start(stream, c);
	case AT_KEY:
		if (c == '"') {
			stream->key_length = 0;
			stream->place = IN_KEY;
			return 0;
		}
		stream->place = AT_END;
		return c == '}' ? 0 : -EBADMSG;
	case AT_COLON:
		stream->place = AT_VALUE;
		return c == ':' ? 0 : -EBADMSG;
	case AT_VALUE:
		if (c == '[' && !strcmp(stream->key, "items")) {
			stream->place = AT_FIRST_ITEM;
			return 0;
		}
		begin_value(stream, c, AFTER_VALUE);
		return 1;
	case AFTER_VALUE:
		stream->place = c == ',' ? AT_KEY : AT_END;
		return c == ',' || c == '}' ? 0 : -EBADMSG;
	case AFTER_ITEM:
		stream->place = c == ',' ? AT_ITEM : AFTER_VALUE;
		return c == ',' || c == ']' ? 0 : -EBADMSG;
	case AT_FIRST_ITEM:
		if (c == ']') {
			stream->place = AFTER_VALUE;
			return 0;
		}
		/* fallthrough */
	case AT_ITEM:
		begin_value(stream, c, AFTER_ITEM);
		return c == '{' ? 1 : -EBADMSG;
	default:
		return -EBADMSG; /* something behind the end */
	}
}

int json_stream_feed(struct json_stream *stream, const char *data, size_t size)
{
	size_t at = 0;

	while (at < size && !stream->error) {
		int result;

		if (stream->place == IN_VALUE) {
			at += feed_value(stream, data + at, size - at);
			continue;
		}
		result = advance(stream, data[at]);
		if (result < 0)
			stream->error = result;
		else if (result == 0)
			at++; /* else it is the first of a value */
	}
	return stream->error;
}

bool json_stream_is_complete(const struct json_stream *stream)
{
	return !stream->error &&
	       stream->place == (stream->shape == JSON_STREAM_LIST ? AT_END : AT_START);
}

uint64_t json_stream_skipped(const struct json_stream *stream)
{
	return stream->skipped;
}

/* ---- whole texts ---- */

static int keep_value(void *context, const char *key, json_t *value)
{
	json_t **kept = context;

	if (*kept)
		return -EBADMSG;
	*kept = json_incref(value);
	return 0;
}

json_t *json_load_bounded(const char *data, size_t size)
{
	json_t *value = NULL;
	struct json_stream *stream = json_stream_new(keep_value, &value);

	if (!stream)
		return NULL;
	json_stream_start(stream, JSON_STREAM_VALUES);
	if (json_stream_feed(stream, data, size) || !json_stream_is_complete(stream)) {
		json_decref(value);
		value = NULL;
	}
	json_stream_free(stream);
	return value;
}

const char *json_text(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}
