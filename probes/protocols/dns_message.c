// SPDX-License-Identifier: Apache-2.0
/* The beginning of a DNS message. Any thread. */
#include <errno.h>
#include "probes/protocols/dns_message.h"

#define FLAG_RESPONSE 0x8000
#define MAX_RECORDS   64 /* that are looked through for the one of EDNS */
#define MAX_NAME      255
#define TYPE_OPT      41
#define QUESTION_REST 4 /* type and class */
#define RECORD_REST   10 /* type, class, time to live, length */
#define POINTER	      0xc0

struct number_name {
	uint16_t number;
	const char *name;
};

static const struct number_name types[] = {
	{ 1, "A" },	 { 2, "NS" },	       { 5, "CNAME" },	  { 6, "SOA" },
	{ 12, "PTR" },	 { 13, "HINFO" },      { 15, "MX" },	  { 16, "TXT" },
	{ 17, "RP" },	 { 18, "AFSDB" },      { 24, "SIG" },	  { 25, "KEY" },
	{ 28, "AAAA" },	 { 29, "LOC" },	       { 33, "SRV" },	  { 35, "NAPTR" },
	{ 36, "KX" },	 { 37, "CERT" },       { 39, "DNAME" },	  { 41, "OPT" },
	{ 42, "APL" },	 { 43, "DS" },	       { 44, "SSHFP" },	  { 45, "IPSECKEY" },
	{ 46, "RRSIG" }, { 47, "NSEC" },       { 48, "DNSKEY" },  { 49, "DHCID" },
	{ 50, "NSEC3" }, { 51, "NSEC3PARAM" }, { 52, "TLSA" },	  { 53, "SMIMEA" },
	{ 55, "HIP" },	 { 59, "CDS" },	       { 60, "CDNSKEY" }, { 61, "OPENPGPKEY" },
	{ 62, "CSYNC" }, { 63, "ZONEMD" },     { 64, "SVCB" },	  { 65, "HTTPS" },
	{ 99, "SPF" },	 { 108, "EUI48" },     { 109, "EUI64" },  { 249, "TKEY" },
	{ 250, "TSIG" }, { 251, "IXFR" },      { 252, "AXFR" },	  { 255, "ANY" },
	{ 256, "URI" },	 { 257, "CAA" },
};

static const struct number_name codes[] = {
	{ 0, "" },	   { 1, "FORMERR" }, { 2, "SERVFAIL" },	 { 3, "NXDOMAIN" },
	{ 4, "NOTIMP" },   { 5, "REFUSED" }, { 6, "YXDOMAIN" },	 { 7, "YXRRSET" },
	{ 8, "NXRRSET" },  { 9, "NOTAUTH" }, { 10, "NOTZONE" },	 { 11, "DSOTYPENI" },
	{ 16, "BADVERS" }, { 17, "BADKEY" }, { 18, "BADTIME" },	 { 19, "BADMODE" },
	{ 20, "BADNAME" }, { 21, "BADALG" }, { 22, "BADTRUNC" }, { 23, "BADCOOKIE" },
};

/* By the number in the header; queries go by the type of their question. */
static const char *const kinds[16] = {
	[1] = "IQUERY", [2] = "STATUS", [4] = "NOTIFY", [5] = "UPDATE", [6] = "DSO",
};

static const char *name_of(const struct number_name *names, size_t n, unsigned number)
{
	for (size_t i = 0; i < n; i++)
		if (names[i].number == number)
			return names[i].name;
	return "_OTHER";
}

const char *dns_code_name(unsigned code)
{
	return name_of(codes, sizeof(codes) / sizeof(codes[0]), code);
}

static unsigned number(const uint8_t *bytes)
{
	return bytes[0] << 8 | bytes[1];
}

/* Where a name ends, at most at `size`; 0: it is none, or goes on beyond. A pointer ends it. */
static size_t name_end(const uint8_t *bytes, size_t size, size_t at)
{
	size_t begin = at;

	while (at < size && at - begin <= MAX_NAME) {
		uint8_t length = bytes[at];

		if (!length)
			return at + 1;
		if ((length & POINTER) == POINTER)
			return at + 2 <= size ? at + 2 : 0;
		if (length & POINTER)
			return 0;
		at += 1 + length;
	}
	return 0;
}

/* FNV-1a, of 64 bits. */
static uint64_t hash_question(const uint8_t *bytes, size_t size)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < size; i++) {
		uint8_t c = bytes[i] >= 'A' && bytes[i] <= 'Z' ? bytes[i] + 0x20 : bytes[i];

		hash = (hash ^ c) * UINT64_C(0x100000001b3);
	}
	return hash;
}

/* Where the next record begins, or 0. */
static size_t record_end(const uint8_t *bytes, size_t size, size_t at)
{
	size_t end = name_end(bytes, size, at);

	if (!end || end + RECORD_REST > size)
		return 0;
	end += RECORD_REST + number(bytes + end + 8);
	return end <= size ? end : 0;
}

/* The upper part of a response's code, in the record of EDNS: RFC 6891, section 6.1.3. */
static unsigned extended_code(const uint8_t *bytes, size_t size, size_t at)
{
	unsigned n_before = number(bytes + 6) + number(bytes + 8), n = number(bytes + 10);

	for (unsigned i = 0; i < n_before + n && i < MAX_RECORDS; i++) {
		size_t end = record_end(bytes, size, at), name = name_end(bytes, size, at);

		if (!end)
			break;
		if (i >= n_before && number(bytes + name) == TYPE_OPT)
			return bytes[name + 4];
		at = end;
	}
	return 0;
}

int dns_message_read(const uint8_t *bytes, size_t size, struct dns_message *ret_message)
{
	unsigned flags, kind, n_questions;
	struct dns_message message = { .operation = "_OTHER" };
	size_t at = DNS_HEADER;

	if (size < DNS_HEADER)
		return -EBADMSG;
	message.id = number(bytes);
	flags = number(bytes + 2);
	kind = flags >> 11 & 0xf;
	n_questions = number(bytes + 4);
	message.is_response = flags & FLAG_RESPONSE;
	if (kind && !kinds[kind])
		return -EBADMSG;
	for (unsigned i = 0; i < n_questions && i < MAX_RECORDS; i++) {
		size_t end = name_end(bytes, size, at);

		if (!end || end + QUESTION_REST > size) {
			if (!i)
				return -EBADMSG;
			at = size;
			break;
		}
		if (!i) {
			message.has_question = true;
			message.question = hash_question(bytes + at, end + QUESTION_REST - at);
			message.operation = name_of(types, sizeof(types) / sizeof(types[0]),
						    number(bytes + end));
		}
		at = end + QUESTION_REST;
	}
	if (kind)
		message.operation = kinds[kind];
	message.code = flags & 0xf;
	if (message.is_response)
		message.code |= extended_code(bytes, size, at) << 4;
	*ret_message = message;
	return 0;
}
