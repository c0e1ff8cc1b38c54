/* SPDX-License-Identifier: Apache-2.0 */
/* Lists the BPF objects of a process, from /proc/PID/fdinfo, and asks the kernel for them by id. */
#include <bpf/bpf.h>
#include <dirent.h>
#include <unistd.h>
#include "tests/harness/harness.h"

static void add(struct bpf_objects *objects, char kind, unsigned id)
{
	for (size_t i = 0; i < objects->n; i++)
		if (objects->ids[i].kind == kind && objects->ids[i].id == id)
			return;
	if (objects->n == sizeof(objects->ids) / sizeof(objects->ids[0]))
		test_fail("more than %zu BPF objects", objects->n);
	objects->ids[objects->n++] = (struct bpf_object_id){ kind, id };
}

struct bpf_objects bpf_objects_of(pid_t pid)
{
	static const struct {
		const char *field;
		char kind;
	} fields[] = { { "\nprog_id:", 'p' }, { "\nmap_id:", 'm' }, { "\nlink_id:", 'l' } };
	struct bpf_objects objects = { 0 };
	char directory[64], path[512];
	struct dirent *entry;
	DIR *listing;

	snprintf(directory, sizeof(directory), "/proc/%d/fdinfo", pid);
	listing = opendir(directory);
	while (listing && (entry = readdir(listing))) {
		char *text;

		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		text = read_file(path);
		for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
			const char *at = strstr(text, fields[i].field);

			if (at)
				add(&objects, fields[i].kind,
				    (unsigned)strtoul(at + strlen(fields[i].field), NULL, 10));
		}
		free(text);
	}
	if (listing)
		closedir(listing);
	return objects;
}

size_t bpf_objects_left(const struct bpf_objects *objects)
{
	size_t left = 0;

	for (size_t i = 0; i < objects->n; i++) {
		unsigned id = objects->ids[i].id;
		int fd = objects->ids[i].kind == 'p'   ? bpf_prog_get_fd_by_id(id)
			 : objects->ids[i].kind == 'm' ? bpf_map_get_fd_by_id(id)
						       : bpf_link_get_fd_by_id(id);

		if (fd >= 0) {
			left++;
			close(fd);
		}
	}
	return left;
}

size_t bpf_objects_count(const struct bpf_objects *objects, char kind)
{
	size_t count = 0;

	for (size_t i = 0; i < objects->n; i++)
		count += objects->ids[i].kind == kind;
	return count;
}
