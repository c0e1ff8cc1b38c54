/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the running kernel offers: the capability table behind hook selection and doctor. Probed once, by
 * trying where only trying tells, and asked through functions, so that tests state a kernel literally.
 */
#ifndef LEADLINE_CAPS_H
#define LEADLINE_CAPS_H

#include <stdbool.h>
#include <stddef.h>
#include "probes/probe.h"

struct caps;

/*
 * Facts about a kernel, for hook_select(). Functions rather than tables: there are 80,000 kernel functions.
 */
struct kernel_offers {
	const void *context;
	/* Arguments of the BTF prototype of a tracepoint, the leading void * not counted; -1: no such tracepoint. */
	int (*tracepoint_args)(const void *context, const char *name);
	/* Is there a function of that name (in BTF, thus traceable by fentry)? */
	bool (*has_function)(const void *context, const char *name);
	/* Calls back with each name and value of an enum, of all when `name` is NULL; -ENOENT: there is none of that name. */
	int (*each_enum_value)(const void *context, const char *name,
			       kernel_enum_callback *callback, void *callback_context);
	/* Can such programs be attached at all? Indexed by enum hook_kind. */
	bool kind_works[HOOK_KINDS];
	const char *kind_why_not[HOOK_KINDS]; /* for people, where it does not; with the remedy */
	bool hides_modules; /* the types of its modules may not be listed: that needs CAP_SYS_ADMIN */
	/* hooks.avoid: kinds, targets and programs not to use, between commas and blanks; NULL: none */
	const char *avoid;
};

struct hook_choice {
	const struct hook_alternative *alternative; /* NULL: none fits, or … */
	bool not_needed; /* … this kernel does without; why_not is empty */
	char why_not
		[200]; /* then: why the preferred alternative does not, and what would mend it */
};

/*
 * Picks the first alternative of a hook that the kernel offers. Pure. Descriptors list alternatives in the
 * order of preference: tp_btf by prototype, fentry, kprobe.
 */
struct hook_choice hook_select(const struct hook *hook, const struct kernel_offers *offers);

const char *hook_kind_name(enum hook_kind kind);

/* Whether a word of a list like `avoid` (agent/words.h) means this alternative. */
bool hook_word_names(const char *word, size_t length, const struct hook_alternative *alternative);

/* ---- the running kernel ---- */

/*
 * Probes the kernel; `avoid` (see struct kernel_offers) is borrowed. 0 or -errno; -EPERM and -ENOENT (no BTF) are
 * explained in `error`.
 */
int caps_new(const char *avoid, struct caps **ret_caps, char *error, size_t error_size);
void caps_free(struct caps *caps); /* NULL is fine */
const struct kernel_offers *caps_offers(const struct caps *caps);

/* A privilege or feature, for doctor. */
struct caps_fact {
	const char *name; /* NULL ends the list */
	bool ok;
	char detail[160]; /* what was found */
	const char *remedy; /* what to do when not ok; NULL when nothing can be done */
	bool needed; /* without it the agent cannot run at all */
};

/*
 * Kernel, BTF, privileges, libraries. Works without privileges, too: says what is missing. Static storage, valid
 * until the next call.
 */
const struct caps_fact *caps_facts(void);

#endif
