// SPDX-License-Identifier: Apache-2.0
/* The parsers of host_parse.h. A `struct text` is what is still unread of a line or a file. */
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include "probes/host_parse.h"

const char *const host_cpu_mode_names[HOST_CPU_MODES] = {
	[HOST_CPU_USER] = "user",	[HOST_CPU_NICE] = "nice",     [HOST_CPU_SYSTEM] = "system",
	[HOST_CPU_IDLE] = "idle",	[HOST_CPU_IOWAIT] = "iowait", [HOST_CPU_IRQ] = "irq",
	[HOST_CPU_SOFTIRQ] = "softirq", [HOST_CPU_STEAL] = "steal",
};

struct text {
	const char *at, *end;
};

/* Cuts the next line off; false at the end. */
static bool text_line(struct text *text, struct text *line)
{
	const char *newline;

	if (text->at == text->end)
		return false;
	newline = memchr(text->at, '\n', (size_t)(text->end - text->at));
	line->at = text->at;
	line->end = newline ? newline : text->end;
	text->at = newline ? newline + 1 : text->end;
	return true;
}

static void text_skip_blanks(struct text *text)
{
	while (text->at < text->end && (*text->at == ' ' || *text->at == '\t'))
		text->at++;
}

/* Reads a decimal number after blanks; false when there is none or it does not fit. */
static bool text_number(struct text *text, uint64_t *number)
{
	uint64_t value = 0;
	const char *at;

	text_skip_blanks(text);
	for (at = text->at; at < text->end && *at >= '0' && *at <= '9'; at++) {
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
			return false;
	}
	if (at == text->at)
		return false;
	text->at = at;
	*number = value;
	return true;
}

/* Steps over a literal; false, and no step, when it is not there. */
static bool text_literal(struct text *text, const char *literal)
{
	size_t size = strlen(literal);

	if ((size_t)(text->end - text->at) < size || memcmp(text->at, literal, size) != 0)
		return false;
	text->at += size;
	return true;
}

int host_parse_stat(const char *data, size_t size, struct host_stat *ret_stat)
{
	struct text text = { data, data + size }, line;
	struct host_stat stat = { 0 };
	const struct {
		const char *name;
		uint64_t *value;
	} fields[] = {
		{ "intr ", &stat.interrupts },	     { "btime ", &stat.boot_time },
		{ "processes ", &stat.forks },	     { "procs_running ", &stat.running },
		{ "procs_blocked ", &stat.blocked },
	};
	bool has_total = false;

	while (text_line(&text, &line)) {
		if (text_literal(&line, "cpu ")) {
			size_t mode = 0;

			while (mode < HOST_CPU_MODES && text_number(&line, &stat.ticks[mode]))
				mode++;
			/* Kernels in use have them all; fewer is another file's content. */
			if (mode < HOST_CPU_MODES)
				return -EBADMSG;
			has_total = true;
			continue;
		}
		if (text_literal(&line, "cpu")) {
			stat.cpus++;
			continue;
		}
		for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
			if (!text_literal(&line, fields[i].name))
				continue;
			if (!text_number(&line, fields[i].value))
				return -EBADMSG;
			break;
		}
	}
	if (!has_total || !stat.cpus)
		return -EBADMSG;
	*ret_stat = stat;
	return 0;
}

int host_parse_meminfo(const char *data, size_t size, struct host_memory *ret_memory)
{
	struct text text = { data, data + size }, line;
	struct host_memory memory = { 0 };
	const struct {
		const char *name;
		uint64_t *value;
	} fields[] = {
		{ "MemTotal:", &memory.total },
		{ "MemFree:", &memory.free },
		{ "MemAvailable:", &memory.available },
		{ "Buffers:", &memory.buffers },
		{ "Cached:", &memory.cached },
		{ "Shmem:", &memory.shared },
		{ "SReclaimable:", &memory.slab_reclaimable },
		{ "SwapTotal:", &memory.swap_total },
		{ "SwapFree:", &memory.swap_free },
		{ "Dirty:", &memory.dirty },
		{ "Writeback:", &memory.writeback },
	};
	bool has_available = false;

	while (text_line(&text, &line)) {
		for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
			uint64_t kibibytes;

			if (!text_literal(&line, fields[i].name))
				continue;
			if (!text_number(&line, &kibibytes) || kibibytes > UINT64_MAX / 1024)
				return -EBADMSG;
			*fields[i].value = kibibytes * 1024;
			has_available |= fields[i].value == &memory.available;
			break;
		}
	}
	if (!memory.total || !has_available)
		return -EBADMSG;
	*ret_memory = memory;
	return 0;
}

