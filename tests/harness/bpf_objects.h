/* SPDX-License-Identifier: Apache-2.0 */
/* BPF programs, maps and links a process holds, to see whether they are gone once it is. */
#ifndef LEADLINE_TESTS_BPF_OBJECTS_H
#define LEADLINE_TESTS_BPF_OBJECTS_H

#include <stddef.h>
#include <sys/types.h>

struct bpf_objects {
	size_t n;
	struct bpf_object_id {
		char kind; /* 'p'rogram, 'm'ap, 'l'ink */
		unsigned id;
	} ids[512];
};

/* By the file descriptors of the process. */
struct bpf_objects bpf_objects_of(pid_t pid);
/* How many of these still exist in the kernel, whoever holds them now. Needs root. */
size_t bpf_objects_left(const struct bpf_objects *objects);
size_t bpf_objects_count(const struct bpf_objects *objects, char kind);

#endif
