// SPDX-License-Identifier: Apache-2.0
/* A growing byte buffer; see buffer.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "agent/buffer.h"
#include "agent/number.h"
#include "agent/utf8.h"

#define FIRST_CAPACITY 256

static int buffer_grow(struct buffer *buffer, size_t size)
{
	size_t capacity = buffer->capacity ? buffer->capacity : FIRST_CAPACITY;
	char *data;

	if (buffer->error)
		return buffer->error;
	if (size > SIZE_MAX / 2 - buffer->size)
		return buffer->error = -ENOMEM;
	while (capacity < buffer->size + size)
		capacity *= 2;
	data = realloc(buffer->data, capacity);
	if (!data)
		return buffer->error = -ENOMEM;
	buffer->data = data;
	buffer->capacity = capacity;
	return 0;
}

char *buffer_reserve(struct buffer *buffer, size_t size)
{
	if (buffer->error || (buffer->capacity - buffer->size < size && buffer_grow(buffer, size)))
		return NULL;
	return buffer->data + buffer->size;
}

void buffer_append(struct buffer *buffer, const void *data, size_t size)
{
	char *at = size ? buffer_reserve(buffer, size) : NULL;

	if (!at)
		return;
	memcpy(at, data, size);
	buffer->size += size;
}

void buffer_string(struct buffer *buffer, const char *string)
{
	buffer_append(buffer, string, strlen(string));
}

void buffer_char(struct buffer *buffer, char c)
{
	buffer_append(buffer, &c, 1);
}

void buffer_printf(struct buffer *buffer, const char *format, ...)
{
	va_list arguments;
	char *at;
	int length;

	va_start(arguments, format);
	length = vsnprintf(NULL, 0, format, arguments);
	va_end(arguments);
	if (length < 0) {
		buffer->error = -ENOMEM; /* the only way: more than INT_MAX bytes */
		return;
	}
	at = buffer_reserve(buffer, (size_t)length + 1);
	if (!at)
		return;
	va_start(arguments, format);
	vsnprintf(at, (size_t)length + 1, format, arguments);
	va_end(arguments);
	buffer->size += (size_t)length;
}

void buffer_unsigned(struct buffer *buffer, uint64_t value)
{
	char *at = buffer_reserve(buffer, NUMBER_MAX_TEXT);

	if (at)
		buffer->size += number_unsigned(at, value);
}

void buffer_number(struct buffer *buffer, double value)
{
	char *at = buffer_reserve(buffer, NUMBER_MAX_TEXT);

	if (at)
		buffer->size += number_double(at, value);
}

/* RFC 8259: quote, backslash and everything below a space are escaped. */
static void buffer_json_escape(struct buffer *buffer, unsigned char c)
{
	static const char named[] = "\"\"\\\\\nn\rr\tt";
	const char *name;

	for (name = named; *name; name += 2)
		if ((unsigned char)*name == c) {
			buffer_char(buffer, '\\');
			buffer_char(buffer, name[1]);
			return;
		}
	buffer_string(buffer, c < 0x10 ? "\\u000" : "\\u001");
	buffer_char(buffer, "0123456789abcdef"[c & 0xf]);
}

void buffer_json_string(struct buffer *buffer, const char *string)
{
	const char *plain = string; /* what is not yet written */
	size_t length;

	buffer_char(buffer, '"');
	while (*string) {
		unsigned char c = (unsigned char)*string;

		length = utf8_sequence(string);
		if (length && c >= 0x20 && c != '"' && c != '\\') {
			string += length;
			continue;
		}
		buffer_append(buffer, plain, (size_t)(string - plain));
		if (length)
			buffer_json_escape(buffer, c);
		else
			buffer_string(buffer, UTF8_REPLACEMENT);
		plain = ++string;
	}
	buffer_append(buffer, plain, (size_t)(string - plain));
	buffer_char(buffer, '"');
}

void buffer_timestamp(struct buffer *buffer, uint64_t realtime_ns)
{
	time_t seconds = (time_t)(realtime_ns / 1000000000);
	struct tm utc;
	char text[32];

	gmtime_r(&seconds, &utc);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
	buffer_printf(buffer, "\"%s.%03uZ\"", text, (unsigned)(realtime_ns / 1000000 % 1000));
}

int buffer_error(const struct buffer *buffer)
{
	return buffer->error;
}

void buffer_free(struct buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct buffer){ 0 };
}
