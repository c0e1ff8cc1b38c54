// SPDX-License-Identifier: Apache-2.0
/*
 * MySQL and MariaDB: conversations made of packets, as the protocol's documents have them, and recorded ones; seen whole, cut
 * anywhere, from the midst, with gaps and with most bytes not copied.
 */
#include "tests/harness/harness.h"
#include "probes/protocols/mysql_connection.h"
#include "tests/harness/talk.h"

#define CLIENT true
#define SERVER false

#define MORE   0x08
#define CURSOR 0x40

/* A packet in a socket call of its own. */
static void packet(struct talk *talk, bool from_client, uint8_t number, const void *bytes,
		   size_t size)
{
	const uint8_t header[] = { size, size >> 8, size >> 16, number };

	talk_say(talk, from_client, header, sizeof(header));
	talk_add(talk, bytes, size);
}

/* One more in the same socket call. */
static void and_packet(struct talk *talk, uint8_t number, const void *bytes, size_t size)
{
	const uint8_t header[] = { size, size >> 8, size >> 16, number };

	talk_add(talk, header, sizeof(header));
	talk_add(talk, bytes, size);
}

static void command(struct talk *talk, uint8_t code, const char *text)
{
	uint8_t bytes[1024] = { code };

	memcpy(bytes + 1, text, strlen(text));
	packet(talk, CLIENT, 0, bytes, 1 + strlen(text));
}

static void query(struct talk *talk, const char *text)
{
	command(talk, MYSQL_QUERY, text);
}

static void on_statement(struct talk *talk, uint8_t code, uint32_t id, size_t size)
{
	uint8_t bytes[64] = { code, id, id >> 8, id >> 16, id >> 24 };

	packet(talk, CLIENT, 0, bytes, size);
}

static void greeting(struct talk *talk, uint32_t capabilities)
{
	static const char version[] = "5.5.5-10.11.6-MariaDB";
	uint8_t bytes[128] = { 10 }, *at = bytes + 1 + sizeof(version);

	memcpy(bytes + 1, version, sizeof(version));
	at[13] = capabilities;
	at[14] = capabilities >> 8;
	at[15] = 33;
	at[18] = capabilities >> 16;
	at[19] = capabilities >> 24;
	packet(talk, SERVER, 0, bytes, (size_t)(at - bytes) + 55);
}

static void login(struct talk *talk, uint32_t capabilities)
{
	uint8_t bytes[80] = { capabilities, capabilities >> 8, capabilities >> 16,
			      capabilities >> 24 };

	memcpy(bytes + 32, "app", 4);
	packet(talk, CLIENT, 1, bytes, sizeof(bytes));
}

static void ok(struct talk *talk, uint8_t number, uint8_t status)
{
	const uint8_t bytes[] = { 0, 1, 0, status, 0, 0, 0 };

	packet(talk, SERVER, number, bytes, sizeof(bytes));
}

static void error(struct talk *talk, uint8_t number, uint16_t code)
{
	const uint8_t bytes[] = { 0xff, code, code >> 8, '#', '4', '2', 'S', '0', '2', 'n', 'o' };

	packet(talk, SERVER, number, bytes, sizeof(bytes));
}

static void start(struct talk *talk, uint32_t capabilities)
{
	capabilities |= MYSQL_CLIENT_PROTOCOL_41;
	greeting(talk, 0xffffffffU & ~(MYSQL_CLIENT_COMPRESS | MYSQL_CLIENT_ZSTD));
	login(talk, capabilities);
	/* another way to authenticate, and what that asks for */
	packet(talk, SERVER, 2, "\xfemysql_native_password\0abcdefghijklmnopqrst", 44);
	packet(talk, CLIENT, 3, "01234567890123456789", 20);
	packet(talk, SERVER, 4, "\001\003", 2);
	ok(talk, 5, 2);
}

static uint8_t definitions(struct talk *talk, uint8_t number, unsigned n)
{
	static const char definition[] =
		"\003def\004shop\006orders\006orders\004name\004name\014!\0\0\1\0\0\375\0\0\0\0";

	for (unsigned i = 0; i < n; i++)
		and_packet(talk, number++, definition, sizeof(definition) - 1);
	return number;
}

static uint8_t end_of_file(struct talk *talk, uint8_t number, uint8_t status)
{
	const uint8_t bytes[] = { 0xfe, 0, 0, status, 0 };

	and_packet(talk, number, bytes, sizeof(bytes));
	return number + 1;
}

