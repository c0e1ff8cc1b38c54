/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zooming for those who ask over HTTP: each in a process of its own that runs `leadline zoom --json`, so that neither the
 * loop nor the probes have anything to do with it, and all of it goes when that process does. One at a time. HTTP thread.
 */
#ifndef LEADLINE_ZOOM_SERVICE_H
#define LEADLINE_ZOOM_SERVICE_H

#include <stddef.h>
#include "agent/buffer.h"

struct zoom_service;

/* `rootfs`: containers.rootfs, copied; NULL: the default. NULL when memory ran out. */
struct zoom_service *zoom_service_new(const char *rootfs);
void zoom_service_free(struct zoom_service *service); /* ends what runs; NULL is fine */

/*
 * Starts one from a request: {"pid": N | "container": "…" | "cgroup": "…", "seconds": N}. 0 with its id; -EINVAL with what
 * is wrong, -EBUSY, or another -errno with a message in `error`.
 */
int zoom_service_start(struct zoom_service *service, const void *request, size_t request_size,
		       unsigned *ret_id, char *error, size_t error_size);

/* Appends {"id": …, "state": "running" | "finished" | "failed", …}; -ENOENT when the last one has another id. */
int zoom_service_describe(struct zoom_service *service, const char *id, struct buffer *out);

#endif
