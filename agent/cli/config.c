/* SPDX-License-Identifier: Apache-2.0 */
/* `leadline config check | show | sample`. */
#include <stdio.h>
#include <string.h>
#include "agent/cli/cli.h"

static int print(const struct cli_context *context, struct buffer *text)
{
	int code = CLI_OK;

	if (buffer_error(text)) {
		fprintf(context->err, "leadline: out of memory\n");
		code = CLI_FAILED;
	} else if (text->size) {
		fwrite(text->data, 1, text->size, context->out);
	}
	buffer_free(text);
	return code;
}

struct tally {
	const struct config *config;
	unsigned n_set; /* elsewhere than by default */
};

static void tally_option(void *context, const char *key, const struct option_desc *desc)
{
	struct tally *tally = context;

	tally->n_set += config_source(tally->config, key) != CONFIG_DEFAULT;
}

/* Loads as the agent would, environment and flags included. */
int cli_config_check(const struct cli_context *context)
{
	struct config_request request = *context->request;
	struct tally tally = { 0 };
	struct config *config;

	if (context->n_arguments)
		request.path = context->arguments[0];
	config = cli_load(&request, context->err);
	if (!config)
		return CLI_USAGE;
	tally.config = config;
	config_visit(request.tables, tally_option, &tally);
	fprintf(context->out, "%s: fine, %u setting%s given\n",
		config_path(config) ? config_path(config) : "no configuration file", tally.n_set,
		tally.n_set == 1 ? "" : "s");
	config_free(config);
	return CLI_OK;
}

int cli_config_show(const struct cli_context *context)
{
	struct buffer text = { 0 };

	config_dump(context->config, &text);
	return print(context, &text);
}

int cli_config_sample(const struct cli_context *context)
{
	struct buffer text = { 0 };

	config_sample(context->request->tables, &text);
	return print(context, &text);
}
