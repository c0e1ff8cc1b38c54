/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of the requests probe that is about other protocols than HTTP/1: its options, its maps, its series. Exchanges are
 * counted in the kernel (requests_exchanges.h), calls here, from copies (requests_streams.h). Loop thread only.
 */
#ifndef LEADLINE_REQUESTS_PROTOCOLS_H
#define LEADLINE_REQUESTS_PROTOCOLS_H

#include <stddef.h>
#include <stdint.h>
#include "agent/metric.h"
#include "agent/option.h"
#include "bpf/requests.h"

struct probe;
struct requests_protocols;
struct request_wait_tables;
struct slow_requests;

/* For the option `protocols`; its default names them all. */
#define REQUESTS_ALL_PROTOCOLS "http2 postgresql mysql redis dns tls"
int requests_check_protocols(const char *text, char *error, size_t error_size);

/* So many rings of so many bytes each, and one more, the last, of so many: all of them powers of two. */
struct ring_layout {
	unsigned n, bytes, last_bytes;
};
/* With room for so many bytes when the agent is late, for so many CPUs in so many lanes. */
struct ring_layout requests_rings_for(unsigned bytes, unsigned cpus, unsigned lanes);

/* slow: where slow calls go; NULL: nowhere. waits: tell who is waited for. Both outlive it. NULL: no memory. */
struct requests_protocols *requests_protocols_new(struct probe *probe,
						  const struct request_wait_tables *waits,
						  struct slow_requests *slow);
void requests_protocols_free(struct requests_protocols *protocols); /* NULL is fine */

/* Object open, not loaded: sizes of maps, and its part of the settings. 0 or -errno. */
int requests_protocols_configure(struct requests_protocols *protocols,
				 struct requests_settings *settings);
/* shared: the kernel side's; outlives it. 0 or -errno. */
int requests_protocols_prepare(struct requests_protocols *protocols,
			       struct requests_shared *shared);
/* Each event from now on stands for so many; at first, for itself. */
void requests_protocols_weigh(struct requests_protocols *protocols, unsigned weight);
int requests_protocols_take_event(struct requests_protocols *protocols, const void *data,
				  size_t size);
/* Adds the calls in flight on connections that are decoded to what the kernel side has found on others. */
void requests_protocols_add_in_flight(struct requests_protocols *protocols,
				      struct requests_in_flight *in_flight);
/* Writes all series and reports losses. Returns the number of exchanges. */
uint64_t requests_protocols_collect(struct requests_protocols *protocols,
				    struct metric_writer *writer);
/* Returns the number of exchanges that are gone with it. */
uint64_t requests_protocols_forget(struct requests_protocols *protocols, uint32_t entity);

#endif
