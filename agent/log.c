/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines are built on the caller's stack and written with one write(2); there is no lock. The
 * destination keeps its descriptor number for good: a new file is opened beside it and put in its
 * place with dup3, which is atomic for those who are writing. A line that cannot be written at once
 * is dropped and counted, the agent never waits.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "agent/log.h"
#include "agent/utf8.h"

#define MESSAGE_SIZE 2048 /* formatted, before escaping */
#define MESSAGE_ROOM                                                                               \
	3072 /* of a line, for all up to the end of the message; the rest is for the fields */
#define CLOSING_ROOM 8 /* of a line, for what closes it */
#define ELLIPSIS     "…"

static struct {
	_Atomic int level;
	_Atomic int format; /* never LOG_FORMAT_AUTO */
	_Atomic int fd;
	_Atomic uint64_t dropped;
	char path[PATH_MAX]; /* "": standard error; loop thread only */
} output = {
	.level = LOG_LEVEL_INFO,
	.format = LOG_FORMAT_PLAIN,
	.fd = STDERR_FILENO,
};

static const char *const level_names[] = {
	[LOG_LEVEL_DEBUG] = "DEBUG",	   [LOG_LEVEL_INFO] = "INFO",
	[LOG_LEVEL_WARNING] = "WARNING",   [LOG_LEVEL_ERROR] = "ERROR",
	[LOG_LEVEL_CRITICAL] = "CRITICAL",
};

static const char *const format_names[] = {
	[LOG_FORMAT_AUTO] = "auto",
	[LOG_FORMAT_JSON] = "json",
	[LOG_FORMAT_PLAIN] = "plain",
};

static int find_name(const char *const names[], size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(names[i], name))
			return (int)i;
	return -EINVAL;
}

int log_level_parse(const char *name)
{
	return find_name(level_names, sizeof(level_names) / sizeof(level_names[0]), name);
}

int log_format_parse(const char *name)
{
	return find_name(format_names, sizeof(format_names) / sizeof(format_names[0]), name);
}

/* ---- destination ---- */

static int open_destination(const char *path)
{
	int fd = *path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640)
		       : fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

	return fd < 0 ? -errno : fd;
}

/* Makes `fd` the destination and consumes it. */
static int replace_destination(int fd)
{
	int error = 0;

	if (output.fd == STDERR_FILENO) {
		output.fd = fd;
		return 0;
	}
	if (dup3(fd, output.fd, O_CLOEXEC) < 0)
		error = -errno;
	close(fd);
	return error;
}

int log_init(enum log_level level, enum log_format format, const char *path)
{
	int fd, error;

	path = path ? path : "";
	if (strlen(path) >= sizeof(output.path))
		return -ENAMETOOLONG;
	fd = open_destination(path);
	if (fd < 0)
		return fd;
	if (format == LOG_FORMAT_AUTO)
		format = isatty(fd) ? LOG_FORMAT_PLAIN : LOG_FORMAT_JSON;
	error = replace_destination(fd);
	if (error)
		return error;
	strcpy(output.path, path);
	output.level = (int)level;
	output.format = (int)format;
	return 0;
}

int log_reopen(void)
{
	int fd;

	if (!*output.path)
		return 0;
	fd = open_destination(output.path);
	return fd < 0 ? fd : replace_destination(fd);
}

uint64_t log_dropped(void)
{
	return output.dropped;
}

bool log_enabled(enum log_level level)
{
	return (int)level >= atomic_load_explicit(&output.level, memory_order_relaxed);
}

/* ---- a line ---- */

struct line {
	char text[LOG_LINE_SIZE];
	size_t size;
};

/* Appends what fits below `limit`; false when it did not fit, and then nothing of it. */
static bool line_add(struct line *line, size_t limit, const char *text, size_t size)
{
	if (size > limit || line->size > limit - size)
		return false;
	memcpy(line->text + line->size, text, size);
	line->size += size;
	return true;
}

static bool line_string(struct line *line, size_t limit, const char *text)
{
	return line_add(line, limit, text, strlen(text));
}

/*
 * The next character of `text` as it may stand in a line, escaped where it must be; returns how
 * many bytes of the text it stands for. JSON after RFC 8259; plain in the manner of C, so that no
 * input can forge a line.
 */
static size_t escape(const char *text, bool json, char out[8])
{
	unsigned char c = (unsigned char)*text;
	size_t length = utf8_sequence(text);
	/* U+0080 to U+009F are control characters that terminals obey */
	bool control =
		length && (c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)text[1] < 0xa0));

	if (!length) {
		if (json)
			strcpy(out, UTF8_REPLACEMENT);
		else
			snprintf(out, 8, "\\x%02x", c);
		return 1;
	}
	if (c == '\n' || c == '\t')
		snprintf(out, 8, "\\%c", c == '\n' ? 'n' : 't');
	else if (control)
		snprintf(out, 8, json ? "\\u%04x" : "\\x%02x",
			 length > 1 ? (unsigned char)text[1] : c);
	else if (json && (c == '"' || c == '\\'))
		snprintf(out, 8, "\\%c", c);
	else
		snprintf(out, 8, "%.*s", (int)length, text);
	return length;
}

/* Appends the text escaped; what does not fit below `limit` is cut, which an ellipsis shows. */
static void line_escaped(struct line *line, size_t limit, const char *text, bool json)
{
	char one[8];

	limit -= sizeof(ELLIPSIS) - 1;
	while (*text) {
		size_t length = escape(text, json, one);

		if (!line_string(line, limit, one)) {
			line_string(line, limit + sizeof(ELLIPSIS) - 1, ELLIPSIS);
			return;
		}
		text += length;
	}
}

