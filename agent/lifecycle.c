// SPDX-License-Identifier: Apache-2.0
/* Runs every probe through its life; see lifecycle.h. The only user of libbpf besides probe_services.c and caps.c. */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "agent/entity.h"
#include "agent/lifecycle_internal.h"
#include "agent/log.h"
#include "agent/uprobes.h"
#include "bpf/lib/budget.h"

static const char *const state_names[] = {
	[PROBE_DISABLED] = "disabled",
	[PROBE_FAILED] = "failed",
	[PROBE_DEGRADED] = "degraded",
	[PROBE_UP] = "up",
};

const char *probe_state_name(enum probe_state state)
{
	return state_names[state];
}

struct probe *probe_new(const struct probe_desc *desc, const struct probe_environment *environment)
{
	struct probe *probe = calloc(1, sizeof(*probe));

	if (!probe)
		return NULL;
	probe->desc = desc;
	probe->environment = environment;
	probe->state = PROBE_DISABLED;
	return probe;
}

/* Leaves nothing in the kernel and no memory but the probe itself and its reason. */
static void tear_down(struct probe *probe)
{
	event_rings_free(probe->rings);
	probe->rings = NULL;
	for (size_t i = 0; i < probe->n_hooks; i++) {
		bpf_link__destroy(probe->links[i]);
		probe->links[i] = NULL;
		probe->hooks[i].attached = false;
	}
	if (probe->desc->destroy && probe->data)
		probe->desc->destroy(probe);
	probe->data = NULL;
	for (size_t i = 0; i < probe->n_mappings; i++)
		munmap(probe->mappings[i].base, probe->mappings[i].size);
	probe->n_mappings = 0;
	probe->stats = NULL;
	probe->lanes = NULL;
	if (probe->skeleton && probe->desc->close)
		probe->desc->close(probe);
	probe->object = NULL;
	probe->loaded = false;
}

void probe_free(struct probe *probe)
{
	if (!probe)
		return;
	tear_down(probe);
	free(probe);
}

