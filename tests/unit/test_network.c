// SPDX-License-Identifier: Apache-2.0
/* The network probe without a kernel: enums, rows and files of known content in, series out. No root. */
#include <bpf/libbpf.h>
#include <errno.h>
#include <math.h>
#include "agent/registry.h"
#include "bpf/lib/task.h"
#include "probes/network.h"
#include "probes/probe.h"
#include "probes/softnet.h"
#include "tests/harness/harness.h"
#include "network.skel.h"

static struct registry *registry;

/* Entity 3 is "program3"; entities from 90 on have one name, as two programs of one container can. */
static const char *const *labels_of(void *context, uint32_t entity)
{
	static char name[32];
	static const char *labels[ENTITY_LABELS] = { "", "", "", "", name };

	(void)context;
	if (entity == ENTITY_OTHER)
		strcpy(name, "other");
	else
		snprintf(name, sizeof(name), "program%u", entity < 90 ? entity : 90);
	return labels;
}

static int set_up(void **state)
{
	registry = registry_new(labels_of, NULL);
	(void)state;
	return registry ? 0 : -1;
}

static int tear_down(void **state)
{
	registry_free(registry);
	(void)state;
	return 0;
}

/* Value of the only series with this own label and program ("": the host's); NaN when there is none. */
static double value(const struct snapshot *snapshot, const char *metric, const char *label,
		    const char *comm)
{
	const struct family *family = snapshot_family(snapshot, metric);

	for (size_t i = 0; family && i < family->n_series; i++)
		if (!strcmp(family->series[i].labels[0], label) &&
		    (!*comm || !strcmp(family->series[i].entity[4], comm)))
			return family->series[i].value;
	return NAN;
}

/* ---- reasons ---- */

static void teach(struct drop_reasons *reasons)
{
	static const struct {
		const char *name;
		int64_t value;
	} entries[] = {
		{ "SKB_NOT_DROPPED_YET", 0 },
		{ "SKB_CONSUMED", 1 },
		{ "SKB_DROP_REASON_NOT_SPECIFIED", 2 },
		{ "SKB_DROP_REASON_NETFILTER_DROP", 4 },
		{ "SKB_DROP_REASON_MAX", 5 },
		{ "SKB_DROP_REASON_SUBSYS_MASK", 0xffff0000LL },
	};

	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
		assert_int_equal(drop_reasons_add(reasons, entries[i].name, entries[i].value), 0);
	drop_reasons_add_subsystem(reasons, "SKB_DROP_REASON_SUBSYS_CORE", 0);
	drop_reasons_add_subsystem(reasons, "SKB_DROP_REASON_SUBSYS_OPENVSWITCH", 2);
	drop_reasons_add_subsystem(reasons, "SKB_DROP_REASON_SUBSYS_NUM", 3);
}

static const char *name_of(const struct drop_reasons *reasons, uint32_t reason)
{
	static char text[DROP_REASON_NAME_SIZE];

	return drop_reasons_name(
		reasons,
		drop_row(drop_reasons_core(reasons), drop_reasons_subsystems(reasons), reason),
		text);
}

static void reasons_are_named_as_the_kernel_does(void **state)
{
	struct drop_reasons reasons = { 0 };

	teach(&reasons);
	assert_int_equal(drop_reasons_core(&reasons), 5);
	assert_int_equal(drop_reasons_subsystems(&reasons), 3);
	assert_null(name_of(&reasons, 0));
	assert_null(name_of(&reasons, 1));
	assert_string_equal(name_of(&reasons, 2), "NOT_SPECIFIED");
	assert_string_equal(name_of(&reasons, 4), "NETFILTER_DROP");
	assert_string_equal(name_of(&reasons, 5), "other");
	assert_string_equal(name_of(&reasons, 2 << 16 | 3), "OPENVSWITCH_3");
	assert_string_equal(name_of(&reasons, 1 << 16 | 63), "subsystem_1_63");
	assert_string_equal(name_of(&reasons, 1 << 16 | 64), "other");
	assert_string_equal(name_of(&reasons, 3 << 16 | 1), "other");
	assert_string_equal(name_of(&reasons, 0xffffffff), "other");
	drop_reasons_free(&reasons);
	(void)state;
}

