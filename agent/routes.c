// SPDX-License-Identifier: Apache-2.0
/* What the agent answers over HTTP; see routes.h. HTTP thread. */
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "agent/page_cache.h"
#include "agent/requests_page.h"
#include "agent/routes.h"
#include "agent/version.h"
#include "agent/zoom_service.h"
#include "exporters/negotiate.h"

struct routes {
	struct agent_services services;
	_Atomic encoder_set offered; /* the loop thread changes it on reload */
	struct page_cache *pages;
	struct zoom_service *zoom;
	struct requests_page *requests;
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

struct routes *routes_new(const struct agent_services *services)
{
	struct routes *routes = calloc(1, sizeof(*routes));

	if (!routes)
		return NULL;
	routes->services = *services;
	routes_configure(routes, NULL);
	routes->pages = page_cache_new();
	routes->zoom = zoom_service_new(services->rootfs);
	routes->requests = requests_page_new();
	if (!routes->pages || !routes->zoom || !routes->requests) {
		routes_free(routes);
		return NULL;
	}
	return routes;
}

void routes_configure(struct routes *routes, const struct config *config)
{
	atomic_store_explicit(&routes->offered, encoders_offered(config), memory_order_relaxed);
}

void routes_free(struct routes *routes)
{
	if (!routes)
		return;
	requests_page_free(routes->requests);
	zoom_service_free(routes->zoom);
	page_cache_free(routes->pages);
	free(routes);
}

void routes_quiet(void *context)
{
	struct routes *routes = context;

	page_cache_drop(routes->pages);
	requests_page_expire(routes->requests, clock_ns(CLOCK_MONOTONIC));
#ifdef __GLIBC__
	malloc_trim(
		0); /* pages of megabytes leave holes that would otherwise stay resident until the next scrape */
#endif
}

/* ---- metrics ---- */

static void refuse_format(struct http_response *response, const struct encoder *encoder,
			  encoder_set offered)
{
	struct buffer names = { 0 };
	size_t i;

	if (encoder) {
		http_response_error(response, 400, "the format %s is not allowed; set %s to true",
				    encoder->name, encoder->enabled_by);
		return;
	}
	for (i = 0; i < n_encoders; i++)
		if (encoder_is_offered(offered, encoders[i]))
			buffer_printf(&names, "%s%s", i ? ", " : "", encoders[i]->name);
	buffer_char(&names, '\0');
	http_response_error(response, 400, "there is no such format; there are: %s",
			    buffer_error(&names) ? "" : names.data);
	buffer_free(&names);
}

static void refuse_yet(struct http_response *response)
{
	http_response_error(response, 503, "nothing has been collected yet; try again in a moment");
	http_response_header(response, "Retry-After", "1");
}

static void handle_metrics(void *context, const struct http_request *request,
			   struct http_response *response)
{
	struct routes *routes = context;
	const char *format = http_request_parameter(request, "format");
	encoder_set offered = atomic_load_explicit(&routes->offered, memory_order_relaxed);
	const struct encoder *encoder;
	struct snapshot *snapshot;
	bool gzip = negotiate_gzip(http_request_header(request, "Accept-Encoding"));

	encoder = format ? encoder_named(format)
			 : negotiate_encoder(http_request_header(request, "Accept"), offered);
	if (!encoder || !encoder_is_offered(offered, encoder)) {
		refuse_format(response, encoder, offered);
		return;
	}
	snapshot = routes->services.fresh_snapshot(routes->services.context);
	if (!snapshot) {
		refuse_yet(response);
		return;
	}
	response->shared = page_cache_get(routes->pages, snapshot, encoder, gzip);
	snapshot_put(snapshot);
	if (!response->shared) {
		http_response_error(response, 503, "out of memory");
		return;
	}
	response->content_type = encoder->content_type;
	http_response_header(response, "Vary", "Accept, Accept-Encoding");
	if (gzip)
		http_response_header(response, "Content-Encoding", "gzip");
}

/* ---- health ---- */

static struct health_moment health_now(const struct routes *routes)
{
	return (struct health_moment){
		.realtime_ns = clock_ns(CLOCK_REALTIME),
		.monotonic_ns = clock_ns(CLOCK_MONOTONIC),
		.uptime_ns = routes->services.uptime_ns(routes->services.context),
	};
}

typedef unsigned health_page_fn(const struct health_report *report,
				const struct health_moment *moment, struct buffer *out);

static void answer_health(const struct routes *routes, struct http_response *response,
			  health_page_fn *page)
{
	struct health_report *report = routes->services.health(routes->services.context);
	const struct health_moment moment = health_now(routes);

	response->content_type = "application/json";
	response->status = page(report, &moment, &response->body);
	health_report_put(report);
}

static void handle_health(void *context, const struct http_request *request,
			  struct http_response *response)
{
	answer_health(context, response, health_page);
}

static void handle_detailed(void *context, const struct http_request *request,
			    struct http_response *response)
{
	answer_health(context, response, health_page_detailed);
}

static void handle_system(void *context, const struct http_request *request,
			  struct http_response *response)
{
	answer_health(context, response, health_page_system);
}

static void handle_ready(void *context, const struct http_request *request,
			 struct http_response *response)
{
	answer_health(context, response, health_page_ready);
}

static void handle_live(void *context, const struct http_request *request,
			struct http_response *response)
{
	const struct routes *routes = context;
	struct health_report *report = routes->services.health(routes->services.context);
	const struct health_moment moment = health_now(routes);

