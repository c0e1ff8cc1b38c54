// SPDX-License-Identifier: Apache-2.0
/* Runs `leadline zoom` on request; see zoom_service.h. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "agent/json_stream.h"
#include "agent/zoom_service.h"

#define DEFAULT_SECONDS 30
#define MAX_SECONDS	3600
#define MAX_RESULT	(64U << 20) /* the tables of the kernel side give less */

struct zoom_service {
	char *rootfs_flag;
	unsigned id; /* of the last one; 0: there was none */
	pid_t pid; /* 0: it has ended */
	int status; /* then: as wait() has it */
	int out_fd, err_fd; /* memory files with what it has written; -1: none */
};

struct zoom_service *zoom_service_new(const char *rootfs)
{
	struct zoom_service *service = calloc(1, sizeof(*service));

	if (!service)
		return NULL;
	service->out_fd = service->err_fd = -1;
	if (asprintf(&service->rootfs_flag, "--containers.rootfs=%s", rootfs ? rootfs : "/") < 0) {
		free(service);
		return NULL;
	}
	return service;
}

static void forget(struct zoom_service *service)
{
	if (service->out_fd >= 0)
		close(service->out_fd);
	if (service->err_fd >= 0)
		close(service->err_fd);
	service->out_fd = service->err_fd = -1;
}

void zoom_service_free(struct zoom_service *service)
{
	if (!service)
		return;
	if (service->pid) {
		kill(service->pid, SIGKILL);
		waitpid(service->pid, NULL, 0);
	}
	forget(service);
	free(service->rootfs_flag);
	free(service);
}

/* Notes whether it has ended. */
static void look(struct zoom_service *service)
{
	if (service->pid && waitpid(service->pid, &service->status, WNOHANG))
		service->pid = 0;
}

/* ---- starting ---- */

struct order {
	char target[600]; /* "--pid=1" */
	char duration[40];
};

static int refuse(char *error, size_t error_size, const char *message)
{
	snprintf(error, error_size, "%s", message);
	return -EINVAL;
}

static int read_order(const json_t *request, struct order *order, char *error, size_t error_size)
{
	static const char *const kinds[] = { "pid", "container", "cgroup" };
	double seconds = DEFAULT_SECONDS;
	const char *key;
	json_t *value;
	int length = 0;

	order->target[0] = '\0';
	json_object_foreach((json_t *)request, key, value)
	{
		bool known = false;

		if (!strcmp(key, "seconds") && json_is_number(value)) {
			seconds = json_number_value(value);
			continue;
		}
		for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && !known; i++)
			known = !strcmp(key, kinds[i]) &&
				(i ? json_is_string(value) : json_is_integer(value));
		if (!known || order->target[0])
			return refuse(
				error, error_size,
				"wanted: one of \"pid\" (a number), \"container\" and \"cgroup\" "
				"(text), and \"seconds\"");
		length = json_is_string(value)
				 ? snprintf(order->target, sizeof(order->target), "--%s=%s", key,
					    json_string_value(value))
				 : snprintf(order->target, sizeof(order->target), "--%s=%lld", key,
					    json_integer_value(value));
	}
	if (!order->target[0])
		return refuse(error, error_size,
			      "zoom at what? Give \"pid\", \"container\" or \"cgroup\"");
	if (length >= (int)sizeof(order->target))
		return refuse(error, error_size,
			      "no container or control group has so long a name");
	if (!(seconds >= 0.1 && seconds <= MAX_SECONDS))
		return refuse(error, error_size, "\"seconds\" must be from 0.1 to 3600");
	snprintf(order->duration, sizeof(order->duration), "--for=%.0fms", seconds * 1000);
	return 0;
}

/* Between fork and exec of a program with threads: system calls only. The child dies with the thread that serves HTTP. */
static void run_child(const struct zoom_service *service, char *const arguments[], pid_t parent)
{
	int null = open("/dev/null", O_RDONLY);
	sigset_t none;

	sigemptyset(&none);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || dup2(null, 0) < 0 || dup2(service->out_fd, 1) < 0 ||
	    dup2(service->err_fd, 2) < 0)
		_exit(1);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv("/proc/self/exe", arguments);
	_exit(1);
}

static int spawn(struct zoom_service *service, struct order *order)
{
	char *const arguments[] = { (char *)"leadline",
				    (char *)"zoom",
				    (char *)"--json",
				    order->target,
				    order->duration,
				    service->rootfs_flag,
				    NULL };
	pid_t parent = getpid(), pid;

	forget(service);
	service->out_fd = memfd_create("zoom-result", MFD_CLOEXEC);
	service->err_fd = memfd_create("zoom-error", MFD_CLOEXEC);
	if (service->out_fd < 0 || service->err_fd < 0)
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid)
		run_child(service, arguments, parent);
	service->pid = pid;
	service->id++;
	return 0;
}

int zoom_service_start(struct zoom_service *service, const void *request, size_t request_size,
		       unsigned *ret_id, char *error, size_t error_size)
{
	json_t *json = request_size ? json_load_bounded(request, request_size) : NULL;
	struct order order;
	int err;

	look(service);
	if (!json_is_object(json))
		err = refuse(error, error_size, "the body is no JSON object");
	else
		err = read_order(json, &order, error, error_size);
	json_decref(json);
	if (err)
		return err;
	if (service->pid) {
		snprintf(error, error_size, "zoom %u is running; one at a time", service->id);
		return -EBUSY;
	}
	err = spawn(service, &order);
	if (err)
		snprintf(error, error_size, "zoom does not start: %s", strerror(-err));
	*ret_id = service->id;
	return err;
}

/* ---- its result ---- */

static char *read_whole(int fd)
{
	struct stat status;
	char *text;
	ssize_t size = 0;

	if (fstat(fd, &status) || status.st_size > MAX_RESULT)
		return NULL;
	text = malloc((size_t)status.st_size + 1);
	if (text)
		size = pread(fd, text, (size_t)status.st_size, 0);
	if (text)
		text[size > 0 ? size : 0] = '\0';
	return text;
}

/* The last line that it has said, without its name before it. */
static const char *last_line(char *text)
{
	size_t size = strlen(text);
	char *line;

	while (size && text[size - 1] == '\n')
		text[--size] = '\0';
	line = strrchr(text, '\n');
	line = line ? line + 1 : text;
	return strncmp(line, "leadline: ", 10) ? line : line + 10;
}

int zoom_service_describe(struct zoom_service *service, const char *id, struct buffer *out)
{
	char known[16], *text;
	bool good;

	snprintf(known, sizeof(known), "%u", service->id);
	if (!service->id || strcmp(id, known))
		return -ENOENT;
	look(service);
	buffer_printf(out, "{\"id\":%u,\"state\":", service->id);
	if (service->pid) {
		buffer_string(out, "\"running\"}\n");
		return 0;
	}
	good = WIFEXITED(service->status) && !WEXITSTATUS(service->status);
	text = read_whole(good ? service->out_fd : service->err_fd);
	if (good && text) {
		buffer_printf(out, "\"finished\",\"result\":");
		buffer_string(out, text);
		buffer_string(out, "}\n");
	} else {
		buffer_string(out, "\"failed\",\"error\":");
		buffer_json_string(out, text && text[0] ? last_line(text) : "it was ended");
		buffer_string(out, "}\n");
	}
	free(text);
	return 0;
}
