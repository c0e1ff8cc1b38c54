// SPDX-License-Identifier: Apache-2.0
/* Estimates against known numbers of distinct values. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "agent/hyperloglog.h"

#define STANDARD_ERROR (1.04 / 64)

static uint64_t hash_of(unsigned set, unsigned i)
{
	char text[32];

	snprintf(text, sizeof(text), "value-%u", i);
	return hyperloglog_hash_end(
		hyperloglog_hash(hyperloglog_hash(HYPERLOGLOG_SEED + set, "name"), text));
}

static void nothing(void **state)
{
	const struct hyperloglog set = { { 0 } };

	assert_true(hyperloglog_estimate(&set) == 0);
}

/* Of 16 sets of each size no estimate is five standard errors off, and on average they are right. */
static void known_cardinalities(void **state)
{
	static const unsigned sizes[] = { 1, 3, 17, 101, 997, 5003, 9973, 20011, 99991, 300007 };

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		double mean = 0;

		for (unsigned round = 0; round < 16; round++) {
			struct hyperloglog set = { { 0 } };
			double error;

			for (unsigned i = 0; i < sizes[s]; i++)
				hyperloglog_add(&set, hash_of(round, i));
			error = hyperloglog_estimate(&set) / sizes[s] - 1;
			if (!(fabs(error) < 5 * STANDARD_ERROR))
				fail_msg("of %u: off by %.1f %%", sizes[s], error * 100);
			mean += error / 16;
		}
		if (!(fabs(mean) < 5 * STANDARD_ERROR / 4))
			fail_msg("of %u: off by %.2f %% on average", sizes[s], mean * 100);
	}
}

static void the_same_again_counts_once(void **state)
{
	struct hyperloglog set = { { 0 } };
	double before;

	for (unsigned i = 0; i < 503; i++)
		hyperloglog_add(&set, hash_of(0, i));
	before = hyperloglog_estimate(&set);
	for (unsigned i = 0; i < 50300; i++)
		hyperloglog_add(&set, hash_of(0, i % 503));
	assert_true(hyperloglog_estimate(&set) == before);
}

/* Hashes that fill every register to its end are no trap. */
static void full_registers(void **state)
{
	struct hyperloglog set = { { 0 } };

	for (uint64_t i = 0; i < HYPERLOGLOG_REGISTERS; i++)
		hyperloglog_add(&set, i << (64 - HYPERLOGLOG_PRECISION));
	assert_true(hyperloglog_estimate(&set) > 1e18);
}

static void strings_end(void **state)
{
	const uint64_t seed = HYPERLOGLOG_SEED;

	assert_true(hyperloglog_hash(hyperloglog_hash(seed, "a"), "bc") !=
		    hyperloglog_hash(hyperloglog_hash(seed, "ab"), "c"));
	assert_true(hyperloglog_hash(seed, "") != seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing),
		cmocka_unit_test(known_cardinalities),
		cmocka_unit_test(the_same_again_counts_once),
		cmocka_unit_test(full_registers),
		cmocka_unit_test(strings_end),
	};

	return cmocka_run_group_tests_name("hyperloglog", tests, NULL, NULL);
}
