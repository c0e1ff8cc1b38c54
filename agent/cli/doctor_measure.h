/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leadline doctor --measure: what each hook costs on this host now, by the kernel's own statistics of BPF programs. The probes
 * must be attached, by this process.
 */
#ifndef LEADLINE_DOCTOR_MEASURE_H
#define LEADLINE_DOCTOR_MEASURE_H

#include <jansson.h>
#include <stdio.h>
#include "agent/budget_measure.h"
#include "agent/probe_set.h"

#define DOCTOR_MEASURE_SECONDS 4

struct doctor_cost {
	const char *probe, *hook;
	double runs; /* a second */
	double ns; /* of one run, reaching it included */
	double share; /* of the machine's CPU, 1 is all of it */
};

struct doctor_measurement {
	double seconds;
	struct budget_floor floor;
	struct doctor_cost *costs; /* the dearest first */
	size_t n;
};

/*
 * Takes DOCTOR_MEASURE_SECONDS. `floor` was measured before the probes were attached. 0; -EPERM without CAP_SYS_ADMIN; another
 * -errno. On failure there is nothing to free.
 */
int doctor_measure(struct probe_set *probes, const struct budget_floor *floor,
		   struct doctor_measurement *ret_measurement);
void doctor_measurement_free(struct doctor_measurement *measurement);

void doctor_measurement_print(FILE *out, const struct doctor_measurement *measurement);
json_t *doctor_measurement_describe(const struct doctor_measurement *measurement);

#endif
