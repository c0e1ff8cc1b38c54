// SPDX-License-Identifier: Apache-2.0
/* Events of the kernel side to the decoders; see requests_streams.h. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include "agent/hash.h"
#include "probes/protocols/path_template.h"
#include "probes/requests_tables.h"
#include "probes/requests_streams.h"
#include "probes/slow_requests.h"
#include "bpf/slow_requests.h"

/* Resolvers ask some times, 5 s apart by default. */
#define DATAGRAM_SILENCE_NS 30000000000ULL

struct connection {
	UT_hash_handle hh;
	struct connection *prev, *next; /* by when it was last heard of */
	uint64_t id, last_ns;
	struct streams *streams;
	const struct protocol *protocol;
	void *decoder;
	struct protocol_calls *calls;
	uint64_t abandoned, dropped, unparsed[PROTOCOL_UNPARSED_REASONS]; /* as counted already */
	struct byte_row *byte_row; /* of its entity, as long as this is the generation */
	uint64_t row_generation;
	uint32_t entity;
	uint32_t pid, tid; /* of the last event */
	uint32_t next_sequence[2]; /* of events: from the server, from the client */
	bool is_known[2]; /* an event of this direction has come */
	bool begun_midway;
	bool is_encrypted; /* within TLS */
	bool is_stopped;
	bool has_ended_one; /* of its calls */
	bool has_ledger; /* where its time goes can be told */
	struct request_path path;
	/* Of the event at hand; NULL: it has none. */
	const struct stream_account *account;
	uint64_t account_ns;
	uint8_t number; /* enum prefix_protocol */
	uint8_t role;
};

struct byte_row {
	UT_hash_handle hh;
	uint64_t key;
	struct stream_bytes bytes;
	uint64_t seen, told_parsed;
};

struct streams {
	struct connection *by_id;
	struct connection *heard, *heard_datagrams; /* the first was silent longest */
	struct byte_row *byte_rows;
	uint64_t row_generation; /* counted up when rows are freed */
	const struct protocol *protocols[PREFIX_PROTOCOLS]; /* decoders; NULL: there is none */
	struct call_table *calls;
	struct slow_requests *slow; /* NULL: not kept */
	const struct request_wait_tables *waits; /* NULL: not told */
	struct stream_counts counts;
	struct protocol_pool pool;
	struct stream_stopper stopper; /* stop is NULL: none */
	unsigned max_connections;
	unsigned weight; /* an event stands for so many */
	uint32_t max_entities;
};

/* ---- decoders ---- */

static const struct {
	const char *name;
	const struct protocol *protocol;
} decoders[] = {
#define PROTOCOL(name) { #name, &protocol_##name },
#include "probes/protocols/protocols.def"
#undef PROTOCOL
	{ "", NULL },
};

/* The lines of protocols.def that the kernel side's classes are decoded by. */
static const char *const decoder_names[PREFIX_PROTOCOLS] = {
	[PREFIX_HTTP2] = "http2", [PREFIX_POSTGRESQL] = "postgresql",
	[PREFIX_MYSQL] = "mysql", [PREFIX_REDIS] = "redis",
	[PREFIX_DNS] = "dns",	  [PREFIX_DNS_TCP] = "dns_tcp",
};

static const struct protocol *decoder_of(unsigned number)
{
	if (number >= PREFIX_PROTOCOLS || !decoder_names[number])
		return NULL;
	for (size_t i = 0; decoders[i].protocol; i++)
		if (!strcmp(decoders[i].name, decoder_names[number]))
			return decoders[i].protocol;
	return NULL;
}

uint32_t streams_decodable(void)
{
	uint32_t mask = 0;

	for (unsigned number = 0; number < PREFIX_PROTOCOLS; number++)
		mask |= (uint32_t)(decoder_of(number) != NULL) << number;
	return mask;
}

/* ---- bytes ---- */

static struct byte_row *byte_row_of(struct streams *streams, uint32_t entity, unsigned number)
{
	uint64_t key = (uint64_t)entity << 8 | number;
	struct byte_row *row;

	HASH_FIND(hh, streams->byte_rows, &key, sizeof(key), row);
	if (row)
		return row;
	row = calloc(1, sizeof(*row));
	if (!row)
		return NULL;
	row->key = key;
	row->bytes.entity = entity;
	row->bytes.protocol = number;
	HASH_ADD(hh, streams->byte_rows, key, sizeof(row->key), row);
	if (HASH_TOOK(row))
		return row;
	free(row);
	return NULL;
}

