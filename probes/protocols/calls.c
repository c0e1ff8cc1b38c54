// SPDX-License-Identifier: Apache-2.0
/*
 * The calls of one connection: a list in the order they began, and beside it a hash table by key while there are more
 * than a few. Owns both; a call takes memory while it is in flight, and a pool keeps that of a few that were. A protocol
 * that answers in order asks for the oldest or the newest only, and those are found without either. Loop thread only.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include "agent/utf8.h"
#include "probes/protocols/calls.h"
#include "probes/protocols/sql_memo.h"

#define FEW	       8 /* looked through one by one */
#define FIRST_BUCKETS  32
#define CALLS_A_BUCKET 2 /* on average, then the table grows */
#define MAX_SPARE      64 /* calls kept for those to come */

_Static_assert((FIRST_BUCKETS & (FIRST_BUCKETS - 1)) == 0, "a mask makes the bucket");

struct call {
	struct call *older, *newer; /* newer: of the spare ones, the next */
	struct call *next; /* in its bucket */
	uint64_t key;
	const struct protocol *inner;
	uint64_t start_ns, first_byte_ns;
	uint64_t request_bytes, response_bytes;
	bool was_alone;
	char operation[PROTOCOL_NAME_SIZE]; /* from here on, what is behind a NUL is anything */
	char target[PROTOCOL_TEXT_SIZE];
};

struct protocol_calls {
	protocol_ended ended;
	void *context;
	struct protocol_pool *pool; /* NULL: none */
	struct call *oldest, *newest;
	unsigned n;
	unsigned n_buckets; /* 0: there is no table */
	struct call **buckets;
	bool stopped;
	enum protocol_unparsed why_stopped;
	struct protocol_counts counts;
};

/* ---- memory of calls ---- */

/* NULL: no memory. */
static struct call *call_new(struct protocol_pool *pool)
{
	struct call *call = pool ? pool->spare : NULL;

	if (call) {
		pool->spare = call->newer;
		pool->n_spare--;
	} else {
		call = malloc(sizeof(*call));
	}
	if (!call)
		return NULL;
	memset(call, 0, offsetof(struct call, operation));
	call->operation[0] = '\0';
	call->target[0] = '\0';
	return call;
}

static void call_free(struct protocol_pool *pool, struct call *call)
{
	if (!pool || pool->n_spare >= MAX_SPARE) {
		free(call);
		return;
	}
	call->newer = pool->spare;
	pool->spare = call;
	pool->n_spare++;
}

/* ---- the table ---- */

static struct call **bucket_of(const struct protocol_calls *calls, uint64_t key)
{
	/* Fibonacci hashing: stream ids and counters go up in steps */
	uint64_t hash = key * UINT64_C(0x9e3779b97f4a7c15);

	return &calls->buckets[hash >> 32 & (calls->n_buckets - 1)];
}

static void table_add(struct protocol_calls *calls, struct call *call)
{
	struct call **bucket = bucket_of(calls, call->key);

	call->next = *bucket;
	*bucket = call;
}

static void table_remove(struct protocol_calls *calls, const struct call *call)
{
	struct call **at = bucket_of(calls, call->key);

	while (*at != call)
		at = &(*at)->next;
	*at = call->next;
}

/* Without memory, what is there goes on to do. */
static void table_grow(struct protocol_calls *calls)
{
	unsigned n = calls->n_buckets ? 4 * calls->n_buckets : FIRST_BUCKETS;
	struct call **buckets;

	if (calls->n <= FEW || calls->n <= CALLS_A_BUCKET * calls->n_buckets)
		return;
	buckets = calloc(n, sizeof(struct call *));
	if (!buckets)
		return;
	free(calls->buckets);
	calls->buckets = buckets;
	calls->n_buckets = n;
	for (struct call *call = calls->oldest; call; call = call->newer)
		table_add(calls, call);
}

static void table_free(struct protocol_calls *calls)
{
	free(calls->buckets);
	calls->buckets = NULL;
	calls->n_buckets = 0;
}

/* ---- the list ---- */

static struct call *call_find(const struct protocol_calls *calls, uint64_t key)
{
	struct call *call;

