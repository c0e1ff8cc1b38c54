// SPDX-License-Identifier: Apache-2.0
/* The pages of one snapshot; see page_cache.h. */
#include <stdlib.h>
#include "agent/gzip.h"
#include "agent/page_cache.h"
#include "exporters/negotiate.h"

enum form { FORM_PLAIN, FORM_GZIP, FORMS };

struct page_cache {
	uint64_t sequence; /* of the snapshot all pages are of */
	struct http_body *pages[][FORMS]; /* [n_encoders]; NULL: not rendered yet */
};

struct page_cache *page_cache_new(void)
{
	return calloc(1, sizeof(struct page_cache) +
				 n_encoders * sizeof(((struct page_cache *)NULL)->pages[0]));
}

void page_cache_drop(struct page_cache *cache)
{
	size_t i;
	int form;

	for (i = 0; i < n_encoders; i++)
		for (form = 0; form < FORMS; form++) {
			http_body_put(cache->pages[i][form]);
			cache->pages[i][form] = NULL;
		}
}

void page_cache_free(struct page_cache *cache)
{
	if (!cache)
		return;
	page_cache_drop(cache);
	free(cache);
}

static struct http_body *render(const struct snapshot *snapshot, const struct encoder *encoder)
{
	struct http_body *body = http_body_new();

	if (body && encoder->encode(snapshot, &body->buffer)) {
		http_body_put(body);
		return NULL;
	}
	return body;
}

static struct http_body *compress(const struct http_body *plain)
{
	struct http_body *body = http_body_new();

	if (body && gzip_append(&body->buffer, plain->buffer.data, plain->buffer.size)) {
		http_body_put(body);
		return NULL;
	}
	return body;
}

struct http_body *page_cache_get(struct page_cache *cache, const struct snapshot *snapshot,
				 const struct encoder *encoder, bool gzip)
{
	struct http_body **pages, *plain;
	const enum form form = gzip ? FORM_GZIP : FORM_PLAIN;
	size_t i = 0;

	if (cache->sequence != snapshot->sequence)
		page_cache_drop(cache);
	cache->sequence = snapshot->sequence;
	while (encoders[i] != encoder)
		i++;
	pages = cache->pages[i];
	if (!pages[form] && !gzip) {
		pages[form] = render(snapshot, encoder);
	} else if (!pages[form]) {
		/* The plain page is dozens of times as large: kept only when somebody asked for it. */
		plain = pages[FORM_PLAIN] ? http_body_get(pages[FORM_PLAIN])
					  : render(snapshot, encoder);
		pages[form] = plain ? compress(plain) : NULL;
		http_body_put(plain);
	}
	return pages[form] ? http_body_get(pages[form]) : NULL;
}
