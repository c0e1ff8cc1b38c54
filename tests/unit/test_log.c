// SPDX-License-Identifier: Apache-2.0
/*
 * The log: both forms, any bytes, bounds, levels, files and their rotation, many threads,
 * repetition.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <bpf/libbpf.h>
#include <cmocka.h>
#include <jansson.h>
#include "agent/log.h"
#include "tests/harness/cleanup.h"

#define N_THREADS 4
#define N_LINES	  1009

static char path[512];

/* Starts a fresh log file. */
static void start(enum log_level level, enum log_format format)
{
	snprintf(path, sizeof(path), "%s/log", temporary_directory());
	assert_int_equal(log_init(level, format, path), 0);
}

/* All that is in a file, to be freed. */
static char *content(const char *name)
{
	FILE *file = fopen(name, "re");
	char *text = calloc(1, 1 << 20);

	assert_non_null(file);
	assert_true(fread(text, 1, (1 << 20) - 1, file) < (1 << 20) - 1);
	fclose(file);
	return text;
}

/* The only line of the log as JSON. */
static json_t *only_line(void)
{
	char *text = content(path);
	json_error_t error;
	json_t *json;

	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	assert_true(strlen(text) <= LOG_LINE_SIZE);
	json = json_loads(text, JSON_REJECT_DUPLICATES, &error);
	if (!json)
		fail_msg("%s in %s", error.text, text);
	free(text);
	return json;
}

static const char *string_of(json_t *json, const char *key)
{
	const char *string = json_string_value(json_object_get(json, key));

	assert_non_null(string);
	return string;
}

