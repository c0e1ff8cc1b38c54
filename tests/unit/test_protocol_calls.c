// SPDX-License-Identifier: Apache-2.0
/* The calls of a connection: in order, by key, many at once, and how each kind of end is counted. */
#include "tests/harness/harness.h"
#include <errno.h>
#include "probes/protocols/calls.h"
#include "probes/protocols/sql_memo.h"

#define MANY 997 /* prime, and below PROTOCOL_MAX_CALLS */
_Static_assert(MANY < PROTOCOL_MAX_CALLS, "all of them fit");

/* What the callback was told. */
struct told {
	unsigned n, errors;
	uint64_t starts; /* sum */
	struct protocol_call last;
	char operation[64], target[256], status[64];
};

static void note(void *context, const struct protocol_call *call)
{
	struct told *told = context;

	told->n++;
	told->errors += call->is_error;
	told->starts += call->start_ns;
	told->last = *call;
	snprintf(told->operation, sizeof(told->operation), "%s", call->operation);
	snprintf(told->target, sizeof(told->target), "%s", call->target);
	snprintf(told->status, sizeof(told->status), "%s", call->status);
}

static struct protocol_calls *calls_new(struct told *told)
{
	struct protocol_calls *calls;

	memset(told, 0, sizeof(*told));
	calls = protocol_calls_new(note, told, NULL);
	assert_non_null(calls);
	return calls;
}

static void assert_balanced(const struct protocol_calls *calls)
{
	const struct protocol_counts *counts = protocol_calls_counts(calls);

	assert_int_equal(counts->begun, counts->ended + counts->abandoned + counts->forgotten +
						protocol_calls_in_flight(calls, NULL));
}

static void a_call_is_told_when_it_ends(void **state)
{
	struct told told;
	struct protocol_calls *calls = calls_new(&told);

	protocol_begin(calls, 7, 100);
	protocol_name(calls, 7, "SELECT", "SELECT orders");
	protocol_name(calls, 7, NULL, "SELECT users");
	protocol_count(calls, 7, 20, 0);
	protocol_count(calls, 7, 3, 1000);
	protocol_respond(calls, 7, 130);
	protocol_respond(calls, 7, 140);
	assert_int_equal(told.n, 0);
	protocol_end(calls, 7, 150, "42P01", true);
	assert_int_equal(told.n, 1);
	assert_string_equal(told.operation, "SELECT");
	assert_string_equal(told.target, "SELECT users");
	assert_string_equal(told.status, "42P01");
	assert_true(told.last.is_error);
	assert_int_equal(told.last.start_ns, 100);
	assert_int_equal(told.last.first_byte_ns, 130);
	assert_int_equal(told.last.end_ns, 150);
	assert_int_equal(told.last.request_bytes, 23);
	assert_int_equal(told.last.response_bytes, 1000);
	protocol_end(calls, 7, 160, "", false);
	assert_int_equal(told.n, 1);
	assert_balanced(calls);
	protocol_calls_free(calls);
}

static void time_does_not_run_backwards(void **state)
{
	struct told told;
	struct protocol_calls *calls = calls_new(&told);

	protocol_begin(calls, 1, 100);
	protocol_respond(calls, 1, 90);
	protocol_end(calls, 1, 95, "", false);
	assert_int_equal(told.last.start_ns, 100);
	assert_int_equal(told.last.first_byte_ns, 100);
	assert_int_equal(told.last.end_ns, 100);
	protocol_calls_free(calls);
}

