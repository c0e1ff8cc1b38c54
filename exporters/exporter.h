/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an encoder is: a const descriptor that turns a snapshot into bytes of one format. Encoders see
 * snapshots only, keep no state, and run on the HTTP thread. A new one: one file, one line in
 * exporters.def.
 */
#ifndef LEADLINE_EXPORTER_H
#define LEADLINE_EXPORTER_H

#include <stddef.h>
#include "agent/buffer.h"
#include "agent/snapshot.h"

struct encoder {
	const char *name; /* as in ?format=NAME */
	const char *content_type; /* answered literally */
	/* Media type (and, where it has one, the version parameter) asked for in Accept. */
	const char *accept_type;
	const char *accept_version; /* NULL: any */
	/* Appends the whole page. 0 or -ENOMEM. */
	int (*encode)(const struct snapshot *snapshot, struct buffer *out);
};

#define ENCODER(name) extern const struct encoder encoder_##name;
#include "exporters/exporters.def"
#undef ENCODER

#endif
