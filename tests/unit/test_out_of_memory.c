// SPDX-License-Identifier: Apache-2.0
/*
 * Memory runs out at every allocation there is, one after the other, in all that is made without a kernel's help. The
 * probes and what else needs root: tests/live/test_no_memory.c.
 */
#include "tests/harness/harness.h"
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>
#include "agent/agent.h"
#include "agent/cli/cli.h"
#include "agent/cli/flags.h"
#include "agent/collector.h"
#include "agent/entity_names.h"
#include "agent/gzip.h"
#include "agent/health.h"
#include "agent/http.h"
#include "agent/json_stream.h"
#include "agent/kubernetes.h"
#include "agent/log.h"
#include "agent/naming.h"
#include "agent/page_cache.h"
#include "agent/probe_set.h"
#include "agent/registry.h"
#include "agent/remains.h"
#include "agent/requests_page.h"
#include "agent/routes.h"
#include "agent/snapshot_internal.h"
#include "agent/zoom.h"
#include "agent/zoom_service.h"
#include "exporters/negotiate.h"
#include "probes/drop_reasons.h"
#include "probes/host_mounts.h"
#include "probes/host_parse.h"
#include "probes/slow_requests.h"
#include "probes/softnet.h"
#include "tests/harness/out_of_memory.h"
#include "tests/harness/sample_snapshot.h"

/* What the things below stand on; made once, with memory. */
static struct {
	const char *rootfs; /* with a container of runc */
	const char *config_file;
	struct config *config;
	struct loop *loop;
	struct outbound *outbound;
	struct snapshot *sample;
	const struct request_record *request;
	json_t *pod;
} world;

/* For those who say NULL. */
static int made(void **ret_made, void *result)
{
	if (!result)
		return -ENOMEM;
	*ret_made = result;
	return 0;
}

/* ---- small things ---- */

static int make_buffer(void **ret_made)
{
	struct buffer buffer = {};
	int err;

	buffer_string(&buffer, "a");
	buffer_printf(&buffer, "%01000d", 7);
	buffer_json_string(&buffer, "b\xff");
	err = buffer_error(&buffer);
	buffer_free(&buffer);
	return err;
}

static int make_gzip(void **ret_made)
{
	struct buffer buffer = {};
	int err = gzip_append(&buffer, "aaaaaaaa", 8);

	buffer_free(&buffer);
	return err;
}

static int make_json_stream(void **ret_made)
{
	return made(ret_made, json_stream_new(NULL, NULL));
}

static int ignore_value(void *context, const char *key, json_t *value)
{
	return 0;
}

static int feed_json_stream(void **ret_made)
{
	static const char list[] = "{\"items\":[{\"a\":[1,{\"b\":\"cccccccccccccccccccc\"}]},{}]}";
	struct json_stream *stream = json_stream_new(ignore_value, NULL);
	int err = stream ? 0 : -ENOMEM;

	if (stream)
		json_stream_start(stream, JSON_STREAM_LIST);
	for (size_t i = 0; i < sizeof(list) - 1 && !err; i += 7)
		err = json_stream_feed(stream, list + i,
				       sizeof(list) - 1 - i < 7 ? sizeof(list) - 1 - i : 7);
	json_stream_free(stream);
	return err == -EBADMSG ? -ENOMEM : err; /* jansson makes no difference */
}

static int make_pod(void **ret_made)
{
	static const char *const labels[] = { "app", NULL };

	return made(ret_made, pod_parse(world.pod, labels));
}

static int make_pod_store(void **ret_made)
{
	return made(ret_made, pod_store_new());
}

/* A list, the same list again, the end of all pods; each step published. */
static int fill_pod_store(void **ret_made)
{
	struct pod_store *store = pod_store_new();
	int err = store ? 0 : -ENOMEM;

	for (int turn = 0; turn < 3 && !err; turn++) {
		struct pod *pod = turn < 2 ? pod_parse(world.pod, NULL) : NULL;
		struct pod_table *table;

		pod_store_begin_list(store);
		if (turn < 2)
			err = pod ? pod_store_put(store, pod) : -ENOMEM;
		pod_store_end_list(store, 1);
		table = pod_store_publish(store);
		if (!table)
			err = -ENOMEM;
		pod_table_put(table);
	}
	pod_store_free(store);
	return err;
}