static uint8_t ok_at_end(struct talk *talk, uint8_t number, uint8_t status)
{
	const uint8_t bytes[] = { 0xfe, 0, 0, status, 0, 0, 0 };

	and_packet(talk, number, bytes, sizeof(bytes));
	return number + 1;
}

static uint8_t rows(struct talk *talk, uint8_t number, unsigned n, size_t size)
{
	uint8_t *row = malloc(size + 4);

	assert_non_null(row);
	memset(row, 'x', size + 4);
	row[0] = 0xfc;
	row[1] = size;
	row[2] = size >> 8;
	while (n--)
		and_packet(talk, number++, row, size + 3);
	free(row);
	return number;
}

/* A result of two columns; returns the number after it. */
static uint8_t result_set(struct talk *talk, uint8_t number, bool deprecates_eof, unsigned n_rows,
			  uint8_t status)
{
	packet(talk, SERVER, number, "\002", 1);
	number = definitions(talk, number + 1, 2);
	if (!deprecates_eof)
		number = end_of_file(talk, number, 2);
	number = rows(talk, number, n_rows, 40);
	return deprecates_eof ? ok_at_end(talk, number, status) : end_of_file(talk, number, status);
}

static void prepared(struct talk *talk, uint32_t id, unsigned columns, unsigned parameters,
		     bool deprecates_eof)
{
	const uint8_t bytes[] = { 0, id,	 id >> 8, id >> 16, id >> 24, columns,
				  0, parameters, 0,	  0,	    0,	      0 };
	uint8_t number = 2;

	packet(talk, SERVER, 1, bytes, sizeof(bytes));
	if (parameters) {
		number = definitions(talk, number, parameters);
		if (!deprecates_eof)
			number = end_of_file(talk, number, 2);
	}
	if (columns) {
		number = definitions(talk, number, columns);
		if (!deprecates_eof)
			end_of_file(talk, number, 2);
	}
}

static void check(struct talk *talk, const char *expected)
{
	talk_check(talk, &protocol_mysql, expected);
	talk_clear(talk);
}

/* Seen whole only. */
static void check_whole(struct talk *talk, const char *expected)
{
	struct talk_result result = talk_run(talk, &protocol_mysql, &(struct talk_view){ 0 });

	assert_string_equal(result.text, expected);
	assert_int_equal(result.in_flight, 0);
	talk_result_free(&result);
	talk_clear(talk);
}

/* With and without packets at the end of definitions. */
static void test_queries(void **state)
{
	for (int deprecates_eof = 0; deprecates_eof < 2; deprecates_eof++) {
		struct talk talk = { 0 };

		start(&talk, deprecates_eof ? MYSQL_CLIENT_DEPRECATE_EOF : 0);
		query(&talk, "SELECT name FROM orders WHERE id = 17");
		result_set(&talk, 1, deprecates_eof, 3, 2);
		query(&talk, "select * from orders where name = 'none'");
		result_set(&talk, 1, deprecates_eof, 0, 2);
		query(&talk, "INSERT INTO orders (name) VALUES ('secret')");
		ok(&talk, 1, 2);
		query(&talk, "SELECT * FROM missing");
		error(&talk, 1, 1146);
		/* an error after rows */
		query(&talk, "SELECT sleep(1) FROM orders");
		packet(&talk, SERVER, 1, "\001", 1);
		definitions(&talk, 2, 1);
		if (!deprecates_eof)
			end_of_file(&talk, 3, 2);
		rows(&talk, deprecates_eof ? 3 : 4, 2, 10);
		error(&talk, deprecates_eof ? 5 : 6, 1317);
		/* several results, some of them without rows */
		query(&talk, "CALL report()");
		ok(&talk,
		   result_set(&talk, result_set(&talk, 1, deprecates_eof, 2, 2 | MORE),
			      deprecates_eof, 300, 2 | MORE),
		   2);
		command(&talk, MYSQL_PING, "");
		ok(&talk, 1, 2);
		command(&talk, MYSQL_INIT_DB, "shop");
		ok(&talk, 1, 2);
		command(&talk, MYSQL_STATISTICS, "");
		packet(&talk, SERVER, 1, "Uptime: 17", 10);
		command(&talk, MYSQL_FIELD_LIST, "orders");
		talk_say(&talk, SERVER, "", 0);
		end_of_file(&talk, definitions(&talk, 1, 2), 2);
		command(&talk, 0x1b, "\0");
		talk_say(&talk, SERVER, "", 0);
		end_of_file(&talk, 1, 2);
		command(&talk, MYSQL_QUIT, "");
		check(&talk, "mysql|SELECT|SELECT orders|\nmysql|SELECT|SELECT orders|\n"
			     "mysql|INSERT|INSERT orders|\nmysql|SELECT|SELECT missing|1146!\n"
			     "mysql|SELECT|SELECT orders|1317!\nmysql|CALL|CALL report|\n"
			     "mysql|PING|PING|\nmysql|USE|USE|\nmysql|STATISTICS|STATISTICS|\n"
			     "mysql|FIELD_LIST|FIELD_LIST|\nmysql|SET_OPTION|SET_OPTION|\n");
	}
}

