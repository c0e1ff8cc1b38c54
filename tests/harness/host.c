/* SPDX-License-Identifier: Apache-2.0 */
/* Loop devices, network namespaces and control groups for tests. */
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/harness/harness.h"

/* Runs during cleanup: says what failed, never fails. */
static void undo_shell(void *context)
{
	if (system(context))
		printf("# cleanup failed: %s\n", (char *)context);
	free(context);
}

static void push_undo_shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void push_undo_shell(const char *format, ...)
{
	char *command = NULL;
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(&command, format, arguments) < 0)
		abort();
	va_end(arguments);
	cleanup_push(undo_shell, command);
}

const char *loop_device(unsigned mebibytes)
{
	const char *directory = temporary_directory();
	struct output *output;
	char *device;

	require_root();
	shell("fallocate -l %uM %s/disk || truncate -s %uM %s/disk", mebibytes, directory,
	      mebibytes, directory);
	output = run_shell(
		"losetup --find --show --direct-io=on %s/disk || losetup --find --show %s/disk",
		directory, directory);
	device = strrchr(output->text,
			 '/'); /* the last line, should the first attempt have complained */
	if (output->status || !device)
		test_skip("no loop device: %s", output->text);
	device[strcspn(device, "\n")] = '\0';
	if (asprintf(&device, "/dev%s", device) < 0)
		abort();
	output_free(output);
	cleanup_push(free, device);
	push_undo_shell("losetup -d %s", device);
	return device;
}

struct network *network_create(void)
{
	struct network *network = calloc(1, sizeof(*network));
	static unsigned serial;
	unsigned id = ((unsigned)getpid() * 7 + serial++) & 0xff;
	struct output *output;

	require_root();
	if (!network)
		abort();
	cleanup_push(free, network);
	snprintf(network->name, sizeof(network->name), "leadline-%d-%u", getpid(), serial);
	snprintf(network->interface, sizeof(network->interface), "ll%da%u", getpid(), serial);
	snprintf(network->peer_interface, sizeof(network->peer_interface), "ll%db%u", getpid(),
		 serial);
	snprintf(network->address, sizeof(network->address), "198.18.%u.1", id);
	snprintf(network->peer_address, sizeof(network->peer_address), "198.18.%u.2", id);
	output = run_shell("ip netns add %s", network->name);
	if (output->status)
		test_skip("no network namespaces: %s", output->text);
	output_free(output);
	/* Deleting our end takes the pair along at once, while the namespace may linger until its last process is gone. */
	push_undo_shell("ip link del %s; ip netns del %s", network->interface, network->name);
	shell("ip link add %s type veth peer name %s netns %s", network->interface,
	      network->peer_interface, network->name);
	shell("ip addr add %s/24 dev %s && ip link set %s up", network->address, network->interface,
	      network->interface);
	shell("ip -n %s addr add %s/24 dev %s", network->name, network->peer_address,
	      network->peer_interface);
	shell("ip -n %s link set lo up && ip -n %s link set %s up", network->name, network->name,
	      network->peer_interface);
	return network;
}

int network_enter(const struct network *network)
{
	char path[64];
	int fd, error;

	snprintf(path, sizeof(path), "/run/netns/%s", network->name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	error = setns(fd, CLONE_NEWNET) ? -errno : 0;
	close(fd);
	return error;
}

/* Where a hierarchy is mounted; controller NULL: the unified one. The caller frees it. */
static char *hierarchy_directory(const char *controller)
{
	FILE *mounts = setmntent("/proc/self/mounts", "r");
	struct mntent *entry;
	char *directory = NULL;

	while (mounts && !directory && (entry = getmntent(mounts)))
		if (controller ? !strcmp(entry->mnt_type, "cgroup") && hasmntopt(entry, controller)
			       : !strcmp(entry->mnt_type, "cgroup2"))
			directory = strdup(entry->mnt_dir);
	if (mounts)
		endmntent(mounts);
	return directory;
}

/* A group is removable once its processes are gone: those still in it are ended with it. */
static void remove_cgroup(void *context)
{
	char procs[4300];
	pid_t pid;
	FILE *file;

	snprintf(procs, sizeof(procs), "%s/cgroup.procs", (char *)context);
	for (int attempt = 0; rmdir(context) && errno == EBUSY && attempt < 100; attempt++) {
		file = fopen(procs, "r");
		while (file && fscanf(file, "%d", &pid) == 1)
			if (pid != getpid())
				kill(pid, SIGKILL);
		if (file)
			fclose(file);
		pause_seconds(0.02);
	}
	free(context);
}

static const char *create_in(char *root, const char *controller, const char *name)
{
	char *path = NULL;

	if (!root)
		test_skip("no control group hierarchy %s", controller ? controller : "v2");
	if (asprintf(&path, "%s/%s", root, name) < 0)
		abort();
	/* A path of several components: each is made, and removed, on its own. */
	for (char *slash = path + strlen(root) + 1;; slash++) {
		slash += strcspn(slash, "/");
		{
			bool last = !*slash;

			*slash = '\0';
			if (mkdir(path, 0755) == 0)
				cleanup_push(remove_cgroup, strdup(path));
			else if (errno != EEXIST)
				test_skip("control group %s: %s", path, strerror(errno));
			if (last)
				break;
			*slash = '/';
		}
	}
	free(root);
	cleanup_push(free, path);
	return path;
}

const char *cgroup_create(const char *name)
{
	require_root();
	return create_in(hierarchy_directory(NULL), NULL, name);
}

const char *cgroup_create_v1(const char *controller, const char *name)
{
	require_root();
	return create_in(hierarchy_directory(controller), controller, name);
}

bool cgroup_has_v1(const char *controller)
{
	char *root = hierarchy_directory(controller);

	free(root);
	return root != NULL;
}

void cgroup_enter(const char *directory, pid_t pid)
{
	char path[4300];
	FILE *file;

	snprintf(path, sizeof(path), "%s/cgroup.procs", directory);
	file = fopen(path, "w");
	if (!file || fprintf(file, "%d\n", pid ? pid : getpid()) < 0 || fclose(file))
		test_fail("%s: %s", path, strerror(errno));
}
