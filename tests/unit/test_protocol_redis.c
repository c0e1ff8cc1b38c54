// SPDX-License-Identifier: Apache-2.0
/* Redis connections, by their bytes: each command that is answered is one call, whatever comes between. */
#include "tests/harness/harness.h"
#include "tests/harness/protocol_run.h"

#define STEPS(expected, ...)                                                                       \
	do {                                                                                       \
		static const struct protocol_step steps[] = { __VA_ARGS__ };                       \
                                                                                                   \
		protocol_run_steps(&protocol_redis, steps, sizeof(steps) / sizeof(steps[0]),       \
				   expected);                                                      \
	} while (0)

#define PING "*1\r\n$4\r\nPING\r\n"
#define GET  "*2\r\n$3\r\nget\r\n$1\r\na\r\n"
#define SET  "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\n1\r\n2\n\r\n"

static void commands_are_answered_in_order(void **state)
{
	STEPS("PING", CLIENT_STEP(PING), SERVER_STEP("+PONG\r\n"));
	STEPS("GET; SET; GET =WRONGTYPE !", CLIENT_STEP(GET), SERVER_STEP("$5\r\n*1\r\n\n\r\n"),
	      CLIENT_STEP(SET), SERVER_STEP("+OK\r\n"), CLIENT_STEP(GET),
	      SERVER_STEP(
		      "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"));
	STEPS("_OTHER =ERR !; _OTHER =_OTHER !; GET", CLIENT_STEP("*1\r\n$6\r\nSECRET\r\n"),
	      SERVER_STEP("-ERR unknown command\r\n"),
	      CLIENT_STEP("*1\r\n$40\r\n0123456789012345678901234567890123456789\r\n"),
	      SERVER_STEP("-user 4711 says no\r\n"), CLIENT_STEP(GET), SERVER_STEP("$-1\r\n"));
	/* what says nothing is not answered */
	STEPS("PING", CLIENT_STEP("*0\r\n*-1\r\n\r\n" PING), SERVER_STEP("+PONG\r\n"));
}

static void each_of_a_pipeline_is_a_call(void **state)
{
	STEPS("GET; SET; GET; PING", CLIENT_STEP(GET SET GET PING),
	      SERVER_STEP("$1\r\nx\r\n+OK\r\n$0\r\n\r\n+PONG\r\n"));
	STEPS("GET; SET; GET", CLIENT_STEP(GET SET), SERVER_STEP("$1\r\nx\r\n"), CLIENT_STEP(GET),
	      SERVER_STEP("+OK\r\n$-1\r\n"));
}

static void each_of_a_transaction_is_a_call(void **state)
{
	STEPS("MULTI; SET; GET; EXEC; MULTI; DISCARD; EXEC =EXECABORT !",
	      CLIENT_STEP("*1\r\n$5\r\nMULTI\r\n"), SERVER_STEP("+OK\r\n"), CLIENT_STEP(SET GET),
	      SERVER_STEP("+QUEUED\r\n+QUEUED\r\n"), CLIENT_STEP("*1\r\n$4\r\nEXEC\r\n"),
	      SERVER_STEP("*2\r\n+OK\r\n-ERR within\r\n"), CLIENT_STEP("*1\r\n$5\r\nMULTI\r\n"),
	      SERVER_STEP("+OK\r\n"), CLIENT_STEP("*1\r\n$7\r\nDISCARD\r\n"),
	      SERVER_STEP("+OK\r\n"), CLIENT_STEP("*1\r\n$4\r\nEXEC\r\n"),
	      SERVER_STEP("-EXECABORT Transaction discarded because of previous errors.\r\n"));
}

static void inline_commands_are_lines(void **state)
{
	STEPS("PING; GET; _OTHER =ERR !", CLIENT_STEP("PING\r\n"), SERVER_STEP("+PONG\r\n"),
	      CLIENT_STEP("\r\n  get  a \n"), SERVER_STEP("$-1\r\n"), CLIENT_STEP("\"GET\" a\r\n"),
	      SERVER_STEP("-ERR unknown command\r\n"));
}