static int fail(struct probe *probe, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static int fail(struct probe *probe, int err, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(probe->reason, sizeof(probe->reason), format, arguments);
	va_end(arguments);
	probe->state = PROBE_FAILED;
	tear_down(probe);
	return err;
}

/* ---- open to load ---- */

static int select_hooks(struct probe *probe)
{
	for (const struct hook *hook = probe->desc->hooks; hook && hook->name; hook++) {
		struct hook_status *status;

		if (probe->n_hooks == PROBE_MAX_HOOKS)
			return fail(probe, -E2BIG, "more than %d hooks", PROBE_MAX_HOOKS);
		status = &probe->hooks[probe->n_hooks++];
		*status = (struct hook_status){ .hook = hook };
		status->choice = hook_select(hook, probe->environment->offers);
		if (status->choice.alternative || status->choice.not_needed)
			continue;
		if (hook->required)
			return fail(probe, -EOPNOTSUPP, "no %s: %s", hook->provides,
				    status->choice.why_not);
		probe_degrade(probe, "no %s: %s", hook->provides, status->choice.why_not);
	}
	return 0;
}

static int choose_program(struct probe *probe, const char *name, enum hook_kind kind)
{
	struct bpf_program *program = bpf_object__find_program_by_name(probe->object, name);

	if (!program)
		return fail(probe, -ENOENT, "its object has no program %s", name);
	bpf_program__set_autoload(program, true);
	if (kind == HOOK_UPROBE_MULTI)
		uprobes_prepare_multi(program);
	return 0;
}

/* Loads only what was chosen: a program for an absent tracepoint would make the whole object fail. */
static int choose_programs(struct probe *probe)
{
	struct bpf_program *program;
	int err = 0;

	bpf_object__for_each_program (program, probe->object)
		bpf_program__set_autoload(program, false);
	for (size_t i = 0; i < probe->n_hooks && !err; i++) {
		const struct hook_alternative *alternative = probe->hooks[i].choice.alternative;

		if (!alternative)
			continue;
		err = choose_program(probe, alternative->program, alternative->kind);
	}
	return err;
}

/* libbpf puts the object's name before those of variables' maps, and finds them without it. */
static const char *name_of(const struct bpf_map *map)
{
	const char *dot = strrchr(bpf_map__name(map), '.');

	return dot ? dot : bpf_map__name(map);
}

/* The lender's map of that name; NULL: it has none, or each has one of its own. What is kept by CPU is scratch. */
static const struct bpf_map *lent_map(const struct probe *probe, const struct bpf_map *map)
{
	static const char *const own[] = { "budget_lanes", "probe_stats", ".rodata" };

	if (!probe->desc->lender || !probe->lender || !probe->lender->object ||
	    bpf_map__type(map) == BPF_MAP_TYPE_PERCPU_ARRAY)
		return NULL;
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (!strcmp(own[i], name_of(map)))
			return NULL;
	return bpf_object__find_map_by_name(probe->lender->object, name_of(map));
}

static bool is_shared(const struct probe *probe, const struct bpf_map *map)
{
	return !strcmp(bpf_map__name(map), "task_states") ||
	       !strcmp(bpf_map__name(map), "cpu_turns") || lent_map(probe, map);
}

static int share_map(struct probe *probe, const char *name, int fd)
{
	struct bpf_map *map = bpf_object__find_map_by_name(probe->object, name);
	int err;

	if (!map || fd < 0)
		return 0;
	err = bpf_map__reuse_fd(map, fd);
	if (err)
		return fail(probe, err, "cannot share the map %s: %s", name, strerror(-err));
	probe->borrows_maps = probe->desc != &probe_entity;
	return 0;
}

static int borrow_maps(struct probe *probe)
{
	struct bpf_map *map;
	int err;

	if (!probe->desc->lender)
		return 0;
	if (!probe->lender || !probe_is_running(probe->lender))
		return fail(probe, -ENODEV, "it needs %s, which does not run: %s",
			    probe->desc->lender->name,
			    probe->lender ? probe->lender->reason : "there is none");
	bpf_object__for_each_map (map, probe->object) {
		const struct bpf_map *lent = lent_map(probe, map);

		err = lent ? share_map(probe, name_of(map), bpf_map__fd(lent)) : 0;
		if (err)
			return err;
	}
	return 0;
}

static int share_maps(struct probe *probe)
{
	int err = share_map(probe, "task_states", probe->environment->task_states_fd);

	if (!err)
		err = share_map(probe, "cpu_turns", probe->environment->cpu_turns_fd);
	return err ? err : borrow_maps(probe);
}

void probe_lend(struct probe *probe, const struct probe *lender)
{
	probe->lender = lender;
}

static void handle_event(void *context, const void *data, size_t size)
{
	struct probe *probe = context;

	if (!probe->desc->on_event || probe->desc->on_event(probe, data, size))
		probe->malformed_events++;
}

/* NULL: it has none, or lives on another's. */
static const struct bpf_map *own_map(const struct probe *probe, const char *name)
{
	const struct bpf_map *map = bpf_object__find_map_by_name(probe->object, name);

	return map && !lent_map(probe, map) ? map : NULL;
}

static int make_rings(struct probe *probe, const struct bpf_map *several)
{
	struct event_ring_state *states = probe_rows(probe, "event_ring_states");

	return states ? event_rings_make(probe->rings, bpf_map__fd(several),
					 bpf_map__max_entries(several) - 1, probe->ring_bytes,
					 probe->last_ring_bytes, states)
		      : -errno;
}

static int prepare_rings(struct probe *probe)
{
	const struct bpf_map *single = own_map(probe, "events");
	const struct bpf_map *several = own_map(probe, "event_rings");
	int err = 0;

	if (!single && !several)
		return 0;
	probe->rings = event_rings_new(handle_event, probe);
	if (!probe->rings)
		err = -errno;
	if (!err && single)
		err = event_rings_add(probe->rings, bpf_map__fd(single),
				      bpf_map__max_entries(single));
	if (!err && several)
		err = make_rings(probe, several);
	return err ? fail(probe, err, "cannot map its event rings: %s", strerror(-err)) : 0;
}

static int prepare_maps(struct probe *probe)
{
	if (bpf_object__find_map_by_name(probe->object, "probe_stats")) {
		probe->stats = probe_rows(probe, "probe_stats");
		if (!probe->stats)
			return fail(probe, -errno, "cannot map its counters: %s", strerror(errno));
	}
	if (bpf_object__find_map_by_name(probe->object, "budget_lanes")) {
		probe->lanes = probe_rows(probe, "budget_lanes");
		if (!probe->lanes)
			return fail(probe, -errno, "cannot map its lanes: %s", strerror(errno));
		for (unsigned cpu = 0; cpu < probe->environment->cpus; cpu++)
			probe->lanes[cpu].weight = 1;
	}
	return prepare_rings(probe);
}

/*
 * What the kernel does not have, a type, or a function that is called only where there is one, libbpf also looks for in
 * modules; 1.1 gives up where it may not list them. But it tries that once for an object only, so it is asked for a
 * tracepoint that nobody has, which fails and changes nothing else; what it has to say about that is not for the log.
 */
static void forgo_modules(struct probe *probe)
{
	struct bpf_program *program = bpf_object__next_program(probe->object, NULL);

	log_mute_libbpf(true);
	if (program)
		bpf_program__set_attach_target(program, 0, "leadline_nothing");
	log_mute_libbpf(false);
}

static bool is_enabled(const struct probe *probe)
{
	const struct config *config = probe->environment->config;
	char key[CONFIG_KEY_SIZE];

	snprintf(key, sizeof(key), "probes.%s.enabled", probe->desc->name);
	if (!config_has(config, key)) /* the core's own */
		return true;
	if (!strcmp(config_string(config, "mode"), "custom") &&
	    config_source(config, key) == CONFIG_DEFAULT)
		return false;
	return config_bool(config, key);
}

int probe_load(struct probe *probe)
{
	int err;

	if (!is_enabled(probe)) {
		snprintf(probe->reason, sizeof(probe->reason), "disabled in the configuration");
		return 0;
	}
	probe->state = PROBE_UP;
	if (probe->desc->open) {
		probe->object = probe->desc->open(probe);
		if (!probe->object)
			return fail(probe, -errno, "its object does not open: %s", strerror(errno));
		err = select_hooks(probe);
		if (!err)
			err = choose_programs(probe);
		if (!err && bpf_object__find_map_by_name(probe->object, "budget_lanes"))
			err = probe_rows_size(probe, "budget_lanes", 1);
		if (!err)
			err = share_maps(probe);
		if (err)
			return err;
	}
	if (probe->desc->configure) {
		err = probe->desc->configure(probe);
		if (err)
			return fail(probe, err, "cannot be configured: %s", strerror(-err));
	}
	if (probe->object) {
		if (probe->environment->offers->hides_modules)
			forgo_modules(probe);
		err = bpf_object__load(probe->object);
		if (err)
			return fail(
				probe, err, "the kernel refuses its programs: %s%s", strerror(-err),
				err == -EPERM ? " (needs CAP_BPF and CAP_PERFMON, or root)" : "");
		err = prepare_maps(probe);
		if (err)
			return err;
	}
	probe->loaded = true;
	return 0;
}

/* ---- attach ---- */

bool probe_hook_is_apart(const struct probe *probe, size_t i)
{
	enum hook_kind kind = probe->hooks[i].choice.alternative->kind;

	return kind == HOOK_ITER || kind == HOOK_ITER_MAP || kind == HOOK_UPROBE_MULTI ||
	       kind == HOOK_UPROBE;
}

int probe_attach_hook(struct probe *probe, size_t i)
{
	struct bpf_program *program = bpf_object__find_program_by_name(
		probe->object, probe->hooks[i].choice.alternative->program);

	probe->links[i] = bpf_program__attach(program);
	return probe->links[i] ? 0 : -errno;
}

static int attach_hook(struct probe *probe, size_t i)
{
	struct hook_status *status = &probe->hooks[i];
	int err;

	if (!status->choice.alternative)
		return 0;
	if (probe_hook_is_apart(probe, i)) { /* iterators when they are run */
		status->attached = true;
		return 0;
	}
	err = probe_attach_hook(probe, i);
	if (!err) {
		status->attached = true;
		return 0;
	}
	if (status->hook->required)
		return fail(probe, err, "no %s: %s %s does not attach: %s", status->hook->provides,
			    hook_kind_name(status->choice.alternative->kind),
			    status->choice.alternative->target, strerror(-err));
	probe_degrade(probe, "no %s: %s %s does not attach: %s", status->hook->provides,
		      hook_kind_name(status->choice.alternative->kind),
		      status->choice.alternative->target, strerror(-err));
	return 0;
}

int probe_attach(struct probe *probe)
{
	int err;

	if (!probe->loaded)
		return 0;
	if (probe->desc->prepare) {
		err = probe->desc->prepare(probe);
		if (err)
			return fail(probe, err, "cannot be prepared: %s", strerror(-err));
	}
	for (size_t i = 0; i < probe->n_hooks; i++) {
		if (probe->hooks[i].hook->on_demand)
			continue;
		err = attach_hook(probe, i);
		if (err)
			return err;
	}
	if (probe->desc->start) {
		err = probe->desc->start(probe);
		if (err)
			return fail(probe, err, "cannot start: %s", strerror(-err));
	}
	return 0;
}

void probe_demand_hook(struct probe *probe, const char *name)
{
	for (size_t i = 0; i < probe->n_hooks; i++) {
		struct hook_status *status = &probe->hooks[i];

		if (strcmp(status->hook->name, name) || status->attached)
			continue;
		attach_hook(probe, i);
		if (!status->attached) /* nor will it */
			status->choice.alternative = NULL;
	}
}

/* ---- running ---- */

bool probe_is_running(const struct probe *probe)
{
	return probe->loaded && probe->state >= PROBE_DEGRADED;
}

bool probe_is_on_demand(const struct probe *probe)
{
	return probe->desc->watch != NULL;
}

bool probe_watch(struct probe *probe)
{
	bool wants;

	if (!probe->desc->watch || probe->state == PROBE_FAILED || !is_enabled(probe))
		return false;
	wants = probe->desc->watch(probe);
	return wants && !probe->loaded;
}

int probe_collect(struct probe *probe, struct metric_writer *writer)
{
	if (!probe_is_running(probe) || !probe->desc->collect)
		return 0;
	return probe->desc->collect(probe, writer);
}

void probe_forget_entity(struct probe *probe, uint32_t entity)
{
	if (probe_is_running(probe) && probe->desc->forget_entity)
		probe->desc->forget_entity(probe, entity);
}

void probe_drain(struct probe *probe)
{
	event_rings_drain(probe->rings);
}

int probe_ring_fd(struct probe *probe)
{
	return event_rings_fd(probe->rings);
}

/* ---- looking ---- */

const struct probe_desc *probe_description(const struct probe *probe)
{
	return probe->desc;
}

enum probe_state probe_current_state(const struct probe *probe)
{
	return probe->state;
}

const char *probe_reason(const struct probe *probe)
{
	return probe->reason;
}

size_t probe_hook_statuses(const struct probe *probe, const struct hook_status **ret_statuses)
{
	*ret_statuses = probe->hooks;
	return probe->n_hooks;
}

uint64_t probe_events(const struct probe *probe)
{
	return probe->events;
}

/* A hook interrupted by itself on one CPU is skipped by the kernel, which counts that per program. */
static uint64_t count_recursion_misses(struct probe *probe)
{
	struct bpf_program *program;
	uint64_t misses = 0;

	bpf_object__for_each_program (program, probe->object) {
		struct bpf_prog_info info = {};
		__u32 size = sizeof(info);
		int fd = bpf_program__fd(program);

		if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &size) == 0)
			misses += info.recursion_misses;
	}
	return misses;
}

