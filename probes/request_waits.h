/* SPDX-License-Identifier: Apache-2.0 */
/* Where the time of served requests went, by entity: the kernel side's rows (bpf/slow_requests.h) into series. Loop thread only. */
#ifndef LEADLINE_REQUEST_WAITS_H
#define LEADLINE_REQUEST_WAITS_H

#include "agent/metric.h"
#include "bpf/slow_requests.h"

/* Labels: reason. */
extern const struct metric_desc request_waits_metric;

/* Of an enum wait_reason or enum request_reason: "disk", "socket_queue". NULL beyond. */
const char *request_reason_name(unsigned reason);

/* `rows`: lanes * entities, by lane. Nothing is written of an entity that has served none. */
void request_waits_write(const struct request_waits *rows, unsigned lanes, unsigned entities,
			 struct metric_writer *writer);
void request_waits_forget(struct request_waits *rows, unsigned lanes, unsigned entities,
			  uint32_t entity);

#endif
