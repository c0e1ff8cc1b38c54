// SPDX-License-Identifier: Apache-2.0
/* Labels of entities, and the recycling of their ids; see entity.h. Loop thread only. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "agent/entity.h"
#include "agent/entity_names.h"
#include "agent/snapshot.h"
#include "bpf/lib/task.h"
#include "entity.skel.h"

PROBE_SKELETON(entity)

/* ---- the probe ---- */

static const struct hook hooks[] = {
	{ "new threads",
	  true,
	  "names for new threads",
	  { { "entity_newtask", HOOK_TP_BTF, "task_newtask", 1 } } },
	{ "renames",
	  true,
	  "names after exec",
	  { { "entity_rename", HOOK_TP_BTF, "task_rename", 2 } } },
	{ "group moves",
	  false,
	  "names after a move to another cgroup",
	  { { "entity_attach", HOOK_TP_BTF, "cgroup_attach_task", 3 } } },
	{ "group renames",
	  false,
	  "names after a control group was renamed",
	  { { "entity_group_rename", HOOK_TP_BTF, "cgroup_rename", 2 } } },
	{ "thread exits",
	  true,
	  "recycling of entities",
	  { { "entity_exit", HOOK_TP_BTF, "sched_process_exit", 1 } } },
	{ "all threads",
	  true,
	  "names of threads older than the agent",
	  { { "entity_pass", HOOK_ITER, "task", 0 } } },
	{ .name = NULL },
};

/* Which v1 hierarchy to look at: /proc/cgroups names the number of each controller's, 0 for the unified one. */
static enum entity_v1_controller find_v1_controller(void)
{
	static const struct {
		const char *name;
		enum entity_v1_controller controller;
	} candidates[] = { { "memory", V1_MEMORY }, { "pids", V1_PIDS }, { "cpu", V1_CPU } };
	enum entity_v1_controller found = V1_NONE;
	FILE *file = fopen("/proc/cgroups", "re");
	char line[128], name[32];
	size_t best = sizeof(candidates) / sizeof(candidates[0]);
	int hierarchy;

	if (!file)
		return V1_NONE;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%31s %d", name, &hierarchy) != 2 || hierarchy == 0)
			continue;
		for (size_t i = 0; i < best; i++)
			if (!strcmp(name, candidates[i].name)) {
				found = candidates[i].controller;
				best = i;
			}
	}
	fclose(file);
	return found;
}

static int configure(struct probe *probe)
{
	unsigned n = probe_max_entities(probe);

	entity_skeleton(probe)->rodata->settings.v1_controller = find_v1_controller();
	if (probe_map_size(probe, "entity_ids", n) || probe_map_size(probe, "entity_free", n) ||
	    probe_map_size(probe, "entity_records", n))
		return -EINVAL;
	return 0;
}

static int start(struct probe *probe)
{
	int err = probe_fill_free_rows(probe, "entity_free", probe_max_entities(probe));

	return err ? err : probe_run_iterator(probe, "entity_pass");
}

const struct probe_desc probe_entity = {
	.name = "entity",
	.help = "Who a thread is: cgroup and program name, kept true through exec, rename, move and exit",
	.open = entity_open,
	.close = entity_close,
	.hooks = hooks,
	.configure = configure,
	.start = start,
	.economy = { .typical_ns = 1500 },
};

/* ---- the table ---- */

/* What the user side keeps of an id. */
struct entity {
	struct entity_names names;
	uint64_t renames; /* that the names know of */
	bool is_dead; /* seen without threads … */
	uint64_t dead_since; /* … after so many collections */
	bool is_leaving; /* about to be forgotten, while others have its labels … */
	uint64_t leaving_since; /* … after so many collections … */
	uint64_t left_ns; /* … its last thread having left then */
};

struct entity_table {
	struct probe *probe;
	uint64_t linger_ns;
	bool joins; /* labels shown are fewer: any entity may share them */
	unsigned capacity;
	struct entity_record *records; /* mapped */
	struct entity_globals *globals; /* mapped */
	uint64_t refreshes_done;
	uint64_t recycled;
	struct entity *entities; /* by id */
	struct name_sources sources;
	uint64_t pods_version, runtimes_version; /* that names are from */
};

static const char *const other_labels[ENTITY_LABELS] = { "", "", "", "", "other" };

