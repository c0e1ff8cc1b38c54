// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes as an event in the ring of each probe that reads one: taken, or refused with -EBADMSG. This file is in the
 * core's place, so that a probe needs no kernel: its maps are memory, its options have their defaults.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "agent/metric.h"
#include "agent/option.h"
#include "probes/probe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define N_ENTITIES 64U

struct probe {
	const struct probe_desc *desc;
	void *skeleton, *data;
};

/* ---- the core, as far as prepare, start and on_event of a probe ask for it ---- */

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

unsigned probe_cpus(struct probe *probe)
{
	return 2;
}

unsigned probe_max_entities(struct probe *probe)
{
	return N_ENTITIES;
}

static union option_value option(struct probe *probe, const char *key)
{
	const struct option_desc *desc = probe->desc->options;
	union option_value value;
	char error[256];

	while (desc && desc->key && strcmp(desc->key, key))
		desc++;
	if (!desc || !desc->key || option_parse(desc, desc->fallback, &value, error, sizeof(error)))
		abort();
	return value;
}

bool probe_option_bool(struct probe *probe, const char *key)
{
	return option(probe, key).boolean;
}

int64_t probe_option_int(struct probe *probe, const char *key)
{
	return option(probe, key).integer;
}

double probe_option_number(struct probe *probe, const char *key)
{
	return option(probe, key).number;
}

const char *probe_option_string(struct probe *probe, const char *key)
{
	return option(probe, key).string;
}

bool probe_hook_attached(struct probe *probe, const char *hook)
{
	return true;
}

const char *probe_hook_program(struct probe *probe, const char *hook)
{
	return NULL;
}

int probe_kernel_enum(struct probe *probe, const char *name, kernel_enum_callback *callback,
		      void *context)
{
	return -ENOENT;
}

void probe_degrade(struct probe *probe, const char *format, ...)
{
}

void probe_report_events(struct probe *probe, uint64_t total)
{
}

void probe_report_sockets(struct probe *probe, uint64_t n)
{
}

void probe_report_memory(struct probe *probe, uint64_t bytes)
{
}

void probe_report_lost(struct probe *probe, const char *reason, uint64_t total)
{
}

int probe_rows_size(struct probe *probe, const char *map, unsigned rows_per_cpu)
{
	return 0;
}

/* More than any probe has under so few entities; never given back, as a probe is made once. */
void *probe_rows(struct probe *probe, const char *map)
{
	return calloc(1, 16U << 20);
}

int probe_fill_free_rows(struct probe *probe, const char *map, unsigned rows)
{
	return 0;
}

int probe_free_row(struct probe *probe, const char *map, uint32_t row)
{
	return 0;
}

int probe_map_size(struct probe *probe, const char *map, unsigned max_entries)
{
	return 0;
}

int probe_event_rings(struct probe *probe, unsigned n, unsigned bytes, unsigned last_bytes)
{
	return 0;
}

int probe_map_delete(struct probe *probe, const char *map, const void *key)
{
	return 0;
}

int probe_map_fd(struct probe *probe, const char *map)
{
	return -ENOENT;
}

int probe_run_iterator(struct probe *probe, const char *program)
{
	return 0;
}

int probe_visit_sockets(struct probe *probe, const char *hook, const char *map)
{
	return 0;
}

int probe_map_update(struct probe *probe, const char *map, const void *key, const void *value)
{
	return 0;
}

int probe_map_clear(struct probe *probe, const char *map)
{
	return 0;
}

int probe_lent_settings(struct probe *probe, void *settings, size_t size)
{
	return -ENOENT;
}

int probe_attach_uprobes(struct probe *probe, const char *hook, const struct uprobe_target *target,
			 struct uprobes **ret_uprobes)
{
	return -EPERM;
}

void probe_detach_uprobes(struct uprobes *uprobes)
{
}

int probe_check_return_hooks(struct probe *probe, const char *hook)
{
	return 0;
}

bool probe_may_hook_user_space(void)
{
	return false;
}

void probe_demand_hook(struct probe *probe, const char *hook)
{
}

const char *const *probe_entity_labels(struct probe *probe, uint32_t entity)
{
	static const char *const labels[] = { "shop", "cart-0", "cart", "", "java" };

	return labels;
}

/* What is logged must be text. */
void probe_log(struct probe *probe, enum probe_log_level level, const char *format, ...)
{
	va_list arguments;
	char line[1024];

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	for (const char *c = line; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			abort();
}

/* ---- */

static const struct probe_desc *const descriptors[] = {
#define PROBE(name) &probe_##name,
#include "probes/probes.def"
#undef PROBE
};
#define N_PROBES (sizeof(descriptors) / sizeof(descriptors[0]))

static struct probe probes[N_PROBES];

static void start_probes(void)
{
	for (size_t i = 0; i < N_PROBES; i++) {
		probes[i].desc = descriptors[i];
		if (descriptors[i]->on_event && descriptors[i]->prepare &&
		    descriptors[i]->prepare(&probes[i]))
			abort();
		if (descriptors[i]->on_event && descriptors[i]->start &&
		    descriptors[i]->start(&probes[i]))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool is_started;
	unsigned char *exact = malloc(size ? size : 1);

	if (!exact)
		abort();
	if (!is_started)
		start_probes();
	is_started = true;
	memcpy(exact, data, size);
	for (size_t i = 0; i < N_PROBES; i++) {
		int err = descriptors[i]->on_event
				  ? descriptors[i]->on_event(&probes[i], exact, size)
				  : 0;

		if (err && err != -EBADMSG)
			abort();
	}
	free(exact);
	return 0;
}
