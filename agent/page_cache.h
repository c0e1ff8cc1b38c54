/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pages of one snapshot, kept so that many scrapes at the same time cost one rendering. HTTP thread
 * only.
 */
#ifndef LEADLINE_PAGE_CACHE_H
#define LEADLINE_PAGE_CACHE_H

#include <stdbool.h>
#include "agent/http.h"
#include "agent/snapshot.h"
#include "exporters/exporter.h"

struct page_cache;

struct page_cache *page_cache_new(void); /* NULL when memory ran out */
void page_cache_free(struct page_cache *cache); /* NULL is fine; bodies under way live on */

/*
 * The snapshot as the encoder writes it, compressed or not: one reference for the caller, or NULL when
 * memory ran out. The encoder must be one of encoders[] (negotiate.h).
 */
struct http_body *page_cache_get(struct page_cache *cache, const struct snapshot *snapshot,
				 const struct encoder *encoder, bool gzip);
/* Lets go of all pages. */
void page_cache_drop(struct page_cache *cache);

#endif
