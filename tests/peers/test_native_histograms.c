// SPDX-License-Identifier: Apache-2.0
/*
 * Native histograms end to end: requests of known durations, seen by the kernel, scraped by a real Prometheus over protobuf,
 * and read back with histogram_quantile(). The client measures each request itself, so that what is exact does not
 * depend on how busy the machine is.
 */
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include "tests/harness/dialogue.h"
#include "tests/harness/harness.h"
#include "tests/harness/prometheus.h"

#define FEATURES "--enable-feature=native-histograms,exemplar-storage"
#define ALLOWED	 "--metrics.native_histograms=true"

#define REQUESTS 199

#define DURATION   "http_client_request_duration_seconds"
#define FIRST_BYTE "leadline_http_client_time_to_first_byte_seconds"

/* How long the server takes for request i of a distribution, in seconds. */
static double constant(int i)
{
	(void)i;
	return 3e-3;
}

static double bimodal(int i)
{
	return i % 2 ? 1e-3 : 20e-3;
}

/* Pareto with alpha 1.2 from 0.5 ms: its mean is far above its median, and a few are a hundred times as long. */
static double heavy_tail(int i)
{
	return 0.5e-3 * pow((i + 0.5) / REQUESTS, -1 / 1.2);
}

/* What the dialogue at hand is about; the children inherit it. */
static double (*distribution)(int i);
static double *measured; /* shared, [REQUESTS] */

static void answer_slowly(int s)
{
	static const char response[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	char request[256];

	MUST(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)));
	for (int i = 0; i < REQUESTS; i++) {
		double seconds = distribution(i);

		MUST(recv(s, request, sizeof(request), 0));
		nanosleep(&(struct timespec){ .tv_sec = (time_t)seconds,
					      .tv_nsec = (long)(fmod(seconds, 1) * 1e9) },
			  NULL);
		MUST(send(s, response, sizeof(response) - 1, 0));
	}
	receive_rest(s);
	close(s);
}

static void ask_and_measure(int s)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
	char response[256];

	for (int i = 0; i < REQUESTS; i++) {
		double start = clock_seconds();

		MUST(send(s, request, sizeof(request) - 1, 0));
		MUST(recv(s, response, sizeof(response), 0));
		measured[i] = clock_seconds() - start;
	}
	close(s);
}

static int compare_doubles(const void *a, const void *b)
{
	double difference = *(const double *)a - *(const double *)b;

	return (difference > 0) - (difference < 0);
}

/* The value that the fraction q of all does not exceed. */
static double exact_quantile(double q)
{
	return measured[(int)ceil(q * REQUESTS) - 1];
}

static void expect_quantile(const struct prometheus *prometheus, const char *metric,
			    const char *comm, double q, double allowed)
{
	double exact = exact_quantile(q), seen;
	char query[256];

	snprintf(query, sizeof(query), "histogram_quantile(%g, %s{comm=\"%s\"})", q, metric, comm);
	seen = prometheus_value(prometheus, query);
	print_message("# %-48s q=%-4g exact %8.3f ms, read back %8.3f ms, %+5.1f %%\n", metric, q,
		      exact * 1e3, seen * 1e3, (seen / exact - 1) * 100);
	if (!(fabs(seen / exact - 1) <= allowed))
		test_fail("quantile %g of %s: %.3f ms, exact %.3f ms", q, metric, seen * 1e3,
			  exact * 1e3);
}

/* Some exemplar is the longest request: 0.5 ms are for the way between the client's clock and the kernel's. */
static void expect_exemplar(const struct prometheus *prometheus, const char *comm)
{
	const double longest = measured[REQUESTS - 1];
	bool found = false;
	char series[256];
	json_t *list, *exemplar;
	size_t i;

	snprintf(series, sizeof(series), "%s{comm=\"%s\"}", DURATION, comm);
	list = prometheus_exemplars(prometheus, series);
	json_array_foreach(list, i, exemplar)
	{
		double value = strtod(json_string_value(json_object_get(exemplar, "value")), NULL);

		found |= fabs(value - longest) <= longest / 50 + 0.5e-3;
	}
	if (!found)
		test_fail("none of %zu exemplars is %.3f ms", json_array_size(list), longest * 1e3);
	json_decref(list);
}

