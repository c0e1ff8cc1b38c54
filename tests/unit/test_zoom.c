// SPDX-License-Identifier: Apache-2.0
/* What zoom makes of what somebody typed, and of what it has seen. No root. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include <jansson.h>
#include "agent/zoom.h"
#include "agent/zoom_service.h"
#include "tests/harness/cleanup.h"

/* ---- targets ---- */

static void test_a_process_is_found_by_its_number(void **state)
{
	struct zoom_target target;
	char text[16], error[256] = "";

	snprintf(text, sizeof(text), "%d", getpid());
	assert_int_equal(zoom_target_pid(text, &target, error, sizeof(error)), 0);
	assert_int_equal(target.pid, getpid());
	assert_non_null(strstr(target.name, "test_zoom"));
	(void)state;
}

static void test_what_is_no_process_is_refused(void **state)
{
	static const struct {
		const char *text;
		int result;
	} cases[] = {
		{ "", -EINVAL },
		{ "0", -EINVAL },
		{ "-1", -EINVAL },
		{ "1x", -EINVAL },
		{ " 1", -EINVAL },
		{ "nginx", -EINVAL },
		{ "99999999999999999999", -EINVAL },
		{ "4194304", -ESRCH },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct zoom_target target;
		char error[256] = "";

		assert_int_equal(zoom_target_pid(cases[i].text, &target, error, sizeof(error)),
				 cases[i].result);
		assert_true(error[0]);
	}
	(void)state;
}

static void test_what_is_no_group_is_refused(void **state)
{
	static const char *const paths[] = { "/etc", "/nowhere/at/all", "no\033such", "../../etc" };

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct zoom_target target = { .pid = 1 };
		char error[256] = "";
		int err = zoom_target_cgroup(paths[i], &target, error, sizeof(error));

		assert_int_equal(err, -ESRCH);
		assert_non_null(strstr(error, "no control group"));
		assert_null(strchr(error, '\033'));
	}
	assert_int_equal(zoom_target_cgroup("", &(struct zoom_target){ 0 }, (char[256]){ 0 }, 256),
			 -EINVAL);
	(void)state;
}

static void test_an_unknown_container_is_told(void **state)
{
	struct zoom_target target;
	char error[256] = "";

	assert_int_equal(zoom_target_container("there-is-none-of-that-name", "/", &target, error,
					       sizeof(error)),
			 -ESRCH);
	assert_non_null(strstr(error, "there-is-none-of-that-name"));
	assert_int_equal(zoom_target_container("", "/", &target, error, sizeof(error)), -EINVAL);
	(void)state;
}

/* ---- files ---- */

static void test_files_are_described(void **state)
{
	static const struct {
		struct zoom_file file;
		const char *kind, *what;
	} cases[] = {
		{ { .mode = S_IFREG, .name = "access.log", .files = 1 }, "file", "access.log" },
		{ { .mode = S_IFIFO, .inode = 77, .files = 1 }, "pipe", "pipe:[77]" },
		{ { .mode = S_IFCHR, .name = "null", .files = 1 }, "character device", "null" },
		{ { .mode = 0, .name = "[eventpoll]", .files = 1 }, "anonymous", "[eventpoll]" },
		{ { .mode = 0 }, "not open", "" },
		{ { .mode = S_IFSOCK,
		    .family = AF_INET,
		    .protocol = 6,
		    .local = { 127, 0, 0, 1 },
		    .local_port = 80,
		    .remote = { 10, 0, 0, 2 },
		    .remote_port = 4711 },
		  "socket",
		  "tcp 127.0.0.1:80 -> 10.0.0.2:4711" },
		{ { .mode = S_IFSOCK,
		    .family = AF_INET6,
		    .protocol = 17,
		    .local = { [15] = 1 },
		    .local_port = 53 },
		  "socket",
		  "udp [::1]:53" },
		{ { .mode = S_IFSOCK, .family = AF_UNIX, .inode = 9 },
		  "socket",
		  "unix socket:[9]" },
	};
	char what[512];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_string_equal(zoom_describe_file(&cases[i].file, what), cases[i].kind);
		assert_string_equal(what, cases[i].what);
	}
	(void)state;
}

/* ---- results ---- */

static void free_result(void *context)
{
	zoom_result_free(context);
}

static void *copy_of(const void *rows, size_t size)
{
	void *copy = malloc(size);

	assert_non_null(copy);
	return memcpy(copy, rows, size);
}

/* Two processes; the first has two threads, of which the second was busier. */
static struct zoom_result *sample(void)
{
	static const struct zoom_ledger threads[] = {
		{ .pid = 10,
		  .tid = 10,
		  .comm = "web\033[2J",
		  .threads = 1,
		  .seen = 10,
		  .on_cpu = 1,
		  .queued = 0.5,
		  .queued_max = 0.2,
		  .wait = { [WAIT_POLL] = 8, [WAIT_LOCK] = 0.5 },
		  .voluntary_switches = 7,
		  .involuntary_switches = 1 },
		{ .pid = 10,
		  .tid = 11,
		  .comm = "worker",
		  .threads = 1,
		  .seen = 10,
		  .on_cpu = 9,
		  .queued = 1,
		  .queued_max = 0.1,
		  .ended = true,
		  .voluntary_switches = 2 },
		{ .pid = 20,
		  .tid = 20,
		  .comm = "idle",
		  .threads = 1,
		  .seen = 10,
		  .wait = { [WAIT_SLEEP] = 10 } },
	};
	static const struct zoom_syscall syscalls[] = {
		{ .pid = 10,
		  .tid = 10,
		  .name = "getppid",
		  .duration = { 3, 1e-6, 3e-7, 4e-7, 4e-7 } },
		{ .pid = 10,
		  .tid = 10,
		  .name = "read",
		  .errors = 2,
		  .last_error = "EAGAIN",
		  .duration = { 5, 2.5, 0.5, 0.6, 0.61 } },
	};
	static const struct zoom_descriptor descriptors[] = {
		{ .pid = 10,
		  .fd = 3,
		  .kind = "file",
		  .what = "/tmp/\xff\n",
		  .files = 2,
		  .direction[ZOOM_WRITE] = { .bytes = 2048,
					     .duration = { 4, 1e-3, 2e-4, 3e-4, 4e-4 } } },
	};
	struct zoom_result *result = calloc(1, sizeof(*result));

