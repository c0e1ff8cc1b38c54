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
#include "agent/option.h"
#include "agent/snapshot.h"

#define ENCODER_MAX_PARAMETERS 2
#define ENCODER_OPTIONS_PREFIX "metrics"

struct encoder {
	const char *name; /* as in ?format=NAME */
	const char *content_type; /* answered literally */
	/*
	 * Media type asked for in Accept, and the parameters that must have these values where they are given there. The
	 * first without a name ends them.
	 */
	const char *accept_type;
	struct {
		const char *name, *value;
	} accept_parameters[ENCODER_MAX_PARAMETERS + 1];
	const struct option_desc *options; /* keys below ENCODER_OPTIONS_PREFIX; NULL: none */
	/* Full key of the OPTION_BOOL that must be true for it to be answered; NULL: always is. */
	const char *enabled_by;
	/* Appends the whole page. 0 or -ENOMEM. */
	int (*encode)(const struct snapshot *snapshot, struct buffer *out);
};

#define ENCODER(name) extern const struct encoder encoder_##name;
#include "exporters/exporters.def"
#undef ENCODER

#endif