/*
 * Within 10 % wherever a rank may fall in a bucket of schema 3, which are 9 % wide; those of schema 2 are 19 % wide.
 */
static void quantiles_of(double (*which)(int i), const char *name)
{
	static const double ranks[] = { 0.1, 0.25, 0.5, 0.75, 0.9, 0.99 };
	struct leadline *leadline =
		leadline_start_only("requests", (const char *const[]){ ALLOWED, NULL });
	struct prometheus prometheus = prometheus_start(leadline, FEATURES);
	struct dialogue dialogue = { .family = AF_INET,
				     .connections = 1,
				     .server = answer_slowly,
				     .client = ask_and_measure };
	struct parties parties;
	char query[256];

	measured = mmap(NULL, REQUESTS * sizeof(*measured), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(measured != MAP_FAILED);
	distribution = which;
	prometheus_wait(&prometheus);
	parties = dialogue_hold(&dialogue, 60);
	qsort(measured, REQUESTS, sizeof(*measured), compare_doubles);
	prometheus_wait_for_next(&prometheus);

	print_message("# %s\n", name);
	snprintf(query, sizeof(query), "histogram_count(%s{comm=\"%s\"})", DURATION,
		 parties.client);
	if (prometheus_value(&prometheus, query) != REQUESTS)
		test_fail("%s: %g, not %d", query, prometheus_value(&prometheus, query), REQUESTS);
	for (size_t i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++) {
		expect_quantile(&prometheus, DURATION, parties.client, ranks[i], 0.10);
		expect_quantile(&prometheus, FIRST_BYTE, parties.client, ranks[i], 0.19);
	}
	expect_exemplar(&prometheus, parties.client);
	/* The classic buckets are not kept beside it. */
	assert_true(isnan(prometheus_value(&prometheus, "count(" DURATION "_bucket)")));
	munmap(measured, REQUESTS * sizeof(*measured));
	leadline_stop(leadline);
}

static void quantiles_of_a_constant(void **state)
{
	quantiles_of(constant, "constant");
}

static void quantiles_of_two_modes(void **state)
{
	quantiles_of(bimodal, "bimodal");
}

static void quantiles_of_a_heavy_tail(void **state)
{
	quantiles_of(heavy_tail, "heavy tail");
}

/* Every family of the text page, and no sample refused. */
static void everything_else_is_there_too(void **state)
{
	struct leadline *leadline = leadline_start((const char *const[]){ ALLOWED, NULL });
	struct prometheus prometheus = prometheus_start(leadline, FEATURES);
	struct page *page;
	size_t native = 0;

	prometheus_wait(&prometheus);
	page = leadline_scrape(leadline);
	assert_true(page->n_families > 40);
	prometheus_wait_for_next(&prometheus);
	for (size_t i = 0; i < page->n_families; i++) {
		const struct page_family *family = &page->families[i];
		bool histogram = !strcmp(family->type, "histogram");
		char query[300];

		snprintf(query, sizeof(query), histogram ? "sum(histogram_count(%s))" : "count(%s)",
			 family->name);
		if (isnan(prometheus_value(&prometheus, query)))
			test_fail("prometheus has nothing under %s", family->name);
		native += histogram;
	}
	assert_true(native > 5);
	assert_true(prometheus_value(&prometheus, "min_over_time(up[5m])") == 1);
	page_free(page);
	leadline_stop(leadline);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(quantiles_of_a_constant),
		HARNESS_TEST(quantiles_of_two_modes),
		HARNESS_TEST(quantiles_of_a_heavy_tail),
		HARNESS_TEST(everything_else_is_there_too),
	};

	return cmocka_run_group_tests_name("native histograms", tests, NULL, NULL);
}
