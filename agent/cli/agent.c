// SPDX-License-Identifier: Apache-2.0
/* leadline agent: runs in the foreground until it is told to stop. */
#include "agent/agent.h"
#include "agent/cli/cli.h"
#include "agent/log.h"
#include <string.h>

int cli_agent(const struct cli_context *context)
{
	char error[512] = "";
	struct agent *agent;
	int err = agent_new(context->request, context->config, &agent, error, sizeof(error));

	if (err) {
		fprintf(context->err, "leadline: %s\n", error[0] ? error : strerror(-err));
		return CLI_FAILED;
	}
	err = agent_run(agent);
	if (err)
		log_critical("agent", "the loop has failed: %s", strerror(-err));
	agent_free(agent);
	return err ? CLI_FAILED : CLI_OK;
}
