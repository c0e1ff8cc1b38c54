// SPDX-License-Identifier: Apache-2.0
/* From what somebody typed to a process or a control group; see zoom.h. Reads /proc and the cgroup filesystems only. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "agent/cgroup.h"
#include "agent/log.h"
#include "agent/option.h"
#include "agent/runtimes.h"
#include "agent/zoom.h"
#include "bpf/entity.h"

#define MAX_COMPONENTS 64
#define MIN_ID_PREFIX  12 /* as runtimes show ids */

/* ---- processes ---- */

/* A number of /proc/PID/status; -1 when it cannot be read. */
static long status_number(long pid, const char *field)
{
	char path[64], line[256];
	size_t length = strlen(field);
	long number = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%ld/status", pid);
	file = fopen(path, "re");
	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, field, length) && line[length] == ':') {
			number = strtol(line + length + 1, NULL, 10);
			break;
		}
	fclose(file);
	return number;
}

static void read_comm(long pid, char out[32])
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%ld/comm", pid);
	file = fopen(path, "re");
	if (!file || !fgets(out, 32, file))
		snprintf(out, 32, "?");
	else
		out[strcspn(out, "\n")] = '\0';
	if (file)
		fclose(file);
}

/* The kernel side knows processes by their numbers in the first pid namespace. */
static bool in_first_pid_namespace(void)
{
	char link[64] = "";

	/* include/linux/proc_ns.h: PROC_PID_INIT_INO */
	return readlink("/proc/self/ns/pid", link, sizeof(link) - 1) < 0 ||
	       !strcmp(link, "pid:[4026531836]");
}

int zoom_target_pid(const char *text, struct zoom_target *target, char *error, size_t error_size)
{
	char quoted[OPTION_QUOTE_SIZE], comm[32];
	char *end;
	long pid, leader;

	errno = 0;
	pid = strtol(text, &end, 10);
	if (!isdigit((unsigned char)text[0]) || *end || errno || pid <= 0 || pid > 1 << 22) {
		snprintf(error, error_size, "%s is no process id", option_quote(text, quoted));
		return -EINVAL;
	}
	if (!in_first_pid_namespace()) {
		snprintf(
			error, error_size,
			"process ids of a container are not those of the host: run it with the host's pid "
			"namespace, or name the container");
		return -EINVAL;
	}
	leader = status_number(pid, "Tgid");
	if (leader < 0) {
		snprintf(error, error_size, "there is no process %ld", pid);
		return -ESRCH;
	}
	if (leader != pid) {
		snprintf(error, error_size, "%ld is a thread of process %ld: give that", pid,
			 leader);
		return -EINVAL;
	}
	read_comm(pid, comm);
	*target = (struct zoom_target){ .pid = (pid_t)pid };
	snprintf(target->name, sizeof(target->name), "process %ld (%s)", pid, comm);
	return 0;
}

/* ---- control groups ---- */

static const struct {
	const char *controller; /* "": the unified hierarchy */
	enum entity_v1_controller value;
} hierarchies[] = {
	{ "", V1_NONE }, { "memory", V1_MEMORY }, { "pids", V1_PIDS }, { "cpu", V1_CPU }
};
#define N_HIERARCHIES (sizeof(hierarchies) / sizeof(hierarchies[0]))

/* Where each is mounted; "" where it is not. */
struct mounts {
	char path[N_HIERARCHIES][256];
};

static void find_mounts(struct mounts *mounts)
{
	FILE *file = setmntent("/proc/self/mounts", "re");
	struct mntent *entry;

	memset(mounts, 0, sizeof(*mounts));
	while (file && (entry = getmntent(file)))
		for (size_t i = 0; i < N_HIERARCHIES; i++) {
			bool is = i == 0 ? !strcmp(entry->mnt_type, "cgroup2")
					 : !strcmp(entry->mnt_type, "cgroup") &&
						   hasmntopt(entry, hierarchies[i].controller);

			if (is && !mounts->path[i][0])
				snprintf(mounts->path[i], sizeof(mounts->path[i]), "%s",
					 entry->mnt_dir);
		}
	if (file)
		endmntent(file);
}

