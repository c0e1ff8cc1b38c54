/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pods of this node as the Kubernetes API tells of them. A `struct pod` and a `struct pod_table` are immutable and
 * reference counted, hence read from any thread; a `struct pod_store` is what tables are made from, and belongs to the
 * thread that follows the API.
 */
#ifndef LEADLINE_POD_H
#define LEADLINE_POD_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define POD_MAX_LABELS	   8 /* chosen in the configuration */
#define POD_MAX_CONTAINERS 256 /* ids of one pod; former runs of a container count */

struct pod_container {
	const char *id; /* 64 hex digits, or what else the runtime uses */
	const char *name;
};

struct pod {
	const char *namespace, *name, *uid;
	const char *
		config_hash; /* what a static pod's control group is called by instead of the uid; "" none */
	size_t n_containers;
	const struct pod_container *containers;
	const char *labels
		[POD_MAX_LABELS]; /* in the order of the keys asked for; "" where it has none */
};

/*
 * Reads an object of the API. `label_keys`: up to POD_MAX_LABELS, ended by NULL. NULL when it is no pod, or names in it
 * are none that Kubernetes allows.
 */
struct pod *pod_parse(const json_t *object, const char *const label_keys[]);
struct pod *pod_get(struct pod *pod);
void pod_put(struct pod *pod); /* NULL is fine */

/* ---- the table ---- */

struct pod_table {
	uint64_t version; /* grows with each change */
	size_t n_living, n_pods; /* living ones come first */
	struct pod *const *pods;
};

struct pod_table *pod_table_get(struct pod_table *table);
void pod_table_put(struct pod_table *table); /* NULL is fine */

/* The pod of a container, with the container's name; NULL when it is not known. */
const struct pod *pod_table_find_container(const struct pod_table *table, const char *id,
					   const char **ret_name);
/* By uid or config hash, as control groups are called. */
const struct pod *pod_table_find_uid(const struct pod_table *table, const char *uid);

/* ---- the store ---- */

/*
 * Pods that were deleted stay for a while: the kernel tells of the last of their containers later than the API. The
 * oldest of them go first when there are too many.
 */
#define POD_STORE_MAX_LIVING  8192
#define POD_STORE_MAX_DELETED 1024
#define POD_STORE_LINGER_NS   300000000000ULL

struct pod_store;

struct pod_store *pod_store_new(void);
void pod_store_free(struct pod_store *store); /* NULL is fine */

/* Takes the reference over. 0; -ENOSPC when there are too many, -ENOMEM. */
int pod_store_put(struct pod_store *store, struct pod *pod);
void pod_store_delete(struct pod_store *store, const char *uid, uint64_t now_ns);
/* Around a whole list: pods not put in between are deleted. */
void pod_store_begin_list(struct pod_store *store);
void pod_store_end_list(struct pod_store *store, uint64_t now_ns);
/* Forgets those deleted long ago. */
void pod_store_expire(struct pod_store *store, uint64_t now_ns);
size_t pod_store_living(const struct pod_store *store);

/* What the store holds now, with one reference for the caller; NULL when memory ran out. */
struct pod_table *pod_store_publish(struct pod_store *store);

#endif
