// SPDX-License-Identifier: Apache-2.0
/*
 * The agent beside an API server that lists and watches pods over HTTPS (kubernetes_api.py): names on the page, and what
 * may go wrong in between.
 */
#include <jansson.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
#include "tests/harness/harness.h"

#define ID_A "0a00000000000000000000000000000000000000000000000000000000000001"
#define ID_B "0b00000000000000000000000000000000000000000000000000000000000002"
#define UID  "11111111-2222-3333-4444-555555555555"
#define SLICE                                                                                      \
	"kubepods.slice/kubepods-burstable.slice/"                                                 \
	"kubepods-burstable-pod11111111_2222_3333_4444_555555555555.slice/"
#define SCOPE_A SLICE "cri-containerd-" ID_A ".scope"
#define SCOPE_B SLICE "cri-containerd-" ID_B ".scope"

static const char first_token[] = "first.token-of_the+test";
static const char next_token[] = "next.token-of_the+test";

/* ---- the server ---- */

struct api {
	int port, control_port;
	const char *directory; /* with token, ca.crt, other.crt */
};

static void make_certificates(const char *directory)
{
	static const char new_key[] =
		"openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -batch";

	write_file(directory, "names", "subjectAltName=IP:127.0.0.1\n");
	for (int i = 0; i < 2; i++)
		shell("cd %s && %s -x509 -keyout %s.key -out %s.crt -days 2 -subj /CN=%s 2>/dev/null",
		      directory, new_key, i ? "other" : "ca", i ? "other" : "ca",
		      i ? "other" : "ca");
	shell("cd %s && %s -keyout server.key -out server.csr -subj /CN=api 2>/dev/null && "
	      "openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names "
	      "-out server.crt 2>/dev/null",
	      directory, new_key);
}

static struct api api_start(void)
{
	struct api api = { .port = free_port(),
			   .control_port = free_port(),
			   .directory = temporary_directory() };
	char port[16], control_port[16], certificate[4200], key[4200];

	require_root();
	require_program("openssl");
	make_certificates(api.directory);
	write_file(api.directory, "token", first_token);
	snprintf(port, sizeof(port), "%d", api.port);
	snprintf(control_port, sizeof(control_port), "%d", api.control_port);
	snprintf(certificate, sizeof(certificate), "%s/server.crt", api.directory);
	snprintf(key, sizeof(key), "%s/server.key", api.directory);
	program_start(write_file(api.directory, "api.log", ""),
		      (const char *const[]){ "/usr/bin/python3", "tests/peers/kubernetes_api.py",
					     port, control_port, certificate, key, first_token,
					     NULL });
	if (!WAIT_UNTIL(port_open(api.control_port), 20))
		test_fail("the server does not start");
	return api;
}

static void api_do(const struct api *api, const char *method, const char *what, const char *body)
{
	char url[256];
	struct answer *answer;

	snprintf(url, sizeof(url), "http://127.0.0.1:%d/%s", api->control_port, what);
	answer = fetch(method, url, NULL, body);
	if (answer->status != 200)
		test_fail("%s: %ld %s", what, answer->status, answer->error);
	answer_free(answer);
}

static void api_put(const struct api *api, const char *what, const char *body)
{
	api_do(api, "PUT", what, body ? body : "");
}

/* How often the server has seen: lists, pages, watches, refused …; or "watching", "version". */
static long api_seen(const struct api *api, const char *what)
{
	char url[256];
	struct answer *answer;
	json_t *json;
	long value;

	snprintf(url, sizeof(url), "http://127.0.0.1:%d/seen", api->control_port);
	answer = fetch(NULL, url, NULL, NULL);
	json = json_loadb(answer->body, answer->size, 0, NULL);
	value = (long)json_integer_value(json_object_get(json, what));
	json_decref(json);
	answer_free(answer);
	return value;
}

