// SPDX-License-Identifier: Apache-2.0
/* From a control group to labels; see entity_names.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "agent/cgroup.h"
#include "agent/entity_names.h"

#define SHORT_ID 12 /* as `docker ps` shortens one */

/* More is better; a container and a pod count apart. */
enum rank { RANK_NOTHING = 1, RANK_POD = 2, RANK_CONTAINER = 4 };

/* The labels while they are looked for. */
struct findings {
	struct cgroup_identity identity;
	const char *namespace, *pod, *container, *unit;
	char short_id[SHORT_ID + 1];
	unsigned rank;
};

static bool is_full_id(const char *id)
{
	return strspn(id, "0123456789abcdefABCDEF") == CGROUP_ID_SIZE - 1;
}

static const char *shorten(struct findings *found, const char *id)
{
	if (!is_full_id(id))
		return id; /* a name already */
	snprintf(found->short_id, sizeof(found->short_id), "%.*s", SHORT_ID, id);
	return found->short_id;
}

/* "/system.slice/runc-web.scope"; false when the record has lost those near the root. */
static bool join_path(const struct entity_record *record, char *path, size_t size)
{
	size_t used = 0;

	path[0] = '\0';
	if (record->cgroup_names[CGROUP_NAMES - 1][0])
		return false;
	for (int i = CGROUP_NAMES; i-- > 0;)
		if (record->cgroup_names[i][0] && strcmp(record->cgroup_names[i], "/") &&
		    used < size)
			used += (size_t)snprintf(path + used, size - used, "/%s",
						 record->cgroup_names[i]);
	return used > 0 && used < size;
}

/* The unit inside of a container, where one runs systemd: by the components below the container's own group. */
static void identify_inside(struct findings *found, const struct entity_record *record,
			    const char *inside)
{
	const char *components[CGROUP_NAMES];
	size_t n = 0;

	for (; *inside; inside++)
		n += *inside == '/';
	for (size_t i = 0; i < n && i < CGROUP_NAMES; i++)
		components[i] = record->cgroup_names[i];
	cgroup_identify(components, n, &found->identity);
	found->unit = found->identity.unit[0] == '/' ? "" : found->identity.unit;
}

static void take_runtime(struct findings *found, const struct runtime_container *container)
{
	found->container = container->name[0] ? container->name : shorten(found, container->id);
	if (container->name[0] || !is_full_id(container->id))
		found->rank |= RANK_CONTAINER;
	if (container->pod[0] && container->namespace[0]) {
		found->namespace = container->namespace;
		found->pod = container->pod;
		found->rank |= RANK_POD;
	}
}

static void ask_runtimes(struct findings *found, const struct entity_record *record,
			 const struct runtimes *runtimes)
{
	const struct runtime_container *container;
	char path[CGROUP_NAMES * CGROUP_NAME_SIZE];

	if (found->identity.container[0]) {
		container = runtimes_find_id(runtimes, found->identity.container);
	} else {
		container = join_path(record, path, sizeof(path))
				    ? runtimes_find_path(runtimes, path)
				    : NULL;
		if (container)
			identify_inside(found, record, path + strlen(container->path));
	}
	if (container)
		take_runtime(found, container);
}

static void ask_kubernetes(struct findings *found, const struct pod_table *pods)
{
	const char *name = NULL;
	const struct pod *pod = NULL;

	if (found->identity.container[0])
		pod = pod_table_find_container(pods, found->identity.container, &name);
	if (pod) {
		found->container = name;
		found->rank |= RANK_CONTAINER;
	} else if (found->identity.pod_uid[0]) {
		pod = pod_table_find_uid(pods, found->identity.pod_uid);
	}
	if (!pod)
		return;
	found->namespace = pod->namespace;
	found->pod = pod->name;
	found->rank |= RANK_POD;
}

static void find(struct findings *found, const struct entity_record *record,
		 const struct name_sources *sources)
{
	const char *components[CGROUP_NAMES];

	for (int i = 0; i < CGROUP_NAMES; i++)
		components[i] = record->cgroup_names[i];
	cgroup_identify(components, CGROUP_NAMES, &found->identity);
	found->namespace = "";
	found->pod = found->identity.pod_uid;
	found->container = shorten(found, found->identity.container);
	found->unit = found->identity.unit;
	found->rank = RANK_NOTHING;
	if (sources->runtimes)
		ask_runtimes(found, record, sources->runtimes);
	if (sources->pods)
		ask_kubernetes(found, sources->pods);
}

/* FNV-1a, over the labels with their ends. */
static uint64_t hash_labels(const char *const *labels)
{
	uint64_t hash = 0xcbf29ce484222325ULL;

	for (int i = 0; i < ENTITY_LABELS; i++)
		for (const char *c = labels[i];; c++) {
			hash = (hash ^ (unsigned char)*c) * 0x100000001b3ULL;
			if (!*c)
				break;
		}
	return hash;
}

static bool store(struct entity_names *names, const char *const *labels)
{
	size_t size = 0;
	char *text, *to;

	for (int i = 0; i < ENTITY_LABELS; i++)
		size += strlen(labels[i]) + 1;
	text = to = malloc(size);
	if (!text)
		return false;
	for (int i = 0; i < ENTITY_LABELS; i++) {
		names->labels[i] = to;
		to = stpcpy(to, labels[i]) + 1;
	}
	free(names->text);
	names->text = text;
	names->hash = hash_labels(names->labels);
	return true;
}

void entity_names_resolve(struct entity_names *names, const struct entity_record *record,
			  const struct name_sources *sources)
{
	struct findings found = {};
	char comm[ENTITY_COMM_SIZE];

	find(&found, record, sources);
	if (found.rank <= names->rank)
		return;
	snprintf(comm, sizeof(comm), "%.15s", record->key.comm);
	if (store(names, (const char *const[]){ found.namespace, found.pod, found.container,
						found.unit, comm }))
		names->rank = found.rank;
}

void entity_names_clear(struct entity_names *names)
{
	free(names->text);
	*names = (struct entity_names){};
}
