/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of the HTTP server share: http.c (sockets, thread) and http_message.c (what is said). */
#ifndef LEADLINE_HTTP_INTERNAL_H
#define LEADLINE_HTTP_INTERNAL_H

#include <microhttpd.h>
#include "agent/http.h"

struct http_request {
	struct MHD_Connection *connection;
	const struct http_route *route; /* NULL: `refused` says why */
	unsigned refused; /* status, or 0 */
	const char *path; /* while it is being handled */
	struct buffer body;
};

/* Takes over the response's body, whatever comes of it. NULL when memory ran out. */
struct MHD_Response *http_response_make(struct http_response *response);

#endif
