// SPDX-License-Identifier: Apache-2.0
/*
 * leadline doctor: what this kernel offers, which hook each probe would use, what is missing and what would mend
 * it. Loads every probe, which has the kernel verify it, but attaches none, so it may run beside an agent. Of that it
 * tells what it leaves out to stay within its budget. With --measure it attaches them all for some seconds, besides those of
 * the agent, and tells what they cost.
 */
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include "agent/caps.h"
#include "agent/cli/ask.h"
#include "agent/cli/cli.h"
#include "agent/cli/doctor_measure.h"
#include "agent/log.h"
#include "agent/probe_set.h"

/* ---- the running agent ---- */

/* Its probes as it tells them; NULL when none answers. */
static json_t *ask_probes(const struct config *config, char *ret_address)
{
	struct ask_answer answer;
	json_t *report, *probes;

	ask_agent(config, "/health/detailed", ret_address, &answer);
	report = answer.body.data ? json_loadb(answer.body.data, answer.body.size, 0, NULL) : NULL;
	probes = json_incref(json_object_get(report, "probes"));
	json_decref(report);
	ask_answer_free(&answer);
	return probes;
}

/* ---- text ---- */

static void print_agent(FILE *out, const char *address, const json_t *probes)
{
	const json_t *probe;
	bool all = true;
	size_t i;

	if (!probes) {
		fprintf(out, "     none answers at %s\n", address);
		return;
	}
	json_array_foreach(probes, i, probe)
	{
		const char *name = json_string_value(json_object_get(probe, "name"));
		const char *note = json_string_value(json_object_get(probe, "note"));

		if (!name || !note)
			continue;
		all = false;
		fputs("warn ", out);
		ask_print_text(out, name);
		fprintf(out, "%*s ", (int)(strlen(name) < 20 ? 20 - strlen(name) : 0), "");
		ask_print_text(out, note);
		fputc('\n', out);
	}
	if (all)
		fprintf(out, "ok   at %s: everything is recorded\n", address);
}

static void print_facts(FILE *out, const struct caps_fact *facts)
{
	for (; facts->name; facts++) {
		fprintf(out, "%-4s %-20s %s\n",
			facts->ok	? "ok"
			: facts->needed ? "FAIL"
					: "warn",
			facts->name, facts->detail);
		if (facts->remedy)
			fprintf(out, "     %-20s -> %s\n", "", facts->remedy);
	}
}

static void print_probe(FILE *out, const struct probe *probe)
{
	const struct hook_status *statuses;
	size_t n = probe_hook_statuses(probe, &statuses);
	static const char *const marks[] = {
		[PROBE_DISABLED] = "off",
		[PROBE_FAILED] = "FAIL",
		[PROBE_DEGRADED] = "warn",
		[PROBE_UP] = "ok",
	};

	fprintf(out, "%-4s %-20s %s\n", marks[probe_current_state(probe)],
		probe_description(probe)->name, probe_description(probe)->help);
	for (size_t i = 0; i < n; i++) {
		const struct hook_alternative *chosen = statuses[i].choice.alternative;

		if (chosen)
			fprintf(out, "       %-18s %s %s%s\n", statuses[i].hook->name,
				hook_kind_name(chosen->kind), chosen->target,
				statuses[i].hook->on_demand ? ", once it is needed" : "");
		else
			fprintf(out, "       %-18s none%s\n", statuses[i].hook->name,
				statuses[i].choice.not_needed ? ", nor needed here"
				: statuses[i].hook->required  ? " (required)"
							      : "");
	}
	if (probe_reason(probe)[0])
		fprintf(out, "     %-20s -> %s\n", "", probe_reason(probe));
}

/* ---- JSON ---- */

static json_t *describe_facts(const struct caps_fact *facts)
{
	json_t *list = json_array();

	for (; facts->name; facts++)
		json_array_append_new(list,
				      json_pack("{s:s, s:b, s:b, s:s, s:s?}", "name", facts->name,
						"ok", facts->ok, "needed", facts->needed, "detail",
						facts->detail, "remedy", facts->remedy));
	return list;
}

