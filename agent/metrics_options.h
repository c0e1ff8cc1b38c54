/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings that say which metrics, series and labels are wanted (metrics.disable and so on), and the filter they
 * make. A name that is in no metric is a mistake in the configuration, told with the nearest one there is. Any thread.
 */
#ifndef LEADLINE_METRICS_OPTIONS_H
#define LEADLINE_METRICS_OPTIONS_H

#include <stdbool.h>
#include "agent/config.h"
#include "agent/series_filter.h"

#define METRICS_OPTIONS_PREFIX "metrics"

extern const struct option_desc metrics_options[]; /* keys below the prefix */

/* NULL where nothing is to be filtered. 0 or -ENOMEM. */
int metrics_filter_new(const struct config *config, struct series_filter **ret_filter);
/* Whether two configurations make different filters. */
bool metrics_filter_differs(const struct config *one, const struct config *other);
/* Whether it drops a label of entities, so that series of several of them become one. */
bool metrics_filter_joins_entities(const struct series_filter *filter);

#endif
