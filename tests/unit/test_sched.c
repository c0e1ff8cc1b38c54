// SPDX-License-Identifier: Apache-2.0
/* The sched probe and the entity table without a kernel: wire sizes, program names, reasons to wait. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <sys/syscall.h>
#include <bpf/libbpf.h>
#include "agent/entity.h"
#include "bpf/entity.h"
#include "bpf/lib/task.h"
#include "bpf/sched.h"
#include "probes/probe.h"
#include "probes/wait_reasons.h"
#include "entity.skel.h"
#include "sched.skel.h"

static void assert_programs_exist(const struct bpf_object *object, const struct probe_desc *desc)
{
	for (const struct hook *hook = desc->hooks; hook->name; hook++) {
		assert_non_null(hook->alternatives[0].program);
		for (int i = 0; i < HOOK_MAX_ALTERNATIVES && hook->alternatives[i].program; i++)
			assert_non_null(bpf_object__find_program_by_name(
				object, hook->alternatives[i].program));
	}
}

static void sched_object_has_what_the_hooks_name(void **state)
{
	struct sched_bpf *skeleton = sched_bpf__open();

	assert_non_null(skeleton);
	assert_programs_exist(skeleton->obj, &probe_sched);
	assert_int_equal(bpf_map__value_size(skeleton->maps.sched_rows), sizeof(struct sched_row));
	assert_int_equal(bpf_map__value_size(skeleton->maps.sched_culprit_keys),
			 sizeof(struct culprit_key));
	assert_int_equal(bpf_map__value_size(skeleton->maps.task_states),
			 sizeof(struct task_state));
	assert_int_equal(sizeof(skeleton->rodata->settings), sizeof(struct sched_settings));
	sched_bpf__destroy(skeleton);
}

static void entity_object_has_what_the_hooks_name(void **state)
{
	struct entity_bpf *skeleton = entity_bpf__open();

	assert_non_null(skeleton);
	assert_programs_exist(skeleton->obj, &probe_entity);
	assert_int_equal(bpf_map__key_size(skeleton->maps.entity_ids), sizeof(struct entity_key));
	assert_int_equal(bpf_map__value_size(skeleton->maps.entity_records),
			 sizeof(struct entity_record));
	assert_int_equal(bpf_map__value_size(skeleton->maps.entity_globals),
			 sizeof(struct entity_globals));
	assert_int_equal(bpf_map__value_size(skeleton->maps.task_states),
			 sizeof(struct task_state));
	entity_bpf__destroy(skeleton);
}

static void every_reason_has_a_name_of_its_own(void **state)
{
	for (int i = 0; i < WAIT_REASON_COUNT; i++) {
		assert_non_null(wait_reason_name(i));
		for (int j = 0; j < i; j++)
			assert_string_not_equal(wait_reason_name(i), wait_reason_name(j));
	}
}

static void system_calls_wait_for_what_they_do(void **state)
{
	uint8_t table[WAIT_SYSCALLS] = { 0 };

	wait_reasons_fill(table);
	assert_int_equal(table[SYS_futex], WAIT_LOCK);
	assert_int_equal(table[SYS_pread64], WAIT_DISK);
	assert_int_equal(table[SYS_nanosleep], WAIT_SLEEP);
	assert_int_equal(table[SYS_wait4], WAIT_CHILD);
	assert_int_equal(table[SYS_epoll_pwait], WAIT_POLL);
	assert_int_equal(table[SYS_recvfrom], WAIT_NETWORK);
	assert_int_equal(table[SYS_read], WAIT_BY_FILE); /* depends on what is read */
	assert_int_equal(table[SYS_getpid], WAIT_OTHER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sched_object_has_what_the_hooks_name),
		cmocka_unit_test(entity_object_has_what_the_hooks_name),
		cmocka_unit_test(every_reason_has_a_name_of_its_own),
		cmocka_unit_test(system_calls_wait_for_what_they_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
