// SPDX-License-Identifier: Apache-2.0
/* PostgreSQL connections, by their messages: a statement is one call, however it is sent and whatever comes of it. */
#include "tests/harness/harness.h"
#include "tests/harness/protocol_run.h"

/* ---- conversations ---- */

static char arena[1 << 16];
static size_t used;
static struct protocol_step steps[256];
static size_t n_steps;

static void restart(void)
{
	used = 0;
	n_steps = 0;
}

static void put(const void *bytes, size_t size)
{
	assert_true(used + size <= sizeof(arena));
	memcpy(arena + used, bytes, size);
	used += size;
	steps[n_steps - 1].size += size;
}

/* What follows is said by that side, at once. */
static void says(bool from_client)
{
	assert_true(n_steps < sizeof(steps) / sizeof(steps[0]));
	steps[n_steps++] = (struct protocol_step){ from_client, arena + used, 0 };
}

static void put_message(char type, const void *body, size_t size)
{
	uint32_t length = size + 4;
	uint8_t header[] = { type, length >> 24, length >> 16, length >> 8, length };

	put(header + !type, sizeof(header) - !type);
	put(body, size);
}
/* Of a literal, without its NUL. */
#define M(type, text) put_message(type, text, sizeof(text) - 1)

static void started(void)
{
	restart();
	says(true);
	M(0, "\0\3\0\0user\0me\0\0");
	says(false);
	M('R', "\0\0\0\0");
	M('S', "server_version\00015\0");
	M('K', "\0\0\0\1\0\0\0\2");
	M('Z', "I");
}

static void query(const char *text)
{
	says(true);
	put_message('Q', text, strlen(text) + 1);
}

static void check(const char *expected)
{
	protocol_run_steps(&protocol_postgresql, steps, n_steps, expected);
}

static void replay(struct protocol_run *run)
{
	for (size_t i = 0; i < n_steps; i++)
		protocol_run_feed(run, steps[i].from_client, steps[i].bytes, steps[i].size);
	restart();
}

#define ERROR(severity, code) "S" severity "\0V" severity "\0C" code "\0Mno\0Fx.c\0\0"

/* ---- tests ---- */

static void connecting_is_no_call(void **state)
{
	started();
	check("");
	restart();
	says(true);
	M(0, "\4\322\026\057"); /* SSLRequest */
	says(false);
	put("N", 1);
	says(true);
	M(0, "\4\322\026\060"); /* GSSENCRequest */
	says(false);
	put("N", 1);
	says(true);
	M(0, "\0\3\0\0user\0me\0\0");
	says(false);
	M('R', "\0\0\0\12SCRAM-SHA-256\0\0");
	says(true);
	M('p', "SCRAM-SHA-256\0\0\0\0\1x");
	says(false);
	M('E', ERROR("FATAL", "28P01"));
	check("");
	restart();
	says(true);
	M(0, "\4\322\026\056\0\0\0\1\0\0\0\2"); /* CancelRequest */
	check("");
}

static void after_encryption_nothing_is_read(void **state)
{
	enum protocol_unparsed reason = PROTOCOL_UNPARSED_REASONS;
	struct protocol_run run;

	restart();
	says(true);
	M(0, "\4\322\026\057");
	protocol_run_begin(&run, &protocol_postgresql, false);
	replay(&run);
	assert_false(protocol_calls_stopped(run.calls, &reason));
	SERVER(&run, "S");
	assert_true(protocol_calls_stopped(run.calls, &reason));
	assert_int_equal(reason, PROTOCOL_ENCRYPTED);
	CLIENT(&run, "\x16\3\1 hello");
	SERVER(&run, "\x16\3\3 hello Z\0\0\0\5I");
	CLIENT(&run, "Q\0\0\0\6x\0");
	assert_int_equal(protocol_calls_counts(run.calls)->unparsed_bytes[PROTOCOL_ENCRYPTED], 32);
	protocol_run_expect(&run, "");
	protocol_run_close(&run);
	protocol_run_expect(&run, "");
	protocol_run_end(&run);
}

