// SPDX-License-Identifier: Apache-2.0
/* Which metrics, series and labels the configuration lets through, and what it says of names that are wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "agent/metrics_options.h"
#include "agent/registry.h"

static const struct metric_desc waits = {
	.name = "a_waits_total", .kind = METRIC_COUNTER, .per_entity = true, .labels = { "reason" }
};
static const struct metric_desc oldest = { .name = "b_oldest_seconds",
					   .unit = "seconds",
					   .kind = METRIC_GAUGE,
					   .per_entity = true,
					   .merges_by_max = true };
static const struct metric_desc worst = { .name = "c_max_seconds",
					  .unit = "seconds",
					  .kind = METRIC_GAUGE,
					  .labels = { "device" },
					  .merges_by_max = true };
static const struct metric_desc latency = { .name = "c_seconds",
					    .unit = "seconds",
					    .kind = METRIC_HISTOGRAM,
					    .labels = { "device" },
					    .worst = &worst };
static const struct metric_desc load = { .name = "d_load", .kind = METRIC_GAUGE };

enum { NGINX = 1, REDIS, KWORKER };

static const char *const *labels_of(void *context, uint32_t entity)
{
	static const char *const labels[][ENTITY_LABELS] = {
		[0] = { "", "", "", "", "other" },
		[NGINX] = { "", "", "", "web.service", "nginx" },
		[REDIS] = { "", "", "", "web.service", "redis" },
		[KWORKER] = { "", "", "", "", "kworker/0:1" },
	};

	return labels[entity];
}

static bool redis_leaves;

static bool is_leaving(void *context, uint32_t entity)
{
	return redis_leaves && entity == REDIS;
}

static struct registry *registry;

static int make_registry(void **state)
{
	redis_leaves = false;
	registry = registry_new(labels_of, NULL);
	registry_on_leaving(registry, is_leaving);
	return registry ? 0 : -1;
}

static int free_registry(void **state)
{
	registry_free(registry);
	return 0;
}

static void set_filter(const struct series_filter_settings *settings)
{
	struct series_filter *filter;
	char error[256];

	if (series_filter_new(settings, &filter, error, sizeof(error)))
		fail_msg("%s", error);
	registry_set_filter(registry, filter);
}

static void write_waits(struct metric_writer *writer, uint32_t entity, double lock, double disk)
{
	metric_write(writer, &waits, entity, (const char *[]){ "lock" }, lock);
	metric_write(writer, &waits, entity, (const char *[]){ "disk" }, disk);
}

static void write_latency(struct metric_writer *writer, const char *device, uint64_t n)
{
	metric_write_histogram(writer, &latency, ENTITY_NONE, (const char *[]){ device },
			       &(struct histogram_view){ .schema = 2,
							 .n_slots = 2,
							 .slots = (const uint64_t[]){ n, 0 },
							 .sum = (double)n,
							 .max = 1 });
}

/* Of everything something; sda may be gone. */
static struct snapshot *collect_with(bool has_redis, bool has_sda)
{
	struct metric_writer *writer = registry_begin(registry);
	struct snapshot *snapshot;

	write_waits(writer, NGINX, 2, 3);
	metric_write(writer, &oldest, NGINX, NULL, 11);
	if (has_redis) {
		write_waits(writer, REDIS, 5, 7);
		metric_write(writer, &oldest, REDIS, NULL, 13);
	}
	write_waits(writer, KWORKER, 17, 19);
	write_waits(writer, ENTITY_NONE, 23, 29);
	if (has_sda)
		write_latency(writer, "sda", 31);
	write_latency(writer, "sdb", 37);
	metric_write(writer, &load, ENTITY_NONE, NULL, 1);
	snapshot = registry_finish(registry);
	assert_non_null(snapshot);
	return snapshot;
}

static struct snapshot *collect(void)
{
	return collect_with(true, true);
}

static size_t count(const struct snapshot *snapshot, const char *metric)
{
	const struct family *family = snapshot_family(snapshot, metric);

	return family ? family->n_series : 0;
}

