/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What entities that are gone have contributed to series that live on. Two entities may have the same labels: a
 * service that was started again has a new control group, a container of a pod a new id. Their values are added up, and
 * when the older one is forgotten the sum must not fall. Loop thread only.
 */
#ifndef LEADLINE_REMAINS_H
#define LEADLINE_REMAINS_H

#include <stdbool.h>
#include <stdint.h>
#include "agent/snapshot.h"

struct remains;

struct remains *remains_new(void);
void remains_free(struct remains *remains); /* NULL is fine */
void remains_clear(struct remains *remains); /* forgets all */

/* At each collection: forgets what was put aside in the last one and not kept, then … */
void remains_begin(struct remains *remains);
/* … an entity with these labels has been written: what is kept under them stays. 0 or -ENOMEM. */
int remains_want(struct remains *remains, const char *const *labels);
/* … a series of an entity that is about to go, copied. 0 or -ENOMEM. */
int remains_put_aside(struct remains *remains, uint32_t entity, const struct metric_desc *desc,
		      const struct series *series);
/* … what is kept of that metric, for the collection to add. Stops at an error and returns it. */
int remains_each(const struct remains *remains, const struct metric_desc *desc,
		 int (*callback)(void *context, const struct series *series), void *context);
/* … and forgets what nobody has wanted. */
void remains_end(struct remains *remains);

/* The entity is gone: keeps what was put aside of it. 0 or -ENOMEM. */
int remains_keep(struct remains *remains, uint32_t entity);

#endif