static void test_times_and_sizes(void **state)
{
	struct talk talk = { 0 };
	struct talk_result result;

	start(&talk, 0); /* 0 … 5 */
	query(&talk, "SELECT name FROM orders"); /* 6 */
	result_set(&talk, 1, false, 1, 2 | MORE);
	result_set(&talk, 7, false, 1, 2); /* 8 */
	result = talk_run(&talk, &protocol_mysql, &(struct talk_view){ 0 });
	assert_int_equal(result.n, 1);
	assert_int_equal(result.calls[0].start_ns, 7 * TALK_STEP_NS);
	assert_int_equal(result.calls[0].first_byte_ns, 8 * TALK_STEP_NS);
	assert_int_equal(result.calls[0].end_ns, 9 * TALK_STEP_NS);
	assert_int_equal(result.calls[0].request_bytes, talk.parts[6].size);
	assert_int_equal(result.calls[0].response_bytes, talk.parts[7].size + talk.parts[8].size);
	talk_result_free(&result);
	talk_clear(&talk);
}

static void test_statements(void **state)
{
	for (int deprecates_eof = 0; deprecates_eof < 2; deprecates_eof++) {
		struct talk talk = { 0 };

		start(&talk, deprecates_eof ? MYSQL_CLIENT_DEPRECATE_EOF : 0);
		command(&talk, MYSQL_STMT_PREPARE, "SELECT name FROM orders WHERE id = ?");
		prepared(&talk, 1, 2, 1, deprecates_eof);
		command(&talk, MYSQL_STMT_PREPARE, "INSERT INTO orders (name, text) VALUES (?, ?)");
		prepared(&talk, 2, 0, 2, deprecates_eof);
		command(&talk, MYSQL_STMT_PREPARE, "DELETE FROM carts");
		prepared(&talk, 3, 0, 0, deprecates_eof);
		command(&talk, MYSQL_STMT_PREPARE, "SELECT FROM nonsense");
		error(&talk, 1, 1064);
		on_statement(&talk, MYSQL_STMT_EXECUTE, 1, 20);
		result_set(&talk, 1, deprecates_eof, 2, 2);
		/* neither is answered */
		on_statement(&talk, MYSQL_STMT_SEND_LONG_DATA, 2, 60);
		on_statement(&talk, MYSQL_STMT_SEND_LONG_DATA, 2, 50);
		on_statement(&talk, MYSQL_STMT_EXECUTE, 2, 30);
		ok(&talk, 1, 2);
		on_statement(&talk, MYSQL_STMT_EXECUTE, 3, 10);
		ok(&talk, 1, 2);
		on_statement(&talk, MYSQL_STMT_RESET, 2, 5);
		ok(&talk, 1, 2);
		/* a cursor: rows come by command */
		on_statement(&talk, MYSQL_STMT_EXECUTE, 1, 20);
		packet(&talk, SERVER, 1, "\002", 1);
		definitions(&talk, 2, 2);
		if (deprecates_eof)
			ok_at_end(&talk, 4, 2 | CURSOR);
		else
			end_of_file(&talk, 4, 2 | CURSOR);
		on_statement(&talk, MYSQL_STMT_FETCH, 1, 9);
		talk_say(&talk, SERVER, "", 0);
		if (deprecates_eof)
			ok_at_end(&talk, rows(&talk, 1, 5, 30), 2 | CURSOR);
		else
			end_of_file(&talk, rows(&talk, 1, 5, 30), 2 | CURSOR);
		/* closed, in one piece with what comes next */
		on_statement(&talk, MYSQL_STMT_CLOSE, 1, 5);
		and_packet(&talk, 0, "\003SELECT 1", 9);
		result_set(&talk, 1, deprecates_eof, 1, 2);
		on_statement(&talk, MYSQL_STMT_EXECUTE, 3, 10);
		ok(&talk, 1, 2);
		talk_check(&talk, &protocol_mysql, NULL);
		/* used nevertheless */
		on_statement(&talk, MYSQL_STMT_EXECUTE, 1, 20);
		error(&talk, 1, 1243);
		command(&talk, MYSQL_RESET_CONNECTION, "");
		ok(&talk, 1, 2);
		on_statement(&talk, MYSQL_STMT_EXECUTE, 2, 20);
		error(&talk, 1, 1243);
		check_whole(
			&talk,
			"mysql|PREPARE|PREPARE SELECT orders|\nmysql|PREPARE|PREPARE INSERT orders|\n"
			"mysql|PREPARE|PREPARE DELETE carts|\nmysql|PREPARE|PREPARE SELECT nonsense|1064!\n"
			"mysql|SELECT|SELECT orders|\nmysql|INSERT|INSERT orders|\n"
			"mysql|DELETE|DELETE carts|\nmysql|RESET|RESET INSERT orders|\n"
			"mysql|SELECT|SELECT orders|\nmysql|FETCH|FETCH SELECT orders|\n"
			"mysql|SELECT|SELECT|\nmysql|DELETE|DELETE carts|\nmysql|||1243!\n"
			"mysql|RESET_CONNECTION|RESET_CONNECTION|\nmysql|||1243!\n");
	}
}