/* Of the series of that metric with this program and this first label of its own; -1 where there is none. */
static double value_of(const struct snapshot *snapshot, const char *metric, const char *comm,
		       const char *label)
{
	const struct family *family = snapshot_family(snapshot, metric);

	for (size_t i = 0; family && i < family->n_series; i++)
		if (!strcmp(family->series[i].entity[4], comm) &&
		    (!label || !strcmp(family->series[i].labels[0], label)))
			return family->series[i].value;
	return -1;
}

static void assert_filtered(uint64_t disabled, uint64_t denied, uint64_t not_allowed)
{
	assert_int_equal(registry_filtered(registry, SERIES_DISABLED), disabled);
	assert_int_equal(registry_filtered(registry, SERIES_DENIED), denied);
	assert_int_equal(registry_filtered(registry, SERIES_NOT_ALLOWED), not_allowed);
}

static void assert_all_is_there(void)
{
	struct snapshot *snapshot = collect();

	assert_int_equal(snapshot->n_series, 8 + 2 + 2 + 2 + 1);
	assert_filtered(0, 0, 0);
	snapshot_put(snapshot);
}

static void disabled_metrics_are_left_out(void **state)
{
	struct snapshot *snapshot;

	assert_all_is_there();
	set_filter(&(struct series_filter_settings){ .disable = " c_*  d_load" });
	snapshot = collect();
	assert_int_equal(count(snapshot, "a_waits_total"), 8);
	assert_int_equal(count(snapshot, "b_oldest_seconds"), 2);
	assert_int_equal(snapshot->n_series, 10);
	assert_filtered(3, 0, 0);
	/* health still has the whole */
	assert_int_equal(snapshot_whole_family(snapshot, "c_seconds")->n_series, 2);
	assert_int_equal(snapshot_whole_family(snapshot, "d_load")->n_series, 1);
	assert_int_equal(snapshot_whole_family(snapshot, "a_waits_total")->n_series, 8);
	snapshot_put(snapshot);

	/* the gauge goes without its histogram */
	set_filter(&(struct series_filter_settings){ .disable = "c_max_seconds" });
	snapshot = collect();
	assert_int_equal(count(snapshot, "c_max_seconds"), 0);
	assert_int_equal(count(snapshot, "c_seconds"), 2);
	snapshot_put(snapshot);

	registry_set_filter(registry, NULL);
	assert_all_is_there();
}

static void series_are_denied_by_label(void **state)
{
	struct snapshot *snapshot;

	set_filter(&(struct series_filter_settings){ .deny = "comm=kworker.*|edis reason=di.k" });
	snapshot = collect();
	assert_int_equal(count(snapshot, "a_waits_total"), 3); /* the whole value has to match */
	assert_true(value_of(snapshot, "a_waits_total", "redis", "lock") == 5);
	assert_true(value_of(snapshot, "a_waits_total", "nginx", "disk") == -1);
	assert_true(value_of(snapshot, "a_waits_total", "kworker/0:1", "lock") == -1);
	assert_true(value_of(snapshot, "a_waits_total", "", "lock") == 23);
	assert_int_equal(count(snapshot, "c_seconds"), 2); /* has neither label */
	assert_filtered(0, 5, 0);
	snapshot_put(snapshot);
}

static void series_are_allowed_by_label(void **state)
{
	struct snapshot *snapshot;

	/* either term of a label, but each label */
	set_filter(&(struct series_filter_settings){
		.allow = "comm=ng.* comm=redis unit=web.service reason=lock" });
	snapshot = collect();
	assert_int_equal(count(snapshot, "a_waits_total"), 2);
	assert_true(value_of(snapshot, "a_waits_total", "nginx", "lock") == 2);
	assert_true(value_of(snapshot, "a_waits_total", "redis", "lock") == 5);
	assert_int_equal(count(snapshot, "b_oldest_seconds"), 2);
	assert_int_equal(count(snapshot, "d_load"), 1);
	assert_filtered(0, 0, 6);
	snapshot_put(snapshot);

	/* what no program has done has empty labels */
	set_filter(&(struct series_filter_settings){ .allow = "comm=nginx| device=sda" });
	snapshot = collect();
	assert_int_equal(count(snapshot, "a_waits_total"), 4);
	assert_true(value_of(snapshot, "a_waits_total", "", "disk") == 29);
	assert_int_equal(count(snapshot, "c_seconds"), 1);
	assert_int_equal(count(snapshot, "c_max_seconds"), 1);
	assert_string_equal(snapshot_family(snapshot, "c_seconds")->series[0].labels[0], "sda");
	assert_int_equal(snapshot_whole_family(snapshot, "c_seconds")->n_series, 2);
	assert_filtered(0, 0, 6);
	snapshot_put(snapshot);
}

