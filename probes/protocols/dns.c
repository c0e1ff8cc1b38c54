// SPDX-License-Identifier: Apache-2.0
/*
 * DNS over UDP, where a piece is a datagram, and over TCP, where each message follows its length in two bytes. A call is a query,
 * known by its number and its question: one that is sent again is the same call, and a socket that serves many
 * clients has many that are alike in number. A query that was not answered within TIMEOUT_NS ends as an error, "timeout", once
 * anything is heard on the same socket. A transfer of a zone ends with the first message of it. A name that does not exist is an
 * answer, not an error; nor is an answer that was truncated.
 *
 * A connection owns its streams. Loop thread only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "probes/protocols/dns_message.h"
#include "probes/protocols/stream.h"

#define TIMEOUT_NS   UINT64_C(30000000000)
#define LENGTH	     2 /* before a message, over TCP */
#define LOOKED_AT    1500 /* of a message */
#define N_RECENT     16 /* queries that an answer without question may be to */
#define CODE_NO_NAME 3

struct dns {
	uint64_t recent[N_RECENT]; /* keys, a ring */
	unsigned recent_at;
};

struct dns_tcp {
	struct dns dns;
	struct dns_side {
		struct protocol_stream stream;
		bool is_found; /* the position in it is known */
		bool in_message; /* its last byte was skipped, but need not have come */
		struct dns_message message;
		uint64_t ns, bytes; /* of the message */
	} sides[2]; /* the client's second */
};

/* ---- messages ---- */

/* The number in the upper part, so that an answer without question is found by it. */
static uint64_t key_of(const struct dns_message *message)
{
	return (uint64_t)message->id << 48 | message->question >> 16;
}

static void expire(struct protocol_calls *calls, uint64_t ns)
{
	uint64_t key, start_ns;

	while (!protocol_oldest(calls, &key, &start_ns) && ns > start_ns &&
	       ns - start_ns > TIMEOUT_NS)
		protocol_end(calls, key, start_ns + TIMEOUT_NS, "timeout", true);
}

static void take_query(struct dns *dns, const struct dns_message *message, uint64_t ns,
		       uint64_t bytes, struct protocol_calls *calls)
{
	uint64_t key = key_of(message);

	if (!protocol_is_in_flight(calls, key)) {
		dns->recent[dns->recent_at++ % N_RECENT] = key;
		protocol_begin(calls, key, ns);
		protocol_name(calls, key, message->operation, NULL);
	}
	protocol_count(calls, key, bytes, 0);
}

/* Servers that do not understand a question need not repeat it. */
static uint64_t find_by_id(const struct dns *dns, uint16_t id, const struct protocol_calls *calls)
{
	for (unsigned i = 0; i < N_RECENT; i++)
		if (dns->recent[i] >> 48 == id && protocol_is_in_flight(calls, dns->recent[i]))
			return dns->recent[i];
	return (uint64_t)id << 48;
}

static void take_response(const struct dns *dns, const struct dns_message *message,
			  uint64_t first_ns, uint64_t ns, uint64_t bytes,
			  struct protocol_calls *calls)
{
	uint64_t key =
		message->has_question ? key_of(message) : find_by_id(dns, message->id, calls);

	if (!protocol_is_in_flight(calls, key)) {
		protocol_unparsed(calls, PROTOCOL_MIDWAY, bytes); /* late, or not asked for */
		return;
	}
	protocol_respond(calls, key, first_ns);
	protocol_count(calls, key, 0, bytes);
	protocol_end(calls, key, ns, dns_code_name(message->code),
		     message->code && message->code != CODE_NO_NAME);
}

/* ---- UDP ---- */

static void *dns_open(bool midway)
{
	return calloc(1, sizeof(struct dns));
}

/* The messages say themselves which way they go. */
static void dns_feed(void *connection, const struct protocol_piece *piece,
		     struct protocol_calls *calls)
{
	struct dns *dns = connection;
	struct dns_message message;

	expire(calls, piece->ns);
	if (!piece->head_size && piece->size) {
		protocol_unparsed(calls, PROTOCOL_TRUNCATED, piece->size);
		return;
	}
	if (dns_message_read(piece->head, piece->head_size, &message)) {
		protocol_unparsed(calls,
				  piece->head_size < piece->size ? PROTOCOL_TRUNCATED
								 : PROTOCOL_MALFORMED,
				  piece->size);
		return;
	}
	if (message.is_response)
		take_response(dns, &message, piece->ns, piece->ns, piece->size, calls);
	else
		take_query(dns, &message, piece->ns, piece->size, calls);
}

/* An answer that was lost is not one that never came. */
static void dns_gap(void *connection, bool from_client, struct protocol_calls *calls)
{
	if (!from_client)
		protocol_abandon(calls);
}

