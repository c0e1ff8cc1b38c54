/* SPDX-License-Identifier: Apache-2.0 */
/* How many calls of TLS libraries which program makes, from what the hooks count by entity. Loop thread only. */
#ifndef LEADLINE_TLS_CALLERS_H
#define LEADLINE_TLS_CALLERS_H

#include "probes/probe.h"
#include "probes/tls_choice.h"

struct tls_callers {
	const uint64_t *calls; /* of each entity, counted by the hooks; NULL: not loaded */
	uint64_t *calls_before; /* as of the last reading */
	uint64_t read_ns;
	struct tls_caller *callers; /* n of them: those that made any, as of the last reading */
	size_t n;
};

#define TLS_CALLERS_MAP "tls_callers"

/* In configure. 0 or -errno. */
int tls_callers_configure(struct tls_callers *callers, struct probe *probe);
/* After load: from now on. 0 or -errno. */
int tls_callers_begin(struct tls_callers *callers, struct probe *probe, uint64_t now_ns);
/* Rates since the last reading; one that is younger than half a second stays, as what comes in less time is chance. */
void tls_callers_read(struct tls_callers *callers, struct probe *probe, uint64_t now_ns);
void tls_callers_forget(struct tls_callers *callers, uint32_t entity);
size_t tls_callers_bytes(struct probe *probe);
void tls_callers_free(struct tls_callers *callers);

#endif
