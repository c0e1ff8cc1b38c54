// SPDX-License-Identifier: Apache-2.0
/* The tcp probe without a kernel: rows of known content in, series out; the object against its descriptor. No root. */
#include <bpf/libbpf.h>
#include <math.h>
#include "agent/registry.h"
#include "bpf/tcp.h"
#include "probes/probe.h"
#include "probes/tcp.h"
#include "tcp.skel.h"
#include "tests/harness/harness.h"

static const char *const *labels_of(void *context, uint32_t entity)
{
	static const char *labels[ENTITY_LABELS] = { "", "", "", "", "program" };

	(void)context;
	(void)entity;
	return labels;
}

static struct snapshot *write_seen(struct tcp_row *row, struct tcp_sights sights,
				   uint64_t *ret_events)
{
	struct registry *registry = registry_new(labels_of, NULL);
	struct snapshot *snapshot;

	*ret_events = tcp_row_write(row, 3, sights, registry_begin(registry));
	snapshot = registry_finish(registry);
	assert_non_null(snapshot);
	registry_free(registry);
	return snapshot;
}

static struct snapshot *write_row(struct tcp_row *row, uint64_t *ret_events)
{
	return write_seen(row, (struct tcp_sights){ .resets = { true, true } }, ret_events);
}

/* The series with this own label (NULL: the only one), or NULL. */
static const struct series *find(const struct snapshot *snapshot, const char *metric,
				 const char *label)
{
	const struct family *family = snapshot_family(snapshot, metric);

	for (size_t i = 0; family && i < family->n_series; i++)
		if (!label || !strcmp(family->series[i].labels[0], label))
			return &family->series[i];
	return NULL;
}

static double value(const struct snapshot *snapshot, const char *metric, const char *label)
{
	const struct series *series = find(snapshot, metric, label);

	return series ? series->value : NAN;
}

static void a_row_becomes_series(void **state)
{
	struct tcp_row row = {
		.bytes = { [TCP_SENT] = 11, [TCP_RECEIVED] = 13 },
		.resets = { [TCP_SENT] = 2, [TCP_RECEIVED] = 3 },
		.opened = { [TCP_CLIENT] = 5, [TCP_SERVER] = 7 },
		.retransmitted = 17,
		.generation = 4,
	};
	struct snapshot *snapshot;
	uint64_t events;

	for (int i = 0; i < TCP_FAILURES; i++)
		row.failures[i] = 100 + (uint64_t)i;
	hist_record(&row.connect, 1000000);
	hist_record(&row.connect, 3000000);
	hist_record(&row.rtt, 40000);
	snapshot = write_row(&row, &events);

	assert_int_equal(events, 2 + 3 + 5 + 7 + 7 * 100 + 21);
	assert_true(value(snapshot, "leadline_tcp_bytes_total", "sent") == 11);
	assert_true(value(snapshot, "leadline_tcp_bytes_total", "received") == 13);
	assert_true(value(snapshot, "leadline_tcp_resets_total", "sent") == 2);
	assert_true(value(snapshot, "leadline_tcp_resets_total", "received") == 3);
	assert_true(value(snapshot, "leadline_tcp_connections_opened_total", "client") == 5);
	assert_true(value(snapshot, "leadline_tcp_connections_opened_total", "server") == 7);
	assert_true(value(snapshot, "leadline_tcp_retransmitted_segments_total", NULL) == 17);
	assert_int_equal(
		histogram_count(&find(snapshot, "leadline_tcp_rtt_seconds", NULL)->histogram), 1);
	assert_true(
		fabs(find(snapshot, "leadline_tcp_connect_duration_seconds", NULL)->histogram.sum -
		     0.004) < 1e-12);
	assert_int_equal(row.connect.max_ns, 0); /* begins anew */
	snapshot_put(snapshot);
	(void)state;
}

static void what_is_not_looked_at_is_no_zero(void **state)
{
	struct tcp_row row = { .bytes = { [TCP_SENT] = 11 }, .resets = { [TCP_RECEIVED] = 3 } };
	uint64_t events;
	struct snapshot *snapshot = write_seen(
		&row, (struct tcp_sights){ .resets = { [TCP_RECEIVED] = true } }, &events);

	assert_true(value(snapshot, "leadline_tcp_resets_total", "received") == 3);
	assert_null(find(snapshot, "leadline_tcp_resets_total", "sent"));
	snapshot_put(snapshot);
	(void)state;
}

