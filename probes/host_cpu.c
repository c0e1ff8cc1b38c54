// SPDX-License-Identifier: Apache-2.0
/* See host_cpu.h. */
#include "probes/host_cpu.h"

/* The CPUs' idle times are read one after the other while they run: seconds, not minutes. */
#define STEP_BACK_SECONDS 3

static struct host_cpu_sample take_sample(const struct host_stat *stat, uint64_t now_ns)
{
	struct host_cpu_sample sample = { .when_ns = now_ns };

	for (int mode = 0; mode < HOST_CPU_MODES; mode++)
		sample.total += stat->ticks[mode];
	sample.busy = sample.total - stat->ticks[HOST_CPU_IDLE] - stat->ticks[HOST_CPU_IOWAIT];
	return sample;
}

bool host_cpu_utilization(struct host_cpu *cpu, const struct host_stat *stat, uint64_t now_ns,
			  double *ret_ratio)
{
	struct host_cpu_sample now = take_sample(stat, now_ns);
	const struct host_cpu_sample *base = &cpu->base;
	uint64_t busy, total;

	if (!cpu->recent.when_ns)
		cpu->recent = now;
	if (now_ns - cpu->recent.when_ns >= HOST_CPU_INTERVAL_NS) {
		cpu->base = cpu->recent;
		cpu->recent = now;
	}
	if (!base->when_ns)
		base = &cpu->recent;
	if (now_ns - base->when_ns < HOST_CPU_INTERVAL_NS / 10 || now.total <= base->total)
		return false;
	total = now.total - base->total;
	busy = now.busy > base->busy ? now.busy - base->busy : 0;
	*ret_ratio = busy < total ? (double)busy / (double)total : 1;
	return true;
}

double host_cpu_seconds(struct host_cpu *cpu, const struct host_stat *stat, enum host_cpu_mode mode)
{
	uint64_t *shown = &cpu->shown[mode], now = stat->ticks[mode];
	uint64_t margin = STEP_BACK_SECONDS * cpu->ticks_per_second * stat->cpus;

	if (now > *shown || *shown - now > margin)
		*shown = now;
	return (double)*shown / (double)cpu->ticks_per_second;
}