static struct byte_row *byte_row_of_connection(struct connection *connection)
{
	struct streams *streams = connection->streams;

	if (connection->byte_row && connection->row_generation == streams->row_generation &&
	    connection->byte_row->bytes.entity == connection->entity)
		return connection->byte_row;
	connection->byte_row = byte_row_of(streams, connection->entity, connection->number);
	connection->row_generation = streams->row_generation;
	return connection->byte_row;
}

/* Takes over what the decoder has left out since the last time. */
static void count_unparsed(struct connection *connection, uint64_t seen)
{
	const struct protocol_counts *counts = protocol_calls_counts(connection->calls);
	struct stream_counts *totals = &connection->streams->counts;
	struct byte_row *row = byte_row_of_connection(connection);

	totals->abandoned += counts->abandoned - connection->abandoned;
	connection->abandoned = counts->abandoned;
	totals->dropped += counts->dropped - connection->dropped;
	connection->dropped = counts->dropped;
	if (row)
		row->seen += seen * connection->streams->weight;
	for (int i = 0; i < PROTOCOL_UNPARSED_REASONS; i++) {
		uint64_t bytes = counts->unparsed_bytes[i] - connection->unparsed[i];

		if (!bytes) /* nearly always */
			continue;
		if (row)
			row->bytes.unparsed[i] += bytes * connection->streams->weight;
		connection->unparsed[i] = counts->unparsed_bytes[i];
	}
}

void streams_each_bytes(struct streams *streams,
			void (*callback)(void *context, const struct stream_bytes *bytes),
			void *context)
{
	for (struct byte_row *row = streams->byte_rows; row; row = row->hh.next) {
		uint64_t unparsed = 0;

		for (int i = 0; i < PROTOCOL_UNPARSED_REASONS; i++)
			unparsed += row->bytes.unparsed[i];
		/* A decoder may give up on bytes after the fact: the counter waits then. */
		if (row->seen > unparsed && row->seen - unparsed > row->told_parsed)
			row->told_parsed = row->seen - unparsed;
		row->bytes.parsed = row->told_parsed;
		callback(context, &row->bytes);
	}
}

/* ---- connections ---- */

static struct connection **heard_list(struct connection *connection)
{
	return connection->number == PREFIX_DNS ? &connection->streams->heard_datagrams
						: &connection->streams->heard;
}

/* What is told of an exchange is told of the call that it consists of; of others, nothing is known. */
static const struct request_account *account_of(const struct connection *connection,
						const struct protocol_call *call)
{
	static const struct request_account unknown;
	const struct stream_account *account = connection->account;

	if (!connection->has_ledger)
		return NULL;
	if (!account || !call->was_alone || call->start_ns != account->began_ns ||
	    call->end_ns != connection->account_ns)
		return &unknown;
	return &account->account;
}

static void call_ended(void *context, const struct protocol_call *call)
{
	struct connection *connection = context;
	struct streams *streams = connection->streams;
	const struct request_account *account = account_of(connection, call);
	const struct slow_call_place place = {
		.entity = connection->entity,
		.pid = connection->pid,
		.tid = connection->tid,
		.number = connection->number,
		.role = connection->role,
		.path = &connection->path,
		.is_first = !connection->has_ended_one,
		.account = account,
		.waits = streams->waits,
	};
	struct protocol_call named = *call;

	connection->has_ended_one = true;
	named.is_encrypted = connection->is_encrypted;
	named.target = call_table_record(streams->calls, connection->entity, connection->role,
					 connection->protocol, &named, account);
	if (streams->slow)
		slow_requests_take_call(streams->slow, &place, connection->protocol, &named);
}

static void forget_connection(struct connection *connection)
{
	struct connection **list = heard_list(connection);

	DL_DELETE(*list, connection);
	HASH_DEL(connection->streams->by_id, connection);
	connection->streams->counts.connections--;
	if (connection->is_stopped && connection->streams->stopper.gone)
		connection->streams->stopper.gone(connection->streams->stopper.context,
						  connection->id);
	connection->protocol->close(connection->decoder);
	protocol_calls_free(connection->calls);
	free(connection);
}

/* It is known to be over: calls without response will have none. */
static void close_connection(struct connection *connection, uint64_t ns)
{
	protocol_calls_close(connection->calls, ns);
	count_unparsed(connection, 0);
	forget_connection(connection);
}

