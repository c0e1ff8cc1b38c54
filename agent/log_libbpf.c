/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libbpf has to say, as lines of the log: a message may hold many (the verifier's report),
 * each becomes one. The thread that uses libbpf.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <bpf/libbpf.h>
#include "agent/log.h"

static _Thread_local bool is_muted;

static enum log_level level_of(enum libbpf_print_level level)
{
	switch (level) {
	case LIBBPF_WARN:
		return LOG_LEVEL_WARNING;
	case LIBBPF_INFO:
		return LOG_LEVEL_INFO;
	default:
		return LOG_LEVEL_DEBUG;
	}
}

__attribute__((format(printf, 2, 0))) static int print(enum libbpf_print_level libbpf_level,
						       const char *format, va_list arguments)
{
	enum log_level level = level_of(libbpf_level);
	char *message, *rest, *line;
	int length;

	if (is_muted || !log_enabled(level))
		return 0;
	length = vasprintf(&message, format, arguments);
	if (length < 0)
		return 0;
	rest = message;
	while ((line = strsep(&rest, "\n")))
		if (*line)
			log_event(level, "libbpf", LOG_NO_FIELDS, "%s",
				  strncmp(line, "libbpf: ", 8) ? line : line + 8);
	free(message);
	return length;
}

void log_mute_libbpf(bool mute)
{
	is_muted = mute;
}

void log_capture_libbpf(void)
{
	libbpf_set_print(print);
}
