// SPDX-License-Identifier: Apache-2.0
/*
 * Which hooks each probe can use on the running kernel, and in how many rounds of its tests each of them gets its turn:
 *
 *	hook PROBE NAME|KIND|TARGET|PROGRAM|ROUND	an alternative, and the round that uses it; - for none
 *	round PROBE NUMBER AVOID			run its tests with hooks.avoid=AVOID (- for nothing)
 *	without PROBE REASON				it cannot run here, in no round
 *
 * A round avoids what every round before it used, as long as something else is left to use.
 */
#include <stdio.h>
#include <string.h>
#include "agent/caps.h"
#include "agent/probe_set.h"
#include "agent/zoom.h"

#define MAX_AVOIDED 4096
#define MAX_ROUNDS  HOOK_MAX_ALTERNATIVES
#define MAX_HOOKS   32

struct rounds {
	int n;
	const struct hook_alternative *used[MAX_ROUNDS][MAX_HOOKS];
	char avoid[MAX_ROUNDS][MAX_AVOIDED];
};

static const struct hook_alternative *choose(const struct hook *hook, struct kernel_offers offers,
					     const char *avoid)
{
	offers.avoid = avoid;
	return hook_select(hook, &offers).alternative;
}

/* Makes the next round out of the last one: false when no hook has something else to use. */
static bool add_round(struct rounds *rounds, const struct hook *hooks,
		      const struct kernel_offers *offers)
{
	char *avoid = rounds->avoid[rounds->n];
	bool is_new = rounds->n == 0;

	avoid[0] = '\0';
	if (rounds->n == MAX_ROUNDS)
		return false;
	if (rounds->n)
		memcpy(avoid, rounds->avoid[rounds->n - 1], MAX_AVOIDED);
	for (int i = 0; i < MAX_HOOKS && hooks[i].name; i++) {
		size_t length = strlen(avoid);

		if (rounds->n == 0 || !rounds->used[rounds->n - 1][i])
			continue;
		snprintf(avoid + length, MAX_AVOIDED - length, "%s%s", length ? "," : "",
			 rounds->used[rounds->n - 1][i]->program);
		if (choose(&hooks[i], *offers, avoid))
			is_new = true;
		else
			avoid[length] = '\0'; /* there is nothing else */
	}
	for (int i = 0; i < MAX_HOOKS && hooks[i].name; i++)
		rounds->used[rounds->n][i] = choose(&hooks[i], *offers, avoid);
	rounds->n += is_new;
	return is_new;
}

static void print(const struct rounds *rounds, const char *probe, const struct hook *hooks)
{
	for (int i = 0; i < MAX_HOOKS && hooks[i].name; i++)
		for (int k = 0; k < HOOK_MAX_ALTERNATIVES && hooks[i].alternatives[k].program;
		     k++) {
			const struct hook_alternative *alternative = &hooks[i].alternatives[k];
			int round = 0;

			while (round < rounds->n && rounds->used[round][i] != alternative)
				round++;
			printf("hook %s %s|%s|%s|%s|", probe, hooks[i].name,
			       hook_kind_name(alternative->kind), alternative->target,
			       alternative->program);
			printf(round < rounds->n ? "%d\n" : "-\n", round);
		}
	for (int i = 0; i < rounds->n; i++)
		printf("round %s %d %s\n", probe, i, rounds->avoid[i][0] ? rounds->avoid[i] : "-");
}

/* Says so when the kernel offers nothing for a hook the probe must have. */
static bool cannot_run(const char *probe, const struct hook *hooks,
		       const struct kernel_offers *offers)
{
	for (int i = 0; hooks[i].name; i++) {
		struct hook_choice choice = hook_select(&hooks[i], offers);

		if (hooks[i].required && !choice.alternative && !choice.not_needed) {
			printf("without %s %s\n", probe, choice.why_not);
			return true;
		}
	}
	return false;
}

static void print_rounds(const char *probe, const struct hook *hooks,
			 const struct kernel_offers *offers)
{
	static struct rounds rounds;

	rounds.n = 0;
	if (!hooks)
		return;
	if (!cannot_run(probe, hooks, offers))
		while (add_round(&rounds, hooks, offers))
			;
	print(&rounds, probe, hooks);
}

int main(void)
{
	struct caps *caps;
	char error[256];

	if (caps_new(NULL, &caps, error, sizeof(error))) {
		fprintf(stderr, "rounds: %s\n", error);
		return 1;
	}
	for (size_t i = 0; all_probes[i]; i++)
		print_rounds(all_probes[i]->name, all_probes[i]->hooks, caps_offers(caps));
	print_rounds("zoom", zoom_hooks, caps_offers(caps));
	caps_free(caps);
	return 0;
}
