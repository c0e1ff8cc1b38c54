// SPDX-License-Identifier: Apache-2.0
/* Histograms of requests, put together by service and route; see requests_table.h. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "agent/requests_table.h"

/* Which label of a family of histograms says what; NULL: none does. */
struct source {
	const char *family;
	const char *side; /* NULL: the label "role" */
	const char *protocol; /* unless the label says another */
	const char *protocol_label, *operation, *route;
	const char *only; /* of the protocol label: others are counted elsewhere */
};

static const struct source sources[] = {
	{ "http_server_request_duration_seconds", "server", "http", "network_protocol_version",
	  "http_request_method", "http_route", NULL },
	{ "http_client_request_duration_seconds", "client", "http", "network_protocol_version",
	  "http_request_method", "http_route", NULL },
	{ "leadline_db_server_operation_duration_seconds", "server", "", "db_system_name",
	  "db_operation_name", "db_query_summary", NULL },
	{ "db_client_operation_duration_seconds", "client", "", "db_system_name",
	  "db_operation_name", "db_query_summary", NULL },
	{ "rpc_server_call_duration_seconds", "server", "", "rpc_system_name", NULL, "rpc_method",
	  NULL },
	{ "rpc_client_call_duration_seconds", "client", "", "rpc_system_name", NULL, "rpc_method",
	  NULL },
	{ "leadline_dns_server_lookup_duration_seconds", "server", "dns", NULL, "dns_question_type",
	  NULL, NULL },
	{ "dns_lookup_duration_seconds", "client", "dns", NULL, "dns_question_type", NULL, NULL },
	{ "leadline_exchange_duration_seconds", NULL, "", "protocol", NULL, NULL, "tls" },
};
#define N_SOURCES (sizeof(sources) / sizeof(sources[0]))

/* A series, and where it belongs. Without histogram: of what is in flight. */
struct item {
	const char *const *entity;
	const char *side, *protocol, *operation, *route;
	const struct series *series, *before; /* before: NULL none */
	bool is_error;
};

struct items {
	struct item *items;
	size_t n;
};

/* Of a control group the last part of its path will do. */
static bool is_called(const char *label, const char *wanted)
{
	const char *slash = strrchr(label, '/');
	size_t length = strlen(wanted);

	if (!strncmp(label, wanted, length) &&
	    (!label[length] || !strcmp(label + length, ".service")))
		return true;
	return slash && is_called(slash + 1, wanted);
}

bool requests_filter_has(const struct requests_filter *filter, const char *const *entity,
			 const char *protocol)
{
	const char *wanted = filter->service;
	bool has = !wanted || !*wanted;

	/* not by namespace, the first */
	for (int i = 1; i < ENTITY_LABELS && !has; i++)
		has = is_called(entity[i], wanted);
	return has && (!filter->protocol || !strcmp(filter->protocol, protocol));
}

/* ---- items ---- */

static const char *label_of(const struct metric_desc *desc, const struct series *series,
			    const char *name)
{
	for (size_t i = 0; name && desc->labels[i]; i++)
		if (!strcmp(desc->labels[i], name))
			return series->labels[i];
	return "";
}

static const char *protocol_of(const struct source *source, const struct metric_desc *desc,
			       const struct series *series)
{
	const char *said = label_of(desc, series, source->protocol_label);

	if (!strcmp(source->protocol, "http")) /* what is said is a version */
		return strcmp(said, "2") ? "http" : "http2";
	return *said ? said : source->protocol;
}

