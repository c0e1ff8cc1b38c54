// SPDX-License-Identifier: Apache-2.0
/* What a zoom has seen: put in order, as text, as JSON. Pure; see zoom.h. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "agent/zoom.h"
#include "probes/wait_reasons.h"

/* ---- order ---- */

static int compare(double a, double b)
{
	return a < b ? 1 : a > b ? -1 : 0;
}

static int compare_ledgers(const void *a_, const void *b_)
{
	const struct zoom_ledger *a = a_, *b = b_;
	int order = compare(a->on_cpu, b->on_cpu);

	return order ? order : a->tid - b->tid;
}

static int compare_syscalls(const void *a_, const void *b_)
{
	const struct zoom_syscall *a = a_, *b = b_;
	int order = compare(a->duration.sum, b->duration.sum);

	return order ? order : strcmp(a->name, b->name);
}

static double descriptor_time(const struct zoom_descriptor *descriptor)
{
	return descriptor->direction[ZOOM_READ].duration.sum +
	       descriptor->direction[ZOOM_WRITE].duration.sum;
}

static int compare_descriptors(const void *a_, const void *b_)
{
	const struct zoom_descriptor *a = a_, *b = b_;
	int order = compare(descriptor_time(a), descriptor_time(b));

	return order ? order : (int)a->fd - (int)b->fd;
}

static int compare_pids(const void *a_, const void *b_)
{
	const struct zoom_ledger *a = a_, *b = b_;

	return a->pid != b->pid ? a->pid - b->pid : a->tid - b->tid;
}

static void add_thread(struct zoom_ledger *process, const struct zoom_ledger *thread)
{
	if (!process->threads || thread->tid == thread->pid)
		memcpy(process->comm, thread->comm, sizeof(process->comm));
	process->ended = process->threads ? process->ended && thread->ended : thread->ended;
	process->pid = thread->pid;
	process->threads++;
	process->seen += thread->seen;
	process->on_cpu += thread->on_cpu;
	process->queued += thread->queued;
	if (thread->queued_max > process->queued_max)
		process->queued_max = thread->queued_max;
	for (int reason = 0; reason < WAIT_REASON_COUNT; reason++)
		process->wait[reason] += thread->wait[reason];
	process->voluntary_switches += thread->voluntary_switches;
	process->involuntary_switches += thread->involuntary_switches;
}

static void sort(void *rows, size_t n, size_t size, int (*order)(const void *a, const void *b))
{
	if (n)
		qsort(rows, n, size, order);
}

int zoom_result_finish(struct zoom_result *result)
{
	result->n_processes = 0;
	result->processes = calloc(result->n_threads + 1, sizeof(*result->processes));
	if (!result->processes)
		return -ENOMEM;
	sort(result->threads, result->n_threads, sizeof(*result->threads), compare_pids);
	for (size_t i = 0; i < result->n_threads; i++) {
		if (!i || result->threads[i].pid != result->threads[i - 1].pid)
			result->n_processes++;
		add_thread(&result->processes[result->n_processes - 1], &result->threads[i]);
	}
	sort(result->processes, result->n_processes, sizeof(*result->processes), compare_ledgers);
	sort(result->threads, result->n_threads, sizeof(*result->threads), compare_ledgers);
	sort(result->syscalls, result->n_syscalls, sizeof(*result->syscalls), compare_syscalls);
	sort(result->descriptors, result->n_descriptors, sizeof(*result->descriptors),
	     compare_descriptors);
	return 0;
}

void zoom_result_free(struct zoom_result *result)
{
	if (!result)
		return;
	free(result->processes);
	free(result->threads);
	free(result->syscalls);
	free(result->descriptors);
	free(result);
}

/* ---- text ---- */