/* More statements than are remembered: the oldest are unknown, none is another. */
static void test_many_statements(void **state)
{
	enum { STATEMENTS = MYSQL_MAX_STATEMENTS + 61 };
	struct talk talk = { 0 };
	struct talk_result result;
	unsigned known = 0;
	char text[64];

	start(&talk, 0);
	for (unsigned i = 0; i < STATEMENTS; i++) {
		snprintf(text, sizeof(text), "SELECT a FROM t%u", i);
		command(&talk, MYSQL_STMT_PREPARE, text);
		prepared(&talk, 1000 + i, 1, 0, false);
	}
	for (unsigned i = 0; i < STATEMENTS; i++) {
		on_statement(&talk, MYSQL_STMT_EXECUTE, 1000 + i, 10);
		result_set(&talk, 1, false, 1, 2);
	}
	result = talk_run(&talk, &protocol_mysql, &(struct talk_view){ 0 });
	assert_int_equal(result.n, 2 * STATEMENTS);
	for (unsigned i = 0; i < STATEMENTS; i++) {
		const char *target = result.calls[STATEMENTS + i].target;

		snprintf(text, sizeof(text), "SELECT t%u", i);
		assert_true(!*target || !strcmp(target, text));
		known += !strcmp(target, text);
	}
	assert_int_equal(known, MYSQL_MAX_STATEMENTS);
	talk_result_free(&result);
	talk_clear(&talk);
}

/* MariaDB's clients send the next command before the response to the last. */
static void test_pipelined(void **state)
{
	struct talk talk = { 0 };

	start(&talk, 0);
	command(&talk, MYSQL_STMT_PREPARE, "UPDATE orders SET name = ?");
	and_packet(&talk, 0, "\x17\xff\xff\xff\xff\0\1\0\0\0", 10);
	prepared(&talk, 7, 0, 1, false);
	ok(&talk, 1, 2);
	query(&talk, "SELECT a FROM x");
	query(&talk, "SELECT b FROM y");
	query(&talk, "DELETE FROM z");
	result_set(&talk, 1, false, 2, 2);
	error(&talk, 1, 1146);
	ok(&talk, 1, 2);
	on_statement(&talk, MYSQL_STMT_EXECUTE, 7, 20);
	ok(&talk, 1, 2);
	check(&talk, "mysql|PREPARE|PREPARE UPDATE orders|\nmysql|UPDATE|UPDATE orders|\n"
		     "mysql|SELECT|SELECT x|\nmysql|SELECT|SELECT y|1146!\nmysql|DELETE|DELETE z|\n"
		     "mysql|UPDATE|UPDATE orders|\n");
}

