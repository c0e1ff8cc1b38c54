// SPDX-License-Identifier: Apache-2.0
/* Queries and what is said of them; no byte of a literal is, wherever a text is cut. */
#include "tests/harness/harness.h"
#include "probes/protocols/sql_summary.h"

struct query {
	const char *text, *operation, *summary;
};

static void check(const struct query *queries, size_t n, enum sql_dialect dialect)
{
	struct sql_summary summary;

	for (size_t i = 0; i < n; i++) {
		sql_summarize(&summary, queries[i].text, strlen(queries[i].text), true, dialect);
		if (strcmp(summary.text, queries[i].summary) ||
		    strcmp(summary.operation, queries[i].operation))
			fail_msg("%s\n\tis \"%s\", \"%s\"\n\tnot \"%s\", \"%s\"", queries[i].text,
				 summary.operation, summary.text, queries[i].operation,
				 queries[i].summary);
	}
}
#define CHECK(queries, dialect) check(queries, sizeof(queries) / sizeof((queries)[0]), dialect)

/* Those of OpenTelemetry's database conventions, and their like. */
static void both_databases(void **state)
{
	static const struct query queries[] = {
		{ "", "", "" },
		{ " ; ;\n", "", "" },
		{ "/* nothing */ -- at all", "", "" },
		{ "SELECT * FROM wuser_table WHERE username = 'x'", "SELECT",
		  "SELECT wuser_table" },
		{ "INSERT INTO shipping_details (order_id, address) SELECT order_id, address FROM orders WHERE order_id = 3",
		  "INSERT", "INSERT shipping_details SELECT orders" },
		{ "SELECT * FROM songs, artists WHERE songs.artist_id = artists.id", "SELECT",
		  "SELECT songs artists" },
		{ "SELECT order_date FROM (SELECT * FROM orders o JOIN customers c ON o.customer_id = c.customer_id) x",
		  "SELECT", "SELECT SELECT orders customers" },
		{ "select 1", "SELECT", "SELECT" },
		{ "(select a from b)", "SELECT", "SELECT b" },
		{ "SELECT abalance FROM pgbench_accounts WHERE aid = 4711;", "SELECT",
		  "SELECT pgbench_accounts" },
		{ "UPDATE audit.log SET what = 'from secret', n = n + 1 WHERE id IN (SELECT id FROM old)",
		  "UPDATE", "UPDATE audit.log SELECT old" },
		{ "DELETE FROM a WHERE b = 1", "DELETE", "DELETE a" },
		{ "insert into temp values (1, 'update x')", "INSERT", "INSERT temp" },
		{ "SELECT extract(year FROM made) FROM orders", "SELECT", "SELECT orders" },
		{ "SELECT substring(a FROM 2), trim(both from b) FROM c", "SELECT", "SELECT c" },
		{ "SELECT a IS DISTINCT FROM b FROM c", "SELECT", "SELECT c" },
		{ "SELECT a FROM b LEFT OUTER JOIN c USING (d), e WHERE f = 1 ORDER BY g, h",
		  "SELECT", "SELECT b c e" },
		{ "SELECT a FROM (b CROSS JOIN c) JOIN (SELECT d FROM e) f ON true, g", "SELECT",
		  "SELECT b c SELECT e g" },
		{ "SELECT a FROM b WHERE c = (SELECT max(d) FROM e) AND EXISTS (SELECT 1 FROM f)",
		  "SELECT", "SELECT b SELECT e SELECT f" },
		{ "SELECT a FROM b UNION ALL SELECT a FROM c UNION SELECT a FROM c", "SELECT",
		  "SELECT b SELECT c" },
		{ "WITH recent AS (SELECT * FROM orders), r2 (x, y) AS (SELECT 1, 2 FROM recent) "
		  "SELECT * FROM recent JOIN r2 ON x = id JOIN users ON y = id",
		  "SELECT", "SELECT orders SELECT SELECT users" },
		{ "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT n FROM t, public.t",
		  "SELECT", "SELECT SELECT public.t" },
		{ "SELECT a FROM b FOR UPDATE", "SELECT", "SELECT b" },
		{ "SELECT replace(a, 'b', 'c'), insert FROM d", "SELECT", "SELECT d" },
		{ "SELECT t.from, t.update FROM t", "SELECT", "SELECT t" },
		{ "BEGIN", "BEGIN", "BEGIN" },
		{ "begin; select 1 from a; select 2 from a; commit", "BEGIN",
		  "BEGIN SELECT a COMMIT" },
		{ "INSERT INTO a VALUES (1); INSERT INTO a VALUES (2); INSERT INTO b VALUES (3)",
		  "INSERT", "INSERT a INSERT b" },
		{ "SET search_path = secret", "SET", "SET" },
		{ "SHOW TABLES FROM secret", "SHOW", "SHOW" },
		{ "CREATE TABLE IF NOT EXISTS users (id int, name text)", "CREATE",
		  "CREATE TABLE users" },
		{ "CREATE UNIQUE INDEX by_name ON users (name)", "CREATE", "CREATE INDEX by_name" },
		{ "CREATE OR REPLACE VIEW v AS WITH a AS (SELECT * FROM b) SELECT * FROM a",
		  "CREATE", "CREATE VIEW v SELECT b SELECT" },
		{ "ALTER TABLE a.b ADD COLUMN c int, DROP COLUMN d", "ALTER", "ALTER TABLE a.b" },
		{ "DROP TABLE IF EXISTS a", "DROP", "DROP TABLE a" },
		{ "CREATE USER 'secret'@'host' IDENTIFIED BY 'secret'", "CREATE", "CREATE USER" },
		{ "TRUNCATE TABLE a", "TRUNCATE", "TRUNCATE a" },
		{ "TRUNCATE a, b", "TRUNCATE", "TRUNCATE a b" },
		{ "GRANT SELECT, UPDATE ON secret TO you", "GRANT", "GRANT" },
		{ "EXPLAIN UPDATE a SET b = 1", "EXPLAIN", "EXPLAIN UPDATE a" },
		{ "CALL do_it(1, 'x')", "CALL", "CALL do_it" },
		{ "frobnicate secret", "_OTHER", "_OTHER" },
		{ "'secret'", "", "" },
		{ "SELECT 'it''s FROM secret', 1e5, 0x1f FROM a -- FROM secret\n, b /* FROM secret */",
		  "SELECT", "SELECT a b" },
		{ "SELECT a FROM b, -- ,\nc", "SELECT", "SELECT b c" },
		{ "SELECT 1 FROM comment", "SELECT", "SELECT comment" },
	};

	CHECK(queries, SQL_POSTGRESQL);
	CHECK(queries, SQL_MYSQL);
}

