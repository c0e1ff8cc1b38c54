// SPDX-License-Identifier: Apache-2.0
/* What the requests probe exports. Names and labels are OpenTelemetry's where it has some. Only constants. */
#include <stddef.h>
#include "probes/request_waits.h"
#include "probes/requests_metrics.h"

/* The bounds of bpf/requests.h in seconds. */
static const double bounds[] = {
	.00001, .000025, .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025,
	.05,	.075,	 .1,	 .25,	.5,	.75,   1,    2.5,   5,	  7.5, 10,
};
_Static_assert(sizeof(bounds) / sizeof(bounds[0]) == REQUESTS_BOUNDS,
	       "the bounds are stated twice");

#define LABELS(...)                                                                                \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}
#define DIRECTION_AND(...)                                                                         \
	{                                                                                          \
		"direction", __VA_ARGS__                                                           \
	}

/* How many bytes that moved, by direction: "request" or "response". */
#define BYTES(name_, help_, labels_)                                                               \
	{                                                                                          \
		.name = (name_), .help = (help_), .unit = "bytes", .kind = METRIC_COUNTER,         \
		.per_entity = true, .labels = DIRECTION_AND(labels_),                              \
	}

/* How long something took, in the classic bounds above, and with it its worst of late. */
#define DURATION(name_, help_, labels_, worst_)                                                    \
	{                                                                                          \
		.name = (name_), .help = (help_), .unit = "seconds", .kind = METRIC_HISTOGRAM,     \
		.per_entity = true, .labels = labels_, .bounds = bounds,                           \
		.n_bounds = REQUESTS_BOUNDS, .worst = &(worst_),                                   \
	}
#define LONGEST(name_, help_, labels_)                                                             \
	{                                                                                          \
		.name = (name_), .help = (help_), .unit = "seconds", .kind = METRIC_GAUGE,         \
		.per_entity = true, .labels = labels_, .merges_by_max = true,                      \
	}

#define REQUEST_LABELS                                                                             \
	"http_request_method", "http_response_status_code", "error_type", "url_scheme",            \
		"http_route", "network_protocol_version"

static const struct metric_desc duration_max_metrics[REQUESTS_ROLES] = {
	[REQUESTS_SERVER] =
		LONGEST("leadline_http_server_request_duration_max_seconds",
			"The longest HTTP request served in this minute and the one before",
			LABELS(REQUEST_LABELS)),
	[REQUESTS_CLIENT] =
		LONGEST("leadline_http_client_request_duration_max_seconds",
			"The longest HTTP request made in this minute and the one before",
			LABELS(REQUEST_LABELS)),
};

const struct metric_desc requests_duration_metrics[REQUESTS_ROLES] = {
	[REQUESTS_SERVER] = DURATION(
		"http_server_request_duration_seconds",
		"HTTP requests served: from the arrival of the first byte to the last byte of the response",
		LABELS(REQUEST_LABELS), duration_max_metrics[REQUESTS_SERVER]),
	[REQUESTS_CLIENT] = DURATION(
		"http_client_request_duration_seconds",
		"HTTP requests made: from sending the first byte to the last byte of the response",
		LABELS(REQUEST_LABELS), duration_max_metrics[REQUESTS_CLIENT]),
};

const struct metric_desc requests_first_byte_metrics[REQUESTS_ROLES] = {
	[REQUESTS_SERVER] = {
		.name = "leadline_http_server_time_to_first_byte_seconds",
		.help = "HTTP requests served: from the arrival of the first byte to the first byte of the response",
		.unit = "seconds",
		.kind = METRIC_HISTOGRAM,
		.per_entity = true,
		.labels = { "http_request_method", "http_response_status_code" },
	},
	[REQUESTS_CLIENT] = {
		.name = "leadline_http_client_time_to_first_byte_seconds",
		.help = "HTTP requests made: from sending the first byte to the first byte of the response",
		.unit = "seconds",
		.kind = METRIC_HISTOGRAM,
		.per_entity = true,
		.labels = { "http_request_method", "http_response_status_code" },
	},
};

const struct metric_desc requests_in_flight_metric = {
	.name = "leadline_requests_in_flight",
	.help = "Requests that have no complete response yet",
	.kind = METRIC_GAUGE,
	.per_entity = true,
	.labels = { "role" },
};

const struct metric_desc requests_oldest_metric = {
	.name = "leadline_request_oldest_seconds",
	.help = "How long the oldest request in flight has been so; 0 when there is none",
	.unit = "seconds",
	.kind = METRIC_GAUGE,
	.per_entity = true,
	.labels = { "role" },
};

const struct metric_desc requests_connections_metric = {
	.name = "leadline_request_connections_total",
	.help = "Connections on which a request began, counted with their first: requests divided by these tell how far connections are used again",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "role", "protocol" },
};

