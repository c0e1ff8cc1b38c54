// SPDX-License-Identifier: Apache-2.0
/* The probes of a run; see probe_set.h. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "agent/log.h"
#include "agent/probe_set.h"
#include "agent/words.h"
#include "task.skel.h"

const struct probe_desc *const all_probes[] = {
#define PROBE(name) &probe_##name,
#include "probes/probes.def"
#undef PROBE
	NULL,
};

#define N_PROBES (sizeof(all_probes) / sizeof(all_probes[0]) - 1)

struct probe_set {
	struct probe_environment environment;
	struct caps
		*caps; /* while probes are being started: it holds the kernel's types, some MiB */
	struct probe *probes[1 + N_PROBES]; /* the entity table's first */
	struct task_bpf *shared_maps;
	struct entity_table *entities;
	bool attaches;
	bool wakes[1 + N_PROBES]; /* has something to do, and is not loaded yet */
};

int probe_set_new(const struct config *config, struct probe_set **ret_set)
{
	struct probe_set *set = calloc(1, sizeof(*set));
	int cpus = libbpf_num_possible_cpus();

	if (!set)
		return -ENOMEM;
	set->environment = (struct probe_environment){
		.config = config,
		.cpus = cpus > 0 ? (unsigned)cpus : 1,
		.max_entities = (unsigned)config_int(config, "max_entities"),
		.task_states_fd = -1,
		.cpu_turns_fd = -1,
	};
	set->probes[0] = probe_new(&probe_entity, &set->environment);
	for (size_t i = 0; i < N_PROBES; i++)
		set->probes[1 + i] = probe_new(all_probes[i], &set->environment);
	for (size_t i = 0; i < 1 + N_PROBES; i++)
		if (!set->probes[i]) {
			probe_set_free(set);
			return -ENOMEM;
		}
	*ret_set = set;
	return 0;
}

void probe_set_free(struct probe_set *set)
{
	if (!set)
		return;
	/* Downwards, since the others read labels and storage of the first. */
	for (size_t i = 1 + N_PROBES; i-- > 0;) {
		if (i == 0)
			entity_table_free(set->entities);
		probe_free(set->probes[i]);
	}
	task_bpf__destroy(set->shared_maps);
	free(set);
}

static void report(const struct probe *probe)
{
	const char *name = probe_description(probe)->name;

	switch (probe_current_state(probe)) {
	case PROBE_UP:
		log_info("probes", "%s is up", name);
		break;
	case PROBE_DEGRADED:
		log_warning("probes", "%s is degraded: %s", name, probe_reason(probe));
		break;
	case PROBE_FAILED:
		log_error("probes", "%s has failed: %s", name, probe_reason(probe));
		break;
	case PROBE_DISABLED:
		log_info("probes", "%s is %s", name, probe_reason(probe));
		break;
	}
}

static const struct probe *find_probe(const struct probe_set *set, const struct probe_desc *desc)
{
	for (size_t i = 0; i < 1 + N_PROBES; i++)
		if (probe_description(set->probes[i]) == desc)
			return set->probes[i];
	return NULL;
}

static void start_probe(struct probe_set *set, struct probe *probe)
{
	const struct probe *lender = find_probe(set, probe_description(probe)->lender);

	if (lender && probe_current_state(lender) == PROBE_DISABLED)
		return; /* so is what lives on it */
	probe_lend(probe, lender);
	if (!probe_load(probe) && set->attaches)
		probe_attach(probe);
}

/* Before all others: they share them. */
static int make_shared_maps(struct probe_set *set, char *error, size_t error_size)
{
	struct task_bpf *maps = task_bpf__open();
	int err = maps ? 0 : -errno;

	set->shared_maps = maps;
	if (!err)
		err = bpf_map__set_max_entries(maps->maps.cpu_turns, set->environment.cpus);
	if (!err)
		err = task_bpf__load(maps);
	if (err) {
		snprintf(error, error_size, "the kernel refuses the storage of threads: %s%s",
			 strerror(-err),
			 err == -EPERM ? " (needs CAP_BPF and CAP_PERFMON, or root)" : "");
		return err;
	}
	set->environment.task_states_fd = bpf_map__fd(maps->maps.task_states);
	set->environment.cpu_turns_fd = bpf_map__fd(maps->maps.cpu_turns);
	return 0;
}

/* First of all probes: the others count by its numbers. */
static void attach_entities(struct probe_set *set)
{
	struct probe *probe = set->probes[0];

	probe_attach(probe);
	if (probe_current_state(probe) == PROBE_FAILED)
		return;
	set->entities = entity_table_new(
		probe, (uint64_t)config_int(set->environment.config, "entity_linger"));
	set->environment.entities = set->entities;
	if (!set->entities)
		log_error("probes", "no entity table: everything is counted as \"other\"");
}

