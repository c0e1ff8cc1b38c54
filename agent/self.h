/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent says of itself: its own cost, its probes' state, every loss. Loop thread only. */
#ifndef LEADLINE_SELF_H
#define LEADLINE_SELF_H

#include <stddef.h>
#include <stdint.h>
#include "agent/entity.h"
#include "agent/lifecycle.h"
#include "agent/registry.h"

extern const struct metric_desc *const self_metrics[]; /* NULL-terminated, for the catalogue */

struct self_sources {
	struct probe *const *probes;
	size_t n_probes;
	const struct entity_table *entities; /* NULL: none */
	struct registry *registry;
	size_t n_series; /* of the previous snapshot */
	uint64_t collection_ns; /* how long the previous collection took */
};

void self_write_metrics(const struct self_sources *sources, struct metric_writer *writer);

struct http_server;
void self_write_http_metrics(const struct http_server *server, struct metric_writer *writer);

#endif
