/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot for the tests of encoders and of the server: small, constant, with one of each kind and
 * every byte that needs care (quotes, backslashes, newlines, invalid UTF-8, NaN, infinities).
 */
#ifndef LEADLINE_TESTS_SAMPLE_SNAPSHOT_H
#define LEADLINE_TESTS_SAMPLE_SNAPSHOT_H

#include "agent/snapshot.h"

/* One reference for the caller: snapshot_put(). Never NULL. */
struct snapshot *sample_snapshot(uint64_t sequence);
/* The same with a histogram family of `n` series on top, to time encoders with. */
struct snapshot *sample_snapshot_large(size_t n);

#endif