int host_parse_file_nr(const char *data, size_t size, uint64_t *ret_open, uint64_t *ret_limit)
{
	struct text text = { data, data + size };
	uint64_t allocated, unused, limit;

	if (!text_number(&text, &allocated) || !text_number(&text, &unused) ||
	    !text_number(&text, &limit) || !limit)
		return -EBADMSG;
	/* The second has been 0 since 2.6; where it is not, those are allocated, but not open. */
	*ret_open = allocated > unused ? allocated - unused : 0;
	*ret_limit = limit;
	return 0;
}

int host_parse_pressure(const char *data, size_t size, struct host_pressure *ret_pressure)
{
	struct text text = { data, data + size }, line;
	struct host_pressure pressure = { 0 };

	while (text_line(&text, &line)) {
		const char *total = memmem(line.at, (size_t)(line.end - line.at), " total=", 7);
		struct text number = { total ? total + 7 : line.end, line.end };

		if (text_literal(&line, "some "))
			pressure.has_some = text_number(&number, &pressure.some_us);
		else if (text_literal(&line, "full "))
			pressure.has_full = text_number(&number, &pressure.full_us);
	}
	if (!pressure.has_some && !pressure.has_full)
		return -EBADMSG;
	*ret_pressure = pressure;
	return 0;
}

/*
 * "  eth0: bytes packets errs drop fifo frame compressed multicast  bytes packets errs drop fifo colls
 * carrier compressed"; the first number may follow the colon at once.
 */
static bool parse_interface_line(struct text line, struct host_interface *interface)
{
	enum { FIELDS = 16, PER_DIRECTION = 8 };
	uint64_t fields[FIELDS];
	const char *colon;
	size_t length;

	text_skip_blanks(&line);
	/* A name may hold no colon itself, but that of an alias does: the last one ends it. */
	colon = memrchr(line.at, ':', (size_t)(line.end - line.at));
	if (!colon || colon == line.at)
		return false;
	length = (size_t)(colon - line.at);
	if (length >= sizeof(interface->name) || memchr(line.at, '\0', length))
		return false;
	memcpy(interface->name, line.at, length);
	interface->name[length] = '\0';
	line.at = colon + 1;
	for (size_t i = 0; i < FIELDS; i++) {
		if (!text_number(&line, &fields[i]))
			return false;
	}
	for (int direction = 0; direction < HOST_DIRECTIONS; direction++) {
		const uint64_t *of = &fields[direction * PER_DIRECTION];

		interface->counters[direction].bytes = of[0];
		interface->counters[direction].packets = of[1];
		interface->counters[direction].errors = of[2];
		interface->counters[direction].drops = of[3];
	}
	return true;
}

int host_parse_interface(const char *data, size_t size, size_t *cursor,
			 struct host_interface *ret_interface)
{
	struct text text = { data + *cursor, data + size }, line;
	struct host_interface interface;
	int found = 0;

	while (!found && text_line(&text, &line))
		found = parse_interface_line(line, &interface);
	*cursor = (size_t)(text.at - data);
	if (found)
		*ret_interface = interface;
	return found;
}

char *host_patterns_new(const char *list)
{
	size_t size = strlen(list);
	char *patterns = malloc(size + 2), *out = patterns;

	if (!patterns)
		return NULL;
	for (; *list; list++) {
		if (*list != ',' && *list != ' ')
			*out++ = *list;
		else if (out > patterns && out[-1])
			*out++ = '\0';
	}
	if (out > patterns && out[-1])
		*out++ = '\0';
	*out = '\0';
	return patterns;
}

bool host_patterns_match(const char *patterns, const char *word)
{
	for (; *patterns; patterns += strlen(patterns) + 1) {
		if (fnmatch(patterns, word, 0) == 0)
			return true;
	}
	return false;
}