static void make_room(struct streams *streams)
{
	struct connection *oldest = streams->heard_datagrams;

	if (!oldest || (streams->heard && streams->heard->last_ns < oldest->last_ns))
		oldest = streams->heard;
	if (!oldest)
		return;
	protocol_abandon(oldest->calls);
	count_unparsed(oldest, 0);
	forget_connection(oldest);
	streams->counts.evicted++;
}

static struct connection *open_connection(struct streams *streams, const struct stream_event *event)
{
	struct connection *connection;

	if (streams->counts.connections >= streams->max_connections)
		make_room(streams);
	connection = calloc(1, sizeof(*connection));
	if (!connection)
		return NULL;
	connection->streams = streams;
	connection->id = event->connection;
	connection->number = event->protocol;
	connection->role = event->role;
	connection->entity = event->entity;
	connection->protocol = streams->protocols[event->protocol];
	connection->begun_midway =
		(event->flags & STREAM_MIDWAY) || !(event->flags & STREAM_BEGINS);
	connection->is_encrypted = event->flags & STREAM_ENCRYPTED;
	connection->decoder = connection->protocol->open(connection->begun_midway);
	connection->calls = protocol_calls_new(call_ended, connection, &streams->pool);
	if (!connection->decoder || !connection->calls)
		goto failed;
	HASH_ADD(hh, streams->by_id, id, sizeof(connection->id), connection);
	if (!HASH_TOOK(connection))
		goto failed;
	DL_APPEND(*heard_list(connection), connection);
	streams->counts.connections++;
	return connection;

failed:
	connection->protocol->close(connection->decoder);
	protocol_calls_free(connection->calls);
	free(connection);
	return NULL;
}

/* ---- events ---- */

/* The pieces of a call must be all of it. */
static bool are_pieces(const struct stream_event *event)
{
	const uint8_t *at = (const uint8_t *)(event + 1), *end = at + event->head_size;
	struct stream_piece piece;
	uint64_t size = 0;

	while ((size_t)(end - at) >= sizeof(piece)) {
		memcpy(&piece, at, sizeof(piece));
		at += sizeof(piece);
		if (piece.copied > piece.size || piece.copied > (size_t)(end - at))
			return false;
		at += piece.copied;
		size += piece.size;
	}
	return at == end && size == event->size;
}

/* What follows the bytes. */
static size_t size_behind(const struct stream_event *event)
{
	if (event->kind == STREAM_PATH)
		return sizeof(struct request_path);
	if (event->kind == STREAM_UPGRADED)
		return sizeof(struct upgraded_request);
	return event->flags & STREAM_HAS_ACCOUNT ? sizeof(struct stream_account) : 0;
}

/* Of a protocol that connections are upgraded to, and before all else on this one. */
static bool is_upgrade(const struct streams *streams, const struct stream_event *event)
{
	const struct upgraded_request *request = (const void *)(event + 1);

	return streams->protocols[event->protocol]->upgraded && !event->size &&
	       event->flags & STREAM_BEGINS && event->flags & STREAM_FROM_CLIENT &&
	       !(event->flags & (STREAM_MIDWAY | STREAM_IN_PIECES)) && !event->sequence &&
	       request->line_size <= sizeof(request->line);
}

static bool is_sound(const struct streams *streams, const struct stream_event *event, size_t size)
{
	size_t copied = (size_t)event->head_size + event->tail_size;

	if (event->kind == STREAM_PATH && (copied || event->flags & STREAM_IN_PIECES))
		return false;
	if (event->flags & STREAM_HAS_ACCOUNT &&
	    (event->kind != STREAM_DATA || event->role != REQUESTS_SERVER))
		return false;
	return (event->kind <= STREAM_CLOSED || event->kind == STREAM_PATH ||
		event->kind == STREAM_UPGRADED) &&
	       event->role < REQUESTS_ROLES && event->entity < streams->max_entities &&
	       event->protocol < PREFIX_PROTOCOLS && streams->protocols[event->protocol] &&
	       size == sizeof(*event) + copied + size_behind(event) &&
	       (event->flags & STREAM_IN_PIECES ? are_pieces(event) : copied <= event->size) &&
	       (event->kind != STREAM_UPGRADED || is_upgrade(streams, event));
}

