// SPDX-License-Identifier: Apache-2.0
/* How much memory the agent may take; see memory_bound.h. */
#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>
#include "agent/hyperloglog.h"
#include "agent/memory_bound.h"
#include "agent/self.h"

#define MAP_HEAD	1024ULL /* struct bpf_map and what a type adds */
#define HASH_ELEMENT	48ULL /* before the key */
#define HASH_BUCKET	16ULL
#define STORAGE_BUCKET	32ULL
#define STORAGE_ELEMENT 72ULL /* before the value */
#define ALLOCATOR_LINK	8ULL /* of bpf_mem_alloc, which threads' storage comes from */

const struct metric_desc memory_bound_metric = {
	.name = "leadline_memory_bound_bytes",
	.help = "Most memory the agent takes by its formula, by part: BPF maps, storage of threads and of sockets in the "
		"kernel, the process",
	.unit = "bytes",
	.kind = METRIC_GAUGE,
	.labels = { "part" },
};

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

static uint64_t power_of_two(uint64_t n)
{
	uint64_t power = 1;

	while (power < n)
		power *= 2;
	return power;
}

uint64_t memory_bound_map(const struct map_shape *shape, unsigned cpus)
{
	uint64_t key = round_up(shape->key_size, 8), value = round_up(shape->value_size, 8);
	uint64_t entries = shape->max_entries, page = (uint64_t)sysconf(_SC_PAGESIZE);

	switch (shape->type) {
	case BPF_MAP_TYPE_ARRAY:
	case BPF_MAP_TYPE_ARRAY_OF_MAPS: /* these count by themselves */
		return page + round_up(MAP_HEAD + entries * value, page);
	case BPF_MAP_TYPE_PERCPU_ARRAY:
		return round_up(MAP_HEAD + entries * (8 + cpus * value), page);
	case BPF_MAP_TYPE_HASH:
	case BPF_MAP_TYPE_LRU_HASH: /* one more element for each CPU */
		if (shape->is_of_sockets)
			return page + MAP_HEAD + power_of_two(entries) * HASH_BUCKET;
		return page + MAP_HEAD + (entries + cpus) * (HASH_ELEMENT + key + value) +
		       cpus * 8 * 8 + power_of_two(entries) * HASH_BUCKET;
	case BPF_MAP_TYPE_QUEUE:
		return round_up(MAP_HEAD + (entries + 1) * value, page);
	case BPF_MAP_TYPE_RINGBUF: /* the data, its two positions, and pointers to all pages twice */
		return entries + 3 * page + round_up((3 + 2 * entries / page) * 8 + MAP_HEAD, page);
	case BPF_MAP_TYPE_TASK_STORAGE:
	case BPF_MAP_TYPE_SK_STORAGE:
		return MAP_HEAD + power_of_two(cpus > 2 ? cpus : 2) * STORAGE_BUCKET;
	default:
		return page + MAP_HEAD + entries * (HASH_ELEMENT + key + value * cpus);
	}
}

/* What kmalloc makes of a size. */
static uint64_t allocation(uint64_t size)
{
	if (size > 64 && size <= 96)
		return 96;
	if (size > 128 && size <= 192)
		return 192;
	return power_of_two(size);
}

uint64_t memory_bound_storage(const struct map_shape *shape)
{
	uint64_t size = STORAGE_ELEMENT + round_up(shape->value_size, 8);

	if (shape->is_of_sockets)
		return allocation(HASH_ELEMENT + round_up(shape->key_size, 8) +
				  round_up(shape->value_size, 8) + ALLOCATOR_LINK);
	if (shape->type == BPF_MAP_TYPE_TASK_STORAGE)
		return allocation(size + ALLOCATOR_LINK);
	return shape->type == BPF_MAP_TYPE_SK_STORAGE ? allocation(size) : 0;
}

/* ---- of the whole agent ---- */

struct sums {
	unsigned cpus;
	uint64_t maps;
	uint64_t of_thread, of_socket; /* storage */
};

static void add_map(void *context, const char *map, const struct map_shape *shape, uint64_t bytes)
{
	struct sums *sums = context;

	sums->maps += memory_bound_map(shape, sums->cpus);
	if (shape->type == BPF_MAP_TYPE_TASK_STORAGE)
		sums->of_thread += memory_bound_storage(shape);
	else
		sums->of_socket += memory_bound_storage(shape);
}

static void write_part(struct metric_writer *writer, const char *part, uint64_t bytes)
{
	metric_write(writer, &memory_bound_metric, ENTITY_NONE, &part, (double)bytes);
}

static void add_estimate(void *context, const char *metric, uint64_t series, double distinct)
{
	uint64_t *bytes = context;

	(void)metric;
	(void)series;
	(void)distinct;
	*bytes += sizeof(struct hyperloglog);
}

void memory_bound_write(const struct self_sources *sources, struct metric_writer *writer)
{
	struct sums sums = { .of_thread = MEMORY_BOUND_STORAGE_HEAD,
			     .of_socket = MEMORY_BOUND_STORAGE_HEAD };
	uint64_t sockets = 0, tables = 0, estimates = 0;
	bool counts_sockets = false;

	for (size_t i = 0; i < sources->n_probes; i++) {
		sums.cpus = probe_cpus(sources->probes[i]);
		probe_each_map(sources->probes[i], add_map, &sums);
		tables += probe_own_memory(sources->probes[i]);
		counts_sockets |= probe_sockets(sources->probes[i], &sockets);
	}
	write_part(writer, "maps", sums.maps);
	if (sources->entities)
		write_part(writer, "threads",
			   entity_table_counts(sources->entities).threads * sums.of_thread);
	if (counts_sockets)
		write_part(writer, "sockets", sockets * sums.of_socket);
	registry_each_dropped(sources->registry, add_estimate, &estimates);
	write_part(writer, "agent",
		   MEMORY_BOUND_AGENT + sources->n_series * MEMORY_BOUND_SERIES + tables +
			   estimates);
}
