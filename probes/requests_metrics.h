/* SPDX-License-Identifier: Apache-2.0 */
/* The metrics of the requests probe: descriptors only. */
#ifndef LEADLINE_REQUESTS_METRICS_H
#define LEADLINE_REQUESTS_METRICS_H

#include "agent/metric.h"
#include "bpf/requests.h"
#include "probes/protocols/protocol.h"

/* Labels: method, status, error type, scheme, route, version of HTTP. */
extern const struct metric_desc requests_duration_metrics[REQUESTS_ROLES];
/* Labels: method, status. */
extern const struct metric_desc requests_first_byte_metrics[REQUESTS_ROLES];
extern const struct metric_desc requests_in_flight_metric, requests_oldest_metric;
/* Labels: role, protocol. */
extern const struct metric_desc requests_connections_metric, requests_connect_metric;
/* Both, as far as they are not 0. */
void requests_write_connections(struct metric_writer *writer, uint32_t entity,
				const char *const labels[], uint64_t connections,
				uint64_t connect_ns);
/* Labels: protocol, parsed, reason. */
extern const struct metric_desc requests_bytes_metric;
/* Labels: role, protocol. */
extern const struct metric_desc requests_exchange_metric;

/*
 * Where decoded calls go. Labels, DATABASE: system, operation, summary, status, error type; HTTP: as above; RPC: system,
 * method, status, error type; NAMES: type, response code, error type.
 */
const struct metric_desc *requests_call_metric(enum protocol_family family,
					       enum requests_role role);

/* Bytes of the same calls. Labels: direction, then those of the histogram. */
const struct metric_desc *requests_call_bytes_metric(enum protocol_family family,
						     enum requests_role role);
/* Those that are not 0, under the n labels of the histogram. */
void requests_write_bytes(struct metric_writer *writer, const struct metric_desc *metric,
			  uint32_t entity, const char *const labels[], size_t n,
			  uint64_t request_bytes, uint64_t response_bytes);

extern const struct metric_desc *const requests_metrics[]; /* all, NULL-terminated */

#endif
