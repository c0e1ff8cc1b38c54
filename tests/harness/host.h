/* SPDX-License-Identifier: Apache-2.0 */
/* Pieces of a host for tests: block devices, networks, control groups. All need root; all undone at cleanup. */
#ifndef LEADLINE_TESTS_HOST_H
#define LEADLINE_TESTS_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A loop device over a file of `mebibytes` on the temporary directory's filesystem: "/dev/loop3". */
const char *loop_device(unsigned mebibytes);

/* A network namespace joined to ours by a veth pair. */
struct network {
	char name[32]; /* as `ip netns` knows it */
	char interface[16]; /* our end */
	char peer_interface[16]; /* the end inside */
	char address[16]; /* ours, 198.18.x.1/24 */
	char peer_address[16]; /* inside, 198.18.x.2/24 */
};
struct network *network_create(void);
/* Moves the calling thread (a workload child) into the namespace. 0 or -errno. */
int network_enter(const struct network *network);

/* A control group of the unified hierarchy, wherever that is mounted; returns its directory. Skips when there is none. */
const char *cgroup_create(const char *name);
/* A control group of a v1 hierarchy, e.g. "memory". */
const char *cgroup_create_v1(const char *controller, const char *name);
bool cgroup_has_v1(const char *controller);
void cgroup_enter(const char *directory, pid_t pid); /* 0: the caller */

/* A control group that counts memory, of the version that has this controller here. Skips when none has. */
const char *memory_group_create(const char *name);
void memory_group_limit(const char *group, size_t bytes);
double memory_group_usage(const char *group); /* bytes */
double memory_group_times_at_limit(const char *group);
double memory_group_oom_kills(const char *group);
int memory_group_open_reclaim(const char *group); /* a descriptor, or -errno */
/* Has the kernel take back all it can of what the group uses. 0 or -errno. */
int memory_group_reclaim(int fd, const char *group);

#endif
