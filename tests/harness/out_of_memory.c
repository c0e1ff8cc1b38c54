// SPDX-License-Identifier: Apache-2.0
/*
 * Failing allocations; see out_of_memory.h. The linker's --wrap turns malloc() in our objects into __wrap_malloc() and
 * gives the real one the name __real_malloc(), which is a weak symbol here as most programs are linked without.
 */
#include <curl/curl.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <libmount/libmount.h>
#include <stdlib.h>
#include <string.h>
#include "tests/harness/harness.h"
#include "tests/harness/out_of_memory.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FINDS_LEAKS
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define FINDS_LEAKS
#endif
#ifdef FINDS_LEAKS
#include <sanitizer/lsan_interface.h>
#endif

#define MOST_ALLOCATIONS 20000 /* of one thing; more is a loop */

static _Thread_local unsigned until_failure; /* 0: none fails */
static _Thread_local bool fails_on;
static _Thread_local unsigned n_failed;

static bool fails(void)
{
	if (!until_failure || --until_failure)
		return false;
	if (fails_on)
		until_failure = 1;
	n_failed++;
	errno = ENOMEM;
	return true;
}

void allocations_fail_at(unsigned n, bool all)
{
	until_failure = n;
	fails_on = all;
	n_failed = 0;
}

unsigned allocations_succeed(void)
{
	until_failure = 0;
	return n_failed;
}

/* ---- the functions: each name is in WRAPPED of tests.mk, too ---- */

#define WRAP(type, name, failure, parameters, arguments)                                           \
	__attribute__((weak)) type __real_##name parameters;                                       \
	type __wrap_##name parameters;                                                             \
	type __wrap_##name parameters                                                              \
	{                                                                                          \
		return fails() ? (failure) : __real_##name arguments;                              \
	}

WRAP(void *, malloc, NULL, (size_t size), (size))
WRAP(void *, calloc, NULL, (size_t n, size_t size), (n, size))
WRAP(void *, realloc, NULL, (void *old, size_t size), (old, size))
WRAP(void *, reallocarray, NULL, (void *old, size_t n, size_t size), (old, n, size))
WRAP(char *, strdup, NULL, (const char *string), (string))
WRAP(char *, strndup, NULL, (const char *string, size_t size), (string, size))
WRAP(int, vasprintf, -1, (char **to, const char *format, va_list arguments),
     (to, format, arguments))
WRAP(FILE *, fopen, NULL, (const char *path, const char *mode), (path, mode))
WRAP(FILE *, fmemopen, NULL, (void *memory, size_t size, const char *mode), (memory, size, mode))
WRAP(FILE *, open_memstream, NULL, (char **memory, size_t *size), (memory, size))
WRAP(DIR *, fdopendir, NULL, (int fd), (fd))
WRAP(DIR *, opendir, NULL, (const char *path), (path))
WRAP(struct libmnt_table *, mnt_new_table, NULL, (void), ())
WRAP(struct libmnt_iter *, mnt_new_iter, NULL, (int direction), (direction))

int __wrap_asprintf(char **to, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap_asprintf(char **to, const char *format, ...)
{
	va_list arguments;
	int size;

	if (fails())
		return -1;
	va_start(arguments, format);
	size = vasprintf(to, format, arguments);
	va_end(arguments);
	return size;
}

void allocations_take_over_libraries(void)
{
	json_set_alloc_funcs(__wrap_malloc, free);
	curl_global_init_mem(CURL_GLOBAL_DEFAULT, __wrap_malloc, free, __wrap_realloc,
			     __wrap_strdup, __wrap_calloc);
}

/* ---- checking ---- */

static void look_for_leaks(const char *name, unsigned n)
{
#ifdef FINDS_LEAKS
	if (__lsan_do_recoverable_leak_check())
		test_fail("%s leaks when allocation %u fails", name, n);
#endif
	(void)name;
	(void)n;
}

/* True when an allocation has failed. */
static bool attempt(const struct allocating *allocating, unsigned n, bool all)
{
	static int marker;
	void *made = &marker;
	unsigned failed;
	int err;

	allocations_fail_at(n, all);
	err = allocating->make(&made);
	failed = allocations_succeed();
	if (err && err != -ENOMEM)
		test_fail("%s: allocation %u fails, and it says %s", allocating->name, n,
			  strerror(-err));
	if (err && !failed)
		test_fail("%s: no allocation failed, and it says -ENOMEM", allocating->name);
	if (err && made != &marker)
		test_fail("%s: allocation %u fails, and the result is touched", allocating->name,
			  n);
	if (!err && failed && !allocating->makes_do)
		test_fail("%s: allocation %u fails, and it says nothing", allocating->name, n);
	if (!err && allocating->undo)
		allocating->undo(made);
	return failed > 0;
}

void check_out_of_memory(const struct allocating *allocating)
{
	for (int all = 0; all < 2; all++) {
		unsigned n = 1;

		while (n < MOST_ALLOCATIONS && attempt(allocating, n, all))
			n++;
		if (n == 1)
			test_fail("%s allocates nothing, or is not linked for this",
				  allocating->name);
		if (n == MOST_ALLOCATIONS)
			test_fail("%s never ends", allocating->name);
		look_for_leaks(allocating->name, n);
	}
}