static int make_names(void **ret_made)
{
	static const struct entity_record record = {
		.key.comm = "web", .cgroup_names = { "a.service", "system.slice" }
	};
	struct entity_names names = {};

	entity_names_resolve(&names, &record, &(struct name_sources){});
	if (!names.text)
		return -ENOMEM;
	entity_names_clear(&names);
	return 0;
}

static int make_patterns(void **ret_made)
{
	return made(ret_made, host_patterns_new("veth*,lo"));
}

static int make_mounts(void **ret_made)
{
	static const char text[] = "21 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
				   "22 21 0:5 / /net rw - nfs server:/x rw\n"
				   "23 21 254:16 / /with\\040space rw,relatime - xfs /dev/vdb ro\n";
	static const struct host_mount_rules rules = { .rootfs = "",
						       .exclude_types = "",
						       .exclude_mountpoints = "" };
	struct host_mount *mounts;
	size_t n, dropped;
	int err = host_mounts_parse(text, sizeof(text) - 1, &rules, &mounts, &n, &dropped);

	if (!err)
		host_mounts_free(mounts, n);
	return err;
}

static int make_softnet(void **ret_made)
{
	struct softnet softnet = {};
	int err = softnet_update(&softnet,
				 "00000001 00000002 00000003 0 0 0 0 0 0 0 0 0 0 00000000\n"
				 "00000001 00000002 00000003 0 0 0 0 0 0 0 0 0 0 00000001\n");

	softnet_free(&softnet);
	return err;
}

static int make_drop_reasons(void **ret_made)
{
	struct drop_reasons reasons = {};
	int err = drop_reasons_add(&reasons, "SKB_DROP_REASON_NO_SOCKET", 3);

	drop_reasons_free(&reasons);
	return err;
}

/* ---- configuration and command line ---- */

static int load_config(void **ret_made)
{
	const struct config_request request = {
		.tables = config_tables(),
		.path = world.config_file,
		.environment = (const char *const[]){ "LEADLINE_INTERVAL=7s", NULL },
		.flags = &(const struct config_flag){ "listen", "127.0.0.1:0" },
		.n_flags = 1,
	};
	struct buffer errors = {};
	int err = config_load(&request, (struct config **)ret_made, &errors);

	buffer_free(&errors);
	return err;
}

static void undo_config(void *config)
{
	config_free(config);
}

/* A mistake is told, or memory ran out; never both and never neither. */
static int refuse_config(void **ret_made)
{
	struct config *config = NULL;
	struct buffer errors = {};
	int err = config_parse(config_tables(), "x", "lissten: 1\ninterval: [\n", 23, &config,
			       &errors);

	assert_int_not_equal(err, 0);
	assert_null(config);
	buffer_free(&errors);
	return err == -ENOMEM ? err : 0;
}

static int print_config(void **ret_made)
{
	struct buffer out = {};
	int err;

	config_dump(world.config, &out);
	config_sample(config_tables(), &out);
	err = buffer_error(&out);
	buffer_free(&out);
	return err;
}

static int make_flags(void **ret_made)
{
	struct flags flags;
	int err = flags_create(&flags, config_tables());

	if (!err)
		flags_destroy(&flags);
	return err;
}

/* ---- metrics ---- */

static const struct metric_desc requests = { .name = "a_total",
					     .kind = METRIC_COUNTER,
					     .per_entity = true,
					     .labels = { "kind" },
					     .max_series = 3 };
static const struct metric_desc duration = { .name = "b_seconds",
					     .kind = METRIC_HISTOGRAM,
					     .per_entity = true };
static const struct metric_desc level = { .name = "c_ratio", .kind = METRIC_GAUGE };

static const char *const *labels_of(void *context, uint32_t entity)
{
	static const char *const labels[][ENTITY_LABELS] = {
		{ "", "", "", "a.service", "web" },
		{ "", "", "", "a.service", "web" },
		{ "shop", "cart-0", "cart", "", "java" },
	};

	return labels[entity % 3];
}

static bool is_leaving(void *context, uint32_t entity)
{
	return entity == 1;
}

static int make_registry(void **ret_made)
{
	return made(ret_made, registry_new(labels_of, NULL));
}