/* Three digits and a unit: "1.23ms". */
static const char *format_time(double seconds, char out[16])
{
	static const struct {
		double size;
		const char *name;
	} units[] = { { 1, "s" }, { 1e-3, "ms" }, { 1e-6, "us" }, { 1e-9, "ns" } };
	size_t i = 0;

	if (seconds <= 0)
		return "0";
	while (i < 3 && seconds < units[i].size)
		i++;
	seconds /= units[i].size;
	snprintf(out, 16,
		 seconds < 10	 ? "%.2f%s"
		 : seconds < 100 ? "%.1f%s"
				 : "%.0f%s",
		 seconds, units[i].name);
	return out;
}

static const char *format_bytes(uint64_t bytes, char out[16])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double value = (double)bytes;
	size_t i = 0;

	for (; value >= 1024 && i < 4; i++)
		value /= 1024;
	snprintf(out, 16, i && value < 100 ? "%.1f%s" : "%.0f%s", value, units[i]);
	return out;
}

/* Names of programs and files come from whoever made them: nothing in them may steer a terminal. */
static void print_name(FILE *out, const char *name)
{
	for (; *name; name++)
		fputc((unsigned char)*name < ' ' || *name == 0x7f ? '?' : *name, out);
}

/* "poll 28.1s, lock 1.20s", the longest first, those of at least a thousandth of the time. */
static void print_waits(FILE *out, const struct zoom_ledger *ledger)
{
	bool told[WAIT_REASON_COUNT] = { false };
	const char *separator = "";
	char text[16];

	for (;;) {
		int longest = -1;

		for (int i = 0; i < WAIT_REASON_COUNT; i++)
			if (!told[i] && ledger->wait[i] > ledger->seen * 1e-3 &&
			    (longest < 0 || ledger->wait[i] > ledger->wait[longest]))
				longest = i;
		if (longest < 0)
			return;
		told[longest] = true;
		fprintf(out, "%s%s %s", separator, wait_reason_name((enum wait_reason)longest),
			format_time(ledger->wait[longest], text));
		separator = ", ";
	}
}

/* How many rows are shown; says how many are not. */
static size_t begin_table(FILE *out, const char *title, size_t n, unsigned top)
{
	size_t shown = top && n > top ? top : n;

	fprintf(out, "\n%s", title);
	if (shown < n)
		fprintf(out, " (%zu of %zu)", shown, n);
	fputc('\n', out);
	return shown;
}

static void print_ledgers(FILE *out, const char *title, const struct zoom_ledger *ledgers, size_t n,
			  unsigned top)
{
	char cpu[16], queued[16], worst[16];
	size_t shown = begin_table(out, title, n, top);

	fprintf(out, "%8s %8s %6s %9s %9s %9s %9s %9s  %-16s %s\n", "PID", "TID", "CPU%", "CPU",
		"QUEUED", "WORST", "SLEPT", "PREEMPTED", "NAME", "WAITED FOR");
	for (size_t i = 0; i < shown; i++) {
		const struct zoom_ledger *row = &ledgers[i];

		fprintf(out, "%8d ", row->pid);
		if (row->tid)
			fprintf(out, "%8d", row->tid);
		else
			fprintf(out, "%6u T", row->threads);
		fprintf(out, " %6.1f %9s %9s %9s %9lu %9lu  ",
			row->seen > 0
				? 100 * row->on_cpu * (row->tid ? 1 : row->threads) / row->seen
				: 0.0,
			format_time(row->on_cpu, cpu), format_time(row->queued, queued),
			format_time(row->queued_max, worst), (unsigned long)row->voluntary_switches,
			(unsigned long)row->involuntary_switches);
		print_name(out, row->comm);
		fprintf(out, "%*s", (int)(17 - strnlen(row->comm, 16)), "");
		print_waits(out, row);
		fputs(row->ended ? " (ended)\n" : "\n", out);
	}
}

