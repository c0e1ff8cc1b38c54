/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent answers over HTTP: the route table, and the few services of the core it stands on. The
 * core fills in the services, hands `agent_routes` and `struct routes` to the server (http.h), and sees
 * nothing of HTTP itself.
 */
#ifndef LEADLINE_ROUTES_H
#define LEADLINE_ROUTES_H

#include "agent/health.h"
#include "agent/http.h"
#include "agent/snapshot.h"

/* Called on the HTTP thread. */
struct agent_services {
	void *context;
	/* One reference, fresh if that can be had soon; NULL before the first collection. Waits, bounded. */
	struct snapshot *(*fresh_snapshot)(void *context);
	struct health_report *(*health)(void *context); /* one reference, or NULL */
	uint64_t (*uptime_ns)(void *context);
	uint64_t (*loop_age_ns)(void *context); /* since the loop last turned */
	/* Loads the configuration anew. 0, or -errno with a message for the user. Waits, bounded. */
	int (*reload)(void *context, char *error, size_t error_size);
	const char *rootfs; /* containers.rootfs, read by routes_new() only; NULL: the default */
};

struct routes;
struct config;

extern const struct http_route agent_routes[]; /* their context is a struct routes */

/* The services are copied. NULL when memory ran out. */
struct routes *routes_new(const struct agent_services *services);
/* Takes over what the configuration says about answers, the formats allowed; not kept. Any thread. */
void routes_configure(struct routes *routes, const struct config *config);
void routes_free(struct routes *routes); /* the server must have stopped; NULL is fine */
void routes_quiet(void *routes); /* for http_server_options::quiet */

#endif
