// SPDX-License-Identifier: Apache-2.0
/* What the core offers a probe: the second half of probes/probe.h. Loop thread only. */
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

void probe_set_skeleton(struct probe *probe, void *skeleton)
{
	probe->skeleton = skeleton;
}

void *probe_skeleton(struct probe *probe)
{
	return probe->skeleton;
}

void probe_set_data(struct probe *probe, void *data)
{
	probe->data = data;
}

void *probe_data(struct probe *probe)
{
	return probe->data;
}

/* ---- options ---- */

static const char *option_key(struct probe *probe, const char *key, char full[CONFIG_KEY_SIZE])
{
	snprintf(full, CONFIG_KEY_SIZE, "probes.%s.%s", probe->desc->name, key);
	return full;
}

bool probe_option_bool(struct probe *probe, const char *key)
{
	char full[CONFIG_KEY_SIZE];

	return config_bool(probe->environment->config, option_key(probe, key, full));
}

int64_t probe_option_int(struct probe *probe, const char *key)
{
	char full[CONFIG_KEY_SIZE];

	return config_int(probe->environment->config, option_key(probe, key, full));
}

double probe_option_number(struct probe *probe, const char *key)
{
	char full[CONFIG_KEY_SIZE];

	return config_number(probe->environment->config, option_key(probe, key, full));
}

const char *probe_option_string(struct probe *probe, const char *key)
{
	char full[CONFIG_KEY_SIZE];

	return config_string(probe->environment->config, option_key(probe, key, full));
}

unsigned probe_cpus(struct probe *probe)
{
	return probe->environment->cpus;
}

unsigned probe_max_entities(struct probe *probe)
{
	return probe->environment->max_entities;
}

/* ---- hooks ---- */

static long find_hook(struct probe *probe, const char *name)
{
	for (size_t i = 0; i < probe->n_hooks; i++)
		if (!strcmp(probe->hooks[i].hook->name, name))
			return (long)i;
	return -1;
}

bool probe_hook_attached(struct probe *probe, const char *name)
{
	long i = find_hook(probe, name);

	return i >= 0 && probe->hooks[i].attached;
}

const char *probe_hook_program(struct probe *probe, const char *name)
{
	long i = find_hook(probe, name);

	if (i < 0 || !probe->hooks[i].choice.alternative)
		return NULL;
	return probe->hooks[i].choice.alternative->program;
}

int probe_kernel_enum(struct probe *probe, const char *name, kernel_enum_callback *callback,
		      void *context)
{
	const struct kernel_offers *offers = probe->environment->offers;

	if (!offers)
		return -EINVAL;
	return offers->each_enum_value(offers->context, name, callback, context);
}

/* ---- reports ---- */

void probe_degrade(struct probe *probe, const char *format, ...)
{
	size_t used = strlen(probe->reason);
	va_list arguments;
	char text[256];

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (probe->state == PROBE_UP)
		probe->state = PROBE_DEGRADED;
	if (strstr(probe->reason, text)) /* said before */
		return;
	snprintf(probe->reason + used, sizeof(probe->reason) - used, "%s%s", used ? "; " : "",
		 text);
}

void probe_report_events(struct probe *probe, uint64_t total)
{
	probe->events = total;
}

void probe_report_sockets(struct probe *probe, uint64_t n)
{
	probe->sockets = n;
	probe->counts_sockets = true;
}

void probe_report_memory(struct probe *probe, uint64_t bytes)
{
	probe->table_bytes = bytes;
}

void probe_report_lost(struct probe *probe, const char *reason, uint64_t total)
{
	size_t i = 0;

	while (i < probe->n_losses && strcmp(probe->losses[i].reason, reason))
		i++;
	if (i == PROBE_MAX_LOSSES)
		return;
	if (i == probe->n_losses)
		probe->n_losses++;
	probe->losses[i] = (struct probe_loss){ .reason = reason, .total = total };
}

const char *const *probe_entity_labels(struct probe *probe, uint32_t entity)
{
	return entity_labels(probe->environment->entities, entity);
}

void probe_log(struct probe *probe, enum probe_log_level level, const char *format, ...)
{
	static const enum log_level levels[] = {
		[PROBE_DEBUG] = LOG_LEVEL_DEBUG,
		[PROBE_INFO] = LOG_LEVEL_INFO,
		[PROBE_WARNING] = LOG_LEVEL_WARNING,
		[PROBE_ERROR] = LOG_LEVEL_ERROR,
	};
	char logger[48];
	va_list arguments;

	if (!log_enabled(levels[level]))
		return;
	snprintf(logger, sizeof(logger), "probe.%s", probe->desc->name);
	va_start(arguments, format);
	log_write_va(levels[level], logger, LOG_SITE, LOG_NO_FIELDS, format, arguments);
	va_end(arguments);
}

/* ---- maps ---- */

static struct bpf_map *find_map(struct probe *probe, const char *name)
{
	struct bpf_map *map =
		probe->object ? bpf_object__find_map_by_name(probe->object, name) : NULL;

	if (!map)
		errno = ENOENT;
	return map;
}

int probe_map_size(struct probe *probe, const char *name, unsigned max_entries)
{
	struct bpf_map *map = find_map(probe, name);

	return map ? bpf_map__set_max_entries(map, max_entries) : -ENOENT;
}

