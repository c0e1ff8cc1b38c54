// SPDX-License-Identifier: Apache-2.0
/*
 * Any sequence of events, sound in form, on a few connections of every protocol that is decoded: what the connection
 * table makes of them must be bounded and consistent. Each is three bytes (what it is, how many bytes follow, how many of them are
 * the end of the call behind a hole, or how long its pieces are, or how many events ago the exchange began that it tells
 * of) and its bytes.
 */
#include <stdlib.h>
#include <string.h>
#include "agent/registry.h"
#include "agent/request_record.h"
#include "bpf/slow_requests.h"
#include "probes/requests_streams.h"
#include "probes/slow_requests.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_CONNECTIONS 3
#define MAX_SERIES	16
#define KEPT		3 /* slow requests of a route */
#define STEP_NS		1000 /* between events */

static const char *const *no_entity(void *context, uint32_t entity)
{
	static const char *const labels[ENTITY_LABELS] = { "", "", "", "", "" };

	return labels;
}

static void count_bytes(void *context, const struct stream_bytes *bytes)
{
	uint64_t *parsed = context;

	*parsed += bytes->parsed;
}

/* The call comes in pieces of so many bytes, with more behind each that was not copied. */
static struct stream_event *cut(struct stream_event *event, size_t length)
{
	const uint8_t *at = (const uint8_t *)(event + 1), *end = at + event->head_size;
	size_t n = 0, most = event->head_size +
			     (event->head_size / length + 1) * sizeof(struct stream_piece);
	struct stream_event *pieces = malloc(sizeof(*event) + most);
	uint8_t *bytes = (uint8_t *)(pieces + 1);

	if (!pieces)
		abort();
	*pieces = *event;
	pieces->flags |= STREAM_IN_PIECES;
	pieces->size = 0;
	for (; at < end; at += length) {
		const uint32_t copied =
			(uint32_t)(length < (size_t)(end - at) ? length : (size_t)(end - at));
		const struct stream_piece piece = { copied + 1009 * (copied & 1), copied };

		length = copied;
		memcpy(bytes + n, &piece, sizeof(piece));
		memcpy(bytes + n + sizeof(piece), at, copied);
		n += sizeof(piece) + copied;
		pieces->size += piece.size;
	}
	pieces->head_size = (uint16_t)n;
	free(event);
	/* of its own size, so that a read behind it is seen */
	pieces = realloc(pieces, sizeof(*pieces) + n);
	if (!pieces)
		abort();
	return pieces;
}

/* What the bytes say, as times that fit the exchange, most of them. */
static void fill_account(struct stream_account *account, const uint8_t *bytes, size_t n,
			 uint64_t began_ns)
{
	account->began_ns = began_ns;
	for (unsigned i = 0; n && i < REQUEST_REASONS; i++)
		account->account.reasons_ns[i] = bytes[i % n] % 16 * (uint64_t)STEP_NS / 256;
	for (unsigned i = 0; n && i < TASK_DOWNSTREAMS; i++) {
		account->account.downstreams[i].ns = (int8_t)bytes[(i + 5) % n];
		account->account.downstreams[i].row = bytes[(i + 9) % n] % 4;
	}
}

/* Its bytes are followed by an account of what may be, or of what is not there, or of more than there is. */
static struct stream_event *account_for(struct stream_event *event, bool may_be, uint8_t byte)
{
	const size_t size = sizeof(*event) + event->head_size + event->tail_size;
	struct stream_event *grown = realloc(event, size + sizeof(struct stream_account));
	struct stream_account account;

	if (!grown)
		abort();
	memset(&account, byte, sizeof(account));
	if (may_be)
		fill_account(&account, (const uint8_t *)(grown + 1), grown->head_size,
			     grown->ns > byte * (uint64_t)STEP_NS
				     ? grown->ns - byte * (uint64_t)STEP_NS
				     : 0);
	memcpy((uint8_t *)grown + size, &account, sizeof(account));
	grown->flags |= STREAM_HAS_LEDGER | STREAM_HAS_ACCOUNT;
	return grown;
}

/* Before the data, and made of it. */
static void tell_path(struct streams *streams, const struct stream_event *data)
{
	struct {
		struct stream_event event;
		struct request_path path;
	} *told = calloc(1, sizeof(*told));

	if (!told)
		abort();
	told->event = *data;
	told->event.kind = STREAM_PATH;
	told->event.flags &= (uint8_t)~STREAM_IN_PIECES;
	told->event.size = told->event.head_size = told->event.tail_size = 0;
	memcpy(&told->path, data + 1,
	       data->head_size < sizeof(told->path) ? data->head_size : sizeof(told->path));
	streams_take_event(streams, told, sizeof(*told));
	free(told);
}

