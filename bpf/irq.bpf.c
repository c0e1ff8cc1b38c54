// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What interrupts cost, and whom: time in hard interrupt handlers by line and in soft interrupts by vector, and the
 * sum of both charged to the thread that had the CPU.
 *
 * A hard interrupt may come in the midst of a soft one; its time is then taken off the soft one's, so that all parts
 * add up. Soft interrupts that ksoftirqd runs have a thread of their own and are stolen from nobody; those run at the
 * end of a system call that sent something are charged to the thread, as the kernel's own accounting does.
 *
 * Handlers run with interrupts off, soft interrupts do not nest on a CPU: one start per CPU and kind will do. A row
 * of this CPU is written from one of the two contexts only, hence without atomics.
 *
 * A busy network makes some hundred thousand soft interrupts a second, each shorter than twenty of these hooks: of those
 * that come in quick succession one in IRQ_SOFT_SAMPLE is timed and stands for all since the one before. Counts are exact
 * (but for those yet to be stood for), times estimated.
 *
 * The budget may take all hooks away for a while: then each that is seen stands for as many more as its lane says.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "lib/budget.bpf.h"
#include "lib/compat.bpf.h"
#include "lib/emit.bpf.h"
#include "lib/rows.bpf.h"
#include "lib/task.bpf.h"
#include "irq.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile struct irq_settings settings;

/* handler → row */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct irq_handler_key);
	__type(value, __u32);
} irq_handlers SEC(".maps");

DEFINE_FREE_ROWS(irq_free);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct irq_handler_record);
} irq_records SEC(".maps");

DEFINE_ROWS(irq_hard_rows, struct irq_hard_row);
DEFINE_ROWS(irq_soft_rows, struct hist); /* by vector */
DEFINE_ROWS(irq_stolen_rows, struct irq_stolen_row); /* by entity */

struct soft_state {
	__u64 timed_ns; /* when the last one that was timed ended */
	__u32 to_skip; /* of those to come */
	__u32 skipped; /* since then */
};

/* In cache lines of its own for each CPU. */
struct cpu_state {
	__u64 hard_began_ns; /* 0 outside */
	__u64 soft_began_ns; /* 0 outside, and in one that is skipped */
	__u64 hard_ns; /* so far */
	__u64 hard_ns_before; /* when the soft interrupt began */
	struct soft_state soft[IRQ_SOFT_COUNT];
	__u64 pad[6];
};
_Static_assert(sizeof(struct cpu_state) % 64 == 0, "whole cache lines");
DEFINE_ROWS(irq_cpus, struct cpu_state);

static __always_inline struct cpu_state *this_cpu(void)
{
	return row_of_this_cpu(&irq_cpus, 1, 0);
}

static __always_inline bool is_ksoftirqd(struct task_struct *task)
{
	static const char name[] = "ksoftirqd/";

	if (!(task->flags & PF_KTHREAD))
		return false;
	for (unsigned int i = 0; i < sizeof(name) - 1; i++)
		if (task->comm[i] != name[i])
			return false;
	return true;
}

/* The row of the interrupted thread's entity, or NULL when nothing is stolen. */
static __always_inline struct irq_stolen_row *victim_row(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_state *state;

	if (task->pid == 0 || is_ksoftirqd(task))
		return NULL;
	state = task_state_of(task);
	if (!state) {
		count_loss(LOSS_NO_TASK_STATE);
		return NULL;
	}
	return row_of_this_cpu(&irq_stolen_rows, settings.max_entities, state->entity);
}

/* Of irq_hard_rows; 0 for handlers beyond those it has rows for. */
static __noinline __u32 handler_row(__u32 irq, struct irqaction *action)
{
	struct irq_handler_key key = { .irq = irq, .action = (__u64)action };
	__u32 row = row_for_key(&irq_handlers, &irq_free, &key);
	struct irq_handler_record *record = bpf_map_lookup_elem(&irq_records, &row);

	if (!record || (!row && !record->in_use)) /* rows are not handed out yet */
		return settings.handlers;
	if (!record->in_use) {
		record->irq = irq;
		if (action)
			bpf_probe_read_kernel_str(record->name, sizeof(record->name),
						  BPF_CORE_READ(action, name));
		__sync_lock_test_and_set(&record->in_use, 1);
	}
	return row;
}