int probe_event_rings(struct probe *probe, unsigned n, unsigned bytes, unsigned last_bytes)
{
	int err = probe_map_size(probe, "event_rings", n + 1);

	probe->ring_bytes = bytes;
	probe->last_ring_bytes = last_bytes;
	return err ? err : probe_map_size(probe, "event_ring_states", n + 1);
}

int probe_map_fd(struct probe *probe, const char *name)
{
	struct bpf_map *map = find_map(probe, name);

	return map ? bpf_map__fd(map) : -ENOENT;
}

int probe_map_update(struct probe *probe, const char *name, const void *key, const void *value)
{
	return bpf_map_update_elem(probe_map_fd(probe, name), key, value, BPF_ANY);
}

int probe_map_delete(struct probe *probe, const char *name, const void *key)
{
	return bpf_map_delete_elem(probe_map_fd(probe, name), key);
}

int probe_rows_size(struct probe *probe, const char *name, unsigned rows_per_cpu)
{
	return probe_map_size(probe, name, probe->environment->cpus * rows_per_cpu);
}

void *probe_rows(struct probe *probe, const char *name)
{
	struct bpf_map *map = find_map(probe, name);
	struct probe_mapping *mapping;
	size_t page = (size_t)sysconf(_SC_PAGESIZE), size;
	void *base;

	if (!map)
		return NULL;
	for (size_t i = 0; i < probe->n_mappings; i++)
		if (!strcmp(probe->mappings[i].map, name))
			return probe->mappings[i].base;
	if (probe->n_mappings == PROBE_MAX_MAPPINGS) {
		errno = E2BIG;
		return NULL;
	}
	/* Elements of an array map are padded to 8 bytes, the whole to a page. */
	size = (size_t)bpf_map__max_entries(map) * ((bpf_map__value_size(map) + 7) & ~7U);
	size = (size + page - 1) / page * page;
	base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
	if (base == MAP_FAILED)
		return NULL;
	mapping = &probe->mappings[probe->n_mappings++];
	*mapping = (struct probe_mapping){ .map = bpf_map__name(map), .base = base, .size = size };
	return base;
}

int probe_free_row(struct probe *probe, const char *name, uint32_t row)
{
	return bpf_map_update_elem(probe_map_fd(probe, name), NULL, &row, BPF_ANY);
}

int probe_fill_free_rows(struct probe *probe, const char *name, unsigned rows)
{
	int err = 0;

	for (uint32_t row = 1; row < rows && !err; row++)
		err = probe_free_row(probe, name, row);
	return err;
}

int probe_map_clear(struct probe *probe, const char *name)
{
	const struct bpf_map *map = find_map(probe, name);
	void *key = map ? calloc(1, bpf_map__key_size(map)) : NULL;
	int err = 0;

	if (!key)
		return map ? -ENOMEM : -ENOENT;
	while (!err && !bpf_map_get_next_key(bpf_map__fd(map), NULL, key))
		err = bpf_map_delete_elem(bpf_map__fd(map), key);
	free(key);
	return err == -ENOENT ? 0 : err;
}

int probe_lent_settings(struct probe *probe, void *settings, size_t size)
{
	const struct bpf_map *map =
		probe->lender ? bpf_object__find_map_by_name(probe->lender->object, ".rodata")
			      : NULL;
	__u32 first = 0;
	char *all;
	int err;

	if (!map || bpf_map__value_size(map) < size)
		return -ENOENT;
	all = malloc(bpf_map__value_size(map));
	if (!all)
		return -ENOMEM;
	err = bpf_map_lookup_elem(bpf_map__fd(map), &first, all);
	if (!err)
		memcpy(settings, all, size);
	free(all);
	return err;
}

/* ---- iterators ---- */

static int run_hook(struct probe *probe, size_t i, const struct bpf_iter_attach_opts *options)
{
	char output[512];
	ssize_t n;
	int fd, err = 0;

	if (!probe->links[i]) {
		probe->links[i] = bpf_program__attach_iter(
			bpf_object__find_program_by_name(
				probe->object, probe->hooks[i].choice.alternative->program),
			options);
		if (!probe->links[i])
			return -errno;
	}
	fd = bpf_iter_create(bpf_link__fd(probe->links[i]));
	if (fd < 0)
		return -errno;
	do {
		n = read(fd, output, sizeof(output));
	} while (n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN)));
	if (n < 0)
		err = -errno;
	close(fd);
	return err;
}

int probe_run_iterator(struct probe *probe, const char *program)
{
	for (size_t i = 0; i < probe->n_hooks; i++) {
		const struct hook_alternative *alternative = probe->hooks[i].choice.alternative;

		if (alternative && alternative->kind == HOOK_ITER &&
		    !strcmp(alternative->program, program))
			return run_hook(probe, i, NULL);
	}
	return -ENOENT;
}

int probe_visit_sockets(struct probe *probe, const char *hook, const char *map)
{
	union bpf_iter_link_info info = {};
	LIBBPF_OPTS(bpf_iter_attach_opts, options, .link_info = &info,
		    .link_info_len = sizeof(info));
	long i = find_hook(probe, hook);
	int fd = probe_map_fd(probe, map);

	if (i < 0 || !probe->hooks[i].choice.alternative)
		return -ENOENT;
	if (probe->hooks[i].choice.alternative->kind != HOOK_ITER_MAP)
		return run_hook(probe, (size_t)i, NULL);
	if (fd < 0)
		return fd;
	info.map.map_fd = (__u32)fd;
	return run_hook(probe, (size_t)i, &options);
}
