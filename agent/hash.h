/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uthash, but for one thing: without memory it leaves an element out where it would end the process. Whoever adds one
 * asks HASH_TOOK() and frees it when that is false.
 */
#ifndef LEADLINE_HASH_H
#define LEADLINE_HASH_H

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define HASH_TOOK(element) ((element)->hh.tbl != NULL)

#endif
