/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP server: a const table of routes behind libmicrohttpd, on one thread of its own (T1).
 *
 * Everything a peer can use up is bounded: connections (in all and by address), the size of head and
 * body, and the time a request, its answer and the pause between two may take, however slowly a peer
 * sends or reads. Handlers run on T1 one after the other and must not block.
 */
#ifndef LEADLINE_HTTP_H
#define LEADLINE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "agent/buffer.h"

struct http_server;
struct http_request;

/* A body that several answers send, e.g. a page rendered once. T1 only. */
struct http_body {
	unsigned references;
	struct buffer buffer; /* not changed any more once sent */
};

struct http_body *http_body_new(void); /* one reference for the caller; NULL when memory ran out */
struct http_body *http_body_get(struct http_body *body); /* one more; returns its argument */
void http_body_put(struct http_body *body); /* drops one; NULL is fine */

#define HTTP_MAX_HEADERS 4
#define HTTP_HEADER_SIZE 128

/* Filled by the handler; zeroed before, but for status 200 and text/plain. */
struct http_response {
	unsigned status;
	const char *content_type; /* a constant */
	struct buffer body; /* the server frees it */
	struct http_body
		*shared; /* sent instead of `body`; the handler's reference is the server's now */
	struct {
		const char *name; /* a constant */
		char value[HTTP_HEADER_SIZE];
	} headers[HTTP_MAX_HEADERS];
	size_t n_headers;
};

/* One more header; a value that does not fit is cut. */
void http_response_header(struct http_response *response, const char *name, const char *value);
/* Turns the answer into {"error": message}. */
void http_response_error(struct http_response *response, unsigned status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

typedef void http_handler(void *context, const struct http_request *request,
			  struct http_response *response);

/* GET also answers HEAD. The first route of a path and method wins; a table ends with a NULL path. */
struct http_route {
	const char *method; /* "GET", "POST" … */
	const char
		*path; /* exact, without query; a star at its end: whatever begins so and goes on */
	http_handler *handle;
	const char *help; /* one phrase for the list of endpoints; NULL: not listed */
};

/* ---- for handlers ---- */

/* NULL when there is none. Valid until the handler returns. */
const char *http_request_header(const struct http_request *request, const char *name);
const char *http_request_parameter(const struct http_request *request, const char *name);
const char *http_request_path(const struct http_request *request); /* without query */
const void *http_request_body(const struct http_request *request, size_t *size);
/*
 * Whether the request is from somebody on this host: the peer is a loopback address, no proxy speaks
 * for another (Forwarded, X-Forwarded-For, Via), and no web page of another origin had a browser send it.
 */
bool http_request_local(const struct http_request *request);

/* ---- for the core ---- */

struct http_server_options {
	const char *
		listen; /* "127.0.0.1:9797", "[::1]:9797", ":9797" (all addresses); port 0: a free one */
	const struct http_route *routes;
	void *context; /* of the handlers */
	/* Optional: called on T1 once no request has come for a second, to let go of what was kept. */
	void (*quiet)(void *context);
	/* 0 means the default. */
	unsigned max_connections; /* 512 */
	unsigned max_connections_per_address; /* 256 */
	size_t max_body; /* 1 MiB; bytes */
	unsigned receive_timeout_ms; /* 10 s, from the connection to the end of the request */
	unsigned send_timeout_ms; /* 60 s, until the answer is taken */
	unsigned idle_timeout_ms; /* 120 s, from one answer to the end of the next request's head */
};

/*
 * Listens and serves from its own thread. 0, or -errno with a message for the user in `error`.
 * The options are copied, what they point at must outlive the server, `listen` excepted.
 */
int http_server_start(const struct http_server_options *options, struct http_server **ret_server,
		      char *error, size_t error_size);
/* Cuts what is under way, ends the thread, frees. NULL is fine. */
void http_server_stop(struct http_server *server);

/* "127.0.0.1:9797", with the port in use. */
const char *http_server_address(const struct http_server *server);
uint16_t http_server_port(const struct http_server *server);

/*
 * Calls back with the number of requests answered so far by route and status class ("2xx"), those that
 * never happened excepted; the path is "other" where no route matched. Any thread.
 */
void http_server_each_count(const struct http_server *server,
			    void (*callback)(void *context, const char *path, const char *status,
					     uint64_t count),
			    void *context);
/* Connections cut because the peer was too slow. Any thread. */
uint64_t http_server_timeouts(const struct http_server *server);

#endif
