// SPDX-License-Identifier: Apache-2.0
/*
 * Keeps the pods of this node up to date, and publishes them as tables: sorted pointers to the same pods, so that a new
 * table costs little. See pod.h.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "agent/hash.h"
#include "agent/pod.h"

/* ---- the table ---- */

struct by_name {
	const char *key; /* container id, uid or config hash */
	const struct pod *pod;
	const char *container; /* its name, for ids */
};

struct owned_table {
	struct pod_table table; /* first: callers hold this */
	atomic_uint references;
	struct by_name *ids, *uids; /* sorted by key */
	size_t n_ids, n_uids;
	struct pod *pods[];
};

struct pod_table *pod_table_get(struct pod_table *table)
{
	atomic_fetch_add(&((struct owned_table *)table)->references, 1);
	return table;
}

void pod_table_put(struct pod_table *table)
{
	struct owned_table *owned = (struct owned_table *)table;

	if (!table || atomic_fetch_sub(&owned->references, 1) != 1)
		return;
	for (size_t i = 0; i < table->n_pods; i++)
		pod_put(owned->pods[i]);
	free(owned->ids);
	free(owned->uids);
	free(owned);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct by_name *)a)->key, ((const struct by_name *)b)->key);
}

static const struct by_name *find_name(const struct by_name *names, size_t n, const char *key)
{
	struct by_name like = { .key = key };

	return n ? bsearch(&like, names, n, sizeof(*names), compare_names) : NULL;
}

const struct pod *pod_table_find_container(const struct pod_table *table, const char *id,
					   const char **ret_name)
{
	const struct owned_table *owned = (const struct owned_table *)table;
	const struct by_name *found = table ? find_name(owned->ids, owned->n_ids, id) : NULL;

	if (found)
		*ret_name = found->container;
	return found ? found->pod : NULL;
}

const struct pod *pod_table_find_uid(const struct pod_table *table, const char *uid)
{
	const struct owned_table *owned = (const struct owned_table *)table;
	const struct by_name *found = table ? find_name(owned->uids, owned->n_uids, uid) : NULL;

	return found ? found->pod : NULL;
}

/* ---- the store ---- */

struct entry {
	struct pod *pod;
	uint64_t list; /* the last one it was in */
	uint64_t deleted_ns; /* 0: it lives */
	UT_hash_handle hh; /* by pod->uid */
};

struct pod_store {
	struct entry *entries;
	size_t n_living, n_deleted;
	uint64_t list, version;
};

struct pod_store *pod_store_new(void)
{
	return calloc(1, sizeof(struct pod_store));
}

static void remove_entry(struct pod_store *store, struct entry *entry)
{
	if (entry->deleted_ns)
		store->n_deleted--;
	else
		store->n_living--;
	HASH_DEL(store->entries, entry);
	pod_put(entry->pod);
	free(entry);
}

void pod_store_free(struct pod_store *store)
{
	struct entry *entry, *next;

	if (!store)
		return;
	HASH_ITER(hh, store->entries, entry, next)
	remove_entry(store, entry);
	free(store);
}

static struct entry *find_entry(struct pod_store *store, const char *uid)
{
	struct entry *entry;

	HASH_FIND_STR(store->entries, uid, entry);
	return entry;
}

/* False without memory: the entry is gone then. */
static bool add_entry(struct pod_store *store, struct entry *entry)
{
	HASH_ADD_KEYPTR(hh, store->entries, entry->pod->uid, strlen(entry->pod->uid), entry);
	if (HASH_TOOK(entry))
		return true;
	pod_put(entry->pod);
	free(entry);
	return false;
}

int pod_store_put(struct pod_store *store, struct pod *pod)
{
	struct entry *entry = find_entry(store, pod->uid);

	if (!entry && store->n_living == POD_STORE_MAX_LIVING) {
		pod_put(pod);
		return -ENOSPC;
	}
	if (entry)
		remove_entry(store, entry); /* its key is in the pod that goes */
	entry = calloc(1, sizeof(*entry));
	if (!entry) {
		pod_put(pod);
		return -ENOMEM;
	}
	entry->pod = pod;
	entry->list = store->list;
	if (!add_entry(store, entry))
		return -ENOMEM;
	store->n_living++;
	return 0;
}