static bool api_was_asked(const struct api *api, const char *part)
{
	char url[256];
	struct answer *answer;
	bool found;

	snprintf(url, sizeof(url), "http://127.0.0.1:%d/seen", api->control_port);
	answer = fetch(NULL, url, NULL, NULL);
	found = strstr(answer->body, part) != NULL;
	answer_free(answer);
	return found;
}

/* The pod web-0 of the namespace shop, whose one container has that id ("": none yet). */
static void api_put_pod(const struct api *api, const char *id, const char *last_id)
{
	char pod[1024];

	snprintf(pod, sizeof(pod),
		 "{\"metadata\":{\"name\":\"web-0\",\"namespace\":\"shop\",\"uid\":\"" UID "\","
		 "\"labels\":{\"app.kubernetes.io/name\":\"web \\\"shop\\\"\"}},"
		 "\"status\":{\"containerStatuses\":[{\"name\":\"app\",\"containerID\":\"%s%s\","
		 "\"lastState\":{\"terminated\":{\"containerID\":\"%s%s\"}}}]}}",
		 *id ? "containerd://" : "", id, *last_id ? "containerd://" : "", last_id);
	api_put(api, "pod", pod);
}

/* ---- the agent ---- */

static struct leadline *agent_start(const struct api *api, const char *more)
{
	static char flags[3][4300];

	snprintf(flags[0], sizeof(flags[0]), "--kubernetes.api_url=https://127.0.0.1:%d/",
		 api->port);
	snprintf(flags[1], sizeof(flags[1]), "--kubernetes.token_file=%s/token", api->directory);
	snprintf(flags[2], sizeof(flags[2]), "--kubernetes.ca_file=%s/ca.crt", api->directory);
	return leadline_start_only(
		"sched", (const char *const[]){
				 flags[0], flags[1], flags[2], "--kubernetes.node_name=node-a",
				 "--kubernetes.labels=app.kubernetes.io/name, none", more, NULL });
}

static double agent_value(struct leadline *leadline, const char *metric, const char *reason)
{
	struct page *page = leadline_scrape(leadline);
	double value = metric_sum(page, metric, reason ? "reason" : NULL, reason, NULL);

	page_free(page);
	return value;
}

static double agent_failures(struct leadline *leadline, const char *reason)
{
	return agent_value(leadline, "leadline_kubernetes_failures_total", reason);
}

static void wait_until_up(struct leadline *leadline, double pods)
{
	if (WAIT_UNTIL(agent_value(leadline, "leadline_kubernetes_up", NULL) == 1 &&
			       agent_value(leadline, "leadline_kubernetes_pods", NULL) == pods,
		       20))
		return;
	leadline_show_log(leadline);
	test_fail("pods are not followed: %.0f known, %.0f expected",
		  agent_value(leadline, "leadline_kubernetes_pods", NULL), pods);
}

/* CPU time of the program under these names ("": without); container NULL: any. Negative: no such series. */
static double cpu_of(struct leadline *leadline, const char *comm, const char *namespace,
		     const char *pod, const char *container)
{
	static const char metric[] = "leadline_cpu_seconds_total";
	const char *name = container ? "container" : NULL; /* or the end of the pairs */
	struct page *page = leadline_scrape(leadline);
	double seconds = -1;

	if (metric_count(page, metric, "comm", comm, "namespace", namespace, "pod", pod, name,
			 container, NULL))
		seconds = metric_sum(page, metric, "comm", comm, "namespace", namespace, "pod", pod,
				     name, container, NULL);
	page_free(page);
	return seconds;
}

/* ---- workloads ---- */

static double thread_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int spin(void *argument, void *shared)
{
	double end = thread_seconds() + *(const double *)argument;

	while (thread_seconds() < end)
		;
	return 0;
}

/* The same, under a name that others have too. */
static int spin_as_twin(void *argument, void *shared)
{
	prctl(PR_SET_NAME, "twin");
	return spin(argument, shared);
}

/* … and stays after that. */
static int spin_as_twin_and_stay(void *argument, void *shared)
{
	spin_as_twin(argument, shared);
	*(volatile int *)shared = 1;
	while (pause())
		;
	return 0;
}

