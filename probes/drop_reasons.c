// SPDX-License-Identifier: Apache-2.0
/*
 * See drop_reasons.h. The numbers move from kernel to kernel, so nothing here knows one: whatever the
 * enum calls SKB_DROP_REASON_… is a drop, its other entries are not.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "bpf/network.h"
#include "probes/drop_reasons.h"

#define REASON_PREFIX	 "SKB_DROP_REASON_"
#define SUBSYSTEM_PREFIX "SKB_DROP_REASON_SUBSYS_"

/* The part behind the prefix, or NULL. */
static const char *name_behind(const char *name, const char *prefix)
{
	size_t size = strlen(prefix);

	return strncmp(name, prefix, size) == 0 ? name + size : NULL;
}

int drop_reasons_add(struct drop_reasons *reasons, const char *name, int64_t value)
{
	const char *reason = name_behind(name, REASON_PREFIX);
	char(*names)[DROP_REASON_NAME_SIZE];
	unsigned number;

	if (value < 0 || value >= DROP_MAX_CORE_REASONS || (reason && !strcmp(reason, "MAX")))
		return 0;
	number = (unsigned)value;
	if (number >= reasons->core) {
		names = realloc(reasons->core_names, (number + 1) * sizeof(*names));
		if (!names)
			return -ENOMEM;
		memset(names + reasons->core, 0, (number + 1 - reasons->core) * sizeof(*names));
		reasons->core_names = names;
		reasons->core = number + 1;
	}
	snprintf(reasons->core_names[number], DROP_REASON_NAME_SIZE, "%s", reason ? reason : "");
	return 0;
}

int drop_reasons_add_subsystem(struct drop_reasons *reasons, const char *name, int64_t value)
{
	const char *subsystem = name_behind(name, SUBSYSTEM_PREFIX);

	/* The first is the core, the last but a count. */
	if (!subsystem || !strcmp(subsystem, "NUM") || value < 1 || value > DROP_MAX_SUBSYSTEMS)
		return 0;
	if (value > reasons->subsystems)
		reasons->subsystems = (unsigned)value;
	snprintf(reasons->subsystem_names[value - 1], DROP_REASON_NAME_SIZE, "%.32s", subsystem);
	return 0;
}

void drop_reasons_free(struct drop_reasons *reasons)
{
	free(reasons->core_names);
	*reasons = (struct drop_reasons){ 0 };
}

unsigned drop_reasons_core(const struct drop_reasons *reasons)
{
	return reasons->core ? reasons->core : 1;
}

unsigned drop_reasons_subsystems(const struct drop_reasons *reasons)
{
	return 1 + reasons->subsystems;
}

const char *drop_reasons_name(const struct drop_reasons *reasons, unsigned row,
			      char text[DROP_REASON_NAME_SIZE])
{
	unsigned subsystem, number;

	if (row == 0 && !reasons->core) /* the one row there is */
		return "NOT_SPECIFIED";
	if (row < reasons->core)
		return reasons->core_names[row][0] ? reasons->core_names[row] : NULL;
	subsystem = (row - drop_reasons_core(reasons)) / DROP_SUBSYSTEM_REASONS;
	number = (row - drop_reasons_core(reasons)) % DROP_SUBSYSTEM_REASONS;
	if (subsystem >= reasons->subsystems)
		return "other";
	if (reasons->subsystem_names[subsystem][0])
		snprintf(text, DROP_REASON_NAME_SIZE, "%s_%u", reasons->subsystem_names[subsystem],
			 number);
	else
		snprintf(text, DROP_REASON_NAME_SIZE, "subsystem_%u_%u", subsystem + 1, number);
	return text;
}