	response->content_type = "application/json";
	response->status = health_page_live(report, &moment,
					    routes->services.loop_age_ns(routes->services.context),
					    &response->body);
	health_report_put(report);
}

/* ---- Prometheus' management API ---- */

/* The same answers in the one line that its users expect. */
static void say_plainly(struct http_response *response, const char *good, const char *bad)
{
	buffer_free(&response->body);
	response->content_type = "text/plain; charset=utf-8";
	buffer_string(&response->body, response->status == 200 ? good : bad);
}

static void handle_dash_healthy(void *context, const struct http_request *request,
				struct http_response *response)
{
	handle_live(context, request, response);
	say_plainly(response, "leadline is healthy.\n", "leadline's loop stands still.\n");
}

static void handle_dash_ready(void *context, const struct http_request *request,
			      struct http_response *response)
{
	handle_ready(context, request, response);
	say_plainly(response, "leadline is ready.\n", "leadline is not ready.\n");
}

/* Or refused. */
static bool is_local(const struct http_request *request, struct http_response *response)
{
	if (http_request_local(request))
		return true;
	http_response_error(response, 403,
			    "only a client on this host, not through a proxy, may do this");
	return false;
}

static void handle_reload(void *context, const struct http_request *request,
			  struct http_response *response)
{
	const struct routes *routes = context;
	char error[1024] = "";

	if (!is_local(request, response))
		return;
	if (routes->services.reload(routes->services.context, error, sizeof(error))) {
		http_response_error(response, 500,
				    "not reloaded, the old configuration stays in force: %s",
				    error);
		return;
	}
	response->content_type = "application/json";
	buffer_string(&response->body, "{\"status\":\"reloaded\"}\n");
}

/* ---- requests ---- */

#define DEFAULT_LIMIT 50

/* False: refused. */
static bool read_query(const struct http_request *request, struct requests_query *query,
		       struct http_response *response)
{
	const char *slow = http_request_parameter(request, "slow");
	const char *limit = http_request_parameter(request, "limit");
	char *end;

	*query = (struct requests_query){
		.filter.service = http_request_parameter(request, "service"),
		.filter.protocol = http_request_parameter(request, "protocol"),
		.has_services = !slow || strcmp(slow, "true") != 0,
		.has_slow = !slow || strcmp(slow, "false") != 0,
		.limit = DEFAULT_LIMIT,
	};
	if (slow && strcmp(slow, "true") != 0 && strcmp(slow, "false") != 0) {
		http_response_error(response, 400,
				    "slow is true (only the slow ones) or false (all but them)");
		return false;
	}
	if (!limit)
		return true;
	errno = 0;
	query->limit = (unsigned)strtoul(limit, &end, 10);
	if (*limit >= '0' && *limit <= '9' && !*end && !errno &&
	    strtoul(limit, NULL, 10) <= REQUESTS_PAGE_LIMIT)
		return true;
	http_response_error(response, 400, "limit is a number from 0 to %d", REQUESTS_PAGE_LIMIT);
	return false;
}

/* For this host only, as paths and addresses may be private. */
static void handle_requests(void *context, const struct http_request *request,
			    struct http_response *response)
{
	struct routes *routes = context;
	struct requests_query query;
	struct snapshot *snapshot;

	if (!is_local(request, response) || !read_query(request, &query, response))
		return;
	snapshot = routes->services.fresh_snapshot(routes->services.context);
	if (!snapshot) {
		refuse_yet(response);
		return;
	}
	response->content_type = "application/json";
	if (requests_page_write(routes->requests, snapshot, &query,
				routes->services.uptime_ns(routes->services.context),
				&response->body))
		http_response_error(response, 503, "out of memory");
	snapshot_put(snapshot);
}

/* ---- zoom ---- */

static void handle_zoom_start(void *context, const struct http_request *request,
			      struct http_response *response)
{
	struct routes *routes = context;
	char error[256] = "", location[32];
	const void *body;
	unsigned id = 0;
	size_t size;
	int err;

