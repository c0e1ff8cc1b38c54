// SPDX-License-Identifier: Apache-2.0
/*
 * The plain text of connections within TLS: finds the libraries (tls_libraries.h) and puts hooks on their calls. What these see is
 * told by the requests probe, on whose maps they live; here is only what of it was not. Loop thread only.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "probes/probe.h"
#include "probes/tls_libraries.h"
#include "bpf/requests.h"
#include "bpf/tls.h"
#include "tls.skel.h"

PROBE_SKELETON(tls)

#define UPROBE(name_, program_)                                                                    \
	{                                                                                          \
		.name = (name_), .required = true, .provides = "the plain text of TLS",            \
		.alternatives = {                                                                  \
			{ program_, HOOK_UPROBE_MULTI, name_, 0 },                                 \
			{ program_ "_each", HOOK_UPROBE, name_, 0 },                               \
		},                                                                                 \
	}

#define CALL   "call"
#define RETURN "return"

static const struct hook hooks[] = {
	UPROBE(CALL, "tls_called"),
	UPROBE(RETURN, "tls_returned"),
	{ 0 },
};

static const struct metric_desc libraries_metric = {
	.name = "leadline_tls_libraries",
	.help = "Files of running processes that have the calls of a TLS library, and whether they are hooked",
	.kind = METRIC_GAUGE,
	.labels = { "library", "state" },
};

static const struct metric_desc bytes_metric = {
	.name = "leadline_tls_plain_bytes_total",
	.help = "Plain text through hooked TLS libraries, and if it could not be brought together with a connection, why",
	.kind = METRIC_COUNTER,
	.labels = { "told", "reason" },
};

static const struct metric_desc *const metrics[] = { &libraries_metric, &bytes_metric, NULL };

/* On the calls of a file. */
struct tls_hooks {
	struct uprobes *calls, *returns;
};

struct tls_state {
	struct tls_libraries *libraries;
	struct requests_shared *shared;
	const struct tls_counts *counts;
	bool is_hooking; /* loaded, and within the budget */
	bool may_hook;
};

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- hooks ---- */

static void detach(void *context, struct tls_library *library)
{
	struct tls_hooks *hooks_there = library->data;

	(void)context;
	if (!hooks_there)
		return;
	probe_detach_uprobes(hooks_there->calls);
	probe_detach_uprobes(hooks_there->returns);
	free(hooks_there);
	library->data = NULL;
}

static size_t places_of(const struct tls_library *library,
			struct uprobe_place places[TLS_FUNCTIONS])
{
	size_t n = 0;

	for (int i = 0; i < TLS_FUNCTIONS; i++)
		if (library->offsets[i])
			places[n++] = (struct uprobe_place){ library->offsets[i],
							     tls_functions[i].cookie };
	return n;
}

/* The returns first: a call that is seen to begin is seen to end. */
static int attach(struct probe *probe, struct tls_library *library)
{
	struct tls_hooks *hooks_there = calloc(1, sizeof(*hooks_there));
	struct uprobe_place places[TLS_FUNCTIONS];
	char path[32];
	struct uprobe_target target = {
		.path = path,
		.places = places,
		.n = places_of(library, places),
		.at_return = true,
	};
	int err;

	if (!hooks_there)
		return -ENOMEM;
	library->data = hooks_there;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", library->fd);
	err = probe_attach_uprobes(probe, RETURN, &target, &hooks_there->returns);
	target.at_return = false;
	if (!err)
		err = probe_attach_uprobes(probe, CALL, &target, &hooks_there->calls);
	if (err)
		detach(NULL, library);
	return err;
}

static void attach_found(struct probe *probe, const struct tls_state *state)
{
	size_t n;
	struct tls_library *libraries = tls_libraries_known(state->libraries, &n);

	for (size_t i = 0; i < n; i++) {
		int err;

		if (libraries[i].state != TLS_LIBRARY_FOUND)
			continue;
		err = attach(probe, &libraries[i]);
		libraries[i].state = err ? TLS_LIBRARY_FAILED : TLS_LIBRARY_HOOKED;
		if (err)
			probe_log(probe, PROBE_WARNING, "%s cannot be hooked: %s",
				  libraries[i].name, strerror(-err));
		else
			probe_log(probe, PROBE_INFO, "%s is hooked", libraries[i].name);
	}
}

/* ---- life ---- */

/* Made when it is first asked for. NULL: no memory. */
static struct tls_state *state_of(struct probe *probe)
{
	struct tls_state *state = probe_data(probe);

	if (state)
		return state;
	state = calloc(1, sizeof(*state));
	if (state)
		state->libraries = tls_libraries_new("/proc");
	if (!state || !state->libraries) {
		free(state);
		return NULL;
	}
	tls_libraries_on_gone(state->libraries, detach, NULL);
	state->may_hook = probe_may_hook_user_space();
	if (!state->may_hook)
		probe_log(
			probe, PROBE_WARNING,
			"libraries cannot be hooked, which before Linux 6.10 needs CAP_SYS_ADMIN: TLS is told by its records");
	probe_set_data(probe, state);
	return state;
}

static bool tls_watch(struct probe *probe)
{
	const struct tls_state *state = state_of(probe);

	if (!state || !state->may_hook || !tls_libraries_scan(state->libraries, clock_ns()))
		return false;
	if (state->is_hooking)
		attach_found(probe, state);
	return true;
}

