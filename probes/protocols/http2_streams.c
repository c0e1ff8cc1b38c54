// SPDX-License-Identifier: Apache-2.0
/*
 * Streams in flight, in an array by id: clients count up, so a new one goes to the end. A call begins with a request's header
 * block and ends with what ends the server's side of the stream; what the client still sends then belongs to no call.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "probes/protocols/http2_frame.h"
#include "probes/protocols/http2_streams.h"

#define FIRST_ROOM 8
/* So many streams come and go before one that may have ended before is taken to have. */
#define ENDS_UNTIL_FORGOTTEN 128

/* gRPC's codes, as far as they are told of streams that have none. */
enum {
	GRPC_CANCELLED = 1,
	GRPC_UNKNOWN = 2,
	GRPC_PERMISSION_DENIED = 7,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_UNIMPLEMENTED = 12,
	GRPC_INTERNAL = 13,
	GRPC_UNAVAILABLE = 14,
	GRPC_UNAUTHENTICATED = 16,
};

struct http2_stream {
	uint32_t id;
	uint16_t status; /* of HTTP; 0: none yet, or unknown */
	uint8_t grpc_status; /* or HTTP2_NO_GRPC_STATUS */
	bool is_grpc : 1;
	bool is_tunnel : 1; /* CONNECT, or may be: either side ends it as it likes */
	bool has_response : 1; /* its headers, be they known or not */
	bool has_unknown : 1; /* fields of the last header block could not be told */
	bool is_doubtful : 1; /* it may have ended where bytes were lost */
	bool is_early : 1; /* its request is not seen yet, hence there is no call */
};
_Static_assert(sizeof(struct http2_stream) == 8,
	       "PROTOCOL_MAX_CALLS of them are in memory's bound");

/* ---- the array ---- */

