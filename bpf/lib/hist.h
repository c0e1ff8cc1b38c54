/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Base-2 exponential histograms of durations, as the kernel side records them. Shared: the BPF
 * programs, the user side and the unit tests compile this one definition.
 *
 * Buckets are those of a Prometheus native histogram of the same schema *in seconds*: bucket i holds
 * (2^((i-1)/2^schema) s, 2^(i/2^schema) s]. To meet powers of two of a second with integers, a
 * duration is first turned from nanoseconds into units of 2^-30 s ("binary nanoseconds", 0.931 ns).
 * Schema 2 has four buckets a doubling (at most 9.5 % from the bucket's middle to its edge), schema 3 eight.
 *
 * A value equal to a boundary belongs to the lower bucket, since `le` is inclusive. Values are cut to
 * whole units, hence a value less than one unit above a boundary may fall in the lower bucket; no
 * clock here resolves that.
 */
#ifndef LEADLINE_HIST_H
#define LEADLINE_HIST_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#define HIST_UNIT_LOG2 30 /* a unit is 2^-30 s */

/*
 * Schema 2, for everything the kernel aggregates by the thousand: 2^-25 s (30 ns) .. 64 s.
 * Slot 0 holds all up to the lowest boundary, the last slot all above the highest.
 * With sum and max one histogram fills 1 KiB exactly.
 */
#define HIST_SCHEMA    2
#define HIST_SLOTS     126
#define HIST_MIN_INDEX (-100) /* Prometheus index of slot 0: upper bound 2^(-100/4) s */

struct hist {
	__u64 sum_ns;
	__u64 max_ns; /* largest since it was last cleared */
	__u64 slots[HIST_SLOTS];
};
_Static_assert(sizeof(struct hist) == 1024, "histograms are cut to a page's quarter");

/* ns → units of 2^-30 s, rounded down; relative error below 2e-10. Durations above 2^36 ns (68 s) are cut there. */
static inline __attribute__((always_inline)) __u64 hist_units(__u64 ns)
{
	const __u64 longest = 1ULL << 36;

	if (ns > longest)
		ns = longest;
	return ns + ((ns * 158359361ULL) >> 31); /* 2^30/1e9 = 1 + 158359361.3/2^31 */
}

/*
 * Floor of the binary logarithm; units must not be 0, nor reach 2^63. BPF has no count-leading-zeros instruction. Without a branch: paths
 * are what the verifier's work grows with.
 */
static inline __attribute__((always_inline)) __u32 hist_log2(__u64 units)
{
#ifdef __bpf__
	__u64 log2 = 0, step;

	for (int bits = 32; bits > 1; bits /= 2) {
		step = (((1ULL << bits) - 1 - units) >> 63) * bits;
		units >>= step;
		log2 += step;
	}
	return log2 + (units >> 1);
#else
	return 63 - __builtin_clzll(units);
#endif
}

/* 2^(63 + n/8), rounded down: where the sub-buckets of a mantissa in [2^63, 2^64) end. */
#define HIST_EDGE_0_8 0x8000000000000000ULL
#define HIST_EDGE_1_8 0x8b95c1e3ea8bd6e6ULL
#define HIST_EDGE_2_8 0x9837f0518db8a96fULL
#define HIST_EDGE_3_8 0xa5fed6a9b15138eaULL
#define HIST_EDGE_4_8 0xb504f333f9de6484ULL
#define HIST_EDGE_5_8 0xc5672a115506daddULL
#define HIST_EDGE_6_8 0xd744fccad69d6af4ULL
#define HIST_EDGE_7_8 0xeac0c6e7dd24392eULL

/* 1 when it is, without a branch: paths are what the verifier's work grows with. Both are at least 2^63. */
#define HIST_ABOVE(mantissa, edge) ((__u32)(((edge) - (mantissa)) >> 63))

/* Slot of a duration in `struct hist`. */
static inline __attribute__((always_inline)) __u32 hist_slot(__u64 ns)
{
	__u64 units = hist_units(ns), mantissa;
	__u32 log2, slot;

	if (units <= 1ULL << (HIST_UNIT_LOG2 + HIST_MIN_INDEX / 4))
		return 0;
	log2 = hist_log2(units);
	mantissa = units << (63 - log2);
	slot = (log2 - (HIST_UNIT_LOG2 + HIST_MIN_INDEX / 4)) * 4;
	slot += HIST_ABOVE(mantissa, HIST_EDGE_0_8) + HIST_ABOVE(mantissa, HIST_EDGE_2_8) +
		HIST_ABOVE(mantissa, HIST_EDGE_4_8) + HIST_ABOVE(mantissa, HIST_EDGE_6_8);
	return slot < HIST_SLOTS ? slot : HIST_SLOTS - 1;
}

/*
 * Schema 3, for request durations: 2^-20 s (1 us) .. 512 s, hence cut later than 68 s and in whole
 * units of 2^-30 s as well.
 */
#define HIST3_SCHEMA	3
#define HIST3_SLOTS	234
#define HIST3_MIN_INDEX (-160) /* upper bound of slot 0: 2^(-160/8) s */

static inline __attribute__((always_inline)) __u32 hist3_slot(__u64 ns)
{
	/* Above 64 s the product in hist_units() would overflow: there, count in units 2^8 times as long. */
	__u32 scale = ns > (1ULL << 36) ? 8 : 0;
	__u64 units = hist_units(ns >> scale), mantissa;
	__u32 log2, slot;

	if (!scale && units <= 1ULL << (HIST_UNIT_LOG2 + HIST3_MIN_INDEX / 8))
		return 0;
	log2 = hist_log2(units);
	mantissa = units << (63 - log2);
	slot = (log2 + scale - (HIST_UNIT_LOG2 + HIST3_MIN_INDEX / 8)) * 8;
	slot += HIST_ABOVE(mantissa, HIST_EDGE_0_8) + HIST_ABOVE(mantissa, HIST_EDGE_1_8) +
		HIST_ABOVE(mantissa, HIST_EDGE_2_8) + HIST_ABOVE(mantissa, HIST_EDGE_3_8) +
		HIST_ABOVE(mantissa, HIST_EDGE_4_8) + HIST_ABOVE(mantissa, HIST_EDGE_5_8) +
		HIST_ABOVE(mantissa, HIST_EDGE_6_8) + HIST_ABOVE(mantissa, HIST_EDGE_7_8);
	return slot < HIST3_SLOTS ? slot : HIST3_SLOTS - 1;
}

/* Counts so many of a duration, but for the sum and the maximum. Plain additions, as below. */
static inline __attribute__((always_inline)) void hist_count(struct hist *hist, __u64 ns,
							     __u64 times)
{
	__u32 slot = hist_slot(ns);

#ifdef __bpf__
	asm volatile(""
		     : "+r"(slot)); /* keep clang from proving away the check the verifier needs */
#endif
	if (slot >= HIST_SLOTS)
		slot = HIST_SLOTS - 1;
	hist->slots[slot] += times;
}

/*
 * Record a duration that stands for so many. Plain additions: the histogram must belong to this CPU (see
 * lib/rows.bpf.h).
 */
static inline __attribute__((always_inline)) void hist_record_times(struct hist *hist, __u64 ns,
								    __u64 times)
{
	hist_count(hist, ns, times);
	hist->sum_ns += ns * times;
	if (ns > hist->max_ns)
		hist->max_ns = ns;
}

static inline __attribute__((always_inline)) void hist_record(struct hist *hist, __u64 ns)
{
	hist_record_times(hist, ns, 1);
}

#ifdef __bpf__
/* hist_record() for a histogram that all CPUs share, at rare events. A maximum may be missed when several come at once. */
static __always_inline void hist_record_shared(struct hist *hist, __u64 ns)
{
	__u32 slot = hist_slot(ns);

	asm volatile("" : "+r"(slot));
	if (slot >= HIST_SLOTS)
		slot = HIST_SLOTS - 1;
	__sync_fetch_and_add(&hist->slots[slot], 1);
	__sync_fetch_and_add(&hist->sum_ns, ns);
	if (ns > hist->max_ns)
		hist->max_ns = ns;
}
#endif

#endif
