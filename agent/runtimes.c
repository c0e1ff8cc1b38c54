// SPDX-License-Identifier: Apache-2.0
/*
 * Follows the directories in which container runtimes keep their containers; see runtimes.h. All paths are resolved
 * inside the host's root (openat2), so neither a symbolic link of the host nor a hostile one leads out of it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "agent/cgroup.h"
#include "agent/hash.h"
#include "agent/json_stream.h"
#include "agent/runtimes.h"

#define MAX_CONTAINERS 4096
#define MAX_WATCHES    1024
#define MAX_ENTRIES    8192 /* looked at of a directory */
#define MAX_FILE_SIZE  (1U << 20)
#define LINGER_NS                                                                                  \
	300000000000ULL /* after the container has gone: its last threads are told of later */

const struct option_desc runtimes_options[] = {
	{
		.key = "containers.rootfs",
		.type = OPTION_STRING,
		.fallback = "/",
		.help = "where the host's root is mounted, for the names that container runtimes write down; /host in a container",
	},
	{ .key = NULL },
};

struct root {
	const char *path; /* below it a directory per container, `levels` deep */
	unsigned levels,
		id_level; /* `id_level`: which of them is called by the id, counted from 1 */
	const char *file; /* in the deepest */
	runtime_reader read;
};

static const struct root roots[] = {
	{ "run/runc", 1, 1, "state.json", runtime_read_runc },
	/* NAMESPACE/ID */
	{ "run/containerd/io.containerd.runtime.v2.task", 2, 2, "config.json", runtime_read_oci },
	/* ID/userdata: CRI-O, Podman */
	{ "run/containers/storage/overlay-containers", 2, 1, "config.json", runtime_read_oci },
	{ "var/lib/docker/containers", 1, 1, "config.v2.json", runtime_read_docker },
};
#define N_ROOTS (sizeof(roots) / sizeof(roots[0]))

struct watch {
	int id; /* inotify's */
	const struct root *root;
	unsigned level; /* 0: the root itself */
	bool is_parent; /* of a root that is not there yet */
	UT_hash_handle hh;
	char path[]; /* in the host's root */
};

struct known {
	struct runtime_container container;
	uint64_t gone_ns; /* 0: it is there */
	UT_hash_handle hh;
	char key[]; /* its directory */
};

struct runtimes {
	int root_fd, inotify_fd;
	struct watch *watches; /* by id */
	struct known *known; /* by key, in the order of their beginning */
	uint64_t version;
	bool is_open[N_ROOTS];
};

/* ---- files ---- */

static int open_inside(const struct runtimes *runtimes, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)flags | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, runtimes->root_fd, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

static json_t *read_json(const struct runtimes *runtimes, const char *path)
{
	int fd = open_inside(runtimes, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	struct stat status;
	json_t *json = NULL;
	char *text;
	ssize_t size;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &status) || !S_ISREG(status.st_mode) || status.st_size > MAX_FILE_SIZE)
		goto out;
	text = malloc((size_t)status.st_size + 1);
	size = text ? read(fd, text, (size_t)status.st_size + 1) : -1;
	if (size > 0)
		json = json_load_bounded(text, (size_t)size);
	free(text);
out:
	close(fd);
	return json;
}

/* ---- containers ---- */

static void remove_known(struct runtimes *runtimes, struct known *known)
{
	HASH_DEL(runtimes->known, known);
	free(known);
}

static struct known *find_known(const struct runtimes *runtimes, const char *key)
{
	struct known *known;

	HASH_FIND_STR(runtimes->known, key, known);
	return known;
}

/* Makes room: one that is gone, else the oldest. */
static void evict(struct runtimes *runtimes)
{
	struct known *known, *next, *victim = runtimes->known;

	HASH_ITER(hh, runtimes->known, known, next)
	if (known->gone_ns) {
		victim = known;
		break;
	}
	remove_known(runtimes, victim);
}

/* The component of a path at that level below the root: its id. */
static void name_by_path(struct runtime_container *container, const struct root *root,
			 const char *path)
{
	const char *at = path + strlen(root->path) + 1;
	int length;

	for (unsigned level = 1; level < root->id_level; level++)
		at = strchr(at, '/') + 1;
	length = (int)strcspn(at, "/");
	if ((size_t)length < sizeof(container->id))
		snprintf(container->id, sizeof(container->id), "%.*s", length, at);
}

