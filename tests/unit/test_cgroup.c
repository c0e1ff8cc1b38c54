// SPDX-License-Identifier: Apache-2.0
/* Each layout of cgroup paths there is, and those that only look like one. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "agent/cgroup.h"

#define ID     "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define UID    "1a2b3c4d-0000-1111-2222-333344445555"
#define UID_   "1a2b3c4d_0000_1111_2222_333344445555"
#define STATIC "0123456789abcdef0123456789abcdef"

struct path {
	const char *path, *container, *pod_uid, *unit;
};

static const struct path paths[] = {
	/* Kubernetes, systemd driver: containerd, CRI-O, Docker; guaranteed pods have no QoS group */
	{ "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UID_
	  ".slice/cri-containerd-" ID ".scope",
	  ID, UID, "" },
	{ "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" UID_ ".slice/crio-" ID
	  ".scope",
	  ID, UID, "" },
	{ "/kubepods.slice/kubepods-pod" UID_ ".slice/docker-" ID ".scope", ID, UID, "" },
	/* kind and k3s nest kubelet's tree */
	{ "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" UID_
	  ".slice/cri-containerd-" ID ".scope",
	  ID, UID, "" },
	/* cgroupfs driver */
	{ "/kubepods/burstable/pod" UID "/" ID, ID, UID, "" },
	{ "/kubepods/pod" UID "/crio-" ID, ID, UID, "" },
	/* containerd with mismatched drivers */
	{ "/system.slice/containerd.service/kubepods-burstable-pod" UID_
	  ".slice:cri-containerd:" ID,
	  ID, UID, "" },
	/* a static pod's uid is a hash */
	{ "/kubepods/burstable/pod" STATIC "/" ID, ID, STATIC, "" },
	/* a pod's own group */
	{ "/kubepods.slice/kubepods-pod" UID_ ".slice", "", UID, "" },
	/* Docker, Podman */
	{ "/docker/" ID, ID, "", "" },
	{ "/system.slice/docker-" ID ".scope", ID, "", "" },
	{ "/machine.slice/libpod-" ID ".scope", ID, "", "" },
	{ "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" ID ".scope/container",
	  ID, "", "" },
	/* systemd inside a container: the inner unit is named too */
	{ "/docker/" ID "/system.slice/ssh.service", ID, "", "ssh.service" },
	/* LXC */
	{ "/lxc.payload.web-1/init.scope", "web-1", "", "init.scope" },
	{ "/lxc/old-style", "old-style", "", "" },
	/* the runtime's monitor is no container */
	{ "/kubepods.slice/kubepods-pod" UID_ ".slice/crio-conmon-" ID ".scope", "", UID,
	  "crio-conmon-" ID ".scope" },
	/* systemd */
	{ "/system.slice/nginx.service", "", "", "nginx.service" },
	{ "/system.slice/system-getty.slice/getty@tty1.service", "", "", "getty@tty1.service" },
	{ "/user.slice/user-1000.slice/session-2.scope", "", "", "session-2.scope" },
	{ "/user.slice/user-0.slice/user@0.service/app.slice/dbus.service", "", "",
	  "dbus.service" },
	{ "/user.slice", "", "", "user.slice" },
	/* nothing known: the path says itself; 63 and 65 digits are no id */
	{ "/batch/nightly", "", "", "/batch/nightly" },
	{ "/docker/0123456789abcdef", "", "", "/docker/0123456789abcdef" },
	{ "/x/" ID "0", "", "", "/x/" ID "0" },
	{ "/x/pod1234", "", "", "/x/pod1234" },
	{ "/", "", "", "" },
};

static void identify(const char *path, struct cgroup_identity *identity)
{
	char copy[1024];
	char *parts[32], *saved = NULL;
	const char *names[32];
	size_t n = 0;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *part = strtok_r(copy, "/", &saved); part; part = strtok_r(NULL, "/", &saved))
		parts[n++] = part;
	for (size_t i = 0; i < n; i++)
		names[i] = parts[n - 1 - i];
	cgroup_identify(names, n, identity);
}

static void test_paths(void **state)
{
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct cgroup_identity identity;

		identify(paths[i].path, &identity);
		if (strcmp(identity.container, paths[i].container) ||
		    strcmp(identity.pod_uid, paths[i].pod_uid) ||
		    strcmp(identity.unit, paths[i].unit))
			fail_msg("%s: container '%s' pod '%s' unit '%s'", paths[i].path,
				 identity.container, identity.pod_uid, identity.unit);
	}
}

static void test_hostile_names(void **state)
{
	char long_name[2048];
	const char *names[40];
	struct cgroup_identity identity;

	memset(long_name, 'a', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	for (size_t i = 0; i < 40; i++)
		names[i] = long_name;
	cgroup_identify(names, 40, &identity);
	assert_true(strlen(identity.unit) < sizeof(identity.unit));
	assert_string_equal(identity.container, "");

	names[0] = NULL;
	names[1] = "";
	names[2] = "pod";
	names[3] = "-pod-pod-podpod";
	names[4] = ".scope";
	cgroup_identify(names, 5, &identity);
	assert_string_equal(identity.pod_uid, "");
	cgroup_identify(names, 0, &identity);
	assert_string_equal(identity.unit, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_hostile_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
