/* SPDX-License-Identifier: Apache-2.0 */
/* Which encoder answers a request, and whether compressed (RFC 9110, section 12). Pure functions. */
#ifndef LEADLINE_NEGOTIATE_H
#define LEADLINE_NEGOTIATE_H

#include <stdbool.h>
#include "exporters/exporter.h"

/* All encoders, in the order of exporters.def. */
extern const struct encoder *const encoders[];
extern const size_t n_encoders;

/* By its name, or NULL. */
const struct encoder *encoder_named(const char *name);

/*
 * The encoder the Accept header (NULL when there was none) values most: by q, then by how precisely it
 * is asked for, then by the order in the header. Never NULL: who accepts none gets the first.
 */
const struct encoder *negotiate_encoder(const char *accept);

/* True when the Accept-Encoding header (or NULL) takes gzip at least as gladly as the plain bytes. */
bool negotiate_gzip(const char *accept_encoding);

#endif
