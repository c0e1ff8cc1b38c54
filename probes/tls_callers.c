// SPDX-License-Identifier: Apache-2.0
/* Who makes how many calls; see tls_callers.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "probes/tls_callers.h"

#define LEAST_NS 500000000ULL
#define COMM	 4 /* among an entity's labels */

int tls_callers_configure(struct tls_callers *callers, struct probe *probe)
{
	unsigned entities = probe_max_entities(probe);

	if (!callers->calls_before)
		callers->calls_before = calloc(entities, sizeof(*callers->calls_before));
	if (!callers->callers)
		callers->callers = calloc(entities, sizeof(*callers->callers));
	if (!callers->calls_before || !callers->callers)
		return -ENOMEM;
	return probe_map_size(probe, TLS_CALLERS_MAP, entities);
}

int tls_callers_begin(struct tls_callers *callers, struct probe *probe, uint64_t now_ns)
{
	callers->read_ns = now_ns;
	callers->calls = probe_rows(probe, TLS_CALLERS_MAP);
	return callers->calls ? 0 : -errno;
}

static uint64_t calls_of(const struct tls_callers *callers, uint32_t entity)
{
	return __atomic_load_n(&callers->calls[entity], __ATOMIC_RELAXED);
}

void tls_callers_read(struct tls_callers *callers, struct probe *probe, uint64_t now_ns)
{
	double seconds = (double)(now_ns - callers->read_ns) / 1e9;

	if (now_ns - callers->read_ns < LEAST_NS)
		return;
	callers->n = 0;
	callers->read_ns = now_ns;
	for (unsigned i = 0; i < probe_max_entities(probe); i++) {
		uint64_t calls = calls_of(callers, i);
		struct tls_caller *caller = &callers->callers[callers->n];

		if (calls == callers->calls_before[i])
			continue;
		snprintf(caller->name, sizeof(caller->name), "%s",
			 probe_entity_labels(probe, i)[COMM]);
		caller->calls = (double)(calls - callers->calls_before[i]) / seconds;
		callers->calls_before[i] = calls;
		callers->n++;
	}
}

void tls_callers_forget(struct tls_callers *callers, uint32_t entity)
{
	if (callers->calls)
		callers->calls_before[entity] = calls_of(callers, entity);
}

size_t tls_callers_bytes(struct probe *probe)
{
	return probe_max_entities(probe) * (sizeof(struct tls_caller) + sizeof(uint64_t));
}

void tls_callers_free(struct tls_callers *callers)
{
	free(callers->calls_before);
	free(callers->callers);
}
