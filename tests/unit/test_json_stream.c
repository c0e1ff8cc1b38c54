// SPDX-License-Identifier: Apache-2.0
/* JSON in pieces of any size → whole values; hostile JSON → an error or nothing, in bounded memory. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "agent/buffer.h"
#include "agent/json_stream.h"

/* What was handed out, one after the other: "key=value;" */
static struct buffer seen;
static struct json_stream *stream;
static int refusal;

static int note(void *context, const char *key, json_t *value)
{
	char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);

	buffer_printf(&seen, "%s=%s;", key ? key : "", text);
	free(text);
	return refusal;
}

static int make_stream(void **state)
{
	stream = json_stream_new(note, NULL);
	refusal = 0;
	return stream ? 0 : -1;
}

static int free_stream(void **state)
{
	json_stream_free(stream);
	buffer_free(&seen);
	seen = (struct buffer){ 0 };
	return 0;
}

/* In pieces of that size. */
static int feed(enum json_stream_shape shape, const char *text, size_t piece)
{
	size_t size = strlen(text);
	int err = 0;

	seen.size = 0;
	json_stream_start(stream, shape);
	for (size_t at = 0; at < size && !err; at += piece)
		err = json_stream_feed(stream, text + at, size - at < piece ? size - at : piece);
	buffer_char(&seen, '\0');
	return err;
}

static const char list[] =
	" {\"kind\":\"PodList\", \"code\" : 410,\"metadata\":{\"resourceVersion\":\"7\"},\n"
	"\"items\":[ {\"a\":\"}]\\\"{\\\\\"} , {\"b\":[1,{\"c\":[]}]},{}],\"tail\":null,\"no\":false}\n ";

static void test_values_are_the_same_in_pieces_of_any_size(void **state)
{
	static const char values[] =
		"{\"type\":\"ADDED\",\"object\":{\"x\":\"{\"}}\n\n{\"n\":-1.5e3} {}\r\n";

	for (size_t piece = 1; piece < sizeof(list); piece++) {
		assert_int_equal(feed(JSON_STREAM_LIST, list, piece), 0);
		assert_true(json_stream_is_complete(stream));
		assert_string_equal(
			seen.data,
			"kind=\"PodList\";code=410;metadata={\"resourceVersion\":\"7\"};"
			"items={\"a\":\"}]\\\"{\\\\\"};items={\"b\":[1,{\"c\":[]}]};items={};"
			"tail=null;no=false;");
		assert_int_equal(feed(JSON_STREAM_VALUES, values, piece), 0);
		assert_true(json_stream_is_complete(stream));
		assert_string_equal(
			seen.data,
			"={\"object\":{\"x\":\"{\"},\"type\":\"ADDED\"};={\"n\":-1500.0};={};");
	}
}

static void test_empty_lists_are_lists(void **state)
{
	assert_int_equal(feed(JSON_STREAM_LIST, "{}", 1), 0);
	assert_true(json_stream_is_complete(stream));
	assert_int_equal(feed(JSON_STREAM_LIST, "{\"items\":[]}", 1), 0);
	assert_true(json_stream_is_complete(stream));
	assert_string_equal(seen.data, "");
	assert_int_equal(feed(JSON_STREAM_LIST, "{\"items\":null}", 1), 0);
	assert_string_equal(seen.data, "items=null;");
}

/* Every beginning of a list is either not complete or wrong. */
static void test_what_was_cut_off_is_not_complete(void **state)
{
	char text[sizeof(list)];

	for (size_t size = 1; size < strlen(list) - 2; size++) {
		snprintf(text, sizeof(text), "%.*s", (int)size, list);
		assert_int_equal(feed(JSON_STREAM_LIST, text, 7), 0);
		assert_false(json_stream_is_complete(stream));
	}
}

