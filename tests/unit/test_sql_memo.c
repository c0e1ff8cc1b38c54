// SPDX-License-Identifier: Apache-2.0
/* Whatever came before, the memo says of a statement what sql_summarize() does; and which statements are of one kind to it. */
#include "tests/harness/harness.h"
#include "probes/protocols/sql_memo.h"

/* True: it was remembered. */
static bool check_part(struct sql_memo *memo, const char *text, size_t size, bool is_whole,
		       enum sql_dialect dialect)
{
	/* in memory of its own, so that a read across the end is seen */
	char *copy = malloc(size);
	struct sql_summary expected, summary;
	bool known;

	assert_non_null(copy);
	memcpy(copy, text, size);
	memset(&summary, 'x', sizeof(summary));
	sql_summarize(&expected, copy, size, is_whole, dialect);
	known = sql_memo_summarize(memo, &summary, copy, size, is_whole, dialect);
	if (strcmp(summary.text, expected.text) || strcmp(summary.operation, expected.operation))
		fail_msg("%.*s\n\tis \"%s\", \"%s\"\n\tnot \"%s\", \"%s\"", (int)size, text,
			 summary.operation, summary.text, expected.operation, expected.text);
	free(copy);
	return known;
}

static bool check(struct sql_memo *memo, const char *text, enum sql_dialect dialect)
{
	return check_part(memo, text, strlen(text), true, dialect);
}

static struct sql_memo *make_memo(void)
{
	struct sql_memo *memo = sql_memo_new();

	assert_non_null(memo);
	cleanup_push((void (*)(void *))sql_memo_free, memo);
	return memo;
}

