/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers that the runtimes of this host know (runc, containerd, CRI-O, Docker), by the files they write
 * when they start one. Followed by inotify, so that a container is known before its program runs, however short its
 * life. Reads only. Loop thread.
 */
#ifndef LEADLINE_RUNTIMES_H
#define LEADLINE_RUNTIMES_H

#include <stdint.h>
#include "agent/option.h"
#include "agent/runtime_state.h"

struct runtimes;

extern const struct option_desc runtimes_options[];

/* `rootfs`: where the root of the host is mounted. 0 or -errno. */
int runtimes_new(const char *rootfs, struct runtimes **ret_runtimes);
void runtimes_free(struct runtimes *runtimes); /* NULL is fine */

int runtimes_fd(const struct runtimes *runtimes); /* readable when there is something to update */
void runtimes_update(struct runtimes *runtimes, uint64_t now_ns);
/* About every second: looks for runtimes that have come, forgets containers that are long gone. */
void runtimes_maintain(struct runtimes *runtimes, uint64_t now_ns);

uint64_t runtimes_version(const struct runtimes *runtimes); /* grows with each container */
/* NULL when not known. Valid until the next update. */
const struct runtime_container *runtimes_find_id(const struct runtimes *runtimes, const char *id);
/* By the path of a control group: that of the container, or one below. The innermost container. */
const struct runtime_container *runtimes_find_path(const struct runtimes *runtimes,
						   const char *path);

#endif
