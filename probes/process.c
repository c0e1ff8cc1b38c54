// SPDX-License-Identifier: Apache-2.0
/*
 * Births and deaths of processes per entity. The kernel side (bpf/process.bpf.c) counts all of them; of
 * those killed by a signal or by the out-of-memory killer it also sends an event, which becomes a line
 * in the log. Loop thread only.
 */
#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <signal.h>
#include <time.h>
#include "bpf/process.h"
#include "probes/probe.h"
#include "probes/process.h"
#include "process.skel.h"

PROBE_SKELETON(process)

/* ---- hooks, metrics, options ---- */

static const struct hook hooks[] = {
	{ "exec",
	  false,
	  "program starts",
	  { { "process_exec", HOOK_TP_BTF, "sched_process_exec", 1 } } },
	{ "exit",
	  true,
	  "process ends",
	  { { "process_exit", HOOK_TP_BTF, "sched_process_exit", 2 },
	    { "process_exit_by_live", HOOK_TP_BTF, "sched_process_exit", 1 } } },
	{ "signals", false, "signals", { { "process_signal", HOOK_TP_BTF, "signal_deliver", 3 } } },
	{ "oom",
	  false,
	  "kills by the out-of-memory killer",
	  { { "process_oom", HOOK_TP_BTF, "mark_victim", 2 },
	    { "process_oom_by_pid", HOOK_TP_BTF, "mark_victim", 1, 1 } } },
	{ .name = NULL },
};

static const char *const exit_kind_names[] = {
	[PROCESS_EXIT_SUCCESS] = "success",
	[PROCESS_EXIT_ERROR] = "error",
	[PROCESS_EXIT_SIGNAL] = "signal",
};
_Static_assert(sizeof(exit_kind_names) / sizeof(exit_kind_names[0]) == PROCESS_EXIT_KINDS,
	       "all named");

static const struct metric_desc execs = {
	.name = "leadline_process_execs_total",
	.help = "Programs started by exec, counted for the program started",
	.kind = METRIC_COUNTER,
	.per_entity = true,
};

static const struct metric_desc exits = {
	.name = "leadline_process_exits_total",
	.help = "Processes ended: with status 0 (success), with another status (error), or by a signal",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "kind" },
};

static const struct metric_desc signals = {
	.name = "leadline_signals_total",
	.help = "Signals that threads took, those of real time together; what ended a process is in "
		"leadline_process_fatal_signals_total",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "signal" },
};

static const struct metric_desc deaths = {
	.name = "leadline_process_fatal_signals_total",
	.help = "Processes ended by a signal, by its name",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "signal" },
};

static const char *const trigger_names[] = {
	[PROCESS_TRIGGER_SELF] = "self",
	[PROCESS_TRIGGER_OTHER] = "other",
};
_Static_assert(sizeof(trigger_names) / sizeof(trigger_names[0]) == PROCESS_TRIGGERS, "all named");

static const struct metric_desc oom_kills = {
	.name = "leadline_oom_kills_total",
	.help = "Processes chosen by the out-of-memory killer, of the host or of a control group, since they themselves "
		"(self) or other programs wanted memory",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "trigger" },
};

static const struct metric_desc *const metrics[] = { &execs,  &exits,	  &signals,
						     &deaths, &oom_kills, NULL };

static const struct option_desc options[] = {
	{ .key = "ring_bytes",
	  .type = OPTION_BYTES,
	  .fallback = "256KiB",
	  .min = 4096,
	  .max = 64 << 20,
	  .help = "room for events on their way to the log, rounded up to a power of two" },
	{ .key = NULL },
};

/* ---- rows and events ---- */

static void write_signals(const uint64_t counts[PROCESS_SIGNALS], uint32_t entity,
			  const struct metric_desc *desc, struct metric_writer *writer)
{
	for (int number = 0; number < PROCESS_SIGNALS; number++) {
		const char *abbreviation = sigabbrev_np(number);
		char name[16] = "realtime";

		if (!counts[number])
			continue;
		if (number != PROCESS_SIGNAL_REALTIME)
			snprintf(name, sizeof(name), "SIG%s", abbreviation ? abbreviation : "?");
		metric_write(writer, desc, entity, (const char *[]){ name },
			     (double)counts[number]);
	}
}