static void test_what_is_no_json_is_refused(void **state)
{
	static const char *const lists[] = {
		"[]",
		"x",
		"{\"a\" 1}",
		"{\"a\":1 \"b\"",
		"{1:2}",
		"{\"items\":[1]}",
		"{\"items\":[}",
		"{\"items\":[{]}]}",
		"{\"a\":,}",
		"{\"a\":tru}",
		"{\"a\":\"\x80\"}",
		"{\"items\":[{}}",
		"{\"a\":{\"b\"}}",
		"{} {}",
		"{\"a\\u0062\":1}",
		"{\"a\":01}",
		"{\"items\":[{\"a\":\"\\u0000\"}]}",
	};
	static const char *const values[] = { "[1]", "1", "\"a\"", "{}]", "{]", "{\"a\":1}}" };

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		if (feed(JSON_STREAM_LIST, lists[i], 3) != -EBADMSG)
			fail_msg("taken: %s", lists[i]);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		if (feed(JSON_STREAM_VALUES, values[i], 3) != -EBADMSG)
			fail_msg("taken: %s", values[i]);
	/* An error stays until the next start. */
	assert_int_equal(json_stream_feed(stream, "{}", 2), -EBADMSG);
	assert_int_equal(feed(JSON_STREAM_VALUES, "{}", 1), 0);
}

static void test_an_error_of_the_callback_ends_it(void **state)
{
	refusal = -ECANCELED;
	assert_int_equal(feed(JSON_STREAM_VALUES, "{}{}", 1), -ECANCELED);
	assert_string_equal(seen.data, "={};");
}

static void repeat(struct buffer *text, const char *piece, size_t times)
{
	for (size_t i = 0; i < times; i++)
		buffer_string(text, piece);
}

/* {"items":[HUGE,{"a":1}]} */
static void assert_left_out(const char *head, const char *piece, const char *end, size_t times,
			    const char *tail)
{
	uint64_t before = json_stream_skipped(stream);
	struct buffer text = { 0 };

	buffer_string(&text, "{\"items\":[");
	buffer_string(&text, head);
	repeat(&text, piece, times);
	repeat(&text, end, times);
	buffer_string(&text, tail);
	buffer_string(&text, ",{\"a\":1}]}");
	buffer_char(&text, '\0');
	assert_int_equal(feed(JSON_STREAM_LIST, text.data, 16384), 0);
	assert_true(json_stream_is_complete(stream));
	assert_string_equal(seen.data, "items={\"a\":1};");
	assert_int_equal(json_stream_skipped(stream), before + 1);
	buffer_free(&text);
}

static void test_what_is_too_much_is_left_out_and_counted(void **state)
{
	assert_left_out("{\"long\":\"", "0123456789abcdef", "", JSON_STREAM_MAX_BYTES / 16 + 1,
			"\"}");
	assert_left_out("{\"many\":[", "[],", "", JSON_STREAM_MAX_VALUES + 1, "[]]}");
	/* a million levels deep and out again, without a million calls */
	assert_left_out("{\"deep\":", "[", "]", 1000000, "}");
}

static void test_a_long_way_down_never_comes_back(void **state)
{
	struct buffer text = { 0 };

	repeat(&text, "{\"a\":[", 1000000);
	buffer_char(&text, '\0');
	assert_int_equal(feed(JSON_STREAM_VALUES, text.data, 16384), 0);
	assert_false(json_stream_is_complete(stream));
	assert_string_equal(seen.data, "");
	buffer_free(&text);
}

static void test_whole_texts(void **state)
{
	json_t *json = json_load_bounded(" {\"a\":\"b\"}\n", 11);

	assert_string_equal(json_text(json, "a"), "b");
	assert_null(json_text(json, "c"));
	json_decref(json);
	assert_null(json_load_bounded("{\"a\":1", 6));
	assert_null(json_load_bounded("{}{}", 4));
	assert_null(json_load_bounded("[]", 2));
	assert_null(json_load_bounded("", 0));
	assert_null(json_text(NULL, "a"));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, make_stream, free_stream)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_values_are_the_same_in_pieces_of_any_size),
		TEST(test_empty_lists_are_lists),
		TEST(test_what_was_cut_off_is_not_complete),
		TEST(test_what_is_no_json_is_refused),
		TEST(test_an_error_of_the_callback_ends_it),
		TEST(test_what_is_too_much_is_left_out_and_counted),
		TEST(test_a_long_way_down_never_comes_back),
		TEST(test_whole_texts),
	};

	return cmocka_run_group_tests_name("json_stream", tests, NULL, NULL);
}
