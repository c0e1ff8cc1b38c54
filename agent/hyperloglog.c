// SPDX-License-Identifier: Apache-2.0
/* Counts distinct values; see hyperloglog.h. */
#include <math.h>
#include "agent/hyperloglog.h"

#define RANKS (64 - HYPERLOGLOG_PRECISION) /* bits left of a hash once the register is chosen */

void hyperloglog_add(struct hyperloglog *set, uint64_t hash)
{
	uint8_t *at = &set->registers[hash >> RANKS];
	/* The place of the first one among the bits left, from 1; RANKS + 1 when there is none. */
	uint64_t rest = hash << HYPERLOGLOG_PRECISION;
	uint8_t rank = rest ? (uint8_t)(__builtin_clzll(rest) + 1) : RANKS + 1;

	if (rank > *at)
		*at = rank;
}

/* Ertl's sigma: the share x of registers that are still 0. */
static double sigma(double x)
{
	double y = 1, z = x, before;

	if (x == 1)
		return INFINITY;
	do {
		x *= x;
		before = z;
		z += x * y;
		y += y;
	} while (z != before);
	return z;
}

/* Ertl's tau: 1 - x is the share of registers that are full. */
static double tau(double x)
{
	double y = 1, z = 1 - x, before;

	if (x == 0 || x == 1)
		return 0;
	do {
		x = sqrt(x);
		before = z;
		y *= 0.5;
		z -= (1 - x) * (1 - x) * y;
	} while (z != before);
	return z / 3;
}

double hyperloglog_estimate(const struct hyperloglog *set)
{
	static const double registers = HYPERLOGLOG_REGISTERS;
	unsigned with_rank[RANKS + 2] = { 0 };
	double z;

	for (unsigned i = 0; i < HYPERLOGLOG_REGISTERS; i++)
		with_rank[set->registers[i]]++;
	z = registers * tau(1 - with_rank[RANKS + 1] / registers);
	for (unsigned rank = RANKS; rank >= 1; rank--)
		z = 0.5 * (z + with_rank[rank]);
	z += registers * sigma(with_rank[0] / registers);
	return registers * registers / (2 * M_LN2 * z);
}

/* FNV-1a, 64 bits: http://www.isthe.com/chongo/tech/comp/fnv/ */
uint64_t hyperloglog_hash(uint64_t hash, const char *string)
{
	const unsigned char *c = (const unsigned char *)string;

	do
		hash = (hash ^ *c) * 0x100000001b3ULL;
	while (*c++);
	return hash;
}

/* FNV's upper bits are not even enough: the finalizer of SplitMix64 (Steele, Lea, Flood 2014) spreads them. */
uint64_t hyperloglog_hash_end(uint64_t hash)
{
	hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9ULL;
	hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebULL;
	return hash ^ (hash >> 31);
}
