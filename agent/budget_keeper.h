/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps the agent within its budget: reads once a second what the probes see and what the agent uses, has the budget
 * (budget.h) decide, samples, opens and closes windows accordingly, and tells. Loop thread only.
 */
#ifndef LEADLINE_BUDGET_KEEPER_H
#define LEADLINE_BUDGET_KEEPER_H

#include "agent/budget_measure.h"
#include "agent/config.h"
#include "agent/metric.h"

struct budget_keeper;
struct loop;
struct probe;
struct probe_set;

extern const struct metric_desc *const budget_metrics[]; /* NULL-terminated, for the catalogue */

/* Over the probes that run. The set must outlive it. 0 or -errno. */
int budget_keeper_new(struct loop *loop, struct probe_set *probes, const struct config *config,
		      const struct budget_floor *floor, struct budget_keeper **ret_keeper);
/* All hooks are attached then; NULL is fine. */
void budget_keeper_free(struct budget_keeper *keeper);

/* Before probes are replaced: everything is recorded, and no probe known any more. */
void budget_keeper_release(struct budget_keeper *keeper);
/* After that, and when the configuration has changed. */
void budget_keeper_adopt(struct budget_keeper *keeper, const struct config *config);

void budget_keeper_write_metrics(struct budget_keeper *keeper, struct metric_writer *writer);
/* What is not recorded of a probe, for people; "" when nothing is missing. Returns `out`. */
const char *budget_keeper_note(const struct budget_keeper *keeper, const struct probe *probe,
			       char *out, size_t size);

#endif
