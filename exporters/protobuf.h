/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes protocol buffers' wire format (https://protobuf.dev/programming-guides/encoding/) to the end of a buffer. As with
 * the buffer's own functions, the first failed allocation latches; buffer_error() tells.
 */
#ifndef LEADLINE_EXPORTERS_PROTOBUF_H
#define LEADLINE_EXPORTERS_PROTOBUF_H

#include <stdint.h>
#include "agent/buffer.h"

void protobuf_varint(struct buffer *out, uint64_t value); /* bare, without a field's tag */
/* Small negative numbers become small positive ones: the value of a sint32 or sint64 as a varint. */
uint64_t protobuf_zigzag(int64_t value);

void protobuf_unsigned(struct buffer *out, unsigned field, uint64_t value); /* also enum, bool */
void protobuf_signed(struct buffer *out, unsigned field, int64_t value); /* sint32, sint64 */
void protobuf_double(struct buffer *out, unsigned field, double value);
/* Bytes that are no UTF-8 become U+FFFD: readers refuse the whole message otherwise. */
void protobuf_string(struct buffer *out, unsigned field, const char *string);

/*
 * A message inside a message, or a packed list: what is written between begin and end. `protobuf_begin_delimited` has no
 * field: one message of a stream, each preceded by its length. Begin returns what end wants to have.
 */
size_t protobuf_begin(struct buffer *out, unsigned field);
size_t protobuf_begin_delimited(struct buffer *out);
void protobuf_end(struct buffer *out, size_t begin);

#endif
