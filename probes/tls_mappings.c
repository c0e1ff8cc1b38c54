// SPDX-License-Identifier: Apache-2.0
/* Reads /proc/PID/maps and mountinfo; see tls_mappings.h. */
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include "probes/tls_mappings.h"

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
}

static bool take_number(const char **at, const char *end, int base, uint64_t *ret_number)
{
	const char *begin = *at;
	uint64_t number = 0;

	for (; *at < end && digit_of(**at) < base; (*at)++)
		number = number * (unsigned)base + (unsigned)digit_of(**at);
	*ret_number = number;
	return *at > begin && *at - begin <= 20;
}

static bool take_char(const char **at, const char *end, char c)
{
	if (*at == end || **at != c)
		return false;
	(*at)++;
	return true;
}

static bool take_device(const char **at, const char *end, int base, dev_t *ret_device)
{
	uint64_t major_number, minor_number;

	if (!take_number(at, end, base, &major_number) || !take_char(at, end, ':') ||
	    !take_number(at, end, base, &minor_number))
		return false;
	*ret_device = makedev((unsigned)major_number, (unsigned)minor_number);
	return true;
}

/* "START-END rwxp OFFSET MAJOR:MINOR INODE   PATH" */
bool tls_mapping_parse(const char *line, size_t length, struct tls_mapping *ret_mapping)
{
	const char *at = line, *end = line + length, *permissions;
	uint64_t start, stop, offset, inode;
	dev_t device;

	if (!take_number(&at, end, 16, &start) || !take_char(&at, end, '-') ||
	    !take_number(&at, end, 16, &stop) || !take_char(&at, end, ' ') || end - at < 5)
		return false;
	permissions = at;
	at += 4;
	if (!take_char(&at, end, ' ') || !take_number(&at, end, 16, &offset) ||
	    !take_char(&at, end, ' ') || !take_device(&at, end, 16, &device) ||
	    !take_char(&at, end, ' ') || !take_number(&at, end, 10, &inode) || !inode)
		return false;
	while (at < end && *at == ' ')
		at++;
	if (at == end || *at != '/')
		return false;
	*ret_mapping = (struct tls_mapping){
		.file = { device, inode },
		.start = start,
		.end = stop,
		.is_executable = permissions[2] == 'x',
		.path = at,
		.path_length = (size_t)(end - at),
	};
	return true;
}

const char *tls_last_part(const char *path, size_t length, size_t *ret_length)
{
	size_t at = length;

	while (at > 0 && path[at - 1] != '/')
		at--;
	*ret_length = length - at;
	return path + at;
}

static bool begins_with(const char *text, size_t length, const char *prefix)
{
	return length >= strlen(prefix) && !memcmp(text, prefix, strlen(prefix));
}

/* libssl.so.3, libssl-9e3a8c.so.1.1 as packages of Python's bring it, libgnutls.so.30. */
bool tls_library_is_named(const char *path, size_t length)
{
	static const char *const names[] = { "libssl.so", "libssl-", "libgnutls.so", "libgnutls-" };
	size_t n;
	const char *name = tls_last_part(path, length, &n);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (begins_with(name, n, names[i]))
			return true;
	return false;
}

static const char *skip_words(const char *at, const char *end, int n)
{
	while (n-- > 0) {
		while (at < end && *at != ' ')
			at++;
		while (at < end && *at == ' ')
			at++;
	}
	return at;
}

/* "ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [TAGS…] - TYPE …" */
static bool mount_is_of(const char *line, const char *end, dev_t device, const char **ret_type)
{
	const char *at = skip_words(line, end, 2);
	dev_t found;

	if (!take_device(&at, end, 10, &found) || found != device)
		return false;
	for (; at < end; at = skip_words(at, end, 1))
		if (end - at > 2 && at[0] == '-' && at[1] == ' ') {
			*ret_type = at + 2;
			return true;
		}
	return false;
}

bool tls_filesystem_find(const char *mountinfo, size_t size, dev_t device,
			 char ret_type[TLS_FILESYSTEM_TYPE])
{
	const char *line = mountinfo, *end = mountinfo + size, *type;

	while (line < end) {
		const char *stop = memchr(line, '\n', (size_t)(end - line));

		if (!stop)
			stop = end;
		if (mount_is_of(line, stop, device, &type)) {
			const char *type_end = memchr(type, ' ', (size_t)(stop - type));

			snprintf(ret_type, TLS_FILESYSTEM_TYPE, "%.*s",
				 (int)((type_end ? type_end : stop) - type), type);
			return true;
		}
		line = stop + 1;
	}
	return false;
}

bool tls_filesystem_may_stall(const char *type)
{
	static const char *const types[] = { "fuse", "nfs", "cifs",   "smb",  "9p",
					     "ceph", "afs", "autofs", "gfs2", "ocfs2" };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (!strncmp(type, types[i], strlen(types[i])))
			return true;
	return false;
}
