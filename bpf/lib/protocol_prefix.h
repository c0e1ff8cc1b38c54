/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which protocol a connection speaks that is not HTTP/1, told by the beginning of what one call moved, and by which of its ends
 * said it. Pure C on the window of http1_view.h, from its first byte on: the kernel side and the unit tests compile it.
 *
 * At the beginning of a connection few bytes decide, since each of these protocols begins with something that the others do not. Midway
 * any bytes may come, and who serves is not known either: only what is a whole message, or a run of them, by its own
 * lengths decides there, and only if one side alone can have sent it.
 */
#ifndef LEADLINE_PROTOCOL_PREFIX_H
#define LEADLINE_PROTOCOL_PREFIX_H

#include "http1_view.h"
#include "protocol_numbers.h"

/* What prefix_classify() adds to the protocol. */
#define PREFIX_FROM_SERVER 0x100 /* else from the client */
#define PREFIX_WANTS_MORE  0x200 /* too short to tell, as yet; the protocol is PREFIX_UNKNOWN */

/*
 * In the kernel each rule is verified, and called, on its own: else the verifier would follow what each has found through all
 * that come after.
 */
#ifdef __bpf__
#define PREFIX_GUARD(view, result)                                                                 \
	if (!(view))                                                                               \
	return (result)
#else
#define PREFIX_GUARD(view, result) (void)(view)
#endif

http1_inline __u32 prefix_big16(__u64 word, __u32 shift)
{
	__u32 value = (word >> shift) & 0xffff;

	return (value & 0xff) << 8 | value >> 8;
}

http1_inline __u32 prefix_big32(__u64 word, __u32 shift)
{
	return prefix_big16(word, shift) << 16 | prefix_big16(word, shift + 16);
}

http1_inline int prefix_is_digit(__u8 byte)
{
	return byte >= '0' && byte <= '9';
}

http1_inline int prefix_is_letter(__u8 byte)
{
	byte |= 0x20;
	return byte >= 'a' && byte <= 'z';
}

/* "*3\r\n$": an array of strings, as clients send commands; or the one command that tests send as a line. */
http1_outline __u32 prefix_redis(struct http1_view *view, __u64 word, __u32 n)
{
	PREFIX_GUARD(view, PREFIX_UNKNOWN);
	__u32 at;

	if ((word & 0xffffffffffffULL) == HTTP1_WORD('P', 'I', 'N', 'G', '\r', '\n', 0, 0))
		return PREFIX_REDIS;
	if ((__u8)word != '*')
		return PREFIX_UNKNOWN;
	for (at = 1; at < 8; at++)
		if (!prefix_is_digit(http1_byte(view, at)))
			break;
	view->cursor = at;
	http1_forget();
	at = view->cursor;
	if (at == 8 || (at == 1 && n > 1))
		return PREFIX_UNKNOWN;
	if (at + 2 >= n)
		return PREFIX_WANTS_MORE;
	if (http1_byte(view, at) != '\r' || http1_byte(view, at + 1) != '\n' ||
	    http1_byte(view, at + 2) != '$')
		return PREFIX_UNKNOWN;
	return PREFIX_REDIS;
}

/* A query over TCP (RFC 1035, 4.2.2), or midway also a response: length, id, flags, one question. */
http1_outline __u32 prefix_dns_tcp(__u64 word, __u64 rest, __u32 n, __u64 total)
{
	const __u8 flags = word >> 32, more_flags = word >> 40;

	if (n == 2 && prefix_big16(word, 0) >= 17 && prefix_big16(word, 0) <= 4096)
		return PREFIX_WANTS_MORE; /* many write, or read, the length on its own */
	if (n < 14 || prefix_big16(word, 0) + 2 != total || (flags & 0x78) || (more_flags & 0x40) ||
	    prefix_big16(word, 48) != 1)
		return PREFIX_UNKNOWN;
	if (flags & 0x80)
		return PREFIX_DNS_TCP | PREFIX_FROM_SERVER;
	/* neither answers nor authorities, and at most an OPT and a signature */
	if ((more_flags & 0x0f) || (__u32)rest || prefix_big16(rest, 32) > 2)
		return PREFIX_UNKNOWN;
	return PREFIX_DNS_TCP;
}

