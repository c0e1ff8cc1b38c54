// SPDX-License-Identifier: Apache-2.0
/* Where the time of served requests went; see request_waits.h. */
#include <string.h>
#include "probes/request_waits.h"

const struct metric_desc request_waits_metric = {
	.name = "leadline_request_wait_seconds_total",
	.help = "Where the time of served HTTP requests went, from arrival to the last byte of the response: reasons sum to their durations. unattributed: another thread answered than the one that read, or it served others meanwhile",
	.unit = "seconds",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "reason" },
};

static const char *const names[REQUEST_REASONS] = {
#define X(name, label) [WAIT_##name] = label,
	WAIT_REASONS(X)
#undef X
		[REQUEST_SOCKET_QUEUE] = "socket_queue",
	[REQUEST_RUN_QUEUE] = "run_queue",
	[REQUEST_ON_CPU] = "on_cpu",
	[REQUEST_UNATTRIBUTED] = "unattributed",
};

const char *request_reason_name(unsigned reason)
{
	return reason < REQUEST_REASONS ? names[reason] : NULL;
}

void request_waits_write(const struct request_waits *rows, unsigned lanes, unsigned entities,
			 struct metric_writer *writer)
{
	for (uint32_t entity = 0; entity < entities; entity++)
		for (unsigned reason = 0; reason < REQUEST_REASONS; reason++) {
			uint64_t ns = 0;

			for (unsigned lane = 0; lane < lanes; lane++)
				ns += __atomic_load_n(
					&rows[(size_t)lane * entities + entity].reasons_ns[reason],
					__ATOMIC_RELAXED);
			if (ns)
				metric_write(writer, &request_waits_metric, entity,
					     (const char *const[]){ names[reason] },
					     (double)ns / 1e9);
		}
}

void request_waits_forget(struct request_waits *rows, unsigned lanes, unsigned entities,
			  uint32_t entity)
{
	for (unsigned lane = 0; lane < lanes && entity < entities; lane++)
		memset(&rows[(size_t)lane * entities + entity], 0, sizeof(*rows));
}
