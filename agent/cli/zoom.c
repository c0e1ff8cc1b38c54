// SPDX-License-Identifier: Apache-2.0
/*
 * leadline zoom: all there is to know about one program, for a while. Works beside a running agent and without one;
 * what it attaches belongs to this process and goes with it, however it ends.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "agent/caps.h"
#include "agent/cli/cli.h"
#include "agent/log.h"
#include "agent/option.h"
#include "agent/zoom.h"

#define LOOK_INTERVAL_MS 500 /* whether the target is still there */
#define NS_PER_MS	 1000000ULL

static const struct option_desc duration_desc = {
	.key = "for",
	.type = OPTION_DURATION,
	.fallback = "30s",
	.min = 0.1,
	.max = 3600,
};
static const struct option_desc top_desc = {
	.key = "top", .type = OPTION_INT, .fallback = "10", .min = 0, .max = 100000
};

static int complain(const struct cli_context *context, int code, const char *message)
{
	fprintf(context->err, "leadline: %s\n", message);
	return code;
}

static int read_value(const struct cli_context *context, enum cli_value value,
		      const struct option_desc *desc, int64_t *ret_value)
{
	const char *text = context->values[value] ? context->values[value] : desc->fallback;
	union option_value parsed;
	char error[256];

	if (option_parse(desc, text, &parsed, error, sizeof(error))) {
		fprintf(context->err, "leadline: --%s: %s\n", desc->key, error);
		return CLI_USAGE;
	}
	*ret_value = parsed.integer;
	return CLI_OK;
}

static int find_target(const struct cli_context *context, struct zoom_target *target)
{
	const char *pid = context->values[CLI_PID], *container = context->values[CLI_CONTAINER],
		   *cgroup = context->values[CLI_CGROUP];
	char error[400] = "";
	int err;

	if (!!pid + !!container + !!cgroup != 1)
		return complain(context, CLI_USAGE,
				"zoom at what? Give one of --pid, --container, --cgroup");
	if (pid)
		err = zoom_target_pid(pid, target, error, sizeof(error));
	else if (cgroup)
		err = zoom_target_cgroup(cgroup, target, error, sizeof(error));
	else
		err = zoom_target_container(container,
					    config_string(context->config, "containers.rootfs"),
					    target, error, sizeof(error));
	if (err)
		return complain(context, err == -EINVAL ? CLI_USAGE : CLI_FAILED, error);
	return CLI_OK;
}

static int check_privileges(const struct cli_context *context)
{
	int code = CLI_OK;

	for (const struct caps_fact *fact = caps_facts(); fact->name; fact++)
		if (fact->needed && !fact->ok) {
			fprintf(context->err, "leadline: %s: %s; %s\n", fact->name, fact->detail,
				fact->remedy ? fact->remedy : "nothing mends that");
			code = CLI_FAILED;
		}
	return code;
}

/* Signals that end the measurement, as a descriptor: blocked, so that none gets lost. */
static int take_signals(sigset_t *ret_before)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, ret_before);
	return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* What has come must not end the process once signals are let through again. */
static void drop_signals(int signal_fd)
{
	struct signalfd_siginfo signal;

	while (read(signal_fd, &signal, sizeof(signal)) > 0)
		;
	close(signal_fd);
}

static void show_progress(const struct cli_context *context, const struct zoom_target *target,
			  int threads, uint64_t left_ms)
{
	int fd = fileno(context->err);

	if (fd < 0 || !isatty(fd))
		return;
	fprintf(context->err, "\rzoom: %.60s: %d threads, %lu s left; Ctrl-C ends it now\033[K",
		target->name, threads, (unsigned long)((left_ms + 999) / 1000));
	fflush(context->err);
}

/* For who has no terminal: from here on all is counted. */
static void say_that_it_looks(const struct cli_context *context, const struct zoom_target *target)
{
	int fd = fileno(context->err);

	if (fd >= 0 && isatty(fd))
		return;
	fprintf(context->err, "leadline: looking at %s\n", target->name);
	fflush(context->err);
}

