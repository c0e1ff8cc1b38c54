// SPDX-License-Identifier: Apache-2.0
/* Hooks in user space; see uprobes.h, and probes/probe.h for those of probes. Loop thread only. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <link.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "agent/lifecycle_internal.h"
#include "agent/uprobes.h"

/* ---- one link for many places (Linux 6.10 and later) ---- */

/*
 * As in the kernel's include/uapi/linux/bpf.h; the headers and the libbpf this is built with need not have it. It asks for no privilege
 * beyond those for loading the program, and puts all places in at once.
 */
#define TRACE_UPROBE_MULTI   48
#define UPROBE_MULTI_RETURNS 1U

struct multi_link_request {
	__u32 program_fd, target_fd, attach_type, flags;
	__u64 path, offsets, counters, cookies; /* addresses */
	__u32 n, multi_flags;
	__u32 pid;
	__u32 pad;
};

static int link_multi(struct multi_link_request *request)
{
	int fd = (int)syscall(__NR_bpf, BPF_LINK_CREATE, request,
			      offsetof(struct multi_link_request, pad));

	return fd < 0 ? -errno : fd;
}

/*
 * Asks for what cannot be: a kernel without multi links does not know the attach type, and one that tells threads, not
 * processes, by `pid` (before 6.10, 46ba0e49b642) takes -1 for one.
 */
static bool try_multi(void)
{
	const struct bpf_insn nothing[] = { { .code = BPF_ALU64 | BPF_MOV | BPF_K },
					    { .code = BPF_JMP | BPF_EXIT } };
	LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = TRACE_UPROBE_MULTI);
	__u64 offset = 0;
	struct multi_link_request request = {
		.attach_type = TRACE_UPROBE_MULTI,
		.path = (uintptr_t) "/",
		.offsets = (uintptr_t)&offset,
		.n = 1,
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_KPROBE, "leadline_try", "GPL", nothing, 2, &options);
	bool works;

	if (fd < 0)
		return false;
	request.program_fd = (__u32)fd;
	works = link_multi(&request) == -EBADF;
	request.pid = (__u32)-1;
	works = works && link_multi(&request) == -EINVAL;
	close(fd);
	return works;
}

bool uprobes_multi_works(void)
{
	static int works = -1; /* a kernel does not change */

	if (works < 0)
		works = try_multi();
	return works;
}

void uprobes_prepare_multi(struct bpf_program *program)
{
	bpf_program__set_expected_attach_type(program, (enum bpf_attach_type)TRACE_UPROBE_MULTI);
}

static bool is_multi(const struct bpf_program *program)
{
	return (int)bpf_program__expected_attach_type(program) == TRACE_UPROBE_MULTI;
}

/* ---- attaching ---- */

struct uprobes {
	int fd; /* of the one link, or -1 and … */
	size_t n;
	struct bpf_link *links[]; /* … one a place */
};

static int attach_multi(struct uprobes *uprobes, const struct bpf_program *program,
			const struct uprobe_target *target)
{
	__u64 *numbers = calloc(2 * target->n, sizeof(*numbers));
	struct multi_link_request request = {
		.program_fd = (__u32)bpf_program__fd(program),
		.attach_type = TRACE_UPROBE_MULTI,
		.path = (uintptr_t)target->path,
		.offsets = (uintptr_t)numbers,
		.n = (__u32)target->n,
		.multi_flags = target->at_return ? UPROBE_MULTI_RETURNS : 0,
		.pid = (__u32)target->pid,
	};

	if (!numbers)
		return -ENOMEM;
	for (size_t i = 0; i < target->n; i++) {
		numbers[i] = target->places[i].offset;
		numbers[target->n + i] = target->places[i].cookie;
	}
	request.cookies = (uintptr_t)(numbers + target->n);
	uprobes->fd = link_multi(&request);
	free(numbers);
	return uprobes->fd < 0 ? uprobes->fd : 0;
}

