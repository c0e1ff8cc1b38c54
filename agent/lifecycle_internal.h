/* SPDX-License-Identifier: Apache-2.0 */
/* A running probe, as lifecycle.c (its life) and probe_services.c (what it may ask of the core) share it. */
#ifndef LEADLINE_LIFECYCLE_INTERNAL_H
#define LEADLINE_LIFECYCLE_INTERNAL_H

#include <bpf/libbpf.h>
#include "agent/event_rings.h"
#include "agent/lifecycle.h"
#include "bpf/lib/stats.h"

#define PROBE_MAX_HOOKS	   32
#define PROBE_MAX_MAPPINGS 16
#define PROBE_MAX_LOSSES   16

struct probe_mapping {
	const char *map;
	void *base;
	size_t size;
};

struct probe_loss {
	const char *reason;
	uint64_t total;
};

struct probe {
	const struct probe_desc *desc;
	const struct probe_environment *environment;
	enum probe_state state;
	char reason[400];

	const struct probe *lender; /* see struct probe_desc; NULL: none */
	struct bpf_object *object;
	void *skeleton, *data;
	struct hook_status hooks[PROBE_MAX_HOOKS];
	struct bpf_link *links[PROBE_MAX_HOOKS]; /* iterators: made at their first run */
	size_t n_hooks;
	struct probe_mapping mappings[PROBE_MAX_MAPPINGS];
	size_t n_mappings;
	struct event_rings *rings; /* NULL: the object has none of its own */
	unsigned ring_bytes, last_ring_bytes; /* of those in the map `event_rings` */
	const struct probe_stats *stats; /* mapped; NULL: the object keeps none */
	struct budget_lane *lanes; /* the same */

	uint64_t events, malformed_events;
	uint64_t sockets;
	uint64_t table_bytes; /* of its own memory, at most */
	bool counts_sockets;
	struct probe_loss losses[PROBE_MAX_LOSSES];
	size_t n_losses;
	bool loaded;
	bool borrows_maps; /* the shared ones: counted with the entity table */
};

bool probe_is_running(const struct probe *probe);
/* Whether hook i is attached by other means than the others are. */
bool probe_hook_is_apart(const struct probe *probe, size_t i);
/* Attaches hook i as chosen, those apart excepted. 0 or -errno. */
int probe_attach_hook(struct probe *probe, size_t i);

#endif
