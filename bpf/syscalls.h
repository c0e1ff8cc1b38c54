/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Wire structures between bpf/syscalls.bpf.c and probes/syscalls.c.
 *
 * Entity and system call lead to a row by plain indexing: syscall_index[entity].row[slot]. A row holds
 * the durations and the errors of that pair. Row 0 is shared by all pairs that found no free row.
 */
#ifndef LEADLINE_SYSCALLS_WIRE_H
#define LEADLINE_SYSCALLS_WIRE_H

#ifndef __bpf__
#include <linux/types.h>
#endif
#include "lib/hist.h"

/* A slot is a system call's number, or one of these. */
#define SYSCALL_SLOTS	    512
#define SYSCALL_SLOT_OTHER  511 /* numbers from 509 on; none exist yet */
#define SYSCALL_SLOT_COMPAT 510 /* of 32-bit processes, which number their calls differently */
#define SYSCALL_SLOT_SIGRETURN                                                                     \
	509 /* the one call whose number the kernel has forgotten at its end */

struct syscall_index {
	__u16 row[SYSCALL_SLOTS]; /* 0: none handed out yet */
};

/*
 * Errors seen by one CPU in one row, in the order of first sight. Few calls fail in more than two or
 * three ways; what exceeds the room is counted in the last element under SYSCALL_ERROR_OTHER.
 */
#define SYSCALL_ERRORS	    8
#define SYSCALL_ERROR_OTHER 0xffff
#define SYSCALL_ERROR_MAX   4095 /* results -4095..-1 are errors */

struct syscall_row {
	struct hist duration;
	__u16 error_number[SYSCALL_ERRORS]; /* 0: unused */
	__u64 error_count[SYSCALL_ERRORS];
};
_Static_assert(sizeof(struct syscall_row) == 1024 + 16 + 64, "no padding");

/*
 * What a row stands for, in one word so that it appears at once; 0: nothing, the row is free. The word of
 * row 0, which stands for nothing in particular, tells how the handing out of rows stands.
 */
#define SYSCALL_KEY(entity, slot) ((__u64)(entity) << 32 | ((slot) + 1))
#define SYSCALL_KEY_ENTITY(key)	  ((__u32)((key) >> 32))
#define SYSCALL_KEY_SLOT(key)	  ((__u32)(key)-1)

enum syscall_rows_state {
	SYSCALL_ROWS_CLOSED, /* the user side has not filled the queue of free rows yet: nothing is recorded */
	SYSCALL_ROWS_OPEN,
	SYSCALL_ROWS_EXHAUSTED, /* set when the queue was found empty, so that later calls need not ask it */
};

struct syscalls_settings {
	__u32 rows; /* per CPU, at most 65535 */
	__u32 pad;
};

#endif
