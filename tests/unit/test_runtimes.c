// SPDX-License-Identifier: Apache-2.0
/* What container runtimes write down → names; followed as directories come and go. */
#include "tests/harness/harness.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "agent/json_stream.h"
#include "agent/runtimes.h"

#define ID "6f0f0af7ab9cd8ab2c0f4d3c1f9a5b0e6f0f0af7ab9cd8ab2c0f4d3c1f9a5b0e"

static const char bundle[] =
	"{\"ociVersion\":\"1.0.2\",\"annotations\":{\"io.kubernetes.cri.container-name\":\"app\","
	"\"io.kubernetes.cri.sandbox-name\":\"web-0\",\"io.kubernetes.cri.sandbox-namespace\":\"shop\","
	"\"io.kubernetes.cri.sandbox-uid\":\"u-1\"},\"linux\":{\"cgroupsPath\":\"kubepods.slice:cri-containerd:x\"}}";

static struct runtime_container read_with(runtime_reader reader, const char *text, bool expected)
{
	struct runtime_container container = {};
	json_t *json = json_load_bounded(text, strlen(text));

	assert_non_null(json);
	if (reader(json, &container) != expected)
		test_fail("%s: %s", expected ? "refused" : "taken", text);
	json_decref(json);
	return container;
}

static void test_runc_state(void **state)
{
	static const struct {
		const char *paths, *path;
	} cases[] = {
		{ "{\"\":\"/sys/fs/cgroup/web\"}", "/web" },
		{ "{\"\":\"/sys/fs/cgroup/unified/web\"}", "/web" },
		{ "{\"\":\"/sys/fs/cgroup/system.slice/runc-web.scope\"}",
		  "/system.slice/runc-web.scope" },
		{ "{\"memory\":\"/sys/fs/cgroup/memory/a/b\",\"cpu\":\"/sys/fs/cgroup/cpu,cpuacct/a/b\"}",
		  "/a/b" },
		{ "{\"cpu\":\"/sys/fs/cgroup/cpu,cpuacct/a\"}", "/a" },
		{ "{\"\":\"/elsewhere/x\",\"pids\":\"/sys/fs/cgroup/pids/y\"}", "/y" },
	};
	static const char *const refused[] = {
		"{}",
		"{\"id\":\"web\"}",
		"{\"id\":\"web\",\"cgroup_paths\":{}}",
		"{\"id\":\"web\",\"cgroup_paths\":{\"\":\"/sys/fs/cgroup\"}}",
		"{\"id\":\"web\",\"cgroup_paths\":{\"\":\"/sys/fs/cgroup/\"}}",
		"{\"id\":\"web\",\"cgroup_paths\":{\"memory\":\"/sys/fs/cgroup/memory\"}}",
		"{\"id\":7,\"cgroup_paths\":{\"\":\"/sys/fs/cgroup/web\"}}",
		"{\"id\":\"web\",\"cgroup_paths\":[\"/sys/fs/cgroup/web\"]}",
	};
	struct runtime_container container;
	char text[512];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(text, sizeof(text), "{\"id\":\"web\",\"cgroup_paths\":%s}",
			 cases[i].paths);
		container = read_with(runtime_read_runc, text, true);
		assert_string_equal(container.id, "web");
		assert_string_equal(container.path, cases[i].path);
		assert_string_equal(container.name, "");
	}
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		read_with(runtime_read_runc, refused[i], false);
}

static void test_bundles(void **state)
{
	struct runtime_container container = read_with(runtime_read_oci, bundle, true);

	assert_string_equal(container.name, "app");
	assert_string_equal(container.namespace, "shop");
	assert_string_equal(container.pod, "web-0");
	assert_string_equal(container.pod_uid, "u-1");
	assert_string_equal(container.path, "");
	container = read_with(runtime_read_oci,
			      "{\"ociVersion\":\"1.1\",\"annotations\":{\"nerdctl/name\":\"db\"},"
			      "\"linux\":{\"cgroupsPath\":\"/default/db\"}}",
			      true);
	assert_string_equal(container.name, "db");
	assert_string_equal(container.path, "/default/db");
	read_with(runtime_read_oci, "{\"annotations\":{\"nerdctl/name\":\"db\"}}", false);
	/* a name that is none */
	container = read_with(runtime_read_oci,
			      "{\"ociVersion\":\"1\",\"annotations\":{\"nerdctl/name\":\"a\\nb\"}}",
			      true);
	assert_string_equal(container.name, "");
}

