// SPDX-License-Identifier: Apache-2.0
/* Objects of the Kubernetes API → pods, tables of them, and how long names are kept; the wait between attempts. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "agent/backoff.h"
#include "agent/pod.h"

#define ID_A "0a00000000000000000000000000000000000000000000000000000000000001"
#define ID_B "0b00000000000000000000000000000000000000000000000000000000000002"
#define ID_C "0c00000000000000000000000000000000000000000000000000000000000003"
#define ID_D "0d00000000000000000000000000000000000000000000000000000000000004"

static const char web[] =
	"{'metadata':{'name':'web-0','namespace':'shop','uid':'11111111-2222-3333-4444-555555555555',"
	" 'labels':{'app':'web','tier':'front'},"
	" 'annotations':{'kubernetes.io/config.hash':'0123456789abcdef0123456789abcdef'}},"
	" 'status':{'containerStatuses':["
	"   {'name':'app','containerID':'containerd://" ID_A "',"
	"    'lastState':{'terminated':{'containerID':'containerd://" ID_B "'}}},"
	"   {'name':'waiting','state':{'waiting':{}}},{'name':'empty','containerID':''}],"
	"  'initContainerStatuses':[{'name':'setup','containerID':'cri-o://" ID_C "'}],"
	"  'ephemeralContainerStatuses':[{'name':'debug','containerID':'" ID_D "'}]}}";

static json_t *parse_json(const char *text)
{
	char quoted[4096];
	json_t *json;

	snprintf(quoted, sizeof(quoted), "%s", text);
	for (char *c = quoted; *c; c++)
		if (*c == '\'')
			*c = '"';
	json = json_loads(quoted, 0, NULL);
	assert_non_null(json);
	return json;
}

static struct pod *parse(const char *text, const char *const labels[])
{
	json_t *json = parse_json(text);
	struct pod *pod = pod_parse(json, labels);

	json_decref(json);
	return pod;
}

static void test_a_pod_is_read(void **state)
{
	struct pod *pod = parse(web, (const char *const[]){ "tier", "none", "app", NULL });

	assert_non_null(pod);
	assert_string_equal(pod->namespace, "shop");
	assert_string_equal(pod->name, "web-0");
	assert_string_equal(pod->uid, "11111111-2222-3333-4444-555555555555");
	assert_string_equal(pod->config_hash, "0123456789abcdef0123456789abcdef");
	assert_string_equal(pod->labels[0], "front");
	assert_string_equal(pod->labels[1], "");
	assert_string_equal(pod->labels[2], "web");
	assert_int_equal(pod->n_containers, 4);
	assert_string_equal(pod->containers[0].id, ID_A);
	assert_string_equal(pod->containers[0].name, "app");
	assert_string_equal(pod->containers[1].id, ID_B);
	assert_string_equal(pod->containers[1].name, "app");
	assert_string_equal(pod->containers[2].name, "setup");
	assert_string_equal(pod->containers[3].id, ID_D);
	pod_put(pod_get(pod));
	pod_put(pod);
}

static void test_what_is_no_pod_is_refused(void **state)
{
	static const char *const objects[] = {
		"{}",
		"[]",
		"{'metadata':[]}",
		"{'metadata':{'name':'a','namespace':'b'}}",
		"{'metadata':{'name':'a','namespace':'','uid':'c'}}",
		"{'metadata':{'name':7,'namespace':'b','uid':'c'}}",
		"{'metadata':{'name':'a','namespace':'b','uid':'c'},'status':{'containerStatuses':[{'containerID':'x'}]}}",
		"{'metadata':{'name':'a','uid':'0123456789012345678901234567890123456789012345678901234567890123','namespace':'b'}}",
	};

	for (size_t i = 0; i < sizeof(objects) / sizeof(objects[0]); i++)
		assert_null(parse(objects[i], NULL));
	assert_null(pod_parse(NULL, NULL));
}

static void test_only_so_many_containers(void **state)
{
	json_t *object =
		parse_json("{'metadata':{'name':'a','namespace':'b','uid':'c'},'status':{}}");
	json_t *list = json_array();
	struct pod *pod;

	for (int i = 0; i < 2 * POD_MAX_CONTAINERS; i++)
		json_array_append_new(list,
				      json_pack("{s:s, s:s}", "name", "n", "containerID", ID_A));
	json_object_set_new(json_object_get(object, "status"), "containerStatuses", list);
	pod = pod_parse(object, NULL);
	assert_int_equal(pod->n_containers, POD_MAX_CONTAINERS);
	pod_put(pod);
	json_decref(object);
}

/* One container, whose id is made of the number. */
static struct pod *make_pod(unsigned number)
{
	char text[512];

	snprintf(
		text, sizeof(text),
		"{'metadata':{'name':'pod-%u','namespace':'n','uid':'uid-%u'},"
		"'status':{'containerStatuses':[{'name':'c','containerID':'containerd://%064x'}]}}",
		number, number, number);
	return parse(text, NULL);
}

static const struct pod *find(const struct pod_table *table, unsigned number)
{
	const char *name = NULL;
	char id[65];
	const struct pod *pod;

	snprintf(id, sizeof(id), "%064x", number);
	pod = pod_table_find_container(table, id, &name);
	if (pod)
		assert_string_equal(name, "c");
	return pod;
}