static void add_source(struct items *items, const struct source *source, const struct snapshot *now,
		       const struct snapshot *before, const struct requests_filter *filter)
{
	const struct family *family = snapshot_family(now, source->family);
	const struct family *old = before ? snapshot_family(before, source->family) : NULL;

	for (size_t i = 0; family && i < family->n_series; i++) {
		const struct series *series = &family->series[i];
		struct item item = {
			.entity = series->entity,
			.side = source->side ? source->side
					     : label_of(family->desc, series, "role"),
			.protocol = protocol_of(source, family->desc, series),
			.operation = label_of(family->desc, series, source->operation),
			.route = label_of(family->desc, series, source->route),
			.series = series,
			.before = old ? family_find(old, series) : NULL,
			.is_error = *label_of(family->desc, series, "error_type") != '\0',
		};

		if ((!source->only || !strcmp(source->only, item.protocol)) &&
		    requests_filter_has(filter, item.entity, item.protocol))
			items->items[items->n++] = item;
	}
}

static void add_in_flight(struct items *items, const struct snapshot *now,
			  const struct requests_filter *filter)
{
	const struct family *family = snapshot_family(now, "leadline_requests_in_flight");

	for (size_t i = 0; family && i < family->n_series; i++)
		if (requests_filter_has(filter, family->series[i].entity, "http"))
			items->items[items->n++] = (struct item){
				.entity = family->series[i].entity,
				.side = family->series[i].labels[0],
				.protocol = "",
				.operation = "",
				.route = "",
			};
}

static int compare_services(const struct item *a, const struct item *b)
{
	int order = 0;

	for (int i = 0; i < ENTITY_LABELS && !order && a->entity != b->entity; i++)
		order = strcmp(a->entity[i], b->entity[i]);
	return order ? order : strcmp(a->side, b->side);
}

static int compare_items(const void *a_, const void *b_)
{
	const struct item *a = a_, *b = b_;
	int order = compare_services(a, b);

	if (!order)
		order = strcmp(a->protocol, b->protocol);
	if (!order)
		order = strcmp(a->operation, b->operation);
	return order ? order : strcmp(a->route, b->route);
}

static int collect_items(struct items *items, const struct snapshot *now,
			 const struct snapshot *before, const struct requests_filter *filter)
{
	size_t n = 1;

	for (size_t i = 0; i < N_SOURCES; i++) {
		const struct family *family = snapshot_family(now, sources[i].family);

		n += family ? family->n_series : 0;
	}
	if (snapshot_family(now, "leadline_requests_in_flight"))
		n += snapshot_family(now, "leadline_requests_in_flight")->n_series;
	items->items = calloc(n, sizeof(*items->items));
	if (!items->items)
		return -ENOMEM;
	for (size_t i = 0; i < N_SOURCES; i++)
		add_source(items, &sources[i], now, before, filter);
	add_in_flight(items, now, filter);
	qsort(items->items, items->n, sizeof(*items->items), compare_items);
	return 0;
}

/* ---- rows ---- */

/* Indices of schema 3 from 2^-32 s to 2^16 s; those beyond are counted at the ends. */
#define SLOTS	  384
#define MIN_INDEX (-256)

static void add_slots(uint64_t slots[SLOTS], const struct histogram_view *view, bool subtract)
{
	for (size_t i = 0; i < view->n_slots; i++) {
		long at = view->min_index + (long)i - MIN_INDEX;

		at = at < 0 ? 0 : at >= SLOTS ? SLOTS - 1 : at;
		if (!subtract)
			slots[at] += view->slots[i];
		else
			slots[at] -= slots[at] < view->slots[i] ? slots[at] : view->slots[i];
	}
}

/* From items of one route. */
static struct requests_route make_row(const struct item *items, size_t n)
{
	uint64_t slots[SLOTS] = { 0 };
	struct requests_route row = {
		.protocol = items->protocol,
		.operation = items->operation,
		.route = items->route,
	};
	struct histogram_view view = {
		.schema = items->series->histogram.schema,
		.min_index = MIN_INDEX,
		.n_slots = SLOTS,
		.slots = slots,
	};

