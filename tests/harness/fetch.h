/* SPDX-License-Identifier: Apache-2.0 */
/* A small HTTP client for tests, on libcurl. */
#ifndef LEADLINE_TESTS_FETCH_H
#define LEADLINE_TESTS_FETCH_H

#include <stdbool.h>
#include <stddef.h>

struct answer {
	long status; /* 0: no answer, `error` says why */
	char *body; /* NUL-terminated, as sent: not decompressed */
	size_t size;
	char *head; /* all header lines */
	double seconds;
	char error[256];
};

/*
 * One request on a connection of its own. headers: lines "Name: value" up to NULL, or NULL. method:
 * NULL is GET; body may be NULL. Never NULL, 10 s at most; free it with answer_free().
 */
struct answer *fetch(const char *method, const char *url, const char *const headers[],
		     const char *body);
void answer_free(struct answer *answer);
/* Value of a header, name in any case, until the next call; NULL when absent. */
const char *answer_header(const struct answer *answer, const char *name);

/*
 * Sends raw bytes to 127.0.0.1:port, closes the sending side and reads up to `size` - 1 bytes of what comes back within
 * `seconds`. Returns their number (0: closed without a word), -errno when not connected.
 */
long send_raw(int port, const void *data, size_t data_size, char *reply, size_t size,
	      double seconds);

/* A TCP port of 127.0.0.1 that was free a moment ago. */
int free_port(void);
bool port_open(int port); /* something listens at 127.0.0.1 */

#endif
