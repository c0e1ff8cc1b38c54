// SPDX-License-Identifier: Apache-2.0
/* A reader of io.prometheus.client.MetricFamily; see protobuf_text.h. */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "agent/utf8.h"
#include "tests/harness/protobuf_text.h"

enum type { UNSIGNED, SIGNED, DOUBLE, STRING, MESSAGE, PACKED_SIGNED };

struct message;
struct field {
	unsigned number; /* 0 ends a message's */
	const char *name;
	enum type type;
	const struct message *message;
};
struct message {
	struct field fields[12];
};

static const struct message label = { { { 1, "name", STRING }, { 2, "value", STRING } } };
static const struct message timestamp = { { { 1, "seconds", UNSIGNED },
					    { 2, "nanos", UNSIGNED } } };
static const struct message exemplar = { { { 1, "label", MESSAGE, &label },
					   { 2, "value", DOUBLE },
					   { 3, "timestamp", MESSAGE, &timestamp } } };
static const struct message plain_value = { { { 1, "value", DOUBLE } } };
static const struct message bucket = { { { 1, "cumulative_count", UNSIGNED },
					 { 2, "upper_bound", DOUBLE },
					 { 3, "exemplar", MESSAGE, &exemplar } } };
static const struct message span = { { { 1, "offset", SIGNED }, { 2, "length", UNSIGNED } } };
static const struct message histogram = { { { 1, "sample_count", UNSIGNED },
					    { 2, "sample_sum", DOUBLE },
					    { 3, "bucket", MESSAGE, &bucket },
					    { 5, "schema", SIGNED },
					    { 6, "zero_threshold", DOUBLE },
					    { 7, "zero_count", UNSIGNED },
					    { 12, "positive_span", MESSAGE, &span },
					    { 13, "positive_delta", PACKED_SIGNED },
					    { 16, "exemplars", MESSAGE, &exemplar } } };
static const struct message metric = { { { 1, "label", MESSAGE, &label },
					 { 2, "gauge", MESSAGE, &plain_value },
					 { 3, "counter", MESSAGE, &plain_value },
					 { 7, "histogram", MESSAGE, &histogram } } };
static const struct message family = { { { 1, "name", STRING },
					 { 2, "help", STRING },
					 { 3, "type", UNSIGNED },
					 { 4, "metric", MESSAGE, &metric } } };

struct reader {
	struct buffer *out;
	char *error;
	size_t error_size;
};

static bool refuse(struct reader *reader, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static bool refuse(struct reader *reader, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reader->error, reader->error_size, format, arguments);
	va_end(arguments);
	return false;
}

static bool take_varint(const unsigned char **at, const unsigned char *end, uint64_t *ret_value)
{
	*ret_value = 0;
	for (unsigned shift = 0; *at < end && shift < 64; shift += 7) {
		unsigned char byte = *(*at)++;

		*ret_value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return true;
	}
	return false;
}

static long long unzigzag(uint64_t value)
{
	return value & 1 ? -(long long)(value >> 1) - 1 : (long long)(value >> 1);
}

static bool read_message(struct reader *reader, const struct message *message,
			 const unsigned char *at, const unsigned char *end, int indent);

static bool read_string(struct reader *reader, const unsigned char *at, size_t size)
{
	char text[4096];

	if (size >= sizeof(text) || memchr(at, '\0', size))
		return refuse(reader, "a text of %zu bytes, or with a NUL", size);
	memcpy(text, at, size);
	text[size] = '\0';
	for (size_t i = 0, length; i < size; i += length) {
		length = utf8_sequence(text + i);
		if (!length)
			return refuse(reader, "a text that is not UTF-8: %s", text);
	}
	buffer_json_string(reader->out, text);
	return true;
}

static bool read_packed(struct reader *reader, const unsigned char *at, const unsigned char *end)
{
	uint64_t number;

	for (bool first = true; at < end; first = false) {
		if (!take_varint(&at, end, &number))
			return refuse(reader, "a packed list cut short");
		buffer_printf(reader->out, "%s%lld", first ? "" : " ", unzigzag(number));
	}
	return true;
}

static bool read_field(struct reader *reader, const struct field *field, unsigned wire,
		       const unsigned char **at, const unsigned char *end, int indent)
{
	static const unsigned wires[] = {
		[UNSIGNED] = 0, [SIGNED] = 0,  [DOUBLE] = 1,
		[STRING] = 2,	[MESSAGE] = 2, [PACKED_SIGNED] = 2,
	};
	uint64_t number;
	double real;

	if (wire != wires[field->type])
		return refuse(reader, "%s has wire type %u", field->name, wire);
	if (wire == 1) {
		if (end - *at < 8)
			return refuse(reader, "%s is cut short", field->name);
		memcpy(&real, *at, 8);
		*at += 8;
		buffer_number(reader->out, real);
		return true;
	}
	if (!take_varint(at, end, &number))
		return refuse(reader, "%s is cut short", field->name);
	if (wire == 0) {
		if (field->type == SIGNED)
			buffer_printf(reader->out, "%lld", unzigzag(number));
		else
			buffer_unsigned(reader->out, number);
		return true;
	}
	if (number > (uint64_t)(end - *at))
		return refuse(reader, "%s is longer than what it is in", field->name);
	*at += number;
	if (field->type == STRING)
		return read_string(reader, *at - number, number);
	if (field->type == PACKED_SIGNED)
		return read_packed(reader, *at - number, *at);
	return read_message(reader, field->message, *at - number, *at, indent + 1);
}

static bool read_message(struct reader *reader, const struct message *message,
			 const unsigned char *at, const unsigned char *end, int indent)
{
	while (at < end) {
		const struct field *field = message->fields;
		uint64_t tag;

		if (!take_varint(&at, end, &tag))
			return refuse(reader, "a tag is cut short");
		while (field->number && field->number != tag >> 3)
			field++;
		if (!field->number)
			return refuse(reader, "unknown field %llu", (unsigned long long)tag >> 3);
		buffer_printf(reader->out, "\n%*s%s:%s", 2 * indent, "", field->name,
			      field->type == MESSAGE ? "" : " ");
		if (!read_field(reader, field, tag & 7, &at, end, indent))
			return false;
	}
	return true;
}

bool protobuf_text(const void *page, size_t size, struct buffer *out, char *error,
		   size_t error_size)
{
	struct reader reader = { out, error, error_size };
	const unsigned char *at = page, *end = at + size;
	uint64_t length;

	while (at < end) {
		if (!take_varint(&at, end, &length) || length > (uint64_t)(end - at))
			return refuse(&reader, "a family is cut short");
		buffer_string(out, "family:");
		if (!read_message(&reader, &family, at, at + length, 1))
			return false;
		buffer_char(out, '\n');
		at += length;
	}
	return true;
}
