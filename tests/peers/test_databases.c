// SPDX-License-Identifier: Apache-2.0
/*
 * Real databases and their real clients: each operation counted once per side, as the server's or the client's own statistics say,
 * under the right name and status.
 */
#include <math.h>
#include "tests/harness/harness.h"
#include "tests/harness/requests.h"
#include "tests/harness/servers.h"

#define DB_CLIENT "db_client_operation_duration_seconds"
#define DB_SERVER "leadline_db_server_operation_duration_seconds"

/* ---- Redis ---- */

static double redis_calls(const struct page *page, const char *metric, const char *label,
			  const char *value, const char *operation, const char *status)
{
	return metric_histogram(page, metric, label, value, "db_system_name", "redis",
				"db_operation_name", operation, "db_response_status_code", status,
				NULL)
		.count;
}

/* By the server's own count, of a command without subcommands. */
static double redis_says(const struct server *server, const char *command)
{
	struct output *output = run_shell(
		"redis-cli -p %d info commandstats | tr -d '\\r' | sed -n 's/^cmdstat_%s:calls=\\([0-9]*\\),.*/\\1/p'",
		server->port, command);
	double calls = atof(output->text);

	output_free(output);
	return calls;
}

static void redis(void **state)
{
	struct leadline *leadline = requests_agent_start();
	struct server *server = redis_start();
	const char *cli = program_renamed("redis-cli", "cli-peers");
	const char *bench = program_renamed("redis-benchmark", "bench-peers");
	struct page *page;

	for (int i = 0; i < 7; i++)
		shell("%s -p %d ping >/dev/null", cli, server->port);
	shell("for i in $(seq 97); do echo \"set key$i $i\"; echo \"get key$i\"; done | %s -p %d >/dev/null",
	      cli, server->port);
	shell("printf 'lpush key1 a\\nlpush key2 a\\nlpush key3 a\\nincr key4\\n' | %s -p %d >/dev/null",
	      cli, server->port);
	/* one request at a time, then in pipelines of 16, with small answers and with large ones */
	shell("%s -p %d -q -n 1009 -c 3 -t ping_mbulk,set,get >/dev/null", bench, server->port);
	shell("%s -p %d -q -n 1600 -c 1 -P 16 -t get,incr >/dev/null", bench, server->port);
	shell("%s -p %d -q -n 163 -c 1 -d 100003 -t set,get >/dev/null", bench, server->port);
	page = leadline_scrape(leadline);

	static const struct {
		const char *operation, *command;
		double by_cli, by_bench;
	} counts[] = {
		{ "PING", "ping", 7, 1009 },
		{ "SET", "set", 97, 1009 + 163 },
		{ "GET", "get", 97, 1009 + 1600 + 163 },
		{ "INCR", "incr", 1, 1600 },
	};
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		const char *operation = counts[i].operation;

		requests_expect(operation,
				redis_calls(page, DB_CLIENT, "comm", "cli-peers", operation, ""),
				counts[i].by_cli);
		requests_expect(operation,
				redis_calls(page, DB_CLIENT, "comm", "bench-peers", operation, ""),
				counts[i].by_bench);
		requests_expect(operation,
				redis_calls(page, DB_SERVER, "unit", server->unit, operation, ""),
				counts[i].by_cli + counts[i].by_bench);
		requests_expect(counts[i].command, redis_says(server, counts[i].command),
				counts[i].by_cli + counts[i].by_bench);
	}
	requests_expect("errors",
			redis_calls(page, DB_SERVER, "unit", server->unit, "LPUSH", "WRONGTYPE"),
			3);
	requests_expect("errors",
			redis_calls(page, DB_CLIENT, "comm", "cli-peers", "LPUSH", "WRONGTYPE"), 3);
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

/* ---- PostgreSQL ---- */

/* "latency average = 0.123 ms" of pgbench, in seconds. */
static double mean_by_pgbench(const char *text)
{
	const char *line = strstr(text, "latency average = ");

	return line ? atof(line + strlen("latency average = ")) / 1000 : NAN;
}

