/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uthash, but for two things. Without memory it leaves an element out where it would end the process: whoever adds one
 * asks HASH_TOOK() and frees it when that is false. And it reads eight bytes of a key at a time, as calls are looked up by
 * their names.
 */
#ifndef LEADLINE_HASH_H
#define LEADLINE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The two halves of the product, one over the other. */
static inline uint64_t hash_mix(uint64_t hash, const void *bytes, size_t size)
{
	uint64_t word = 0;
	unsigned __int128 product;

	memcpy(&word, bytes, size);
	product = (unsigned __int128)(hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline unsigned hash_bytes(const void *key, size_t size)
{
	const char *at = key, *last;
	uint64_t hash = size;

	if (size < sizeof(uint64_t))
		return (unsigned)hash_mix(hash, at, size);
	last = at + size - sizeof(uint64_t);
	for (; at < last; at += sizeof(uint64_t))
		hash = hash_mix(hash, at, sizeof(uint64_t));
	return (unsigned)hash_mix(hash, last, sizeof(uint64_t));
}

#define HASH_NONFATAL_OOM		   1
#define HASH_FUNCTION(key, size, ret_hash) ((ret_hash) = hash_bytes(key, size))
#include <uthash.h>

#define HASH_TOOK(element) ((element)->hh.tbl != NULL)

#endif
