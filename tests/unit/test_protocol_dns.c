// SPDX-License-Identifier: Apache-2.0
/* DNS over UDP and TCP, by its messages: a question is one call, by its number and what it asks. */
#include "tests/harness/harness.h"
#include "tests/harness/protocol_run.h"

#define SECOND UINT64_C(1000000000)

#define A_TEST	    "\1a\4test\0\0\1\0\1" /* a.test A */
#define AAAA_TEST   "\1a\4test\0\0\34\0\1"
#define ANSWER	    "\300\14\0\1\0\1\0\0\0\74\0\4\12\1\2\3"
#define EDNS(upper) "\0\0\51\20\0" upper "\0\0\0\0\0"

/* Number, flags, and how many questions, answers, authorities and additional records. */
#define QUERY(id)                                                                                  \
	id "\1\0"                                                                                  \
	   "\0\1\0\0\0\0\0\0"
#define RESPONSE(id)                                                                               \
	id "\201\200"                                                                              \
	   "\0\1\0\1\0\0\0\0"
#define FAILED(id, code) id "\201" code "\0\1\0\0\0\0\0\0"

static void a_question_is_a_call(void **state)
{
	struct protocol_run run;

	protocol_run_begin(&run, &protocol_dns, false);
	CLIENT(&run, QUERY("\1\2") A_TEST);
	assert_int_equal(protocol_calls_in_flight(run.calls, NULL), 1);
	SERVER(&run, RESPONSE("\1\2") A_TEST ANSWER);
	protocol_run_expect(&run, "A");
	assert_int_equal(run.last.end_ns - run.last.start_ns, 10);
	assert_int_equal(run.last.first_byte_ns, run.last.end_ns);
	assert_int_equal(run.last.request_bytes, 24);
	assert_int_equal(run.last.response_bytes, 40);
	/* both families at once, answered in the other order; the case of letters is not the question */
	CLIENT(&run, QUERY("\0\1") A_TEST);
	CLIENT(&run, QUERY("\0\2") AAAA_TEST);
	SERVER(&run, FAILED("\0\2", "\203") "\1A\4tEST\0\0\34\0\1");
	SERVER(&run, FAILED("\0\1", "\202") A_TEST);
	protocol_run_expect(&run, "AAAA =NXDOMAIN; A =SERVFAIL !");
	protocol_run_end(&run);
}

static void numbers_alone_do_not_tell(void **state)
{
	struct protocol_run run;

	protocol_run_begin(&run, &protocol_dns, false);
	/* two clients of one server, by chance with the same number */
	CLIENT(&run, QUERY("\1\2") A_TEST);
	CLIENT(&run, QUERY("\1\2") AAAA_TEST);
	SERVER(&run, FAILED("\1\2", "\205") AAAA_TEST);
	protocol_run_expect(&run, "AAAA =REFUSED !");
	SERVER(&run, FAILED("\1\3", "\200") A_TEST); /* to no question */
	protocol_run_expect(&run, "");
	SERVER(&run, FAILED("\1\2", "\200") A_TEST);
	protocol_run_expect(&run, "A");
	SERVER(&run, FAILED("\1\2", "\200") A_TEST); /* twice */
	protocol_run_expect(&run, "");
	assert_int_equal(protocol_calls_counts(run.calls)->unparsed_bytes[PROTOCOL_MIDWAY], 48);
	protocol_run_end(&run);
}

static void a_question_sent_again_is_one_call(void **state)
{
	struct protocol_run run;
	uint64_t start;

	protocol_run_begin(&run, &protocol_dns, false);
	CLIENT(&run, QUERY("\1\2") A_TEST);
	start = run.ns;
	run.ns += 5 * SECOND;
	CLIENT(&run, QUERY("\1\2") A_TEST);
	SERVER(&run, RESPONSE("\1\2") A_TEST ANSWER);
	protocol_run_expect(&run, "A");
	assert_int_equal(run.last.start_ns, start);
	assert_int_equal(run.last.request_bytes, 48);
	assert_int_equal(protocol_calls_counts(run.calls)->begun, 1);
	protocol_run_end(&run);
}

