/* SPDX-License-Identifier: Apache-2.0 */
/* What the follower of the Kubernetes API (kubernetes_watch.c) and its face (kubernetes.c) share. */
#ifndef LEADLINE_KUBERNETES_INTERNAL_H
#define LEADLINE_KUBERNETES_INTERNAL_H

#include <pthread.h>
#include "agent/kubernetes.h"
#include "agent/kubernetes_access.h"

enum kubernetes_failure {
	KUBERNETES_FINE,
	KUBERNETES_UNAUTHORIZED,
	KUBERNETES_FORBIDDEN,
	KUBERNETES_GONE,
	KUBERNETES_STATUS,
	KUBERNETES_DISCONNECTED,
	KUBERNETES_MALFORMED,
	KUBERNETES_TOO_LARGE,
	KUBERNETES_TOO_MANY,
	KUBERNETES_MEMORY,
	KUBERNETES_FAILURES,
};
extern const char
	*const kubernetes_failure_names[KUBERNETES_FAILURES]; /* as in the label `reason` */

/* Written by the outbound thread under the mutex; the labels before it starts. */
struct kubernetes_shared {
	pthread_mutex_t mutex;
	struct pod_table *table; /* NULL before the first list */
	bool is_up;
	uint64_t failures[KUBERNETES_FAILURES];
	const char *label_keys[POD_MAX_LABELS + 1];
};

struct kubernetes_watch;

/* Begins as soon as the outbound thread runs. Takes `access` over, on failure too. 0 or -ENOMEM. */
int kubernetes_watch_new(struct kubernetes_access *access, struct outbound *outbound,
			 struct kubernetes_shared *shared, struct kubernetes_watch **ret_watch);
void kubernetes_watch_free(struct kubernetes_watch *watch); /* NULL is fine */

#endif