/* False when there is nothing to read yet. */
static bool add_container(struct runtimes *runtimes, const struct root *root, const char *directory)
{
	struct known *known = calloc(1, sizeof(*known) + strlen(directory) + 1), *before;
	char path[PATH_MAX];
	json_t *json;
	bool is_read;

	if (!known)
		return true; /* not worth another attempt */
	snprintf(path, sizeof(path), "%s/%s", directory, root->file);
	json = read_json(runtimes, path);
	name_by_path(&known->container, root, directory);
	is_read = json && root->read(json, &known->container);
	json_decref(json);
	if (!is_read) {
		free(known);
		return false;
	}
	strcpy(known->key, directory);
	before = find_known(runtimes, directory);
	if (before)
		remove_known(runtimes, before);
	else if (HASH_COUNT(runtimes->known) >= MAX_CONTAINERS)
		evict(runtimes);
	HASH_ADD_STR(runtimes->known, key, known);
	if (!HASH_TOOK(known)) {
		free(known);
		return true;
	}
	runtimes->version++;
	return true;
}

/* The directory of the id has gone: what is known below it is of the past. */
static void mark_gone(struct runtimes *runtimes, const char *directory, uint64_t now_ns)
{
	size_t length = strlen(directory);
	struct known *known, *next;

	HASH_ITER(hh, runtimes->known, known, next)
	if (!strncmp(known->key, directory, length) &&
	    (!known->key[length] || known->key[length] == '/'))
		known->gone_ns = now_ns;
}

/* ---- directories ---- */

static void forget_watch(struct runtimes *runtimes, struct watch *watch)
{
	if (watch->level == 0 && !watch->is_parent)
		runtimes->is_open[watch->root - roots] = false;
	HASH_DEL(runtimes->watches, watch);
	free(watch);
}

static void stop_watch(struct runtimes *runtimes, struct watch *watch)
{
	inotify_rm_watch(runtimes->inotify_fd, watch->id);
	forget_watch(runtimes, watch);
}

/* NULL where there is no such directory, or it is watched already. */
static struct watch *start_watch(struct runtimes *runtimes, const struct root *root, unsigned level,
				 const char *path)
{
	int fd = open_inside(runtimes, path, O_PATH | O_DIRECTORY), id;
	char link[64];
	struct watch *watch;

	if (fd < 0)
		return NULL;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	id = HASH_COUNT(runtimes->watches) < MAX_WATCHES
		     ? inotify_add_watch(runtimes->inotify_fd, link,
					 IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE |
						 IN_MOVED_FROM | IN_ONLYDIR)
		     : -1;
	close(fd);
	if (id < 0)
		return NULL;
	HASH_FIND_INT(runtimes->watches, &id, watch);
	if (watch)
		return NULL;
	watch = calloc(1, sizeof(*watch) + strlen(path) + 1);
	if (!watch)
		goto no_memory;
	watch->id = id;
	watch->root = root;
	watch->level = level;
	strcpy(watch->path, path);
	HASH_ADD_INT(runtimes->watches, id, watch);
	if (HASH_TOOK(watch))
		return watch;
	free(watch);
no_memory:
	inotify_rm_watch(runtimes->inotify_fd, id);
	return NULL;
}

static void enter(struct runtimes *runtimes, const struct root *root, unsigned level,
		  const char *path);

static void enter_below(struct runtimes *runtimes, const struct root *root, unsigned level,
			const char *directory, const char *name)
{
	char path[PATH_MAX];

	if (name[0] != '.' &&
	    snprintf(path, sizeof(path), "%s/%s", directory, name) < PATH_MAX - NAME_MAX - 2)
		enter(runtimes, root, level + 1, path);
}

static void enter_all(struct runtimes *runtimes, const struct root *root, unsigned level,
		      const char *path)
{
	int fd = open_inside(runtimes, path, O_RDONLY | O_DIRECTORY);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!directory) {
		if (fd >= 0)
			close(fd);
		return;
	}
	for (unsigned n = 0; n < MAX_ENTRIES && (entry = readdir(directory)); n++)
		if (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN)
			enter_below(runtimes, root, level, path, entry->d_name);
	closedir(directory);
}

/* Watches first and looks then, lest something comes in between. As deep as roots have levels. */
static void enter(struct runtimes *runtimes, const struct root *root, unsigned level,
		  const char *path)
{
	struct watch *watch = start_watch(runtimes, root, level, path);

	if (level < root->levels)
		enter_all(runtimes, root, level, path);
	else if (add_container(runtimes, root, path) && watch)
		stop_watch(runtimes, watch);
}

static void open_roots(struct runtimes *runtimes)
{
	for (size_t i = 0; i < N_ROOTS; i++) {
		struct watch *watch;
		char parent[128];

		if (runtimes->is_open[i])
			continue;
		watch = start_watch(runtimes, &roots[i], 0, roots[i].path);
		if (watch) {
			runtimes->is_open[i] = true;
			enter_all(runtimes, &roots[i], 0, roots[i].path);
			continue;
		}
		/* So that the first container of all is not missed. */
		snprintf(parent, sizeof(parent), "%.*s",
			 (int)(strrchr(roots[i].path, '/') - roots[i].path), roots[i].path);
		watch = start_watch(runtimes, &roots[i], 0, parent);
		if (watch)
			watch->is_parent = true;
	}
}

