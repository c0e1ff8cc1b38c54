// SPDX-License-Identifier: Apache-2.0
/*
 * The inflater is nghttp2's. Three things are added.
 *
 * What was joined midway: an index counts from the newest entry of the dynamic table, so entries inserted from
 * now on are found wherever the unknown ones end. The table is filled with placeholders in their place; they go as the unknown ones do,
 * the oldest first, and a reference to one gives a name that nothing else has. What refers to more entries than there are placeholders
 * breaks the inflater, and then all entries are unknown again.
 *
 * The size of the table: the encoder says it before it uses it (RFC 7541, 4.2), within what its peer allowed. That it keeps
 * to that is not checked, hence SETTINGS need not be followed.
 *
 * Memory: nghttp2 allocates within a limit; beyond it the inflater breaks, as above.
 */
#include <malloc.h>
#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>
#include "probes/protocols/http2_hpack.h"
#include "probes/protocols/path_template.h"

/* The largest table that peers are known to allow (browsers do). */
#define MAX_TABLE 65536
/* RFC 7541, 4.1 and 6.5.2: what both sides begin with, and the size of an entry on top of its text. */
#define DEFAULT_TABLE 4096
#define ENTRY_SIZE    32

/* Entry 47 of the static table, which no use is made of; a placeholder is this with an empty value. */
#define PLACEHOLDER_NAME  "max-forwards"
#define PLACEHOLDER_INDEX 47
#define N_PLACEHOLDERS	  (DEFAULT_TABLE / (ENTRY_SIZE + sizeof(PLACEHOLDER_NAME) - 1))

struct http2_inflater {
	struct http2_memory *memory;
	nghttp2_mem allocator;
	nghttp2_hd_inflater *hpack; /* NULL: no memory for it */
	bool has_placeholders;
	bool is_broken; /* until the end of the block */
};

/* ---- memory ---- */

static void *memory_take(struct http2_memory *memory, void *taken)
{
	size_t size = taken ? malloc_usable_size(taken) : 0;

	if (size > memory->limit || memory->used > memory->limit - size) {
		free(taken);
		return NULL;
	}
	memory->used += size;
	return taken;
}

static void memory_free(void *pointer, void *context)
{
	struct http2_memory *memory = context;

	if (pointer)
		memory->used -= malloc_usable_size(pointer);
	free(pointer);
}

static void *memory_malloc(size_t size, void *context)
{
	return memory_take(context, malloc(size));
}

static void *memory_calloc(size_t n, size_t size, void *context)
{
	return memory_take(context, calloc(n, size));
}

static void *memory_realloc(void *pointer, size_t size, void *context)
{
	struct http2_memory *memory = context;
	size_t old = pointer ? malloc_usable_size(pointer) : 0;
	void *moved;

	if (size > old &&
	    (size - old > memory->limit || memory->used > memory->limit - (size - old)))
		return NULL;
	moved = realloc(pointer, size ? size : 1);
	if (moved)
		memory->used += malloc_usable_size(moved) - old;
	return moved;
}

/* ---- fields ---- */

static bool equals(const void *text, size_t size, const char *literal)
{
	return size == strlen(literal) && !memcmp(text, literal, size);
}

const char *http2_method(const void *text, size_t size)
{
	static const char *const methods[] = {
		"GET",	   "POST",  "HEAD",  "PUT",	"DELETE",
		"OPTIONS", "PATCH", "TRACE", "CONNECT", "QUERY",
	};

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (equals(text, size, methods[i]))
			return methods[i];
	return "_OTHER";
}

/* Decimal digits only; -1 when it is none, or more than `max`. */
static int parse_number(const uint8_t *text, size_t size, int max)
{
	int number = 0;

	if (!size || size > 5)
		return -1;
	for (size_t i = 0; i < size; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -1;
		number = number * 10 + (text[i] - '0');
	}
	return number <= max ? number : -1;
}

static void set_path(struct http2_block *block, const nghttp2_nv *field)
{
	size_t size = field->valuelen;

	block->has_path = true;
	block->path_is_cut = size >= sizeof(block->path) || memchr(field->value, '\0', size);
	if (size >= sizeof(block->path))
		size = sizeof(block->path) - 1;
	memcpy(block->path, field->value, size);
	block->path[size] = '\0';
	path_template((const char *)field->value, field->valuelen, block->route);
}

/* "application/grpc", "application/grpc+proto", "application/grpc;…"; "application/grpc-web" is something else. */
static bool is_grpc(const uint8_t *type, size_t size)
{
	static const char grpc[] = "application/grpc";

	if (size < sizeof(grpc) - 1 || strncasecmp((const char *)type, grpc, sizeof(grpc) - 1) != 0)
		return false;
	return size == sizeof(grpc) - 1 || type[sizeof(grpc) - 1] == '+' ||
	       type[sizeof(grpc) - 1] == ';';
}

static void take_field(const struct http2_inflater *inflater, const nghttp2_nv *field,
		       struct http2_block *block)
{
	const uint8_t *name = field->name, *value = field->value;
	size_t length = field->namelen, size = field->valuelen;
	int number;