struct entity_table *entity_table_new(struct probe *probe, uint64_t linger_ns)
{
	struct entity_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->probe = probe;
	table->linger_ns = linger_ns;
	table->capacity = probe_max_entities(probe);
	table->records = probe_rows(probe, "entity_records");
	table->globals = probe_rows(probe, "entity_globals");
	table->entities = calloc(table->capacity, sizeof(*table->entities));
	if (!table->records || !table->globals || !table->entities) {
		entity_table_free(table);
		return NULL;
	}
	return table;
}

void entity_table_free(struct entity_table *table)
{
	if (!table)
		return;
	for (uint32_t id = 0; table->entities && id < table->capacity; id++)
		entity_names_clear(&table->entities[id].names);
	free(table->entities);
	free(table);
}

static bool is_in_use(const struct entity_table *table, uint32_t id)
{
	return __atomic_load_n(&table->records[id].in_use, __ATOMIC_ACQUIRE);
}

static const struct entity_names *names_of(struct entity_table *table, uint32_t id)
{
	struct entity *entity = &table->entities[id];

	if (!entity->names.text) {
		entity->renames = __atomic_load_n(&table->records[id].renames, __ATOMIC_ACQUIRE);
		entity_names_resolve(&entity->names, &table->records[id], &table->sources);
	}
	return &entity->names;
}

const char *const *entity_labels(struct entity_table *table, uint32_t id)
{
	const struct entity_names *names;

	if (!table || id == ENTITY_OTHER || id >= table->capacity || !is_in_use(table, id))
		return other_labels;
	names = names_of(table, id);
	return names->text ? names->labels : other_labels;
}

void entity_table_name(struct entity_table *table, const struct name_sources *sources)
{
	uint64_t pods_version = sources->pods ? sources->pods->version : 0;
	uint64_t found_version = sources->runtimes ? runtimes_version(sources->runtimes) : 0;

	table->sources = *sources;
	if (pods_version == table->pods_version && found_version == table->runtimes_version)
		return;
	table->pods_version = pods_version;
	table->runtimes_version = found_version;
	/* All at one time: those of one container keep to one set of labels. */
	for (uint32_t id = 1; id < table->capacity; id++)
		if (is_in_use(table, id) && table->entities[id].names.text)
			entity_names_resolve(&table->entities[id].names, &table->records[id],
					     sources);
}

bool entity_is_leaving(const struct entity_table *table, uint32_t id)
{
	return table && id < table->capacity && table->entities[id].is_leaving;
}

void entity_table_join(struct entity_table *table, bool joins)
{
	table->joins = joins;
}

/*
 * Gives an id back. The key goes first, so that no new thread can find the id; if one did just before, the key is
 * put back and the entity lives on.
 */
static void recycle(struct entity_table *table, uint32_t id, void (*forget)(void *, uint32_t),
		    void *context)
{
	int ids = probe_map_fd(table->probe, "entity_ids");
	struct entity_record *record = &table->records[id];

	if (bpf_map_delete_elem(ids, &record->key))
		return;
	if (__atomic_load_n(&record->live_threads, __ATOMIC_ACQUIRE)) {
		bpf_map_update_elem(ids, &record->key, &id, BPF_NOEXIST);
		return;
	}
	forget(context, id);
	entity_names_clear(&table->entities[id].names);
	table->entities[id] = (struct entity){};
	memset(record, 0, sizeof(*record));
	probe_free_row(table->probe, "entity_free", id);
	table->recycled++;
}

struct dead_entity {
	uint32_t id;
	uint64_t since_ns;
};

static int compare_age(const void *a, const void *b)
{
	const struct dead_entity *x = a, *y = b;

	return (x->since_ns > y->since_ns) - (x->since_ns < y->since_ns);
}

