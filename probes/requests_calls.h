/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that decoders (probes/protocols) have seen end, as histograms: a series for each entity, role, protocol, operation,
 * target and status. Bounded: of one entity's protocol, targets beyond its share are folded into the target "_OTHER", and when there
 * is no room at all a call goes to the entity "other". Loop thread only.
 */
#ifndef LEADLINE_REQUESTS_CALLS_H
#define LEADLINE_REQUESTS_CALLS_H

#include <stdint.h>
#include "agent/metric.h"
#include "bpf/requests.h"
#include "bpf/slow_requests.h"
#include "probes/protocols/calls.h"

struct call_table;
struct request_wait_tables;

struct call_table *call_table_new(unsigned max_series); /* NULL: no memory */
void call_table_free(struct call_table *table); /* NULL is fine */
/* Who is waited for; outlives the table. Before that it is nobody by name. */
void call_table_tell_downstreams(struct call_table *table, const struct request_wait_tables *waits);
/* Each call that is recorded from now on stands for so many; at first, for itself. */
void call_table_weigh(struct call_table *table, unsigned weight);

/*
 * The labels of a call, of METRIC_MAX_LABELS, borrowed from it, and which of them is error_type. Returns the histogram
 * it is counted in.
 */
const struct metric_desc *requests_call_labels(const struct protocol *protocol,
					       enum requests_role role,
					       const struct protocol_call *call,
					       const char *labels[], const char **ret_error);

/*
 * account: where its time went, zero where that is not known; NULL: of calls like this that is not to be told. Returns the target
 * it is counted under, which stays until its entity is forgotten.
 */
const char *call_table_record(struct call_table *table, uint32_t entity, enum requests_role role,
			      const struct protocol *protocol, const struct protocol_call *call,
			      const struct request_account *account);
/* Writes all as series and starts the maxima anew. */
void call_table_write(struct call_table *table, struct metric_writer *writer);
/* Drops all series of an entity. */
void call_table_forget(struct call_table *table, uint32_t entity);

struct call_counts {
	uint64_t recorded;
	uint64_t folded; /* of these, under a target or an entity that stands for others */
	uint64_t lost; /* not recorded: no memory */
};
const struct call_counts *call_table_counts(const struct call_table *table);
uint64_t call_table_bound(const struct call_table *table); /* the most that it takes as it is */

#endif
