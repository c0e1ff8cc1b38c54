// SPDX-License-Identifier: Apache-2.0
/*
 * Events of a writer come out once each and in their order, whichever rings they went through: its own, and while that is full, the
 * last one. Written by a BPF program that is run for each (event_rings.bpf.c), on this kernel.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
#include "agent/event_rings.h"
#include "bpf/lib/stats.h"
#include "event_rings.skel.h"
#include "tests/harness/harness.h"
#include "tests/live/event_rings_test.h"

#define RINGS	   2
#define RING_BYTES 4096
#define LAST_BYTES 16384
#define WRITERS	   4 /* two a ring */

/* What an event takes: its header, and itself. */
#define EVENT_BYTES   (8 + sizeof(struct test_event))
#define EVENTS_A_RING (RING_BYTES / EVENT_BYTES)
#define EVENTS_LAST   (LAST_BYTES / EVENT_BYTES)

struct fixture {
	struct event_rings_bpf *object;
	struct event_rings *rings;
	struct event_ring_state *states;
	size_t states_bytes;
	uint64_t next[WRITERS]; /* number, of the event that is written next … */
	uint64_t expected[WRITERS]; /* … and that may be read next, at least */
	uint64_t written, read, lost;
	uint64_t not_run; /* times that the program could not be run */
};

static void take_event(void *context, const void *data, size_t size)
{
	struct fixture *fixture = context;
	const struct test_event *event = data;

	assert_int_equal(size, sizeof(*event));
	assert_in_range(event->writer, 0, WRITERS - 1);
	if (event->number < fixture->expected[event->writer])
		test_fail("writer %llu: event %llu after %llu", (unsigned long long)event->writer,
			  (unsigned long long)event->number,
			  (unsigned long long)fixture->expected[event->writer] - 1);
	fixture->expected[event->writer] = event->number + 1;
	fixture->read++;
}

static void take_down(void *context)
{
	struct fixture *fixture = context;

	event_rings_free(fixture->rings);
	if (fixture->states)
		munmap(fixture->states, fixture->states_bytes);
	event_rings_bpf__destroy(fixture->object);
	free(fixture);
}

static struct fixture *set_up(void)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	void *states;
	int err;

	require_root();
	assert_non_null(fixture);
	cleanup_push(take_down, fixture);
	fixture->object = event_rings_bpf__open();
	assert_non_null(fixture->object);
	bpf_map__set_max_entries(fixture->object->maps.event_rings, RINGS + 1);
	bpf_map__set_max_entries(fixture->object->maps.event_ring_states, RINGS + 1);
	assert_int_equal(event_rings_bpf__load(fixture->object), 0);
	fixture->object->bss->rings = RINGS;
	fixture->states_bytes = (size_t)sysconf(_SC_PAGESIZE);
	states = mmap(NULL, fixture->states_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		      bpf_map__fd(fixture->object->maps.event_ring_states), 0);
	assert_ptr_not_equal(states, MAP_FAILED);
	fixture->states = states;
	fixture->rings = event_rings_new(take_event, fixture);
	assert_non_null(fixture->rings);
	err = event_rings_make(fixture->rings, bpf_map__fd(fixture->object->maps.event_rings),
			       RINGS, RING_BYTES, LAST_BYTES, fixture->states);
	assert_int_equal(err, 0);
	return fixture;
}

/* The next event of a writer. Returns whether it found room. Any thread. */
static bool write_one(struct fixture *fixture, unsigned writer)
{
	struct write_event write = { { writer, fixture->next[writer]++ }, writer % RINGS };
	LIBBPF_OPTS(bpf_test_run_opts, run, .ctx_in = &write, .ctx_size_in = sizeof(write));

	if (bpf_prog_test_run_opts(bpf_program__fd(fixture->object->progs.write_event), &run))
		__atomic_fetch_add(&fixture->not_run, 1, __ATOMIC_RELAXED);
	else
		__atomic_fetch_add(run.retval ? &fixture->written : &fixture->lost, 1,
				   __ATOMIC_RELAXED);
	return run.retval;
}

static void write_many(struct fixture *fixture, unsigned writer, unsigned n)
{
	while (n--)
		write_one(fixture, writer);
}

static uint64_t told_lost(struct fixture *fixture)
{
	struct probe_stats stats;
	uint32_t zero = 0;

	assert_int_equal(
		bpf_map_lookup_elem(bpf_map__fd(fixture->object->maps.probe_stats), &zero, &stats),
		0);
	return stats.lost[LOSS_RING_FULL];
}