static void a_kernel_without_reasons_has_one(void **state)
{
	struct drop_reasons reasons = { 0 };

	assert_int_equal(drop_rows(drop_reasons_core(&reasons), drop_reasons_subsystems(&reasons)),
			 2);
	assert_string_equal(name_of(&reasons, 0), "NOT_SPECIFIED");
	assert_string_equal(name_of(&reasons, 1), "other");
	(void)state;
}

static void hostile_enums_are_bounded(void **state)
{
	char longest[300], name[DROP_REASON_NAME_SIZE];
	struct drop_reasons reasons = { 0 };

	memset(longest, 'X', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	memcpy(longest, "SKB_DROP_REASON_SUBSYS_", strlen("SKB_DROP_REASON_SUBSYS_"));
	assert_int_equal(drop_reasons_add(&reasons, longest, DROP_MAX_CORE_REASONS), 0);
	assert_int_equal(drop_reasons_add(&reasons, longest, INT64_MAX), 0);
	assert_int_equal(drop_reasons_add(&reasons, longest, -1), 0);
	assert_int_equal(reasons.core, 0);
	assert_int_equal(drop_reasons_add(&reasons, longest, DROP_MAX_CORE_REASONS - 1), 0);
	assert_int_equal(strlen(drop_reasons_name(&reasons, DROP_MAX_CORE_REASONS - 1, name)),
			 DROP_REASON_NAME_SIZE - 1);
	drop_reasons_add_subsystem(&reasons, longest, DROP_MAX_SUBSYSTEMS + 1);
	drop_reasons_add_subsystem(&reasons, longest, -1);
	assert_int_equal(reasons.subsystems, 0);
	drop_reasons_add_subsystem(&reasons, longest, DROP_MAX_SUBSYSTEMS);
	assert_int_equal(reasons.subsystems, DROP_MAX_SUBSYSTEMS);
	assert_true(strlen(name_of(&reasons, DROP_MAX_SUBSYSTEMS << 16 | 7)) <
		    DROP_REASON_NAME_SIZE);
	drop_reasons_free(&reasons);
	(void)state;
}

static void drops_of_all_cpus_are_added_up(void **state)
{
	struct drop_reasons reasons = { 0 };
	struct snapshot *snapshot;
	uint64_t *rows;
	unsigned n;

	teach(&reasons);
	n = drop_rows(drop_reasons_core(&reasons), drop_reasons_subsystems(&reasons));
	rows = calloc(2 * n, sizeof(*rows));
	rows[1] = 1000; /* consumed: no drop */
	rows[4] = 5;
	rows[n + 4] = 6;
	rows[n + n - 1] = 7;
	assert_int_equal(packet_drops_write(&reasons, rows, 2, registry_begin(registry)),
			 5 + 6 + 7);
	snapshot = registry_finish(registry);
	assert_int_equal(snapshot->n_series, 2);
	assert_true(value(snapshot, "leadline_packet_drops_total", "NETFILTER_DROP", "") == 11);
	assert_true(value(snapshot, "leadline_packet_drops_total", "other", "") == 7);
	snapshot_put(snapshot);
	free(rows);
	drop_reasons_free(&reasons);
	(void)state;
}

/* ---- UDP ---- */

static double udp_of(struct udp_table *table, uint64_t total, const char *comm)
{
	const uint64_t totals[UDP_DROP_REASONS] = { [UDP_DROP_RECEIVE_BUFFER] = total };
	struct snapshot *snapshot;
	double drops;

	assert_int_equal(udp_table_write(table, totals, registry_begin(registry)), total);
	snapshot = registry_finish(registry);
	drops = value(snapshot, "leadline_udp_drops_total", "receive_buffer_full", comm);
	snapshot_put(snapshot);
	return drops;
}

static void what_is_nobodys_is_left_over(void **state)
{
	struct udp_row rows[4] = { [3] = { .drops = { 11 }, .generation = 5 } };
	struct udp_totals totals = { .pending = { 13 } };
	struct udp_table table = { .totals = &totals, .rows = rows, .entities = 4 };

	assert_true(udp_of(&table, 31, "program3") == 11);
	assert_true(udp_of(&table, 31, "other") == 7);
	/* An owner was found. */
	totals.pending[0] = 0;
	rows[2].drops[0] = 13;
	assert_true(udp_of(&table, 31, "program2") == 13);
	assert_true(udp_of(&table, 31, "other") == 7);
	/* More drops between one reading and the next: "other" does not go back. */
	rows[2].drops[0] = 20;
	assert_true(udp_of(&table, 31, "other") == 7);
	/* A program has ended: its drops are nobody's else. */
	udp_table_forget(&table, 3);
	assert_int_equal(rows[3].generation, 6);
	assert_true(isnan(udp_of(&table, 38, "program3")));
	assert_true(udp_of(&table, 38, "other") == 7);
	(void)state;
}

/* ---- listening sockets ---- */

#define SECOND 1000000000ULL

static struct listen_row listen_rows[6];
static struct listen_past listen_pasts[6];
static struct listen_table listen_table;

static void new_listen_table(void)
{
	memset(listen_rows, 0, sizeof(listen_rows));
	memset(listen_pasts, 0, sizeof(listen_pasts));
	listen_table = (struct listen_table){ .rows = listen_rows, .pasts = listen_pasts, .n = 6 };
}

static struct snapshot *write_listen_table(uint64_t now_ns, uint64_t expected_overflows)
{
	assert_int_equal(listen_table_write(&listen_table, now_ns, registry_begin(registry)),
			 expected_overflows);
	return registry_finish(registry);
}

static double listen_value(uint64_t now_ns, const char *metric, const char *port, const char *comm)
{
	struct snapshot *snapshot;
	double result;

	listen_table_write(&listen_table, now_ns, registry_begin(registry));
	snapshot = registry_finish(registry);
	result = value(snapshot, metric, port, comm);
	snapshot_put(snapshot);
	return result;
}

static void levels_compare_as_fractions(void **state)
{
	assert_true(listen_level_is_above(LISTEN_LEVEL(1, 2), LISTEN_LEVEL(100, 201)));
	assert_false(listen_level_is_above(LISTEN_LEVEL(100, 201), LISTEN_LEVEL(1, 2)));
	assert_false(listen_level_is_above(LISTEN_LEVEL(2, 4), LISTEN_LEVEL(1, 2)));
	assert_true(listen_level_is_above(LISTEN_LEVEL(0, 4), 0));
	assert_false(listen_level_is_above(0, LISTEN_LEVEL(0, 4)));
	assert_true(listen_level_is_above(LISTEN_LEVEL(0xfffffffe, 0xffffffff),
					  LISTEN_LEVEL(0xfffffffd, 0xffffffff)));
	(void)state;
}

static void ports_become_series(void **state)
{
	struct snapshot *snapshot;

	new_listen_table();
	listen_rows[2] = (struct listen_row){
		.key = { 4026531840, 443 },
		.entity = 3,
		.sockets = 1,
		.overflows = 11,
		.level = LISTEN_LEVEL(1, 4),
		.highest = LISTEN_LEVEL(3, 4),
	};
	/* Two entities that look the same: overflows add up, of levels the higher one counts. */
	listen_rows[3] = (struct listen_row){ .key = { 5, 80 },
					      .entity = 90,
					      .sockets = 1,
					      .overflows = 2,
					      .level = LISTEN_LEVEL(1, 2) };
	listen_rows[4] = (struct listen_row){ .key = { 6, 80 },
					      .entity = 91,
					      .sockets = 1,
					      .overflows = 3,
					      .level = LISTEN_LEVEL(2, 2) };
	snapshot = write_listen_table(SECOND, 16);
	assert_true(value(snapshot, "leadline_tcp_listen_queue_ratio", "443", "program3") == 0.25);
	assert_true(value(snapshot, "leadline_tcp_listen_queue_max_ratio", "443", "program3") ==
		    0.75);
	assert_true(value(snapshot, "leadline_tcp_listen_overflows_total", "443", "program3") ==
		    11);
	assert_true(value(snapshot, "leadline_tcp_listen_queue_ratio", "80", "program90") == 1);
	assert_true(value(snapshot, "leadline_tcp_listen_queue_max_ratio", "80", "program90") == 1);
	assert_true(value(snapshot, "leadline_tcp_listen_overflows_total", "80", "program90") == 5);
	assert_int_equal(snapshot->n_series, 6);
	snapshot_put(snapshot);

	/* What is not seen is not shown. */
	listen_table.hides_rushes = listen_table.hides_overflows = true;
	snapshot = write_listen_table(SECOND, 16);
	assert_true(value(snapshot, "leadline_tcp_listen_queue_ratio", "443", "program3") == 0.25);
	assert_int_equal(snapshot->n_series, 2);
	snapshot_put(snapshot);
	listen_table.hides_rushes = listen_table.hides_overflows = false;

	listen_table_clear_levels(&listen_table);
	assert_int_equal(listen_rows[2].sockets, 0);
	assert_int_equal(listen_rows[2].level, 0);
	assert_int_equal(listen_rows[2].overflows, 11);

	/* Sockets that found no row. */
	listen_rows[0] =
		(struct listen_row){ .sockets = 2, .overflows = 7, .level = LISTEN_LEVEL(1, 4) };
	assert_true(listen_value(SECOND, "leadline_tcp_listen_overflows_total", "other", "other") ==
		    7);
	(void)state;
}

static void a_maximum_lasts_for_a_window_at_least(void **state)
{
	const char *metric = "leadline_tcp_listen_queue_max_ratio";
	uint64_t now = 1000 * SECOND;

	new_listen_table();
	listen_rows[1] = (struct listen_row){ .key = { 5, 80 }, .entity = 3, .sockets = 1 };
	listen_value(now, metric, "80", "program3");
	listen_rows[1].highest = LISTEN_LEVEL(3, 4);
	assert_true(listen_value(now + LISTEN_WINDOW_NS - 1, metric, "80", "program3") == 0.75);
	assert_int_equal(listen_rows[1].highest, 0);
	assert_true(listen_value(now + LISTEN_WINDOW_NS, metric, "80", "program3") == 0.75);
	assert_true(listen_value(now + 2 * LISTEN_WINDOW_NS - 1, metric, "80", "program3") == 0.75);
	assert_true(listen_value(now + 2 * LISTEN_WINDOW_NS, metric, "80", "program3") == 0);
	(void)state;
}

static uint32_t given_back;
static struct listen_key given_back_key;
static void note_row(void *context, uint32_t row, const struct listen_key *key)
{
	(void)context;
	given_back = row;
	given_back_key = *key;
}

static void a_port_without_sockets_goes_after_a_while(void **state)
{
	uint64_t now = 1000 * SECOND;

	new_listen_table();
	given_back = 0;
	listen_rows[2] =
		(struct listen_row){ .key = { 5, 80 }, .entity = 3, .sockets = 1, .overflows = 13 };
	listen_table_expire(&listen_table, now, note_row, NULL);
	listen_table_clear_levels(&listen_table);
	listen_table_expire(&listen_table, now + LISTEN_LINGER_NS - 1, note_row, NULL);
	assert_int_equal(given_back, 0);
	assert_true(listen_value(now, "leadline_tcp_listen_overflows_total", "80", "program3") ==
		    13);
	listen_table_expire(&listen_table, now + LISTEN_LINGER_NS, note_row, NULL);
	assert_int_equal(given_back, 2);
	assert_int_equal(given_back_key.network, 5);
	assert_int_equal(given_back_key.port, 80);
	assert_int_equal(listen_rows[2].key.network, 0);
	snapshot_put(write_listen_table(now, 13)); /* still counted as events */
	(void)state;
}

static void a_program_that_is_gone_leaves_its_sockets_to_others(void **state)
{
	new_listen_table();
	given_back = 0;
	listen_rows[1] = (struct listen_row){ .key = { 5, 80 }, .entity = 3, .sockets = 1 };
	listen_rows[2] = (struct listen_row){ .key = { 5, 81 }, .entity = 4 };
	listen_rows[3] = (struct listen_row){ .key = { 5, 82 }, .entity = 5, .sockets = 1 };
	assert_false(listen_table_forget(&listen_table, 4));
	listen_table_expire(&listen_table, 1000 * SECOND, note_row, NULL);
	assert_int_equal(given_back, 2);
	assert_true(listen_table_forget(&listen_table, 3));
	assert_int_equal(listen_rows[1].entity, ENTITY_OTHER);
	assert_int_equal(listen_rows[3].entity, 5);
	(void)state;
}

/* ---- softnet ---- */

#define TAIL " 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000"

static void cpus_are_told_apart_by_number(void **state)
{
	struct softnet softnet = { 0 };

	assert_int_equal(softnet_update(&softnet, "00b58fcb 00000001 0000000a" TAIL
						  " 00000000 00000000 00000000\n"
						  "023a912e fffffff0 00000004" TAIL
						  " 00000002 00000000 00000000\n"),
			 0);
	assert_true(softnet.dropped == 1 + 0xfffffff0ULL);
	assert_int_equal(softnet.time_squeeze, 14);
	/* One is offline; the other's counter begins again. */
	assert_int_equal(softnet_update(&softnet, "023a912e 00000010 00000005" TAIL
						  " 00000002 00000000 00000000\n"),
			 0);
	assert_true(softnet.dropped == 1 + 0xfffffff0ULL + 0x20);
	assert_int_equal(softnet.time_squeeze, 15);
	softnet_free(&softnet);
	(void)state;
}

static void older_kernels_do_not_number_cpus(void **state)
{
	struct softnet softnet = { 0 };
	const char text[] =
		"00000001 00000002 00000003" TAIL "\n00000001 00000002 00000003" TAIL "\n";

	assert_int_equal(softnet_update(&softnet, text), 0);
	assert_int_equal(softnet_update(&softnet, text), 0);
	assert_int_equal(softnet.dropped, 4);
	assert_int_equal(softnet.time_squeeze, 6);
	softnet_free(&softnet);
	(void)state;
}

static void malformed_files_are_refused(void **state)
{
	static const char *const texts[] = {
		"1 2\n",
		"\n",
		"1 2 x\n",
		"1 2 100000000\n",
		"1 2 -1\n",
		"dropped\n",
		"0 0 0" TAIL " 00002000 0 0\n",
		"0 0 0" TAIL " ffffffff 0 0\n",
	};
	struct softnet softnet = { 0 };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(softnet_update(&softnet, texts[i]), -EBADMSG);
	assert_int_equal(softnet.n_cpus, 0);
	assert_int_equal(softnet_update(&softnet, ""), 0);
	softnet_free(&softnet);
	(void)state;
}

/* ---- the object ---- */

static void the_object_fits_its_descriptor(void **state)
{
	struct network_bpf *skeleton = network_bpf__open();

	assert_non_null(skeleton);
	assert_int_equal(bpf_map__value_size(skeleton->maps.udp_totals), sizeof(struct udp_totals));
	assert_int_equal(bpf_map__value_size(skeleton->maps.udp_rows), sizeof(struct udp_row));
	assert_int_equal(bpf_map__value_size(skeleton->maps.listen_rows),
			 sizeof(struct listen_row));
	assert_int_equal(bpf_map__key_size(skeleton->maps.listen_index), sizeof(struct listen_key));
	assert_int_equal(sizeof(skeleton->rodata->settings), sizeof(struct network_settings));
	for (const struct hook *hook = probe_network.hooks; hook->name; hook++)
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
	network_bpf__destroy(skeleton);
	(void)state;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(reasons_are_named_as_the_kernel_does),
		TEST(a_kernel_without_reasons_has_one),
		TEST(hostile_enums_are_bounded),
		TEST(drops_of_all_cpus_are_added_up),
		TEST(what_is_nobodys_is_left_over),
		TEST(levels_compare_as_fractions),
		TEST(ports_become_series),
		TEST(a_maximum_lasts_for_a_window_at_least),
		TEST(a_port_without_sockets_goes_after_a_while),
		TEST(a_program_that_is_gone_leaves_its_sockets_to_others),
		TEST(cpus_are_told_apart_by_number),
		TEST(older_kernels_do_not_number_cpus),
		TEST(malformed_files_are_refused),
		TEST(the_object_fits_its_descriptor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
