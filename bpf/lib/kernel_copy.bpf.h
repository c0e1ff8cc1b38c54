/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The kernel's own copy of what a thread has just sent over TCP: reading that takes less than half of the time that the program's memory
 * takes, and it is in one piece, however many the program gave (struct iovec), wherever it said so (struct msghdr).
 *
 * tcp_sendmsg_locked() copies into the thread's page_frag, behind what is there already, or begins a new one (net/ipv4/tcp.c;
 * skb_page_frag_refill() in net/core/sock.c): a call that has sent no more than the page_frag holds is the end of that. Nobody else
 * writes there, and the page stays as long as it is the thread's. From 6.2 on a socket tells whether it uses the thread's
 * (98123866fcf3).
 *
 * Of a page the thread knows its struct page only. Those and the memory are two arrays, which begin where this boot has chosen
 * (kernel_randomize_memory() in arch/x86/mm/kaslr.c), and no program may ask where. It is found out by bytes that nobody else has: those
 * this program puts on its stack, whose pages the kernel lists. What is found is believed once copies were compared with what programs
 * had in their memory.
 */
#ifndef LEADLINE_KERNEL_COPY_BPF_H
#define LEADLINE_KERNEL_COPY_BPF_H

#include "lib/compat.bpf.h"
#include "lib/kernel_copy.h"

#define IPPROTO_TCP 6
#define SOCK_STREAM 1

#if defined(__TARGET_ARCH_x86)

#define PAGE_SHIFT	  12
#define STRUCT_PAGE_SHIFT 6 /* its size is a power of two */
#define PAGE_RATIO_SHIFT  (PAGE_SHIFT - STRUCT_PAGE_SHIFT)
#define ARRAYS_SHIFT	  30 /* both begin at a multiple of that */

/* Memory up to so many GiB is searched. */
#define SEARCH_MEMORY 1024
#define SEARCH_PAGES  (SEARCH_MEMORY >> PAGE_RATIO_SHIFT)

struct memory_search {
	__u64 secret[2];
	__u64 page, offset; /* where that is: the address of its struct page */
	__u64 near; /* an address in the array of memory */
	__u64 found;
};

static long memory_search_step(__u32 i, void *context)
{
	struct memory_search *search = context;
	__u64 memory = (search->near >> ARRAYS_SHIFT) - i / SEARCH_PAGES;
	__u64 pages = (search->page >> ARRAYS_SHIFT) - i % SEARCH_PAGES;
	__u64 base = (memory - (pages << PAGE_RATIO_SHIFT)) << ARRAYS_SHIFT;
	__u64 there[2] = {};

	bpf_probe_read_kernel(there, sizeof(there),
			      (void *)(base + (search->page << PAGE_RATIO_SHIFT) + search->offset));
	if (there[0] != search->secret[0] || there[1] != search->secret[1])
		return 0;
	search->found = base;
	return 1;
}

/* A pointer as a number: with one that is read as a number, the verifier lets be reckoned. */
static __always_inline __u64 number_of(const void *pointer, struct kernel_copies *copies)
{
	volatile __u64 *number = &copies->number;

	*number = (__u64)pointer;
	return *number;
}

/* Where on its stack the thread's secret is. */
static __always_inline bool memory_search_begin(struct memory_search *search,
						struct kernel_copies *copies)
{
	struct task_struct *task = READ_ONLY(task_struct, bpf_get_current_task_btf());
	__u64 into;

	if (!bpf_core_field_exists(task->stack_vm_area))
		return false;
	for (int i = 0; i < 2; i++)
		search->secret[i] = (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32();
	search->near = number_of(task, copies);
	into = number_of(search, copies) - number_of(task->stack, copies);
	search->offset = into & ((1 << PAGE_SHIFT) - 1);
	return into >> PAGE_SHIFT < task->stack_vm_area->nr_pages &&
	       search->offset <= (1 << PAGE_SHIFT) - sizeof(search->secret) &&
	       !bpf_probe_read_kernel(&search->page, sizeof(search->page),
				      task->stack_vm_area->pages + (into >> PAGE_SHIFT));
}

/* Finds out where the copies are; to be called in the context of a process, where a few milliseconds do not matter. */
static __always_inline void kernel_copies_find(struct kernel_copies *copies)
{
	struct memory_search search = {};

	if (copies->is_looked_for)
		return;
	copies->is_looked_for = 1;
	if (!bpf_rdonly_cast || !bpf_core_field_exists(((struct sock *)0)->sk_use_task_frag) ||
	    bpf_core_type_size(struct page) != 1 << STRUCT_PAGE_SHIFT ||
	    !memory_search_begin(&search, copies))
		return;
	bpf_loop(SEARCH_MEMORY * SEARCH_PAGES, memory_search_step, &search, 0);
	copies->candidate = search.found;
}

/* Where the copy lies of `size` bytes that `task` has just sent over a TCP socket; 0: nowhere, or it is not known. */
static __always_inline __u64 kernel_copy_of(__u64 base, __u64 socket, struct task_struct *task,
					    __u32 size)
{
	const struct sock *sk;
	const struct pt_regs *number;

	if (!bpf_rdonly_cast || !base)
		return 0;
	task = bpf_rdonly_cast(task, bpf_core_type_id_kernel(struct task_struct));
	sk = bpf_rdonly_cast((void *)socket, bpf_core_type_id_kernel(struct sock));
	if (size > task->task_frag.offset || !sk->sk_use_task_frag || sk->sk_type != SOCK_STREAM ||
	    sk->sk_protocol != IPPROTO_TCP ||
	    sk->__sk_common.skc_prot != sk->sk_prot_creator) /* TLS by the kernel, or the like */
		return 0;
	/* of what was read as a pointer, the verifier lets nothing be reckoned */
	number = bpf_rdonly_cast((void *)task + bpf_core_field_offset(task->task_frag.page),
				 bpf_core_type_id_kernel(struct pt_regs));
	return base + (number->r15 << PAGE_RATIO_SHIFT) + task->task_frag.offset - size;
}

#else

static __always_inline void kernel_copies_find(struct kernel_copies *copies)
{
}

static __always_inline __u64 kernel_copy_of(__u64 base, __u64 socket, struct task_struct *task,
					    __u32 size)
{
	return 0;
}

#endif

/* What a call may ask for, that does not change where its bytes go: MSG_DONTWAIT, MSG_EOR, MSG_NOSIGNAL, MSG_MORE. */
#define MSG_COPIED 0xc0c0

#endif
