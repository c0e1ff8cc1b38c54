// SPDX-License-Identifier: Apache-2.0
/* Histograms of decoded calls; see requests_calls.h. */
#include <stdlib.h>
#include <string.h>
#include "agent/hash.h"
#include "bpf/lib/task.h"
#include "probes/protocols/path_template.h"
#include "probes/request_waits.h"
#include "probes/requests_calls.h"
#include "probes/requests_metrics.h"

#define OTHER "_OTHER"

/* Of one service in one role: routes, and different segments in one place of a path. */
#define MAX_ROUTES   200
#define MAX_SEGMENTS 50

/* The beginning of a key; operation, target and status follow, each with its NUL. No padding. */
struct key_head {
	const struct protocol *protocol;
	uint32_t entity;
	uint16_t role;
	uint8_t is_error;
	uint8_t is_encrypted; /* where a label tells */
};
#define KEY_SIZE (sizeof(struct key_head) + 3 * PROTOCOL_TEXT_SIZE)

struct call_series {
	UT_hash_handle hh;
	uint64_t sum_ns, max_ns;
	uint64_t request_bytes, response_bytes;
	uint64_t slots[HIST3_SLOTS];
	uint64_t classic[REQUESTS_BOUNDS + 1];
	struct request_account waits;
	struct key_head head;
	const char *operation, *target, *status; /* in the key */
	char key[];
};

/* How many series one entity has in one role of one protocol. */
struct owner {
	UT_hash_handle hh;
	struct key_head head; /* never an error, nor encrypted */
	unsigned n_series;
	struct path_table *routes; /* of HTTP; NULL: none yet */
};

struct call_table {
	struct call_series *series;
	struct owner *owners;
	const struct request_wait_tables *waits; /* NULL: not told */
	unsigned max_series, n_series;
	unsigned weight; /* a call stands for so many */
	struct call_counts counts;
};

struct call_table *call_table_new(unsigned max_series)
{
	struct call_table *table = calloc(1, sizeof(*table));

	if (table)
		*table = (struct call_table){ .max_series = max_series, .weight = 1 };
	return table;
}

void call_table_weigh(struct call_table *table, unsigned weight)
{
	table->weight = weight;
}

void call_table_tell_downstreams(struct call_table *table, const struct request_wait_tables *waits)
{
	table->waits = waits;
}

static void free_series(struct call_table *table, struct call_series *series)
{
	HASH_DEL(table->series, series);
	table->n_series--;
	free(series);
}

static void free_owner(struct call_table *table, struct owner *owner)
{
	HASH_DEL(table->owners, owner);
	path_table_destroy(owner->routes);
	free(owner);
}

void call_table_free(struct call_table *table)
{
	struct call_series *series, *next;
	struct owner *owner, *next_owner;

	if (!table)
		return;
	HASH_ITER(hh, table->series, series, next)
	free_series(table, series);
	HASH_ITER(hh, table->owners, owner, next_owner)
	free_owner(table, owner);
	free(table);
}

/* ---- recording ---- */

static size_t add_text(char *key, size_t at, const char *text)
{
	size_t size = strnlen(text, PROTOCOL_TEXT_SIZE - 1);

	memcpy(key + at, text, size);
	key[at + size] = '\0';
	return at + size + 1;
}

static struct owner *owner_of(struct call_table *table, const struct key_head *of)
{
	struct key_head head = *of;
	struct owner *owner;

	head.is_error = head.is_encrypted = 0;
	HASH_FIND(hh, table->owners, &head, sizeof(head), owner);
	if (owner)
		return owner;
	owner = calloc(1, sizeof(*owner));
	if (!owner)
		return NULL;
	owner->head = head;
	HASH_ADD(hh, table->owners, head, sizeof(owner->head), owner);
	if (HASH_TOOK(owner))
		return owner;
	free(owner);
	return NULL;
}

enum room {
	ROOM_FREELY, /* within all bounds */
	ROOM_FOLDED, /* for one without a target of its own: within the bound of all */
	ROOM_ALWAYS, /* for "other", of which there are few */
};

/* The series of a key, made where there is room; NULL where there is none. */
static struct call_series *series_of(struct call_table *table, const struct key_head *head,
				     const char *operation, const char *target, const char *status,
				     enum room room)
{
	char key[KEY_SIZE];
	size_t target_at, status_at, size;
	struct call_series *series;
	struct owner *owner;

