/* SPDX-License-Identifier: Apache-2.0 */
/* CPU utilization and CPU counters from successive readings of /proc/stat. Pure state, any one thread. */
#ifndef LEADLINE_HOST_CPU_H
#define LEADLINE_HOST_CPU_H

#include <stdbool.h>
#include <stdint.h>
#include "probes/host_parse.h"

struct host_cpu_sample {
	uint64_t when_ns; /* 0: none */
	uint64_t busy, total; /* ticks */
};

struct host_cpu {
	uint64_t ticks_per_second; /* set by the owner, the rest starts as 0 */
	struct host_cpu_sample base, recent; /* earlier ones, at least HOST_CPU_INTERVAL_NS apart */
	uint64_t shown[HOST_CPU_MODES];
};

/*
 * What a utilization covers at least: ticks are 10 ms, and two scrapes in a row must not make it jump
 * between 0 and 1. Right after the start a tenth of it is better than nothing.
 */
#define HOST_CPU_INTERVAL_NS 1000000000ULL

/*
 * Takes a reading made at now_ns (monotonic, not 0). True with the busy share, 0 to 1, since the youngest
 * earlier reading that is old enough; false while too little time has passed to say.
 */
bool host_cpu_utilization(struct host_cpu *cpu, const struct host_stat *stat, uint64_t now_ns,
			  double *ret_ratio);

/*
 * Seconds spent in a mode since boot, as a counter that does not go back: idle and iowait may, a little
 * (proc(5)), and then stand still until they have caught up. A big step back is a new start.
 */
double host_cpu_seconds(struct host_cpu *cpu, const struct host_stat *stat,
			enum host_cpu_mode mode);

#endif
