// SPDX-License-Identifier: Apache-2.0
/* Protocol buffers' wire format; see protobuf.h. Any thread. */
#include <endian.h>
#include <string.h>
#include "agent/utf8.h"
#include "exporters/protobuf.h"

enum wire_type { WIRE_VARINT = 0, WIRE_64_BIT = 1, WIRE_LENGTH = 2 };

#define VARINT_MAX 10 /* bytes: 64 bits by seven */

static size_t put_varint(char *at, uint64_t value)
{
	size_t n = 0;

	for (; value >= 0x80; value >>= 7)
		at[n++] = (char)(value | 0x80);
	at[n++] = (char)value;
	return n;
}

void protobuf_varint(struct buffer *out, uint64_t value)
{
	char *at = buffer_reserve(out, VARINT_MAX);

	if (at)
		out->size += put_varint(at, value);
}

uint64_t protobuf_zigzag(int64_t value)
{
	return ((uint64_t)value << 1) ^ (value < 0 ? UINT64_MAX : 0);
}

static void put_tag(struct buffer *out, unsigned field, enum wire_type type)
{
	protobuf_varint(out, (uint64_t)field << 3 | type);
}

void protobuf_unsigned(struct buffer *out, unsigned field, uint64_t value)
{
	put_tag(out, field, WIRE_VARINT);
	protobuf_varint(out, value);
}

void protobuf_signed(struct buffer *out, unsigned field, int64_t value)
{
	protobuf_unsigned(out, field, protobuf_zigzag(value));
}

void protobuf_double(struct buffer *out, unsigned field, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	bits = htole64(bits);
	put_tag(out, field, WIRE_64_BIT);
	buffer_append(out, &bits, sizeof(bits));
}

void protobuf_string(struct buffer *out, unsigned field, const char *string)
{
	size_t begin = protobuf_begin(out, field), length;
	const char *plain = string; /* what is not yet written */

	while (*string) {
		length = utf8_sequence(string);
		if (length) {
			string += length;
			continue;
		}
		buffer_append(out, plain, (size_t)(string - plain));
		buffer_string(out, UTF8_REPLACEMENT);
		plain = ++string;
	}
	buffer_append(out, plain, (size_t)(string - plain));
	protobuf_end(out, begin);
}

size_t protobuf_begin(struct buffer *out, unsigned field)
{
	put_tag(out, field, WIRE_LENGTH);
	return protobuf_begin_delimited(out);
}

/* One byte is kept for the length, which most need no more than. */
size_t protobuf_begin_delimited(struct buffer *out)
{
	buffer_char(out, 0);
	return out->size;
}

void protobuf_end(struct buffer *out, size_t begin)
{
	size_t size = out->size - begin, n;
	char length[VARINT_MAX];

	n = put_varint(length, size);
	if (!buffer_reserve(out, n - 1))
		return;
	if (n > 1)
		memmove(out->data + begin + n - 1, out->data + begin, size);
	memcpy(out->data + begin - 1, length, n);
	out->size += n - 1;
}
