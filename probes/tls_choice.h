/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose plain text is told, where it cannot be everybody's: of the programs that may be at all, those that make few calls rather than
 * those that make many, so that a budget tells as many programs as it can. Pure.
 */
#ifndef LEADLINE_TLS_CHOICE_H
#define LEADLINE_TLS_CHOICE_H

#include <stdbool.h>
#include <stddef.h>

#define TLS_CHOICE_NAME	    16 /* of a program, with its NUL: what the kernel keeps */
#define TLS_CHOICE_LEFT_OUT 64 /* beyond, all are left out */

struct tls_caller {
	char name[TLS_CHOICE_NAME];
	double calls; /* a second */
};

struct tls_choice {
	const char *patterns; /* as of tls_choice_begin() */
	size_t n_left_out;
	char left_out[TLS_CHOICE_LEFT_OUT][TLS_CHOICE_NAME];
};

/* `patterns`: names of programs as of a shell, separated by commas; empty: all. It must outlive the choice. */
void tls_choice_begin(struct tls_choice *choice, const char *patterns);
/* Whether the patterns let a program in. */
bool tls_choice_allows(const struct tls_choice *choice, const char *name);
/* Whether its calls are too many beside others'. */
bool tls_choice_leaves_out(const struct tls_choice *choice, const char *name);
/*
 * Leaves out those that make the most calls until the others make no more than `allowed` a second. Several of one name are one. The callers
 * are joined and put into another order. Returns which share of all calls is left: 1 when nobody had to go, and for no calls at all.
 */
double tls_choice_fit(struct tls_choice *choice, struct tls_caller callers[], size_t n,
		      double allowed);

#endif
