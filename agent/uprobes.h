/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks in user space on functions of this program itself, to try them out. */
#ifndef LEADLINE_UPROBES_H
#define LEADLINE_UPROBES_H

#include <stdint.h>

/* A function that nothing else calls, and where it is in /proc/self/exe; 0: not found. */
int uprobes_trapped(int n);
uint64_t uprobes_trapped_offset(void);

#endif
