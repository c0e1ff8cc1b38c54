// SPDX-License-Identifier: Apache-2.0
/* Slow requests of HTTP/1 as the kernel side tells of them; see slow_requests_internal.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "agent/hash.h"
#include "bpf/lib/http1_method.h"
#include "probes/request_waits.h"
#include "probes/requests_tables.h"
#include "probes/requests_metrics.h"
#include "probes/slow_requests_internal.h"

#define MAX_SERVICES  256
#define MAX_TEMPLATES 64 /* of one service */
#define MAX_SEGMENTS  32 /* in one place of a path */

_Static_assert(REQUEST_MAX_DOWNSTREAMS == TASK_DOWNSTREAMS - 1, "as many as the kernel side tells");

/* ---- reading ---- */

/* They are parts of what it waited for others. */
static bool are_downstreams_sound(const struct request_detail *detail)
{
	uint64_t left_ns = detail->reasons_ns[REQUEST_OUTBOUND];

	for (unsigned i = 0; i < REQUEST_MAX_DOWNSTREAMS; i++) {
		const struct slow_downstream *downstream = &detail->downstreams[i];

		if (downstream->ns > left_ns || downstream->name.protocol >= DOWNSTREAM_PROTOCOLS)
			return false;
		left_ns -= downstream->ns;
	}
	return true;
}

static bool is_sound(const struct stream_event *head, const struct slow_request *request,
		     unsigned max_entities, uint64_t now_ns)
{
	return head->kind == STREAM_SLOW_REQUEST && head->role < REQUESTS_ROLES &&
	       head->entity < max_entities && head->ns <= now_ns &&
	       request->duration_ns <= head->ns && request->first_byte_ns <= request->duration_ns &&
	       request->status < 1000 && request->method < HTTP1_METHODS &&
	       request->outcome < REQUESTS_OUTCOMES && request->line_size <= SLOW_REQUEST_LINE;
}

/* The one longest waited for first. */
static void read_downstreams(struct slow_event *event, const struct request_detail *detail)
{
	struct request_downstream *to = event->facts.downstreams;

	for (unsigned i = 0; i < REQUEST_MAX_DOWNSTREAMS; i++) {
		const struct slow_downstream *from = &detail->downstreams[i];
		size_t at;

		if (!from->name.key.port)
			continue;
		request_address(event->downstreams[i], from->name.key.address, from->name.key.port);
		for (at = event->facts.n_downstreams++; at && to[at - 1].ns < from->ns; at--)
			to[at] = to[at - 1];
		to[at] = (struct request_downstream){
			.peer = event->downstreams[i],
			.protocol = request_downstream_protocol(from->name.protocol),
			.ns = from->ns,
		};
	}
}

bool slow_event_read_waits(struct slow_event *event, const struct request_detail *detail)
{
	uint64_t left_ns = event->facts.duration_ns;
	size_t n = 0;

	if (!are_downstreams_sound(detail))
		return false;
	for (unsigned reason = 0; reason < REQUEST_REASONS; reason++) {
		uint64_t ns = detail->reasons_ns[reason];

		if (ns > left_ns)
			return false;
		left_ns -= ns;
		if (reason == REQUEST_UNATTRIBUTED)
			ns += left_ns;
		if (ns)
			event->waits[n++] =
				(struct request_wait){ request_reason_name(reason), ns };
	}
	event->facts.waits = event->waits;
	event->facts.n_waits = n;
	read_downstreams(event, detail);
	return true;
}

void slow_event_read_path(struct slow_event *event, const struct request_path *path)
{
	struct request_record *facts = &event->facts;

	snprintf(event->local, sizeof(event->local), path->is_unix ? "unix" : "");
	snprintf(event->peer, sizeof(event->peer), path->is_unix ? "unix" : "");
	if (path->local_port)
		request_address(event->local, path->local_address, path->local_port);
	if (path->peer_port)
		request_address(event->peer, path->peer_address, path->peer_port);
	facts->local = event->local;
	facts->peer = event->peer;
	facts->retransmits = path->retransmits;
	facts->rtt_us = path->rtt_us;
	facts->connect_ns = path->connect_ns;
}