static void undo_registry(void *registry)
{
	registry_free(registry);
}

static void write_values(void *context, struct metric_writer *writer)
{
	static const char *const kinds[] = { "x", "y", "z" };
	const uint64_t slots[] = { 0, 1, 2, 0, 0 };

	for (uint32_t entity = 0; entity < 3; entity++) {
		struct histogram_view histogram = { .schema = 2,
						    .min_index = (int)entity,
						    .n_slots = 5,
						    .slots = slots,
						    .sum = 3 };

		for (size_t kind = 0; kind < 3; kind++)
			metric_write(writer, &requests, entity, &kinds[kind], 7);
		metric_write_histogram(writer, &duration, entity, NULL, &histogram);
	}
	metric_write(writer, &level, ENTITY_NONE, NULL, 0.5);
	metric_write_request(writer, 0, REQUEST_SLOW, world.request);
	metric_write_request(writer, 2, REQUEST_EXAMPLE, world.request);
}

static const struct request_wait waits[] = { { "disk", 7 } };
static const struct request_record request_facts = {
	.protocol = "http",
	.side = "server",
	.operation = "GET",
	.route = "/",
	.target = "/?a=b",
	.status = "200",
	.error = "",
	.local = "",
	.peer = "",
	.end_ns = 11,
	.duration_ns = 7,
	.waits = waits,
	.n_waits = 1,
	.histogram = &duration,
};

static int make_request(void **ret_made)
{
	return made(ret_made, (void *)request_record_new(&request_facts));
}

static void undo_request(void *request)
{
	request_record_put(request);
}

static int make_slow_requests(void **ret_made)
{
	return made(ret_made, slow_requests_new(10, 4));
}

static void undo_slow_requests(void *slow)
{
	slow_requests_free(slow);
}

/* What finds no memory is counted. */
static int feed_slow_requests(void **ret_made)
{
	struct slow_requests *slow = slow_requests_new(10, 4);
	const struct {
		struct stream_event head;
		struct slow_request request;
	} event = { .head = { .kind = STREAM_SLOW_REQUEST, .ns = 100 },
		    .request = { .duration_ns = 7, .line = "GET /users ", .line_size = 11 } };

	if (!slow)
		return -ENOMEM;
	assert_int_equal(slow_requests_take_event(slow, &event, sizeof(event), 100), 0);
	slow_requests_free(slow);
	return 0;
}

static int make_requests_page(void **ret_made)
{
	const struct requests_query query = { .has_services = true, .has_slow = true, .limit = 5 };
	struct requests_page *page = requests_page_new();
	struct buffer out = {};
	int err = page ? requests_page_write(page, world.sample, &query, 1, &out) : -ENOMEM;

	buffer_free(&out);
	requests_page_free(page);
	return err;
}

static int make_filter(void **ret_made)
{
	const struct series_filter_settings settings = { .disable = "x_*",
							 .drop_labels = "comm kind",
							 .deny = "unit=b.*",
							 .allow = "kind=x|y comm=.*" };
	char error[128];

	return series_filter_new(&settings, (struct series_filter **)ret_made, error,
				 sizeof(error));
}

static void undo_filter(void *filter)
{
	series_filter_free(filter);
}

/* Three collections, an entity forgotten between them. One that fails is lost; the next one must be whole. */
static int collect(void **ret_made)
{
	struct registry *registry = registry_new(labels_of, NULL);
	struct series_filter *filter = NULL;
	struct snapshot *snapshot;
	int err = registry ? 0 : -ENOMEM;

	if (registry) {
		registry_on_leaving(registry, is_leaving);
		err = make_filter((void **)&filter);
		registry_set_filter(registry, filter);
	}
	for (int i = 0; i < 3 && !err; i++) {
		write_values(NULL, registry_begin(registry));
		snapshot = registry_finish(registry);
		if (!snapshot || (i == 1 && registry_forget_entity(registry, 1)))
			err = -ENOMEM;
		snapshot_put(snapshot);
	}
	if (err && registry) {
		allocations_succeed();
		write_values(NULL, registry_begin(registry));
		snapshot = registry_finish(registry);
		assert_non_null(snapshot);
		assert_non_null(snapshot_family(snapshot, "c_ratio"));
		snapshot_put(snapshot);
	}
	registry_free(registry);
	return err;
}

