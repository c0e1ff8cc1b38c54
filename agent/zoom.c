// SPDX-License-Identifier: Apache-2.0
/* The user side of bpf/zoom.bpf.c: attach, wait, take the tables; see zoom.h. */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include "agent/caps.h"
#include "agent/lifecycle.h"
#include "agent/log.h"
#include "agent/zoom.h"
#include "probes/syscall_names.h"
#include "probes/wait_reasons.h"
#include "zoom.skel.h"

#define MAX_THREADS 4096
#define MAX_CALLS   16384
#define MAX_FILES   4096
#define NS	    1e-9

PROBE_SKELETON(zoom)

struct zoom {
	struct probe_environment environment;
	struct probe *probe;
	struct zoom_globals *globals; /* mapped */
	struct zoom_target target;
	uint64_t began_ns, ended_ns;
};

const struct hook zoom_hooks[] = {
	{ "switches",
	  true,
	  "time of threads",
	  { { "zoom_switch_state", HOOK_TP_BTF, "sched_switch", 4 },
	    { "zoom_switch_plain", HOOK_TP_BTF, "sched_switch", 3, 3 } } },
	{ "enter", true, "system calls", { { "zoom_enter", HOOK_TP_BTF, "sys_enter", 2 } } },
	{ "exit", true, "system calls", { { "zoom_exit", HOOK_TP_BTF, "sys_exit", 2 } } },
	{ "all threads", true, "threads at rest", { { "zoom_pass", HOOK_ITER, "task", 0 } } },
	{ .name = NULL },
};

/* ---- which system call does what with files ---- */

static const struct file_use {
	unsigned number;
	uint8_t use;
} file_uses[] = {
	{ SYS_read, ZOOM_READS(1) | ZOOM_BYTES },
	{ SYS_readv, ZOOM_READS(1) | ZOOM_BYTES },
	{ SYS_pread64, ZOOM_READS(1) | ZOOM_BYTES },
	{ SYS_preadv, ZOOM_READS(1) | ZOOM_BYTES },
	{ SYS_preadv2, ZOOM_READS(1) | ZOOM_BYTES },
	{ SYS_recvfrom, ZOOM_READS(1) | ZOOM_BYTES },
	{ SYS_recvmsg, ZOOM_READS(1) | ZOOM_BYTES },
	{ SYS_recvmmsg, ZOOM_READS(1) }, /* returns a number of messages */
	{ SYS_write, ZOOM_WRITES(1) | ZOOM_BYTES },
	{ SYS_writev, ZOOM_WRITES(1) | ZOOM_BYTES },
	{ SYS_pwrite64, ZOOM_WRITES(1) | ZOOM_BYTES },
	{ SYS_pwritev, ZOOM_WRITES(1) | ZOOM_BYTES },
	{ SYS_pwritev2, ZOOM_WRITES(1) | ZOOM_BYTES },
	{ SYS_sendto, ZOOM_WRITES(1) | ZOOM_BYTES },
	{ SYS_sendmsg, ZOOM_WRITES(1) | ZOOM_BYTES },
	{ SYS_sendmmsg, ZOOM_WRITES(1) },
	{ SYS_sendfile, ZOOM_WRITES(1) | ZOOM_READS(2) | ZOOM_BYTES },
	{ SYS_splice, ZOOM_READS(1) | ZOOM_WRITES(3) | ZOOM_BYTES },
	{ SYS_copy_file_range, ZOOM_READS(1) | ZOOM_WRITES(3) | ZOOM_BYTES },
	{ SYS_tee, ZOOM_READS(1) | ZOOM_WRITES(2) | ZOOM_BYTES },
	{ SYS_fsync, ZOOM_USES },
	{ SYS_fdatasync, ZOOM_USES },
	{ SYS_sync_file_range, ZOOM_USES },
	{ SYS_ftruncate, ZOOM_USES },
	{ SYS_fallocate, ZOOM_USES },
	{ SYS_lseek, ZOOM_USES },
	{ SYS_fstat, ZOOM_USES },
	{ SYS_flock, ZOOM_USES },
	{ SYS_fcntl, ZOOM_USES },
	{ SYS_ioctl, ZOOM_USES },
	{ SYS_getdents64, ZOOM_USES },
	{ SYS_accept, ZOOM_USES },
	{ SYS_accept4, ZOOM_USES },
	{ SYS_connect, ZOOM_USES },
	{ SYS_shutdown, ZOOM_USES },
	{ SYS_setsockopt, ZOOM_USES },
	{ SYS_getsockopt, ZOOM_USES },
	{ SYS_epoll_pwait, ZOOM_USES },
#ifdef SYS_epoll_wait
	{ SYS_epoll_wait, ZOOM_USES },
#endif
};

