/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Aggregates in rows: an array map holding, for each CPU, `rows_per_cpu` values; row r of CPU c is at
 * index c * rows_per_cpu + r. Plain arrays rather than per-CPU ones since those can be memory-mapped:
 * the agent then reads any number of rows without a system call, and a lookup here is inlined.
 *
 * The hooks run with preemption off, so plain additions to a row of this CPU are exact, as long as the
 * row is touched from one context only (task or interrupt). Where both do, use ROW_ADD_ATOMIC.
 *
 * Which row holds what is the probe's business: often the entity id, else one handed out
 * once for a key by row_for_key(). Row 0 is "other": what found no room is added there.
 */
#ifndef LEADLINE_ROWS_BPF_H
#define LEADLINE_ROWS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

/* The user side sets the true size, CPUs * rows, before load: probe_rows() in probes/probe.h. */
#define DEFINE_ROWS(name_, type_)                                                                  \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(map_flags, BPF_F_MMAPABLE);                                                 \
		__uint(max_entries, 1);                                                            \
		__type(key, __u32);                                                                \
		__type(value, type_);                                                              \
	} name_ SEC(".maps")

/* Row numbers not handed out yet; filled by the user side with 1..rows-1. */
#define DEFINE_FREE_ROWS(name_)                                                                    \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_QUEUE);                                                  \
		__uint(max_entries, 1);                                                            \
		__type(value, __u32);                                                              \
	} name_ SEC(".maps")

static __always_inline void *row_of_this_cpu(void *rows, __u32 rows_per_cpu, __u32 row)
{
	__u32 index = bpf_get_smp_processor_id() * rows_per_cpu + row;

	if (row >= rows_per_cpu)
		return NULL;
	return bpf_map_lookup_elem(rows, &index);
}

#define ROW_ADD_ATOMIC(field, n) ((void)__sync_fetch_and_add(&(field), (n)))

/*
 * Row for a key: the one it has in `index` (a hash map key → __u32), or a free one. Returns 0, "other",
 * when none is free. Two CPUs may ask for one new key at once; both then get the same row.
 */
static __always_inline __u32 row_for_key(void *index, void *free_rows, const void *key)
{
	__u32 *known = bpf_map_lookup_elem(index, key);
	__u32 row;

	if (known)
		return *known;
	if (bpf_map_pop_elem(free_rows, &row))
		return 0;
	if (bpf_map_update_elem(index, key, &row, BPF_NOEXIST)) {
		bpf_map_push_elem(free_rows, &row, BPF_ANY);
		known = bpf_map_lookup_elem(index, key);
		return known ? *known : 0;
	}
	return row;
}

#endif
