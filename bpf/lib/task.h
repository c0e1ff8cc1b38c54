/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * State of a thread, in one task-storage map that all objects share (the core hands them the map of
 * bpf/task.bpf.c). One map rather than one per probe: a lookup is the largest cost of a hot hook,
 * and hooks need the entity anyway. A probe that keeps little per thread adds a field group here; one
 * that keeps much defines its own map.
 */
#ifndef LEADLINE_TASK_H
#define LEADLINE_TASK_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#include "lib/wait.h"

/* What a call of a TLS library does. */
enum tls_call {
	TLS_READS = 1,
	TLS_WRITES,
	TLS_SHAKES_HANDS, /* moves no plain text, but sockets its session is to be known by: libraries read ahead */
};

#define ENTITY_OTHER	0 /* found no free id */
#define ENTITY_EXCLUDED 0xffffffffU /* the agent itself: probes skip it */

/* Others that one request waits for, kept apart; the first stands for all beyond. */
#define TASK_DOWNSTREAMS 4
struct task_downstream {
	__s64 ns;
	__u32 row; /* of downstream_names in bpf/requests_ledger.bpf.h; 0: any */
	__u32 pad;
};

struct task_state {
	__u32 entity;
	__u32 wait_reason; /* sched: why it left the CPU, enum wait_reason */
	__u64 syscall_entered_ns; /* syscalls: 0 outside a system call */
	/* sched: the kernel's totals when the thread last left the CPU, or was first seen */
	__u64 left_cpu_ns;
	__u64 exec_runtime_ns;
	__u64 run_delay_ns;
	__u32 migrations; /* modulo 2^32 */
	__u32 slept_in_queue; /* task_sleeps_in_queue(), when it left the CPU */
	__u64 queue_throttled_ns; /* while wait_reason is WAIT_THROTTLED */
	__u64 user_ns;
	__u64 system_ns;
	/* memory: what of the kernel's totals is counted already, and since when it is in a stall (0: it is in none) */
	__u64 minor_faults;
	__u64 major_faults;
	__u64 read_bytes;
	__u64 write_bytes;
	__u64 stall_began_ns;
	__u32 process_marks; /* process: what is counted already, kept at the thread-group leader's */
	__u32 syscall_weight; /* syscalls: how many calls the one it is in stands for */
	__u32 pace_16; /* syscalls: time of one of those made in a row, in 16ths of ns, lib/budget.bpf.h */
	__u32 vector; /* requests: how far it is in sendmmsg() or recvmmsg(), lib/message_vector.bpf.h */
	/* sched: the kernel's totals, modulo 2^32, when the thread was last seen leaving the CPU */
	__u32 voluntary_switches;
	__u32 involuntary_switches;
	__u64 passed_ns; /* sched: run time that its pass has charged since the thread last left the CPU */
	/*
	 * requests: the request this thread serves, from when it began to read it; sched adds up what it waits for meanwhile. A thread
	 * serves one at a time: which one it began last.
	 */
	__u64 serves_socket; /* address, never followed; 0: none, or not all of its time was seen */
	__u64 serves_start_ns; /* when that request arrived … */
	__u64 serves_since_ns; /* … and was read */
	__s64 serves_waited_ns[WAIT_REASON_COUNT];
	__s64 serves_queued_ns;
	/* requests: whom it waited for. What is known to be for one of these is taken off the waits for network and poll, … */
	struct task_downstream serves_downstreams[TASK_DOWNSTREAMS];
	/* … and so much of each that is left was for none of them. */
	__s64 serves_told_network_ns;
	__s64 serves_told_poll_ns;
	__u32 serves_generation; /* of the rows above */
	/* sched: how often the thread had left the CPU unseen when its pass found it at rest; what comes after is seen */
	__u32 unseen_switches;
	/* tls: the call of a TLS library that this thread is in, and what requests sees of the socket calls within it */
	__u64 tls_session; /* what the library calls the connection by; 0: in none */
	__u64 tls_stack; /* of its frame, by which its return is known */
	__u64 tls_buffer; /* the plain text's place … */
	__u64 tls_count; /* … and that of its length, where the call does not return it; 0 */
	__u64 tls_socket; /* address, never followed; 0: none so far */
	__u64 tls_moved_ns; /* when that had last sent or received a segment */
	__u32 tls_does; /* enum tls_call */
	__u32 tls_midway; /* the socket had already moved something of this library's when it was first seen in a call */
	/* requests: those of io_uring that it has submitted last, addresses, lib/uring_call.bpf.h: to receive, to send */
	__u64 uring_requests[2];
};

/* What runs on a CPU, in a second map that all objects share. Kept by sched. */
struct cpu_turn {
	__u64 began_ns; /* CLOCK_MONOTONIC: the thread now on this CPU got it; 0: not known */
	__u32 last_ran; /* entity of who had it before, see CULPRIT_… in bpf/sched.h */
	__u32 pad[13];
};
_Static_assert(sizeof(struct cpu_turn) == 64, "a cache line each");

#endif
