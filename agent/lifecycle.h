/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of probes, the same for each: open → configure → select hooks → load → prepare → attach → start → collect … →
 * destroy. A probe that fails is torn down and keeps its reason; the others live on. Loop thread only.
 */
#ifndef LEADLINE_LIFECYCLE_H
#define LEADLINE_LIFECYCLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "agent/caps.h"
#include "agent/config.h"
#include "probes/probe.h"

struct budget_lane;
struct entity_table;

/* What all probes share. Outlives them. */
struct probe_environment {
	const struct kernel_offers *offers;
	const struct config *config;
	struct entity_table *entities; /* NULL until there is one: labels are then empty */
	unsigned cpus; /* possible ones */
	unsigned max_entities;
	/* the shared maps (bpf/task.bpf.c); -1: each object makes its own */
	int task_states_fd, cpu_turns_fd;
};

enum probe_state {
	PROBE_DISABLED, /* by the configuration */
	PROBE_FAILED,
	PROBE_DEGRADED, /* works, but not fully */
	PROBE_UP,
};
const char *probe_state_name(enum probe_state state);

/* NULL when memory ran out. Does nothing to the kernel yet. */
struct probe *probe_new(const struct probe_desc *desc, const struct probe_environment *environment);
void probe_free(struct probe *probe); /* detaches and frees; NULL is fine */

/* Open to load. On failure the probe is PROBE_FAILED with a reason and owns nothing in the kernel. 0 or -errno. */
int probe_load(struct probe *probe);
/* Before that, for a probe that lives on the maps of another. */
void probe_lend(struct probe *probe, const struct probe *lender);
/* Whether it is to be loaded only once it has something to do … */
bool probe_is_on_demand(const struct probe *probe);
/* … and whether it has, of one that is not loaded; one that is goes on to watch. */
bool probe_watch(struct probe *probe);
/* Attach and start; the same promise. */
int probe_attach(struct probe *probe);

int probe_collect(struct probe *probe, struct metric_writer *writer);
void probe_forget_entity(struct probe *probe, uint32_t entity);
/* Drains its rings, if it has any. */
void probe_drain(struct probe *probe);
int probe_ring_fd(struct probe *probe); /* to wait until one is half full; -1: it has none */

const struct probe_desc *probe_description(const struct probe *probe);
enum probe_state probe_current_state(const struct probe *probe);
const char *probe_reason(const struct probe *probe); /* "" when up */

struct hook_status {
	const struct hook *hook;
	struct hook_choice choice;
	bool attached;
};
size_t probe_hook_statuses(const struct probe *probe, const struct hook_status **ret_statuses);

/* ---- for the budget: running probes only ---- */

/* Memory shared with the hooks, one for each possible CPU; NULL when the probe keeps none or does not run. */
struct budget_lane *probe_lanes(struct probe *probe);
bool probe_can_pause(const struct probe *probe); /* it has hot hooks */
/*
 * Takes the hot hooks away, for probe_resume() to bring back; what is loaded and counted stays. Returns the share of events that
 * still come, as the probe can choose hooks with no more than so many.
 */
double probe_pause(struct probe *probe, double events_per_second);
int probe_resume(struct probe *probe); /* 0, or -errno with the hooks away as before */

/* How often the programs of a probe have run and for how long, as the kernel counts while it is asked to. */
struct probe_runs {
	uint64_t runs, ns;
};
struct probe_runs probe_count_runs(struct probe *probe);
/* The same of its i-th hook's program; zeroes for an iterator, which the agent runs itself. */
struct probe_runs probe_count_hook_runs(const struct probe *probe, size_t i);

uint64_t probe_events(const struct probe *probe);
/* Calls back with each reason and its count, zeroes included, so that a loss does not appear out of nowhere. */
void probe_each_loss(struct probe *probe,
		     void (*callback)(void *context, const char *reason, uint64_t total),
		     void *context);
/* A map as it is declared, its size set. */
struct map_shape {
	unsigned type; /* enum bpf_map_type */
	unsigned max_entries, key_size, value_size;
	bool is_of_sockets; /* see struct probe_desc */
};
typedef void map_callback(void *context, const char *map, const struct map_shape *shape,
			  uint64_t bytes);
/* Calls back with the memory of each map, as the kernel accounts it; of rings in a map, under its name. */
void probe_each_map(struct probe *probe, map_callback *callback, void *context);
/* Adds them. False when the probe does not count sockets: see probe_report_sockets(). */
bool probe_sockets(const struct probe *probe, uint64_t *ret_sockets);
uint64_t probe_own_memory(const struct probe *probe); /* see probe_report_memory() */

#endif