/*
 * Each object that is loaded reads the kernel's types anew, 6 MB in a few allocations. Until forget_kernel() these
 * come from memory that has been touched before: faulting it in again each time would take a third of the start.
 */
#define MALLOC_THRESHOLD (128 * 1024) /* malloc's own for both */
static void keep_memory(void)
{
	mallopt(M_ARENA_MAX, 1); /* all of it can be given back, whichever thread it was for */
	mallopt(M_MMAP_THRESHOLD, 1 << 25);
	mallopt(M_TRIM_THRESHOLD, 1 << 28);
}

static int know_kernel(struct probe_set *set, char *error, size_t error_size)
{
	int err;

	keep_memory();
	err = caps_new(config_string(set->environment.config, "hooks.avoid"), &set->caps, error,
		       error_size);

	if (!err)
		set->environment.offers = caps_offers(set->caps);
	return err;
}

static void forget_kernel(struct probe_set *set)
{
	set->environment.offers = NULL;
	caps_free(set->caps);
	set->caps = NULL;
	mallopt(M_MMAP_THRESHOLD, MALLOC_THRESHOLD);
	mallopt(M_TRIM_THRESHOLD, MALLOC_THRESHOLD);
	malloc_trim(0); /* what loading took is not needed again */
}

/* ---- loading side by side: it is the kernel's verifier that takes the time ---- */

#define MAX_LOADERS 4

struct loading {
	struct probe_set *set;
	atomic_size_t next; /* probe to be loaded */
};

static void *load_probes(void *context)
{
	struct loading *loading = context;
	size_t i;

	while ((i = atomic_fetch_add(&loading->next, 1)) < 1 + N_PROBES)
		if (!probe_is_on_demand(loading->set->probes[i]))
			probe_load(loading->set->probes[i]);
	return NULL;
}

/*
 * Each probe is touched by one thread only, what they share is read only, and the threads are
 * gone before anything is attached.
 */
static void load_side_by_side(struct probe_set *set)
{
	struct loading loading = { .set = set };
	pthread_t threads[MAX_LOADERS - 1];
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	size_t n = 0;

	while (n < MAX_LOADERS - 1 && (long)n + 1 < cpus &&
	       !pthread_create(&threads[n], NULL, load_probes, &loading))
		n++;
	load_probes(&loading);
	while (n > 0)
		pthread_join(threads[--n], NULL);
}

static bool names_a_hook(const struct probe_set *set, const char *word, size_t length)
{
	for (size_t i = 0; i < 1 + N_PROBES; i++) {
		const struct hook *hook = probe_description(set->probes[i])->hooks;

		for (; hook && hook->name; hook++)
			for (int k = 0; k < HOOK_MAX_ALTERNATIVES && hook->alternatives[k].program;
			     k++)
				if (hook_word_names(word, length, &hook->alternatives[k]))
					return true;
	}
	return false;
}

static void report_avoided(const struct probe_set *set)
{
	const char *list = config_string(set->environment.config, "hooks.avoid"), *word;
	size_t length;

	while (words_next(&list, &word, &length))
		if (!names_a_hook(set, word, length))
			log_warning("config", "hooks.avoid: no probe has a hook called %.*s",
				    (int)length, word);
}

int probe_set_start(struct probe_set *set, bool attach, char *error, size_t error_size)
{
	int err = know_kernel(set, error, error_size);

	if (err)
		return err;
	err = make_shared_maps(set, error, error_size);
	if (err) {
		forget_kernel(set);
		return err;
	}
	set->attaches = attach;
	report_avoided(set);
	load_side_by_side(set);
	if (attach)
		attach_entities(set);
	for (size_t i = 1; attach && i < 1 + N_PROBES; i++)
		probe_attach(set->probes[i]);
	for (size_t i = 0; attach && i < 1 + N_PROBES; i++)
		if (!probe_is_on_demand(set->probes[i]))
			report(set->probes[i]);
	for (size_t i = 0; !attach && i < 1 + N_PROBES; i++) /* to see whether they could be */
		if (probe_is_on_demand(set->probes[i]))
			start_probe(set, set->probes[i]);
	forget_kernel(set);
	return 0;
}

