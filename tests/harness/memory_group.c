/* SPDX-License-Identifier: Apache-2.0 */
/* Control groups that count memory, of version 1 or 2: what each calls the same thing, for tests. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tests/harness/harness.h"

static bool has_file(const char *group, const char *file)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", group, file);
	return access(path, F_OK) == 0;
}

static bool is_version_2(const char *group)
{
	return has_file(group, "cgroup.controllers");
}

/* The number in a file, in the line that begins with `word`; -1 if there is none. */
static double number_in(const char *group, const char *file, const char *word)
{
	char path[PATH_MAX], line[64];
	double number = -1;
	FILE *stream;

	snprintf(path, sizeof(path), "%s/%s", group, file);
	stream = fopen(path, "re");
	while (stream && fgets(line, sizeof(line), stream))
		if (!strncmp(line, word, strlen(word)))
			number = strtod(line + strlen(word), NULL);
	if (stream)
		fclose(stream);
	return number;
}

const char *memory_group_create(const char *name)
{
	const char *group;
	struct output *output;

	require_root();
	if (cgroup_has_v1("memory"))
		return cgroup_create_v1("memory", name);
	group = cgroup_create(name);
	output = run_shell("echo +memory >%s/../cgroup.subtree_control", group);
	output_free(output);
	if (!has_file(group, "memory.max"))
		test_skip("no control group hierarchy has the memory controller");
	return group;
}

void memory_group_limit(const char *group, size_t bytes)
{
	shell("echo %zu >%s/%s", bytes, group,
	      is_version_2(group) ? "memory.max" : "memory.limit_in_bytes");
}

double memory_group_usage(const char *group)
{
	return number_in(group, is_version_2(group) ? "memory.current" : "memory.usage_in_bytes",
			 "");
}

double memory_group_times_at_limit(const char *group)
{
	return is_version_2(group) ? number_in(group, "memory.events", "max ")
				   : number_in(group, "memory.failcnt", "");
}

double memory_group_oom_kills(const char *group)
{
	return number_in(group, is_version_2(group) ? "memory.events" : "memory.oom_control",
			 "oom_kill ");
}

int memory_group_open_reclaim(const char *group)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", group,
		 is_version_2(group) ? "memory.reclaim" : "memory.force_empty");
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int memory_group_reclaim(int fd, const char *group)
{
	char bytes[32];

	/* Version 2 wants to know how much, and complains if it is not all to be had. */
	snprintf(bytes, sizeof(bytes), "%.0f", is_version_2(group) ? memory_group_usage(group) : 0);
	if (write(fd, bytes, strlen(bytes)) < 0 && !(errno == EAGAIN && is_version_2(group)))
		return -errno;
	return 0;
}
