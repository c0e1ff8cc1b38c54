/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The slowest requests, each in detail: so many of each route in this minute and the one before, and for each route and bucket of
 * its histogram an example. Fed by the kernel side with those of HTTP/1 (bpf/slow_requests.h), and by the decoders with calls.
 * A route is one entity's, in one role, protocol and operation. Bounded: when there are too many, those whose slowest is the
 * quickest make room. Loop thread only.
 */
#ifndef LEADLINE_PROBE_SLOW_REQUESTS_H
#define LEADLINE_PROBE_SLOW_REQUESTS_H

#include <stddef.h>
#include <stdint.h>
#include "agent/metric.h"
#include "bpf/requests.h"
#include "bpf/slow_requests.h"
#include "probes/protocols/calls.h"

#define SLOW_MAX_KEPT	100 /* of one route in one minute */
#define SLOW_MAX_ROUTES 256
#define SLOW_WINDOW_NS	60000000000ULL

struct slow_requests;
struct request_wait_tables;

/* kept: of a route in one minute, at most SLOW_MAX_KEPT. NULL: no memory. */
struct slow_requests *slow_requests_new(unsigned kept, unsigned max_entities);
void slow_requests_free(struct slow_requests *slow); /* NULL is fine */

/* An event of kind STREAM_SLOW_REQUEST. now_ns: CLOCK_MONOTONIC. 0, or -EBADMSG when it is none. */
int slow_requests_take_event(struct slow_requests *slow, const void *data, size_t size,
			     uint64_t now_ns);

/* Where a decoded call was seen. */
struct slow_call_place {
	uint32_t entity;
	uint32_t pid, tid; /* that sent or took the response */
	uint16_t number; /* enum prefix_protocol */
	uint16_t role; /* enum requests_role */
	const struct request_path *path;
	bool is_first; /* on its connection */
	const struct request_account *account; /* where its time went; NULL: not known */
	const struct request_wait_tables *waits; /* tell whom it waited for */
};
void slow_requests_take_call(struct slow_requests *slow, const struct slow_call_place *place,
			     const struct protocol *protocol, const struct protocol_call *call);

/* From what duration on the kernel side is to tell of a request, and of an exchange in another protocol; never 0. */
uint64_t slow_requests_threshold(struct slow_requests *slow, enum requests_role role,
				 uint64_t now_ns);
uint64_t slow_requests_call_threshold(struct slow_requests *slow, unsigned number,
				      enum requests_role role, uint64_t now_ns);

/* Writes all, and drops what is too old. */
void slow_requests_write(struct slow_requests *slow, struct metric_writer *writer, uint64_t now_ns);
/* Drops what is an entity's. */
void slow_requests_forget(struct slow_requests *slow, uint32_t entity);

struct slow_counts {
	uint64_t events; /* of the kernel side */
	uint64_t calls; /* of decoders, that were slow enough */
	uint64_t evicted; /* routes that made room */
	uint64_t no_memory; /* requests that were let pass */
	unsigned routes;
};
const struct slow_counts *slow_requests_counts(const struct slow_requests *slow);
uint64_t slow_requests_bound(const struct slow_requests *slow); /* memory it takes as it is */

#endif
