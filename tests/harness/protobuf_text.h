/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads what exporters/prometheus_proto.c writes without sharing anything with it: field numbers and types are stated here
 * again, from the published metrics.proto.
 */
#ifndef LEADLINE_TESTS_PROTOBUF_TEXT_H
#define LEADLINE_TESTS_PROTOBUF_TEXT_H

#include <stdbool.h>
#include "agent/buffer.h"

/*
 * A page of delimited MetricFamily messages as indented lines "name: value", one a field, in the order of the bytes. False with
 * a message in `error` for what no reader would take: unknown fields, wrong types, lengths that do not fit, text that is not
 * UTF-8.
 */
bool protobuf_text(const void *page, size_t size, struct buffer *out, char *error,
		   size_t error_size);

#endif
