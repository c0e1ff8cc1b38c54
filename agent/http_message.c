// SPDX-License-Identifier: Apache-2.0
/* Requests as handlers see them, and answers as they make them; see http.h. HTTP thread. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "agent/http_address.h"
#include "agent/http_internal.h"

struct http_body *http_body_new(void)
{
	struct http_body *body = calloc(1, sizeof(*body));

	if (body)
		body->references = 1;
	return body;
}

struct http_body *http_body_get(struct http_body *body)
{
	body->references++;
	return body;
}

void http_body_put(struct http_body *body)
{
	if (!body || --body->references)
		return;
	buffer_free(&body->buffer);
	free(body);
}

static void http_body_release(void *body)
{
	http_body_put(body);
}

void http_response_header(struct http_response *response, const char *name, const char *value)
{
	if (response->n_headers == HTTP_MAX_HEADERS)
		return;
	response->headers[response->n_headers].name = name;
	snprintf(response->headers[response->n_headers].value, HTTP_HEADER_SIZE, "%s", value);
	response->n_headers++;
}

void http_response_error(struct http_response *response, unsigned status, const char *format, ...)
{
	char message[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);

	http_body_put(response->shared);
	response->shared = NULL;
	buffer_free(&response->body);
	response->status = status;
	response->content_type = "application/json";
	buffer_string(&response->body, "{\"error\":");
	buffer_json_string(&response->body, message);
	buffer_string(&response->body, "}\n");
}

const char *http_request_header(const struct http_request *request, const char *name)
{
	return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

const char *http_request_parameter(const struct http_request *request, const char *name)
{
	return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
}

const char *http_request_path(const struct http_request *request)
{
	return request->path;
}

const void *http_request_body(const struct http_request *request, size_t *size)
{
	*size = request->body.size;
	return request->body.data;
}

bool http_request_local(const struct http_request *request)
{
	static const char *const forwarding[] = { "Forwarded", "X-Forwarded-For", "Via" };
	const union MHD_ConnectionInfo *peer =
		MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const char *host = http_request_header(request, "Host"),
		   *origin = http_request_header(request, "Origin");
	size_t i;

	if (!peer || !peer->client_addr || !http_address_loopback(peer->client_addr))
		return false;
	for (i = 0; i < sizeof(forwarding) / sizeof(forwarding[0]); i++)
		if (http_request_header(request, forwarding[i]))
			return false;
	/* A name that resolves to 127.0.0.1 only for this purpose (DNS rebinding) is no name of this host. */
	if (host && !http_host_loopback(host))
		return false;
	return !origin || (host && !strncmp(origin, "http://", 7) && !strcasecmp(origin + 7, host));
}

static struct MHD_Response *wrap_body(struct http_response *response)
{
	static char nothing[1];
	struct MHD_Response *made;

	if (response->shared) {
		made = MHD_create_response_from_buffer_with_free_callback_cls(
			response->shared->buffer.size, response->shared->buffer.data,
			http_body_release, response->shared);
		if (!made)
			http_body_put(response->shared);
		return made;
	}
	if (!response->body.data)
		return MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
	made = MHD_create_response_from_buffer(response->body.size, response->body.data,
					       MHD_RESPMEM_MUST_FREE);
	if (!made)
		buffer_free(&response->body);
	return made;
}

static void add_headers(struct MHD_Response *made, const struct http_response *response)
{
	/* Pages of this server load nothing from elsewhere, run no scripts and sit in no frame. */
	static const char *const always[][2] = {
		{ "Cache-Control", "no-store" },
		{ "Content-Security-Policy",
		  "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
		  "frame-ancestors 'none'" },
		{ "Referrer-Policy", "no-referrer" },
		{ "X-Content-Type-Options", "nosniff" },
	};
	size_t i;

	MHD_add_response_header(made, MHD_HTTP_HEADER_CONTENT_TYPE, response->content_type);
	for (i = 0; i < sizeof(always) / sizeof(always[0]); i++)
		MHD_add_response_header(made, always[i][0], always[i][1]);
	for (i = 0; i < response->n_headers; i++)
		MHD_add_response_header(made, response->headers[i].name,
					response->headers[i].value);
}

struct MHD_Response *http_response_make(struct http_response *response)
{
	struct MHD_Response *made = wrap_body(response);

	if (made)
		add_headers(made, response);
	return made;
}
