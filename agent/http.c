// SPDX-License-Identifier: Apache-2.0
/*
 * The HTTP server; see http.h. It runs libmicrohttpd's epoll set from a thread of its own (T1) rather than
 * from the library's: the library's timeout starts anew with every byte, so a peer that sends or reads one
 * byte at a time could hold a connection for ever. Here each connection has a deadline, and T1 cuts those
 * past it. All but the counters is used on T1 only once the thread runs.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "agent/http_address.h"
#include "agent/http_internal.h"

#define NS_PER_MS      1000000ULL
#define QUIET_AFTER_NS (1000 * NS_PER_MS)
/* Of a connection: request line, headers, and the library's own state. */
#define HEAD_MEMORY    ((size_t)16 * 1024)
#define STATUS_CLASSES 5
#define NEVER	       UINT64_MAX

/* A socket. In the library's hands, known here for its deadline. */
struct connection {
	struct connection *previous, *next;
	int fd;
	bool served; /* one request at least */
	uint64_t deadline_ns;
};

struct http_server {
	struct http_server_options options; /* defaults filled in */
	size_t n_routes;
	char address[HTTP_ADDRESS_SIZE];
	struct MHD_Daemon *daemon;
	pthread_t thread;
	int epoll_fd; /* the library's */
	int stop_fd; /* eventfd: written once to end the thread */
	struct connection *connections;
	uint64_t quiet_at_ns; /* NEVER: said already */
	atomic_ullong timeouts;
	atomic_ullong *counts; /* [n_routes + 1][STATUS_CLASSES] */
};

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

/* ---- routing ---- */

static bool method_matches(const struct http_route *route, const char *method)
{
	return !strcmp(route->method, method) ||
	       (!strcmp(method, "HEAD") && !strcmp(route->method, "GET"));
}

static bool path_matches(const struct http_route *route, const char *path)
{
	size_t length = strlen(route->path);

	if (route->path[length - 1] == '*')
		return !strncmp(route->path, path, length - 1) && path[length - 1];
	return !strcmp(route->path, path);
}

static void route_request(const struct http_server *server, struct http_request *request,
			  const char *path, const char *method)
{
	const struct http_route *route;

	request->refused = MHD_HTTP_NOT_FOUND;
	for (route = server->options.routes; route->path; route++) {
		if (!path_matches(route, path))
			continue;
		if (method_matches(route, method)) {
			request->route = route;
			request->refused = 0;
			return;
		}
		request->refused = MHD_HTTP_METHOD_NOT_ALLOWED;
	}
}

static void add_allow_header(const struct http_server *server, struct http_response *response,
			     const char *path)
{
	const struct http_route *route;
	struct buffer allow = { 0 };

	for (route = server->options.routes; route->path; route++)
		if (path_matches(route, path))
			buffer_printf(&allow, "%s%s%s", allow.size ? ", " : "", route->method,
				      strcmp(route->method, "GET") ? "" : ", HEAD");
	buffer_char(&allow, '\0');
	if (!buffer_error(&allow))
		http_response_header(response, MHD_HTTP_HEADER_ALLOW, allow.data);
	buffer_free(&allow);
}

static void refuse_request(const struct http_server *server, const struct http_request *request,
			   struct http_response *response, const char *path)
{
	switch (request->refused) {
	case MHD_HTTP_METHOD_NOT_ALLOWED:
		http_response_error(response, request->refused,
				    "this path does not take that method; see Allow");
		add_allow_header(server, response, path);
		break;
	case MHD_HTTP_CONTENT_TOO_LARGE:
		http_response_error(response, request->refused, "the body is larger than %zu bytes",
				    server->options.max_body);
		break;
	default:
		http_response_error(response, request->refused,
				    "no such path; / lists those there are");
	}
}

/* ---- answering ---- */

static void count_answer(struct http_server *server, const struct http_route *route,
			 unsigned status)
{
	size_t row = route ? (size_t)(route - server->options.routes) : server->n_routes;

	if (status >= 100 && status < 100 * (STATUS_CLASSES + 1))
		atomic_fetch_add_explicit(&server->counts[row * STATUS_CLASSES + status / 100 - 1],
					  1, memory_order_relaxed);
}