static void writes_json(void **state)
{
	json_t *json, *context;
	const int line = __LINE__ + 3;

	start(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
	log_event(LOG_LEVEL_WARNING, "probe.sched",
		  LOG_FIELDS(LOG_TEXT("hook", "sched_switch"), LOG_NUMBER("lost", -3)), "lost %d",
		  3);
	json = only_line();
	assert_string_equal(string_of(json, "level"), "WARNING");
	assert_string_equal(string_of(json, "logger"), "probe.sched");
	assert_string_equal(string_of(json, "message"), "lost 3");
	assert_string_equal(string_of(json, "module"), "test_log");
	assert_string_equal(string_of(json, "function"), "writes_json");
	assert_int_equal(json_integer_value(json_object_get(json, "line")), line);
	context = json_object_get(json, "context");
	assert_string_equal(string_of(context, "hook"), "sched_switch");
	assert_int_equal(json_integer_value(json_object_get(context, "lost")), -3);
	/* 2025-11-22T15:11:03.123456Z */
	assert_int_equal(strlen(string_of(json, "timestamp")), 27);
	assert_int_equal(string_of(json, "timestamp")[10], 'T');
	assert_int_equal(string_of(json, "timestamp")[26], 'Z');
	json_decref(json);
}

static void writes_plain(void **state)
{
	char *text;

	start(LOG_LEVEL_DEBUG, LOG_FORMAT_PLAIN);
	log_debug("core", "one");
	log_event(LOG_LEVEL_CRITICAL, "core", LOG_FIELDS(LOG_TEXT("a", "b c"), LOG_NUMBER("n", 7)),
		  "two\nWARNING core: forged \x1b[2J\xff é");
	text = content(path);
	assert_string_equal(strchr(text, ' '), strstr(text, " DEBUG core: one\n"));
	assert_non_null(strstr(
		text,
		"Z CRITICAL core: two\\nWARNING core: forged \\x1b[2J\\xff é (a=b c, n=7)\n"));
	free(text);
}

static void keeps_to_its_level(void **state)
{
	char *text;

	start(LOG_LEVEL_ERROR, LOG_FORMAT_PLAIN);
	assert_false(log_enabled(LOG_LEVEL_WARNING));
	assert_true(log_enabled(LOG_LEVEL_ERROR));
	log_debug("x", "debug");
	log_info("x", "info");
	log_warning("x", "warning");
	log_error("x", "error");
	log_critical("x", "critical");
	text = content(path);
	assert_null(strstr(text, "warning"));
	assert_non_null(strstr(text, "ERROR x: error\n"));
	assert_non_null(strstr(text, "CRITICAL x: critical\n"));
	free(text);
	assert_int_equal(log_level_parse("DEBUG"), LOG_LEVEL_DEBUG);
	assert_int_equal(log_level_parse("CRITICAL"), LOG_LEVEL_CRITICAL);
	assert_int_equal(log_level_parse("debug"), -EINVAL);
	assert_int_equal(log_format_parse("auto"), LOG_FORMAT_AUTO);
	assert_int_equal(log_format_parse("plain"), LOG_FORMAT_PLAIN);
	assert_int_equal(log_format_parse(""), -EINVAL);
}

/* Every byte there is, alone and in the company of others, stays JSON that reads back. */
static void takes_any_bytes(void **state)
{
	char text[300];
	json_t *json;

	for (int c = 1; c < 256; c++) {
		start(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
		snprintf(text, sizeof(text), "<%c%c\"\\>", c, c);
		log_event(LOG_LEVEL_INFO, text,
			  LOG_FIELDS(LOG_TEXT("key", text), LOG_TEXT("none", NULL)), "%s", text);
		json = only_line();
		if (c < 0x80) {
			assert_string_equal(string_of(json, "message"), text);
			assert_string_equal(string_of(json_object_get(json, "context"), "key"),
					    text);
		} else {
			assert_string_equal(string_of(json, "message"),
					    "<\xef\xbf\xbd\xef\xbf\xbd\"\\>");
		}
		assert_string_equal(string_of(json_object_get(json, "context"), "none"), "");
		json_decref(json);
		cleanup_run();
	}
}

static void bounds_its_lines(void **state)
{
	static const char *const units[] = { "x", "é", "\x01", "\xff", "\"" };
	char *text = malloc(200000);
	json_t *json;

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		char *to = text;

		for (size_t n = 0; n < 60000; n++)
			to = stpcpy(to, units[i]);
		start(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
		log_event(LOG_LEVEL_INFO, text,
			  LOG_FIELDS(LOG_TEXT("one", text), LOG_TEXT("two", text),
				     LOG_NUMBER("three", 3)),
			  "%s%s", units[i], text);
		json = only_line();
		assert_non_null(strstr(string_of(json, "message"), "…"));
		assert_non_null(strstr(string_of(json_object_get(json, "context"), "one"), "…"));
		json_decref(json);
		cleanup_run();

		start(LOG_LEVEL_INFO, LOG_FORMAT_PLAIN);
		log_event(LOG_LEVEL_INFO, text, LOG_FIELDS(LOG_TEXT("one", text)), "%s", text);
		char *plain = content(path);

		assert_true(strlen(plain) <= LOG_LINE_SIZE);
		assert_ptr_equal(strchr(plain, '\n'), plain + strlen(plain) - 1);
		free(plain);
		cleanup_run();
	}
	free(text);
}

static void follows_rotation(void **state)
{
	char moved[600];
	char *text;

	start(LOG_LEVEL_INFO, LOG_FORMAT_PLAIN);
	log_info("x", "before");
	snprintf(moved, sizeof(moved), "%s.1", path);
	assert_int_equal(rename(path, moved), 0);
	log_info("x", "between");
	assert_int_equal(log_reopen(), 0);
	log_info("x", "after");
	text = content(moved);
	assert_non_null(strstr(text, "before"));
	assert_non_null(strstr(text, "between"));
	assert_null(strstr(text, "after"));
	free(text);
	text = content(path);
	assert_non_null(strstr(text, "after"));
	free(text);
}

static void keeps_the_old_file_when_the_new_fails(void **state)
{
	char *text;

	start(LOG_LEVEL_INFO, LOG_FORMAT_PLAIN);
	assert_int_equal(log_init(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON, "/nonexistent/log"), -ENOENT);
	log_debug("x", "not at this level");
	log_info("x", "still here");
	text = content(path);
	assert_null(strstr(text, "not at this level"));
	assert_non_null(strstr(text, " INFO x: still here\n"));
	free(text);
}

static void counts_what_it_cannot_write(void **state)
{
	uint64_t dropped = log_dropped();

	assert_int_equal(log_init(LOG_LEVEL_INFO, LOG_FORMAT_PLAIN, "/dev/full"), 0);
	errno = 42;
	log_info("x", "lost");
	assert_int_equal(errno, 42);
	assert_true(log_dropped() == dropped + 1);
}

static void *write_lines(void *argument)
{
	for (int i = 0; i < N_LINES; i++)
		log_event(LOG_LEVEL_INFO, "thread", LOG_FIELDS(LOG_NUMBER("i", i)), "%s",
			  (const char *)argument);
	return NULL;
}

/* No line is torn, none is lost, while the file is opened anew again and again. */
static void serves_many_threads(void **state)
{
	char *texts[N_THREADS], *text, *line, *rest;
	pthread_t threads[N_THREADS];
	int n = 0;

	start(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
	for (int i = 0; i < N_THREADS; i++) {
		texts[i] = malloc(128);
		memset(texts[i], 'a' + i, 100);
		texts[i][100] = '\0';
		assert_int_equal(pthread_create(&threads[i], NULL, write_lines, texts[i]), 0);
	}
	for (int i = 0; i < 100; i++)
		assert_int_equal(log_reopen(), 0);
	for (int i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	text = calloc(1, 4 << 20);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(read(fd, text, (4 << 20) - 1) > 0);
	close(fd);
	rest = text;
	while ((line = strsep(&rest, "\n")) && *line) {
		json_t *json = json_loads(line, 0, NULL);
		const char *message = string_of(json, "message");

		assert_int_equal(strspn(message, (char[]){ message[0], '\0' }), 100);
		json_decref(json);
		n++;
	}
	assert_int_equal(n, N_THREADS * N_LINES);
	free(text);
	for (int i = 0; i < N_THREADS; i++)
		free(texts[i]);
}

static void limits_what_repeats(void **state)
{
	struct log_limit limit = { 0 };
	uint64_t suppressed = 99;
	char *text;

	assert_true(log_limit_pass(&limit, 5, &suppressed));
	assert_int_equal(suppressed, 0);
	assert_false(log_limit_pass(&limit, 6, &suppressed));
	assert_false(log_limit_pass(&limit, 4 + LOG_LIMIT_NS, &suppressed));
	assert_true(log_limit_pass(&limit, 5 + LOG_LIMIT_NS, &suppressed));
	assert_int_equal(suppressed, 2);
	assert_false(log_limit_pass(&limit, 6 + LOG_LIMIT_NS, &suppressed));

	start(LOG_LEVEL_INFO, LOG_FORMAT_PLAIN);
	for (int i = 0; i < 1000; i++)
		log_limited(LOG_LEVEL_INFO, "x", "again %d", i);
	text = content(path);
	assert_non_null(strstr(text, "again 0\n"));
	assert_null(strstr(text, "again 1"));
	free(text);
}

static void passes_on_libbpf(void **state)
{
	libbpf_print_fn_t before;
	char *text;

	start(LOG_LEVEL_INFO, LOG_FORMAT_PLAIN);
	log_capture_libbpf();
	assert_null(bpf_object__open_file("/nonexistent.bpf.o", NULL));
	before = libbpf_set_print(NULL);
	assert_non_null(before);
	text = content(path);
	assert_non_null(strstr(text, " WARNING libbpf: "));
	assert_non_null(strstr(text, "/nonexistent.bpf.o"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(writes_json, cleanup_teardown),
		cmocka_unit_test_teardown(writes_plain, cleanup_teardown),
		cmocka_unit_test_teardown(keeps_to_its_level, cleanup_teardown),
		cmocka_unit_test_teardown(takes_any_bytes, cleanup_teardown),
		cmocka_unit_test_teardown(bounds_its_lines, cleanup_teardown),
		cmocka_unit_test_teardown(follows_rotation, cleanup_teardown),
		cmocka_unit_test_teardown(keeps_the_old_file_when_the_new_fails, cleanup_teardown),
		cmocka_unit_test_teardown(counts_what_it_cannot_write, cleanup_teardown),
		cmocka_unit_test_teardown(serves_many_threads, cleanup_teardown),
		cmocka_unit_test_teardown(limits_what_repeats, cleanup_teardown),
		cmocka_unit_test_teardown(passes_on_libbpf, cleanup_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