	if (calls->oldest && calls->oldest->key == key)
		return calls->oldest;
	if (calls->newest && calls->newest->key == key)
		return calls->newest;
	if (calls->buckets) {
		call = *bucket_of(calls, key);
		while (call && call->key != key)
			call = call->next;
		return call;
	}
	call = calls->oldest;
	while (call && call->key != key)
		call = call->newer;
	return call;
}

static void call_remove(struct protocol_calls *calls, struct call *call)
{
	if (calls->buckets)
		table_remove(calls, call);
	*(call->older ? &call->older->newer : &calls->oldest) = call->newer;
	*(call->newer ? &call->newer->older : &calls->newest) = call->older;
	if (!--calls->n)
		table_free(calls);
	if (calls->pool)
		calls->pool->n--;
	call_free(calls->pool, call);
}

/* Printable UTF-8, as much as fits. */
static void copy_text(char *destination, size_t size, const char *text)
{
	size_t at = 0;

	for (;;) {
		size_t length;
		bool printable;

		while (at + 1 < size && *text >= ' ' && *text < 0x7f) /* nearly all of it */
			destination[at++] = *text++;
		if (!*text)
			break;
		length = utf8_sequence(text);
		printable = length > 1 || (length == 1 && *text >= ' ' && *text != 0x7f);
		if (!length)
			length = 1;
		if (at + (printable ? length : 1) >= size)
			break;
		if (printable)
			memcpy(destination + at, text, length);
		else
			destination[at] = '?';
		at += printable ? length : 1;
		text += length;
	}
	destination[at] = '\0';
}

