// SPDX-License-Identifier: Apache-2.0
/* Which alternative of a hook a kernel offers. Pure: the same offers give the same choice. */
#include <stdio.h>
#include <string.h>
#include "agent/caps.h"
#include "agent/words.h"

static const char *const kind_names[] = {
	[HOOK_NONE] = "none",
	[HOOK_TP_BTF] = "tp_btf",
	[HOOK_FENTRY] = "fentry",
	[HOOK_FEXIT] = "fexit",
	[HOOK_KPROBE] = "kprobe",
	[HOOK_KRETPROBE] = "kretprobe",
	[HOOK_TRACEPOINT] = "tracepoint",
	[HOOK_ITER] = "iter",
	[HOOK_ITER_MAP] = "iter_map",
	[HOOK_UPROBE_MULTI] = "uprobe_multi",
	[HOOK_UPROBE] = "uprobe",
};

const char *hook_kind_name(enum hook_kind kind)
{
	return kind < sizeof(kind_names) / sizeof(kind_names[0]) ? kind_names[kind] : "unknown";
}

static bool is_word(const char *word, size_t length, const char *name)
{
	return strlen(name) == length && !memcmp(word, name, length);
}

bool hook_word_names(const char *word, size_t length, const struct hook_alternative *alternative)
{
	return is_word(word, length, hook_kind_name(alternative->kind)) ||
	       is_word(word, length, alternative->target) ||
	       is_word(word, length, alternative->program);
}

static bool is_avoided(const struct hook_alternative *alternative, const char *list)
{
	const char *word;
	size_t length;

	while (words_next(&list, &word, &length))
		if (hook_word_names(word, length, alternative))
			return true;
	return false;
}

/* Why the kernel does not offer this alternative; an empty string when it does. */
static void explain(const struct hook_alternative *alternative, const struct kernel_offers *offers,
		    char *why, size_t size)
{
	const char *target = alternative->target;
	int args;

	why[0] = '\0';
	if (is_avoided(alternative, offers->avoid)) {
		snprintf(why, size, "%s %s is not to be used (hooks.avoid)",
			 hook_kind_name(alternative->kind), target);
		return;
	}
	if (!offers->kind_works[alternative->kind]) {
		snprintf(why, size, "%s %s: %s", hook_kind_name(alternative->kind), target,
			 offers->kind_why_not[alternative->kind]
				 ? offers->kind_why_not[alternative->kind]
				 : "not offered by this kernel");
		return;
	}
	switch (alternative->kind) {
	case HOOK_TP_BTF:
		args = offers->tracepoint_args(offers->context, target);
		if (args < 0)
			snprintf(why, size, "this kernel has no tracepoint %s", target);
		else if (args < (int)alternative->min_args)
			snprintf(why, size, "tracepoint %s has %d arguments here, %u are needed",
				 target, args, alternative->min_args);
		else if (alternative->max_args && args > (int)alternative->max_args)
			snprintf(why, size, "tracepoint %s has %d arguments here, %u are expected",
				 target, args, alternative->max_args);
		break;
	case HOOK_FENTRY:
	case HOOK_FEXIT:
	case HOOK_KPROBE:
	case HOOK_KRETPROBE:
		if (!offers->has_function(offers->context, target))
			snprintf(why, size, "this kernel has no function %s", target);
		break;
	default:
		break;
	}
}

static bool is_present(const struct hook_alternative *alternative,
		       const struct kernel_offers *offers)
{
	if (alternative->kind == HOOK_TP_BTF)
		return offers->tracepoint_args(offers->context, alternative->target) >= 0;
	return offers->has_function(offers->context, alternative->target);
}

/* For hooks on functions and tracepoints. */
static bool is_needed(const struct hook *hook, const struct kernel_offers *offers)
{
	char why[sizeof((struct hook_choice *)0)->why_not];

	if (hook->unless) {
		explain(hook->unless, offers, why, sizeof(why));
		if (!why[0])
			return false;
	}
	if (!hook->where_present)
		return true;
	for (int i = 0; i < HOOK_MAX_ALTERNATIVES && hook->alternatives[i].program; i++)
		if (is_present(&hook->alternatives[i], offers))
			return true;
	return false;
}

struct hook_choice hook_select(const struct hook *hook, const struct kernel_offers *offers)
{
	struct hook_choice choice = { .not_needed = !is_needed(hook, offers) };

	if (choice.not_needed)
		return choice;
	for (int i = 0; i < HOOK_MAX_ALTERNATIVES && hook->alternatives[i].program; i++) {
		char why[sizeof(choice.why_not)];

		explain(&hook->alternatives[i], offers, why, sizeof(why));
		if (!why[0]) {
			choice.alternative = &hook->alternatives[i];
			choice.why_not[0] = '\0';
			return choice;
		}
		if (!choice.why_not[0])
			snprintf(choice.why_not, sizeof(choice.why_not), "%s", why);
	}
	return choice;
}
