/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Summaries of the statements that came before, as clients say the same ones again with other values. What it says is what
 * sql_summarize() says, in a fraction of the time. Loop thread only.
 */
#ifndef LEADLINE_SQL_MEMO_H
#define LEADLINE_SQL_MEMO_H

#include <stdint.h>
#include "probes/protocols/sql_summary.h"

struct sql_memo;

struct sql_memo *sql_memo_new(void); /* NULL: no memory */
void sql_memo_free(struct sql_memo *memo); /* NULL is fine */
uint64_t sql_memo_size(void); /* bytes one takes */

/* memo: NULL is fine, then nothing is remembered. Returns whether this is of one that came before. */
bool sql_memo_summarize(struct sql_memo *memo, struct sql_summary *summary, const char *text,
			size_t size, bool is_whole, enum sql_dialect dialect);

#endif
