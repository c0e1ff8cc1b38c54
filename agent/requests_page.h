/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /requests: requests by service and route, and the slowest ones in detail, as JSON. Keeps references to up to two earlier
 * snapshots, so that rates are those of the last seconds while somebody looks. HTTP thread.
 */
#ifndef LEADLINE_REQUESTS_PAGE_H
#define LEADLINE_REQUESTS_PAGE_H

#include "agent/buffer.h"
#include "agent/requests_table.h"

#define REQUESTS_PAGE_LIMIT 1000 /* of slow requests on a page */

struct requests_page;

struct requests_page *requests_page_new(void); /* NULL: no memory */
void requests_page_free(struct requests_page *page); /* NULL is fine */

struct requests_query {
	struct requests_filter filter;
	bool has_services, has_slow; /* which parts are wanted */
	unsigned limit; /* of slow ones, the slowest first */
};

/* uptime_ns: of the agent, for what is counted since the beginning. 0 or -ENOMEM. */
int requests_page_write(struct requests_page *page, struct snapshot *snapshot,
			const struct requests_query *query, uint64_t uptime_ns, struct buffer *out);
/* Lets go of snapshots that are too old to compare with. */
void requests_page_expire(struct requests_page *page, uint64_t monotonic_ns);

#endif
