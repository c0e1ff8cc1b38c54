/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a control group's path says: container, pod, systemd unit. Pure; knows the layouts of systemd, kubelet
 * (both cgroup drivers), containerd, CRI-O, Docker, kind and LXC. Any thread.
 */
#ifndef LEADLINE_CGROUP_H
#define LEADLINE_CGROUP_H

#include <stddef.h>

#define CGROUP_ID_SIZE	 65 /* 64 hex digits */
#define CGROUP_POD_SIZE	 37 /* a UUID */
#define CGROUP_UNIT_SIZE 256

struct cgroup_identity {
	char container[CGROUP_ID_SIZE]; /* full id, or an LXC container's name; "" none */
	char pod_uid
		[CGROUP_POD_SIZE]; /* with dashes; a static pod's 32 hex digits as they are; "" none */
	char unit
		[CGROUP_UNIT_SIZE]; /* systemd unit, or the path itself where it is nothing known; "" for the root */
};

/* `names`: the path's components, leaf first; empty ones are skipped. */
void cgroup_identify(const char *const *names, size_t n_names,
		     struct cgroup_identity *ret_identity);

#endif
