// SPDX-License-Identifier: Apache-2.0
/* Names of system calls and errors; see syscall_names.h. Owns constant tables only. Any thread. */
#include <asm/unistd.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include "bpf/syscalls.h"
#include "probes/syscall_names.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* As the kernel headers of this machine's architecture number them; made by the Makefile. */
static const char *const syscall_names[] = {
#include "syscall_names_generated.h"
};
_Static_assert(LENGTH(syscall_names) <= SYSCALL_SLOT_SIGRETURN,
	       "numbers and special slots are apart");

/*
 * Calls that the running kernel may have and the headers of the build may not. Since 5.1 new calls have one
 * number on all architectures (include/uapi/asm-generic/unistd.h).
 */
#define FIRST_RECENT 449
static const char *const recent_names[] = {
	[449 - FIRST_RECENT] = "futex_waitv",
	[450 - FIRST_RECENT] = "set_mempolicy_home_node",
	[451 - FIRST_RECENT] = "cachestat",
	[452 - FIRST_RECENT] = "fchmodat2",
	[453 - FIRST_RECENT] = "map_shadow_stack",
	[454 - FIRST_RECENT] = "futex_wake",
	[455 - FIRST_RECENT] = "futex_wait",
	[456 - FIRST_RECENT] = "futex_requeue",
	[457 - FIRST_RECENT] = "statmount",
	[458 - FIRST_RECENT] = "listmount",
	[459 - FIRST_RECENT] = "lsm_get_self_attr",
	[460 - FIRST_RECENT] = "lsm_set_self_attr",
	[461 - FIRST_RECENT] = "lsm_list_modules",
	[462 - FIRST_RECENT] = "mseal",
	[463 - FIRST_RECENT] = "setxattrat",
	[464 - FIRST_RECENT] = "getxattrat",
	[465 - FIRST_RECENT] = "listxattrat",
	[466 - FIRST_RECENT] = "removexattrat",
	[467 - FIRST_RECENT] = "open_tree_attr",
	[468 - FIRST_RECENT] = "file_getattr",
	[469 - FIRST_RECENT] = "file_setattr",
};

/* include/linux/errno.h */
#define FIRST_INTERNAL 512
static const char *const internal_error_names[] = {
	[512 - FIRST_INTERNAL] = "ERESTARTSYS",
	[513 - FIRST_INTERNAL] = "ERESTARTNOINTR",
	[514 - FIRST_INTERNAL] = "ERESTARTNOHAND",
	[515 - FIRST_INTERNAL] = "ENOIOCTLCMD",
	[516 - FIRST_INTERNAL] = "ERESTART_RESTARTBLOCK",
	[517 - FIRST_INTERNAL] = "EPROBE_DEFER",
	[518 - FIRST_INTERNAL] = "EOPENSTALE",
	[519 - FIRST_INTERNAL] = "ENOPARAM",
	[521 - FIRST_INTERNAL] = "EBADHANDLE",
	[522 - FIRST_INTERNAL] = "ENOTSYNC",
	[523 - FIRST_INTERNAL] = "EBADCOOKIE",
	[524 - FIRST_INTERNAL] = "ENOTSUPP",
	[525 - FIRST_INTERNAL] = "ETOOSMALL",
	[526 - FIRST_INTERNAL] = "ESERVERFAULT",
	[527 - FIRST_INTERNAL] = "EBADTYPE",
	[528 - FIRST_INTERNAL] = "EJUKEBOX",
	[529 - FIRST_INTERNAL] = "EIOCBQUEUED",
	[530 - FIRST_INTERNAL] = "ERECALLCONFLICT",
	[531 - FIRST_INTERNAL] = "ENOGRACE",
};

static const char *name_in(const char *const names[], size_t n, uint32_t first, uint32_t number)
{
	return number >= first && number - first < n ? names[number - first] : NULL;
}

const char *syscall_slot_name(uint32_t slot, char buffer[NUMBER_NAME_SIZE])
{
	const char *name;

	if (slot == SYSCALL_SLOT_COMPAT)
		return "compat";
	if (slot == SYSCALL_SLOT_SIGRETURN)
		return "rt_sigreturn";
	if (slot >= SYSCALL_SLOT_OTHER)
		return "other";
	name = name_in(syscall_names, LENGTH(syscall_names), 0, slot);
	if (!name)
		name = name_in(recent_names, LENGTH(recent_names), FIRST_RECENT, slot);
	if (name)
		return name;
	snprintf(buffer, NUMBER_NAME_SIZE, "syscall_%u", slot);
	return buffer;
}

const char *error_name(uint32_t number, char buffer[NUMBER_NAME_SIZE])
{
	const char *name;

	if (number == SYSCALL_ERROR_OTHER)
		return "other";
	name = name_in(internal_error_names, LENGTH(internal_error_names), FIRST_INTERNAL, number);
	if (!name && number && number <= SYSCALL_ERROR_MAX)
		name = strerrorname_np((int)number);
	if (name)
		return name;
	snprintf(buffer, NUMBER_NAME_SIZE, "errno_%u", number);
	return buffer;
}
