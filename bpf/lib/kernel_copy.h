/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What is known of where the kernel's copies lie; see kernel_copy.bpf.h. */
#ifndef LEADLINE_KERNEL_COPY_H
#define LEADLINE_KERNEL_COPY_H

#ifndef __bpf__
#include <linux/types.h>
#endif

/* So many must have been as they are in the programs' memory before one is taken for it. */
#define KERNEL_COPIES_COMPARED 16

struct kernel_copies {
	/* A page's address is this plus that of its struct page, shifted; 0: not known, or not to be relied on. */
	__u64 base;
	__u64 candidate; /* the same, before copies were compared; 0: none */
	__u64 compared; /* so far */
	__u64 is_looked_for; /* it has been, found or not */
	__u64 number; /* of a pointer, on its way to a register that the verifier lets reckon with it */
};

#endif