/* Where it is, or belongs. */
static unsigned find_place(const struct http2_streams *streams, uint32_t id)
{
	unsigned low = 0, high = streams->n;

	if (high && streams->streams[high - 1].id < id)
		return high;
	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (streams->streams[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct http2_stream *stream_find(const struct http2_streams *streams, uint32_t id)
{
	unsigned place = find_place(streams, id);

	if (place == streams->n || streams->streams[place].id != id)
		return NULL;
	return &streams->streams[place];
}

/* NULL: no memory, or too many. */
static struct http2_stream *stream_add(struct http2_streams *streams, uint32_t id)
{
	unsigned place = find_place(streams, id);
	struct http2_stream *stream;

	if (streams->n == PROTOCOL_MAX_CALLS)
		return NULL;
	if (streams->n == streams->room) {
		unsigned room = streams->room ? streams->room * 2 : FIRST_ROOM;

		stream = reallocarray(streams->streams, room, sizeof(*stream));
		if (!stream)
			return NULL;
		streams->streams = stream;
		streams->room = room;
	}
	stream = &streams->streams[place];
	memmove(stream + 1, stream, (streams->n - place) * sizeof(*stream));
	*stream = (struct http2_stream){ .id = id, .grpc_status = HTTP2_NO_GRPC_STATUS };
	streams->n++;
	return stream;
}

static struct http2_early *early_find(struct http2_streams *streams, uint32_t id)
{
	for (unsigned i = 0; i < HTTP2_MAX_EARLY; i++)
		if (streams->early[i].id == id)
			return &streams->early[i];
	return NULL;
}

static void count(struct http2_streams *streams, uint32_t id, bool from_client, uint64_t bytes)
{
	struct http2_early *early = from_client ? NULL : early_find(streams, id);

	if (early && id)
		early->bytes += bytes;
	protocol_count(streams->calls, id, from_client ? bytes : 0, from_client ? 0 : bytes);
}

/*
 * A response before its request, as the two directions may be told in another order than they were: it is kept until the request
 * comes. NULL: there is none to come, or no room.
 */
static struct http2_stream *add_early(struct http2_streams *streams, uint32_t id, uint64_t ns)
{
	struct http2_early *early = early_find(streams, 0);
	struct http2_stream *stream;

	if (!streams->sees_requests || !(id & 1) || id <= streams->last_request || !early)
		return NULL;
	stream = stream_add(streams, id);
	if (!stream)
		return NULL;
	stream->is_early = true;
	*early = (struct http2_early){ .id = id, .response_ns = ns };
	return stream;
}

static void forget_doubtful(struct http2_streams *streams)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < streams->n; i++) {
		const struct http2_stream *stream = &streams->streams[i];

		if (!stream->is_doubtful) {
			streams->streams[kept++] = *stream;
			continue;
		}
		protocol_forget(streams->calls, stream->id);
		if (stream->is_early)
			early_find(streams, stream->id)->id = 0;
	}
	streams->n = kept;
	streams->n_doubtful = 0;
}

static void stream_confirm(struct http2_streams *streams, struct http2_stream *stream)
{
	streams->n_doubtful -= stream->is_doubtful;
	stream->is_doubtful = false;
}

static void stream_remove(struct http2_streams *streams, struct http2_stream *stream)
{
	size_t place = (size_t)(stream - streams->streams);

	if (stream->is_early)
		early_find(streams, stream->id)->id = 0;
	stream_confirm(streams, stream);
	streams->n--;
	memmove(stream, stream + 1, (streams->n - place) * sizeof(*stream));
	if (streams->n_doubtful && ++streams->ends_since_doubt == ENDS_UNTIL_FORGOTTEN)
		forget_doubtful(streams);
}

bool http2_streams_has(const struct http2_streams *streams, uint32_t id)
{
	return stream_find(streams, id);
}

void http2_streams_doubt(struct http2_streams *streams)
{
	if (!streams->n_doubtful)
		streams->ends_since_doubt = 0;
	for (unsigned i = 0; i < streams->n; i++)
		streams->streams[i].is_doubtful = true;
	streams->n_doubtful = streams->n;
}

void http2_streams_data(struct http2_streams *streams, uint32_t id, bool from_client,
			uint64_t bytes)
{
	struct http2_stream *stream;

	count(streams, id, from_client, bytes);
	stream = from_client || !streams->n_doubtful ? NULL : stream_find(streams, id);
	if (!stream || !stream->is_doubtful)
		return;
	stream_confirm(streams, stream);
	/* the headers were lost, if none were seen */
	stream->has_unknown |= !stream->has_response;
	stream->has_response = true;
}

void http2_streams_free(struct http2_streams *streams)
{
	free(streams->streams);
	*streams = (struct http2_streams){ 0 };
}

/* ---- requests ---- */

/* "package.Service/Method" of "/package.Service/Method"; "" when it does not look like that. */
static const char *grpc_method(const struct http2_block *block)
{
	const char *slash = block->path[0] == '/' ? strchr(block->path + 1, '/') : NULL;

	if (block->path_is_cut || !slash || slash == block->path + 1 || !slash[1] ||
	    strchr(slash + 1, '/'))
		return "";
	for (const char *c = block->path + 1; *c; c++)
		if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
		      (*c >= '0' && *c <= '9') || strchr("._/-", *c)))
			return "";
	return block->path + 1;
}

static void name_request(struct http2_streams *streams, struct http2_stream *stream,
			 const struct http2_block *block)
{
	stream->is_tunnel = !block->has_method || !strcmp(block->method, "CONNECT");
	stream->is_grpc = block->is_grpc;
	if (stream->is_grpc) {
		protocol_become(streams->calls, stream->id, &protocol_grpc);
		protocol_name(streams->calls, stream->id, NULL, grpc_method(block));
	} else {
		protocol_name(streams->calls, stream->id, block->method, block->route);
	}
}

