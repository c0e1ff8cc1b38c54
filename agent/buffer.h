/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing byte buffer. The first failed allocation latches: later appends do nothing and
 * buffer_error() tells, so writers check once, at the end. Any thread, one at a time.
 */
#ifndef LEADLINE_BUFFER_H
#define LEADLINE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

struct buffer {
	char *data;
	size_t size;
	size_t capacity;
	int error;
};

/*
 * Room for `size` more bytes at the end, to be filled by the caller, who then adds what was used to
 * buffer->size. NULL when an allocation failed.
 */
char *buffer_reserve(struct buffer *buffer, size_t size);
void buffer_append(struct buffer *buffer, const void *data, size_t size);
void buffer_string(struct buffer *buffer, const char *string);
void buffer_char(struct buffer *buffer, char c);
void buffer_printf(struct buffer *buffer, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void buffer_unsigned(struct buffer *buffer, uint64_t value);
/*
 * A number as Prometheus reads it: integers without exponent, else the shortest text that reads back
 * equal; NaN, +Inf, -Inf.
 */
void buffer_number(struct buffer *buffer, double value);
/* A JSON string with its quotes; bytes that are no UTF-8 become U+FFFD. */
void buffer_json_string(struct buffer *buffer, const char *string);
/* A moment as a JSON string: RFC 3339 in UTC, to the millisecond. */
void buffer_timestamp(struct buffer *buffer, uint64_t realtime_ns);
int buffer_error(const struct buffer *buffer); /* 0 or -ENOMEM */
void buffer_free(struct buffer *buffer);

#endif
