/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Passes over sockets by the files that are open (iter/task_file), where the kernel lets no program walk the elements of a map. They find
 * sockets of all network namespaces, but none that no process has open: what lingers, what is the kernel's, what is only on its way to
 * another process.
 */
#ifndef LEADLINE_FILE_SOCKETS_BPF_H
#define LEADLINE_FILE_SOCKETS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

__u8 file_pass = 1; /* the pass under way, or the next one; never 0 */

/* NULL: it is none. */
static __always_inline struct sock *sock_of_file(struct file *file)
{
	struct socket *socket = file ? bpf_sock_from_file(file) : NULL;

	return socket ? socket->sk : NULL;
}

/*
 * Several processes may have the same socket open, and one of them several times. Whether this pass meets it for the first time; `met`
 * is kept with the socket, 0 at first.
 */
static __always_inline bool is_first_met(__u8 *met)
{
	if (*met == file_pass)
		return false;
	*met = file_pass;
	return true;
}

/* To be called when there are no more files: the iterator's last call has none. */
static __always_inline void end_file_pass(void)
{
	file_pass = file_pass == 255 ? 1 : file_pass + 1;
}

#endif
