/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The catalogue of all metrics there can be, from the descriptors: for `leadline metrics`, the man
 * page and the documentation. Static; any thread.
 */
#ifndef LEADLINE_CATALOGUE_H
#define LEADLINE_CATALOGUE_H

#include "agent/metric.h"

/* `source`: the probe's name, "agent" or "health". */
typedef void (*catalogue_visit_fn)(void *context, const char *source,
				   const struct metric_desc *desc);
void catalogue_visit(catalogue_visit_fn visit, void *context);

const char *metric_kind_name(enum metric_kind kind); /* "counter" */

#endif
