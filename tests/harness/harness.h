/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The test harness: what a live test needs around the agent. Everything a helper makes (processes,
 * directories, loop devices, namespaces, control groups) is registered for cleanup and goes away
 * when the test ends, however it ends: list tests with HARNESS_TEST() in a live test. One thread.
 *
 * Helpers that cannot do their work fail the running test with a message; those that a caller may
 * want to judge himself return an error and say so.
 */
#ifndef LEADLINE_TESTS_HARNESS_H
#define LEADLINE_TESTS_HARNESS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/harness/bpf_objects.h"
#include "tests/harness/cleanup.h"
#include "tests/harness/fetch.h"
#include "tests/harness/host.h"
#include "tests/harness/leadline.h"
#include "tests/harness/nginx.h"
#include "tests/harness/page.h"
#include "tests/harness/program.h"

/* A cmocka test that takes down what it made. */
#define HARNESS_TEST(function) cmocka_unit_test_teardown(function, cleanup_teardown)

#endif