static void postgresql(void **state)
{
	static const struct query queries[] = {
		{ "SELECT \"a\".\"b\" FROM \"public\".\"users\" AS \"u\", \"song list\"", "SELECT",
		  "SELECT public.users \"song list\"" },
		{ "SELECT $1::text, $2 FROM a WHERE b = $3::regclass AND c = E'\\' FROM secret'",
		  "SELECT", "SELECT a" },
		{ "SELECT $$ FROM secret $$, $x$ $$ FROM secret $y$ $x$ FROM a", "SELECT",
		  "SELECT a" },
		{ "SELECT '\\' FROM a, 'x'", "SELECT", "SELECT a" },
		{ "SELECT /* /* nested */ FROM secret */ 1 FROM a", "SELECT", "SELECT a" },
		{ "SELECT * FROM generate_series(1, 9) g, unnest($1) u, a", "SELECT", "SELECT a" },
		{ "SELECT * FROM ONLY a, LATERAL (SELECT 1 FROM b) x", "SELECT",
		  "SELECT a SELECT b" },
		{ "SELECT 1 INTO TEMP numbers FROM a", "SELECT", "SELECT numbers a" },
		{ "WITH gone AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM gone",
		  "DELETE", "DELETE a INSERT b SELECT" },
		{ "INSERT INTO a (b) VALUES (1) ON CONFLICT (b) DO UPDATE SET c = excluded.c RETURNING d",
		  "INSERT", "INSERT a" },
		{ "INSERT INTO log (update, delete) VALUES (1, 2)", "INSERT", "INSERT log" },
		{ "INSERT INTO a WITH b AS (SELECT 1 FROM c) SELECT * FROM b", "INSERT",
		  "INSERT a SELECT c SELECT" },
		{ "UPDATE ONLY a SET b = 1 FROM c WHERE d = e", "UPDATE", "UPDATE a c" },
		{ "DELETE FROM a USING b WHERE a.c = b.c", "DELETE", "DELETE a b" },
		{ "MERGE INTO a USING b ON c = d WHEN MATCHED THEN UPDATE SET e = 1 WHEN NOT MATCHED THEN INSERT VALUES (1)",
		  "MERGE", "MERGE a b" },
		{ "COPY a (b, c) FROM STDIN WITH (FORMAT csv)", "COPY", "COPY a" },
		{ "COPY (SELECT * FROM a) TO STDOUT", "COPY", "COPY SELECT a" },
		{ "VACUUM (FULL, ANALYZE) orders", "VACUUM", "VACUUM orders" },
		{ "VACUUM ANALYZE", "VACUUM", "VACUUM ANALYZE" },
		{ "REFRESH MATERIALIZED VIEW CONCURRENTLY v", "REFRESH", "REFRESH v" },
		{ "REINDEX INDEX CONCURRENTLY i", "REINDEX", "REINDEX i" },
		{ "CREATE TABLE a AS SELECT * FROM b", "CREATE", "CREATE TABLE a SELECT b" },
		{ "CREATE INDEX CONCURRENTLY ON a USING btree (b)", "CREATE", "CREATE INDEX a" },
		{ "CREATE TABLE a (b int) WITH (fillfactor = 70)", "CREATE", "CREATE TABLE a" },
		{ "CREATE FUNCTION f(a int) RETURNS int AS $body$ SELECT secret FROM secret; $body$ LANGUAGE sql",
		  "CREATE", "CREATE FUNCTION f" },
		{ "EXPLAIN (ANALYZE, BUFFERS) DELETE FROM a", "EXPLAIN", "EXPLAIN DELETE a" },
		{ "EXPLAIN ANALYZE INSERT INTO a DEFAULT VALUES", "EXPLAIN", "EXPLAIN INSERT a" },
		{ "PREPARE p (int) AS UPDATE a SET b = $1", "PREPARE", "PREPARE UPDATE a" },
		{ "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM a", "DECLARE", "DECLARE SELECT a" },
		{ "FETCH 10 FROM secret_cursor", "FETCH", "FETCH" },
		{ "EXECUTE secret_1(2)", "EXECUTE", "EXECUTE" },
		{ "DO $$ BEGIN DELETE FROM secret; END $$", "DO", "DO" },
		{ "SELECT a AT TIME ZONE 'UTC' FROM b WITH ORDINALITY AS c(d), e", "SELECT",
		  "SELECT b e" },
		{ "SELECT U&\"d\\0061t\" FROM a", "SELECT", "SELECT a" },
		{ "SELECT a FROM b WHERE c = B'1' AND d = X'1F' AND e = N'FROM secret'", "SELECT",
		  "SELECT b" },
		{ "SELECT 1 FROM \"not closed, hence secret", "SELECT", "SELECT" },
		{ "SELECT a #>> '{b}' FROM c", "SELECT", "SELECT c" },
		{ "SELECT 1 FROM caf\xc3\xa9", "SELECT", "SELECT caf\xc3\xa9" },
	};

	CHECK(queries, SQL_POSTGRESQL);
}

