// SPDX-License-Identifier: Apache-2.0
/*
 * The Prometheus text format, version 0.0.4.
 * https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
 */
#include "exporters/exporter.h"
#include "exporters/text.h"

static void prometheus_head(struct buffer *out, const struct metric_desc *desc)
{
	buffer_string(out, "# HELP ");
	buffer_string(out, desc->name);
	buffer_char(out, ' ');
	text_escape(out, desc->help, false);
	buffer_string(out, "\n# TYPE ");
	buffer_string(out, desc->name);
	buffer_char(out, ' ');
	buffer_string(out, text_kind(desc->kind));
	buffer_char(out, '\n');
}

static int prometheus_encode(const struct snapshot *snapshot, struct buffer *out)
{
	return text_families(snapshot, out, prometheus_head, false);
}

const struct encoder encoder_prometheus_text = {
	.name = "prometheus",
	.content_type = "text/plain; version=0.0.4; charset=utf-8",
	.accept_type = "text/plain",
	.accept_parameters = { { "version", "0.0.4" } },
	.encode = prometheus_encode,
};