/* Spins in that control group, then ends. */
static struct workload *spin_in(const char *directory, double *seconds)
{
	struct workload *workload = workload_start("pod", -1, spin, seconds);

	cgroup_enter(directory, workload->pid);
	workload_finish(workload, 30);
	return workload;
}

/* ---- tests ---- */

static void names_come_from_the_api(void **state)
{
	static double busy = 0.3;
	struct api api = api_start();
	struct leadline *leadline;
	struct workload *workload;
	struct page *page;

	api_put_pod(&api, ID_A, "");
	leadline = agent_start(&api, NULL);
	wait_until_up(leadline, 1);
	workload = spin_in(cgroup_create(SCOPE_A), &busy);
	assert_in_range(cpu_of(leadline, workload->comm, "shop", "web-0", "app") * 1e3, 300, 330);
	/* the other driver, in a hierarchy of version 1 */
	workload =
		spin_in(cgroup_create_v1("memory", "kubepods/burstable/pod" UID "/" ID_A), &busy);
	assert_in_range(cpu_of(leadline, workload->comm, "shop", "web-0", "app") * 1e3, 300, 330);
	page = leadline_scrape(leadline);
	assert_true(metric_value(page, "leadline_pod_info", "namespace", "shop", "pod", "web-0",
				 "uid", UID, "label_app_kubernetes_io_name", "web \"shop\"",
				 NULL) == 1);
	page_free(page);
	/* a list from what the server has at hand, a watch with bookmarks from there */
	assert_true(api_was_asked(&api, "limit=500&resourceVersion=0"));
	assert_true(api_was_asked(
		&api, "watch=1&allowWatchBookmarks=true&resourceVersion=1001&timeoutSeconds="));
	assert_int_equal(api_seen(&api, "unknown"), 0);
	leadline_stop(leadline);
}

/* On the page already, without a name, when its pod becomes known; gone from the kernel by then. */
static void a_short_life_is_named_later(void **state)
{
	static double busy = 0.3;
	struct api api = api_start();
	struct leadline *leadline = agent_start(&api, NULL);
	struct workload *workload;
	double seconds;

	wait_until_up(leadline, 0);
	workload = spin_in(cgroup_create(SCOPE_A), &busy);
	seconds = cpu_of(leadline, workload->comm, "", UID, "0a0000000000");
	assert_in_range(seconds * 1e3, 300, 330);
	api_put_pod(&api, "", "");
	assert_true(WAIT_UNTIL(
		cpu_of(leadline, workload->comm, "shop", "web-0", "0a0000000000") == seconds, 10));
	api_put_pod(&api, ID_A, "");
	assert_true(WAIT_UNTIL(cpu_of(leadline, workload->comm, "shop", "web-0", "app") == seconds,
			       10));
	assert_true(cpu_of(leadline, workload->comm, "", UID, NULL) < 0);
	/* the pod is gone from the API, the name stays */
	api_do(&api, "DELETE", "pod/" UID, NULL);
	wait_until_up(leadline, 0);
	assert_true(cpu_of(leadline, workload->comm, "shop", "web-0", "app") == seconds);
	leadline_stop(leadline);
}

