// SPDX-License-Identifier: Apache-2.0
/*
 * Debian's Prometheus, promtool, the Python client's OpenMetrics parser, curl and ab against the running
 * agent: whether those who will read the pages understand all of them.
 */
#include <jansson.h>
#include <math.h>
#include "tests/harness/harness.h"
#include "tests/harness/prometheus.h"

#define OPENMETRICS "Accept: application/openmetrics-text;version=1.0.0"

/* A sample that each series of the family has. */
static void sample_name(const struct page_family *family, char *name, size_t size)
{
	snprintf(name, size, "%s%s", family->name,
		 strcmp(family->type, "histogram") ? "" : "_count");
}

/* Every family of the page is there, with as many series as the page showed, and of the right type. */
static void answers_queries_for_every_family(void **state)
{
	struct leadline *leadline = leadline_start(NULL);
	struct prometheus prometheus = prometheus_start(leadline, NULL);
	struct page *page;
	json_t *metadata;
	size_t i;

	prometheus_wait(&prometheus);
	page = leadline_scrape(leadline);
	assert_true(page->n_families > 40);
	prometheus_wait_for_next(&prometheus); /* every family of `page` has been scraped as well */
	metadata = prometheus_get(&prometheus, "targets/metadata?limit=10000");
	assert_non_null(metadata);
	for (i = 0; i < page->n_families; i++) {
		const struct page_family *family = &page->families[i];
		char name[256], query[300];
		json_t *entry;
		size_t j, length = strlen(family->name);
		bool found = false;

		sample_name(family, name, sizeof(name));
		snprintf(query, sizeof(query), "count(%s)", name);
		if (!(prometheus_value(&prometheus, query) >= 1))
			test_fail("prometheus has nothing under %s", name);
		/* in OpenMetrics a counter's family is named without _total */
		if (!strcmp(family->type, "counter"))
			length -= strlen("_total");
		json_array_foreach(json_object_get(metadata, "data"), j, entry)
		{
			const char *metric = json_string_value(json_object_get(entry, "metric"));

			if (strlen(metric) != length || strncmp(metric, family->name, length))
				continue;
			found = true;
			assert_string_equal(json_string_value(json_object_get(entry, "type")),
					    family->type);
			assert_true(json_string_length(json_object_get(entry, "help")) > 0);
		}
		if (!found)
			test_fail("prometheus knows no type of %s", family->name);
	}
	json_decref(metadata);
	page_free(page);

	/* No sample was refused, as a duplicate or otherwise. */
	assert_true(prometheus_value(&prometheus, "scrape_samples_scraped") > 100);
	assert_true(prometheus_value(
			    &prometheus,
			    "scrape_samples_scraped-scrape_samples_post_metric_relabeling") == 0);
	assert_true(prometheus_value(&prometheus, "min_over_time(up[5m])") == 1);
	assert_true(isfinite(prometheus_value(
		&prometheus,
		"histogram_quantile(0.99,sum(rate(leadline_cpu_runqueue_latency_seconds_bucket[1m]))by(le))")));
	leadline_stop(leadline);
}

/* It then asks for protobuf first, which is not served unless the setting says so: OpenMetrics it is. */
static void scraped_with_native_histograms_on(void **state)
{
	struct leadline *leadline = leadline_start_only("host", NULL);
	struct prometheus prometheus =
		prometheus_start(leadline, "--enable-feature=native-histograms");

	prometheus_wait(&prometheus);
	assert_true(prometheus_value(&prometheus, "count(leadline_host_load1)") == 1);
	leadline_stop(leadline);
}

static void fetch_to_file(struct leadline *leadline, const char *directory, const char *header,
			  const char *name)
{
	const char *const headers[] = { header, NULL };
	struct answer *answer = leadline_fetch(leadline, NULL, "/metrics", headers, NULL);

	assert_int_equal(answer->status, 200);
	assert_int_equal(strlen(answer->body), answer->size);
	write_file(directory, name, answer->body);
	answer_free(answer);
}

static void promtool_finds_nothing(void **state)
{
	struct leadline *leadline = leadline_start(NULL);
	const char *directory = temporary_directory();
	struct output *output;

	require_program("promtool");
	fetch_to_file(leadline, directory, "Accept: text/plain", "page");
	output = run_shell("promtool check metrics <%s/page 2>&1", directory);
	if (output->status || output->size)
		test_fail("promtool check metrics, exit %d: %s", output->status, output->text);
	output_free(output);
	leadline_stop(leadline);
}