static void what_was_not_begun_is_ignored(void **state)
{
	struct told told;
	struct protocol_calls *calls = calls_new(&told);
	uint64_t key = 5, ns = 6;

	protocol_name(calls, 1, "A", "B");
	protocol_count(calls, 1, 1, 1);
	protocol_respond(calls, 1, 1);
	protocol_end(calls, 1, 1, "", false);
	protocol_forget(calls, 1);
	protocol_abandon(calls);
	protocol_calls_close(calls, 1);
	assert_int_equal(protocol_oldest(calls, &key, &ns), -ENOENT);
	assert_int_equal(key, 5);
	assert_int_equal(ns, 6);
	assert_int_equal(protocol_calls_in_flight(calls, &ns), 0);
	assert_int_equal(ns, 6);
	assert_int_equal(told.n, 0);
	assert_int_equal(protocol_calls_counts(calls)->begun, 0);
	assert_balanced(calls);
	protocol_calls_free(calls);
	protocol_calls_free(NULL);
}

static void a_key_in_flight_is_not_begun_again(void **state)
{
	struct told told;
	struct protocol_calls *calls = calls_new(&told);

	protocol_begin(calls, 3, 10);
	protocol_begin(calls, 3, 20);
	assert_true(protocol_is_in_flight(calls, 3));
	assert_false(protocol_is_in_flight(calls, 2));
	protocol_end(calls, 3, 30, "", false);
	assert_int_equal(told.last.start_ns, 10);
	protocol_begin(calls, 3, 40);
	protocol_end(calls, 3, 50, "", false);
	assert_int_equal(told.n, 2);
	assert_int_equal(told.last.start_ns, 40);
	assert_int_equal(protocol_calls_counts(calls)->begun, 2);
	protocol_calls_free(calls);
}

static void a_call_can_become_one_of_another_protocol(void **state)
{
	static const struct protocol inner = { .name = "grpc" };
	struct told told;
	struct protocol_calls *calls = calls_new(&told);

	protocol_become(calls, 1, &inner);
	protocol_begin(calls, 1, 1);
	protocol_begin(calls, 2, 2);
	protocol_become(calls, 2, &inner);
	protocol_end(calls, 1, 3, "", false);
	assert_null(told.last.inner);
	protocol_end(calls, 2, 3, "", false);
	assert_ptr_equal(told.last.inner, &inner);
	protocol_calls_free(calls);
}

/* In every order of keys and of ends: first in first out, last in first out, and by strides through a prime. */
static void each_call_is_found_by_its_key(void **state)
{
	static const unsigned strides[] = { 1, MANY - 1, 2, 5, 499 };
	struct told told;
	struct protocol_calls *calls = calls_new(&told);
	uint64_t oldest_ns = 0, key = 0;

	for (size_t in = 0; in < sizeof(strides) / sizeof(strides[0]); in++)
		for (size_t out = 0; out < sizeof(strides) / sizeof(strides[0]); out++) {
			told.n = 0;
			for (unsigned i = 0; i < MANY; i++) {
				uint64_t id = (uint64_t)i * strides[in] % MANY;

				protocol_begin(calls, id << 40 | id, 1000 + id);
				assert_int_equal(protocol_calls_in_flight(calls, &oldest_ns),
						 i + 1);
				assert_int_equal(oldest_ns, 1000);
			}
			for (unsigned i = 0; i < MANY; i++) {
				uint64_t id = (uint64_t)i * strides[out] % MANY;

				assert_true(protocol_is_in_flight(calls, id << 40 | id));
				protocol_end(calls, id << 40 | id, 5000, "", false);
				assert_int_equal(told.n, i + 1);
				assert_int_equal(told.last.start_ns, 1000 + id);
			}
			assert_int_equal(protocol_oldest(calls, &key, NULL), -ENOENT);
		}
	assert_balanced(calls);
	protocol_calls_free(calls);
}

static void the_oldest_is_the_first_that_began(void **state)
{
	struct told told;
	struct protocol_calls *calls = calls_new(&told);
	uint64_t key = 0, ns = 0;

	for (unsigned i = 0; i < 31; i++)
		protocol_begin(calls, 1000 - i, 100 + i);
	for (unsigned i = 0; i < 31; i++) {
		assert_int_equal(protocol_oldest(calls, &key, &ns), 0);
		assert_int_equal(key, 1000 - i);
		assert_int_equal(ns, 100 + i);
		protocol_forget(calls, key);
	}
	assert_int_equal(told.n, 0);
	assert_int_equal(protocol_calls_counts(calls)->forgotten, 31);
	assert_balanced(calls);
	protocol_calls_free(calls);
}

