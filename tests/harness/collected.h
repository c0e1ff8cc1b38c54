/* SPDX-License-Identifier: Apache-2.0 */
/* What a probe writes in one collection, for unit tests of what it writes. */
#ifndef LEADLINE_TESTS_COLLECTED_H
#define LEADLINE_TESTS_COLLECTED_H

#include "agent/registry.h"
#include "agent/snapshot.h"

/* Its programs are named by the number of their entity. Never NULL; registry_free() or collected(). */
struct registry *registry_by_number(void);
/* Ends the collection that was begun, and the registry. Never NULL; lives until cleanup. */
struct snapshot *collected(struct registry *registry);

#endif
