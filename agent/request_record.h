/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request told in detail: among the slowest of its route, or the example of a bucket. Immutable and reference counted, so that a probe
 * and any number of snapshots share it. Any thread.
 */
#ifndef LEADLINE_REQUEST_RECORD_H
#define LEADLINE_REQUEST_RECORD_H

#include <stddef.h>
#include <stdint.h>
#include "agent/metric.h"

struct request_wait {
	const char *reason; /* a constant */
	uint64_t ns;
};

/* Whom it waited for. */
struct request_downstream {
	const char *peer; /* "10.0.0.1:5432" */
	const char *protocol; /* a constant; "" not known */
	uint64_t ns;
};
#define REQUEST_MAX_DOWNSTREAMS 3

/* Strings are never NULL; "" where it is not known. */
struct request_record {
	const char *protocol; /* "http", "postgresql": a constant */
	const char *side; /* "server" or "client", a constant */
	const char *operation; /* "GET", "SELECT" */
	const char *route; /* "/users/{id}", "SELECT orders": of a bounded set */
	const char *target; /* as it was asked for; may be private */
	const char *status; /* "200", "42P01" */
	const char *error; /* error_type; "" fine */
	const char *local, *peer; /* "10.0.0.1:80", "[::1]:80" */
	uint64_t end_ns; /* CLOCK_MONOTONIC */
	uint64_t duration_ns;
	uint64_t first_byte_ns; /* of the response, since the start; 0 not known */
	uint64_t request_bytes, response_bytes; /* heads and framing included */
	uint64_t
		connect_ns; /* that it took to open the connection for it, before its start; 0 not known, or it was open */
	uint32_t pid, tid; /* that sent or took the response; 0 not known */
	uint32_t retransmits; /* of the connection so far */
	uint32_t rtt_us; /* 0 not known */
	/* Where the time went: their sum is the duration. None: not known. */
	const struct request_wait *waits;
	size_t n_waits;
	/* Of the reason "outbound", as far as these tell. */
	struct request_downstream downstreams[REQUEST_MAX_DOWNSTREAMS];
	size_t n_downstreams;
	/* The series it is counted in. NULL: not known. */
	const struct metric_desc *histogram;
	const char *labels[METRIC_MAX_LABELS]; /* of that */
};

/* A deep copy, all but the constants, with one reference for the caller; NULL: no memory. Nothing is cut. */
const struct request_record *request_record_new(const struct request_record *facts);
/* One more reference; returns its argument. */
const struct request_record *request_record_get(const struct request_record *record);
void request_record_put(const struct request_record *record); /* drops one; NULL is fine */
/* Memory that it takes. */
size_t request_record_size(const struct request_record *record);

/* ---- what a snapshot holds of them ---- */

struct request_entry {
	const char *const *entity; /* five labels */
	const struct request_record *record;
};

/* Those written in one collection; kept between collections for its memory. */
struct request_list {
	struct request_entry *entries;
	size_t n, capacity;
};

/* Borrows both. 0 or -ENOMEM. */
int request_list_add(struct request_list *list, const char *const *entity,
		     const struct request_record *record);
/* The slowest first. */
void request_list_sort_by_duration(struct request_list *list);
/* By histogram, by labels as series are, the quickest first. */
void request_list_sort_by_series(struct request_list *list);
/*
 * The first of sorted examples that is of this series, and how many there are; NULL: none.
 */
struct series;
const struct request_entry *request_entries_of(const struct request_entry *examples, size_t n,
					       const struct metric_desc *histogram,
					       const struct series *series, size_t *ret_n);

#endif