static const char *const loss_names[] = {
	[LOSS_RING_FULL] = "ring_full",		[LOSS_TABLE_FULL] = "table_full",
	[LOSS_NO_TASK_STATE] = "no_task_state", [LOSS_NO_SOCKET_STATE] = "no_socket_state",
	[LOSS_UNREADABLE] = "unreadable",
};
_Static_assert(sizeof(loss_names) / sizeof(loss_names[0]) == LOSS_REASONS,
	       "a name for each reason");

void probe_each_loss(struct probe *probe,
		     void (*callback)(void *context, const char *reason, uint64_t total),
		     void *context)
{
	if (!probe_is_running(probe))
		return;
	if (probe->stats)
		for (int i = 0; i < LOSS_REASONS; i++)
			callback(context, loss_names[i],
				 __atomic_load_n(&probe->stats->lost[i], __ATOMIC_RELAXED));
	if (probe->object)
		callback(context, "recursion", count_recursion_misses(probe));
	if (probe->desc->on_event)
		callback(context, "malformed", probe->malformed_events);
	for (size_t i = 0; i < probe->n_losses; i++)
		callback(context, probe->losses[i].reason, probe->losses[i].total);
}

static uint64_t map_bytes(int fd)
{
	char path[64], line[128];
	unsigned long long bytes = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "re");
	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "memlock: %llu", &bytes) == 1)
			break;
	fclose(file);
	return bytes;
}