static json_t *describe_hook(const struct hook_status *status)
{
	const struct hook_alternative *chosen = status->choice.alternative;

	return json_pack("{s:s, s:s, s:b, s:b, s:s?, s:s?, s:s?, s:s?}", "name", status->hook->name,
			 "provides", status->hook->provides, "required", status->hook->required,
			 "needed", !status->choice.not_needed, "kind",
			 chosen ? hook_kind_name(chosen->kind) : NULL, "target",
			 chosen ? chosen->target : NULL, "program", chosen ? chosen->program : NULL,
			 "why_not",
			 chosen || status->choice.not_needed ? NULL : status->choice.why_not);
}

static json_t *describe_probe(const struct probe *probe)
{
	const struct hook_status *statuses;
	size_t n = probe_hook_statuses(probe, &statuses);
	json_t *hooks = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(hooks, describe_hook(&statuses[i]));
	return json_pack("{s:s, s:s, s:s, s:s, s:o}", "name", probe_description(probe)->name,
			 "help", probe_description(probe)->help, "state",
			 probe_state_name(probe_current_state(probe)), "reason",
			 probe_reason(probe), "hooks", hooks);
}

static void print_json(FILE *out, const struct caps_fact *facts, const char *error,
		       struct probe *const *probes, size_t n_probes, const char *address,
		       json_t *agent, json_t *cost, bool ok)
{
	json_t *list = json_array(), *document;

	for (size_t i = 0; i < n_probes; i++)
		json_array_append_new(list, describe_probe(probes[i]));
	document = json_pack("{s:b, s:s?, s:o, s:o, s:{s:s, s:O?}}", "ok", ok, "error", error,
			     "kernel", describe_facts(facts), "probes", list, "agent", "address",
			     address, "probes", agent);
	if (cost)
		json_object_set_new(document, "cost", cost);
	json_dumpf(document, out, JSON_INDENT(2));
	fputc('\n', out);
	json_decref(document);
}

/* ---- the command ---- */

static const char *why_not(int error)
{
	if (error == -EPERM)
		return "the kernel's statistics of BPF programs need CAP_SYS_ADMIN";
	return error ? strerror(-error) : "no probes";
}

int cli_doctor(const struct cli_context *context)
{
	const struct caps_fact *facts = caps_facts();
	struct probe_set *set = NULL;
	struct probe *const *probes = NULL;
	size_t n_probes = 0;
	struct doctor_measurement cost = { 0 };
	struct budget_floor floor;
	char error[256] = "", address[ASK_ADDRESS_SIZE];
	int cost_error = 0;
	json_t *agent = ask_probes(context->config, address);
	bool ok = true;

	log_init(LOG_LEVEL_CRITICAL, LOG_FORMAT_PLAIN,
		 NULL); /* libbpf's complaints are told as reasons */
	log_capture_libbpf();
	for (const struct caps_fact *fact = facts; fact->name; fact++)
		ok &= fact->ok || !fact->needed;
	floor = budget_measure_floor(context->measure); /* before there are hooks of ours */
	if (probe_set_new(context->config, &set) ||
	    probe_set_start(set, context->measure, error, sizeof(error))) {
		ok = false;
	} else {
		probes = probe_set_probes(set, &n_probes);
		for (size_t i = 0; i < n_probes; i++)
			ok &= probe_current_state(probes[i]) != PROBE_FAILED;
		if (context->measure)
			cost_error = doctor_measure(set, &floor, &cost);
		ok &= !cost_error;
	}

	if (context->json) {
		print_json(context->out, facts, error[0] ? error : NULL, probes, n_probes, address,
			   agent, cost.costs ? doctor_measurement_describe(&cost) : NULL, ok);
	} else {
		fprintf(context->out, "This kernel\n");
		print_facts(context->out, facts);
		fprintf(context->out, "\nProbes\n");
		if (error[0])
			fprintf(context->out, "FAIL %s\n", error);
		for (size_t i = 0; i < n_probes; i++)
			print_probe(context->out, probes[i]);
		if (context->measure)
			fprintf(context->out, "\nCost\n");
		if (cost.costs)
			doctor_measurement_print(context->out, &cost);
		else if (context->measure)
			fprintf(context->out, "FAIL not measured: %s\n", why_not(cost_error));
		fprintf(context->out, "\nRunning agent\n");
		print_agent(context->out, address, agent);
	}
	doctor_measurement_free(&cost);
	json_decref(agent);
	probe_set_free(set);
	return ok ? CLI_OK : CLI_FAILED;
}