static __always_inline void hard_begins(void)
{
	struct cpu_state *cpu = this_cpu();

	budget_count();
	if (cpu)
		cpu->hard_began_ns = bpf_ktime_get_ns();
}

static __always_inline void hard_ends(__u32 irq, struct irqaction *action)
{
	struct cpu_state *cpu = this_cpu();
	struct budget_lane *lane = budget_lane();
	struct irq_stolen_row *stolen;
	struct irq_hard_row *row;
	__u64 ns, began_ns;

	if (!cpu || !cpu->hard_began_ns || !lane)
		return;
	began_ns = cpu->hard_began_ns;
	cpu->hard_began_ns = 0;
	if (began_ns < lane->window_began_ns)
		return;
	ns = bpf_ktime_get_ns() - began_ns;
	cpu->hard_ns += ns;
	row = row_of_this_cpu(&irq_hard_rows, settings.handlers, handler_row(irq, action));
	if (row) {
		row->ns += ns * lane->weight;
		row->count += lane->weight;
	}
	stolen = victim_row();
	if (stolen)
		stolen->hard_ns += ns * lane->weight;
}

SEC("tp_btf/irq_handler_entry")
int BPF_PROG(irq_hard_entry)
{
	hard_begins();
	return 0;
}

SEC("tp_btf/irq_handler_exit")
int BPF_PROG(irq_hard_exit, int irq, struct irqaction *action)
{
	hard_ends(irq, action);
	return 0;
}

SEC("tp_btf/local_timer_entry")
int BPF_PROG(irq_timer_entry)
{
	hard_begins();
	return 0;
}

SEC("tp_btf/local_timer_exit")
int BPF_PROG(irq_timer_exit)
{
	hard_ends(IRQ_LOCAL_TIMER, NULL);
	return 0;
}

static __always_inline __u32 row_of_vector(unsigned int vector)
{
	return at_most(vector, IRQ_SOFT_OTHER);
}

SEC("tp_btf/softirq_entry")
int BPF_PROG(irq_soft_entry, unsigned int vector)
{
	struct cpu_state *cpu = this_cpu();
	struct soft_state *soft;

	budget_count();
	if (!cpu)
		return 0;
	soft = &cpu->soft[row_of_vector(vector)];
	if (soft->to_skip) {
		soft->to_skip--;
		soft->skipped++;
		return 0;
	}
	cpu->hard_ns_before = cpu->hard_ns;
	cpu->soft_began_ns = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/softirq_exit")
int BPF_PROG(irq_soft_exit, unsigned int vector)
{
	struct cpu_state *cpu = this_cpu();
	struct irq_stolen_row *stolen;
	struct budget_lane *lane;
	struct soft_state *soft;
	struct hist *duration;
	__u64 now, ns, hard_ns, began_ns;
	__u32 row, times;

	if (!cpu || !cpu->soft_began_ns)
		return 0;
	began_ns = cpu->soft_began_ns;
	cpu->soft_began_ns = 0;
	lane = budget_lane();
	/* That one ended while the hooks were away. */
	if (!lane || began_ns < lane->window_began_ns)
		return 0;
	now = bpf_ktime_get_ns();
	ns = now - began_ns;
	hard_ns = cpu->hard_ns - cpu->hard_ns_before;
	ns = ns > hard_ns ? ns - hard_ns : 0;

	row = row_of_vector(vector);
	soft = &cpu->soft[row];
	times = soft->skipped + 1;
	soft->skipped = 0;
	soft->to_skip =
		now - soft->timed_ns < (__u64)times * IRQ_SOFT_RARE_NS ? IRQ_SOFT_SAMPLE - 1 : 0;
	soft->timed_ns = now;
	times *= lane->weight;

	duration = row_of_this_cpu(&irq_soft_rows, IRQ_SOFT_COUNT, row);
	if (duration)
		hist_record_times(duration, ns, times);
	stolen = victim_row();
	if (stolen)
		stolen->soft_ns += ns * times;
	return 0;
}