static void beyond_the_limit_calls_are_counted_only(void **state)
{
	struct told told;
	struct protocol_calls *calls = calls_new(&told);

	for (unsigned i = 0; i < PROTOCOL_MAX_CALLS + 13; i++)
		protocol_begin(calls, i, i);
	assert_int_equal(protocol_calls_in_flight(calls, NULL), PROTOCOL_MAX_CALLS);
	assert_int_equal(protocol_calls_counts(calls)->dropped, 13);
	for (unsigned i = 0; i < PROTOCOL_MAX_CALLS + 13; i++)
		protocol_end(calls, i, 5000, "", false);
	assert_int_equal(told.n, PROTOCOL_MAX_CALLS);
	assert_balanced(calls);
	protocol_calls_free(calls);
}

static void a_close_ends_what_is_in_flight(void **state)
{
	struct told told;
	struct protocol_calls *calls = calls_new(&told);

	for (unsigned i = 0; i < 17; i++)
		protocol_begin(calls, i, 100 + i);
	protocol_end(calls, 11, 200, "", false);
	protocol_respond(calls, 16, 150);
	protocol_calls_close(calls, 300);
	assert_int_equal(told.n, 17);
	assert_int_equal(told.errors, 16);
	assert_string_equal(told.status, PROTOCOL_NO_RESPONSE);
	assert_int_equal(told.last.start_ns, 116); /* the youngest last */
	assert_int_equal(told.last.first_byte_ns, 150);
	assert_int_equal(told.last.end_ns, 300);
	assert_balanced(calls);
	protocol_calls_free(calls);
}

static void abandoned_calls_are_counted_not_told(void **state)
{
	struct told told;
	struct protocol_calls *calls = calls_new(&told);

	for (unsigned i = 0; i < 29; i++)
		protocol_begin(calls, i, i);
	protocol_abandon(calls);
	assert_int_equal(protocol_calls_in_flight(calls, NULL), 0);
	for (unsigned i = 0; i < 29; i++)
		protocol_end(calls, i, 100, "", false);
	assert_int_equal(told.n, 0);
	assert_int_equal(protocol_calls_counts(calls)->abandoned, 29);
	assert_balanced(calls);
	protocol_calls_free(calls);
}

static void unparsed_bytes_add_up_by_reason(void **state)
{
	struct told told;
	struct protocol_calls *calls = calls_new(&told);
	const struct protocol_counts *counts = protocol_calls_counts(calls);

	protocol_unparsed(calls, PROTOCOL_TRUNCATED, 11);
	protocol_unparsed(calls, PROTOCOL_TRUNCATED, 2);
	protocol_unparsed(calls, PROTOCOL_MALFORMED, UINT64_C(1) << 40);
	assert_int_equal(counts->unparsed_bytes[PROTOCOL_TRUNCATED], 13);
	assert_int_equal(counts->unparsed_bytes[PROTOCOL_MIDWAY], 0);
	assert_int_equal(counts->unparsed_bytes[PROTOCOL_MALFORMED], UINT64_C(1) << 40);
	protocol_calls_free(calls);
}

static void a_decoder_can_have_enough(void **state)
{
	struct told told;
	struct protocol_calls *calls = calls_new(&told);
	enum protocol_unparsed reason = PROTOCOL_MIDWAY;

	assert_false(protocol_calls_stopped(calls, &reason));
	assert_int_equal(reason, PROTOCOL_MIDWAY);
	protocol_stop(calls, PROTOCOL_ENCRYPTED);
	assert_true(protocol_calls_stopped(calls, &reason));
	assert_int_equal(reason, PROTOCOL_ENCRYPTED);
	protocol_calls_free(calls);
}