/* Before the data, and made of it. */
static void upgrade(struct streams *streams, const struct stream_event *data)
{
	struct {
		struct stream_event event;
		struct upgraded_request request;
	} *upgraded = calloc(1, sizeof(*upgraded));

	if (!upgraded)
		abort();
	upgraded->event = *data;
	upgraded->event.kind = STREAM_UPGRADED;
	upgraded->event.size = upgraded->event.head_size = upgraded->event.tail_size = 0;
	memcpy(&upgraded->request, data + 1,
	       data->head_size < sizeof(upgraded->request) ? data->head_size
							   : sizeof(upgraded->request));
	upgraded->request.start_ns %= 2 * STEP_NS;
	upgraded->request.answer_left %= 256;
	upgraded->request.line_size %= SLOW_REQUEST_LINE + 2;
	streams_take_event(streams, upgraded, sizeof(*upgraded));
	free(upgraded);
}

/* Returns how many bytes of the input it has used. */
static size_t take_one(struct streams *streams, const uint8_t *data, size_t size, uint64_t round,
		       uint32_t sequences[8][2], uint64_t *moved)
{
	unsigned connection = data[0] & 7, what = data[0] >> 4;
	bool from_client = data[0] & 8, gap = what == 1;
	size_t n = data[1] < size - 3 ? data[1] : size - 3,
	       tail = what == 2 || what == 4 ? 0 : data[2] & 63;
	struct stream_event *event = malloc(sizeof(*event) + n);

	if (!event)
		abort();
	if (tail > n || tail > STREAM_TAIL)
		tail = 0;
	memset(event, 0, sizeof(*event));
	memcpy(event + 1, data + 3, n);
	event->connection = connection;
	event->ns = round * STEP_NS;
	event->size = n + (tail ? 100003 : 0);
	event->head_size = (uint16_t)(n - tail);
	event->tail_size = (uint16_t)tail;
	event->kind = what == 15 ? STREAM_CLOSED : STREAM_DATA;
	event->protocol = (uint8_t)(1 + connection % (PREFIX_PROTOCOLS - 2));
	event->role = connection >> 2;
	event->flags = from_client ? STREAM_FROM_CLIENT : 0;
	if (!sequences[connection][0] && !sequences[connection][1])
		event->flags |= STREAM_BEGINS;
	sequences[connection][from_client] += gap;
	event->sequence = sequences[connection][from_client]++;
	if (what == 2 && !tail)
		event = cut(event, 1 + data[2]);
	else if (what == 3)
		event->flags |= STREAM_IN_PIECES; /* which they are not, most likely */
	if (what == 6)
		tell_path(streams, event);
	if (what == 7) {
		upgrade(streams, event);
		event->sequence = sequences[connection][from_client]++;
		event->flags &= (uint8_t)~STREAM_BEGINS;
	}
	*moved += event->size;
	if ((what == 4 || what == 5) && event->role == REQUESTS_SERVER)
		event = account_for(event, what == 4, data[2]);
	streams_take_event(
		streams, event,
		sizeof(*event) + event->head_size + event->tail_size +
			(event->flags & STREAM_HAS_ACCOUNT ? sizeof(struct stream_account) : 0));
	free(event);
	return 3 + n;
}

/* Where its time went is all of it, and what others had of it a part. */
static void check_record(const struct request_record *record)
{
	uint64_t waits_ns = 0, downstreams_ns = 0;

	for (size_t i = 0; i < record->n_waits; i++)
		waits_ns += record->waits[i].ns;
	for (size_t i = 0; i < record->n_downstreams; i++)
		downstreams_ns += record->downstreams[i].ns;
	if (waits_ns != record->duration_ns || downstreams_ns > record->duration_ns)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slow_requests *slow = slow_requests_new(KEPT, 1);
	struct call_table *calls = call_table_new(MAX_SERIES);
	struct streams *streams = streams_new(MAX_CONNECTIONS, 1, calls);
	struct registry *registry = registry_new(no_entity, NULL);
	uint32_t sequences[8][2] = { 0 };
	uint64_t moved = 0, parsed = 0, round = 0;
	struct metric_writer *writer;
	struct snapshot *snapshot;

	if (!slow || !calls || !streams || !registry)
		abort();
	streams_tell_slow(streams, slow);
	while (size >= 3) {
		size_t used = take_one(streams, data, size, ++round, sequences, &moved);

		data += used;
		size -= used;
		if (streams_counts(streams)->connections > MAX_CONNECTIONS)
			abort();
	}
	streams_expire(streams, UINT64_MAX);
	streams_each_bytes(streams, count_bytes, &parsed);
	if (parsed > moved)
		abort();
	writer = registry_begin(registry);
	call_table_write(calls, writer);
	slow_requests_write(slow, writer, round * STEP_NS);
	snapshot = registry_finish(registry);
	/* the table's own bound, and one for each of what stands for others: a histogram, its largest, and reasons */
	if (!snapshot ||
	    snapshot->n_series > (2 + REQUEST_REASONS) * (MAX_SERIES + 2 * PREFIX_PROTOCOLS))
		abort();
	for (size_t i = 0; i < snapshot->n_slow; i++)
		check_record(snapshot->slow[i].record);
	snapshot_put(snapshot);
	registry_free(registry);
	streams_free(streams);
	slow_requests_free(slow);
	call_table_free(calls);
	return 0;
}