/* Clients count up: requests of these were not seen. */
static void drop_early_before(struct http2_streams *streams, uint32_t id)
{
	for (unsigned i = 0; i < HTTP2_MAX_EARLY; i++)
		if (streams->early[i].id && streams->early[i].id < id)
			stream_remove(streams, stream_find(streams, streams->early[i].id));
}

/* The request is there: what came of the response before it. */
static void catch_up(struct http2_streams *streams, struct http2_stream *stream)
{
	const struct http2_early early = *early_find(streams, stream->id);

	early_find(streams, stream->id)->id = 0;
	stream->is_early = false;
	if (stream->has_response)
		protocol_respond(streams->calls, early.id, early.response_ns);
	count(streams, early.id, false, early.bytes);
	if (early.end_ns)
		http2_streams_end(streams, early.id, early.end_ns);
}

void http2_streams_request(struct http2_streams *streams, uint32_t id,
			   const struct http2_block *block, uint64_t start_ns, uint64_t bytes)
{
	struct http2_stream *stream;

	/* trailers, or what comes after the response has ended */
	if (!(id & 1) || id <= streams->last_request) {
		count(streams, id, true, bytes);
		return;
	}
	streams->last_request = id;
	drop_early_before(streams, id);
	/* trailers of a request from before we came */
	if (!block->has_method && !block->has_unknown)
		return;
	if (streams->n == PROTOCOL_MAX_CALLS)
		forget_doubtful(streams);
	protocol_begin(streams->calls, id, start_ns);
	stream = stream_find(streams, id);
	if (!stream)
		stream = stream_add(streams, id);
	if (!stream) {
		protocol_forget(streams->calls, id);
		return;
	}
	name_request(streams, stream, block);
	count(streams, id, true, bytes);
	if (stream->is_early)
		catch_up(streams, stream);
}

void http2_streams_upgraded(struct http2_streams *streams, const struct protocol_upgrade *upgrade)
{
	struct http2_block block;

	http2_block_start(&block);
	block.has_method = true;
	snprintf(block.method, sizeof(block.method), "%s", upgrade->operation);
	snprintf(block.route, sizeof(block.route), "%s", upgrade->target);
	http2_streams_request(streams, 1, &block, upgrade->start_ns, upgrade->request_bytes);
	count(streams, 1, false, upgrade->response_bytes);
}

/* ---- responses ---- */

/* That a call is gRPC may show late, when the request's fields could not be told. */
static void become_grpc(struct http2_streams *streams, struct http2_stream *stream)
{
	if (stream->is_grpc)
		return;
	stream->is_grpc = true;
	protocol_become(streams->calls, stream->id, &protocol_grpc);
	protocol_name(streams->calls, stream->id, "", "");
}

void http2_streams_response(struct http2_streams *streams, uint32_t id,
			    const struct http2_block *block, uint64_t start_ns, uint64_t bytes)
{
	struct http2_stream *stream = stream_find(streams, id);

	if (!stream)
		stream = add_early(streams, id, start_ns);
	if (!stream)
		return;
	stream_confirm(streams, stream);
	count(streams, id, false, bytes);
	if (block->status && block->status < 200)
		return; /* interim: the response is yet to come */
	if (!stream->has_response)
		protocol_respond(streams->calls, id, start_ns);
	stream->has_response = true;
	stream->has_unknown = block->has_unknown;
	if (block->status)
		stream->status = block->status;
	if (block->is_grpc || block->grpc_status != HTTP2_NO_GRPC_STATUS)
		become_grpc(streams, stream);
	if (block->grpc_status != HTTP2_NO_GRPC_STATUS)
		stream->grpc_status = block->grpc_status;
}

static void call_end(struct http2_streams *streams, struct http2_stream *stream, uint64_t ns,
		     const char *status, bool is_error)
{
	protocol_end(streams->calls, stream->id, ns, status, is_error);
	stream_remove(streams, stream);
}

