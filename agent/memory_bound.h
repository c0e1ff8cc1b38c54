/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The formula of the agent's memory, in the kernel and outside, exported as leadline_memory_bound_bytes{part}. Each part
 * is a bound for what is measured: maps for leadline_bpf_map_bytes, threads and sockets for what their storage takes of
 * the kernel's slabs, which nothing else tells, agent for process_resident_memory_bytes less the maps in it.
 * Pure but for memory_bound_write(), which runs on the loop thread.
 */
#ifndef LEADLINE_MEMORY_BOUND_H
#define LEADLINE_MEMORY_BOUND_H

#include <stdint.h>
#include "agent/lifecycle.h"
#include "agent/metric.h"

/* Of a map, by its declaration. Sources: the map_mem_usage functions of kernel/bpf, 6.18. */
uint64_t memory_bound_map(const struct map_shape *shape, unsigned cpus);

/*
 * Storage of one thread or socket in such a map, 0 for maps of other types: the kernel's header of 72 bytes before the
 * value, allocated in sizes of kmalloc (include/linux/bpf_local_storage.h, kernel/bpf/memalloc.c).
 */
uint64_t memory_bound_storage(const struct map_shape *shape);

/* What ties the storages of a thread or a socket together: struct bpf_local_storage. */
#define MEMORY_BOUND_STORAGE_HEAD 192

/*
 * Code, libraries, the stacks and buffers of three threads: 13 MiB as measured; and what the allocator may keep of the
 * kernel's types, which all probes need while they are loaded.
 */
#define MEMORY_BOUND_AGENT (32ULL << 20)
/* Of a series: in five snapshots (the current, the one being made, three for health), and its text in pages. */
#define MEMORY_BOUND_SERIES 2048ULL

struct self_sources;
void memory_bound_write(const struct self_sources *sources, struct metric_writer *writer);
extern const struct metric_desc memory_bound_metric;

#endif
