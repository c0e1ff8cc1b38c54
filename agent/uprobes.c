// SPDX-License-Identifier: Apache-2.0
/* Hooks in user space, for probes; see probes/probe.h. Loop thread only. */
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <link.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "agent/lifecycle_internal.h"
#include "agent/uprobes.h"

static int attach(const struct bpf_program *program, const char *path, uint64_t offset,
		  bool at_return, struct bpf_link **ret_link)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options, .retprobe = at_return);
	struct bpf_link *link =
		bpf_program__attach_uprobe_opts(program, -1, path, offset, &options);

	if (!link)
		return -errno;
	*ret_link = link;
	return 0;
}

int probe_attach_uprobe(struct probe *probe, const char *program, const char *path, uint64_t offset,
			bool at_return, struct bpf_link **ret_link)
{
	const struct bpf_program *found = bpf_object__find_program_by_name(probe->object, program);

	return found ? attach(found, path, offset, at_return, ret_link) : -ENOENT;
}

void probe_detach_uprobe(struct bpf_link *link)
{
	bpf_link__destroy(link);
}

bool probe_may_hook_user_space(void)
{
	struct perf_event_attr attributes = {
		.size = sizeof(attributes),
		.config1 = (uintptr_t) "/proc/self/exe",
		.config2 = uprobes_trapped_offset(),
	};
	FILE *file = fopen("/sys/bus/event_source/devices/uprobe/type", "re");
	int fd = -1;

	errno = ENOENT;
	if (file && fscanf(file, "%u", &attributes.type) == 1)
		fd = (int)syscall(__NR_perf_event_open, &attributes, 0, -1, -1,
				  PERF_FLAG_FD_CLOEXEC);
	if (fd >= 0)
		close(fd);
	if (file)
		fclose(file);
	return fd >= 0;
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

int probe_check_return_hooks(struct probe *probe, const char *program)
{
	struct bpf_link *link = NULL;
	int status = 0, err = probe_attach_uprobe(probe, program, "/proc/self/exe",
						  uprobes_trapped_offset(), true, &link);
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
	bpf_link__destroy(link);
	return err;
}