static void test_local_file(void **state)
{
	struct talk talk = { 0 };
	uint8_t data[1000];

	memset(data, 3, sizeof(data)); /* as a command would begin */
	start(&talk, 0);
	query(&talk, "LOAD DATA LOCAL INFILE '/tmp/x' INTO TABLE orders");
	packet(&talk, SERVER, 1, "\xfb/tmp/x", 7);
	/* so many packets that their numbers begin again */
	for (unsigned i = 0; i < 300; i++)
		packet(&talk, CLIENT, (uint8_t)(2 + i), data, i % 7 ? 20 : sizeof(data));
	packet(&talk, CLIENT, (uint8_t)(2 + 300), "", 0);
	ok(&talk, (uint8_t)(3 + 300), 2);
	/* not allowed */
	query(&talk, "LOAD DATA LOCAL INFILE '/tmp/y' INTO TABLE carts");
	packet(&talk, SERVER, 1, "\xfb/tmp/y", 7);
	packet(&talk, CLIENT, 2, "", 0);
	error(&talk, 3, 2);
	query(&talk, "SELECT 1");
	result_set(&talk, 1, false, 1, 2);
	check(&talk, "mysql|LOAD|LOAD orders|\nmysql|LOAD|LOAD carts|2!\nmysql|SELECT|SELECT|\n");
}

/* Beside the number of columns: whether definitions follow, as MySQL and as MariaDB say it; and progress, which ends nothing. */
static void test_dialects(void **state)
{
	struct talk talk = { 0 };

	start(&talk, 0);
	query(&talk, "SELECT a FROM mysql_with");
	packet(&talk, SERVER, 1, "\001\002", 2);
	end_of_file(&talk, rows(&talk, end_of_file(&talk, definitions(&talk, 2, 2), 2), 1, 9), 2);
	query(&talk, "SELECT a FROM mysql_without");
	packet(&talk, SERVER, 1, "\000\002", 2);
	end_of_file(&talk, rows(&talk, end_of_file(&talk, 2, 2), 1, 9), 2);
	query(&talk, "SELECT a FROM mariadb_with");
	packet(&talk, SERVER, 1, "\002\001", 2);
	end_of_file(&talk, rows(&talk, end_of_file(&talk, definitions(&talk, 2, 2), 2), 1, 9), 2);
	query(&talk, "SELECT a FROM mariadb_without");
	packet(&talk, SERVER, 1, "\002\000", 2);
	end_of_file(&talk, rows(&talk, end_of_file(&talk, 2, 2), 1, 9), 2);
	query(&talk, "SELECT a FROM many");
	packet(&talk, SERVER, 1, "\xfc\x05\x01\x01", 4);
	end_of_file(&talk, rows(&talk, end_of_file(&talk, definitions(&talk, 2, 261), 2), 1, 9), 2);
	query(&talk, "ALTER TABLE orders ENGINE=x");
	packet(&talk, SERVER, 1, "\xff\xff\xff\1\2\3\0\0\0\4copy", 14);
	packet(&talk, SERVER, 2, "\xff\xff\xff\1\2\3\0\0\0\4copy", 14);
	ok(&talk, 3, 2);
	/* MySQL's query attributes: none, and one */
	packet(&talk, CLIENT, 0, "\003\000\001SELECT a FROM b", 18);
	ok(&talk, 1, 2);
	packet(&talk, CLIENT, 0, "\003\001\001\000\001\010\0\004name\001SELECT a FROM b", 28);
	ok(&talk, 1, 2);
	check(&talk, "mysql|SELECT|SELECT mysql_with|\nmysql|SELECT|SELECT mysql_without|\n"
		     "mysql|SELECT|SELECT mariadb_with|\nmysql|SELECT|SELECT mariadb_without|\n"
		     "mysql|SELECT|SELECT many|\nmysql|ALTER|ALTER TABLE orders|\n"
		     "mysql|SELECT|SELECT b|\nmysql|||\n");
}

static void check_stopped(struct talk *talk, enum protocol_unparsed reason)
{
	struct talk_result result = talk_run(talk, &protocol_mysql, &(struct talk_view){ 0 });

	assert_int_equal(result.n, 0);
	assert_int_equal(result.in_flight, 0);
	assert_true(result.was_stopped);
	assert_int_equal(result.why_stopped, reason);
	talk_result_free(&result);
	talk_clear(talk);
}

