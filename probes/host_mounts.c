// SPDX-License-Identifier: Apache-2.0
/*
 * Choice of the filesystems to report, on top of libmount's reader of mount tables. Runs on the loop
 * thread, and only when the table has changed.
 */
#include <errno.h>
#include <libmount/libmount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "probes/host_mounts.h"
#include "probes/host_parse.h"

static int skip_bad_line(struct libmnt_table *table, const char *name, int line)
{
	return 1; /* go on behind it */
}

/* Filesystems somebody else serves: asking them waits for that somebody. */
static bool is_remote(struct libmnt_fs *fs)
{
	const char *type = mnt_fs_get_fstype(fs);

	return mnt_fs_is_netfs(fs) || strncmp(type, "fuse", 4) == 0 || strcmp(type, "ceph") == 0 ||
	       strcmp(type, "lustre") == 0 || strcmp(type, "autofs") == 0;
}

static bool path_below(const char *path, const char *directory)
{
	size_t length = strlen(directory);

	return strncmp(path, directory, length) == 0 && path[length] == '/';
}

/*
 * Mount points of remote filesystems: a path through one of them may stall as well. A remote root does not
 * count: with its server gone nothing here works.
 */
struct paths {
	const char **paths;
	size_t n;
};

static bool reached_through(const struct paths *remote, const char *mountpoint)
{
	for (size_t i = 0; i < remote->n; i++) {
		if (path_below(mountpoint, remote->paths[i]))
			return true;
	}
	return false;
}

static int find_remote(struct libmnt_table *table, struct libmnt_iter *iterator,
		       struct paths *remote)
{
	struct libmnt_fs *fs;

	remote->n = 0;
	remote->paths = calloc((size_t)mnt_table_get_nents(table) + 1, sizeof(*remote->paths));
	if (!remote->paths)
		return -ENOMEM;
	mnt_reset_iter(iterator, MNT_ITER_FORWARD);
	while (mnt_table_next_fs(table, iterator, &fs) == 0) {
		const char *target = mnt_fs_get_target(fs);

		if (mnt_fs_get_fstype(fs) && target && strcmp(target, "/") != 0 && is_remote(fs))
			remote->paths[remote->n++] = target;
	}
	return 0;
}

/*
 * The filesystem's own options, behind the dash in mountinfo. Those of the mount would be wrong in a service or
 * a container, which often has the whole tree read-only.
 */
static bool is_readonly(struct libmnt_fs *fs)
{
	const char *options = mnt_fs_get_fs_options(fs);

	return options && mnt_optstr_get_option(options, "ro", NULL, NULL) == 0;
}

/* The mount point as the host names it, or NULL when the filesystem is not the host's to report. */
static const char *reported_mountpoint(struct libmnt_fs *fs, const struct host_mount_rules *rules,
				       const struct paths *remote)
{
	const char *type = mnt_fs_get_fstype(fs), *target = mnt_fs_get_target(fs);

	if (!type || !target || !mnt_fs_get_source(fs) || target[0] != '/')
		return NULL;
	if (!rules->remote && (is_remote(fs) || reached_through(remote, target)))
		return NULL;
	if (rules->below_rootfs && rules->rootfs[0]) {
		if (strcmp(target, rules->rootfs) == 0)
			target = "/";
		else if (path_below(target, rules->rootfs))
			target += strlen(rules->rootfs);
		else
			return NULL;
	}
	/* A root is reported whatever it is on: overlay in a container, 9p or virtiofs in a virtual machine. */
	if (mnt_fs_is_pseudofs(fs) && !(is_remote(fs) && rules->remote) && strcmp(target, "/") != 0)
		return NULL;
	if (host_patterns_match(rules->exclude_types, type) ||
	    host_patterns_match(rules->exclude_mountpoints, target))
		return NULL;
	return target;
}

static void mount_clear(struct host_mount *mount)
{
	free(mount->device);
	free(mount->mountpoint);
	free(mount->type);
	free(mount->path);
	memset(mount, 0, sizeof(*mount));
}

