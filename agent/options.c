/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All options there are: the agent's own, declared here, and those of the other tables, gathered.
 * Probes come from probes.def, hence a new one needs no line here.
 */
#include "agent/config.h"
#include "agent/health.h"
#include "agent/kubernetes.h"
#include "agent/metrics_options.h"
#include "agent/runtimes.h"
#include "exporters/exporter.h"
#include "probes/probe.h"

static const struct option_desc agent_options[] = {
	{
		.key = "listen",
		.type = OPTION_ADDRESS,
		.fallback = "127.0.0.1:9797",
		.help = "where metrics and health are served",
	},
	{
		.key = "interval",
		.type = OPTION_DURATION,
		.fallback = "10s",
		.min = 0.1,
		.max = 3600,
		.help = "time between two collections when nobody scrapes",
	},
	{
		.key = "max_age",
		.type = OPTION_DURATION,
		.fallback = "250ms",
		.min = 0,
		.max = 60,
		.help = "a scrape is answered with values at most this old; older ones are collected anew",
	},
	{
		.key = "mode",
		.type = OPTION_STRING,
		.fallback = "direct",
		.choices = "disabled|direct|custom",
		.missing = "event-driven|needs a sink to publish to, and this version has none",
		.help = "direct: probes run and metrics are kept in memory; custom: of the probes only those that are enabled by name; disabled: nothing is attached, health is still answered",
	},
	{
		.key = "budget",
		.type = OPTION_PERCENT,
		.fallback = "1%",
		.min = 0,
		.max = 100,
		.help = "share of the machine's CPU the agent may take, its hooks in the kernel included; beyond it records a part. 0 is no limit",
	},
	{
		.key = "max_entities",
		.type = OPTION_INT,
		.fallback = "512",
		.min = 16,
		.max = 16384,
		.help = "programs told apart at a time; those beyond are counted together",
	},
	{
		.key = "entity_linger",
		.type = OPTION_DURATION,
		.fallback = "5m",
		.min = 0,
		.max = 86400,
		.help = "how long a program that has ended keeps its series",
	},
	{
		.key = "hooks.avoid",
		.type = OPTION_STRING,
		.fallback = "",
		.help = "hooks not to use even where the kernel offers them: kinds (kretprobe), targets (tcp_sendmsg) or programs (requests_send_fexit) as doctor --json names them, separated by commas; another takes over, or what it provides is missing",
	},
	{
		.key = "log.level",
		.type = OPTION_STRING,
		.fallback = "INFO",
		.choices = "DEBUG|INFO|WARNING|ERROR|CRITICAL",
		.help = "the least important lines to log",
	},
	{
		.key = "log.format",
		.type = OPTION_STRING,
		.fallback = "auto",
		.choices = "auto|json|plain",
		.help = "how a line looks; auto is plain on a terminal, else json",
	},
	{
		.key = "log.file",
		.type = OPTION_STRING,
		.fallback = "",
		.help = "file to append to, opened again on SIGHUP; empty for standard error",
	},
	{ .key = NULL },
};

/* What every probe has. */
static const struct option_desc probe_options[] = {
	{
		.key = "enabled",
		.type = OPTION_BOOL,
		.fallback = "true",
		.help = "whether the probe runs",
	},
	{ .key = NULL },
};

static const struct option_table tables[] = {
	OPTION_TABLE("", agent_options),
	OPTION_TABLE("", health_options),
	OPTION_TABLE("", runtimes_options),
	OPTION_TABLE("", kubernetes_options),
	OPTION_TABLE(METRICS_OPTIONS_PREFIX, metrics_options),
#define ENCODER(name) { .prefix = ENCODER_OPTIONS_PREFIX, .options = &encoder_##name.options },
#include "exporters/exporters.def"
#undef ENCODER
#define PROBE(name)                                                                                \
	OPTION_TABLE("probes." #name, probe_options),                                              \
		{ .prefix = "probes." #name, .options = &probe_##name.options },
#include "probes/probes.def"
#undef PROBE
	{ .prefix = NULL },
};

const struct option_table *config_tables(void)
{
	return tables;
}