	for (size_t i = 0; i < n; i++) {
		const struct histogram_view *now = &items[i].series->histogram;
		const struct histogram_view *before =
			items[i].before ? &items[i].before->histogram : NULL;
		uint64_t all = histogram_count(now), old = before ? histogram_count(before) : 0;

		/* what is less has begun anew */
		if (old > all)
			before = NULL;
		add_slots(slots, now, false);
		if (before)
			add_slots(slots, before, true);
		row.all_requests += all;
		row.requests += before ? all - old : all;
		row.all_errors += items[i].is_error ? all : 0;
		row.errors += !items[i].is_error ? 0 : before ? all - old : all;
	}
	row.p50 = histogram_quantile(&view, 0.5);
	row.p99 = histogram_quantile(&view, 0.99);
	return row;
}

static double gauge_of(const struct snapshot *now, const char *name, const struct item *item)
{
	const struct series like = { .entity = item->entity,
				     .labels = (const char *const[]){ item->side } };
	const struct series *found = family_find(snapshot_family(now, name), &like);

	return found ? found->value : NAN;
}

/* Of all protocols; NaN: there are none. */
static double connections_of(const struct snapshot *now, const struct requests_service *service)
{
	const struct family *family = snapshot_family(now, "leadline_request_connections_total");
	double n = 0;

	for (size_t i = 0; family && i < family->n_series; i++) {
		const struct series *series = &family->series[i];
		bool is_of = !strcmp(series->labels[0], service->side) &&
			     strcmp(series->labels[1], "dns");

		for (int label = 0; label < ENTITY_LABELS && is_of; label++)
			is_of = !strcmp(series->entity[label], service->entity[label]);
		n += is_of ? series->value : 0;
	}
	return n > 0 ? n : NAN;
}

/* Names are looked up without a connection. */
static void count_reuse(struct requests_table *table, const struct snapshot *now)
{
	for (size_t i = 0; i < table->n_services; i++) {
		struct requests_service *service = &table->services[i];
		const struct requests_route *rows = &table->rows[service->first_row];
		double requests = 0;

		if (!service->side)
			continue; /* that cannot be, but clang's analyzer thinks so */
		for (size_t row = 0; row < service->n_rows; row++)
			requests += strcmp(rows[row].protocol, "dns")
					    ? (double)rows[row].all_requests
					    : 0;
		service->requests_per_connection = requests / connections_of(now, service);
	}
}

static void add_item_row(struct requests_table *table, const struct item *items, size_t n,
			 bool is_new_service, const struct snapshot *now)
{
	if (is_new_service)
		table->services[table->n_services++] = (struct requests_service){
			.entity = items->entity,
			.side = items->side,
			.in_flight = gauge_of(now, "leadline_requests_in_flight", items),
			.oldest = gauge_of(now, "leadline_request_oldest_seconds", items),
			.requests_per_connection = NAN,
			.first_row = table->n_rows,
		};
	if (!items->series)
		return;
	table->rows[table->n_rows++] = make_row(items, n);
	table->services[table->n_services - 1].n_rows++;
}

int requests_table_make(struct requests_table *table, const struct snapshot *now,
			const struct snapshot *before, const struct requests_filter *filter)
{
	struct items items = { 0 };
	size_t begin = 0;
	int err = collect_items(&items, now, before, filter);

	*table = (struct requests_table){ 0 };
	if (!err) {
		table->services = calloc(items.n + 1, sizeof(*table->services));
		table->rows = calloc(items.n + 1, sizeof(*table->rows));
		err = table->services && table->rows ? 0 : -ENOMEM;
	}
	for (size_t i = 1; !err && i <= items.n; i++) {
		if (i < items.n && !compare_items(&items.items[begin], &items.items[i]))
			continue;
		add_item_row(table, &items.items[begin], i - begin,
			     !begin ||
				     compare_services(&items.items[begin - 1], &items.items[begin]),
			     now);
		begin = i;
	}
	if (!err && !filter->protocol)
		count_reuse(table, now);
	free(items.items);
	return err;
}

void requests_table_free(struct requests_table *table)
{
	free(table->services);
	free(table->rows);
}
