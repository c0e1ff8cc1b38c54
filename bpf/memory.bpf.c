// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What memory costs programs: page faults, and the time threads are held up to find free pages or to let dirty ones be
 * written; besides, what they read and write on disks.
 *
 * No hook in the path of a fault or of a read: the kernel counts both per thread, and what the counts grew by is added
 * up by memory_pass, which the agent runs at a collection, and when a thread exits. So even a process that lives
 * between two collections is counted in full. What a process did before an exec since the last pass is counted for the
 * program it became.
 *
 * All hooks are at rare events, hence rows that all CPUs share.
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
#include "memory.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile struct memory_settings settings;

DEFINE_ROWS(memory_rows, struct memory_row);

/* {entity, stall} → row */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct memory_stall_key);
	__type(value, __u32);
} memory_stalls SEC(".maps");

DEFINE_FREE_ROWS(memory_stall_free);
DEFINE_ROWS(memory_stall_rows, struct memory_stall_row);

/* ---- faults, and bytes read and written ---- */

/*
 * Growth of a total since it was last counted. A pass on another CPU may have read the total before the exit did and
 * come here after: then the exit has counted everything.
 */
static __always_inline void count_growth(__u64 *row_field, __u64 *counted, __u64 total)
{
	__s64 growth;

	if (*counted == total)
		return;
	growth = total - __sync_lock_test_and_set(counted, total);
	if (growth > 0)
		ROW_ADD_ATOMIC(*row_field, growth);
}

static __always_inline void settle(struct task_struct *task)
{
	struct task_state *seen = task_state_of(task);
	struct memory_row *row;

	if (!seen) {
		count_loss(LOSS_NO_TASK_STATE);
		return;
	}
	row = bpf_map_lookup_elem(&memory_rows, &seen->entity);
	if (!row) /* excluded */
		return;
	count_growth(&row->minor_faults, &seen->minor_faults, task->min_flt);
	count_growth(&row->major_faults, &seen->major_faults, task->maj_flt);
	count_growth(&row->read_bytes, &seen->read_bytes, task_read_bytes(task));
	count_growth(&row->write_bytes, &seen->write_bytes, task_write_bytes(task));
}

SEC("iter/task")
int memory_pass(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	if (task && !(task->flags & PF_EXITING))
		settle(task);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(memory_exit, struct task_struct *task)
{
	budget_count();
	settle(task);
	return 0;
}

/* ---- stalls ---- */

static __always_inline struct memory_stall_row *stall_row(__u32 entity, __u32 stall)
{
	struct memory_stall_key key = { .entity = entity, .stall = stall };
	__u32 number = row_for_key(&memory_stalls, &memory_stall_free, &key);
	struct memory_stall_row *row = bpf_map_lookup_elem(&memory_stall_rows, &number);

	if (!row || (!number && !row->in_use)) /* rows are not handed out yet */
		return NULL;
	if (!row->in_use) {
		row->key = key;
		__sync_lock_test_and_set(&row->in_use, 1);
	}
	return row;
}

static __always_inline int stall_begins(void)
{
	struct task_state *seen = task_state_of(bpf_get_current_task_btf());

	if (seen)
		seen->stall_began_ns = bpf_ktime_get_ns();
	else
		count_loss(LOSS_NO_TASK_STATE);
	return 0;
}

static __always_inline int stall_ends(__u32 stall)
{
	struct task_state *seen = task_state_of(bpf_get_current_task_btf());
	struct memory_stall_row *row;
	__u64 ns;

	if (!seen || !seen->stall_began_ns)
		return 0;
	ns = bpf_ktime_get_ns() - seen->stall_began_ns;
	seen->stall_began_ns = 0;
	if (seen->entity == ENTITY_EXCLUDED)
		return 0;
	row = stall_row(seen->entity, stall);
	if (row)
		hist_record_shared(&row->duration, ns);
	return 0;
}

SEC("tp_btf/mm_vmscan_direct_reclaim_begin")
int BPF_PROG(memory_direct_begin)
{
	budget_count();
	return stall_begins();
}

SEC("tp_btf/mm_vmscan_direct_reclaim_end")
int BPF_PROG(memory_direct_end)
{
	budget_count();
	return stall_ends(MEMORY_STALL_DIRECT);
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_begin")
int BPF_PROG(memory_memcg_begin)
{
	budget_count();
	return stall_begins();
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_end")
int BPF_PROG(memory_memcg_end)
{
	budget_count();
	return stall_ends(MEMORY_STALL_MEMCG);
}

/* What kcompactd and khugepaged do in the background holds up nobody. */
static __always_inline bool is_kernel_thread(void)
{
	return bpf_get_current_task_btf()->flags & PF_KTHREAD;
}

SEC("tp_btf/mm_compaction_begin")
int BPF_PROG(memory_compaction_begin)
{
	budget_count();
	return is_kernel_thread() ? 0 : stall_begins();
}

SEC("tp_btf/mm_compaction_end")
int BPF_PROG(memory_compaction_end)
{
	budget_count();
	return is_kernel_thread() ? 0 : stall_ends(MEMORY_STALL_COMPACTION);
}

/* ---- dirty pages ---- */

/*
 * Called before the pause, which is in jiffies; not positive when there is none. The timer rounds up, so that a pause of
 * n jiffies takes from n to n + 1 of them: half a one is added.
 */
static __always_inline int count_pause(long pause)
{
	struct task_state *seen;
	struct memory_row *row;

	if (pause <= 0)
		return 0;
	seen = task_state_of(bpf_get_current_task_btf());
	if (!seen) {
		count_loss(LOSS_NO_TASK_STATE);
		return 0;
	}
	row = bpf_map_lookup_elem(&memory_rows, &seen->entity);
	if (row)
		ROW_ADD_ATOMIC(row->throttled_ns, pause * settings.tick_ns + settings.tick_ns / 2);
	return 0;
}

SEC("tp_btf/balance_dirty_pages")
int memory_dirty_pause(unsigned long long *arguments)
{
	budget_count();
	return count_pause(arguments[6]);
}

/* As long as the thresholds were passed one by one, not as a dirty_throttle_control. */
SEC("tp_btf/balance_dirty_pages")
int memory_dirty_pause_12(unsigned long long *arguments)
{
	budget_count();
	return count_pause(arguments[10]);
}
