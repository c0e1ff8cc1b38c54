// SPDX-License-Identifier: Apache-2.0
/*
 * leadline health: asks the running agent for /health/detailed and prints each check. The exit code follows
 * the answer's HTTP status, so that it serves as exec probe and as a container's HEALTHCHECK.
 */
#include <curl/curl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "agent/buffer.h"
#include "agent/cli/cli.h"

/* An answer is some KiB; what is longer is not the agent's. */
#define MAX_ANSWER (4 * 1024 * 1024)

struct answer {
	struct buffer body;
	long status; /* 0: none */
	char error[CURL_ERROR_SIZE];
};

static size_t take_body(char *data, size_t size, size_t n, void *context)
{
	struct answer *answer = context;

	if (answer->body.size + size * n > MAX_ANSWER)
		return 0;
	buffer_append(&answer->body, data, size * n);
	return buffer_error(&answer->body) ? 0 : n;
}

/* Where a client finds what listens there: an agent that listens on all addresses is asked on this host's own. */
static void client_address(const char *listen, char *out, size_t size)
{
	const char *port = strrchr(listen, ':');
	size_t length = port ? (size_t)(port - listen) : 0;

	if (!length || strncmp(listen, "0.0.0.0", length) == 0)
		snprintf(out, size, "127.0.0.1%s", port ? port : "");
	else if (strncmp(listen, "[::]", length) == 0)
		snprintf(out, size, "[::1]%s", port);
	else
		snprintf(out, size, "%s", listen);
}

static void ask(const char *address, long timeout_ms, struct answer *answer)
{
	CURL *curl = curl_easy_init();
	char url[160], reason[CURL_ERROR_SIZE] = "";
	CURLcode code = CURLE_FAILED_INIT;

	snprintf(url, sizeof(url), "http://%s/health/detailed", address);
	if (curl) {
		curl_easy_setopt(curl, CURLOPT_URL, url);
		curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
		curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* whatever the environment says */
		curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
		curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout_ms);
		curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
		curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
		curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
		code = curl_easy_perform(curl);
	}
	if (code == CURLE_OK)
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
	else
		snprintf(answer->error, sizeof(answer->error), "%s",
			 reason[0] ? reason : curl_easy_strerror(code));
	curl_easy_cleanup(curl);
}

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

/* What came over the network goes to a terminal: nothing in it may steer that. */
static void print_text(FILE *out, const char *text)
{
	for (; *text; text++)
		fputc((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text, out);
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
		print_text(context->out, text_of(check, "message"));
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
	long timeout_ms = (long)(config_int(context->config, "health.timeout") / 1000000);
	struct answer answer = { 0 };
	char address[96], what[CURL_ERROR_SIZE + 128];
	json_t *report = NULL;
	int code = CLI_FAILED;

	client_address(config_string(context->config, "listen"), address, sizeof(address));
	ask(address, timeout_ms, &answer);
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
	buffer_free(&answer.body);
	return code;
}