/* The same program in one container after the other of a pod: one series, which never falls. */
static void a_restarted_container_goes_on(void **state)
{
	static double first = 0.5, second = 0.1;
	struct api api = api_start();
	struct leadline *leadline;
	struct workload *before, *after;
	double seconds, latest = 0;

	api_put_pod(&api, ID_B, ID_A);
	leadline = agent_start(&api, "--entity_linger=3s");
	wait_until_up(leadline, 1);
	before = workload_start("before", -1, spin_as_twin, &first);
	cgroup_enter(cgroup_create(SCOPE_A), before->pid);
	workload_finish(before, 30);
	after = workload_start("after", -1, spin_as_twin_and_stay, &second);
	cgroup_enter(cgroup_create(SCOPE_B), after->pid);
	workload_release(after);
	assert_true(WAIT_UNTIL(*(volatile int *)after->shared, 30));
	/* meanwhile the first one is forgotten: three seconds after its end, in two turns of a second */
	for (double end = clock_seconds() + 8; clock_seconds() < end; pause_seconds(0.1)) {
		seconds = cpu_of(leadline, "twin", "shop", "web-0", "app");
		assert_true(seconds >= latest);
		latest = seconds;
	}
	assert_in_range(latest * 1e3, 600, 650);
	assert_true(agent_value(leadline, "leadline_entities_recycled_total", NULL) >= 2);
	leadline_stop(leadline);
}

static void too_old_a_version_is_listed_anew(void **state)
{
	struct api api = api_start();
	struct leadline *leadline;

	api_put_pod(&api, ID_A, "");
	leadline = agent_start(&api, NULL);
	wait_until_up(leadline, 1);
	/* told in the middle of a watch … */
	api_put(&api, "fill/700", NULL);
	api_put(&api, "expire", NULL);
	assert_true(WAIT_UNTIL(agent_failures(leadline, "gone") == 1, 10));
	wait_until_up(leadline, 701);
	/* … after which the cache is not trusted, so that the list comes in pages */
	assert_int_equal(api_seen(&api, "lists"), 2);
	assert_int_equal(api_seen(&api, "pages"), 3);
	assert_true(api_was_asked(&api, "limit=500&continue=500"));
	/* … and at the beginning of one */
	api_put(&api, "forget", NULL);
	assert_true(WAIT_UNTIL(agent_failures(leadline, "gone") == 2, 20));
	wait_until_up(leadline, 701);
	assert_true(WAIT_UNTIL(api_seen(&api, "watching") == 1, 10));
	leadline_stop(leadline);
}

static void a_broken_connection_loses_nothing(void **state)
{
	static double busy = 0.1;
	struct api api = api_start();
	struct leadline *leadline = agent_start(&api, NULL);
	struct workload *workload;

	wait_until_up(leadline, 0);
	api_put(&api, "bookmark", NULL);
	api_put(&api, "cut", NULL); /* in the middle of a line */
	assert_true(WAIT_UNTIL(api_seen(&api, "watching") == 0, 10));
	api_put_pod(&api, ID_A, ""); /* meanwhile */
	wait_until_up(leadline, 1);
	assert_int_equal(api_seen(&api, "lists"), 1);
	assert_true(api_was_asked(&api, "resourceVersion=1001"));
	assert_true(agent_failures(leadline, "disconnected") >= 1);
	workload = spin_in(cgroup_create(SCOPE_A), &busy);
	assert_true(cpu_of(leadline, workload->comm, "shop", "web-0", "app") >= 0.1);
	leadline_stop(leadline);
}

static void a_new_token_is_taken(void **state)
{
	struct api api = api_start();
	struct leadline *leadline = agent_start(&api, NULL);

	wait_until_up(leadline, 0);
	api_put(&api, "token", next_token);
	api_put(&api, "cut", NULL);
	assert_true(WAIT_UNTIL(agent_failures(leadline, "unauthorized") >= 1, 20));
	assert_true(agent_value(leadline, "leadline_kubernetes_up", NULL) == 0);
	assert_true(api_seen(&api, "refused") >= 1);
	/* as the kubelet does it: another file under the same name */
	write_file(api.directory, "token.new", next_token);
	shell("mv %s/token.new %s/token", api.directory, api.directory);
	api_put_pod(&api, ID_A, "");
	wait_until_up(leadline, 1);
	assert_int_equal(api_seen(&api, "lists"), 1);
	/* neither is said to anybody */
	assert_false(leadline_logged(leadline, first_token));
	assert_false(leadline_logged(leadline, next_token));
	leadline_stop(leadline);
}

