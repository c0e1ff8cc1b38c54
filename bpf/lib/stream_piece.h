/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* How a call is told as pieces, one after the other. Shared with the user side. */
#ifndef LEADLINE_STREAM_PIECE_H
#define LEADLINE_STREAM_PIECE_H

#ifndef __bpf__
#include <linux/types.h>
#endif

/* A piece; its copied bytes follow, and then the next piece. */
struct stream_piece {
	__u32 size; /* bytes of the call */
	__u32 copied; /* the first so many */
};
_Static_assert(sizeof(struct stream_piece) == 8, "a piece without padding");

#endif
