// SPDX-License-Identifier: Apache-2.0
/*
 * What real clients and servers said, from the corpora of the fuzz targets (tests/fuzz/record.py): each call once, by
 * name, however the bytes are cut.
 */
#include "tests/harness/harness.h"
#include "tests/harness/protocol_run.h"

struct capture {
	const struct protocol *protocol;
	const char *path;
	const char *calls; /* sorted, each with how often it was made */
};

static const struct capture captures[] = {
	/* redis-benchmark -n 17 and, with -P 16, -n 101, which it rounds up to 112 */
	{ &protocol_redis, "redis/ping-inline", "17 PING" },
	{ &protocol_redis, "redis/mset", "17 MSET" },
	{ &protocol_redis, "redis/lrange", "17 LRANGE" },
	{ &protocol_redis, "redis/set-pipelined", "112 SET" },
	/* python3-redis: a pipeline in a transaction, then a subscription to two channels and a pattern */
	{ &protocol_redis, "redis/transaction-subscriptions",
	  "1 EXEC, 5 GET, 1 MULTI, 1 PSUBSCRIBE, 1 PUNSUBSCRIBE, 5 SET, 1 SUBSCRIBE, 1 UNSUBSCRIBE" },
	{ &protocol_redis, "redis/resp3-tracking-monitor",
	  "2 CLIENT, 2 GET, 1 HELLO, 1 HGETALL, 1 MONITOR, 1 PING, 1 PUBLISH, 1 QUIT, 1 SET, 1 SUBSCRIBE" },
	/* pgbench -S -t 31 in its three modes, and its whole transaction, -t 7 */
	{ &protocol_postgresql, "postgresql/select-simple", "31 SELECT SELECT pgbench_accounts" },
	{ &protocol_postgresql, "postgresql/select-extended", "31 SELECT SELECT pgbench_accounts" },
	{ &protocol_postgresql, "postgresql/select-prepared", "31 SELECT SELECT pgbench_accounts" },
	{ &protocol_postgresql, "postgresql/transactions-prepared",
	  "7 BEGIN BEGIN, 7 END END, 7 INSERT INSERT pgbench_history, 7 SELECT SELECT pgbench_accounts, "
	  "7 UPDATE UPDATE pgbench_accounts, 7 UPDATE UPDATE pgbench_branches, 7 UPDATE UPDATE pgbench_tellers" },
	/* pgbench -t 5 with three statements between startpipeline and endpipeline */
	{ &protocol_postgresql, "postgresql/pipeline",
	  "5 SELECT SELECT, 5 SELECT SELECT pgbench_accounts, 5 UPDATE UPDATE pgbench_tellers" },
	/* psql: rows copied in and out, errors, several statements at once, a notification, a notice, a cursor */
	{ &protocol_postgresql, "postgresql/psql",
	  "1 ?, 1 BEGIN BEGIN, 1 COMMIT COMMIT, 1 COPY COPY nosuch =42P01 !, 2 COPY COPY orders, "
	  "1 CREATE CREATE TABLE orders, 1 DECLARE DECLARE SELECT orders, 1 DO DO, 1 FETCH FETCH, "
	  "1 INSERT INSERT orders =23505 !, 1 LISTEN LISTEN, 1 NOTIFY NOTIFY, 1 SELECT SELECT, "
	  "1 SELECT SELECT =22012 !, 1 SELECT SELECT =42P02 !, 1 SELECT SELECT SELECT orders SELECT, "
	  "1 SELECT SELECT nosuch =42P01 !, 1 TRUNCATE TRUNCATE orders" },
	/* dig and dnsmasq; over TCP five questions on one connection, and an answer that is too large for UDP */
	{ &protocol_dns, "dns/dig",
	  "3 A, 1 A =NXDOMAIN, 1 A =REFUSED !, 1 AAAA, 1 HTTPS =NXDOMAIN, 1 MX, 1 NOTIFY =REFUSED !, "
	  "1 PTR, 1 SRV, 1 TXT, 1 _OTHER =NXDOMAIN, 1 _OTHER =REFUSED !" },
	{ &protocol_dns_tcp, "dns_tcp/dig-keepopen",
	  "2 A, 1 A =REFUSED !, 1 AAAA =NXDOMAIN, 1 TXT" },
	{ &protocol_dns_tcp, "dns_tcp/dig-large", "1 TXT" },
};

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "GET; SET; GET" as "2 GET, 1 SET". */
static void count(char *log, char *text, size_t size)
{
	static char *calls[4096];
	size_t n = 0, used = 0;
	char *rest = log;

	*text = '\0';
	while (*rest) {
		char *end = strstr(rest, "; ");

		assert_true(n < sizeof(calls) / sizeof(calls[0]));
		calls[n++] = rest;
		rest = end ? end + 2 : rest + strlen(rest);
		if (end)
			*end = '\0';
	}
	qsort(calls, n, sizeof(calls[0]), by_text);
	for (size_t i = 0, same; i < n; i += same) {
		for (same = 1; i + same < n && !strcmp(calls[i], calls[i + same]);)
			same++;
		used += snprintf(text + used, size - used, "%s%zu %s", i ? ", " : "", same,
				 calls[i]);
		assert_true(used < size);
	}
}

static void replay(const struct capture *capture, size_t most)
{
	static struct protocol_run run;
	static char calls[16384];
	const struct protocol_counts *counts;

	protocol_run_begin(&run, capture->protocol, false);
	protocol_run_capture(&run, capture->path, most);
	assert_true(strlen(run.log) + 1 < sizeof(run.log));
	count(run.log, calls, sizeof(calls));
	assert_string_equal(calls, capture->calls);
	counts = protocol_calls_counts(run.calls);
	for (unsigned i = 0; i < PROTOCOL_UNPARSED_REASONS; i++)
		assert_int_equal(counts->unparsed_bytes[i], 0);
	assert_int_equal(counts->abandoned + counts->dropped, 0);
	assert_int_equal(protocol_calls_in_flight(run.calls, NULL), 0);
	protocol_run_end(&run);
}

static void each_call_is_met_once(void **state)
{
	for (size_t i = 0; i < sizeof(captures) / sizeof(captures[0]); i++) {
		replay(&captures[i], SIZE_MAX);
		if (captures[i].protocol == &protocol_dns)
			continue; /* a datagram is not cut */
		for (size_t most = 1; most < 100; most += most < 8 ? 1 : 31)
			replay(&captures[i], most);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_call_is_met_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
