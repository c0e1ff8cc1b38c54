/* SPDX-License-Identifier: Apache-2.0 */
/* The harness itself: the page parser, sums and histograms, programs and workloads. No root. */
#include <math.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/harness/harness.h"

static struct page *parse(const char *text)
{
	char error[256];
	struct page *page = page_parse(text, error, sizeof(error));

	if (!page)
		test_fail("%s", error);
	return page;
}

static void samples_are_found_by_label(void **state)
{
	struct page *page = parse(
		"# HELP a_total Things\n# TYPE a_total counter\n"
		"a_total{x=\"1\",y=\"q\\\"\\\\\\n\"} 3\na_total{x=\"2\",y=\"z\"} 4 1700000000\n"
		"b +Inf\nc_bucket{le=\"1.0\"} 7 # {trace=\"t\"} 0.5\n");

	assert_true(metric_sum(page, "a_total", NULL) == 7);
	assert_true(metric_value(page, "a_total", "x", "2", NULL) == 4);
	assert_true(isnan(metric_value(page, "a_total", NULL)));
	assert_int_equal(metric_count(page, "a_total", "x", "3", NULL), 0);
	assert_string_equal(sample_label(metric_find(page, "a_total", "x", "1", NULL), "y"),
			    "q\"\\\n");
	assert_string_equal(page_family(page, "a_total")->type, "counter");
	assert_string_equal(page_family(page, "a_total")->help, "Things");
	assert_true(isinf(metric_value(page, "b", NULL)));
	assert_string_equal(metric_find(page, "c_bucket", NULL)->exemplar, "{trace=\"t\"} 0.5");
	page_free(page);
	(void)state;
}

static void malformed_pages_are_refused(void **state)
{
	static const char *const pages[] = {
		"a 1", /* no newline at the end */
		"a\n",
		"a  1\n",
		"a x\n",
		"1a 1\n",
		"a{x=1} 1\n",
		"a{x=\"1} 1\n",
		"a{x=\"1\",x=\"2\"} 1\n",
		"a 1 2 3\n",
		"a 1\na 2\n",
		"a{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 1\n",
		"# TYPE a gauge\n# TYPE a gauge\n",
	};
	char error[256];

	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		struct page *page = page_parse(pages[i], error, sizeof(error));

		if (page)
			test_fail("accepted: %s", pages[i]);
		assert_true(error[0]);
	}
	(void)state;
}

static void histograms_add_up(void **state)
{
	struct page *page =
		parse("h_bucket{c=\"a\",le=\"1.0\"} 1\nh_bucket{c=\"a\",le=\"2.0\"} 3\n"
		      "h_bucket{c=\"a\",le=\"+Inf\"} 4\nh_sum{c=\"a\"} 9\nh_count{c=\"a\"} 4\n"
		      "h_bucket{c=\"b\",le=\"1.0\"} 0\nh_bucket{c=\"b\",le=\"2.0\"} 0\n"
		      "h_bucket{c=\"b\",le=\"+Inf\"} 2\nh_sum{c=\"b\"} 6\nh_count{c=\"b\"} 2\n");
	struct page_histogram all = metric_histogram(page, "h", NULL);
	struct page_histogram one = metric_histogram(page, "h", "c", "a", NULL);
	struct page_histogram delta = page_histogram_delta(&one, &all);

	assert_int_equal(all.n_series, 2);
	assert_true(all.count == 6 && all.sum == 15 && all.n_bounds == 3);
	assert_true(all.cumulative[0] == 1 && all.cumulative[1] == 3 && all.cumulative[2] == 6);
	assert_true(fabs(page_histogram_quantile(&one, 0.5) - 1.5) < 1e-9);
	assert_true(page_histogram_mean(&one) == 2.25);
	assert_true(delta.count == 2 && delta.sum == 6 && delta.cumulative[1] == 0 &&
		    delta.cumulative[2] == 2);
	assert_int_equal(metric_histogram(page, "g", NULL).n_series, 0);
	page_free(page);
	(void)state;
}

static void programs_report_their_end(void **state)
{
	struct output *output = run_shell("echo out; echo err >&2; exit %d", 7);

	assert_int_equal(output->status, 7);
	assert_string_equal(output->text, "out\nerr\n");
	output_free(output);
	output = run_program(0.1, (const char *const[]){ "sleep", "60", NULL });
	assert_int_equal(output->status, 124);
	output_free(output);
	output = run_shell("kill -9 $$");
	assert_int_equal(output->status, 128 + 9);
	output_free(output);
	(void)state;
}

static int count_to(void *argument, void *shared)
{
	*(int *)shared = *(int *)argument;
	return sched_getcpu() == 0 ? 0 : 1;
}

static void workloads_have_a_name_and_a_cpu(void **state)
{
	int number = 4211;
	struct workload *workload = workload_start("count", 0, count_to, &number);
	char path[64], expected[32], *comm = NULL;

	snprintf(path, sizeof(path), "/proc/%d/comm", workload->pid);
	snprintf(expected, sizeof(expected), "%s\n", workload->comm);
	assert_true(WAIT_UNTIL((free(comm), comm = read_file(path), !strcmp(comm, expected)), 5));
	free(comm);
	assert_int_equal(*(int *)workload->shared, 0);
	workload_finish(workload, 5);
	assert_int_equal(*(int *)workload->shared, number);
	(void)state;
}

static char kept_path[256];

static void directories_are_made(void **state)
{
	snprintf(kept_path, sizeof(kept_path), "%s",
		 write_file(temporary_directory(), "file", "text"));
	assert_int_equal(access(kept_path, R_OK), 0);
	(void)state;
}

static void directories_are_gone_after_the_test(void **state)
{
	assert_int_not_equal(access(kept_path, F_OK), 0);
	(void)state;
}

static void http_is_fetched(void **state)
{
	struct nginx *nginx = nginx_start(NULL, "location = /slow { return 202; }");
	struct answer *answer = fetch(NULL, nginx_url(nginx, "/"), NULL, NULL);
	char reply[512];

	assert_int_equal(answer->status, 200);
	assert_string_equal(answer->body, "ok\n");
	assert_string_equal(answer_header(answer, "content-TYPE"), "text/plain");
	assert_null(answer_header(answer, "content"));
	answer_free(answer);
	assert_true(send_raw(nginx->port, "nonsense\r\n\r\n", 12, reply, sizeof(reply), 5) > 0);
	assert_non_null(strstr(reply, "400"));
	assert_true(WAIT_UNTIL(nginx_requests(nginx) == 2, 5));
	nginx_stop(nginx);
	answer = fetch(NULL, nginx_url(nginx, "/"), NULL, NULL);
	assert_int_equal(answer->status, 0);
	assert_true(answer->error[0]);
	answer_free(answer);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(samples_are_found_by_label),
		cmocka_unit_test(malformed_pages_are_refused),
		cmocka_unit_test(histograms_add_up),
		HARNESS_TEST(programs_report_their_end),
		HARNESS_TEST(workloads_have_a_name_and_a_cpu),
		HARNESS_TEST(directories_are_made),
		HARNESS_TEST(directories_are_gone_after_the_test),
		HARNESS_TEST(http_is_fetched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