static void mysql(void **state)
{
	static const struct query queries[] = {
		{ "SELECT `a`.`b` FROM `shop`.`orders` AS `o`, `song list`", "SELECT",
		  "SELECT shop.orders `song list`" },
		{ "SELECT \"FROM secret\", '\\' FROM secret', \"\\\" FROM secret\" FROM a",
		  "SELECT", "SELECT a" },
		{ "SELECT 1 # FROM secret\nFROM a", "SELECT", "SELECT a" },
		{ "SELECT 5--1 FROM a", "SELECT", "SELECT a" },
		{ "SELECT 5 -- 1 FROM secret\nFROM a", "SELECT", "SELECT a" },
		{ "/*!40101 SET NAMES utf8 */", "SET", "SET" },
		{ "SELECT /*+ NO_INDEX(secret) */ a FROM b /*!50000 , c */, d", "SELECT",
		  "SELECT b c d" },
		{ "SELECT /* FROM secret /* */ 1 FROM a", "SELECT", "SELECT a" },
		{ "/*M!100100 SELECT 1 FROM a */", "SELECT", "SELECT a" },
		{ "INSERT IGNORE INTO a SET b = 1 ON DUPLICATE KEY UPDATE c = 2", "INSERT",
		  "INSERT a" },
		{ "INSERT LOW_PRIORITY a (b) VALUES (1)", "INSERT", "INSERT a" },
		{ "REPLACE INTO a VALUES (1)", "REPLACE", "REPLACE a" },
		{ "UPDATE LOW_PRIORITY a, b SET c = 1, d = 2 WHERE e = 3", "UPDATE", "UPDATE a b" },
		{ "UPDATE a JOIN b USING (c) SET d = 1", "UPDATE", "UPDATE a b" },
		{ "DELETE a FROM a JOIN b ON c = d", "DELETE", "DELETE a b" },
		{ "SELECT a FROM b STRAIGHT_JOIN c", "SELECT", "SELECT b c" },
		{ "UPDATE `not closed SET a = 'secret'", "UPDATE", "UPDATE" },
		{ "SELECT @@version, @secret FROM a", "SELECT", "SELECT a" },
		{ "SELECT a INTO @secret FROM b", "SELECT", "SELECT b" },
		{ "SELECT a FROM b INTO OUTFILE '/tmp/secret'", "SELECT", "SELECT b" },
		{ "LOCK TABLES a READ, b WRITE", "LOCK", "LOCK a b" },
		{ "LOAD DATA LOCAL INFILE 'secret' INTO TABLE a", "LOAD", "LOAD a" },
		{ "SET @a = (SELECT b FROM c)", "SET", "SET SELECT c" },
		{ "CREATE DEFINER=`root`@`localhost` PROCEDURE p() SELECT 1 FROM a", "CREATE",
		  "CREATE PROCEDURE p SELECT a" },
		{ "PREPARE s FROM 'SELECT secret'", "PREPARE", "PREPARE" },
		{ "SELECT _utf8'FROM secret' FROM a", "SELECT", "SELECT a" },
	};

	CHECK(queries, SQL_MYSQL);
}