/* All that a row counts, but for the signals of deaths: these are among the exits. */
static uint64_t row_events(const struct process_row *row)
{
	uint64_t events = row->execs;

	for (int kind = 0; kind < PROCESS_EXIT_KINDS; kind++)
		events += row->exits[kind];
	for (int trigger = 0; trigger < PROCESS_TRIGGERS; trigger++)
		events += row->oom_kills[trigger];
	for (int number = 0; number < PROCESS_SIGNALS; number++)
		events += row->signals[number];
	return events;
}

uint64_t process_row_write(const struct process_row *row, uint32_t entity,
			   struct process_sights sights, struct metric_writer *writer)
{
	uint64_t events = row_events(row);

	if (!events)
		return 0;
	for (int kind = 0; kind < PROCESS_EXIT_KINDS; kind++)
		if (row->exits[kind])
			metric_write(writer, &exits, entity,
				     (const char *[]){ exit_kind_names[kind] },
				     (double)row->exits[kind]);
	if (sights.execs)
		metric_write(writer, &execs, entity, NULL, (double)row->execs);
	for (int trigger = 0; sights.oom_kills && trigger < PROCESS_TRIGGERS; trigger++)
		metric_write(writer, &oom_kills, entity, (const char *[]){ trigger_names[trigger] },
			     (double)row->oom_kills[trigger]);
	write_signals((const uint64_t *)row->signals, entity, &signals, writer);
	write_signals((const uint64_t *)row->deaths, entity, &deaths, writer);
	return events;
}

int process_event_parse(const void *data, size_t size, struct process_event *ret_event)
{
	struct process_event event;

	/* Also what an unrelated write of the right size would not have by chance. */
	if (size != sizeof(event))
		return -EBADMSG;
	memcpy(&event, data, sizeof(event));
	if (event.kind != PROCESS_EVENT_KILLED && event.kind != PROCESS_EVENT_OOM)
		return -EBADMSG;
	if (!memchr(event.comm, '\0', sizeof(event.comm)) ||
	    !memchr(event.trigger_comm, '\0', sizeof(event.trigger_comm)))
		return -EBADMSG;
	*ret_event = event;
	return 0;
}

/* Namespace, pod, container and unit, as far as known; the fifth label is the program's name. */
static void append_place(char *text, size_t size, const char *const labels[])
{
	const char *separator = ", in ";

	for (int i = 0; i < 4; i++) {
		size_t used = strlen(text);

		if (!labels[i][0])
			continue;
		snprintf(text + used, size - used, "%s%s", separator, labels[i]);
		separator = "/";
	}
}

static void copy_printable(char to[PROCESS_COMM_SIZE], const char from[PROCESS_COMM_SIZE])
{
	for (size_t i = 0; i < PROCESS_COMM_SIZE; i++)
		to[i] = from[i] && (unsigned char)from[i] < ' ' ? '?' : from[i];
}

/* "died by …" or "chosen by …" */
static void describe_end(const struct process_event *event, char *text, size_t size)
{
	const char *signal_name = sigabbrev_np((int)event->signal);
	char trigger[PROCESS_COMM_SIZE];

	if (event->kind == PROCESS_EVENT_KILLED) {
		snprintf(text, size, "died by signal %u%s%s%s", event->signal,
			 signal_name ? " SIG" : "", signal_name ? signal_name : "",
			 event->dumped_core ? " (core dumped)" : "");
		return;
	}
	copy_printable(trigger, event->trigger_comm);
	if (!event->trigger_tgid)
		snprintf(text, size, "chosen by the out-of-memory killer");
	else if (event->trigger_tgid == event->tgid)
		snprintf(text, size, "chosen by the out-of-memory killer, as it wanted memory");
	else
		snprintf(text, size,
			 "chosen by the out-of-memory killer, as process %u (%s) wanted memory",
			 event->trigger_tgid, trigger);
}

size_t process_event_describe(const struct process_event *event, const char *const labels[],
			      char *text, size_t size)
{
	double lived = event->time_ns > event->start_time_ns
			       ? (double)(event->time_ns - event->start_time_ns) / 1e9
			       : 0;
	char comm[PROCESS_COMM_SIZE], end[128];

	copy_printable(comm, event->comm);
	describe_end(event, end, sizeof(end));
	snprintf(text, size, "process %u (%s, thread %u) %s after %.3f s, cgroup id %llu",
		 event->tgid, comm, event->pid, end, lived, (unsigned long long)event->cgroup_id);
	append_place(text, size, labels);
	return strlen(text);
}

