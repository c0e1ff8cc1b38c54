/* SPDX-License-Identifier: Apache-2.0 */
/* Cleanups, temporary files, time and skipping for tests. Owns the list of things to undo. */
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
#include "tests/harness/harness.h"

struct undo {
	void (*function)(void *context);
	void *context;
	struct undo *next;
};

static struct undo *undo_list; /* of the running test */
static struct undo *kept_list; /* of the program */
static bool is_kept;
static pid_t undo_owner; /* a forked child inherits the lists, and must leave them alone */

static void run_list(struct undo **list)
{
	if (getpid() != undo_owner)
		return;
	while (*list) {
		struct undo *undo = *list;

		*list = undo->next;
		undo->function(undo->context);
		free(undo);
	}
}

void cleanup_run(void)
{
	run_list(&undo_list);
	run_list(&kept_list);
}

int cleanup_teardown(void **state)
{
	(void)state;
	is_kept = false;
	run_list(&undo_list);
	return 0;
}

void cleanup_keep(bool keep)
{
	is_kept = keep;
}

/* Not async-signal-safe, knowingly: the program is over, and a leaked loop device is worse than a hang that timeout(1) ends. */
static void stop_on_signal(int signal_number)
{
	if (getpid() == undo_owner)
		cleanup_run();
	_exit(128 + signal_number);
}

void cleanup_push(void (*undo)(void *context), void *context)
{
	struct undo **list = is_kept ? &kept_list : &undo_list;
	struct undo *entry = malloc(sizeof(*entry));

	if (!entry)
		abort();
	if (!undo_owner) {
		undo_owner = getpid();
		atexit(cleanup_run);
		signal(SIGTERM, stop_on_signal);
		signal(SIGINT, stop_on_signal);
	}
	*entry = (struct undo){ undo, context, *list };
	*list = entry;
}

static bool forget(struct undo **list, const void *context)
{
	for (struct undo **at = list; *at; at = &(*at)->next) {
		struct undo *undo = *at;

		if (undo->context != context)
			continue;
		*at = undo->next;
		free(undo);
		return true;
	}
	return false;
}

void cleanup_forget(void *context)
{
	if (!forget(&undo_list, context))
		forget(&kept_list, context);
}

void test_fail(const char *format, ...)
{
	char message[1024];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	fail_msg("%s", message);
	abort();
}

void test_skip(const char *format, ...)
{
	va_list arguments;

	/* run.sh collects these lines. */
	fputs("# skip: ", stdout);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	fflush(stdout);
	skip();
	abort();
}

__attribute__((constructor)) static void choose_tests(void)
{
	const char *filter = getenv("TEST_FILTER");

	if (filter)
		cmocka_set_test_filter(filter);
}

void require_root(void)
{
	if (geteuid() != 0)
		test_skip("needs root");
}

bool is_emulated(void)
{
	return getenv("TEST_EMULATED") != NULL;
}

double patience(double seconds)
{
	return is_emulated() ? 6 * seconds : seconds;
}

void require_real_time(void)
{
	if (is_emulated())
		test_skip("times differ on an emulated CPU");
}

void require_program(const char *name)
{
	const char *path = getenv("PATH");
	char *copy = strdup(path ? path : "");
	bool found = strchr(name, '/') && access(name, X_OK) == 0;

	for (char *rest = copy, *directory; !found && (directory = strsep(&rest, ":"));) {
		char candidate[4096];

		snprintf(candidate, sizeof(candidate), "%s/%s", directory, name);
		found = access(candidate, X_OK) == 0;
	}
	free(copy);
	if (!found)
		test_skip("needs %s", name);
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
	(void)status, (void)kind, (void)walk;
	return remove(path);
}

static void remove_directory(void *path)
{
	nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	free(path);
}

const char *temporary_directory(void)
{
	char *path = NULL;

	if (asprintf(&path, "%s/leadline-test.XXXXXX", getenv("TMPDIR") ?: "/tmp") < 0 ||
	    !mkdtemp(path))
		test_fail("temporary directory: %s", strerror(errno));
	cleanup_push(remove_directory, path);
	return path;
}

const char *write_file(const char *directory, const char *name, const char *content)
{
	char *path = NULL;
	FILE *file;

	if (asprintf(&path, "%s/%s", directory, name) < 0)
		abort();
	cleanup_push(free, path);
	file = fopen(path, "w");
	if (!file)
		test_fail("%s: %s", path, strerror(errno));
	fputs(content, file);
	if (fclose(file))
		test_fail("%s: %s", path, strerror(errno));
	return path;
}

double clock_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void pause_seconds(double seconds)
{
	struct timespec rest = { (time_t)seconds,
				 (long)((seconds - (double)(time_t)seconds) * 1e9) };

	while (nanosleep(&rest, &rest) && errno == EINTR)
		;
}

bool wait_for(bool (*condition)(void *context), void *context, double seconds)
{
	return WAIT_UNTIL(condition(context), seconds);
}