/* RFC 3339 in UTC with microseconds. */
static void line_time(struct line *line)
{
	struct timespec now;
	struct tm tm;
	char text[64];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%06ldZ", tm.tm_year + 1900,
		 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, now.tv_nsec / 1000);
	line_string(line, MESSAGE_ROOM, text);
}

/* "agent/cli/doctor.c" is the module "doctor". */
static void module_name(const char *file, char out[64])
{
	const char *slash = strrchr(file, '/');
	const char *name = slash ? slash + 1 : file;

	snprintf(out, 64, "%.*s", (int)strcspn(name, "."), name);
}

/* One field; false when not even its name fits. */
static bool line_field(struct line *line, const struct log_field *field, bool first, bool json)
{
	const size_t limit = LOG_LINE_SIZE - CLOSING_ROOM;
	const char *string = field->string ? field->string : "";
	char number[24];
	size_t start = line->size;

	if (!line_string(line, limit,
			 first ? (json ? ",\"context\":{" : " (") : (json ? "," : ", ")) ||
	    (json && !line_string(line, limit, "\"")) || !line_string(line, limit, field->key) ||
	    !line_string(line, limit, json ? "\":" : "=") || line->size + 32 > limit) {
		line->size = start;
		return false;
	}
	if (field->is_number) {
		snprintf(number, sizeof(number), "%" PRId64, field->number);
		line_string(line, limit, number);
		return true;
	}
	if (json)
		line_string(line, limit, "\"");
	line_escaped(line, limit - 1, string, json);
	if (json)
		line_string(line, limit, "\"");
	return true;
}

static void line_fields(struct line *line, struct log_fields fields, bool json)
{
	size_t n = 0;

	while (n < fields.count && line_field(line, &fields.fields[n], n == 0, json))
		n++;
	if (n)
		line_string(line, LOG_LINE_SIZE, json ? "}" : ")");
}

static void line_json(struct line *line, const char *level, const char *logger,
		      const struct log_site *site, struct log_fields fields, const char *message)
{
	char module[64], number[64];

	module_name(site->module, module);
	line_string(line, MESSAGE_ROOM, "{\"timestamp\":\"");
	line_time(line);
	line_string(line, MESSAGE_ROOM, "\",\"level\":\"");
	line_string(line, MESSAGE_ROOM, level);
	line_string(line, MESSAGE_ROOM, "\",\"logger\":\"");
	line_escaped(line, 256, logger, true);
	line_string(line, MESSAGE_ROOM, "\",\"module\":\"");
	line_escaped(line, 400, module, true);
	line_string(line, MESSAGE_ROOM, "\",\"function\":\"");
	line_escaped(line, 560, site->function, true);
	snprintf(number, sizeof(number), "\",\"line\":%d,\"message\":\"", site->line);
	line_string(line, MESSAGE_ROOM, number);
	line_escaped(line, MESSAGE_ROOM, message, true);
	line_string(line, LOG_LINE_SIZE, "\"");
	line_fields(line, fields, true);
	line_string(line, LOG_LINE_SIZE, "}\n");
}

static void line_plain(struct line *line, const char *level, const char *logger,
		       struct log_fields fields, const char *message)
{
	line_time(line);
	line_string(line, MESSAGE_ROOM, " ");
	line_string(line, MESSAGE_ROOM, level);
	line_string(line, MESSAGE_ROOM, " ");
	line_escaped(line, 256, logger, false);
	line_string(line, MESSAGE_ROOM, ": ");
	line_escaped(line, MESSAGE_ROOM, message, false);
	line_fields(line, fields, false);
	line_string(line, LOG_LINE_SIZE, "\n");
}

/* Formats; what is too long is cut between two characters and shows an ellipsis. */
__attribute__((format(printf, 2, 0))) static void
format_message(char message[MESSAGE_SIZE], const char *format, va_list arguments)
{
	int length = vsnprintf(message, MESSAGE_SIZE, format, arguments);
	size_t end = MESSAGE_SIZE - sizeof(ELLIPSIS);

	if (length < 0) {
		snprintf(message, MESSAGE_SIZE, "%s", "message could not be formatted");
	} else if (length >= MESSAGE_SIZE) {
		while (end && ((unsigned char)message[end] & 0xc0) == 0x80)
			end--;
		strcpy(message + end, ELLIPSIS);
	}
}

void log_write_va(enum log_level level, const char *logger, const struct log_site *site,
		  struct log_fields fields, const char *format, va_list arguments)
{
	char message[MESSAGE_SIZE];
	struct line line = { .size = 0 };
	int saved = errno;
	ssize_t written;

	if (!log_enabled(level))
		return;
	format_message(message, format, arguments);
	if (output.format == LOG_FORMAT_JSON)
		line_json(&line, level_names[level], logger, site, fields, message);
	else
		line_plain(&line, level_names[level], logger, fields, message);
	do {
		written = write(output.fd, line.text, line.size);
	} while (written < 0 && errno == EINTR);
	if (written != (ssize_t)line.size)
		output.dropped++;
	errno = saved;
}

void log_write(enum log_level level, const char *logger, const struct log_site *site,
	       struct log_fields fields, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	log_write_va(level, logger, site, fields, format, arguments);
	va_end(arguments);
}

/* ---- what repeats ---- */

uint64_t log_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

bool log_limit_pass(struct log_limit *limit, uint64_t now_ns, uint64_t *ret_suppressed)
{
	uint64_t next = limit->next_ns;

	/* of several threads that see the time come, the exchange lets one pass */
	if (now_ns < next ||
	    !atomic_compare_exchange_strong(&limit->next_ns, &next, now_ns + LOG_LIMIT_NS)) {
		limit->suppressed++;
		return false;
	}
	*ret_suppressed = atomic_exchange(&limit->suppressed, 0);
	return true;
}
