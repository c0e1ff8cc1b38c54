// SPDX-License-Identifier: Apache-2.0
/*
 * leadline health: asks the running agent for /health/detailed and prints each check. The exit code follows
 * the answer's HTTP status, so that it serves as exec probe and as a container's HEALTHCHECK.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "agent/cli/ask.h"
#include "agent/cli/cli.h"

/* ---- text ---- */

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "?";
}

/* A status padded to the longest, in colour on a terminal. */
static void print_status(const struct cli_context *context, const char *status, bool colour)
{
	static const struct {
		const char *status, *escape;
	} colours[] = { { "healthy", "\033[32m" },
			{ "degraded", "\033[33m" },
			{ "unhealthy", "\033[31m" } };
	const char *escape = "";

	for (size_t i = 0; colour && i < sizeof(colours) / sizeof(colours[0]); i++) {
		if (strcmp(status, colours[i].status) == 0)
			escape = colours[i].escape;
	}
	fprintf(context->out, "%s%-9s%s", escape, status, escape[0] ? "\033[0m" : "");
}

static void print_report(const struct cli_context *context, const json_t *report)
{
	const json_t *checks = json_object_get(report, "checks"), *check;
	int fd = fileno(context->out);
	bool colour = fd >= 0 && isatty(fd) && !getenv("NO_COLOR");
	size_t i, width = strlen("overall");

	json_array_foreach(checks, i, check)
	{
		if (strlen(text_of(check, "name")) > width)
			width = strlen(text_of(check, "name"));
	}
	print_status(context, text_of(report, "status"), colour);
	fputs("  overall\n", context->out);
	json_array_foreach(checks, i, check)
	{
		print_status(context, text_of(check, "status"), colour);
		fprintf(context->out, "  %-*s  ", (int)width, text_of(check, "name"));
		ask_print_text(context->out, text_of(check, "message"));
		fputc('\n', context->out);
	}
}

/* ---- the command ---- */

static int complain(const struct cli_context *context, const char *address, const char *what)
{
	fprintf(context->err, "leadline: the agent at %s %s\n", address, what);
	if (context->json) {
		json_t *report = json_pack("{s:s, s:s, s:s}", "status", "unknown", "agent", address,
					   "error", what);

		json_dumpf(report, context->out, JSON_COMPACT);
		fputc('\n', context->out);
		json_decref(report);
	}
	return CLI_FAILED;
}

int cli_health(const struct cli_context *context)
{
	struct ask_answer answer;
	char address[ASK_ADDRESS_SIZE], what[ASK_ERROR_SIZE + 128];
	json_t *report = NULL;
	int code = CLI_FAILED;

	ask_agent(context->config, "/health/detailed", address, &answer);
	if (answer.status)
		report = json_loadb(answer.body.data ? answer.body.data : "", answer.body.size, 0,
				    NULL);
	if (!answer.status) {
		snprintf(what, sizeof(what),
			 "does not answer: %s; is it running, and does it listen there "
			 "(option listen)?",
			 answer.error);
		complain(context, address, what);
	} else if (!json_is_object(report) || (answer.status != 200 && answer.status != 503)) {
		snprintf(what, sizeof(what),
			 "gave an answer that is not leadline's: HTTP status %ld", answer.status);
		complain(context, address, what);
	} else {
		if (context->json)
			fwrite(answer.body.data, 1, answer.body.size, context->out);
		else
			print_report(context, report);
		code = answer.status == 200 ? CLI_OK : CLI_FAILED;
	}
	json_decref(report);
	ask_answer_free(&answer);
	return code;
}