const struct metric_desc requests_connect_metric = {
	.name = "leadline_request_connect_seconds_total",
	.help = "How long it took to open those connections of leadline_request_connections_total that were opened here, over TCP: the first request of each waited for it, beside its own duration",
	.unit = "seconds",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "role", "protocol" },
};

const struct metric_desc requests_bytes_metric = {
	.name = "leadline_socket_bytes_total",
	.help = "Bytes through TCP and unix stream sockets, and of names over UDP, by protocol, and whether they could be told apart into messages: if not, why. Of TLS the plain text, where it is to be had",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "protocol", "parsed", "reason" },
};

const struct metric_desc requests_exchange_metric = {
	.name = "leadline_exchange_duration_seconds",
	.help = "Exchanges on connections that speak no HTTP/1, as the turns tell: from the first byte of what a client says to the last of the answer. Requests sent "
		"before an answer are one. Needs no decoding, so it is all there is of TLS whose plain text is not to be had",
	.unit = "seconds",
	.kind = METRIC_HISTOGRAM,
	.per_entity = true,
	.labels = { "role", "protocol" },
};

/* ---- decoded calls ---- */

#define DATABASE_LABELS                                                                            \
	"db_system_name", "db_operation_name", "db_query_summary", "db_response_status_code",      \
		"error_type"

static const struct metric_desc database_max_metrics[REQUESTS_ROLES] = {
	[REQUESTS_SERVER] =
		LONGEST("leadline_db_server_operation_duration_max_seconds",
			"The longest database operation served in this minute and the one before",
			LABELS(DATABASE_LABELS)),
	[REQUESTS_CLIENT] = LONGEST(
		"leadline_db_client_operation_duration_max_seconds",
		"The longest database operation asked for in this minute and the one before",
		LABELS(DATABASE_LABELS)),
};

static const struct metric_desc database_metrics[REQUESTS_ROLES] = {
	[REQUESTS_SERVER] = DURATION(
		"leadline_db_server_operation_duration_seconds",
		"Database operations served: from the arrival of the first byte to the last byte of the response",
		LABELS(DATABASE_LABELS), database_max_metrics[REQUESTS_SERVER]),
	[REQUESTS_CLIENT] = DURATION(
		"db_client_operation_duration_seconds",
		"Database operations: from sending the first byte to the last byte of the response",
		LABELS(DATABASE_LABELS), database_max_metrics[REQUESTS_CLIENT]),
};

#define RPC_LABELS "rpc_system_name", "rpc_method", "rpc_response_status_code", "error_type"

static const struct metric_desc rpc_max_metrics[REQUESTS_ROLES] = {
	[REQUESTS_SERVER] = LONGEST(
		"leadline_rpc_server_call_duration_max_seconds",
		"The longest remote procedure call served in this minute and the one before",
		LABELS(RPC_LABELS)),
	[REQUESTS_CLIENT] =
		LONGEST("leadline_rpc_client_call_duration_max_seconds",
			"The longest remote procedure call made in this minute and the one before",
			LABELS(RPC_LABELS)),
};

static const struct metric_desc rpc_metrics[REQUESTS_ROLES] = {
	[REQUESTS_SERVER] = DURATION(
		"rpc_server_call_duration_seconds",
		"Remote procedure calls served: from the arrival of the first byte to the last byte of the response",
		LABELS(RPC_LABELS), rpc_max_metrics[REQUESTS_SERVER]),
	[REQUESTS_CLIENT] = DURATION(
		"rpc_client_call_duration_seconds",
		"Remote procedure calls made: from sending the first byte to the last byte of the response",
		LABELS(RPC_LABELS), rpc_max_metrics[REQUESTS_CLIENT]),
};

#define NAMES_LABELS "dns_question_type", "dns_response_code", "error_type"

static const struct metric_desc names_max_metrics[REQUESTS_ROLES] = {
	[REQUESTS_SERVER] = LONGEST("leadline_dns_server_lookup_duration_max_seconds",
				    "The longest lookup served in this minute and the one before",
				    LABELS(NAMES_LABELS)),
	[REQUESTS_CLIENT] =
		LONGEST("leadline_dns_lookup_duration_max_seconds",
			"The longest lookup of a name in this minute and the one before",
			LABELS(NAMES_LABELS)),
};

static const struct metric_desc names_metrics[REQUESTS_ROLES] = {
	[REQUESTS_SERVER] = DURATION(
		"leadline_dns_server_lookup_duration_seconds",
		"Names looked up for others, by the type asked for: from the query to the response",
		LABELS(NAMES_LABELS), names_max_metrics[REQUESTS_SERVER]),
	[REQUESTS_CLIENT] =
		DURATION("dns_lookup_duration_seconds",
			 "Names looked up, by the type asked for: from the query to the response",
			 LABELS(NAMES_LABELS), names_max_metrics[REQUESTS_CLIENT]),
};