static void call_end_number(struct http2_streams *streams, struct http2_stream *stream, uint64_t ns,
			    unsigned status, bool is_error)
{
	char text[8];

	snprintf(text, sizeof(text), "%u", status);
	call_end(streams, stream, ns, text, is_error);
}

/* gRPC, "HTTP to gRPC status code mapping": what came from something between. */
static uint8_t grpc_of_http(uint16_t status)
{
	switch (status) {
	case 400:
		return GRPC_INTERNAL;
	case 401:
		return GRPC_UNAUTHENTICATED;
	case 403:
		return GRPC_PERMISSION_DENIED;
	case 404:
		return GRPC_UNIMPLEMENTED;
	case 429:
	case 502:
	case 503:
	case 504:
		return GRPC_UNAVAILABLE;
	default:
		return GRPC_UNKNOWN;
	}
}

void http2_streams_end(struct http2_streams *streams, uint32_t id, uint64_t ns)
{
	struct http2_stream *stream = stream_find(streams, id);
	uint8_t grpc_status;

	if (!stream)
		return;
	if (stream->is_early) {
		early_find(streams, id)->end_ns = ns;
		return;
	}
	if (!stream->is_grpc) {
		if (stream->status)
			call_end_number(streams, stream, ns, stream->status, stream->status >= 400);
		else
			call_end(streams, stream, ns, "", false);
		return;
	}
	grpc_status = stream->grpc_status;
	if (grpc_status == HTTP2_NO_GRPC_STATUS && (stream->has_unknown || !stream->status)) {
		call_end(streams, stream, ns, "", false);
		return;
	}
	if (grpc_status == HTTP2_NO_GRPC_STATUS)
		grpc_status = grpc_of_http(stream->status);
	call_end_number(streams, stream, ns, grpc_status, grpc_status != 0);
}

/* gRPC over HTTP/2, "HTTP2 Transport Mapping, Errors". */
static uint8_t grpc_of_error(uint32_t code)
{
	switch (code) {
	case HTTP2_ERROR_REFUSED_STREAM:
		return GRPC_UNAVAILABLE;
	case HTTP2_ERROR_CANCEL:
		return GRPC_CANCELLED;
	case HTTP2_ERROR_ENHANCE_YOUR_CALM:
		return GRPC_RESOURCE_EXHAUSTED;
	case HTTP2_ERROR_INADEQUATE_SECURITY:
		return GRPC_PERMISSION_DENIED;
	default:
		return GRPC_INTERNAL;
	}
}

static const char *reset_word(uint32_t code)
{
	switch (code) {
	case HTTP2_ERROR_CANCEL:
		return "cancelled";
	case HTTP2_ERROR_REFUSED_STREAM:
		return "refused";
	default:
		return "reset";
	}
}

static void stream_reset(struct http2_streams *streams, struct http2_stream *stream, uint32_t code,
			 uint64_t ns)
{
	if (stream->is_doubtful) {
		/* most likely it had ended */
		protocol_forget(streams->calls, stream->id);
		stream_remove(streams, stream);
	} else if (stream->is_grpc) {
		call_end_number(streams, stream, ns, grpc_of_error(code), true);
	} else if (stream->status) {
		call_end_number(streams, stream, ns, stream->status,
				!stream->is_tunnel || stream->status >= 400);
	} else if (stream->has_response) {
		call_end(streams, stream, ns, "", !stream->is_tunnel);
	} else {
		call_end(streams, stream, ns, reset_word(code), true);
	}
}

void http2_streams_reset(struct http2_streams *streams, uint32_t id, uint32_t code, uint64_t ns)
{
	struct http2_stream *stream = stream_find(streams, id);

	if (stream)
		stream_reset(streams, stream, code, ns);
}

void http2_streams_refuse(struct http2_streams *streams, uint32_t last, uint64_t ns)
{
	while (streams->n && streams->streams[streams->n - 1].id > last)
		stream_reset(streams, &streams->streams[streams->n - 1], HTTP2_ERROR_REFUSED_STREAM,
			     ns);
}
