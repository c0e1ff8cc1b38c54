/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the names of containers and pods come from, put together: what runtimes write down on this host, and the
 * Kubernetes API. Hands them to the entity table. Loop thread.
 */
#ifndef LEADLINE_NAMING_H
#define LEADLINE_NAMING_H

#include <stddef.h>
#include "agent/config.h"
#include "agent/entity.h"
#include "agent/loop.h"
#include "agent/metric.h"
#include "agent/outbound.h"

struct naming;

/*
 * Before the outbound thread starts. What this host does not offer is logged and done without; -EINVAL with the reason
 * in `error` where the configuration asks for it.
 */
int naming_new(const struct config *config, struct loop *loop, struct outbound *outbound,
	       struct naming **ret_naming, char *error, size_t error_size);
void naming_free(
	struct naming
		*naming); /* after the outbound thread's end and the last snapshot; NULL is fine */

/* Brings the names of entities up to date: before a collection, and about every second. */
void naming_apply(struct naming *naming, struct entity_table *entities);
void naming_maintain(struct naming *naming);
void naming_write_metrics(struct naming *naming, struct metric_writer *writer);

#endif