static enum MHD_Result answer(struct http_server *server, struct http_request *request,
			      const char *path)
{
	struct http_response response = { .status = MHD_HTTP_OK,
					  .content_type = "text/plain; charset=utf-8" };
	struct MHD_Response *made;
	enum MHD_Result result;

	request->path = path;
	if (request->refused)
		refuse_request(server, request, &response, path);
	else
		request->route->handle(server->options.context, request, &response);
	if (buffer_error(&response.body))
		http_response_error(&response, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory");
	count_answer(server, request->refused ? NULL : request->route, response.status);
	made = http_response_make(&response);
	if (!made)
		return MHD_NO;
	result = MHD_queue_response(request->connection, response.status, made);
	MHD_destroy_response(made); /* drops our reference; the connection has its own */
	return result;
}

/* ---- the library's callbacks ---- */

static struct connection *connection_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

static void set_deadline(struct MHD_Connection *connection, unsigned timeout_ms)
{
	struct connection *socket = connection_of(connection);

	if (socket)
		socket->deadline_ns = clock_ns() + timeout_ms * NS_PER_MS;
}

/* The head is complete. Returning without an answer makes the library read the body. */
static enum MHD_Result begin_request(struct http_server *server, struct MHD_Connection *connection,
				     const char *path, const char *method, void **state)
{
	struct connection *socket = connection_of(connection);
	struct http_request *request = calloc(1, sizeof(*request));
	const char *length;

	if (!request)
		return MHD_NO;
	*state = request;
	request->connection = connection;
	if (socket && socket->served)
		set_deadline(connection, server->options.receive_timeout_ms);
	route_request(server, request, path, method);
	length = http_request_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);
	if (!length || strtoull(length, NULL, 10) <= server->options.max_body)
		return MHD_YES;
	/* Answered before the body comes: the library then closes the connection. */
	request->refused = MHD_HTTP_CONTENT_TOO_LARGE;
	set_deadline(connection, server->options.send_timeout_ms);
	return answer(server, request, path);
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
				  const char *path, const char *method, const char *version,
				  const char *data, size_t *size, void **state)
{
	struct http_server *server = context;
	struct http_request *request = *state;

	server->quiet_at_ns = clock_ns() + QUIET_AFTER_NS;
	if (!request)
		return begin_request(server, connection, path, method, state);
	if (*size) {
		if (*size > server->options.max_body - request->body.size)
			request->refused =
				MHD_HTTP_CONTENT_TOO_LARGE; /* chunked, so not known before */
		if (!request->refused)
			buffer_append(&request->body, data, *size);
		*size = 0;
		return buffer_error(&request->body) ? MHD_NO : MHD_YES;
	}
	set_deadline(connection, server->options.send_timeout_ms);
	return answer(server, request, path);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **state,
			 enum MHD_RequestTerminationCode reason)
{
	struct http_server *server = context;
	struct connection *socket = connection_of(connection);
	struct http_request *request = *state;

	if (socket)
		socket->served = true;
	set_deadline(connection, server->options.idle_timeout_ms);
	if (!request)
		return;
	buffer_free(&request->body);
	free(request);
	*state = NULL;
}

static void on_connection(void *context, struct MHD_Connection *connection, void **state,
			  enum MHD_ConnectionNotificationCode code)
{
	struct http_server *server = context;
	struct connection *socket = *state;
	const union MHD_ConnectionInfo *info;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		/* Without memory the connection has no deadline; it is then the least of the worries. */
		socket = calloc(1, sizeof(*socket));
		if (!socket)
			return;
		info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
		socket->fd = info ? info->connect_fd : -1;
		socket->deadline_ns = clock_ns() + server->options.receive_timeout_ms * NS_PER_MS;
		socket->next = server->connections;
		if (socket->next)
			socket->next->previous = socket;
		server->connections = socket;
		*state = socket;
	} else if (socket) {
		if (socket->previous)
			socket->previous->next = socket->next;
		else
			server->connections = socket->next;
		if (socket->next)
			socket->next->previous = socket->previous;
		free(socket);
		*state = NULL;
	}
}

/* ---- the thread ---- */

/* Cuts connections past their deadline; returns the nearest of the other deadlines. */
static uint64_t cut_late_connections(struct http_server *server, uint64_t now)
{
	struct connection *socket;
	uint64_t nearest = NEVER;

	for (socket = server->connections; socket; socket = socket->next) {
		if (socket->deadline_ns == NEVER)
			continue;
		if (socket->deadline_ns > now) {
			if (socket->deadline_ns < nearest)
				nearest = socket->deadline_ns;
			continue;
		}
		atomic_fetch_add_explicit(&server->timeouts, 1, memory_order_relaxed);
		/* The library sees the end of the stream at its next turn, and closes. */
		shutdown(socket->fd, SHUT_RDWR);
		socket->deadline_ns = NEVER;
	}
	return nearest;
}

static int poll_timeout(struct http_server *server)
{
	uint64_t now = clock_ns(), next = cut_late_connections(server, now);
	MHD_UNSIGNED_LONG_LONG library_ms;
	uint64_t ms;

	if (server->quiet_at_ns != NEVER && server->quiet_at_ns <= now) {
		server->quiet_at_ns = NEVER;
		if (server->options.quiet)
			server->options.quiet(server->options.context);
	}
	if (server->quiet_at_ns < next)
		next = server->quiet_at_ns;
	ms = next == NEVER ? NEVER : (next - now) / NS_PER_MS + 1;
	if (MHD_get_timeout(server->daemon, &library_ms) == MHD_YES && library_ms < ms)
		ms = library_ms;
	return ms == NEVER ? -1 : ms > 60000 ? 60000 : (int)ms;
}