static void a_simple_query_is_a_call(void **state)
{
	started();
	query("SELECT a FROM orders WHERE id = 7");
	says(false);
	M('T', "\0\1a\0\0\0\0\0\0\0\0\0\0\31\377\377\377\377\377\377\0\0");
	M('D', "\0\1\0\0\0\1x");
	M('C', "SELECT 1\0");
	M('Z', "I");
	query("BEGIN; UPDATE users SET a = 1; COMMIT"); /* one, too */
	says(false);
	M('C', "BEGIN\0");
	M('N', "SNOTICE\0VNOTICE\0C00000\0Mhello\0\0");
	M('C', "UPDATE 1\0");
	M('C', "COMMIT\0");
	M('Z', "I");
	query("SELECT * FROM nosuch");
	says(false);
	M('E', ERROR("ERROR", "42P01"));
	M('Z', "I");
	query("");
	says(false);
	M('I', "");
	M('A', "\0\0\0\1chan\0hi\0");
	M('Z', "I");
	query("SELECT pg_terminate_backend(pg_backend_pid())");
	says(false);
	M('E', ERROR("FATAL", "57P01"));
	check("SELECT SELECT orders; BEGIN BEGIN UPDATE users COMMIT; SELECT SELECT nosuch =42P01 !; ?; SELECT SELECT =57P01 !");
}

static void an_execute_is_a_call(void **state)
{
	started();
	says(true);
	M('P', "\0SELECT a FROM orders WHERE id = $1\0\0\0");
	M('B', "\0\0\0\0\0\1\0\0\0\0017\0\0");
	M('D', "P\0");
	M('E', "\0\0\0\0\0");
	M('S', "");
	says(false);
	M('1', "");
	M('2', "");
	M('T', "\0\1a\0\0\0\0\0\0\0\0\0\0\31\377\377\377\377\377\377\0\0");
	M('D', "\0\1\0\0\0\1x");
	M('C', "SELECT 1\0");
	M('Z', "I");
	/* prepared once, by name, then executed by it */
	says(true);
	M('P', "s1\0UPDATE users SET a = $1\0\0\0");
	M('D', "Ss1\0");
	M('S', "");
	says(false);
	M('1', "");
	M('t', "\0\1\0\0\0\31");
	M('n', "");
	M('Z', "I");
	for (unsigned i = 0; i < 2; i++) {
		says(true);
		M('B', "\0s1\0\0\0\0\1\0\0\0\0017\0\0");
		M('E', "\0\0\0\0\0");
		M('S', "");
		says(false);
		M('2', "");
		M('C', "UPDATE 1\0");
		M('Z', "I");
	}
	/* a portal read in parts, and one that no one has named */
	says(true);
	M('B', "p1\0s1\0\0\0\0\0\0\0");
	M('E', "p1\0\0\0\0\1");
	M('H', "");
	says(false);
	M('2', "");
	M('D', "\0\1\0\0\0\1x");
	M('s', "");
	says(true);
	M('E', "p1\0\0\0\0\1");
	M('C', "Pp1\0");
	M('B', "\0nosuch\0\0\0\0\0\0\0");
	M('E', "\0\0\0\0\0");
	M('S', "");
	says(false);
	M('C', "UPDATE 0\0");
	M('3', "");
	M('E', ERROR("ERROR", "26000"));
	M('Z', "I");
	check("SELECT SELECT orders; UPDATE UPDATE users; UPDATE UPDATE users; UPDATE UPDATE users; "
	      "UPDATE UPDATE users; ? =26000 !");
}

static void pipelined_executes_are_calls_up_to_an_error(void **state)
{
	started();
	says(true);
	for (unsigned group = 0; group < 2; group++) {
		M('P', "\0INSERT INTO a VALUES ($1)\0\0\0");
		for (unsigned i = 0; i < 3; i++) {
			M('B', "\0\0\0\0\0\1\0\0\0\0017\0\0");
			M('E', "\0\0\0\0\0");
		}
		M('S', "");
	}
	says(false);
	M('1', "");
	M('2', "");
	M('C', "INSERT 0 1\0");
	M('2', "");
	M('E', ERROR("ERROR", "23505")); /* the third is ignored */
	M('Z', "I");
	M('1', "");
	for (unsigned i = 0; i < 3; i++) {
		M('2', "");
		M('C', "INSERT 0 1\0");
	}
	M('Z', "I");
	check("INSERT INSERT a; INSERT INSERT a =23505 !; INSERT INSERT a; INSERT INSERT a; INSERT INSERT a");
}

