/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The protocols that the kernel side tells apart, besides HTTP/1. Shared with the user side. */
#ifndef LEADLINE_PROTOCOL_NUMBERS_H
#define LEADLINE_PROTOCOL_NUMBERS_H

enum prefix_protocol {
	PREFIX_UNKNOWN,
	PREFIX_HTTP2,
	PREFIX_POSTGRESQL,
	PREFIX_MYSQL,
	PREFIX_REDIS,
	PREFIX_DNS, /* over UDP, a message a call: found by its port, never by its first bytes */
	PREFIX_DNS_TCP,
	PREFIX_TLS, /* the last: told by its records, nothing of it is copied */
	PREFIX_PROTOCOLS,
};

#endif
