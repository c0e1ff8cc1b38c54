// SPDX-License-Identifier: Apache-2.0
/* The formula of the agent's memory: maps and storage of known shapes. Against the kernel: tests/live/test_agent.c. */
#include "tests/harness/harness.h"
#include <linux/bpf.h>
#include "agent/memory_bound.h"

#define MAP(type_, entries_, key_, value_)                                                         \
	{                                                                                          \
		.type = BPF_MAP_TYPE_##type_, .max_entries = (entries_), .key_size = (key_),       \
		.value_size = (value_)                                                             \
	}
#define STORAGE(type, value) (&(const struct map_shape)MAP(type, 0, 4, value))

/* Each is what the kernel says of such a map (fdinfo, 6.18, 2 CPUs); at most a tenth and two pages less than the bound. */
static void maps_are_within(void **state)
{
	static const struct {
		struct map_shape shape;
		uint64_t bytes;
	} cases[] = {
		{ MAP(ARRAY, 1536, 4, 1224), 1880064 + 4096 },
		{ MAP(ARRAY, 1, 4, 8), 8192 },
		{ MAP(PERCPU_ARRAY, 1, 4, 1200), 2400 + 320 },
		{ MAP(HASH, 512, 32, 4), 512 * (48 + 32 + 8) + 512 * 16 },
		{ MAP(QUEUE, 512, 0, 4), 513 * 4 },
		{ MAP(RINGBUF, 65536, 0, 0), 65536 + 3 * 4096 },
		{ MAP(ARRAY_OF_MAPS, 8, 4, 4), 312 + 8 * 8 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t bound = memory_bound_map(&cases[i].shape, 2);

		assert_in_range(bound, cases[i].bytes, cases[i].bytes + cases[i].bytes / 10 + 8192);
	}
}

static void more_of_anything_is_never_less(void **state)
{
	static const unsigned types[] = { BPF_MAP_TYPE_ARRAY,	    BPF_MAP_TYPE_PERCPU_ARRAY,
					  BPF_MAP_TYPE_HASH,	    BPF_MAP_TYPE_LRU_HASH,
					  BPF_MAP_TYPE_QUEUE,	    BPF_MAP_TYPE_RINGBUF,
					  BPF_MAP_TYPE_TASK_STORAGE };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		for (unsigned entries = 4096; entries < 1 << 20; entries *= 2) {
			struct map_shape shape = { types[i], entries, 8, 64 };
			uint64_t bound = memory_bound_map(&shape, 4);

			assert_true(memory_bound_map(&shape, 8) >= bound);
			shape.max_entries *= 2;
			assert_true(memory_bound_map(&shape, 4) >= bound);
		}
}

static void storage_is_allocated_in_sizes_of_kmalloc(void **state)
{
	assert_int_equal(memory_bound_storage(STORAGE(SK_STORAGE, 440)), 512);
	assert_int_equal(memory_bound_storage(STORAGE(SK_STORAGE, 441)), 1024);
	assert_int_equal(memory_bound_storage(STORAGE(SK_STORAGE, 8)), 96);
	assert_int_equal(memory_bound_storage(STORAGE(SK_STORAGE, 120)), 192);
	assert_int_equal(memory_bound_storage(STORAGE(TASK_STORAGE, 120)), 256);
	assert_int_equal(memory_bound_storage(STORAGE(ARRAY, 120)), 0);
	assert_int_equal(memory_bound_storage(STORAGE(HASH, 120)), 0);
}

/* It has the memory of its elements only as there are sockets. */
static void a_map_of_sockets_grows_with_them(void **state)
{
	struct map_shape shape = MAP(HASH, 16384, 8, 600);

	shape.is_of_sockets = true;
	assert_in_range(memory_bound_map(&shape, 2), 16384 * 16, 16384 * 16 + 8192);
	assert_int_equal(memory_bound_storage(&shape), 1024);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(maps_are_within),
		cmocka_unit_test(more_of_anything_is_never_less),
		cmocka_unit_test(storage_is_allocated_in_sizes_of_kmalloc),
		cmocka_unit_test(a_map_of_sockets_grows_with_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
