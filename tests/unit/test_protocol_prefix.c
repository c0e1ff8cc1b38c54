// SPDX-License-Identifier: Apache-2.0
/*
 * Which protocol a connection speaks, told by first bytes as the kernel side does it; and which records of a TLS client are
 * requests. No root.
 */
#include <stdint.h>
#include <string.h>

/* As in the kernel: memory that is not there is an error. */
static int copy_from(void *destination, size_t size, uint64_t address)
{
	if (!size)
		return 0;
	if (!address)
		return -1;
	memcpy(destination, (const void *)(uintptr_t)address, size);
	return 0;
}
#define HTTP1_COPY(view, destination, size, address) copy_from(destination, size, address)

#include "bpf/lib/protocol_prefix.h"
#include "bpf/lib/tls_records.h"
#include "tests/harness/harness.h"

#define BYTES(text) (text), sizeof(text) - 1
#define SERVER	    PREFIX_FROM_SERVER

static uint32_t classify(const void *bytes, size_t n, uint64_t total, int midway)
{
	static struct http1_view view;

	http1_open(&view, n, (uintptr_t)bytes, n, 0, 0);
	assert_int_equal(http1_refill(&view), 0);
	return prefix_classify(&view, (uint32_t)n, total, midway);
}

struct sample {
	const char *name;
	const char *bytes;
	size_t n;
	uint32_t expected;
	uint64_t total; /* 0: n */
};

#define STARTUP "\0\0\0\x18\0\3\0\0user\0joey\0\0xxxxx"
#define GREETING                                                                                   \
	"\x1f\0\0\0\x0a"                                                                           \
	"5.5.5-10.11.6\0\1\0\0\0saltsalt\0xxx"
#define DNS_QUERY "\0\x1d\x12\x34\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1"

