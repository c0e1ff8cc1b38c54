/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of pods from the Kubernetes API: lists the pods of this node, then watches them. Runs on the outbound thread;
 * the loop thread takes what is known as an immutable table. It asks for nothing but pods, and never for nodes/proxy.
 */
#ifndef LEADLINE_KUBERNETES_H
#define LEADLINE_KUBERNETES_H

#include "agent/config.h"
#include "agent/metric.h"
#include "agent/outbound.h"
#include "agent/pod.h"

struct kubernetes;

extern const struct option_desc kubernetes_options[];
extern const struct metric_desc
	*const kubernetes_metrics[]; /* NULL-terminated, for the catalogue */

/*
 * Before the outbound thread starts. 0, with NULL and a reason where there is no API to follow; -EINVAL with the reason
 * where there should be; -ENOMEM. `config` is not kept.
 */
int kubernetes_new(const struct config *config, struct outbound *outbound,
		   struct kubernetes **ret_kubernetes, char *reason, size_t reason_size);
/* After the outbound thread has ended, and after the last snapshot with its metrics. NULL is fine. */
void kubernetes_free(struct kubernetes *kubernetes);

/* The pods as known now, with a reference for the caller; NULL before the first list. Any thread. */
struct pod_table *kubernetes_pods(struct kubernetes *kubernetes);

void kubernetes_write_metrics(struct kubernetes *kubernetes,
			      struct metric_writer *writer); /* loop thread */

#endif