/* The strictest parser there is: cumulative buckets, +Inf, units, order, duplicates. */
static void python_accepts_openmetrics(void **state)
{
	static const char script[] =
		"import sys\n"
		"from prometheus_client.openmetrics.parser import text_string_to_metric_families\n"
		"text = open(sys.argv[1], encoding='utf-8', newline='').read()\n"
		"families = list(text_string_to_metric_families(text))\n"
		"exemplars = [s.exemplar for f in families for s in f.samples if s.exemplar]\n"
		"assert all(e.value > 0 and e.timestamp for e in exemplars)\n"
		"assert all(set(e.labels) <= {'pid', 'tid', 'route'} for e in exemplars)\n"
		"assert any(e.labels.get('route') == '/:rest' for e in exemplars)\n"
		"print(len(families), sum(len(f.samples) for f in families), sum(1 for f in families if f.unit),\n"
		"      len(exemplars))\n";
	struct leadline *leadline = leadline_start(NULL);
	const char *directory = temporary_directory();
	unsigned families = 0, samples = 0, units = 0, exemplars = 0;
	char error[256], path[4200], *text;
	struct output *output;
	struct page *page;

	/* a request of which more is known than that it was the worst */
	answer_free(leadline_fetch(leadline, "GET", "/nothing/4711", NULL, NULL));
	write_file(directory, "parse.py", script);
	fetch_to_file(leadline, directory, OPENMETRICS, "page");
	/* Debian's interpreter, which has Debian's library */
	output = run_shell("/usr/bin/python3 %s/parse.py %s/page 2>&1", directory, directory);
	if (output->status ||
	    sscanf(output->text, "%u %u %u %u", &families, &samples, &units, &exemplars) != 4)
		test_fail("%s", output->text);
	output_free(output);

	snprintf(path, sizeof(path), "%s/page", directory);
	text = read_file(path);
	page = page_parse(text, error, sizeof(error));
	if (!page)
		test_fail("%s", error);
	assert_int_equal(families, page->n_families);
	assert_int_equal(samples, page->n_samples);
	assert_true(units > 10);
	assert_true(exemplars > 10);
	for (size_t i = 0; i < page->n_samples; i++)
		exemplars -= page->samples[i].exemplar != NULL;
	assert_int_equal(exemplars, 0);
	page_free(page);
	free(text);
	leadline_stop(leadline);
}

static void curl_decompresses(void **state)
{
	struct leadline *leadline = leadline_start(NULL);
	const char *url = leadline_url(leadline, "/metrics");
	struct output *packed, *plain;
	char error[256], *body;
	struct page *page;

	require_program("curl");
	packed = run_shell("curl -sS -H 'Accept-Encoding: gzip' %s | wc -c", url);
	plain = run_shell("curl -sS --compressed -D - %s", url);
	assert_int_equal(plain->status, 0);
	assert_memory_equal(plain->text, "HTTP/1.1 200", 12);
	assert_non_null(strstr(plain->text, "Content-Encoding: gzip\r\n"));
	body = strstr(plain->text, "\r\n\r\n");
	assert_non_null(body);
	page = page_parse(body + 4, error, sizeof(error));
	if (!page)
		test_fail("%s", error);
	assert_true((size_t)atol(packed->text) * 4 < plain->size);
	page_free(page);
	output_free(packed);
	output_free(plain);
	leadline_stop(leadline);
}

/* 200 at a time, a thousand in all, from one address. */
static void serves_parallel_scrapes(void **state)
{
	struct leadline *leadline = leadline_start(NULL);
	struct output *output;

	require_program("ab");
	output = run_shell("ab -l -q -s 30 -n 1000 -c 200 -H 'Accept-Encoding: gzip' %s 2>&1",
			   leadline_url(leadline, "/metrics"));
	if (output->status || !strstr(output->text, "Complete requests:      1000\n") ||
	    !strstr(output->text, "Failed requests:        0\n") || strstr(output->text, "Non-2xx"))
		test_fail("%s", output->text);
	output_free(output);
	assert_true(leadline_alive(leadline));
	leadline_stop(leadline);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(answers_queries_for_every_family),
		HARNESS_TEST(scraped_with_native_histograms_on),
		HARNESS_TEST(promtool_finds_nothing),
		HARNESS_TEST(python_accepts_openmetrics),
		HARNESS_TEST(curl_decompresses),
		HARNESS_TEST(serves_parallel_scrapes),
	};

	return cmocka_run_group_tests_name("prometheus", tests, NULL, NULL);
}
