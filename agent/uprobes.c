// SPDX-License-Identifier: Apache-2.0
/* Hooks in user space, for probes; see probes/probe.h. Loop thread only. */
#include <bpf/libbpf.h>
#include <errno.h>
#include "agent/lifecycle_internal.h"

int probe_attach_uprobe(struct probe *probe, const char *program, const char *path, uint64_t offset,
			bool at_return, struct bpf_link **ret_link)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options, .retprobe = at_return);
	const struct bpf_program *found = bpf_object__find_program_by_name(probe->object, program);
	struct bpf_link *link;

	if (!found)
		return -ENOENT;
	link = bpf_program__attach_uprobe_opts(found, -1, path, offset, &options);
	if (!link)
		return -errno;
	*ret_link = link;
	return 0;
}

void probe_detach_uprobe(struct bpf_link *link)
{
	bpf_link__destroy(link);
}