/* ---- events ---- */

static void look_again(struct runtimes *runtimes)
{
	for (size_t i = 0; i < N_ROOTS; i++)
		if (runtimes->is_open[i])
			enter_all(runtimes, &roots[i], 0, roots[i].path);
}

static void handle(struct runtimes *runtimes, const struct inotify_event *event, uint64_t now_ns)
{
	const char *name = event->len ? event->name : "";
	struct watch *watch;
	char path[PATH_MAX];

	if (event->mask & IN_Q_OVERFLOW) {
		look_again(runtimes);
		return;
	}
	HASH_FIND_INT(runtimes->watches, &event->wd, watch);
	if (!watch)
		return;
	if (event->mask & IN_IGNORED) {
		forget_watch(runtimes, watch);
		return;
	}
	if (watch->is_parent) {
		if (event->mask & IN_ISDIR)
			open_roots(runtimes);
		return;
	}
	if (watch->level == watch->root->levels) {
		if ((event->mask & (IN_CLOSE_WRITE | IN_MOVED_TO)) &&
		    !strcmp(name, watch->root->file) &&
		    add_container(runtimes, watch->root, watch->path))
			stop_watch(runtimes, watch);
	} else if (event->mask & IN_ISDIR) {
		if (event->mask & (IN_CREATE | IN_MOVED_TO)) {
			enter_below(runtimes, watch->root, watch->level, watch->path, name);
		} else if (event->mask & (IN_DELETE | IN_MOVED_FROM)) {
			snprintf(path, sizeof(path), "%s/%s", watch->path, name);
			mark_gone(runtimes, path, now_ns);
		}
	}
}

void runtimes_update(struct runtimes *runtimes, uint64_t now_ns)
{
	_Alignas(struct inotify_event) char events[16384];
	ssize_t size;

	while ((size = read(runtimes->inotify_fd, events, sizeof(events))) > 0)
		for (char *at = events; at < events + size;) {
			const struct inotify_event *event = (const struct inotify_event *)at;

			handle(runtimes, event, now_ns);
			at += sizeof(*event) + event->len;
		}
}

void runtimes_maintain(struct runtimes *runtimes, uint64_t now_ns)
{
	struct known *known, *next;

	open_roots(runtimes);
	HASH_ITER(hh, runtimes->known, known, next)
	if (known->gone_ns && now_ns - known->gone_ns > LINGER_NS)
		remove_known(runtimes, known);
}

/* ---- birth and death ---- */

int runtimes_new(const char *rootfs, struct runtimes **ret_runtimes)
{
	struct runtimes *runtimes = calloc(1, sizeof(*runtimes));
	int err;

	if (!runtimes)
		return -ENOMEM;
	runtimes->inotify_fd = -1;
	runtimes->root_fd = open(rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (runtimes->root_fd < 0)
		goto fail;
	runtimes->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (runtimes->inotify_fd < 0)
		goto fail;
	open_roots(runtimes);
	*ret_runtimes = runtimes;
	return 0;

fail:
	err = -errno;
	runtimes_free(runtimes);
	return err;
}

void runtimes_free(struct runtimes *runtimes)
{
	struct watch *watch, *next_watch;
	struct known *known, *next_known;

	if (!runtimes)
		return;
	HASH_ITER(hh, runtimes->watches, watch, next_watch)
	forget_watch(runtimes, watch);
	HASH_ITER(hh, runtimes->known, known, next_known)
	remove_known(runtimes, known);
	if (runtimes->root_fd >= 0)
		close(runtimes->root_fd);
	if (runtimes->inotify_fd >= 0)
		close(runtimes->inotify_fd);
	free(runtimes);
}

int runtimes_fd(const struct runtimes *runtimes)
{
	return runtimes->inotify_fd;
}

/* ---- looking ---- */

uint64_t runtimes_version(const struct runtimes *runtimes)
{
	return runtimes->version;
}

const struct runtime_container *runtimes_find_id(const struct runtimes *runtimes, const char *id)
{
	const struct runtime_container *found = NULL;
	struct known *known, *next;

	HASH_ITER(hh, runtimes->known, known, next)
	if (!strcmp(known->container.id, id))
		found = &known->container;
	return found;
}

const struct runtime_container *runtimes_find_path(const struct runtimes *runtimes,
						   const char *path)
{
	const struct runtime_container *found = NULL;
	struct known *known, *next;
	size_t longest = 0;

	HASH_ITER(hh, runtimes->known, known, next)
	{
		size_t length = strlen(known->container.path);

		/* of two of one path, the later one */
		if (length && length >= longest && !strncmp(path, known->container.path, length) &&
		    (!path[length] || path[length] == '/')) {
			found = &known->container;
			longest = length;
		}
	}
	return found;
}
