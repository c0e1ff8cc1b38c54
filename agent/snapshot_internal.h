/* SPDX-License-Identifier: Apache-2.0 */
/* How the registry makes a snapshot: everything in it lives in one arena, freed with the last reference. */
#ifndef LEADLINE_SNAPSHOT_INTERNAL_H
#define LEADLINE_SNAPSHOT_INTERNAL_H

#include "agent/snapshot.h"

/* A snapshot without families and with one reference, or NULL. */
struct snapshot *snapshot_new(void);
/* Zeroed memory, 8-byte aligned, that lives as long as the snapshot; NULL when there is none. */
void *snapshot_alloc(struct snapshot *snapshot, size_t size);
char *snapshot_strdup(struct snapshot *snapshot, const char *string);
/* Copies a list with a reference of the snapshot's own to each; the place is one of the snapshot's. 0 or -ENOMEM. */
int snapshot_store_requests(struct snapshot *snapshot, const struct request_list *list,
			    const struct request_entry **ret_entries, size_t *ret_n);

#endif
