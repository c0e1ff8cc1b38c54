// SPDX-License-Identifier: Apache-2.0
/* Content negotiation; see negotiate.h. HTTP thread. */
#include <limits.h>
#include <string.h>
#include <strings.h>
#include "agent/config.h"
#include "exporters/negotiate.h"

const struct encoder *const encoders[] = {
#define ENCODER(name) &encoder_##name,
#include "exporters/exporters.def"
#undef ENCODER
};
const size_t n_encoders = sizeof(encoders) / sizeof(encoders[0]);
_Static_assert(sizeof(encoders) / sizeof(encoders[0]) <= sizeof(encoder_set) * CHAR_BIT,
	       "a bit for each encoder");

encoder_set encoders_offered(const struct config *config)
{
	encoder_set offered = 0;

	for (size_t i = 0; i < n_encoders; i++)
		if (!encoders[i]->enabled_by ||
		    (config && config_bool(config, encoders[i]->enabled_by)))
			offered |= 1U << i;
	return offered;
}

bool encoder_is_offered(encoder_set offered, const struct encoder *encoder)
{
	for (size_t i = 0; i < n_encoders; i++)
		if (encoders[i] == encoder)
			return offered & 1U << i;
	return false;
}

/* A piece of the header. */
struct span {
	const char *at;
	size_t size;
};

#define MAX_PARAMETERS 4 /* Prometheus 3 sends three */

/* One element of the list: what is accepted, and how much (0 to 1000). */
struct element {
	struct span name;
	struct {
		struct span name, value;
	} parameters[MAX_PARAMETERS]; /* q excepted; those beyond are passed over */
	size_t n_parameters;
	unsigned quality;
};

static bool span_is(struct span span, const char *text)
{
	return strlen(text) == span.size && !strncasecmp(span.at, text, span.size);
}

static void skip_blanks(const char **at)
{
	*at += strspn(*at, " \t");
}

/* Up to any of `ends`, without blanks at its end. */
static struct span take_token(const char **at, const char *ends)
{
	struct span span = { .at = *at };

	span.size = strcspn(*at, ends);
	*at += span.size;
	while (span.size && (span.at[span.size - 1] == ' ' || span.at[span.size - 1] == '\t'))
		span.size--;
	return span;
}

/* A token, or a quoted string without its quotes. */
static struct span take_value(const char **at)
{
	struct span span;

	if (**at != '"')
		return take_token(at, ",;");
	span.at = ++*at;
	while (**at && **at != '"') {
		if (**at == '\\' && (*at)[1])
			++*at;
		++*at;
	}
	span.size = (size_t)(*at - span.at);
	if (**at)
		++*at;
	return span;
}

/* 0, 1, 0.123: in thousandths. What is no quality is not wanted. */
static unsigned parse_quality(struct span text)
{
	unsigned quality, unit = 100;
	size_t i;

	if (!text.size || (text.at[0] != '0' && text.at[0] != '1') ||
	    (text.size > 1 && text.at[1] != '.'))
		return 0;
	quality = text.at[0] == '1' ? 1000 : 0;
	for (i = 2; i < text.size && text.at[i] >= '0' && text.at[i] <= '9'; i++, unit /= 10)
		quality += unit * (unsigned)(text.at[i] - '0');
	return i < text.size || quality > 1000 ? 0 : quality;
}

/* The next element of a comma-separated list; false at its end. */
static bool next_element(const char **at, struct element *element)
{
	*at += strspn(*at, ", \t");
	if (!**at)
		return false;
	*element = (struct element){ .name = take_token(at, ",;"), .quality = 1000 };
	while (**at == ';') {
		struct span name, value = { 0 };

		++*at;
		skip_blanks(at);
		name = take_token(at, "=,;");
		if (**at == '=') {
			++*at;
			skip_blanks(at);
			value = take_value(at);
			skip_blanks(at);
		}
		if (span_is(name, "q"))
			element->quality = parse_quality(value);
		else if (element->n_parameters < MAX_PARAMETERS) {
			element->parameters[element->n_parameters].name = name;
			element->parameters[element->n_parameters++].value = value;
		}
	}
	*at += strcspn(*at, ","); /* garbage behind a quoted value */
	return true;
}

/* How many of the encoder's parameters the element gives; -1 when it gives one another value. */
static int matching_parameters(const struct element *element, const struct encoder *encoder)
{
	int matching = 0;

	for (size_t i = 0; i < ENCODER_MAX_PARAMETERS && encoder->accept_parameters[i].name; i++)
		for (size_t j = 0; j < element->n_parameters; j++) {
			if (!span_is(element->parameters[j].name,
				     encoder->accept_parameters[i].name))
				continue;
			if (!span_is(element->parameters[j].value,
				     encoder->accept_parameters[i].value))
				return -1;
			matching++;
		}
	return matching > ENCODER_MAX_PARAMETERS ? ENCODER_MAX_PARAMETERS : matching;
}

/* How precisely the element asks for this encoder: 4 and more its parameters too … 1 anything, 0 not at all. */
static unsigned precision(const struct element *element, const struct encoder *encoder)
{
	size_t type_size = strcspn(encoder->accept_type, "/") + 1;
	int matching;

	if (span_is(element->name, "*/*"))
		return 1;
	if (element->name.size == type_size + 1 && element->name.at[type_size] == '*' &&
	    !strncasecmp(element->name.at, encoder->accept_type, type_size))
		return 2;
	if (!span_is(element->name, encoder->accept_type))
		return 0;
	matching = matching_parameters(element, encoder);
	return matching < 0 ? 0 : 3 + (unsigned)matching;
}

/* The most precise element decides how much an encoder is wanted; its rank then orders the encoders. */
static unsigned long encoder_rank(const char *accept, const struct encoder *encoder)
{
	struct element element;
	unsigned best = 0, quality = 0, position = 0, best_position = 0, here;

	while (next_element(&accept, &element)) {
		here = precision(&element, encoder);
		position++;
		if (here > best) {
			best = here;
			best_position = position;
			quality = element.quality;
		}
	}
	if (!quality)
		return 0;
	if (best_position > USHRT_MAX)
		best_position = USHRT_MAX;
	return ((unsigned long)quality << 20) + (best << 17) + (USHRT_MAX - best_position);
}

const struct encoder *negotiate_encoder(const char *accept, encoder_set offered)
{
	const struct encoder *best = encoders[0];
	unsigned long best_rank = 0, rank;
	size_t i;

	for (i = 0; accept && i < n_encoders; i++) {
		rank = (offered & 1U << i) ? encoder_rank(accept, encoders[i]) : 0;
		if (rank > best_rank) {
			best_rank = rank;
			best = encoders[i];
		}
	}
	return best;
}

bool negotiate_gzip(const char *accept_encoding)
{
	int gzip = -1, identity = -1, any = -1; /* not mentioned */
	struct element element;

	while (accept_encoding && next_element(&accept_encoding, &element)) {
		if (span_is(element.name, "gzip") || span_is(element.name, "x-gzip"))
			gzip = (int)element.quality;
		else if (span_is(element.name, "identity"))
			identity = (int)element.quality;
		else if (span_is(element.name, "*"))
			any = (int)element.quality;
	}
	if (gzip < 0)
		gzip = any;
	return gzip > 0 && gzip >= identity;
}

const struct encoder *encoder_named(const char *name)
{
	size_t i;

	for (i = 0; i < n_encoders; i++)
		if (!strcmp(encoders[i]->name, name))
			return encoders[i];
	return NULL;
}
