// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Who a thread is: gives each thread an entity id in task storage, and keeps it true when the thread
 * group execs, renames itself, moves to another cgroup or exits. Runs at rare events only; the hot
 * hooks of the probes just look the id up.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "lib/cgroup.bpf.h"
#include "lib/budget.bpf.h"
#include "lib/compat.bpf.h"
#include "lib/emit.bpf.h"
#include "lib/rows.bpf.h"
#include "lib/task.bpf.h"
#include "entity.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile struct entity_settings settings;

/* key → id. Entries leave when the user side recycles the id. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct entity_key);
	__type(value, __u32);
} entity_ids SEC(".maps");

DEFINE_FREE_ROWS(entity_free);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct entity_record);
} entity_records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct entity_globals);
} entity_globals SEC(".maps");

static __always_inline void request_refresh(void)
{
	struct entity_globals *globals = bpf_map_lookup_elem(&entity_globals, &(__u32){ 0 });

	if (globals)
		__sync_fetch_and_add(&globals->refresh_requests, 1);
}

static __always_inline bool is_own(struct task_struct *task)
{
	struct entity_globals *globals = bpf_map_lookup_elem(&entity_globals, &(__u32){ 0 });

	return globals && (__u32)BPF_CORE_READ(task, tgid) == globals->own_tgid;
}

static __always_inline struct kernfs_node *cgroup_of(struct task_struct *task,
						     struct entity_key *key)
{
	struct css_set *css_set = BPF_CORE_READ(task, cgroups);
	struct cgroup *unified = BPF_CORE_READ(css_set, dfl_cgrp);
	struct kernfs_node *node = BPF_CORE_READ(unified, kn);
	struct cgroup_subsys_state *css = NULL;
	int subsystem = v1_subsystem(settings.v1_controller);

	key->hierarchy = 0;
	if (subsystem >= 0 && BPF_CORE_READ(unified, level) == 0) {
		bpf_core_read(&css, sizeof(css), &css_set->subsys[subsystem & 15]);
		if (css) {
			node = BPF_CORE_READ(css, cgroup, kn);
			key->hierarchy = 1 + subsystem;
		}
	}
	key->cgroup_id = BPF_CORE_READ(node, id);
	return node;
}

/* Kernel threads are named name/cpu:work; without the tail there are few of them. */
static __always_inline void cut_kernel_thread_name(char comm[ENTITY_COMM_SIZE])
{
	bool cut = false;

	for (int i = 0; i < ENTITY_COMM_SIZE; i++) {
		if (comm[i] == '/' || comm[i] == ':')
			cut = true;
		if (cut)
			comm[i] = 0;
	}
}

static __always_inline __u64 count_renames(void)
{
	struct entity_globals *globals = bpf_map_lookup_elem(&entity_globals, &(__u32){ 0 });

	return globals ? globals->renames : 0;
}

/* Counted before, so that a rename meanwhile makes them be read again. */
static __always_inline void fill_names(struct entity_record *record, struct kernfs_node *node,
				       __u64 renames)
{
	for (int i = 0; i < CGROUP_NAMES; i++) {
		const char *name = NULL;

		if (node) {
			name = BPF_CORE_READ(node, name);
			node = kernfs_parent(node);
		}
		if (!name ||
		    bpf_probe_read_kernel_str(record->cgroup_names[i], CGROUP_NAME_SIZE, name) < 0)
			record->cgroup_names[i][0] = 0;
	}
	__sync_lock_test_and_set(&record->renames, renames);
}

static __always_inline void fill_record(struct entity_record *record, const struct entity_key *key,
					struct kernfs_node *node)
{
	record->key = *key;
	fill_names(record, node, count_renames());
	__sync_lock_test_and_set(&record->in_use, 1);
}

/* `new_comm`: the leader's name to be, where the hook runs before it is stored; else NULL. */
static __noinline __u32 entity_for(struct task_struct *task, const char *new_comm)
{
	struct entity_key key = {};
	struct task_struct *leader;
	struct entity_record *record;
	struct kernfs_node *node;
	__u32 id;

	if (!task)
		return ENTITY_OTHER;
	leader = BPF_CORE_READ(task, group_leader);
	if (is_own(task))
		return ENTITY_EXCLUDED;
	if (new_comm)
		bpf_probe_read_kernel_str(key.comm, sizeof(key.comm), new_comm);
	else
		BPF_CORE_READ_STR_INTO(&key.comm, leader, comm);
	if (BPF_CORE_READ(task, flags) & PF_KTHREAD) {
		key.is_kernel_thread = 1;
		cut_kernel_thread_name(key.comm);
	}
	node = cgroup_of(task, &key);

	id = row_for_key(&entity_ids, &entity_free, &key);
	if (id == ENTITY_OTHER) {
		count_loss(LOSS_TABLE_FULL);
		return ENTITY_OTHER;
	}
	record = bpf_map_lookup_elem(&entity_records, &id);
	if (record && !record->in_use)
		fill_record(record, &key, node);
	return id;
}

