/* SPDX-License-Identifier: Apache-2.0 */
/* Reasons to wait: their names, and which system call waits for what. Any thread. */
#ifndef LEADLINE_WAIT_REASONS_H
#define LEADLINE_WAIT_REASONS_H

#include <stdint.h>
#include "bpf/lib/wait.h"

const char *wait_reason_name(enum wait_reason reason);
/* For the kernel side: enum wait_reason by the number of the system call. */
void wait_reasons_fill(uint8_t table[WAIT_SYSCALLS]);

#endif
