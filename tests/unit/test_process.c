// SPDX-License-Identifier: Apache-2.0
/* The process probe without a kernel: bytes and rows of known content in, sentences and series out. No root. */
#include <bpf/libbpf.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include "agent/registry.h"
#include "bpf/process.h"
#include "probes/probe.h"
#include "probes/process.h"
#include "process.skel.h"
#include "tests/harness/harness.h"

static const char *const no_labels[ENTITY_LABELS] = { "", "", "", "", "" };

static struct process_event killed(void)
{
	return (struct process_event){
		.kind = PROCESS_EVENT_KILLED,
		.entity = 7,
		.pid = 4212,
		.tgid = 4211,
		.signal = SIGSEGV,
		.dumped_core = 1,
		.time_ns = 12500000000,
		.start_time_ns = 10000000000,
		.cgroup_id = 97,
		.comm = "worker",
		.trigger_comm = "glu\nton",
	};
}

/* ---- decoding ---- */

static void an_event_is_read(void **state)
{
	struct process_event event = killed(), read = {};

	assert_int_equal(process_event_parse(&event, sizeof(event), &read), 0);
	assert_memory_equal(&read, &event, sizeof(event));
	event.kind = PROCESS_EVENT_OOM;
	assert_int_equal(process_event_parse(&event, sizeof(event), &read), 0);
	assert_int_equal(read.kind, PROCESS_EVENT_OOM);
	(void)state;
}

static void other_bytes_are_refused(void **state)
{
	struct process_event event = killed(), read = { .tgid = 5 }, untouched = read;
	unsigned char bytes[2 * sizeof(event)] = {};

	memcpy(bytes, &event, sizeof(event));
	for (size_t size = 0; size <= sizeof(bytes); size++)
		if (size != sizeof(event))
			assert_int_equal(process_event_parse(bytes, size, &read), -EBADMSG);
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(process_event_parse(bytes, sizeof(event), &read), -EBADMSG);
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(process_event_parse(bytes, sizeof(event), &read), -EBADMSG);
	event.kind = PROCESS_EVENT_OOM + 1;
	assert_int_equal(process_event_parse(&event, sizeof(event), &read), -EBADMSG);
	event = killed();
	memset(event.comm, 'x', sizeof(event.comm));
	assert_int_equal(process_event_parse(&event, sizeof(event), &read), -EBADMSG);
	event = killed();
	memset(event.trigger_comm, 'x', sizeof(event.trigger_comm));
	assert_int_equal(process_event_parse(&event, sizeof(event), &read), -EBADMSG);
	assert_memory_equal(&read, &untouched, sizeof(read));
	(void)state;
}

/* The ring gives no promise of alignment for bytes from elsewhere, e.g. a recording. */
static void unaligned_bytes_are_read(void **state)
{
	struct process_event event = killed(), read;
	unsigned char bytes[sizeof(event) + 1];

	memcpy(bytes + 1, &event, sizeof(event));
	assert_int_equal(process_event_parse(bytes + 1, sizeof(event), &read), 0);
	assert_int_equal(read.tgid, 4211);
	(void)state;
}

/* ---- sentences ---- */

static void events_are_told_in_a_sentence(void **state)
{
	const char *const labels[ENTITY_LABELS] = { "shop", "cart-0", "", "", "worker" };
	struct process_event event = killed();
	char text[512];

	process_event_describe(&event, no_labels, text, sizeof(text));
	assert_string_equal(
		text,
		"process 4211 (worker, thread 4212) died by signal 11 SIGSEGV (core dumped) after "
		"2.500 s, cgroup id 97");
	event.signal = 34; /* of real time: has no name */
	event.dumped_core = 0;
	event.time_ns = event.start_time_ns - 1; /* never negative */
	memcpy(event.comm, "a\nb\x01", 5);
	process_event_describe(&event, no_labels, text, sizeof(text));
	assert_string_equal(
		text,
		"process 4211 (a?b?, thread 4212) died by signal 34 after 0.000 s, cgroup id 97");
	event = killed();
	event.kind = PROCESS_EVENT_OOM;
	process_event_describe(&event, labels, text, sizeof(text));
	assert_string_equal(
		text,
		"process 4211 (worker, thread 4212) chosen by the out-of-memory killer after 2.500 s, "
		"cgroup id 97, in shop/cart-0");
	event.trigger_tgid = 4211;
	process_event_describe(&event, no_labels, text, sizeof(text));
	assert_non_null(
		strstr(text, " chosen by the out-of-memory killer, as it wanted memory after "));
	event.trigger_tgid = 77;
	process_event_describe(&event, no_labels, text, sizeof(text));
	assert_non_null(strstr(text, " killer, as process 77 (glu?ton) wanted memory after "));
	(void)state;
}

