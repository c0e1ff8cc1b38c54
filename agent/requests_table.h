/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The requests of a snapshot as a table for people: for each service and side what is in flight, and for each route how many requests, errors and how
 * long they took since an earlier snapshot. A function of the two. Any thread.
 */
#ifndef LEADLINE_REQUESTS_TABLE_H
#define LEADLINE_REQUESTS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "agent/snapshot.h"

/* What is wanted; NULL: whatever. */
struct requests_filter {
	/* a pod, container, unit or program; ".service", and of a control group the path to it may be left out */
	const char *service;
	const char *protocol;
};

/* Strings are the snapshot's, "" where not known. */
struct requests_route {
	const char *protocol, *operation, *route;
	uint64_t requests, errors; /* in the time between */
	double p50, p99; /* of these, in seconds; NaN: there were none */
	uint64_t all_requests, all_errors; /* ever */
};

struct requests_service {
	const char *const *entity;
	const char *side; /* "server" or "client" */
	double in_flight, oldest; /* of all protocols; NaN: not known; seconds */
	/* Ever, on each connection that had any; NaN: there was none, or only those of one protocol are wanted. */
	double requests_per_connection;
	size_t first_row, n_rows;
};

struct requests_table {
	struct requests_service *services; /* by labels */
	size_t n_services;
	struct requests_route *rows;
	size_t n_rows;
};

/* `before` NULL: since the beginning. 0 or -ENOMEM. requests_table_free() in any case. */
int requests_table_make(struct requests_table *table, const struct snapshot *now,
			const struct snapshot *before, const struct requests_filter *filter);
void requests_table_free(struct requests_table *table);

/* Whether that is wanted. */
bool requests_filter_has(const struct requests_filter *filter, const char *const *entity,
			 const char *protocol);

#endif