	memcpy(key, head, sizeof(*head));
	target_at = add_text(key, sizeof(*head), operation);
	status_at = add_text(key, target_at, target);
	size = add_text(key, status_at, status);
	HASH_FIND(hh, table->series, key, size, series);
	if (series)
		return series;
	if (room != ROOM_ALWAYS && table->n_series >= table->max_series)
		return NULL;
	owner = owner_of(table, head);
	if (!owner || (room == ROOM_FREELY && owner->n_series >= (table->max_series + 3) / 4))
		return NULL;
	series = calloc(1, sizeof(*series) + size);
	if (!series)
		return NULL;
	series->head = *head;
	memcpy(series->key, key, size);
	series->operation = series->key + sizeof(*head);
	series->target = series->key + target_at;
	series->status = series->key + status_at;
	HASH_ADD_KEYPTR(hh, table->series, series->key, size, series);
	if (!HASH_TOOK(series)) {
		free(series);
		return NULL;
	}
	owner->n_series++;
	table->n_series++;
	return series;
}

static void record_duration(struct call_series *series, uint64_t ns, unsigned times)
{
	static const uint64_t bounds_ns[] = REQUESTS_BOUNDS_NS;
	size_t bucket = 0;

	while (bucket < REQUESTS_BOUNDS && ns > bounds_ns[bucket])
		bucket++;
	series->classic[bucket] += times;
	series->slots[hist3_slot(ns)] += times;
	series->sum_ns += ns * times;
	if (ns > series->max_ns)
		series->max_ns = ns;
}

/*
 * What looks like a word in a path may be a value still: beyond so many they are one. A path that there is none of ("not
 * found") takes no room. Without memory the path is what it is, and the table's bound is what bounds.
 */
static const char *route_of(struct call_table *table, const struct key_head *head,
			    const struct protocol_call *call, char ret_route[PATH_TEMPLATE_SIZE])
{
	struct owner *owner = owner_of(table, head);

	if (!owner || strlen(call->target) >= PATH_TEMPLATE_SIZE)
		return call->target;
	if (!owner->routes)
		owner->routes = path_table_create(MAX_ROUTES, MAX_SEGMENTS);
	if (!owner->routes)
		return call->target;
	path_table_find(owner->routes, call->target, strcmp(call->status, "404") != 0, ret_route);
	return ret_route;
}

const char *call_table_record(struct call_table *table, uint32_t entity, enum requests_role role,
			      const struct protocol *protocol, const struct protocol_call *call,
			      const struct request_account *account)
{
	uint64_t duration_ns = call->end_ns > call->start_ns ? call->end_ns - call->start_ns : 0;
	struct key_head head = {
		.protocol = call->inner ? call->inner : protocol,
		.entity = entity,
		.role = (uint16_t)role,
		.is_error = call->is_error,
	};
	struct call_series *series;
	char route[PATH_TEMPLATE_SIZE];
	const char *target = call->target;

	if (head.protocol->family == PROTOCOL_HTTP)
		head.is_encrypted = call->is_encrypted;
	if (*target && head.protocol->family == PROTOCOL_HTTP)
		target = route_of(table, &head, call, route);
	series = series_of(table, &head, call->operation, target, call->status, ROOM_FREELY);
	if (!series) {
		table->counts.folded++;
		series = series_of(table, &head, call->operation, OTHER, call->status, ROOM_FOLDED);
	}
	if (!series) {
		head.entity = ENTITY_OTHER;
		series = series_of(table, &head, OTHER, "", "", ROOM_ALWAYS);
	}
	if (!series) {
		table->counts.lost++;
		return "";
	}
	table->counts.recorded++;
	record_duration(series, duration_ns, table->weight);
	series->request_bytes += call->request_bytes * table->weight;
	series->response_bytes += call->response_bytes * table->weight;
	if (account)
		request_waits_add(&series->waits, account, duration_ns, table->weight);
	return series->target;
}

void call_table_forget(struct call_table *table, uint32_t entity)
{
	struct call_series *series, *next;
	struct owner *owner, *next_owner;

	HASH_ITER(hh, table->series, series, next)
	if (series->head.entity == entity)
		free_series(table, series);
	HASH_ITER(hh, table->owners, owner, next_owner)
	if (owner->head.entity == entity)
		free_owner(table, owner);
}

const struct call_counts *call_table_counts(const struct call_table *table)
{
	return &table->counts;
}

