// SPDX-License-Identifier: Apache-2.0
/* Where the server listens, what it says when it cannot, and which peers are on this host. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "agent/http_address.h"

static void loopback_addresses(void **state)
{
	static const struct {
		const char *text;
		bool loopback;
	} cases[] = {
		{ "127.0.0.1", true },	      { "127.255.1.2", true }, { "128.0.0.1", false },
		{ "10.127.0.1", false },      { "::1", true },	       { "::2", false },
		{ "::ffff:127.0.0.1", true }, { "fe80::1", false },    { "::ffff:10.0.0.1", false },
		{ "::7f00:1", false },
	};
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool is_v4 = inet_pton(AF_INET, cases[i].text, &v4.sin_addr) == 1;

		if (!is_v4)
			assert_int_equal(inet_pton(AF_INET6, cases[i].text, &v6.sin6_addr), 1);
		if (http_address_loopback(is_v4 ? (struct sockaddr *)&v4
						: (struct sockaddr *)&v6) != cases[i].loopback)
			fail_msg("%s", cases[i].text);
	}
}

static void loopback_hosts(void **state)
{
	static const struct {
		const char *host;
		bool loopback;
	} cases[] = {
		{ "localhost", true },
		{ "LocalHost:9797", true },
		{ "127.0.0.1", true },
		{ "127.8.9.1:80", true },
		{ "[::1]", true },
		{ "[::1]:9797", true },
		{ "", false },
		{ ":9797", false },
		{ "localhost.", false },
		{ "localhost.evil.example", false },
		{ "127.0.0.1.evil.example", false },
		{ "128.0.0.1", false },
		{ "[::1", false },
		{ "[::2]", false },
		{ "::1", false },
		{ "a-very-long-name-of-a-host.evil.example:9797", false },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (http_host_loopback(cases[i].host) != cases[i].loopback)
			fail_msg("%s", cases[i].host);
}

static int try_connect(int family, const char *host, uint16_t port)
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), result;

	assert_true(fd >= 0);
	inet_pton(family, host, family == AF_INET ? (void *)&v4.sin_addr : (void *)&v6.sin6_addr);
	result = family == AF_INET ? connect(fd, (struct sockaddr *)&v4, sizeof(v4))
				   : connect(fd, (struct sockaddr *)&v6, sizeof(v6));
	close(fd);
	return result;
}

static void listens(void **state)
{
	static const struct {
		const char *listen;
		const char *shown; /* without the port */
		const char *reached[2]; /* by IPv4 and IPv6; NULL: not tried */
	} cases[] = {
		{ "127.0.0.1:0", "127.0.0.1:", { "127.0.0.1", NULL } },
		{ "127.0.0.2:0", "127.0.0.2:", { "127.0.0.2", NULL } },
		{ "0.0.0.0:0", "0.0.0.0:", { "127.0.0.3", NULL } },
		{ "[::1]:0", "[::1]:", { NULL, "::1" } },
		{ "[::]:0", "[::]:", { NULL, "::1" } },
		{ ":0", ":", { "127.0.0.1", "::1" } },
	};
	const bool has_v6 = !access("/proc/net/if_inet6", F_OK);
	char address[HTTP_ADDRESS_SIZE], error[256];
	uint16_t port;
	size_t i;
	int fd;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (cases[i].listen[0] == '[' && !has_v6)
			continue;
		fd = http_listen(cases[i].listen, address, error, sizeof(error));
		if (fd < 0)
			fail_msg("%s", error);
		assert_memory_equal(address, cases[i].shown, strlen(cases[i].shown));
		assert_int_not_equal(http_address_port(address), 0);
		port = http_address_port(address);
		if (cases[i].reached[0])
			assert_int_equal(try_connect(AF_INET, cases[i].reached[0], port), 0);
		if (cases[i].reached[1] && has_v6)
			assert_int_equal(try_connect(AF_INET6, cases[i].reached[1], port), 0);
		close(fd);
	}
}

static void explains_what_it_cannot_listen_on(void **state)
{
	static const char *const malformed[] = {
		"",
		"9797",
		"127.0.0.1",
		"localhost:9797",
		"127.0.0.1:65536",
		"[::1:9797",
		"::1:9797",
		"127.0.0.1:1x",
		"127.0.0.1:-1",
		"[]:80",
		"[127.0.0.1]:80",
		"1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17:80",
	};
	char address[HTTP_ADDRESS_SIZE], taken[HTTP_ADDRESS_SIZE], error[256];
	size_t i;
	int fd;

	for (i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
		assert_int_equal(http_listen(malformed[i], address, error, sizeof(error)), -EINVAL);
		assert_non_null(strstr(error, "[::1]:9797"));
	}
	fd = http_listen("127.0.0.1:0", taken, error, sizeof(error));
	assert_true(fd >= 0);
	assert_int_equal(http_listen(taken, address, error, sizeof(error)), -EADDRINUSE);
	assert_non_null(strstr(error, taken));
	assert_non_null(strstr(error, "--listen="));
	close(fd);
	assert_int_equal(http_listen("192.0.2.1:9797", address, error, sizeof(error)),
			 -EADDRNOTAVAIL); /* RFC 5737 */
	assert_non_null(strstr(error, "192.0.2.1:9797"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loopback_addresses),
		cmocka_unit_test(loopback_hosts),
		cmocka_unit_test(listens),
		cmocka_unit_test(explains_what_it_cannot_listen_on),
	};

	return cmocka_run_group_tests_name("http_address", tests, NULL, NULL);
}
