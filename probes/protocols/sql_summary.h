/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a query does, without a literal of it: OpenTelemetry's db.operation.name and db.query.summary, for labels.
 * "INSERT INTO audit.log (what) SELECT name FROM users WHERE id = 7" is "INSERT audit.log SELECT users". Any thread.
 */
#ifndef LEADLINE_SQL_SUMMARY_H
#define LEADLINE_SQL_SUMMARY_H

#include "probes/protocols/protocol.h"
#include "probes/protocols/sql_tokens.h"

struct sql_summary {
	/* The first operation, upper case: "SELECT"; "_OTHER" for a word that is none; "" for an empty query. */
	char operation[PROTOCOL_NAME_SIZE];
	/* Operations and the tables they name, in the order of the text; names that do not fit are left out. */
	char text[PROTOCOL_TEXT_SIZE];
};

/* Where the values of a query are, in the order of the text. */
struct sql_values {
	unsigned n; /* may be more than `max`; the first are kept */
	unsigned max;
	struct sql_value {
		size_t at, size;
	} * values;
};

/* The first `size` bytes of a query, or all of it. A name that may go on after them is left out. */
void sql_summarize(struct sql_summary *summary, const char *text, size_t size, bool is_whole,
		   enum sql_dialect dialect);
/* The same, and where its values are. ret_values: n is 0; NULL: not wanted. */
void sql_summarize_values(struct sql_summary *summary, const char *text, size_t size, bool is_whole,
			  enum sql_dialect dialect, struct sql_values *ret_values);

#endif
