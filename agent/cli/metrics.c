/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `leadline metrics`: the catalogue of all metrics, for people, as a Markdown table for the
 * documentation, and as JSON for machines. From the descriptors alone: no kernel, no agent needed.
 */
#include <stdio.h>
#include <string.h>
#include "agent/catalogue.h"
#include "agent/cli/cli.h"

struct listing {
	struct buffer out;
	const char *source; /* of the metric before */
	size_t n;
};

static unsigned max_series(const struct metric_desc *desc)
{
	return desc->max_series ? desc->max_series : METRIC_DEFAULT_MAX_SERIES;
}

/* "{mode}", "" when there are none. Entity labels are said otherwise. */
static void add_labels(struct buffer *out, const struct metric_desc *desc)
{
	for (const char *const *label = desc->labels; *label; label++)
		buffer_printf(out, "%s%s%s", label == desc->labels ? "{" : ",", *label,
			      label[1] ? "" : "}");
}

static bool starts_source(struct listing *listing, const char *source)
{
	bool starts = !listing->source || strcmp(listing->source, source);

	listing->source = source;
	return starts;
}

static void add_text(void *context, const char *source, const struct metric_desc *desc)
{
	struct listing *listing = context;
	struct buffer *out = &listing->out;

	if (starts_source(listing, source))
		buffer_printf(out, "%s%s\n", listing->n ? "\n" : "", source);
	buffer_printf(out, "  %s", desc->name);
	add_labels(out, desc);
	buffer_printf(out, "\n      %s%s, at most %u series\n      %s\n",
		      metric_kind_name(desc->kind), desc->per_entity ? " per program" : "",
		      max_series(desc), desc->help);
	listing->n++;
}

static void add_markdown(void *context, const char *source, const struct metric_desc *desc)
{
	struct listing *listing = context;
	struct buffer *out = &listing->out;

	if (!listing->n)
		buffer_string(
			out,
			"| Metric | Type | Labels | What it tells | From |\n|---|---|---|---|---|\n");
	buffer_printf(out, "| `%s` | %s | ", desc->name, metric_kind_name(desc->kind));
	for (const char *const *label = desc->labels; *label; label++)
		buffer_printf(out, "%s`%s`", label == desc->labels ? "" : ", ", *label);
	buffer_printf(out, "%s%s | ", desc->per_entity && desc->labels[0] ? ", " : "",
		      desc->per_entity ? "program" : "");
	for (const char *c = desc->help; *c; c++) {
		if (*c == '|')
			buffer_char(out, '\\');
		buffer_char(out, *c);
	}
	buffer_printf(out, " | %s |\n", source);
	listing->n++;
}

static void add_json(void *context, const char *source, const struct metric_desc *desc)
{
	struct listing *listing = context;
	struct buffer *out = &listing->out;

	buffer_string(out, listing->n++ ? ",\n {\"name\":" : "[{\"name\":");
	buffer_json_string(out, desc->name);
	buffer_printf(out, ",\"type\":\"%s\",\"unit\":", metric_kind_name(desc->kind));
	buffer_json_string(out, desc->unit ? desc->unit : "");
	buffer_printf(out, ",\"source\":\"%s\",\"per_entity\":%s,\"labels\":[", source,
		      desc->per_entity ? "true" : "false");
	for (const char *const *label = desc->labels; *label; label++) {
		buffer_string(out, label == desc->labels ? "" : ",");
		buffer_json_string(out, *label);
	}
	buffer_printf(out, "],\"max_series\":%u,\"help\":", max_series(desc));
	buffer_json_string(out, desc->help);
	buffer_char(out, '}');
}

int cli_metrics(const struct cli_context *context)
{
	struct listing listing = { .n = 0 };
	int code = CLI_OK;

	catalogue_visit(context->json	    ? add_json
			: context->markdown ? add_markdown
					    : add_text,
			&listing);
	if (context->json)
		buffer_string(&listing.out, listing.n ? "]\n" : "[]\n");
	if (buffer_error(&listing.out)) {
		fprintf(context->err, "leadline: out of memory\n");
		code = CLI_FAILED;
	} else {
		fwrite(listing.out.data, 1, listing.out.size, context->out);
	}
	buffer_free(&listing.out);
	return code;
}