static void end_progress(const struct cli_context *context)
{
	int fd = fileno(context->err);

	if (fd >= 0 && isatty(fd))
		fputs("\r\033[K", context->err);
}

/* Returns why it ended. */
static const char *wait_for_end(const struct cli_context *context, struct zoom *zoom,
				const struct zoom_target *target, int signal_fd,
				uint64_t duration_ns)
{
	uint64_t end_ns = log_clock_ns() + duration_ns, now_ns;
	int pid_fd = target->pid ? (int)syscall(SYS_pidfd_open, target->pid, 0) : -1;
	struct pollfd fds[] = {
		{ .fd = signal_fd, .events = POLLIN },
		{ .fd = pid_fd, .events = POLLIN },
	};
	const char *why = "time is up";

	while ((now_ns = log_clock_ns()) < end_ns) {
		uint64_t left_ms = (end_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS;
		int threads = zoom_threads_left(zoom);

		if (threads == 0) {
			why = "target exited";
			break;
		}
		show_progress(context, target, threads, left_ms);
		poll(fds, 2, left_ms < LOOK_INTERVAL_MS ? (int)left_ms : LOOK_INTERVAL_MS);
		if (fds[0].revents) {
			why = "interrupted";
			break;
		}
		if (fds[1].revents) {
			why = "target exited";
			break;
		}
	}
	if (pid_fd >= 0)
		close(pid_fd);
	end_progress(context);
	return why;
}

static int measure(const struct cli_context *context, const struct zoom_target *target,
		   uint64_t duration_ns, struct zoom_result **ret_result)
{
	struct zoom *zoom = NULL;
	char error[512] = "";
	sigset_t signals;
	int signal_fd = take_signals(&signals), err;
	const char *why;

	err = zoom_start(context->config, target, &zoom, error, sizeof(error));
	if (err) {
		fprintf(context->err, "leadline: zoom: %s\n", error[0] ? error : strerror(-err));
		goto out;
	}
	if (zoom_threads_left(zoom) == 0 && !target->pid) {
		fprintf(context->err,
			"leadline: %s has no threads, or its level is hidden by a cgroup namespace\n",
			target->name);
		err = -ESRCH;
		goto out;
	}
	say_that_it_looks(context, target);
	why = wait_for_end(context, zoom, target, signal_fd, duration_ns);
	err = zoom_stop(zoom, ret_result);
	if (err)
		fprintf(context->err, "leadline: zoom: %s\n", strerror(-err));
	else
		(*ret_result)->ended = why;
out:
	zoom_free(zoom);
	if (signal_fd >= 0)
		drop_signals(signal_fd);
	sigprocmask(SIG_SETMASK, &signals, NULL);
	return err ? CLI_FAILED : CLI_OK;
}

int cli_zoom(const struct cli_context *context)
{
	struct zoom_result *result = NULL;
	struct zoom_target target;
	int64_t duration_ns, top;
	char error[256] = "";
	int code, lock;

	code = read_value(context, CLI_FOR, &duration_desc, &duration_ns);
	if (!code)
		code = read_value(context, CLI_TOP, &top_desc, &top);
	if (!code)
		code = find_target(context, &target);
	if (!code)
		code = check_privileges(context);
	if (code)
		return code;
	lock = zoom_lock(error, sizeof(error));
	if (lock < 0)
		return complain(context, CLI_FAILED, error[0] ? error : strerror(-lock));
	log_capture_libbpf();
	code = measure(context, &target, (uint64_t)duration_ns, &result);
	close(lock);
	if (code)
		return code;
	if (context->json)
		code = zoom_print_json(result, context->out) ? CLI_FAILED : CLI_OK;
	else
		zoom_print_text(result, (unsigned)top, context->out);
	zoom_result_free(result);
	return code;
}