static const struct metric_desc http_bytes_metrics[REQUESTS_ROLES] = {
	[REQUESTS_SERVER] = BYTES(
		"leadline_http_server_message_bytes_total",
		"HTTP requests served and their responses, all that was transferred of them: heads, bodies and their framing",
		REQUEST_LABELS),
	[REQUESTS_CLIENT] = BYTES(
		"leadline_http_client_message_bytes_total",
		"HTTP requests made and their responses, all that was transferred of them: heads, bodies and their framing",
		REQUEST_LABELS),
};

static const struct metric_desc database_bytes_metrics[REQUESTS_ROLES] = {
	[REQUESTS_SERVER] = BYTES("leadline_db_server_operation_bytes_total",
				  "Messages of database operations served, and of their responses",
				  DATABASE_LABELS),
	[REQUESTS_CLIENT] =
		BYTES("leadline_db_client_operation_bytes_total",
		      "Messages of database operations, and of their responses", DATABASE_LABELS),
};

static const struct metric_desc rpc_bytes_metrics[REQUESTS_ROLES] = {
	[REQUESTS_SERVER] = BYTES(
		"leadline_rpc_server_call_bytes_total",
		"Remote procedure calls served and their responses, all that was transferred of them: heads, messages and their framing",
		RPC_LABELS),
	[REQUESTS_CLIENT] = BYTES(
		"leadline_rpc_client_call_bytes_total",
		"Remote procedure calls made and their responses, all that was transferred of them: heads, messages and their framing",
		RPC_LABELS),
};

static const struct metric_desc names_bytes_metrics[REQUESTS_ROLES] = {
	[REQUESTS_SERVER] = BYTES("leadline_dns_server_lookup_bytes_total",
				  "Queries of names served, and their responses", NAMES_LABELS),
	[REQUESTS_CLIENT] = BYTES("leadline_dns_lookup_bytes_total",
				  "Queries of names, and their responses", NAMES_LABELS),
};

const struct metric_desc *requests_call_metric(enum protocol_family family, enum requests_role role)
{
	static const struct metric_desc *const metrics[] = {
		[PROTOCOL_DATABASE] = database_metrics,
		[PROTOCOL_HTTP] = requests_duration_metrics,
		[PROTOCOL_RPC] = rpc_metrics,
		[PROTOCOL_NAMES] = names_metrics,
	};

	return &metrics[family][role];
}

const struct metric_desc *requests_call_bytes_metric(enum protocol_family family,
						     enum requests_role role)
{
	static const struct metric_desc *const metrics[] = {
		[PROTOCOL_DATABASE] = database_bytes_metrics,
		[PROTOCOL_HTTP] = http_bytes_metrics,
		[PROTOCOL_RPC] = rpc_bytes_metrics,
		[PROTOCOL_NAMES] = names_bytes_metrics,
	};

	return &metrics[family][role];
}

void requests_write_bytes(struct metric_writer *writer, const struct metric_desc *metric,
			  uint32_t entity, const char *const labels[], size_t n,
			  uint64_t request_bytes, uint64_t response_bytes)
{
	const char *all[METRIC_MAX_LABELS] = { 0 };

	for (size_t i = 0; i < n; i++)
		all[i + 1] = labels[i];
	all[0] = "request";
	if (request_bytes)
		metric_write(writer, metric, entity, all, (double)request_bytes);
	all[0] = "response";
	if (response_bytes)
		metric_write(writer, metric, entity, all, (double)response_bytes);
}

void requests_write_connections(struct metric_writer *writer, uint32_t entity,
				const char *const labels[], uint64_t connections,
				uint64_t connect_ns)
{
	if (connections)
		metric_write(writer, &requests_connections_metric, entity, labels,
			     (double)connections);
	if (connect_ns)
		metric_write(writer, &requests_connect_metric, entity, labels,
			     (double)connect_ns / 1e9);
}

#define BOTH(metrics) &(metrics)[REQUESTS_SERVER], &(metrics)[REQUESTS_CLIENT]

const struct metric_desc *const requests_metrics[] = {
	BOTH(requests_duration_metrics),   BOTH(duration_max_metrics), BOTH(http_bytes_metrics),
	BOTH(requests_first_byte_metrics), BOTH(database_metrics),     BOTH(database_max_metrics),
	BOTH(database_bytes_metrics),	   BOTH(rpc_metrics),	       BOTH(rpc_max_metrics),
	BOTH(rpc_bytes_metrics),	   BOTH(names_metrics),	       BOTH(names_max_metrics),
	BOTH(names_bytes_metrics),	   &requests_exchange_metric,  &request_waits_metric,
	&requests_in_flight_metric,	   &requests_oldest_metric,    &requests_connections_metric,
	&requests_connect_metric,	   &requests_bytes_metric,     NULL,
};