static int tls_configure(struct probe *probe)
{
	if (!state_of(probe))
		return -ENOMEM;
	return probe_lent_settings(probe, &tls_skeleton(probe)->rodata->settings,
				   sizeof(tls_skeleton(probe)->rodata->settings));
}

/* They go into all processes that use a library: none may die of that. */
static int check_return_hooks(struct probe *probe)
{
	int err = probe_check_return_hooks(probe, RETURN);

	if (err == -EOPNOTSUPP)
		probe_log(
			probe, PROBE_ERROR,
			"this kernel kills processes confined by seccomp when a function of theirs returns that is hooked");
	return err;
}

static int tls_prepare(struct probe *probe)
{
	struct tls_state *state = probe_data(probe);

	state->shared = probe_rows(probe, ".bss");
	if (!state->shared)
		return -errno;
	state->counts = probe_rows(probe, "tls_counts");
	return state->counts ? check_return_hooks(probe) : -errno;
}

static int tls_start(struct probe *probe)
{
	struct tls_state *state = probe_data(probe);

	__atomic_store_n(&state->shared->tls, 1, __ATOMIC_RELEASE);
	state->is_hooking = true;
	attach_found(probe, state);
	return 0;
}

/* What no plain text comes of any more is for the requests probe to tell as before. */
static void leave_sockets(struct probe *probe, const struct tls_state *state)
{
	__atomic_store_n(&state->shared->tls, 0, __ATOMIC_RELEASE);
	probe_map_clear(probe, "tls_sockets");
}

static void tls_pause(struct probe *probe)
{
	struct tls_state *state = probe_data(probe);
	size_t n;
	struct tls_library *libraries = tls_libraries_known(state->libraries, &n);

	state->is_hooking = false;
	leave_sockets(probe, state); /* first: to detach takes some 0.1 s */
	for (size_t i = 0; i < n; i++) {
		detach(NULL, &libraries[i]);
		if (libraries[i].state == TLS_LIBRARY_HOOKED)
			libraries[i].state = TLS_LIBRARY_GIVEN_UP;
	}
}

static int tls_resume(struct probe *probe)
{
	const struct tls_state *state = probe_data(probe);
	size_t n;
	struct tls_library *libraries = tls_libraries_known(state->libraries, &n);

	for (size_t i = 0; i < n; i++)
		if (libraries[i].state == TLS_LIBRARY_GIVEN_UP)
			libraries[i].state = TLS_LIBRARY_FOUND;
	return tls_start(probe);
}

static void write_libraries(const struct tls_state *state, struct metric_writer *writer)
{
	static const char *const states[] = {
		[TLS_LIBRARY_FOUND] = "found",
		[TLS_LIBRARY_HOOKED] = "hooked",
		[TLS_LIBRARY_FAILED] = "failed",
		[TLS_LIBRARY_GIVEN_UP] = "given_up",
	};
	size_t n;
	const struct tls_library *libraries = tls_libraries_known(state->libraries, &n);

	for (size_t i = 0; i < n; i++) /* those of one name add up */
		metric_write(writer, &libraries_metric, ENTITY_NONE,
			     (const char *const[]){ libraries[i].name, states[libraries[i].state] },
			     1);
}

static void write_bytes(const struct tls_counts *counts, struct metric_writer *writer)
{
	static const char *const reasons[TLS_LOST_REASONS] = {
		[TLS_LOST_UNBOUND] = "no_socket",
		[TLS_LOST_SOCKETS_FULL] = "sockets_full",
		[TLS_LOST_PREEMPTED] = "preempted",
	};

	metric_write(writer, &bytes_metric, ENTITY_NONE, (const char *const[]){ "true", "" },
		     (double)__atomic_load_n(&counts->bytes, __ATOMIC_RELAXED));
	for (int i = 0; i < TLS_LOST_REASONS; i++)
		metric_write(writer, &bytes_metric, ENTITY_NONE,
			     (const char *const[]){ "false", reasons[i] },
			     (double)__atomic_load_n(&counts->lost_bytes[i], __ATOMIC_RELAXED));
}

static int tls_collect(struct probe *probe, struct metric_writer *writer)
{
	const struct tls_state *state = probe_data(probe);

	write_libraries(state, writer);
	write_bytes(state->counts, writer);
	probe_report_events(probe, __atomic_load_n(&state->counts->calls, __ATOMIC_RELAXED));
	return 0;
}

static void tls_destroy(struct probe *probe)
{
	struct tls_state *state = probe_data(probe);

	if (state->counts)
		leave_sockets(probe, state);
	tls_libraries_free(state->libraries);
	free(state);
}

const struct probe_desc probe_tls = {
	.name = "tls",
	.help = "The plain text of TLS, from the calls of OpenSSL and GnuTLS: requests within it are told like others",
	.open = tls_open,
	.close = tls_close,
	.hooks = hooks,
	.metrics = metrics,
	.configure = tls_configure,
	.prepare = tls_prepare,
	.start = tls_start,
	.collect = tls_collect,
	.destroy = tls_destroy,
	.pause = tls_pause,
	.resume = tls_resume,
	.economy = { .value = 1, .by_trap = true, .typical_ns = 1000 },
	.watch = tls_watch,
	.lender = &probe_requests,
};
