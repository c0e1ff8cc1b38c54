// SPDX-License-Identifier: Apache-2.0
/* Which requests are kept in detail; see slow_requests.h. */
#include <stdlib.h>
#include <string.h>
#include "agent/hash.h"
#include "agent/request_record.h"
#include "bpf/lib/protocol_numbers.h"
#include "probes/requests_calls.h"
#include "probes/slow_gate.h"
#include "probes/slow_requests.h"
#include "probes/slow_requests_internal.h"

#define WINDOWS		2
#define EXAMPLE_MINUTES 10 /* then one is too old to show */
#define BUCKETS		(REQUESTS_BOUNDS + 1)

/* The beginning of a key; operation and route follow, each with its NUL. No padding. */
struct route_head {
	const char *protocol;
	uint32_t entity;
	uint32_t role;
};
#define KEY_SIZE (sizeof(struct route_head) + 2 * PROTOCOL_TEXT_SIZE)

struct route {
	UT_hash_handle hh;
	uint64_t minute; /* of the newer window */
	/* The slowest first, each with a reference. */
	const struct request_record **kept[WINDOWS];
	unsigned n_kept[WINDOWS];
	struct {
		const struct request_record *record; /* NULL: none */
		uint64_t minute;
	} examples[BUCKETS];
	struct route_head head;
	char key[];
};

struct slow_requests {
	struct route *routes;
	struct slow_paths *paths;
	struct slow_gate kernel_gates[REQUESTS_ROLES];
	struct slow_gate call_gates[PREFIX_PROTOCOLS][REQUESTS_ROLES];
	struct slow_counts counts;
	uint64_t bytes; /* of routes and records */
	unsigned kept, max_entities;
};

struct slow_requests *slow_requests_new(unsigned kept, unsigned max_entities)
{
	struct slow_requests *slow = calloc(1, sizeof(*slow));

	if (!slow)
		return NULL;
	slow->kept = kept < SLOW_MAX_KEPT ? kept : SLOW_MAX_KEPT;
	slow->max_entities = max_entities;
	slow->paths = slow_paths_new();
	if (slow->paths)
		return slow;
	free(slow);
	return NULL;
}

/* ---- routes ---- */

static void drop_record(struct slow_requests *slow, const struct request_record *record)
{
	if (!record)
		return;
	slow->bytes -= request_record_size(record);
	request_record_put(record);
}

static void clear_window(struct slow_requests *slow, struct route *route, int window)
{
	for (unsigned i = 0; i < route->n_kept[window]; i++)
		drop_record(slow, route->kept[window][i]);
	route->n_kept[window] = 0;
}

static size_t route_size(const struct slow_requests *slow)
{
	return sizeof(struct route) + KEY_SIZE +
	       WINDOWS * slow->kept * sizeof(struct request_record *) + 64;
}

static void free_route(struct slow_requests *slow, struct route *route)
{
	HASH_DEL(slow->routes, route);
	slow->counts.routes--;
	slow->bytes -= route_size(slow);
	for (int window = 0; window < WINDOWS; window++)
		clear_window(slow, route, window);
	for (int bucket = 0; bucket < BUCKETS; bucket++)
		drop_record(slow, route->examples[bucket].record);
	free(route->kept[0] < route->kept[1] ? route->kept[0] : route->kept[1]);
	free(route);
}

void slow_requests_free(struct slow_requests *slow)
{
	struct route *route, *next;

	if (!slow)
		return;
	HASH_ITER(hh, slow->routes, route, next)
	free_route(slow, route);
	slow_paths_free(slow->paths);
	free(slow);
}

static uint64_t slowest_of(const struct route *route)
{
	uint64_t slowest = 0;

	for (int window = 0; window < WINDOWS; window++)
		if (route->n_kept[window] && route->kept[window][0]->duration_ns > slowest)
			slowest = route->kept[window][0]->duration_ns;
	return slowest;
}

/* False: all there are have slower ones. */
static bool make_room(struct slow_requests *slow, uint64_t duration_ns)
{
	struct route *quickest = NULL;
	uint64_t least = duration_ns;

	for (struct route *route = slow->routes; route; route = route->hh.next)
		if (slowest_of(route) < least) {
			quickest = route;
			least = slowest_of(route);
		}
	slow->counts.evicted++;
	if (!quickest)
		return false;
	free_route(slow, quickest);
	return true;
}

static size_t add_text(char *key, size_t at, const char *text)
{
	size_t size = strnlen(text, PROTOCOL_TEXT_SIZE - 1);

	memcpy(key + at, text, size);
	key[at + size] = '\0';
	return at + size + 1;
}

