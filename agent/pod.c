// SPDX-License-Identifier: Apache-2.0
/* Reads pods of the Kubernetes API into a few strings each; see pod.h. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "agent/json_stream.h"
#include "agent/pod.h"

/* Lengths that Kubernetes allows. */
#define MAX_NAME	253
#define MAX_NAMESPACE	63
#define MAX_UID		63
#define MAX_LABEL_VALUE 63
#define MAX_ID		127

/* Everything of a pod is in one piece of memory: it is measured in a first pass and filled in a second one. */
struct owned_pod {
	struct pod pod; /* first: callers hold this */
	atomic_uint references;
	struct pod_container containers[];
};

struct pod *pod_get(struct pod *pod)
{
	atomic_fetch_add(&((struct owned_pod *)pod)->references, 1);
	return pod;
}

void pod_put(struct pod *pod)
{
	if (pod && atomic_fetch_sub(&((struct owned_pod *)pod)->references, 1) == 1)
		free(pod);
}

/* Counts the room that strings take, or copies them to it. */
struct writer {
	char *to; /* NULL: counting */
	size_t size;
	bool is_bad;
};

static const char *write_text(struct writer *writer, const char *text, size_t max)
{
	size_t size = strlen(text) + 1;
	char *copy = writer->to;

	if (size > max + 1)
		writer->is_bad = true;
	writer->size += size;
	if (!copy)
		return text;
	memcpy(copy, text, size);
	writer->to += size;
	return copy;
}

static const char *write_required(struct writer *writer, const char *text, size_t max)
{
	writer->is_bad |= !text || !*text;
	return write_text(writer, text ? text : "", max);
}

static void write_container(struct writer *writer, struct pod *pod,
			    struct pod_container *containers, const char *name,
			    const json_t *holder)
{
	const char *id = json_text(holder, "containerID"), *separator;

	if (!id || !*id || pod->n_containers == POD_MAX_CONTAINERS)
		return;
	separator = strstr(id, "://"); /* "containerd://<id>" */
	if (separator)
		id = separator + 3;
	id = write_text(writer, id, MAX_ID);
	name = write_required(writer, name, MAX_NAMESPACE);
	if (containers)
		containers[pod->n_containers] = (struct pod_container){ id, name };
	pod->n_containers++;
}

static void write_containers(struct writer *writer, struct pod *pod,
			     struct pod_container *containers, const json_t *status)
{
	static const char *const kinds[] = { "containerStatuses", "initContainerStatuses",
					     "ephemeralContainerStatuses" };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const json_t *entry;
		size_t j;

		json_array_foreach(json_object_get(status, kinds[i]), j, entry)
		{
			const char *name = json_text(entry, "name");
			const json_t *last = json_object_get(entry, "lastState");

			write_container(writer, pod, containers, name, entry);
			/* The run before, which the kernel may tell of still. */
			write_container(writer, pod, containers, name,
					json_object_get(last, "terminated"));
		}
	}
}

static void write_pod(struct writer *writer, struct pod *pod, struct pod_container *containers,
		      const json_t *object, const char *const label_keys[])
{
	const json_t *metadata = json_object_get(object, "metadata");
	const json_t *labels = json_object_get(metadata, "labels");
	const char *hash =
		json_text(json_object_get(metadata, "annotations"), "kubernetes.io/config.hash");

	pod->namespace = write_required(writer, json_text(metadata, "namespace"), MAX_NAMESPACE);
	pod->name = write_required(writer, json_text(metadata, "name"), MAX_NAME);
	pod->uid = write_required(writer, json_text(metadata, "uid"), MAX_UID);
	pod->config_hash = write_text(writer, hash ? hash : "", MAX_UID);
	for (size_t i = 0; label_keys && label_keys[i] && i < POD_MAX_LABELS; i++) {
		const char *value = json_text(labels, label_keys[i]);

		pod->labels[i] = write_text(writer, value ? value : "", MAX_LABEL_VALUE);
	}
	write_containers(writer, pod, containers, json_object_get(object, "status"));
}

struct pod *pod_parse(const json_t *object, const char *const label_keys[])
{
	struct writer counter = {}, writer = {};
	struct pod measured = {};
	struct owned_pod *owned;

	write_pod(&counter, &measured, NULL, object, label_keys);
	if (counter.is_bad)
		return NULL;
	owned = calloc(1, sizeof(*owned) + measured.n_containers * sizeof(owned->containers[0]) +
				  counter.size);
	if (!owned)
		return NULL;
	writer.to = (char *)&owned->containers[measured.n_containers];
	write_pod(&writer, &owned->pod, owned->containers, object, label_keys);
	owned->pod.containers = owned->containers;
	atomic_init(&owned->references, 1);
	return &owned->pod;
}
