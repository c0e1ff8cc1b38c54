// SPDX-License-Identifier: Apache-2.0
/*
 * What the prepared statements and the portals of a PostgreSQL connection do, by their names. Names are kept as hashes: two
 * that collide would only lend each other a label. Owns its table. Loop thread only.
 */
#include <stdlib.h>
#include "probes/protocols/postgresql_internal.h"

#define FIRST_CAPACITY 8

_Static_assert(POSTGRESQL_MAX_NAMES * sizeof(struct postgresql_name) <= PROTOCOL_MAX_STATE / 2,
	       "within the bounds of a connection");

/* FNV-1a, of 64 bits. */
static uint64_t hash_of(enum postgresql_kind kind, const char *name, size_t size)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	hash = (hash ^ kind) * UINT64_C(0x100000001b3);
	for (size_t i = 0; i < size; i++)
		hash = (hash ^ (uint8_t)name[i]) * UINT64_C(0x100000001b3);
	return hash;
}

static struct postgresql_name *find(const struct postgresql_names *names, uint64_t hash)
{
	for (unsigned i = 0; i < names->n; i++)
		if (names->names[i].hash == hash)
			return &names->names[i];
	return NULL;
}

static struct postgresql_name *least_used(const struct postgresql_names *names)
{
	struct postgresql_name *least = names->names;

	for (unsigned i = 1; i < names->n; i++)
		if (names->names[i].used < least->used)
			least = &names->names[i];
	return least;
}

static struct postgresql_name *add(struct postgresql_names *names)
{
	unsigned capacity = names->capacity ? 2 * names->capacity : FIRST_CAPACITY;
	struct postgresql_name *grown;

	if (names->n < names->capacity)
		return &names->names[names->n++];
	if (capacity > POSTGRESQL_MAX_NAMES)
		return least_used(names);
	grown = reallocarray(names->names, capacity, sizeof(*grown));
	if (!grown)
		return names->n ? least_used(names) : NULL;
	names->names = grown;
	names->capacity = capacity;
	return &names->names[names->n++];
}

void postgresql_names_set(struct postgresql_names *names, enum postgresql_kind kind,
			  const char *name, size_t size, const struct sql_summary *summary)
{
	struct postgresql_name *entry;
	uint64_t hash;

	if (!size) {
		*(kind == POSTGRESQL_STATEMENT ? &names->statement : &names->portal) = *summary;
		return;
	}
	hash = hash_of(kind, name, size);
	entry = find(names, hash);
	if (!entry)
		entry = add(names);
	if (!entry)
		return;
	entry->hash = hash;
	entry->used = ++names->clock;
	entry->summary = *summary;
}

const struct sql_summary *postgresql_names_get(struct postgresql_names *names,
					       enum postgresql_kind kind, const char *name,
					       size_t size)
{
	static const struct sql_summary unknown;
	struct postgresql_name *entry;

	if (!size)
		return kind == POSTGRESQL_STATEMENT ? &names->statement : &names->portal;
	entry = find(names, hash_of(kind, name, size));
	if (!entry)
		return &unknown;
	entry->used = ++names->clock;
	return &entry->summary;
}

void postgresql_names_free(struct postgresql_names *names)
{
	free(names->names);
	names->names = NULL;
	names->n = 0;
	names->capacity = 0;
}