static void test_stops(void **state)
{
	struct talk talk = { 0 };
	uint8_t request[32] = { 0, MYSQL_CLIENT_SSL >> 8 | MYSQL_CLIENT_PROTOCOL_41 >> 8 };

	greeting(&talk, 0xffffffff);
	packet(&talk, CLIENT, 1, request, sizeof(request));
	talk_say(&talk, CLIENT, "\x16\x03\x01\x02\x00\x01\x00\x01", 8);
	check_stopped(&talk, PROTOCOL_ENCRYPTED);

	greeting(&talk, 0xffffffff);
	login(&talk, MYSQL_CLIENT_COMPRESS | MYSQL_CLIENT_PROTOCOL_41);
	ok(&talk, 2, 2);
	talk_say(&talk, CLIENT, "\x09\0\0\0\0\0\0\x05\0\0\0\003SELE", 16);
	check_stopped(&talk, PROTOCOL_MALFORMED);

	/* only the client could compress */
	greeting(&talk, 0xffffffff & ~MYSQL_CLIENT_COMPRESS);
	login(&talk, MYSQL_CLIENT_COMPRESS | MYSQL_CLIENT_PROTOCOL_41);
	ok(&talk, 2, 2);
	query(&talk, "SELECT 1");
	ok(&talk, 1, 2);
	check(&talk, "mysql|SELECT|SELECT|\n");

	start(&talk, 0);
	command(&talk, MYSQL_BINLOG_DUMP, "\4\0\0\0\0\0\1\0\0\0mysql-bin.1");
	check_stopped(&talk, PROTOCOL_MALFORMED);

	talk_say(&talk, SERVER, "SSH-2.0-OpenSSH_9.2p1 Debian\r\n", 30);
	check_stopped(&talk, PROTOCOL_MALFORMED);

	/* refused: no calls, and no fault */
	error(&talk, 0, 1040);
	check(&talk, "");
}

/* Another user, with all that authentication has. */
static void test_change_user(void **state)
{
	struct talk talk = { 0 };

	start(&talk, 0);
	command(&talk, MYSQL_CHANGE_USER, "app");
	packet(&talk, SERVER, 1, "\xfemysql_native_password\0abcdefghijklmnopqrst", 44);
	packet(&talk, CLIENT, 2, "01234567890123456789", 20);
	ok(&talk, 3, 2);
	command(&talk, MYSQL_CHANGE_USER, "eve");
	error(&talk, 1, 1045);
	check(&talk, "mysql|CHANGE_USER|CHANGE_USER|\nmysql|CHANGE_USER|CHANGE_USER|1045!\n");
}

/* What is longer than a packet goes on in the next: a query, and rows that begin with what ends them otherwise. */
static void test_long_packets(void **state)
{
	struct talk talk = { 0 };
	struct talk_result result;
	uint8_t *bytes = calloc(1, MYSQL_MAX_LENGTH);

	assert_non_null(bytes);
	start(&talk, 0);
	memset(bytes, ' ', MYSQL_MAX_LENGTH);
	memcpy(bytes, "\003INSERT INTO orders VALUES ('", 29);
	packet(&talk, CLIENT, 0, bytes, MYSQL_MAX_LENGTH);
	packet(&talk, CLIENT, 1, bytes, MYSQL_MAX_LENGTH);
	packet(&talk, CLIENT, 2, bytes, 17);
	ok(&talk, 3, 2);
	query(&talk, "SELECT * FROM blobs");
	packet(&talk, SERVER, 1, "\001", 1);
	end_of_file(&talk, definitions(&talk, 2, 1), 2);
	bytes[0] = 0xfe;
	packet(&talk, SERVER, 4, bytes, MYSQL_MAX_LENGTH);
	packet(&talk, SERVER, 5, "\xfe\0\0\2\0", 5);
	packet(&talk, SERVER, 6, bytes, MYSQL_MAX_LENGTH);
	packet(&talk, SERVER, 7, "", 0);
	rows(&talk, 8, 1, 5);
	end_of_file(&talk, 9, 2);
	query(&talk, "SELECT 1");
	ok(&talk, 1, 2);
	for (unsigned i = 0; i < 3; i++) {
		static const struct talk_view views[] = {
			{ 0 },
			{ .cut = 65536 },
			{ .cut = 16384, .head = 64, .tail = 32 },
		};

		result = talk_run(&talk, &protocol_mysql, &views[i]);
		assert_string_equal(result.text,
				    "mysql|INSERT|INSERT orders|\nmysql|SELECT|SELECT blobs|\n"
				    "mysql|SELECT|SELECT|\n");
		talk_result_free(&result);
	}
	talk_clear(&talk);
	free(bytes);
}

