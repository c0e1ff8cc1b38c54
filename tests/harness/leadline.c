/* SPDX-License-Identifier: Apache-2.0 */
/* Starts, asks and stops the agent under test. */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <unistd.h>
#include "tests/harness/harness.h"

#define MAX_FLAGS 64

static const char *const probe_names[] = {
#define PROBE(name) #name,
#include "probes/probes.def"
#undef PROBE
};

static void free_strings(void *context)
{
	char **strings = context;

	for (size_t i = 0; strings[i]; i++)
		free(strings[i]);
	free(strings);
}

const char *leadline_binary(void)
{
	static char path[PATH_MAX + 32];
	const char *given = getenv("LEADLINE_BINARY");
	char self[PATH_MAX];
	ssize_t length;

	if (given && *given)
		return given;
	length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (length < 0)
		test_fail("/proc/self/exe: %s", strerror(errno));
	self[length] = '\0';
	/* build/tests/live/test_x → build/leadline */
	snprintf(path, sizeof(path), "%s/../../leadline", dirname(self));
	return path;
}

/* By itself, or with a file that may. */
static bool sets_budget(const char *const flags[])
{
	for (size_t i = 0; flags && flags[i]; i++)
		if (!strncmp(flags[i], "--budget", 8) || !strncmp(flags[i], "--config", 8))
			return true;
	return false;
}

struct leadline *leadline_spawn(const char *const flags[])
{
	struct leadline *leadline = calloc(1, sizeof(*leadline));
	char **arguments = calloc(MAX_FLAGS + 9, sizeof(*arguments));
	size_t n = 0;

	if (!leadline || !arguments)
		abort();
	cleanup_push(free, leadline);
	cleanup_push(free_strings, arguments);
	leadline->arguments = (const char *const *)arguments;
	leadline->port = free_port();
	leadline->log = write_file(temporary_directory(), "leadline.log", "");
	arguments[n++] = strdup(leadline_binary());
	arguments[n++] = strdup("agent");
	if (asprintf(&arguments[n++], "--listen=127.0.0.1:%d", leadline->port) < 0)
		abort();
	arguments[n++] = strdup("--interval=1s");
	arguments[n++] = strdup("--max_age=0s"); /* a scrape shows what was done before it */
	arguments[n++] = strdup("--log.format=plain");
	if (!sets_budget(flags))
		arguments[n++] = strdup("--budget=0"); /* exact counts, whatever else is going on */
	for (size_t i = 0; flags && flags[i]; i++) {
		if (i == MAX_FLAGS)
			test_fail("more than %d flags", MAX_FLAGS);
		arguments[n++] = strdup(flags[i]);
	}
	leadline_respawn(leadline);
	return leadline;
}

void leadline_respawn(struct leadline *leadline)
{
	if (access(leadline->arguments[0], X_OK))
		test_fail("%s: %s; build it with make", leadline->arguments[0], strerror(errno));
	leadline->pid = program_start(leadline->log, leadline->arguments);
}

static bool is_ready(struct leadline *leadline)
{
	struct answer *answer = leadline_fetch(leadline, NULL, "/health/ready", NULL, NULL);
	bool ready = answer->status == 200;

	answer_free(answer);
	return ready;
}

bool leadline_wait_ready(struct leadline *leadline, double seconds)
{
	bool ready = false;

	return WAIT_UNTIL((ready = is_ready(leadline)) || !leadline_alive(leadline), seconds) &&
	       ready;
}

struct leadline *leadline_start(const char *const flags[])
{
	struct leadline *leadline;

	require_root();
	leadline = leadline_spawn(flags);
	if (!leadline_wait_ready(leadline, 20)) {
		leadline_show_log(leadline);
		test_fail(leadline_alive(leadline) ? "leadline is not ready after 20 s"
						   : "leadline ended before it was ready");
	}
	return leadline;
}

struct leadline *leadline_start_only(const char *probes, const char *const flags[])
{
	static char disable[sizeof(probe_names) / sizeof(probe_names[0])][64];
	const char *all[MAX_FLAGS + 1];
	size_t n = 0;

