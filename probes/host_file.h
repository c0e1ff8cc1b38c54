/* SPDX-License-Identifier: Apache-2.0 */
/* Files of the proc filesystem, opened once and read whole, again and again. Any one thread. */
#ifndef LEADLINE_HOST_FILE_H
#define LEADLINE_HOST_FILE_H

#include <stdbool.h>
#include <stddef.h>

struct host_file {
	int fd; /* -1: to be opened at the next read */
	bool fallback; /* the second path is the one that is open */
};

struct host_text { /* starts as all 0 */
	char *data;
	size_t size;
	size_t capacity;
};

/*
 * Reads a file, DIRECTORY/PATHS[0] or, if that cannot be opened, DIRECTORY/PATHS[1] (may be NULL), into
 * `text`. Files that the kernel makes in one go are read by one call, `many` those it gives out in pieces. 0 or
 * -errno; after an error it is opened anew the next time.
 */
int host_file_read(struct host_file *file, const char *directory, const char *const paths[2],
		   bool many, struct host_text *text);
void host_file_close(struct host_file *file);
void host_text_free(struct host_text *text);

#endif
