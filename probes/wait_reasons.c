// SPDX-License-Identifier: Apache-2.0
/* The tables behind wait_reasons.h. */
#include <stddef.h>
#include <sys/syscall.h>
#include "probes/wait_reasons.h"

static const char *const wait_reason_names[] = {
#define X(name, label) [WAIT_##name] = label,
	WAIT_REASONS(X)
#undef X
};

const char *wait_reason_name(enum wait_reason reason)
{
	return wait_reason_names[reason];
}

struct syscall_reason {
	unsigned number;
	enum wait_reason reason;
};

/* Calls that exist on some architectures only stand in #ifdef. */
static const struct syscall_reason syscall_reasons[] = {
	{ SYS_read, WAIT_BY_FILE },
	{ SYS_write, WAIT_BY_FILE },
	{ SYS_readv, WAIT_BY_FILE },
	{ SYS_writev, WAIT_BY_FILE },
	{ SYS_preadv2, WAIT_BY_FILE },
	{ SYS_pwritev2, WAIT_BY_FILE },
	{ SYS_sendfile, WAIT_BY_FILE },
	{ SYS_splice, WAIT_BY_FILE },
	{ SYS_pread64, WAIT_DISK },
	{ SYS_pwrite64, WAIT_DISK },
	{ SYS_preadv, WAIT_DISK },
	{ SYS_pwritev, WAIT_DISK },
	{ SYS_fsync, WAIT_DISK },
	{ SYS_fdatasync, WAIT_DISK },
	{ SYS_sync_file_range, WAIT_DISK },
	{ SYS_sync, WAIT_DISK },
	{ SYS_syncfs, WAIT_DISK },
	{ SYS_openat, WAIT_DISK },
	{ SYS_getdents64, WAIT_DISK },
	{ SYS_unlinkat, WAIT_DISK },
	{ SYS_renameat2, WAIT_DISK },
	{ SYS_ftruncate, WAIT_DISK },
	{ SYS_fallocate, WAIT_DISK },
	{ SYS_futex, WAIT_LOCK },
	{ SYS_flock, WAIT_LOCK },
	{ SYS_accept, WAIT_NETWORK },
	{ SYS_accept4, WAIT_NETWORK },
	{ SYS_connect, WAIT_NETWORK },
	{ SYS_sendto, WAIT_NETWORK },
	{ SYS_recvfrom, WAIT_NETWORK },
	{ SYS_sendmsg, WAIT_NETWORK },
	{ SYS_recvmsg, WAIT_NETWORK },
	{ SYS_sendmmsg, WAIT_NETWORK },
	{ SYS_recvmmsg, WAIT_NETWORK },
	{ SYS_ppoll, WAIT_POLL },
	{ SYS_pselect6, WAIT_POLL },
	{ SYS_epoll_pwait, WAIT_POLL },
	{ SYS_io_getevents, WAIT_POLL },
	{ SYS_nanosleep, WAIT_SLEEP },
	{ SYS_clock_nanosleep, WAIT_SLEEP },
	{ SYS_rt_sigtimedwait, WAIT_SLEEP },
	{ SYS_rt_sigsuspend, WAIT_SLEEP },
	{ SYS_wait4, WAIT_CHILD },
	{ SYS_waitid, WAIT_CHILD },
	{ SYS_msgrcv, WAIT_PIPE },
	{ SYS_msgsnd, WAIT_PIPE },
	{ SYS_mq_timedreceive, WAIT_PIPE },
	{ SYS_mq_timedsend, WAIT_PIPE },
	{ SYS_tee, WAIT_PIPE },
	{ SYS_vmsplice, WAIT_PIPE },
	{ SYS_semtimedop, WAIT_LOCK },
#ifdef SYS_poll
	{ SYS_poll, WAIT_POLL },
	{ SYS_select, WAIT_POLL },
	{ SYS_epoll_wait, WAIT_POLL },
	{ SYS_pause, WAIT_SLEEP },
	{ SYS_open, WAIT_DISK },
	{ SYS_unlink, WAIT_DISK },
	{ SYS_vfork, WAIT_CHILD },
#endif
#ifdef SYS_epoll_pwait2
	{ SYS_epoll_pwait2, WAIT_POLL },
#endif
#ifdef SYS_io_uring_enter
	{ SYS_io_uring_enter, WAIT_POLL },
#endif
#ifdef SYS_futex_waitv
	{ SYS_futex_waitv, WAIT_LOCK },
#endif
};

void wait_reasons_fill(uint8_t table[WAIT_SYSCALLS])
{
	for (size_t i = 0; i < sizeof(syscall_reasons) / sizeof(syscall_reasons[0]); i++)
		if (syscall_reasons[i].number < WAIT_SYSCALLS)
			table[syscall_reasons[i].number] = (uint8_t)syscall_reasons[i].reason;
}