static const struct pair {
	const char *first, *second;
	bool alike[2]; /* in PostgreSQL's rules, in MySQL's */
} pairs[] = {
	{ "SELECT a FROM b WHERE c = 5", "SELECT a FROM b WHERE c = 70000", { true, true } },
	{ "SELECT a FROM b WHERE c = 5", "SELECT a FROM b WHERE c = 5 ", { false, false } },
	{ "SELECT a FROM b WHERE c = 5;", "SELECT a FROM b WHERE c = 5.2e10x;", { true, true } },
	{ "SELECT a FROM b WHERE c = 5", "SELECT a FROM b WHERE c = '5'", { false, false } },
	{ "SELECT a FROM b WHERE c = 5", "SELECT a FROM b WHERE c = -5", { false, false } },
	{ "SELECT a FROM b WHERE c = 1", "SELECT a FROM b WHERE c = d", { false, false } },
	{ "SELECT a FROM b WHERE c = 1", "SELECT a FROM b WHERE c = 1, d", { false, false } },
	{ "SELECT a FROM b WHERE c = 1", "SELECT a FROM b WHERE c = ", { false, false } },
	{ "SELECT a FROM table1", "SELECT a FROM table2", { false, false } },
	{ "SELECT 1e5x FROM a", "SELECT 2 FROM a", { true, true } },
	{ "SELECT 1.a FROM a", "SELECT 2.b.c FROM a", { true, true } },
	{ "SELECT a.1 FROM a", "SELECT a.22 FROM a", { true, true } },
	{ "SELECT 1 .a FROM a", "SELECT 1.a FROM a", { false, false } },
	{ "SELECT 1 FROM a", "SELECT 1FROM a", { false, false } },
	{ "SELECT 0x1f, .5 FROM a", "SELECT 3, .7 FROM a", { true, true } },
	{ "SELECT 1$2 FROM a", "SELECT 1 FROM a", { true, true } },
	{ "SELECT 'a' FROM a", "SELECT ' FROM secret' FROM a", { true, true } },
	{ "SELECT 'a''b' FROM a", "SELECT 'c' FROM a", { true, true } },
	{ "SELECT 'a' 'b' FROM a", "SELECT 'a''b' FROM a", { false, false } },
	{ "SELECT '\\' FROM a, 'x' FROM b", "SELECT 'y' FROM a, 'z' FROM b", { true, false } },
	{ "SELECT '\\' FROM a, 'x' FROM b", "SELECT '' FROM b", { false, false } },
	{ "SELECT '\\' FROM a, ' FROM b", "SELECT '' FROM b", { false, true } },
	{ "SELECT a FROM b WHERE c = 'd", "SELECT a FROM b WHERE c = 'e'", { true, true } },
	{ "SELECT E'\\' FROM b' FROM a", "SELECT E'c' FROM a", { true, true } },
	{ "SELECT E'c' FROM a", "SELECT e'c' FROM a", { false, false } },
	{ "SELECT E'c' FROM a", "SELECT 'c' FROM a", { false, false } },
	{ "SELECT x'1f' FROM a", "SELECT x'a' FROM a", { true, true } },
	{ "SELECT xx'1f' FROM a", "SELECT xx'a' FROM a", { true, true } },
	{ "SELECT 1'b' FROM a", "SELECT 22'' FROM a", { true, true } },
	{ "SELECT \"t1\" FROM \"t1\"", "SELECT \"t2\" FROM \"t1\"", { false, true } },
	{ "SELECT 1 FROM \"t1\"", "SELECT 1 FROM \"t1", { false, true } },
	{ "SELECT 1 FROM \"t1", "SELECT 1 FROM \"t2", { false, true } },
	{ "SELECT 1 FROM `t1`", "SELECT 1 FROM `t2`", { false, false } },
	{ "SELECT 1 FROM `t1`'a'", "SELECT 2 FROM `t1`'b'", { true, true } },
	{ "SELECT 1 FROM `t1", "SELECT 1 FROM `t2", { false, false } },
	{ "SELECT $1 FROM a", "SELECT $2 FROM a", { false, true } },
	{ "SELECT $1$1$1$ FROM a", "SELECT $1$2$1$ FROM a", { false, true } },
	{ "SELECT $x$1$x$ FROM a", "SELECT $x$2$x$ FROM a", { false, false } },
	{ "SELECT $x$1$x$, 1 FROM a", "SELECT $x$1$x$, 2 FROM a", { true, true } },
	{ "SELECT $'a' FROM a", "SELECT $'b$' FROM a", { true, true } },
	{ "SELECT $e'a$e' FROM a", "SELECT $e'' FROM a", { true, true } },
	{ "SELECT /* 1 */ 1 FROM a", "SELECT /* 2 */ 1 FROM a", { false, false } },
	{ "SELECT /* 1 */ 1 FROM a", "SELECT /* 1 */ 2 FROM a", { true, true } },
	{ "/*!50000 SELECT 1 FROM a */", "/*!40000 SELECT 1 FROM a */", { false, false } },
	{ "/*!50000 SELECT 1 FROM a */", "/*!50000 SELECT 2 FROM a */", { false, true } },
	{ "/*!'1'*/SELECT 1 FROM a", "/*!'2'*/SELECT 1 FROM a", { false, true } },
	{ "/*!1.5*/SELECT 1 FROM a", "/*!1.77*/SELECT 1 FROM a", { false, true } },
	{ "SELECT 5--1 FROM a\n, b", "SELECT 5--2 FROM a\n, b", { false, true } },
	{ "SELECT 5-- 1 FROM a\n, b", "SELECT 5-- 2 FROM a\n, b", { false, false } },
	{ "SELECT 5--", "SELECT 6--", { true, true } },
	{ "SELECT 5 # 1\nFROM a", "SELECT 5 # 2\nFROM a", { true, false } },
	{ "1", "2", { true, true } },
	{ "", "", { true, true } },
};
#define N_PAIRS (sizeof(pairs) / sizeof(pairs[0]))

static void statements_are_of_one_kind_but_for_values(void **state)
{
	for (size_t i = 0; i < N_PAIRS; i++)
		for (int dialect = SQL_POSTGRESQL; dialect <= SQL_MYSQL; dialect++) {
			struct sql_memo *memo = make_memo();

			assert_false(check(memo, pairs[i].first, dialect));
			assert_true(check(memo, pairs[i].first, dialect));
			if (check(memo, pairs[i].second, dialect) != pairs[i].alike[dialect])
				fail_msg("%s\n%s\n\tare %salike", pairs[i].first, pairs[i].second,
					 pairs[i].alike[dialect] ? "not " : "");
			/* nor do the two databases share any, nor what is cut */
			assert_false(check(memo, pairs[i].first, !dialect));
			assert_false(check_part(memo, pairs[i].first, strlen(pairs[i].first), false,
						dialect));
		}
	(void)state;
}

/* All of them, cut anywhere, of one memo: what is remembered of one must not be said of another. */
static void texts_can_end_anywhere(void **state)
{
	struct sql_memo *memo = make_memo();
	unsigned n_known = 0;

	for (size_t i = 0; i < 2 * N_PAIRS; i++) {
		const char *text = i % 2 ? pairs[i / 2].first : pairs[i / 2].second;

		for (size_t size = 0; size <= strlen(text); size++)
			for (int how = 0; how < 4; how++)
				n_known += check_part(memo, text, size, how & 1, how >> 1);
	}
	assert_true(n_known > 1000);
	(void)state;
}