static __always_inline void count_thread(__u32 id, int change)
{
	struct entity_record *record = bpf_map_lookup_elem(&entity_records, &id);

	if (!record)
		return;
	__sync_fetch_and_add(&record->live_threads, change);
	if (change < 0 && record->live_threads == 0)
		record->last_thread_left_ns = bpf_ktime_get_ns();
}

static __always_inline void assign_entity(struct task_state *state, __u32 id, bool is_new)
{
	if (!is_new && state->entity == id)
		return;
	count_thread(id, 1);
	if (!is_new)
		count_thread(state->entity, -1);
	state->entity = id;
}

static __always_inline void refresh_task(struct task_struct *task, const char *new_comm)
{
	struct task_state *state = task_state_of(task);

	if (state)
		assign_entity(state, entity_for(task, new_comm), false);
}

static __always_inline void take_baseline(struct task_state *state, struct task_struct *task)
{
	state->left_cpu_ns = bpf_ktime_get_ns();
	state->exec_runtime_ns = task->se.sum_exec_runtime;
	state->run_delay_ns = task->sched_info.run_delay;
	state->migrations = task->se.nr_migrations;
	state->voluntary_switches = task->nvcsw;
	state->involuntary_switches = task->nivcsw;
	state->user_ns = task->utime;
	state->system_ns = task->stime;
	state->minor_faults = task->min_flt;
	state->major_faults = task->maj_flt;
	state->read_bytes = task_read_bytes(task);
	state->write_bytes = task_write_bytes(task);
}

static __always_inline void adopt_task(struct task_struct *task)
{
	struct task_state *state = task_state_of(task);
	bool is_new = !state;

	if (is_new)
		state = bpf_task_storage_get(&task_states, task, NULL,
					     BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!state) {
		count_loss(LOSS_NO_TASK_STATE);
		request_refresh(); /* another attempt */
		return;
	}
	assign_entity(state, entity_for(task, NULL), is_new);
	if (is_new) /* what it has done so far is not ours to count; zeroes for a new thread */
		take_baseline(state, task);
}

/* The group of a task, or one above it, may be called otherwise since its entity's names were read. */
static __always_inline void reread_names(struct task_struct *task)
{
	struct task_state *state = task_state_of(task);
	struct entity_record *record;
	struct entity_key key = {};
	__u64 renames = count_renames();
	__u32 id;

	if (!state)
		return;
	id = state->entity;
	record = bpf_map_lookup_elem(&entity_records, &id);
	if (record && record->in_use && record->renames != renames)
		fill_names(record, cgroup_of(task, &key), renames);
}

/* All threads there are, at start and whenever a refresh was asked for. Runs in the agent. */
SEC("iter/task")
int entity_pass(struct bpf_iter__task *ctx)
{
	struct entity_globals *globals = bpf_map_lookup_elem(&entity_globals, &(__u32){ 0 });
	struct task_struct *task = ctx->task;

	if (globals)
		globals->own_tgid = bpf_get_current_pid_tgid() >> 32;
	if (task && !(task->flags & PF_EXITING)) {
		adopt_task(task);
		reread_names(task);
	}
	return 0;
}

SEC("tp_btf/task_newtask")
int BPF_PROG(entity_newtask, struct task_struct *task)
{
	budget_count();
	adopt_task(task);
	return 0;
}

/*
 * Covers exec too, which renames; the other threads of a renamed leader wait for the next pass. That costs about 1 us for each thread of the
 * host: not worth it for a process of one, as all are that run exec.
 */
SEC("tp_btf/task_rename")
int BPF_PROG(entity_rename, struct task_struct *task, const char *comm)
{
	budget_count();
	if (task->pid != task->tgid)
		return 0;
	refresh_task(task, comm);
	if (task_has_others(task) && !is_own(task))
		request_refresh();
	return 0;
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(entity_attach, struct cgroup *cgroup, const char *path, struct task_struct *task)
{
	budget_count();
	refresh_task(task, NULL);
	if (task_has_others(task))
		request_refresh();
	return 0;
}

/* Of version 1; version 2 has no renaming. */
SEC("tp_btf/cgroup_rename")
int BPF_PROG(entity_group_rename, struct cgroup *cgroup, const char *path)
{
	struct entity_globals *globals = bpf_map_lookup_elem(&entity_globals, &(__u32){ 0 });

	budget_count();
	if (globals)
		__sync_fetch_and_add(&globals->renames, 1);
	request_refresh();
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(entity_exit, struct task_struct *task)
{
	struct task_state *state = task_state_of(task);

	budget_count();
	if (state)
		count_thread(state->entity, -1);
	return 0;
}