static void a_question_without_answer_times_out(void **state)
{
	struct protocol_run run;
	uint64_t start;

	protocol_run_begin(&run, &protocol_dns, false);
	CLIENT(&run, QUERY("\1\2") A_TEST);
	start = run.ns;
	run.ns += 29 * SECOND;
	CLIENT(&run, QUERY("\1\3") AAAA_TEST);
	protocol_run_expect(&run, "");
	run.ns += 2 * SECOND;
	SERVER(&run, RESPONSE("\1\2") A_TEST ANSWER); /* too late */
	protocol_run_expect(&run, "A =timeout !");
	assert_int_equal(run.last.start_ns, start);
	assert_int_equal(run.last.end_ns, start + 30 * SECOND);
	protocol_run_close(&run);
	protocol_run_expect(&run, "AAAA =no_response !");
	protocol_run_end(&run);
}

static void an_answer_need_not_repeat_the_question(void **state)
{
	struct protocol_run run;

	protocol_run_begin(&run, &protocol_dns, false);
	for (char i = 0; i < 20; i++) {
		const char query[] = { 7, i, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1 };

		protocol_run_feed(&run, true, query, sizeof(query));
	}
	SERVER(&run, "\7\23\201\201\0\0\0\0\0\0\0\0");
	protocol_run_expect(&run, "A =FORMERR !");
	SERVER(&run, "\7\0\201\201\0\0\0\0\0\0\0\0"); /* too long ago */
	SERVER(&run, "\7\23\201\201\0\0\0\0\0\0\0\0"); /* answered before */
	protocol_run_expect(&run, "");
	protocol_run_end(&run);
}

static void codes_go_on_in_edns(void **state)
{
	struct protocol_run run;

	protocol_run_begin(&run, &protocol_dns, false);
	CLIENT(&run, "\1\2\1\0\0\1\0\0\0\0\0\1" A_TEST EDNS("\0"));
	SERVER(&run, "\1\2\201\200\0\1\0\1\0\0\0\1" A_TEST ANSWER EDNS("\1"));
	protocol_run_expect(&run, "A =BADVERS !");
	CLIENT(&run, QUERY("\1\2") A_TEST);
	SERVER(&run, "\1\2\201\207\0\1\0\0\0\0\0\1" A_TEST EDNS("\1"));
	protocol_run_expect(&run, "A =BADCOOKIE !");
	CLIENT(&run, QUERY("\1\2") A_TEST);
	SERVER(&run, "\1\2\201\217\0\1\0\0\0\0\0\1" A_TEST EDNS("\377"));
	protocol_run_expect(&run, "A =_OTHER !");
	/* not where it is not */
	CLIENT(&run, QUERY("\1\2") A_TEST);
	SERVER(&run, "\1\2\201\200\0\1\0\1\0\0\0\0" A_TEST EDNS("\1"));
	protocol_run_expect(&run, "A");
	protocol_run_end(&run);
}

static void kinds_and_types_have_names(void **state)
{
	struct protocol_run run;

	protocol_run_begin(&run, &protocol_dns, false);
	CLIENT(&run, QUERY("\0\1") "\0\377\0\0\1"); /* a type no one has */
	SERVER(&run, FAILED("\0\1", "\200") "\0\377\0\0\1");
	CLIENT(&run, "\0\2\40\0\0\1\0\0\0\0\0\0\0\0\6\0\1");
	SERVER(&run, "\0\2\240\0\0\1\0\0\0\0\0\0\0\0\6\0\1");
	CLIENT(&run, "\0\3\50\0\0\1\0\0\0\0\0\0\0\0\6\0\1");
	SERVER(&run, "\0\3\250\11\0\1\0\0\0\0\0\0\0\0\6\0\1");
	CLIENT(&run, "\0\4\1\0\0\0\0\0\0\0\0\0"); /* asks nothing */
	SERVER(&run, "\0\4\201\0\0\0\0\0\0\0\0\0");
	/* two questions go by the first; an answer that was truncated is one */
	CLIENT(&run, "\0\5\1\0\0\2\0\0\0\0\0\0" A_TEST "\300\14\0\20\0\1");
	SERVER(&run, "\0\5\203\200\0\2\0\0\0\0\0\0" A_TEST "\300\14\0\20\0\1");
	protocol_run_expect(&run, "_OTHER; NOTIFY; UPDATE =NOTAUTH !; _OTHER; A");
	protocol_run_end(&run);
}

