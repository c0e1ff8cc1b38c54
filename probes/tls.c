// SPDX-License-Identifier: Apache-2.0
/*
 * The plain text of connections within TLS: finds the libraries (tls_libraries.h) and puts hooks on their calls, in all processes or,
 * where that is wanted or all of it is too much, in chosen ones (tls_choice.h). What the hooks see is told by the requests probe,
 * on whose maps they live; here is only what of it was not. Loop thread only.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "probes/probe.h"
#include "probes/tls_callers.h"
#include "probes/tls_choice.h"
#include "probes/tls_libraries.h"
#include "probes/tls_processes.h"
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

static const struct hook hooks[] = {
	UPROBE(TLS_HOOK_CALL, "tls_called"),
	UPROBE(TLS_HOOK_RETURN, "tls_returned"),
	{ 0 },
};

static const struct metric_desc libraries_metric = {
	.name = "leadline_tls_libraries",
	.help = "Files of running processes that have the calls of a TLS library, and whether they are hooked",
	.kind = METRIC_GAUGE,
	.labels = { "library", "state" },
};

static const struct metric_desc processes_metric = {
	.name = "leadline_tls_processes",
	.help = "Processes that have the calls of a TLS library, and whether what they say within TLS is told: chosen ones only, where programs are named or all would be beyond the budget",
	.kind = METRIC_GAUGE,
	.labels = { "library", "state" },
};

static const struct metric_desc bytes_metric = {
	.name = "leadline_tls_plain_bytes_total",
	.help = "Plain text through hooked TLS libraries, and if it could not be brought together with a connection, why",
	.kind = METRIC_COUNTER,
	.labels = { "told", "reason" },
};

static const struct metric_desc *const metrics[] = { &libraries_metric, &processes_metric,
						     &bytes_metric, NULL };

static const struct option_desc options[] = {
	{
		.key = "programs",
		.type = OPTION_STRING,
		.fallback = "",
		.help = "names of the programs to look into, as patterns of a shell separated by commas (nginx,python3*); hooks are put on their processes a second after these have started. Empty: all programs, from their start on",
	},
	{ 0 },
};

enum tls_reach {
	TLS_NOWHERE, /* not loaded yet */
	TLS_EVERYWHERE,
	TLS_CHOSEN,
};

struct tls_state {
	struct tls_libraries *libraries;
	struct requests_shared *shared;
	const struct tls_counts *counts;
	bool may_hook;
	enum tls_reach reach;

	struct tls_choice choice;
	double allowed; /* calls of chosen programs a second, all together; 0: as many as there are */
	struct tls_processes processes; /* hooked one by one */

	struct tls_callers callers;
};

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- hooks on files, in all processes ---- */

static void library_gone(void *context, struct tls_library *library)
{
	(void)context;
	tls_hooks_detach(library->data);
	library->data = NULL;
}

static void set_libraries(const struct tls_state *state, enum tls_library_state from,
			  enum tls_library_state to)
{
	size_t n;
	struct tls_library *libraries = tls_libraries_known(state->libraries, &n);

	for (size_t i = 0; i < n; i++)
		if (libraries[i].state == from)
			libraries[i].state = to;
}

static void hook_files(struct probe *probe, const struct tls_state *state)
{
	size_t n;
	struct tls_library *libraries = tls_libraries_known(state->libraries, &n);

	for (size_t i = 0; i < n; i++) {
		struct tls_hooks *hooks_there = NULL;
		int err;

		if (libraries[i].state != TLS_LIBRARY_FOUND)
			continue;
		err = tls_hooks_attach(probe, &libraries[i], 0, &hooks_there);
		libraries[i].data = hooks_there;
		libraries[i].state = err ? TLS_LIBRARY_FAILED : TLS_LIBRARY_HOOKED;
		if (err)
			probe_log(probe, PROBE_WARNING, "%s cannot be hooked: %s",
				  libraries[i].name, strerror(-err));
		else
			probe_log(probe, PROBE_INFO, "%s is hooked", libraries[i].name);
	}
}

static void unhook_files(const struct tls_state *state)
{
	size_t n;
	struct tls_library *libraries = tls_libraries_known(state->libraries, &n);

	for (size_t i = 0; i < n; i++)
		library_gone(NULL, &libraries[i]);
	set_libraries(state, TLS_LIBRARY_HOOKED, TLS_LIBRARY_FOUND);
}

