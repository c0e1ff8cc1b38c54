/* SPDX-License-Identifier: Apache-2.0 */
/* Gathers the metric descriptors; see catalogue.h. */
#include <stddef.h>
#include "agent/budget_keeper.h"
#include "agent/catalogue.h"
#include "agent/health.h"
#include "agent/kubernetes.h"
#include "agent/self.h"
#include "probes/probe.h"

static void visit_all(const char *source, const struct metric_desc *const *metrics,
		      catalogue_visit_fn visit, void *context)
{
	for (; metrics && *metrics; metrics++)
		visit(context, source, *metrics);
}

void catalogue_visit(catalogue_visit_fn visit, void *context)
{
#define PROBE(name) visit_all(#name, probe_##name.metrics, visit, context);
#include "probes/probes.def"
#undef PROBE
	visit_all("health", health_metrics, visit, context);
	visit_all("kubernetes", kubernetes_metrics, visit, context);
	visit_all("agent", self_metrics, visit, context);
	visit_all("agent", budget_metrics, visit, context);
}

const char *metric_kind_name(enum metric_kind kind)
{
	static const char *const names[] = {
		[METRIC_COUNTER] = "counter",
		[METRIC_GAUGE] = "gauge",
		[METRIC_HISTOGRAM] = "histogram",
	};

	return names[kind];
}
