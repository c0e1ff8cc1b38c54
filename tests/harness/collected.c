// SPDX-License-Identifier: Apache-2.0
/* See collected.h. */
#include <stdio.h>
#include "tests/harness/collected.h"
#include "tests/harness/harness.h"

static const char *const *entity_as_comm(void *context, uint32_t entity)
{
	static char comm[12];
	static const char *const labels[ENTITY_LABELS] = { "", "", "", "", comm };

	(void)context;
	snprintf(comm, sizeof(comm), "%u", entity);
	return labels;
}

struct registry *registry_by_number(void)
{
	struct registry *registry = registry_new(entity_as_comm, NULL);

	assert_non_null(registry);
	return registry;
}

struct snapshot *collected(struct registry *registry)
{
	struct snapshot *snapshot = registry_finish(registry);

	assert_non_null(snapshot);
	registry_free(registry);
	cleanup_push((void (*)(void *))snapshot_put, snapshot);
	return snapshot;
}