/* ---- hooks on chosen processes ---- */

static bool is_chosen(const struct tls_state *state, const struct tls_process *process)
{
	return process->name[0] && tls_choice_allows(&state->choice, process->name) &&
	       !tls_choice_leaves_out(&state->choice, process->name);
}

static void process_gone(void *context, struct tls_process *process)
{
	tls_process_gone(&((struct tls_state *)context)->processes, process);
}

static void choose_process(void *context, struct tls_process *process)
{
	struct probe *probe = context;
	struct tls_state *state = probe_data(probe);

	if (is_chosen(state, process))
		tls_process_hook(&state->processes, probe, state->libraries, process);
	else
		tls_process_unhook(&state->processes, process);
}

static void hook_processes(struct probe *probe, const struct tls_state *state)
{
	tls_libraries_each_process(state->libraries, choose_process, probe);
	set_libraries(state, TLS_LIBRARY_FOUND, TLS_LIBRARY_IN_PART);
}

static void drop_process(void *context, struct tls_process *process)
{
	tls_process_unhook(&((struct tls_state *)context)->processes, process);
}

static void unhook_processes(struct tls_state *state)
{
	tls_libraries_each_process(state->libraries, drop_process, state);
	set_libraries(state, TLS_LIBRARY_IN_PART, TLS_LIBRARY_FOUND);
}

/* ---- the choice ---- */

/* What no plain text comes of any more is for the requests probe to tell as before. */
static void leave_sockets(struct probe *probe, const struct tls_state *state, bool goes_on)
{
	__atomic_store_n(&state->shared->tls, goes_on, __ATOMIC_RELEASE);
	probe_map_clear(probe, "tls_sockets");
}

/* Returns the share of calls that are left. */
static double choose(struct probe *probe, struct tls_state *state)
{
	double left = tls_choice_fit(&state->choice, state->callers.callers, state->callers.n,
				     state->allowed);

	state->callers.n = 0; /* each reading is for one choice */
	if (left == 1)
		return left;
	tls_libraries_each_process(state->libraries, choose_process, probe);
	leave_sockets(probe, state, true);
	probe_log(probe, PROBE_INFO,
		  "%zu programs that make many calls are left out, %.1f %% of the calls remain",
		  state->choice.n_left_out, 100 * left);
	return left;
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
	tls_libraries_on_gone(state->libraries,
			      &(struct tls_libraries_gone){ library_gone, process_gone, state });
	tls_choice_begin(&state->choice, probe_option_string(probe, "programs"));
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
	struct tls_state *state = state_of(probe);

	if (!state || !state->may_hook)
		return false;
	tls_processes_sweep(&state->processes, false);
	if (state->reach != TLS_NOWHERE)
		tls_callers_read(&state->callers, probe, clock_ns());
	if (state->reach == TLS_CHOSEN && state->allowed > 0)
		choose(probe, state);
	if (!tls_libraries_scan(state->libraries, clock_ns()) && state->reach != TLS_CHOSEN)
		return false;
	if (state->reach == TLS_CHOSEN)
		hook_processes(probe, state);
	else if (state->reach == TLS_EVERYWHERE)
		hook_files(probe, state);
	return true;
}

static void tls_forget_entity(struct probe *probe, uint32_t entity)
{
	tls_callers_forget(&((struct tls_state *)probe_data(probe))->callers, entity);
}

static int tls_configure(struct probe *probe)
{
	struct tls_state *state = state_of(probe);
	int err = state ? tls_callers_configure(&state->callers, probe) : -ENOMEM;

	return err ? err
		   : probe_lent_settings(probe, &tls_skeleton(probe)->rodata->settings,
					 sizeof(tls_skeleton(probe)->rodata->settings));
}

/* They go into all processes that use a library: none may die of that. */
static int check_return_hooks(struct probe *probe)
{
	int err = probe_check_return_hooks(probe, TLS_HOOK_RETURN);

	if (err == -EOPNOTSUPP)
		probe_log(
			probe, PROBE_ERROR,
			"this kernel kills processes confined by seccomp when a function of theirs returns that is hooked");
	return err;
}

static int tls_prepare(struct probe *probe)
{
	struct tls_state *state = probe_data(probe);
	int err;

	state->shared = probe_rows(probe, ".bss");
	if (!state->shared)
		return -errno;
	state->counts = probe_rows(probe, "tls_counts");
	if (!state->counts)
		return -errno;
	err = tls_callers_begin(&state->callers, probe, clock_ns());
	return err ? err : check_return_hooks(probe);
}

