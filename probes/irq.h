/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables that bpf/irq.bpf.c fills, apart from the probe around them, so that tests can make their own.
 * Loop thread only.
 */
#ifndef LEADLINE_PROBE_IRQ_H
#define LEADLINE_PROBE_IRQ_H

#include <stdint.h>
#include "agent/metric.h"
#include "bpf/irq.h"

extern const struct metric_desc irq_seconds_metric, irq_count_metric, irq_soft_duration_metric,
	irq_stolen_metric;

struct irq_tables { /* memory shared with the kernel side; row r of CPU c at c * rows + r */
	unsigned cpus, handlers, entities;
	struct irq_handler_record *record; /* by handler, for all CPUs */
	struct irq_hard_row *hard; /* by handler */
	struct hist *soft; /* by vector, IRQ_SOFT_COUNT of them */
	struct irq_stolen_row *stolen; /* by entity */
};

struct irq_totals {
	uint64_t interrupts; /* of both kinds */
	uint64_t unattributed; /* of them, those of handlers that found no row */
};

/* Writes all rows as series and starts the maxima anew. Returns how much there was. */
struct irq_totals irq_tables_write(const struct irq_tables *tables, struct metric_writer *writer);

/* Clears what is kept under an entity. */
void irq_tables_forget(const struct irq_tables *tables, uint32_t entity);

#endif