static void test_docker(void **state)
{
	struct runtime_container container = read_with(
		runtime_read_docker,
		"{\"ID\":\"" ID "\",\"Name\":\"/web\",\"Config\":{\"Labels\":null}}", true);

	assert_string_equal(container.id, ID);
	assert_string_equal(container.name, "web");
	container = read_with(
		runtime_read_docker,
		"{\"ID\":\"" ID "\",\"Name\":\"/k8s_app_web-0_shop_u_0\",\"Config\":{\"Labels\":{"
		"\"io.kubernetes.container.name\":\"app\",\"io.kubernetes.pod.name\":\"web-0\","
		"\"io.kubernetes.pod.namespace\":\"shop\"}}}",
		true);
	assert_string_equal(container.name, "app");
	assert_string_equal(container.pod, "web-0");
	read_with(runtime_read_docker, "{\"ID\":\"" ID "\"}", false);
}

/* ---- directories ---- */

static const char *rootfs;
static struct runtimes *runtimes;

static void make_directory(const char *path)
{
	shell("mkdir -p %s/%s", rootfs, path);
}

/* As runtimes do: a file of another name, renamed. */
static void put_file(const char *path, const char *content)
{
	char name[256], from[512], to[512];

	snprintf(name, sizeof(name), "%s.tmp", path);
	write_file(rootfs, name, content);
	snprintf(from, sizeof(from), "%s/%s", rootfs, name);
	snprintf(to, sizeof(to), "%s/%s", rootfs, path);
	assert_int_equal(rename(from, to), 0);
}

static void put_runc(const char *id, const char *path)
{
	char file[256], text[512];

	snprintf(file, sizeof(file), "run/runc/%s", id);
	make_directory(file);
	snprintf(file, sizeof(file), "run/runc/%s/state.json", id);
	snprintf(text, sizeof(text), "{\"id\":\"%s\",\"cgroup_paths\":{\"\":\"/sys/fs/cgroup%s\"}}",
		 id, path);
	put_file(file, text);
}

static void start(void)
{
	assert_int_equal(runtimes_new(rootfs, &runtimes), 0);
}

static const char *id_at(const char *path)
{
	const struct runtime_container *container;

	runtimes_update(runtimes, 1);
	container = runtimes_find_path(runtimes, path);
	return container ? container->id : "none";
}

static int set_up(void **state)
{
	rootfs = temporary_directory();
	runtimes = NULL;
	return 0;
}

static int tear_down(void **state)
{
	runtimes_free(runtimes);
	cleanup_run();
	return 0;
}

static void test_those_that_are_there_already(void **state)
{
	put_runc("old", "/old");
	make_directory("run/containerd/io.containerd.runtime.v2.task/k8s.io/" ID);
	put_file("run/containerd/io.containerd.runtime.v2.task/k8s.io/" ID "/config.json", bundle);
	make_directory("run/containers/storage/overlay-containers/" ID "/userdata");
	put_file("run/containers/storage/overlay-containers/" ID "/userdata/config.json", bundle);
	make_directory("var/lib/docker/containers/" ID);
	put_file("var/lib/docker/containers/" ID "/config.v2.json",
		 "{\"ID\":\"" ID "\",\"Name\":\"/d\"}");
	start();
	assert_string_equal(id_at("/old"), "old");
	assert_string_equal(id_at("/old/below/it"), "old");
	assert_string_equal(id_at("/older"), "none");
	assert_string_equal(id_at("/"), "none");
	assert_string_equal(id_at(""), "none");
	assert_int_equal(runtimes_version(runtimes), 4);
	assert_non_null(runtimes_find_id(runtimes, ID));
	assert_null(runtimes_find_id(runtimes, "none"));
}