static long memory_kib(const struct leadline *leadline, const char *field)
{
	char path[64], *text, *at;
	long kib = -1;

	snprintf(path, sizeof(path), "/proc/%d/status", leadline->pid);
	text = read_file(path);
	at = strstr(text, field);
	if (at)
		kib = strtol(at + strlen(field), NULL, 10);
	free(text);
	return kib;
}

/* From here on the high-water mark is that of what follows. */
static long reset_high_water(const struct leadline *leadline)
{
	shell("echo 5 > /proc/%d/clear_refs", leadline->pid);
	return memory_kib(leadline, "VmRSS:");
}

static void five_thousand_pods_cost_little(void **state)
{
	struct api api = api_start();
	struct leadline *leadline = agent_start(&api, NULL);
	struct page *page;
	long before, most;

	wait_until_up(leadline, 0);
	before = reset_high_water(leadline);
	api_put(&api, "fill/5000", NULL);
	api_put(&api, "expire", NULL);
	/* without a scrape, whose page is not part of what is measured */
	if (!WAIT_UNTIL(leadline_logged(leadline, "5000 pods on node-a"), 60))
		test_fail("the list does not arrive");
	pause_seconds(1.5); /* until the loop has the table too */
	most = memory_kib(leadline, "VmHWM:");
	print_message("# 5000 pods: %ld KiB, %ld KiB at most\n",
		      memory_kib(leadline, "VmRSS:") - before, most - before);
	if (most - before > 20 * 1024)
		test_fail("5000 pods cost %ld KiB", most - before);
	page = leadline_scrape(leadline);
	assert_true(metric_sum(page, "leadline_kubernetes_pods", NULL) == 5000);
	page_free(page);
	leadline_stop(leadline);
}

static char *repeat(const char *head, const char *piece, size_t times)
{
	size_t length = strlen(piece), at = strlen(head);
	char *text = malloc(at + times * length + 1);

	assert_non_null(text);
	strcpy(text, head);
	for (; times-- > 0; at += length)
		memcpy(text + at, piece, length + 1);
	cleanup_push(free, text);
	return text;
}

/* The server says that, once a watch has gone well for so long that its end is no reason to wait for long. */
static void say_to_watcher(const struct api *api, const char *text)
{
	assert_true(WAIT_UNTIL(api_seen(api, "watching") == 1, 20));
	api_put(api, "bookmark", NULL);
	pause_seconds(1.1);
	api_put(api, "raw", text);
}

/* Whatever it says, the agent lives, stays within its bounds, and comes back by a new list. */
static void a_hostile_server_is_survived(void **state)
{
	static const char *const lines[] = {
		"garbage\n",	  "{\"type\":\"ADDED\",\"object\":{]}\n",
		"[]\n",		  "{\"object\":{}}\n",
		"{\"type\":7}\n", "}}\n",
	};
	static const char no_pod[] =
		"{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"\"}}}\n";
	const char *const too_much[] = {
		repeat("{\"type\":\"ADDED\",\"object\":\"", "0123456789abcdef", 1 << 19),
		repeat("", "{\"a\":[", 1 << 20),
		repeat("{\"a\":[", "[],", 1 << 21),
	};
	struct api api = api_start();
	struct leadline *leadline = agent_start(&api, NULL);
	long before, most, lists;

	api_put_pod(&api, ID_A, "");
	wait_until_up(leadline, 1);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		lists = api_seen(&api, "lists");
		say_to_watcher(&api, lines[i]);
		if (!WAIT_UNTIL(api_seen(&api, "lists") > lists, 20))
			test_fail("line %zu is believed: %s", i, lines[i]);
	}
	assert_true(agent_failures(leadline, "malformed") == sizeof(lines) / sizeof(lines[0]));
	/* an object that is no pod is passed over */
	say_to_watcher(&api, no_pod);
	assert_true(WAIT_UNTIL(
		agent_failures(leadline, "malformed") == 1 + sizeof(lines) / sizeof(lines[0]), 20));
	wait_until_up(leadline, 1);

	before = reset_high_water(leadline);
	for (size_t i = 0; i < sizeof(too_much) / sizeof(too_much[0]); i++) {
		say_to_watcher(&api, too_much[i]);
		api_put(&api, "cut", NULL);
		assert_true(WAIT_UNTIL(api_seen(&api, "watching") == 0, 20));
	}
	most = memory_kib(leadline, "VmHWM:");
	print_message("# hostile objects: %ld KiB at most\n", most - before);
	if (most - before > 20 * 1024)
		test_fail("hostile objects cost %ld KiB", most - before);
	assert_true(leadline_alive(leadline));
	leadline_stop(leadline);
}

