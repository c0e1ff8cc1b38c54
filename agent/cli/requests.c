// SPDX-License-Identifier: Apache-2.0
/*
 * leadline requests: asks the running agent for /requests; on a terminal a table that is refreshed every second until Ctrl-C, elsewhere
 * one print.
 */
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <curl/curl.h>
#include "agent/cli/ask.h"
#include "agent/cli/cli.h"
#include "agent/cli/requests.h"
#include "agent/json_stream.h"

#define INTERVAL_MS 1000
#define PATH_SIZE   1024

static int make_path(const struct cli_context *context, char path[PATH_SIZE])
{
	const char *service = context->values[CLI_SERVICE];
	char *escaped = service ? curl_easy_escape(NULL, service, (int)strlen(service)) : NULL;
	int length = snprintf(path, PATH_SIZE, "/requests?slow=%s&limit=%d%s%s",
			      context->slow ? "true" : "false", 100, escaped ? "&service=" : "",
			      escaped ? escaped : "");

	curl_free(escaped);
	if (length < PATH_SIZE && (!service || escaped))
		return CLI_OK;
	fprintf(context->err, "leadline: --service: too long\n");
	return CLI_USAGE;
}

static int complain(const struct cli_context *context, const char *address,
		    const struct ask_answer *answer, const json_t *page)
{
	const char *error = json_text(page, "error");

	fprintf(context->err, "leadline: the agent at %s ", address);
	if (!answer->status) {
		fprintf(context->err,
			"does not answer: %s; is it running, and does it listen there (option listen)?",
			answer->error);
	} else if (error) {
		fputs("refuses: ", context->err);
		ask_print_text(context->err, error);
	} else {
		fprintf(context->err, "gave an answer that is not leadline's: HTTP status %ld",
			answer->status);
	}
	fputc('\n', context->err);
	return CLI_FAILED;
}

/* An answer and what it says. */
struct page {
	struct ask_answer answer;
	json_t *json;
};

/* CLI_OK, or CLI_FAILED after a complaint. page_free() in any case. */
static int page_ask(struct page *page, const struct cli_context *context, const char *path)
{
	const struct buffer *body = &page->answer.body;
	char address[ASK_ADDRESS_SIZE];

	page->json = NULL;
	ask_agent(context->config, path, address, &page->answer);
	if (page->answer.status && body->size)
		page->json = json_loadb(body->data, body->size, 0, NULL);
	if (page->answer.status != 200 || !json_is_object(page->json))
		return complain(context, address, &page->answer, page->json);
	return CLI_OK;
}

static void page_free(struct page *page)
{
	json_decref(page->json);
	ask_answer_free(&page->answer);
}

static void page_print(const struct page *page, const struct cli_context *context,
		       const struct requests_screen *screen)
{
	const struct buffer *body = &page->answer.body;

	if (context->json)
		fwrite(body->data, 1, body->size, context->out);
	else if (context->slow)
		requests_print_slow(page->json, screen);
	else
		requests_print_routes(page->json, screen);
}

/* Rates need two looks; what is slow, one. */
static int print_once(const struct cli_context *context, const char *path)
{
	const struct requests_screen screen = { .out = context->out };
	struct page page;
	int code = page_ask(&page, context, path);

	if (code == CLI_OK && !context->slow) {
		page_free(&page);
		poll(NULL, 0, INTERVAL_MS);
		code = page_ask(&page, context, path);
	}
	if (code == CLI_OK)
		page_print(&page, context, &screen);
	page_free(&page);
	return code;
}

/* ---- on a terminal ---- */

static struct requests_screen measure(const struct cli_context *context, int fd)
{
	struct requests_screen screen = { .out = context->out, .rows = 24, .columns = 80 };
	struct winsize size;

	if (!ioctl(fd, TIOCGWINSZ, &size) && size.ws_row && size.ws_col) {
		screen.rows = size.ws_row;
		screen.columns = size.ws_col;
	}
	screen.rows -= screen.rows > 2 ? 2 : 0; /* a line above, and the cursor's */
	return screen;
}

static void draw(const struct cli_context *context, const struct page *page, int fd)
{
	const struct requests_screen screen = measure(context, fd);
	const char *service = context->values[CLI_SERVICE];

	fputs("\033[H\033[J", context->out); /* cursor home, clear */
	fprintf(context->out, "leadline requests%s", context->slow ? ", the slowest" : "");
	if (!context->slow)
		fprintf(context->out, " of the last %.0f s",
			json_number_value(json_object_get(page->json, "seconds")));
	if (service) {
		fputs(", ", context->out);
		ask_print_text(context->out, service);
	}
	fputs("; Ctrl-C ends it\n", context->out);
	page_print(page, context, &screen);
	fflush(context->out);
}

static int show_live(const struct cli_context *context, const char *path, int fd)
{
	struct pollfd signals = { .events = POLLIN };
	sigset_t set, before;
	int code = CLI_OK;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, &before);
	signals.fd = signalfd(-1, &set, SFD_CLOEXEC);
	do {
		struct page page;

		code = page_ask(&page, context, path);
		if (code == CLI_OK)
			draw(context, &page, fd);
		page_free(&page);
	} while (code == CLI_OK && poll(&signals, 1, INTERVAL_MS) == 0);
	if (signals.fd >= 0) {
		struct signalfd_siginfo taken;

		/* it must not end the process once it is let through again */
		if (signals.revents && read(signals.fd, &taken, sizeof(taken)) < 0)
			code = CLI_FAILED;
		close(signals.fd);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return code;
}

int cli_requests(const struct cli_context *context)
{
	int fd = fileno(context->out), code;
	char path[PATH_SIZE];

	code = make_path(context, path);
	if (code)
		return code;
	if (context->once || context->json || fd < 0 || !isatty(fd))
		return print_once(context, path);
	return show_live(context, path, fd);
}