static void hostile_names_end(void **state)
{
	static const char *const names[] = {
		"\300\14\0\1\0\1", /* a pointer to itself: never followed */
		"\100a\0\0\1\0\1", /* labels of kinds that there are not */
		"\200a\0\0\1\0\1", "\77short", "\1a", "\300",
	};
	static const size_t sizes[] = { 6, 7, 7, 6, 2, 1 };
	static char long_name[12 + 600] = "\1\2\1\0\0\1\0\0\0\0\0\0";
	struct protocol_run run;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char message[64] = "\1\2\1\0\0\1\0\0\0\0\0\0";

		memcpy(message + 12, names[i], sizes[i]);
		protocol_run_begin(&run, &protocol_dns, false);
		protocol_run_feed(&run, true, message, 12 + sizes[i]);
		protocol_run_close(&run);
		protocol_run_expect(&run, i ? "" : "A =no_response !");
		assert_int_equal(
			protocol_calls_counts(run.calls)->unparsed_bytes[PROTOCOL_MALFORMED],
			i ? 12 + sizes[i] : 0);
		protocol_run_end(&run);
	}
	for (size_t at = 12; at + 64 <= sizeof(long_name); at += 64)
		long_name[at] = 63;
	protocol_run_begin(&run, &protocol_dns, false);
	protocol_run_feed(&run, true, long_name, sizeof(long_name));
	assert_int_equal(protocol_calls_in_flight(run.calls, NULL), 0);
	/* counts that promise more than there is */
	CLIENT(&run, "\1\2\1\0\377\377\377\377\377\377\377\377" A_TEST);
	SERVER(&run, "\1\2\201\200\377\377\377\377\377\377\377\377" A_TEST ANSWER);
	protocol_run_expect(&run, "A");
	CLIENT(&run, "\1\2\170\0\0\1\0\0\0\0\0\0" A_TEST); /* of a kind that there is not */
	CLIENT(&run, "short");
	assert_int_equal(protocol_calls_in_flight(run.calls, NULL), 0);
	protocol_run_end(&run);
}

static void what_was_not_copied_is_not_needed(void **state)
{
	static const char response[] = RESPONSE("\1\2") A_TEST ANSWER ANSWER ANSWER;
	struct protocol_run run;

	protocol_run_begin(&run, &protocol_dns, false);
	CLIENT(&run, QUERY("\1\2") A_TEST);
	protocol_run_feed_part(&run, false, response, sizeof(response) - 1, 0, 0);
	protocol_run_feed_part(&run, false, response, sizeof(response) - 1, 20, 0);
	assert_int_equal(protocol_calls_counts(run.calls)->unparsed_bytes[PROTOCOL_TRUNCATED],
			 2 * (sizeof(response) - 1));
	protocol_run_feed_part(&run, false, response, sizeof(response) - 1, 24, 0);
	protocol_run_expect(&run, "A");
	CLIENT(&run, QUERY("\1\2") A_TEST);
	protocol_dns.gap(run.connection, true, run.calls);
	assert_int_equal(protocol_calls_in_flight(run.calls, NULL), 1);
	protocol_dns.gap(run.connection, false, run.calls); /* this may have been the answer */
	assert_int_equal(protocol_calls_counts(run.calls)->abandoned, 1);
	protocol_run_end(&run);
}

/* ---- TCP ---- */

#define TCP_QUERY(id)	 "\0\30" QUERY(id) A_TEST
#define TCP_RESPONSE(id) "\0\50" RESPONSE(id) A_TEST ANSWER