/* Components of the path inside its hierarchy: steps up to the root of the filesystem. -errno. */
static int level_of(int directory)
{
	struct stat here = { 0 }, above = { 0 };
	int fd = dup(directory), level = 0;

	if (fd < 0 || fstat(fd, &here))
		level = -errno;
	while (level >= 0 && level <= ZOOM_PATH_LEVELS) {
		int up = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

		if (up < 0) {
			level = -errno;
			break;
		}
		close(fd);
		fd = up;
		if (fstat(fd, &above)) {
			level = -errno;
			break;
		}
		if (above.st_dev != here.st_dev || above.st_ino == here.st_ino)
			break;
		here = above;
		level++;
	}
	if (fd >= 0)
		close(fd);
	return level;
}

/* Fills the target from a directory. 0, or -EINVAL when it is none of a hierarchy that can be watched, or -errno. */
static int take_directory(const char *path, const struct mounts *mounts, struct zoom_target *target)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), level, err = -EINVAL;
	struct stat group, root;

	if (fd < 0)
		return -errno;
	level = level_of(fd);
	if (fstat(fd, &group)) {
		close(fd);
		return -errno;
	}
	close(fd);
	for (size_t i = 0; i < N_HIERARCHIES && level >= 0 && level < ZOOM_PATH_LEVELS; i++) {
		if (!mounts->path[i][0] || stat(mounts->path[i], &root) ||
		    root.st_dev != group.st_dev)
			continue;
		*target = (struct zoom_target){
			.cgroup_id = group.st_ino,
			.cgroup_level = (unsigned)level,
			.v1_controller = hierarchies[i].value,
		};
		snprintf(target->name, sizeof(target->name), "control group %.360s", path);
		err = 0;
		break;
	}
	return err;
}

/* A path inside the hierarchy. */
static int take_path(const char *path, size_t hierarchy, const struct mounts *mounts,
		     struct zoom_target *target)
{
	char directory[PATH_MAX];

	if (!mounts->path[hierarchy][0] ||
	    snprintf(directory, sizeof(directory), "%s/%s", mounts->path[hierarchy],
		     path + strspn(path, "/")) >= (int)sizeof(directory))
		return -ENOENT;
	return take_directory(directory, mounts, target);
}

int zoom_target_cgroup(const char *text, struct zoom_target *target, char *error, size_t error_size)
{
	char quoted[OPTION_QUOTE_SIZE];
	struct mounts mounts;
	int err;

	if (!text[0]) {
		snprintf(error, error_size, "which control group? Its path is missing");
		return -EINVAL;
	}
	find_mounts(&mounts);
	err = text[0] == '/' ? take_directory(text, &mounts, target) : -ENOENT;
	for (size_t i = 0; i < N_HIERARCHIES && err && err != -EACCES; i++)
		err = take_path(text, i, &mounts, target);
	if (!err)
		return 0;
	snprintf(
		error, error_size,
		"there is no control group %s: give its directory, or its path as in /proc/PID/cgroup; of the "
		"hierarchies of version 1: memory, pids or cpu",
		option_quote(text, quoted));
	return -ESRCH;
}

/* ---- containers ---- */

struct search {
	const char *text;
	struct runtimes *runtimes; /* NULL: ids only */
	const struct mounts *mounts;
};

static bool is_called(const struct search *search, const char *id, const char *name)
{
	size_t length = strlen(search->text);

	return (name && name[0] && !strcmp(name, search->text)) || !strcmp(id, search->text) ||
	       (length >= MIN_ID_PREFIX && !strncmp(id, search->text, length));
}