bool probe_sockets(const struct probe *probe, uint64_t *ret_sockets)
{
	if (!probe_is_running(probe) || !probe->counts_sockets)
		return false;
	*ret_sockets += probe->sockets;
	return true;
}

uint64_t probe_own_memory(const struct probe *probe)
{
	return probe_is_running(probe) ? probe->table_bytes : 0;
}

/* What is in a map of the object, but is none itself. */
static void each_ring(const struct probe *probe, map_callback *callback, void *context)
{
	size_t bytes;
	int fd;

	for (size_t i = 0; (fd = event_rings_made(probe->rings, i, &bytes)) >= 0; i++)
		callback(context, "event_rings",
			 &(const struct map_shape){ .type = BPF_MAP_TYPE_RINGBUF,
						    .max_entries = (unsigned)bytes },
			 map_bytes(fd));
}

void probe_each_map(struct probe *probe, map_callback *callback, void *context)
{
	struct bpf_map *map;

	if (!probe_is_running(probe) || !probe->object)
		return;
	bpf_object__for_each_map (map, probe->object) {
		bool borrowed = probe->borrows_maps && is_shared(probe, map);
		const struct map_shape shape = {
			.type = bpf_map__type(map),
			.max_entries = bpf_map__max_entries(map),
			.key_size = bpf_map__key_size(map),
			.value_size = bpf_map__value_size(map),
			.is_of_sockets = probe->desc->map_of_sockets &&
					 !strcmp(probe->desc->map_of_sockets, bpf_map__name(map)),
		};

		if (bpf_map__fd(map) >= 0 && !borrowed)
			callback(context, bpf_map__name(map), &shape, map_bytes(bpf_map__fd(map)));
	}
	each_ring(probe, callback, context);
}
