/* SPDX-License-Identifier: Apache-2.0 */
/* Starts and stops an nginx for tests. */
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include "tests/harness/harness.h"

static bool pid_written(const struct nginx *nginx)
{
	char path[4200], *text;
	bool written;

	snprintf(path, sizeof(path), "%s/nginx.pid", nginx->directory);
	text = read_file(path);
	written = atoi(text) == nginx->pid;
	free(text);
	return written;
}

struct nginx *nginx_start(const char *listen, const char *server)
{
	return nginx_start_with(listen, "", server);
}

struct nginx *nginx_start_with(const char *listen, const char *options, const char *server)
{
	struct nginx *nginx = calloc(1, sizeof(*nginx));
	char *config = NULL, *log = NULL, *files = NULL;
	const char *path;

	require_program("nginx");
	if (!nginx)
		abort();
	cleanup_push(free, nginx);
	nginx->port = free_port();
	snprintf(nginx->host, sizeof(nginx->host), "%s", listen ? listen : "127.0.0.1");
	nginx->directory = temporary_directory();
	if (asprintf(&files, "%s/files", nginx->directory) < 0 ||
	    asprintf(&log, "%s/access.log", nginx->directory) < 0)
		abort();
	if (mkdir(files, 0755))
		test_fail("%s: %s", files, strerror(errno));
	free(files);
	cleanup_push(free, log);
	nginx->access_log = log;
	if (asprintf(
		    &config,
		    "daemon off; master_process off; pid nginx.pid; error_log error.log;\n"
		    "events { worker_connections 512; }\n"
		    "http {\n"
		    "  log_format short '$status $request_method $request_uri $request_time $request_length $bytes_sent';\n"
		    "  access_log access.log short;\n"
		    "  default_type text/plain; keepalive_requests 1000000; client_max_body_size 0;\n"
		    "  client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp;\n"
		    "  uwsgi_temp_path temp; scgi_temp_path temp;\n"
		    "  server {\n"
		    "    listen %s:%d %s;\n"
		    "    root %s;\n"
		    "    location = / { return 200 \"ok\\n\"; }\n"
		    "    location = /status/204 { return 204; }\n"
		    "    location = /status/301 { return 301 /; }\n"
		    "    location = /status/404 { return 404; }\n"
		    "    location = /status/500 { return 500; }\n"
		    "    location = /stub { stub_status; }\n"
		    "    %s\n"
		    "  }\n"
		    "}\n",
		    nginx->host, nginx->port, options, nginx->directory, server ? server : "") < 0)
		abort();
	path = write_file(nginx->directory, "nginx.conf", config);
	free(config);
	nginx->pid = program_start(
		write_file(nginx->directory, "output.log", ""),
		(const char *const[]){ "nginx", "-p", nginx->directory, "-c", path, NULL });
	/* It writes its pid once it listens. */
	if (!WAIT_UNTIL(pid_written(nginx), 10))
		test_fail("nginx does not listen");
	return nginx;
}

void nginx_stop(struct nginx *nginx)
{
	int code = program_stop(nginx->pid, SIGQUIT, 10);

	if (code)
		test_fail("nginx exited with %d", code);
}

const char *nginx_url(const struct nginx *nginx, const char *path)
{
	static char url[1024];

	snprintf(url, sizeof(url), "http://%s:%d%s", nginx->host, nginx->port, path);
	return url;
}

unsigned long nginx_requests(const struct nginx *nginx)
{
	char *text = read_file(nginx->access_log);
	unsigned long lines = 0;

	for (const char *at = text; (at = strchr(at, '\n')); at++)
		lines++;
	free(text);
	return lines;
}

void nginx_expect_requests(const struct nginx *nginx, unsigned long expected)
{
	if (!WAIT_UNTIL(nginx_requests(nginx) >= expected, 10) || nginx_requests(nginx) != expected)
		test_fail("nginx has logged %lu requests, not %lu", nginx_requests(nginx),
			  expected);
}

void nginx_bytes(const struct nginx *nginx, const char *uri, double *ret_received, double *ret_sent)
{
	char *text = read_file(nginx->access_log), *rest = text, *line;

	*ret_received = *ret_sent = 0;
	while ((line = strsep(&rest, "\n")) && *line) {
		char asked[512];
		double received, sent;

		if (sscanf(line, "%*s %*s %511s %*s %lf %lf", asked, &received, &sent) != 3)
			test_fail("access log: %s", line);
		if (strncmp(asked, uri, strlen(uri)))
			continue;
		*ret_received += received;
		*ret_sent += sent;
	}
	free(text);
}
