// SPDX-License-Identifier: Apache-2.0
/* The face of the follower of pods: its options, its metrics, and what other threads take of it. See kubernetes.h. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "agent/kubernetes_internal.h"

const struct option_desc kubernetes_options[] = {
	{
		.key = "kubernetes.enabled",
		.type = OPTION_STRING,
		.fallback = "auto",
		.choices = "auto|true|false",
		.help = "whether pods are named by the Kubernetes API; auto: in a pod with a service account",
	},
	{
		.key = "kubernetes.api_url",
		.type = OPTION_STRING,
		.fallback = "",
		.help = "address of the API, https://HOST:PORT; empty for the one that pods are told",
	},
	{
		.key = "kubernetes.token_file",
		.type = OPTION_STRING,
		.fallback = "",
		.help = "file with the bearer token, read again when it changes; empty for the service account's",
	},
	{
		.key = "kubernetes.ca_file",
		.type = OPTION_STRING,
		.fallback = "",
		.help = "file with the certificate authority of the API; empty for the service account's, else the system's",
	},
	{
		.key = "kubernetes.node_name",
		.type = OPTION_STRING,
		.fallback = "",
		.help = "name of this node as in spec.nodeName of its pods; empty for what the variable NODE_NAME says",
	},
	{
		.key = "kubernetes.labels",
		.type = OPTION_STRING,
		.fallback = "",
		.help = "up to 8 labels of pods for leadline_pod_info, separated by commas",
	},
	{ .key = NULL },
};

static const struct metric_desc up = {
	.name = "leadline_kubernetes_up",
	.help = "1 while the Kubernetes API tells of changes of this node's pods",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc pods = {
	.name = "leadline_kubernetes_pods",
	.help = "Pods of this node that the Kubernetes API knows",
	.kind = METRIC_GAUGE,
};
static const struct metric_desc failures_total = {
	.name = "leadline_kubernetes_failures_total",
	.help = "Requests to the Kubernetes API that failed, and objects in its answers that could not be used, by reason",
	.kind = METRIC_COUNTER,
	.labels = { "reason" },
};
static const struct metric_desc pod_info = {
	.name = "leadline_pod_info",
	.help = "1 for each pod of this node, with the labels chosen in kubernetes.labels as label_NAME; join it by namespace and pod",
	.kind = METRIC_GAUGE,
	.labels = { "namespace", "pod", "uid" },
};
enum { INFO_LABELS = 3 };
_Static_assert(INFO_LABELS + POD_MAX_LABELS <= METRIC_MAX_LABELS,
	       "room for all labels of leadline_pod_info");

const struct metric_desc *const kubernetes_metrics[] = { &up, &pods, &failures_total, &pod_info,
							 NULL };

const char *const kubernetes_failure_names[KUBERNETES_FAILURES] = {
	[KUBERNETES_FINE] = "none",	      [KUBERNETES_UNAUTHORIZED] = "unauthorized",
	[KUBERNETES_FORBIDDEN] = "forbidden", [KUBERNETES_GONE] = "gone",
	[KUBERNETES_STATUS] = "status",	      [KUBERNETES_DISCONNECTED] = "disconnected",
	[KUBERNETES_MALFORMED] = "malformed", [KUBERNETES_TOO_LARGE] = "too_large",
	[KUBERNETES_TOO_MANY] = "too_many",   [KUBERNETES_MEMORY] = "memory",
};

struct kubernetes {
	struct kubernetes_shared shared;
	struct kubernetes_watch *watch;
	char *labels; /* the option, cut at its commas */
	size_t n_labels;
	struct metric_desc info; /* pod_info with the labels chosen */
	char *label_names[POD_MAX_LABELS];
};

/* ---- the labels chosen ---- */

/* "app.kubernetes.io/name" → "label_app_kubernetes_io_name" */
static char *make_label_name(const char *key)
{
	char *name;

	if (asprintf(&name, "label_%s", key) < 0)
		return NULL;
	for (char *c = name; *c; c++)
		if (!isalnum((unsigned char)*c))
			*c = '_';
	return name;
}

static int add_label(struct kubernetes *kubernetes, const char *key, char *reason,
		     size_t reason_size)
{
	size_t n = kubernetes->n_labels;

	if (n == POD_MAX_LABELS) {
		snprintf(reason, reason_size, "kubernetes.labels has more than %d labels",
			 POD_MAX_LABELS);
		return -EINVAL;
	}
	kubernetes->shared.label_keys[n] = key;
	kubernetes->label_names[n] = make_label_name(key);
	if (!kubernetes->label_names[n])
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (!strcmp(kubernetes->label_names[i], kubernetes->label_names[n])) {
			snprintf(reason, reason_size,
				 "kubernetes.labels: %s and %s would both be %s",
				 kubernetes->shared.label_keys[i], key, kubernetes->label_names[n]);
			return -EINVAL;
		}
	kubernetes->info.labels[INFO_LABELS + n] = kubernetes->label_names[n];
	kubernetes->n_labels++;
	return 0;
}

