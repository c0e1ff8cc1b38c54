// SPDX-License-Identifier: Apache-2.0
/*
 * A real MariaDB and real clients: each statement counted once per side, in text and prepared, as the server's own statistics
 * say, under the right operation, summary and error.
 */
#include <math.h>
#include "tests/harness/harness.h"
#include "tests/harness/requests.h"
#include "tests/harness/servers.h"

#define DB_CLIENT "db_client_operation_duration_seconds"
#define DB_SERVER "leadline_db_server_operation_duration_seconds"

static double calls(const struct page *page, const char *metric, const char *label,
		    const char *value, const char *summary, const char *status)
{
	return requests_summarized(page, metric, label, value, "mysql", summary, status);
}

static void expect_both(const struct page *page, const struct server *server, const char *client,
			const char *summary, const char *status, double expected)
{
	requests_expect(summary, calls(page, DB_CLIENT, "comm", client, summary, status), expected);
	requests_expect(summary, calls(page, DB_SERVER, "unit", server->unit, summary, status),
			expected);
}

/* By the server's own count. */
static double mariadb_says(const struct server *server, const char *variable)
{
	struct output *output = run_shell(
		"mariadb --no-defaults --skip-ssl -h127.0.0.1 -P%d -uroot -N -e \"show global status like '%s'\" | cut -f 2",
		server->port, variable);
	double value = atof(output->text);

	output_free(output);
	return value;
}

#define CLIENT "%s --no-defaults --skip-ssl -h127.0.0.1 -P%d -uroot"

static void statements_in_text(void **state)
{
	struct leadline *leadline = requests_agent_start();
	struct server *server = mariadb_start();
	const char *cli = program_renamed("mariadb", "cli-mysql");
	const char *slap = program_renamed("mariadb-slap", "slap-mysql");
	struct page *page;

	shell("echo 'create table orders (id int auto_increment primary key, name varchar(50))' | " CLIENT
	      " test",
	      cli, server->port);
	shell("for i in $(seq 97); do echo \"insert into orders (name) values ('secret $i'), ('b');\"; "
	      "echo \"select name from orders where id = $i;\"; done | " CLIENT " test >/dev/null",
	      cli, server->port);
	/* errors; many rows, in far more than is copied; results of which one is many */
	shell("for i in $(seq 7); do echo 'select * from missing;'; echo 'update orders set nothing = 1;'; done | " CLIENT
	      " --force test >/dev/null 2>&1",
	      cli, server->port);
	shell("for i in $(seq 11); do echo \"select seq, repeat('x', 100) from seq_1_to_3001;\"; done | " CLIENT
	      " test >/dev/null",
	      cli, server->port);
	shell("printf '%%s\\n' 'delimiter //' "
	      "'create procedure report() begin select 1; select seq from seq_1_to_5003; end//' "
	      "'call report()//' 'call report()//' 'call report()//' | " CLIENT " test >/dev/null",
	      cli, server->port);
	shell(CLIENT
	      " --create-schema=test --query='select count(*) from orders' --number-of-queries=1009 --concurrency=3 >/dev/null",
	      slap, server->port);
	page = leadline_scrape(leadline);
	expect_both(page, server, "cli-mysql", "CREATE TABLE orders", "", 1);
	expect_both(page, server, "cli-mysql", "INSERT orders", "", 97);
	expect_both(page, server, "cli-mysql", "SELECT missing", "1146", 7);
	expect_both(page, server, "cli-mysql", "UPDATE orders", "1054", 7);
	expect_both(page, server, "cli-mysql", "SELECT seq_1_to_3001", "", 11);
	expect_both(page, server, "cli-mysql", "CALL report", "", 3);
	requests_expect("SELECT orders",
			calls(page, DB_CLIENT, "comm", "cli-mysql", "SELECT orders", ""), 97);
	requests_expect("SELECT orders",
			calls(page, DB_SERVER, "unit", server->unit, "SELECT orders", ""),
			97 + calls(page, DB_CLIENT, "comm", "slap-mysql", "SELECT orders", ""));
	assert_true(calls(page, DB_CLIENT, "comm", "slap-mysql", "SELECT orders", "") >= 1009 - 3);
	requests_expect("inserts", mariadb_says(server, "Com_insert"), 97);
	page_free(page);
	(void)state;
}

static void prepared_statements(void **state)
{
	struct leadline *leadline = requests_agent_start();
	struct server *server = mariadb_start();
	const char *bench = program_renamed("sysbench", "bench-mysql");
	char *command;
	const int events = is_emulated() ? 11 : 53;
	struct page *page;
	double executed;

	if (asprintf(
		    &command,
		    "%s --db-driver=mysql --mysql-ssl=off --mysql-host=127.0.0.1 --mysql-port=%d --mysql-user=root "
		    "--mysql-db=test --tables=1 --table-size=101 --threads=1 --events=%d --time=0 oltp_read_write",
		    bench, server->port, events) < 0)
		abort();
	shell("%s prepare >/dev/null", command);
	shell("%s run >/dev/null", command);
	free(command);
	page = leadline_scrape(leadline);
	/* one thread: two may wait for one another's rows, and the one that is refused begins again */
	/* 10 by key, 4 by range, in each transaction */
	expect_both(page, server, "bench-mysql", "SELECT sbtest1", "", events * 14);
	expect_both(page, server, "bench-mysql", "UPDATE sbtest1", "", events * 2);
	expect_both(page, server, "bench-mysql", "DELETE sbtest1", "", events);
	expect_both(page, server, "bench-mysql", "BEGIN", "", events);
	expect_both(page, server, "bench-mysql", "COMMIT", "", events);
	executed = mariadb_says(server, "Com_stmt_execute");
	requests_expect("executed", executed, events * (14 + 2 + 1 + 1 + 1 + 1));
	expect_both(page, server, "bench-mysql", "PREPARE SELECT sbtest1", "", 5);
	page_free(page);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(statements_in_text),
		HARNESS_TEST(prepared_statements),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