/* All there is; nobody writes meanwhile. */
static void expect_all_read(struct fixture *fixture)
{
	assert_int_equal(fixture->not_run, 0);
	event_rings_drain(fixture->rings);
	assert_int_equal(fixture->read, fixture->written);
	assert_int_equal(told_lost(fixture), fixture->lost);
	for (int i = 0; i < RINGS; i++)
		assert_int_equal(fixture->states[i].full_since, 0);
}

static bool is_awake(struct fixture *fixture)
{
	struct pollfd fd = { .fd = event_rings_fd(fixture->rings), .events = POLLIN };

	return poll(&fd, 1, 0) == 1;
}

static void the_last_ring_stands_in(void **state)
{
	struct fixture *fixture = set_up();

	write_many(fixture, 0, EVENTS_A_RING + 7);
	assert_int_not_equal(fixture->states[0].full_since, 0);
	assert_int_equal(fixture->states[1].full_since, 0);
	write_many(fixture, 1, 5); /* its own ring has room */
	assert_int_equal(fixture->lost, 0);
	expect_all_read(fixture);
	/* and is used again */
	write_many(fixture, 0, EVENTS_A_RING / 2);
	assert_int_equal(fixture->states[0].full_since, 0);
	expect_all_read(fixture);
}

static void what_finds_no_room_is_counted(void **state)
{
	struct fixture *fixture = set_up();
	uint64_t room = EVENTS_A_RING + EVENTS_LAST;

	write_many(fixture, 0, room + 101);
	/* a ring never gets quite full */
	assert_in_range(fixture->written, room - 4, room);
	assert_int_equal(fixture->written + fixture->lost, room + 101);
	assert_int_equal(told_lost(fixture), fixture->lost);
	assert_false(write_one(fixture, 2));
	expect_all_read(fixture);
	assert_true(write_one(fixture, 0));
	expect_all_read(fixture);
}

/* Once for a ring that is half full, until it has been read. */
static void the_reader_is_woken_once(void **state)
{
	struct fixture *fixture = set_up();

	for (int turn = 0; turn < 3; turn++) {
		write_many(fixture, 0, EVENTS_A_RING / 2 - 1);
		assert_false(is_awake(fixture));
		write_many(fixture, 0, 4);
		assert_true(is_awake(fixture));
		expect_all_read(fixture);
		assert_false(is_awake(fixture));
	}
}

/* In turns of any length, as a generator says that always says the same. */
static void order_holds_whatever_is_full(void **state)
{
	struct fixture *fixture = set_up();
	uint64_t random = 20011;

	for (int turn = 0; turn < 3001; turn++) {
		random = random * 6364136223846793005ULL + 1442695040888963407ULL;
		write_many(fixture, random >> 62, random >> 33 & 127);
		if (!(random >> 40 & 15))
			event_rings_drain(fixture->rings);
	}
	assert_int_not_equal(fixture->lost, 0);
	expect_all_read(fixture);
}

struct writing {
	struct fixture *fixture;
	unsigned writer;
	unsigned *n_writing;
};

static void *write_in_thread(void *context)
{
	struct writing *writing = context;

	write_many(writing->fixture, writing->writer, 20011);
	__atomic_fetch_sub(writing->n_writing, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void order_holds_while_it_is_written(void **state)
{
	struct fixture *fixture = set_up();
	struct writing writings[WRITERS];
	pthread_t threads[WRITERS];
	unsigned n_writing = WRITERS;

	for (unsigned i = 0; i < WRITERS; i++) {
		writings[i] = (struct writing){ fixture, i, &n_writing };
		assert_int_equal(pthread_create(&threads[i], NULL, write_in_thread, &writings[i]),
				 0);
	}
	while (__atomic_load_n(&n_writing, __ATOMIC_SEQ_CST))
		event_rings_drain(fixture->rings);
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	expect_all_read(fixture);
	assert_int_equal(fixture->written + fixture->lost, WRITERS * 20011);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(the_last_ring_stands_in),
		HARNESS_TEST(what_finds_no_room_is_counted),
		HARNESS_TEST(the_reader_is_woken_once),
		HARNESS_TEST(order_holds_whatever_is_full),
		HARNESS_TEST(order_holds_while_it_is_written),
	};

	return cmocka_run_group_tests_name("event_rings", tests, NULL, NULL);
}
