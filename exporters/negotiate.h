/* SPDX-License-Identifier: Apache-2.0 */
/* Which encoder answers a request, and whether compressed (RFC 9110, section 12). Pure functions. */
#ifndef LEADLINE_NEGOTIATE_H
#define LEADLINE_NEGOTIATE_H

#include <stdbool.h>
#include "exporters/exporter.h"

/* All encoders, in the order of exporters.def. */
extern const struct encoder *const encoders[];
extern const size_t n_encoders;

/* By its name, offered or not; or NULL. */
const struct encoder *encoder_named(const char *name);

/* Some of the encoders: a bit each, in the order of encoders[]. */
typedef unsigned encoder_set;

struct config;
/* Those that the configuration allows; without one (NULL) those that need no leave. */
encoder_set encoders_offered(const struct config *config);
bool encoder_is_offered(encoder_set offered, const struct encoder *encoder);

/*
 * Of those offered, the encoder the Accept header (NULL when there was none) values most: by q, then by how precisely it
 * is asked for, then by the order in the header. Never NULL: who accepts none gets the first.
 */
const struct encoder *negotiate_encoder(const char *accept, encoder_set offered);

/* True when the Accept-Encoding header (or NULL) takes gzip at least as gladly as the plain bytes. */
bool negotiate_gzip(const char *accept_encoding);

#endif