static void *serve(void *context)
{
	struct http_server *server = context;
	struct pollfd fds[] = {
		{ .fd = server->stop_fd, .events = POLLIN },
		{ .fd = server->epoll_fd, .events = POLLIN },
	};

	while (!fds[0].revents) {
		MHD_run(server->daemon);
		poll(fds, 2, poll_timeout(server));
	}
	/* Here, not in http_server_stop(): bodies in flight are let go on the thread that counts them. */
	MHD_stop_daemon(server->daemon);
	if (server->options.quiet)
		server->options.quiet(server->options.context);
	return NULL;
}

/* Signals are the loop's; they must not end a system call here. */
static int start_thread(struct http_server *server)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&server->thread, NULL, serve, server);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!error)
		pthread_setname_np(server->thread, "leadline-http");
	return -error;
}

static int start_daemon(struct http_server *server, int listen_fd)
{
	const struct http_server_options *options = &server->options;
	const union MHD_DaemonInfo *info;

	server->daemon = MHD_start_daemon(
		MHD_USE_EPOLL, 0, NULL, NULL, on_request, server, MHD_OPTION_LISTEN_SOCKET,
		listen_fd, MHD_OPTION_CONNECTION_LIMIT, options->max_connections,
		MHD_OPTION_PER_IP_CONNECTION_LIMIT, options->max_connections_per_address,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, HEAD_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, 0U,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
		server, MHD_OPTION_NOTIFY_COMPLETED, on_completed, server, MHD_OPTION_END);
	if (!server->daemon)
		return -ENOMEM;
	info = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info || info->epoll_fd < 0) {
		MHD_stop_daemon(server->daemon); /* closes listen_fd as well */
		return -ENOTSUP;
	}
	server->epoll_fd = info->epoll_fd;
	return 0;
}

static void set_defaults(struct http_server_options *options)
{
	if (!options->max_connections)
		options->max_connections = 512;
	if (!options->max_connections_per_address)
		options->max_connections_per_address = 256;
	if (!options->max_body)
		options->max_body = (size_t)1024 * 1024;
	if (!options->receive_timeout_ms)
		options->receive_timeout_ms = 10000;
	if (!options->send_timeout_ms)
		options->send_timeout_ms = 60000;
	if (!options->idle_timeout_ms)
		options->idle_timeout_ms = 120000;
}

static void server_free(struct http_server *server)
{
	if (server->stop_fd >= 0)
		close(server->stop_fd);
	free(server->counts);
	free(server);
}

int http_server_start(const struct http_server_options *options, struct http_server **ret_server,
		      char *error, size_t error_size)
{
	struct http_server *server = calloc(1, sizeof(*server));
	int listen_fd, code = -ENOMEM;

	snprintf(error, error_size, "out of memory");
	if (!server)
		return -ENOMEM;
	server->options = *options;
	server->options.listen = NULL;
	set_defaults(&server->options);
	server->quiet_at_ns = NEVER;
	while (options->routes[server->n_routes].path)
		server->n_routes++;
	server->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	server->counts = calloc((server->n_routes + 1) * STATUS_CLASSES, sizeof(*server->counts));
	if (server->stop_fd < 0 || !server->counts)
		goto fail;
	listen_fd = http_listen(options->listen, server->address, error, error_size);
	if (listen_fd < 0) {
		code = listen_fd;
		goto fail;
	}
	code = start_daemon(server, listen_fd);
	if (code) {
		snprintf(error, error_size, "the HTTP server cannot be set up: %s",
			 strerror(-code));
		if (!server->daemon)
			close(listen_fd);
		goto fail;
	}
	code = start_thread(server);
	if (code) {
		snprintf(error, error_size, "the HTTP server's thread cannot be started: %s",
			 strerror(-code));
		MHD_stop_daemon(server->daemon);
		goto fail;
	}
	*ret_server = server;
	return 0;
fail:
	server_free(server);
	return code;
}

void http_server_stop(struct http_server *server)
{
	if (!server)
		return;
	eventfd_write(server->stop_fd, 1);
	pthread_join(server->thread, NULL);
	server_free(server);
}

const char *http_server_address(const struct http_server *server)
{
	return server->address;
}

uint16_t http_server_port(const struct http_server *server)
{
	return http_address_port(server->address);
}

void http_server_each_count(const struct http_server *server,
			    void (*callback)(void *context, const char *path, const char *status,
					     uint64_t count),
			    void *context)
{
	static const char *const classes[STATUS_CLASSES] = { "1xx", "2xx", "3xx", "4xx", "5xx" };
	size_t i;

	for (i = 0; i < (server->n_routes + 1) * STATUS_CLASSES; i++) {
		size_t row = i / STATUS_CLASSES;
		uint64_t count = atomic_load_explicit(&server->counts[i], memory_order_relaxed);

		if (count)
			callback(context,
				 row < server->n_routes ? server->options.routes[row].path
							: "other",
				 classes[i % STATUS_CLASSES], count);
	}
}

uint64_t http_server_timeouts(const struct http_server *server)
{
	return atomic_load_explicit(&server->timeouts, memory_order_relaxed);
}