/* Events that should have come before this one have not, nor will. */
static void find_gap(struct connection *connection, const struct stream_event *event,
		     bool from_client)
{
	uint32_t expected = connection->next_sequence[from_client];

	connection->next_sequence[from_client] = event->sequence + 1;
	if (!connection->is_known[from_client]) {
		connection->is_known[from_client] = true;
		if (connection->begun_midway) /* it is not known what came before */
			return;
	}
	if (event->sequence == expected)
		return;
	connection->streams->counts.gaps++;
	connection->protocol->gap(connection->decoder, from_client, connection->calls);
}

static void feed_call(struct connection *connection, const struct stream_event *event)
{
	const uint8_t *bytes = (const uint8_t *)(event + 1);
	const struct protocol_piece piece = {
		.ns = event->ns,
		.size = event->size,
		.head = bytes,
		.head_size = event->head_size,
		.tail = bytes + event->head_size,
		.tail_size = event->tail_size,
		.from_client = event->flags & STREAM_FROM_CLIENT,
	};

	connection->protocol->feed(connection->decoder, &piece, connection->calls);
}

static void feed_pieces(struct connection *connection, const struct stream_event *event)
{
	const uint8_t *at = (const uint8_t *)(event + 1), *end = at + event->head_size;
	struct stream_piece copied;

	while (at < end) {
		memcpy(&copied, at, sizeof(copied));
		at += sizeof(copied);
		connection->protocol->feed(connection->decoder,
					   &(struct protocol_piece){
						   .ns = event->ns,
						   .size = copied.size,
						   .head = at,
						   .head_size = copied.copied,
						   .tail = at + copied.copied,
						   .from_client = event->flags & STREAM_FROM_CLIENT,
					   },
					   connection->calls);
		at += copied.copied;
	}
}

static void take_path(struct connection *connection, const struct stream_event *event)
{
	memcpy(&connection->path, event + 1, sizeof(connection->path));
	connection->last_ns = event->ns;
}

/* The decoder wants no more: the kernel side need not copy. */
static void look_for_stop(struct connection *connection)
{
	struct streams *streams = connection->streams;
	enum protocol_unparsed reason;

	if (connection->is_stopped || !protocol_calls_stopped(connection->calls, &reason))
		return;
	connection->is_stopped = true;
	streams->counts.stopped++;
	if (streams->stopper.stop)
		streams->stopper.stop(streams->stopper.context, connection->id,
				      reason == PROTOCOL_ENCRYPTED ? STREAM_STOP_ENCRYPTED
								   : STREAM_STOP_MALFORMED);
}

/* An event that has its place in the sequence. */
static void take_turn(struct connection *connection, const struct stream_event *event)
{
	struct connection **list = heard_list(connection);

	connection->has_ledger = event->flags & STREAM_HAS_LEDGER;
	connection->entity = event->entity;
	connection->pid = event->pid;
	connection->tid = event->tid;
	connection->last_ns = event->ns;
	DL_DELETE(*list, connection);
	DL_APPEND(*list, connection);
	find_gap(connection, event, event->flags & STREAM_FROM_CLIENT);
}

static int take_upgrade(struct connection *connection, const struct stream_event *event)
{
	const struct upgraded_request *request = (const void *)(event + 1);
	struct path_target target;
	char route[PATH_TEMPLATE_SIZE];

	if (connection->is_known[0] || connection->is_known[1] || connection->begun_midway)
		return -EBADMSG;
	take_turn(connection, event);
	target = path_target_of_line((const char *)request->line, request->line_size);
	path_template_of(&target, route);
	connection->protocol->upgraded(
		connection->decoder,
		&(struct protocol_upgrade){
			.start_ns = request->start_ns < event->ns ? request->start_ns : event->ns,
			.request_bytes = request->request_bytes,
			.response_bytes = request->response_bytes,
			.answer_left = request->answer_left,
			.operation = requests_method(request->method),
			.target = route,
		},
		connection->calls);
	return 0;
}

static void take_data(struct connection *connection, const struct stream_event *event)
{
	struct stream_account account;

	if (event->flags & STREAM_HAS_ACCOUNT) {
		memcpy(&account, (const uint8_t *)(event + 1) + event->head_size + event->tail_size,
		       sizeof(account));
		connection->account = &account;
		connection->account_ns = event->ns;
	}
	take_turn(connection, event);
	if (event->flags & STREAM_IN_PIECES)
		feed_pieces(connection, event);
	else
		feed_call(connection, event);
	count_unparsed(connection, event->size);
	look_for_stop(connection);
	connection->account = NULL;
}

