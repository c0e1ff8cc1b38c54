/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers of system calls and errors as people know them. Any thread. */
#ifndef LEADLINE_SYSCALL_NAMES_H
#define LEADLINE_SYSCALL_NAMES_H

#include <stdint.h>

#define NUMBER_NAME_SIZE 24

/*
 * Name of a slot of bpf/syscalls.h: "read", "compat", "other"; "syscall_508" for a number that has no
 * name known here. The result is constant or in `buffer`.
 */
const char *syscall_slot_name(uint32_t slot, char buffer[NUMBER_NAME_SIZE]);

/*
 * Name of a positive error number: "ENOENT"; those that never leave the kernel too, as they are what a
 * tracepoint sees ("ERESTARTSYS" is a call interrupted by a signal, begun anew or ended with EINTR).
 * "errno_4000" for one without a name, "other" for SYSCALL_ERROR_OTHER.
 */
const char *error_name(uint32_t number, char buffer[NUMBER_NAME_SIZE]);

#endif