static struct route *add_route(struct slow_requests *slow, const struct route_head *head,
			       const char *key, size_t key_size)
{
	struct route *route = calloc(1, sizeof(*route) + key_size);

	if (!route)
		return NULL;
	route->kept[0] = calloc((size_t)WINDOWS * slow->kept, sizeof(*route->kept[0]));
	if (!route->kept[0])
		goto failed;
	route->kept[1] = route->kept[0] + slow->kept;
	route->head = *head;
	memcpy(route->key, key, key_size);
	HASH_ADD_KEYPTR(hh, slow->routes, route->key, key_size, route);
	if (!HASH_TOOK(route))
		goto failed;
	slow->counts.routes++;
	slow->bytes += route_size(slow);
	return route;

failed:
	free(route->kept[0]);
	free(route);
	return NULL;
}

/* NULL: no memory, or all others have slower ones. */
static struct route *route_of(struct slow_requests *slow, const struct route_head *head,
			      const struct request_record *facts)
{
	char key[KEY_SIZE];
	size_t at, size;
	struct route *route;

	memcpy(key, head, sizeof(*head));
	at = add_text(key, sizeof(*head), facts->operation);
	size = add_text(key, at, facts->route);
	HASH_FIND(hh, slow->routes, key, size, route);
	if (route)
		return route;
	if (slow->counts.routes >= SLOW_MAX_ROUTES && !make_room(slow, facts->duration_ns))
		return NULL;
	route = add_route(slow, head, key, size);
	if (!route)
		slow->counts.no_memory++;
	return route;
}

/* ---- keeping ---- */

static void turn_windows(struct slow_requests *slow, struct route *route, uint64_t minute)
{
	const struct request_record **older = route->kept[1];

	if (minute <= route->minute)
		return;
	clear_window(slow, route, 1);
	if (minute > route->minute + 1) {
		clear_window(slow, route, 0);
	} else {
		route->kept[1] = route->kept[0];
		route->n_kept[1] = route->n_kept[0];
		route->kept[0] = older;
		route->n_kept[0] = 0;
	}
	route->minute = minute;
}

/* The window of a minute where it is one of the slowest; else -1. */
static int window_for(const struct slow_requests *slow, const struct route *route, uint64_t minute,
		      uint64_t duration_ns)
{
	int window = minute == route->minute ? 0 : minute + 1 == route->minute ? 1 : -1;
	unsigned n = window < 0 ? 0 : route->n_kept[window];

	if (n && n == slow->kept && route->kept[window][n - 1]->duration_ns >= duration_ns)
		return -1;
	return window;
}

static void keep(struct slow_requests *slow, struct route *route, int window,
		 const struct request_record *record)
{
	const struct request_record **kept = route->kept[window];
	unsigned at = route->n_kept[window];

	if (at == slow->kept)
		drop_record(slow, kept[--at]);
	else
		route->n_kept[window]++;
	for (; at && kept[at - 1]->duration_ns < record->duration_ns; at--)
		kept[at] = kept[at - 1];
	kept[at] = request_record_get(record);
	slow->bytes += request_record_size(record);
}

static unsigned bucket_of(uint64_t ns)
{
	static const uint64_t bounds_ns[] = REQUESTS_BOUNDS_NS;
	unsigned bucket = 0;

	while (bucket < REQUESTS_BOUNDS && ns > bounds_ns[bucket])
		bucket++;
	return bucket;
}

/* The slowest of the latest minute that had one. */
static bool is_example(const struct route *route, unsigned bucket, uint64_t minute,
		       uint64_t duration_ns)
{
	const struct request_record *record = route->examples[bucket].record;

	return !record || minute > route->examples[bucket].minute ||
	       (minute == route->examples[bucket].minute && duration_ns > record->duration_ns);
}

void slow_requests_keep(struct slow_requests *slow, uint32_t entity, enum requests_role role,
			const struct request_record *facts)
{
	const struct route_head head = { facts->protocol, entity, role };
	uint64_t minute = facts->end_ns / SLOW_WINDOW_NS;
	unsigned bucket = bucket_of(facts->duration_ns);
	struct route *route = route_of(slow, &head, facts);
	const struct request_record *record;
	bool exemplary;
	int window;

	if (!route)
		return;
	turn_windows(slow, route, minute);
	window = window_for(slow, route, minute, facts->duration_ns);
	exemplary = is_example(route, bucket, minute, facts->duration_ns);
	if (window < 0 && !exemplary)
		return;
	record = request_record_new(facts);
	if (!record) {
		slow->counts.no_memory++;
		return;
	}
	if (window >= 0)
		keep(slow, route, window, record);
	if (exemplary) {
		drop_record(slow, route->examples[bucket].record);
		route->examples[bucket].record = request_record_get(record);
		route->examples[bucket].minute = minute;
		slow->bytes += request_record_size(record);
	}
	request_record_put(record);
}

/* ---- what comes in ---- */

int slow_requests_take_event(struct slow_requests *slow, const void *data, size_t size,
			     uint64_t now_ns)
{
	struct slow_event event;
	int err = slow_event_read(&event, data, size, slow->max_entities, now_ns);

	if (err)
		return err;
	slow->counts.events++;
	if (!slow_gate_passes(&slow->kernel_gates[event.key.role], event.facts.duration_ns, now_ns))
		return 0;
	slow_event_name_route(&event, slow->paths);
	slow_requests_keep(slow, event.key.entity, event.key.role, &event.facts);
	return 0;
}

