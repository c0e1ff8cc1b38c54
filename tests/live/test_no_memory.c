// SPDX-License-Identifier: Apache-2.0
/*
 * Memory runs out while probes are made: each says so and leaves nothing in the kernel; and the same for what else
 * stands on the kernel. What does not: tests/unit/test_out_of_memory.c.
 */
#include "tests/harness/harness.h"
#include <bpf/libbpf.h>
#include <errno.h>
#include <unistd.h>
#include "agent/caps.h"
#include "agent/entity.h"
#include "agent/lifecycle.h"
#include "agent/log.h"
#include "agent/probe_set.h"
#include "agent/registry.h"
#include "agent/zoom.h"
#include "tests/harness/out_of_memory.h"

static struct {
	struct buffer errors;
	struct config *config;
	struct caps *caps;
	struct probe_environment environment;
	struct zoom_target target; /* this process */
	struct probe *entity; /* runs: the others share its task storage */
} world;

static const char *const *no_labels(void *context, uint32_t entity)
{
	static const char *const labels[ENTITY_LABELS] = { "", "", "", "", "" };

	return labels;
}

/* ---- probes ---- */

/* Up, or failed with a reason; whatever runs can be collected from and freed. */
static enum probe_state attempt(const struct probe_desc *desc, unsigned n, unsigned *ret_failed)
{
	enum probe_state state = PROBE_FAILED;
	struct registry *registry;
	struct probe *probe;

	allocations_fail_at(n, false);
	probe = probe_new(desc, &world.environment);
	if (probe && !probe_load(probe))
		probe_attach(probe);
	*ret_failed = allocations_succeed();
	if (!probe)
		return state;
	state = probe_current_state(probe);
	if (state == PROBE_FAILED) {
		if (!*probe_reason(probe))
			test_fail("%s: allocation %u fails, and there is no reason", desc->name, n);
	} else {
		registry = registry_new(no_labels, NULL);
		assert_non_null(registry);
		assert_int_equal(probe_collect(probe, registry_begin(registry)), 0);
		snapshot_put(registry_finish(registry));
		registry_free(registry);
	}
	probe_free(probe);
	return state;
}

static void a_probe_fails_in_order(void **state)
{
	const struct probe_desc *desc = *state;
	unsigned n = 0, failed;

	if (desc->lender)
		test_skip("%s runs on the maps of %s, which is not there", desc->name,
			  desc->lender->name);
	do {
		enum probe_state result = attempt(desc, ++n, &failed);

		if (!failed && result == PROBE_FAILED)
			test_fail("%s fails with all the memory it wants", desc->name);
	} while (failed);
	assert_in_range(n, 2, 1000);
}

/* ---- the rest ---- */

static int make_caps(void **ret_made)
{
	char error[256];

	return caps_new("", (struct caps **)ret_made, error, sizeof(error));
}

static void undo_caps(void *caps)
{
	caps_free(caps);
}

static int make_table(void **ret_made)
{
	struct entity_table *table = entity_table_new(world.entity, 1000000000);

	if (!table)
		return -ENOMEM;
	*ret_made = table;
	return 0;
}

static void undo_table(void *table)
{
	entity_table_free(table);
}

static int make_zoom(void **ret_made)
{
	char error[512];

	return zoom_start(world.config, &world.target, (struct zoom **)ret_made, error,
			  sizeof(error));
}

static void undo_zoom(void *zoom)
{
	struct zoom_result *result = NULL;

	assert_int_equal(zoom_stop(zoom, &result), 0);
	zoom_result_free(result);
	zoom_free(zoom);
}

static void every_allocation_may_fail(void **state)
{
	check_out_of_memory(*state);
}

static const struct allocating things[] = {
	{ "caps", make_caps, undo_caps, .makes_do = true },
	{ "entity table", make_table, undo_table },
	{ "zoom", make_zoom, undo_zoom, .makes_do = true },
};
#define N_THINGS (sizeof(things) / sizeof(things[0]))

static int make_world(void **state)
{
	int cpus = libbpf_num_possible_cpus();
	char error[512], pid[16];

	if (geteuid())
		return 0;
	snprintf(pid, sizeof(pid), "%d", getpid());
	log_capture_libbpf();
	if (log_init(LOG_LEVEL_ERROR, LOG_FORMAT_PLAIN, "/dev/null") ||
	    config_parse(config_tables(), "none", "#", 1, &world.config, &world.errors) ||
	    caps_new("", &world.caps, error, sizeof(error)) ||
	    zoom_target_pid(pid, &world.target, error, sizeof(error)))
		return -1;
	world.environment = (struct probe_environment){
		.offers = caps_offers(world.caps),
		.config = world.config,
		.cpus = (unsigned)cpus,
		.max_entities = 64,
		.task_states_fd = -1,
		.cpu_turns_fd = -1,
	};
	world.entity = probe_new(&probe_entity, &world.environment);
	if (!world.entity || probe_load(world.entity) || probe_attach(world.entity))
		return -1;
	world.environment.task_states_fd = probe_map_fd(world.entity, "task_states");
	return 0;
}

static int end_world(void **state)
{
	probe_free(world.entity);
	caps_free(world.caps);
	config_free(world.config);
	buffer_free(&world.errors);
	return cleanup_teardown(state);
}

static int need_root(void **state)
{
	require_root();
	return 0;
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[32];
	size_t n = 0;

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	for (size_t i = 0; all_probes[i] && n < 32 - N_THINGS; i++)
		tests[n++] = (struct CMUnitTest){ .name = all_probes[i]->name,
						  .test_func = a_probe_fails_in_order,
						  .setup_func = need_root,
						  .initial_state = (void *)all_probes[i] };
	for (size_t i = 0; i < N_THINGS; i++)
		tests[n++] = (struct CMUnitTest){ .name = things[i].name,
						  .test_func = every_allocation_may_fail,
						  .setup_func = need_root,
						  .initial_state = (void *)&things[i] };
	return _cmocka_run_group_tests("no memory", tests, n, make_world, end_world);
}