/* ---- the probe ---- */

static int configure(struct probe *probe)
{
	struct zoom *zoom = probe_data(probe);
	struct zoom_settings *settings = &zoom_skeleton(probe)->rodata->settings;
	int err;

	settings->tgid = (uint32_t)zoom->target.pid;
	settings->cgroup_id = zoom->target.cgroup_id;
	settings->cgroup_level = zoom->target.cgroup_level;
	settings->v1_controller = zoom->target.v1_controller;
	wait_reasons_fill(settings->reason_of_syscall);
	for (size_t i = 0; i < sizeof(file_uses) / sizeof(file_uses[0]); i++)
		if (file_uses[i].number < WAIT_SYSCALLS)
			settings->use_of_files[file_uses[i].number] = file_uses[i].use;
	err = probe_map_size(probe, "zoom_threads", MAX_THREADS);
	if (!err)
		err = probe_map_size(probe, "zoom_calls", MAX_CALLS);
	if (!err)
		err = probe_map_size(probe, "zoom_files", MAX_FILES);
	return err;
}

static int start(struct probe *probe)
{
	struct zoom *zoom = probe_data(probe);
	int err;

	zoom->globals = probe_rows(probe, "zoom_globals");
	if (!zoom->globals)
		return -errno;
	err = probe_run_iterator(probe, "zoom_pass");
	zoom->began_ns = log_clock_ns();
	zoom->globals->began_ns = zoom->began_ns;
	__atomic_store_n(&zoom->globals->phase, ZOOM_RUNNING, __ATOMIC_RELEASE);
	return err;
}

static const struct probe_desc zoom_desc = {
	.name = "zoom",
	.help = "Every thread, system call and file descriptor of one program, for a while",
	.open = zoom_open,
	.close = zoom_close,
	.hooks = zoom_hooks,
	.configure = configure,
	.start = start,
};

/* ---- one at a time ---- */

/*
 * The place is a name in the abstract namespace of sockets: it needs no directory and goes with its owner. Anybody may
 * take that name, so only root and the own user are believed to be zooming.
 */
int zoom_lock(char *error, size_t error_size)
{
	static const struct sockaddr_un name = { .sun_family = AF_UNIX,
						 .sun_path = "\0leadline-zoom" };
	const socklen_t size =
		offsetof(struct sockaddr_un, sun_path) + sizeof("\0leadline-zoom") - 1;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err;
	struct ucred owner = { .uid = (uid_t)-1 };
	socklen_t owner_size = sizeof(owner);

	if (fd < 0)
		return -errno;
	if (!bind(fd, (const struct sockaddr *)&name, size) && !listen(fd, 1))
		return fd;
	err = -errno;
	if (err == -EADDRINUSE && !connect(fd, (const struct sockaddr *)&name, size))
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &owner, &owner_size);
	if (err == -EADDRINUSE && owner.uid && owner.uid != geteuid())
		return fd;
	close(fd);
	snprintf(error, error_size, "another zoom is running (pid %d); one at a time", owner.pid);
	return -EBUSY;
}

/* ---- life ---- */

static int attach(struct zoom *zoom, char *error, size_t error_size)
{
	struct caps *caps = NULL;
	int err = caps_new(config_string(zoom->environment.config, "hooks.avoid"), &caps, error,
			   error_size);

	if (err)
		return err;
	zoom->environment.offers = caps_offers(caps);
	err = probe_load(zoom->probe);
	if (!err)
		err = probe_attach(zoom->probe);
	zoom->environment.offers = NULL;
	caps_free(caps);
	if (err)
		snprintf(error, error_size, "%s", probe_reason(zoom->probe));
	return err;
}