/* A record of a handshake that begins with ClientHello (RFC 8446, 5.1); many read its 5 bytes of header first. */
http1_inline int prefix_is_tls(__u64 word, __u32 n)
{
	__u32 length = prefix_big16(word, 24);

	return n >= 5 && (word & 0xffff) == 0x0316 && (__u8)(word >> 16) <= 4 && length >= 4 &&
	       length <= 16384 + 2048 && (n == 5 || (__u8)(word >> 40) == 1);
}

/* A server of HTTP/2 need not wait with its SETTINGS: on stream 0, six bytes each, no acknowledgment (RFC 9113, 6.5). */
http1_inline int prefix_is_settings(__u64 word, __u64 rest, __u32 n)
{
	__u32 length = prefix_big16(word, 8);

	return n >= 9 && !(word & 0xff) && word >> 24 == 4 && !(rest & 0xff) && length <= 96 * 6 &&
	       length % 6 == 0;
}

http1_inline __u32 prefix_at_start(struct http1_view *view, __u64 word, __u64 rest, __u32 n,
				   __u64 total)
{
	__u32 found;

	if (n >= 16 && word == HTTP1_WORD('P', 'R', 'I', ' ', '*', ' ', 'H', 'T') &&
	    rest == HTTP1_WORD('T', 'P', '/', '2', '.', '0', '\r', '\n'))
		return PREFIX_HTTP2;
	if (prefix_is_settings(word, rest, n))
		return PREFIX_HTTP2 | PREFIX_FROM_SERVER;
	if (prefix_is_tls(word, n))
		return PREFIX_TLS;
	if (n >= 8 && prefix_big32(word, 0) == total) {
		__u32 code = prefix_big32(word, 32);

		/* version 3.x of the protocol; requests for TLS, for GSSAPI encryption, to cancel */
		if (code >> 16 == 3 || (code >= 80877102 && code <= 80877104))
			return PREFIX_POSTGRESQL;
	}
	/* The greeting's version of the protocol, 10, then the server's, which begins with a digit. */
	if ((word & 0xffff0000) == 0) {
		if (n == 4 && (word & 0xffff) >= 16)
			return PREFIX_WANTS_MORE;
		if (n >= 6 && (word & 0xffffff) + 4 == total && (__u8)(word >> 32) == 10 &&
		    prefix_is_digit(word >> 40))
			return PREFIX_MYSQL | PREFIX_FROM_SERVER;
	}
	if (n == 1)
		return PREFIX_WANTS_MORE;
	found = prefix_redis(view, word, n);
	return found ? found : prefix_dns_tcp(word, rest, n, total);
}

/* "$3\r\nabc\r\n", ":42\r\n": a whole reply. Arrays may be a command as well. */
http1_outline int prefix_is_redis_reply(struct http1_view *view, __u64 word, __u64 total)
{
	PREFIX_GUARD(view, 0);
	__u32 value = 0, at;

	for (at = 1; at < 8; at++) {
		__u8 byte = http1_byte(view, at);

		if (!prefix_is_digit(byte))
			break;
		value = value * 10 + (byte - '0');
	}
	view->cursor = at;
	view->value = value;
	http1_forget();
	at = view->cursor;
	value = view->value;
	if (at == 1 || http1_byte(view, at) != '\r' || http1_byte(view, at + 1) != '\n')
		return 0;
	if ((__u8)word == ':')
		return total == at + 2;
	return (__u8)word == '$' && total == (__u64)at + 2 + value + 2;
}

