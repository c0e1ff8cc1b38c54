/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line: a const table of commands over one set of flags. A command is a function that
 * reads its context, writes to `out`, and returns an exit code. Each has its own file.
 */
#ifndef LEADLINE_CLI_H
#define LEADLINE_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include "agent/config.h"

enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,
	CLI_USAGE = 2, /* usage or configuration */
};

/* Flags of single commands that take a value. */
enum cli_value { CLI_PID, CLI_CONTAINER, CLI_CGROUP, CLI_FOR, CLI_TOP, CLI_SERVICE, CLI_VALUES };

struct cli_context {
	const char *const *arguments; /* after the command's name */
	size_t n_arguments;
	bool json;
	bool markdown;
	bool slow, once;
	bool measure;
	const char *values[CLI_VALUES]; /* NULL: not given */
	const struct config_request
		*request; /* what `config` was loaded from: load it again on reload */
	/*
	 * In force, never NULL for commands with CLI_CONFIG. Owned by the caller; a reload makes
	 * its own.
	 */
	const struct config *config;
	FILE *out; /* results */
	FILE *err; /* complaints, each line starting "leadline: " */
};

enum {
	CLI_JSON = 1 << 0, /* takes --json */
	CLI_MARKDOWN = 1 << 1, /* takes --markdown */
	CLI_CONFIG = 1 << 2, /* needs the configuration */
	CLI_ZOOM = 1 << 4, /* takes --pid, --container, --cgroup, --for, --top */
	CLI_REQUESTS = 1 << 5, /* takes --slow, --service, --once */
	CLI_MEASURE = 1 << 6, /* takes --measure */
	CLI_LOG = 1 << 3, /* logs as configured; other commands log warnings to standard error */
};

struct cli_command {
	const char *name; /* NULL ends a table; may be two words: "config show" */
	int (*run)(const struct cli_context *context);
	const char *arguments; /* for help: "[FILE]"; NULL: none */
	size_t max_arguments;
	unsigned flags; /* CLI_* */
	const char *summary;
};

extern const struct cli_command cli_commands[];

/* Parses the command line and runs the command. Returns the exit code. */
int cli_run(int argc, char **argv, const char *const *environment, FILE *out, FILE *err);

/* Loads a configuration; NULL after telling `err` all that is wrong with it. */
struct config *cli_load(const struct config_request *request, FILE *err);

int cli_agent(const struct cli_context *context);
int cli_doctor(const struct cli_context *context);
int cli_health(const struct cli_context *context);
int cli_requests(const struct cli_context *context);
int cli_metrics(const struct cli_context *context);
int cli_zoom(const struct cli_context *context);
int cli_config_check(const struct cli_context *context);
int cli_config_show(const struct cli_context *context);
int cli_config_sample(const struct cli_context *context);
int cli_man(const struct cli_context *context);
int cli_version(const struct cli_context *context);
int cli_help(const struct cli_context *context);

#endif
