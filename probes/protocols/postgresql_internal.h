/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PostgreSQL connection, between postgresql.c (its pieces), postgresql_messages.c (what either side says), postgresql_waiting.c
 * (which response is whose) and postgresql_names.c (what a prepared statement does). Loop thread only.
 */
#ifndef LEADLINE_POSTGRESQL_INTERNAL_H
#define LEADLINE_POSTGRESQL_INTERNAL_H

#include "probes/protocols/sql_summary.h"
#include "probes/protocols/stream.h"

#define POSTGRESQL_HEADER      5 /* type, and a length that counts itself */
#define POSTGRESQL_READY_SIZE  6 /* of ReadyForQuery, with its header */
#define POSTGRESQL_MAX_MESSAGE (UINT32_C(1) << 30) /* PostgreSQL's own limit */
#define POSTGRESQL_TEXT	       1024 /* what is looked at of a query */
#define POSTGRESQL_MAX_NAMES   128 /* prepared statements and portals that are remembered */
#define POSTGRESQL_MAX_WAITING 8192 /* messages whose responses are outstanding; power of two */

/* ---- prepared statements and portals ---- */

struct postgresql_name {
	uint64_t hash;
	uint64_t used; /* when it last was, by the table's clock */
	struct sql_summary summary;
};

struct postgresql_names { /* all zero: empty */
	struct postgresql_name *names;
	unsigned n, capacity;
	uint64_t clock;
	struct sql_summary statement, portal; /* those without a name */
};

enum postgresql_kind { POSTGRESQL_STATEMENT, POSTGRESQL_PORTAL };

/* Remembers, at the cost of what was not used for the longest time. Without memory it forgets this one. */
void postgresql_names_set(struct postgresql_names *names, enum postgresql_kind kind,
			  const char *name, size_t size, const struct sql_summary *summary);
/* Valid until the next is set; an empty summary if it is not known. */
const struct sql_summary *postgresql_names_get(struct postgresql_names *names,
					       enum postgresql_kind kind, const char *name,
					       size_t size);
void postgresql_names_free(struct postgresql_names *names);

/* ---- the connection ---- */

/* What the client waits for, in order. */
enum postgresql_waiting {
	WAITING_PARSED, /* ParseComplete */
	WAITING_EXECUTED, /* the end of an Execute: a call */
	/* and these end with ReadyForQuery */
	WAITING_STARTED, /* the connection */
	WAITING_SYNCED,
	WAITING_QUERIED, /* a call */
	WAITING_FUNCTION, /* a call */
};

enum postgresql_phase {
	PHASE_STARTUP, /* the client's first message has no type */
	PHASE_ANSWER, /* to whether to encrypt: one byte */
	PHASE_MESSAGES,
	PHASE_OVER, /* nothing that can be read follows */
};

struct postgresql_message { /* that is being read */
	uint8_t type; /* 0: none */
	uint64_t ns, bytes;
};

struct postgresql {
	struct protocol_stream client, server;
	bool has_client, has_server; /* the positions in these are known */
	enum postgresql_phase phase;
	struct postgresql_message from_client, from_server;

	bool is_following; /* what is waiting is known */
	bool is_idle; /* the server's last word was ReadyForQuery, and nothing is waiting */
	uint8_t *waiting; /* a ring of enum postgresql_waiting */
	unsigned waiting_at, n_waiting, waiting_capacity;
	uint64_t sent,
		answered; /* keys of the next call to begin, and of the first that is waiting */

	/* The messages that prepare for the next Execute */
	bool in_chain;
	uint64_t chain_ns, chain_bytes;
	struct sql_summary parsed; /* the last Parse … */
	uint64_t parsed_ns; /* … and when it was sent */
	bool in_group; /* messages were sent since the last Sync */
	bool is_discarding; /* after an error the server ignores what comes before Sync */
	bool is_copying; /* the client sends rows; a Sync among these is ignored */

	bool is_encrypted;
	char status[8]; /* of the error in the response that is being read; "": none */
	bool is_fatal;
	struct postgresql_names names;
};

/* Read on in the piece that is open. 0, or why it is not possible: -EAGAIN, -ENODATA a hole, -EBADMSG not PostgreSQL. */
int postgresql_read_client(struct postgresql *postgresql, struct protocol_calls *calls);
int postgresql_read_server(struct postgresql *postgresql, struct protocol_calls *calls);

/* What these found. */
void postgresql_sent(struct postgresql *postgresql, struct protocol_calls *calls,
		     enum postgresql_waiting waiting, uint64_t ns, uint64_t bytes,
		     const struct sql_summary *summary);
void postgresql_received(struct postgresql *postgresql, struct protocol_calls *calls);
/* A piece ends in ReadyForQuery, and what the server said before was not copied to its end. */
void postgresql_found_ready(struct postgresql *postgresql, struct protocol_calls *calls,
			    const struct protocol_piece *piece);
void postgresql_unfollow(struct postgresql *postgresql, struct protocol_calls *calls);
/* More of the request that is being answered. */
void postgresql_sent_rows(struct postgresql *postgresql, struct protocol_calls *calls,
			  uint64_t bytes);

/* Whether a piece begins like a message of the client. */
bool postgresql_begins_message(const struct protocol_piece *piece);

#endif
