/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the Prometheus text format 0.0.4 and OpenMetrics 1.0.0 have in common: the sample lines. The
 * two differ in the lines above a family and in how the page ends.
 */
#ifndef LEADLINE_EXPORTERS_TEXT_H
#define LEADLINE_EXPORTERS_TEXT_H

#include "agent/buffer.h"
#include "agent/snapshot.h"

/* Writes the # lines of a family. */
typedef void text_head(struct buffer *out, const struct metric_desc *desc);

/*
 * Appends all families that have series. With `exemplars` the worst value of late, where known, is put
 * behind the bucket it is in; without labels, as no more is known of it than the series tells. 0 or -ENOMEM.
 */
int text_families(const struct snapshot *snapshot, struct buffer *out, text_head *head,
		  bool exemplars);

/* "counter", "gauge", "histogram". */
const char *text_kind(enum metric_kind kind);

/* A string as valid UTF-8 with \\ and \n escaped, with `quotes` also \". */
void text_escape(struct buffer *out, const char *string, bool quotes);

#endif