static uint64_t later_of(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void call_end(struct protocol_calls *calls, struct call *call, uint64_t ns,
		     const char *status, bool is_error)
{
	char clean_status[PROTOCOL_NAME_SIZE];
	struct protocol_call ended = {
		.operation = call->operation,
		.target = call->target,
		.status = *status ? clean_status : "",
		.is_error = is_error,
		.was_alone = call->was_alone,
		.inner = call->inner,
		.start_ns = call->start_ns,
		.first_byte_ns = call->first_byte_ns,
		/* two CPUs may tell of the two directions */
		.end_ns = later_of(ns, later_of(call->start_ns, call->first_byte_ns)),
		.request_bytes = call->request_bytes,
		.response_bytes = call->response_bytes,
	};

	if (*status)
		copy_text(clean_status, sizeof(clean_status), status);
	calls->counts.ended++;
	calls->ended(calls->context, &ended);
	call_remove(calls, call);
}

/* ---- for decoders: protocol.h ---- */

static bool has_room(struct protocol_calls *calls)
{
	struct protocol_pool *pool = calls->pool;

	if (calls->n >= PROTOCOL_MAX_CALLS)
		return false;
	if (!pool || pool->n < pool->max)
		return true;
	pool->refused++;
	return false;
}

void protocol_begin(struct protocol_calls *calls, uint64_t key, uint64_t ns)
{
	struct call *call;

	if (call_find(calls, key))
		return;
	call = has_room(calls) ? call_new(calls->pool) : NULL;
	if (!call) {
		if (calls->newest) /* whose it is not known to be alone now */
			calls->newest->was_alone = false;
		calls->counts.dropped++;
		return;
	}
	call->key = key;
	call->start_ns = ns;
	call->was_alone = !calls->n;
	if (calls->newest)
		calls->newest->was_alone = false;
	call->older = calls->newest;
	*(calls->newest ? &calls->newest->newer : &calls->oldest) = call;
	calls->newest = call;
	calls->n++;
	if (calls->pool)
		calls->pool->n++;
	calls->counts.begun++;
	if (calls->buckets)
		table_add(calls, call);
	table_grow(calls);
}

void protocol_name(struct protocol_calls *calls, uint64_t key, const char *operation,
		   const char *target)
{
	struct call *call = call_find(calls, key);

	if (!call)
		return;
	if (operation)
		copy_text(call->operation, sizeof(call->operation), operation);
	if (target)
		copy_text(call->target, sizeof(call->target), target);
}

void protocol_become(struct protocol_calls *calls, uint64_t key, const struct protocol *inner)
{
	struct call *call = call_find(calls, key);

	if (call)
		call->inner = inner;
}

void protocol_count(struct protocol_calls *calls, uint64_t key, uint64_t request_bytes,
		    uint64_t response_bytes)
{
	struct call *call = call_find(calls, key);

	if (!call)
		return;
	call->request_bytes += request_bytes;
	call->response_bytes += response_bytes;
}

void protocol_respond(struct protocol_calls *calls, uint64_t key, uint64_t ns)
{
	struct call *call = call_find(calls, key);

	if (call && !call->first_byte_ns)
		call->first_byte_ns = later_of(ns, call->start_ns);
}

void protocol_end(struct protocol_calls *calls, uint64_t key, uint64_t ns, const char *status,
		  bool is_error)
{
	struct call *call = call_find(calls, key);

	if (call)
		call_end(calls, call, ns, status, is_error);
}

void protocol_forget(struct protocol_calls *calls, uint64_t key)
{
	struct call *call = call_find(calls, key);

	if (!call)
		return;
	calls->counts.forgotten++;
	call_remove(calls, call);
}

bool protocol_is_in_flight(const struct protocol_calls *calls, uint64_t key)
{
	return call_find(calls, key);
}

int protocol_oldest(const struct protocol_calls *calls, uint64_t *ret_key, uint64_t *ret_start_ns)
{
	if (!calls->oldest)
		return -ENOENT;
	*ret_key = calls->oldest->key;
	if (ret_start_ns)
		*ret_start_ns = calls->oldest->start_ns;
	return 0;
}

void protocol_abandon(struct protocol_calls *calls)
{
	calls->counts.abandoned += calls->n;
	while (calls->oldest)
		call_remove(calls, calls->oldest);
}

void protocol_unparsed(struct protocol_calls *calls, enum protocol_unparsed reason, uint64_t bytes)
{
	calls->counts.unparsed_bytes[reason] += bytes;
}

void protocol_stop(struct protocol_calls *calls, enum protocol_unparsed reason)
{
	calls->stopped = true;
	calls->why_stopped = reason;
}

struct sql_memo *protocol_sql_memo(struct protocol_calls *calls)
{
	struct protocol_pool *pool = calls->pool;

	if (!pool)
		return NULL;
	if (!pool->memo)
		pool->memo = sql_memo_new();
	return pool->memo;
}

/* ---- for the one who feeds them: calls.h ---- */

/* A table takes 4 * 8 bytes for each call at most, beyond its first buckets, which more than FEW calls share. */
uint64_t protocol_pool_bound(const struct protocol_pool *pool)
{
	const uint64_t call = sizeof(struct call) + 16;

	return pool->n * (call + FIRST_BUCKETS * sizeof(struct call *) / FEW) +
	       pool->n_spare * call + (pool->memo ? sql_memo_size() : 0);
}

void protocol_pool_clear(struct protocol_pool *pool)
{
	struct call *next;

	for (struct call *call = pool->spare; call; call = next) {
		next = call->newer;
		free(call);
	}
	pool->spare = NULL;
	pool->n_spare = 0;
	sql_memo_free(pool->memo);
	pool->memo = NULL;
}

struct protocol_calls *protocol_calls_new(protocol_ended ended, void *context,
					  struct protocol_pool *pool)
{
	struct protocol_calls *calls = calloc(1, sizeof(*calls));

	if (!calls)
		return NULL;
	calls->ended = ended;
	calls->context = context;
	calls->pool = pool;
	return calls;
}

void protocol_calls_close(struct protocol_calls *calls, uint64_t ns)
{
	while (calls->oldest)
		call_end(calls, calls->oldest, ns, PROTOCOL_NO_RESPONSE, true);
}

void protocol_calls_free(struct protocol_calls *calls)
{
	if (!calls)
		return;
	while (calls->oldest)
		call_remove(calls, calls->oldest);
	free(calls);
}

const struct protocol_counts *protocol_calls_counts(const struct protocol_calls *calls)
{
	return &calls->counts;
}

unsigned protocol_calls_in_flight(const struct protocol_calls *calls, uint64_t *ret_oldest_ns)
{
	if (calls->oldest && ret_oldest_ns)
		*ret_oldest_ns = calls->oldest->start_ns;
	return calls->n;
}

bool protocol_calls_stopped(const struct protocol_calls *calls, enum protocol_unparsed *ret_reason)
{
	if (calls->stopped)
		*ret_reason = calls->why_stopped;
	return calls->stopped;
}