static void values_may_be_of_any_kind_and_depth(void **state)
{
	STEPS("GET; GET", CLIENT_STEP(GET),
	      SERVER_STEP("*3\r\n*2\r\n:1\r\n*-1\r\n*1\r\n*1\r\n$3\r\n*1\r\r\n*0\r\n"),
	      CLIENT_STEP(GET), SERVER_STEP("*-1\r\n"));
	STEPS("GET; GET; GET; GET; GET =_OTHER !; GET =ERR !; GET", CLIENT_STEP(GET),
	      SERVER_STEP("%2\r\n+a\r\n:1\r\n+b\r\n~2\r\n#t\r\n_\r\n"), CLIENT_STEP(GET),
	      SERVER_STEP(",3.25\r\n"), CLIENT_STEP(GET), SERVER_STEP("=7\r\ntxt:abc\r\n"),
	      CLIENT_STEP(GET), SERVER_STEP("(3492890328409238509324850943850943825024385\r\n"),
	      CLIENT_STEP(GET), SERVER_STEP("!14\r\nSYNTAX invalid\r\n"), CLIENT_STEP(GET),
	      SERVER_STEP("!3\r\nERR\r\n"), CLIENT_STEP(GET),
	      SERVER_STEP("|1\r\n+ttl\r\n:3\r\n*2\r\n|1\r\n+a\r\n*1\r\n:1\r\n:1\r\n|0\r\n+x\r\n"));
	/* attributes are not the reply */
	STEPS("GET =ERR !; PING", CLIENT_STEP(GET PING),
	      SERVER_STEP("|1\r\n+a\r\n-WRONGTYPE b\r\n-ERR c\r\n+PONG\r\n"));
}

static void long_lines_are_read_by_their_beginning(void **state)
{
	static char command[3000], reply[3000];
	struct protocol_run run;

	memset(command, 'x', sizeof(command));
	memcpy(command, "GET ", 4);
	command[sizeof(command) - 1] = '\n';
	memset(reply, 'x', sizeof(reply));
	memcpy(reply, "-OOM ", 5);
	memcpy(reply + sizeof(reply) - 2, "\r\n", 2);
	for (size_t most = 1; most <= sizeof(reply); most += most < 8 ? 1 : 331) {
		protocol_run_begin(&run, &protocol_redis, false);
		for (unsigned i = 0; i < 2; i++) {
			for (size_t at = 0; at < sizeof(command); at += most)
				protocol_run_feed(&run, true, command + at,
						  sizeof(command) - at < most ? sizeof(command) - at
									      : most);
			for (size_t at = 0; at < sizeof(reply); at += most)
				protocol_run_feed(&run, false, reply + at,
						  sizeof(reply) - at < most ? sizeof(reply) - at
									    : most);
		}
		protocol_run_expect(&run, "GET =OOM !; GET =OOM !");
		assert_int_equal(run.last.request_bytes, sizeof(command));
		assert_int_equal(run.last.response_bytes, sizeof(reply));
		protocol_run_end(&run);
	}
}

static void messages_answer_nothing(void **state)
{
	/* RESP2: arrays of their own kind, on a connection that has subscribed */
	STEPS("SUBSCRIBE; PING; UNSUBSCRIBE; LRANGE",
	      CLIENT_STEP("*3\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n$1\r\nb\r\n"),
	      SERVER_STEP("*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"),
	      SERVER_STEP("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n"),
	      SERVER_STEP("*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n"), CLIENT_STEP(PING),
	      SERVER_STEP(
		      "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n"),
	      CLIENT_STEP("*1\r\n$11\r\nUNSUBSCRIBE\r\n"),
	      SERVER_STEP(
		      "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:0\r\n"),
	      /* from here on an array is an array */
	      CLIENT_STEP("*4\r\n$6\r\nLRANGE\r\n$1\r\nl\r\n$1\r\n0\r\n$1\r\n2\r\n"),
	      SERVER_STEP("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n"));
	STEPS("PSUBSCRIBE; PUNSUBSCRIBE", CLIENT_STEP("*2\r\n$10\r\npsubscribe\r\n$2\r\na*\r\n"),
	      SERVER_STEP("*3\r\n$10\r\npsubscribe\r\n$2\r\na*\r\n:1\r\n"),
	      SERVER_STEP("*4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$2\r\nab\r\n$2\r\nhi\r\n"),
	      CLIENT_STEP("*1\r\n$12\r\nPUNSUBSCRIBE\r\n"),
	      SERVER_STEP("*3\r\n$12\r\npunsubscribe\r\n$-1\r\n:0\r\n"));
	/* RESP3: pushes, between anything */
	STEPS("HELLO; SUBSCRIBE; GET; LRANGE", CLIENT_STEP("*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"),
	      SERVER_STEP("%1\r\n$5\r\nproto\r\n:3\r\n"),
	      CLIENT_STEP("*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n" GET
			  "*4\r\n$6\r\nLRANGE\r\n$1\r\nl\r\n$1\r\n0\r\n$1\r\n2\r\n"),
	      SERVER_STEP(">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"),
	      SERVER_STEP(">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"),
	      SERVER_STEP(">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n$1\r\nx\r\n"),
	      SERVER_STEP("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n"));
	STEPS("SUBSCRIBE =NOPERM !; GET",
	      CLIENT_STEP("*3\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n$1\r\nb\r\n"),
	      SERVER_STEP("-NOPERM no\r\n"), CLIENT_STEP(GET), SERVER_STEP("$-1\r\n"));
	STEPS("MONITOR; QUIT", CLIENT_STEP("*1\r\n$7\r\nMONITOR\r\n"),
	      SERVER_STEP("+OK\r\n+1339518083.107412 [0 127.0.0.1:60866] \"keys\" \"*\"\r\n"),
	      CLIENT_STEP("*1\r\n$4\r\nQUIT\r\n"),
	      SERVER_STEP("+1339518090.1 [0 lua] \"quit\"\r\n+OK\r\n"));
}

