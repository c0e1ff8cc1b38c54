// SPDX-License-Identifier: Apache-2.0
/*
 * Any sequence of events, sound in form, on a few connections of every protocol that is decoded: what the connection
 * table makes of them must be bounded and consistent. Each is three bytes (what it is, how many bytes follow, how many of them are
 * the end of the call behind a hole, or how long its pieces are) and its bytes.
 */
#include <stdlib.h>
#include <string.h>
#include "agent/registry.h"
#include "bpf/slow_requests.h"
#include "probes/requests_streams.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_CONNECTIONS 3
#define MAX_SERIES	16

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

/* Its bytes are followed by an account of what is not there, or of more than there is. */
static struct stream_event *account_for(struct stream_event *event, uint8_t byte)
{
	const size_t size = sizeof(*event) + event->head_size + event->tail_size;
	struct stream_event *grown = realloc(event, size + sizeof(struct stream_account));

	if (!grown)
		abort();
	memset((uint8_t *)grown + size, byte, sizeof(struct stream_account));
	grown->flags |= STREAM_HAS_LEDGER | STREAM_HAS_ACCOUNT;
	return grown;
}

/* Returns how many bytes of the input it has used. */
static size_t take_one(struct streams *streams, const uint8_t *data, size_t size, uint64_t round,
		       uint32_t sequences[8][2], uint64_t *moved)
{
	unsigned connection = data[0] & 7;
	bool from_client = data[0] & 8, gap = (data[0] & 0xf0) == 0x10;
	size_t n = data[1] < size - 3 ? data[1] : size - 3,
	       tail = (data[0] & 0xf0) == 0x20 ? 0 : data[2] & 63;
	struct stream_event *event = malloc(sizeof(*event) + n);

	if (!event)
		abort();
	if (tail > n || tail > STREAM_TAIL)
		tail = 0;
	memset(event, 0, sizeof(*event));
	memcpy(event + 1, data + 3, n);
	event->connection = connection;
	event->ns = round * 1000;
	event->size = n + (tail ? 100003 : 0);
	event->head_size = (uint16_t)(n - tail);
	event->tail_size = (uint16_t)tail;
	event->kind = (data[0] & 0xf0) == 0xf0 ? STREAM_CLOSED : STREAM_DATA;
	event->protocol = (uint8_t)(1 + connection % (PREFIX_PROTOCOLS - 2));
	event->role = connection & 1;
	event->flags = from_client ? STREAM_FROM_CLIENT : 0;
	if (!sequences[connection][0] && !sequences[connection][1])
		event->flags |= STREAM_BEGINS;
	sequences[connection][from_client] += gap;
	event->sequence = sequences[connection][from_client]++;
	if ((data[0] & 0xf0) == 0x20 && !tail)
		event = cut(event, 1 + data[2]);
	else if ((data[0] & 0xf0) == 0x30)
		event->flags |= STREAM_IN_PIECES; /* which they are not, most likely */
	*moved += event->size;
	if ((data[0] & 0xf0) == 0x40 && event->role == REQUESTS_SERVER)
		event = account_for(event, data[2]);
	streams_take_event(
		streams, event,
		sizeof(*event) + event->head_size + event->tail_size +
			(event->flags & STREAM_HAS_ACCOUNT ? sizeof(struct stream_account) : 0));
	free(event);
	return 3 + n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct call_table *calls = call_table_new(MAX_SERIES);
	struct streams *streams = streams_new(MAX_CONNECTIONS, 1, calls);
	struct registry *registry = registry_new(no_entity, NULL);
	uint32_t sequences[8][2] = { 0 };
	uint64_t moved = 0, parsed = 0, round = 0;
	struct snapshot *snapshot;

	if (!calls || !streams || !registry)
		abort();
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
	call_table_write(calls, registry_begin(registry));
	snapshot = registry_finish(registry);
	/* the table's own bound, and one for each of what stands for others: a histogram, its largest, and reasons */
	if (!snapshot ||
	    snapshot->n_series > (2 + REQUEST_REASONS) * (MAX_SERIES + 2 * PREFIX_PROTOCOLS))
		abort();
	snapshot_put(snapshot);
	registry_free(registry);
	streams_free(streams);
	call_table_free(calls);
	return 0;
}
