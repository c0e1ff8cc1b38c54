/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `leadline help` and `leadline version`: the commands from their table, the flags by argp from the
 * descriptors.
 */
#include <stdio.h>
#include <stdlib.h>
#include <argp.h>
#include <bpf/libbpf.h>
#include "agent/cli/cli.h"
#include "agent/cli/flags.h"
#include "agent/version.h"

/* Fits 100 columns, the texts of the flags in one column. */
#define HELP_FORMAT "rmargin=100,opt-doc-col=46,no-dup-args-note"

int cli_help(const struct cli_context *context)
{
	struct flags flags;
	struct argp argp = { 0 };

	if (flags_create(&flags, context->request->tables)) {
		fprintf(context->err, "leadline: out of memory\n");
		return CLI_FAILED;
	}
	fprintf(context->out, "Usage: leadline [COMMAND] [FLAG…]\n\n"
			      "Kernel-level observability of this host and its programs.\n\n");
	for (const struct cli_command *command = cli_commands; command->name; command++)
		fprintf(context->out, "  %-13s %-6s %s\n", command->name,
			command->arguments ? command->arguments : "", command->summary);
	fputc('\n', context->out);
	setenv("ARGP_HELP_FMT", HELP_FORMAT, 0);
	argp.options = flags.options;
	argp_help(&argp, context->out, ARGP_HELP_LONG, (char *)"leadline");
	fprintf(context->out, "\nExit codes: 0 fine, 1 failed, 2 usage or configuration.\n");
	flags_destroy(&flags);
	return CLI_OK;
}

int cli_version(const struct cli_context *context)
{
	if (context->json)
		fprintf(context->out,
			"{\"version\":\"%s\",\"commit\":\"%s\",\"libbpf\":\"%s\",\"compiler\":\"%s\"}\n",
			leadline_version, leadline_commit, libbpf_version_string(),
			leadline_compiler);
	else
		fprintf(context->out, "leadline %s (commit %s, libbpf %s, compiler %s)\n",
			leadline_version, leadline_commit, libbpf_version_string(),
			leadline_compiler);
	return CLI_OK;
}
