/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which filesystems the host probe reports: one entry for each filesystem on a disk, however often it is
 * mounted. Bind mounts, which containers have by the hundred, show the same figures and are left out.
 */
#ifndef LEADLINE_HOST_MOUNTS_H
#define LEADLINE_HOST_MOUNTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define HOST_MAX_MOUNTS 256

struct host_mount_rules {
	const char *rootfs; /* where the mount points are to be found, "" for / */
	bool below_rootfs; /* the table is this process's own: it names them with that prefix */
	bool remote; /* network and FUSE filesystems too, though they may stall whoever asks */
	const char *exclude_types; /* patterns, see host_patterns_new() */
	const char *exclude_mountpoints;
};

struct host_mount {
	char *device; /* "/dev/vda" */
	char *mountpoint; /* as the host names it */
	char *type; /* "ext4" */
	char *path; /* to ask, with the prefix */
	dev_t devno;
	bool whole; /* the filesystem's own root, not a directory of it */
	bool readonly; /* the filesystem, however it is mounted here or there */
};

/*
 * Reads a mount table in the format of /proc/PID/mountinfo; lines that cannot be read are skipped.
 * At most HOST_MAX_MOUNTS entries; *ret_dropped counts what was left out for that. Returns 0 or -ENOMEM.
 */
int host_mounts_parse(const char *text, size_t size, const struct host_mount_rules *rules,
		      struct host_mount **ret_mounts, size_t *ret_n, size_t *ret_dropped);

/*
 * Whether the filesystem is the one found at its path. It is not where another one is mounted over it, or
 * where the host's tree is not visible to this process.
 */
bool host_mount_visible(const struct host_mount *mount);

void host_mounts_free(struct host_mount *mounts, size_t n); /* NULL is fine */

#endif