/* The full id in a path as runtimes write them, and in *path_length where its component ends. */
static bool identify(const char *path, char id[CGROUP_ID_SIZE], size_t *path_length)
{
	struct cgroup_identity identity;
	char copy[PATH_MAX], *component, *rest = copy;
	const char *names[MAX_COMPONENTS], *leaf_first[MAX_COMPONENTS], *at;
	size_t n = 0;

	snprintf(copy, sizeof(copy), "%s", path);
	while ((component = strsep(&rest, "/")) && n < MAX_COMPONENTS)
		if (*component)
			names[n++] = component;
	for (size_t i = 0; i < n; i++)
		leaf_first[i] = names[n - 1 - i];
	cgroup_identify(leaf_first, n, &identity);
	if (!identity.container[0])
		return false;
	at = strstr(path, identity.container);
	if (!at)
		return false;
	snprintf(id, CGROUP_ID_SIZE, "%s", identity.container);
	*path_length = (size_t)(at - path) + strcspn(at, "/");
	return true;
}

/* Whether a process's group belongs to the container; then the container's own group is taken. */
static bool take_if_called(const struct search *search, const char *path, size_t hierarchy,
			   struct zoom_target *target)
{
	const struct runtime_container *container = NULL;
	char id[CGROUP_ID_SIZE], own[PATH_MAX];
	size_t length;

	if (search->runtimes)
		container = runtimes_find_path(search->runtimes, path);
	if (container && is_called(search, container->id, container->name))
		return !take_path(container->path, hierarchy, search->mounts, target);
	if (!identify(path, id, &length))
		return false;
	container = search->runtimes ? runtimes_find_id(search->runtimes, id) : NULL;
	if (!is_called(search, id, container ? container->name : NULL))
		return false;
	snprintf(own, sizeof(own), "%.*s", (int)length, path);
	return !take_path(own, hierarchy, search->mounts, target);
}

/* A line of /proc/PID/cgroup: "4:memory:/path", "0::/path". */
static bool take_line(const struct search *search, char *line, struct zoom_target *target)
{
	char *controllers = strchr(line, ':'), *path;

	path = controllers ? strchr(++controllers, ':') : NULL;
	if (!path)
		return false;
	*path++ = '\0';
	path[strcspn(path, "\n")] = '\0';
	if (!path[0] || !path[1]) /* the root is nobody's */
		return false;
	for (size_t i = 0; i < N_HIERARCHIES; i++) {
		char *list = controllers, *name;

		if (!i && !*controllers && take_if_called(search, path, i, target))
			return true;
		while (i && (name = strsep(&list, ",")))
			if (!strcmp(name, hierarchies[i].controller) &&
			    take_if_called(search, path, i, target))
				return true;
	}
	return false;
}

static bool search_processes(const struct search *search, struct zoom_target *target)
{
	DIR *processes = opendir("/proc");
	struct dirent *entry;
	bool found = false;

	while (!found && processes && (entry = readdir(processes))) {
		char path[300], line[PATH_MAX];
		FILE *file;

		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/cgroup", entry->d_name);
		file = fopen(path, "re");
		while (!found && file && fgets(line, sizeof(line), file))
			found = take_line(search, line, target);
		if (file)
			fclose(file);
	}
	if (processes)
		closedir(processes);
	return found;
}

int zoom_target_container(const char *text, const char *rootfs, struct zoom_target *target,
			  char *error, size_t error_size)
{
	struct search search = { .text = text };
	char quoted[OPTION_QUOTE_SIZE];
	struct mounts mounts;
	bool found;

	if (!text[0]) {
		snprintf(error, error_size, "which container? Its name or id is missing");
		return -EINVAL;
	}
	find_mounts(&mounts);
	search.mounts = &mounts;
	if (runtimes_new(rootfs, &search.runtimes))
		search.runtimes = NULL;
	else
		runtimes_maintain(search.runtimes, log_clock_ns());
	found = search_processes(&search, target);
	runtimes_free(search.runtimes);
	if (found) {
		snprintf(target->name, sizeof(target->name), "container %.200s", text);
		return 0;
	}
	snprintf(
		error, error_size,
		"no running container is called %s; give a name, a full id, or at least %d digits of it",
		option_quote(text, quoted), MIN_ID_PREFIX);
	return -ESRCH;
}