static void a_sentence_is_cut_to_its_buffer(void **state)
{
	char long_name[200], text[300];
	const char *const labels[ENTITY_LABELS] = { long_name, long_name, long_name, long_name,
						    "" };
	struct process_event event = killed();

	memset(long_name, 'n', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	for (size_t size = 1; size <= sizeof(text); size++) {
		memset(text, 'u', sizeof(text));
		assert_true(process_event_describe(&event, labels, text, size) < size);
	}
	(void)state;
}

static void everyday_signals_are_ordinary(void **state)
{
	static const struct {
		int signal;
		bool ordinary;
	} cases[] = {
		{ SIGTERM, true },  { SIGINT, true },	{ SIGHUP, true },
		{ SIGPIPE, true },  { SIGALRM, true },	{ SIGKILL, false },
		{ SIGSEGV, false }, { SIGABRT, false }, { SIGBUS, false },
	};
	struct process_event event = killed();

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		event.signal = (uint32_t)cases[i].signal;
		assert_int_equal(process_event_is_ordinary(&event), cases[i].ordinary);
	}
	event.kind = PROCESS_EVENT_OOM;
	event.signal = SIGTERM;
	assert_false(process_event_is_ordinary(&event));
	(void)state;
}

/* ---- how many lines ---- */

static void lines_are_bounded_and_none_is_forgotten(void **state)
{
	struct process_throttle throttle = {};
	uint64_t now = 1000 * PROCESS_TURN_NS, written = 0, reported = 0;

	for (int i = 0; i < 1009; i++)
		written += process_throttle_allows(&throttle, now + (uint64_t)i);
	assert_int_equal(written, PROCESS_TURN_LINES);
	assert_int_equal(process_throttle_report(&throttle, now + 1009), 0);
	reported = process_throttle_report(&throttle, now + PROCESS_TURN_NS);
	assert_int_equal(written + reported, 1009);
	assert_int_equal(process_throttle_report(&throttle, now + PROCESS_TURN_NS), 0);
	assert_true(process_throttle_allows(&throttle, now + PROCESS_TURN_NS));
	(void)state;
}

/* ---- series ---- */

static const char *const *labels_of(void *context, uint32_t entity)
{
	(void)context;
	(void)entity;
	return no_labels;
}

static double value(const struct snapshot *snapshot, const char *metric, const char *label)
{
	const struct family *family = snapshot_family(snapshot, metric);

	for (size_t i = 0; family && i < family->n_series; i++)
		if (!label || !strcmp(family->series[i].labels[0], label))
			return family->series[i].value;
	return NAN;
}

