/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The beginning of a DNS message: what is asked and what came of it. RFC 1035, section 4; response codes and types by the
 * names in IANA's "Domain Name System (DNS) Parameters". Any bytes are fine; names are never followed through
 * compression pointers. Any thread.
 */
#ifndef LEADLINE_DNS_MESSAGE_H
#define LEADLINE_DNS_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DNS_HEADER 12

struct dns_message {
	uint16_t id;
	bool is_response;
	bool has_question;
	uint64_t question; /* a hash of the first one, in either case of letters */
	const char *
		operation; /* type of the first question, "_OTHER"; for other messages than queries their kind */
	unsigned code; /* of a response, the part in EDNS included if it has been copied */
};

/* The first `size` bytes of a message. -EBADMSG: it is none. */
int dns_message_read(const uint8_t *bytes, size_t size, struct dns_message *ret_message);
/* "NXDOMAIN"; "" for what is no error; "_OTHER". */
const char *dns_code_name(unsigned code);

#endif