/* Moves it to the end of the order of the hash, where deleted ones are in the order of their deletion. */
static void delete_entry(struct pod_store *store, struct entry *entry, uint64_t now_ns)
{
	if (entry->deleted_ns)
		return;
	entry->deleted_ns = now_ns ? now_ns : 1;
	store->n_living--;
	HASH_DEL(store->entries, entry);
	if (add_entry(store, entry))
		store->n_deleted++;
}

static void trim_deleted(struct pod_store *store, uint64_t now_ns)
{
	struct entry *entry, *next;

	if (!store->n_deleted)
		return;
	HASH_ITER(hh, store->entries, entry, next)
	if (entry->deleted_ns && (store->n_deleted > POD_STORE_MAX_DELETED ||
				  now_ns - entry->deleted_ns > POD_STORE_LINGER_NS))
		remove_entry(store, entry);
}

void pod_store_delete(struct pod_store *store, const char *uid, uint64_t now_ns)
{
	struct entry *entry = find_entry(store, uid);

	if (entry)
		delete_entry(store, entry, now_ns);
	trim_deleted(store, now_ns);
}

void pod_store_begin_list(struct pod_store *store)
{
	store->list++;
}

void pod_store_end_list(struct pod_store *store, uint64_t now_ns)
{
	struct entry *entry, *next;

	HASH_ITER(hh, store->entries, entry, next)
	if (entry->list != store->list)
		delete_entry(store, entry, now_ns);
	trim_deleted(store, now_ns);
}

void pod_store_expire(struct pod_store *store, uint64_t now_ns)
{
	trim_deleted(store, now_ns);
}

size_t pod_store_living(const struct pod_store *store)
{
	return store->n_living;
}

/* ---- publishing ---- */

static void fill_table(const struct pod_store *store, struct owned_table *owned)
{
	size_t living = 0, deleted = store->n_living;
	struct entry *entry, *next;

	HASH_ITER(hh, store->entries, entry, next)
	{
		struct pod *pod = pod_get(entry->pod);

		owned->pods[entry->deleted_ns ? deleted++ : living++] = pod;
		owned->uids[owned->n_uids++] = (struct by_name){ pod->uid, pod, NULL };
		if (*pod->config_hash)
			owned->uids[owned->n_uids++] =
				(struct by_name){ pod->config_hash, pod, NULL };
		for (size_t i = 0; i < pod->n_containers; i++)
			owned->ids[owned->n_ids++] = (struct by_name){ pod->containers[i].id, pod,
								       pod->containers[i].name };
	}
	qsort(owned->ids, owned->n_ids, sizeof(*owned->ids), compare_names);
	qsort(owned->uids, owned->n_uids, sizeof(*owned->uids), compare_names);
}

struct pod_table *pod_store_publish(struct pod_store *store)
{
	size_t n_pods = store->n_living + store->n_deleted, n_ids = 0;
	struct owned_table *owned = calloc(1, sizeof(*owned) + n_pods * sizeof(owned->pods[0]));
	struct entry *entry, *next;

	HASH_ITER(hh, store->entries, entry, next)
	n_ids += entry->pod->n_containers;
	if (!owned)
		return NULL;
	owned->ids = calloc(n_ids + 1, sizeof(*owned->ids));
	owned->uids = calloc(2 * n_pods + 1, sizeof(*owned->uids));
	if (!owned->ids || !owned->uids) {
		free(owned->ids);
		free(owned->uids);
		free(owned);
		return NULL;
	}
	atomic_init(&owned->references, 1);
	owned->table = (struct pod_table){
		.version = ++store->version,
		.n_living = store->n_living,
		.n_pods = n_pods,
		.pods = owned->pods,
	};
	fill_table(store, owned);
	return &owned->table;
}