static void dropped_labels_join_series(void **state)
{
	struct snapshot *snapshot;

	/* judged by what they were called before */
	set_filter(&(struct series_filter_settings){ .drop_labels = "comm reason",
						     .deny = "comm=kworker.*" });
	snapshot = collect();
	assert_int_equal(count(snapshot, "a_waits_total"), 2);
	assert_true(value_of(snapshot, "a_waits_total", "", "") == 23 + 29);
	assert_true(snapshot_family(snapshot, "a_waits_total")->series[1].value == 2 + 3 + 5 + 7);
	assert_string_equal(snapshot_family(snapshot, "a_waits_total")->series[1].entity[3],
			    "web.service");
	assert_int_equal(count(snapshot, "b_oldest_seconds"), 1);
	assert_true(snapshot_family(snapshot, "b_oldest_seconds")->series[0].value == 13);
	snapshot_put(snapshot);
}

static void joined_series_do_not_fall(void **state)
{
	const struct family *family;
	struct snapshot *snapshot;

	set_filter(&(struct series_filter_settings){ .drop_labels = "comm device" });
	redis_leaves = true;
	snapshot_put(collect());
	assert_int_equal(registry_forget_entity(registry, REDIS), 0);
	redis_leaves = false;
	for (int i = 0; i < 3; i++) {
		snapshot = collect_with(false, false);
		family = snapshot_family(snapshot, "a_waits_total");
		assert_int_equal(family->n_series, 4);
		assert_string_equal(family->series[3].labels[0], "lock");
		assert_true(family->series[3].value == 2 + 5);
		family = snapshot_family(snapshot, "c_seconds");
		assert_int_equal(family->n_series, 1);
		assert_int_equal(histogram_count(&family->series[0].histogram), 31 + 37);
		snapshot_put(snapshot);
	}

	/* another filter: what is gone does not come back under labels it never had */
	registry_set_filter(registry, NULL);
	snapshot = collect_with(false, true);
	assert_true(value_of(snapshot, "a_waits_total", "nginx", "lock") == 2);
	assert_int_equal(count(snapshot, "a_waits_total"), 6);
	snapshot_put(snapshot);
}

static void the_cap_may_be_set(void **state)
{
	struct snapshot *snapshot;

	set_filter(&(struct series_filter_settings){ .max_series = 3 });
	snapshot = collect();
	assert_int_equal(count(snapshot, "a_waits_total"), 4);
	assert_true(value_of(snapshot, "a_waits_total", "other", "other") ==
		    2 + 3 + 5 + 7 + 17 + 19 + 23 + 29 - (23 + 29 + 19));
	snapshot_put(snapshot);
}

/* Without the limit the second half of the expression would match in the end. */
static void a_match_takes_a_bounded_time(void **state)
{
	static const char *const name = "comm", *const value = "aaaaaaaaaaaaaaaaaaaaac";
	struct series_filter *filter;
	char error[256];

	assert_int_equal(
		series_filter_new(&(struct series_filter_settings){ .deny = "comm=(a+)+b|a+c" },
				  &filter, error, sizeof(error)),
		0);
	assert_int_equal(series_filter_judge(filter, &name, &value, 1), SERIES_PASSES);
	assert_int_equal(series_filter_judge(filter, &name, &(const char *){ "ac" }, 1),
			 SERIES_DENIED);
	series_filter_free(filter);
	series_filter_free(NULL);
}

/* ---- the configuration ---- */

static struct config *parse(const char *yaml, struct buffer *errors)
{
	struct config *config = NULL;

	config_parse(config_tables(), "test.yaml", yaml, strlen(yaml), &config, errors);
	return config;
}