int zoom_start(const struct config *config, const struct zoom_target *target,
	       struct zoom **ret_zoom, char *error, size_t error_size)
{
	struct zoom *zoom = calloc(1, sizeof(*zoom));
	int cpus = libbpf_num_possible_cpus();
	int err;

	if (!zoom)
		return -ENOMEM;
	zoom->target = *target;
	zoom->environment = (struct probe_environment){
		.config = config,
		.cpus = cpus > 0 ? (unsigned)cpus : 1,
		.task_states_fd = -1,
		.cpu_turns_fd = -1,
	};
	zoom->probe = probe_new(&zoom_desc, &zoom->environment);
	if (!zoom->probe) {
		free(zoom);
		return -ENOMEM;
	}
	probe_set_data(zoom->probe, zoom);
	err = attach(zoom, error, error_size);
	if (err) {
		zoom_free(zoom);
		return err;
	}
	*ret_zoom = zoom;
	return 0;
}

void zoom_free(struct zoom *zoom)
{
	if (!zoom)
		return;
	probe_free(zoom->probe);
	free(zoom);
}

int zoom_threads_left(struct zoom *zoom)
{
	int err;

	zoom->globals->threads_seen = 0;
	err = probe_run_iterator(zoom->probe, "zoom_pass");
	return err ? err : (int)zoom->globals->threads_seen;
}

/* ---- taking the tables ---- */

static struct zoom_latency latency_of(const struct hist *hist)
{
	struct histogram_view view = {
		.schema = HIST_SCHEMA,
		.min_index = HIST_MIN_INDEX,
		.n_slots = HIST_SLOTS,
		.slots = (const uint64_t *)hist->slots,
	};
	struct zoom_latency latency = {
		.count = histogram_count(&view),
		.sum = (double)hist->sum_ns * NS,
		.max = (double)hist->max_ns * NS,
	};

	if (!latency.count)
		return latency;
	latency.p50 = histogram_quantile(&view, 0.5);
	latency.p99 = histogram_quantile(&view, 0.99);
	/* within their bucket quantiles are guessed, the maximum is known */
	if (latency.p50 > latency.max)
		latency.p50 = latency.max;
	if (latency.p99 > latency.max)
		latency.p99 = latency.max;
	return latency;
}

static void take_thread(struct zoom_result *result, const void *key_, const void *value)
{
	const struct zoom_thread_key *key = key_;
	const struct zoom_thread *thread = value;
	struct zoom_ledger *ledger = &result->threads[result->n_threads++];
	uint64_t until_ns = thread->ended_ns ? thread->ended_ns : thread->left_cpu_ns;

	*ledger = (struct zoom_ledger){
		.pid = (pid_t)key->tgid,
		.tid = (pid_t)key->tid,
		.threads = 1,
		.ended = thread->ended_ns != 0,
		.seen = (double)(until_ns - thread->seen_ns) * NS,
		.on_cpu = (double)thread->on_cpu_ns * NS,
		.queued = (double)thread->queued_ns * NS,
		.queued_max = (double)thread->queued_max_ns * NS,
		.voluntary_switches = thread->voluntary_switches,
		.involuntary_switches = thread->involuntary_switches,
	};
	snprintf(ledger->comm, sizeof(ledger->comm), "%.15s", thread->comm);
	for (int reason = 0; reason < WAIT_REASON_COUNT; reason++)
		ledger->wait[reason] = (double)thread->wait_ns[reason] * NS;
}

static void take_call(struct zoom_result *result, const void *key_, const void *value)
{
	const struct zoom_call_key *key = key_;
	const struct zoom_call *call = value;
	struct zoom_syscall *entry = &result->syscalls[result->n_syscalls++];
	char text[NUMBER_NAME_SIZE];

	*entry = (struct zoom_syscall){
		.pid = (pid_t)key->tgid,
		.tid = (pid_t)key->tid,
		.errors = call->errors,
		.duration = latency_of(&call->duration),
	};
	snprintf(entry->name, sizeof(entry->name), "%s", syscall_slot_name(key->slot, text));
	if (call->errors)
		snprintf(entry->last_error, sizeof(entry->last_error), "%s",
			 error_name(call->last_error, text));
}