static int make_snapshot(void **ret_made)
{
	return made(ret_made, snapshot_new());
}

static int encode_all(void **ret_made)
{
	int err = 0;

	for (size_t i = 0; i < n_encoders && !err; i++) {
		struct buffer out = {};

		err = encoders[i]->encode(world.sample, &out);
		buffer_free(&out);
	}
	return err;
}

static int make_page_cache(void **ret_made)
{
	struct page_cache *cache = page_cache_new();
	int err = cache ? 0 : -ENOMEM;

	for (int gzip = 0; gzip < 2 && !err; gzip++) {
		struct http_body *body = page_cache_get(cache, world.sample, encoders[0], gzip);

		err = body ? 0 : -ENOMEM;
		http_body_put(body);
	}
	page_cache_free(cache);
	return err;
}

static int make_health(void **ret_made)
{
	return made(ret_made, health_new(world.config));
}

static void undo_health(void *health)
{
	health_free(health);
}

static int judge(void **ret_made)
{
	static const struct health_probe probe = { "sched", "degraded", "no run queue" };
	static const struct health_moment moment = { 1000000000, 1000000000, 1000000000 };
	struct health *health = health_new(world.config);
	struct health_report *report;
	struct buffer out = {};
	int err = health ? health_observe(health, world.sample, &probe, 1, true) : -ENOMEM;

	if (!err) {
		report = health_report_get(health);
		health_page(report, &moment, &out);
		health_page_detailed(report, &moment, &out);
		health_page_system(report, &moment, &out);
		health_page_live(report, &moment, 0, &out);
		health_page_ready(report, &moment, &out);
		health_report_put(report);
		err = buffer_error(&out);
	}
	buffer_free(&out);
	health_free(health);
	return err;
}

/* ---- the agent's parts ---- */

static int make_loop(void **ret_made)
{
	return loop_new((struct loop **)ret_made);
}

static void undo_loop(void *loop)
{
	loop_free(loop);
}

static int make_outbound(void **ret_made)
{
	return outbound_new((struct outbound **)ret_made);
}

static void undo_outbound(void *outbound)
{
	outbound_free(outbound);
}

static int make_collector(void **ret_made)
{
	struct registry *registry = registry_new(labels_of, NULL);
	struct collector *collector;
	struct loop *loop = NULL;
	int err = registry ? loop_new(&loop) : -ENOMEM;

	if (!err)
		err = collector_new(loop, registry, write_values, NULL, &collector);
	if (!err) {
		if (!collector_collect(collector))
			err = -ENOMEM;
		collector_free(collector);
	}
	loop_free(loop);
	registry_free(registry);
	return err;
}

static int make_runtimes(void **ret_made)
{
	return runtimes_new(world.rootfs, (struct runtimes **)ret_made);
}

static void undo_runtimes(void *runtimes)
{
	runtimes_free(runtimes);
}

static int make_kubernetes(void **ret_made)
{
	char reason[256];

	return kubernetes_new(world.config, world.outbound, (struct kubernetes **)ret_made, reason,
			      sizeof(reason));
}

static void undo_kubernetes(void *kubernetes)
{
	kubernetes_free(kubernetes);
}

static int make_naming(void **ret_made)
{
	struct loop *loop;
	char error[256];
	int err = loop_new(&loop);

	if (err)
		return err;
	err = naming_new(world.config, loop, world.outbound, (struct naming **)ret_made, error,
			 sizeof(error));
	loop_free(loop);
	return err;
}

static void undo_naming(void *naming)
{
	naming_free(naming);
}

static int make_routes(void **ret_made)
{
	return made(ret_made, routes_new(&(struct agent_services){ .rootfs = "/" }));
}

static void undo_routes(void *routes)
{
	routes_free(routes);
}

static int make_zoom_service(void **ret_made)
{
	return made(ret_made, zoom_service_new("/host"));
}

static void undo_zoom_service(void *service)
{
	zoom_service_free(service);
}