static int compare_hash(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Hashes of the labels of all ids in use, sorted: those that are there twice are shared. NULL without memory. */
static uint64_t *list_label_hashes(struct entity_table *table, size_t *ret_n)
{
	uint64_t *hashes = calloc(table->capacity, sizeof(*hashes));
	size_t n = 0;

	if (!hashes)
		return NULL;
	for (uint32_t id = 1; id < table->capacity; id++)
		if (is_in_use(table, id))
			hashes[n++] = names_of(table, id)->hash;
	qsort(hashes, n, sizeof(*hashes), compare_hash);
	*ret_n = n;
	return hashes;
}

static bool is_shared(const uint64_t *hashes, size_t n, uint64_t hash)
{
	const uint64_t *found = n ? bsearch(&hash, hashes, n, sizeof(*hashes), compare_hash) : NULL;

	return found && ((found > hashes && found[-1] == hash) ||
			 (found + 1 < hashes + n && found[1] == hash));
}

/*
 * Whether an id may be given back now. One that shares its labels must first be collected as leaving, and not have had
 * a thread since, so that the registry can keep what it counted.
 */
static bool may_go(struct entity_table *table, uint32_t id, uint64_t collections,
		   const uint64_t *hashes, size_t n_hashes)
{
	struct entity *entity = &table->entities[id];
	uint64_t left_ns = table->records[id].last_thread_left_ns;

	if (entity->is_leaving && entity->left_ns == left_ns)
		return collections > entity->leaving_since;
	if (!table->joins && !is_shared(hashes, n_hashes, names_of(table, id)->hash))
		return true;
	entity->is_leaving = true;
	entity->leaving_since = collections;
	entity->left_ns = left_ns;
	return false;
}

/* Fills `dead` with those that have been collected since they ended; oldest first. Returns how many. */
static unsigned find_dead(struct entity_table *table, uint64_t collections,
			  struct dead_entity *dead, unsigned *ret_in_use)
{
	unsigned n_dead = 0;

	*ret_in_use = 0;
	for (uint32_t id = 1; id < table->capacity; id++) {
		struct entity *entity = &table->entities[id];

		if (!is_in_use(table, id))
			continue;
		++*ret_in_use;
		if (__atomic_load_n(&table->records[id].live_threads, __ATOMIC_ACQUIRE)) {
			entity->is_dead = entity->is_leaving = false;
			continue;
		}
		if (!entity->is_dead) {
			entity->is_dead = true;
			entity->dead_since = collections;
		}
		if (collections > entity->dead_since)
			dead[n_dead++] =
				(struct dead_entity){ id, table->records[id].last_thread_left_ns };
	}
	qsort(dead, n_dead, sizeof(*dead), compare_age);
	return n_dead;
}

static void recycle_dead(struct entity_table *table, uint64_t now_ns, uint64_t collections,
			 void (*forget)(void *, uint32_t), void *context)
{
	struct dead_entity *dead = calloc(table->capacity, sizeof(*dead));
	unsigned n_dead, in_use;
	uint64_t *hashes = NULL;
	size_t n_hashes = 0;

	if (!dead)
		return;
	n_dead = find_dead(table, collections, dead, &in_use);
	for (unsigned i = 0; i < n_dead; i++) {
		bool is_crowded = in_use > table->capacity - table->capacity / 8;

		if (!is_crowded && now_ns - dead[i].since_ns < table->linger_ns)
			break;
		if (!hashes && !(hashes = list_label_hashes(table, &n_hashes)))
			break;
		if (!may_go(table, dead[i].id, collections, hashes, n_hashes))
			continue;
		recycle(table, dead[i].id, forget, context);
		in_use--;
	}
	free(hashes);
	free(dead);
}

/* Of control groups that were renamed. */
static void forget_old_names(struct entity_table *table)
{
	for (uint32_t id = 1; id < table->capacity; id++) {
		struct entity *entity = &table->entities[id];
		uint64_t renames = __atomic_load_n(&table->records[id].renames, __ATOMIC_ACQUIRE);

		if (is_in_use(table, id) && entity->names.text && entity->renames != renames)
			entity_names_clear(&entity->names);
	}
}

void entity_table_maintain(struct entity_table *table, uint64_t now_ns, uint64_t collections,
			   void (*forget)(void *context, uint32_t id), void *context)
{
	uint64_t requests = __atomic_load_n(&table->globals->refresh_requests, __ATOMIC_ACQUIRE);

	if (requests != table->refreshes_done) {
		table->refreshes_done = requests;
		probe_run_iterator(table->probe, "entity_pass");
		forget_old_names(table);
	}
	recycle_dead(table, now_ns, collections, forget, context);
}

struct entity_counts entity_table_counts(const struct entity_table *table)
{
	struct entity_counts counts = { .capacity = table->capacity, .recycled = table->recycled };

	for (uint32_t id = 0; id < table->capacity; id++) {
		counts.threads +=
			__atomic_load_n(&table->records[id].live_threads, __ATOMIC_RELAXED);
		counts.in_use += table->records[id].in_use;
	}
	return counts;
}
