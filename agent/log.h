/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: one line per event, JSON or plain, to stderr or a file; any thread, each line one
 * write(2). Before log_init() lines go to stderr in plain form from INFO up. Libraries of the agent
 * (config, registry, encoders …) return errors and do not log; their callers do.
 *
 *	log_info("lifecycle", "%u probes attached", n);
 *	log_event(LOG_LEVEL_WARNING, "probe.sched", LOG_FIELDS(LOG_TEXT("hook", hook), LOG_NUMBER("lost", n)), "…");
 *	log_limited(LOG_LEVEL_WARNING, "http", "refused %s", peer);
 */
#ifndef LEADLINE_LOG_H
#define LEADLINE_LOG_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level {
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_INFO,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_ERROR,
	LOG_LEVEL_CRITICAL,
};

enum log_format {
	LOG_FORMAT_AUTO,
	LOG_FORMAT_JSON,
	LOG_FORMAT_PLAIN
}; /* auto: plain on a terminal, else JSON */

/* A line is never longer than this, newline included, so that writes to a pipe do not mix. */
#define LOG_LINE_SIZE 4096

struct log_field {
	const char *key;
	const char *string;
	int64_t number;
	bool is_number;
};

struct log_fields {
	const struct log_field *fields;
	size_t count;
};

#define LOG_TEXT(name, text)                                                                       \
	{                                                                                          \
		.key = (name), .string = (text)                                                    \
	}
#define LOG_NUMBER(name, value)                                                                    \
	{                                                                                          \
		.key = (name), .number = (int64_t)(value), .is_number = true                       \
	}
#define LOG_FIELDS(...)                                                                            \
	((struct log_fields){ (const struct log_field[]){ __VA_ARGS__ },                           \
			      sizeof((const struct log_field[]){ __VA_ARGS__ }) /                  \
				      sizeof(struct log_field) })
#define LOG_NO_FIELDS ((struct log_fields){ NULL, 0 })

/* Where in the source the line is from. */
struct log_site {
	const char *module;
	const char *function;
	int line;
};

#define LOG_SITE (&(const struct log_site){ __FILE__, __func__, __LINE__ })

/*
 * Sets level, format and destination; again on reload. `path` NULL or "": stderr. 0, or -errno when
 * the file cannot be opened, and then nothing has changed. Loop thread (or before there are
 * threads).
 */
int log_init(enum log_level level, enum log_format format, const char *path);
/*
 * Opens the file anew, after it was moved away. 0 or -errno; on failure the old file stays in use.
 */
int log_reopen(void);
/* Lines that could not be written (full pipe, full disk) since the start. */
uint64_t log_dropped(void);

/* "INFO" ↔ LOG_LEVEL_INFO; -EINVAL for an unknown name. */
int log_level_parse(const char *name);
int log_format_parse(const char *name); /* auto, json, plain */
bool log_enabled(enum log_level level);

void log_write(enum log_level level, const char *logger, const struct log_site *site,
	       struct log_fields fields, const char *format, ...)
	__attribute__((format(printf, 5, 6)));
void log_write_va(enum log_level level, const char *logger, const struct log_site *site,
		  struct log_fields fields, const char *format, va_list arguments)
	__attribute__((format(printf, 5, 0)));

#define log_event(level, logger, fields, ...)                                                      \
	do {                                                                                       \
		if (log_enabled(level))                                                            \
			log_write(level, logger, LOG_SITE, fields, __VA_ARGS__);                   \
	} while (0)

#define log_debug(logger, ...)	  log_event(LOG_LEVEL_DEBUG, logger, LOG_NO_FIELDS, __VA_ARGS__)
#define log_info(logger, ...)	  log_event(LOG_LEVEL_INFO, logger, LOG_NO_FIELDS, __VA_ARGS__)
#define log_warning(logger, ...)  log_event(LOG_LEVEL_WARNING, logger, LOG_NO_FIELDS, __VA_ARGS__)
#define log_error(logger, ...)	  log_event(LOG_LEVEL_ERROR, logger, LOG_NO_FIELDS, __VA_ARGS__)
#define log_critical(logger, ...) log_event(LOG_LEVEL_CRITICAL, logger, LOG_NO_FIELDS, __VA_ARGS__)

/*
 * For what may repeat without end: from one place in the source, one line per LOG_LIMIT_NS; the
 * next one tells in the field `suppressed` how many were not written.
 */
#define LOG_LIMIT_NS 10000000000ULL

struct log_limit {
	_Atomic uint64_t next_ns; /* 0: never passed */
	_Atomic uint64_t suppressed;
};

/* True when a line may be written at `now_ns`; sets how many were not since the last one. */
bool log_limit_pass(struct log_limit *limit, uint64_t now_ns, uint64_t *ret_suppressed);
uint64_t log_clock_ns(void); /* CLOCK_MONOTONIC */

#define log_limited(level, logger, ...)                                                            \
	do {                                                                                       \
		static struct log_limit log_limit_here;                                            \
		uint64_t log_suppressed;                                                           \
		if (log_enabled(level) &&                                                          \
		    log_limit_pass(&log_limit_here, log_clock_ns(), &log_suppressed))              \
			log_write(level, logger, LOG_SITE,                                         \
				  log_suppressed                                                   \
					  ? LOG_FIELDS(LOG_NUMBER("suppressed", log_suppressed))   \
					  : LOG_NO_FIELDS,                                         \
				  __VA_ARGS__);                                                    \
	} while (0)

/* From here on libbpf's messages go to the log as logger "libbpf". */
void log_capture_libbpf(void);
/* … but for what it says to the calling thread while that expects a failure. */
void log_mute_libbpf(bool mute);

#endif