static void what_comes_before_sync_after_an_error_is_ignored(void **state)
{
	started();
	says(true);
	M('P', "\0SELEC 1\0\0\0");
	M('D', "S\0");
	M('H', "");
	says(false);
	M('E', ERROR("ERROR", "42601")); /* a Parse that fails is a call when nothing executes it */
	says(true);
	M('B', "\0\0\0\0\0\0\0\0");
	M('E', "\0\0\0\0\0");
	M('Q', "SELECT 1\0");
	M('S', "");
	says(false);
	M('Z', "I");
	query("SELECT 2 FROM b");
	says(false);
	M('C', "SELECT 1\0");
	M('Z', "I");
	/* it is the call of the Execute that is with it */
	says(true);
	M('P', "\0SELECT 1 FROM nosuch\0\0\0");
	M('B', "\0\0\0\0\0\0\0\0");
	M('E', "\0\0\0\0\0");
	M('S', "");
	says(false);
	M('E', ERROR("ERROR", "42P01"));
	M('Z', "I");
	check("_OTHER _OTHER =42601 !; SELECT SELECT b; SELECT SELECT nosuch =42P01 !");
}

static void rows_that_are_copied_belong_to_their_call(void **state)
{
	started();
	query("COPY a FROM STDIN");
	says(false);
	M('G', "\0\0\1\0\0");
	says(true);
	M('d', "1\tx\n");
	M('d', "S\0\0\0\4Q\n");
	M('c', "");
	says(false);
	M('C', "COPY 2\0");
	M('Z', "I");
	query("COPY a TO STDOUT");
	says(false);
	M('H', "\0\0\1\0\0");
	M('d', "Z\0\0\0\5I");
	M('c', "");
	M('C', "COPY 1\0");
	M('Z', "I");
	/* extended: the Sync that was sent before the rows is ignored */
	for (unsigned i = 0; i < 2; i++) {
		says(true);
		M('P', "\0COPY b FROM STDIN\0\0\0");
		M('B', "\0\0\0\0\0\0\0\0");
		M('E', "\0\0\0\0\0");
		M('S', "");
		says(false);
		M('1', "");
		M('2', "");
		M('G', "\0\0\1\0\0");
		says(true);
		M('d', "1\tx\n");
		M('S', "");
		if (i)
			M('f', "enough\0");
		else
			M('c', "");
		M('S', "");
		says(false);
		if (i)
			M('E', ERROR("ERROR", "57014"));
		else
			M('C', "COPY 1\0");
		M('Z', "I");
	}
	query("SELECT 1 FROM c");
	says(false);
	M('C', "SELECT 1\0");
	M('Z', "I");
	check("COPY COPY a; COPY COPY a; COPY COPY b; COPY COPY b =57014 !; SELECT SELECT c");
}

static void a_function_call_is_a_call(void **state)
{
	started();
	says(true);
	M('F', "\0\0\3\274\0\0\0\0\0\0");
	says(false);
	M('V', "\377\377\377\377");
	M('Z', "I");
	says(true);
	M('F', "\0\0\3\274\0\0\0\0\0\0");
	M('X', "");
	says(false);
	M('E', ERROR("ERROR", "42883"));
	M('Z', "I");
	check("FUNCTION; FUNCTION =42883 !");
}

static void replication_is_not_followed(void **state)
{
	enum protocol_unparsed reason = PROTOCOL_UNPARSED_REASONS;
	struct protocol_run run;

	started();
	query("START_REPLICATION 0/0");
	says(false);
	M('W', "\0\0\0");
	protocol_run_begin(&run, &protocol_postgresql, false);
	replay(&run);
	SERVER(&run, "d\0\0\0\5w");
	CLIENT(&run, "d\0\0\0\5r");
	protocol_run_expect(&run, "_OTHER _OTHER");
	assert_true(protocol_calls_stopped(run.calls, &reason));
	protocol_run_end(&run);
}