static int tls_start(struct probe *probe)
{
	struct tls_state *state = probe_data(probe);

	__atomic_store_n(&state->shared->tls, 1, __ATOMIC_RELEASE);
	state->reach = *state->choice.patterns ? TLS_CHOSEN : TLS_EVERYWHERE;
	if (state->reach == TLS_CHOSEN)
		hook_processes(probe, state);
	else
		hook_files(probe, state);
	return 0;
}

static double tls_pause(struct probe *probe, double calls_per_second)
{
	struct tls_state *state = probe_data(probe);
	double left;

	tls_callers_read(&state->callers, probe, clock_ns());
	unhook_files(state);
	leave_sockets(probe, state, true);
	state->reach = TLS_CHOSEN;
	state->allowed = calls_per_second;
	left = choose(probe, state);
	hook_processes(probe, state);
	return left;
}

static int tls_resume(struct probe *probe)
{
	struct tls_state *state = probe_data(probe);

	unhook_processes(state);
	leave_sockets(probe, state, false);
	tls_choice_begin(&state->choice, state->choice.patterns);
	state->allowed = 0;
	return tls_start(probe);
}

static void write_libraries(const struct tls_state *state, struct metric_writer *writer)
{
	static const char *const states[] = {
		[TLS_LIBRARY_FOUND] = "found",
		[TLS_LIBRARY_HOOKED] = "hooked",
		[TLS_LIBRARY_IN_PART] = "in_part",
		[TLS_LIBRARY_FAILED] = "failed",
	};
	size_t n;
	const struct tls_library *libraries = tls_libraries_known(state->libraries, &n);

	for (size_t i = 0; i < n; i++) /* those of one name add up */
		metric_write(writer, &libraries_metric, ENTITY_NONE,
			     (const char *const[]){ libraries[i].name, states[libraries[i].state] },
			     1);
}

static const char *state_of_process(const struct tls_state *state,
				    const struct tls_process *process)
{
	if (process->data || state->reach == TLS_EVERYWHERE)
		return "told";
	if (!tls_choice_allows(&state->choice, process->name))
		return "not_named";
	if (tls_choice_leaves_out(&state->choice, process->name))
		return "left_out";
	return "not_yet"; /* or there is no room for more */
}

struct process_writer {
	const struct tls_state *state;
	struct metric_writer *writer;
};

/* Those of one library and state add up. */
static void write_process(void *context, struct tls_process *process)
{
	const struct process_writer *to = context;

	for (size_t i = 0; i < process->n_files; i++) {
		const struct tls_library *library =
			tls_libraries_find(to->state->libraries, &process->files[i]);

		if (library)
			metric_write(to->writer, &processes_metric, ENTITY_NONE,
				     (const char *const[]){ library->name,
							    state_of_process(to->state, process) },
				     1);
	}
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
	tls_libraries_each_process(state->libraries, write_process,
				   &(struct process_writer){ state, writer });
	write_bytes(state->counts, writer);
	probe_report_memory(probe,
			    tls_libraries_bytes(state->libraries) + tls_callers_bytes(probe));
	probe_report_events(probe, __atomic_load_n(&state->counts->calls, __ATOMIC_RELAXED));
	return 0;
}

static void tls_destroy(struct probe *probe)
{
	struct tls_state *state = probe_data(probe);

	if (state->counts)
		leave_sockets(probe, state, false);
	tls_libraries_free(state->libraries);
	tls_processes_sweep(&state->processes, true);
	tls_callers_free(&state->callers);
	free(state);
}

const struct probe_desc probe_tls = {
	.name = "tls",
	.help = "The plain text of TLS, from the calls of OpenSSL and GnuTLS: requests within it are told like others",
	.open = tls_open,
	.close = tls_close,
	.hooks = hooks,
	.metrics = metrics,
	.options = options,
	.configure = tls_configure,
	.prepare = tls_prepare,
	.start = tls_start,
	.collect = tls_collect,
	.forget_entity = tls_forget_entity,
	.destroy = tls_destroy,
	.pause = tls_pause,
	.resume = tls_resume,
	.economy = { .value = 1, .by_trap = true, .typical_ns = 1000 },
	.watch = tls_watch,
	.lender = &probe_requests,
};