static void every_failure_has_its_reason(void **state)
{
	static const struct {
		enum tcp_failure failure;
		const char *reason;
	} expected[] = {
		{ TCP_FAILED_REFUSED, "refused" },
		{ TCP_FAILED_TIMEOUT, "timeout" },
		{ TCP_FAILED_UNREACHABLE, "unreachable" },
		{ TCP_FAILED_RESET, "reset" },
		{ TCP_FAILED_ABORTED, "aborted" },
		{ TCP_FAILED_LOCAL, "local" },
		{ TCP_FAILED_OTHER, "other" },
	};

	assert_int_equal(sizeof(expected) / sizeof(expected[0]), TCP_FAILURES);
	for (size_t i = 0; i < TCP_FAILURES; i++) {
		struct tcp_row row = {};
		struct snapshot *snapshot;
		uint64_t events;

		row.failures[expected[i].failure] = 1;
		snapshot = write_row(&row, &events);
		assert_int_equal(events, 1);
		assert_int_equal(
			snapshot_family(snapshot, "leadline_tcp_connect_failures_total")->n_series,
			1);
		assert_true(value(snapshot, "leadline_tcp_connect_failures_total",
				  expected[i].reason) == 1);
		assert_null(find(snapshot, "leadline_tcp_connections_opened_total", NULL));
		assert_null(find(snapshot, "leadline_tcp_rtt_seconds", NULL));
		snapshot_put(snapshot);
	}
	(void)state;
}

static void an_empty_row_has_no_series(void **state)
{
	struct tcp_row row = { .generation = 9, .orphaned = 4 };
	uint64_t events;
	struct snapshot *snapshot = write_row(&row, &events);

	assert_int_equal(events, 0);
	assert_int_equal(snapshot->n_series, 0);
	snapshot_put(snapshot);
	(void)state;
}

static void a_forgotten_row_starts_a_generation(void **state)
{
	struct tcp_row row = {
		.opened = { 1, 2 }, .bytes = { 8, 9 }, .retransmitted = 6, .generation = 4
	};
	struct tcp_row expected = { .generation = 5 };

	hist_record(&row.rtt, 5000);
	assert_int_equal(tcp_row_forget(&row), 3);
	assert_memory_equal(&row, &expected, sizeof(row));
	(void)state;
}

static void the_object_fits_its_descriptor(void **state)
{
	struct tcp_bpf *skeleton = tcp_bpf__open();

	assert_non_null(skeleton);
	assert_int_equal(bpf_map__value_size(skeleton->maps.tcp_rows), sizeof(struct tcp_row));
	assert_int_equal(sizeof(skeleton->rodata->settings), sizeof(struct tcp_settings));
	/* Connections inherit the owner of the listener: BPF_F_CLONE. */
	assert_true(bpf_map__map_flags(skeleton->maps.tcp_sockets) & BPF_F_CLONE);
	for (const struct hook *hook = probe_tcp.hooks; hook->name; hook++)
		for (int i = 0; i < HOOK_MAX_ALTERNATIVES && hook->alternatives[i].program; i++) {
			const struct hook_alternative *alternative = &hook->alternatives[i];
			struct bpf_program *program = bpf_object__find_program_by_name(
				skeleton->obj, alternative->program);
			char section[128];

			assert_non_null(program);
			snprintf(section, sizeof(section), "%s/%s",
				 alternative->kind == HOOK_TP_BTF ? "tp_btf" : "iter",
				 alternative->target);
			assert_string_equal(bpf_program__section_name(program), section);
		}
	tcp_bpf__destroy(skeleton);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_row_becomes_series),
		cmocka_unit_test(what_is_not_looked_at_is_no_zero),
		cmocka_unit_test(every_failure_has_its_reason),
		cmocka_unit_test(an_empty_row_has_no_series),
		cmocka_unit_test(a_forgotten_row_starts_a_generation),
		cmocka_unit_test(the_object_fits_its_descriptor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