static void assert_refused(const char *setting, const char *wanted)
{
	struct buffer errors = { 0 };
	char yaml[4096];

	snprintf(yaml, sizeof(yaml), "metrics:\n  %s\n", setting);
	assert_null(parse(yaml, &errors));
	buffer_char(&errors, '\0');
	assert_string_equal(errors.data, wanted);
	buffer_free(&errors);
}

static void wrong_names_are_told(void **state)
{
	char many[1024] = "deny: '";

	assert_refused(
		"disable: leadline_*_seconds leadline_proces_execs_total",
		"test.yaml:2: metrics.disable: \"leadline_proces_execs_total\" is no metric and matches none; did you mean leadline_process_execs_total?\n");
	assert_refused(
		"disable: ledlin_*",
		"test.yaml:2: metrics.disable: \"ledlin_*\" is no metric and matches none; `leadline metrics` lists them all\n");
	assert_refused(
		"drop_labels: unit contaner",
		"test.yaml:2: metrics.drop_labels: \"contaner\" is no label of any metric; did you mean container?\n");
	assert_refused(
		"allow: namspace=prod",
		"test.yaml:2: metrics.allow: \"namspace\" is no label of any metric; did you mean namespace?\n");
	assert_refused("deny: comm",
		       "test.yaml:2: metrics.deny: \"comm\" is not a term; write LABEL=REGEX\n");
	assert_refused("deny: =x",
		       "test.yaml:2: metrics.deny: \"=x\" is not a term; write LABEL=REGEX\n");
	assert_refused(
		"deny: unit=a comm=kworker(",
		"test.yaml:2: metrics.deny: \"kworker(\" is not a regular expression: missing closing parenthesis, after 8 bytes\n");
	assert_refused(
		"max_series: -1",
		"test.yaml:2: metrics.max_series: \"-1\" is too small; write a whole number from 0 to 1000000\n");
	for (int i = 0; i <= SERIES_FILTER_MAX_TERMS; i++)
		strcat(many, "comm=x ");
	assert_refused(
		strcat(many, "'"),
		"test.yaml:2: metrics.deny: has 65 terms, at most 64 are possible; join some with LABEL=ONE|OTHER\n");
}

static void settings_make_a_filter(void **state)
{
	struct buffer errors = { 0 };
	struct config *none = parse("#", &errors), *some;
	struct series_filter *filter;

	assert_int_equal(metrics_filter_new(none, &filter), 0);
	assert_null(filter);
	assert_false(metrics_filter_joins_entities(filter));
	some = parse("metrics:\n  disable: leadline_softnet_* leadline_host_load1\n"
		     "  drop_labels: pod reason\n  deny: comm=kworker.*\n  allow: reason=.*\n",
		     &errors);
	assert_non_null(some);
	assert_int_equal(metrics_filter_new(some, &filter), 0);
	assert_true(series_filter_disables(filter, "leadline_host_load1"));
	assert_true(series_filter_disables(filter, "leadline_softnet_dropped_total"));
	assert_false(series_filter_disables(filter, "leadline_host_load15"));
	assert_true(metrics_filter_joins_entities(filter));
	assert_true(metrics_filter_differs(none, some));
	assert_false(metrics_filter_differs(some, some));
	series_filter_free(filter);
	config_free(some);

	some = parse("metrics: {max_series: 7, drop_labels: reason}", &errors);
	assert_int_equal(metrics_filter_new(some, &filter), 0);
	assert_int_equal(series_filter_max_series(filter), 7);
	assert_false(metrics_filter_joins_entities(filter));
	series_filter_free(filter);
	config_free(some);
	config_free(none);
	buffer_free(&errors);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_registry, free_registry)
	const struct CMUnitTest tests[] = {
		TEST(disabled_metrics_are_left_out),
		TEST(series_are_denied_by_label),
		TEST(series_are_allowed_by_label),
		TEST(dropped_labels_join_series),
		TEST(joined_series_do_not_fall),
		TEST(the_cap_may_be_set),
		cmocka_unit_test(a_match_takes_a_bounded_time),
		cmocka_unit_test(wrong_names_are_told),
		cmocka_unit_test(settings_make_a_filter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