static void without_replies_there_are_no_calls(void **state)
{
	struct protocol_run run;

	STEPS("CLIENT; PING",
	      CLIENT_STEP("*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n" SET SET GET
			  "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$4\r\nSKIP\r\n" GET),
	      CLIENT_STEP("*3\r\n$6\r\nclient\r\n$5\r\nreply\r\n$2\r\non\r\n" PING),
	      SERVER_STEP("+OK\r\n+PONG\r\n"));
	STEPS("GET; PING; CLIENT =ERR !",
	      CLIENT_STEP("*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$4\r\nSKIP\r\n" SET GET PING
			  "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$5\r\nMAYBE\r\n"),
	      SERVER_STEP("$-1\r\n+PONG\r\n-ERR syntax error\r\n"));

	protocol_run_begin(&run, &protocol_redis, false);
	CLIENT(&run, "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n" SET SET);
	assert_int_equal(protocol_calls_in_flight(run.calls, NULL), 0);
	protocol_run_end(&run);
}

static void a_replica_is_another_protocol(void **state)
{
	enum protocol_unparsed reason = PROTOCOL_UNPARSED_REASONS;
	struct protocol_run run;

	protocol_run_begin(&run, &protocol_redis, false);
	CLIENT(&run, "*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n");
	assert_false(protocol_calls_stopped(run.calls, &reason));
	SERVER(&run, "+FULLRESYNC 8371b4fb1155b71f4a04d3e1bc3e18c4a990aeeb 0\r\n$100\r\nREDIS0009");
	protocol_run_expect(&run, "PSYNC");
	assert_true(protocol_calls_stopped(run.calls, &reason));
	SERVER(&run, "+OK\r\n*1\r\n$4\r\nPING\r\n");
	CLIENT(&run, "*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$1\r\n0\r\n");
	protocol_run_expect(&run, "");
	assert_int_equal(protocol_calls_in_flight(run.calls, NULL), 0);
	protocol_run_end(&run);
}

static void times_and_sizes_are_those_of_the_bytes(void **state)
{
	struct protocol_run run;
	uint64_t start;

	protocol_run_begin(&run, &protocol_redis, false);
	CLIENT(&run, "*2\r\n$3\r\nG");
	start = run.ns;
	CLIENT(&run, "ET\r\n$1\r\n");
	CLIENT(&run, "a\r\n");
	SERVER(&run, "$");
	SERVER(&run, "10\r\n01234");
	SERVER(&run, "56789\r");
	assert_int_equal(run.last.end_ns, 0);
	SERVER(&run, "\n");
	protocol_run_expect(&run, "GET");
	assert_int_equal(run.last.start_ns, start);
	assert_int_equal(run.last.first_byte_ns, start + 30);
	assert_int_equal(run.last.end_ns, start + 60);
	assert_int_equal(run.last.request_bytes, sizeof(GET) - 1);
	assert_int_equal(run.last.response_bytes, 17);
	CLIENT(&run, PING);
	protocol_run_close(&run);
	protocol_run_expect(&run, "PING =no_response !");
	protocol_run_end(&run);
}