/* Whether any other was there at some time of it. */
static void a_call_knows_whether_it_was_alone(void **state)
{
	struct told told;
	struct protocol_calls *calls = calls_new(&told);

	protocol_begin(calls, 1, 100);
	protocol_end(calls, 1, 110, "", false);
	assert_true(told.last.was_alone);
	for (uint64_t key = 2; key < 5; key++)
		protocol_begin(calls, key, 100 + key);
	for (uint64_t key = 2; key < 5; key++) {
		protocol_end(calls, key, 200, "", false);
		assert_false(told.last.was_alone);
	}
	protocol_begin(calls, 5, 300);
	protocol_end(calls, 5, 310, "", false);
	assert_true(told.last.was_alone);
	protocol_calls_free(calls);
}

static void all_connections_share_a_bound(void **state)
{
	struct protocol_pool pool = { .max = 3 };
	struct told told = { 0 };
	struct protocol_calls *one = protocol_calls_new(note, &told, &pool);
	struct protocol_calls *other = protocol_calls_new(note, &told, &pool);

	assert_int_equal(protocol_pool_bound(&pool), 0);
	protocol_begin(one, 1, 100);
	protocol_begin(one, 2, 100);
	protocol_begin(other, 1, 100);
	assert_int_equal(pool.n, 3);
	assert_true(protocol_pool_bound(&pool) >= 3 * PROTOCOL_TEXT_SIZE);
	protocol_begin(other, 2, 100); /* that is one too many */
	assert_int_equal(pool.refused, 1);
	assert_int_equal(protocol_calls_counts(other)->dropped, 1);
	protocol_end(other, 1, 110, "", false);
	assert_false(told.last.was_alone); /* for all we know */
	protocol_abandon(one);
	assert_int_equal(pool.n, 0);
	protocol_begin(other, 2, 100);
	assert_int_equal(protocol_calls_in_flight(other, NULL), 1);
	protocol_calls_free(one);
	protocol_calls_free(other);
	assert_int_equal(pool.n, 0);
	protocol_pool_clear(&pool);
	assert_int_equal(protocol_pool_bound(&pool), 0);
}

/* A call in memory that another had is told as nothing was known of it. */
static void memory_of_calls_is_used_again(void **state)
{
	static const struct protocol inner = { .name = "inner" };
	struct protocol_pool pool = { .max = 1000 };
	struct told told = { 0 };
	struct protocol_calls *calls = protocol_calls_new(note, &told, &pool);
	uint64_t bound;

	protocol_begin(calls, 1, 100);
	protocol_name(calls, 1, "GET", "users");
	protocol_become(calls, 1, &inner);
	protocol_count(calls, 1, 7, 11);
	protocol_respond(calls, 1, 110);
	protocol_end(calls, 1, 120, "ERR", true);
	bound = protocol_pool_bound(&pool);
	assert_true(bound >= PROTOCOL_TEXT_SIZE);
	protocol_begin(calls, 2, 200);
	protocol_end(calls, 2, 210, "", false);
	assert_string_equal(told.operation, "");
	assert_string_equal(told.target, "");
	assert_string_equal(told.status, "");
	assert_null(told.last.inner);
	assert_int_equal(told.last.first_byte_ns, 0);
	assert_int_equal(told.last.request_bytes, 0);
	assert_int_equal(told.last.response_bytes, 0);
	assert_true(told.last.was_alone);
	assert_int_equal(protocol_pool_bound(&pool), bound);

	/* that of a few is kept */
	for (uint64_t key = 3; key < 3 + 1000; key++)
		protocol_begin(calls, key, 300);
	protocol_abandon(calls);
	assert_true(protocol_pool_bound(&pool) < 100 * bound);
	protocol_calls_free(calls);
	protocol_pool_clear(&pool);
}

