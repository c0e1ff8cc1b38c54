// SPDX-License-Identifier: Apache-2.0
/* Prometheus as a peer; see prometheus.h. */
#include <ctype.h>
#include <math.h>
#include <time.h>
#include "tests/harness/harness.h"
#include "tests/harness/prometheus.h"

struct prometheus prometheus_start(const struct leadline *leadline, const char *flag)
{
	struct prometheus prometheus = { .port = free_port() };
	const char *directory = temporary_directory(), *config;
	char text[512], config_flag[4200], storage_flag[4200], listen_flag[64];

	require_program("prometheus");
	snprintf(text, sizeof(text),
		 "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
		 "scrape_configs:\n"
		 "  - job_name: leadline\n"
		 "    static_configs: [{targets: ['127.0.0.1:%d']}]\n",
		 leadline->port);
	config = write_file(directory, "prometheus.yml", text);
	prometheus.log = write_file(directory, "prometheus.log", "");
	snprintf(config_flag, sizeof(config_flag), "--config.file=%s", config);
	snprintf(storage_flag, sizeof(storage_flag), "--storage.tsdb.path=%s/data", directory);
	snprintf(listen_flag, sizeof(listen_flag), "--web.listen-address=127.0.0.1:%d",
		 prometheus.port);
	program_start(prometheus.log,
		      (const char *const[]){ "prometheus", config_flag, storage_flag, listen_flag,
					     "--log.level=warn", flag, NULL });
	return prometheus;
}

json_t *prometheus_get(const struct prometheus *prometheus, const char *path)
{
	char url[2048];
	struct answer *answer;
	json_t *json = NULL;

	snprintf(url, sizeof(url), "http://127.0.0.1:%d/api/v1/%s", prometheus->port, path);
	answer = fetch(NULL, url, NULL, NULL);
	if (answer->status == 200)
		json = json_loadb(answer->body, answer->size, 0, NULL);
	answer_free(answer);
	return json;
}

static void escape(const char *query, char *out, size_t size)
{
	size_t used = 0;

	for (; *query && used + 4 < size; query++)
		used += (size_t)sprintf(out + used,
					isalnum((unsigned char)*query) ? "%c" : "%%%02x",
					(unsigned char)*query);
	out[used] = '\0';
}

double prometheus_value(const struct prometheus *prometheus, const char *query)
{
	char path[1500] = "query?query=";
	json_t *json;
	double value = NAN;

	escape(query, path + strlen(path), sizeof(path) - strlen(path));
	json = prometheus_get(prometheus, path);
	if (json) {
		json_t *result = json_object_get(json_object_get(json, "data"), "result");
		json_t *pair = json_object_get(json_array_get(result, 0), "value");
		const char *text = json_string_value(json_array_get(pair, 1));

		if (text && json_array_size(result) == 1)
			value = strtod(text, NULL);
		json_decref(json);
	}
	return value;
}

json_t *prometheus_exemplars(const struct prometheus *prometheus, const char *series)
{
	char path[1500];
	size_t used =
		(size_t)snprintf(path, sizeof(path), "query_exemplars?start=%lld&end=%lld&query=",
				 (long long)time(NULL) - 10, (long long)time(NULL) + 2);
	json_t *json, *list;

	escape(series, path + used, sizeof(path) - used);
	json = prometheus_get(prometheus, path);
	list = json_object_get(json_array_get(json_object_get(json, "data"), 0), "exemplars");
	json_incref(list);
	json_decref(json);
	return list;
}

static void fail_with_log(const struct prometheus *prometheus)
{
	char *text = read_file(prometheus->log);

	print_message("# prometheus: %s\n", text);
	free(text);
	test_fail("prometheus has not scraped the agent within 30 s");
}

void prometheus_wait(const struct prometheus *prometheus)
{
	if (!WAIT_UNTIL(prometheus_value(prometheus, "min_over_time(up[2s])") == 1, 30))
		fail_with_log(prometheus);
}

void prometheus_wait_for_next(const struct prometheus *prometheus)
{
	const double now = (double)time(NULL) + 1;

	/* of a selector alone: with anything around it the time is that of the query */
	if (!WAIT_UNTIL(prometheus_value(prometheus, "timestamp(up)") > now, 30) ||
	    prometheus_value(prometheus, "up") != 1)
		fail_with_log(prometheus);
}
