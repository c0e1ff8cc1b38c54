/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Control groups of both versions. */
#ifndef LEADLINE_CGROUP_BPF_H
#define LEADLINE_CGROUP_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include "entity.h"

/* Index in css_set::subsys of an enum entity_v1_controller, which depends on the kernel's configuration; -1 when there is none to look at. */
static __always_inline int v1_subsystem(__u32 controller)
{
	switch (controller) {
	case V1_MEMORY:
		return bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id)
			       ? (int)bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id)
			       : -1;
	case V1_PIDS:
		return bpf_core_enum_value_exists(enum cgroup_subsys_id, pids_cgrp_id)
			       ? (int)bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id)
			       : -1;
	case V1_CPU:
		return bpf_core_enum_value_exists(enum cgroup_subsys_id, cpu_cgrp_id)
			       ? (int)bpf_core_enum_value(enum cgroup_subsys_id, cpu_cgrp_id)
			       : -1;
	default:
		return -1;
	}
}

#endif
