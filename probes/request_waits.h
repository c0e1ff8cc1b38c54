/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the time of served requests went, by entity, and whom they waited for: the kernel side's rows (bpf/slow_requests.h) into
 * series. Loop thread only.
 */
#ifndef LEADLINE_REQUEST_WAITS_H
#define LEADLINE_REQUEST_WAITS_H

#include <stdbool.h>
#include "agent/metric.h"
#include "bpf/slow_requests.h"

struct probe;

struct request_wait_tables { /* memory shared with the kernel side */
	unsigned lanes, entities, downstreams;
	struct request_waits *waits; /* entity e of lane l at l * entities + e */
	struct downstream_name *names; /* by row; the first is not used */
	__u64 *downstream_ns; /* row r of lane l at l * downstreams + r */
};

/* Labels: reason, downstream, protocol, operation, route; the last two of decoded calls only. */
extern const struct metric_desc request_waits_metric;

/* Of an enum wait_reason or enum request_reason: "disk", "socket_queue". NULL beyond. */
const char *request_reason_name(unsigned reason);

/* "10.0.0.1:80", "[::1]:80", of an address as in bpf/slow_requests.h. */
#define REQUEST_ADDRESS_SIZE 56
void request_address(char text[REQUEST_ADDRESS_SIZE], const __u8 address[16], uint16_t port);
/* What a downstream speaks, "http", "redis"; "" where it is not known. */
const char *request_downstream_protocol(unsigned protocol);

/* Object open, not loaded: sizes of maps, by the first line of the tables. Then their rows. 0 or -errno. */
int request_waits_configure(const struct request_wait_tables *tables, struct probe *probe);
int request_waits_prepare(struct request_wait_tables *tables, struct probe *probe);

/* Nothing is written of an entity that has served none. */
void request_waits_write(const struct request_wait_tables *tables, struct metric_writer *writer);

/* ---- of decoded calls ---- */

/* Adds that of one call, of this duration, that stands for so many; what it does not tell is unattributed. */
void request_waits_add(struct request_account *sum, const struct request_account *of,
		       uint64_t duration_ns, unsigned times);
/* The calls of an entity together. */
struct request_waits_of {
	uint32_t entity;
	const char *protocol, *operation, *route;
	const struct request_account *account;
};
/* tables: tell who is waited for; NULL: nobody by name. */
void request_waits_write_calls(const struct request_wait_tables *tables,
			       struct metric_writer *writer, const struct request_waits_of *calls);
/* For slow ones; the path is left out. */
void request_waits_describe(const struct request_wait_tables *tables, uint32_t entity,
			    const struct request_account *account,
			    struct request_detail *ret_detail);

/* Clears all of an entity and calls back for each of its downstreams, to forget its key and give its row back. True when there were some. */
bool request_waits_forget(const struct request_wait_tables *tables, uint32_t entity,
			  void (*give_back)(void *context, uint32_t row,
					    const struct downstream_key *key),
			  void *context);

#endif