static void print_syscalls(FILE *out, const struct zoom_result *result, unsigned top)
{
	char sum[16], p50[16], p99[16], max[16];
	size_t shown = begin_table(out, "System calls, by time", result->n_syscalls, top);

	fprintf(out, "%8s %8s %10s %8s %9s %9s %9s %9s  %s\n", "PID", "TID", "CALLS", "ERRORS",
		"TIME", "P50", "P99", "MAX", "CALL");
	for (size_t i = 0; i < shown; i++) {
		const struct zoom_syscall *row = &result->syscalls[i];

		fprintf(out, "%8d %8d %10lu %8lu %9s %9s %9s %9s  %s", row->pid, row->tid,
			(unsigned long)row->duration.count, (unsigned long)row->errors,
			format_time(row->duration.sum, sum), format_time(row->duration.p50, p50),
			format_time(row->duration.p99, p99), format_time(row->duration.max, max),
			row->name);
		fprintf(out, row->errors ? " (last error %s)\n" : "\n", row->last_error);
	}
}

static void print_descriptors(FILE *out, const struct zoom_result *result, unsigned top)
{
	static const char *const directions[] = { "read", "write" };
	char bytes[16], p50[16], p99[16], max[16];
	size_t shown = begin_table(out, "File descriptors, by time", result->n_descriptors, top);

	fprintf(out, "%8s %5s %-5s %10s %8s %9s %9s %9s %9s  %s\n", "PID", "FD", "", "CALLS",
		"ERRORS", "BYTES", "P50", "P99", "MAX", "WHAT");
	for (size_t i = 0; i < shown; i++) {
		const struct zoom_descriptor *row = &result->descriptors[i];
		bool first = true;

		for (int j = 0; j < ZOOM_DIRECTIONS; j++) {
			const struct zoom_latency *duration = &row->direction[j].duration;

			if (!duration->count)
				continue;
			fprintf(out, "%8d %5u %-5s %10lu %8lu %9s %9s %9s %9s  ", row->pid, row->fd,
				directions[j], (unsigned long)duration->count,
				(unsigned long)row->direction[j].errors,
				format_bytes(row->direction[j].bytes, bytes),
				format_time(duration->p50, p50), format_time(duration->p99, p99),
				format_time(duration->max, max));
			if (first)
				print_name(out, row->what);
			if (first && row->files > 1)
				fprintf(out, " (the last of %u)", row->files);
			first = false;
			fputc('\n', out);
		}
		if (first) {
			fprintf(out, "%8d %5u %-5s %10lu %8s %9s %9s %9s %9s  ", row->pid, row->fd,
				"other", (unsigned long)row->other_calls, "", "", "", "", "");
			print_name(out, row->what);
			fputc('\n', out);
		}
	}
}

void zoom_print_text(const struct zoom_result *result, unsigned top, FILE *out)
{
	fputs("zoom on ", out);
	print_name(out, result->target);
	fprintf(out, ", %.1f s (%s): %zu processes, %zu threads\n", result->seconds, result->ended,
		result->n_processes, result->n_threads);
	if (result->lost)
		fprintf(out, "%lu events are missing: a table was full\n",
			(unsigned long)result->lost);
	print_ledgers(out, "Processes, by CPU time", result->processes, result->n_processes, top);
	print_ledgers(out, "Threads, by CPU time", result->threads, result->n_threads, top);
	if (result->n_syscalls)
		print_syscalls(out, result, top);
	if (result->n_descriptors)
		print_descriptors(out, result, top);
}

/* ---- JSON ---- */

/* Bytes that are no UTF-8 must not lose the rest. */
static json_t *json_name(const char *name)
{
	json_t *json = json_string(name);
	char copy[512];
	size_t i;

	if (json)
		return json;
	for (i = 0; i < sizeof(copy) - 1 && name[i]; i++)
		copy[i] = (unsigned char)name[i] < 0x80 ? name[i] : '?';
	copy[i] = '\0';
	return json_string(copy);
}

static json_t *json_latency(const struct zoom_latency *latency)
{
	return json_pack("{s:f, s:f, s:f, s:f}", "sum", latency->sum, "p50", latency->p50, "p99",
			 latency->p99, "max", latency->max);
}