static const struct sample at_start[] = {
	{ "HTTP/2", BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), PREFIX_HTTP2 },
	{ "HTTP/3?", BYTES("PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n"), PREFIX_UNKNOWN },
	{ "HTTP/2, the server", BYTES("\0\0\x06\4\0\0\0\0\0\0\3\0\0\0\x64"),
	  PREFIX_HTTP2 | SERVER },
	{ "HTTP/2, the server, nothing set", BYTES("\0\0\0\4\0\0\0\0\0"), PREFIX_HTTP2 | SERVER },
	{ "acknowledged settings", BYTES("\0\0\0\4\1\0\0\0\0"), PREFIX_UNKNOWN },
	{ "settings of a stream", BYTES("\0\0\0\4\0\0\0\0\1"), PREFIX_UNKNOWN },
	{ "settings and a half", BYTES("\0\0\x09\4\0\0\0\0\0\0\3\0\0\0\x64"), PREFIX_UNKNOWN },
	{ "HTTP/1", BYTES("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), PREFIX_UNKNOWN },
	{ "PostgreSQL", BYTES(STARTUP), PREFIX_POSTGRESQL },
	{ "PostgreSQL, cut", BYTES(STARTUP), PREFIX_UNKNOWN, 23 },
	{ "PostgreSQL 3.2", BYTES("\0\0\0\x09\0\3\0\2\0"), PREFIX_POSTGRESQL },
	{ "PostgreSQL 2", BYTES("\0\0\0\x09\0\2\0\0\0"), PREFIX_UNKNOWN },
	{ "PostgreSQL, TLS?", BYTES("\0\0\0\x08\x04\xd2\x16\x2f"), PREFIX_POSTGRESQL },
	{ "PostgreSQL, GSSAPI?", BYTES("\0\0\0\x08\x04\xd2\x16\x30"), PREFIX_POSTGRESQL },
	{ "PostgreSQL, cancel", BYTES("\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\1\0\0\0\2"),
	  PREFIX_POSTGRESQL },
	{ "MySQL", BYTES(GREETING), PREFIX_MYSQL | SERVER },
	{ "MySQL, header", BYTES("\x1f\0\0\0"), PREFIX_WANTS_MORE },
	{ "MySQL, more than a greeting", BYTES(GREETING), PREFIX_UNKNOWN, 100 },
	{ "MySQL, version 9",
	  BYTES("\x06\0\0\0\x09"
		"5.5.5"),
	  PREFIX_UNKNOWN },
	{ "Redis", BYTES("*1\r\n$4\r\nPING\r\n"), PREFIX_REDIS },
	{ "Redis, many", BYTES("*100003\r\n$4\r\nMSET\r\n"), PREFIX_REDIS },
	{ "Redis, a line", BYTES("PING\r\n"), PREFIX_REDIS },
	{ "Redis, a part", BYTES("*1\r\n"), PREFIX_WANTS_MORE },
	{ "Redis, one byte", BYTES("*"), PREFIX_WANTS_MORE },
	{ "Redis, no number", BYTES("*\r\n$4\r\n"), PREFIX_UNKNOWN },
	{ "Redis, no string", BYTES("*1\r\n:4\r\n"), PREFIX_UNKNOWN },
	{ "Redis, no array", BYTES("*12345678\r\n$4\r\n"), PREFIX_UNKNOWN },
	{ "IMAP", BYTES("* OK IMAP4rev1 ready\r\n"), PREFIX_UNKNOWN },
	{ "TLS, header", BYTES("\x16\3\1\2\0"), PREFIX_TLS },
	{ "TLS", BYTES("\x16\3\1\2\0\1\0\1\xfc\3\3xxxxxxx"), PREFIX_TLS },
	{ "TLS, the server", BYTES("\x16\3\3\0\x7a\2\0\0\x76\3\3xxxxx"), PREFIX_UNKNOWN },
	{ "TLS, too long", BYTES("\x16\3\1\xff\0\1\0\1\xfc"), PREFIX_UNKNOWN },
	{ "DNS", BYTES(DNS_QUERY), PREFIX_DNS_TCP },
	{ "DNS, length", BYTES("\0\x1d"), PREFIX_WANTS_MORE },
	{ "DNS, two queries", BYTES(DNS_QUERY), PREFIX_UNKNOWN, 62 },
	{ "DNS, two questions", BYTES("\0\x1d\x12\x34\1\0\0\2\0\0\0\0\0\0\7example\3com\0\0\1\0\1"),
	  PREFIX_UNKNOWN },
	{ "DNS, an update", BYTES("\0\x1d\x12\x34\x28\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1"),
	  PREFIX_UNKNOWN },
	{ "SSH", BYTES("SSH-2.0-OpenSSH_9.2p1\r\n"), PREFIX_UNKNOWN },
	{ "SMTP", BYTES("220 mail ESMTP\r\n"), PREFIX_UNKNOWN },
	{ "zeroes", BYTES("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), PREFIX_UNKNOWN },
	{ "one byte", BYTES("S"), PREFIX_WANTS_MORE },
	{ "nothing", "", 0, PREFIX_UNKNOWN },
};

static const struct sample midway[] = {
	{ "preface", BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), PREFIX_UNKNOWN },
	{ "HTTP/1", BYTES("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), PREFIX_UNKNOWN },
	{ "command, or a reply", BYTES("*1\r\n$4\r\nPING\r\n"), PREFIX_UNKNOWN },
	{ "a string", BYTES("$5\r\nhello\r\n"), PREFIX_REDIS | SERVER },
	{ "a part of a string", BYTES("$5\r\nhell"), PREFIX_UNKNOWN },
	{ "an integer", BYTES(":42\r\n"), PREFIX_REDIS | SERVER },
	{ "two integers", BYTES(":42\r\n:43\r\n"), PREFIX_UNKNOWN },
	{ "query", BYTES("Q\0\0\0\x0dselect 1\0"), PREFIX_POSTGRESQL },
	{ "a part of a query", BYTES("Q\0\0\0\x0dselect 1"), PREFIX_UNKNOWN },
	{ "parse and sync", BYTES("P\0\0\0\x10\0select 1\0\0\0S\0\0\0\4"), PREFIX_POSTGRESQL },
	{ "result", BYTES("C\0\0\0\x0dSELECT 1\0Z\0\0\0\5I"), PREFIX_POSTGRESQL | SERVER },
	{ "a part of a result", BYTES("D\0\0\0\x0d\0\1\0\0\0\3abc"), PREFIX_UNKNOWN },
	{ "COM_QUERY", BYTES("\x09\0\0\0\3SELECT 1"), PREFIX_MYSQL },
	{ "COM_QUERY of something else", BYTES("\x09\0\0\0\3\x01\x02LECT 1"), PREFIX_UNKNOWN },
	{ "COM_STMT_EXECUTE", BYTES("\x0a\0\0\0\x17\1\0\0\0\0\1\0\0\0"), PREFIX_MYSQL },
	{ "MySQL, not all of it", BYTES("\x09\0\0\0\3SELECT 1"), PREFIX_UNKNOWN, 100 },
	{ "request head", BYTES("\0\0\4\1\5\0\0\0\3\x82\x84\x86\x41"), PREFIX_HTTP2 },
	{ "request head with priority", BYTES("\0\0\7\1\x25\0\0\0\3\x80\0\0\0\x0f\x83\x84"),
	  PREFIX_HTTP2 },
	{ "response head", BYTES("\0\0\2\1\4\0\0\0\1\x88\x5f"), PREFIX_HTTP2 | SERVER },
	{ "head of an even stream", BYTES("\0\0\2\1\4\0\0\0\2\x88\x5f"), PREFIX_UNKNOWN },
	{ "trailers", BYTES("\0\0\2\1\5\0\0\0\1\xbf\xbe"), PREFIX_UNKNOWN },
	{ "DNS query", BYTES(DNS_QUERY), PREFIX_DNS_TCP },
	{ "DNS response", BYTES("\0\x1d\x12\x34\x81\x80\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1"),
	  PREFIX_DNS_TCP | SERVER },
	{ "TLS data", BYTES("\x17\3\3\0\4abcd"), PREFIX_UNKNOWN },
};

static void check(const struct sample *samples, size_t n, int is_midway)
{
	for (size_t i = 0; i < n; i++) {
		const struct sample *sample = &samples[i];
		uint32_t found = classify(sample->bytes, sample->n,
					  sample->total ? sample->total : sample->n, is_midway);

		if (found != sample->expected)
			test_fail("%s: %#x, not %#x", sample->name, found, sample->expected);
	}
}

static void first_bytes_tell(void **state)
{
	check(at_start, sizeof(at_start) / sizeof(at_start[0]), 0);
	(void)state;
}

static void midway_only_what_is_whole_tells(void **state)
{
	check(midway, sizeof(midway) / sizeof(midway[0]), 1);
	(void)state;
}

/* A beginning that is cut anywhere is never taken for another protocol. */
static void cut_beginnings_mislead_nobody(void **state)
{
	for (size_t i = 0; i < sizeof(at_start) / sizeof(at_start[0]); i++) {
		const struct sample *sample = &at_start[i];
		uint32_t whole = sample->expected & 0xff;

		for (size_t n = 1; n < sample->n; n++) {
			uint32_t found = classify(sample->bytes, n, n, 0) & 0xff;

			if (found && whole && found != whole)
				test_fail("%s, its first %zu bytes: %#x", sample->name, n, found);
		}
	}
	(void)state;
}

static void random_bytes_are_unknown(void **state)
{
	uint64_t random = 0x9e3779b97f4a7c15;
	uint8_t bytes[64];

	for (int round = 0; round < 1000003; round++) {
		for (size_t i = 0; i < sizeof(bytes); i += 8) {
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			memcpy(bytes + i, &random, 8);
		}
		if (classify(bytes, sizeof(bytes), sizeof(bytes), 0) ||
		    classify(bytes, sizeof(bytes), sizeof(bytes), 1))
			test_fail("round %d has a protocol", round);
	}
	(void)state;
}

/* ---- records of TLS ---- */

#define HELLO	    "\x16\3\1\0\x7a"
#define KEYS	    "\x16\3\3\0\x25"
#define CHANGE	    "\x14\3\3\0\1"
#define FINISHED_12 "\x16\3\3\0\x28"
#define FINISHED_13 "\x17\3\3\0\x35"
#define DATA	    "\x17\3\3\0\x64"
#define ALERT_13    "\x17\3\3\0\x13"
#define ALERT_12    "\x15\3\3\0\x1a"

/* Writes records with their contents; `headers` has 5 bytes each. */
static size_t make_records(const char *headers, size_t n, char *out)
{
	size_t size = 0;

	for (size_t i = 0; i < n; i += 5) {
		size_t length = (size_t)(uint8_t)headers[i + 3] << 8 | (uint8_t)headers[i + 4];

		memcpy(out + size, headers + i, 5);
		memset(out + size + 5, 0x17, length); /* as if a header were inside */
		size += 5 + length;
	}
	return size;
}

struct tls_call {
	const char *headers;
	size_t n;
	int is_request;
};
#define CALL(text, request)                                                                        \
	{                                                                                          \
		BYTES(text), request                                                               \
	}

static const struct tls_call tls_12[] = {
	CALL(HELLO, 0),	   CALL(KEYS CHANGE FINISHED_12, 0), CALL(DATA, 1), CALL(DATA DATA, 1),
	CALL(ALERT_12, 0),
};
static const struct tls_call tls_12_resumed[] = {
	CALL(HELLO, 0),
	CALL(CHANGE FINISHED_12, 0),
	CALL(DATA, 1),
	CALL(ALERT_12, 0),
};
static const struct tls_call tls_13[] = {
	CALL(HELLO, 0), CALL(CHANGE FINISHED_13, 0), CALL(DATA, 1),
	CALL(DATA, 1),	CALL(ALERT_13, 0),
};
static const struct tls_call tls_13_plain[] = { CALL(HELLO, 0), CALL(FINISHED_13, 0),
						CALL(DATA, 1) };
static const struct tls_call tls_13_retried[] = {
	CALL(HELLO, 0),
	CALL(CHANGE HELLO, 0),
	CALL(FINISHED_13, 0),
	CALL(DATA, 1),
};
static const struct tls_call tls_13_at_once[] = { CALL(HELLO, 0),
						  CALL(CHANGE FINISHED_13 DATA, 1) };

/* Each call moves its records in reads of `cut` bytes; whether some read of it was of a request must be right. */
static void take_calls(const struct tls_call *calls, size_t n, size_t cut)
{
	struct tls_records tls = { 0 };
	static struct http1_view view;
	char bytes[2048];

	for (size_t i = 0; i < n; i++) {
		size_t size = make_records(calls[i].headers, calls[i].n, bytes), part;
		int found = 0;

		for (size_t at = 0; at < size; at += part) {
			part = cut && cut < size - at ? cut : size - at;
			http1_open(&view, part, (uintptr_t)bytes + at, part, 0, 0);
			found |= tls_take_call(&tls, &view);
		}
		assert_false(tls.is_lost);
		if (found != calls[i].is_request)
			test_fail("call %zu, cut to %zu bytes: %d", i, cut, found);
	}
}

static void tls_records_tell_requests(void **state)
{
#define TAKE(calls, cut) take_calls(calls, sizeof(calls) / sizeof((calls)[0]), cut)
	for (size_t cut = 0; cut < 300; cut++) {
		TAKE(tls_12, cut);
		TAKE(tls_12_resumed, cut);
		TAKE(tls_13, cut);
		TAKE(tls_13_plain, cut);
		TAKE(tls_13_retried, cut);
		TAKE(tls_13_at_once, cut);
	}
	(void)state;
}

static void tls_that_is_not_framed_counts_as_request(void **state)
{
	struct tls_records tls = { 0 };
	static struct http1_view view;

	http1_open(&view, 7, (uintptr_t) "GET / H", 7, 0, 0);
	assert_true(tls_take_call(&tls, &view));
	assert_true(tls.is_lost);
	tls = (struct tls_records){ 0 };
	http1_open(&view, 500, 0, 0, 0, 0); /* a length only */
	assert_true(tls_take_call(&tls, &view));
	assert_true(tls.is_lost);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_bytes_tell),
		cmocka_unit_test(midway_only_what_is_whole_tells),
		cmocka_unit_test(cut_beginnings_mislead_nobody),
		cmocka_unit_test(random_bytes_are_unknown),
		cmocka_unit_test(tls_records_tell_requests),
		cmocka_unit_test(tls_that_is_not_framed_counts_as_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