/* Rows that were not copied: the end is found where it is, or it is known when the next command comes. */
static void test_holes(void **state)
{
	struct talk talk = { 0 };
	struct talk_result result;
	struct talk_view view = { .head = 300, .tail = 32 };

	start(&talk, 0); /* 0 … 5 */
	query(&talk, "SELECT a FROM many"); /* 6 */
	result_set(&talk, 1, false, 100, 2);
	talk_say(&talk, SERVER, "", 0); /* nothing */
	query(&talk, "SELECT a FROM more"); /* 9 */
	result_set(&talk, 1, false, 100, 2 | MORE);
	result_set(&talk, (uint8_t)(1 + 1 + 2 + 1 + 100 + 1), false, 100, 2); /* 11 */
	query(&talk, "SELECT a FROM others"); /* 12 */
	result_set(&talk, 1, true, 100, 2);
	query(&talk, "SELECT a FROM failed"); /* 14 */
	packet(&talk, SERVER, 1, "\001", 1);
	end_of_file(&talk, definitions(&talk, 2, 1), 2);
	rows(&talk, 4, 100, 40);
	error(&talk, 104, 1317); /* 16 */
	query(&talk, "DELETE FROM x"); /* 17 */
	ok(&talk, 1, 2);
	result = talk_run(&talk, &protocol_mysql, &view);
	assert_string_equal(result.text,
			    "mysql|SELECT|SELECT many|\nmysql|SELECT|SELECT more|\n"
			    "mysql|SELECT|SELECT others|\nmysql|SELECT|SELECT failed|\n"
			    "mysql|DELETE|DELETE x|\n");
	assert_int_equal(result.calls[0].end_ns, 8 * TALK_STEP_NS);
	assert_int_equal(result.calls[1].end_ns, 12 * TALK_STEP_NS);
	assert_int_equal(result.calls[2].end_ns, 14 * TALK_STEP_NS);
	assert_int_equal(result.calls[3].end_ns, 17 * TALK_STEP_NS);
	assert_int_equal(result.counts.abandoned + result.counts.forgotten, 0);
	assert_true(result.counts.unparsed_bytes[PROTOCOL_TRUNCATED] > 4 * 90 * 40);
	talk_result_free(&result);
	check(&talk, NULL);
}

/* The response is seen before its command, once: one call is lost, no other is touched. */
static void test_order(void **state)
{
	struct talk talk = { 0 };
	struct talk_result result;

	start(&talk, 0); /* 0 … 5 */
	query(&talk, "SELECT a FROM first");
	result_set(&talk, 1, false, 1, 2);
	/* these two came the other way round */
	talk_say(&talk, SERVER, "\7\0\0\1\0\0\0\2\0\0\0", 11);
	query(&talk, "DELETE FROM second");
	query(&talk, "SELECT a FROM third");
	result_set(&talk, 1, false, 1, 2);
	query(&talk, "SELECT a FROM fourth");
	result_set(&talk, 1, false, 1, 2);
	result = talk_run(&talk, &protocol_mysql, &(struct talk_view){ 0 });
	assert_string_equal(result.text, "mysql|SELECT|SELECT first|\nmysql|SELECT|SELECT third|\n"
					 "mysql|SELECT|SELECT fourth|\n");
	assert_int_equal(result.counts.forgotten, 1);
	talk_result_free(&result);
	talk_clear(&talk);
}