uint64_t call_table_bound(const struct call_table *table)
{
	const uint64_t series = sizeof(struct call_series) + KEY_SIZE, hash_entry = 64;

	uint64_t routes = 0;

	for (const struct owner *owner = table->owners; owner; owner = owner->hh.next)
		routes += owner->routes ? path_table_size(owner->routes) : 0;
	return (series + hash_entry) * table->n_series +
	       (sizeof(struct owner) + hash_entry) * HASH_COUNT(table->owners) + routes;
}

/* ---- writing ---- */

/* What tells its labels, of a series or a call. */
struct call_facts {
	const struct protocol *protocol;
	enum requests_role role;
	bool is_error, is_encrypted;
	const char *operation, *target, *status;
};

/* OpenTelemetry's error.type: the status where there is one. */
static const char *error_type(const struct call_facts *of)
{
	if (!of->is_error)
		return "";
	return *of->status ? of->status : OTHER;
}

/* A status of HTTP is a number, unless there was no response; 4xx is no error of the server's. */
static void http_labels(const struct call_facts *of, const char **labels)
{
	const char *status = of->status;
	bool is_code = status[0] >= '1' && status[0] <= '9' && strlen(status) == 3;
	bool is_error =
		is_code ? status[0] >= (of->role == REQUESTS_SERVER ? '5' : '4') : of->is_error;

	labels[0] = *of->operation ? of->operation : OTHER;
	labels[1] = is_code ? status : "";
	labels[2] = !is_error ? "" : *status ? status : OTHER;
	labels[3] = of->is_encrypted ? "https" : "http";
	labels[4] = of->target;
	labels[5] = "2";
}

/* Where there was no response, a word tells why; codes of the protocols are numbers or in upper case. */
static bool is_word(const char *status)
{
	return status[0] >= 'a' && status[0] <= 'z';
}

/* Returns the place of error_type among them. */
static size_t call_labels(const struct call_facts *of, const char **labels)
{
	const char *code = is_word(of->status) ? "" : of->status;
	size_t n = 0;

	switch (of->protocol->family) {
	case PROTOCOL_DATABASE:
		labels[n++] = of->protocol->name;
		labels[n++] = of->operation;
		labels[n++] = of->target;
		labels[n++] = code;
		break;
	case PROTOCOL_HTTP:
		http_labels(of, labels);
		return 2;
	case PROTOCOL_RPC:
		labels[n++] = of->protocol->name;
		labels[n++] = of->target;
		labels[n++] = code;
		break;
	case PROTOCOL_NAMES:
		labels[n++] = of->operation;
		labels[n++] = code;
		break;
	}
	labels[n] = error_type(of);
	return n;
}

const struct metric_desc *requests_call_labels(const struct protocol *protocol,
					       enum requests_role role,
					       const struct protocol_call *call,
					       const char *labels[], const char **ret_error)
{
	const struct call_facts facts = {
		.protocol = call->inner ? call->inner : protocol,
		.role = role,
		.is_error = call->is_error,
		.is_encrypted = call->is_encrypted,
		.operation = call->operation,
		.target = call->target,
		.status = call->status,
	};

	*ret_error = labels[call_labels(&facts, labels)];
	return requests_call_metric(facts.protocol->family, role);
}

void call_table_write(struct call_table *table, struct metric_writer *writer)
{
	for (struct call_series *series = table->series; series; series = series->hh.next) {
		const char *labels[METRIC_MAX_LABELS] = { 0 };
		enum requests_role role = series->head.role;
		const struct call_facts facts = {
			.protocol = series->head.protocol,
			.role = role,
			.is_error = series->head.is_error,
			.is_encrypted = series->head.is_encrypted,
			.operation = series->operation,
			.target = series->target,
			.status = series->status,
		};

		call_labels(&facts, labels);
		metric_write_histogram(writer,
				       requests_call_metric(series->head.protocol->family, role),
				       series->head.entity, labels,
				       &(struct histogram_view){
					       .schema = HIST3_SCHEMA,
					       .min_index = HIST3_MIN_INDEX,
					       .n_slots = HIST3_SLOTS,
					       .slots = series->slots,
					       .sum = (double)series->sum_ns / 1e9,
					       .max = (double)series->max_ns / 1e9,
					       .classic = series->classic,
				       });
		series->max_ns = 0;
		requests_write_bytes(
			writer, requests_call_bytes_metric(series->head.protocol->family, role),
			series->head.entity, labels, METRIC_MAX_LABELS - 1, series->request_bytes,
			series->response_bytes);
		request_waits_write_calls(
			table->waits, writer,
			&(struct request_waits_of){ series->head.entity,
						    series->head.protocol->name, series->operation,
						    series->target, &series->waits });
	}
}