	assert_non_null(result);
	snprintf(result->target, sizeof(result->target), "process 10 (web)");
	result->ended = "time is up";
	result->seconds = 10;
	result->lost = 3;
	result->threads = copy_of(threads, sizeof(threads));
	result->syscalls = copy_of(syscalls, sizeof(syscalls));
	result->descriptors = copy_of(descriptors, sizeof(descriptors));
	result->n_threads = sizeof(threads) / sizeof(threads[0]);
	result->n_syscalls = sizeof(syscalls) / sizeof(syscalls[0]);
	result->n_descriptors = 1;
	assert_int_equal(zoom_result_finish(result), 0);
	cleanup_push(free_result, result);
	return result;
}

static void test_processes_are_the_sums_of_their_threads(void **state)
{
	const struct zoom_result *result = sample();

	assert_int_equal(result->n_processes, 2);
	assert_int_equal(result->processes[0].pid, 10);
	assert_int_equal(result->processes[0].threads, 2);
	assert_int_equal(result->processes[0].tid, 0);
	assert_false(result->processes[0].ended);
	assert_float_equal(result->processes[0].on_cpu, 10, 0);
	assert_float_equal(result->processes[0].queued_max, 0.2, 0);
	assert_int_equal(result->processes[0].voluntary_switches, 9);
	assert_int_equal(result->threads[0].tid, 11);
	assert_string_equal(result->syscalls[0].name, "read");
	(void)state;
}

static void free_text(void *context)
{
	free(context);
}

static const char *text_of(const struct zoom_result *result, unsigned top)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	zoom_print_text(result, top, out);
	fclose(out);
	cleanup_push(free_text, text);
	return text;
}

static void test_the_report_is_in_order_and_harmless(void **state)
{
	const char *text = text_of(sample(), 1);

	assert_non_null(strstr(text, "zoom on process 10 (web), 10.0 s (time is up): 2 processes, "
				     "3 threads\n3 events are missing"));
	assert_non_null(strstr(text, "Threads, by CPU time (1 of 3)"));
	assert_non_null(strstr(text, "worker"));
	assert_null(strstr(text, "idle"));
	assert_non_null(strstr(text, "poll 8.00s, lock 500ms"));
	assert_non_null(strstr(text, "read (last error EAGAIN)"));
	assert_non_null(strstr(text, "2.0KiB"));
	assert_non_null(strstr(text, "(the last of 2)"));
	assert_null(strchr(text, '\033'));
	assert_non_null(strstr(text_of(sample(), 0), "idle"));
	(void)state;
}

static void test_json_holds_everything(void **state)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	json_t *json;

	assert_int_equal(zoom_print_json(sample(), out), 0);
	fclose(out);
	json = json_loads(text, 0, NULL);
	assert_non_null(json);
	assert_int_equal(json_array_size(json_object_get(json, "processes")), 2);
	assert_int_equal(json_array_size(json_object_get(json, "threads")), 3);
	assert_int_equal(json_array_size(json_object_get(json, "syscalls")), 2);
	assert_int_equal(json_array_size(json_object_get(json, "descriptors")), 1);
	assert_int_equal(json_integer_value(json_object_get(json, "lost")), 3);
	json_decref(json);
	free(text);
	(void)state;
}

/* ---- orders over HTTP ---- */

static void test_wrong_orders_start_nothing(void **state)
{
	static const char *const orders[] = {
		"",
		"[]",
		"{}",
		"{\"pid\":\"1\"}",
		"{\"pid\":1,\"cgroup\":\"/\"}",
		"{\"pid\":1,\"seconds\":0}",
		"{\"pid\":1,\"seconds\":1e9}",
		"{\"pid\":1,\"seconds\":\"1\"}",
		"{\"container\":1}",
		"{\"pid\":1,\"more\":1}",
		"{\"pid\":1",
	};
	struct zoom_service *service = zoom_service_new(NULL);
	struct buffer out = { 0 };

	assert_non_null(service);
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		char error[256] = "";
		unsigned id;

		assert_int_equal(zoom_service_start(service, orders[i], strlen(orders[i]), &id,
						    error, sizeof(error)),
				 -EINVAL);
		assert_true(error[0]);
	}
	assert_int_equal(zoom_service_describe(service, "0", &out), -ENOENT);
	assert_int_equal(zoom_service_describe(service, "1", &out), -ENOENT);
	buffer_free(&out);
	zoom_service_free(service);
	(void)state;
}

#define TEST(function) cmocka_unit_test_teardown(function, cleanup_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_process_is_found_by_its_number),
		TEST(test_what_is_no_process_is_refused),
		TEST(test_what_is_no_group_is_refused),
		TEST(test_an_unknown_container_is_told),
		TEST(test_files_are_described),
		TEST(test_processes_are_the_sums_of_their_threads),
		TEST(test_the_report_is_in_order_and_harmless),
		TEST(test_json_holds_everything),
		TEST(test_wrong_orders_start_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
