// SPDX-License-Identifier: Apache-2.0
/*
 * OpenMetrics 1.0.0, which differs from the Prometheus text format in the lines above a family: these
 * name a counter without `_total` and carry its unit; and the page ends with # EOF.
 * https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md
 */
#include <string.h>
#include "exporters/exporter.h"
#include "exporters/text.h"

/* Length of the family's name: a counter's samples have the suffix, the family has not. */
static size_t family_name_length(const struct metric_desc *desc)
{
	const size_t suffix = strlen("_total");
	size_t length = strlen(desc->name);

	if (desc->kind == METRIC_COUNTER && length > suffix &&
	    !strcmp(desc->name + length - suffix, "_total"))
		length -= suffix;
	return length;
}

/* A unit that is not the end of the name would make the whole page invalid. */
static bool has_unit(const struct metric_desc *desc, size_t name_length)
{
	size_t length = desc->unit ? strlen(desc->unit) : 0;

	return length && name_length > length && desc->name[name_length - length - 1] == '_' &&
	       !strncmp(desc->name + name_length - length, desc->unit, length);
}

static void put_line(struct buffer *out, const char *keyword, const struct metric_desc *desc,
		     size_t length)
{
	buffer_string(out, keyword);
	buffer_append(out, desc->name, length);
	buffer_char(out, ' ');
}

static void openmetrics_head(struct buffer *out, const struct metric_desc *desc)
{
	size_t length = family_name_length(desc);

	put_line(out, "# TYPE ", desc, length);
	buffer_string(out, text_kind(desc->kind));
	if (has_unit(desc, length)) {
		put_line(out, "\n# UNIT ", desc, length);
		buffer_string(out, desc->unit);
	}
	put_line(out, "\n# HELP ", desc, length);
	text_escape(out, desc->help, true);
	buffer_char(out, '\n');
}

static int openmetrics_encode(const struct snapshot *snapshot, struct buffer *out)
{
	int error = text_families(snapshot, out, openmetrics_head, true);

	buffer_string(out, "# EOF\n");
	return error ? error : buffer_error(out);
}

const struct encoder encoder_openmetrics = {
	.name = "openmetrics",
	.content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8",
	.accept_type = "application/openmetrics-text",
	.accept_parameters = { { "version", "1.0.0" } },
	.encode = openmetrics_encode,
};