static int choose_labels(struct kubernetes *kubernetes, const char *option, char *reason,
			 size_t reason_size)
{
	char *rest, *key;
	int err = 0;

	kubernetes->info = pod_info;
	kubernetes->labels = rest = strdup(option);
	if (!rest)
		return -ENOMEM;
	while (!err && (key = strsep(&rest, ", ")))
		if (*key)
			err = add_label(kubernetes, key, reason, reason_size);
	return err;
}

/* ---- birth and death ---- */

int kubernetes_new(const struct config *config, struct outbound *outbound,
		   struct kubernetes **ret_kubernetes, char *reason, size_t reason_size)
{
	struct kubernetes_access *access;
	struct kubernetes *kubernetes;
	int err = kubernetes_access_new(config, &access, reason, reason_size);

	if (err)
		return err;
	if (!access) {
		*ret_kubernetes = NULL;
		return 0;
	}
	kubernetes = calloc(1, sizeof(*kubernetes));
	if (!kubernetes) {
		kubernetes_access_free(access);
		return -ENOMEM;
	}
	pthread_mutex_init(&kubernetes->shared.mutex, NULL);
	err = choose_labels(kubernetes, config_string(config, "kubernetes.labels"), reason,
			    reason_size);
	if (err)
		kubernetes_access_free(access);
	else
		err = kubernetes_watch_new(access, outbound, &kubernetes->shared,
					   &kubernetes->watch);
	if (err) {
		kubernetes_free(kubernetes);
		return err;
	}
	*ret_kubernetes = kubernetes;
	return 0;
}

void kubernetes_free(struct kubernetes *kubernetes)
{
	if (!kubernetes)
		return;
	kubernetes_watch_free(kubernetes->watch);
	pod_table_put(kubernetes->shared.table);
	pthread_mutex_destroy(&kubernetes->shared.mutex);
	for (size_t i = 0; i < POD_MAX_LABELS; i++)
		free(kubernetes->label_names[i]);
	free(kubernetes->labels);
	free(kubernetes);
}

/* ---- what other threads take ---- */

struct pod_table *kubernetes_pods(struct kubernetes *kubernetes)
{
	struct kubernetes_shared *shared = &kubernetes->shared;
	struct pod_table *table;

	pthread_mutex_lock(&shared->mutex);
	table = shared->table ? pod_table_get(shared->table) : NULL;
	pthread_mutex_unlock(&shared->mutex);
	return table;
}

static void write_info(const struct kubernetes *kubernetes, const struct pod_table *table,
		       struct metric_writer *writer)
{
	const char *labels[INFO_LABELS + POD_MAX_LABELS];

	for (size_t i = 0; i < table->n_living; i++) {
		const struct pod *pod = table->pods[i];

		labels[0] = pod->namespace;
		labels[1] = pod->name;
		labels[2] = pod->uid;
		memcpy(labels + INFO_LABELS, pod->labels, sizeof(pod->labels));
		metric_write(writer, &kubernetes->info, ENTITY_NONE, labels, 1);
	}
}

void kubernetes_write_metrics(struct kubernetes *kubernetes, struct metric_writer *writer)
{
	struct kubernetes_shared *shared = &kubernetes->shared;
	struct pod_table *table = kubernetes_pods(kubernetes);
	uint64_t failures[KUBERNETES_FAILURES];
	bool is_up;

	pthread_mutex_lock(&shared->mutex);
	memcpy(failures, shared->failures, sizeof(failures));
	is_up = shared->is_up;
	pthread_mutex_unlock(&shared->mutex);
	metric_write(writer, &up, ENTITY_NONE, NULL, is_up);
	metric_write(writer, &pods, ENTITY_NONE, NULL, table ? (double)table->n_living : 0);
	for (int i = KUBERNETES_FINE + 1; i < KUBERNETES_FAILURES; i++)
		metric_write(writer, &failures_total, ENTITY_NONE,
			     (const char *[]){ kubernetes_failure_names[i] }, (double)failures[i]);
	if (table && kubernetes->n_labels)
		write_info(kubernetes, table, writer);
	pod_table_put(table);
}
