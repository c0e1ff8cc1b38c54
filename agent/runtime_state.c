// SPDX-License-Identifier: Apache-2.0
/* Readers of the files of container runtimes; see runtime_state.h. */
#include <stdio.h>
#include <string.h>
#include "agent/json_stream.h"
#include "agent/runtime_state.h"

/* Too long for a name is no name; a control character would only be in one to deceive. */
static void take(char *to, size_t size, const char *text)
{
	if (!text || strlen(text) >= size)
		return;
	for (const char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return;
	strcpy(to, text);
}

#define TAKE(to, text) take(to, sizeof(to), text)

/* ---- runc ---- */

/* "/sys/fs/cgroup/memory/web" → "/web"; of the unified hierarchy "/sys/fs/cgroup[/unified]/web" → "/web". */
static const char *cut_mount(const char *path, bool is_v1)
{
	static const char mount[] = "/sys/fs/cgroup", unified[] = "/unified/";

	if (!path || strncmp(path, mount, sizeof(mount) - 1) || path[sizeof(mount) - 1] != '/')
		return NULL;
	path += sizeof(mount) - 1;
	if (is_v1)
		return strchr(path + 1, '/');
	return strncmp(path, unified, sizeof(unified) - 1) ? path : path + sizeof(unified) - 2;
}

bool runtime_read_runc(const json_t *file, struct runtime_container *container)
{
	/* The hierarchies that entities look at, and then any: runc uses the same path in all of them. */
	static const char *const controllers[] = { "", "memory", "pids", "cpu" };
	const json_t *paths = json_object_get(file, "cgroup_paths");
	const char *path = NULL;

	if (!json_text(file, "id"))
		return false;
	for (size_t i = 0; i < sizeof(controllers) / sizeof(controllers[0]) && !path; i++)
		path = cut_mount(json_text(paths, controllers[i]), *controllers[i]);
	if (!path || strlen(path) < 2)
		return false;
	TAKE(container->id, json_text(file, "id"));
	TAKE(container->path, path);
	return true;
}

/* ---- annotations and labels ---- */

/* The first of these keys that is there; ended by NULL. */
static const char *find_text(const json_t *object, const char *const keys[])
{
	const char *text = NULL;

	for (; *keys && !text; keys++)
		text = json_text(object, *keys);
	return text;
}

static void take_kubernetes(const json_t *notes, struct runtime_container *container)
{
	static const char *const namespaces[] = { "io.kubernetes.cri.sandbox-namespace",
						  "io.kubernetes.pod.namespace", NULL };
	static const char *const pods[] = { "io.kubernetes.cri.sandbox-name",
					    "io.kubernetes.pod.name", NULL };
	static const char *const uids[] = { "io.kubernetes.cri.sandbox-uid",
					    "io.kubernetes.pod.uid", NULL };

	TAKE(container->namespace, find_text(notes, namespaces));
	TAKE(container->pod, find_text(notes, pods));
	TAKE(container->pod_uid, find_text(notes, uids));
}

/* containerd and CRI-O for Kubernetes, nerdctl, and others that keep to the bundle of the OCI. */
bool runtime_read_oci(const json_t *file, struct runtime_container *container)
{
	static const char *const names[] = { "io.kubernetes.cri.container-name",
					     "io.kubernetes.container.name", "nerdctl/name", NULL };
	const json_t *annotations = json_object_get(file, "annotations");
	const char *path = json_text(json_object_get(file, "linux"), "cgroupsPath");

	if (!json_text(file, "ociVersion"))
		return false;
	take_kubernetes(annotations, container);
	TAKE(container->name, find_text(annotations, names));
	if (path && path[0] == '/' &&
	    path[1]) /* else systemd's slice:prefix:name, which tells the id */
		TAKE(container->path, path);
	return true;
}

/* Docker's names begin with a slash. Under cri-dockerd the labels say more than k8s_app_web-0_default_…. */
bool runtime_read_docker(const json_t *file, struct runtime_container *container)
{
	const json_t *labels = json_object_get(json_object_get(file, "Config"), "Labels");
	const char *name = json_text(file, "Name"),
		   *told = json_text(labels, "io.kubernetes.container.name");

	if (!name || !json_text(file, "ID"))
		return false;
	TAKE(container->id, json_text(file, "ID"));
	TAKE(container->name, told ? told : name + (name[0] == '/'));
	take_kubernetes(labels, container);
	return true;
}