static json_t *json_waits(const double wait[WAIT_REASON_COUNT])
{
	json_t *waits = json_object();

	for (int reason = 0; reason < WAIT_REASON_COUNT; reason++)
		if (json_object_set_new(waits, wait_reason_name((enum wait_reason)reason),
					json_real(wait[reason]))) {
			json_decref(waits);
			return NULL;
		}
	return waits;
}

static json_t *json_ledger(const struct zoom_ledger *ledger)
{
	return json_pack(
		"{s:i, s:o, s:b, s:f, s:f, s:f, s:f, s:I, s:I, s:o, s:i}", "pid", ledger->pid,
		"comm", json_name(ledger->comm), "ended", ledger->ended, "seen_seconds",
		ledger->seen, "cpu_seconds", ledger->on_cpu, "run_queue_seconds", ledger->queued,
		"run_queue_max_seconds", ledger->queued_max, "voluntary_switches",
		(json_int_t)ledger->voluntary_switches, "involuntary_switches",
		(json_int_t)ledger->involuntary_switches, "wait_seconds", json_waits(ledger->wait),
		ledger->tid ? "tid" : "threads", ledger->tid ? ledger->tid : (int)ledger->threads);
}

static json_t *json_syscall(const struct zoom_syscall *syscall)
{
	return json_pack("{s:i, s:i, s:s, s:I, s:I, s:s?, s:o}", "pid", syscall->pid, "tid",
			 syscall->tid, "syscall", syscall->name, "calls",
			 (json_int_t)syscall->duration.count, "errors", (json_int_t)syscall->errors,
			 "last_error", syscall->last_error[0] ? syscall->last_error : NULL,
			 "duration_seconds", json_latency(&syscall->duration));
}

static json_t *json_direction(const struct zoom_descriptor *descriptor, int direction)
{
	return json_pack("{s:I, s:I, s:I, s:o}", "calls",
			 (json_int_t)descriptor->direction[direction].duration.count, "errors",
			 (json_int_t)descriptor->direction[direction].errors, "bytes",
			 (json_int_t)descriptor->direction[direction].bytes, "duration_seconds",
			 json_latency(&descriptor->direction[direction].duration));
}

static json_t *json_descriptor(const struct zoom_descriptor *descriptor)
{
	return json_pack("{s:i, s:i, s:s, s:o, s:i, s:I, s:o, s:o}", "pid", descriptor->pid, "fd",
			 (int)descriptor->fd, "kind", descriptor->kind, "what",
			 json_name(descriptor->what), "files", (int)descriptor->files,
			 "other_calls", (json_int_t)descriptor->other_calls, "read",
			 json_direction(descriptor, ZOOM_READ), "write",
			 json_direction(descriptor, ZOOM_WRITE));
}

int zoom_print_json(const struct zoom_result *result, FILE *out)
{
	json_t *processes = json_array(), *threads = json_array(), *syscalls = json_array(),
	       *descriptors = json_array(), *document;
	int err = 0;

	for (size_t i = 0; i < result->n_processes; i++)
		err |= json_array_append_new(processes, json_ledger(&result->processes[i]));
	for (size_t i = 0; i < result->n_threads; i++)
		err |= json_array_append_new(threads, json_ledger(&result->threads[i]));
	for (size_t i = 0; i < result->n_syscalls; i++)
		err |= json_array_append_new(syscalls, json_syscall(&result->syscalls[i]));
	for (size_t i = 0; i < result->n_descriptors; i++)
		err |= json_array_append_new(descriptors, json_descriptor(&result->descriptors[i]));
	document =
		json_pack("{s:o, s:s, s:f, s:I, s:o, s:o, s:o, s:o}", "target",
			  json_name(result->target), "ended", result->ended, "seconds",
			  result->seconds, "lost", (json_int_t)result->lost, "processes", processes,
			  "threads", threads, "syscalls", syscalls, "descriptors", descriptors);
	if (!document || err || json_dumpf(document, out, JSON_COMPACT))
		err = -ENOMEM;
	json_decref(document);
	if (!err)
		fputc('\n', out);
	return err;
}