static void times_are_those_of_the_first_and_last_byte(void **state)
{
	struct protocol_run run;
	uint64_t start;

	started();
	protocol_run_begin(&run, &protocol_postgresql, false);
	replay(&run);
	/* Parse and Bind are part of the call … */
	start = run.ns + 10;
	CLIENT(&run, "P\0\0\0\20");
	CLIENT(&run, "\0SELECT 1\0\0\0");
	CLIENT(&run, "B\0\0\0\14\0\0\0\0\0\0\0\0E\0\0\0\11\0\0\0\0\0S\0\0\0\4");
	SERVER(&run, "1\0\0\0\4");
	SERVER(&run, "2\0\0\0\4C\0\0\0\rSELECT 1");
	protocol_run_expect(&run, "");
	SERVER(&run, "\0");
	protocol_run_expect(&run, "SELECT SELECT");
	assert_int_equal(run.last.start_ns, start);
	assert_int_equal(run.last.first_byte_ns, start + 30);
	assert_int_equal(run.last.end_ns, start + 50);
	assert_int_equal(run.last.request_bytes, 17 + 13 + 10);
	assert_int_equal(run.last.response_bytes, 5 + 5 + 14);
	SERVER(&run, "Z\0\0\0\5I");
	/* … unless the client waited for their answer */
	CLIENT(&run, "P\0\0\0\20\0SELECT 1\0\0\0H\0\0\0\4");
	SERVER(&run, "1\0\0\0\4");
	CLIENT(&run, "B\0\0\0\14\0\0\0\0\0\0\0\0E\0\0\0\11\0\0\0\0\0S\0\0\0\4");
	start = run.ns;
	SERVER(&run, "2\0\0\0\4C\0\0\0\rSELECT 1\0Z\0\0\0\5I");
	protocol_run_expect(&run, "SELECT SELECT");
	assert_int_equal(run.last.start_ns, start);
	CLIENT(&run, "Q\0\0\0\rSELECT 1\0");
	protocol_run_close(&run);
	protocol_run_expect(&run, "SELECT SELECT =no_response !");
	protocol_run_end(&run);
}

/* A result of which neither the middle of the piece nor the next ones were copied. */
static void a_hole_in_rows_ends_with_ready(void **state)
{
	static const char error_tail[] = "E\0\0\0\x18SERROR\0C57014\0Mno\0\0Z\0\0\0\5T";
	static char rows[20000];
	struct protocol_run run;

	started();
	protocol_run_begin(&run, &protocol_postgresql, false);
	replay(&run);
	memcpy(rows, "T\0\0\0\6\0\0D\0\0\x10\0\0\1", 14);
	for (unsigned i = 0; i < 5; i++) {
		CLIENT(&run, "Q\0\0\0\24SELECT 1 FROM a\0");
		memcpy(rows + sizeof(rows) - 20, "C\0\0\0\rSELECT 1\0Z\0\0\0\5I", 20);
		protocol_run_feed_part(&run, false, rows, 8192, 1000, 64);
		protocol_run_expect(&run, "");
		protocol_run_feed_part(&run, false, rows + 8192, sizeof(rows) - 8192, 0, 64);
		protocol_run_expect(&run, "SELECT SELECT a");
		assert_int_equal(run.last.end_ns, run.ns);
	}
	/* an error among rows, of which the code was not copied */
	CLIENT(&run, "Q\0\0\0\24SELECT 1 FROM a\0");
	memcpy(rows + sizeof(rows) - (sizeof(error_tail) - 1), error_tail, sizeof(error_tail) - 1);
	protocol_run_feed_part(&run, false, rows, sizeof(rows), 1000, 10);
	protocol_run_expect(&run, "SELECT SELECT a =_OTHER !");
	/* of two that are outstanding it can not be known which has ended */
	CLIENT(&run, "Q\0\0\0\24SELECT 1 FROM a\0Q\0\0\0\24SELECT 1 FROM a\0");
	protocol_run_feed_part(&run, false, rows, sizeof(rows), 1000, 10);
	protocol_run_expect(&run, "");
	assert_int_equal(protocol_calls_counts(run.calls)->abandoned, 2);
	SERVER(&run, "C\0\0\0\rSELECT 1\0Z\0\0\0\5I");
	CLIENT(&run, "Q\0\0\0\24SELECT 1 FROM b\0");
	SERVER(&run, "C\0\0\0\rSELECT 1\0Z\0\0\0\5I");
	protocol_run_expect(&run, "SELECT SELECT b");
	protocol_run_end(&run);
}

