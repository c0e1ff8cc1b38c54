/* SPDX-License-Identifier: Apache-2.0 */
/* How an event of the kernel side becomes the facts that are kept: slow_event.c for slow_requests.c. Loop thread only. */
#ifndef LEADLINE_SLOW_REQUESTS_INTERNAL_H
#define LEADLINE_SLOW_REQUESTS_INTERNAL_H

#include "agent/request_record.h"
#include "bpf/requests.h"
#include "bpf/slow_requests.h"
#include "probes/protocols/path_template.h"
#include "probes/request_waits.h"

/* Text of an address with port: "[" 45 characters "]:65535". */
/* An event read; what the facts point to is in here, so it is not to be copied. */
struct slow_event {
	struct requests_key key;
	struct request_record facts;
	struct request_wait waits[REQUEST_REASONS];
	char target[SLOW_REQUEST_LINE + 1];
	char route[PATH_TEMPLATE_SIZE];
	char status[8];
	char local[REQUEST_ADDRESS_SIZE], peer[REQUEST_ADDRESS_SIZE];
	char downstreams[REQUEST_MAX_DOWNSTREAMS][REQUEST_ADDRESS_SIZE];
	bool target_is_cut;
};

/* Any bytes: 0, or -EBADMSG and the event is not to be looked at. The route is left "". */
int slow_event_read(struct slow_event *event, const void *data, size_t size, unsigned max_entities,
		    uint64_t now_ns);

/* Of facts with a duration, where it went; what is not said to be anything else is unattributed. False: more than there is. */
bool slow_event_read_waits(struct slow_event *event, const struct request_detail *detail);
void slow_event_read_path(struct slow_event *event, const struct request_path *path);

/* The names of paths, by service: path_template.h. Bounded: services beyond have none. */
struct slow_paths;
struct slow_paths *slow_paths_new(void); /* NULL: no memory */
void slow_paths_free(struct slow_paths *paths); /* NULL is fine */
void slow_paths_forget(struct slow_paths *paths, uint32_t entity);
uint64_t slow_paths_bound(const struct slow_paths *paths);

void slow_event_name_route(struct slow_event *event, struct slow_paths *paths);

/* Takes a request that was slow enough to be told of. */
struct slow_requests;
void slow_requests_keep(struct slow_requests *slow, uint32_t entity, enum requests_role role,
			const struct request_record *facts);

#endif