/* Recorded between Debian 12's MariaDB server and real clients. */
static void test_recorded(void **state)
{
	static const struct {
		const char *talk, *expected;
	} recorded[] = {
		{ "mariadb-cli",
		  "mysql|SELECT|SELECT|\nmysql|SELECT|SELECT orders|\nmysql|INSERT|INSERT orders|\n"
		  "mysql|UPDATE|UPDATE orders|\nmysql|SELECT|SELECT missing|1146!\n"
		  "mysql|SELECT|SELECT|1064!\nmysql|CALL|CALL two|\nmysql|SELECT|SELECT orders|\n"
		  "mysql|DELETE|DELETE orders|\nmysql|CREATE|CREATE TABLE t|\nmysql|LOAD|LOAD t|\n"
		  "mysql|SELECT|SELECT t|\nmysql|PREPARE|PREPARE|\nmysql|SET|SET|\n"
		  "mysql|EXECUTE|EXECUTE|\n" },
		{ "php", "mysql|PREPARE|PREPARE SELECT orders|\n"
			 "mysql|SELECT|SELECT orders|\n"
			 "mysql|SELECT|SELECT orders|\n"
			 "mysql|SELECT|SELECT orders|\n"
			 "mysql|SELECT|SELECT orders|\n"
			 "mysql|SELECT|SELECT orders|\n"
			 "mysql|PREPARE|PREPARE INSERT orders|\n"
			 "mysql|INSERT|INSERT orders|\n"
			 "mysql|INSERT|INSERT orders|\n"
			 "mysql|INSERT|INSERT orders|\n"
			 "mysql|PREPARE|PREPARE SELECT|1064!\n"
			 "mysql|PREPARE|PREPARE INSERT orders|\n"
			 "mysql|INSERT|INSERT orders|\n"
			 "mysql|PREPARE|PREPARE SELECT orders|\n"
			 "mysql|SELECT|SELECT orders|\n"
			 "mysql|FETCH|FETCH SELECT orders|\n"
			 "mysql|FETCH|FETCH SELECT orders|\n"
			 "mysql|FETCH|FETCH SELECT orders|\n"
			 "mysql|FETCH|FETCH SELECT orders|\n"
			 "mysql|FETCH|FETCH SELECT orders|\n"
			 "mysql|FETCH|FETCH SELECT orders|\n"
			 "mysql|FETCH|FETCH SELECT orders|\n"
			 "mysql|FETCH|FETCH SELECT orders|\n"
			 "mysql|SET_OPTION|SET_OPTION|\n"
			 "mysql|SELECT|SELECT UPDATE orders SELECT|\n"
			 "mysql|PING|PING|\n"
			 "mysql|STATISTICS|STATISTICS|\n"
			 "mysql|CHANGE_USER|CHANGE_USER|\n"
			 "mysql|SET_OPTION|SET_OPTION|\n"
			 "mysql|SELECT|SELECT orders|\n" },
		{ "node-pipelined",
		  "mysql|SET|SET|\nmysql|SELECT|SELECT orders|\nmysql|SELECT|SELECT orders|\n"
		  "mysql|SELECT|SELECT orders|\nmysql|SELECT|SELECT orders|\nmysql|SELECT|SELECT orders|\n"
		  "mysql|INSERT|INSERT orders|\nmysql|SELECT|SELECT nowhere|1146!\nmysql|PING|PING|\n"
		  "mysql|PREPARE|PREPARE SELECT orders|\nmysql|SELECT|SELECT orders|\n"
		  "mysql|SELECT|SELECT orders|\nmysql|SELECT|SELECT orders|\nmysql|SELECT|SELECT orders|\n"
		  "mysql|PREPARE|PREPARE UPDATE orders|\nmysql|UPDATE|UPDATE orders|\n"
		  "mysql|PREPARE|PREPARE UPDATE orders|\nmysql|UPDATE|UPDATE orders|\n"
		  "mysql|PREPARE|PREPARE UPDATE orders|\nmysql|UPDATE|UPDATE orders|\n"
		  "mysql|PREPARE|PREPARE INSERT orders|\nmysql|INSERT|INSERT orders|\n"
		  "mysql|PREPARE|PREPARE DELETE orders|\nmysql|DELETE|DELETE orders|\n" },
	};

	for (size_t i = 0; i < sizeof(recorded) / sizeof(recorded[0]); i++) {
		struct talk talk = { 0 };
		char path[128];

		snprintf(path, sizeof(path), "tests/fuzz/mysql/%s", recorded[i].talk);
		talk_load(&talk, path);
		check(&talk, recorded[i].expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_queries),	    cmocka_unit_test(test_times_and_sizes),
		cmocka_unit_test(test_statements),  cmocka_unit_test(test_many_statements),
		cmocka_unit_test(test_pipelined),   cmocka_unit_test(test_local_file),
		cmocka_unit_test(test_dialects),    cmocka_unit_test(test_stops),
		cmocka_unit_test(test_change_user), cmocka_unit_test(test_long_packets),
		cmocka_unit_test(test_holes),	    cmocka_unit_test(test_order),
		cmocka_unit_test(test_recorded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
