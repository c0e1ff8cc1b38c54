/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON that arrives in pieces, handed out one value at a time, so that a list of any length costs no more memory than
 * its largest element. What it parses is hostile: bytes, nesting and number of values of each element are bounded. Any
 * thread, one at a time.
 */
#ifndef LEADLINE_JSON_STREAM_H
#define LEADLINE_JSON_STREAM_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum json_stream_shape {
	JSON_STREAM_VALUES, /* objects one after the other, as a watch of Kubernetes sends them: key NULL */
	/* One object. Of its array "items" each element is handed out, of the rest each value, with its key. */
	JSON_STREAM_LIST,
};

/* What is beyond is left out, and counted. A parsed value takes up to about 150 bytes besides its text. */
#define JSON_STREAM_MAX_BYTES  (2U << 20) /* an object of etcd has up to 1.5 MiB */
#define JSON_STREAM_MAX_VALUES 32768U
#define JSON_STREAM_MAX_DEPTH  64U

/* The value is borrowed. An error ends the stream. */
typedef int (*json_stream_fn)(void *context, const char *key, json_t *value);

struct json_stream;

struct json_stream *json_stream_new(json_stream_fn on_value, void *context);
void json_stream_free(struct json_stream *stream); /* NULL is fine */

/* Forgets what came so far; its memory too, where it was unusually much. */
void json_stream_start(struct json_stream *stream, enum json_stream_shape shape);
/*
 * 0; -EBADMSG for what is no JSON or not of that shape, or when jansson could not read it for lack of memory, which it
 * does not tell apart; -ENOMEM, or what on_value returned. Errors latch.
 */
int json_stream_feed(struct json_stream *stream, const char *data, size_t size);
/* Whether the list has come to its end, or no value is half there. */
bool json_stream_is_complete(const struct json_stream *stream);
uint64_t json_stream_skipped(
	const struct json_stream *stream); /* values beyond the bounds, since it was made */

/* A whole text, an object, within the same bounds; NULL when it is none. The caller drops the reference. */
json_t *json_load_bounded(const char *data, size_t size);

/* The string under a key of an object, or NULL. */
const char *json_text(const json_t *object, const char *key);

#endif
