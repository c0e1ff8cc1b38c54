/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What container runtimes write down about a container: the readers of their files. Pure; whatever is in the files,
 * strings come out bounded and printable. Any thread.
 */
#ifndef LEADLINE_RUNTIME_STATE_H
#define LEADLINE_RUNTIME_STATE_H

#include <jansson.h>
#include <stdbool.h>

struct runtime_container {
	char id[128];
	char name[128]; /* "" where it has none but the id */
	char namespace[64], pod[254], pod_uid[64]; /* of Kubernetes; "" none */
	char path
		[512]; /* its control group, from the root of the hierarchy: "/web"; "" not known */
};

/* Each fills in what the file says, and leaves the rest. False when the file is none of that kind, or not finished. */
typedef bool (*runtime_reader)(const json_t *file, struct runtime_container *container);

bool runtime_read_runc(const json_t *file,
		       struct runtime_container *container); /* state.json of runc */
bool runtime_read_oci(const json_t *file,
		      struct runtime_container *container); /* config.json of an OCI bundle */
bool runtime_read_docker(const json_t *file,
			 struct runtime_container *container); /* config.v2.json of dockerd */

#endif
