// SPDX-License-Identifier: Apache-2.0
/* Costs measured on the spot; see budget_measure.h. */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "agent/budget_measure.h"
#include "agent/log.h"
#include "agent/uprobes.h"
#include "floor.skel.h"
#include "trap.skel.h"

#define BATCHES	      15
#define CALLS	      100
#define TYPICAL_FLOOR 25.0 /* where it cannot be measured */
#define TYPICAL_CLOCK 20.0

static int compare(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

double budget_median(double values[], size_t n)
{
	qsort(values, n, sizeof(values[0]), compare);
	return values[(n - 1) / 2];
}

_Static_assert(BATCHES *CALLS == BUDGET_MEASURE_CALLS, "as promised");

double budget_measure_call(void)
{
	double ns[BATCHES];

	for (int i = 0; i < BATCHES; i++) {
		uint64_t began_ns = log_clock_ns();

		for (int call = 0; call < CALLS; call++)
			syscall(SYS_getppid);
		ns[i] = (double)(log_clock_ns() - began_ns) / CALLS;
	}
	return budget_median(ns, BATCHES);
}

int budget_statistics_on(void)
{
	int fd = bpf_enable_stats(BPF_STATS_RUN_TIME);

	return fd < 0 ? -errno : fd;
}

static double mean_run_ns(int fd)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &size) || !info.run_cnt)
		return TYPICAL_CLOCK;
	return (double)info.run_time_ns / (double)info.run_cnt;
}

struct budget_floor budget_measure_floor(bool is_needed)
{
	struct budget_floor floor = { .dispatch_ns = TYPICAL_FLOOR, .clock_ns = TYPICAL_CLOCK };
	struct floor_bpf *skeleton = is_needed ? floor_bpf__open_and_load() : NULL;
	double without, with;
	int statistics;

	if (!skeleton)
		return floor;
	without = budget_measure_call();
	floor.call_ns = without;
	if (!floor_bpf__attach(skeleton)) {
		with = budget_measure_call();
		if (with > without) {
			floor.dispatch_ns = (with - without) / 2;
			floor.measured = true;
		}
		statistics = budget_statistics_on();
		if (statistics >= 0) {
			budget_measure_call();
			floor.clock_ns = mean_run_ns(bpf_program__fd(skeleton->progs.floor_exit));
			close(statistics);
		}
	}
	floor_bpf__destroy(skeleton);
	return floor;
}

/* ---- traps ---- */

#define TRAP_CALLS   40
#define TYPICAL_TRAP 2000.0

static double measure_trapped(void)
{
	double ns[TRAP_CALLS];
	int n = 0;

	for (int i = 0; i < TRAP_CALLS; i++) {
		uint64_t began_ns = log_clock_ns();

		n = uprobes_trapped(n);
		ns[i] = (double)(log_clock_ns() - began_ns);
	}
	return budget_median(ns, TRAP_CALLS);
}

static struct uprobes *attach_trap(const struct bpf_program *program, bool at_return)
{
	const struct uprobe_place place = { .offset = uprobes_trapped_offset() };
	const struct uprobe_target target = { .path = "/proc/self/exe",
					      .places = &place,
					      .n = 1,
					      .at_return = at_return,
					      .pid = getpid() };
	struct uprobes *uprobes = NULL;

	return !place.offset || uprobes_attach(program, &target, &uprobes) ? NULL : uprobes;
}

double budget_measure_trap(void)
{
	struct trap_bpf *skeleton = trap_bpf__open();
	struct uprobes *at_return = NULL, *at_entry = NULL;
	double with = 0, without = measure_trapped();

	if (skeleton && uprobes_multi_works())
		uprobes_prepare_multi(skeleton->progs.trap);
	if (skeleton && !trap_bpf__load(skeleton)) {
		at_return = attach_trap(skeleton->progs.trap, true);
		at_entry = attach_trap(skeleton->progs.trap, false);
	}
	if (at_return && at_entry)
		with = measure_trapped();
	probe_detach_uprobes(at_return);
	probe_detach_uprobes(at_entry);
	trap_bpf__destroy(skeleton);
	return with > without ? (with - without) / 2 : TYPICAL_TRAP;
}

/* ---- how busy it is ---- */

void budget_measure_busy(unsigned cpus, uint64_t memory[], double ret_busy[])
{
	FILE *file = fopen("/proc/stat", "re");
	char line[512];

	for (unsigned cpu = 0; cpu < cpus; cpu++)
		ret_busy[cpu] = 1;
	while (file && fgets(line, sizeof(line), file)) {
		unsigned long long user, nice, system, idle, iowait, irq, softirq, steal;
		uint64_t all, unused, d_all, d_unused;
		unsigned cpu;

		if (sscanf(line, "cpu%u %llu %llu %llu %llu %llu %llu %llu %llu", &cpu, &user,
			   &nice, &system, &idle, &iowait, &irq, &softirq, &steal) != 9 ||
		    cpu >= cpus)
			continue;
		unused = idle + iowait;
		all = user + nice + system + unused + irq + softirq + steal;
		d_all = all - memory[2 * cpu];
		d_unused = unused - memory[2 * cpu + 1];
		memory[2 * cpu] = all;
		memory[2 * cpu + 1] = unused;
		if (d_all && d_unused <= d_all)
			ret_busy[cpu] = 1 - (double)d_unused / (double)d_all;
	}
	if (file)
		fclose(file);
}