uint64_t slow_requests_threshold(struct slow_requests *slow, enum requests_role role,
				 uint64_t now_ns)
{
	return slow_gate_turn(&slow->kernel_gates[role], now_ns);
}

uint64_t slow_requests_call_threshold(struct slow_requests *slow, unsigned number,
				      enum requests_role role, uint64_t now_ns)
{
	return slow_gate_turn(&slow->call_gates[number % PREFIX_PROTOCOLS][role], now_ns);
}

/*
 * A client's is told from the first byte sent to the last one received: it is waited for altogether, whatever its threads do. At a
 * server nobody knows where the time of several at once on a connection went.
 */
static void name_waits(struct slow_event *event, const struct slow_call_place *place)
{
	struct request_detail detail = { 0 };

	if (place->role == REQUESTS_CLIENT)
		detail.reasons_ns[REQUEST_OUTBOUND] = event->facts.duration_ns;
	else if (place->account)
		request_waits_describe(place->waits, place->entity, place->account, &detail);
	if (slow_event_read_waits(event, &detail))
		return;
	memset(&detail, 0, sizeof(detail));
	slow_event_read_waits(event, &detail);
}

void slow_requests_take_call(struct slow_requests *slow, const struct slow_call_place *place,
			     const struct protocol *protocol, const struct protocol_call *call)
{
	struct slow_gate *gate = &slow->call_gates[place->number % PREFIX_PROTOCOLS][place->role];
	uint64_t duration_ns = call->end_ns > call->start_ns ? call->end_ns - call->start_ns : 0;
	struct slow_event event;
	struct request_record *facts = &event.facts;

	if (!slow_gate_passes(gate, duration_ns, call->end_ns))
		return;
	slow->counts.calls++;
	*facts = (struct request_record){
		.protocol = (call->inner ? call->inner : protocol)->name,
		.side = place->role == REQUESTS_CLIENT ? "client" : "server",
		.operation = call->operation,
		.route = call->target,
		.target = "",
		.status = call->status,
		.end_ns = call->end_ns,
		.duration_ns = duration_ns,
		.request_bytes = call->request_bytes,
		.response_bytes = call->response_bytes,
		.pid = place->pid,
		.tid = place->tid,
	};
	if (call->first_byte_ns > call->start_ns)
		facts->first_byte_ns = call->first_byte_ns - call->start_ns;
	slow_event_read_path(&event, place->path);
	if (!place->is_first)
		facts->connect_ns = 0;
	name_waits(&event, place);
	facts->histogram =
		requests_call_labels(protocol, place->role, call, facts->labels, &facts->error);
	slow_requests_keep(slow, place->entity, place->role, facts);
}

/* ---- what goes out ---- */

static void write_route(const struct route *route, struct metric_writer *writer,
			uint64_t now_minute)
{
	for (int window = 0; window < WINDOWS; window++)
		for (unsigned i = 0; i < route->n_kept[window]; i++)
			metric_write_request(writer, route->head.entity, REQUEST_SLOW,
					     route->kept[window][i]);
	for (int bucket = 0; bucket < BUCKETS; bucket++)
		if (route->examples[bucket].record &&
		    route->examples[bucket].minute + EXAMPLE_MINUTES > now_minute)
			metric_write_request(writer, route->head.entity, REQUEST_EXAMPLE,
					     route->examples[bucket].record);
}

static bool is_stale(const struct route *route, uint64_t now_minute)
{
	for (int bucket = 0; bucket < BUCKETS; bucket++)
		if (route->examples[bucket].record &&
		    route->examples[bucket].minute + EXAMPLE_MINUTES > now_minute)
			return false;
	return !route->n_kept[0] && !route->n_kept[1];
}

void slow_requests_write(struct slow_requests *slow, struct metric_writer *writer, uint64_t now_ns)
{
	uint64_t now_minute = now_ns / SLOW_WINDOW_NS;
	struct route *route, *next;

	HASH_ITER(hh, slow->routes, route, next)
	{
		turn_windows(slow, route, now_minute);
		if (is_stale(route, now_minute))
			free_route(slow, route);
		else
			write_route(route, writer, now_minute);
	}
}

void slow_requests_forget(struct slow_requests *slow, uint32_t entity)
{
	struct route *route, *next;

	HASH_ITER(hh, slow->routes, route, next)
	if (route->head.entity == entity)
		free_route(slow, route);
	slow_paths_forget(slow->paths, entity);
}

const struct slow_counts *slow_requests_counts(const struct slow_requests *slow)
{
	return &slow->counts;
}

uint64_t slow_requests_bound(const struct slow_requests *slow)
{
	return slow->bytes + slow_paths_bound(slow->paths);
}
