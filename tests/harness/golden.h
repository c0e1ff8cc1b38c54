/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Golden files under tests/unit/golden. LEADLINE_UPDATE_GOLDEN=1 in the environment rewrites them; the
 * difference is then read before it is committed.
 */
#ifndef LEADLINE_TESTS_GOLDEN_H
#define LEADLINE_TESTS_GOLDEN_H

#include <stddef.h>

/* Fails the test, showing the first line that differs, unless the file holds exactly these bytes. */
void assert_golden(const char *name, const char *data, size_t size);

#endif
