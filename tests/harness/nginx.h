/* SPDX-License-Identifier: Apache-2.0 */
/* A real nginx of the test's own, on a free loopback port. */
#ifndef LEADLINE_TESTS_NGINX_H
#define LEADLINE_TESTS_NGINX_H

#include <sys/types.h>

struct nginx {
	pid_t pid; /* master, and the only process: no worker is forked */
	int port;
	char host[64]; /* address as in a URL */
	const char *directory; /* its prefix; files under files/ are served as /files/… */
	const char *
		access_log; /* one line a request: status method uri seconds received sent, the last two in bytes */
};

/*
 * Starts it and waits until it listens; no connection is made for that. / answers 200 "ok\n",
 * /status/NNN answers 204, 301, 404 or 500, /files/ serves files, /stub shows stub_status; `server` (may be
 * NULL) is further content of its server block. `listen` is NULL for 127.0.0.1, else an address
 * ("[::1]"). Skips without nginx.
 */
struct nginx *nginx_start(const char *listen, const char *server);
/* The same with options behind the port it listens on ("http2", "ssl"). */
struct nginx *nginx_start_with(const char *listen, const char *options, const char *server);
void nginx_stop(struct nginx *nginx);
/* "http://HOST:PORT" and path; valid until the next call. */
const char *nginx_url(const struct nginx *nginx, const char *path);
unsigned long nginx_requests(const struct nginx *nginx); /* lines of its access log */
/* They come to be so many, as it writes one after the response was sent; else the test fails. */
void nginx_expect_requests(const struct nginx *nginx, unsigned long expected);
/* Bytes of the requests in its access log, those whose URI begins so, and of their responses, heads included. */
void nginx_bytes(const struct nginx *nginx, const char *uri, double *ret_received,
		 double *ret_sent);

#endif