/* Pieces of statements in any order, and with other values in their places right thereafter. */
static void any_texts_are_summarized_alike(void **state)
{
	static const char *const pieces[][2] = {
		{ "SELECT ", "SELECT " },
		{ " FROM a", " FROM a" },
		{ " FROM b", " FROM b" },
		{ ",", "," },
		{ "1", "22" },
		{ "3e7", "4." },
		{ "'", "'" },
		{ "''", "'b'" },
		{ "\"", "\"" },
		{ "`", "`" },
		{ "\\", "\\" },
		{ "$", "$" },
		{ "$x$", "$x$" },
		{ "e", "e" },
		{ "E'a'", "E'\\''" },
		{ "/*!5 ", "/*!6 " },
		{ "/*", "/*" },
		{ "*/", "*/" },
		{ "--", "--" },
		{ "\n", "\n" },
		{ " ", " " },
		{ "#", "#" },
		{ ".", "." },
		{ "(", "(" },
		{ ")", ")" },
		{ ";", ";" },
		{ "t1", "t2" },
		{ "'b'", "'\n'" },
		{ "x'", "x'" },
		{ "-", "-" },
		{ "\t", "\t" },
	};
	struct sql_memo *memo = make_memo();
	uint32_t random = 1;
	unsigned n_known = 0;

	for (unsigned i = 0; i < 100000; i++) {
		char texts[2][128] = { "SELECT 1 ", "SELECT 2 " };

		for (unsigned n = i % 8; n; n--) {
			const char *const *piece;

			random = random * 1664525 + 1013904223;
			piece = pieces[(random >> 16) % (sizeof(pieces) / sizeof(pieces[0]))];
			strcat(texts[0], piece[0]);
			strcat(texts[1], piece[1]);
		}
		for (unsigned j = 0; j < 2; j++)
			n_known += check_part(memo, texts[j], strlen(texts[j]), i & 8, i >> 4 & 1);
	}
	assert_true(n_known > 50000);
	(void)state;
}

static void long_texts_are_not_kept(void **state)
{
	struct sql_memo *memo = make_memo();
	static char text[4096];

	for (size_t size = 0; size < sizeof(text) - 16; size += 16) {
		strcpy(text + size, "SELECT a FROM b,");
		check(memo, text, SQL_POSTGRESQL);
	}
	assert_false(check(memo, text, SQL_POSTGRESQL));
	/* but values do not count */
	snprintf(text, sizeof(text), "SELECT '%02000d' FROM a", 0);
	assert_false(check(memo, text, SQL_POSTGRESQL));
	assert_true(check(memo, "SELECT 'b' FROM a", SQL_POSTGRESQL));
	assert_true(check(memo, text, SQL_POSTGRESQL));
	/* unless there are too many */
	for (size_t size = 0; size < 200; size += 2) {
		strcpy(text + size, "1,");
		check(memo, text, SQL_POSTGRESQL);
	}
	assert_false(check(memo, text, SQL_POSTGRESQL));
	(void)state;
}

/* Of more kinds than there is room for, those that come again and again stay. */
static void what_is_used_stays(void **state)
{
	struct sql_memo *memo = make_memo();
	char text[64];

	check(memo, "SELECT a FROM often", SQL_MYSQL);
	for (unsigned i = 0; i < 10000; i++) {
		snprintf(text, sizeof(text), "SELECT a FROM %c%c%c%c", 'a' + i % 26,
			 'a' + i / 26 % 26, 'a' + i / 676 % 26, 'a' + i / 17576);
		assert_false(check(memo, text, SQL_MYSQL));
		assert_true(check(memo, "SELECT a FROM often", SQL_MYSQL));
	}
	assert_false(check(memo, "SELECT a FROM aaaa", SQL_MYSQL));
	(void)state;
}

static void without_a_memo_nothing_is_remembered(void **state)
{
	for (unsigned i = 0; i < 2; i++)
		assert_false(check(NULL, "SELECT a FROM b", SQL_MYSQL));
	sql_memo_free(NULL);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(statements_are_of_one_kind_but_for_values,
					  cleanup_teardown),
		cmocka_unit_test_teardown(texts_can_end_anywhere, cleanup_teardown),
		cmocka_unit_test_teardown(any_texts_are_summarized_alike, cleanup_teardown),
		cmocka_unit_test_teardown(long_texts_are_not_kept, cleanup_teardown),
		cmocka_unit_test_teardown(what_is_used_stays, cleanup_teardown),
		cmocka_unit_test(without_a_memo_nothing_is_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