static void over_tcp_messages_follow_their_length(void **state)
{
	static const struct protocol_step steps[] = {
		CLIENT_STEP(TCP_QUERY("\1\2") "\0\30" QUERY("\1\3") AAAA_TEST),
		SERVER_STEP("\0\30" FAILED("\1\3", "\203") AAAA_TEST TCP_RESPONSE("\1\2")),
		CLIENT_STEP("\0"),
		CLIENT_STEP("\30" QUERY("\1\2") A_TEST),
		SERVER_STEP(TCP_RESPONSE("\1\2")),
	};
	struct protocol_run run;

	protocol_run_steps(&protocol_dns_tcp, steps, sizeof(steps) / sizeof(steps[0]),
			   "AAAA =NXDOMAIN; A; A");

	protocol_run_begin(&run, &protocol_dns_tcp, false);
	CLIENT(&run, TCP_QUERY("\1\2"));
	SERVER(&run, "\0");
	SERVER(&run, "\50" RESPONSE("\1\2") A_TEST);
	protocol_run_expect(&run, "");
	SERVER(&run, ANSWER);
	protocol_run_expect(&run, "A");
	assert_int_equal(run.last.first_byte_ns - run.last.start_ns, 10);
	assert_int_equal(run.last.end_ns - run.last.start_ns, 30);
	assert_int_equal(run.last.response_bytes, 42);
	protocol_run_end(&run);
}

static void over_tcp_messages_are_found_again(void **state)
{
	static char large[60002] = "\352\140" RESPONSE("\1\4") A_TEST; /* 60000 */
	struct protocol_run run;

	protocol_run_begin(&run, &protocol_dns_tcp, true);
	SERVER(&run, "rest of an answer that is not the beginning of one");
	CLIENT(&run, TCP_QUERY("\1\2"));
	SERVER(&run, TCP_RESPONSE("\1\2"));
	protocol_run_expect(&run, "A");
	/* one answer that was copied in part, whose rest comes later */
	CLIENT(&run, TCP_QUERY("\1\4"));
	protocol_run_feed_part(&run, false, large, 30000, 4096, 64);
	protocol_run_feed_part(&run, false, large + 30000, sizeof(large) - 30000, 0, 0);
	protocol_run_expect(&run, "A");
	assert_int_equal(run.last.response_bytes, 60002);
	/* and one after which the next begins where nothing was copied */
	CLIENT(&run, TCP_QUERY("\1\5") TCP_QUERY("\1\6"));
	protocol_run_feed_part(&run, false, TCP_RESPONSE("\1\5") TCP_RESPONSE("\1\6"), 84, 42, 10);
	protocol_run_expect(&run, "A");
	assert_int_equal(protocol_calls_counts(run.calls)->abandoned, 1);
	CLIENT(&run, TCP_QUERY("\1\7"));
	SERVER(&run, TCP_RESPONSE("\1\7"));
	protocol_run_expect(&run, "A");
	protocol_dns_tcp.gap(run.connection, true, run.calls);
	CLIENT(&run, TCP_QUERY("\1\10"));
	protocol_dns_tcp.gap(run.connection, false, run.calls);
	assert_int_equal(protocol_calls_counts(run.calls)->abandoned, 2);
	CLIENT(&run, TCP_QUERY("\1\11"));
	SERVER(&run, TCP_RESPONSE("\1\11"));
	protocol_run_expect(&run, "A");
	SERVER(&run, "\0\0\0\0");
	assert_int_equal(protocol_calls_counts(run.calls)->unparsed_bytes[PROTOCOL_MALFORMED], 4);
	protocol_run_end(&run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_question_is_a_call),
		cmocka_unit_test(numbers_alone_do_not_tell),
		cmocka_unit_test(a_question_sent_again_is_one_call),
		cmocka_unit_test(a_question_without_answer_times_out),
		cmocka_unit_test(an_answer_need_not_repeat_the_question),
		cmocka_unit_test(codes_go_on_in_edns),
		cmocka_unit_test(kinds_and_types_have_names),
		cmocka_unit_test(hostile_names_end),
		cmocka_unit_test(what_was_not_copied_is_not_needed),
		cmocka_unit_test(over_tcp_messages_follow_their_length),
		cmocka_unit_test(over_tcp_messages_are_found_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
