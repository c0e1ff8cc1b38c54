/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zoom: all there is to know about one process or control group, for a while. An object of its own in the kernel, run
 * through the probes' usual life, hence gone with its owner. Everything here is used by one thread of one process, that
 * of `leadline zoom`; the agent has it done by such a process (zoom_service.h).
 */
#ifndef LEADLINE_ZOOM_H
#define LEADLINE_ZOOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include "agent/config.h"
#include "bpf/lib/wait.h"
#include "bpf/zoom.h"
#include "probes/probe.h"

/* ---- at what ---- */

struct zoom_target {
	pid_t pid; /* 0: a control group */
	uint64_t cgroup_id;
	unsigned cgroup_level; /* components of its path */
	unsigned v1_controller; /* enum entity_v1_controller */
	char name[384]; /* for people */
};

/*
 * Each fills the target from what somebody typed; -EINVAL when it cannot be one, -ESRCH when there is none, with a message
 * for the user. `rootfs`: containers.rootfs.
 */
int zoom_target_pid(const char *text, struct zoom_target *target, char *error, size_t error_size);
/* A directory of a cgroup filesystem, or a path inside a hierarchy as in /proc/PID/cgroup. */
int zoom_target_cgroup(const char *text, struct zoom_target *target, char *error,
		       size_t error_size);
/* An id, its beginning of at least 12 digits, or a name that a runtime of this host knows. */
int zoom_target_container(const char *text, const char *rootfs, struct zoom_target *target,
			  char *error, size_t error_size);

/* ---- looking ---- */

extern const struct hook zoom_hooks[];

struct zoom;
struct zoom_result;

/*
 * Only one zoom at a time on a host. A descriptor that holds the place until it is closed, or the process ends; -EBUSY
 * with a message when somebody else has it.
 */
int zoom_lock(char *error, size_t error_size);

/* Attaches. 0, or -errno with a message for the user, and nothing is attached. */
int zoom_start(const struct config *config, const struct zoom_target *target,
	       struct zoom **ret_zoom, char *error, size_t error_size);
/* Threads the target has now; -errno. */
int zoom_threads_left(struct zoom *zoom);
/* Ends the measurement and takes what there is. 0 or -errno. */
int zoom_stop(struct zoom *zoom, struct zoom_result **ret_result);
void zoom_free(struct zoom *zoom); /* detaches; NULL is fine */

/* ---- what was seen; all times in seconds ---- */

struct zoom_latency {
	uint64_t count;
	double sum, p50, p99, max;
};

struct zoom_ledger {
	pid_t pid, tid; /* tid 0: all threads of the process */
	char comm[16];
	unsigned threads; /* of a process */
	bool ended;
	double seen; /* how long it was accounted for */
	double on_cpu, queued, queued_max;
	double wait[WAIT_REASON_COUNT];
	uint64_t voluntary_switches, involuntary_switches;
};

struct zoom_syscall {
	pid_t pid, tid;
	char name[24];
	uint64_t errors;
	char last_error[24]; /* "" none */
	struct zoom_latency duration;
};

struct zoom_descriptor {
	pid_t pid;
	unsigned fd;
	const char *kind; /* "file", "pipe", "socket" … */
	char what[512]; /* path or endpoints */
	unsigned files; /* one after the other under this number */
	uint64_t other_calls; /* that neither read nor write: fsync, accept … */
	struct {
		uint64_t bytes, errors;
		struct zoom_latency duration;
	} direction[ZOOM_DIRECTIONS];
};

struct zoom_result {
	char target[384];
	const char *ended; /* why: "time is up", "interrupted", "target exited" */
	double seconds;
	uint64_t lost; /* events that found no room in a table */
	struct zoom_ledger *processes, *threads; /* by time on the CPU */
	struct zoom_syscall *syscalls; /* by time */
	struct zoom_descriptor *descriptors; /* by time */
	size_t n_processes, n_threads, n_syscalls, n_descriptors;
};

/* Makes the processes from the threads, and puts all tables in order. 0 or -ENOMEM. */
int zoom_result_finish(struct zoom_result *result);
void zoom_result_free(struct zoom_result *result); /* NULL is fine */

/* `top`: rows of each table; 0: all. */
void zoom_print_text(const struct zoom_result *result, unsigned top, FILE *out);
int zoom_print_json(const struct zoom_result *result, FILE *out); /* 0 or -ENOMEM */

/* What a file is, from what the kernel side noted; `what` has 512 bytes. Returns its kind. */
const char *zoom_describe_file(const struct zoom_file *file, char what[512]);

#endif