const struct protocol protocol_dns = {
	.name = "dns",
	.family = PROTOCOL_NAMES,
	.open = dns_open,
	.close = free,
	.feed = dns_feed,
	.gap = dns_gap,
};

/* ---- TCP ---- */

static size_t length_of(const uint8_t *bytes)
{
	return bytes[0] << 8 | bytes[1];
}

static void take_message(struct dns_tcp *tcp, const struct dns_side *side,
			 struct protocol_calls *calls)
{
	if (side->message.is_response)
		take_response(&tcp->dns, &side->message, side->ns, side->stream.piece->ns,
			      side->bytes, calls);
	else
		take_query(&tcp->dns, &side->message, side->ns, side->bytes, calls);
}

static int read_message(struct dns_side *side)
{
	const uint8_t *bytes;
	size_t length, wanted, size;
	int err = protocol_stream_peek(&side->stream, LENGTH, &bytes);

	if (err)
		return err;
	length = length_of(bytes);
	wanted = LENGTH + (length < LOOKED_AT ? length : LOOKED_AT);
	err = protocol_stream_peek_some(&side->stream, wanted, &bytes, &size);
	if (err)
		return err;
	err = dns_message_read(bytes + LENGTH, size - LENGTH, &side->message);
	if (err)
		return size < wanted ? -ENODATA : err;
	side->ns = protocol_stream_ns(&side->stream);
	side->bytes = LENGTH + length;
	side->in_message = true;
	protocol_stream_skip(&side->stream, side->bytes);
	return 0;
}

static int read_messages(struct dns_tcp *tcp, struct dns_side *side, struct protocol_calls *calls)
{
	int err = 0;

	while (!err) {
		if (!protocol_stream_has_skipped(&side->stream))
			return -EAGAIN;
		if (side->in_message) {
			side->in_message = false;
			take_message(tcp, side, calls);
		} else {
			err = read_message(side);
		}
	}
	return err;
}

/* The piece is one message, or begins with one that can be read. */
static bool begins_message(const struct protocol_piece *piece)
{
	struct dns_message message;
	size_t length;

	if (piece->head_size < LENGTH + DNS_HEADER)
		return false;
	length = length_of(piece->head);
	if (length + LENGTH > piece->head_size && length + LENGTH != piece->size)
		return false;
	return !dns_message_read(piece->head + LENGTH,
				 length < piece->head_size - LENGTH ? length
								    : piece->head_size - LENGTH,
				 &message) &&
	       message.has_question;
}

static void lose(struct dns_side *side, bool from_client, struct protocol_calls *calls)
{
	side->is_found = false;
	side->in_message = false;
	if (!from_client)
		protocol_abandon(calls);
}

static void dns_tcp_feed(void *connection, const struct protocol_piece *piece,
			 struct protocol_calls *calls)
{
	struct dns_tcp *tcp = connection;
	struct dns_side *side = &tcp->sides[piece->from_client];
	int err;

	expire(calls, piece->ns);
	if (!side->is_found)
		side->is_found = begins_message(piece);
	if (!side->is_found) {
		protocol_unparsed(calls, PROTOCOL_MIDWAY, piece->size);
		return;
	}
	protocol_stream_open(&side->stream, piece);
	err = read_messages(tcp, side, calls);
	if (err != -EAGAIN) {
		protocol_unparsed(calls, err == -ENODATA ? PROTOCOL_TRUNCATED : PROTOCOL_MALFORMED,
				  protocol_stream_give_up(&side->stream));
		lose(side, piece->from_client, calls);
	}
	if (protocol_stream_close(&side->stream))
		lose(side, piece->from_client, calls);
}

static void dns_tcp_gap(void *connection, bool from_client, struct protocol_calls *calls)
{
	struct dns_tcp *tcp = connection;

	protocol_stream_reset(&tcp->sides[from_client].stream);
	lose(&tcp->sides[from_client], from_client, calls);
}

static void *dns_tcp_open(bool midway)
{
	struct dns_tcp *tcp = calloc(1, sizeof(*tcp));

	if (!tcp)
		return NULL;
	tcp->sides[0].is_found = !midway;
	tcp->sides[1].is_found = !midway;
	return tcp;
}

static void dns_tcp_close(void *connection)
{
	struct dns_tcp *tcp = connection;

	if (!tcp)
		return;
	protocol_stream_reset(&tcp->sides[0].stream);
	protocol_stream_reset(&tcp->sides[1].stream);
	free(tcp);
}

const struct protocol protocol_dns_tcp = {
	.name = "dns",
	.family = PROTOCOL_NAMES,
	.open = dns_tcp_open,
	.close = dns_tcp_close,
	.feed = dns_tcp_feed,
	.gap = dns_tcp_gap,
};