static int attach_each(struct uprobes *uprobes, const struct bpf_program *program,
		       const struct uprobe_target *target)
{
	for (; uprobes->n < target->n; uprobes->n++) {
		const struct uprobe_place *place = &target->places[uprobes->n];
		LIBBPF_OPTS(bpf_uprobe_opts, options, .retprobe = target->at_return,
			    .bpf_cookie = place->cookie);

		uprobes->links[uprobes->n] =
			bpf_program__attach_uprobe_opts(program, target->pid ? target->pid : -1,
							target->path, place->offset, &options);
		if (!uprobes->links[uprobes->n])
			return -errno;
	}
	return 0;
}

int uprobes_attach(const struct bpf_program *program, const struct uprobe_target *target,
		   struct uprobes **ret_uprobes)
{
	struct uprobes *uprobes =
		calloc(1, sizeof(*uprobes) + target->n * sizeof(uprobes->links[0]));
	int err;

	if (!uprobes)
		return -ENOMEM;
	uprobes->fd = -1;
	err = is_multi(program) ? attach_multi(uprobes, program, target)
				: attach_each(uprobes, program, target);
	if (err) {
		probe_detach_uprobes(uprobes);
		return err;
	}
	*ret_uprobes = uprobes;
	return 0;
}

/* ---- for probes ---- */

int probe_attach_uprobes(struct probe *probe, const char *hook, const struct uprobe_target *target,
			 struct uprobes **ret_uprobes)
{
	const char *name = probe_hook_program(probe, hook);

	if (!name)
		return -ENOENT;
	return uprobes_attach(bpf_object__find_program_by_name(probe->object, name), target,
			      ret_uprobes);
}

void probe_detach_uprobes(struct uprobes *uprobes)
{
	if (!uprobes)
		return;
	for (size_t i = 0; i < uprobes->n; i++)
		bpf_link__destroy(uprobes->links[i]);
	if (uprobes->fd >= 0)
		close(uprobes->fd);
	free(uprobes);
}

static bool may_open_perf_event(void)
{
	struct perf_event_attr attributes = {
		.size = sizeof(attributes),
		.config1 = (uintptr_t) "/proc/self/exe",
		.config2 = uprobes_trapped_offset(),
	};
	FILE *file = fopen("/sys/bus/event_source/devices/uprobe/type", "re");
	int fd = -1;

	if (file && fscanf(file, "%u", &attributes.type) == 1)
		fd = (int)syscall(__NR_perf_event_open, &attributes, 0, -1, -1,
				  PERF_FLAG_FD_CLOEXEC);
	if (fd >= 0)
		close(fd);
	if (file)
		fclose(file);
	return fd >= 0;
}

bool probe_may_hook_user_space(void)
{
	return uprobes_multi_works() || may_open_perf_event();
}

/* ---- on this program itself ---- */

__attribute__((noinline)) int uprobes_trapped(int n)
{
	__asm__ volatile("" : "+r"(n));
	return n + 1;
}

static int find_offset(struct dl_phdr_info *info, size_t size, void *context)
{
	uint64_t *offset = context;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		uintptr_t at = (uintptr_t)uprobes_trapped - info->dlpi_addr - header->p_vaddr;

		if (header->p_type == PT_LOAD && at < header->p_filesz)
			*offset = at + header->p_offset;
	}
	return 1; /* the program comes before its libraries */
}

uint64_t uprobes_trapped_offset(void)
{
	uint64_t offset = 0;

	dl_iterate_phdr(find_offset, &offset);
	return offset;
}

/* In a child that may do nothing but end. Does not return. */
static void return_confined(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_exit_group, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	const struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(0); /* then nobody is confined here */
	uprobes_trapped(1);
	syscall(__NR_exit_group, 0);
}

int probe_check_return_hooks(struct probe *probe, const char *hook)
{
	const struct uprobe_place place = { .offset = uprobes_trapped_offset() };
	const struct uprobe_target target = {
		.path = "/proc/self/exe", .places = &place, .n = 1, .at_return = true
	};
	struct uprobes *uprobes = NULL;
	int status = 0, err = probe_attach_uprobes(probe, hook, &target, &uprobes);
	pid_t pid;

	if (err)
		return err;
	pid = fork();
	if (pid == 0)
		return_confined();
	if (pid < 0)
		err = -errno;
	else if (waitpid(pid, &status, 0) != pid)
		err = -errno;
	else if (WIFSIGNALED(status))
		err = -EOPNOTSUPP;
	probe_detach_uprobes(uprobes);
	return err;
}
