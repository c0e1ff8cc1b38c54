// SPDX-License-Identifier: Apache-2.0
/* Addresses of the HTTP server; see http_address.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include "agent/http_address.h"

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static int refuse(int code, char *error, size_t error_size, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
static int refuse(int code, char *error, size_t error_size, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(error, error_size, format, arguments);
	va_end(arguments);
	return code;
}

/* The digits behind the last colon; -1 when they are no port. */
static long parse_port(const char *listen, const char **colon)
{
	char *end;
	unsigned long port;

	*colon = strrchr(listen, ':');
	if (!*colon || (*colon)[1] < '0' || (*colon)[1] > '9')
		return -1;
	port = strtoul(*colon + 1, &end, 10);
	return *end || port > 65535 ? -1 : (long)port;
}

static bool parse_listen(const char *listen, union address *address)
{
	const char *colon;
	char host[INET6_ADDRSTRLEN + 2];
	long port = parse_port(listen, &colon);
	size_t length;

	*address = (union address){ 0 };
	if (port < 0)
		return false;
	length = (size_t)(colon - listen);
	if (length >= sizeof(host))
		return false;
	memcpy(host, listen, length);
	host[length] = '\0';
	if (length > 2 && host[0] == '[' && host[length - 1] == ']') {
		host[length - 1] = '\0';
		address->v6.sin6_family = AF_INET6;
		address->v6.sin6_port = htons((uint16_t)port);
		return inet_pton(AF_INET6, host + 1, &address->v6.sin6_addr) == 1;
	}
	if (!length) {
		address->v6.sin6_family = AF_INET6;
		address->v6.sin6_port = htons((uint16_t)port);
		address->v6.sin6_addr = in6addr_any;
		return true;
	}
	address->v4.sin_family = AF_INET;
	address->v4.sin_port = htons((uint16_t)port);
	return inet_pton(AF_INET, host, &address->v4.sin_addr) == 1;
}

static int bind_to(const union address *address, bool dual)
{
	const int on = 1, off = 0;
	int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	socklen_t size =
		address->any.sa_family == AF_INET6 ? sizeof(address->v6) : sizeof(address->v4);
	int error;

	if (fd < 0)
		return -errno;
	/* A restart must not wait for the connections of the last run to be forgotten. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    (address->any.sa_family == AF_INET6 &&
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, dual ? &off : &on, sizeof(on))) ||
	    bind(fd, &address->any, size) || listen(fd, SOMAXCONN)) {
		error = -errno;
		close(fd);
		return error;
	}
	return fd;
}

static int explain(int code, const char *listen, char *error, size_t error_size)
{
	const char *colon = strrchr(listen, ':');

	switch (-code) {
	case EADDRINUSE:
		return refuse(
			code, error, error_size,
			"%s is in use by another program (ss -ltnp 'sport = %s' names it): stop that, or have this one "
			"listen elsewhere with --listen=ADDRESS:PORT",
			listen, colon);
	case EADDRNOTAVAIL:
		return refuse(
			code, error, error_size,
			"no interface of this host has the address in %s (ip address lists them); "
			"--listen=%s listens on all",
			listen, colon);
	case EACCES:
		return refuse(
			code, error, error_size,
			"not allowed to listen on %s: ports below 1024 need root or CAP_NET_BIND_SERVICE",
			listen);
	case EAFNOSUPPORT:
		return refuse(code, error, error_size,
			      "cannot listen on %s: this kernel has no IPv6", listen);
	default:
		return refuse(code, error, error_size, "cannot listen on %s: %s", listen,
			      strerror(-code));
	}
}

static int describe(int fd, bool all, char address[HTTP_ADDRESS_SIZE])
{
	union address bound = { 0 };
	socklen_t size = sizeof(bound);
	char host[INET6_ADDRSTRLEN];

	if (getsockname(fd, &bound.any, &size))
		return -errno;
	if (all) {
		snprintf(address, HTTP_ADDRESS_SIZE, ":%u",
			 ntohs(bound.v4.sin_port)); /* where both have it */
	} else if (bound.any.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &bound.v6.sin6_addr, host, sizeof(host));
		snprintf(address, HTTP_ADDRESS_SIZE, "[%s]:%u", host, ntohs(bound.v6.sin6_port));
	} else {
		inet_ntop(AF_INET, &bound.v4.sin_addr, host, sizeof(host));
		snprintf(address, HTTP_ADDRESS_SIZE, "%s:%u", host, ntohs(bound.v4.sin_port));
	}
	return 0;
}

int http_listen(const char *listen, char address[HTTP_ADDRESS_SIZE], char *error, size_t error_size)
{
	const bool all = listen[0] == ':';
	union address wanted;
	int fd, code;

	if (!parse_listen(listen, &wanted))
		return refuse(
			-EINVAL, error, error_size,
			"\"%s\" is not an address to listen on; right would be 127.0.0.1:9797, [::1]:9797, or :9797 for "
			"all addresses",
			listen);
	fd = bind_to(&wanted, all);
	if (all && (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL)) {
		wanted.v4 = (struct sockaddr_in){ .sin_family = AF_INET,
						  .sin_port = wanted.v6.sin6_port };
		fd = bind_to(&wanted, false);
	}
	if (fd < 0)
		return explain(fd, listen, error, error_size);
	code = describe(fd, all, address);
	if (code) {
		close(fd);
		return explain(code, listen, error, error_size);
	}
	return fd;
}

uint16_t http_address_port(const char *address)
{
	const char *colon;
	long port = parse_port(address, &colon);

	return port < 0 ? 0 : (uint16_t)port;
}

bool http_address_loopback(const struct sockaddr *address)
{
	const struct in6_addr *v6 = &((const struct sockaddr_in6 *)address)->sin6_addr;

	if (address->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
	return address->sa_family == AF_INET6 &&
	       (IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127));
}

bool http_host_loopback(const char *host)
{
	size_t length = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
	struct in_addr v4;
	char name[16];

	if (length == 9 && !strncasecmp(host, "localhost", 9))
		return true;
	if (length == 5 && !strncmp(host, "[::1]", 5))
		return true;
	if (length >= sizeof(name))
		return false;
	memcpy(name, host, length);
	name[length] = '\0';
	return inet_pton(AF_INET, name, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
}
