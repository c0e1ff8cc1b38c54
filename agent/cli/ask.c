// SPDX-License-Identifier: Apache-2.0
/* Asks the running agent; see ask.h. */
#include <curl/curl.h>
#include <string.h>
#include "agent/cli/ask.h"

/* An answer is some KiB; what is longer is not the agent's. */
#define MAX_ANSWER (4 * 1024 * 1024)

_Static_assert(ASK_ERROR_SIZE >= CURL_ERROR_SIZE, "its reasons fit");

static size_t take_body(char *data, size_t size, size_t n, void *context)
{
	struct ask_answer *answer = context;

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

static void get(const char *url, long timeout_ms, struct ask_answer *answer)
{
	CURL *curl = curl_easy_init();
	char reason[CURL_ERROR_SIZE] = "";
	CURLcode code = CURLE_FAILED_INIT;

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

void ask_agent(const struct config *config, const char *path, char *ret_address,
	       struct ask_answer *ret_answer)
{
	long timeout_ms = (long)(config_int(config, "health.timeout") / 1000000);
	char url[256];

	*ret_answer = (struct ask_answer){ 0 };
	client_address(config_string(config, "listen"), ret_address, ASK_ADDRESS_SIZE);
	snprintf(url, sizeof(url), "http://%s%s", ret_address, path);
	get(url, timeout_ms, ret_answer);
}

void ask_answer_free(struct ask_answer *answer)
{
	buffer_free(&answer->body);
}

void ask_print_text(FILE *out, const char *text)
{
	for (; *text; text++)
		fputc((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text, out);
}
