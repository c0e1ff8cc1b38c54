// SPDX-License-Identifier: Apache-2.0
/* Sources of names and their upkeep; see naming.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "agent/entity_names.h"
#include "agent/kubernetes.h"
#include "agent/log.h"
#include "agent/naming.h"

struct naming {
	struct runtimes *runtimes; /* NULL: none */
	struct kubernetes *kubernetes; /* NULL: none */
	struct pod_table *pods; /* in use by the entity table */
};

static void update_runtimes(void *context)
{
	struct naming *naming = context;

	runtimes_update(naming->runtimes, log_clock_ns());
}

static void follow_runtimes(struct naming *naming, const struct config *config, struct loop *loop)
{
	const char *rootfs = config_string(config, "containers.rootfs");
	int err = runtimes_new(rootfs, &naming->runtimes);

	if (!err)
		err = loop_add_fd(loop, runtimes_fd(naming->runtimes), update_runtimes, naming);
	if (err)
		log_warning("naming", "no names from container runtimes: containers.rootfs %s: %s",
			    rootfs, strerror(-err));
}

int naming_new(const struct config *config, struct loop *loop, struct outbound *outbound,
	       struct naming **ret_naming, char *error, size_t error_size)
{
	struct naming *naming = calloc(1, sizeof(*naming));
	char reason[256] = "";
	int err;

	if (!naming)
		return -ENOMEM;
	err = kubernetes_new(config, outbound, &naming->kubernetes, reason, sizeof(reason));
	if (err) {
		snprintf(error, error_size, "%s", reason);
		naming_free(naming);
		return err;
	}
	if (!naming->kubernetes)
		log_debug("naming", "no names from the Kubernetes API: %s", reason);
	follow_runtimes(naming, config, loop);
	*ret_naming = naming;
	return 0;
}

void naming_free(struct naming *naming)
{
	if (!naming)
		return;
	pod_table_put(naming->pods);
	kubernetes_free(naming->kubernetes);
	runtimes_free(naming->runtimes);
	free(naming);
}

void naming_apply(struct naming *naming, struct entity_table *entities)
{
	struct pod_table *pods = naming->kubernetes ? kubernetes_pods(naming->kubernetes) : NULL;

	if (naming->runtimes)
		update_runtimes(naming);
	entity_table_name(entities, &(struct name_sources){ pods, naming->runtimes });
	pod_table_put(naming->pods);
	naming->pods = pods;
}

void naming_maintain(struct naming *naming)
{
	if (naming->runtimes)
		runtimes_maintain(naming->runtimes, log_clock_ns());
}

void naming_write_metrics(struct naming *naming, struct metric_writer *writer)
{
	if (naming->kubernetes)
		kubernetes_write_metrics(naming->kubernetes, writer);
}