bool process_event_is_ordinary(const struct process_event *event)
{
	static const int ordinary[] = { SIGHUP, SIGINT, SIGPIPE, SIGALRM, SIGTERM };

	for (size_t i = 0; i < sizeof(ordinary) / sizeof(ordinary[0]); i++)
		if (event->kind == PROCESS_EVENT_KILLED && event->signal == (uint32_t)ordinary[i])
			return true;
	return false;
}

/* ---- how many lines ---- */

bool process_throttle_allows(struct process_throttle *throttle, uint64_t now_ns)
{
	/* What was held back is reported first, else it would be forgotten. */
	if (now_ns - throttle->turn_began_ns >= PROCESS_TURN_NS && !throttle->held_back) {
		throttle->turn_began_ns = now_ns;
		throttle->lines = 0;
	}
	if (throttle->lines < PROCESS_TURN_LINES) {
		throttle->lines++;
		return true;
	}
	throttle->held_back++;
	return false;
}

uint64_t process_throttle_report(struct process_throttle *throttle, uint64_t now_ns)
{
	uint64_t held_back = throttle->held_back;

	if (!held_back || now_ns - throttle->turn_began_ns < PROCESS_TURN_NS)
		return 0;
	throttle->held_back = 0;
	return held_back;
}

/* ---- running ---- */

struct process_data {
	struct process_row *rows; /* by entity, mapped */
	unsigned entities;
	uint64_t retired_events; /* of rows that were given to other entities */
	struct process_throttle throttle;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

static int configure(struct probe *probe)
{
	const char *oom = probe_hook_program(probe, "oom");
	int err;

	process_skeleton(probe)->rodata->settings.oom_by_pid =
		oom && !strcmp(oom, "process_oom_by_pid");
	err = probe_map_size(probe, "process_rows", probe_max_entities(probe));
	if (err)
		return err;
	return probe_map_size(probe, "events", (unsigned)probe_option_int(probe, "ring_bytes"));
}

static int start(struct probe *probe)
{
	struct process_data *data = calloc(1, sizeof(*data));

	if (!data)
		return -ENOMEM;
	probe_set_data(probe, data);
	data->entities = probe_max_entities(probe);
	data->rows = probe_rows(probe, "process_rows");
	return data->rows ? 0 : -errno;
}

static void report_held_back(struct probe *probe)
{
	struct process_data *data = probe_data(probe);
	uint64_t held_back = process_throttle_report(&data->throttle, now_ns());

	if (held_back)
		probe_log(
			probe, PROBE_WARNING,
			"%llu more processes were killed; leadline_process_exits_total counts all",
			(unsigned long long)held_back);
}

static int on_event(struct probe *probe, const void *bytes, size_t size)
{
	struct process_data *data = probe_data(probe);
	struct process_event event;
	char text[512];
	int err = process_event_parse(bytes, size, &event);

	if (err)
		return err;
	report_held_back(probe);
	if (!process_throttle_allows(&data->throttle, now_ns()))
		return 0;
	process_event_describe(&event, probe_entity_labels(probe, event.entity), text,
			       sizeof(text));
	probe_log(probe, process_event_is_ordinary(&event) ? PROBE_INFO : PROBE_WARNING, "%s",
		  text);
	return 0;
}

static int collect(struct probe *probe, struct metric_writer *writer)
{
	struct process_data *data = probe_data(probe);
	const struct process_sights sights = {
		.execs = probe_hook_attached(probe, "exec"),
		.oom_kills = probe_hook_attached(probe, "oom"),
	};
	uint64_t events = data->retired_events;

	for (uint32_t entity = 0; entity < data->entities; entity++)
		events += process_row_write(&data->rows[entity], entity, sights, writer);
	probe_report_events(probe, events);
	report_held_back(probe);
	return 0;
}

static void forget_entity(struct probe *probe, uint32_t entity)
{
	struct process_data *data = probe_data(probe);
	struct process_row *row = &data->rows[entity];

	data->retired_events += row_events(row);
	memset(row, 0, sizeof(*row));
}

static void destroy(struct probe *probe)
{
	free(probe_data(probe));
}

const struct probe_desc probe_process = {
	.name = "process",
	.help = "Program starts, process ends by kind, signals, and kills by the out-of-memory killer",
	.open = process_open,
	.close = process_close,
	.hooks = hooks,
	.metrics = metrics,
	.options = options,
	.configure = configure,
	.start = start,
	.on_event = on_event,
	.collect = collect,
	.forget_entity = forget_entity,
	.destroy = destroy,
	.economy = { .typical_ns = 400 },
};
