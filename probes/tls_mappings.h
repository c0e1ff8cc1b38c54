/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel writes of a process's files, as far as it takes to find TLS libraries among them. Pure. */
#ifndef LEADLINE_TLS_MAPPINGS_H
#define LEADLINE_TLS_MAPPINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A file as /proc/PID/maps names it. */
struct tls_file {
	dev_t device;
	ino_t inode;
};

struct tls_mapping {
	struct tls_file file;
	uint64_t start, end;
	bool is_executable;
	const char *path; /* path_length of it, as there is no NUL */
	size_t path_length;
};
/* Reads a line of /proc/PID/maps, without its newline; false for one of no file, or malformed. */
bool tls_mapping_parse(const char *line, size_t length, struct tls_mapping *ret_mapping);

/* Whether a file is a TLS library by its name. */
bool tls_library_is_named(const char *path, size_t length);
const char *tls_last_part(const char *path, size_t length, size_t *ret_length);

/* The type of a device's filesystem, from a table in the format of /proc/PID/mountinfo; false: it is not there. */
#define TLS_FILESYSTEM_TYPE 32
bool tls_filesystem_find(const char *mountinfo, size_t size, dev_t device,
			 char ret_type[TLS_FILESYSTEM_TYPE]);
/* Whether to open a file there may wait for somebody else: a network, or a process of any user. */
bool tls_filesystem_may_stall(const char *type);

#endif
