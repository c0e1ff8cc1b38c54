// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Duration and result of every system call, by entity. The hottest hooks of the agent: two tracepoints
 * at each call of each process. Hence no hash, no atomic and no map created on the way; entering stores
 * the time in the thread's state, leaving finds its row by two array lookups.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "lib/budget.bpf.h"
#include "lib/compat.bpf.h"
#include "lib/emit.bpf.h"
#include "lib/rows.bpf.h"
#include "lib/syscall.bpf.h"
#include "lib/task.bpf.h"
#include "syscalls.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile struct syscalls_settings settings;

DEFINE_ROWS(syscall_rows, struct syscall_row);
DEFINE_FREE_ROWS(syscall_free);

/* By entity. Written here, cleared by the user side when it recycles the entity. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct syscall_index);
} syscall_index SEC(".maps");

/* By row: SYSCALL_KEY() of what it holds; element 0: enum syscall_rows_state. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} syscall_keys SEC(".maps");

#define ROW_OTHER 0
#define ROW_NONE  0xffffffff

/*
 * A row for a pair seen for the first time. Two CPUs may do this for one pair at once: both rows are
 * then marked with the same key, and the user side adds up what it finds under equal keys.
 */
static __noinline __u32 take_row(__u32 entity, __u32 slot, __u16 *published)
{
	__u64 *state = bpf_map_lookup_elem(&syscall_keys, &(__u32){ 0 });
	__u64 *key;
	__u32 row;

	if (!state || !published || *state == SYSCALL_ROWS_CLOSED)
		return ROW_NONE;
	if (*state == SYSCALL_ROWS_EXHAUSTED)
		return ROW_OTHER;
	if (bpf_map_pop_elem(&syscall_free, &row)) {
		*state = SYSCALL_ROWS_EXHAUSTED;
		return ROW_OTHER;
	}
	key = bpf_map_lookup_elem(&syscall_keys, &row);
	if (!key)
		return ROW_OTHER;
	*key = SYSCALL_KEY(entity, slot);
	*published = row;
	return row;
}

static __always_inline __u32 row_of(__u32 entity, __u32 slot)
{
	struct syscall_index *index = bpf_map_lookup_elem(&syscall_index, &entity);
	__u32 row;

	if (!index || slot >= SYSCALL_SLOTS)
		return ROW_OTHER;
	row = index->row[slot];
	return row ? row : take_row(entity, slot, &index->row[slot]);
}

static __always_inline void count_error(struct syscall_row *row, __u16 number, __u32 times)
{
	for (int i = 0; i < SYSCALL_ERRORS - 1; i++) {
		if (!row->error_number[i])
			row->error_number[i] = number;
		if (row->error_number[i] == number) {
			row->error_count[i] += times;
			return;
		}
	}
	row->error_number[SYSCALL_ERRORS - 1] = SYSCALL_ERROR_OTHER;
	row->error_count[SYSCALL_ERRORS - 1] += times;
}

/*
 * The agent's own calls go the same way when it wants to see what that costs (agent/budget_calls.c), but stand for none.
 */
static __always_inline int enter(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct budget_lane *lane = budget_lane();
	struct task_state *state;
	__u64 now_ns;
	bool is_own;

	if (!lane || !budget_takes(lane))
		return 0;
	state = task_state_of(task);
	if (!state) {
		lane->last_pid = 0;
		count_loss(LOSS_NO_TASK_STATE);
		return 0;
	}
	is_own = state->entity == ENTITY_EXCLUDED;
	if (is_own && !lane->takes_own)
		return 0;
	now_ns = bpf_ktime_get_ns();
	if (!is_own && lane->window_ends_ns && now_ns >= lane->window_ends_ns) {
		lane->last_pid = 0;
		return 0;
	}
	state->syscall_entered_ns = now_ns;
	if (lane->spread)
		budget_keep_pace(lane, task, state, now_ns);
	if (is_own) {
		lane->own_is_marked = task_is_marked_by_rcu(task);
		state->syscall_weight = 0;
	} else {
		state->syscall_weight = budget_weight(lane, state, task_is_marked_by_rcu(task));
	}
	lane->last_ns = now_ns;
	return 0;
}

static __always_inline int leave(long number, long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_state *state = task_state_of(task);
	struct budget_lane *lane;
	struct syscall_row *row;
	__u64 entered_ns, left_ns;

	/* Not recorded; or a child returning from fork, or who was inside when the hooks came. */
	if (!state || !state->syscall_entered_ns)
		return 0;
	entered_ns = state->syscall_entered_ns;
	state->syscall_entered_ns = 0;

	lane = budget_lane();
	/* While the hooks were away that call ended and others came. */
	if (!lane || entered_ns < lane->window_began_ns)
		return 0;
	row = row_of_this_cpu(&syscall_rows, settings.rows,
			      row_of(state->entity, syscall_slot_of(task, number)));
	if (!row)
		return 0;
	left_ns = bpf_ktime_get_ns();
	if (left_ns < entered_ns || !state->syscall_weight)
		left_ns = entered_ns;
	hist_record_times(&row->duration, left_ns - entered_ns, state->syscall_weight);
	if (result < 0 && result >= -SYSCALL_ERROR_MAX && state->syscall_weight)
		count_error(row, -result, state->syscall_weight);
	return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(syscalls_enter)
{
	return enter();
}

SEC("tp_btf/sys_exit")
int BPF_PROG(syscalls_exit, struct pt_regs *regs, long result)
{
	return leave(syscall_number(regs), result);
}

SEC("tracepoint/raw_syscalls/sys_enter")
int syscalls_enter_classic(void *ctx)
{
	return enter();
}

SEC("tracepoint/raw_syscalls/sys_exit")
int syscalls_exit_classic(struct trace_event_raw_sys_exit *ctx)
{
	return leave(ctx->id, ctx->ret);
}
