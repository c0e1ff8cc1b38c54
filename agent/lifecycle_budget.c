// SPDX-License-Identifier: Apache-2.0
/* What the budget needs of a probe: its lanes, its hot hooks taken away and brought back, its programs' time. Loop thread only. */
#include <bpf/bpf.h>
#include <errno.h>
#include "agent/lifecycle_internal.h"

struct budget_lane *probe_lanes(struct probe *probe)
{
	return probe_is_running(probe) ? probe->lanes : NULL;
}

/* A probe with a hook that cannot be had is not taken apart further. */
static bool is_hot(const struct probe *probe, size_t i)
{
	const struct hook_status *status = &probe->hooks[i];

	return status->attached && status->hook->hot && !probe_hook_is_apart(probe, i);
}

bool probe_can_pause(const struct probe *probe)
{
	bool can = false;

	for (size_t i = 0; i < probe->n_hooks; i++)
		can |= is_hot(probe, i);
	return (can || probe->desc->pause) && probe_is_running(probe);
}

/* First to last: what begins an event stops before what ends it. */
double probe_pause(struct probe *probe, double events_per_second)
{
	for (size_t i = 0; i < probe->n_hooks; i++) {
		if (!is_hot(probe, i))
			continue;
		bpf_link__destroy(probe->links[i]);
		probe->links[i] = NULL;
	}
	return probe->desc->pause ? probe->desc->pause(probe, events_per_second) : 0;
}

/* Last to first: once an event's beginning is seen, so is its end. */
int probe_resume(struct probe *probe)
{
	for (size_t i = probe->n_hooks; i-- > 0;) {
		int err;

		if (!is_hot(probe, i) || probe->links[i])
			continue;
		err = probe_attach_hook(probe, i);
		if (err) {
			probe_pause(probe, 0);
			return err;
		}
	}
	return probe->desc->resume ? probe->desc->resume(probe) : 0;
}

static struct probe_runs runs_of(const struct bpf_program *program)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);
	int fd = bpf_program__fd(program);

	if (fd < 0 || bpf_program__expected_attach_type(program) == BPF_TRACE_ITER ||
	    bpf_obj_get_info_by_fd(fd, &info, &size))
		return (struct probe_runs){ 0 };
	return (struct probe_runs){ .runs = info.run_cnt, .ns = info.run_time_ns };
}

struct probe_runs probe_count_runs(struct probe *probe)
{
	struct probe_runs total = { 0 };
	struct bpf_program *program;

	if (!probe_is_running(probe) || !probe->object)
		return total;
	bpf_object__for_each_program (program, probe->object) {
		struct probe_runs runs = runs_of(program);

		total.runs += runs.runs;
		total.ns += runs.ns;
	}
	return total;
}

struct probe_runs probe_count_hook_runs(const struct probe *probe, size_t i)
{
	const struct hook_alternative *chosen = probe->hooks[i].choice.alternative;
	const struct bpf_program *program = NULL;

	if (chosen && probe_is_running(probe) && probe->object)
		program = bpf_object__find_program_by_name(probe->object, chosen->program);
	return program ? runs_of(program) : (struct probe_runs){ 0 };
}
