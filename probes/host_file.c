// SPDX-License-Identifier: Apache-2.0
/* See host_file.h. One buffer serves all files: their contents are parsed one after the other. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "probes/host_file.h"

#define TEXT_INITIAL (64 * 1024)
#define TEXT_LIMIT   (8 * 1024 * 1024) /* a mount table of some 50,000 lines */

static int file_open(struct host_file *file, const char *directory, const char *const paths[2])
{
	int err = -ENOENT;

	for (int i = 0; i < 2 && paths[i]; i++) {
		char *path;

		if (asprintf(&path, "%s/%s", directory, paths[i]) < 0)
			return -ENOMEM;
		file->fd = open(path, O_RDONLY | O_CLOEXEC);
		err = file->fd < 0 ? -errno : 0;
		file->fallback = i > 0;
		free(path);
		if (!err)
			break;
	}
	return err;
}

static int text_grow(struct host_text *text)
{
	size_t capacity = text->capacity ? text->capacity * 2 : TEXT_INITIAL;
	char *data;

	if (capacity > TEXT_LIMIT)
		return -EFBIG;
	data = realloc(text->data, capacity);
	if (!data)
		return -ENOMEM;
	text->data = data;
	text->capacity = capacity;
	return 0;
}

int host_file_read(struct host_file *file, const char *directory, const char *const paths[2],
		   bool many, struct host_text *text)
{
	int err = file->fd < 0 ? file_open(file, directory, paths) : 0;

	text->size = 0;
	while (!err) {
		size_t room = text->capacity - text->size;
		ssize_t n;

		if (room == 0) {
			err = text_grow(text);
			continue;
		}
		n = pread(file->fd, text->data + text->size, room, (off_t)text->size);
		if (n < 0) {
			err = errno == EINTR ? 0 : -errno;
			continue;
		}
		text->size += (size_t)n;
		if (n == 0 || (!many && (size_t)n < room))
			return 0;
	}
	host_file_close(file);
	return err;
}

void host_file_close(struct host_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
}

void host_text_free(struct host_text *text)
{
	free(text->data);
	*text = (struct host_text){ 0 };
}