static int make_zoom_result(void **ret_made)
{
	struct zoom_result *result = calloc(1, sizeof(*result));
	FILE *out = fopen("/dev/null", "we");
	int err = result && out ? 0 : -ENOMEM;

	if (result) {
		result->threads = calloc(2, sizeof(*result->threads));
		result->n_threads = result->threads ? 2 : 0;
	}
	if (!err && result->threads) {
		result->threads[0] = (struct zoom_ledger){ .pid = 7, .tid = 7, .comm = "a" };
		result->threads[1] = (struct zoom_ledger){ .pid = 7, .tid = 8, .comm = "b" };
		result->ended = "time is up";
		err = zoom_result_finish(result);
		if (!err)
			err = zoom_print_json(result, out);
	} else {
		err = -ENOMEM;
	}
	if (out)
		fclose(out);
	zoom_result_free(result);
	return err;
}

static int make_server(void **ret_made)
{
	static const struct http_route routes[] = { { .path = NULL } };
	const struct http_server_options options = { .listen = "127.0.0.1:0", .routes = routes };
	char error[256];

	return http_server_start(&options, (struct http_server **)ret_made, error, sizeof(error));
}

static void undo_server(void *server)
{
	http_server_stop(server);
}

static int make_body(void **ret_made)
{
	return made(ret_made, http_body_new());
}

static void undo_body(void *body)
{
	http_body_put(body);
}

static int make_probe_set(void **ret_made)
{
	return probe_set_new(world.config, (struct probe_set **)ret_made);
}

static void undo_probe_set(void *set)
{
	probe_set_free(set);
}

static void undo_json_stream(void *stream)
{
	json_stream_free(stream);
}

static void undo_pod(void *pod)
{
	pod_put(pod);
}

static void undo_pod_store(void *store)
{
	pod_store_free(store);
}

static void undo_snapshot(void *snapshot)
{
	snapshot_put(snapshot);
}

/* In mode "disabled" all of it but the probes. */
static int make_agent(void **ret_made)
{
	const struct config_request request = { .tables = config_tables(),
						.path = world.config_file };
	char error[256];

	return agent_new(&request, world.config, (struct agent **)ret_made, error, sizeof(error));
}

static void undo_agent(void *agent)
{
	agent_free(agent);
}

/* `makes_do`: what cannot be had then is optional, or is left out and counted. */
static const struct allocating things[] = {
	{ "buffer", make_buffer, NULL },
	{ "gzip", make_gzip, NULL },
	{ "JSON stream", make_json_stream, undo_json_stream },
	{ "JSON stream that is fed", feed_json_stream, NULL, .makes_do = true },
	{ "pod", make_pod, undo_pod },
	{ "pod store", make_pod_store, undo_pod_store },
	{ "pod store with pods", fill_pod_store, NULL, .makes_do = true },
	{ "names of an entity", make_names, NULL },
	{ "patterns", make_patterns, free },
	{ "mounts", make_mounts, NULL },
	{ "softnet", make_softnet, NULL },
	{ "drop reasons", make_drop_reasons, NULL },
	{ "configuration", load_config, undo_config },
	{ "wrong configuration", refuse_config, NULL, .makes_do = true },
	{ "configuration as text", print_config, NULL },
	{ "flags", make_flags, NULL },
	{ "registry", make_registry, undo_registry },
	{ "series filter", make_filter, undo_filter },
	{ "collections", collect, NULL },
	{ "snapshot", make_snapshot, undo_snapshot },
	{ "request", make_request, undo_request },
	{ "slow requests", make_slow_requests, undo_slow_requests },
	{ "slow requests that come", feed_slow_requests, NULL, .makes_do = true },
	{ "requests page", make_requests_page, NULL },
	{ "encoders", encode_all, NULL },
	{ "page cache", make_page_cache, NULL },
	{ "health", make_health, undo_health },
	{ "verdict", judge, NULL, .makes_do = true },
	{ "loop", make_loop, undo_loop },
	{ "outbound", make_outbound, undo_outbound },
	{ "collector", make_collector, NULL },
	{ "runtimes", make_runtimes, undo_runtimes, .makes_do = true },
	{ "Kubernetes", make_kubernetes, undo_kubernetes },
	{ "naming", make_naming, undo_naming, .makes_do = true },
	{ "routes", make_routes, undo_routes },
	{ "zoom service", make_zoom_service, undo_zoom_service },
	{ "zoom result", make_zoom_result, NULL, .makes_do = true },
	{ "HTTP body", make_body, undo_body },
	{ "HTTP server", make_server, undo_server },
	{ "probes", make_probe_set, undo_probe_set },
	{ "agent", make_agent, undo_agent, .makes_do = true },
};

