/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Wire structures between bpf/irq.bpf.c and probes/irq.c. Times in ns. */
#ifndef LEADLINE_IRQ_WIRE_H
#define LEADLINE_IRQ_WIRE_H

#include "lib/hist.h"

/* As include/linux/interrupt.h numbers them, and as /proc/softirqs names them. */
#define IRQ_SOFT_VECTORS(X)                                                                        \
	X(HI)                                                                                      \
	X(TIMER)                                                                                   \
	X(NET_TX)                                                                                  \
	X(NET_RX)                                                                                  \
	X(BLOCK)                                                                                   \
	X(IRQ_POLL)                                                                                \
	X(TASKLET)                                                                                 \
	X(SCHED)                                                                                   \
	X(HRTIMER)                                                                                 \
	X(RCU)

enum irq_soft_vector {
#define X(name) IRQ_SOFT_##name,
	IRQ_SOFT_VECTORS(X)
#undef X
		IRQ_SOFT_OTHER, /* a number this list does not know */
	IRQ_SOFT_COUNT,
};

/* Of soft interrupts that come more often than every IRQ_SOFT_RARE_NS on a CPU, one in so many is timed. */
#define IRQ_SOFT_SAMPLE	 8
#define IRQ_SOFT_RARE_NS 50000

/* In the place of a number: the timer of the CPU itself, where it is no line like others (x86). */
#define IRQ_LOCAL_TIMER 0xffffffffU

/* Lines may be shared: each handler has a row of its own. */
struct irq_handler_key {
	__u32 irq;
	__u32 pad;
	__u64 action; /* struct irqaction; 0 for IRQ_LOCAL_TIMER */
};

#define IRQ_NAME_SIZE 32

/*
 * What a row of irq_hard_rows stands for; the same for all CPUs. Row 0 takes the handlers that found no free row; it is
 * in use once the user side has filled the queue of free rows.
 */
struct irq_handler_record {
	__u32 irq;
	__u32 in_use; /* set last */
	char name[IRQ_NAME_SIZE]; /* as the driver asked for it; empty for IRQ_LOCAL_TIMER */
};

/* What one CPU spent in one handler. */
struct irq_hard_row {
	__u64 ns;
	__u64 count;
};

/* What interrupts took from an entity's threads on one CPU. Each field is written from one context only. */
struct irq_stolen_row {
	__u64 hard_ns;
	__u64 soft_ns;
};

struct irq_settings {
	__u32 max_entities;
	__u32 handlers; /* rows of irq_hard_rows, per CPU */
};

#endif