/* Made once, when a decoder asks for it; without a pool there is none. */
static void all_connections_share_what_is_remembered(void **state)
{
	struct protocol_pool pool = { .max = 3 };
	struct told told = { 0 };
	struct protocol_calls *one = protocol_calls_new(note, &told, &pool);
	struct protocol_calls *other = protocol_calls_new(note, &told, &pool);
	struct protocol_calls *alone = protocol_calls_new(note, &told, NULL);
	struct sql_memo *memo = protocol_sql_memo(one);

	assert_non_null(memo);
	assert_ptr_equal(protocol_sql_memo(one), memo);
	assert_ptr_equal(protocol_sql_memo(other), memo);
	assert_null(protocol_sql_memo(alone));
	assert_true(protocol_pool_bound(&pool) >= sql_memo_size());
	protocol_calls_free(one);
	protocol_calls_free(other);
	protocol_calls_free(alone);
	protocol_pool_clear(&pool);
	assert_int_equal(protocol_pool_bound(&pool), 0);
}

static void text_is_printable_and_cut_at_a_character(void **state)
{
	struct told told;
	struct protocol_calls *calls = calls_new(&told);
	char text[PROTOCOL_TEXT_SIZE + 10];

	protocol_begin(calls, 1, 1);
	protocol_name(calls, 1, "GE\x01T\x7f\xff", "caf\xc3\xa9\n\xc3");
	protocol_end(calls, 1, 2, "\tX", true);
	assert_string_equal(told.operation, "GE?T??");
	assert_string_equal(told.target, "caf\xc3\xa9??");
	assert_string_equal(told.status, "?X");

	/* the character of two bytes would have its second one beyond the limit */
	memset(text, 'a', sizeof(text));
	memcpy(text + PROTOCOL_TEXT_SIZE - 2, "\xc3\xa9", 2);
	text[sizeof(text) - 1] = '\0';
	protocol_begin(calls, 2, 1);
	protocol_name(calls, 2, text, text);
	protocol_end(calls, 2, 2, text, false);
	assert_int_equal(strlen(told.target), PROTOCOL_TEXT_SIZE - 2);
	assert_int_equal(strlen(told.operation), PROTOCOL_NAME_SIZE - 1);
	assert_int_equal(strlen(told.status), PROTOCOL_NAME_SIZE - 1);

	text[PROTOCOL_TEXT_SIZE - 3] = '\xc3';
	text[PROTOCOL_TEXT_SIZE - 2] = '\xa9';
	text[PROTOCOL_TEXT_SIZE - 1] = 'b';
	protocol_begin(calls, 3, 1);
	protocol_name(calls, 3, "", text);
	protocol_end(calls, 3, 2, "", false);
	assert_int_equal(strlen(told.target), PROTOCOL_TEXT_SIZE - 1);
	assert_memory_equal(told.target + PROTOCOL_TEXT_SIZE - 3, "\xc3\xa9", 3);
	protocol_calls_free(calls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_call_is_told_when_it_ends),
		cmocka_unit_test(time_does_not_run_backwards),
		cmocka_unit_test(what_was_not_begun_is_ignored),
		cmocka_unit_test(a_key_in_flight_is_not_begun_again),
		cmocka_unit_test(a_call_can_become_one_of_another_protocol),
		cmocka_unit_test(each_call_is_found_by_its_key),
		cmocka_unit_test(the_oldest_is_the_first_that_began),
		cmocka_unit_test(beyond_the_limit_calls_are_counted_only),
		cmocka_unit_test(a_close_ends_what_is_in_flight),
		cmocka_unit_test(abandoned_calls_are_counted_not_told),
		cmocka_unit_test(unparsed_bytes_add_up_by_reason),
		cmocka_unit_test(a_decoder_can_have_enough),
		cmocka_unit_test(a_call_knows_whether_it_was_alone),
		cmocka_unit_test(all_connections_share_a_bound),
		cmocka_unit_test(memory_of_calls_is_used_again),
		cmocka_unit_test(all_connections_share_what_is_remembered),
		cmocka_unit_test(text_is_printable_and_cut_at_a_character),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