	if (!is_local(request, response))
		return;
	body = http_request_body(request, &size);
	err = zoom_service_start(routes->zoom, body, size, &id, error, sizeof(error));
	if (err) {
		http_response_error(response,
				    err == -EINVAL  ? 400
				    : err == -EBUSY ? 409
						    : 500,
				    "%s", error);
		return;
	}
	snprintf(location, sizeof(location), "/zoom/%u", id);
	response->status = 202;
	response->content_type = "application/json";
	http_response_header(response, "Location", location);
	buffer_printf(&response->body, "{\"id\":%u,\"state\":\"running\",\"location\":\"%s\"}\n",
		      id, location);
}

static void handle_zoom_result(void *context, const struct http_request *request,
			       struct http_response *response)
{
	struct routes *routes = context;
	const char *id = http_request_path(request) + strlen("/zoom/");

	if (!is_local(request, response))
		return;
	response->content_type = "application/json";
	if (zoom_service_describe(routes->zoom, id, &response->body))
		http_response_error(response, 404, "no such zoom; only the last one is kept");
}

/* ---- the page ---- */

static void handle_style(void *context, const struct http_request *request,
			 struct http_response *response)
{
	static const char style[] =
		":root{color-scheme:light dark;--line:#8884;--dim:#777}\n"
		"body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem}\n"
		"h1{font-size:1.6rem;margin:0}\n"
		"header p,footer{color:var(--dim);margin:.2rem 0 2rem}\n"
		"table{border-collapse:collapse;width:100%}\n"
		"td{padding:.45rem .8rem .45rem 0;border-top:1px solid var(--line);vertical-align:top}\n"
		"td:first-child{color:var(--dim);font:13px/1.8 ui-monospace,monospace;width:3.5rem}\n"
		"a,code{font:15px ui-monospace,monospace;white-space:nowrap}\n"
		"footer{margin-top:2rem;font-size:.9rem}\n";

	response->content_type = "text/css; charset=utf-8";
	buffer_append(&response->body, style, sizeof(style) - 1);
}

/* Paths and phrases are constants of the table below, free of markup. */
static void put_endpoint(struct buffer *out, const struct http_route *route)
{
	const bool link = !strcmp(route->method, "GET");

	buffer_printf(out, "<tr><td>%s</td><td>", route->method);
	if (link)
		buffer_printf(out, "<a href=\"%s\">%s</a>", route->path, route->path);
	else
		buffer_printf(out, "<code>%s</code>", route->path);
	buffer_printf(out, "</td><td>%s</td></tr>\n", route->help);
}

static void handle_index(void *context, const struct http_request *request,
			 struct http_response *response)
{
	struct buffer *out = &response->body;
	const struct http_route *route;

	response->content_type = "text/html; charset=utf-8";
	buffer_string(
		out,
		"<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
		"<meta name=\"viewport\" content=\"width=device-width\">\n<title>leadline</title>\n"
		"<link rel=\"stylesheet\" href=\"/style.css\">\n</head>\n"
		"<body>\n<header>\n<h1>leadline</h1>\n"
		"<p>What this host's kernel and programs are doing, measured in the kernel.</p>\n"
		"</header>\n<table>\n");
	for (route = agent_routes; route->path; route++)
		if (route->help)
			put_endpoint(out, route);
	buffer_printf(out, "</table>\n<footer>version %s</footer>\n</body>\n</html>\n",
		      leadline_version);
}

const struct http_route agent_routes[] = {
	{ "GET", "/metrics", handle_metrics,
	  "all metrics, as Prometheus text, OpenMetrics or protobuf; ?format=json for JSON" },
	{ "GET", "/requests", handle_requests,
	  "requests by service and route, and the slowest ones in detail; from this host only" },
	{ "GET", "/health", handle_health,
	  "how this host is, in one word: 200, or 503 when unhealthy" },
	{ "GET", "/health/detailed", handle_detailed,
	  "every check with its value, thresholds, and the probes" },
	{ "GET", "/health/system", handle_system,
	  "the checks of CPU, memory, disks and load only" },
	{ "GET", "/health/live", handle_live,
	  "whether the agent itself works: for a liveness probe" },
	{ "GET", "/health/ready", handle_ready,
	  "whether the probes are attached: for a readiness probe" },
	{ "GET", "/health/startup", handle_ready, "the same for a startup probe" },
	{ "GET", "/-/healthy", handle_dash_healthy,
	  "as /health/live, for tools that know Prometheus" },
	{ "GET", "/-/ready", handle_dash_ready, "as /health/ready, likewise" },
	{ "POST", "/-/reload", handle_reload, "reads the configuration anew; from this host only" },
	{ "PUT", "/-/reload", handle_reload, NULL },
	{ "POST", "/zoom", handle_zoom_start,
	  "looks closely at one program: {\"pid\": 1, \"seconds\": 30}; from this host only" },
	{ "GET", "/zoom/*", handle_zoom_result, NULL },
	{ "GET", "/", handle_index, NULL },
	{ "GET", "/style.css", handle_style, NULL },
	{ 0 },
};
