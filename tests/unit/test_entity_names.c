// SPDX-License-Identifier: Apache-2.0
/* Control groups, the API's pods and the files of runtimes → the five labels, which only get better. */
#include "tests/harness/harness.h"
#include "agent/entity_names.h"

#define ID	  "6f0f0af7ab9cd8ab2c0f4d3c1f9a5b0e6f0f0af7ab9cd8ab2c0f4d3c1f9a5b0e"
#define UID	  "11111111-2222-3333-4444-555555555555"
#define SCOPE	  "cri-containerd-" ID ".scope"
#define POD_SLICE "kubepods-burstable-pod11111111_2222_3333_4444_555555555555.slice"

static struct entity_names names;

/* Components from the root, up to NULL. */
static struct entity_record record_of(const char *const components[])
{
	struct entity_record record = { .key.comm = "server" };
	size_t n = 0;

	while (components[n])
		n++;
	for (size_t i = 0; i < n && i < CGROUP_NAMES; i++)
		snprintf(record.cgroup_names[i], CGROUP_NAME_SIZE, "%s", components[n - 1 - i]);
	return record;
}

static struct pod_table *table_of(const char *object)
{
	struct pod_store *store = pod_store_new();
	json_t *json = json_loads(object, 0, NULL);
	struct pod_table *table;

	if (json)
		assert_int_equal(pod_store_put(store, pod_parse(json, NULL)), 0);
	json_decref(json);
	table = pod_store_publish(store);
	pod_store_free(store);
	return table;
}

static void resolve(const struct entity_record *record, const struct pod_table *pods,
		    const struct runtimes *runtimes)
{
	entity_names_resolve(&names, record, &(struct name_sources){ pods, runtimes });
}

static void expect(const char *namespace, const char *pod, const char *container, const char *unit)
{
	const char *const expected[] = { namespace, pod, container, unit, "server" };

	for (int i = 0; i < ENTITY_LABELS; i++)
		assert_string_equal(names.labels[i], expected[i]);
}

static int clear(void **state)
{
	entity_names_clear(&names);
	cleanup_run();
	return 0;
}

static void test_by_the_path_alone(void **state)
{
	struct entity_record record =
		record_of((const char *const[]){ "kubepods.slice", POD_SLICE, SCOPE, NULL });

	resolve(&record, NULL, NULL);
	expect("", UID, "6f0f0af7ab9c", "");
	entity_names_clear(&names);
	record = record_of((const char *const[]){ "lxc.payload.a-rather-long-name", NULL });
	resolve(&record, NULL, NULL);
	expect("", "", "a-rather-long-name", "");
	entity_names_clear(&names);
	record = record_of((const char *const[]){ "system.slice", "nginx.service", NULL });
	resolve(&record, NULL, NULL);
	expect("", "", "", "nginx.service");
	entity_names_clear(&names);
	record = record_of((const char *const[]){ NULL });
	resolve(&record, NULL, NULL);
	expect("", "", "", "");
}

static void test_names_only_get_better(void **state)
{
	struct entity_record record =
		record_of((const char *const[]){ "kubepods.slice", POD_SLICE, SCOPE, NULL });
	struct pod_table
		*none = table_of(""),
		*by_uid = table_of(
			"{\"metadata\":{\"name\":\"web-0\",\"namespace\":\"shop\",\"uid\":\"" UID
			"\"}}"),
		*full = table_of(
			"{\"metadata\":{\"name\":\"web-0\",\"namespace\":\"shop\",\"uid\":\"" UID
			"\"},"
			"\"status\":{\"containerStatuses\":[{\"name\":\"app\","
			"\"containerID\":\"containerd://" ID "\"}]}}");
	uint64_t hash;

	resolve(&record, none, NULL);
	expect("", UID, "6f0f0af7ab9c", "");
	hash = names.hash;
	resolve(&record, by_uid, NULL);
	expect("shop", "web-0", "6f0f0af7ab9c", "");
	assert_true(names.hash != hash);
	resolve(&record, full, NULL);
	expect("shop", "web-0", "app", "");
	hash = names.hash;
	/* the pod is deleted, the API forgets it: its threads are still told by its name */
	resolve(&record, by_uid, NULL);
	resolve(&record, none, NULL);
	resolve(&record, NULL, NULL);
	expect("shop", "web-0", "app", "");
	assert_true(names.hash == hash);
	pod_table_put(none);
	pod_table_put(by_uid);
	pod_table_put(full);
}

static void put_container(const char *rootfs, const char *directory, const char *file,
			  const char *content)
{
	char path[512];

	shell("mkdir -p %s/%s", rootfs, directory);
	snprintf(path, sizeof(path), "%s/%s", directory, file);
	write_file(rootfs, path, content);
}

static void test_by_the_runtime(void **state)
{
	const char *rootfs = temporary_directory();
	struct runtimes *runtimes;
	struct entity_record record;

	put_container(
		rootfs, "run/runc/web", "state.json",
		"{\"id\":\"web\",\"cgroup_paths\":{\"\":\"/sys/fs/cgroup/system.slice/runc-web.scope\"}}");
	put_container(rootfs, "var/lib/docker/containers/" ID, "config.v2.json",
		      "{\"ID\":\"" ID "\",\"Name\":\"/shop-db-1\"}");
	assert_int_equal(runtimes_new(rootfs, &runtimes), 0);

	record = record_of((const char *const[]){ "system.slice", "runc-web.scope", NULL });
	resolve(&record, NULL, runtimes);
	expect("", "", "web", "");
	entity_names_clear(&names);
	/* systemd inside of it */
	record = record_of((const char *const[]){ "system.slice", "runc-web.scope", "system.slice",
						  "cron.service", NULL });
	resolve(&record, NULL, runtimes);
	expect("", "", "web", "cron.service");
	entity_names_clear(&names);
	record = record_of(
		(const char *const[]){ "system.slice", "runc-web.scope", "workers", NULL });
	resolve(&record, NULL, runtimes);
	expect("", "", "web", "");
	entity_names_clear(&names);
	record = record_of((const char *const[]){ "system.slice", "docker-" ID ".scope", NULL });
	resolve(&record, NULL, runtimes);
	expect("", "", "shop-db-1", "");
	entity_names_clear(&names);
	/* a path whose beginning is not known is nobody's */
	record = record_of((const char *const[]){ "x", "system.slice", "runc-web.scope", "a", "b",
						  "c", "d", NULL });
	resolve(&record, NULL, runtimes);
	expect("", "", "", "runc-web.scope");
	runtimes_free(runtimes);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, clear)
	const struct CMUnitTest tests[] = {
		TEST(test_by_the_path_alone),
		TEST(test_names_only_get_better),
		TEST(test_by_the_runtime),
	};

	return cmocka_run_group_tests_name("entity_names", tests, NULL, NULL);
}