static void a_hole_in_what_the_client_says(void **state)
{
	static const char *const answers = "2\0\0\0\4C\0\0\0\17INSERT 0 1\0";
	static char batch[4000];
	size_t size = 0;
	struct protocol_run run;

	started();
	protocol_run_begin(&run, &protocol_postgresql, false);
	replay(&run);
	/* a query of which only the beginning was copied: its length is known */
	size = sprintf(batch, "Q%c%c%c%cSELECT 1 FROM abcdef WHERE b = 'c'", 0, 0, 3, 0xe8);
	protocol_run_feed_part(&run, true, batch, 1001, 28, 0);
	SERVER(&run, "C\0\0\0\rSELECT 1\0Z\0\0\0\5I");
	protocol_run_expect(&run, "SELECT SELECT abcdef");
	protocol_run_feed_part(&run, true, batch, 1001, 24, 0);
	SERVER(&run, "C\0\0\0\rSELECT 1\0Z\0\0\0\5I");
	protocol_run_expect(&run, "SELECT SELECT"); /* the name may go on */

	/* a batch: those that were seen are calls; the others have answers that are nobody's */
	restart();
	says(true);
	M('P', "\0INSERT INTO a VALUES ($1)\0\0\0");
	for (unsigned i = 0; i < 5; i++) {
		M('B', "\0\0\0\0\0\1\0\0\0\0017\0\0");
		M('E', "\0\0\0\0\0");
	}
	M('S', "");
	protocol_run_feed_part(&run, true, steps[0].bytes, steps[0].size, 110, 0);
	SERVER(&run, "1\0\0\0\4");
	for (unsigned i = 0; i < 5; i++)
		protocol_run_feed(&run, false, answers, 5 + 16);
	SERVER(&run, "Z\0\0\0\5I");
	protocol_run_expect(&run, "INSERT INSERT a; INSERT INSERT a");
	CLIENT(&run, "Q\0\0\0\24SELECT 1 FROM b\0");
	SERVER(&run, "C\0\0\0\rSELECT 1\0Z\0\0\0\5I");
	protocol_run_expect(&run, "SELECT SELECT b");
	assert_int_equal(protocol_calls_counts(run.calls)->unparsed_bytes[PROTOCOL_TRUNCATED],
			 steps[0].size - 108);
	protocol_run_end(&run);
	assert_true(size > 0);
}

static void joined_midway_it_waits_for_ready(void **state)
{
	struct protocol_run run;

	protocol_run_begin(&run, &protocol_postgresql, true);
	CLIENT(&run, "Q\0\0\0\24SELECT 1 FROM a\0"); /* that may be the inside of another */
	SERVER(&run, "D\0\0\0\5xC\0\0\0\rSELECT 1\0");
	CLIENT(&run, "Q\0\0\0\24SELECT 1 FROM a\0");
	SERVER(&run, "C\0\0\0\rSELECT 1\0Z\0\0\0\5I");
	protocol_run_expect(&run, "");
	CLIENT(&run, "hello"); /* not a message */
	SERVER(&run, "C\0\0\0\rSELECT 1\0Z\0\0\0\5T");
	CLIENT(&run, "Q\0\0\0\24SELECT 1 FROM b\0");
	SERVER(&run, "C\0\0\0\rSELECT 1\0Z\0\0\0\5I");
	protocol_run_expect(&run, "SELECT SELECT b");
	/* a statement that was prepared before is not known */
	CLIENT(&run, "B\0\0\0\16\0s1\0\0\0\0\0\0\0E\0\0\0\11\0\0\0\0\0S\0\0\0\4");
	SERVER(&run, "2\0\0\0\4C\0\0\0\rSELECT 1\0Z\0\0\0\5I");
	protocol_run_expect(&run, "?");
	protocol_run_end(&run);
}

static void a_gap_is_followed_again(void **state)
{
	for (unsigned from_client = 0; from_client < 2; from_client++) {
		struct protocol_run run;

		started();
		protocol_run_begin(&run, &protocol_postgresql, false);
		replay(&run);
		CLIENT(&run, "Q\0\0\0\24SELECT 1 FROM a\0");
		protocol_postgresql.gap(run.connection, from_client, run.calls);
		assert_int_equal(protocol_calls_counts(run.calls)->abandoned, 1);
		SERVER(&run, "C\0\0\0\rSELECT 1\0Z\0\0\0\5I");
		CLIENT(&run, "Q\0\0\0\24SELECT 1 FROM b\0");
		SERVER(&run, "C\0\0\0\rSELECT 1\0Z\0\0\0\5I");
		protocol_run_expect(&run, "SELECT SELECT b");
		protocol_run_end(&run);
	}
}

static void statements_are_remembered_within_bounds(void **state)
{
	struct protocol_run run;

	started();
	protocol_run_begin(&run, &protocol_postgresql, false);
	replay(&run);
	for (unsigned i = 0; i < 1000; i++) {
		char text[100];
		size_t size = snprintf(text, sizeof(text), "s%u%cSELECT 1 FROM t%u%c%c%c", i, 0, i,
				       0, 0, 0);

		says(true);
		put_message('P', text, size);
		M('S', "");
		says(false);
		M('1', "");
		M('Z', "I");
		replay(&run);
	}
	for (unsigned i = 0; i < 2; i++) {
		says(true);
		if (i)
			M('B', "\0s999\0\0\0\0\0\0\0");
		else
			M('B', "\0s0\0\0\0\0\0\0\0");
		M('E', "\0\0\0\0\0");
		M('S', "");
		says(false);
		M('2', "");
		M('C', "SELECT 1\0");
		M('Z', "I");
		replay(&run);
	}
	protocol_run_expect(&run, "?; SELECT SELECT t999");
	protocol_run_end(&run);
}

