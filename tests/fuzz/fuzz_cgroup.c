// SPDX-License-Identifier: Apache-2.0
/*
 * Any path of a control group, and any program name: components split at '/', the last one is the program. Identities
 * are terminated and of the right form, labels are there and do not change when they are resolved again.
 */
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "agent/cgroup.h"
#include "agent/entity_names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_NAMES 24

static void check_identity(const char *const *names, size_t n)
{
	struct cgroup_identity identity;

	memset(&identity, 0xa5, sizeof(identity));
	cgroup_identify(names, n, &identity);
	if (!memchr(identity.container, 0, sizeof(identity.container)) ||
	    !memchr(identity.pod_uid, 0, sizeof(identity.pod_uid)) ||
	    !memchr(identity.unit, 0, sizeof(identity.unit)))
		abort();
	for (const char *at = identity.pod_uid; *at; at++)
		if (!isxdigit((unsigned char)*at) && *at != '-')
			abort();
}

static void check_labels(const char *const *names, size_t n, const char *comm)
{
	struct entity_record record = {};
	struct entity_names resolved = {};
	uint64_t hash;

	snprintf(record.key.comm, sizeof(record.key.comm), "%s", comm);
	for (size_t i = 0; i < n && i < CGROUP_NAMES; i++)
		snprintf(record.cgroup_names[i], CGROUP_NAME_SIZE, "%s", names[i]);
	entity_names_resolve(&resolved, &record, &(struct name_sources){});
	if (!resolved.text)
		abort();
	for (size_t i = 0; i < ENTITY_LABELS; i++)
		if (!resolved.labels[i] || strlen(resolved.labels[i]) > CGROUP_UNIT_SIZE)
			abort();
	hash = resolved.hash;
	entity_names_resolve(&resolved, &record, &(struct name_sources){});
	if (resolved.hash != hash)
		abort();
	entity_names_clear(&resolved);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *path = malloc(size + 1), *name, *rest;
	const char *components[MAX_NAMES], *names[MAX_NAMES];
	size_t n = 0;

	if (!path)
		abort();
	memcpy(path, data, size);
	path[size] = '\0';
	rest = path;
	while (n < MAX_NAMES && (name = strsep(&rest, "/")))
		components[n++] = name;
	for (size_t i = 0; i < n; i++) /* leaf first */
		names[i] = components[n - 1 - i];
	check_identity(names, n);
	check_labels(names + 1, n - 1, names[0]);
	free(path);
	return 0;
}