static void a_row_becomes_series(void **state)
{
	const struct process_row row = {
		.execs = 3,
		.exits = { [PROCESS_EXIT_SUCCESS] = 5,
			   [PROCESS_EXIT_ERROR] = 7,
			   [PROCESS_EXIT_SIGNAL] = 11 },
		.oom_kills = { [PROCESS_TRIGGER_SELF] = 2, [PROCESS_TRIGGER_OTHER] = 13 },
		.signals = { [PROCESS_SIGNAL_REALTIME] = 17, [SIGUSR1] = 19 },
		.deaths = { [SIGSEGV] = 11 },
	};
	struct registry *registry = registry_new(labels_of, NULL);
	const struct process_sights all = { .execs = true, .oom_kills = true };
	struct snapshot *snapshot;

	assert_int_equal(process_row_write(&row, 1, all, registry_begin(registry)),
			 3 + 5 + 7 + 11 + 2 + 13 + 17 + 19);
	snapshot = registry_finish(registry);
	assert_true(value(snapshot, "leadline_process_execs_total", NULL) == 3);
	assert_true(value(snapshot, "leadline_process_exits_total", "success") == 5);
	assert_true(value(snapshot, "leadline_process_exits_total", "error") == 7);
	assert_true(value(snapshot, "leadline_process_exits_total", "signal") == 11);
	assert_true(value(snapshot, "leadline_oom_kills_total", "self") == 2);
	assert_true(value(snapshot, "leadline_oom_kills_total", "other") == 13);
	assert_true(value(snapshot, "leadline_signals_total", "realtime") == 17);
	assert_true(value(snapshot, "leadline_signals_total", "SIGUSR1") == 19);
	assert_true(isnan(value(snapshot, "leadline_signals_total", "SIGTERM")));
	assert_true(value(snapshot, "leadline_process_fatal_signals_total", "SIGSEGV") == 11);
	snapshot_put(snapshot);

	process_row_write(&row, 1, (struct process_sights){ .oom_kills = true },
			  registry_begin(registry));
	snapshot = registry_finish(registry);
	assert_int_equal(snapshot->n_series, 3 + 2 + 2 + 1);
	assert_true(value(snapshot, "leadline_oom_kills_total", "self") == 2);
	snapshot_put(snapshot);
	process_row_write(&row, 1, (struct process_sights){ .execs = true },
			  registry_begin(registry));
	snapshot = registry_finish(registry);
	assert_int_equal(snapshot->n_series, 3 + 1 + 2 + 1);
	assert_true(value(snapshot, "leadline_process_execs_total", NULL) == 3);
	snapshot_put(snapshot);

	assert_int_equal(
		process_row_write(&(struct process_row){}, 1, all, registry_begin(registry)), 0);
	snapshot = registry_finish(registry);
	assert_int_equal(snapshot->n_series, 0);
	snapshot_put(snapshot);
	registry_free(registry);
	(void)state;
}

static void the_object_fits_its_descriptor(void **state)
{
	struct process_bpf *skeleton = process_bpf__open();

	assert_non_null(skeleton);
	assert_int_equal(bpf_map__value_size(skeleton->maps.process_rows),
			 sizeof(struct process_row));
	assert_int_equal(sizeof(skeleton->rodata->settings), sizeof(struct process_settings));
	assert_int_equal(bpf_map__type(skeleton->maps.events), BPF_MAP_TYPE_RINGBUF);
	for (const struct hook *hook = probe_process.hooks; hook->name; hook++)
		for (int i = 0; i < HOOK_MAX_ALTERNATIVES && hook->alternatives[i].program; i++) {
			const struct hook_alternative *alternative = &hook->alternatives[i];
			struct bpf_program *program = bpf_object__find_program_by_name(
				skeleton->obj, alternative->program);
			char section[128];

			assert_non_null(program);
			snprintf(section, sizeof(section), "tp_btf/%s", alternative->target);
			assert_string_equal(bpf_program__section_name(program), section);
		}
	process_bpf__destroy(skeleton);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_event_is_read),
		cmocka_unit_test(other_bytes_are_refused),
		cmocka_unit_test(unaligned_bytes_are_read),
		cmocka_unit_test(events_are_told_in_a_sentence),
		cmocka_unit_test(a_sentence_is_cut_to_its_buffer),
		cmocka_unit_test(everyday_signals_are_ordinary),
		cmocka_unit_test(lines_are_bounded_and_none_is_forgotten),
		cmocka_unit_test(a_row_becomes_series),
		cmocka_unit_test(the_object_fits_its_descriptor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
