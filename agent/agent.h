/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent: puts the parts together, in the order of the data's flow, and takes them apart again. Everything here
 * runs on the loop thread; the HTTP thread gets at it through `struct agent_services` (routes.h) only.
 */
#ifndef LEADLINE_AGENT_H
#define LEADLINE_AGENT_H

#include <stddef.h>
#include "agent/config.h"

struct agent;

/* Sets the log up as configured. 0, or -errno of opening log.file, and then nothing has changed. */
int agent_log_init(const struct config *config);

/*
 * With the log set up, sets up everything else: capabilities, probes, HTTP. A probe that fails is logged and survived; -EADDRINUSE and the like
 * from the listener, and missing privileges or BTF, are not, and are explained in `error`.
 */
int agent_new(const struct config_request *request, const struct config *config,
	      struct agent **ret_agent, char *error, size_t error_size);
int agent_run(struct agent *agent); /* until SIGTERM or SIGINT; 0 or -errno */
void agent_free(struct agent *agent); /* leaves nothing in the kernel; NULL is fine */

#endif