/* What is said of a beginning is the beginning of what is said of the whole, but for a name that was cut. */
static void a_text_can_end_anywhere(void **state)
{
	static const char text[] =
		"/* c */ WITH a AS (SELECT $$secret$$ FROM first.table_one) INSERT INTO \"second one\" "
		"SELECT 'secret' FROM third JOIN a ON E'sec\\'ret' = secret; UPDATE fourth SET x = 1";
	static const char whole[] =
		"SELECT first.table_one INSERT \"second one\" SELECT third UPDATE fourth ";
	struct sql_summary summary;

	for (size_t size = 0; size < sizeof(text); size++) {
		char *copy = malloc(size);
		size_t length;

		memcpy(copy, text, size);
		sql_summarize(&summary, copy, size, false, SQL_POSTGRESQL);
		length = strlen(summary.text);
		assert_memory_equal(summary.text, whole, length);
		if (length)
			assert_int_equal(whole[length], ' ');
		assert_true(!*summary.operation || !strcmp(summary.operation, "SELECT"));
		sql_summarize(&summary, copy, size, true, SQL_MYSQL);
		sql_summarize(&summary, copy, size, true, SQL_POSTGRESQL);
		assert_null(strstr(summary.text, "secret"));
		free(copy);
	}
}

static void a_summary_is_bounded(void **state)
{
	static char text[100000];
	struct sql_summary summary;
	size_t size = 0;

	/* names that do not fit are left out whole */
	for (unsigned i = 0; i < 1000; i++)
		size += snprintf(text + size, sizeof(text) - size, "SELECT 1 FROM table_%u;", i);
	sql_summarize(&summary, text, size, true, SQL_POSTGRESQL);
	assert_true(strlen(summary.text) < PROTOCOL_TEXT_SIZE);
	assert_true(strlen(summary.text) > PROTOCOL_TEXT_SIZE - 20);
	assert_string_equal(strrchr(summary.text, ' '), " SELECT");
	assert_non_null(strstr(summary.text, "SELECT table_6 SELECT"));

	size = snprintf(text, sizeof(text), "SELECT 1 FROM ");
	memset(text + size, 'x', PROTOCOL_TEXT_SIZE);
	sql_summarize(&summary, text, size + PROTOCOL_TEXT_SIZE, true, SQL_POSTGRESQL);
	assert_string_equal(summary.text, "SELECT");

	/* deeper than anyone nests: what is in there is passed over */
	memset(text, '(', sizeof(text) / 2);
	memset(text + sizeof(text) / 2, ')', sizeof(text) / 2);
	memcpy(text + sizeof(text) / 2 - 16, " SELECT 1 FROM a", 16);
	memcpy(text + sizeof(text) - 16, " SELECT 1 FROM b", 16);
	sql_summarize(&summary, text, sizeof(text), true, SQL_MYSQL);
	assert_string_equal(summary.text, "SELECT b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_databases),
		cmocka_unit_test(postgresql),
		cmocka_unit_test(mysql),
		cmocka_unit_test(a_text_can_end_anywhere),
		cmocka_unit_test(a_summary_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