static void postgresql(void **state)
{
	static const char *const modes[] = { "simple", "extended", "prepared" };
	struct leadline *leadline = requests_agent_start();
	struct server *server = postgresql_start();
	const char *psql = program_renamed(postgresql_program("psql"), "psql-peers"),
		   *connect = "-h 127.0.0.1 -U postgres";
	struct page *page;

	shell("%s %s -p %d -i -q -s 1 postgres >/dev/null 2>&1", postgresql_program("pgbench"),
	      connect, server->port);
	for (size_t i = 0; i < 3; i++) {
		char name[32];
		const char *pgbench;
		struct page_histogram seen;
		struct output *output;
		double mean;

		snprintf(name, sizeof(name), "pgb-%s", modes[i]);
		pgbench = program_renamed(postgresql_program("pgbench"), name);
		output = run_shell("%s %s -p %d -n -S -M %s -c 3 -t 101 postgres", pgbench, connect,
				   server->port, modes[i]);
		mean = mean_by_pgbench(output->text);
		if (!(mean > 0))
			test_fail("pgbench: %s", output->text);
		output_free(output);
		page = leadline_scrape(leadline);
		seen = metric_histogram(page, DB_CLIENT, "comm", name, "db_system_name",
					"postgresql", "db_query_summary", "SELECT pgbench_accounts",
					NULL);
		requests_expect(modes[i], seen.count, 3 * 101);
		requests_expect(modes[i],
				requests_summarized(page, DB_SERVER, "unit", server->unit,
						    "postgresql", "SELECT pgbench_accounts", ""),
				(double)(i + 1) * 3 * 101);
		/* pgbench's has the time in it until it comes to read the answer */
		if (page_histogram_mean(&seen) > mean * 1.02 + 100e-6)
			test_fail("%s: mean %.6f s, by pgbench %.6f s", modes[i],
				  page_histogram_mean(&seen), mean);
		page_free(page);
	}
	for (int i = 0; i < 7; i++)
		output_free(run_shell("%s %s -p %d -c 'select * from nowhere' postgres", psql,
				      connect, server->port));
	shell("for i in $(seq 13); do echo \"insert into pgbench_history(tid) values ($i);\"; done | %s %s -p %d -q postgres",
	      psql, connect, server->port);
	page = leadline_scrape(leadline);
	requests_expect("errors",
			requests_summarized(page, DB_CLIENT, "comm", "psql-peers", "postgresql",
					    "SELECT nowhere", "42P01"),
			7);
	requests_expect("errors",
			requests_summarized(page, DB_SERVER, "unit", server->unit, "postgresql",
					    "SELECT nowhere", "42P01"),
			7);
	requests_expect("insert",
			requests_summarized(page, DB_CLIENT, "comm", "psql-peers", "postgresql",
					    "INSERT pgbench_history", ""),
			13);
	requests_expect("insert",
			requests_summarized(page, DB_SERVER, "unit", server->unit, "postgresql",
					    "INSERT pgbench_history", ""),
			13);
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

/* ---- MariaDB ---- */

static void expect_mysql(const struct page *page, const struct server *server, const char *summary,
			 const char *status, double expected)
{
	requests_expect(summary,
			requests_summarized(page, DB_CLIENT, "comm", "mariadb-peers", "mysql",
					    summary, status),
			expected);
	requests_expect(summary,
			requests_summarized(page, DB_SERVER, "unit", server->unit, "mysql", summary,
					    status),
			expected);
}

static void mariadb(void **state)
{
	struct leadline *leadline = requests_agent_start();
	struct server *server = mariadb_start();
	const char *client = program_renamed("mariadb", "mariadb-peers");
	const char *connect = "--no-defaults --protocol=tcp -h 127.0.0.1 -u root";
	struct page *page;

	shell("echo 'create table orders (id int, note text)' | %s %s -P %d test", client, connect,
	      server->port);
	shell("for i in $(seq 97); do echo \"insert into orders values ($i, 'note $i');\"; done | %s %s -P %d test",
	      client, connect, server->port);
	shell("for i in $(seq 101); do echo \"select * from orders where id = $i;\"; done | %s %s -P %d test >/dev/null",
	      client, connect, server->port);
	/* an answer of many packets */
	shell("for i in $(seq 7); do echo 'select a.note, b.note from orders a, orders b;'; done | %s %s -P %d test >/dev/null",
	      client, connect, server->port);
	for (int i = 0; i < 13; i++)
		output_free(run_shell("echo 'select * from nowhere' | %s %s -P %d test", client,
				      connect, server->port));
	/* prepared by text: the server knows them, the protocol does not */
	shell("echo \"prepare p from 'select * from orders where id = ?'; set @i = 3; execute p using @i; execute p using @i;\" | %s %s -P %d test >/dev/null",
	      client, connect, server->port);
	page = leadline_scrape(leadline);
	expect_mysql(page, server, "CREATE TABLE orders", "", 1);
	expect_mysql(page, server, "INSERT orders", "", 97);
	expect_mysql(page, server, "SELECT orders", "", 101);
	expect_mysql(page, server, "SELECT orders orders", "", 7);
	expect_mysql(page, server, "SELECT nowhere", "1146", 13);
	requests_expect_nothing_lost(page);
	page_free(page);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(redis),
		HARNESS_TEST(postgresql),
		HARNESS_TEST(mariadb),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
