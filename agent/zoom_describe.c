// SPDX-License-Identifier: Apache-2.0
/* What a file descriptor is, in words. Pure. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "agent/zoom.h"

static const char *protocol_name(unsigned protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
		return "tcp";
	case IPPROTO_UDP:
		return "udp";
	case IPPROTO_ICMP:
		return "icmp";
	case IPPROTO_SCTP:
		return "sctp";
	default:
		return "ip";
	}
}

static void print_endpoint(int family, const void *address, unsigned port, char *out, size_t size)
{
	char text[INET6_ADDRSTRLEN] = "?";

	inet_ntop(family, address, text, sizeof(text));
	snprintf(out, size, family == AF_INET6 ? "[%s]:%u" : "%s:%u", text, port);
}

static void describe_socket(const struct zoom_file *file, char what[512])
{
	char local[80], remote[80];

	if (file->family == AF_UNIX) {
		snprintf(what, 512, "unix socket:[%llu]", file->inode);
		return;
	}
	if (file->family != AF_INET && file->family != AF_INET6) {
		snprintf(what, 512, "family %u socket:[%llu]", file->family, file->inode);
		return;
	}
	print_endpoint(file->family, file->local, file->local_port, local, sizeof(local));
	print_endpoint(file->family, file->remote, file->remote_port, remote, sizeof(remote));
	snprintf(what, 512, "%s %s%s%s", protocol_name(file->protocol), local,
		 file->remote_port ? " -> " : "", file->remote_port ? remote : "");
}

const char *zoom_describe_file(const struct zoom_file *file, char what[512])
{
	const char *kind;

	snprintf(what, 512, "%.63s", file->name);
	switch (file->mode & S_IFMT) {
	case S_IFSOCK:
		describe_socket(file, what);
		return "socket";
	case S_IFIFO:
		if (!file->name[0])
			snprintf(what, 512, "pipe:[%llu]", file->inode);
		return "pipe";
	case S_IFREG:
		kind = "file";
		break;
	case S_IFDIR:
		kind = "directory";
		break;
	case S_IFCHR:
		kind = "character device";
		break;
	case S_IFBLK:
		kind = "block device";
		break;
	default:
		kind = file->files ? "anonymous" : "not open";
		break;
	}
	return kind;
}
