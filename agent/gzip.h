/* SPDX-License-Identifier: Apache-2.0 */
/* Compression of whole pages. Any thread. */
#ifndef LEADLINE_GZIP_H
#define LEADLINE_GZIP_H

#include <stddef.h>
#include "agent/buffer.h"

/* Appends the gzip form (RFC 1952) of `size` bytes. 0 or -ENOMEM. */
int gzip_append(struct buffer *out, const void *data, size_t size);

#endif