	if (inflater->has_placeholders && equals(name, length, PLACEHOLDER_NAME)) {
		block->has_unknown = true;
	} else if (equals(name, length, ":method")) {
		block->has_method = true;
		strcpy(block->method, http2_method(value, size));
	} else if (equals(name, length, ":path")) {
		set_path(block, field);
	} else if (equals(name, length, ":status")) {
		number = parse_number(value, size, 599);
		block->status = number >= 100 ? (uint16_t)number : 0;
	} else if (equals(name, length, "content-type")) {
		block->has_content_type = true;
		block->is_grpc = is_grpc(value, size);
	} else if (equals(name, length, "grpc-status")) {
		number = parse_number(value, size, 16);
		/* gRPC over HTTP/2, "Status codes": what is not known is UNKNOWN */
		block->grpc_status = number >= 0 ? (uint8_t)number : 2;
	}
}

void http2_block_start(struct http2_block *block)
{
	memset(block, 0, sizeof(*block));
	block->grpc_status = HTTP2_NO_GRPC_STATUS;
}

/* ---- the inflater ---- */

/* 0: all is inflated, and with is_last the block is complete. */
static int inflate(struct http2_inflater *inflater, const uint8_t *bytes, size_t size, bool is_last,
		   struct http2_block *block)
{
	for (;;) {
		nghttp2_nv field;
		int flags = 0;
		ssize_t n = nghttp2_hd_inflate_hd2(inflater->hpack, &field, &flags, bytes, size,
						   is_last);

		if (n < 0)
			return -1;
		bytes += n;
		size -= (size_t)n;
		if (flags & NGHTTP2_HD_INFLATE_EMIT)
			take_field(inflater, &field, block);
		else if ((flags & NGHTTP2_HD_INFLATE_FINAL) || !size)
			break;
	}
	if (is_last)
		nghttp2_hd_inflate_end_headers(inflater->hpack);
	return 0;
}

static void fill_with_placeholders(struct http2_inflater *inflater)
{
	static const uint8_t field[] = { 0x40 | PLACEHOLDER_INDEX, 0 };
	struct http2_block ignored;

	inflater->has_placeholders = true;
	http2_block_start(&ignored);
	for (unsigned i = 0; i < N_PLACEHOLDERS; i++)
		if (inflate(inflater, field, sizeof(field), i + 1 == N_PLACEHOLDERS, &ignored))
			break; /* no memory: there are fewer */
}

/* As the encoder said before. RFC 7541, 6.3: "001", and a number with a prefix of five bits. */
static void set_table_size(struct http2_inflater *inflater, size_t size)
{
	uint8_t update[8] = { 0x20 };
	struct http2_block ignored;
	size_t n = 1;

	if (size < 31) {
		update[0] |= (uint8_t)size;
	} else {
		update[0] |= 31;
		for (size -= 31; size >= 128; size /= 128)
			update[n++] = (uint8_t)(size % 128 + 128);
		update[n++] = (uint8_t)size;
	}
	http2_block_start(&ignored);
	inflate(inflater, update, n, false, &ignored);
}

static void start(struct http2_inflater *inflater, bool midway)
{
	size_t size = DEFAULT_TABLE;

	if (inflater->hpack) {
		size = nghttp2_hd_inflate_get_max_dynamic_table_size(inflater->hpack);
		nghttp2_hd_inflate_del(inflater->hpack);
	}
	inflater->hpack = NULL;
	inflater->is_broken = false;
	if (nghttp2_hd_inflate_new2(&inflater->hpack, &inflater->allocator))
		return;
	nghttp2_hd_inflate_change_table_size(inflater->hpack, MAX_TABLE);
	if (size != DEFAULT_TABLE)
		set_table_size(inflater, size);
	if (midway)
		fill_with_placeholders(inflater);
}

struct http2_inflater *http2_inflater_new(struct http2_memory *memory, bool midway)
{
	struct http2_inflater *inflater = calloc(1, sizeof(*inflater));

	if (!inflater)
		return NULL;
	inflater->memory = memory;
	inflater->allocator = (nghttp2_mem){
		.mem_user_data = memory,
		.malloc = memory_malloc,
		.free = memory_free,
		.calloc = memory_calloc,
		.realloc = memory_realloc,
	};
	start(inflater, midway);
	return inflater;
}

void http2_inflater_free(struct http2_inflater *inflater)
{
	if (!inflater)
		return;
	if (inflater->hpack)
		nghttp2_hd_inflate_del(inflater->hpack);
	free(inflater);
}

void http2_inflater_feed(struct http2_inflater *inflater, const uint8_t *bytes, size_t size,
			 struct http2_block *block)
{
	if (inflater->is_broken || !inflater->hpack ||
	    inflate(inflater, bytes, size, false, block)) {
		inflater->is_broken = true;
		block->has_unknown = true;
	}
}

void http2_inflater_lose(struct http2_inflater *inflater)
{
	inflater->is_broken = true;
}

void http2_inflater_end(struct http2_inflater *inflater, struct http2_block *block)
{
	static const uint8_t nothing[1];

	if (inflater->is_broken || !inflater->hpack || inflate(inflater, nothing, 0, true, block)) {
		block->has_unknown = true;
		start(inflater, true);
	}
}