#define N_THINGS (sizeof(things) / sizeof(things[0]))

static void every_allocation_may_fail(void **state)
{
	check_out_of_memory(*state);
}

/* Commands say that they have failed; whatever happens to memory, they return. */
static void commands_fail_in_order(void **state)
{
	static const char *const commands[][4] = {
		{ "leadline", "config", "show", NULL },
		{ "leadline", "config", "sample", NULL },
		{ "leadline", "config", "check", NULL },
		{ "leadline", "metrics", "--json", NULL },
		{ "leadline", "help", NULL },
	};
	static const char *const environment[] = { NULL };

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		FILE *nowhere = fopen("/dev/null", "we");
		int argc = 0, code;
		unsigned n = 0, failed;

		assert_non_null(nowhere);
		while (commands[i][argc])
			argc++;
		do {
			allocations_fail_at(++n, true);
			code = cli_run(argc, (char **)commands[i], environment, nowhere, nowhere);
			failed = allocations_succeed();
			if (failed ? code != CLI_FAILED && code != CLI_USAGE : code != CLI_OK)
				test_fail("%s %s: exit code %d, allocation %u fails",
					  commands[i][1], commands[i][2] ? commands[i][2] : "",
					  code, n);
		} while (failed);
		fclose(nowhere);
	}
}

static int make_world(void **state)
{
	static const char pod[] =
		"{\"metadata\":{\"namespace\":\"shop\",\"name\":\"cart-0\",\"uid\":\"u-1\",\"labels\":{\"app\":\"cart\"}},"
		"\"status\":{\"containerStatuses\":[{\"name\":\"cart\",\"containerID\":\"containerd://0123\"}]}}";
	struct buffer errors = {};

	if (log_init(LOG_LEVEL_ERROR, LOG_FORMAT_PLAIN, "/dev/null"))
		return -1;
	allocations_take_over_libraries();
	world.rootfs = temporary_directory();
	if (chdir(world.rootfs) || mkdir("run", 0755) || mkdir("run/runc", 0755) ||
	    mkdir("run/runc/web", 0755) || chdir("/"))
		return -1;
	write_file(world.rootfs, "run/runc/web/state.json",
		   "{\"id\":\"web\",\"cgroup_paths\":{\"\":\"/sys/fs/cgroup/web\"}}");
	world.config_file = write_file(
		world.rootfs, "leadline.yaml",
		"mode: disabled\nlisten: 127.0.0.1:0\nlog: { level: ERROR, file: /dev/null }\n"
		"kubernetes: { enabled: true, api_url: \"http://127.0.0.1:1\", node_name: n1, labels: \"app,tier\" }\n");
	if (config_load(
		    &(struct config_request){
			    .tables = config_tables(),
			    .path = world.config_file,
			    .flags = &(const struct config_flag){ "containers.rootfs",
								  world.rootfs },
			    .n_flags = 1 },
		    &world.config, &errors)) {
		fprintf(stderr, "%.*s", (int)errors.size, errors.data);
		return -1;
	}
	world.sample = sample_snapshot(1);
	world.request = request_record_new(&request_facts);
	world.pod = json_loads(pod, 0, NULL);
	return loop_new(&world.loop) || outbound_new(&world.outbound) || !world.pod ||
			       !world.request
		       ? -1
		       : 0;
}

static int end_world(void **state)
{
	json_decref(world.pod);
	snapshot_put(world.sample);
	request_record_put(world.request);
	outbound_free(world.outbound);
	loop_free(world.loop);
	config_free(world.config);
	return cleanup_teardown(state);
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[N_THINGS + 1];

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);

	for (size_t i = 0; i < N_THINGS; i++)
		tests[i] = (struct CMUnitTest){ .name = things[i].name,
						.test_func = every_allocation_may_fail,
						.initial_state = (void *)&things[i] };
	tests[N_THINGS] = (struct CMUnitTest)cmocka_unit_test(commands_fail_in_order);
	return cmocka_run_group_tests(tests, make_world, end_world);
}