static void read_target(struct slow_event *event, const struct slow_request *request)
{
	const struct path_target target =
		path_target_of_line((const char *)request->line, request->line_size);

	for (size_t i = 0; i < target.size; i++)
		event->target[i] =
			target.text[i] > ' ' && target.text[i] < 0x7f ? target.text[i] : '?';
	event->target[target.size] = '\0';
	event->target_is_cut = target.is_cut;
}

int slow_event_read(struct slow_event *event, const void *data, size_t size, unsigned max_entities,
		    uint64_t now_ns)
{
	const struct stream_event *head = data;
	const struct slow_request *request = (const void *)(head + 1);
	struct request_record *facts = &event->facts;

	if (size != sizeof(*head) + sizeof(*request) ||
	    !is_sound(head, request, max_entities, now_ns))
		return -EBADMSG;
	event->key = (struct requests_key){
		.entity = head->entity,
		.status = request->status,
		.method = request->method,
		.role = head->role,
		.outcome = request->outcome,
	};
	*facts = (struct request_record){
		.protocol = "http",
		.side = head->role == REQUESTS_CLIENT ? "client" : "server",
		.route = event->route,
		.target = event->target,
		.status = event->status,
		.end_ns = head->ns,
		.duration_ns = request->duration_ns,
		.first_byte_ns = request->first_byte_ns,
		.request_bytes = request->request_bytes,
		.response_bytes = request->response_bytes,
		.pid = head->pid,
		.tid = head->tid,
		.histogram = &requests_duration_metrics[head->role],
	};
	if (!slow_event_read_waits(event, &request->detail))
		return -EBADMSG;
	slow_event_read_path(event, &request->detail.path);
	requests_labels(&event->key, event->status, facts->labels);
	facts->operation = facts->labels[0];
	facts->error = facts->labels[2];
	read_target(event, request);
	event->route[0] = '\0';
	return 0;
}

/* ---- routes ---- */

struct service {
	UT_hash_handle hh;
	uint64_t key; /* entity and role */
	struct path_table *table;
};

struct slow_paths {
	struct service *services;
};

struct slow_paths *slow_paths_new(void)
{
	return calloc(1, sizeof(struct slow_paths));
}

static void free_service(struct slow_paths *paths, struct service *service)
{
	HASH_DEL(paths->services, service);
	path_table_destroy(service->table);
	free(service);
}

void slow_paths_free(struct slow_paths *paths)
{
	struct service *service, *next;

	if (!paths)
		return;
	HASH_ITER(hh, paths->services, service, next)
	free_service(paths, service);
	free(paths);
}

void slow_paths_forget(struct slow_paths *paths, uint32_t entity)
{
	struct service *service, *next;

	HASH_ITER(hh, paths->services, service, next)
	if (service->key >> 8 == entity)
		free_service(paths, service);
}

uint64_t slow_paths_bound(const struct slow_paths *paths)
{
	uint64_t bytes = 0;

	for (const struct service *service = paths->services; service; service = service->hh.next)
		bytes += path_table_size(service->table) + sizeof(*service) + 64;
	return bytes;
}

static struct path_table *table_of(struct slow_paths *paths, const struct requests_key *of)
{
	uint64_t key = (uint64_t)of->entity << 8 | of->role;
	struct service *service;

	HASH_FIND(hh, paths->services, &key, sizeof(key), service);
	if (service)
		return service->table;
	if (HASH_COUNT(paths->services) >= MAX_SERVICES)
		return NULL;
	service = calloc(1, sizeof(*service));
	if (!service)
		return NULL;
	service->key = key;
	service->table = path_table_create(MAX_TEMPLATES, MAX_SEGMENTS);
	if (service->table)
		HASH_ADD(hh, paths->services, key, sizeof(service->key), service);
	if (service->table && HASH_TOOK(service))
		return service->table;
	path_table_destroy(service->table);
	free(service);
	return NULL;
}

void slow_event_name_route(struct slow_event *event, struct slow_paths *paths)
{
	struct path_table *table = table_of(paths, &event->key);
	const struct path_target target = { event->target, strlen(event->target),
					    event->target_is_cut };
	char template[PATH_TEMPLATE_SIZE];

	if (!table)
		return;
	path_template_of(&target, template);
	path_table_find(table, template, event->key.status != 404, event->route);
}