int streams_take_event(struct streams *streams, const void *data, size_t size)
{
	const struct stream_event *event = data;
	struct connection *connection;

	if (size < sizeof(*event) || !is_sound(streams, event, size))
		return -EBADMSG;
	streams->counts.events++;
	HASH_FIND(hh, streams->by_id, &event->connection, sizeof(event->connection), connection);
	if (connection &&
	    (connection->number != event->protocol || connection->role != event->role))
		return -EBADMSG;
	if (event->kind == STREAM_CLOSED) {
		if (!connection)
			return 0;
		if (connection->next_sequence[0] !=
		    event->sequence) /* what was lost may have answered */
			protocol_abandon(connection->calls);
		close_connection(connection, event->ns);
		return 0;
	}
	if (!connection)
		connection = open_connection(streams, event);
	if (!connection) {
		streams->counts.no_memory++;
		return 0;
	}
	if (event->kind == STREAM_UPGRADED)
		return take_upgrade(connection, event);
	if (event->kind == STREAM_PATH)
		take_path(connection, event);
	else
		take_data(connection, event);
	return 0;
}

void streams_each_in_flight(struct streams *streams,
			    void (*callback)(void *context, uint32_t entity,
					     enum requests_role role, unsigned n,
					     uint64_t oldest_ns),
			    void *context)
{
	for (struct connection *connection = streams->by_id; connection;
	     connection = connection->hh.next) {
		uint64_t oldest_ns = 0;
		unsigned n = protocol_calls_in_flight(connection->calls, &oldest_ns);

		if (n)
			callback(context, connection->entity, connection->role, n, oldest_ns);
	}
}

void streams_expire(struct streams *streams, uint64_t now_ns)
{
	struct connection *connection;

	while ((connection = streams->heard_datagrams) &&
	       connection->last_ns + DATAGRAM_SILENCE_NS <= now_ns)
		close_connection(connection, now_ns);
}

void streams_forget_entity(struct streams *streams, uint32_t entity)
{
	struct byte_row *row, *next;

	streams->row_generation++;
	HASH_ITER(hh, streams->byte_rows, row, next)
	{
		if (row->bytes.entity != entity)
			continue;
		HASH_DEL(streams->byte_rows, row);
		free(row);
	}
}

const struct stream_counts *streams_counts(struct streams *streams)
{
	streams->counts.refused = streams->pool.refused;
	return &streams->counts;
}

uint64_t streams_bound(const struct streams *streams)
{
	const uint64_t connection = sizeof(struct connection) + PROTOCOL_MAX_STATE;

	return connection * streams->counts.connections + protocol_pool_bound(&streams->pool) +
	       HASH_COUNT(streams->byte_rows) * (uint64_t)(sizeof(struct byte_row) + 64);
}

struct streams *streams_new(unsigned max_connections, unsigned max_entities,
			    struct call_table *calls)
{
	struct streams *streams = calloc(1, sizeof(*streams));

	if (!streams)
		return NULL;
	streams->max_connections = max_connections;
	streams->weight = 1;
	streams->pool.max = max_connections;
	streams->max_entities = max_entities;
	for (unsigned number = 0; number < PREFIX_PROTOCOLS; number++)
		streams->protocols[number] = decoder_of(number);
	streams->calls = calls;
	return streams;
}

void streams_weigh(struct streams *streams, unsigned weight)
{
	streams->weight = weight;
	call_table_weigh(streams->calls, weight);
}

void streams_tell_slow(struct streams *streams, struct slow_requests *slow)
{
	streams->slow = slow;
}

void streams_tell_downstreams(struct streams *streams, const struct request_wait_tables *waits)
{
	streams->waits = waits;
	call_table_tell_downstreams(streams->calls, waits);
}

void streams_tell_stops(struct streams *streams, const struct stream_stopper *stopper)
{
	streams->stopper = *stopper;
}

void streams_free(struct streams *streams)
{
	struct connection *connection, *next;
	struct byte_row *row, *next_row;

	if (!streams)
		return;
	HASH_ITER(hh, streams->by_id, connection, next)
	forget_connection(connection);
	HASH_ITER(hh, streams->byte_rows, row, next_row)
	{
		HASH_DEL(streams->byte_rows, row);
		free(row);
	}
	protocol_pool_clear(&streams->pool);
	free(streams);
}