/* Commands and replies of which the kernel copied little. */
static void what_was_not_copied_is_passed_over(void **state)
{
	static char set[100000], get[100000];
	size_t set_size, get_size;
	struct protocol_run run;

	set_size = sprintf(set, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$90000\r\n");
	memset(set + set_size, '*', 90000);
	set_size += 90000 + sprintf(set + set_size + 90000, "\r\n");
	get_size = sprintf(get, "$90000\r\n");
	memset(get + get_size, '-', 90000);
	get_size += 90000 + sprintf(get + get_size + 90000, "\r\n");

	protocol_run_begin(&run, &protocol_redis, false);
	for (unsigned i = 0; i < 7; i++) {
		protocol_run_feed_part(&run, true, set, set_size, 64, 0);
		SERVER(&run, "+OK\r\n");
		CLIENT(&run, GET);
		protocol_run_feed_part(&run, false, get, 50000, 16, 16);
		protocol_run_feed_part(&run, false, get + 50000, get_size - 50000, 0, 0);
	}
	protocol_run_expect(&run,
			    "SET; GET; SET; GET; SET; GET; SET; GET; SET; GET; SET; GET; SET; GET");
	assert_int_equal(run.last.response_bytes, get_size);
	assert_int_equal(protocol_calls_counts(run.calls)->unparsed_bytes[PROTOCOL_TRUNCATED], 0);
	protocol_run_end(&run);
}

static void a_hole_in_a_command_leaves_its_name_and_its_reply(void **state)
{
	static const char mset[] =
		"*5\r\n$4\r\nMSET\r\n$1\r\na\r\n$20\r\nvalue_that_is_so_long\r\n$1\r\nb\r\n$1\r\nc\r\n";
	struct protocol_run run;

	protocol_run_begin(&run, &protocol_redis, false);
	CLIENT(&run, PING);
	SERVER(&run, "+PONG\r\n");
	protocol_run_feed_part(&run, true, mset, sizeof(mset) - 1, 25, 3);
	CLIENT(&run, GET); /* this could be the rest of it */
	SERVER(&run, "+OK\r\n");
	protocol_run_expect(&run, "PING; MSET");
	SERVER(&run,
	       "$-1\r\n"); /* but was not: that reply is nobody's, follow it again from turns */
	assert_int_equal(protocol_calls_in_flight(run.calls, NULL), 0);
	for (unsigned i = 0; i < 5; i++) {
		CLIENT(&run, GET);
		SERVER(&run, "$-1\r\n");
	}
	protocol_run_expect(&run, "GET; GET");
	/* alone it is followed at once */
	protocol_run_feed_part(&run, true, mset, sizeof(mset) - 1, 25, 3);
	SERVER(&run, "+OK\r\n");
	CLIENT(&run, PING);
	SERVER(&run, "+PONG\r\n");
	protocol_run_expect(&run, "MSET; PING");
	/* where a hole hides the beginning of a command, what its reply is can not be known */
	protocol_run_feed_part(&run, true, GET GET GET, 3 * (sizeof(GET) - 1), sizeof(GET) - 1, 2);
	SERVER(&run, "$-1\r\n$-1\r\n");
	protocol_run_expect(&run, "GET");
	SERVER(&run, "$-1\r\n");
	CLIENT(&run, PING);
	SERVER(&run, "+PONG\r\n");
	protocol_run_expect(&run, "");
	protocol_run_end(&run);
}

static void a_hole_in_a_reply_ends_it_when_the_client_goes_on(void **state)
{
	static const char array[] = "*3\r\n$3\r\nabc\r\n$3\r\ndef\r\n$3\r\nghi\r\n";
	struct protocol_run run;
	uint64_t ns;

	protocol_run_begin(&run, &protocol_redis, false);
	CLIENT(&run, GET);
	protocol_run_feed_part(&run, false, array, sizeof(array) - 1, 10, 2);
	SERVER(&run, "more of it");
	ns = run.ns;
	protocol_run_expect(&run, "");
	CLIENT(&run, PING);
	protocol_run_expect(&run, "GET");
	assert_int_equal(run.last.end_ns, ns);
	SERVER(&run, "+PONG\r\n");
	protocol_run_expect(&run, "PING");

	/* of several in flight it can not be known which have ended */
	CLIENT(&run, GET PING);
	protocol_run_feed_part(&run, false, array, sizeof(array) - 1, 10, 2);
	SERVER(&run, "+PONG\r\n");
	assert_int_equal(protocol_calls_counts(run.calls)->abandoned, 2);
	for (unsigned i = 0; i < 5; i++) {
		CLIENT(&run, GET);
		SERVER(&run, "$-1\r\n");
	}
	protocol_run_expect(&run, "GET; GET");
	protocol_run_end(&run);
}

static void joined_midway_nothing_is_said_until_turns_match(void **state)
{
	struct protocol_run run;

	protocol_run_begin(&run, &protocol_redis, true);
	CLIENT(&run, "rest of a value\r\n");
	SERVER(&run, "rest of a reply\r\n+OK\r\n");
	CLIENT(&run, GET GET);
	SERVER(&run, "$-1\r\n"); /* one is outstanding */
	CLIENT(&run, GET);
	SERVER(&run, "$-1\r\n$-1\r\n");
	for (unsigned i = 0; i < 5; i++) {
		CLIENT(&run, GET PING);
		SERVER(&run, "$-1\r\n");
		SERVER(&run, "+PONG\r\n");
	}
	protocol_run_expect(&run, "GET; PING; GET; PING");
	assert_int_not_equal(protocol_calls_counts(run.calls)->unparsed_bytes[PROTOCOL_MIDWAY], 0);
	protocol_run_end(&run);
}

static void a_gap_is_followed_again(void **state)
{
	struct protocol_run run;

	for (unsigned from_client = 0; from_client < 2; from_client++) {
		protocol_run_begin(&run, &protocol_redis, false);
		CLIENT(&run, GET GET);
		SERVER(&run, "$1");
		protocol_redis.gap(run.connection, from_client, run.calls);
		assert_int_equal(protocol_calls_counts(run.calls)->abandoned, 2);
		for (unsigned i = 0; i < 6; i++) {
			CLIENT(&run, GET);
			SERVER(&run, "$-1\r\n");
		}
		protocol_run_expect(&run, from_client ? "GET; GET" : "GET; GET; GET");
		protocol_run_end(&run);
	}
}

static void what_is_not_redis_is_counted_and_left(void **state)
{
	static const char *const bad[] = {
		"*1\r\n:4\r\n",
		"*x\r\n$4\r\nPING\r\n",
		"*1\r\n$-4\r\nPING\r\n",
		"\x16\x03\x01\x02\x00",
		"*99999999999999999999999\r\n",
		"*1\r\n$99999999999999999999\r\n",
		"*1\rxx$4\n",
	};
	static const char *const bad_replies[] = {
		"hello\r\n",	      ":\r\n",	  "$x\r\n", "*99999999999999\r\n", "$?\r\n",
		"_waaaaaaaaaaay\r\n", "#yes\r\n", "+OK\n",
	};
	struct protocol_run run;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		protocol_run_begin(&run, &protocol_redis, false);
		protocol_run_feed(&run, true, bad[i], strlen(bad[i]));
		assert_int_equal(protocol_calls_in_flight(run.calls, NULL), 0);
		protocol_run_close(&run);
		protocol_run_expect(&run, "");
		assert_int_not_equal(
			protocol_calls_counts(run.calls)->unparsed_bytes[PROTOCOL_MALFORMED], 0);
		protocol_run_end(&run);
	}
	for (size_t i = 0; i < sizeof(bad_replies) / sizeof(bad_replies[0]); i++) {
		protocol_run_begin(&run, &protocol_redis, false);
		CLIENT(&run, GET GET);
		protocol_run_feed(&run, false, bad_replies[i], strlen(bad_replies[i]));
		protocol_run_close(&run);
		assert_null(strstr(run.log, "GET;"));
		protocol_run_end(&run);
	}
	/* deeper than any reply */
	protocol_run_begin(&run, &protocol_redis, false);
	CLIENT(&run, GET);
	for (unsigned i = 0; i < 100; i++)
		SERVER(&run, "*1\r\n");
	protocol_run_expect(&run, "");
	assert_int_equal(protocol_calls_counts(run.calls)->abandoned, 1);
	protocol_run_end(&run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commands_are_answered_in_order),
		cmocka_unit_test(each_of_a_pipeline_is_a_call),
		cmocka_unit_test(each_of_a_transaction_is_a_call),
		cmocka_unit_test(inline_commands_are_lines),
		cmocka_unit_test(values_may_be_of_any_kind_and_depth),
		cmocka_unit_test(long_lines_are_read_by_their_beginning),
		cmocka_unit_test(messages_answer_nothing),
		cmocka_unit_test(without_replies_there_are_no_calls),
		cmocka_unit_test(a_replica_is_another_protocol),
		cmocka_unit_test(times_and_sizes_are_those_of_the_bytes),
		cmocka_unit_test(what_was_not_copied_is_passed_over),
		cmocka_unit_test(a_hole_in_a_command_leaves_its_name_and_its_reply),
		cmocka_unit_test(a_hole_in_a_reply_ends_it_when_the_client_goes_on),
		cmocka_unit_test(joined_midway_nothing_is_said_until_turns_match),
		cmocka_unit_test(a_gap_is_followed_again),
		cmocka_unit_test(what_is_not_redis_is_counted_and_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