static bool options_differ(const struct config *a, const struct config *b, const char *probe)
{
	const char *keys[64];
	char prefix[CONFIG_KEY_SIZE];
	size_t n = config_changes(a, b, keys, sizeof(keys) / sizeof(keys[0]));

	snprintf(prefix, sizeof(prefix), "probes.%s.", probe);
	for (size_t i = 0; i < n && i < sizeof(keys) / sizeof(keys[0]); i++)
		if (!strncmp(keys[i], prefix, strlen(prefix)))
			return true;
	return n > sizeof(keys) / sizeof(keys[0]);
}

/* It is as new then, and waits to be started. Returns NULL when there is no memory for that. */
static struct probe *stop_probe(struct probe_set *set, size_t i)
{
	const struct probe_desc *desc = probe_description(set->probes[i]);
	struct probe *fresh = probe_new(desc, &set->environment);

	if (!fresh) {
		log_error("probes", "out of memory: %s keeps its old options", desc->name);
		return NULL;
	}
	probe_free(set->probes[i]); /* first: two of a kind would count twice */
	set->probes[i] = fresh;
	return fresh;
}

static void restart_probe(struct probe_set *set, size_t i)
{
	struct probe *fresh;

	for (size_t k = 0; k < 1 + N_PROBES; k++) /* what lives on its maps */
		if (probe_description(set->probes[k])->lender == probe_description(set->probes[i]))
			stop_probe(set, k);
	fresh = stop_probe(set, i);
	if (!fresh || probe_is_on_demand(fresh))
		return;
	start_probe(set, fresh);
	report(fresh);
}

bool probe_set_watch(struct probe_set *set)
{
	bool any = false;

	for (size_t i = 0; set->attaches && i < 1 + N_PROBES; i++) {
		const struct probe *lender =
			find_probe(set, probe_description(set->probes[i])->lender);

		set->wakes[i] = (!lender || probe_current_state(lender) >= PROBE_DEGRADED) &&
				probe_watch(set->probes[i]);
		any |= set->wakes[i];
	}
	return any;
}

void probe_set_wake(struct probe_set *set)
{
	char error[256] = "";

	if (know_kernel(set, error, sizeof(error))) {
		log_limited(LOG_LEVEL_ERROR, "probes", "probes with something to do wait on: %s",
			    error);
		return;
	}
	for (size_t i = 0; i < 1 + N_PROBES; i++) {
		if (!set->wakes[i])
			continue;
		start_probe(set, set->probes[i]);
		report(set->probes[i]);
	}
	forget_kernel(set);
}

void probe_set_reconfigure(struct probe_set *set, const struct config *config)
{
	const struct config *old = set->environment.config;
	char error[256] = "";

	set->environment.config = config;
	for (size_t i = 1; i < 1 + N_PROBES; i++) {
		if (!options_differ(old, config, probe_description(set->probes[i])->name))
			continue;
		if (!set->caps && know_kernel(set, error, sizeof(error))) {
			log_error("probes", "probes keep their old options: %s", error);
			return;
		}
		restart_probe(set, i);
	}
	if (set->caps)
		forget_kernel(set);
}

void probe_set_collect(struct probe_set *set, struct metric_writer *writer)
{
	for (size_t i = 0; i < 1 + N_PROBES; i++) {
		int err = probe_collect(set->probes[i], writer);

		if (err)
			log_limited(LOG_LEVEL_ERROR, "probes", "%s: collection failed: %s",
				    probe_description(set->probes[i])->name, strerror(-err));
	}
}

void probe_set_drain(struct probe_set *set)
{
	for (size_t i = 0; i < 1 + N_PROBES; i++)
		probe_drain(set->probes[i]);
}

struct forgetting {
	struct probe_set *set;
	void (*forgotten)(void *context, uint32_t id);
	void *context;
};

static void forget_everywhere(void *context, uint32_t id)
{
	const struct forgetting *forgetting = context;

	for (size_t i = 1; i < 1 + N_PROBES; i++)
		probe_forget_entity(forgetting->set->probes[i], id);
	forgetting->forgotten(forgetting->context, id);
}

void probe_set_maintain(struct probe_set *set, uint64_t collections,
			void (*forgotten)(void *context, uint32_t id), void *context)
{
	struct forgetting forgetting = { set, forgotten, context };

	if (set->entities)
		entity_table_maintain(set->entities, log_clock_ns(), collections, forget_everywhere,
				      &forgetting);
}

struct probe *const *probe_set_probes(const struct probe_set *set, size_t *ret_n)
{
	*ret_n = 1 + N_PROBES;
	return set->probes;
}

struct entity_table *probe_set_entities(const struct probe_set *set)
{
	return set->entities;
}

unsigned probe_set_cpus(const struct probe_set *set)
{
	return set->environment.cpus;
}