static void test_the_first_of_a_runtime(void **state)
{
	make_directory("run");
	start();
	put_runc("first", "/first");
	assert_string_equal(id_at("/first"), "first");
	put_runc("second", "/second");
	assert_string_equal(id_at("/second"), "second");
	/* one whose parent came later than the agent */
	make_directory("run/containerd/io.containerd.runtime.v2.task/default/" ID);
	put_file("run/containerd/io.containerd.runtime.v2.task/default/" ID "/config.json", bundle);
	runtimes_maintain(runtimes, 1);
	assert_string_equal(runtimes_find_id(runtimes, ID)->pod, "web-0");
}

static void test_a_short_life(void **state)
{
	make_directory("run/runc");
	start();
	put_runc("brief", "/brief");
	assert_string_equal(id_at("/brief"), "brief");
	shell("rm -r %s/run/runc/brief", rootfs);
	assert_string_equal(id_at("/brief"), "brief");
	runtimes_maintain(runtimes, 300000000001);
	assert_string_equal(id_at("/brief"), "brief");
	runtimes_maintain(runtimes, 300000000002);
	assert_string_equal(id_at("/brief"), "none");
	/* the same id once more */
	put_runc("brief", "/again");
	assert_string_equal(id_at("/again"), "brief");
}

static void test_the_innermost_and_the_latest(void **state)
{
	start();
	make_directory("run/runc");
	put_runc("outer", "/a");
	put_runc("inner", "/a/b");
	runtimes_maintain(runtimes, 1);
	assert_string_equal(id_at("/a/b/c"), "inner");
	assert_string_equal(id_at("/a/bc"), "outer");
	put_runc("later", "/a");
	assert_string_equal(id_at("/a"), "later");
}

static void test_hostile_files(void **state)
{
	char path[512];

	make_directory("run/runc/fifo");
	make_directory("run/runc/huge");
	make_directory("run/runc/directory/state.json");
	make_directory("run/runc/.hidden");
	make_directory("run/runc/outside");
	snprintf(path, sizeof(path), "%s/run/runc/fifo/state.json", rootfs);
	assert_int_equal(mkfifo(path, 0600), 0);
	shell("truncate -s 1G %s/run/runc/huge/state.json", rootfs);
	/* a link leads to where it would in the host's root, never out of it */
	write_file(rootfs, "real.json",
		   "{\"id\":\"linked\",\"cgroup_paths\":{\"\":\"/sys/fs/cgroup/linked\"}}");
	shell("ln -s /real.json %s/run/runc/outside/state.json", rootfs);
	make_directory("run/runc/proc");
	shell("ln -s /proc/self/status %s/run/runc/proc/state.json", rootfs);
	make_directory("run/runc/half");
	write_file(rootfs, "run/runc/half/state.json", "{\"id\":\"half\",");
	start();
	assert_int_equal(runtimes_version(runtimes), 1);
	assert_string_equal(id_at("/linked"), "linked");
	write_file(rootfs, "run/runc/half/state.json",
		   "{\"id\":\"half\",\"cgroup_paths\":{\"\":\"/sys/fs/cgroup/half\"}}");
	assert_string_equal(id_at("/half"), "half");
}

static void test_many_at_once(void **state)
{
	make_directory("run/runc");
	start();
	/* more than the queue of events may hold at a time is told as an overflow, and looked up */
	shell("cd %s/run/runc && for i in $(seq 2000); do mkdir c$i; "
	      "echo \"{\\\"id\\\":\\\"c$i\\\",\\\"cgroup_paths\\\":{\\\"\\\":\\\"/sys/fs/cgroup/c$i\\\"}}\" > c$i/state.json; done",
	      rootfs);
	assert_string_equal(id_at("/c1"), "c1");
	assert_string_equal(id_at("/c2000"), "c2000");
	shell("rm -rf %s/run/runc", rootfs);
	assert_string_equal(id_at("/c2000"), "c2000");
	runtimes_maintain(runtimes, 1);
	put_runc("new", "/new");
	runtimes_maintain(runtimes, 1);
	assert_string_equal(id_at("/new"), "new");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runc_state),
		cmocka_unit_test(test_bundles),
		cmocka_unit_test(test_docker),
		TEST(test_those_that_are_there_already),
		TEST(test_the_first_of_a_runtime),
		TEST(test_a_short_life),
		TEST(test_the_innermost_and_the_latest),
		TEST(test_hostile_files),
		TEST(test_many_at_once),
	};

	return cmocka_run_group_tests_name("runtimes", tests, NULL, NULL);
}