	for (size_t i = 0; i < sizeof(probe_names) / sizeof(probe_names[0]); i++) {
		size_t length = strlen(probe_names[i]);
		const char *at = probes;
		bool wanted = false;

		while (!wanted && (at = strstr(at, probe_names[i]))) {
			wanted = (at == probes || at[-1] == ' ') &&
				 (at[length] == ' ' || !at[length]);
			at += length;
		}
		if (wanted)
			continue;
		snprintf(disable[i], sizeof(disable[i]), "--probes.%s.enabled=false",
			 probe_names[i]);
		all[n++] = disable[i];
	}
	for (size_t i = 0; flags && flags[i]; i++) {
		if (n == MAX_FLAGS)
			test_fail("more than %d flags", MAX_FLAGS);
		all[n++] = flags[i];
	}
	all[n] = NULL;
	return leadline_start(all);
}

struct leadline *leadline_shared(const char *probes)
{
	static struct leadline *shared;
	static const char *probes_of_shared;

	if (shared && !strcmp(probes, probes_of_shared) && leadline_alive(shared))
		return shared;
	cleanup_keep(true);
	shared = leadline_start_only(probes, NULL);
	cleanup_keep(false);
	probes_of_shared = probes;
	return shared;
}

bool leadline_alive(struct leadline *leadline)
{
	char path[64], *status;
	bool alive;

	snprintf(path, sizeof(path), "/proc/%d/status", leadline->pid);
	status = read_file(path);
	alive = *status && !strstr(status, "State:\tZ");
	free(status);
	return alive;
}

int leadline_signal(struct leadline *leadline, int signal_number, double seconds)
{
	return program_stop(leadline->pid, signal_number, seconds);
}

void leadline_stop(struct leadline *leadline)
{
	int code = leadline_signal(leadline, SIGTERM, 10);

	if (!code)
		return;
	leadline_show_log(leadline);
	test_fail(code == 124 ? "leadline did not end within 10 s of SIGTERM (exit %d)"
			      : "leadline exited with %d",
		  code);
}

void leadline_show_log(struct leadline *leadline)
{
	char *text = read_file(leadline->log), *at = text + strlen(text), *line;
	int lines = 0;

	while (at > text && lines <= 40)
		lines += *--at == '\n';
	if (lines > 40)
		at++;
	printf("# end of the log of leadline:\n");
	while ((line = strsep(&at, "\n")))
		if (*line)
			printf("#   %s\n", line);
	fflush(stdout);
	free(text);
}

bool leadline_logged(struct leadline *leadline, const char *text)
{
	char *log = read_file(leadline->log);
	bool found = strstr(log, text) != NULL;

	free(log);
	return found;
}

const char *leadline_url(const struct leadline *leadline, const char *path)
{
	static char url[1024];

	snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", leadline->port, path);
	return url;
}

struct answer *leadline_fetch(struct leadline *leadline, const char *method, const char *path,
			      const char *const headers[], const char *body)
{
	return fetch(method, leadline_url(leadline, path), headers, body);
}

struct page *leadline_scrape(struct leadline *leadline)
{
	struct answer *answer = leadline_fetch(leadline, NULL, "/metrics", NULL, NULL);
	struct page *page;
	char error[256];

	if (answer->status != 200) {
		leadline_show_log(leadline);
		test_fail("/metrics: status %ld %s %.200s", answer->status, answer->error,
			  answer->body);
	}
	page = page_parse(answer->body, error, sizeof(error));
	answer_free(answer);
	if (!page)
		test_fail("/metrics: %s", error);
	return page;
}

struct output *leadline_command(const char *const arguments[])
{
	const char *all[MAX_FLAGS + 2] = { leadline_binary() };
	size_t n = 1;

	for (size_t i = 0; arguments[i] && n <= MAX_FLAGS; i++)
		all[n++] = arguments[i];
	return run_program(30, all);
}