static void a_portal_has_the_name_of_its_statement(void **state)
{
	struct protocol_run run;

	started();
	protocol_run_begin(&run, &protocol_postgresql, false);
	replay(&run);
	/* also while the table of names grows, and where one takes the place of another */
	for (unsigned i = 0; i < 307; i++) {
		char parse[64], bind[64], execute[64], expected[64];
		size_t parse_size = snprintf(parse, sizeof(parse), "s%u%cSELECT 1 FROM t%u%c%c%c",
					     i, 0, i, 0, 0, 0);
		size_t bind_size = snprintf(bind, sizeof(bind), "p%u%cs%u%c%c%c%c%c%c%c", i, 0, i,
					    0, 0, 0, 0, 0, 0, 0);
		size_t execute_size =
			snprintf(execute, sizeof(execute), "p%u%c%c%c%c%c", i, 0, 0, 0, 0, 0);

		says(true);
		put_message('P', parse, parse_size);
		put_message('B', bind, bind_size);
		put_message('E', execute, execute_size);
		M('S', "");
		says(false);
		M('1', "");
		M('2', "");
		M('C', "SELECT 1\0");
		M('Z', "I");
		replay(&run);
		snprintf(expected, sizeof(expected), "SELECT SELECT t%u", i);
		protocol_run_expect(&run, expected);
	}
	protocol_run_end(&run);
}

static void what_is_not_postgresql_is_counted_and_left(void **state)
{
	static const char *const first[] = { "GET / HTTP/1.1\r\n", "\1\1\1\1\1\1\1\1",
					     "Q\1\1\1\1\1\1\1" };
	struct protocol_run run;

	for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++) {
		protocol_run_begin(&run, &protocol_postgresql, false);
		protocol_run_feed(&run, true, first[i], strlen(first[i]));
		SERVER(&run, "whatever");
		protocol_run_close(&run);
		protocol_run_expect(&run, "");
		assert_int_equal(
			protocol_calls_counts(run.calls)->unparsed_bytes[PROTOCOL_MALFORMED],
			strlen(first[i]) + strlen("whatever"));
		protocol_run_end(&run);
	}
	/* lengths below their own size and above the limit, types that there are not */
	for (unsigned i = 0; i < 3; i++) {
		started();
		protocol_run_begin(&run, &protocol_postgresql, false);
		replay(&run);
		CLIENT(&run, "Q\0\0\0\24SELECT 1 FROM a\0");
		if (!i)
			SERVER(&run, "D\0\0\0\3");
		else if (i == 1)
			SERVER(&run, "D\x7f\xff\xff\xff");
		else
			SERVER(&run, "x\0\0\0\4");
		assert_int_equal(protocol_calls_counts(run.calls)->abandoned, 1);
		protocol_run_expect(&run, "");
		protocol_run_end(&run);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connecting_is_no_call),
		cmocka_unit_test(after_encryption_nothing_is_read),
		cmocka_unit_test(a_simple_query_is_a_call),
		cmocka_unit_test(an_execute_is_a_call),
		cmocka_unit_test(pipelined_executes_are_calls_up_to_an_error),
		cmocka_unit_test(what_comes_before_sync_after_an_error_is_ignored),
		cmocka_unit_test(rows_that_are_copied_belong_to_their_call),
		cmocka_unit_test(a_function_call_is_a_call),
		cmocka_unit_test(replication_is_not_followed),
		cmocka_unit_test(times_are_those_of_the_first_and_last_byte),
		cmocka_unit_test(a_hole_in_rows_ends_with_ready),
		cmocka_unit_test(a_hole_in_what_the_client_says),
		cmocka_unit_test(joined_midway_it_waits_for_ready),
		cmocka_unit_test(a_gap_is_followed_again),
		cmocka_unit_test(statements_are_remembered_within_bounds),
		cmocka_unit_test(a_portal_has_the_name_of_its_statement),
		cmocka_unit_test(what_is_not_postgresql_is_counted_and_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