/* Nobody is told the token who cannot prove to be the API. */
static void a_stranger_is_not_trusted(void **state)
{
	struct api api = api_start();
	struct leadline *leadline;

	shell("cp %s/other.crt %s/ca.crt", api.directory, api.directory);
	leadline = agent_start(&api, NULL);
	assert_true(WAIT_UNTIL(agent_failures(leadline, "disconnected") >= 1, 20));
	assert_true(agent_value(leadline, "leadline_kubernetes_up", NULL) == 0);
	assert_int_equal(api_seen(&api, "pages") + api_seen(&api, "refused"), 0);
	leadline_stop(leadline);
}

static void what_is_forbidden_is_said(void **state)
{
	struct api api = api_start();
	struct leadline *leadline = agent_start(&api, "--kubernetes.node_name=somewhere-else");

	assert_true(WAIT_UNTIL(agent_failures(leadline, "forbidden") >= 1, 20));
	assert_true(leadline_logged(leadline, "must be allowed to list and watch pods"));
	leadline_stop(leadline);
}

static void what_is_missing_is_said(void **state)
{
	static const struct {
		const char *flags[5], *said;
	} cases[] = {
		{ { "--kubernetes.enabled=true" }, "KUBERNETES_SERVICE_HOST" },
		{ { "--kubernetes.enabled=true", "--kubernetes.api_url=https://127.0.0.1:1" },
		  "NODE_NAME" },
		{ { "--kubernetes.enabled=true", "--kubernetes.api_url=https://127.0.0.1:1",
		    "--kubernetes.node_name=a" },
		  "token" },
		{ { "--kubernetes.enabled=true", "--kubernetes.api_url=ftp://127.0.0.1:1" },
		  "https://" },
		{ { "--kubernetes.api_url=http://127.0.0.1:1", "--kubernetes.node_name=a",
		    "--kubernetes.labels=a.b,a-b" },
		  "label_a_b" },
		{ { "--kubernetes.api_url=http://127.0.0.1:1", "--kubernetes.node_name=a",
		    "--kubernetes.labels=a,b,c,d,e,f,g,h,i" },
		  "more than 8" },
	};

	require_root();
	unsetenv("KUBERNETES_SERVICE_HOST");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct leadline *leadline = leadline_spawn(cases[i].flags);

		assert_int_equal(program_wait(leadline->pid, 20), 1);
		if (!leadline_logged(leadline, cases[i].said)) {
			leadline_show_log(leadline);
			test_fail("case %zu does not say %s", i, cases[i].said);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(names_come_from_the_api),
		HARNESS_TEST(a_short_life_is_named_later),
		HARNESS_TEST(a_restarted_container_goes_on),
		HARNESS_TEST(too_old_a_version_is_listed_anew),
		HARNESS_TEST(a_broken_connection_loses_nothing),
		HARNESS_TEST(a_new_token_is_taken),
		HARNESS_TEST(five_thousand_pods_cost_little),
		HARNESS_TEST(a_hostile_server_is_survived),
		HARNESS_TEST(a_stranger_is_not_trusted),
		HARNESS_TEST(what_is_forbidden_is_said),
		HARNESS_TEST(what_is_missing_is_said),
	};

	return cmocka_run_group_tests_name("kubernetes", tests, NULL, NULL);
}