static void take_file(struct zoom_result *result, const void *key_, const void *value)
{
	const struct zoom_file_key *key = key_;
	const struct zoom_file *file = value;
	struct zoom_descriptor *entry = &result->descriptors[result->n_descriptors++];
	char link[64], path[sizeof(entry->what)];
	const char *slash;
	ssize_t size;

	*entry = (struct zoom_descriptor){
		.pid = (pid_t)key->tgid,
		.fd = key->fd,
		.files = file->files,
		.other_calls = file->other_calls,
	};
	for (int i = 0; i < ZOOM_DIRECTIONS; i++) {
		entry->direction[i].bytes = file->direction[i].bytes;
		entry->direction[i].errors = file->direction[i].errors;
		entry->direction[i].duration = latency_of(&file->direction[i].duration);
	}
	entry->kind = zoom_describe_file(file, entry->what);
	/* the kernel side knows the last component only; the whole path is told if it still is that file */
	snprintf(link, sizeof(link), "/proc/%u/fd/%u", key->tgid, key->fd);
	size = readlink(link, path, sizeof(path) - 1);
	if (size <= 0)
		return;
	path[size] = '\0';
	slash = strrchr(path, '/');
	if (path[0] == '/' && file->name[0] &&
	    !strncmp(slash + 1, file->name, strnlen(file->name, sizeof(file->name))))
		snprintf(entry->what, sizeof(entry->what), "%s", path);
}

/* Calls back with every element of a table, at most `max`. 0 or -errno. */
static int take_table(struct zoom *zoom, struct zoom_result *result, const char *map, size_t max,
		      size_t key_size, size_t value_size,
		      void (*take)(struct zoom_result *result, const void *key, const void *value))
{
	int fd = probe_map_fd(zoom->probe, map);
	char *key = calloc(1, key_size), *value = calloc(1, value_size);
	bool any = false;
	int err = key && value ? 0 : -ENOMEM;

	for (size_t n = 0; !err && n < max; n++) {
		if (bpf_map_get_next_key(fd, any ? key : NULL, key)) {
			err = errno == ENOENT ? 1 : -errno; /* 1: that was all */
			break;
		}
		any = true;
		if (!bpf_map_lookup_elem(fd, key, value))
			take(result, key, value);
	}
	free(key);
	free(value);
	return err < 0 ? err : 0;
}

static int take_tables(struct zoom *zoom, struct zoom_result *result)
{
	int err;

	result->threads = calloc(MAX_THREADS, sizeof(*result->threads));
	result->syscalls = calloc(MAX_CALLS, sizeof(*result->syscalls));
	result->descriptors = calloc(MAX_FILES, sizeof(*result->descriptors));
	if (!result->threads || !result->syscalls || !result->descriptors)
		return -ENOMEM;
	err = take_table(zoom, result, "zoom_threads", MAX_THREADS, sizeof(struct zoom_thread_key),
			 sizeof(struct zoom_thread), take_thread);
	if (!err)
		err = take_table(zoom, result, "zoom_calls", MAX_CALLS,
				 sizeof(struct zoom_call_key), sizeof(struct zoom_call), take_call);
	if (!err)
		err = take_table(zoom, result, "zoom_files", MAX_FILES,
				 sizeof(struct zoom_file_key), sizeof(struct zoom_file), take_file);
	return err;
}

static void add_loss(void *context, const char *reason, uint64_t total)
{
	struct zoom_result *result = context;

	result->lost += total;
}

int zoom_stop(struct zoom *zoom, struct zoom_result **ret_result)
{
	struct zoom_result *result = calloc(1, sizeof(*result));
	int err;

	if (!result)
		return -ENOMEM;
	__atomic_store_n(&zoom->globals->phase, ZOOM_STOPPED, __ATOMIC_RELEASE);
	zoom->ended_ns = log_clock_ns();
	err = probe_run_iterator(zoom->probe, "zoom_pass");
	if (!err)
		err = take_tables(zoom, result);
	if (!err) {
		snprintf(result->target, sizeof(result->target), "%s", zoom->target.name);
		result->ended = "time is up";
		result->seconds = (double)(zoom->ended_ns - zoom->began_ns) * NS;
		probe_each_loss(zoom->probe, add_loss, result);
		err = zoom_result_finish(result);
	}
	if (err)
		zoom_result_free(result);
	else
		*ret_result = result;
	return err;
}