static int mount_fill(struct host_mount *mount, struct libmnt_fs *fs, const char *mountpoint,
		      const struct host_mount_rules *rules, bool whole)
{
	mount_clear(mount);
	mount->device = strdup(mnt_fs_get_source(fs));
	mount->mountpoint = strdup(mountpoint);
	mount->type = strdup(mnt_fs_get_fstype(fs));
	if (asprintf(&mount->path, "%s%s", rules->rootfs, mountpoint) < 0)
		mount->path = NULL;
	mount->devno = mnt_fs_get_devno(fs);
	mount->whole = whole;
	mount->readonly = is_readonly(fs);
	return mount->device && mount->mountpoint && mount->type && mount->path ? 0 : -ENOMEM;
}

/* Of two mounts of one filesystem: that of its root, then that with the shorter path, then the first. */
static bool is_better(const struct host_mount *mount, const char *mountpoint, bool whole)
{
	if (whole != mount->whole)
		return whole;
	return strlen(mountpoint) < strlen(mount->mountpoint);
}

static int choose_mounts(struct libmnt_table *table, struct libmnt_iter *iterator,
			 const struct paths *remote, const struct host_mount_rules *rules,
			 struct host_mount *mounts, size_t *n, size_t *dropped)
{
	struct libmnt_fs *fs;

	mnt_reset_iter(iterator, MNT_ITER_FORWARD);
	while (mnt_table_next_fs(table, iterator, &fs) == 0) {
		const char *mountpoint = reported_mountpoint(fs, rules, remote);
		const char *root = mnt_fs_get_root(fs);
		bool whole = root && strcmp(root, "/") == 0;
		size_t i = 0;

		if (!mountpoint)
			continue;
		while (i < *n && mounts[i].devno != mnt_fs_get_devno(fs))
			i++;
		if (i == HOST_MAX_MOUNTS) {
			++*dropped;
			continue;
		}
		if (i < *n && !is_better(&mounts[i], mountpoint, whole))
			continue;
		if (i == *n)
			++*n;
		if (mount_fill(&mounts[i], fs, mountpoint, rules, whole))
			return -ENOMEM;
	}
	return 0;
}

int host_mounts_parse(const char *text, size_t size, const struct host_mount_rules *rules,
		      struct host_mount **ret_mounts, size_t *ret_n, size_t *ret_dropped)
{
	struct libmnt_table *table = mnt_new_table();
	struct libmnt_iter *iterator = mnt_new_iter(MNT_ITER_FORWARD);
	struct host_mount *mounts = calloc(HOST_MAX_MOUNTS, sizeof(*mounts));
	FILE *stream = size ? fmemopen((void *)text, size, "r") : NULL;
	struct paths remote = { 0 };
	size_t n = 0, dropped = 0;
	int err = -ENOMEM;

	if (!table || !iterator || !mounts || (size && !stream))
		goto out;
	mnt_table_set_parser_errcb(table, skip_bad_line);
	/* The name tells libmount the format. What it cannot read at all is an empty table. */
	if (stream)
		mnt_table_parse_stream(table, stream, "mountinfo");
	err = find_remote(table, iterator, &remote);
	if (!err)
		err = choose_mounts(table, iterator, &remote, rules, mounts, &n, &dropped);
out:
	if (err) {
		host_mounts_free(mounts, n);
	} else {
		*ret_mounts = mounts;
		*ret_n = n;
		*ret_dropped = dropped;
	}
	free(remote.paths);
	if (stream)
		fclose(stream);
	mnt_free_iter(iterator);
	mnt_unref_table(table);
	return err;
}

bool host_mount_visible(const struct host_mount *mount)
{
	struct stat status;

	if (stat(mount->path, &status))
		return false;
	/* Subvolumes of these show device numbers of their own. */
	if (strcmp(mount->type, "btrfs") == 0 || strcmp(mount->type, "bcachefs") == 0)
		return true;
	return status.st_dev == mount->devno;
}

void host_mounts_free(struct host_mount *mounts, size_t n)
{
	for (size_t i = 0; mounts && i < n; i++)
		mount_clear(&mounts[i]);
	free(mounts);
}