static void test_tables_find_pods(void **state)
{
	struct pod_store *store = pod_store_new();
	struct pod_table *empty = pod_store_publish(store), *table;

	assert_null(find(empty, 1));
	assert_null(pod_table_find_uid(empty, "uid-1"));
	assert_null(pod_table_find_uid(NULL, "uid-1"));
	for (unsigned i = 1000; i-- > 0;)
		assert_int_equal(pod_store_put(store, make_pod(i)), 0);
	assert_int_equal(pod_store_put(store, parse(web, NULL)), 0);
	table = pod_store_publish(store);
	assert_true(table->version > empty->version);
	assert_int_equal(table->n_living, 1001);
	for (unsigned i = 0; i < 1000; i++)
		assert_non_null(find(table, i));
	assert_null(find(table, 1000));
	assert_string_equal(pod_table_find_uid(table, "uid-500")->name, "pod-500");
	/* a static pod's control group is called by the hash of its file */
	assert_string_equal(pod_table_find_uid(table, "0123456789abcdef0123456789abcdef")->name,
			    "web-0");
	pod_table_put(empty);
	pod_store_free(store); /* the table stays good */
	assert_string_equal(find(table, 7)->name, "pod-7");
	pod_table_put(table);
}

static void test_names_stay_for_a_while(void **state)
{
	const uint64_t start_ns = 5000000000;
	struct pod_store *store = pod_store_new();
	struct pod_table *table;

	pod_store_put(store, make_pod(1));
	pod_store_put(store, make_pod(2));
	pod_store_delete(store, "uid-1", start_ns);
	pod_store_delete(store, "uid-1", start_ns + 1);
	pod_store_delete(store, "uid-9", start_ns);
	table = pod_store_publish(store);
	assert_int_equal(table->n_living, 1);
	assert_string_equal(table->pods[0]->name, "pod-2");
	assert_non_null(find(table, 1));
	pod_table_put(table);

	pod_store_expire(store, start_ns + POD_STORE_LINGER_NS);
	table = pod_store_publish(store);
	assert_non_null(find(table, 1));
	pod_table_put(table);
	pod_store_expire(store, start_ns + POD_STORE_LINGER_NS + 1);
	table = pod_store_publish(store);
	assert_null(find(table, 1));
	assert_non_null(find(table, 2));
	pod_table_put(table);
	pod_store_free(store);
}

static void test_a_list_deletes_what_is_not_in_it(void **state)
{
	struct pod_store *store = pod_store_new();
	struct pod_table *table;

	for (unsigned i = 0; i < 10; i++)
		pod_store_put(store, make_pod(i));
	pod_store_begin_list(store);
	for (unsigned i = 0; i < 10; i += 2)
		pod_store_put(store, make_pod(i));
	pod_store_end_list(store, 1);
	assert_int_equal(pod_store_living(store), 5);
	/* one that comes back lives again */
	pod_store_put(store, make_pod(1));
	assert_int_equal(pod_store_living(store), 6);
	table = pod_store_publish(store);
	assert_int_equal(table->n_living, 6);
	assert_int_equal(table->n_pods, 10);
	pod_table_put(table);
	pod_store_free(store);
}

static void test_the_store_is_bounded(void **state)
{
	struct pod_store *store = pod_store_new();
	struct pod_table *table;

	for (unsigned i = 0; i < POD_STORE_MAX_LIVING; i++)
		assert_int_equal(pod_store_put(store, make_pod(i)), 0);
	assert_int_equal(pod_store_put(store, make_pod(POD_STORE_MAX_LIVING)), -ENOSPC);
	assert_int_equal(pod_store_put(store, make_pod(0)), 0);
	pod_store_begin_list(store);
	pod_store_end_list(store, 1);
	table = pod_store_publish(store);
	assert_int_equal(table->n_living, 0);
	assert_int_equal(table->n_pods, POD_STORE_MAX_DELETED);
	pod_table_put(table);
	/* the oldest goes first */
	pod_store_put(store, make_pod(100000));
	pod_store_delete(store, "uid-100000", 2);
	table = pod_store_publish(store);
	assert_int_equal(table->n_pods, POD_STORE_MAX_DELETED);
	assert_non_null(find(table, 100000));
	pod_table_put(table);
	pod_store_free(store);
}

static void test_the_wait_doubles_up_to_its_longest(void **state)
{
	assert_int_equal(backoff_ns(1, 1000, 60000, UINT32_MAX), 1000);
	assert_int_equal(backoff_ns(1, 1000, 60000, 0), 500);
	assert_int_equal(backoff_ns(2, 1000, 60000, UINT32_MAX), 2000);
	assert_int_equal(backoff_ns(6, 1000, 60000, UINT32_MAX), 32000);
	assert_int_equal(backoff_ns(7, 1000, 60000, UINT32_MAX), 60000);
	assert_int_equal(backoff_ns(4000000000U, 1000, 60000, UINT32_MAX), 60000);
	assert_int_equal(backoff_ns(4000000000U, 1000, 60000, 0), 30000);
	assert_in_range(backoff_ns(9, 1000000000, 60000000000, 0x80000000U), 44999999990ULL,
			45000000010ULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_pod_is_read),
		cmocka_unit_test(test_what_is_no_pod_is_refused),
		cmocka_unit_test(test_only_so_many_containers),
		cmocka_unit_test(test_tables_find_pods),
		cmocka_unit_test(test_names_stay_for_a_while),
		cmocka_unit_test(test_a_list_deletes_what_is_not_in_it),
		cmocka_unit_test(test_the_store_is_bounded),
		cmocka_unit_test(test_the_wait_doubles_up_to_its_longest),
	};

	return cmocka_run_group_tests_name("pod", tests, NULL, NULL);
}