/* The type of the first message and its length, and what the last one must be to end a run of messages. */
http1_outline __u32 prefix_postgresql_midway(struct http1_view *view, __u64 word, __u32 n,
					     __u64 total)
{
	PREFIX_GUARD(view, PREFIX_UNKNOWN);
	__u32 end = n, length = prefix_big32(word, 8);
	__u8 type = word;

	if (n != total || n < 6 || length < 4 || length > n - 1)
		return PREFIX_UNKNOWN;
	if (type == 'Q' && length == total - 1 && prefix_is_letter(word >> 40) &&
	    http1_byte(view, end - 1) == 0)
		return PREFIX_POSTGRESQL;
	/* Sync, which is all of its message, after Parse, Bind, Execute, Describe or Close */
	if ((type == 'P' || type == 'B' || type == 'E' || type == 'D' || type == 'C') &&
	    total >= 10 && http1_byte(view, end - 5) == 'S' &&
	    (http1_word(view, end - 4) & 0xffffffff) == 0x04000000)
		return PREFIX_POSTGRESQL;
	/* ReadyForQuery, after whatever a server may say first */
	if ((type == 'T' || type == 'C' || type == '1' || type == '2' || type == 'D' ||
	     type == 'E') &&
	    total >= 11 && http1_byte(view, end - 6) == 'Z' &&
	    (http1_word(view, end - 5) & 0xffffffff) == 0x05000000 &&
	    prefix_is_letter(http1_byte(view, end - 1)))
		return PREFIX_POSTGRESQL | PREFIX_FROM_SERVER;
	return PREFIX_UNKNOWN;
}

/* COM_QUERY and COM_STMT_PREPARE with a text, COM_STMT_EXECUTE, whose count of iterations is always 1. */
http1_outline int prefix_is_mysql_command(struct http1_view *view, __u64 word, __u64 total)
{
	PREFIX_GUARD(view, 0);
	__u8 command = word >> 32;

	if ((word & 0xffffff) + 4 != total || (__u8)(word >> 24) != 0)
		return 0;
	if (command == 0x03 || command == 0x16)
		return total > 8 && prefix_is_letter(word >> 40) && prefix_is_letter(word >> 48);
	return command == 0x17 && total >= 14 && (__u32)http1_word(view, 10) == 1;
}

/*
 * HEADERS that begin with :method or :status, or a static field of theirs (RFC 7541, appendix A): pseudo-header fields
 * come first.
 */
http1_outline __u32 prefix_http2_midway(struct http1_view *view, __u64 word, __u64 total)
{
	PREFIX_GUARD(view, PREFIX_UNKNOWN);
	__u32 length = prefix_big16(word, 0) << 8 | ((word >> 16) & 0xff);
	__u8 flags = word >> 32, first;

	if ((__u8)(word >> 24) != 1 || (flags & ~0x25) || !(flags & 4) || length < 1 ||
	    length > 16384 || (__u64)length + 9 > total || (__u8)(word >> 40) >= 0x80 ||
	    !(http1_byte(view, 8) & 1))
		return PREFIX_UNKNOWN;
	first = http1_byte(view, flags & 0x20 ? 14 : 9);
	if (first == 0x82 || first == 0x83)
		return PREFIX_HTTP2;
	if ((first >= 0x88 && first <= 0x8e) || first == 0x48)
		return PREFIX_HTTP2 | PREFIX_FROM_SERVER;
	return PREFIX_UNKNOWN;
}

http1_inline __u32 prefix_midway(struct http1_view *view, __u64 word, __u64 rest, __u32 n,
				 __u64 total)
{
	__u32 found;

	if (n < 4)
		return PREFIX_UNKNOWN;
	if (prefix_is_redis_reply(view, word, total))
		return PREFIX_REDIS | PREFIX_FROM_SERVER;
	if (prefix_is_mysql_command(view, word, total))
		return PREFIX_MYSQL;
	found = prefix_postgresql_midway(view, word, n, total);
	if (!found)
		found = prefix_http2_midway(view, word, total);
	return found ? found : prefix_dns_tcp(word, rest, n, total);
}

/*
 * The first n bytes of the window are the first of `total` that a call moved, after what calls before it left; midway: the
 * connection is older than that. Returns an enum prefix_protocol and what is defined with it.
 */
http1_inline __u32 prefix_classify(struct http1_view *view, __u32 n, __u64 total, int midway)
{
	__u64 word = http1_word(view, 0), rest = http1_word(view, 8);

	return midway ? prefix_midway(view, word, rest, n, total)
		      : prefix_at_start(view, word, rest, n, total);
}

#endif
